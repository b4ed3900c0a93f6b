//! The numbers of a scheduler: how much at once, how long?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Retention;
use crate::workflow::millis;

/// Numbers that bound a scheduler's queues, batches and patience. Replaceable parts (store, executors, clock) are given to the builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a leader that fell silent is waited for, in milliseconds. It renews at a third of this.
    #[serde(with = "millis", rename = "lease_ttl_ms")]
    pub lease_ttl: Duration,
    /// How often a standby asks whether it may lead, in milliseconds.
    #[serde(with = "millis", rename = "standby_poll_ms")]
    pub standby_poll: Duration,
    /// Events decided in one transaction.
    pub batch_events_max: usize,
    /// Reports of executors that wait to be published.
    pub report_queue: usize,
    /// Commands that wait for each executor.
    pub dispatch_queue: usize,
    /// Submissions to one executor at the same time.
    pub submits_at_once: usize,
    /// The longest pause between tries of something that is unavailable, in milliseconds.
    #[serde(with = "millis", rename = "backoff_ms_max")]
    pub backoff_max: Duration,
    /// How long the leader keeps the records of what has ended; for ever if nothing is said.
    pub retention: Retention,
    /// How often it looks for what is to be removed, in milliseconds.
    #[serde(with = "millis", rename = "retention_every_ms")]
    pub retention_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(5),
            standby_poll: Duration::from_millis(200),
            batch_events_max: 512,
            report_queue: 4096,
            dispatch_queue: 1024,
            submits_at_once: 16,
            backoff_max: Duration::from_secs(5),
            retention: Retention::default(),
            retention_every: Duration::from_secs(600),
        }
    }
}

/// Pauses between tries: doubling from 1 ms up to a bound.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Self { next: Duration::from_millis(1), max }
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(self.max);
    }
}
