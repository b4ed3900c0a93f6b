//! Conditions: which events does a rule wait for?
//!
//! Plain, closed data; the engine evaluates it. Source: seed "Control Edge"; AIFlow 0.3 `EventCondition` (MEET_ALL, MEET_ANY), `EventLife`,
//! `ValueCondition`; master's custom conditions.

mod build;
#[cfg(feature = "cel")]
mod cel;
mod pattern;
mod stage;
mod value;
mod wait;
mod walk;
mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use build::{
    absent, absent_after, all, any, at_least, count, custom, job_is, job_status, not_within, optional, sequence,
};
pub use pattern::{EventPattern, Life, on, on_alias, on_dataset, on_metric, on_model_version, workflow_status};
pub use stage::ModelStage;
pub use value::{CEL_BYTES_MAX, Comparison, ValueTest};
pub(crate) use value::{CompiledTest, Tested};
pub use wait::Wait;
pub(crate) use walk::job_key;
pub(crate) use window::CompiledWindow;
pub use window::{KEY_PLACES_MAX, KeyOf, Window};

use super::millis;
use crate::id::JobName;
use crate::status::JobStatus;

/// What must have happened for a rule to fire.
///
/// # Consumption
/// A firing uses the oldest pending event of each `once` operand it needs, and the newest event that stands of each `repeated` one. An event
/// serves at most one firing of a rule as a `once` operand, and rules never influence one another. `any` and `at_least` use as many branches
/// as they need and the others keep what they have: first those that use the event just arrived, then those whose oldest used event is
/// oldest, then the first in definition order. One event may serve several operands of a firing, except those of `sequence` and `count`.
///
/// # Time
/// `within` and `not_within` measure the time at which an event happened by its sender's clock ([`NewEvent::time`]), which counts at most as
/// late as the event was recorded. `absent` and `optional` wait, and measure the time of the log.
///
/// [`NewEvent::time`]: crate::event::NewEvent::time
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// An event matches.
    On(EventPattern),
    /// A job of the same workflow reached one of these statuses: sugar for its status event.
    JobStatus {
        /// The job.
        job: JobName,
        /// Any of these statuses.
        statuses: Vec<JobStatus>,
        /// How long a match counts.
        #[serde(default)]
        life: Life,
    },
    /// All of these hold. Must not be empty.
    All(Vec<Self>),
    /// At least one of these holds. Must not be empty.
    Any(Vec<Self>),
    /// At least `n` of these hold.
    AtLeast {
        /// How many, from 1 to the number of operands.
        n: usize,
        /// The operands.
        of: Vec<Self>,
    },
    /// These hold one after the other: every event of one lies behind every event of those before it, by offset. A match of an operand
    /// before its predecessors are met does not count.
    Sequence(Vec<Self>),
    /// This holds `n` times, each time through other events.
    Count {
        /// How often, from 1.
        n: usize,
        /// What is to hold.
        of: Box<Self>,
    },
    /// This holds through events of one window. Events that leave the window are recorded as expired.
    Within {
        /// The window.
        window: Window,
        /// What is to hold.
        of: Box<Self>,
    },
    /// The whole rule is evaluated for each key on its own: only events with the same key meet. It must stand outermost.
    ForEach {
        /// Where the key of an event is found. An event without one is recorded and otherwise not seen.
        key: KeyOf,
        /// What is to hold for one key.
        of: Box<Self>,
    },
    /// This did not hold for a while: once until the next match.
    ///
    /// Without `after` the wait begins with the rule (below `for_each`: with the first event of the key), and anew with each match. With it,
    /// the first match of `after` begins the wait, which a match of `of` ends; later openings during the wait do not count. Matches of `of`
    /// before or at the beginning do not count. A match also takes back an absence that no firing has used yet.
    Absent {
        /// What is not to happen.
        of: Box<Self>,
        /// For how long, in milliseconds.
        #[serde(with = "millis", rename = "for_ms")]
        wait: Duration,
        /// What begins the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Box<Self>>,
    },
    /// A guard: at the moment of firing, no event has matched for a while. Stands in an `all` or a `sequence`, and never fires by itself:
    /// while it does not hold, the events of the others wait for the next match of the rule.
    NotWithin {
        /// What must not have happened.
        pattern: EventPattern,
        /// For how long, in milliseconds; the edge counts as within.
        #[serde(with = "millis", rename = "within_ms")]
        within: Duration,
    },
    /// A guard: at the moment of firing, a job of the same workflow execution has one of these statuses. For rules of jobs only.
    JobIs {
        /// The job.
        job: JobName,
        /// Any of these statuses; `Init` stands for a job that has not run yet.
        statuses: Vec<JobStatus>,
    },
    /// May be missing: when all else of the rule is met, the firing waits so long for this and then does without. Stands in an `all` or a
    /// `sequence` beside an operand that is not optional.
    Optional {
        /// What is waited for.
        of: Box<Self>,
        /// How long, from the moment at which all else is met.
        wait: Wait,
    },
    /// Code of the host application decides, and keeps state between events. Registered by name with the scheduler.
    Custom {
        /// The name.
        name: String,
        /// What the code is given besides the event.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        params: Value,
        /// The events that it is shown. Their life is `once`.
        on: Vec<EventPattern>,
    },
}

impl From<EventPattern> for Condition {
    fn from(pattern: EventPattern) -> Self {
        Self::On(pattern)
    }
}
