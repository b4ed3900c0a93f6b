//! Drafts: how is a change of several records decided on what was read, and written only if that still holds?

use std::collections::BTreeMap;

use super::PRODUCED;
use crate::client::{AiFlow, CONFLICT_TRIES_MAX, too_many_conflicts};
use crate::error::{ErrorKind, Result};
use crate::event::NewEvent;
use crate::records::job_execution_key;
use crate::store::{Batch, PAGE_ROWS_MAX, Receipt, Record, RecordKey, RecordPut, Relation};
use crate::time::Timestamp;

/// A transaction in the making. Whatever is read through it must be unchanged when it is committed; what it writes it also reads.
#[derive(Debug)]
pub struct Draft {
    flow: AiFlow,
    now: Timestamp,
    seen: BTreeMap<RecordKey, Seen>,
    /// Keys that are written, in the order of their first writing.
    written: Vec<RecordKey>,
    discarded: Vec<RecordKey>,
    relate: Vec<Relation>,
    unrelate: Vec<Relation>,
    events: Vec<NewEvent>,
}

#[derive(Debug)]
struct Seen {
    /// Revision in the store.
    stored: Option<u64>,
    /// As the draft leaves it.
    current: Option<Record>,
    is_written: bool,
}

impl Draft {
    pub(super) fn new(flow: &AiFlow) -> Self {
        Self {
            flow: flow.clone(),
            now: flow.clock().now(),
            seen: BTreeMap::new(),
            written: Vec::new(),
            discarded: Vec::new(),
            relate: Vec::new(),
            unrelate: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The moment at which the change is decided.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) async fn get(&mut self, key: &RecordKey) -> Result<Option<Record>> {
        Ok(self.get_all(std::slice::from_ref(key)).await?.pop().flatten().cloned())
    }

    /// The records with these keys, in this order.
    pub(super) async fn get_all(&mut self, keys: &[RecordKey]) -> Result<Vec<Option<&Record>>> {
        let unseen: Vec<RecordKey> = keys.iter().filter(|key| !self.seen.contains_key(key)).cloned().collect();
        for chunk in unseen.chunks(PAGE_ROWS_MAX) {
            for (key, current) in chunk.iter().zip(self.flow.store().get(chunk).await?) {
                let stored = current.as_ref().map(|record| record.revision);
                self.seen.insert(key.clone(), Seen { stored, current, is_written: false });
            }
        }
        Ok(keys.iter().map(|key| self.seen.get(key)?.current.as_ref()).collect())
    }

    /// Writes a record that was read before, or must be new.
    pub(super) fn put(&mut self, put: RecordPut) -> &Record {
        let now = self.now;
        let seen = self.write(&put.key);
        let record = Record {
            revision: seen.stored.unwrap_or(0).saturating_add(1),
            created: seen.current.as_ref().map_or(now, |before| before.created),
            updated: now,
            key: put.key,
            project: put.project,
            parent: put.parent,
            name: put.name,
            state: put.state,
            number: put.number,
            body: put.body,
        };
        seen.current.insert(record)
    }

    /// Removes a record that was read before.
    pub(super) fn delete(&mut self, key: &RecordKey) {
        self.write(key).current = None;
    }

    /// Removes records whatever they are now.
    pub(super) fn discard(&mut self, keys: impl IntoIterator<Item = RecordKey>) {
        self.discarded.extend(keys);
    }

    fn write(&mut self, key: &RecordKey) -> &mut Seen {
        let none = || Seen { stored: None, current: None, is_written: false };
        let seen = self.seen.entry(key.clone()).or_insert_with(none);
        if !seen.is_written {
            seen.is_written = true;
            self.written.push(key.clone());
        }
        seen
    }

    pub(super) fn event(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    pub(super) fn relate(&mut self, kind: &str, from: RecordKey, to: RecordKey) {
        self.relate.push(Relation { kind: kind.to_owned(), from, to });
    }

    pub(super) fn unrelate(&mut self, kind: &str, from: RecordKey, to: RecordKey) {
        self.unrelate.push(Relation { kind: kind.to_owned(), from, to });
    }

    /// Notes that the job that speaks through the handle, if one does, made `entity`.
    pub(super) fn produced(&mut self, entity: &RecordKey) {
        if let Some(origin) = self.flow.origin() {
            let job = job_execution_key(origin.identity.attempt.job_execution);
            self.relate(PRODUCED, job, entity.clone());
        }
    }

    fn is_empty(&self) -> bool {
        self.written.is_empty()
            && self.discarded.is_empty()
            && self.relate.is_empty()
            && self.unrelate.is_empty()
            && self.events.is_empty()
    }

    fn into_batch(mut self) -> Batch {
        let mut batch = Batch::at(self.now);
        for (key, seen) in &self.seen {
            batch = batch.expect(key.clone(), seen.stored);
        }
        for key in self.written {
            let Some(seen) = self.seen.remove(&key) else { continue };
            match seen.current {
                Some(Record { key, project, parent, name, state, number, body, .. }) => {
                    batch = batch.put(RecordPut { key, project, parent, name, state, number, body, stamp: None });
                }
                None => batch = batch.delete(key),
            }
        }
        batch.deletes.extend(self.discarded);
        batch.relate = self.relate;
        batch.unrelate = self.unrelate;
        batch.events = self.events;
        batch
    }
}

/// How often a change is decided anew because others wrote first.
pub(super) struct Tries {
    operation: &'static str,
    left: usize,
    /// Deciding again on what is stored then comes to the same, also if an earlier try took effect.
    is_repeatable: bool,
}

impl Tries {
    /// Of a change that is also decided anew when it is unknown whether it took effect.
    pub(super) fn repeatable(operation: &'static str) -> Self {
        Self { operation, left: CONFLICT_TRIES_MAX, is_repeatable: true }
    }

    /// Of a change that would then take effect twice, or be refused.
    pub(super) fn once(operation: &'static str) -> Self {
        Self { is_repeatable: false, ..Self::repeatable(operation) }
    }

    pub(super) fn when(operation: &'static str, is_repeatable: bool) -> Self {
        Self { is_repeatable, ..Self::repeatable(operation) }
    }

    /// Commits, if there is anything to commit. `None`: decide again.
    pub(super) async fn commit(&mut self, draft: Draft) -> Result<Option<Receipt>> {
        if draft.is_empty() {
            return Ok(Some(Receipt::default()));
        }
        let flow = draft.flow.clone();
        match flow.store().commit(draft.into_batch()).await {
            Ok(receipt) => return Ok(Some(receipt)),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown && self.is_repeatable => {}
            Err(error) => return Err(error),
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { Err(too_many_conflicts(self.operation)) } else { Ok(None) }
    }
}

/// Decides a change on a draft, and anew whenever somebody else was faster, until it is committed; gives what was decided.
macro_rules! decide {
    ($flow:expr, $tries:expr, |$draft:ident| $decision:expr) => {{
        let mut tries = $tries;
        loop {
            let mut $draft = Draft::new($flow);
            let decided = $decision;
            if tries.commit($draft).await?.is_some() {
                break decided;
            }
        }
    }};
}
pub(super) use decide;
