//! What the writer knows of the file without looking: what it read and wrote before, while no other process has written.
//!
//! `PRAGMA data_version` changes when another connection changes the file. A transaction that rests on this knowledge begins with a check
//! of that number, so it takes effect only if the knowledge is true; otherwise it is undone and the file is looked at.

use std::collections::{HashMap, HashSet};
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
            let mut new: HashSet<Key<'_>> = HashSet::new();
            for put in &commit.puts {
                let key = (&*put.kind, &*put.id);
                if !self.recall(key, &mut facts.records) {
                    new.insert(key);
                }
            }
            for expect in &commit.expect {
                let key = (expect.key.kind.as_str(), expect.key.id.as_str());
                let is_known = self.recall(key, &mut facts.records);
                if !is_known && (expect.revision.is_some() || !new.contains(&key)) {
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

    /// Whether it is known if there is such a record, which is then among the facts.
    fn recall<'a>(&mut self, key: Key<'a>, into: &mut HashMap<Key<'a>, StoredRecord>) -> bool {
        if into.contains_key(&key) {
            return true;
        }
        let found = self.records.get(key);
        let is_known = found.is_some();
        if let Some(Found::Record(record)) = found {
            into.insert(key, record);
        }
        is_known
    }

    /// Takes in what a transaction found when it looked at everything that `works` depend on.
    pub(crate) fn remember(&mut self, facts: &Facts<'_>, works: &[Work]) {
        self.leases.extend(facts.leases.iter().map(|(name, row)| (name.clone(), row.clone())));
        for ((kind, id), record) in &facts.records {
            self.records.put(&Arc::from(*kind), Arc::from(*id), Found::Record(record.clone()));
        }
        for (kind, id) in works.iter().flat_map(Work::expected_keys).filter(|key| !facts.records.contains_key(key)) {
            self.records.put(&Arc::from(kind), Arc::from(id), Found::Nothing);
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
            self.records.put(&row.kind, Arc::clone(&row.id), Found::Record(record));
        }
    }
}

/// What is known of a key. A key that is not remembered may have a record or none.
#[derive(Debug, Clone)]
enum Found {
    Record(StoredRecord),
    Nothing,
}

/// Two generations: when the young one is full it becomes the old one, and what is still used moves over.
#[derive(Debug, Default)]
struct Records {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    kinds: HashMap<Arc<str>, HashMap<Arc<str>, Found>>,
    count: usize,
}

impl Generation {
    fn remove(&mut self, (kind, id): Key<'_>) -> Option<(Arc<str>, Found)> {
        let removed = self.kinds.get_mut(kind)?.remove_entry(id);
        self.count -= usize::from(removed.is_some());
        removed
    }

    fn put(&mut self, kind: &Arc<str>, id: Arc<str>, found: Found) {
        let before = self.kinds.entry(Arc::clone(kind)).or_default().insert(id, found);
        self.count += usize::from(before.is_none());
    }
}

impl Records {
    fn get(&mut self, key: Key<'_>) -> Option<Found> {
        let (kind, id) = key;
        if let Some(found) = self.young.kinds.get(kind).and_then(|ids| ids.get(id)) {
            return Some(found.clone());
        }
        let (id, found) = self.old.remove(key)?;
        self.put(&kind.into(), id, found.clone());
        Some(found)
    }

    fn put(&mut self, kind: &Arc<str>, id: Arc<str>, found: Found) {
        self.old.remove((kind, &id));
        if self.young.count >= RECORDS_KNOWN_MAX {
            self.old = std::mem::take(&mut self.young);
            self.old.remove((kind, &id));
        }
        self.young.put(kind, id, found);
    }

    fn forget(&mut self, key: Key<'_>) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: i64) -> Found {
        Found::Record(StoredRecord { seq, revision: 1, project: "".into(), parent: "".into(), name: "".into() })
    }

    fn seq(found: Option<Found>) -> Option<i64> {
        match found {
            Some(Found::Record(record)) => Some(record.seq),
            Some(Found::Nothing) | None => None,
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut records = Records::default();
        let kind: Arc<str> = "job".into();
        for n in 0..10 * RECORDS_KNOWN_MAX {
            records.put(&kind, n.to_string().into(), record(i64::try_from(n).unwrap()));
            assert_eq!(seq(records.get(("job", "0"))), Some(0), "{n}");
        }
        assert!(records.young.count <= RECORDS_KNOWN_MAX && records.old.count <= RECORDS_KNOWN_MAX);
        assert!(records.get(("job", "1")).is_none());
        records.forget(("job", "0"));
        assert!(records.get(("job", "0")).is_none());
    }
}
