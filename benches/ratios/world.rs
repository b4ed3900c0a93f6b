//! A scheduler on a real SQLite file, and a probe that sees what passes between the two.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aiflow::bus::{EventBus, EventPage, Head};
use aiflow::event::{EventFilter, NewEvent, WORKFLOW_STATUS_CHANGED};
use aiflow::executor::Executor;
use aiflow::function::FunctionSpec;
use aiflow::id::Offset;
use aiflow::sqlite::{SqliteOptions, SqliteStore};
use aiflow::store::{
    Batch, Capabilities, Lease, MetaStore, Page, Query, Receipt, Record, RecordKey, Relation, RelationQuery,
};
use aiflow::workflow::{ControlEdge, Job, SchedulingRule, Workflow};
use aiflow::{AiFlow, Result, Scheduler};
use tokio::sync::watch;

pub(crate) const PROJECT: &str = "bench";

/// A handle on a store with the default options: every commit is flushed.
pub(crate) async fn open(path: &Path) -> AiFlow {
    let store = Arc::new(SqliteStore::open(path, SqliteOptions::default()).await.unwrap());
    AiFlow::new(Arc::<SqliteStore>::clone(&store), store).unwrap().project(PROJECT).unwrap()
}

/// A job that runs the function of its own name.
pub(crate) fn job(name: &str, executor: &str) -> Job {
    let spec = serde_json::to_value(FunctionSpec::single(name.parse().unwrap(), name)).unwrap();
    Job::new(name.parse().unwrap(), executor.parse().unwrap(), spec)
}

pub(crate) fn control(job: &str, rule: SchedulingRule) -> ControlEdge {
    ControlEdge { job: job.parse().unwrap(), rule }
}

pub(crate) struct World {
    pub(crate) probe: Arc<Probe>,
    pub(crate) aiflow: AiFlow,
    pub(crate) scheduler: Scheduler,
}

impl World {
    /// Opens the file, submits the workflow, and returns when the scheduler leads and knows it.
    pub(crate) async fn start(path: &Path, name: &str, executor: impl Executor + 'static, workflow: &Workflow) -> Self {
        let store = SqliteStore::open(path, SqliteOptions::default()).await.unwrap();
        let probe = Arc::new(Probe::new(store));
        let aiflow = AiFlow::new(Arc::<Probe>::clone(&probe), Arc::<Probe>::clone(&probe)).unwrap();
        let aiflow = aiflow.project(PROJECT).unwrap();
        aiflow.submit(workflow).await.unwrap();
        let scheduler = aiflow.scheduler().executor(name, executor).start().unwrap();
        scheduler.wait_leading().await.unwrap();
        scheduler.wait_applied(aiflow.head().await.unwrap()).await.unwrap();
        Self { probe, aiflow, scheduler }
    }

    pub(crate) async fn stop(self) {
        self.scheduler.shutdown().await.unwrap();
        MetaStore::close(&*self.probe).await.unwrap();
    }
}

/// The store, with a note of what passed.
#[derive(Debug)]
pub(crate) struct Probe {
    store: SqliteStore,
    seen: Mutex<Seen>,
    ended: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the last read that found something returned.
    read_at: Option<Instant>,
    commits: Vec<Commit>,
}

/// One commit of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit {
    /// When the events that it is about were read.
    pub(crate) read_at: Option<Instant>,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Probe {
    fn new(store: SqliteStore) -> Self {
        Self { store, seen: Mutex::default(), ended: watch::Sender::new(0) }
    }

    /// Waits until so many workflow executions have ended since the probe was made.
    pub(crate) async fn wait_ended(&self, count: usize) {
        self.ended.subscribe().wait_for(|ended| *ended >= count).await.unwrap();
    }

    /// The commits since the last call.
    pub(crate) fn take_commits(&self) -> Vec<Commit> {
        std::mem::take(&mut self.seen.lock().unwrap().commits)
    }

    /// Transactions since the file was opened.
    pub(crate) fn transactions(&self) -> usize {
        usize::try_from(self.store.stats().transactions).unwrap()
    }
}

/// Workflow executions that end by this batch.
fn endings(batch: &Batch) -> usize {
    let status = batch.events.iter().filter(|event| event.event_type == WORKFLOW_STATUS_CHANGED);
    status.filter(|event| event.value != "RUNNING").count()
}

#[async_trait::async_trait]
impl MetaStore for Probe {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.store.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.store.query(query).await
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.store.relations(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        let endings = endings(&batch);
        // While it is being committed, others are read already.
        let read_at = self.seen.lock().unwrap().read_at;
        let begun = Instant::now();
        let receipt = self.store.commit(batch).await?;
        let ended = Instant::now();
        self.seen.lock().unwrap().commits.push(Commit { read_at, begun, ended });
        if endings > 0 {
            self.ended.send_modify(|ended| *ended += endings);
        }
        Ok(receipt)
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.store.acquire(name, holder, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.store.release(lease).await
    }

    fn capabilities(&self) -> Capabilities {
        MetaStore::capabilities(&self.store)
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

#[async_trait::async_trait]
impl EventBus for Probe {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.store.publish(events).await
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        let page = self.store.read(after, filter, max).await?;
        if !page.events.is_empty() {
            self.seen.lock().unwrap().read_at = Some(Instant::now());
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Head> {
        self.store.head().await
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        self.store.wait(after).await
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        self.store.trim(through).await
    }

    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&self.store)
    }
}
