//! Schedules: at which times does a workflow or a job start, whatever happens?
//!
//! Plain data, part of a definition. Source: seed "Job Scheduling Rule"; AIFlow 0.3 `PeriodicConfig`, AIFlow master `WorkflowSchedule`.

mod check;
mod times;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use check::{CRON_BYTES_MAX, JITTER_MAX, MISFIRE_TIMES_MAX, SCHEDULES_MAX};
pub(crate) use times::CompiledSchedule;

use super::{JobAction, OverlapPolicy, hash_of, millis};
use crate::error::Result;
use crate::id::ScheduleName;
use crate::time::Timestamp;
use crate::workflow::Diagnostic;

/// Times at which a workflow starts, or a job of a running workflow execution starts or restarts.
///
/// The time that the schedule names (not the moment at which the scheduler came to it) is given to the jobs as the parameter
/// [`SCHEDULED_TIME`].
///
/// ```
/// use std::time::Duration;
/// use aiflow_core::workflow::{Misfire, OverlapPolicy, cron, every};
///
/// let nightly = cron("30 2 * * *").time_zone("Europe/Berlin").misfire(Misfire::All { max: 7 }).overlap(OverlapPolicy::BufferAll);
/// let heartbeat = every(Duration::from_secs(300)).jitter(Duration::from_secs(30));
/// assert_ne!(nightly.name, heartbeat.name);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Identity under which the schedule's state is kept. Derived from its times unless set.
    pub name: ScheduleName,
    /// The times.
    pub times: Times,
    /// No time before this counts, in milliseconds since the epoch. An interval counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "start_ms")]
    pub start: Option<Timestamp>,
    /// No time after this counts, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "end_ms")]
    pub end: Option<Timestamp>,
    /// Each time is acted on later by a part of this that depends on the schedule and the time alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Duration::is_zero", with = "millis", rename = "jitter_ms")]
    pub jitter: Duration,
    /// What becomes of times that passed while no scheduler ran.
    #[serde(default, skip_serializing_if = "Misfire::is_once")]
    pub misfire: Misfire,
    /// How long after its time (and jitter) a time is still on time, in milliseconds.
    #[serde(default = "misfire_grace", with = "millis", rename = "misfire_grace_ms")]
    pub misfire_grace: Duration,
    /// What becomes of a time while what it starts is live.
    #[serde(default = "skip", skip_serializing_if = "is_skip")]
    pub overlap: OverlapPolicy,
    /// START, or on a job RESTART.
    #[serde(default = "start", skip_serializing_if = "is_start")]
    pub action: JobAction,
    /// Parameters of the executions that it starts, a JSON object. Of a job: they override those of the workflow execution.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// Name of the parameter that carries the scheduled time, in RFC 3339, UTC: `2026-03-29T01:00:00.000Z`.
pub const SCHEDULED_TIME: &str = "scheduled_time";

/// Which times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Times {
    /// Those that a clock on the wall shows.
    ///
    /// # Shape
    /// Fields separated by blanks: `minute hour day-of-month month day-of-week`; six fields begin with seconds, seven end with a year. A
    /// field is `*`, a number, a range `1-5`, a step `*/15`, or a list of these; months and days of the week have names (`JAN`, `MON`);
    /// `L` is the last day, `15W` the weekday nearest to a day, `MON#2` the second Monday, `FRI#L` the last Friday. A day matches if the day
    /// of the month *or* the day of the week does, when both are given. `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` are understood.
    ///
    /// # Daylight saving
    /// A time that the clock skips runs at the first moment after the gap. A time that the clock shows twice runs at the first. So
    /// `*/15 * * * *` pauses for an hour when the clock is set back; use an interval where this matters.
    Cron {
        /// The pattern.
        cron: String,
        /// IANA name of the time zone, UTC by default.
        #[serde(default = "utc", skip_serializing_if = "is_utc")]
        time_zone: String,
    },
    /// Those that lie this far apart, in milliseconds, counted from the start if there is one; otherwise from the moment at which the
    /// schedule came into force, the first being one interval later.
    Every {
        /// The distance.
        #[serde(with = "millis", rename = "every_ms")]
        every: Duration,
    },
}

/// What becomes of times that are found to have passed longer ago than the grace.
///
/// Times that are not acted on are recorded, as one range. The newest time is never dropped by `once` and `all`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// None is acted on.
    Skip,
    /// Of all the times that have passed, the newest is acted on.
    #[default]
    Once,
    /// The newest `max` are acted on, oldest first.
    All {
        /// How many, 1 to [`MISFIRE_TIMES_MAX`].
        max: usize,
    },
}

impl Misfire {
    fn is_once(&self) -> bool {
        *self == Self::Once
    }
}

/// The times that a cron pattern describes, in UTC; see [`Times::Cron`]. Mistakes are reported when the definition is submitted.
#[must_use]
pub fn cron(pattern: impl Into<String>) -> Schedule {
    Schedule::new(Times::Cron { cron: pattern.into(), time_zone: utc() })
}

/// Times that lie `every` apart; see [`Times::Every`].
#[must_use]
pub fn every(every: Duration) -> Schedule {
    Schedule::new(Times::Every { every })
}

impl Schedule {
    /// How long a time is on time, unless set.
    pub const MISFIRE_GRACE: Duration = Duration::from_secs(60);

    /// A schedule without bounds and jitter, with the policies `once` for missed times and `skip` for overlap, that performs START.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            name: times.derived_name(),
            times,
            start: None,
            end: None,
            jitter: Duration::ZERO,
            misfire: Misfire::Once,
            misfire_grace: Self::MISFIRE_GRACE,
            overlap: OverlapPolicy::Skip,
            action: JobAction::Start,
            params: Value::Null,
        }
    }

    /// Sets the name.
    #[must_use]
    pub fn named(mut self, name: ScheduleName) -> Self {
        self.name = name;
        self
    }

    /// Sets the time zone of a cron pattern, an IANA name such as `Europe/Berlin`. An interval knows none.
    #[must_use]
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        let is_derived = self.name == self.times.derived_name();
        if let Times::Cron { time_zone, .. } = &mut self.times {
            *time_zone = name.into();
        }
        if is_derived {
            self.name = self.times.derived_name();
        }
        self
    }

    /// Sets the moment before which no time counts. An interval counts from here.
    #[must_use]
    pub fn starting(mut self, start: Timestamp) -> Self {
        self.start = Some(start);
        self
    }

    /// Sets the moment after which no time counts.
    #[must_use]
    pub fn ending(mut self, end: Timestamp) -> Self {
        self.end = Some(end);
        self
    }

    /// Spreads the load of many schedules: each time is acted on later by less than `jitter`.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets what becomes of times that passed while no scheduler ran.
    #[must_use]
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.misfire = misfire;
        self
    }

    /// Sets how long after its time a time is still on time.
    #[must_use]
    pub fn misfire_grace(mut self, grace: Duration) -> Self {
        self.misfire_grace = grace;
        self
    }

    /// Sets what becomes of a time while what it starts is live.
    #[must_use]
    pub fn overlap(mut self, overlap: OverlapPolicy) -> Self {
        self.overlap = overlap;
        self
    }

    /// On a job: restarts a live one instead of leaving it alone.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.action = JobAction::Restart;
        self
    }

    /// Sets the parameters of the executions that it starts, a JSON object.
    #[must_use]
    pub fn params(mut self, params: Value) -> Self {
        self.params = params;
        self
    }

    /// The first `n` times after `after`, without jitter. An interval without a start counts from `since`.
    ///
    /// # Errors
    /// `Invalid`, with every problem, if the schedule is not well formed.
    pub fn next_times(&self, since: Timestamp, after: Timestamp, n: usize) -> Result<Vec<Timestamp>> {
        let compiled = self.compiled("next times")?;
        let first = compiled.next(since, after);
        Ok(std::iter::successors(first, |time| compiled.next(since, *time)).take(n).collect())
    }

    /// Its times from `from` to `to`, both included, at most `max`, oldest first.
    ///
    /// # Errors
    /// As [`next_times`](Self::next_times).
    pub fn times_between(
        &self,
        since: Timestamp,
        from: Timestamp,
        to: Timestamp,
        max: usize,
    ) -> Result<Vec<Timestamp>> {
        let before = Timestamp::from_millis(from.as_millis().saturating_sub(1));
        let times = self.next_times(since, before, max)?;
        Ok(times.into_iter().take_while(|time| *time <= to).collect())
    }

    fn compiled(&self, operation: &'static str) -> Result<CompiledSchedule> {
        let mut problems = Vec::new();
        self.check("schedule", &mut problems);
        Diagnostic::into_result(&problems, operation)?;
        CompiledSchedule::new(self, self.name.to_string())
            .ok_or_else(|| crate::Error::invalid(operation, "the schedule is not well formed"))
    }

    /// Whether it names the same times as `other`, so that what was done for one was done for the other.
    pub(crate) fn has_times_of(&self, other: &Self) -> bool {
        (&self.times, self.start, self.end, self.jitter) == (&other.times, other.start, other.end, other.jitter)
    }
}

impl Times {
    fn derived_name(&self) -> ScheduleName {
        let what = match self {
            Self::Cron { .. } => "cron",
            Self::Every { .. } => "every",
        };
        let hash = hash_of(self);
        ScheduleName::parse(format!("{what}-{}", hash.get(..12).unwrap_or_default()))
            .expect("a word and hex digits form a name")
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn is_utc(name: &str) -> bool {
    name == "UTC"
}

fn misfire_grace() -> Duration {
    Schedule::MISFIRE_GRACE
}

fn skip() -> OverlapPolicy {
    OverlapPolicy::Skip
}

fn start() -> JobAction {
    JobAction::Start
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_skip(policy: &OverlapPolicy) -> bool {
    *policy == OverlapPolicy::Skip
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_start(action: &JobAction) -> bool {
    *action == JobAction::Start
}
