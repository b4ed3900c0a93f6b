//! Commits of decisions: what becomes of a decision that was made on top of one that the store refuses?

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::client::AiFlow;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::execution::{KIND_WORKFLOW_EXECUTION, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, FunctionSpec, Functions, JobContext};
use aiflow_core::id::{Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryStore;
use aiflow_core::records::workflow_execution_key;
use aiflow_core::runtime::SchedulerStatus;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, MetaStoreExt as _, Page, Query, Receipt, Record, RecordKey, Relation,
    RelationQuery,
};
use aiflow_core::workflow::{Job, Workflow, on, start_workflow};
use aiflow_core::{Error, Result};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use super::client::memory;

/// A store that does not take a certain record. It says so once the whole log was read, so that the next decision is made on top of what it
/// refuses.
#[derive(Debug)]
struct Refusing {
    memory: Arc<MemoryStore>,
    /// The record, and the end of the log.
    refused: OnceLock<(RecordKey, Offset)>,
    read: watch::Sender<Offset>,
    n_refused: AtomicU32,
    /// Batches that the store itself did not take.
    n_failed: AtomicU32,
}

#[async_trait]
impl MetaStore for Refusing {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.memory.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.memory.query(query).await
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.memory.relations(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        if let Some((key, last)) = self.refused.get()
            && batch.puts.iter().any(|put| put.key == *key)
        {
            self.read.subscribe().wait_for(|read| read >= last).await.unwrap();
            self.n_refused.fetch_add(1, Relaxed);
            return Err(Error::invalid("commit", "this record is not taken"));
        }
        let done = self.memory.commit(batch).await;
        self.n_failed.fetch_add(u32::from(done.is_err()), Relaxed);
        done
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.memory.acquire(name, holder, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.memory.release(lease).await
    }

    fn capabilities(&self) -> Capabilities {
        MetaStore::capabilities(&*self.memory)
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}

#[async_trait]
impl EventBus for Refusing {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.memory.publish(events).await
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        let page = self.memory.read(after, filter, max).await?;
        self.read.send_modify(|read| *read = page.covered.max(*read));
        Ok(page)
    }

    async fn head(&self) -> Result<Head> {
        self.memory.head().await
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        self.memory.wait(after).await
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        self.memory.trim(through).await
    }

    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&*self.memory)
    }
}

/// The event that is to blame becomes a dead letter, alone. Of the decision that followed nothing was written: its events are decided again.
#[tokio::test]
async fn what_was_decided_on_top_of_a_refused_decision_is_decided_again() {
    const EVENTS: usize = 1_000;
    let store = Arc::new(Refusing {
        memory: memory(),
        refused: OnceLock::new(),
        read: watch::Sender::default(),
        n_refused: AtomicU32::new(0),
        n_failed: AtomicU32::new(0),
    });
    let (records, log) = (Arc::<Refusing>::clone(&store), Arc::<Refusing>::clone(&store));
    let flow = AiFlow::new(records, log).unwrap().project("wine").unwrap();
    let mut workflow = Workflow::new(flow.project_name().clone(), "w".parse().unwrap());
    let spec = serde_json::to_value(FunctionSpec::single("a".parse().unwrap(), "a")).unwrap();
    workflow.jobs.push(Job::new("a".parse().unwrap(), "function".parse().unwrap(), spec));
    workflow.rules.push(start_workflow(on("go")));
    flow.submit(&workflow).await.unwrap();
    let offsets = flow.publish_all((0..EVENTS).map(|_| flow.event("go")).collect()).await.unwrap();
    let ids: Vec<_> = offsets.iter().map(|offset| WorkflowExecutionId::new(*offset, 0)).collect();
    store.refused.set((workflow_execution_key(ids[10]), offsets[EVENTS - 1])).unwrap();
    let functions = Functions::new().register("a", |_: JobContext, _: Value| async { Ok(()) });
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    for id in ids.iter().filter(|id| **id != ids[10]) {
        assert_eq!(flow.wait(*id).await.unwrap().status, WorkflowStatus::Succeeded);
    }
    let letters = flow.dead_letters(10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [offsets[10]]);
    let executions = flow.store().query_all(Query::kind(KIND_WORKFLOW_EXECUTION), 10 * EVENTS).await.unwrap();
    assert_eq!(executions.len(), EVENTS - 1);
    assert_eq!(store.n_refused.load(Relaxed), 2, "once with the others, once alone");
    assert_eq!(store.n_failed.load(Relaxed), 0, "nothing was sent that rests on what was refused");
    assert_eq!(scheduler.status(), SchedulerStatus::Leading { epoch: 1 });
    scheduler.shutdown().await.unwrap();
}
