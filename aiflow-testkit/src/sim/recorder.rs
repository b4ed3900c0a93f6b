//! The recorder: a store and a log in memory that checks every commit as it happens.
//!
//! It stands below the faults, so it sees what really took effect. Mutations of the backend are made here too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::control::Control;
use aiflow_core::event::{EventFilter, NewEvent, SYSTEM_NAMESPACE};
use aiflow_core::execution::{
    JobExecution, JobStatus, KIND_DEAD_LETTER, KIND_FIRING, KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_METER, KIND_POOL,
    KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, WorkflowExecution, WorkflowStatus,
};
use aiflow_core::host::KIND_HOST;
use aiflow_core::id::Offset;
use aiflow_core::json::Json;
use aiflow_core::memory::MemoryStore;
use aiflow_core::records::FIRING_WAITING;
use aiflow_core::relay::{KIND_OUTBOX, RelayedStore};
use aiflow_core::rerun::KIND_RERUN;
use aiflow_core::runtime::{KIND_CURSOR, SCHEDULER_LEASE};
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, MetaStoreExt as _, Page, Query, Receipt, Record, RecordKey, RecordPut,
    Relation, RelationQuery,
};
use aiflow_core::time::Clock;
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;

use super::faults::Mutation;
use super::ledger::Ledger;
use crate::Backend;

/// Every kind of record that a scheduler and its clients write.
pub(super) const KINDS: [&str; 12] = [
    KIND_CURSOR,
    KIND_WORKFLOW,
    KIND_WORKFLOW_VERSION,
    KIND_RERUN,
    KIND_WORKFLOW_EXECUTION,
    KIND_JOB_EXECUTION,
    KIND_JOB_STATE,
    KIND_FIRING,
    KIND_METER,
    KIND_POOL,
    KIND_HOST,
    KIND_DEAD_LETTER,
];

/// Kinds of which what is over may be removed, by hand or by retention.
const REMOVABLE: [&str; 6] =
    [KIND_WORKFLOW_EXECUTION, KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_FIRING, KIND_RERUN, KIND_DEAD_LETTER];

/// The most records of one kind in a world.
const ROWS_MAX: usize = 1_000_000;

/// Label under which a user's event carries its number, whatever its id is.
pub(super) const SEQUENCE_LABEL: &str = "sequence";

#[derive(Debug)]
pub(super) struct Recorder {
    ledger: Arc<Ledger>,
    mutation: Option<Mutation>,
    inner: MemoryStore,
    /// The records, in worlds in which they lie elsewhere than the log.
    records: Option<MemoryStore>,
    /// Wakes waiters in the order in which they came, which the channel inside the memory store does not.
    appended: Notify,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    commits: u64,
    cursor: Offset,
    cursor_epoch: u64,
    holders: BTreeMap<u64, String>,
    epoch: u64,
    jobs: BTreeMap<String, (JobStatus, u32)>,
    executions: BTreeMap<String, WorkflowStatus>,
    /// What was removed, as it was last.
    removed: BTreeMap<RecordKey, Record>,
    /// Each trim of the log: the last event then, and up to where it was trimmed.
    trims: Vec<(Offset, Offset)>,
}

/// The log as it was trimmed at one moment; what was trimmed is kept behind it, for the checks.
#[derive(Debug)]
pub(super) struct TrimmedLog<'a> {
    inner: &'a MemoryStore,
    trimmed: Offset,
}

impl Recorder {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        mutation: Option<Mutation>,
        is_relayed: bool,
    ) -> Self {
        let records = is_relayed.then(|| MemoryStore::new(Arc::clone(&clock)));
        let (appended, seen) = (Notify::new(), Mutex::default());
        Self { ledger, mutation, inner: MemoryStore::new(clock), records, appended, seen }
    }

    fn store(&self) -> &MemoryStore {
        self.records.as_ref().unwrap_or(&self.inner)
    }

    /// Both, as whoever reads them needs them.
    pub(super) async fn joined(self: &Arc<Self>) -> Result<Backend> {
        if self.records.is_none() {
            return Ok(Backend::of(Arc::clone(self)));
        }
        let joined = RelayedStore::open(Arc::<Self>::clone(self), Arc::<Self>::clone(self)).await?;
        Ok(Backend::of(Arc::new(joined)))
    }

    /// The ids of events of which the store says that they are on their way to the log.
    pub(super) async fn on_their_way(&self) -> Result<Vec<String>> {
        let outbox = self.store().query_all(Query::kind(KIND_OUTBOX), ROWS_MAX).await?;
        let events = outbox.iter().flat_map(|record| outbox_events(&record.body));
        Ok(events.map(|event| event.id).collect())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, mutation: Mutation, percent: u8) -> bool {
        self.mutation == Some(mutation) && self.ledger.strikes("mutation", percent)
    }

    /// Changes with every commit and with every event.
    pub(super) async fn progress(&self) -> Result<(u64, Offset)> {
        let commits = self.seen().commits;
        Ok((commits, self.inner.head().await?.last))
    }

    /// The newest epoch of the scheduler's lease.
    pub(super) fn epoch(&self) -> u64 {
        self.seen().epoch
    }

    /// The log as whoever decided about the event at this offset found it. While a rule waits to be shown the past, nothing is trimmed.
    pub(super) fn log_at(&self, offset: Offset) -> TrimmedLog<'_> {
        let seen = self.seen();
        let before = seen.trims.iter().filter(|(last, _)| *last < offset).map(|(_, through)| *through);
        TrimmedLog { inner: &self.inner, trimmed: before.max().unwrap_or(Offset::START) }
    }

    /// The whole log, with what was trimmed.
    pub(super) fn whole_log(&self) -> TrimmedLog<'_> {
        TrimmedLog { inner: &self.inner, trimmed: Offset::START }
    }

    fn log(&self) -> TrimmedLog<'_> {
        self.log_at(Offset(u64::MAX))
    }

    /// Up to where the log was trimmed.
    pub(super) fn trimmed(&self) -> Offset {
        self.log().trimmed
    }

    /// Every record there is, and those that were removed.
    pub(super) async fn dump(&self) -> Result<BTreeMap<RecordKey, Record>> {
        let mut records = BTreeMap::new();
        for kind in KINDS {
            let rows = self.store().query_all(Query::kind(kind), ROWS_MAX).await?;
            records.extend(rows.into_iter().map(|record| (record.key.clone(), record)));
        }
        // Last, because what was there may be removed meanwhile.
        for (key, record) in &self.seen().removed {
            records.entry(key.clone()).or_insert_with(|| record.clone());
        }
        Ok(records)
    }

    /// What was removed.
    pub(super) fn removed(&self) -> BTreeSet<RecordKey> {
        self.seen().removed.keys().cloned().collect()
    }

    /// I30: nothing is removed that is not over.
    fn note_removed(&self, records: Vec<Record>) {
        for record in records {
            let seen = &mut *self.seen();
            let is_over = match record.key.kind.as_str() {
                KIND_WORKFLOW_EXECUTION | KIND_JOB_STATE => {
                    let id = if record.key.kind == KIND_JOB_STATE { &record.parent } else { &record.key.id };
                    seen.executions.get(id).is_some_and(|status| status.is_terminal())
                }
                KIND_JOB_EXECUTION => seen.jobs.get(&record.key.id).is_some_and(|(status, _)| status.is_terminal()),
                KIND_FIRING => record.state != FIRING_WAITING,
                _ => true,
            };
            if !is_over {
                self.ledger.violate("I30", format!("{} was removed and is not over", record.key));
            }
            self.ledger.count("record removed");
            seen.removed.insert(record.key.clone(), record);
        }
    }

    /// Commits with the mutations of the world, and looks at nothing.
    pub(super) async fn commit_unchecked(&self, mut batch: Batch) -> Result<Receipt> {
        let is_decision = batch.fence.is_some();
        if self.mutation == Some(Mutation::StoreIgnoresFence) {
            batch.fence = None;
        }
        if self.mutation == Some(Mutation::StoreIgnoresExpectations) {
            batch.expect.clear();
        }
        if is_decision && !batch.events.is_empty() && self.is(Mutation::StoreTearsBatches, 5) {
            batch.events.clear();
        }
        if self.is(Mutation::OutboxForgets, 30) {
            batch.puts.retain(|put| put.key.kind != KIND_OUTBOX);
        }
        self.store().commit(batch).await
    }

    /// Checks a batch of a scheduler that took effect.
    fn check_commit(&self, batch: &Batch) {
        let Some(fence) = batch.fence.as_ref().filter(|fence| fence.lease == SCHEDULER_LEASE) else {
            return;
        };
        let seen = &mut *self.seen();
        if fence.epoch != seen.epoch {
            self.ledger.violate("I21", format!("epoch {} committed while epoch {} leads", fence.epoch, seen.epoch));
        }
        // What a leader finds out about attempts is only events, not a decision.
        let mut puts = batch.puts.iter().filter(|put| put.key.kind != KIND_OUTBOX).peekable();
        if puts.peek().is_none() {
            return;
        }
        let cursor = batch.puts.iter().find(|put| put.key.kind == KIND_CURSOR);
        let cursor = cursor.map(|cursor| cursor.body.to_value()).unwrap_or_default();
        let position = |name| cursor.get(name).and_then(Value::as_u64);
        let (Some(offset), Some(epoch)) = (position("offset").map(Offset), position("epoch")) else {
            self.ledger.violate("I2", "a decision was committed without its cursor");
            return;
        };
        if offset <= seen.cursor {
            self.ledger.violate("I2", format!("the cursor moved from {} to {offset}", seen.cursor));
        }
        if epoch < seen.cursor_epoch {
            self.ledger.violate("I12", format!("epoch {epoch} committed after {}", seen.cursor_epoch));
        }
        (seen.cursor, seen.cursor_epoch) = (offset, epoch);
        for put in &batch.puts {
            self.check_put(seen, put, offset);
        }
        let relayed = batch.puts.iter().filter(|put| put.key.kind == KIND_OUTBOX);
        let relayed: Vec<NewEvent> = relayed.flat_map(|put| outbox_events(&put.body)).collect();
        for event in batch.events.iter().chain(&relayed) {
            if event.cause.is_none_or(|cause| cause.offset > offset) {
                self.ledger.violate("I2", format!("event {} is not caused by what was applied", event.id));
            }
        }
    }

    fn check_put(&self, seen: &mut Seen, put: &RecordPut, cursor: Offset) {
        let read = |what: &str, error: serde_json::Error| {
            self.ledger.violate("I3", format!("{what} {} is unreadable: {error}", put.key))
        };
        match put.key.kind.as_str() {
            KIND_JOB_EXECUTION => match put.body.parse::<JobExecution>() {
                Ok(job) => {
                    self.check_job(seen, &job, cursor);
                }
                Err(error) => read("job execution", error),
            },
            KIND_WORKFLOW_EXECUTION => match put.body.parse::<WorkflowExecution>() {
                Ok(execution) => {
                    if execution.id.cause > cursor {
                        self.ledger.violate("I4", format!("execution {} has a cause ahead of {cursor}", execution.id));
                    }
                    let before = seen.executions.insert(execution.id.to_string(), execution.status);
                    if before.is_some_and(|before| before.is_terminal()) {
                        self.ledger.violate("I15", format!("execution {} changed after its end", execution.id));
                    }
                }
                Err(error) => read("workflow execution", error),
            },
            _ => {}
        }
    }

    fn check_job(&self, seen: &mut Seen, job: &JobExecution, cursor: Offset) {
        let id = job.id.to_string();
        if job.id.cause > cursor {
            self.ledger.violate("I4", format!("job execution {id} has a cause ahead of {cursor}"));
        }
        let (before, attempt) = seen.jobs.get(&id).copied().unwrap_or((JobStatus::Init, 0));
        let is_allowed = before == job.status && !before.is_terminal() || reachable(before).contains(&job.status);
        if !is_allowed {
            self.ledger.violate("I15", format!("job execution {id} went from {before} to {}", job.status));
        }
        if job.attempt < attempt {
            self.ledger.violate("I15", format!("job execution {id} went from attempt {attempt} to {}", job.attempt));
        }
        seen.jobs.insert(id, (job.status, job.attempt));
    }

    /// Where the events of a batch stand after the mutations of the log.
    fn mutate(&self, events: &mut Vec<NewEvent>) -> bool {
        let is_users = events.iter().any(|event| event.context.labels.contains_key(SEQUENCE_LABEL));
        if !is_users {
            return false;
        }
        if self.is(Mutation::BusDropsAcknowledged, 20) {
            return true;
        }
        if self.is(Mutation::BusDuplicates, 20) {
            let again: Vec<NewEvent> = events
                .iter()
                .cloned()
                .map(|event| {
                    let id = format!("{}-again", event.id);
                    event.id(id)
                })
                .collect();
            events.extend(again);
        }
        if events.len() > 1 && self.is(Mutation::BusReorders, 50) {
            events.reverse();
        }
        false
    }
}

/// The events of a record of the outbox.
fn outbox_events(body: &Json) -> Vec<NewEvent> {
    let events = body.to_value().get("events").cloned().unwrap_or_default();
    serde_json::from_value(events).unwrap_or_default()
}

/// The statuses that lie on any allowed path from `from`: one commit may go several steps.
fn reachable(from: JobStatus) -> Vec<JobStatus> {
    let mut found: Vec<JobStatus> = Vec::new();
    let mut next = vec![from];
    while let Some(status) = next.pop() {
        for to in JobStatus::ALL {
            if status.may_become(*to) && !found.contains(to) {
                found.push(*to);
                next.push(*to);
            }
        }
    }
    found
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for Recorder {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.store().get(keys).await
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.store().query(query).await
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.store().search(search).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.store().relations(query).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        let removes: Vec<RecordKey> =
            batch.deletes.iter().filter(|key| REMOVABLE.contains(&key.kind.as_str())).cloned().collect();
        let removes = self.store().get(&removes).await?;
        let receipt = self.commit_unchecked(batch.clone()).await?;
        self.seen().commits += 1;
        self.check_commit(&batch);
        self.note_removed(removes.into_iter().flatten().collect());
        self.ledger.trace(
            "store",
            format_args!(
                "committed {} records and events {:?}",
                batch.puts.len(),
                receipt.offsets.iter().map(|offset| offset.0).collect::<Vec<_>>()
            ),
        );
        if !receipt.offsets.is_empty() {
            self.appended.notify_waiters();
        }
        Ok(receipt)
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        let mut lease = self.store().acquire(name, holder, ttl).await?;
        if let Some(lease) = lease.as_mut().filter(|lease| lease.name == SCHEDULER_LEASE) {
            let seen = &mut *self.seen();
            if lease.epoch < seen.epoch {
                self.ledger.violate("I12", format!("epoch {} granted after {}", lease.epoch, seen.epoch));
            }
            seen.epoch = lease.epoch;
            if self.mutation == Some(Mutation::StoreRepeatsEpochs) && lease.epoch > 1 {
                lease.epoch -= 1;
            }
            let first = seen.holders.entry(lease.epoch).or_insert_with(|| holder.to_owned());
            if first != holder {
                self.ledger.violate("I12", format!("two holders share epoch {}", lease.epoch));
            }
        }
        Ok(lease)
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.store().release(lease).await
    }
    fn capabilities(&self) -> Capabilities {
        MetaStore::capabilities(self.store())
    }
    async fn close(&self) -> Result<()> {
        Err(Error::invalid("close", "the world keeps its store"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for Recorder {
    async fn publish(&self, mut events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        let asked = events.len();
        if self.mutate(&mut events) {
            let last = self.inner.head().await?.last.0;
            return Ok((last + 1..).take(asked).map(Offset).collect());
        }
        let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
        let mut offsets = self.inner.publish(events).await?;
        offsets.truncate(asked);
        for (id, offset) in ids.iter().zip(&offsets) {
            self.ledger.trace("log", format_args!("{offset} {id}"));
        }
        self.appended.notify_waiters();
        Ok(offsets)
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.log().read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        self.log().head().await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        loop {
            let mut appended = std::pin::pin!(self.appended.notified());
            appended.as_mut().enable();
            if self.inner.head().await?.last > after {
                return Ok(());
            }
            appended.await;
        }
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        let cursor = self.seen().cursor;
        if through > cursor {
            self.ledger.violate("I32", format!("the log is trimmed up to {through}, and applied up to {cursor}"));
        }
        let open = self.inner.read(cursor, &EventFilter::all(), usize::MAX).await?.events;
        if open.iter().any(|event| matches!(Control::from_event(event), Ok(Some(Control::CatchUp { .. })))) {
            return Err(Error::new(ErrorKind::Unavailable, "trim", "a rule is being shown the past"));
        }
        let last = self.inner.head().await?.last;
        self.seen().trims.push((last, through));
        self.ledger.count("trim");
        self.ledger.trace("log", format_args!("is trimmed up to {through}"));
        Ok(())
    }
    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&self.inner)
    }
}

impl TrimmedLog<'_> {
    pub(super) fn trimmed(&self) -> Offset {
        self.trimmed
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for TrimmedLog<'_> {
    async fn publish(&self, _events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        Err(Error::invalid("publish", "the past is only read"))
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        if after < self.trimmed {
            let message = format!("events up to {} were trimmed", self.trimmed);
            return Err(Error::new(ErrorKind::NotFound, "read", message));
        }
        self.inner.read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        Ok(Head { trimmed: self.trimmed, ..self.inner.head().await? })
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.inner.wait(after).await
    }
    async fn trim(&self, _through: Offset) -> Result<()> {
        Err(Error::invalid("trim", "the past is only read"))
    }
    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(self.inner)
    }
}

/// The timer that an event says is due, if it is such an event.
pub(super) fn timer_of(event: &NewEvent) -> Option<(String, aiflow_core::time::Timestamp)> {
    if event.namespace != SYSTEM_NAMESPACE {
        return None;
    }
    match Control::from_event(event) {
        Ok(Some(Control::TimerFired(timer))) => Some((timer.key.to_string(), timer.due)),
        _ => None,
    }
}
