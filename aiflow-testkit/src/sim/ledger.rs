//! The ledger of a world: what happened, what was found wrong, and which random number comes next?
//!
//! Everything random in a world is drawn here, in one order, so that a seed stands for one history.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rng::Rng;

/// Lines of the trace that a report keeps.
const TRACE_LINES_MAX: usize = 400;
/// Violations that one world keeps: the first ones tell the story.
const VIOLATIONS_MAX: usize = 8;
/// Steps after which a world is taken for one that runs in circles.
const STEPS_MAX: u64 = 200_000;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant, for instance `I3`.
    pub invariant: &'static str,
    /// How it was broken.
    pub message: String,
}

#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    is_verbose: bool,
    inner: Mutex<Inner>,
    exhausted: Notify,
}

#[derive(Debug)]
struct Inner {
    rng: Rng,
    hash: DefaultHasher,
    steps: u64,
    trace: VecDeque<String>,
    violations: Vec<Violation>,
    counts: BTreeMap<&'static str, u64>,
}

/// What remains of a ledger when its world has ended.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) hash: u64,
    pub(super) steps: u64,
    pub(super) trace: Vec<String>,
    pub(super) violations: Vec<Violation>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub(super) fn new(seed: u64, is_verbose: bool) -> Self {
        Self {
            started: Instant::now(),
            is_verbose,
            inner: Mutex::new(Inner {
                rng: Rng::new(seed),
                hash: DefaultHasher::new(),
                steps: 0,
                trace: VecDeque::new(),
                violations: Vec::new(),
                counts: BTreeMap::new(),
            }),
            exhausted: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.lock().rng)
    }

    /// A random time below `bound`, in whole milliseconds.
    pub(super) fn time_below(&self, bound: Duration) -> Duration {
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.draw(|rng| rng.below(millis)))
    }

    /// Whether a fault of this kind happens now; counts it if so.
    pub(super) fn strikes(&self, kind: &'static str, percent: u8) -> bool {
        let strikes = percent > 0 && self.draw(|rng| rng.chance(percent));
        if strikes {
            self.count(kind);
        }
        strikes
    }

    pub(super) fn count(&self, kind: &'static str) {
        *self.lock().counts.entry(kind).or_default() += 1;
    }

    /// Notes one step of the history.
    pub(super) fn trace(&self, who: &str, what: impl std::fmt::Display) {
        let at = self.started.elapsed().as_millis();
        let line = format!("{at:>7} ms  {who:<10} {what}");
        let mut inner = self.lock();
        line.hash(&mut inner.hash);
        inner.steps += 1;
        if self.is_verbose {
            if inner.trace.len() == TRACE_LINES_MAX {
                inner.trace.pop_front();
            }
            inner.trace.push_back(line);
        }
    }

    /// Counts a step that leaves no line. False when the world runs in circles and is about to be ended.
    pub(super) fn step(&self) -> bool {
        let mut inner = self.lock();
        inner.steps += 1;
        let goes_on = inner.steps < STEPS_MAX;
        if !goes_on {
            self.exhausted.notify_one();
        }
        goes_on
    }

    /// Waits until the world has taken more steps than any world should.
    pub(super) async fn exhaustion(&self) {
        self.exhausted.notified().await;
    }

    pub(super) fn violate(&self, invariant: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.trace("VIOLATION", format_args!("{invariant}: {message}"));
        let mut inner = self.lock();
        if inner.violations.len() < VIOLATIONS_MAX {
            inner.violations.push(Violation { invariant, message });
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.lock().violations.is_empty()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn close(&self) -> Closed {
        let mut inner = self.lock();
        Closed {
            hash: inner.hash.finish(),
            steps: inner.steps,
            trace: std::mem::take(&mut inner.trace).into(),
            violations: std::mem::take(&mut inner.violations),
            counts: std::mem::take(&mut inner.counts),
        }
    }
}
