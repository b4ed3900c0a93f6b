//! The times of a schedule: which moment comes after a given one?
//!
//! A pure function of the schedule and the moment. The time zones are those of the library's own copy of the IANA database, so that every
//! machine computes the same.
//!
//! A cron pattern speaks of what a clock on the wall shows. Such a time is turned into a moment like this: one that the clock shows once is
//! that moment; one that is skipped because the clock is set forward is the first moment after the gap; one that is shown twice because the
//! clock is set back is the first of the two. Several times of one gap are one moment, and a moment comes once.

use std::cmp::Ordering;
use std::fmt;

use croner::errors::CronError;
use croner::parser::CronParser;
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Instant};

use super::{Schedule, Times};
use crate::time::Timestamp;
use crate::workflow::hash_of;

/// Transitions of a time zone that are looked at to find the end of a gap; a zone has one in a day at most.
const TRANSITIONS_MAX: usize = 8;

/// A schedule, ready to be asked for its times.
#[derive(Clone)]
pub(crate) struct CompiledSchedule {
    times: CompiledTimes,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    jitter_ms: u64,
    identity: String,
}

#[derive(Clone)]
enum CompiledTimes {
    Cron(Box<croner::Cron>, TimeZone),
    Every(i64),
}

impl fmt::Debug for CompiledSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledSchedule").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The time zone of this name, ASCII case ignored.
pub(super) fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The pattern that `text` spells.
pub(super) fn pattern(text: &str) -> Result<croner::Cron, CronError> {
    CronParser::new().parse(text)
}

impl CompiledSchedule {
    /// `None` if the schedule is not well formed, which [`Schedule::check`] explains. Schedules of different `identity` have different jitter.
    pub(crate) fn new(schedule: &Schedule, identity: String) -> Option<Self> {
        let times = match &schedule.times {
            Times::Cron { cron, time_zone: zone } => {
                let pattern = cron.is_ascii().then(|| pattern(cron).ok())??;
                CompiledTimes::Cron(Box::new(pattern), time_zone(zone)?)
            }
            Times::Every { every } => {
                CompiledTimes::Every(i64::try_from(every.as_millis()).ok().filter(|every| *every > 0)?)
            }
        };
        let jitter_ms = u64::try_from(schedule.jitter.as_millis()).unwrap_or(u64::MAX);
        Some(Self { times, start: schedule.start, end: schedule.end, jitter_ms, identity })
    }

    /// The first time after `after`, not before the start and not after the end. An interval without a start counts from `since`.
    pub(crate) fn next(&self, since: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let just_before = |start: Timestamp| Timestamp::from_millis(start.as_millis().saturating_sub(1));
        let after = self.start.map_or(after, |start| after.max(just_before(start)));
        let next = match &self.times {
            CompiledTimes::Cron(pattern, zone) => next_match(pattern, zone, after),
            CompiledTimes::Every(every) => {
                // With a start, the start is the first time; otherwise the first is one interval after the schedule came into force.
                let first = match self.start {
                    Some(start) => start.as_millis(),
                    None => since.as_millis().checked_add(*every)?,
                };
                let behind = after.as_millis().saturating_sub(first);
                let steps = if behind < 0 { 0 } else { behind.div_euclid(*every).checked_add(1)? };
                Some(Timestamp::from_millis(first.checked_add(steps.checked_mul(*every)?)?))
            }
        };
        next.filter(|next| self.end.is_none_or(|end| *next <= end))
    }

    /// As [`next`](Self::next), also for moments before the schedule came into force: an interval lies on the same grid there.
    pub(crate) fn next_in_past(&self, since: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let since = match &self.times {
            CompiledTimes::Every(every) if after < since => {
                let steps = since.as_millis().saturating_sub(after.as_millis()).div_euclid(*every).checked_add(2)?;
                Timestamp::from_millis(since.as_millis().checked_sub(steps.checked_mul(*every)?)?)
            }
            _ => since,
        };
        self.next(since, after)
    }

    /// The newest `max` times in the span from after `after` up to and with `until`, oldest first, and whether there are more of them.
    pub(crate) fn newest(
        &self,
        since: Timestamp,
        after: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> (Vec<Timestamp>, bool) {
        // Look back over ever longer spans: the schedule is only asked for what comes next.
        let mut span = 1_000_i64;
        loop {
            let from = Timestamp::from_millis(until.as_millis().saturating_sub(span)).max(after);
            let mut times = std::collections::VecDeque::new();
            let mut is_more = false;
            let mut last = from;
            while let Some(next) = self.next(since, last).filter(|next| *next <= until) {
                last = next;
                times.push_back(next);
                if times.len() > max {
                    times.pop_front();
                    is_more = true;
                }
            }
            if from == after || is_more {
                return (times.into(), is_more);
            }
            span = span.saturating_mul(2);
        }
    }

    /// When the schedule is to act on `time`: later by its jitter, which is the same each time that it is asked for.
    pub(crate) fn due(&self, time: Timestamp) -> Timestamp {
        if self.jitter_ms == 0 {
            return time;
        }
        let hash = hash_of(&(&self.identity, time));
        let number = hash.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
        let delay = number.checked_rem(self.jitter_ms).unwrap_or_default();
        time + std::time::Duration::from_millis(delay)
    }
}

/// The first moment after `after` at which a clock in `zone` shows a time of `pattern`.
fn next_match(pattern: &croner::Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let after = Instant::from_millisecond(after.as_millis()).ok()?;
    // What the clock showed before this is not after `after`, whatever the pattern.
    let (mut wall, mut inclusive) = match end_of_second_pass(zone, after) {
        Some(end) => (end, true),
        None => (zone.to_datetime(after), false),
    };
    loop {
        let WallTime(shown) = pattern.find_next_occurrence(&WallTime(wall), inclusive).ok()?;
        let moment = moment(zone, shown)?;
        if moment > after {
            return Some(Timestamp::from_millis(moment.as_millisecond()));
        }
        (wall, inclusive) = (shown, false);
    }
}

/// If the clock shows times for the second time at `at`: what it shows when that is over.
fn end_of_second_pass(zone: &TimeZone, at: Instant) -> Option<DateTime> {
    let ambiguous = zone.to_ambiguous_timestamp(zone.to_datetime(at));
    let AmbiguousOffset::Fold { before, .. } = ambiguous.offset() else {
        return None;
    };
    let set_back = ambiguous.later().ok().filter(|second| at >= *second).and_then(|second| {
        let until = second.checked_add(SignedDuration::from_nanos(1)).ok()?;
        zone.preceding(until).next()
    })?;
    Some(before.to_datetime(set_back.timestamp()))
}

/// The moment that a time on the wall stands for.
fn moment(zone: &TimeZone, shown: DateTime) -> Option<Instant> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        AmbiguousOffset::Gap { before, .. } => {
            let late = before.to_timestamp(shown).ok()?;
            let until = late.checked_add(SignedDuration::from_nanos(1)).ok()?;
            // The first moment at which the clock shows more than `shown`.
            let transitions = zone.preceding(until).take(TRANSITIONS_MAX).map(|transition| transition.timestamp());
            Some(transitions.take_while(|at| zone.to_datetime(*at) > shown).last().unwrap_or(late))
        }
    }
}

/// What a clock on the wall shows, without a time zone: each time comes once.
#[derive(Debug, Clone)]
struct WallTime(DateTime);

#[expect(clippy::cast_sign_loss, reason = "months, days, hours, minutes and seconds are not negative")]
#[expect(clippy::cast_possible_truncation, reason = "each part of a civil time is below 100")]
impl CronDateTime for WallTime {
    fn to_civil(&self) -> CivilDateTime {
        let Self(shown) = self;
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(i32::from(shown.year()), shown.month() as u32, shown.day() as u32),
            CivilTime::from_parts_unchecked(shown.hour() as u32, shown.minute() as u32, shown.second() as u32),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (civil.month() as i8, civil.day() as i8);
        let (hour, minute, second) = (civil.hour() as i8, civil.minute() as i8, civil.second() as i8);
        let shown = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        Ok(Resolution::Single(Self(shown)))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Timestamp {
    /// The moment in RFC 3339, UTC, to the millisecond: `2026-03-29T01:00:00.000Z`. Milliseconds since the epoch if its year has more than
    /// four digits.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        match Instant::from_millisecond(self.as_millis()) {
            Ok(instant) if instant.as_second() >= -62_167_219_200 => format!("{instant:.3}"),
            Ok(_) | Err(_) => self.as_millis().to_string(),
        }
    }

    /// Reads a moment in RFC 3339, to the millisecond.
    ///
    /// # Errors
    /// `Invalid` if it is none, or has no offset from UTC.
    pub fn parse_rfc3339(text: &str) -> crate::Result<Self> {
        let instant: Instant = text.parse().map_err(|error: jiff::Error| {
            crate::Error::invalid("parse time", error.to_string()).with("text", text.escape_default())
        })?;
        Ok(Self::from_millis(instant.as_millisecond()))
    }
}
