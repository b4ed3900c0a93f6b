//! Value tests: does what an event says pass?
//!
//! Three outcomes are no answer and are told apart: a value that is *missing* makes a test false and is worth a record; a value of the wrong
//! *kind* is an error, of which the rule is told.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::event::NewEvent;

/// The longest CEL expression, in bytes.
pub const CEL_BYTES_MAX: usize = 1024;

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
    /// A value that compares so with this one.
    Compare(Comparison, Value),
    /// One of these values.
    In(Vec<Value>),
    /// The part at a JSON pointer (RFC 6901) passes a test.
    At {
        /// `/metrics/accuracy`; empty for the whole value.
        pointer: String,
        /// What the part must pass.
        test: Box<Self>,
    },
    /// A CEL expression over value and envelope is true; at most [`CEL_BYTES_MAX`] bytes, and not below [`At`](Self::At).
    Cel(String),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Less than.
    #[serde(rename = "<")]
    Less,
    /// At most.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// More than.
    #[serde(rename = ">")]
    Greater,
    /// At least.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// Anything else.
    #[serde(rename = "!=")]
    NotEqual,
}

impl Comparison {
    /// As written: `<=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::NotEqual => "!=",
        }
    }
}

/// What a test says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tested {
    Holds,
    Fails,
    /// What it asks for is not there, and what that is.
    Missing(String),
}

impl Tested {
    fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

impl ValueTest {
    /// Whether a value passes; false if that cannot be said, and for CEL, which looks at more than the value.
    #[must_use]
    pub fn holds(&self, value: &Value) -> bool {
        plain(self, value) == Ok(Tested::Holds)
    }

    pub(crate) fn is_updated(&self) -> bool {
        *self == Self::Updated
    }

    /// Why this cannot be evaluated, if it cannot.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Updated | Self::Equals(_) => None,
            Self::Compare(Comparison::NotEqual, _) => None,
            Self::Compare(_, Value::Number(_) | Value::String(_)) => None,
            Self::Compare(comparison, other) => {
                Some(format!("{} compares numbers or texts, not {other}", comparison.as_str()))
            }
            Self::In(values) if values.is_empty() => Some("an empty list of values holds for no event".to_owned()),
            Self::In(_) => None,
            Self::At { pointer, .. } if !(pointer.is_empty() || pointer.starts_with('/')) => {
                Some(format!("{pointer:?} is no JSON pointer; it must begin with '/'"))
            }
            Self::At { test, .. } if matches!(**test, Self::At { .. } | Self::Cel(_)) => {
                Some("below a JSON pointer stands neither another pointer nor CEL".to_owned())
            }
            Self::At { test, .. } => test.problem(),
            Self::Cel(expression) => CompiledTest::cel(expression).err(),
        }
    }
}

/// A test that is ready for many events.
#[derive(Debug, Clone)]
pub(crate) enum CompiledTest {
    Plain(ValueTest),
    #[cfg(feature = "cel")]
    Cel(std::sync::Arc<super::cel::Expression>),
    /// It was stored by a build that could evaluate it.
    Unusable(String),
}

impl CompiledTest {
    pub(crate) fn new(test: &ValueTest) -> Self {
        match test {
            ValueTest::Cel(expression) => Self::cel(expression).unwrap_or_else(Self::Unusable),
            plain => Self::Plain(plain.clone()),
        }
    }

    #[cfg(feature = "cel")]
    fn cel(expression: &str) -> Result<Self, String> {
        super::cel::Expression::compile(expression).map(|expression| Self::Cel(std::sync::Arc::new(expression)))
    }

    #[cfg(not(feature = "cel"))]
    fn cel(_: &str) -> Result<Self, String> {
        Err("CEL expressions need the feature \"cel\" of aiflow, which this build does not have".to_owned())
    }

    /// What the test says of `event`; an error if it cannot say.
    pub(crate) fn test(&self, event: &NewEvent) -> Result<Tested, String> {
        match self {
            Self::Plain(test) => plain(test, &event.value),
            #[cfg(feature = "cel")]
            Self::Cel(expression) => expression.test(event),
            Self::Unusable(reason) => Err(reason.clone()),
        }
    }

    /// Whether the value is plainly another one than the one that is asked for.
    pub(crate) fn asks_for_another(&self, value: &Value) -> bool {
        matches!(self, Self::Plain(ValueTest::Equals(expected)) if expected != value)
    }
}

fn plain(test: &ValueTest, value: &Value) -> Result<Tested, String> {
    match test {
        ValueTest::Updated => Ok(Tested::Holds),
        ValueTest::Equals(expected) => Ok(Tested::of(expected == value)),
        ValueTest::In(values) => Ok(Tested::of(values.contains(value))),
        ValueTest::Compare(Comparison::NotEqual, other) => Ok(Tested::of(!same(value, other))),
        ValueTest::Compare(_, _) if value.is_null() => Ok(Tested::Missing("a value to compare".to_owned())),
        ValueTest::Compare(comparison, other) => {
            let Some(order) = order(value, other) else {
                return Err(format!("cannot compare {} with {}", kind(value), kind(other)));
            };
            Ok(Tested::of(match comparison {
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::GreaterOrEqual => order.is_ge(),
                Comparison::NotEqual => order.is_ne(),
            }))
        }
        ValueTest::At { pointer, test } => match value.pointer(pointer) {
            Some(part) => plain(test, part),
            None => Ok(Tested::Missing(pointer.clone())),
        },
        ValueTest::Cel(_) => Err("CEL does not stand below a JSON pointer".to_owned()),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    order(a, b).map_or_else(|| a == b, Ordering::is_eq)
}

/// The order of two numbers or two texts.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(test: &ValueTest, value: Value) -> Result<Tested, String> {
        CompiledTest::new(test).test(&NewEvent::identified("x", "p", "k").value(value))
    }

    #[test]
    fn numbers_compare_as_numbers_and_not_as_texts() {
        let test = ValueTest::Compare(Comparison::Greater, json!(9));
        assert_eq!(said(&test, json!(10)), Ok(Tested::Holds));
        assert_eq!(said(&test, json!(9.5)), Ok(Tested::Holds));
        assert_eq!(said(&test, json!(9)), Ok(Tested::Fails));
        assert_eq!(said(&test, json!("10")), Err("cannot compare a text with a number".to_owned()));
        let large = ValueTest::Compare(Comparison::Less, json!(u64::MAX));
        assert_eq!(said(&large, json!(u64::MAX - 1)), Ok(Tested::Holds));
    }

    #[test]
    fn what_is_missing_is_no_error() {
        let accuracy = ValueTest::At {
            pointer: "/metrics/accuracy".to_owned(),
            test: Box::new(ValueTest::Compare(Comparison::GreaterOrEqual, json!(0.9))),
        };
        assert_eq!(said(&accuracy, json!({"metrics": {"accuracy": 0.9}})), Ok(Tested::Holds));
        assert_eq!(said(&accuracy, json!({"metrics": {}})), Ok(Tested::Missing("/metrics/accuracy".to_owned())));
        assert!(said(&accuracy, json!({"metrics": {"accuracy": []}})).is_err());
        assert_eq!(said(&ValueTest::Compare(Comparison::NotEqual, json!(1)), json!(1.0)), Ok(Tested::Fails));
        assert_eq!(said(&ValueTest::In(vec![json!(1), json!("a")]), json!("a")), Ok(Tested::Holds));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_with_the_reason() {
        for (test, reason) in [
            (ValueTest::Compare(Comparison::Less, json!([])), "compares numbers or texts"),
            (ValueTest::In(Vec::new()), "empty list"),
            (ValueTest::At { pointer: "a".to_owned(), test: Box::default() }, "no JSON pointer"),
            (ValueTest::At { pointer: "/a".to_owned(), test: Box::new(ValueTest::Cel("true".to_owned())) }, "nor CEL"),
        ] {
            let problem = test.problem().unwrap_or_default();
            assert!(problem.contains(reason), "{problem}");
        }
    }
}
