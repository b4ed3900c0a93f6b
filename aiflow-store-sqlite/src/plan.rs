//! Plans: given what the file holds, what would a group of requests change, and which of them are refused?
//!
//! Pure apart from the lock files. Requests are looked at in the order of their arrival, each against the file and what the ones before
//! it will have changed. A refused request leaves no trace in the plan, so it disturbs nobody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::id::Offset;
use aiflow_core::store::{Expect, Fence, Lease, RecordKey};
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, ErrorKind, Result};

use crate::lease::{self, LeaseRow, Locks};
use crate::row::{EventRow, RecordRow, StoredEvent};

/// Offsets that one transaction trims, so that trimming a long log does not hold up the other writers.
const TRIM_STEP: u64 = 20_000;

/// What a caller wants written.
#[derive(Debug)]
pub(crate) enum Work {
    Publish(Vec<EventRow>),
    Commit(Box<CommitWork>),
    Trim(Offset),
    Acquire { name: String, holder: String, ttl: Duration },
    Release(Lease),
}

/// A batch, encoded.
#[derive(Debug)]
pub(crate) struct CommitWork {
    pub(crate) at: i64,
    pub(crate) fence: Option<Fence>,
    pub(crate) expect: Vec<Expect>,
    pub(crate) puts: Vec<RecordRow>,
    pub(crate) deletes: Vec<RecordKey>,
    pub(crate) relate: Vec<RelationRow>,
    pub(crate) unrelate: Vec<RelationRow>,
    pub(crate) events: Vec<EventRow>,
}

/// Kind, kind and id of the start, kind and id of the end.
pub(crate) type RelationRow = [Arc<str>; 5];

/// What was done for one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Offsets(Vec<Offset>),
    Lease(Option<Lease>),
    /// Whether there is more to trim.
    Trimmed {
        more: bool,
    },
    Done,
}

impl Work {
    /// The name of the operation in errors.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Commit(_) => "commit",
            Self::Trim(_) => "trim",
            Self::Acquire { .. } => "acquire",
            Self::Release(_) => "release",
        }
    }

    /// How much it adds to a transaction.
    pub(crate) fn items(&self) -> usize {
        match self {
            Self::Publish(events) => events.len(),
            Self::Commit(work) => {
                work.expect.len()
                    + work.puts.len()
                    + work.deletes.len()
                    + work.relate.len()
                    + work.unrelate.len()
                    + work.events.len()
            }
            Self::Trim(_) | Self::Acquire { .. } | Self::Release(_) => 1,
        }
    }

    pub(crate) fn events(&self) -> &[EventRow] {
        match self {
            Self::Publish(events) => events,
            Self::Commit(work) => &work.events,
            Self::Trim(_) | Self::Acquire { .. } | Self::Release(_) => &[],
        }
    }

    /// Its events, to be kept where readers find them.
    pub(crate) fn into_events(self) -> Vec<EventRow> {
        match self {
            Self::Publish(events) => events,
            Self::Commit(work) => work.events,
            Self::Trim(_) | Self::Acquire { .. } | Self::Release(_) => Vec::new(),
        }
    }

    /// The lease that it reads or changes.
    pub(crate) fn lease(&self) -> Option<&str> {
        match self {
            Self::Commit(work) => work.fence.as_ref().map(|fence| fence.lease.as_str()),
            Self::Acquire { name, .. } => Some(name),
            Self::Release(lease) => Some(&lease.name),
            Self::Publish(_) | Self::Trim(_) => None,
        }
    }

    /// The records that it reads or changes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        let changed = self.batch().into_iter().flat_map(|work| {
            let deleted = work.deletes.iter().map(|key| (key.kind.as_str(), key.id.as_str()));
            deleted.chain(work.puts.iter().map(|put| (&*put.kind, &*put.id)))
        });
        self.expected_keys().chain(changed)
    }

    /// The records of which it expects something.
    pub(crate) fn expected_keys(&self) -> impl Iterator<Item = Key<'_>> {
        let expected = self.batch().into_iter().flat_map(|work| &work.expect);
        expected.map(|expect| (expect.key.kind.as_str(), expect.key.id.as_str()))
    }

    fn batch(&self) -> Option<&CommitWork> {
        match self {
            Self::Commit(work) => Some(work),
            _ => None,
        }
    }
}

/// Kind and id.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// The ends of the log as the transaction found them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEnds {
    pub(crate) last: Offset,
    pub(crate) trimmed: Offset,
    /// `recorded` of the newest event ever appended.
    pub(crate) recorded: i64,
    /// The highest `seq` that a record ever had.
    pub(crate) records: i64,
}

/// What must be known about a record that exists.
#[derive(Debug, Clone)]
pub(crate) struct StoredRecord {
    pub(crate) seq: i64,
    pub(crate) revision: u64,
    pub(crate) project: Arc<str>,
    pub(crate) parent: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// What the transaction read before it plans.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ends: LogEnds,
    /// Those of the group's keys that exist.
    pub(crate) records: HashMap<Key<'a>, StoredRecord>,
    pub(crate) leases: HashMap<String, LeaseRow>,
    /// Those of the group's event ids that are in the log. `None`: not looked up, because it is unlikely that there are any; the unique
    /// index refuses the transaction if there are.
    pub(crate) events: Option<HashMap<String, StoredEvent>>,
}

/// What becomes of one record.
#[derive(Debug, Default)]
struct Slot<'a> {
    stored: Option<StoredRecord>,
    /// The stored row goes.
    deleted: bool,
    /// The newest put, if the record exists then.
    put: Option<Put<'a>>,
}

impl Slot<'_> {
    fn revision(&self) -> Option<u64> {
        match (&self.put, &self.stored) {
            (Some(put), _) => Some(put.revision),
            (None, Some(stored)) if !self.deleted => Some(stored.revision),
            _ => None,
        }
    }
}

/// A record to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put<'a> {
    pub(crate) row: &'a RecordRow,
    pub(crate) revision: u64,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    /// Rises with each record that begins to exist.
    birth: u64,
}

/// What the group changes.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    facts: Facts<'a>,
    slots: HashMap<Key<'a>, Slot<'a>>,
    births: u64,
    /// It depends on nothing but the end of the log.
    pub(crate) only_publishes: bool,
    /// Events to append, the first at [`Plan::first`].
    pub(crate) events: Vec<&'a EventRow>,
    /// Relations to add (`true`) and to remove.
    pub(crate) relations: HashMap<&'a RelationRow, bool>,
    /// Leases to write.
    pub(crate) leases: HashMap<String, LeaseRow>,
    /// Lock files to free once the transaction stands.
    pub(crate) freed: Vec<String>,
    /// Trim up to here.
    pub(crate) trim: Option<Offset>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(mut facts: Facts<'a>) -> Self {
        let stored = std::mem::take(&mut facts.records).into_iter();
        let slots = stored
            .map(|(key, stored)| {
                let slot = Slot { stored: Some(stored), ..Slot::default() };
                (key, slot)
            })
            .collect();
        Self {
            facts,
            slots,
            births: 0,
            only_publishes: true,
            events: Vec::new(),
            relations: HashMap::new(),
            leases: HashMap::new(),
            freed: Vec::new(),
            trim: None,
        }
    }

    /// The ends of the log before the plan.
    pub(crate) fn ends(&self) -> LogEnds {
        self.facts.ends
    }

    /// The ends of the log after the plan was written at `now`.
    pub(crate) fn ends_after(&self, now: Timestamp, changes: &RecordChanges<'_>) -> LogEnds {
        let before = self.facts.ends;
        LogEnds {
            last: self.last(),
            trimmed: self.trim.unwrap_or(before.trimmed),
            recorded: self.moments(now).last().unwrap_or(before.recorded),
            records: changes.inserts.last().map_or(before.records, |(seq, _)| *seq),
        }
    }

    /// When each event to append is recorded, if it is done at `now`: the time of the log never goes back.
    pub(crate) fn moments(&self, now: Timestamp) -> impl Iterator<Item = i64> {
        let now = now.as_millis();
        self.events.iter().scan(self.facts.ends.recorded, move |last, event| {
            *last = event.recorded.unwrap_or(now).max(*last);
            Some(*last)
        })
    }

    /// Offset of the first event to append.
    pub(crate) fn first(&self) -> Offset {
        self.facts.ends.last.next()
    }

    /// Offset of the newest event after the plan.
    pub(crate) fn last(&self) -> Offset {
        offset_after(self.facts.ends.last, self.events.len())
    }

    /// Adds one request, or refuses it.
    pub(crate) fn add(&mut self, work: &'a Work, now: Timestamp, locks: &mut Locks) -> Result<Answer> {
        self.only_publishes &= matches!(work, Work::Publish(_));
        match work {
            Work::Publish(events) => self.append("publish", events).map(Answer::Offsets),
            Work::Commit(work) => self.commit(work).map(Answer::Offsets),
            Work::Trim(through) => Ok(self.trim(*through)),
            Work::Acquire { name, holder, ttl } => {
                Ok(Answer::Lease(self.acquire(name, holder, now, now + *ttl, locks)))
            }
            Work::Release(lease) => {
                self.release(lease);
                Ok(Answer::Done)
            }
        }
    }

    fn commit(&mut self, work: &'a CommitWork) -> Result<Vec<Offset>> {
        self.check_fence(work)?;
        self.check_expectations(work)?;
        // The last check, and the first change.
        let offsets = self.append("commit", &work.events)?;
        for key in &work.deletes {
            let slot = self.slots.entry((&key.kind, &key.id)).or_default();
            slot.deleted = true;
            slot.put = None;
        }
        for row in &work.puts {
            let slot = self.slots.entry((&row.kind, &row.id)).or_default();
            self.births += 1;
            let (revision, created, updated) = match row.stamp.filter(|_| slot.revision().is_none()) {
                Some(stamp) => (stamp.revision, stamp.created.as_millis(), stamp.updated.as_millis()),
                None => {
                    let revision = slot.revision().unwrap_or(0).saturating_add(1);
                    (revision, slot.put.map_or(work.at, |put| put.created), work.at)
                }
            };
            slot.put =
                Some(Put { row, revision, created, updated, birth: slot.put.map_or(self.births, |put| put.birth) });
        }
        self.relations.extend(work.relate.iter().map(|relation| (relation, true)));
        self.relations.extend(work.unrelate.iter().map(|relation| (relation, false)));
        Ok(offsets)
    }

    fn check_fence(&self, work: &CommitWork) -> Result<()> {
        let Some(fence) = &work.fence else {
            return Ok(());
        };
        let row = self.lease(&fence.lease);
        if row.is_some_and(|row| row.allows(fence.epoch)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Fenced, "commit", "the lease has another holder now, or none")
            .with("lease", fence.lease.escape_default())
            .with("epoch", fence.epoch)
            .with("current epoch", row.map_or(0, |row| row.epoch)))
    }

    fn check_expectations(&self, work: &CommitWork) -> Result<()> {
        for expect in &work.expect {
            let slot = self.slots.get(&(expect.key.kind.as_str(), expect.key.id.as_str()));
            let found = slot.and_then(Slot::revision);
            if found != expect.revision {
                return Err(Error::new(ErrorKind::Conflict, "commit", "a record is not at the expected revision")
                    .with("key", &expect.key)
                    .with("expected", shown(expect.revision))
                    .with("found", shown(found)));
            }
        }
        Ok(())
    }

    /// Appends events, or none of them.
    fn append(&mut self, operation: &'static str, events: &'a [EventRow]) -> Result<Vec<Offset>> {
        let begin = self.events.len();
        let mut offsets = Vec::with_capacity(events.len());
        for row in events {
            match self.place(operation, row) {
                Ok(offset) => offsets.push(offset),
                Err(error) => {
                    for row in self.events.drain(begin..) {
                        if let Some(known) = &mut self.facts.events {
                            known.remove(&*row.id);
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(offsets)
    }

    fn place(&mut self, operation: &'static str, row: &'a EventRow) -> Result<Offset> {
        let offset = self.last().next();
        if let Some(known) = &mut self.facts.events {
            match known.entry(row.id.to_string()) {
                Entry::Occupied(stored) if row.says_the_same(stored.get()) => {
                    return Ok(stored.get().offset);
                }
                Entry::Occupied(stored) => {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        operation,
                        "an event with this id is in the log and says something else",
                    )
                    .with("id", row.id.escape_default())
                    .with("offset", stored.get().offset));
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(StoredEvent::written(row, offset));
                }
            }
        }
        self.events.push(row);
        Ok(offset)
    }

    fn trim(&mut self, through: Offset) -> Answer {
        let done = self.trim.unwrap_or(self.facts.ends.trimmed);
        let wanted = through.min(self.last());
        let step = Offset(self.facts.ends.trimmed.0.saturating_add(TRIM_STEP));
        let until = wanted.min(step).max(done);
        if until > done {
            self.trim = Some(until);
        }
        Answer::Trimmed { more: until < wanted }
    }

    fn lease(&self, name: &str) -> Option<&LeaseRow> {
        self.leases.get(name).or_else(|| self.facts.leases.get(name))
    }

    fn acquire(
        &mut self,
        name: &str,
        holder: &str,
        now: Timestamp,
        expires: Timestamp,
        locks: &mut Locks,
    ) -> Option<Lease> {
        let row = self.lease(name).cloned().unwrap_or_default();
        let granted = lease::decide(&row, name, holder, now, expires, locks)?;
        let lease = granted.lease(name);
        self.freed.retain(|freed| freed != name);
        self.leases.insert(name.to_owned(), granted);
        Some(lease)
    }

    fn release(&mut self, lease: &Lease) {
        let Some(row) = self.lease(&lease.name) else {
            return;
        };
        if row.holder != lease.holder || !row.allows(lease.epoch) {
            return;
        }
        let released = LeaseRow { epoch: row.epoch, ..LeaseRow::default() };
        self.leases.insert(lease.name.clone(), released);
        self.freed.push(lease.name.clone());
    }

    /// What becomes of the records.
    pub(crate) fn record_changes(&self) -> RecordChanges<'a> {
        let mut changes = RecordChanges::default();
        for (key, slot) in &self.slots {
            match (&slot.stored, slot.put) {
                (Some(stored), Some(put)) if !slot.deleted => {
                    let row = put.row;
                    let same_place =
                        *row.project == *stored.project && *row.parent == *stored.parent && *row.name == *stored.name;
                    if same_place {
                        changes.updates.push((stored.seq, put));
                    } else {
                        changes.moves.push((stored.seq, put));
                    }
                }
                (stored, put) => {
                    if let Some(stored) = stored
                        && slot.deleted
                    {
                        changes.deletes.push(stored.seq);
                        changes.forgotten.push(*key);
                    }
                    changes.inserts.extend(put.map(|put| (0, put)));
                }
            }
        }
        changes.inserts.sort_unstable_by_key(|(_, put)| put.birth);
        for ((seq, _), next) in changes.inserts.iter_mut().zip(self.facts.ends.records.saturating_add(1)..) {
            *seq = next;
        }
        changes.updates.sort_unstable_by_key(|(seq, _)| *seq);
        changes
    }
}

/// What becomes of the records, by statement. Deletes come first.
#[derive(Debug, Default)]
pub(crate) struct RecordChanges<'a> {
    pub(crate) deletes: Vec<i64>,
    /// Keys of the deleted records; some may be among the new ones again.
    pub(crate) forgotten: Vec<Key<'a>>,
    /// New records, in order, each with its `seq`.
    pub(crate) inserts: Vec<(i64, Put<'a>)>,
    /// Records that keep project, parent and name, as nearly all do: most indexes need no change.
    pub(crate) updates: Vec<(i64, Put<'a>)>,
    /// Records with another project, parent or name.
    pub(crate) moves: Vec<(i64, Put<'a>)>,
}

impl<'a> RecordChanges<'a> {
    /// Every record that is written, with its `seq`.
    pub(crate) fn puts(&self) -> impl Iterator<Item = &(i64, Put<'a>)> {
        self.inserts.iter().chain(&self.updates).chain(&self.moves)
    }
}

fn shown(revision: Option<u64>) -> String {
    revision.map_or_else(|| "none".to_owned(), |revision| revision.to_string())
}

fn offset_after(offset: Offset, count: usize) -> Offset {
    Offset(offset.0.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)))
}
