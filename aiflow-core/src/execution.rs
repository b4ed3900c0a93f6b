//! Executions: how does one run of a workflow, and of each of its jobs, stand?
//!
//! These structs are what the engine keeps, what the store holds, and what people see: one truth, no copies.
//! Source: seed "WorkflowExecution", "JobExecution".

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::firing::{
    AdmissionStage, AdmissionStep, Firing, FiringOutcome, FiringRecord, KIND_METER, Meter, RuleAction, StartRequest,
    Waiting,
};
pub use crate::job_state::{JobCounts, JobState, KIND_JOB_STATE};
pub use crate::pool::{KIND_POOL, POOL_SLOTS_MAX, Pool, PoolUse, Slots};
pub use crate::rule_state::{
    AbsenceState, CatchUp, CustomState, KeyState, OperandState, RuleChange, RuleState, RuleStatus, Seen,
};
pub use crate::schedule_state::{NextTime, ScheduleAction, ScheduleState, ScheduleStatus, ScheduledTime};
pub use crate::status::{JobStatus, WorkflowStatus};

use crate::executor::{Ending, NodeRun, Signal, StopMode, TimeLimit};
use crate::host::Placement;
use crate::id::{
    AttemptId, ExecutorName, JobExecutionId, JobName, Offset, ProjectName, RuleName, ScheduleName, WorkflowExecutionId,
    WorkflowName,
};
use crate::schedule_state::schedule_timers;
use crate::time::Timestamp;
use crate::timer::{Alarm, JobTimer, Subject, Timer, TimerKey};
use crate::workflow::Completion;

/// Record kind of a workflow and its latest version.
pub const KIND_WORKFLOW: &str = "workflow";
/// Record kind of one immutable version of a workflow.
pub const KIND_WORKFLOW_VERSION: &str = "workflow_version";
/// Record kind of a workflow execution.
pub const KIND_WORKFLOW_EXECUTION: &str = "workflow_execution";
/// Record kind of a job execution.
pub const KIND_JOB_EXECUTION: &str = "job_execution";
/// Record kind of a firing that made no execution (its action was none, superseded or without effect), or that went through admission.
pub const KIND_FIRING: &str = "firing";
/// Record kind of an event that could not be applied, with the reason.
pub const KIND_DEAD_LETTER: &str = "dead_letter";

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowExecution {
    /// Identity.
    pub id: WorkflowExecutionId,
    /// Project.
    pub project: ProjectName,
    /// Workflow.
    pub workflow: WorkflowName,
    /// Version of the workflow that it is pinned to.
    pub version: u32,
    /// How it stands.
    pub status: WorkflowStatus,
    /// When it ends.
    pub completion: Completion,
    /// Parameters: those of the workflow, overridden by those of the start.
    pub params: Value,
    /// The named context that it carries: events of another one do not concern it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Labels by which it is found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Why it was started.
    pub cause: Firing,
    /// The execution that it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<WorkflowExecutionId>,
    /// When it was started.
    pub created_at: Timestamp,
    /// Why it was asked to stop, and how: at most once gracefully, and once more to be killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<StopNote>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its jobs in numbers; each has a [`JobState`] of its own.
    #[serde(default, skip_serializing_if = "JobCounts::is_zero")]
    pub counts: JobCounts,
    /// Its key of the workflow's concurrency limit, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Firings of its jobs that wait to be admitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u32,
    /// Set while it is paused: its jobs go on, and nothing in it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// When it should have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Id of the event that announced its start, or the end of the job that ended last. When it is applied and nothing has started
    /// since, every event of the execution's jobs was applied: they lie before it. `None` once that was so and something kept the
    /// execution open all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_word: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub(crate) fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub(crate) fn is_zero_i32(n: &i32) -> bool {
    *n == 0
}

/// A workflow as the scheduler knows it: its latest version, and what its own rules have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowState {
    /// Project.
    pub project: ProjectName,
    /// Name.
    pub name: WorkflowName,
    /// Latest version, which new executions use.
    pub version: u32,
    /// Whether it may start executions.
    pub enabled: bool,
    /// When it was deleted, if it was and has not come back. It is disabled then, and its rules see nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// What its workflow rules have seen so far; empty states are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<RuleName, Arc<RuleState>>,
    /// How its own schedules stand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ScheduleName, ScheduleState>,
}

/// Why, and how, something was asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopNote {
    /// When.
    pub at: Timestamp,
    /// The event that led to it: the request, or the one that made a rule fire.
    pub by: Offset,
    /// How.
    pub mode: StopMode,
    /// Why, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl StopNote {
    /// Adds a note to those of the same thing, if it asks for more than they do.
    pub(crate) fn add(self, to: &mut Vec<Self>) {
        if to.is_empty() || (self.mode == StopMode::Kill && to.iter().all(|note| note.mode != StopMode::Kill)) {
            to.push(self);
        }
    }

    /// The first reason, if one was given.
    pub(crate) fn reason_of(notes: &[Self]) -> Option<&str> {
        notes.iter().map(|note| note.reason.as_str()).find(|reason| !reason.is_empty())
    }
}

/// Since when, and why, nothing starts in a workflow execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// The request.
    pub by: Offset,
    /// Why, for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Where a job is to go on: what one of its attempts said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The attempt that said so; 0 if it was one of an earlier execution.
    pub attempt: u32,
    /// Its number among those of the attempt.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The reference, any JSON of at most [`CHECKPOINT_BYTES_MAX`](crate::executor::CHECKPOINT_BYTES_MAX) bytes.
    pub value: Value,
}

/// A value that a running job is to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingSignal {
    /// The value.
    #[serde(flatten)]
    pub signal: Signal,
    /// Why it is handed over.
    pub cause: Firing,
    /// Until when the running attempt must acknowledge it; `None` before it was sent to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// The most earlier attempts that a job execution tells of. The log has all of them.
pub const ATTEMPTS_KEPT_MAX: usize = 16;

/// An attempt after which its job execution went on with another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAttempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it began to run, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its end was recorded.
    pub ended_at: Timestamp,
    /// How it ended, without what it returned.
    pub ending: Ending,
    /// Where its platform keeps what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
}

/// One execution of a job; its retries are attempts of the same execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobExecution {
    /// Identity.
    pub id: JobExecutionId,
    /// The workflow execution it belongs to.
    pub workflow_execution: WorkflowExecutionId,
    /// Project.
    pub project: ProjectName,
    /// Workflow.
    pub workflow: WorkflowName,
    /// Job.
    pub job: JobName,
    /// Executor.
    pub executor: ExecutorName,
    /// How it stands.
    pub status: JobStatus,
    /// Number of the current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts that failed and count against the retry policy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Restarts of a stream in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Where its next attempt is to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// What its current attempt says about itself, as [`JobContext::set_label`](crate::function::JobContext::set_label) does: progress, the address of a
    /// page, the name of the job on its platform. At most [`JOB_LABELS_MAX`](crate::job_labels::JOB_LABELS_MAX).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The number of the last change of its labels.
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    pub labels_number: u64,
    /// Values that it is to take and has not acknowledged, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<PendingSignal>,
    /// Attempts that were lost with their host.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub losses: u32,
    /// Why it was started.
    pub cause: Firing,
    /// Parameters that its firing brought along; they override those of the workflow execution.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its current attempt began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What it waits for, and until when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub due: BTreeMap<JobTimer, Timestamp>,
    /// The current attempt was told to stop because it exceeded this time limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<TimeLimit>,
    /// It was told to stop without grace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// Why it was asked to stop, and how: at most once gracefully, and once more to be killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<StopNote>,
    /// Its next attempt waits for its workflow execution to be resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The execution of an earlier run that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<JobExecutionId>,
    /// What it has to do with the pool of its job, if the job names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
    /// Where its attempts may run, and where the current one does.
    #[serde(default, skip_serializing_if = "Placement::is_default")]
    pub placement: Placement,
    /// Where its platform keeps what its current attempt writes, a path or a URL. [`Scheduler::logs`](crate::runtime::Scheduler::logs) reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// How its earlier attempts went, oldest first: the last [`ATTEMPTS_KEPT_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<PastAttempt>,
    /// How the last ended attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// When the nodes of the last attempt that told of them ran; a job of one node runs as long as its node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeRun>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero_u64(n: &u64) -> bool {
    *n == 0
}

impl WorkflowState {
    /// What its rules and schedules wait for.
    pub fn timers(&self) -> impl Iterator<Item = Timer> {
        let of = || Subject::Workflow { project: self.project.clone(), workflow: self.name.clone() };
        rule_timers(&self.rules, of).chain(schedule_timers(&self.schedules, of))
    }
}

impl WorkflowExecution {
    /// What it waits for: its deadline. What its jobs wait for is theirs.
    pub fn timers(&self) -> impl Iterator<Item = Timer> {
        let key = TimerKey::Deadline { execution: self.id, job: None };
        self.deadline.map(|due| Timer { due, key }).into_iter()
    }

    /// The time for which a schedule started it.
    #[must_use]
    pub fn scheduled_time(&self) -> Option<Timestamp> {
        self.cause.schedule.as_ref().map(|schedule| schedule.time)
    }
}

pub(crate) fn rule_timers(
    rules: &BTreeMap<RuleName, Arc<RuleState>>,
    of: impl Fn() -> Subject,
) -> impl Iterator<Item = Timer> {
    rules.iter().filter_map(move |(rule, state)| {
        let Alarm { due, set_by } = state.alarm()?;
        Some(Timer { due, key: TimerKey::Rule { of: of(), rule: rule.clone(), set_by } })
    })
}

impl JobExecution {
    /// The current attempt.
    #[must_use]
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId::new(self.id, self.attempt)
    }

    /// What it waits for.
    pub fn timers(&self) -> impl Iterator<Item = Timer> {
        let attempt = self.attempt_id();
        let own = self.due.iter().map(move |(purpose, due)| (*due, TimerKey::Job { attempt, purpose: *purpose }));
        let signals = self
            .signals
            .iter()
            .filter_map(move |pending| Some((pending.due?, TimerKey::Signal { attempt, signal: pending.signal.id })));
        own.chain(signals).map(|(due, key)| Timer { due, key })
    }

    /// Forgets what the current attempt waits for; the deadline is that of all attempts.
    pub(crate) fn forget_attempt_timers(&mut self) {
        self.due.retain(|purpose, _| *purpose == JobTimer::Deadline);
        self.signals.iter_mut().for_each(|pending| pending.due = None);
    }

    /// Where the platform keeps what one of its attempts wrote, if that is known.
    #[must_use]
    pub fn log_location(&self, attempt: u32) -> Option<&str> {
        if attempt == self.attempt {
            return self.logs.as_deref();
        }
        self.attempts.iter().find(|past| past.attempt == attempt)?.logs.as_deref()
    }

    /// Notes how the current attempt went, which is not the last.
    pub(crate) fn note_attempt(&mut self, ended_at: Timestamp) {
        let ending = match &self.ending {
            None => return,
            Some(Ending::Succeeded { .. }) => Ending::Succeeded { output: Value::Null },
            Some(ending) => ending.clone(),
        };
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        let (attempt, started_at, logs) = (self.attempt, self.started_at, self.logs.clone());
        self.attempts.push(PastAttempt { attempt, started_at, ended_at, ending, logs });
    }

    /// What it returned, if it succeeded.
    #[must_use]
    pub fn output(&self) -> Option<&Value> {
        match &self.ending {
            Some(Ending::Succeeded { output }) => Some(output),
            _ => None,
        }
    }
}
