//! Relations in memory: which edges start here, end there, or are of this kind, in the order in which they were added?

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::store::{RecordKey, Relation, RelationQuery};

#[derive(Debug, Default)]
pub(super) struct Relations {
    sequence: u64,
    known: BTreeMap<Relation, u64>,
    by_sequence: BTreeMap<u64, Relation>,
    by_kind: BTreeMap<String, BTreeSet<u64>>,
    by_from: BTreeMap<RecordKey, BTreeSet<u64>>,
    by_to: BTreeMap<RecordKey, BTreeSet<u64>>,
}

impl Relations {
    pub(super) fn add(&mut self, relation: Relation) {
        if self.known.contains_key(&relation) {
            return;
        }
        self.sequence = self.sequence.saturating_add(1);
        let sequence = self.sequence;
        insert(&mut self.by_kind, &relation.kind, sequence);
        insert(&mut self.by_from, &relation.from, sequence);
        insert(&mut self.by_to, &relation.to, sequence);
        self.known.insert(relation.clone(), sequence);
        self.by_sequence.insert(sequence, relation);
    }

    pub(super) fn remove(&mut self, relation: &Relation) {
        let Some(sequence) = self.known.remove(relation) else {
            return;
        };
        self.by_sequence.remove(&sequence);
        remove(&mut self.by_kind, &relation.kind, sequence);
        remove(&mut self.by_from, &relation.from, sequence);
        remove(&mut self.by_to, &relation.to, sequence);
    }

    /// At most `rows` matching relations after `after`, with their sequence numbers.
    pub(super) fn find(&self, query: &RelationQuery, after: Option<u64>, rows: usize) -> Vec<(u64, Relation)> {
        let start = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let of_any = |lists: &BTreeMap<RecordKey, BTreeSet<u64>>, keys: &[RecordKey]| {
            let found = keys.iter().filter_map(|key| lists.get(key)).flatten().copied();
            (!keys.is_empty()).then(|| found.collect::<BTreeSet<u64>>())
        };
        let of_kind = || query.kind.as_ref().map(|kind| self.by_kind.get(kind).cloned().unwrap_or_default());
        let lists = [of_any(&self.by_from, &query.from), of_any(&self.by_to, &query.to)];
        let shortest = lists.into_iter().flatten().min_by_key(BTreeSet::len).or_else(of_kind);
        let matching = |sequence: &u64| {
            let relation = self.by_sequence.get(sequence)?;
            matches(query, relation).then(|| (*sequence, relation.clone()))
        };
        match shortest {
            Some(list) => list.range(start).filter_map(matching).take(rows).collect(),
            None => self
                .by_sequence
                .range(start)
                .take(rows)
                .map(|(sequence, relation)| (*sequence, relation.clone()))
                .collect(),
        }
    }
}

fn matches(query: &RelationQuery, relation: &Relation) -> bool {
    query.kind.as_ref().is_none_or(|kind| *kind == relation.kind)
        && (query.from.is_empty() || query.from.contains(&relation.from))
        && (query.to.is_empty() || query.to.contains(&relation.to))
}

fn insert<K: Ord + Clone>(lists: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, sequence: u64) {
    lists.entry(key.clone()).or_default().insert(sequence);
}

fn remove<K: Ord>(lists: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, sequence: u64) {
    if let Some(list) = lists.get_mut(key) {
        list.remove(&sequence);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
