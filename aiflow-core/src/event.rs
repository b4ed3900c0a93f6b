//! Events: what happened, to what, said by whom, and caused by what?
//!
//! Everything that the scheduler reacts to is an event on one ordered log: user events, reports of executors, operator commands, timer
//! ticks and metadata changes. Source: seed "Notification Service" and "Event".

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::id::{AttemptId, Offset, WorkflowExecutionId, random_id};
use crate::time::Timestamp;

/// The largest event value, in bytes of JSON.
pub const EVENT_VALUE_BYTES_MAX: usize = 256 * 1024;
/// The longest event key, in bytes.
pub const EVENT_KEY_BYTES_MAX: usize = 1024;
/// The longest namespace, event type, sender or event id, in bytes.
pub const EVENT_FIELD_BYTES_MAX: usize = 256;
/// The largest set of context labels, in bytes of names and values.
pub const EVENT_LABELS_BYTES_MAX: usize = 16 * 1024;
/// The most named contexts that an event concerns.
pub const EVENT_CONTEXTS_MAX: usize = 64;
/// The longest chain of causes: rules do not act on an event that lies deeper, and that is recorded. It bounds loops of rules that feed
/// themselves; a loop that is meant to go on is begun again by an event from outside. The first run of a job in its workflow execution adds
/// nothing, so that a long chain of jobs is no loop.
pub const EVENT_HOPS_MAX: u32 = 1_000;

/// The event type of events that name none, as in the original AIFlow.
pub const UNDEFINED_EVENT_TYPE: &str = "UNDEFINED";
/// Type of the event that a job's status changed. Namespace = project, key = `workflow/job`, value = the status in capitals.
pub const JOB_STATUS_CHANGED: &str = "JOB_STATUS_CHANGED";
/// Label of the status event of what was stopped: the reason that was given.
pub const STOP_REASON: &str = "stop_reason";
/// Type of the event that a workflow execution's status changed. Namespace = project, key = workflow, value = the status in capitals.
pub const WORKFLOW_STATUS_CHANGED: &str = "WORKFLOW_STATUS_CHANGED";
/// Type of the event that a job, or an execution of a workflow, was not done at its deadline. Namespace = project, key = `workflow/job` or
/// workflow, value = an object with `status`, `deadline` (RFC 3339) and, if the deadline is that of one execution of a job, `job_execution`.
pub const DEADLINE_MISSED: &str = "DEADLINE_MISSED";
/// Type of the event that a dataset was registered or changed, or has a new version. Key = dataset, value = `{"id", "change", "uri"}` and
/// what else the change is about; see [`Registry`](crate::meta::Registry).
pub const DATASET_CHANGED: &str = "DATASET_CHANGED";
/// Type of the event that a model version reached a stage of the model's own. Key = model, value = `{"version", "uri", "stage"}` and more. The
/// built-in stages have types of their own, see [`ModelStage::event_type`](crate::workflow::ModelStage::event_type).
pub const MODEL_STAGE_CHANGED: &str = "MODEL_STAGE_CHANGED";
/// Type of the event that an alias of a model names another version, or is protected or free. Key = model, value = `{"alias", "from",
/// "version", "protected"}`; `version` is null if the alias is gone.
pub const ALIAS_CHANGED: &str = "ALIAS_CHANGED";
/// Type of the event that values of a metric were recorded: one for the values of a metric of a subject in one call. Key = metric, value =
/// `{"value", "min", "max", "points", "subject"}`, and `"step"` if it has one. `value` and `step` are those of the last value.
pub const METRIC_RECORDED: &str = "METRIC_RECORDED";
/// Namespace of the scheduler's own commands, reports and timer ticks. No rule matches it and no user may publish to it.
pub const SYSTEM_NAMESPACE: &str = "aiflow.system";

/// An event as it stands in the log.
///
/// # Shape
/// Offsets rise strictly; gaps are allowed, later insertion below a read offset is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the log, given by the bus.
    pub offset: Offset,
    /// When the bus appended it. The scheduler's notion of "now" while it applies the event.
    pub recorded: Timestamp,
    /// What was published.
    #[serde(flatten)]
    pub body: NewEvent,
}

impl std::ops::Deref for Event {
    type Target = NewEvent;
    fn deref(&self) -> &NewEvent {
        &self.body
    }
}

/// An event to publish.
///
/// ```
/// use aiflow_core::event::NewEvent;
/// let event = NewEvent::new("wine", "samples").value("batch-7").sender("ingest");
/// assert_eq!(event.event_type, "UNDEFINED");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// Unique id, at most [`EVENT_FIELD_BYTES_MAX`] bytes: publishing it again returns the first offset. CloudEvents `id`.
    pub id: String,
    /// The project, by default; 1 to [`EVENT_FIELD_BYTES_MAX`] bytes.
    pub namespace: String,
    /// What it is about; 1 to [`EVENT_KEY_BYTES_MAX`] bytes. CloudEvents `subject`.
    pub key: String,
    /// The type, [`UNDEFINED_EVENT_TYPE`] by default. CloudEvents `type`.
    pub event_type: String,
    /// Text or JSON, at most [`EVENT_VALUE_BYTES_MAX`] bytes of JSON. CloudEvents `data`.
    #[serde(default)]
    pub value: Value,
    /// Who says so; may be empty. CloudEvents `source`.
    #[serde(default)]
    pub sender: String,
    /// Which executions it concerns.
    #[serde(default, skip_serializing_if = "EventContext::is_empty")]
    pub context: EventContext,
    /// When it happened, by the sender's clock; the moment of appending if `None`. CloudEvents `time`. Not used for ordering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// The event that led to another, and how long the chain of causes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Offset of the event that led to this one.
    pub offset: Offset,
    /// Number of causes back to the first outside event, from 1.
    pub hops: u32,
}

/// Which executions an event concerns.
///
/// An event with a workflow execution concerns the jobs of that execution only; one with named contexts, those of the running executions
/// that carry one of them; one without either, those of all running executions of its namespace. Workflow rules see all: they start an
/// execution in each of the contexts of the event, and stop or restart those that carry one of them. A workflow may say that its events name their
/// contexts elsewhere: [`ContextOf`](crate::workflow::ContextOf).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventContext {
    /// The workflow execution concerned; all of the namespace if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_execution: Option<WorkflowExecutionId>,
    /// The attempt that published it, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// Only the rules of the workflow execution itself see it: it comes from a backfill that spares the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// The event that it says again, because that one could not be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<Offset>,
    /// The one rule that is to see it, after its owner, `wine/quality/start-1a2b` or `12.0/train/start-1a2b`; every rule if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_rule: Option<String>,
    /// Named contexts: of the executions of the namespace, only those that carry one of them are concerned; all if empty. At most
    /// [`EVENT_CONTEXTS_MAX`], each of at most [`EVENT_FIELD_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub contexts: BTreeSet<String>,
    /// Free labels, at most [`EVENT_LABELS_BYTES_MAX`] bytes in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl EventContext {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl NewEvent {
    /// An event with a fresh random id, the undefined type, a null value and no sender.
    #[must_use]
    pub fn new(namespace: impl Into<String>, key: impl Into<String>) -> Self {
        Self::identified(random_id(), namespace, key)
    }

    /// An event with the given id: publishing it twice appends it once.
    #[must_use]
    pub fn identified(id: impl Into<String>, namespace: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            namespace: namespace.into(),
            key: key.into(),
            event_type: UNDEFINED_EVENT_TYPE.to_owned(),
            value: Value::Null,
            sender: String::new(),
            context: EventContext::default(),
            time: None,
            cause: None,
        }
    }

    /// Sets the id; choose one that names the fact, and a repeated publish is harmless.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the type.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// Sets the value: text, a number, or any JSON.
    #[must_use]
    pub fn value(mut self, value: impl Into<Value>) -> Self {
        self.value = value.into();
        self
    }

    /// Sets the sender.
    #[must_use]
    pub fn sender(mut self, sender: impl Into<String>) -> Self {
        self.sender = sender.into();
        self
    }

    /// Sets the moment it happened.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Narrows the event to one workflow execution.
    #[must_use]
    pub fn for_execution(mut self, execution: WorkflowExecutionId) -> Self {
        self.context.workflow_execution = Some(execution);
        self
    }

    /// Narrows the event to the workflow executions that carry this context, or another one that was named before.
    #[must_use]
    pub fn in_context(self, context: impl Into<String>) -> Self {
        self.in_contexts([context])
    }

    /// Narrows the event to the workflow executions that carry one of these contexts.
    #[must_use]
    pub fn in_contexts<C: Into<String>>(mut self, contexts: impl IntoIterator<Item = C>) -> Self {
        self.context.contexts.extend(contexts.into_iter().map(Into::into));
        self
    }

    /// Adds a label to the context.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.context.labels.insert(name.into(), value.into());
        self
    }

    /// Number of causes behind this event; 0 for one from outside.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.cause.map_or(0, |cause| cause.hops)
    }

    /// Whether two events with the same id say the same: all fields but the times and causes agree.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.namespace == other.namespace
            && self.key == other.key
            && self.event_type == other.event_type
            && self.value == other.value
            && self.sender == other.sender
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// `Invalid`, naming all fields that are out of bounds.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut field = |name: &str, text: &str, min: usize, max: usize| {
            if text.len() < min {
                problems.push(format!("{name} is empty"));
            } else if text.len() > max {
                problems.push(format!("{name} has {} bytes, at most {max} are allowed", text.len()));
            } else if text.contains('\0') {
                problems.push(format!("{name} contains a NUL character"));
            }
        };
        field("id", &self.id, 1, EVENT_FIELD_BYTES_MAX);
        field("namespace", &self.namespace, 1, EVENT_FIELD_BYTES_MAX);
        field("key", &self.key, 1, EVENT_KEY_BYTES_MAX);
        field("event_type", &self.event_type, 1, EVENT_FIELD_BYTES_MAX);
        field("sender", &self.sender, 0, EVENT_FIELD_BYTES_MAX);
        for context in &self.context.contexts {
            field("context", context, 1, EVENT_FIELD_BYTES_MAX);
        }
        if self.context.contexts.len() > EVENT_CONTEXTS_MAX {
            let n = self.context.contexts.len();
            problems
                .push(format!("{n} contexts are named, at most {EVENT_CONTEXTS_MAX} are allowed; broadcast the event"));
        }
        let value_bytes = json_bytes_if_many(&self.value);
        if value_bytes > EVENT_VALUE_BYTES_MAX {
            problems.push(format!("value has {value_bytes} bytes, at most {EVENT_VALUE_BYTES_MAX} are allowed; publish a reference instead"));
        }
        let label_bytes: usize =
            self.context.labels.iter().map(|(name, value)| name.len().saturating_add(value.len())).sum();
        if label_bytes > EVENT_LABELS_BYTES_MAX {
            problems.push(format!("labels have {label_bytes} bytes, at most {EVENT_LABELS_BYTES_MAX} are allowed"));
        }
        if problems.is_empty() {
            return Ok(());
        }
        let key: String = self.key.chars().take(60).flat_map(char::escape_default).collect();
        Err(Error::invalid("publish", problems.join("; ")).with("key", format!("\"{key}\"")))
    }
}

/// As [`json_bytes`], or 0 if it is plain that a bound cannot be reached.
fn json_bytes_if_many(value: &Value) -> usize {
    /// The longest escape of a byte, `\u0000`.
    const ESCAPE_BYTES: usize = 6;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) if text.len() < EVENT_VALUE_BYTES_MAX / ESCAPE_BYTES - 2 => 0,
        _ => json_bytes(value),
    }
}

/// Length of `value` as compact JSON, without building it; strings are counted with their escapes.
pub(crate) fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing a `Value` into a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// How one text field of an event is compared.
///
/// Written as text: `*` is any, `model.*` a prefix, everything else exact. Use [`Match::exact`] for a field that ends in a star.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Any text.
    #[default]
    Any,
    /// This text.
    Exact(String),
    /// Text that begins so.
    Prefix(String),
}

impl Match {
    /// Exactly this text, stars included.
    #[must_use]
    pub fn exact(text: impl Into<String>) -> Self {
        Self::Exact(text.into())
    }

    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }
}

impl From<&str> for Match {
    fn from(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some("") => Self::Any,
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }
}

impl From<String> for Match {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Match {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Which events a reader wants: all four fields must match. The default wants everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventFilter {
    /// Namespace.
    pub namespace: Match,
    /// Key.
    pub key: Match,
    /// Event type.
    pub event_type: Match,
    /// Sender.
    pub sender: Match,
}

impl EventFilter {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Restricts the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Match>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Restricts the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Match>) -> Self {
        self.key = key.into();
        self
    }

    /// Restricts the event type.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<Match>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// Restricts the sender.
    #[must_use]
    pub fn sender(mut self, sender: impl Into<Match>) -> Self {
        self.sender = sender.into();
        self
    }

    /// Whether `event` is wanted.
    #[must_use]
    pub fn matches(&self, event: &NewEvent) -> bool {
        self.key.matches(&event.key)
            && self.namespace.matches(&event.namespace)
            && self.event_type.matches(&event.event_type)
            && self.sender.matches(&event.sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_is_a_prefix() {
        assert_eq!(Match::from("*"), Match::Any);
        assert_eq!(Match::from("model.*"), Match::Prefix("model.".to_owned()));
        assert!(Match::from("model.*").matches("model.wine"));
        assert!(!Match::from("model.*").matches("modelwine"));
        assert!(Match::exact("a*").matches("a*") && !Match::exact("a*").matches("ab"));
    }

    #[test]
    fn all_problems_of_an_event_are_named_at_once() {
        let event = NewEvent::new("", "k".repeat(2000)).value("v".repeat(EVENT_VALUE_BYTES_MAX));
        let text = event.check().unwrap_err().to_string();
        assert!(
            text.contains("namespace is empty")
                && text.contains("key has 2000 bytes")
                && text.contains("value has 262146 bytes"),
            "{text}"
        );
    }

    #[test]
    fn an_event_reads_back_as_written() {
        let event = Event {
            offset: Offset(7),
            recorded: Timestamp::from_millis(5),
            body: NewEvent::new("wine", "samples").value(serde_json::json!({"n": 3})),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}
