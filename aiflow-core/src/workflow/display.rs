//! Rules in words: how does a condition read on one line?
//!
//! For people (messages, pictures), not to be parsed: `START when all of (samples = "ready", train SUCCEEDED)`.

use std::fmt;
use std::time::Duration;

use super::{
    Condition, EventPattern, JobAction, KeyOf, Life, Schedule, SchedulingRule, StartPosition, Times, ValueTest, Wait,
    Window, WorkflowAction, WorkflowRule,
};
use crate::event::Match;

/// How much of a value is shown.
const VALUE_CHARS_MAX: usize = 60;

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(pattern) => pattern.fmt(f),
            Self::JobStatus { job, statuses, life } => {
                write!(f, "{job} ")?;
                for (i, status) in statuses.iter().enumerate() {
                    write!(f, "{}{status}", if i == 0 { "" } else { "|" })?;
                }
                life.fmt(f)
            }
            Self::All(conditions) => list(f, "all of", conditions),
            Self::Any(conditions) => list(f, "any of", conditions),
            Self::AtLeast { n, of } => list(f, &format!("at least {n} of"), of),
            Self::Sequence(conditions) => list(f, "in this order", conditions),
            Self::Count { n, of } => write!(f, "{n} times {of}"),
            Self::Within { window, of } => write!(f, "{of} within {window}"),
            Self::ForEach { key, of } => write!(f, "for each {key}: {of}"),
            Self::Absent { of, wait, after: None } => write!(f, "no {of} for {}", Span(*wait)),
            Self::Absent { of, wait, after: Some(after) } => write!(f, "no {of} for {} after {after}", Span(*wait)),
            Self::NotWithin { pattern, within } => write!(f, "no {pattern} in the last {}", Span(*within)),
            Self::JobIs { job, statuses } => {
                let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
                write!(f, "{job} is {}", statuses.join("|"))
            }
            Self::Optional { of, wait: Wait::For(wait) } => write!(f, "{of} if it comes within {}", Span(*wait)),
            Self::Optional { of, wait: Wait::Until { time_zone, minutes } } => {
                write!(f, "{of} if it comes by {:02}:{:02} {time_zone}", minutes / 60, minutes % 60)
            }
            Self::Custom { name, on, .. } => {
                let patterns: Vec<Self> = on.iter().cloned().map(Self::from).collect();
                list(f, &format!("{name:?} of"), &patterns)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, conditions: &[Condition]) -> fmt::Result {
    write!(f, "{what} (")?;
    for (i, condition) in conditions.iter().enumerate() {
        write!(f, "{}{condition}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.event_type != Match::Any {
            write!(f, "{} ", Word(&self.event_type))?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, "{}::", Word(namespace))?;
        }
        write!(f, "{}{}", Word(&self.key), self.value)?;
        if self.sender != Match::Any {
            write!(f, " from {}", Word(&self.sender))?;
        }
        self.life.fmt(f)
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Updated => Ok(()),
            Self::Equals(value) => write!(f, " = {}", cut(value)),
            Self::Compare(comparison, value) => write!(f, " {} {}", comparison.as_str(), cut(value)),
            Self::In(values) => {
                let values: Vec<String> = values.iter().map(cut).collect();
                write!(f, " in [{}]", cut(values.join(", ")))
            }
            Self::At { pointer, test } => write!(f, "{}{test}", cut(pointer)),
            Self::Cel(expression) => write!(f, " where {}", cut(expression)),
        }
    }
}

/// The beginning of a text that may be long.
pub(crate) fn cut(text: impl ToString) -> String {
    let text = text.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding { length } => Span(*length).fmt(f),
            Self::Tumbling { length } => write!(f, "one span of {}", Span(*length)),
            Self::Daily { time_zone, begins_minutes: 0 } => write!(f, "one day in {time_zone}"),
            Self::Daily { time_zone, begins_minutes } => {
                write!(f, "one day from {:02}:{:02} in {time_zone}", begins_minutes / 60, begins_minutes % 60)
            }
        }
    }
}

impl fmt::Display for KeyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Value(pointer) => write!(f, "value{pointer}"),
            Self::Label(name) => write!(f, "label {name}"),
            Self::FirstOf(places) => {
                for (i, place) in places.iter().enumerate() {
                    write!(f, "{}{place}", if i == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
        }
    }
}

/// A duration in the largest unit that says it in a whole number.
struct Span(Duration);

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

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => Ok(()),
            Self::Latest => f.write_str(" (latest)"),
            Self::Repeated => f.write_str(" (repeated)"),
        }
    }
}

/// A field of a pattern: as it is where that is unmistakable, otherwise quoted.
struct Word<'a>(&'a Match);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, star) = match self.0 {
            Match::Any => return f.write_str("*"),
            Match::Exact(text) => (text, ""),
            Match::Prefix(text) => (text, "*"),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        if !text.is_empty() && text.chars().all(plain) {
            write!(f, "{text}{star}")
        } else {
            write!(f, "{text:?}{star}")
        }
    }
}

impl fmt::Display for SchedulingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} when {}{}", self.action, self.condition, self.from)
    }
}

impl fmt::Display for WorkflowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.action)?;
        if let Some(param) = &self.of_param {
            write!(f, "of the same {param} ")?;
        }
        write!(f, "when {}{}", self.condition, self.from)
    }
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

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.action)?;
        match &self.times {
            Times::Cron { cron, time_zone } => write!(f, "at {cron} {time_zone}")?,
            Times::Every { every } => write!(f, "every {every:?}")?,
        }
        if let Some(start) = self.start {
            write!(f, " from {}", start.to_rfc3339())?;
        }
        if let Some(end) = self.end {
            write!(f, " until {}", end.to_rfc3339())?;
        }
        Ok(())
    }
}

impl fmt::Display for JobAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for WorkflowAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::{ModelStage, all, any, on, on_model_version, restart, start};

    #[test]
    fn a_rule_reads_on_one_line() {
        let rule = start(all([
            Condition::from(on("samples").equals("ready").sender("ingest")),
            any([on("model.*").repeated(), on("a \"b\"").namespace("other")]),
        ]));
        assert_eq!(
            rule.to_string(),
            r#"START when all of (samples = "ready" from ingest, any of (model.* (repeated), other::"a \"b\""))"#
        );
        let rule = restart(on_model_version("wine", ModelStage::Deployed));
        assert_eq!(rule.to_string(), "RESTART when MODEL_DEPLOYED wine");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = on("k").equals("ä".repeat(100)).to_string();
        assert_eq!(text.chars().count(), "k = …".chars().count() + VALUE_CHARS_MAX);
    }
}
