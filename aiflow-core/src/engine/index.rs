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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::on;

    const RULES: usize = 100_000;

    fn rule(place: usize) -> RuleRef {
        RuleRef {
            workflow: "p/wf".into(),
            version: None,
            place,
        }
    }

    fn filled() -> RuleIndex {
        let mut index = RuleIndex::default();
        for place in 0..RULES {
            index.insert(&rule(place), 0, &on(format!("key-{place}").as_str()));
        }
        index
    }

    #[test]
    fn one_event_among_100_000_rules_concerns_the_one_it_hits() {
        let index = filled();
        let found = index.candidates(&NewEvent::identified("x", "p", "key-4711"));
        assert_eq!(found, [(rule(4711), 0)]);
        let none = index.candidates(&NewEvent::identified("x", "p", "key-"));
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn each_kind_of_pattern_is_found_and_removed() {
        let patterns = [
            on("model.wine"),
            on("model.*"),
            on("mod*"),
            on("*").event_type("DEPLOYED"),
            on("*"),
            on("other.*"),
            on("*").event_type("OTHER"),
        ];
        let mut index = filled();
        for (place, pattern) in patterns.iter().enumerate() {
            index.insert(&rule(place), 1, pattern);
        }
        let event = NewEvent::identified("x", "p", "model.wine").event_type("DEPLOYED");
        let places = |index: &RuleIndex| -> Vec<usize> {
            let found = index.candidates(&event);
            found.iter().map(|(rule, _)| rule.place).collect()
        };
        assert_eq!(places(&index), [0, 1, 2, 3, 4]);
        for (place, pattern) in patterns.iter().enumerate() {
            index.remove(&rule(place), 1, pattern);
        }
        assert!(places(&index).is_empty());
        assert!(index.by_key_prefix.is_empty() && index.by_type.is_empty() && index.any.is_empty());
    }

    #[test]
    fn a_prefix_that_ends_within_a_character_of_the_key_is_no_hit() {
        let mut index = RuleIndex::default();
        index.insert(&rule(0), 0, &on("a*"));
        index.insert(&rule(1), 0, &on("ab*"));
        let found = index.candidates(&NewEvent::identified("x", "p", "a\u{e4}"));
        assert_eq!(found, [(rule(0), 0)]);
    }
}
