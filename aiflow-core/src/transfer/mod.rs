//! Export and import: how does everything that a store holds get into another one?
//!
//! An export is text: one JSON object a line. A `header` (format, version, up to which event), each `record` with its columns, each
//! `relation`, each `event` of the log with its offset and moment, and an `end` with the numbers of each, so that a cut file is recognised.
//! It holds all projects; it does not hold leases, the events that were trimmed, and what executors keep (logs, run directories, payloads).
//!
//! An import is exact: ids, revisions, times, offsets and the epoch of the scheduler are those of the source, so a scheduler goes on with the
//! copy where the last one stopped.

mod export;
mod import;
mod line;

use std::time::Duration;

use tokio::time::Instant;

pub use export::Export;
pub use line::{EXPORT_VERSION, LINE_BYTES_MAX};

use crate::error::{Error, ErrorKind, Result};
use crate::execution::{
    KIND_DEAD_LETTER, KIND_FIRING, KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_METER, KIND_POOL, KIND_WORKFLOW,
    KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION,
};
use crate::host::KIND_HOST;
use crate::id::Offset;
use crate::meta::{
    KIND_ALIAS, KIND_ALIAS_CHANGE, KIND_ARTIFACT, KIND_DATASET, KIND_DATASET_VERSION, KIND_METRIC_DEFINITION,
    KIND_METRIC_POINTS, KIND_MODEL, KIND_MODEL_VERSION, KIND_NAME, KIND_PROJECT, KIND_STAGE_CHANGE, KIND_VERSION_HEAD,
    KIND_VERSION_KEY,
};
use crate::rerun::KIND_RERUN;
use crate::runtime::{KIND_CURSOR, SCHEDULER_LEASE};
use crate::search::{KIND_ANNOTATION, KIND_METRIC_SUMMARY};
use crate::store::{Lease, MetaStore, MetaStoreExt as _, RecordKey};

/// Every kind of record that the library writes.
pub const KINDS: [&str; 28] = [
    KIND_WORKFLOW,
    KIND_WORKFLOW_VERSION,
    KIND_WORKFLOW_EXECUTION,
    KIND_JOB_STATE,
    KIND_JOB_EXECUTION,
    KIND_FIRING,
    KIND_METER,
    KIND_POOL,
    KIND_HOST,
    KIND_RERUN,
    KIND_DEAD_LETTER,
    KIND_CURSOR,
    KIND_PROJECT,
    KIND_DATASET,
    KIND_DATASET_VERSION,
    KIND_MODEL,
    KIND_MODEL_VERSION,
    KIND_STAGE_CHANGE,
    KIND_ALIAS,
    KIND_ALIAS_CHANGE,
    KIND_VERSION_HEAD,
    KIND_VERSION_KEY,
    KIND_NAME,
    KIND_METRIC_DEFINITION,
    KIND_METRIC_SUMMARY,
    KIND_METRIC_POINTS,
    KIND_ARTIFACT,
    KIND_ANNOTATION,
];

/// How long nobody schedules after an export or import was broken off.
const LEASE_TTL: Duration = Duration::from_secs(60);

/// What was exported or imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Records.
    pub records: u64,
    /// Relations.
    pub relations: u64,
    /// Events.
    pub events: u64,
    /// The newest event ever appended to the log.
    pub head: Offset,
}

/// The mark of a store into which an import was begun and not finished.
fn mark_key() -> RecordKey {
    RecordKey::new("unfinished_import", "everything")
}

/// Refuses a store that holds a part of an import.
///
/// # Errors
/// `Corrupt` if it does; others are those of the store.
pub(crate) async fn refuse_part(store: &dyn MetaStore, operation: &'static str) -> Result<()> {
    match store.get_one(&mark_key()).await? {
        None => Ok(()),
        Some(_) => {
            let message = "an import into this store was not finished: throw the store away and import again";
            Err(Error::new(ErrorKind::Corrupt, operation, message))
        }
    }
}

/// The right of the scheduler, held so that nobody schedules meanwhile.
struct Held<'a> {
    store: &'a dyn MetaStore,
    operation: &'static str,
    lease: Lease,
    renewed: Instant,
}

impl<'a> Held<'a> {
    async fn take(store: &'a dyn MetaStore, holder: &str, operation: &'static str) -> Result<Self> {
        match store.acquire(SCHEDULER_LEASE, holder, LEASE_TTL).await? {
            Some(lease) => Ok(Self { store, operation, lease, renewed: Instant::now() }),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                operation,
                "a scheduler leads: shut it down first, or wait until its lease has run out",
            )),
        }
    }

    /// Renews the lease when a third of its life is over.
    async fn keep(&mut self) -> Result<()> {
        if self.renewed.elapsed() < LEASE_TTL / 3 { Ok(()) } else { self.renew().await }
    }

    async fn renew(&mut self) -> Result<()> {
        let renewed = self.store.acquire(SCHEDULER_LEASE, &self.lease.holder, LEASE_TTL).await?;
        if renewed.is_none_or(|renewed| renewed.epoch != self.lease.epoch) {
            return Err(Error::new(ErrorKind::Fenced, self.operation, "a scheduler has taken over meanwhile"));
        }
        self.renewed = Instant::now();
        Ok(())
    }

    /// Gives the lease up; it runs out by itself if that fails.
    async fn release(self) {
        if let Err(error) = self.store.release(&self.lease).await {
            tracing::debug!(%error, "lease not released; it runs out by itself");
        }
    }
}
