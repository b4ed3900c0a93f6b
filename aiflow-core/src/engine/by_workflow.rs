//! Things kept per workflow, found by its key.
//!
//! An ordered map of texts follows a pointer for each comparison, which among 100,000 workflows costs more than everything else that an
//! event needs. This one has a hash table beside its entries.

use std::sync::Arc;

use fnv::FnvBuildHasher;
use indexmap::IndexMap;

use super::decision::WorkflowKey;

/// A map found by text. Its order depends on what was removed, so nothing may depend on its order.
pub(super) type ByText<V> = IndexMap<Arc<str>, V, FnvBuildHasher>;

#[derive(Debug, Clone)]
pub(super) struct ByWorkflow<V>(ByText<V>);

impl<V> Default for ByWorkflow<V> {
    fn default() -> Self {
        Self(ByText::default())
    }
}

impl<V> ByWorkflow<V> {
    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.0.get(key)
    }

    /// The text that is kept for a key: whoever keeps it too has one fewer place to look at.
    pub(super) fn shared_key(&self, key: &WorkflowKey) -> WorkflowKey {
        Arc::clone(self.0.get_key_value(key).map_or(key, |(shared, _)| shared))
    }

    pub(super) fn insert(&mut self, key: WorkflowKey, value: V) {
        self.0.insert(key, value);
    }

    /// What is kept, in the order of the keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        sorted.into_iter().map(|(_, value)| value)
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
        let entry = self.0.entry(Arc::clone(key));
        let place = entry.index();
        let value = entry.or_default();
        let changed = change(value);
        if is_empty(value) {
            self.0.swap_remove_index(place);
        }
        changed
    }
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

    #[test]
    fn the_order_is_that_of_the_keys_whatever_was_removed() {
        let mut numbers: ByWorkflow<Vec<u8>> = ByWorkflow::default();
        for (number, key) in ["p/c", "p/a", "p/d", "p/b"].into_iter().enumerate() {
            numbers.insert(key.into(), vec![u8::try_from(number).unwrap()]);
        }
        numbers.change(&"p/c".into(), Vec::clear, Vec::is_empty);
        assert_eq!(numbers.values().flatten().copied().collect::<Vec<u8>>(), [1, 3, 2]);
    }
}
