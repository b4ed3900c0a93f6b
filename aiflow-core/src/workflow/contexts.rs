//! Contexts: which executions of a workflow does an event concern?

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Diagnostic, Field};
use crate::event::{EVENT_CONTEXTS_MAX, EVENT_FIELD_BYTES_MAX, NewEvent};
use crate::id::Offset;
use crate::time::Timestamp;

/// Where the events of a workflow name the contexts that they concern: the customers, the partitions, the tenants whose executions are meant.
///
/// It is said once for a workflow and holds for all of its rules. Events that have a workflow execution go to the jobs of that execution whatever
/// it says. Written as text: `event`, `all`, `/customers`, `key`, `label tenant`, or any of the last with ` or all`.
///
/// # Source
/// AIFlow 0.3, `ContextExtractor` (`ai_flow/api/context_extractor.py`), which was pickled code.
///
/// ```
/// use aiflow_core::workflow::{ContextOf, Field};
///
/// let of_customers: ContextOf = "/customers or all".parse()?;
/// assert_eq!(of_customers, ContextOf::from(Field::Value("/customers".to_owned())).or_all());
/// # Ok::<(), aiflow_core::workflow::SyntaxError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContextOf {
    /// The contexts that the event itself names; an event that names none concerns all executions.
    #[default]
    Event,
    /// Every event concerns all executions, whatever contexts it names.
    All,
    /// A field of the event, which is a text or a number, or a list of at most [`EVENT_CONTEXTS_MAX`] of them. Not its time or offset.
    Field {
        /// The field.
        field: Field,
        /// An event that has it not concerns all. Otherwise it concerns none, and that is recorded
        /// ([`NoContext`](crate::execution::FiringOutcome::NoContext)) by each rule for which it would have counted; but what comes from an
        /// execution, such as its status events, stays as it is under [`ContextOf::Event`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        or_all: bool,
    },
}

impl From<Field> for ContextOf {
    fn from(field: Field) -> Self {
        Self::Field { field, or_all: false }
    }
}

/// The executions that an event concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Contexts {
    /// All.
    #[default]
    All,
    /// Those that carry one of these contexts.
    These(BTreeSet<String>),
}

impl Contexts {
    fn named(contexts: &BTreeSet<String>) -> Self {
        if contexts.is_empty() { Self::All } else { Self::These(contexts.clone()) }
    }

    /// Whether what carries this context is concerned.
    pub(crate) fn concern(&self, carried: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::These(contexts) => carried.is_some_and(|carried| contexts.contains(carried)),
        }
    }

    /// The contexts in which something is to be started, one after the other: none, once, if all are concerned.
    pub(crate) fn each(self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::These(contexts) => contexts.into_iter().map(Some).collect(),
        }
    }
}

impl ContextOf {
    /// An event that has not the field concerns all executions.
    #[must_use]
    pub fn or_all(self) -> Self {
        match self {
            Self::Field { field, .. } => Self::Field { field, or_all: true },
            Self::Event | Self::All => self,
        }
    }

    pub(crate) fn is_event(&self) -> bool {
        *self == Self::Event
    }

    /// Whether there may be events that concern none, because they do not say whom.
    pub(crate) fn must_be_said(&self) -> bool {
        matches!(self, Self::Field { or_all: false, .. })
    }

    /// Whom `event` concerns; `None` if it should say so and does not.
    pub(crate) fn of(&self, event: &NewEvent) -> Option<Contexts> {
        let named = || Contexts::named(&event.context.contexts);
        match self {
            Self::Event => Some(named()),
            Self::All => Some(Contexts::All),
            Self::Field { field, or_all } => match contexts_in(field, event) {
                Some(contexts) => Some(Contexts::These(contexts)),
                None if *or_all => Some(Contexts::All),
                None => event.context.workflow_execution.is_some().then(named),
            },
        }
    }

    pub(super) fn check(&self, found: &mut Vec<Diagnostic>) {
        let Self::Field { field, .. } = self else { return };
        let problem = match field {
            Field::Time | Field::Offset => "an event names no context by its time or offset",
            Field::Value(pointer) if !(pointer.is_empty() || pointer.starts_with('/')) => {
                "the pointer must be empty or begin with \"/\""
            }
            _ => return,
        };
        found.push(Diagnostic::new("contexts", problem));
    }
}

/// The contexts that a field names.
fn contexts_in(field: &Field, event: &NewEvent) -> Option<BTreeSet<String>> {
    // Neither the time nor the offset is asked for.
    let names = match field.of(event, Offset::START, Timestamp::EPOCH)? {
        Value::Array(names) => names,
        name => vec![name],
    };
    if names.is_empty() || names.len() > EVENT_CONTEXTS_MAX {
        return None;
    }
    let name = |name: Value| {
        let text = match name {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(is) => is.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        (1..=EVENT_FIELD_BYTES_MAX).contains(&text.len()).then_some(text)
    };
    names.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(of: &str, event: &NewEvent) -> String {
        match of.parse::<ContextOf>().unwrap().of(event) {
            None => "none".to_owned(),
            Some(Contexts::All) => "all".to_owned(),
            Some(Contexts::These(contexts)) => contexts.into_iter().collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn contexts_are_those_of_the_event_or_of_its_fields() {
        let event = |value: Value| NewEvent::identified("1", "p", "paid").value(value).label("tenant", "eu");
        let two =
            event(json!({"customers": ["ada", 7], "one": "bob", "none": [], "odd": [{}], "long": "x".repeat(300)}));
        let many: Vec<usize> = (0..=EVENT_CONTEXTS_MAX).collect();
        for (of, event, expected) in [
            ("event", two.clone(), "all"),
            ("event", two.clone().in_contexts(["x", "y"]), "x y"),
            ("all", two.clone().in_context("x"), "all"),
            ("/customers", two.clone().in_context("x"), "7 ada"),
            ("/one", two.clone(), "bob"),
            ("key", two.clone(), "paid"),
            ("label tenant", two.clone(), "eu"),
            ("/none", two.clone(), "none"),
            ("/odd", two.clone(), "none"),
            ("/long", two.clone(), "none"),
            ("/gone", two.clone(), "none"),
            ("/gone or all", two.clone(), "all"),
            ("/gone or all", two.clone().in_context("x"), "all"),
            ("value", event(json!(many)), "none"),
            ("value", event(json!("ada")), "ada"),
            ("/gone", two.clone().for_execution(crate::id::WorkflowExecutionId::new(Offset(1), 0)), "all"),
        ] {
            assert_eq!(shown(of, &event), expected, "{of} of {event:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for text in
            ["event", "all", "/customers", "value", "key or all", "label \"x or all\"", "sender", "label tenant or all"]
        {
            let read: ContextOf = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        for (text, problem) in
            [("", "column 1"), ("/x of samples", "or all"), ("key or none", "or all"), ("events", "a JSON pointer")]
        {
            let error = text.parse::<ContextOf>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
