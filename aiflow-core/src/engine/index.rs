//! The rule index: which operands of which rules could an event concern?
//!
//! The cost of a lookup grows with the rules that are hit, not with the rules that are held: operands are found by key (exact, then each
//! prefix length in use), those for any key by event type.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::by_workflow::ByText;
use super::decision::WorkflowKey;
use super::rules::CompiledRule;
use crate::event::{Match, NewEvent};
use crate::workflow::EventPattern;

/// Names a rule: workflow, version (`None` for workflow rules, which are those of the latest), and place in definition order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleRef {
    pub(super) workflow: WorkflowKey,
    pub(super) version: Option<u32>,
    pub(super) place: usize,
}

/// An operand, named by its rule and its place among the rule's operands.
type Place = (RuleRef, usize);

/// Operands of rules. Among many rules nearly every key has one, which stands in the table itself: a map takes ten times the memory, and has to
/// be fetched before it is looked at.
#[derive(Debug, Clone, Default)]
enum Operands {
    #[default]
    None,
    One(Place, Arc<CompiledRule>),
    Many(BTreeMap<Place, Arc<CompiledRule>>),
}

impl Operands {
    fn insert(&mut self, place: Place, rule: Arc<CompiledRule>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(place, rule),
            Self::One(other, of_other) => Self::Many(BTreeMap::from([(other, of_other), (place, rule)])),
            Self::Many(mut operands) => {
                operands.insert(place, rule);
                Self::Many(operands)
            }
        };
    }

    fn remove(&mut self, place: &Place) {
        match self {
            Self::One(one, _) if one == place => *self = Self::None,
            Self::Many(operands) => {
                operands.remove(place);
                if operands.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(..) => {}
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    fn iter(&self) -> impl Iterator<Item = Candidate<'_>> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(place, rule) => (Some((place, rule)), None),
            Self::Many(operands) => (None, Some(operands)),
        };
        let all = one.into_iter().chain(many.into_iter().flatten());
        all.map(|((rule_ref, operand), rule)| Candidate { rule_ref, operand: *operand, rule })
    }
}

/// An operand that an event could concern.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) rule_ref: &'a RuleRef,
    pub(super) operand: usize,
    pub(super) rule: &'a Arc<CompiledRule>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct RuleIndex {
    by_key: ByText<Operands>,
    /// By length of the prefix, then by the prefix.
    by_key_prefix: BTreeMap<usize, ByText<Operands>>,
    by_type: ByText<Operands>,
    any: Operands,
}

impl RuleIndex {
    pub(super) fn insert(&mut self, rule_ref: &RuleRef, rule: &Arc<CompiledRule>) {
        for (operand, pattern) in rule.operands.iter().enumerate() {
            self.operands_of(pattern).insert((rule_ref.clone(), operand), Arc::clone(rule));
        }
    }

    fn operands_of(&mut self, pattern: &EventPattern) -> &mut Operands {
        match (&pattern.key, &pattern.event_type) {
            (Match::Exact(key), _) => self.by_key.entry(key.as_str().into()).or_default(),
            (Match::Prefix(prefix), _) => {
                self.by_key_prefix.entry(prefix.len()).or_default().entry(prefix.as_str().into()).or_default()
            }
            (Match::Any, Match::Exact(event_type)) => self.by_type.entry(event_type.as_str().into()).or_default(),
            (Match::Any, _) => &mut self.any,
        }
    }

    pub(super) fn remove(&mut self, rule_ref: &RuleRef, rule: &Arc<CompiledRule>) {
        for (operand, pattern) in rule.operands.iter().enumerate() {
            let place = (rule_ref.clone(), operand);
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
                (Match::Any, Match::Exact(event_type)) => remove_from(&mut self.by_type, event_type, &place),
                (Match::Any, _) => {
                    self.any.remove(&place);
                }
            }
        }
    }

    /// The operands that `event` could concern, in definition order within each workflow, so that those of a rule are neighbours. A superset: not
    /// all fields are compared.
    pub(super) fn candidates(&self, event: &NewEvent) -> Vec<Candidate<'_>> {
        let exact = self.by_key.get(event.key.as_str());
        let prefixes =
            self.by_key_prefix.iter().filter_map(|(length, prefixes)| prefixes.get(event.key.get(..*length)?));
        let by_type = self.by_type.get(event.event_type.as_str());
        let found = exact.into_iter().chain(prefixes).chain(by_type).chain([&self.any]);
        let concerned = |candidate: &Candidate<'_>| !candidate.rule.ignores(candidate.operand, event);
        let mut found: Vec<Candidate<'_>> = found.flat_map(Operands::iter).filter(concerned).collect();
        found.sort_unstable_by_key(|candidate| (candidate.rule_ref, candidate.operand));
        found
    }
}

fn remove_from(map: &mut ByText<Operands>, text: &str, place: &(RuleRef, usize)) {
    if let Some(operands) = map.get_mut(text) {
        operands.remove(place);
        if operands.is_empty() {
            map.swap_remove(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WorkflowName;
    use crate::workflow::{on, start_workflow};

    const RULES: usize = 100_000;

    fn place(place: usize) -> RuleRef {
        RuleRef { workflow: "p/wf".into(), version: None, place }
    }

    fn rule(pattern: EventPattern) -> Arc<CompiledRule> {
        let workflow = WorkflowName::parse("wf").unwrap();
        Arc::new(CompiledRule::of_workflow(&workflow, &start_workflow(pattern)))
    }

    fn places(index: &RuleIndex, event: &NewEvent) -> Vec<usize> {
        index.candidates(event).iter().map(|candidate| candidate.rule_ref.place).collect()
    }

    #[test]
    fn an_event_with_another_value_concerns_only_what_it_can_contradict() {
        let patterns = [on("k").equals("a"), on("k").equals("a").repeated(), on("k").equals("b"), on("k")];
        let mut index = RuleIndex::default();
        for (n, pattern) in patterns.into_iter().enumerate() {
            index.insert(&place(n), &rule(pattern));
        }
        let places = |value: &str| places(&index, &NewEvent::identified("x", "p", "k").value(value));
        assert_eq!(places("a"), [0, 1, 3]);
        assert_eq!(places("b"), [1, 2, 3]);
        assert_eq!(places("c"), [1, 3]);
    }

    fn filled() -> RuleIndex {
        let mut index = RuleIndex::default();
        for n in 0..RULES {
            index.insert(&place(n), &rule(on(format!("key-{n}").as_str())));
        }
        index
    }

    #[test]
    fn one_event_among_100_000_rules_concerns_the_one_it_hits() {
        let index = filled();
        assert_eq!(places(&index, &NewEvent::identified("x", "p", "key-4711")), [4711]);
        assert!(places(&index, &NewEvent::identified("x", "p", "key-")).is_empty());
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
        let rules: Vec<_> = patterns.into_iter().map(rule).collect();
        let mut index = RuleIndex::default();
        for (n, rule) in rules.iter().enumerate() {
            index.insert(&place(n), rule);
        }
        let event = NewEvent::identified("x", "p", "model.wine").event_type("DEPLOYED");
        assert_eq!(places(&index, &event), [0, 1, 2, 3, 4]);
        for (n, rule) in rules.iter().enumerate() {
            index.remove(&place(n), rule);
        }
        assert!(places(&index, &event).is_empty());
        assert!(index.by_key.is_empty() && index.by_key_prefix.is_empty());
        assert!(index.by_type.is_empty() && index.any.is_empty());
    }

    #[test]
    fn a_prefix_that_ends_within_a_character_of_the_key_is_no_hit() {
        let mut index = RuleIndex::default();
        index.insert(&place(0), &rule(on("a*")));
        index.insert(&place(1), &rule(on("ab*")));
        assert_eq!(places(&index, &NewEvent::identified("x", "p", "a\u{e4}")), [0]);
    }
}
