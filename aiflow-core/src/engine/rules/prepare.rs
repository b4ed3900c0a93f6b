//! What is an event to a rule? Asked before anything changes, so that what cannot be evaluated changes nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CompiledRule, CustomConditions, Role, Verdict};
use crate::event::{Event, NewEvent};
use crate::execution::{KeyState, OperandState, RuleState};
use crate::workflow::{Life, Tested, take_params};

/// What an event is to a rule.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Prepared {
    /// Nothing.
    Nothing,
    /// It matches, but has not the key that the rule correlates by.
    NoKey,
    /// It cannot be evaluated, and why.
    Failed(String),
    /// Something to take in.
    Hit(Hit),
}

/// What an event brings to a rule.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Hit {
    /// The leaves that it reached, and whether it passed their value tests.
    pub(super) leaves: Vec<(usize, bool)>,
    /// The key of `for_each`.
    pub(super) key: Option<String>,
    /// What custom code of this number said, and its state after it.
    pub(super) verdicts: Vec<(usize, Verdict, Value)>,
    /// A field that a predicate looks at is not there, and no such event was recorded yet.
    pub(super) is_missing: bool,
    /// What a firing would take from the event.
    pub(super) params: BTreeMap<String, Value>,
}

impl Hit {
    /// The first event that the rule meets without a field that it looks at.
    pub(in crate::engine) fn is_missing(&self) -> bool {
        self.is_missing
    }
}

impl CompiledRule {
    /// What `event` is to the rule at the leaves `hits`, whose fields match.
    pub(in crate::engine) fn prepare(
        &self,
        before: Option<&RuleState>,
        hits: &[usize],
        event: &Event,
        customs: &CustomConditions,
    ) -> Prepared {
        let mut hit = Hit::default();
        for &place in hits {
            let Some(leaf) = self.leaves.get(place) else {
                continue;
            };
            match leaf.test.test(event) {
                Ok(Tested::Holds) => hit.leaves.push((place, true)),
                Ok(Tested::Fails) => hit.leaves.push((place, false)),
                Ok(Tested::Missing(_)) => {
                    hit.is_missing = true;
                    hit.leaves.push((place, false));
                }
                Err(reason) => return Prepared::Failed(reason),
            }
        }
        hit.is_missing &= before.is_none_or(|before| !before.missing_noted);
        let is_match = hit.leaves.iter().any(|(_, holds)| *holds);
        if let Some(key) = &self.key {
            hit.key = key.of(event);
            if hit.key.is_none() && is_match {
                return Prepared::NoKey;
            }
        }
        let key_state = before.and_then(|before| match &hit.key {
            Some(key) => before.keys.get(key).map(|state| &**state),
            None => Some(&before.whole),
        });
        if is_match && !self.params.is_empty() {
            match take_params(&self.params, event, event.offset, event.recorded) {
                Ok(params) => hit.params = params,
                Err(reason) => return Prepared::Failed(reason),
            }
        }
        match self.verdicts(&hit, key_state, event, customs) {
            Ok(verdicts) => hit.verdicts = verdicts,
            Err(reason) => return Prepared::Failed(reason),
        }
        if is_match || hit.is_missing || self.ends_a_standing_match(&hit, key_state, event) {
            Prepared::Hit(hit)
        } else {
            Prepared::Nothing
        }
    }

    /// Whether `event` is nothing to this operand however the rule stands and whatever its other fields are: it has not the value that the operand
    /// asks for, and cannot contradict what stands there. A first look that costs little: neither the state of the rule nor its owner is looked at.
    pub(in crate::engine) fn ignores(&self, operand: usize, event: &NewEvent) -> bool {
        self.leaves
            .get(operand)
            .is_some_and(|leaf| leaf.role != Role::Operand(Life::Repeated) && leaf.test.asks_for_another(&event.value))
    }

    /// Shows the event to the custom code that wants it, once however many patterns match.
    fn verdicts(
        &self,
        hit: &Hit,
        key_state: Option<&KeyState>,
        event: &Event,
        customs: &CustomConditions,
    ) -> Result<Vec<(usize, Verdict, Value)>, String> {
        let mut verdicts: Vec<(usize, Verdict, Value)> = Vec::new();
        for (place, _) in hit.leaves.iter().filter(|(_, holds)| *holds) {
            let Some(Role::Custom(number)) = self.leaves.get(*place).map(|leaf| leaf.role) else {
                continue;
            };
            let Some(custom) = self.customs.get(number).filter(|_| verdicts.iter().all(|(n, ..)| *n != number)) else {
                continue;
            };
            let state = match key_state.and_then(|state| state.operands.get(custom.slot)) {
                Some(OperandState::Custom(custom)) => custom.state.clone(),
                _ => Value::Null,
            };
            let (verdict, state) = customs.see(&custom.name, &custom.params, state, event)?;
            verdicts.push((number, verdict, state));
        }
        Ok(verdicts)
    }

    fn ends_a_standing_match(&self, hit: &Hit, key_state: Option<&KeyState>, event: &Event) -> bool {
        let failed = hit.leaves.iter().filter(|(_, holds)| !holds).filter_map(|(place, _)| self.leaves.get(*place));
        failed.filter(|leaf| leaf.role == Role::Operand(Life::Repeated)).any(|leaf| {
            match key_state.and_then(|state| state.operands.get(leaf.slot)) {
                Some(OperandState::Standing(standing)) => standing.contains_key(&subject(event)),
                _ => false,
            }
        })
    }

    /// Whether `event` passes the value test of one of the leaves `hits`, whose fields match.
    pub(in crate::engine) fn would_count(&self, hits: &[usize], event: &Event) -> bool {
        let mut leaves = hits.iter().filter_map(|place| self.leaves.get(*place));
        leaves.any(|leaf| leaf.test.test(event) == Ok(Tested::Holds))
    }

    /// Shows `event` to a rule that is paused: no match counts, but what the event contradicts stands no longer. True if it would have
    /// counted.
    pub(in crate::engine) fn pass_over(&self, state: &mut RuleState, hits: &[usize], event: &Event) -> bool {
        let key = self.key.as_ref().map(|key| key.of(event));
        let mut would_count = false;
        for &place in hits {
            let Some(leaf) = self.leaves.get(place) else {
                continue;
            };
            if leaf.test.test(event) == Ok(Tested::Holds) {
                would_count = true;
                continue;
            }
            let key_state = match &key {
                None => Some(&mut state.whole),
                Some(Some(key)) => state.keys.get_mut(key).map(std::sync::Arc::make_mut),
                Some(None) => None,
            };
            if let Some(OperandState::Standing(standing)) =
                key_state.and_then(|state| state.operands.get_mut(leaf.slot))
            {
                standing.remove(&subject(event));
            }
        }
        state.keys.retain(|_, state| !state.is_empty());
        would_count
    }
}

/// What a `repeated` operand tells apart: namespace, type, sender and key.
pub(super) fn subject(event: &Event) -> String {
    [&event.namespace, &event.event_type, &event.sender, &event.key].map(String::as_str).join("\u{1f}")
}
