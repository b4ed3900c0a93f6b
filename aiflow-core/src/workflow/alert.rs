//! Deadlines and hooks: what is said when something is late, and when it ends?

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Diagnostic, EventPattern, Job, Workflow, millis, on};
use crate::client::check_user_event;
use crate::event::{DEADLINE_MISSED, NewEvent, UNDEFINED_EVENT_TYPE};
use crate::execution::{JobStatus, WorkflowStatus};
use crate::id::{JobName, WorkflowName};

/// The most hooks of a job, and of a workflow.
pub const HOOKS_MAX: usize = 64;

/// When a job should be done. Missing it publishes an event of the type
/// [`DEADLINE_MISSED`] that rules can use, and does nothing else: what is late goes on.
///
/// A batch job is done when an execution of it has succeeded, a streaming job when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// How long after that moment, in milliseconds.
    #[serde(with = "millis", rename = "after_ms")]
    pub after: Duration,
    /// After which moment.
    pub of: DeadlineOf,
}

/// From which moment on a deadline counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadlineOf {
    /// The start of each execution of the job; its waiting and retries count. A job that is not started has no deadline.
    Job,
    /// The start of the workflow execution, also for a job that is not started at all.
    WorkflowExecution,
}

impl Deadline {
    /// So long after each start of the job.
    #[must_use]
    pub const fn after_start(after: Duration) -> Self {
        Self { after, of: DeadlineOf::Job }
    }

    /// So long after the start of the workflow execution.
    #[must_use]
    pub const fn after_execution_start(after: Duration) -> Self {
        Self { after, of: DeadlineOf::WorkflowExecution }
    }
}

/// The event that a job has missed its deadline: to be used in rules.
#[must_use]
pub fn deadline_missed(workflow: &WorkflowName, job: &JobName) -> EventPattern {
    on(super::job_key(workflow, job)).event_type(DEADLINE_MISSED)
}

/// The event that an execution of a workflow has missed its deadline: to be used in rules.
#[must_use]
pub fn workflow_deadline_missed(workflow: &WorkflowName) -> EventPattern {
    on(workflow.as_str()).event_type(DEADLINE_MISSED)
}

/// An event that is published when something ends, in the transaction that ends it.
///
/// Whatever is to follow is a rule on that event, of whichever job or workflow: also of one that runs when nothing of the ended workflow
/// runs any more. Where the status alone decides and the same execution is to act, a rule on the status itself
/// ([`job_status`](super::job_status), [`workflow_status`](super::workflow_status)) is all it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// After which ending.
    pub on: HookOn,
    /// Key of the event.
    pub key: String,
    /// Type of the event.
    #[serde(default = "undefined", skip_serializing_if = "is_undefined")]
    pub event_type: String,
    /// Value of the event; if null, an object with what is known of the ending: `workflow`, `execution`, `status`, and for a job `job`,
    /// `job_execution` and `ending`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// Of a job: for all executions instead of the job's own. Events of a workflow's hooks are always for all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broadcast: bool,
}

/// After which ending a hook publishes its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HookOn {
    /// It succeeded.
    Success,
    /// It failed for good.
    Failure,
    /// It was stopped.
    Stop,
    /// Whatever the ending.
    End,
}

/// Publishes an event with this key after a success.
#[must_use]
pub fn on_success(key: impl Into<String>) -> Hook {
    Hook::new(HookOn::Success, key)
}

/// Publishes an event with this key after a failure that no retry mends.
#[must_use]
pub fn on_failure(key: impl Into<String>) -> Hook {
    Hook::new(HookOn::Failure, key)
}

/// Publishes an event with this key after a stop.
#[must_use]
pub fn on_stop(key: impl Into<String>) -> Hook {
    Hook::new(HookOn::Stop, key)
}

/// Publishes an event with this key after any ending.
#[must_use]
pub fn on_end(key: impl Into<String>) -> Hook {
    Hook::new(HookOn::End, key)
}

impl Hook {
    /// A hook with an event that says what is known of the ending.
    #[must_use]
    pub fn new(on: HookOn, key: impl Into<String>) -> Self {
        Self { on, key: key.into(), event_type: undefined(), value: Value::Null, broadcast: false }
    }

    /// Sets the type of the event.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// Sets the value of the event.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.value = value.into();
        self
    }

    /// Lets a job's event concern all executions.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    pub(crate) fn is_of_job(&self, status: JobStatus) -> bool {
        match self.on {
            HookOn::Success => status == JobStatus::Succeeded,
            HookOn::Failure => status == JobStatus::Failed,
            HookOn::Stop => status == JobStatus::Stopped,
            HookOn::End => status.is_terminal(),
        }
    }

    pub(crate) fn is_of_workflow(&self, status: WorkflowStatus) -> bool {
        match self.on {
            HookOn::Success => status == WorkflowStatus::Succeeded,
            HookOn::Failure => status == WorkflowStatus::Failed,
            HookOn::Stop => status == WorkflowStatus::Stopped,
            HookOn::End => status.is_terminal(),
        }
    }

    /// The event, of the project of whoever ended. `known` is its value unless the hook has one.
    pub(crate) fn event(&self, project: &str, known: impl FnOnce() -> Value) -> NewEvent {
        let value = if self.value.is_null() { known() } else { self.value.clone() };
        NewEvent::identified("", project, &self.key).event_type(&self.event_type).value(value)
    }
}

impl Workflow {
    pub(super) fn check_alerts(&self, found: &mut Vec<Diagnostic>) {
        let path = format!("workflow {}", self.name);
        self.check_hooks(&self.hooks, &path, found);
        if self.deadline.is_some_and(|deadline| deadline.as_millis() == 0) {
            found.push(Diagnostic::new(path, "deadline_ms must be at least 1"));
        }
        for Job { name, hooks, deadline, .. } in &self.jobs {
            let path = format!("job {name}");
            self.check_hooks(hooks, &path, found);
            if deadline.is_some_and(|deadline| deadline.after.as_millis() == 0) {
                found.push(Diagnostic::new(path, "after_ms of the deadline must be at least 1"));
            }
        }
    }

    fn check_hooks(&self, hooks: &[Hook], path: &str, found: &mut Vec<Diagnostic>) {
        if hooks.len() > HOOKS_MAX {
            found.push(Diagnostic::new(path, format!("has {} hooks, at most {HOOKS_MAX} are allowed", hooks.len())));
        }
        for (i, hook) in hooks.iter().enumerate() {
            let mut event = hook.event(self.project.as_str(), || Value::Null);
            event.id = "hook".to_owned();
            if let Err(error) = check_user_event(&event) {
                found
                    .push(Diagnostic::new(format!("{path}, hook {}", i.saturating_add(1)), error.message().to_owned()));
            }
        }
    }
}

fn undefined() -> String {
    UNDEFINED_EVENT_TYPE.to_owned()
}

fn is_undefined(event_type: &str) -> bool {
    event_type == UNDEFINED_EVENT_TYPE
}
