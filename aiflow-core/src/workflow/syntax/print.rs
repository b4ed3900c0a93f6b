//! Writes conditions and rules so that they are read back as they were; with `{:#}`, for people, long values are shortened.

use std::fmt::{self, Display as _};
use std::time::Duration;

use serde_json::Value;

use super::pattern::Words;
use super::scan::{is_plain, is_status};
use crate::event::Match;
use crate::workflow::display::cut;
use crate::workflow::{
    Condition, ContextOf, EventPattern, Field, KeyOf, Life, ParamSource, SchedulingRule, StartPosition, ValueTest,
    Wait, Window, WorkflowRule,
};

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(pattern) => pattern.fmt(f),
            Self::JobStatus { job, statuses, life } => {
                Word(job.as_str()).fmt(f)?;
                write_statuses(f, " ", statuses)?;
                life.fmt(f)
            }
            Self::JobIs { job, statuses } => {
                Word(job.as_str()).fmt(f)?;
                write_statuses(f, " is ", statuses)
            }
            Self::All(conditions) => list(f, "all of", conditions),
            Self::Any(conditions) => list(f, "any of", conditions),
            Self::AtLeast { n, of } => list(f, &format!("at least {n} of"), of),
            Self::Sequence(conditions) => list(f, "in this order", conditions),
            Self::Count { n, of } => {
                write!(f, "{n} times ")?;
                of.fmt_operand(f)
            }
            Self::Within { window, of } => {
                of.fmt_part(f)?;
                write!(f, " within {window}")
            }
            Self::ForEach { key, of } => {
                of.fmt(f)?;
                write!(f, " for each {key}")
            }
            Self::Absent { of, wait, after } => {
                f.write_str("no ")?;
                of.fmt_operand(f)?;
                write!(f, " for {}", Span(*wait))?;
                let Some(after) = after else { return Ok(()) };
                f.write_str(" after ")?;
                after.fmt_operand(f)
            }
            Self::NotWithin { pattern, within } => {
                f.write_str("no ")?;
                pattern.fmt(f)?;
                write!(f, " in the last {}", Span(*within))
            }
            Self::Optional { of, wait } => {
                of.fmt_part(f)?;
                match wait {
                    Wait::For(wait) => write!(f, " if it comes within {}", Span(*wait)),
                    Wait::Until { time_zone, minutes } => {
                        write!(f, " if it comes by {} {}", Clock(*minutes), Word(time_zone))
                    }
                }
            }
            Self::Custom { name, params, on } => {
                write!(f, "custom({}", Word(name))?;
                if !params.is_null() {
                    f.write_str(", ")?;
                    json(f, params)?;
                }
                list(f, ") of", on)
            }
        }
    }
}

impl Condition {
    /// Where a part is wanted, what `for each` makes stands in parentheses.
    fn fmt_part(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_if(matches!(self, Self::ForEach { .. }), f)
    }

    /// Where an operand is wanted, whatever could go on to the right stands in parentheses.
    fn fmt_operand(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_open = match self {
            Self::On(_)
            | Self::JobStatus { .. }
            | Self::JobIs { .. }
            | Self::All(_)
            | Self::Any(_)
            | Self::AtLeast { .. }
            | Self::Sequence(_)
            | Self::Custom { .. } => false,
            Self::Count { .. }
            | Self::Within { .. }
            | Self::ForEach { .. }
            | Self::Absent { .. }
            | Self::NotWithin { .. }
            | Self::Optional { .. } => true,
        };
        self.fmt_if(is_open, f)
    }

    fn fmt_if(&self, is_open: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !is_open {
            return self.fmt(f);
        }
        f.write_str("(")?;
        self.fmt(f)?;
        f.write_str(")")
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, items: &[T]) -> fmt::Result {
    write!(f, "{what} (")?;
    for (i, item) in items.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        item.fmt(f)?;
    }
    f.write_str(")")
}

fn write_statuses(f: &mut fmt::Formatter<'_>, before: &str, statuses: &[crate::status::JobStatus]) -> fmt::Result {
    for (i, status) in statuses.iter().enumerate() {
        write!(f, "{}{status}", if i == 0 { before } else { "|" })?;
    }
    Ok(())
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut is_said = true;
        match self.in_words() {
            Some(Words::Model(name, stage)) => write!(f, "model({}) {}", Word(name), Word(stage))?,
            Some(Words::Alias(model, alias)) => write!(f, "alias({}, {})", Word(model), Word(alias))?,
            Some(Words::Metric(name, comparison, number)) => {
                write!(f, "metric({}) {} {}", Word(name), comparison.as_str(), Value::from(number))?;
            }
            Some(Words::Workflow(name, status)) => write!(f, "workflow({}) {status}", Word(name))?,
            Some(Words::Dataset(name)) => {
                write!(f, "dataset({})", Word(name))?;
                self.value.fmt(f)?;
            }
            None => is_said = false,
        }
        if !is_said {
            self.fmt_fields(f)?;
        }
        if self.sender != Match::Any {
            write!(f, " from {}", Matcher(&self.sender))?;
        }
        self.life.fmt(f)
    }
}

impl EventPattern {
    fn fmt_fields(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_typed = self.event_type != Match::Any;
        if is_typed {
            write!(f, "{} ", Matcher(&self.event_type))?;
        }
        let first = self.namespace.as_ref().unwrap_or(&self.key);
        match first {
            // Behind the type, a status would be that of a job.
            Match::Exact(text) if is_typed && is_status(text) => f.write_str(&quoted(text))?,
            Match::Prefix(text) if is_typed && is_status(text) => write!(f, "{}*", quoted(text))?,
            other => Matcher(other).fmt(f)?,
        }
        if self.namespace.is_some() {
            write!(f, "::{}", Matcher(&self.key))?;
        }
        self.value.fmt(f)?;
        f.write_str(if self.any_execution { " of any execution" } else { "" })
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Updated => Ok(()),
            Self::Equals(value) => {
                f.write_str(" = ")?;
                json(f, value)
            }
            Self::Compare(comparison, value) => {
                write!(f, " {} ", comparison.as_str())?;
                json(f, value)
            }
            Self::In(values) => {
                f.write_str(" in ")?;
                json(f, values)
            }
            Self::At { pointer, test } => {
                write!(f, " at {}", Word(pointer))?;
                test.fmt(f)
            }
            Self::Cel(expression) => {
                f.write_str(" where ")?;
                f.write_str(&if f.alternate() { cut(quoted(expression)) } else { quoted(expression) })
            }
        }
    }
}

fn json<T: serde::Serialize>(f: &mut fmt::Formatter<'_>, value: &T) -> fmt::Result {
    let text = serde_json::to_string(value).map_err(|_| fmt::Error)?;
    f.write_str(&if f.alternate() { cut(text) } else { text })
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding { length } => Span(*length).fmt(f),
            Self::Tumbling { length } => write!(f, "one span of {}", Span(*length)),
            Self::Daily { time_zone, begins_minutes: 0 } => write!(f, "one day in {}", Word(time_zone)),
            Self::Daily { time_zone, begins_minutes } => {
                write!(f, "one day from {} in {}", Clock(*begins_minutes), Word(time_zone))
            }
        }
    }
}

impl fmt::Display for KeyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Value(pointer) => Pointer(pointer).fmt(f),
            Self::Label(name) => write!(f, "label {}", Word(name)),
            Self::FirstOf(places) => list(f, "first of", places),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Value(pointer) => Pointer(pointer).fmt(f),
            Self::EventType => f.write_str("type"),
            Self::Sender => f.write_str("sender"),
            Self::Namespace => f.write_str("namespace"),
            Self::Label(name) => write!(f, "label {}", Word(name)),
            Self::Time => f.write_str("time"),
            Self::Offset => f.write_str("offset"),
        }
    }
}

impl fmt::Display for ContextOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event => f.write_str("event"),
            Self::All => f.write_str("all"),
            Self::Field { field, or_all } => write!(f, "{field}{}", if *or_all { " or all" } else { "" }),
        }
    }
}

impl fmt::Display for ParamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.field.fmt(f)?;
        match &self.of {
            Some(of) => write!(f, " of {}", Matcher(of)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => Ok(()),
            Self::Latest => f.write_str(" (latest)"),
            Self::Repeated => f.write_str(" (repeated)"),
        }
    }
}

impl fmt::Display for SchedulingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} when ", self.action)?;
        self.condition.fmt(f)?;
        if !f.alternate() {
            params(f, &self.params)?;
        }
        self.from.fmt(f)?;
        let is_named = self.name != Self::new(self.condition.clone(), self.action).name;
        if is_named && !f.alternate() { write!(f, ", named {}", Word(self.name.as_str())) } else { Ok(()) }
    }
}

impl fmt::Display for WorkflowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.action)?;
        if let Some(param) = &self.of_param {
            write!(f, "of the same {} ", Word(param))?;
        }
        f.write_str("when ")?;
        self.condition.fmt(f)?;
        if !f.alternate() {
            params(f, &self.params)?;
        }
        self.from.fmt(f)?;
        let is_named = self.name != Self::new(self.condition.clone(), self.action).name;
        if is_named && !f.alternate() { write!(f, ", named {}", Word(self.name.as_str())) } else { Ok(()) }
    }
}

fn params(f: &mut fmt::Formatter<'_>, params: &std::collections::BTreeMap<String, ParamSource>) -> fmt::Result {
    for (name, source) in params {
        write!(f, ", taking {} from {source}", Word(name))?;
    }
    Ok(())
}

/// What follows the rule; nothing if it begins now.
impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => Ok(()),
            Self::Offset(offset) => write!(f, ", from event {offset} on"),
            Self::LatestPerKey => f.write_str(", from the latest of each key on"),
        }
    }
}

/// A duration in the largest unit that says it in a whole number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
        match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{} {name}", millis / unit),
            None => write!(f, "{millis} ms"),
        }
    }
}

/// A time of day, of minutes after midnight.
struct Clock(u16);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A place in a value.
struct Pointer<'a>(&'a str);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("value"),
            pointer if pointer.starts_with('/') && is_plain(pointer) => f.write_str(pointer),
            pointer => write!(f, "value {}", quoted(pointer)),
        }
    }
}

/// A text: as it is where that is unmistakable, otherwise quoted.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) { f.write_str(self.0) } else { f.write_str(&quoted(self.0)) }
    }
}

/// A field of a pattern.
struct Matcher<'a>(&'a Match);

impl fmt::Display for Matcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Match::Any => f.write_str("*"),
            Match::Exact(text) => Word(text).fmt(f),
            Match::Prefix(text) => write!(f, "{}*", Word(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
