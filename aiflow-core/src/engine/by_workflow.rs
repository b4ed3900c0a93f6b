//! Things kept per workflow, found by a hash of its key.
//!
//! An ordered map of texts follows a pointer for each comparison, which among 100,000 workflows costs more than everything else that an
//! event needs. Whole numbers lie together in memory. The order is that of the hashes: the same on every machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decision::WorkflowKey;

#[derive(Debug, Clone)]
pub(super) struct ByWorkflow<V>(BTreeMap<u64, Vec<(WorkflowKey, V)>>);

impl<V> Default for ByWorkflow<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> ByWorkflow<V> {
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.0.get(&hash(key))?.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: WorkflowKey, value: V) {
        let same = self.0.entry(hash(&key)).or_default();
        match same.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => same.push((key, value)),
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().flatten().map(|(_, value)| value)
    }
}

impl<V: Default> ByWorkflow<V> {
    /// Changes what is kept for `key`, which is forgotten if `is_empty` says so afterwards.
    pub(super) fn change<T>(
        &mut self,
        key: &WorkflowKey,
        change: impl FnOnce(&mut V) -> T,
        is_empty: impl FnOnce(&V) -> bool,
    ) -> T {
        let hash = hash(key);
        let same = self.0.entry(hash).or_default();
        let place = same.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            same.push((Arc::clone(key), V::default()));
            same.len() - 1
        });
        let value = &mut same[place].1;
        let changed = change(value);
        if is_empty(value) {
            same.swap_remove(place);
            if same.is_empty() {
                self.0.remove(&hash);
            }
        }
        changed
    }
}

/// FNV-1a. The same on every machine, unlike the standard library's.
pub(super) fn hash(key: &str) -> u64 {
    key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_forgotten() {
        let (a, b): (WorkflowKey, WorkflowKey) = ("p/a".into(), "p/b".into());
        let mut numbers: ByWorkflow<Vec<u8>> = ByWorkflow::default();
        for key in [&a, &b, &a] {
            numbers.change(key, |numbers| numbers.push(1), Vec::is_empty);
        }
        assert_eq!(numbers.get("p/a"), Some(&vec![1, 1]));
        numbers.change(&a, Vec::clear, Vec::is_empty);
        assert_eq!((numbers.get("p/a"), numbers.values().count()), (None, 1));
        numbers.insert(b, Vec::new());
        assert_eq!(numbers.get("p/b"), Some(&Vec::new()));
    }
}
