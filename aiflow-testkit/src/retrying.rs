//! The caller that the ports ask for: how does one use a backend that fails now and then?
//!
//! After `Retry::Later` the same call is made again. After an unknown outcome, calls that are harmless when repeated are repeated, and a
//! commit is looked up first: every batch carries a marker record of its own, so reading the marker back says whether the batch is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aiflow_core::bus::{EVENTS_PAGE_MAX, EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::{Offset, random_id};
use aiflow_core::search::Search;
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, Page, Query, Receipt, Record, RecordKey, RecordPut, Relation, RelationQuery,
};
use aiflow_core::{Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use serde_json::json;

use crate::Backend;

/// The kind of the records that mark a batch as done. No query for another kind shows them.
pub const MARKER_KIND: &str = "retrying.marker";
/// Items that are added to each batch: the marker and the expectation that it is not there. A batch may hold so many less.
pub const MARKER_ITEMS: usize = 2;
/// The most tries of one call. Half of all calls failing, one in 2^64 calls would need more.
pub(crate) const TRIES_MAX: u32 = 64;

/// A backend that hides the passing faults of another.
#[derive(Debug)]
pub struct Retrying {
    store: Arc<dyn MetaStore>,
    bus: Arc<dyn EventBus>,
}

impl Retrying {
    /// Stands before `backend`, whose store appends to its log.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        let Backend { store, bus } = backend;
        Self { store, bus }
    }

    /// The offsets of events that a batch appended, found in the log by their ids.
    async fn offsets_of(&self, events: &[NewEvent]) -> Result<Vec<Offset>> {
        let mut wanted: BTreeMap<&str, Option<Offset>> = BTreeMap::new();
        wanted.extend(events.iter().map(|event| (event.id.as_str(), None)));
        let mut missing = wanted.len();
        let head = self.head().await?;
        let mut after = head.trimmed;
        while missing > 0 && after < head.last {
            let page = self.read(after, &EventFilter::all(), EVENTS_PAGE_MAX).await?;
            for event in page.events {
                if let Some(offset @ None) = wanted.get_mut(event.id.as_str()) {
                    *offset = Some(event.offset);
                    missing -= 1;
                }
            }
            after = page.covered;
        }
        let offset = |event: &NewEvent| {
            wanted.get(event.id.as_str()).copied().flatten().ok_or_else(|| {
                let message = "the batch is done, an event of it was trimmed already";
                Error::new(ErrorKind::OutcomeUnknown, "commit", message).with_retry(Retry::Never)
            })
        };
        events.iter().map(offset).collect()
    }
}

/// Makes `call` again until it is answered. For calls that are harmless when repeated.
pub(crate) async fn repeat<T, C>(mut call: impl FnMut() -> C) -> Result<T>
where
    C: Future<Output = Result<T>>,
{
    let mut tries = 1;
    loop {
        match call().await {
            Err(error) if is_passing(&error) && tries < TRIES_MAX => tries += 1,
            answer => return answer,
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error.retry(), Retry::Later | Retry::AfterReadBack)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetaStore for Retrying {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        repeat(|| self.store.get(keys)).await
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        repeat(|| self.store.query(query)).await
    }

    async fn search(&self, search: &Search) -> Result<Page<Record>> {
        repeat(|| self.store.search(search)).await
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        repeat(|| self.store.relations(query)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Receipt> {
        let marker = RecordKey::new(MARKER_KIND, random_id());
        let marked = batch.clone().expect(marker.clone(), None).put(RecordPut::new(marker.clone(), json!({})));
        let mut is_in_doubt = false;
        let mut tries = 1;
        loop {
            let error = match self.store.commit(marked.clone()).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => error,
            };
            // An earlier try whose outcome is unknown may be why this one was refused, so it is looked up whatever the error is.
            is_in_doubt |= error.retry() == Retry::AfterReadBack;
            if is_in_doubt {
                let markers = self.get(std::slice::from_ref(&marker)).await?;
                if markers.iter().any(Option::is_some) {
                    let offsets = self.offsets_of(&batch.events).await?;
                    return Ok(Receipt { offsets });
                }
            }
            if !is_passing(&error) || tries == TRIES_MAX {
                return Err(error);
            }
            tries += 1;
        }
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        // The holder may ask again: it keeps the lease and its epoch.
        repeat(|| self.store.acquire(name, holder, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        repeat(|| self.store.release(lease)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn close(&self) -> Result<()> {
        let tries = AtomicU32::new(0);
        let close = || {
            tries.fetch_add(1, Ordering::Relaxed);
            self.store.close()
        };
        match repeat(close).await {
            // A try whose reply was lost closed it.
            Err(error) if error.kind() == ErrorKind::Closed && tries.into_inner() > 1 => Ok(()),
            answer => answer,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventBus for Retrying {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        // The ids make it harmless.
        repeat(|| self.bus.publish(events.clone())).await
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        repeat(|| self.bus.read(after, filter, max)).await
    }

    async fn head(&self) -> Result<Head> {
        repeat(|| self.bus.head()).await
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        repeat(|| self.bus.wait(after)).await
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        repeat(|| self.bus.trim(through)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.bus.capabilities()
    }
}
