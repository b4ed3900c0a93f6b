//! Why did this run? The chain of events, rules and firings back to the first cause from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words;
use crate::execution::{AdmissionStep, JobStatus, ScheduledTime, WorkflowStatus};
use crate::id::{AttemptId, JobExecutionId, JobName, Offset, RuleName, WorkflowExecutionId, WorkflowName};
use crate::time::Timestamp;

/// The most steps that an explanation has; what lies further back is left out, and that is said.
pub const EXPLAIN_STEPS_MAX: usize = 256;
/// The most events of one firing that are followed, newest first.
pub const EXPLAIN_EVENTS_MAX: usize = 16;

/// Why an execution ran: what led to it, step by step, from the execution itself back to the first causes from outside.
///
/// Each execution and each event is told once. Displayed, it is a sentence a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionExplanation {
    /// First the execution that was asked about, then what led to it, then what led to that.
    pub steps: Vec<Step>,
    /// There is more than [`EXPLAIN_STEPS_MAX`] steps, or a firing used more than [`EXPLAIN_EVENTS_MAX`] events.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// One step of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A job ran.
    Job(Box<JobRan>),
    /// A workflow ran.
    Workflow(Box<WorkflowRan>),
    /// An event came.
    Event(EventCame),
    /// An event was trimmed from the log: the chain cannot be followed further here.
    Trimmed {
        /// The event.
        offset: Offset,
    },
    /// The record of an execution is gone: the chain cannot be followed further here.
    Gone {
        /// The execution.
        execution: String,
    },
}

/// A job ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRan {
    /// The job execution.
    pub execution: JobExecutionId,
    /// The job.
    pub job: JobName,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The workflow execution it belongs to.
    pub workflow_execution: WorkflowExecutionId,
    /// How it stands.
    pub status: JobStatus,
    /// Why it ran.
    pub because: Because,
    /// What the stages of admission decided in between, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admission: Vec<AdmissionStep>,
}

/// A workflow ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRan {
    /// The workflow execution.
    pub execution: WorkflowExecutionId,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The version of it.
    pub version: u32,
    /// How it stands.
    pub status: WorkflowStatus,
    /// Why it ran.
    pub because: Because,
    /// What the stages of admission decided in between, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admission: Vec<AdmissionStep>,
}

/// Why something ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Because {
    /// A rule fired.
    Rule {
        /// The rule.
        rule: RuleName,
        /// The rule in words: `START when samples`; `None` if its definition is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The key for which a rule with `for_each` fired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The events that it used, oldest first: the newest [`EXPLAIN_EVENTS_MAX`] of them.
        events: Vec<Offset>,
        /// How many it used in all.
        n_events: usize,
    },
    /// The time of a schedule came.
    Schedule(ScheduledTime),
    /// The job starts together with its workflow execution.
    WithExecution,
    /// Its workflow execution runs an earlier one again, and it repeats this execution of it.
    Repeats {
        /// The execution.
        execution: JobExecutionId,
    },
    /// It was asked for.
    ByHand {
        /// The request.
        request: Offset,
    },
}

/// An event came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCame {
    /// Its offset.
    pub offset: Offset,
    /// When the log took it.
    pub recorded: Timestamp,
    /// The event in a few words.
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// From outside: the chain ends here.
    Outside {
        /// Who says that it comes from him; may be empty.
        sender: String,
    },
    /// It is a request, made from outside: the chain ends here.
    Request,
    /// A job published it.
    Job {
        /// The attempt that did.
        attempt: AttemptId,
        /// Who says that it comes from him, the job by default.
        sender: String,
    },
    /// The scheduler tells how a job execution went.
    StatusOfJob(JobExecutionId),
    /// The scheduler tells how a workflow execution went.
    StatusOfWorkflow(WorkflowExecutionId),
    /// An executor reports about an attempt.
    Report(AttemptId),
    /// A moment came that something waited for.
    Moment {
        /// What waited.
        what: String,
        /// The event that made it wait, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set_by: Option<Offset>,
    },
    /// Another event led to it.
    Event(Offset),
}

impl fmt::Display for ExecutionExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            step.fmt(f)?;
        }
        if self.is_cut {
            f.write_str("\nand more that is left out here")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(ran) => {
                let JobRan { execution, job, workflow_execution, status, because, admission, .. } = &**ran;
                write!(f, "job {job} ran (execution {execution}, {status}) because ")?;
                match because {
                    Because::WithExecution => {
                        write!(f, "it starts together with workflow execution {workflow_execution}")?
                    }
                    because => because.fmt(f)?,
                }
                admitted(f, admission)
            }
            Self::Workflow(ran) => {
                let WorkflowRan { execution, workflow, version, status, because, admission } = &**ran;
                write!(
                    f,
                    "workflow {workflow} ran (execution {execution}, version {version}, {status}) because {because}"
                )?;
                admitted(f, admission)
            }
            Self::Event(event) => event.fmt(f),
            Self::Trimmed { offset } => {
                write!(f, "event {offset} is not in the log any more: what led to it is not known")
            }
            Self::Gone { execution } => {
                write!(f, "execution {execution} is not in the store any more: what led to it is not known")
            }
        }
    }
}

fn admitted(f: &mut fmt::Formatter<'_>, steps: &[AdmissionStep]) -> fmt::Result {
    for (i, step) in steps.iter().enumerate() {
        write!(f, "{}{}: {}", if i == 0 { ", admitted after " } else { "; " }, step.stage, step.reason)?;
    }
    Ok(())
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, text, key, events, n_events } => {
                match text {
                    Some(text) => write!(f, "its rule {text:?} fired")?,
                    None => write!(f, "its rule {rule} fired")?,
                }
                if let Some(key) = key {
                    write!(f, " for {key:?}")?;
                }
                write!(f, " on {}", words::events(events, *n_events))
            }
            Self::Schedule(time) => {
                write!(f, "its schedule {} names the time {}", time.schedule, time.time.to_rfc3339())?;
                f.write_str(if time.backfill { ", which was made up for" } else { "" })
            }
            Self::WithExecution => f.write_str("it starts together with its workflow execution"),
            Self::Repeats { execution } => write!(f, "it repeats execution {execution} of an earlier run"),
            Self::ByHand { request } => write!(f, "it was asked for by event {request}"),
        }
    }
}

impl fmt::Display for EventCame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, text, source, .. } = self;
        write!(f, "event {offset}, {text}, ")?;
        match source {
            Source::Outside { sender } if sender.is_empty() => f.write_str("came from outside"),
            Source::Outside { sender } => write!(f, "came from outside, from {sender}"),
            Source::Request => f.write_str("was asked for from outside"),
            Source::Job { attempt, sender } => {
                let AttemptId { job_execution, attempt } = attempt;
                write!(f, "was published by {sender} (execution {job_execution}, attempt {attempt})")
            }
            Source::StatusOfJob(execution) => write!(f, "tells of job execution {execution}"),
            Source::StatusOfWorkflow(execution) => write!(f, "tells of workflow execution {execution}"),
            Source::Report(attempt) => {
                write!(f, "reports about attempt {} of job execution {}", attempt.attempt, attempt.job_execution)
            }
            Source::Moment { what, set_by: Some(set_by) } => {
                write!(f, "is the moment that {what} waited for since event {set_by}")
            }
            Source::Moment { what, set_by: None } => write!(f, "is the moment that {what} waited for"),
            Source::Event(cause) => write!(f, "follows from event {cause}"),
        }
    }
}
