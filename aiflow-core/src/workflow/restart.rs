//! Restarts: what becomes of a streaming job that ends by itself?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retry::{back_off, shortened};
use super::{Diagnostic, Job, millis};
use crate::executor::Ending;
use crate::id::AttemptId;

/// When the next attempt of a streaming job follows one that ended by itself, and after which pause.
///
/// It takes the place of a retry policy: a stream has no number of tries, but a time after which it counts as healthy. The pause before
/// the `n`-th restart in a row is `backoff * factor^(n-1)`, at most `backoff_max`; an attempt that ran for `healthy_after` begins a new row.
/// A stop is no end by itself. A failure that no other attempt can mend is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartPolicy {
    /// After which endings.
    pub when: RestartWhen,
    /// Pause before the first restart of a row, in milliseconds.
    #[serde(with = "millis", rename = "backoff_ms")]
    pub backoff: Duration,
    /// By how much the pause grows with each restart of a row; 1 keeps it fixed.
    #[serde(default = "two")]
    pub factor: u32,
    /// The longest pause, in milliseconds.
    #[serde(default = "backoff_max", with = "millis", rename = "backoff_ms_max")]
    pub backoff_max: Duration,
    /// By how much a pause is shortened at most, in percent of itself.
    #[serde(default)]
    pub jitter_percent: u8,
    /// How long an attempt runs until it counts as healthy, in milliseconds.
    #[serde(default = "healthy_after", with = "millis", rename = "healthy_after_ms")]
    pub healthy_after: Duration,
    /// The most restarts in a row; the job ends as its last attempt did when they are used up. No bound if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_max: Option<u32>,
}

/// After which endings a streaming job is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartWhen {
    /// None.
    Never,
    /// A failure or an exceeded time limit.
    OnFailure,
    /// Also a success: a stream is not meant to end.
    Always,
}

impl RestartPolicy {
    /// No restarts.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            when: RestartWhen::Never,
            backoff: Duration::from_secs(1),
            factor: 2,
            backoff_max: Duration::from_secs(300),
            jitter_percent: 0,
            healthy_after: Duration::from_secs(60),
            restarts_max: None,
        }
    }

    /// Restarts after failures, with a pause that doubles from `backoff` up to five minutes.
    #[must_use]
    pub const fn on_failure(backoff: Duration) -> Self {
        Self { when: RestartWhen::OnFailure, backoff, ..Self::never() }
    }

    /// Restarts after every ending but a stop, with a pause that doubles from `backoff` up to five minutes.
    #[must_use]
    pub const fn always(backoff: Duration) -> Self {
        Self { when: RestartWhen::Always, backoff, ..Self::never() }
    }

    /// Sets the longest pause.
    #[must_use]
    pub const fn backoff_max(mut self, backoff_max: Duration) -> Self {
        self.backoff_max = backoff_max;
        self
    }

    /// Shortens each pause by up to so many percent of itself, at most 100.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// Sets how long an attempt runs until it counts as healthy.
    #[must_use]
    pub const fn healthy_after(mut self, healthy_after: Duration) -> Self {
        self.healthy_after = healthy_after;
        self
    }

    /// Sets the most restarts in a row.
    #[must_use]
    pub const fn restarts_max(mut self, restarts_max: u32) -> Self {
        self.restarts_max = Some(restarts_max);
        self
    }

    /// Whether the job is restarted after this ending, as far as the sort of the ending goes.
    pub(crate) fn follows(&self, ending: &Ending) -> bool {
        match ending {
            Ending::Succeeded { .. } => self.when == RestartWhen::Always,
            Ending::Failed { retryable, .. } => *retryable && self.when != RestartWhen::Never,
            Ending::TimedOut { .. } => self.when != RestartWhen::Never,
            Ending::Stopped | Ending::Lost { .. } => false,
        }
    }

    /// The pause before restart `n` of a row (from 1).
    pub(crate) fn pause_after(&self, n: u32, ended: AttemptId) -> Duration {
        shortened(back_off(self.backoff, self.factor, self.backoff_max, n), self.jitter_percent, ended)
    }

    pub(super) fn is_never(&self) -> bool {
        self.when == RestartWhen::Never
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self::never()
    }
}

impl Job {
    pub(super) fn check_restart(&self, path: &str, found: &mut Vec<Diagnostic>) {
        if self.restart.jitter_percent > 100 {
            found.push(Diagnostic::new(path, "jitter_percent of restart must be at most 100"));
        }
        if !self.restart.is_never() && !self.streaming {
            found.push(Diagnostic::new(path, "restart is for streaming jobs; set retry for what follows a failure"));
        } else if !self.restart.is_never() && !self.retry.is_never() {
            found.push(Diagnostic::new(
                path,
                "has both retry and restart; restart alone says what follows the end of a stream",
            ));
        }
        if self.ack_within.as_millis() == 0 {
            found.push(Diagnostic::new(path, "ack_within_ms must be at least 1"));
        }
    }
}

fn two() -> u32 {
    RestartPolicy::never().factor
}

fn backoff_max() -> Duration {
    RestartPolicy::never().backoff_max
}

fn healthy_after() -> Duration {
    RestartPolicy::never().healthy_after
}
