//! A store and a log of different backends: how do records and events still change together?
//!
//! The events of a batch are first written to the store, in its transaction, as records of an outbox. Then they are published to the log, in the
//! order of the commits, and removed. Their ids make it harmless to publish them again; so whoever finds some after a crash does.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bus::{EVENTS_PAGE_MAX, EventBus, EventPage, Head};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::{EventFilter, NewEvent};
use crate::id::{Offset, random_id};
use crate::json::Json;
use crate::records::{body_of, put};
use crate::runtime::{SCHEDULER_LEASE, scheduler_cursor};
use crate::search::Search;
use crate::store::{
    BATCH_ITEMS_MAX, Batch, Capabilities, Lease, MetaStore, MetaStoreExt as _, Page, Query, Receipt, Record, RecordKey,
    RecordPut, Relation, RelationQuery,
};
use crate::time::{Clock, SystemClock};

/// Record kind of events that are on their way to the log, `{"events": […]}`. Never exported: in the log they are events.
pub const KIND_OUTBOX: &str = "outbox";
/// Record kind of the name of the log that a store belongs to. Never exported: a copy has a log of its own.
const BINDING: &str = "log_binding";
/// Bytes of events in one record of the outbox.
const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Records of the outbox that are looked at together.
const OUTBOX_PAGE: usize = 100;
/// Published records that are removed with the next commit; more are removed at once.
const PUBLISHED_MAX: usize = 100;
/// How long a commit waits for a log that cannot be reached.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);
/// A process that took longer for its last step may have stood still, and others may have done what it was about to do.
const STILL: Duration = Duration::from_secs(1);
/// The longest pause between two tries to publish.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A store and a log of different backends, used as one: give it as both to [`AiFlow::new`](crate::client::AiFlow::new).
///
/// # Guarantees
/// Those of the ports, with the weaker of both durabilities, except:
/// - The events of a batch come into the log after its records are visible. `commit` returns when both are; if the log cannot be reached for
///   long, it is `OutcomeUnknown`, the records stand, and the events follow, before those of any later commit of this process.
/// - An event whose id is in the log with other content is left out: only then is the batch `AlreadyExists`, while its records stand. The
///   batches of a scheduler have ids of their own.
/// - Commits of one process that are under way at the same time come into the log in any order.
/// - What is trimmed has left the outbox before, so that it is not published again. Trim the log through this store: one that is trimmed beside it
///   may be given once more what a process that died had published.
/// - Events cannot be [copied with their moments](Batch::recorded): there is no import.
///
/// A store belongs to one log for good; another one is refused. A log that ends before what was applied of it (it was emptied, or has gone
/// back) is `Corrupt`, which is looked at whenever a scheduler takes or renews its lease.
#[derive(Clone)]
pub struct RelayedStore(Arc<Inner>);

struct Inner {
    store: Arc<dyn MetaStore>,
    bus: Arc<dyn EventBus>,
    capabilities: Capabilities,
    /// Up to here at least the log was seen.
    end: AtomicU64,
    /// There may be events in the outbox that nobody publishes.
    is_behind: AtomicBool,
    /// One at a time publishes what was left behind.
    turn: Mutex<()>,
    /// What was published and is still to be removed.
    published: Mutex<Vec<RecordKey>>,
}

impl fmt::Debug for RelayedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayedStore").field("store", &self.0.store).field("bus", &self.0.bus).finish_non_exhaustive()
    }
}

/// Events on their way.
#[derive(Debug, Serialize, Deserialize)]
struct Outbox {
    events: Vec<NewEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Binding {
    log: String,
}

/// Says that there is something left behind, unless all went well.
struct Behind<'a>(Option<&'a AtomicBool>);

impl Drop for Behind<'_> {
    fn drop(&mut self) {
        if let Some(is_behind) = self.0 {
            is_behind.store(true, Ordering::SeqCst);
        }
    }
}

impl RelayedStore {
    /// Joins a store and a log, and publishes what an earlier process left behind.
    ///
    /// # Errors
    /// `Conflict`: the store belongs to another log, or has been used with its own. `Corrupt`: the log ends before what was applied of it.
    /// `Invalid`: the store appends to this very log already. Others are those of both.
    pub async fn open(store: Arc<dyn MetaStore>, bus: Arc<dyn EventBus>) -> Result<Self> {
        let (of_store, of_bus) = (store.capabilities(), bus.capabilities());
        if of_store.log == of_bus.log {
            return Err(Error::invalid("join store and log", "they are one already: use them without this"));
        }
        bind(&*store, &of_bus.log).await?;
        let durability = of_store.durability.min(of_bus.durability);
        let capabilities = Capabilities::new(durability, format!("{} of {}", of_bus.log, of_store.log));
        let is_shared = of_store.several_processes && of_bus.several_processes;
        let capabilities = if is_shared { capabilities.several_processes() } else { capabilities };
        let (is_behind, turn, published) = (AtomicBool::new(true), Mutex::default(), Mutex::default());
        let end = AtomicU64::new(0);
        let this = Self(Arc::new(Inner { store, bus, capabilities, end, is_behind, turn, published }));
        this.0.check_log().await?;
        this.0.catch_up().await?;
        Ok(this)
    }
}

/// Makes the store belong to this log, or finds that it does.
async fn bind(store: &dyn MetaStore, log: &str) -> Result<()> {
    let key = RecordKey::new(BINDING, "log");
    loop {
        if let Some(record) = store.get_one(&key).await? {
            let bound: Binding = body_of(&record)?;
            if bound.log == log {
                return Ok(());
            }
            return Err(Error::new(ErrorKind::Conflict, "join store and log", "the store belongs to another log")
                .with("log", log)
                .with("belongs_to", bound.log));
        }
        if scheduler_cursor(store).await? > Offset::START {
            let message = "the store has been used with its own log: what was applied of that is not in this one";
            return Err(Error::new(ErrorKind::Conflict, "join store and log", message).with("log", log));
        }
        let binding = put(key.clone(), &Binding { log: log.to_owned() });
        match store.commit(Batch::at(SystemClock.now()).expect(key.clone(), None).put(binding)).await {
            Ok(_) => return Ok(()),
            // Another process was first, or an answer was lost: look again.
            Err(error) if error.kind() == ErrorKind::Conflict || error.retry() == Retry::AfterReadBack => {}
            Err(error) => return Err(error),
        }
    }
}

impl Inner {
    /// The log must hold what was applied of it.
    async fn check_log(&self) -> Result<()> {
        let applied = scheduler_cursor(&*self.store).await?;
        let head = self.bus.head().await?;
        self.end.fetch_max(head.last.0, Ordering::SeqCst);
        if head.last < applied {
            let message = "the log ends before what was applied of it: it was emptied or has gone back";
            return Err(Error::new(ErrorKind::Corrupt, "read log", message)
                .with("applied", applied)
                .with("last", head.last));
        }
        Ok(())
    }

    /// Publishes everything in the outbox, in the order of the commits, and removes it.
    async fn catch_up(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let mut behind = Behind(Some(&self.is_behind));
        self.is_behind.store(false, Ordering::SeqCst);
        loop {
            let page = self.store.query(&Query::kind(KIND_OUTBOX).limit(OUTBOX_PAGE)).await?;
            for record in &page.items {
                let outbox: Outbox = body_of(record)?;
                // Its own process may wait for the answer, and gets it.
                publish(&*self.bus, &outbox.events).await.map_err(|refused| refused.error).or_else(refusal_is_said)?;
            }
            let batch = Batch { deletes: keys_of(&page), ..Batch::at(SystemClock.now()) };
            if !batch.deletes.is_empty() {
                self.store.commit(batch).await?;
            }
            if page.next.is_none() {
                break;
            }
        }
        behind.0 = None;
        Ok(())
    }

    async fn commit(&self, mut batch: Batch) -> Result<Receipt> {
        batch.check()?;
        if !batch.recorded.is_empty() {
            let message = "a store with a log of another backend cannot copy events with their moments";
            return Err(Error::new(ErrorKind::Unsupported, "commit", message));
        }
        let events = std::mem::take(&mut batch.events);
        let is_decision = batch.fence.is_some() && !batch.puts.is_empty();
        let outbox = outbox_of(&events);
        let keys: Vec<RecordKey> = outbox.iter().map(|(key, _)| key.clone()).collect();
        batch.puts.extend(outbox.into_iter().map(|(key, body)| RecordPut::new(key, body)));
        let room = BATCH_ITEMS_MAX.saturating_sub(batch.n_items());
        let removed = {
            let mut published = self.published.lock().await;
            let n = published.len().min(room);
            published.drain(..n).collect::<Vec<_>>()
        };
        batch.deletes.extend(removed.iter().cloned());
        let mut behind = Behind(Some(&self.is_behind));
        let begun = (Instant::now(), Offset(self.end.load(Ordering::SeqCst)));
        if let Err(error) = self.store.commit(batch).await {
            let is_unknown = error.retry() == Retry::AfterReadBack;
            // An answer that was lost: what is in the outbox was committed.
            if !(is_unknown && self.is_there(keys.first()).await) {
                // What it expected may be gone because an earlier try of it, of which nobody knew, took effect after all.
                if !is_unknown && error.kind() != ErrorKind::Conflict {
                    behind.0 = None;
                }
                self.published.lock().await.extend(removed);
                return Err(error);
            }
        }
        let relayed = self.relay(&events, keys.first(), begun).await;
        match relayed {
            Ok(offsets) => {
                behind.0 = None;
                let last = offsets.iter().max().copied().unwrap_or_default();
                self.end.fetch_max(last.0, Ordering::SeqCst);
                self.remove_soon(keys).await;
                Ok(Receipt { offsets })
            }
            Err(Refused { error, offsets }) if error.retry() == Retry::Never => {
                behind.0 = None;
                self.remove_soon(keys).await;
                tracing::error!(%error, "an event of a commit was refused by the log and is left out");
                // What a scheduler has decided stands: it must not be decided again.
                if is_decision { Ok(Receipt { offsets }) } else { Err(error) }
            }
            Err(Refused { error, .. }) => {
                let message = "the records are written, and their events wait for the log or are in it";
                Err(Error::new(ErrorKind::OutcomeUnknown, "commit", message).caused_by(error))
            }
        }
    }

    /// Whether a record is there, as far as can be found out in time.
    async fn is_there(&self, key: Option<&RecordKey>) -> bool {
        let Some(key) = key else { return false };
        let until = Instant::now() + PUBLISH_WITHIN;
        loop {
            match self.store.get_one(key).await {
                Ok(found) => return found.is_some(),
                Err(error) if error.retry() == Retry::Never || Instant::now() >= until => return false,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Publishes events that are in the outbox as `record`, after everything that was left behind. They were there when they were `seen`, when the
    /// log reached at least up to `end`.
    async fn relay(
        &self,
        events: &[NewEvent],
        record: Option<&RecordKey>,
        (mut seen, end): (Instant, Offset),
    ) -> Result<Vec<Offset>, Refused> {
        let until = Instant::now() + PUBLISH_WITHIN;
        let mut pause = Duration::from_millis(1);
        let mut is_ours = true;
        loop {
            if !is_ours || seen.elapsed() > STILL {
                let looked = Instant::now();
                // Whoever has published them has removed them, and the log knows their ids unless it was trimmed since.
                if !self.is_there(record).await && self.bus.head().await.is_ok_and(|head| head.trimmed > end) {
                    let message =
                        "the events of this commit were published by another process, and the log was trimmed since";
                    return Err(Error::new(ErrorKind::OutcomeUnknown, "commit", message).into());
                }
                seen = looked;
            }
            let is_behind = self.is_behind.load(Ordering::SeqCst);
            let relayed = match is_behind {
                true => self.catch_up().await.map_err(Refused::from),
                false => Ok(()),
            };
            // They have just been published and removed here, if need be to be published once more.
            is_ours = is_behind && relayed.is_ok();
            let relayed = match relayed {
                Ok(()) => publish(&*self.bus, events).await,
                Err(error) => Err(error),
            };
            match relayed {
                Err(refused) if refused.error.retry() != Retry::Never && Instant::now() < until => {
                    tracing::warn!(error = %refused.error, "events wait for the log");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
                relayed => return relayed,
            }
        }
    }

    /// Records of the outbox that were published are removed with the next commit, or at once if they are many.
    async fn remove_soon(&self, keys: Vec<RecordKey>) {
        let many = {
            let mut published = self.published.lock().await;
            published.extend(keys);
            if published.len() < PUBLISHED_MAX {
                return;
            }
            std::mem::take(&mut *published)
        };
        let batch = Batch { deletes: many, ..Batch::at(SystemClock.now()) };
        if let Err(error) = self.store.commit(batch).await {
            tracing::debug!(%error, "what was published stays in the outbox, and is published and removed again");
            self.is_behind.store(true, Ordering::SeqCst);
        }
    }
}

fn keys_of(page: &Page<Record>) -> Vec<RecordKey> {
    page.items.iter().map(|record| record.key.clone()).collect()
}

/// The records that hold these events, each not much larger than [`OUTBOX_BYTES_MAX`].
fn outbox_of(events: &[NewEvent]) -> Vec<(RecordKey, Json)> {
    let mut records = Vec::new();
    let (mut waiting, mut bytes) = (Vec::new(), 0_usize);
    for event in events {
        waiting.push(event.clone());
        bytes = bytes.saturating_add(event.value.to_string().len()).saturating_add(event.id.len());
        if bytes >= OUTBOX_BYTES_MAX || waiting.len() >= EVENTS_PAGE_MAX {
            records.push(std::mem::take(&mut waiting));
            bytes = 0;
        }
    }
    if !waiting.is_empty() {
        records.push(waiting);
    }
    let key = || RecordKey::new(KIND_OUTBOX, random_id());
    records.into_iter().map(|events| (key(), Json::of(&Outbox { events }))).collect()
}

/// What the log does not take, and the offsets of what it took (`START` for what it did not).
struct Refused {
    error: Error,
    offsets: Vec<Offset>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, offsets: Vec::new() }
    }
}

/// What was refused for good was said when its own commit was; it must not hold up the others.
fn refusal_is_said(error: Error) -> Result<Vec<Offset>> {
    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::Invalid => {
            tracing::error!(%error, "an event was refused by the log and is left out");
            Ok(Vec::new())
        }
        _ => Err(error),
    }
}

/// Publishes events; those that are refused for good are left out, so that the others get through.
async fn publish(bus: &dyn EventBus, events: &[NewEvent]) -> Result<Vec<Offset>, Refused> {
    let mut offsets = Vec::with_capacity(events.len());
    for some in events.chunks(EVENTS_PAGE_MAX) {
        match bus.publish(some.to_vec()).await {
            Ok(published) => offsets.extend(published),
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Invalid) => {
                let mut refused = None;
                for event in some {
                    match bus.publish(vec![event.clone()]).await {
                        Ok(published) => offsets.extend(published),
                        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Invalid) => {
                            offsets.push(Offset::START);
                            refused.get_or_insert(error);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                if let Some(error) = refused {
                    return Err(Refused { error, offsets });
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(offsets)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for RelayedStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.0.store.get(keys).await
    }
    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        self.0.store.query(query).await
    }
    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        self.0.store.search(search).await
    }
    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.0.store.relations(query).await
    }
    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        if batch.events.is_empty() {
            return self.0.store.commit(batch).await;
        }
        // A caller that gives up leaves nothing half done.
        let inner = Arc::clone(&self.0);
        let committed = tokio::spawn(async move { inner.commit(batch).await }).await;
        committed.unwrap_or_else(|error| Err(Error::new(ErrorKind::OutcomeUnknown, "commit", error.to_string())))
    }
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        let lease = self.0.store.acquire(name, holder, ttl).await?;
        if lease.is_some() && name == SCHEDULER_LEASE {
            // Whoever leads reads the log after that.
            self.0.check_log().await?;
            self.0.catch_up().await?;
        }
        Ok(lease)
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.0.store.release(lease).await
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities.clone()
    }
    async fn close(&self) -> Result<()> {
        if let Err(error) = self.0.catch_up().await {
            tracing::debug!(%error, "what is in the outbox waits for the next process");
        }
        self.0.store.close().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for RelayedStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.0.bus.publish(events).await
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.0.bus.read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        self.0.bus.head().await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.0.bus.wait(after).await
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        // What is in the outbox may be in the log already, which knows that for as long as it has the event. What comes into the log from now on
        // stays, so that whatever was published and is trimmed has left the outbox before.
        let last = self.0.bus.head().await?.last;
        self.0.catch_up().await?;
        self.0.bus.trim(through.min(last)).await
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities.clone()
    }
}
