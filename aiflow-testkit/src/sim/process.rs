//! A process of the scheduler: what does it call, when does it stand still, and at which call does it die?
//!
//! A dead process does nothing any more: each of its calls waits for ever, until its tasks are dropped.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, Page, Query, Receipt, Record, RecordKey, Relation, RelationQuery,
};
use aiflow_core::time::{Clock, Timestamp};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::faults::Plan;
use super::ledger::Ledger;
use super::recorder::{Recorder, timer_of};
use crate::fault::{FaultPlan, FaultyBus, FaultyStore};

/// What the wall clock shows when a world begins, in milliseconds since the epoch.
pub(super) const WORLD_BEGINS: i64 = 1_700_000_000_000;

/// The wall clock of a world: follows virtual time, and jumps.
#[derive(Debug)]
pub(super) struct SimClock {
    started: Instant,
    offset_millis: AtomicI64,
    /// The latest moment it ever showed.
    latest: AtomicI64,
}

impl SimClock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), offset_millis: AtomicI64::new(0), latest: AtomicI64::new(0) }
    }

    /// From now on shows so much more, or less, than the time that passed.
    pub(super) fn jump_to(&self, offset_millis: i64) {
        self.offset_millis.store(offset_millis, Ordering::SeqCst);
    }

    fn latest(&self) -> Timestamp {
        Timestamp::from_millis(self.latest.load(Ordering::SeqCst))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let base = Timestamp::from_millis(WORLD_BEGINS + self.offset_millis.load(Ordering::SeqCst));
        let now = base + self.started.elapsed();
        self.latest.fetch_max(now.as_millis(), Ordering::SeqCst);
        now
    }
}

/// The clock as a scheduler reads it.
#[derive(Debug)]
pub(super) struct ProcessClock {
    pub(super) clock: Arc<SimClock>,
    /// How far it is ahead of the world's, by mutation only.
    pub(super) ahead: Duration,
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.ahead
    }
}

/// What all processes of a world share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ledger: Arc<Ledger>,
    pub(super) plan: Plan,
    pub(super) recorder: Arc<Recorder>,
    pub(super) clock: Arc<SimClock>,
    is_calm: AtomicBool,
    /// When no process stands still any longer.
    calm_at: Instant,
    /// Work that is under way outside of any process: requests in the network, jobs on platforms.
    outside: Mutex<JoinSet<()>>,
}

impl Shared {
    pub(super) fn new(ledger: Arc<Ledger>, plan: Plan, recorder: Arc<Recorder>, clock: Arc<SimClock>) -> Self {
        Self {
            calm_at: Instant::now() + plan.chaos,
            ledger,
            plan,
            recorder,
            clock,
            is_calm: AtomicBool::new(false),
            outside: Mutex::default(),
        }
    }

    /// No more faults from now on.
    pub(super) fn calm_down(&self) {
        self.is_calm.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::SeqCst)
    }

    /// Whether a fault of this kind happens now. None does in calm.
    pub(super) fn strikes(&self, kind: &'static str, percent: u8) -> bool {
        !self.is_calm() && self.ledger.strikes(kind, percent)
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        while outside.try_join_next().is_some() {}
        outside.spawn(task);
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    is_dead: AtomicBool,
    has_taken_over: AtomicBool,
    died: Notify,
    calls: AtomicU64,
    dies_at_call: u64,
    stalled_until: Mutex<Option<Instant>>,
}

impl Process {
    /// A process that dies at its call number `dies_at_call`, counted from 1; 0: at none.
    pub(super) fn new(shared: Arc<Shared>, name: String, dies_at_call: u64) -> Self {
        Self {
            shared,
            name,
            is_dead: AtomicBool::new(false),
            has_taken_over: AtomicBool::new(false),
            died: Notify::new(),
            calls: AtomicU64::new(0),
            dies_at_call,
            stalled_until: Mutex::default(),
        }
    }

    pub(super) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Whether it was ever told that it has the lease.
    pub(super) fn has_taken_over(&self) -> bool {
        self.has_taken_over.load(Ordering::SeqCst)
    }

    /// Waits until it is dead.
    pub(super) async fn death(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    fn stall(&self) -> Option<Instant> {
        let mut until = self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
        let per_mille = self.shared.plan.process.stall_per_mille;
        if until.is_none_or(|until| until <= Instant::now())
            && !self.shared.is_calm()
            && per_mille > 0
            && self.shared.ledger.draw(|rng| rng.below(1000)) < u64::from(per_mille)
        {
            let time = self.shared.ledger.time_below(3 * self.shared.plan.settings.lease_ttl);
            self.shared.ledger.count("stall");
            self.shared.ledger.trace(&self.name, format_args!("stalls for {} ms", time.as_millis()));
            *until = Some((Instant::now() + time).min(self.shared.calm_at));
        }
        until.filter(|until| *until > Instant::now())
    }

    /// Every call of this process passes here, before and after its work.
    pub(super) async fn pass(&self, call: &'static str) {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.dies_at_call && !self.shared.is_calm() {
            self.shared.ledger.count("kill at a call");
            self.shared.ledger.trace(&self.name, format_args!("dies at call {number}, {call}"));
            self.kill();
        }
        if !self.shared.ledger.step() {
            // The world is ended from outside.
            pending::<()>().await;
        }
        while let Some(until) = self.stall() {
            tokio::time::sleep_until(until).await;
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }
}

/// The store and the log as one process reaches them.
#[derive(Debug)]
pub(super) struct Connection {
    process: Arc<Process>,
    recorder: Arc<Recorder>,
    store: FaultyStore,
    bus: FaultyBus,
}

impl Connection {
    pub(super) fn new(process: Arc<Process>) -> Self {
        let shared = &process.shared;
        let recorder = Arc::clone(&shared.recorder);
        let plan = |seed| FaultPlan { seed, ..shared.plan.backend };
        let seeds = shared.ledger.draw(|rng| (rng.next_u64(), rng.next_u64()));
        Self {
            store: FaultyStore::new(Arc::<Recorder>::clone(&recorder), plan(seeds.0)),
            bus: FaultyBus::new(Arc::<Recorder>::clone(&recorder), plan(seeds.1)),
            recorder,
            process,
        }
    }

    fn store(&self) -> &dyn MetaStore {
        if self.process.shared.is_calm() { &*self.recorder } else { &self.store }
    }

    fn bus(&self) -> &dyn EventBus {
        if self.process.shared.is_calm() { &*self.recorder } else { &self.bus }
    }

    /// Counts what the fault wrapper did to a call.
    fn note<T>(&self, call: &'static str, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer {
            let ledger = &self.process.shared.ledger;
            match error.kind() {
                ErrorKind::Unavailable => ledger.count("backend unavailable"),
                ErrorKind::OutcomeUnknown => ledger.count("backend reply lost"),
                _ => {}
            }
            ledger.trace(&self.process.name, format_args!("{call}: {}", error.kind().as_str()));
        }
        answer
    }

    /// Lets `work` happen after a while, whatever becomes of this process, and answers at once that nobody knows.
    fn later<T>(&self, call: &'static str, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let shared = &self.process.shared;
        let delay = shared.ledger.time_below(Duration::from_secs(2));
        let ledger = Arc::clone(&shared.ledger);
        shared.spawn(async move {
            tokio::time::sleep(delay).await;
            let outcome = match work.await {
                Ok(_) => "took effect late",
                Err(_) => "was refused late",
            };
            ledger.trace("network", format_args!("{call} {outcome}"));
        });
        Err(Error::new(ErrorKind::OutcomeUnknown, call, "the request is still under way"))
    }

    fn check_timers(&self, events: &[NewEvent]) {
        let shared = &self.process.shared;
        for (timer, due) in events.iter().filter_map(timer_of) {
            if due > shared.clock.latest() {
                shared.ledger.violate("I17", format!("timer {timer} of {due} fired early"));
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for Connection {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.process.pass("get").await;
        let answer = self.store().get(keys).await;
        self.note("get", answer)
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.process.pass("query").await;
        let answer = self.store().query(query).await;
        self.note("query", answer)
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.process.pass("search").await;
        self.store().search(search).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.process.pass("relations").await;
        self.store().relations(query).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        self.process.pass("commit").await;
        let shared = &self.process.shared;
        let answer = if shared.strikes("commit under way", shared.plan.late_percent) {
            let recorder = Arc::clone(&self.recorder);
            self.later("commit", async move { recorder.commit(batch).await })
        } else {
            self.store().commit(batch).await
        };
        self.process.pass("commit done").await;
        self.note("commit", answer)
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.process.pass("acquire").await;
        let answer = self.store().acquire(name, holder, ttl).await;
        self.process.pass("acquire done").await;
        if matches!(answer, Ok(Some(_))) {
            self.process.has_taken_over.store(true, Ordering::SeqCst);
        }
        self.note("acquire", answer)
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.process.pass("release").await;
        self.store().release(lease).await
    }
    fn capabilities(&self) -> Capabilities {
        MetaStore::capabilities(&*self.recorder)
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for Connection {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.check_timers(&events);
        self.process.pass("publish").await;
        let shared = &self.process.shared;
        let answer = if shared.strikes("publish under way", shared.plan.late_percent) {
            let recorder = Arc::clone(&self.recorder);
            self.later("publish", async move { recorder.publish(events).await })
        } else {
            self.bus().publish(events).await
        };
        self.process.pass("publish done").await;
        self.note("publish", answer)
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.process.pass("read").await;
        let answer = self.bus().read(after, filter, max).await;
        self.note("read", answer)
    }
    async fn head(&self) -> Result<Head> {
        self.process.pass("head").await;
        self.bus().head().await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.process.pass("wait").await;
        let answer = self.bus().wait(after).await;
        self.note("wait", answer)
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        self.bus().trim(through).await
    }
    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&*self.recorder)
    }
}
