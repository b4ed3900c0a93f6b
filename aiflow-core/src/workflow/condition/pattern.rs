//! Patterns: which single events match an operand, and how long does a match count?

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Comparison, Condition, ModelStage, ValueTest};
use crate::event::{ALIAS_CHANGED, DATASET_CHANGED, METRIC_RECORDED, Match, NewEvent, WORKFLOW_STATUS_CHANGED};
use crate::id::WorkflowName;
use crate::status::WorkflowStatus;

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

/// How long a match counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Life {
    /// Once: matches wait in a queue, first in first out, and each serves exactly one firing.
    #[default]
    Once,
    /// Once, and only the newest match waits: it replaces the one before it, which is recorded as replaced.
    Latest,
    /// Until a later event of the same namespace, key, type and sender fails the value test; firings do not use it up.
    Repeated,
}

impl Life {
    fn is_once(&self) -> bool {
        *self == Self::Once
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
    let pattern = on_metadata(model, stage.event_type());
    match &stage {
        ModelStage::Custom(name) => pattern.at("/stage", ValueTest::Equals(name.as_str().into())),
        _ => pattern,
    }
}

/// An alias of `model` names another version, in the workflow's project.
#[must_use]
pub fn on_alias(model: impl Into<String>, alias: impl Into<String>) -> EventPattern {
    on_metadata(model, ALIAS_CHANGED).at("/alias", ValueTest::Equals(Value::String(alias.into())))
}

/// A dataset was registered or changed, has a new version, or its data was said to have changed, in the workflow's project.
///
/// ```
/// use aiflow_core::workflow::{on_dataset, start};
/// let rule = start(on_dataset("samples"));
/// ```
#[must_use]
pub fn on_dataset(name: impl Into<String>) -> EventPattern {
    on_metadata(name, DATASET_CHANGED)
}

/// A value of a metric was recorded that compares so with `value`, on whatever it was measured, in the workflow's project. Values that were
/// recorded together count as one match.
///
/// ```
/// use aiflow_core::workflow::{Comparison, on_metric, start};
/// let rule = start(on_metric("drift", Comparison::Greater, 0.2));
/// ```
#[must_use]
pub fn on_metric(name: impl Into<String>, comparison: Comparison, value: f64) -> EventPattern {
    // If any of the values passes, so does the least, or the greatest, of them.
    let pointer = match comparison {
        Comparison::Less | Comparison::LessOrEqual => "/min",
        Comparison::Greater | Comparison::GreaterOrEqual => "/max",
        Comparison::NotEqual => "/value",
    };
    on_metadata(name, METRIC_RECORDED).at(pointer, ValueTest::Compare(comparison, value.into()))
}

/// What any execution says of metadata concerns all.
fn on_metadata(key: impl Into<String>, event_type: &str) -> EventPattern {
    EventPattern { any_execution: true, ..on(Match::Exact(key.into())) }.event_type(event_type)
}

/// An execution of `workflow`, in the same project, reached `status`.
#[must_use]
pub fn workflow_status(workflow: &WorkflowName, status: WorkflowStatus) -> EventPattern {
    EventPattern { any_execution: true, ..on(Match::exact(workflow.as_str())) }
        .event_type(WORKFLOW_STATUS_CHANGED)
        .equals(status.as_str())
}

impl EventPattern {
    /// The value must equal this.
    #[must_use]
    pub fn equals(self, value: impl Into<Value>) -> Self {
        self.test(ValueTest::Equals(value.into()))
    }

    /// The value must compare so with `value`: `on("drift").compares(Comparison::Greater, 0.2)`.
    ///
    /// `<`, `<=`, `>` and `>=` compare two numbers or two texts. An event whose value is neither is a dead letter of the rule; one without a
    /// value does not match.
    #[must_use]
    pub fn compares(self, comparison: Comparison, value: impl Into<Value>) -> Self {
        self.test(ValueTest::Compare(comparison, value.into()))
    }

    /// The value must be one of these.
    #[must_use]
    pub fn one_of<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        self.test(ValueTest::In(values.into_iter().map(Into::into).collect()))
    }

    /// The part of the value at this JSON pointer (RFC 6901, `/metrics/accuracy`) must pass the test. An event without it does not match.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>, test: ValueTest) -> Self {
        self.test(ValueTest::At { pointer: pointer.into(), test: Box::new(test) })
    }

    /// The CEL expression must be true. Needs the feature `cel`.
    ///
    /// It sees `value`, `key`, `event_type`, `ns` (the namespace), `sender`, `labels` (texts) and `time_ms`. A field that is missing makes it
    /// false; any other error is a dead letter of the rule and event.
    #[must_use]
    pub fn cel(self, expression: impl Into<String>) -> Self {
        self.test(ValueTest::Cel(expression.into()))
    }

    /// Any value counts (the default).
    #[must_use]
    pub fn updated(self) -> Self {
        self.test(ValueTest::Updated)
    }

    fn test(mut self, test: ValueTest) -> Self {
        self.value = test;
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

    /// The event must have no sender.
    #[must_use]
    pub fn no_sender(self) -> Self {
        self.sender(Match::exact(""))
    }

    /// Each match serves one firing (the default).
    #[must_use]
    pub fn once(self) -> Self {
        self.life(Life::Once)
    }

    /// Only the newest match waits, and serves one firing.
    #[must_use]
    pub fn latest(self) -> Self {
        self.life(Life::Latest)
    }

    /// A match counts until its key changes.
    #[must_use]
    pub fn repeated(self) -> Self {
        self.life(Life::Repeated)
    }

    fn life(mut self, life: Life) -> Self {
        self.life = life;
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
