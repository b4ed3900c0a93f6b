//! Taking an event or a moment in, and firing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::choose::{Bounds, Choice, Missing, Present, View};
use super::prepare::{Hit, subject};
use super::{CompiledRule, Leaf, OPERAND_PENDING_MAX, RULE_KEYS_MAX, Role, Verdict};
use crate::event::Event;
use crate::execution::{CustomState, JobStatus, KeyState, OperandState, RuleState, Seen};
use crate::id::{JobName, Offset};
use crate::time::Timestamp;
use crate::timer::Alarm;
use crate::workflow::{CompiledWindow, Life, StartPosition};

/// What an event, or a moment, did to a rule.
#[derive(Debug, Default)]
pub(in crate::engine) struct Evaluation {
    /// The firings, in order.
    pub(in crate::engine) firings: Vec<Fired>,
    /// Events of `latest` operands that gave way to a newer one.
    pub(in crate::engine) replaced: BTreeSet<Offset>,
    /// Events that left their window, or can no longer come in order.
    pub(in crate::engine) expired: BTreeSet<Offset>,
    /// What had no room for the event.
    pub(in crate::engine) full: Option<Full>,
    /// A firing found a parameter in none of its events, and no such event was recorded yet.
    pub(in crate::engine) is_missing: bool,
}

/// One firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Fired {
    /// The events it used, oldest first.
    pub(in crate::engine) used: Vec<Offset>,
    /// The key of `for_each`.
    pub(in crate::engine) key: Option<String>,
    /// The parameters that it takes from them, an object; null if the rule takes none.
    pub(in crate::engine) params: Value,
}

/// What has no room for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Full {
    Operand,
    Keys,
}

/// What makes a rule look at its state.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Event(&'a Hit),
    Timer,
}

impl CompiledRule {
    /// Takes in what `event` brings, because of the event `decided`: the same, unless the rule is shown the past.
    pub(in crate::engine) fn evaluate(
        &self,
        state: &mut RuleState,
        hit: &Hit,
        event: &Event,
        decided: Offset,
        statuses: &BTreeMap<JobName, JobStatus>,
    ) -> Evaluation {
        let present = Present { newest: event.offset, decided, now: event.recorded, statuses };
        let mut evaluation = Evaluation::default();
        state.missing_noted |= hit.is_missing;
        let Some(key) = &hit.key else {
            if self.key.is_none() {
                self.advance(&mut state.whole, None, Step::Event(hit), present, event, &mut evaluation);
            }
            note_missing(state, &mut evaluation);
            return evaluation;
        };
        let is_known = state.keys.contains_key(key);
        if !is_known && !hit.leaves.iter().any(|(_, holds)| *holds) {
            return evaluation;
        }
        if !is_known && state.keys.len() >= RULE_KEYS_MAX {
            evaluation.full = Some(Full::Keys);
            return evaluation;
        }
        self.advance_key(state, key, Step::Event(hit), present, event, &mut evaluation);
        note_missing(state, &mut evaluation);
        evaluation
    }

    /// A moment that the rule [waits for](RuleState::waits_for) has come; what was due before is done with it.
    pub(in crate::engine) fn on_alarm(
        &self,
        state: &mut RuleState,
        alarm: Alarm,
        event: &Event,
        statuses: &BTreeMap<JobName, JobStatus>,
    ) -> Evaluation {
        // Clocks of different hosts differ: the moment has come because a scheduler said so.
        let (newest, now) = (event.offset, event.recorded.max(alarm.due));
        let present = Present { newest, decided: newest, now, statuses };
        let mut evaluation = Evaluation::default();
        if state.whole.alarm.is_some_and(|waiting| waiting.due <= alarm.due) {
            self.advance(&mut state.whole, None, Step::Timer, present, event, &mut evaluation);
        }
        let due: Vec<String> = state
            .alarms
            .iter()
            .take_while(|(waiting, _)| waiting.due <= alarm.due)
            .map(|(_, key)| key.clone())
            .collect();
        for key in due {
            self.advance_key(state, &key, Step::Timer, present, event, &mut evaluation);
        }
        note_missing(state, &mut evaluation);
        evaluation
    }

    /// The rule begins with `event`: absences that need no opening begin to wait.
    pub(in crate::engine) fn begin(&self, event: &Event) -> RuleState {
        let mut state = RuleState::default();
        if self.waits_at_once && self.key.is_none() {
            self.begin_waiting(&mut state.whole, event.offset, event.offset, event.recorded);
        }
        state
    }

    /// Whether the rule has something to do before the first event.
    pub(in crate::engine) fn waits_at_once(&self) -> bool {
        self.waits_at_once && self.key.is_none()
    }

    /// Whether it begins with the next event and waits for nothing before: it keeps no state yet.
    pub(in crate::engine) fn begins_plainly(&self) -> bool {
        self.from == StartPosition::Now && !self.waits_at_once()
    }

    fn advance_key(
        &self,
        state: &mut RuleState,
        key: &str,
        step: Step<'_>,
        present: Present<'_>,
        event: &Event,
        evaluation: &mut Evaluation,
    ) {
        let is_new = !state.keys.contains_key(key);
        let key_state = Arc::make_mut(state.keys.entry(key.to_owned()).or_default());
        let before = key_state.alarm;
        if is_new && self.waits_at_once {
            self.begin_waiting(key_state, present.newest, present.decided, present.now);
        }
        self.advance(key_state, Some(key), step, present, event, evaluation);
        let after = key_state.alarm;
        if key_state.is_empty() {
            state.keys.remove(key);
        }
        if before != after {
            state.alarms.extend(after.map(|alarm| (alarm, key.to_owned())));
            if let Some(before) = before {
                state.alarms.remove(&(before, key.to_owned()));
            }
        }
    }

    fn begin_waiting(&self, state: &mut KeyState, offset: Offset, decided: Offset, now: Timestamp) {
        state.operands.resize_with(self.tree.slots.end, OperandState::default);
        self.tree.begin_waiting(&mut state.operands, offset, now);
        self.set_alarm(state, decided, now);
    }

    fn advance(
        &self,
        state: &mut KeyState,
        key: Option<&str>,
        step: Step<'_>,
        present: Present<'_>,
        event: &Event,
        evaluation: &mut Evaluation,
    ) {
        state.operands.resize_with(self.tree.slots.end, OperandState::default);
        // What was due before this event holds, even if its timer comes late.
        let has_held = self.needs_upkeep && self.tree.expire(&mut state.operands, present);
        let has_waited = !self.waits.is_empty() && state.alarm.is_some_and(|alarm| alarm.due <= present.now);
        let is_due = has_held || has_waited;
        let is_news = match step {
            Step::Timer => true,
            Step::Event(hit) => {
                if is_due {
                    self.fire(state, key, present, evaluation);
                }
                if !hit.params.is_empty() {
                    state.values.insert(event.offset, hit.params.clone());
                }
                self.take(state, hit, event, evaluation)
            }
        };
        if self.needs_upkeep {
            self.tree.prune(&mut state.operands, present, &mut evaluation.expired);
            self.tree.settle_absences(&mut state.operands, present);
        }
        if is_news {
            self.fire(state, key, present, evaluation);
        }
        if self.needs_upkeep {
            self.tree.prune(&mut state.operands, present, &mut evaluation.expired);
            self.tree.tidy(&mut state.operands);
        }
        state.forget_values();
        if state.met_since.is_some() && !self.is_rest_met(state, present) {
            state.met_since = None;
        }
        self.set_alarm(state, present.decided, present.now);
        if state.is_empty() {
            *state = KeyState::default();
        }
    }

    /// Takes the event in at every leaf that it reached; true if one of them may make the rule fire.
    fn take(&self, state: &mut KeyState, hit: &Hit, event: &Event, evaluation: &mut Evaluation) -> bool {
        let time = event.time.map_or(event.recorded, |time| time.min(event.recorded));
        let mut is_news = false;
        for (place, holds) in &hit.leaves {
            let Some(leaf) = self.leaves.get(*place) else {
                continue;
            };
            is_news |= match leaf.role {
                Role::Guard if *holds => {
                    look_at(&mut state.operands, leaf.slot, time);
                    false
                }
                Role::Operand(life) => take_operand(state, leaf, life, *holds, event, time, evaluation),
                Role::Guard | Role::Custom(_) => false,
            };
        }
        for (number, verdict, new_state) in &hit.verdicts {
            let Some(custom) = self.customs.get(*number) else {
                continue;
            };
            let Some(seen) = admit(&mut state.operands, &custom.windows, event.offset, time, evaluation) else {
                continue;
            };
            let Some(slot) = state.operands.get_mut(custom.slot) else {
                continue;
            };
            if !matches!(slot, OperandState::Custom(_)) {
                *slot = OperandState::Custom(Box::default());
            }
            let OperandState::Custom(kept) = slot else { continue };
            is_news |= take_verdict(kept, *verdict, new_state.clone(), seen, evaluation);
        }
        is_news
    }

    /// Fires as often as what waits allows.
    fn fire(&self, state: &mut KeyState, key: Option<&str>, present: Present<'_>, evaluation: &mut Evaluation) {
        let mut is_first = true;
        while let Some((Choice { used, used_up }, has_waited)) = self.choose(state, present) {
            // What stood already has fired when it came; without anything new or anything used up it would fire again without end.
            let is_new = is_first && (has_waited || used.contains(&present.newest));
            let goes_on = !used_up.is_empty();
            if is_new || goes_on {
                let params = self.params_of(state, &used, evaluation);
                evaluation.firings.push(Fired { used, key: key.map(str::to_owned), params });
            }
            if !goes_on {
                return;
            }
            self.consume(state, &used_up);
            state.values.retain(|offset, _| {
                used_up.binary_search(offset).is_err() || state.operands.iter().any(|operand| operand.stands(*offset))
            });
            is_first = false;
        }
    }

    /// What a firing takes from its events: each parameter from the newest that has it.
    fn params_of(&self, state: &KeyState, used: &[Offset], evaluation: &mut Evaluation) -> Value {
        if self.params.is_empty() {
            return Value::Null;
        }
        let newest_first = || used.iter().rev().filter_map(|offset| state.values.get(offset));
        let found = |name: &String| newest_first().find_map(|values| values.get(name)).cloned();
        let params: Map<String, Value> =
            self.params.keys().filter_map(|name| Some((name.clone(), found(name)?))).collect();
        evaluation.is_missing |= params.len() < self.params.len();
        Value::Object(params)
    }

    /// What a firing would use now, and whether it has waited in vain for an optional operand.
    fn choose(&self, state: &mut KeyState, present: Present<'_>) -> Option<(Choice, bool)> {
        let choose = |state: &KeyState, missing| {
            let view = View { operands: &state.operands, present, missing, without_guards: false };
            self.tree.choose(&view, Bounds::none())
        };
        if let Some(choice) = choose(state, Missing::Never) {
            state.met_since = None;
            return Some((choice, false));
        }
        if self.waits.is_empty() || !self.is_rest_met(state, present) {
            return None;
        }
        let since = *state.met_since.get_or_insert(present.now);
        let choice = choose(state, Missing::Since(since))?;
        state.met_since = None;
        Some((choice, true))
    }

    /// Whether all but optional operands are met. Guards have a say when the rule fires, not in how long it waits.
    fn is_rest_met(&self, state: &KeyState, present: Present<'_>) -> bool {
        let view = View { operands: &state.operands, present, missing: Missing::Always, without_guards: true };
        self.tree.choose(&view, Bounds::none()).is_some()
    }

    /// Removes events from every operand that firings use up, so that an event serves one firing of the rule.
    fn consume(&self, state: &mut KeyState, used_up: &[Offset]) {
        for slot in &self.consumable {
            match state.operands.get_mut(*slot) {
                Some(OperandState::Pending(pending)) => used_up.iter().for_each(|offset| remove(pending, *offset)),
                Some(OperandState::Absence(absence)) => {
                    if absence.held.is_some_and(|held| used_up.contains(&held.offset)) {
                        (absence.held, absence.held_after) = (None, Vec::new());
                    }
                }
                Some(OperandState::Custom(custom)) => {
                    custom.met.retain(|met| met.last().is_none_or(|last| !used_up.contains(&last.offset)));
                }
                Some(OperandState::Empty | OperandState::Standing(_) | OperandState::Newest(_)) | None => {}
            }
        }
    }

    fn set_alarm(&self, state: &mut KeyState, set_by: Offset, now: Timestamp) {
        let absences = state.operands.iter().filter_map(|operand| match operand {
            OperandState::Absence(absence) => absence.due,
            _ => None,
        });
        let waits = state.met_since.into_iter().flat_map(|since| self.waits.iter().map(move |wait| wait.end(since)));
        let due = absences.chain(waits.filter(|due| *due > now)).min();
        if state.alarm.map(|alarm| alarm.due) != due {
            state.alarm = due.map(|due| Alarm { due, set_by });
        }
    }
}

/// That a parameter is in none of the events of a firing is told once.
fn note_missing(state: &mut RuleState, evaluation: &mut Evaluation) {
    if evaluation.is_missing {
        evaluation.is_missing = !state.missing_noted;
        state.missing_noted = true;
    }
}

/// Lets the windows around an operand see when an event happened. `None` if that is before they begin.
pub(super) fn admit(
    operands: &mut [OperandState],
    windows: &[(usize, CompiledWindow)],
    offset: Offset,
    time: Timestamp,
    evaluation: &mut Evaluation,
) -> Option<Seen> {
    if windows.is_empty() {
        return Some(Seen { offset, time: None });
    }
    for (slot, window) in windows {
        let newest = look_at(operands, *slot, time);
        if time < window.begin(newest) {
            evaluation.expired.insert(offset);
            return None;
        }
    }
    Some(Seen { offset, time: Some(time) })
}

/// Notes when an event happened; returns when the newest one did.
pub(super) fn look_at(operands: &mut [OperandState], slot: usize, time: Timestamp) -> Timestamp {
    let Some(operand) = operands.get_mut(slot) else {
        return time;
    };
    let newest = match operand {
        OperandState::Newest(newest) => time.max(*newest),
        _ => time,
    };
    *operand = OperandState::Newest(newest);
    newest
}

fn take_operand(
    state: &mut KeyState,
    leaf: &Leaf,
    life: Life,
    holds: bool,
    event: &Event,
    time: Timestamp,
    evaluation: &mut Evaluation,
) -> bool {
    if !holds {
        if let (Life::Repeated, Some(OperandState::Standing(standing))) = (life, state.operands.get_mut(leaf.slot)) {
            standing.remove(&subject(event));
        }
        return false;
    }
    let Some(seen) = admit(&mut state.operands, &leaf.windows, event.offset, time, evaluation) else {
        return false;
    };
    let Some(slot) = state.operands.get_mut(leaf.slot) else {
        return false;
    };
    if life == Life::Repeated {
        if !matches!(slot, OperandState::Standing(_)) {
            *slot = OperandState::Standing(BTreeMap::new());
        }
        let OperandState::Standing(standing) = slot else { return false };
        let subject = subject(event);
        if standing.len() >= OPERAND_PENDING_MAX && !standing.contains_key(&subject) {
            evaluation.full = Some(Full::Operand);
            return false;
        }
        standing.insert(subject, seen);
        return true;
    }
    if !matches!(slot, OperandState::Pending(_)) {
        *slot = OperandState::Pending(VecDeque::new());
    }
    let OperandState::Pending(pending) = slot else { return false };
    if life == Life::Latest {
        evaluation.replaced.extend(pending.drain(..).map(|seen| seen.offset));
    } else if pending.len() >= OPERAND_PENDING_MAX {
        evaluation.full = Some(Full::Operand);
        return false;
    }
    pending.push_back(seen);
    true
}

fn take_verdict(
    kept: &mut CustomState,
    verdict: Verdict,
    state: serde_json::Value,
    seen: Seen,
    evaluation: &mut Evaluation,
) -> bool {
    if verdict != Verdict::Ignored && kept.counted.len().max(kept.met.len()) >= OPERAND_PENDING_MAX {
        evaluation.full = Some(Full::Operand);
        return false;
    }
    kept.state = state;
    if verdict != Verdict::Ignored {
        kept.counted.push(seen);
    }
    if verdict == Verdict::Met {
        kept.met.push_back(std::mem::take(&mut kept.counted));
    }
    verdict == Verdict::Met
}

/// Removes an event from a queue in order of offsets, nearly always from its front.
fn remove(pending: &mut VecDeque<Seen>, offset: Offset) {
    if pending.front().is_some_and(|first| first.offset == offset) {
        pending.pop_front();
    } else if let Ok(place) = pending.binary_search_by_key(&offset, |seen| seen.offset) {
        pending.remove(place);
    }
}
