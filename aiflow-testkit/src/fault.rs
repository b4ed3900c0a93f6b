//! Faults on purpose: what if a backend is slow, cannot be reached, or does the work and the reply is lost?
//!
//! [`FaultyStore`] and [`FaultyBus`] are backends around a backend. Behind [`Retrying`], the caller that the
//! ports ask for, they pass the suites of the backend they wrap. Those of executors are in [`fault_executor`](crate::fault_executor).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, Page, Query, Receipt, Record, RecordKey, Relation, RelationQuery,
};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;

use crate::retrying::Retrying;
use crate::rng::Rng;
use crate::{Backend, StoreFixture};

/// Which faults happen, how often. The default has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The same seed gives the same faults to the same calls.
    pub seed: u64,
    /// Of 100 calls, so many answer `Unavailable` and do nothing.
    pub fail_before_percent: u8,
    /// Of 100 calls that write and succeed, so many answer `OutcomeUnknown` although the work is done.
    pub reply_lost_percent: u8,
    /// The longest pause before and after the work of a call.
    pub delay_max: Duration,
}

impl FaultPlan {
    /// No faults yet, from `seed` on.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Sets how many of 100 calls fail without effect.
    #[must_use]
    pub fn fail_before(mut self, percent: u8) -> Self {
        self.fail_before_percent = percent;
        self
    }

    /// Sets how many of 100 writes take effect and answer `OutcomeUnknown`.
    #[must_use]
    pub fn reply_lost(mut self, percent: u8) -> Self {
        self.reply_lost_percent = percent;
        self
    }

    /// Sets the longest pause before and after the work of a call.
    #[must_use]
    pub fn delay(mut self, max: Duration) -> Self {
        self.delay_max = max;
        self
    }

    /// Says the seed if a case is failing: called when its fixture goes.
    #[expect(clippy::print_stderr, reason = "the output of a failed test is where the seed is looked for")]
    pub(crate) fn tell_seed_of_a_failure(&self) {
        if std::thread::panicking() {
            let (name, seed) = (crate::rng::SEED_VARIABLE, self.seed);
            eprintln!("the faults of this case come again with {name}={seed}");
        }
    }

    pub(crate) fn can_fail(&self) -> bool {
        self.fail_before_percent > 0 || self.reply_lost_percent > 0
    }
}

#[derive(Debug)]
pub(crate) struct Faults {
    plan: FaultPlan,
    rng: Mutex<Rng>,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let rng = Mutex::new(Rng::new(plan.seed));
        Self { plan, rng }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation, "a fault on purpose").with("seed", self.plan.seed)
    }

    async fn pause(&self) {
        let micros_max = u64::try_from(self.plan.delay_max.as_micros()).unwrap_or(u64::MAX);
        if micros_max > 0 {
            let micros = self.draw(|rng| rng.below(micros_max));
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    async fn before(&self, operation: &'static str) -> Result<()> {
        self.pause().await;
        if self.draw(|rng| rng.chance(self.plan.fail_before_percent)) {
            return Err(self.error(ErrorKind::Unavailable, operation));
        }
        Ok(())
    }

    /// Around a call that changes nothing: a lost reply to it is a call that failed.
    pub(crate) async fn read<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.before(operation).await?;
        let answer = call.await;
        self.pause().await;
        answer
    }

    /// Around a call that changes something.
    pub(crate) async fn write<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.before(operation).await?;
        let answer = call.await;
        self.pause().await;
        if answer.is_ok() && self.draw(|rng| rng.chance(self.plan.reply_lost_percent)) {
            return Err(self.error(ErrorKind::OutcomeUnknown, operation));
        }
        answer
    }
}

/// A store with faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn MetaStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Wraps `inner`; everything that succeeds is its work.
    #[must_use]
    pub fn new(inner: Arc<dyn MetaStore>, plan: FaultPlan) -> Self {
        let faults = Faults::new(plan);
        Self { inner, faults }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for FaultyStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.faults.read("get", self.inner.get(keys)).await
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.faults.read("query", self.inner.query(query)).await
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.faults.read("search", self.inner.search(search)).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        let call = self.inner.relations(query);
        self.faults.read("relations", call).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        self.faults.write("commit", self.inner.commit(batch)).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        let call = self.inner.acquire(name, holder, ttl);
        self.faults.write("acquire", call).await
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.faults.write("release", self.inner.release(lease)).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn close(&self) -> Result<()> {
        self.faults.write("close", self.inner.close()).await
    }
}

/// A log with faults.
#[derive(Debug)]
pub struct FaultyBus {
    inner: Arc<dyn EventBus>,
    faults: Faults,
}

impl FaultyBus {
    /// Wraps `inner`; everything that succeeds is its work.
    #[must_use]
    pub fn new(inner: Arc<dyn EventBus>, plan: FaultPlan) -> Self {
        let faults = Faults::new(plan);
        Self { inner, faults }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for FaultyBus {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        let call = self.inner.publish(events);
        self.faults.write("publish", call).await
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        let call = self.inner.read(after, filter, max);
        self.faults.read("read", call).await
    }
    async fn head(&self) -> Result<Head> {
        self.faults.read("head", self.inner.head()).await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.faults.read("wait", self.inner.wait(after)).await
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        self.faults.write("trim", self.inner.trim(through)).await
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

/// Runs the suites of a backend through faults; says the seed when a case fails.
///
/// Where the plan has errors, a [`Retrying`] caller stands before them, so that each promise must hold in spite of them.
pub struct FaultyFixture<F> {
    inner: F,
    plan: FaultPlan,
}

impl<F: StoreFixture> FaultyFixture<F> {
    /// Wraps the backends of `inner`.
    #[must_use]
    pub fn new(inner: F, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    fn wrap(&self, backend: Backend) -> Backend {
        let other = FaultPlan { seed: !self.plan.seed, ..self.plan };
        let faulty = Backend {
            store: Arc::new(FaultyStore::new(backend.store, self.plan)),
            bus: Arc::new(FaultyBus::new(backend.bus, other)),
        };
        if self.plan.can_fail() { Backend::of(Arc::new(Retrying::new(faulty))) } else { faulty }
    }
}

impl<F> fmt::Debug for FaultyFixture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFixture").field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[async_trait]
impl<F: StoreFixture> StoreFixture for FaultyFixture<F> {
    async fn open(&self) -> Backend {
        self.wrap(self.inner.open().await)
    }
    async fn reopen(&self) -> Option<Backend> {
        self.inner.reopen().await.map(|backend| self.wrap(backend))
    }
    async fn pass(&self, time: Duration) {
        self.inner.pass(time).await;
    }
}

impl<F> Drop for FaultyFixture<F> {
    fn drop(&mut self) {
        self.plan.tell_seed_of_a_failure();
    }
}
