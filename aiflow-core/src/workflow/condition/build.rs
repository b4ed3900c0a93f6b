//! Conditions as they are written in code.

use std::time::Duration;

use serde_json::Value;

use super::{Condition, EventPattern, KeyOf, Life, Wait, Window};
use crate::id::JobName;
use crate::status::JobStatus;

/// A job of the same workflow execution reached `status`.
#[must_use]
pub fn job_status(job: &JobName, status: JobStatus) -> Condition {
    Condition::JobStatus { job: job.clone(), statuses: vec![status], life: Life::Once }
}

/// All of these hold.
#[must_use]
pub fn all<C: Into<Condition>>(conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::All(conditions.into_iter().map(Into::into).collect())
}

/// At least one of these holds.
#[must_use]
pub fn any<C: Into<Condition>>(conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::Any(conditions.into_iter().map(Into::into).collect())
}

/// At least `n` of these hold.
#[must_use]
pub fn at_least<C: Into<Condition>>(n: usize, conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::AtLeast { n, of: conditions.into_iter().map(Into::into).collect() }
}

/// These hold one after the other.
///
/// ```
/// use std::time::Duration;
/// use aiflow_core::workflow::{KeyOf, on, restart, sequence};
/// let rule = restart(
///     sequence([on("uploaded"), on("checked")]).within(Duration::from_secs(3600)).for_each(KeyOf::value("/batch")),
/// );
/// ```
#[must_use]
pub fn sequence<C: Into<Condition>>(conditions: impl IntoIterator<Item = C>) -> Condition {
    Condition::Sequence(conditions.into_iter().map(Into::into).collect())
}

/// This holds `n` times, through different events.
#[must_use]
pub fn count(n: usize, condition: impl Into<Condition>) -> Condition {
    Condition::Count { n, of: Box::new(condition.into()) }
}

/// This did not hold for so long, since it last held or since the rule is there. "Too few" is `absent(count(2, …), …)`.
#[must_use]
pub fn absent(condition: impl Into<Condition>, wait: Duration) -> Condition {
    Condition::Absent { of: Box::new(condition.into()), wait, after: None }
}

/// This did not hold for so long after `opening` did.
#[must_use]
pub fn absent_after(opening: impl Into<Condition>, condition: impl Into<Condition>, wait: Duration) -> Condition {
    Condition::Absent { of: Box::new(condition.into()), wait, after: Some(Box::new(opening.into())) }
}

/// A guard: nothing matched for so long.
#[must_use]
pub fn not_within(pattern: EventPattern, within: Duration) -> Condition {
    Condition::NotWithin { pattern, within }
}

/// A guard: the job has one of these statuses now.
#[must_use]
pub fn job_is(job: &JobName, statuses: impl IntoIterator<Item = JobStatus>) -> Condition {
    Condition::JobIs { job: job.clone(), statuses: statuses.into_iter().collect() }
}

/// Waited for at most so long, or [until a time of day](Wait::until), when all else is met.
#[must_use]
pub fn optional(condition: impl Into<Condition>, wait: impl Into<Wait>) -> Condition {
    Condition::Optional { of: Box::new(condition.into()), wait: wait.into() }
}

/// The code registered under `name` decides about the events that match one of `patterns`.
#[must_use]
pub fn custom(
    name: impl Into<String>,
    params: impl Into<Value>,
    patterns: impl IntoIterator<Item = EventPattern>,
) -> Condition {
    Condition::Custom { name: name.into(), params: params.into(), on: patterns.into_iter().collect() }
}

impl Condition {
    /// Both this and `other` hold.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self::All(vec![self, other.into()])
    }

    /// This or `other` holds.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self::Any(vec![self, other.into()])
    }

    /// This holds through events of one window; a duration is a sliding window.
    #[must_use]
    pub fn within(self, window: impl Into<Window>) -> Self {
        Self::Within { window: window.into(), of: Box::new(self) }
    }

    /// This holds for one key; say it last.
    #[must_use]
    pub fn for_each(self, key: KeyOf) -> Self {
        Self::ForEach { key, of: Box::new(self) }
    }
}

impl EventPattern {
    /// See [`Condition::within`].
    #[must_use]
    pub fn within(self, window: impl Into<Window>) -> Condition {
        Condition::from(self).within(window)
    }

    /// See [`Condition::for_each`].
    #[must_use]
    pub fn for_each(self, key: KeyOf) -> Condition {
        Condition::from(self).for_each(key)
    }
}
