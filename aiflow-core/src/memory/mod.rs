//! Backends in memory: what does a store and a log look like that needs nothing?
//!
//! For tests, examples and workflows that need not outlive their process. One [`MemoryStore`] is both the store and the log, so that
//! the events of a batch are appended in the same step as its records. It passes the same conformance suites as every backend.

mod artifacts;
mod leases;
mod log;
mod records;
mod relations;

pub use artifacts::MemoryArtifacts;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::bus::{EVENTS_PAGE_MAX, EventBus, EventPage, Head};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventFilter, NewEvent};
use crate::id::Offset;
use crate::store::{
    Batch, Capabilities, Durability, Expect, Lease, MetaStore, PAGE_ROWS_MAX, Page, PageToken, QUERY_PARENTS_MAX,
    Query, Receipt, Record, RecordKey, Relation, RelationQuery,
};
use crate::time::Clock;

/// Keeps records, relations, leases and the event log in this process, and forgets them with it.
///
/// Every operation is one critical section, so it is atomic and isolated, and dropping its future leaves it done or not begun.
///
/// ```
/// # use std::sync::Arc;
/// use aiflow_core::{bus::EventBus, event::NewEvent, memory::MemoryStore, time::SystemClock};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
/// let log = MemoryStore::new(Arc::new(SystemClock));
/// let offsets = log.publish(vec![NewEvent::new("wine", "samples")]).await?;
/// assert_eq!(log.head().await?.last, offsets[0]);
/// # Ok(()) }
/// ```
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    capabilities: Capabilities,
    state: Mutex<State>,
    /// What waiters look at. Sent to while the state is locked, so that it never goes back.
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    records: records::Records,
    relations: relations::Relations,
    leases: leases::Leases,
    log: log::Log,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    last: Offset,
    is_closed: bool,
}

impl MemoryStore {
    /// An empty store with its own log. Leases run out, and events are stamped, by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        Self {
            clock,
            capabilities: Capabilities::new(Durability::Volatile, format!("memory:{instance}")),
            state: Mutex::default(),
            progress: watch::Sender::default(),
        }
    }

    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        // Nothing in a critical section panics, and a state left by a panic elsewhere is whole, so poison is no reason to stop.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Err(closed(operation));
        }
        Ok(state)
    }

    fn announce(&self, state: &State) {
        let progress = Progress { last: state.log.head().last, is_closed: state.is_closed };
        self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("log", &self.capabilities.log).finish_non_exhaustive()
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store was closed")
}

/// The position after which a page begins.
fn position(operation: &'static str, token: Option<&PageToken>) -> Result<Option<u64>> {
    token
        .map(|token| {
            token.0.parse().map_err(|_| {
                Error::invalid(operation, "the page token is not one of this store")
                    .with("token", token.0.escape_default())
            })
        })
        .transpose()
}

/// Cuts what was found for a page of `rows`, which is one more than fits if there is a next page.
fn page<T>(mut found: Vec<(u64, T)>, rows: usize) -> Page<T> {
    let has_next = found.len() > rows;
    found.truncate(rows);
    let next = match found.last() {
        Some((sequence, _)) if has_next => Some(PageToken(sequence.to_string())),
        _ => None,
    };
    Page { items: found.into_iter().map(|(_, item)| item).collect(), next }
}

impl State {
    fn check(&self, expect: &[Expect]) -> Result<()> {
        for expect in expect {
            let revision = self.records.get(&expect.key).map(|record| record.revision);
            if revision != expect.revision {
                let shown =
                    |revision: Option<u64>| revision.map_or_else(|| "none".to_owned(), |revision| revision.to_string());
                return Err(Error::new(ErrorKind::Conflict, "commit", "a record is not at the expected revision")
                    .with("key", &expect.key)
                    .with("expected", shown(expect.revision))
                    .with("found", shown(revision)));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        if keys.len() > PAGE_ROWS_MAX {
            return Err(Error::invalid(
                "get",
                format!("{} keys asked, at most {PAGE_ROWS_MAX} are allowed", keys.len()),
            ));
        }
        let found: Vec<_> = {
            let state = self.open("get")?;
            keys.iter().map(|key| state.records.get(key)).collect()
        };
        Ok(found.into_iter().map(|record| record.map(Arc::unwrap_or_clone)).collect())
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        if query.parents.len() > QUERY_PARENTS_MAX {
            return Err(Error::invalid("query", format!("at most {QUERY_PARENTS_MAX} parents may be named")));
        }
        let after = position("query", query.after.as_ref())?;
        let rows = query.page_rows();
        let found = self.open("query")?.records.find(query, after, rows.saturating_add(1));
        let page = page(found, rows);
        Ok(Page { items: page.items.into_iter().map(Arc::unwrap_or_clone).collect(), next: page.next })
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        let after = position("relations", query.after.as_ref())?;
        let rows = query.page_rows();
        let found = self.open("relations")?.relations.find(query, after, rows.saturating_add(1));
        Ok(page(found, rows))
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        batch.check()?;
        let now = self.clock.now();
        let mut state = self.open("commit")?;
        if let Some(fence) = &batch.fence {
            state.leases.check(fence)?;
        }
        state.check(&batch.expect)?;
        // The log refuses before it appends anything, and nothing after it can fail.
        let offsets = state.log.append("commit", batch.events, &batch.recorded, now)?;
        for key in &batch.deletes {
            state.records.delete(key);
        }
        for put in batch.puts {
            state.records.put(put, batch.at);
        }
        for relation in &batch.unrelate {
            state.relations.remove(relation);
        }
        for relation in batch.relate {
            state.relations.add(relation);
        }
        self.announce(&state);
        Ok(Receipt { offsets })
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        let now = self.clock.now();
        Ok(self.open("acquire")?.leases.acquire(name, holder, ttl, now))
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.open("release")?.leases.release(lease);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        let mut state = self.open("close")?;
        state.is_closed = true;
        self.announce(&state);
        Ok(())
    }
}

#[async_trait]
impl EventBus for MemoryStore {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        if events.len() > EVENTS_PAGE_MAX {
            return Err(Error::invalid(
                "publish",
                format!("{} events in one call, at most {EVENTS_PAGE_MAX} are allowed", events.len()),
            ));
        }
        events.iter().try_for_each(NewEvent::check)?;
        let now = self.clock.now();
        let mut state = self.open("publish")?;
        let offsets = state.log.append("publish", events, &[], now)?;
        self.announce(&state);
        Ok(offsets)
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        let (events, covered) = {
            let state = self.open("read")?;
            state.log.read(after, filter, max.clamp(1, EVENTS_PAGE_MAX))?
        };
        Ok(EventPage { events, covered })
    }

    async fn head(&self) -> Result<Head> {
        Ok(self.open("head")?.log.head())
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        let mut progress = self.progress.subscribe();
        let seen = progress
            .wait_for(|progress| progress.last > after || progress.is_closed)
            .await
            .map_err(|_| closed("wait"))?;
        if seen.is_closed {
            return Err(closed("wait"));
        }
        Ok(())
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        self.open("trim")?.log.trim(through);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
}
