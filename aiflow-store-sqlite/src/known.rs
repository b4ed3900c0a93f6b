//! What the writer knows of the file without looking: what it read and wrote before, while no other process has written.
//!
//! `PRAGMA data_version` changes when another connection changes the file. A transaction that rests on this knowledge begins with a check
//! of that number, so it takes effect only if the knowledge is true; otherwise it is undone and the file is looked at.

use std::collections::HashMap;
use std::sync::Arc;

use crate::lease::LeaseRow;
use crate::plan::{Facts, Key, LogEnds, RecordChanges, StoredRecord, Work};

/// Records remembered in each of the two generations.
const RECORDS_KNOWN_MAX: usize = 32_768;

#[derive(Debug)]
pub(crate) struct Known {
    /// `data_version` of the write connection when this was true.
    pub(crate) version: i64,
    pub(crate) ends: LogEnds,
    leases: HashMap<String, LeaseRow>,
    records: Records,
}

impl Known {
    pub(crate) fn new(version: i64, ends: LogEnds) -> Self {
        Self { version, ends, leases: HashMap::new(), records: Records::default() }
    }

    /// What a plan for `works` must know; `None` if that is not known. A record that is put and of which nothing is known is taken for new:
    /// the table refuses it otherwise.
    pub(crate) fn facts<'a>(&mut self, works: &'a [Work]) -> Option<Facts<'a>> {
        let mut facts = Facts { ends: self.ends, records: HashMap::new(), leases: HashMap::new(), events: None };
        for work in works {
            let commit = match work {
                Work::Publish(_) => continue,
                Work::Commit(commit) => commit,
                Work::Trim(_) | Work::Acquire { .. } | Work::Release(_) => return None,
            };
            if let Some(fence) = &commit.fence {
                let row = self.leases.get(&fence.lease)?;
                facts.leases.insert(fence.lease.clone(), row.clone());
            }
            for put in &commit.puts {
                self.recall((&put.kind, &put.id), &mut facts.records);
            }
            for expect in &commit.expect {
                let key = (expect.key.kind.as_str(), expect.key.id.as_str());
                let is_known = self.recall(key, &mut facts.records);
                let is_put = || commit.puts.iter().any(|put| (&*put.kind, &*put.id) == key);
                if !is_known && (expect.revision.is_some() || !is_put()) {
                    return None;
                }
            }
            for key in &commit.deletes {
                if !self.recall((&key.kind, &key.id), &mut facts.records) {
                    return None;
                }
            }
        }
        Some(facts)
    }

    fn recall<'a>(&mut self, key: Key<'a>, into: &mut HashMap<Key<'a>, StoredRecord>) -> bool {
        if into.contains_key(&key) {
            return true;
        }
        match self.records.get(key) {
            Some(record) => {
                into.insert(key, record);
                true
            }
            None => false,
        }
    }

    /// Takes in what a transaction found.
    pub(crate) fn remember(&mut self, facts: &Facts<'_>) {
        self.leases.extend(facts.leases.iter().map(|(name, row)| (name.clone(), row.clone())));
        for ((kind, id), record) in &facts.records {
            self.records.put(&Arc::from(*kind), &Arc::from(*id), record.clone());
        }
    }

    /// Takes in what a transaction changed.
    pub(crate) fn learn(&mut self, ends: LogEnds, leases: &HashMap<String, LeaseRow>, changes: &RecordChanges<'_>) {
        self.ends = ends;
        self.leases.extend(leases.iter().map(|(name, row)| (name.clone(), row.clone())));
        for (kind, id) in &changes.forgotten {
            self.records.forget((kind, id));
        }
        for (seq, put) in changes.puts() {
            let row = put.row;
            let record = StoredRecord {
                seq: *seq,
                revision: put.revision,
                project: Arc::clone(&row.project),
                parent: Arc::clone(&row.parent),
                name: Arc::clone(&row.name),
            };
            self.records.put(&row.kind, &row.id, record);
        }
    }
}

/// Two generations: when the young one is full it becomes the old one, and what is still used moves over.
#[derive(Debug, Default)]
struct Records {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    kinds: HashMap<Arc<str>, HashMap<Arc<str>, StoredRecord>>,
    count: usize,
}

impl Generation {
    fn remove(&mut self, (kind, id): Key<'_>) -> Option<(Arc<str>, StoredRecord)> {
        let removed = self.kinds.get_mut(kind)?.remove_entry(id);
        self.count -= usize::from(removed.is_some());
        removed
    }

    fn put(&mut self, kind: &Arc<str>, id: Arc<str>, record: StoredRecord) {
        let before = self.kinds.entry(Arc::clone(kind)).or_default().insert(id, record);
        self.count += usize::from(before.is_none());
    }
}

impl Records {
    fn get(&mut self, key: Key<'_>) -> Option<StoredRecord> {
        let (kind, id) = key;
        if let Some(record) = self.young.kinds.get(kind).and_then(|ids| ids.get(id)) {
            return Some(record.clone());
        }
        let (id, record) = self.old.remove(key)?;
        self.put(&kind.into(), &id, record.clone());
        Some(record)
    }

    fn put(&mut self, kind: &Arc<str>, id: &Arc<str>, record: StoredRecord) {
        self.old.remove((kind, id));
        if self.young.count >= RECORDS_KNOWN_MAX {
            self.old = std::mem::take(&mut self.young);
            self.old.remove((kind, id));
        }
        self.young.put(kind, Arc::clone(id), record);
    }

    fn forget(&mut self, key: Key<'_>) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: i64) -> StoredRecord {
        StoredRecord { seq, revision: 1, project: "".into(), parent: "".into(), name: "".into() }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut records = Records::default();
        let kind: Arc<str> = "job".into();
        for n in 0..10 * RECORDS_KNOWN_MAX {
            let seq = i64::try_from(n).unwrap();
            records.put(&kind, &n.to_string().into(), record(seq));
            assert_eq!(records.get(("job", "0")).map(|record| record.seq), Some(0), "{n}");
        }
        assert!(records.young.count <= RECORDS_KNOWN_MAX && records.old.count <= RECORDS_KNOWN_MAX);
        assert!(records.get(("job", "1")).is_none());
        records.forget(("job", "0"));
        assert!(records.get(("job", "0")).is_none());
    }
}
