//! Schedules at work: which time comes next, and what was done about the last one?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ScheduleName;
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject, Timer, TimerKey};

/// How a schedule of a workflow, or of a job in a running workflow execution, stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleState {
    /// When it came into force: an interval without a start counts from here.
    pub since: Timestamp,
    /// The newest of its times that it is done with, whether acted on or not. It never goes back to it, whatever the clock does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The time it waits for; `None` if there is none, or while it is not active or its workflow is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextTime>,
    /// Whether it is active.
    #[serde(default, skip_serializing_if = "ScheduleStatus::is_active")]
    pub status: ScheduleStatus,
}

/// The time that a schedule waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextTime {
    /// The time.
    pub time: Timestamp,
    /// When it is to be acted on: the time and its jitter.
    #[serde(flatten)]
    pub alarm: Alarm,
}

/// Whether a schedule is active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScheduleStatus {
    /// Its times are acted on.
    #[default]
    Active,
    /// Its times pass; after it is resumed, those that come next are acted on.
    Paused,
    /// Paused for good: it comes back with a version of the workflow in which it has other times.
    Deleted,
}

impl ScheduleStatus {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// What is asked of a schedule by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScheduleAction {
    /// Let its times pass without acting on them.
    Pause,
    /// Act on its times again, from the next one.
    Resume,
    /// Pause it for good.
    Delete,
}

/// The time of a schedule that something was started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledTime {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The time that the schedule names, which is not the moment at which the scheduler came to it.
    pub time: Timestamp,
    /// In the record of times that were not acted on: the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// It was asked for by a backfill.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
    /// What becomes of it is of no concern to the rules of other executions and workflows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
}

impl ScheduledTime {
    /// A time of a schedule that has come.
    #[must_use]
    pub fn new(schedule: ScheduleName, time: Timestamp) -> Self {
        Self { schedule, time, until: None, backfill: false, quiet: false }
    }
}

/// What schedules wait for.
pub(crate) fn schedule_timers(
    schedules: &BTreeMap<ScheduleName, ScheduleState>,
    of: impl Fn() -> Subject,
) -> impl Iterator<Item = Timer> {
    schedules.iter().filter_map(move |(name, state)| {
        let Alarm { due, set_by } = state.next?.alarm;
        Some(Timer { due, key: TimerKey::Schedule { of: of(), schedule: name.clone(), set_by } })
    })
}
