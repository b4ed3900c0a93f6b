//! Faults of a world: which ones happen, how often, and how small are the scheduler's queues?
//!
//! Swarm testing: a seed switches each kind of fault on or off and draws its weight, so that rare combinations occur and worlds with few
//! faults are not drowned in those with all of them.

use std::time::Duration;

use aiflow_core::client::Retention;
use aiflow_core::runtime::Settings;

use crate::fault::FaultPlan;
use crate::rng::Rng;

/// A defect put into the world on purpose. Each must be found: a simulation that finds nothing proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutation {
    /// The store commits whatever epoch the fence names.
    StoreIgnoresFence,
    /// The store commits whatever revision is expected.
    StoreIgnoresExpectations,
    /// The store commits records without the events of the batch, now and then.
    StoreTearsBatches,
    /// The store grants a lease to a new holder under the old epoch.
    StoreRepeatsEpochs,
    /// The log acknowledges a user's event that it does not append, now and then.
    BusDropsAcknowledged,
    /// The log appends a user's event twice, now and then.
    BusDuplicates,
    /// The log shows two events in another order than the one it acknowledged.
    BusReorders,
    /// An executor starts an attempt again when it is submitted again.
    ExecutorStartsTwice,
    /// An executor that claims to survive its host forgets what it accepted when the host dies.
    ExecutorForgets,
    /// An executor neither reports nor shows the end of some attempts.
    ExecutorKeepsSilent,
    /// The scheduler's clock is ahead of the store's, so that timers fire early.
    TimersFireEarly,
    /// A store whose log lies elsewhere forgets, now and then, what is on its way there.
    OutboxForgets,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::StoreIgnoresFence,
        Self::StoreIgnoresExpectations,
        Self::StoreTearsBatches,
        Self::StoreRepeatsEpochs,
        Self::BusDropsAcknowledged,
        Self::BusDuplicates,
        Self::BusReorders,
        Self::ExecutorStartsTwice,
        Self::ExecutorForgets,
        Self::ExecutorKeepsSilent,
        Self::TimersFireEarly,
        Self::OutboxForgets,
    ];
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) mutation: Option<Mutation>,
    pub(super) hosts: usize,
    pub(super) chaos: Duration,
    pub(super) settings: Settings,
    /// Faults of the store and of the log, per call.
    pub(super) backend: FaultPlan,
    /// Of 100 writes, so many answer at once that their outcome is unknown, and take effect later.
    pub(super) late_percent: u8,
    pub(super) process: ProcessFaults,
    pub(super) executor: ExecutorFaults,
    /// The processes are hosts, and each takes so many attempts of the executor that dies with it; otherwise whoever leads runs all of them.
    pub(super) host_capacity: Option<u32>,
    /// Records and log lie in different backends, which are joined in each process.
    pub(super) is_relayed: bool,
    /// The wall clock jumps by at most this, to and fro.
    pub(super) clock_jump_max: Duration,
}

/// How processes of the scheduler end.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessFaults {
    /// Killed after a random time.
    pub(super) kill_percent: u8,
    /// Killed right before or after one of its first calls: within recovery, most of the time.
    pub(super) kill_at_call_percent: u8,
    /// Shut down in good order.
    pub(super) shutdown_percent: u8,
    /// Of 100 calls of a process, so many find it stopped for a while, as by SIGSTOP.
    pub(super) stall_per_mille: u8,
    pub(super) lifetime_max: Duration,
    pub(super) downtime_max: Duration,
}

#[derive(Debug, Clone, Default)]
pub(super) struct ExecutorFaults {
    pub(super) unavailable_percent: u8,
    pub(super) reply_lost_percent: u8,
    /// Submissions that answer at once and arrive later.
    pub(super) late_percent: u8,
    pub(super) cannot_say_percent: u8,
    /// Reports that come late, so that they overtake one another.
    pub(super) report_late_percent: u8,
    pub(super) report_twice_percent: u8,
    /// Reports go to every process that watches, not only to the one that attached last.
    pub(super) reports_to_all: bool,
    /// The platform enforces the time limit of attempts, not only the scheduler.
    pub(super) enforces_timeout: bool,
    /// Attempts that vanish with their machine.
    pub(super) lost_percent: u8,
    pub(super) delay_max: Duration,
}

fn percent(rng: &mut Rng, max: u64) -> u8 {
    if rng.chance(50) { u8::try_from(1 + rng.below(max)).unwrap_or(u8::MAX) } else { 0 }
}

fn millis(rng: &mut Rng, min: u64, max: u64) -> Duration {
    Duration::from_millis(min + rng.below(max - min + 1))
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, mutation: Option<Mutation>) -> Self {
        Self {
            mutation,
            hosts: if rng.chance(60) { 2 } else { 1 },
            chaos: millis(rng, 2_000, 20_000),
            settings: settings(rng),
            backend: FaultPlan {
                seed: rng.next_u64(),
                fail_before_percent: percent(rng, 15),
                reply_lost_percent: percent(rng, 15),
                delay_max: if rng.chance(50) { millis(rng, 1, 30) } else { Duration::ZERO },
            },
            late_percent: percent(rng, 10),
            process: ProcessFaults {
                kill_percent: percent(rng, 80),
                kill_at_call_percent: percent(rng, 60),
                shutdown_percent: percent(rng, 40),
                stall_per_mille: percent(rng, 10),
                lifetime_max: millis(rng, 100, 8_000),
                downtime_max: millis(rng, 1, 3_000),
            },
            executor: ExecutorFaults {
                unavailable_percent: percent(rng, 20),
                reply_lost_percent: percent(rng, 20),
                late_percent: percent(rng, 20),
                cannot_say_percent: percent(rng, 20),
                report_late_percent: percent(rng, 30),
                report_twice_percent: percent(rng, 30),
                reports_to_all: rng.chance(50),
                enforces_timeout: rng.chance(50),
                lost_percent: percent(rng, 10),
                delay_max: millis(rng, 1, 500),
            },
            host_capacity: rng.chance(40).then(|| 1 + u32::try_from(rng.below(4)).unwrap_or(0)),
            is_relayed: match mutation {
                Some(mutation) => mutation == Mutation::OutboxForgets,
                None => rng.chance(25),
            },
            clock_jump_max: if rng.chance(30) { millis(rng, 100, 30_000) } else { Duration::ZERO },
        }
    }
}

/// Numbers of a scheduler, often at an edge: batches of one event, queues of one command, a lease that hardly lasts.
/// What leaders keep. In most worlds everything.
fn retention(rng: &mut Rng) -> Retention {
    match rng.below(6) {
        0 => Retention::default().age(millis(rng, 1, 3_000)),
        1 => Retention::default().executions(usize::try_from(rng.below(3)).unwrap_or(0)),
        _ => Retention::default(),
    }
}

fn settings(rng: &mut Rng) -> Settings {
    let small = |rng: &mut Rng, usual: usize| match rng.below(3) {
        0 => 1,
        1 => 2 + usize::try_from(rng.below(6)).unwrap_or(0),
        _ => usual,
    };
    Settings {
        lease_ttl: if rng.chance(50) { millis(rng, 60, 500) } else { millis(rng, 500, 5_000) },
        standby_poll: millis(rng, 5, 300),
        batch_events_max: small(rng, 512),
        report_queue: small(rng, 4096),
        dispatch_queue: small(rng, 1024),
        submits_at_once: small(rng, 16),
        backoff_max: millis(rng, 1, 2_000),
        retention: retention(rng),
        retention_every: millis(rng, 50, 3_000),
    }
}
