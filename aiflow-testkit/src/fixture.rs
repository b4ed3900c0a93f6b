//! Fixtures: how does a case get a backend on fresh data, open it again, and make time pass?

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::bus::EventBus;
use aiflow_core::memory::MemoryStore;
use aiflow_core::store::MetaStore;
use aiflow_core::time::Timestamp;
use async_trait::async_trait;

use crate::clock::ManualClock;

/// A store and the log to which it appends.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The store.
    pub store: Arc<dyn MetaStore>,
    /// The log.
    pub bus: Arc<dyn EventBus>,
}

impl Backend {
    /// A backend whose store is also the log.
    #[must_use]
    pub fn of<B: MetaStore + EventBus + 'static>(both: Arc<B>) -> Self {
        Self { store: Arc::<B>::clone(&both), bus: both }
    }
}

/// Makes the backend that the store and bus suites check. One fixture serves one case.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// Opens a backend on empty data of its own. Called once.
    async fn open(&self) -> Backend;

    /// Opens the same data again, after every handle of [`open`](StoreFixture::open) was closed or dropped, and waits as long as a
    /// dropped handle still holds it. `None` exactly if the backend declares itself volatile.
    async fn reopen(&self) -> Option<Backend>;

    /// Lets `time` pass on the clock by which leases run out: moves a manual clock, waits for a real one.
    async fn pass(&self, time: Duration);
}

/// The fixture of [`MemoryStore`], on a clock that the case moves.
#[derive(Debug)]
pub struct MemoryFixture {
    clock: Arc<ManualClock>,
}

impl MemoryFixture {
    /// A fixture whose clock stands at a fixed moment.
    #[must_use]
    pub fn new() -> Self {
        let start = Timestamp::from_millis(1_700_000_000_000);
        Self { clock: Arc::new(ManualClock::new(start)) }
    }
}

impl Default for MemoryFixture {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl StoreFixture for MemoryFixture {
    async fn open(&self) -> Backend {
        let clock = Arc::<ManualClock>::clone(&self.clock);
        Backend::of(Arc::new(MemoryStore::new(clock)))
    }

    async fn reopen(&self) -> Option<Backend> {
        None
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}
