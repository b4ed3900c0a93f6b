//! Simulated worlds: does the scheduler keep its promises whatever fails, and in whatever order?
//!
//! A seed stands for one world: schedulers on one or two hosts, executors, users and operators, in virtual time on one thread. The engine, the
//! runtime and the backends in memory are the real ones. First comes chaos: processes are killed at any await, stores and executors fail, lose
//! replies, answer late, clocks jump. Then comes calm, in which everything must come to rest, and the invariants are checked. The same seed
//! gives the same world on every machine, so a failure is repeated by its seed.

mod check;
mod check_hosts;
mod check_pools;
mod check_schedules;
mod check_scopes;
mod check_why;
mod clients;
mod executor;
mod faults;
mod ledger;
mod process;
mod recorder;
mod rerun;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use faults::Mutation;
pub use ledger::Violation;

/// Of so many seeds, one is run twice and the histories compared.
const TWICE_EVERY: u64 = 100;
/// Failed worlds that a report keeps; after that many, no new ones are begun.
const FAILURES_MAX: usize = 5;

/// How one world went.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Hash of its history.
    pub trace_hash: u64,
    /// Steps of its history.
    pub steps: u64,
    /// Faults that happened, and what else was counted, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// The last lines of its history; empty unless asked for.
    pub trace: Vec<String>,
}

/// How many worlds went.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Worlds that were run.
    pub seeds: u64,
    /// Steps of all their histories.
    pub steps: u64,
    /// Faults that happened, and what else was counted, by kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Worlds in which a promise was broken, with the ends of their histories.
    pub failures: Vec<Outcome>,
}

/// Lives through the world of `seed`, with a defect put into it if `mutation` names one.
#[must_use]
pub fn run_seed(seed: u64, mutation: Option<Mutation>, is_verbose: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let closed = runtime.block_on(async {
        let ledger = Arc::new(ledger::Ledger::new(seed, is_verbose));
        world::live(Arc::clone(&ledger), mutation).await;
        ledger.close()
    });
    Outcome {
        seed,
        trace_hash: closed.hash,
        steps: closed.steps,
        counts: closed.counts,
        violations: closed.violations,
        trace: closed.trace,
    }
}

/// Lives through many worlds, on `threads` threads.
///
/// # Panics
/// If a world does, which no defect of the scheduler should cause.
#[must_use]
pub fn run_seeds(seeds: Range<u64>, threads: usize) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_full = report.lock().unwrap_or_else(PoisonError::into_inner).failures.len() >= FAILURES_MAX;
                    if seed >= seeds.end || is_full {
                        return;
                    }
                    let outcome = checked_twice(seed);
                    report.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|outcome| outcome.seed);
    report
}

/// Runs a world; again with its trace if it failed, and again anyway now and then: the history must be the same.
fn checked_twice(seed: u64) -> Outcome {
    let mut outcome = run_seed(seed, None, false);
    if outcome.violations.is_empty() && !seed.is_multiple_of(TWICE_EVERY) {
        return outcome;
    }
    let again = run_seed(seed, None, true);
    if again.trace_hash != outcome.trace_hash {
        outcome.violations.push(Violation { invariant: "I20", message: "the same seed gave two histories".to_owned() });
    }
    outcome.trace = again.trace;
    outcome
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        for (kind, n) in &outcome.counts {
            *self.counts.entry(kind).or_default() += n;
        }
        if !outcome.violations.is_empty() {
            self.failures.push(outcome);
        }
    }
}
