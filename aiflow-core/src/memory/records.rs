//! Records in memory: which ones match, in the order in which they were first put?
//!
//! Each record has a sequence number from its first put. Every field by which records are found has a posting list of sequence numbers
//! per value, so a query walks the shortest list that holds all its answers and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::store::{Query, Record, RecordKey, RecordPut, RecordStamp};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Records {
    sequence: u64,
    by_key: BTreeMap<RecordKey, u64>,
    by_sequence: BTreeMap<u64, Arc<Record>>,
    postings: BTreeMap<Posting, BTreeSet<u64>>,
}

/// All records of one kind that have one value in one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    kind: String,
    field: Field,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    /// Every record of the kind; the value is empty.
    Kind,
    Project,
    Parent,
    Name,
    State,
}

impl Posting {
    fn new(kind: &str, field: Field, value: &str) -> Self {
        Self { kind: kind.to_owned(), field, value: value.to_owned() }
    }

    fn of(record: &Record) -> [Self; 5] {
        let kind = &record.key.kind;
        [
            Self::new(kind, Field::Kind, ""),
            Self::new(kind, Field::Project, &record.project),
            Self::new(kind, Field::Parent, &record.parent),
            Self::new(kind, Field::Name, &record.name),
            Self::new(kind, Field::State, &record.state),
        ]
    }
}

impl Records {
    pub(super) fn get(&self, key: &RecordKey) -> Option<Arc<Record>> {
        let sequence = self.by_key.get(key)?;
        self.by_sequence.get(sequence).map(Arc::clone)
    }

    pub(super) fn put(&mut self, put: RecordPut, at: Timestamp) {
        let (sequence, stamp) = match self.take(&put.key) {
            Some((sequence, old)) => {
                let revision = old.revision.saturating_add(1);
                (sequence, RecordStamp { revision, created: old.created, updated: at })
            }
            None => {
                self.sequence = self.sequence.saturating_add(1);
                let first = RecordStamp { revision: 1, created: at, updated: at };
                (self.sequence, put.stamp.unwrap_or(first))
            }
        };
        let record = Record {
            key: put.key,
            project: put.project,
            parent: put.parent,
            name: put.name,
            state: put.state,
            number: put.number,
            body: put.body,
            revision: stamp.revision,
            created: stamp.created,
            updated: stamp.updated,
        };
        for posting in Posting::of(&record) {
            self.postings.entry(posting).or_default().insert(sequence);
        }
        self.by_key.insert(record.key.clone(), sequence);
        self.by_sequence.insert(sequence, Arc::new(record));
    }

    pub(super) fn delete(&mut self, key: &RecordKey) {
        self.take(key);
    }

    fn take(&mut self, key: &RecordKey) -> Option<(u64, Arc<Record>)> {
        let sequence = self.by_key.remove(key)?;
        let record = self.by_sequence.remove(&sequence)?;
        for posting in Posting::of(&record) {
            if let Some(sequences) = self.postings.get_mut(&posting) {
                sequences.remove(&sequence);
                if sequences.is_empty() {
                    self.postings.remove(&posting);
                }
            }
        }
        Some((sequence, record))
    }

    /// At most `rows` matching records after `after` in the query's direction, with their sequence numbers.
    pub(super) fn find(&self, query: &Query, after: Option<u64>, rows: usize) -> Vec<(u64, Arc<Record>)> {
        let lists = self.shortest(query);
        let mut found = Vec::new();
        for list in &lists {
            let matching = |sequence: &u64| {
                let record = self.by_sequence.get(sequence)?;
                matches(query, record).then(|| (*sequence, Arc::clone(record)))
            };
            if query.descending {
                let end = after.map_or(Bound::Unbounded, Bound::Excluded);
                let sequences = list.range((Bound::Unbounded, end)).rev();
                found.extend(sequences.filter_map(matching).take(rows));
            } else {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                let sequences = list.range((start, Bound::Unbounded));
                found.extend(sequences.filter_map(matching).take(rows));
            }
        }
        if lists.len() > 1 {
            found.sort_by_key(|(sequence, _)| *sequence);
            if query.descending {
                found.reverse();
            }
        }
        found.truncate(rows);
        found
    }

    /// The shortest set of disjoint posting lists that together hold every answer.
    fn shortest(&self, query: &Query) -> Vec<&BTreeSet<u64>> {
        let lists = |field, values: &[&str]| -> Vec<&BTreeSet<u64>> {
            let values: BTreeSet<&&str> = values.iter().collect();
            values.into_iter().filter_map(|value| self.postings.get(&Posting::new(&query.kind, field, value))).collect()
        };
        let mut candidates = vec![lists(Field::Kind, &[""])];
        for (field, value) in [(Field::Project, &query.project), (Field::Name, &query.name)] {
            if let Some(value) = value {
                candidates.push(lists(field, &[value]));
            }
        }
        for (field, values) in [(Field::Parent, &query.parents), (Field::State, &query.states)] {
            if !values.is_empty() {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                candidates.push(lists(field, &values));
            }
        }
        candidates
            .into_iter()
            .min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>())
            .unwrap_or_default()
    }
}

fn matches(query: &Query, record: &Record) -> bool {
    let is = |wanted: &Option<String>, value: &String| wanted.as_ref().is_none_or(|w| w == value);
    is(&query.project, &record.project)
        && (query.parents.is_empty() || query.parents.contains(&record.parent))
        && is(&query.name, &record.name)
        && (query.states.is_empty() || query.states.contains(&record.state))
}
