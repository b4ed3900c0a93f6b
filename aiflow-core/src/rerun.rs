//! Reruns: which jobs of an ended execution run again, which results stand, and what do the rules see once more?
//!
//! A [`RerunPlan`] is made from the records of the ended execution before anything happens, so that it can be looked at; what it says is
//! what the scheduler does. A job runs again if it was chosen, if it did not succeed, if what it runs has changed, or if its last execution
//! was fired by an event of a job execution that is repeated. The results of the others stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::execution::{Firing, JobExecution, JobState, JobStatus, WorkflowExecution};
use crate::id::{JobExecutionId, JobName, Offset, ProjectName, RuleName, WorkflowExecutionId, WorkflowName};
use crate::workflow::{Job, Workflow, merge};

/// Record kind of a plan that was carried out, or is to be.
pub const KIND_RERUN: &str = "rerun";
/// The most jobs of an execution that is run again.
pub const RERUN_JOBS_MAX: usize = 10_000;
/// The most events that the rules of a rerun see once more.
pub const RERUN_EVENTS_MAX: usize = 10_000;

/// What is to run again, and what with.
///
/// ```
/// use aiflow_core::rerun::Rerun;
/// use serde_json::json;
///
/// let rerun = Rerun::from_job("train").params(json!({"rate": 0.01}));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "pass it to AiFlow::plan_rerun"]
pub struct Rerun {
    jobs: BTreeSet<String>,
    params: Value,
    labels: BTreeMap<String, String>,
}

impl Rerun {
    /// What did not succeed, and what used it.
    pub fn from_failed() -> Self {
        Self::default()
    }

    /// This job, what did not succeed, and what used them.
    pub fn from_job(job: impl Into<String>) -> Self {
        Self::from_jobs([job])
    }

    /// These jobs, what did not succeed, and what used them.
    pub fn from_jobs<S: Into<String>>(jobs: impl IntoIterator<Item = S>) -> Self {
        Self { jobs: jobs.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Parameters that override those of the first run, a JSON object. They reach the jobs that run; a result that stands was made with the old ones.
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// A label beside those of the first run, or in place of one of them.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }
}

/// Exactly what happens when an execution is run again. Displayed, it is a line a job.
///
/// ```text
/// rerun of execution 12.0 (workflow quality, version 3)
///   ingest: its result stands (execution 13.0)
///   train: starts, because it has FAILED (execution 15.0)
///   evaluate: waits for its rules, because it used execution 15.0 of train
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RerunPlan {
    /// Names the plan: carried out twice, it makes one execution.
    pub id: String,
    /// The execution that is run again. It stays as it is.
    pub execution: WorkflowExecutionId,
    /// Its project.
    pub project: ProjectName,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The version that the new execution has: the newest.
    pub version: u32,
    /// The parameters of the new execution, a JSON object or null.
    pub params: Value,
    /// The named context that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What becomes of each job of the version.
    pub jobs: BTreeMap<JobName, JobRerun>,
}

/// What becomes of a job in a rerun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRerun {
    /// Whether it runs.
    #[serde(flatten)]
    pub step: RerunStep,
    /// Events of the first run that count for its rules once more: those that waited for a firing, and those that its last execution
    /// used, if that waits to be fired again. None of them comes from a job execution that is repeated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<RuleName, Vec<Offset>>,
    /// Where its next execution is to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
}

/// Whether a job runs in a rerun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
#[non_exhaustive]
pub enum RerunStep {
    /// Its result stands.
    Reused {
        /// The execution that succeeded.
        execution: JobExecutionId,
    },
    /// It starts at once.
    Starts {
        /// Why it runs.
        why: RerunReason,
        /// The execution that is repeated: for the same events, with the same parameters. `None` if there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeats: Option<Box<Repeated>>,
    },
    /// It starts when its rules fire.
    Waits {
        /// Why it is to run.
        why: RerunReason,
    },
}

/// A job execution that is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// Which.
    pub execution: JobExecutionId,
    /// Why it ran.
    pub cause: Firing,
    /// What the firing gave it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// Why a job runs in a rerun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RerunReason {
    /// It was chosen.
    Chosen,
    /// Its last execution ended so.
    Ended {
        /// How.
        status: JobStatus,
        /// The execution.
        execution: JobExecutionId,
    },
    /// It did not run.
    NeverRan,
    /// What it runs is not what it was: another executor, spec or parameters of its own.
    Changed,
    /// The version of the first run did not have it.
    New,
    /// Its last execution was fired by an event of this one, which is repeated.
    Used {
        /// The job.
        job: JobName,
        /// Its execution.
        execution: JobExecutionId,
    },
}

/// An ended execution, as far as a plan needs it.
#[derive(Debug, Clone, Copy)]
pub struct FirstRun<'a> {
    /// The execution.
    pub execution: &'a WorkflowExecution,
    /// Its jobs.
    pub jobs: &'a BTreeMap<JobName, JobState>,
    /// The last ended execution of each job that ran.
    pub ran: &'a BTreeMap<JobName, JobExecution>,
    /// From which job execution each of [its events](Self::events) comes, if from one.
    pub sources: &'a BTreeMap<Offset, JobExecutionId>,
    /// The version that it had.
    pub definition: &'a Workflow,
}

impl<'a> FirstRun<'a> {
    /// The events whose source decides what is to run again.
    #[must_use]
    pub fn events(jobs: &BTreeMap<JobName, JobState>, ran: &BTreeMap<JobName, JobExecution>) -> BTreeSet<Offset> {
        let fired = ran.values().flat_map(|ran| ran.cause.events.iter().copied());
        let waited = jobs.values().flat_map(|job| job.rules.values()).flat_map(|rule| rule.kept());
        fired.chain(waited).collect()
    }

    /// Why a job runs for reasons of its own.
    fn own_reason(&self, job: &Job, rerun: &Rerun) -> Option<RerunReason> {
        if rerun.jobs.contains(job.name.as_str()) {
            return Some(RerunReason::Chosen);
        }
        let Some(before) = self.definition.job(&job.name) else {
            return Some(RerunReason::New);
        };
        let Some(ran) = self.ran.get(&job.name) else {
            return Some(RerunReason::NeverRan);
        };
        if ran.status != JobStatus::Succeeded {
            return Some(RerunReason::Ended { status: ran.status, execution: ran.id });
        }
        let is_same = job.executor == before.executor && job.spec == before.spec && job.params == before.params;
        (!is_same).then_some(RerunReason::Changed)
    }

    /// The job executions that are repeated, each with its job and why.
    fn repeated(
        &self,
        definition: &'a Workflow,
        rerun: &Rerun,
    ) -> BTreeMap<JobExecutionId, (&'a JobName, RerunReason)> {
        let mut ran: Vec<(&Job, &JobExecution)> =
            definition.jobs.iter().filter_map(|job| Some((job, self.ran.get(&job.name)?))).collect();
        // An event comes from an execution that is older than those that it fires: one pass finds all.
        ran.sort_by_key(|(_, ran)| ran.id);
        let mut repeated: BTreeMap<JobExecutionId, (&JobName, RerunReason)> = BTreeMap::new();
        for (job, ran) in ran {
            let used = || {
                let sources = ran.cause.events.iter().filter_map(|event| self.sources.get(event));
                let (execution, (job, _)) = sources.filter_map(|source| repeated.get_key_value(source)).next()?;
                Some(RerunReason::Used { job: (*job).clone(), execution: *execution })
            };
            if let Some(why) = self.own_reason(job, rerun).or_else(used) {
                repeated.insert(ran.id, (&job.name, why));
            }
        }
        repeated
    }
}

impl RerunPlan {
    /// What running an ended execution again comes to under `definition`, the newest version of its workflow.
    ///
    /// [`AiFlow::plan_rerun`](crate::client::AiFlow::plan_rerun) reads what this needs from the store.
    ///
    /// # Errors
    /// `Invalid`: the execution has not ended, nothing of it would start, or the parameters are not those that the version declares.
    /// `NotFound`: a job that was chosen is not in the version. `Full`: more than [`RERUN_JOBS_MAX`] jobs or [`RERUN_EVENTS_MAX`] events.
    pub fn new(
        id: impl Into<String>,
        first: &FirstRun<'_>,
        version: u32,
        definition: &Workflow,
        rerun: &Rerun,
    ) -> Result<Self> {
        let before = first.execution;
        if !before.status.is_terminal() {
            let message = format!("the execution is {}; only one that has ended is run again", before.status);
            return Err(Error::invalid("plan rerun", message).with("execution", before.id));
        }
        let chosen = rerun.jobs.iter().find(|name| !definition.jobs.iter().any(|job| job.name.as_str() == **name));
        if let Some(job) = chosen {
            let message = format!("version {version} of the workflow has no such job");
            return Err(Error::not_found("plan rerun", message).with("job", job));
        }
        if definition.jobs.len() > RERUN_JOBS_MAX {
            return Err(too_many("jobs", definition.jobs.len(), RERUN_JOBS_MAX));
        }
        let repeated = first.repeated(definition, rerun);
        let jobs: BTreeMap<JobName, JobRerun> = definition
            .jobs
            .iter()
            .map(|job| (job.name.clone(), JobRerun::new(first, definition, rerun, &repeated, job)))
            .collect();
        let n_events: usize = jobs.values().flat_map(|job| job.events.values()).map(Vec::len).sum();
        if n_events > RERUN_EVENTS_MAX {
            return Err(too_many("events", n_events, RERUN_EVENTS_MAX));
        }
        if !jobs.values().any(|job| matches!(job.step, RerunStep::Starts { .. })) {
            return Err(Error::invalid("plan rerun", "nothing would start: choose a job with Rerun::from_job")
                .with("execution", before.id));
        }
        let mut labels = before.labels.clone();
        labels.extend(rerun.labels.clone());
        Ok(Self {
            id: id.into(),
            execution: before.id,
            project: before.project.clone(),
            workflow: before.workflow.clone(),
            version,
            params: params(definition, &before.params, &rerun.params)?,
            context: before.context.clone(),
            labels,
            jobs,
        })
    }
}

impl RerunPlan {
    /// The events that a rule of a job is shown once more, oldest first.
    #[must_use]
    pub fn events_of(&self, job: &JobName, rule: &RuleName) -> &[Offset] {
        self.jobs.get(job).and_then(|job| job.events.get(rule)).map_or(&[], Vec::as_slice)
    }
}

impl JobRerun {
    fn new(
        first: &FirstRun<'_>,
        definition: &Workflow,
        rerun: &Rerun,
        repeated: &BTreeMap<JobExecutionId, (&JobName, RerunReason)>,
        job: &Job,
    ) -> Self {
        let (name, state) = (&job.name, first.jobs.get(&job.name));
        let ran = first.ran.get(name);
        let comes_again = |event: &Offset| first.sources.get(event).is_some_and(|source| repeated.contains_key(source));
        let step = match (ran, ran.and_then(|ran| repeated.get(&ran.id))) {
            (Some(ran), None) => RerunStep::Reused { execution: ran.id },
            (Some(ran), Some((_, why))) if ran.cause.events.iter().any(comes_again) => {
                RerunStep::Waits { why: why.clone() }
            }
            (Some(ran), Some((_, why))) => {
                let (cause, params) = (ran.cause.clone(), ran.params.clone());
                let repeats = Some(Box::new(Repeated { execution: ran.id, cause, params }));
                RerunStep::Starts { why: why.clone(), repeats }
            }
            (None, _) => {
                let why = first.own_reason(job, rerun).unwrap_or(RerunReason::NeverRan);
                match why == RerunReason::Chosen || definition.starts_with_execution(name) {
                    true => RerunStep::Starts { why, repeats: None },
                    false => RerunStep::Waits { why },
                }
            }
        };
        let is_fired_again = matches!(step, RerunStep::Waits { .. });
        let fired = ran.filter(|_| is_fired_again).and_then(|ran| Some((ran.cause.rule.as_ref()?, &ran.cause.events)));
        let mut events: BTreeMap<RuleName, Vec<Offset>> = BTreeMap::new();
        for rule in definition.rules_of(name) {
            let waited = state.and_then(|state| state.rules.get(&rule.name)).map(|rule| rule.kept());
            let used = fired.filter(|(fired, _)| **fired == rule.name).map(|(_, events)| events.clone());
            let seen: BTreeSet<Offset> =
                waited.into_iter().flatten().chain(used.into_iter().flatten()).filter(|e| !comes_again(e)).collect();
            if !seen.is_empty() {
                events.insert(rule.name.clone(), seen.into_iter().collect());
            }
        }
        Self { step, events, checkpoint: state.and_then(|state| state.checkpoint.clone()) }
    }
}

/// The parameters of the first run as far as the version still takes them, overridden by new ones.
fn params(definition: &Workflow, before: &Value, new: &Value) -> Result<Value> {
    if !(new.is_null() || new.is_object()) {
        return Err(Error::invalid("plan rerun", "params must be a JSON object or null"));
    }
    let mut kept = before.clone();
    if let Some(kept) = kept.as_object_mut().filter(|_| !definition.parameters.is_empty()) {
        let of_jobs = definition.jobs.iter().flat_map(|job| &job.parameters);
        let declared: BTreeSet<&str> =
            definition.parameters.iter().chain(of_jobs).map(|parameter| parameter.name.as_str()).collect();
        kept.retain(|name, _| declared.contains(name.as_str()));
    }
    let params = merge(&kept, new);
    definition.check_start(&params).map_err(|reason| Error::invalid("plan rerun", reason))?;
    Ok(params)
}

fn too_many(what: &str, n: usize, max: usize) -> Error {
    Error::new(ErrorKind::Full, "plan rerun", format!("{n} {what}, at most {max} are allowed"))
}

impl fmt::Display for RerunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { execution, workflow, version, jobs, .. } = self;
        write!(f, "rerun of execution {execution} (workflow {workflow}, version {version})")?;
        for (name, job) in jobs {
            write!(f, "\n  {name}: {}", job.step)?;
        }
        Ok(())
    }
}

impl fmt::Display for RerunStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reused { execution } => write!(f, "its result stands (execution {execution})"),
            Self::Starts { why, .. } => write!(f, "starts, because {why}"),
            Self::Waits { why } => write!(f, "waits for its rules, because {why}"),
        }
    }
}

impl fmt::Display for RerunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("it was chosen"),
            Self::Ended { status, execution } => write!(f, "it has {status} (execution {execution})"),
            Self::NeverRan => f.write_str("it has not run"),
            Self::Changed => f.write_str("what it runs has changed"),
            Self::New => f.write_str("it is new"),
            Self::Used { job, execution } => write!(f, "it used execution {execution} of {job}"),
        }
    }
}
