//! Workflows: which jobs are there, and which rules start, stop and restart them?
//!
//! A workflow is plain data: it is built by a translator from an AI graph, or by hand, stored as a version, and never changed after.
//! Source: seed "Workflow", "Job", "Control Edge", "Job Scheduling Rule".

mod admission;
mod alert;
mod check;
mod check_condition;
mod check_loops;
mod check_rules;
mod condition;
mod contexts;
mod diff;
mod display;
mod drawing;
mod overlap;
mod params;
mod render;
mod restart;
mod retry;
mod rule;
mod schedule;
#[cfg(feature = "svg")]
mod svg;
pub mod syntax;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) use condition::{CompiledTest, CompiledWindow, Tested, job_key};

pub use admission::{
    Admission, BATCH_FIRINGS_MAX, BatchOf, CONTEXT_KEY, Concurrency, Debounce, Idempotency, RATE_STARTS_MAX, Rate,
    WAITING_PER_KEY_MAX,
};
pub use alert::{
    Deadline, DeadlineOf, HOOKS_MAX, Hook, HookOn, deadline_missed, on_end, on_failure, on_stop, on_success,
    workflow_deadline_missed,
};
pub use check::{Diagnostic, JOBS_MAX, RULES_MAX, Severity};
pub use check_condition::{CONDITION_COUNT_MAX, CONDITION_DEPTH_MAX, OPERANDS_PER_RULE_MAX};
pub use condition::{
    CEL_BYTES_MAX, Comparison, Condition, EventPattern, KEY_PLACES_MAX, KeyOf, Life, ModelStage, ValueTest, Wait,
    Window, absent, absent_after, all, any, at_least, count, custom, job_is, job_status, not_within, on, on_alias,
    on_dataset, on_metric, on_model_version, optional, sequence, workflow_status,
};
pub use contexts::ContextOf;
pub(crate) use contexts::Contexts;
pub use diff::Change;
pub use overlap::{OVERLAP_BUFFER_MAX, OverlapPolicy};
pub use params::{
    Field, MAPPED_VALUE_BYTES_MAX, PARAMETER_NAME_BYTES_MAX, PARAMETERS_MAX, ParamSource, Parameter, ParameterType,
    field,
};
pub(crate) use params::{merge, take_params};
pub use restart::{RestartPolicy, RestartWhen};
pub use retry::{FAILURE_TESTS_MAX, FailureTest, RetryPolicy};
pub use rule::{
    JobAction, SIGNAL_PARAM, SchedulingRule, StartPosition, WorkflowAction, WorkflowRule, ignore, restart,
    restart_workflow, signal, start, start_workflow, stop, stop_workflow,
};

pub use schedule::{
    CRON_BYTES_MAX, JITTER_MAX, MISFIRE_TIMES_MAX, Misfire, SCHEDULED_TIME, SCHEDULES_MAX, Schedule, Times, cron, every,
};

#[cfg(feature = "svg")]
pub(crate) use svg::{Boxed, Picture, Spot, check_boxes, room_for};
#[cfg(feature = "svg")]
pub use svg::{Live, SVG_BOXES_MAX};
pub use syntax::SyntaxError;

pub(crate) use display::cut;
pub(crate) use drawing::{Arrow, Drawing, End, Group, Shape};
pub(crate) use schedule::CompiledSchedule;

use crate::id::{ExecutorName, HostLabel, JobName, ProjectName, ScheduleName, WorkflowName};

/// Jobs, the control edges between events and jobs, and the rules that start and stop the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// Project it belongs to.
    pub project: ProjectName,
    /// Name, unique in the project.
    pub name: WorkflowName,
    /// The jobs, in definition order.
    pub jobs: Vec<Job>,
    /// The control edges, in definition order: of the rules of one job, the first satisfied one acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_edges: Vec<ControlEdge>,
    /// Rules on the workflow as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<WorkflowRule>,
    /// Times at which an execution starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// Parameters that every execution starts with, a JSON object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The parameters that it takes, with their types: values are checked at every start, and other names are refused. Anything goes if
    /// empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Where events name the contexts that they concern: those of the executions that are meant.
    #[serde(default, skip_serializing_if = "ContextOf::is_event")]
    pub contexts: ContextOf,
    /// When an execution ends; inferred if `None`, see [`Workflow::completion`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
    /// When an execution should have ended, counted from its start, in milliseconds. Missing it publishes an event of the type
    /// [`DEADLINE_MISSED`](crate::event::DEADLINE_MISSED) and does nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "deadline_ms")]
    pub deadline: Option<Duration>,
    /// Events to publish when an execution ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// How starts of executions are admitted.
    #[serde(default, skip_serializing_if = "Admission::is_none")]
    pub admission: Admission,
}

/// The unit that the scheduler runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Name, unique in the workflow.
    pub name: JobName,
    /// Which executor runs it: `function`, `process`, …
    pub executor: ExecutorName,
    /// What to run, in the executor's own terms.
    pub spec: Value,
    /// Parameters, a JSON object; those of the workflow execution override them.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The parameters that it takes, with their types: values are checked before it starts, and a firing may bring no others. Anything goes
    /// if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Times at which it starts or restarts while a workflow execution runs. A job with a schedule does not start with the execution.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// Never ends by itself: an execution with such a job stands until it is stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub streaming: bool,
    /// What to do when an attempt fails.
    #[serde(default, skip_serializing_if = "RetryPolicy::is_never")]
    pub retry: RetryPolicy,
    /// What follows when an attempt of a streaming job ends by itself; instead of `retry`.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_never")]
    pub restart: RestartPolicy,
    /// How long a running attempt may take to acknowledge a value that is handed to it, in milliseconds; then the job is restarted with it.
    #[serde(default = "ack_within", with = "millis", rename = "ack_within_ms")]
    pub ack_within: Duration,
    /// The longest that an attempt may wait from being handed to its executor until it runs, in milliseconds; also while its platform
    /// does not accept it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "queue_timeout_ms")]
    pub queue_timeout: Option<Duration>,
    /// The longest that an attempt of a streaming job may run until it is ready, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "start_timeout_ms")]
    pub start_timeout: Option<Duration>,
    /// The longest that one attempt may run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "timeout_ms")]
    pub timeout: Option<Duration>,
    /// An attempt that gives no sign of life for so long is killed and has failed, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option", rename = "heartbeat_timeout_ms")]
    pub heartbeat_timeout: Option<Duration>,
    /// Time between asking an attempt to stop and killing it, in milliseconds.
    #[serde(default = "stop_grace", with = "millis", rename = "stop_grace_ms")]
    pub stop_grace: Duration,
    /// Labels that a host must have to run it. A job that asks for any runs on [hosts](crate::host::Host) only, never in the process of the leader.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub runs_on: BTreeSet<HostLabel>,
    /// When it should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Events to publish when an execution of it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// How starts of the job, and its attempts, are admitted.
    #[serde(default, skip_serializing_if = "Admission::is_none")]
    pub admission: Admission,
}

impl Job {
    /// The default of [`Job::stop_grace`].
    pub const STOP_GRACE: Duration = Duration::from_secs(10);
    /// The default of [`Job::ack_within`].
    pub const ACK_WITHIN: Duration = Duration::from_secs(30);

    /// A batch job without parameters, retries or limits.
    #[must_use]
    pub fn new(name: JobName, executor: ExecutorName, spec: Value) -> Self {
        Self {
            name,
            executor,
            spec,
            params: Value::Null,
            parameters: Vec::new(),
            schedules: Vec::new(),
            streaming: false,
            retry: RetryPolicy::never(),
            restart: RestartPolicy::never(),
            ack_within: Self::ACK_WITHIN,
            queue_timeout: None,
            start_timeout: None,
            timeout: None,
            heartbeat_timeout: None,
            stop_grace: Self::STOP_GRACE,
            runs_on: BTreeSet::new(),
            deadline: None,
            hooks: Vec::new(),
            admission: Admission::new(),
        }
    }
}

fn ack_within() -> Duration {
    Job::ACK_WITHIN
}

fn stop_grace() -> Duration {
    Job::STOP_GRACE
}

/// The condition under which the scheduler acts on a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlEdge {
    /// The job acted on.
    pub job: JobName,
    /// When and how.
    pub rule: SchedulingRule,
}

/// When an execution of a workflow ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Completion {
    /// When nothing runs, nothing is pending, and every event of its jobs was applied.
    Idle,
    /// Never by itself; it is stopped by a rule or by hand.
    Standing,
}

impl Workflow {
    /// A workflow without jobs.
    #[must_use]
    pub fn new(project: ProjectName, name: WorkflowName) -> Self {
        Self {
            project,
            name,
            jobs: Vec::new(),
            control_edges: Vec::new(),
            rules: Vec::new(),
            schedules: Vec::new(),
            params: Value::Null,
            parameters: Vec::new(),
            contexts: ContextOf::Event,
            completion: None,
            deadline: None,
            hooks: Vec::new(),
            admission: Admission::new(),
        }
    }

    /// The job of this name.
    #[must_use]
    pub fn job(&self, name: &JobName) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == *name)
    }

    /// The rules of a job, in definition order.
    pub fn rules_of<'a>(&'a self, job: &'a JobName) -> impl Iterator<Item = &'a SchedulingRule> {
        self.control_edges.iter().filter(move |edge| edge.job == *job).map(|edge| &edge.rule)
    }

    /// The schedule of this name: of the job, or of the workflow itself if `None`.
    #[must_use]
    pub fn schedule(&self, job: Option<&JobName>, name: &ScheduleName) -> Option<&Schedule> {
        let schedules = match job {
            Some(job) => &self.job(job)?.schedules,
            None => &self.schedules,
        };
        schedules.iter().find(|schedule| schedule.name == *name)
    }

    /// Whether the job starts together with its workflow execution: it has no schedule, and no rule that starts or restarts it.
    #[must_use]
    pub fn starts_with_execution(&self, job: &JobName) -> bool {
        self.job(job).is_none_or(|job| job.schedules.is_empty())
            && !self.rules_of(job).any(|rule| matches!(rule.action, JobAction::Start | JobAction::Restart))
    }

    /// The jobs that start together with a workflow execution, in definition order.
    pub fn jobs_that_start(&self) -> impl Iterator<Item = &Job> {
        let starts = |action| matches!(action, JobAction::Start | JobAction::Restart);
        let rules = self.control_edges.iter().filter(|edge| starts(edge.rule.action));
        let started: BTreeSet<&JobName> = rules.map(|edge| &edge.job).collect();
        self.jobs.iter().filter(move |job| job.schedules.is_empty() && !started.contains(&job.name))
    }

    /// When its executions end: as set; otherwise `Standing` if a job is streaming or has a schedule, or no job starts without an event;
    /// otherwise `Idle`. Schedules of the workflow itself start executions, and do not keep them from ending.
    #[must_use]
    pub fn completion(&self) -> Completion {
        self.completion.unwrap_or_else(|| {
            let streaming = self.jobs.iter().any(|job| job.streaming || !job.schedules.is_empty());
            if streaming || self.jobs_that_start().next().is_none() { Completion::Standing } else { Completion::Idle }
        })
    }

    /// A hash of the content: equal exactly if the definitions are equal.
    #[must_use]
    pub fn content_hash(&self) -> String {
        hash_of(self)
    }
}

/// SHA-256 of the compact JSON of `value`, in hex. JSON objects have sorted keys, so the text is canonical.
pub(crate) fn hash_of<T: Serialize>(value: &T) -> String {
    // A definition is plain data with string keys, which always serialises.
    let json = serde_json::to_value(value).map(|value| value.to_string()).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(json.as_bytes());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `Duration` as whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// `Option<Duration>` as whole milliseconds.
pub(crate) mod millis_option {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow() -> Workflow {
        let mut workflow = Workflow::new(ProjectName::parse("wine").unwrap(), WorkflowName::parse("quality").unwrap());
        for name in ["prepare", "train"] {
            let executor = ExecutorName::parse("function").unwrap();
            workflow.jobs.push(Job::new(JobName::parse(name).unwrap(), executor, Value::from("f")));
        }
        workflow.control_edges.push(ControlEdge { job: JobName::parse("train").unwrap(), rule: start(on("samples")) });
        workflow
    }

    #[test]
    fn completion_is_inferred() {
        let mut workflow = workflow();
        assert_eq!(workflow.completion(), Completion::Idle);
        workflow.jobs[1].streaming = true;
        assert_eq!(workflow.completion(), Completion::Standing);
        workflow.completion = Some(Completion::Idle);
        assert_eq!(workflow.completion(), Completion::Idle);
    }

    #[test]
    fn a_definition_reads_back_and_keeps_its_hash() {
        let workflow = workflow();
        let text = serde_json::to_string_pretty(&workflow).unwrap();
        let back: Workflow = serde_json::from_str(&text).unwrap();
        assert_eq!(back, workflow);
        assert_eq!(back.content_hash(), workflow.content_hash());
    }
}
