//! A scheduler with nothing to do: does it leave its store alone, and is it there at once?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiflow_core::Result;
use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::client::AiFlow;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::function::{FunctionExecutor, Functions, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryStore;
use aiflow_core::runtime::{Scheduler, Settings};
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, Page, Query, Receipt, Record, RecordKey, Relation, RelationQuery,
};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{on, start_workflow};
use aiflow_testkit::clock::VirtualClock;
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

const IDLE: Duration = Duration::from_secs(600);

/// Counts the calls that reach a store in memory.
#[derive(Debug)]
struct Counting {
    inner: MemoryStore,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counting {
    fn count(&self, call: &'static str) -> &MemoryStore {
        *self.calls.lock().unwrap().entry(call).or_default() += 1;
        &self.inner
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for Counting {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.count("get").get(keys).await
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.count("query").query(query).await
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.count("search").search(search).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.count("relations").relations(query).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        self.count("commit").commit(batch).await
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.count("acquire").acquire(name, holder, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.count("release").release(lease).await
    }
    fn capabilities(&self) -> Capabilities {
        MetaStore::capabilities(&self.inner)
    }
    async fn close(&self) -> Result<()> {
        self.count("close").close().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for Counting {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.count("publish").publish(events).await
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.count("read").read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        self.count("head").head().await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.count("wait").wait(after).await
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        self.count("trim").trim(through).await
    }
    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&self.inner)
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_leader_only_renews_its_lease_and_a_publish_starts_a_job_at_once() {
    let clock = Arc::new(VirtualClock::starting_at(Timestamp::EPOCH));
    let store =
        Arc::new(Counting { inner: MemoryStore::new(Arc::<VirtualClock>::clone(&clock)), calls: Mutex::default() });
    let flow = AiFlow::new(Arc::<Counting>::clone(&store), Arc::<Counting>::clone(&store)).unwrap();
    let flow = flow.project("wine").unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("train", function("train"));
    graph.rule(start_workflow(on("samples")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let (started, mut starts) = watch::channel(None);
    let functions = Functions::new().register("train", move |_, _: Value| {
        started.send_replace(Some(Instant::now()));
        async { Ok::<_, JobError>(()) }
    });
    let settings = Settings { retention_every: 10 * IDLE, ..Settings::default() };
    // One more for where the interval begins.
    let renewals_max = IDLE.as_millis() / (settings.lease_ttl / 3).as_millis() + 1;
    let scheduler = Scheduler::builder(Arc::<Counting>::clone(&store), Arc::<Counting>::clone(&store))
        .executor("function", FunctionExecutor::new(functions))
        .settings(settings)
        .clock(clock)
        .start()
        .unwrap();
    scheduler.wait_applied(flow.head().await.unwrap()).await.unwrap();
    // What follows the takeover is over.
    tokio::time::sleep(Duration::from_secs(10)).await;
    store.take();

    tokio::time::sleep(IDLE).await;
    let calls = store.take();
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), ["acquire", "wait"], "{calls:?}");
    assert!(calls["wait"] <= 2 * IDLE.as_secs() / 60, "it looks at the wall clock once a minute: {calls:?}");
    assert!(u128::from(calls["acquire"]) <= renewals_max, "{calls:?} in {IDLE:?}");

    let published = Instant::now();
    flow.publish(flow.event("samples")).await.unwrap();
    let at = *starts.wait_for(Option::is_some).await.unwrap();
    assert_eq!(at, Some(published), "a pause lay between the event and its job");
    scheduler.shutdown().await.unwrap();
}
