//! Clocks for tests: what time is it, when the test decides?

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aiflow_core::time::{Clock, Timestamp};
use tokio::time::Instant;

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_millis()))
    }

    /// Moves to `now`, forward or backward.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves forward by `time`; less than a millisecond is nothing.
    pub fn advance(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.0.update(Ordering::SeqCst, Ordering::SeqCst, |now| now.saturating_add(millis));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A clock that follows tokio's, so that it stands still, jumps and runs as fast as a paused runtime does.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    base: Timestamp,
    started: Instant,
}

impl VirtualClock {
    /// A clock that shows `base` now. Make it in the runtime whose time it is to follow.
    #[must_use]
    pub fn starting_at(base: Timestamp) -> Self {
        Self { base, started: Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.base + self.started.elapsed()
    }
}
