//! Schedules and actions in words, and how much of a long text is shown. Conditions and rules: [`syntax`](super::syntax).

use std::fmt;

use super::{JobAction, Schedule, Times, WorkflowAction};

/// How much of a value is shown.
const VALUE_CHARS_MAX: usize = 60;

/// The beginning of a text that may be long.
pub(crate) fn cut(text: impl ToString) -> String {
    let text = text.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
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
    use crate::workflow::{Condition, ModelStage, all, any, on, on_model_version, restart, start};

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
        assert_eq!(rule.to_string(), "RESTART when model(wine) DEPLOYED");
    }

    #[test]
    fn a_long_value_is_cut_between_characters_for_people_only() {
        let condition = on("k").equals("ä".repeat(100));
        assert_eq!(format!("{condition:#}").chars().count(), "k = …".chars().count() + VALUE_CHARS_MAX);
        assert_eq!(condition.to_string().chars().count(), "k = \"\"".chars().count() + 100);
    }
}
