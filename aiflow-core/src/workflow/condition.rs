//! Conditions: which events does a rule wait for?
//!
//! Plain, closed data; the engine evaluates it. Source: seed "Control Edge"; AIFlow 0.3 `EventCondition` (MEET_ALL, MEET_ANY), `EventLife`,
//! `ValueCondition`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{JOB_STATUS_CHANGED, Match, NewEvent, WORKFLOW_STATUS_CHANGED};
use crate::id::{JobName, WorkflowName};
use crate::status::{JobStatus, WorkflowStatus};

/// What must have happened for a rule to fire.
///
/// # Consumption
/// A firing uses the oldest pending event of each `once` operand it needs, and the newest event that stands of each `repeated` one. An event serves at most one firing of a rule as a `once` operand, and
/// rules never influence one another. `any` uses one branch and the others keep what they have: the branch that uses the event just
/// arrived, otherwise that whose oldest used event is oldest, otherwise the first in definition order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// An event matches.
    On(EventPattern),
    /// A job of the same workflow reached one of these statuses: sugar for its status event.
    JobStatus {
        /// The job.
        job: JobName,
        /// Any of these statuses.
        statuses: Vec<JobStatus>,
        /// How long a match counts.
        #[serde(default)]
        life: Life,
    },
    /// All of these hold. Must not be empty.
    All(Vec<Self>),
    /// At least one of these holds. Must not be empty.
    Any(Vec<Self>),
}

/// Which events match an operand: all fields and the value test must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventPattern {
    /// Key.
    pub key: Match,
    /// Namespace; the workflow's project if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Match>,
    /// Event type, any by default.
    #[serde(default, skip_serializing_if = "is_any")]
    pub event_type: Match,
    /// Sender, any by default; `Exact("")` is "no sender".
    #[serde(default, skip_serializing_if = "is_any")]
    pub sender: Match,
    /// Test of the value.
    #[serde(default, skip_serializing_if = "ValueTest::is_updated")]
    pub value: ValueTest,
    /// How long a match counts.
    #[serde(default, skip_serializing_if = "Life::is_once")]
    pub life: Life,
    /// Also sees events of other workflow executions. A pattern that names another namespace does so anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_execution: bool,
}

fn is_any(pattern: &Match) -> bool {
    *pattern == Match::Any
}

/// A test of an event's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueTest {
    /// Any value: the event itself is the news.
    #[default]
    Updated,
    /// This value.
    Equals(Value),
}

impl ValueTest {
    /// Whether `value` passes.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Updated => true,
            Self::Equals(expected) => expected == value,
        }
    }

    fn is_updated(&self) -> bool {
        *self == Self::Updated
    }
}

/// How long a match counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Life {
    /// Once: matches wait in a queue, first in first out, and each serves exactly one firing.
    #[default]
    Once,
    /// Until a later event of the same namespace, key, type and sender fails the value test; firings do not use it up.
    Repeated,
}

impl Life {
    fn is_once(&self) -> bool {
        *self == Self::Once
    }
}

/// The stage of a model version, as in the original AIFlow's model center.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ModelStage {
    /// Trained and registered.
    Generated,
    /// Evaluated and found good.
    Validated,
    /// In use; at most one version of a model.
    Deployed,
    /// No longer in use.
    Deprecated,
    /// Removed.
    Deleted,
}

impl ModelStage {
    /// The stage in capitals, as stored: `GENERATED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "GENERATED",
            Self::Validated => "VALIDATED",
            Self::Deployed => "DEPLOYED",
            Self::Deprecated => "DEPRECATED",
            Self::Deleted => "DELETED",
        }
    }

    /// Type of the event that a version reached this stage: `MODEL_GENERATED`.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Generated => "MODEL_GENERATED",
            Self::Validated => "MODEL_VALIDATED",
            Self::Deployed => "MODEL_DEPLOYED",
            Self::Deprecated => "MODEL_DEPRECATED",
            Self::Deleted => "MODEL_DELETED",
        }
    }
}

impl std::fmt::Display for ModelStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event with this key. `*` is any key, `model.*` any key that begins so.
///
/// ```
/// use aiflow_core::workflow::{all, on, start};
/// let rule = start(all([on("samples").equals("ready"), on("model.*").repeated()]));
/// ```
#[must_use]
pub fn on(key: impl Into<Match>) -> EventPattern {
    EventPattern {
        key: key.into(),
        namespace: None,
        event_type: Match::Any,
        sender: Match::Any,
        value: ValueTest::Updated,
        life: Life::Once,
        any_execution: false,
    }
}

/// A version of `model` reached `stage`, in the workflow's project.
#[must_use]
pub fn on_model_version(model: impl Into<String>, stage: ModelStage) -> EventPattern {
    EventPattern { any_execution: true, ..on(Match::Exact(model.into())) }.event_type(stage.event_type())
}

/// A job of the same workflow execution reached `status`.
#[must_use]
pub fn job_status(job: &JobName, status: JobStatus) -> Condition {
    Condition::JobStatus { job: job.clone(), statuses: vec![status], life: Life::Once }
}

/// An execution of `workflow`, in the same project, reached `status`.
#[must_use]
pub fn workflow_status(workflow: &WorkflowName, status: WorkflowStatus) -> EventPattern {
    EventPattern { any_execution: true, ..on(Match::exact(workflow.as_str())) }
        .event_type(WORKFLOW_STATUS_CHANGED)
        .equals(status.as_str())
}

/// All of these hold.
#[must_use]
pub fn all<C: Into<Condition>>(conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::All(conditions.into_iter().map(Into::into).collect())
}

/// At least one of these holds.
#[must_use]
pub fn any<C: Into<Condition>>(conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::Any(conditions.into_iter().map(Into::into).collect())
}

impl From<EventPattern> for Condition {
    fn from(pattern: EventPattern) -> Self {
        Self::On(pattern)
    }
}

impl Condition {
    /// Both this and `other` hold.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self::All(vec![self, other.into()])
    }

    /// This or `other` holds.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self::Any(vec![self, other.into()])
    }

    /// The jobs whose status it waits for, in definition order.
    pub(crate) fn jobs(&self) -> Vec<&JobName> {
        match self {
            Self::On(_) => Vec::new(),
            Self::JobStatus { job, .. } => vec![job],
            Self::All(conditions) | Self::Any(conditions) => conditions.iter().flat_map(Self::jobs).collect(),
        }
    }

    /// Gives every job whose status it waits for the name that `rename` says.
    pub(crate) fn rename_jobs(&mut self, rename: &impl Fn(&JobName) -> JobName) {
        match self {
            Self::On(_) => {}
            Self::JobStatus { job, .. } => *job = rename(job),
            Self::All(conditions) | Self::Any(conditions) => {
                for condition in conditions {
                    condition.rename_jobs(rename);
                }
            }
        }
    }

    /// The operands, in definition order, with job statuses written out as patterns of `workflow`.
    pub(crate) fn operands(&self, workflow: &WorkflowName) -> Vec<EventPattern> {
        let mut operands = Vec::new();
        self.collect(workflow, &mut operands);
        operands
    }

    fn collect(&self, workflow: &WorkflowName, operands: &mut Vec<EventPattern>) {
        match self {
            Self::On(pattern) => operands.push(pattern.clone()),
            Self::JobStatus { job, statuses, life } => {
                operands.extend(statuses.iter().map(|status| EventPattern {
                    life: *life,
                    ..on(Match::exact(job_key(workflow, job))).event_type(JOB_STATUS_CHANGED).equals(status.as_str())
                }));
            }
            Self::All(conditions) | Self::Any(conditions) => {
                for condition in conditions {
                    condition.collect(workflow, operands);
                }
            }
        }
    }
}

/// Key of a job's status events.
#[must_use]
pub(crate) fn job_key(workflow: &WorkflowName, job: &JobName) -> String {
    format!("{workflow}/{job}")
}

impl EventPattern {
    /// The value must equal this.
    #[must_use]
    pub fn equals(mut self, value: impl Into<Value>) -> Self {
        self.value = ValueTest::Equals(value.into());
        self
    }

    /// Any value counts (the default).
    #[must_use]
    pub fn updated(mut self) -> Self {
        self.value = ValueTest::Updated;
        self
    }

    /// The namespace must match; the default is the workflow's project.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Match>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The event type must match.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<Match>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// The sender must match.
    #[must_use]
    pub fn sender(mut self, sender: impl Into<Match>) -> Self {
        self.sender = sender.into();
        self
    }

    /// Each match serves one firing (the default).
    #[must_use]
    pub fn once(mut self) -> Self {
        self.life = Life::Once;
        self
    }

    /// A match counts until its key changes.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.life = Life::Repeated;
        self
    }

    /// Sees events of every workflow execution, not only of its own.
    #[must_use]
    pub fn any_execution(mut self) -> Self {
        self.any_execution = true;
        self
    }

    /// Both this and `other` hold.
    #[must_use]
    pub fn and(self, other: impl Into<Condition>) -> Condition {
        Condition::from(self).and(other)
    }

    /// This or `other` holds.
    #[must_use]
    pub fn or(self, other: impl Into<Condition>) -> Condition {
        Condition::from(self).or(other)
    }

    /// Whether all fields but the value match, for a workflow of `project`.
    #[must_use]
    pub(crate) fn fields_match(&self, project: &str, event: &NewEvent) -> bool {
        let namespace_matches = match &self.namespace {
            Some(namespace) => namespace.matches(&event.namespace),
            None => event.namespace == project,
        };
        namespace_matches
            && self.key.matches(&event.key)
            && self.event_type.matches(&event.event_type)
            && self.sender.matches(&event.sender)
    }

    /// Whether it sees events of other workflow executions than its own.
    #[must_use]
    pub(crate) fn sees_other_executions(&self, project: &str) -> bool {
        self.any_execution || self.namespace.as_ref().is_some_and(|namespace| *namespace != Match::exact(project))
    }
}
