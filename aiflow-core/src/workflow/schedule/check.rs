//! Checks of a schedule: what is wrong with it, and in which field?

use std::time::Duration;

use super::times::{CompiledSchedule, pattern, time_zone};
use super::{Misfire, Schedule, Times};
use crate::time::Timestamp;
use crate::workflow::{Diagnostic, JobAction};

/// The most schedules in a workflow, its own and those of its jobs together.
pub const SCHEDULES_MAX: usize = 1_000;
/// The longest cron pattern, in bytes.
pub const CRON_BYTES_MAX: usize = 256;
/// The most times of a schedule that are acted on at once.
pub const MISFIRE_TIMES_MAX: usize = 1_000;
/// The longest jitter.
pub const JITTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

const FIELDS: [&str; 7] = ["second", "minute", "hour", "day of month", "month", "day of week", "year"];

impl Schedule {
    /// Adds everything that is wrong with it to `found`, each with `path` and the field.
    pub(crate) fn check(&self, path: &str, found: &mut Vec<Diagnostic>) {
        let n_before = found.len();
        let mut problem = |message: String| found.push(Diagnostic::new(path, message));
        match &self.times {
            Times::Cron { cron, time_zone: zone } => {
                if let Some(message) = cron_problem(cron) {
                    problem(message);
                }
                if time_zone(zone).is_none() {
                    let shown: String = zone.chars().take(40).flat_map(char::escape_default).collect();
                    problem(format!(
                        "time zone \"{shown}\" is not in the IANA database; write it like \"Europe/Berlin\""
                    ));
                }
            }
            Times::Every { every } if every.as_millis() == 0 => problem("every_ms must be at least 1".to_owned()),
            Times::Every { .. } => {}
        }
        if self.start.zip(self.end).is_some_and(|(start, end)| end < start) {
            problem("end_ms lies before start_ms".to_owned());
        }
        if self.jitter > JITTER_MAX {
            problem(format!("jitter_ms must be at most {}", JITTER_MAX.as_millis()));
        }
        if let Misfire::All { max } = self.misfire
            && !(1..=MISFIRE_TIMES_MAX).contains(&max)
        {
            problem(format!("misfire all has max {max}, 1 to {MISFIRE_TIMES_MAX} are allowed"));
        }
        if !matches!(self.action, JobAction::Start | JobAction::Restart) {
            problem(format!("performs {}; a schedule performs START or RESTART", self.action));
        }
        if !(self.params.is_null() || self.params.is_object()) {
            problem("params must be a JSON object".to_owned());
        }
        // A schedule without any time at all is a mistake, such as 30 February.
        if found.len() == n_before
            && CompiledSchedule::new(self, String::new())
                .is_none_or(|compiled| compiled.next(Timestamp::EPOCH, Timestamp::EPOCH).is_none())
        {
            found.push(Diagnostic::new(path, "has no time at all since 1970"));
        }
    }
}

/// What is wrong with a cron pattern: which field, and why.
fn cron_problem(cron: &str) -> Option<String> {
    let shown: String = cron.chars().take(80).flat_map(char::escape_default).collect();
    if cron.len() > CRON_BYTES_MAX {
        return Some(format!("cron \"{shown}…\" has {} bytes, at most {CRON_BYTES_MAX} are allowed", cron.len()));
    }
    if !cron.is_ascii() {
        return Some(format!("cron \"{shown}\" has characters beyond ASCII"));
    }
    let error = pattern(cron).err()?;
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let names = match fields.len() {
        5 => FIELDS.get(1..6)?,
        6 => FIELDS.get(..6)?,
        7 => FIELDS.as_slice(),
        n if cron.trim_start().starts_with('@') => {
            return Some(format!(
                "cron \"{shown}\" with {n} words is none of @hourly, @daily, @weekly, @monthly, @yearly"
            ));
        }
        n => {
            return Some(format!(
                "cron \"{shown}\" has {n} fields; 5 are \"minute hour day-of-month month day-of-week\", 6 begin with seconds, 7 end with a \
                 year"
            ));
        }
    };
    // The field that is wrong even when all the others are plain.
    let culprit = fields.iter().zip(names).enumerate().find_map(|(i, (field, name))| {
        let alone: Vec<&str> = (0..fields.len()).map(|other| if other == i { *field } else { "*" }).collect();
        let error = pattern(&alone.join(" ")).err()?;
        Some((i.saturating_add(1), field, name, error))
    });
    Some(match culprit {
        Some((n, field, name, error)) => {
            let field: String = field.chars().flat_map(char::escape_default).collect();
            format!("cron \"{shown}\", field {n} ({name}) \"{field}\": {}", reason(&error))
        }
        None => format!("cron \"{shown}\": {}", reason(&error)),
    })
}

/// The reason without the name of the error, which means nothing to the writer of a pattern.
fn reason(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError;
    match error {
        CronError::InvalidPattern(reason)
        | CronError::IllegalCharacters(reason)
        | CronError::ComponentError(reason) => reason.clone(),
        other => other.to_string(),
    }
}
