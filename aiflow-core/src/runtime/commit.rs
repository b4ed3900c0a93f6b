//! One decision, one transaction: how is a decision written, and how is a lost answer resolved?

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::settings::Backoff;
use crate::engine::Decision;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::id::Offset;
use crate::records::{
    DeadLetter, body_of, dead_letter_put, firing_put, host_key, host_put, job_execution_put, job_state_put,
    label_relations, meter_key, meter_put, pool_key, pool_put, put, workflow_execution_put, workflow_put,
};
use crate::store::{BATCH_ITEMS_MAX, Batch, Lease, MetaStore, MetaStoreExt as _, Record, RecordKey, Relation};
use crate::time::Timestamp;

/// Record kind of a position in the log.
pub const KIND_CURSOR: &str = "cursor";

/// How far the scheduler has applied the log, and under which epoch it got there. Written with every decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) offset: Offset,
    pub(super) epoch: u64,
    /// Revision of the record; `None` before the first commit.
    #[serde(skip)]
    pub(super) revision: Option<u64>,
}

fn cursor_key() -> RecordKey {
    RecordKey::new(KIND_CURSOR, super::SCHEDULER_LEASE)
}

/// Up to where the scheduler has applied the log.
pub(crate) async fn scheduler_cursor(store: &dyn MetaStore) -> Result<Offset> {
    Ok(Cursor::read(store).await?.offset)
}

impl Cursor {
    pub(super) async fn read(store: &dyn MetaStore) -> Result<Self> {
        let record: Option<Record> = store.get_one(&cursor_key()).await?;
        match record {
            Some(record) => Ok(Self { revision: Some(record.revision), ..body_of(&record)? }),
            None => Ok(Self::default()),
        }
    }

    /// As it is written with a decision that leads to `offset`.
    fn advanced(self, offset: Offset, epoch: u64) -> Self {
        Self { offset, epoch, revision: Some(self.revision.map_or(1, |revision| revision.saturating_add(1))) }
    }
}

/// The transaction that makes `decision` true: the fence and the cursor must be as the decider saw them.
fn batch_of(decision: &Decision, lineage: &[Relation], cursor: Cursor, lease: &Lease, at: Timestamp) -> Batch {
    let next = cursor.advanced(decision.cursor, lease.epoch);
    let mut batch = Batch::at(at).expect(cursor_key(), cursor.revision).put(put(cursor_key(), &next));
    batch.fence = Some(lease.fence());
    batch.puts.extend(decision.workflows.values().map(|workflow| workflow_put(workflow)));
    batch.puts.extend(decision.executions.values().map(|execution| workflow_execution_put(execution)));
    batch.puts.extend(decision.job_states.values().flatten().map(|(_, job)| job_state_put(job)));
    let begun = decision.begun.iter().filter_map(|id| decision.executions.get(id));
    batch.relate.extend(begun.flat_map(|execution| label_relations(execution)));
    batch.puts.extend(decision.jobs.values().map(|job| job_execution_put(job)));
    let firings = decision.firings.values();
    batch.puts.extend(firings.map(|firing| firing_put(firing.id.to_string(), &firing.project, &firing.record)));
    for (id, meter) in &decision.meters {
        match meter {
            Some(meter) => batch.puts.push(meter_put(id, meter)),
            None => batch.deletes.push(meter_key(id)),
        }
    }
    for ((project, pool), now) in &decision.pools {
        match now {
            Some(pool) => batch.puts.push(pool_put(pool)),
            None => batch.deletes.push(pool_key(project, pool)),
        }
    }
    for ((name, place), now) in &decision.hosts {
        match now {
            Some(host) => batch.puts.push(host_put(host)),
            None => batch.deletes.push(host_key(name, *place)),
        }
    }
    batch.puts.extend(
        decision
            .dead_letters
            .iter()
            .map(|letter| dead_letter_put(&letter.id, &DeadLetter::new(&letter.id, letter.offset, &letter.reason))),
    );
    batch.events.clone_from(&decision.events);
    let room = BATCH_ITEMS_MAX.saturating_sub(batch.n_items());
    if lineage.len() > room {
        let (offset, left_out) = (decision.cursor, lineage.len().saturating_sub(room));
        tracing::warn!(%offset, left_out, "a decision has no room for all relations of its lineage; from those events on they are not found");
    }
    batch.relate.extend(lineage.iter().take(room).cloned());
    batch
}

/// A decision on its way into the store.
pub(super) struct Commit {
    pub(super) store: Arc<dyn MetaStore>,
    pub(super) decision: Arc<Decision>,
    pub(super) lineage: Vec<Relation>,
    /// How far the log is applied before it.
    pub(super) cursor: Cursor,
    pub(super) lease: Lease,
    pub(super) at: Timestamp,
    pub(super) backoff: Backoff,
}

impl Commit {
    /// How far the log is applied once it stands.
    pub(super) fn next(&self) -> Cursor {
        self.cursor.advanced(self.decision.cursor, self.lease.epoch)
    }

    fn batch(&self) -> Batch {
        batch_of(&self.decision, &self.lineage, self.cursor, &self.lease, self.at)
    }

    /// Builds the transaction at once, and commits it when it is its turn.
    ///
    /// # Errors
    /// As [`run`](Self::run); `Fenced` if its turn never comes, because what it rests on was not committed.
    pub(super) async fn in_turn(self, turn: oneshot::Receiver<()>) -> Result<Cursor> {
        let batch = self.batch();
        match turn.await {
            Ok(()) => self.write(batch).await,
            Err(_) => Err(Error::new(ErrorKind::Fenced, "commit", "the decision before this one does not stand")),
        }
    }

    /// Commits the decision, whatever it takes, and returns the new cursor.
    ///
    /// # Errors
    /// `Fenced` or `Conflict`: another scheduler leads. `Invalid`, `AlreadyExists`: the store refuses this decision for good. `Corrupt`,
    /// `Closed`, `Internal`: stop.
    pub(super) async fn run(self) -> Result<Cursor> {
        let batch = self.batch();
        self.write(batch).await
    }

    async fn write(mut self, mut batch: Batch) -> Result<Cursor> {
        let next = self.next();
        // Set once an answer was lost: from then on a refusal may only mean that the first try took effect.
        let mut is_uncertain = false;
        loop {
            match self.store.commit(batch).await {
                Ok(_) => return Ok(next),
                Err(error) if error.retry() == Retry::Later => {
                    tracing::warn!(%error, "commit failed; trying again");
                    self.backoff.pause().await;
                }
                Err(error)
                    if error.retry() == Retry::AfterReadBack
                        || (is_uncertain && error.kind() == ErrorKind::Conflict) =>
                {
                    is_uncertain = true;
                    match read_back(&*self.store, &mut self.backoff).await? {
                        now if now == next => return Ok(next),
                        now if now == self.cursor => self.backoff.pause().await,
                        now => return Err(moved(now)),
                    }
                }
                Err(error) => return Err(error),
            }
            // Built anew for a rare second try: keeping a copy would cost every first one.
            batch = self.batch();
        }
    }
}

async fn read_back(store: &dyn MetaStore, backoff: &mut Backoff) -> Result<Cursor> {
    loop {
        match Cursor::read(store).await {
            Err(error) if matches!(error.retry(), Retry::Later | Retry::AfterReadBack) => backoff.pause().await,
            read => return read,
        }
    }
}

fn moved(now: Cursor) -> Error {
    Error::new(ErrorKind::Fenced, "commit", "another scheduler has moved the cursor")
        .with("offset", now.offset)
        .with("epoch", now.epoch)
}
