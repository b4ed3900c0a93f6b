//! The rule index: which operands of which rules could an event concern?
//!
//! The cost of a lookup grows with the rules that are hit, not with the rules that are held: operands are found by key (exact, then each
//! prefix length in use), those for any key by event type.

use std::collections::{BTreeMap, BTreeSet};

use super::decision::WorkflowKey;
use crate::event::{Match, NewEvent};
use crate::workflow::EventPattern;

/// Names a rule: workflow, version (`None` for workflow rules, which are those of the latest), and place in definition order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleRef {
    pub(super) workflow: WorkflowKey,
    pub(super) version: Option<u32>,
    pub(super) place: usize,
}

type Operands = BTreeSet<(RuleRef, usize)>;

#[derive(Debug, Clone, Default)]
pub(super) struct RuleIndex {
    by_key: BTreeMap<String, Operands>,
    /// By length of the prefix, then by the prefix.
    by_key_prefix: BTreeMap<usize, BTreeMap<String, Operands>>,
    by_type: BTreeMap<String, Operands>,
    any: Operands,
}

impl RuleIndex {
    pub(super) fn insert(&mut self, rule: &RuleRef, operand: usize, pattern: &EventPattern) {
        let place = (rule.clone(), operand);
        match (&pattern.key, &pattern.event_type) {
            (Match::Exact(key), _) => self.by_key.entry(key.clone()).or_default().insert(place),
            (Match::Prefix(prefix), _) => self
                .by_key_prefix
                .entry(prefix.len())
                .or_default()
                .entry(prefix.clone())
                .or_default()
                .insert(place),
            (Match::Any, Match::Exact(event_type)) => self
                .by_type
                .entry(event_type.clone())
                .or_default()
                .insert(place),
            (Match::Any, _) => self.any.insert(place),
        };
    }

    pub(super) fn remove(&mut self, rule: &RuleRef, operand: usize, pattern: &EventPattern) {
        let place = (rule.clone(), operand);
        match (&pattern.key, &pattern.event_type) {
            (Match::Exact(key), _) => remove_from(&mut self.by_key, key, &place),
            (Match::Prefix(prefix), _) => {
                if let Some(prefixes) = self.by_key_prefix.get_mut(&prefix.len()) {
                    remove_from(prefixes, prefix, &place);
                    if prefixes.is_empty() {
                        self.by_key_prefix.remove(&prefix.len());
                    }
                }
            }
            (Match::Any, Match::Exact(event_type)) => {
                remove_from(&mut self.by_type, event_type, &place)
            }
            (Match::Any, _) => {
                self.any.remove(&place);
            }
        }
    }

    /// The operands that `event` could concern, in definition order within each workflow. A superset: the other fields are not compared.
    pub(super) fn candidates(&self, event: &NewEvent) -> Vec<(RuleRef, usize)> {
        let exact = self.by_key.get(&event.key);
        let prefixes = self
            .by_key_prefix
            .iter()
            .filter_map(|(length, prefixes)| prefixes.get(event.key.get(..*length)?));
        let by_type = self.by_type.get(&event.event_type);
        let mut found: Vec<(RuleRef, usize)> = exact
            .into_iter()
            .chain(prefixes)
            .chain(by_type)
            .chain([&self.any])
            .flatten()
            .cloned()
            .collect();
        found.sort_unstable();
        found
    }
}

fn remove_from(map: &mut BTreeMap<String, Operands>, key: &str, place: &(RuleRef, usize)) {
    if let Some(operands) = map.get_mut(key) {
        operands.remove(place);
        if operands.is_empty() {
            map.remove(key);
        }
    }
}
