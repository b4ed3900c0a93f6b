//! Waits: until when is an operand waited for that may be missing?

use std::time::Duration;

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::window::{Window, zone};
use crate::time::Timestamp;
use crate::workflow::millis;

/// How long an operand is waited for that may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wait {
    /// So long, in milliseconds.
    #[serde(rename = "for_ms")]
    For(#[serde(with = "millis")] Duration),
    /// Until a time of day: the next moment at which the clocks of the zone come to it. What they skip comes with the first moment after.
    Until {
        /// IANA name: `Europe/Berlin`.
        time_zone: String,
        /// Minutes after midnight.
        minutes: u16,
    },
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Self::For(wait)
    }
}

impl Wait {
    /// Until the clocks of a time zone come to a time of day.
    ///
    /// ```
    /// use aiflow_core::workflow::{Wait, all, on, optional};
    ///
    /// // After B, and after C if C comes by six in the evening.
    /// let when = all([on("b").into(), optional(on("c"), Wait::until("Europe/Berlin", 18, 0))]);
    /// ```
    #[must_use]
    pub fn until(time_zone: impl Into<String>, hour: u8, minute: u8) -> Self {
        let minutes = u16::from(hour).saturating_mul(60).saturating_add(minute.into());
        Self::Until { time_zone: time_zone.into(), minutes }
    }

    /// When a wait ends that begins then.
    pub(crate) fn end(&self, since: Timestamp) -> Timestamp {
        match self {
            Self::For(wait) => since + *wait,
            // What is stored was checked; a zone that a later release of the time zone data forgot is taken for UTC.
            Self::Until { time_zone, minutes } => {
                next_time_of_day(&zone(time_zone).unwrap_or(TimeZone::UTC), *minutes, since)
            }
        }
    }

    /// Why this is no wait, if it is none.
    pub(crate) fn problem(&self, what: impl Fn(&str, u128) -> Option<String>) -> Option<String> {
        match self {
            Self::For(wait) => what("optional", wait.as_millis()),
            Self::Until { time_zone, minutes } => {
                Window::Daily { time_zone: time_zone.clone(), begins_minutes: *minutes }.problem()
            }
        }
    }
}

/// The first moment after `since` at which the clocks of `zone` come to the given time of day; beyond the years that calendars know, a day
/// later.
fn next_time_of_day(zone: &TimeZone, minutes: u16, since: Timestamp) -> Timestamp {
    let found = || {
        let instant = Instant::from_millisecond(since.as_millis()).ok()?;
        let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
        let mut date = zone.to_datetime(instant).date().yesterday().ok()?;
        // Clocks change by less than a day, so at most the fourth candidate lies after it.
        for _ in 0..4 {
            let end = zone.to_timestamp(date.at(hour, minute, 0, 0)).ok()?;
            if end > instant {
                return Some(Timestamp::from_millis(end.as_millisecond()));
            }
            date = date.tomorrow().ok()?;
        }
        None
    };
    found().unwrap_or_else(|| since + Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(wait: &Wait, since: &str) -> String {
        let since = Timestamp::from_millis(since.parse::<Instant>().unwrap().as_millisecond());
        Instant::from_millisecond(wait.end(since).as_millis()).unwrap().to_string()
    }

    #[test]
    fn a_time_of_day_is_the_next_one_by_the_clocks_of_its_zone() {
        let six = Wait::until("Europe/Berlin", 18, 0);
        assert_eq!(end(&six, "2024-01-15T12:00:00Z"), "2024-01-15T17:00:00Z");
        assert_eq!(end(&six, "2024-07-15T12:00:00Z"), "2024-07-15T16:00:00Z");
        assert_eq!(end(&six, "2024-07-15T16:00:00Z"), "2024-07-16T16:00:00Z");
        // 02:30 is skipped on the last Sunday of March, and comes twice on the last Sunday of October.
        let early = Wait::until("Europe/Berlin", 2, 30);
        assert_eq!(end(&early, "2024-03-30T12:00:00Z"), "2024-03-31T01:30:00Z");
        assert_eq!(end(&early, "2024-10-26T12:00:00Z"), "2024-10-27T00:30:00Z");
        assert_eq!(end(&early, "2024-10-27T00:30:00Z"), "2024-10-28T01:30:00Z");
    }

    #[test]
    fn a_wait_reads_back() {
        for wait in [Wait::from(Duration::from_secs(5)), Wait::until("UTC", 18, 0)] {
            let text = serde_json::to_string(&wait).unwrap();
            assert_eq!(serde_json::from_str::<Wait>(&text).unwrap(), wait, "{text}");
        }
    }
}
