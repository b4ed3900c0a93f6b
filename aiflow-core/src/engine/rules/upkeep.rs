//! What happens between events and firings: waits that are over, matches that end them, and events that can serve no firing any more.

use std::collections::BTreeSet;
use std::ops::Range;

use super::choose::{Bounds, Missing, Present, View};
use super::evaluate::look_at;
use super::{Absence, Node, Part};
use crate::execution::{AbsenceState, OperandState, Seen};
use crate::id::Offset;
use crate::time::Timestamp;

impl Part {
    fn children(&self) -> Vec<&Self> {
        match &self.node {
            Node::All(parts) | Node::AtLeast(_, parts) | Node::Sequence(parts) => parts.iter().collect(),
            Node::Count(_, of) | Node::Within { of, .. } | Node::Optional { of, .. } => vec![of],
            Node::Absence(absence) => std::iter::once(&absence.of).chain(&absence.after).collect(),
            Node::Operand(_) | Node::Guard { .. } | Node::JobIs { .. } | Node::Custom(_) => Vec::new(),
        }
    }

    /// Lets absences that need no opening begin to wait.
    pub(super) fn begin_waiting(&self, operands: &mut [OperandState], offset: Offset, now: Timestamp) {
        if let Node::Absence(absence) = &self.node
            && absence.after.is_none()
        {
            absence.wait(operands, vec![offset], now, None);
        }
        for child in self.children() {
            child.begin_waiting(operands, offset, now);
        }
    }

    /// Ends the waits that are over: the absences hold. True if there was one.
    pub(super) fn expire(&self, operands: &mut [OperandState], present: Present<'_>) -> bool {
        let mut any = false;
        for child in self.children() {
            any |= child.expire(operands, present);
        }
        let Node::Absence(absence) = &self.node else {
            return any;
        };
        let Some(OperandState::Absence(state)) = operands.get_mut(absence.slot) else {
            return any;
        };
        if state.due.is_none_or(|due| due > present.now) {
            return any;
        }
        state.due = None;
        state.held_after = std::mem::take(&mut state.opened);
        let is_in_window = !absence.windows.is_empty();
        state.held = Some(Seen { offset: present.newest, time: is_in_window.then_some(present.now) });
        absence.windows.iter().for_each(|(slot, _)| {
            look_at(operands, *slot, present.now);
        });
        clear(operands, &absence.of.slots);
        true
    }

    /// Matches end waits and openings begin them, innermost first.
    pub(super) fn settle_absences(&self, operands: &mut [OperandState], present: Present<'_>) {
        for child in self.children() {
            child.settle_absences(operands, present);
        }
        if let Node::Absence(absence) = &self.node {
            absence.settle(operands, present);
        }
    }

    /// Drops events that can serve no firing any more: those that left their window, and those that cannot come in order. An event that
    /// comes out of order itself does not count; the others are noted in `expired`.
    pub(super) fn prune(&self, operands: &mut [OperandState], present: Present<'_>, expired: &mut BTreeSet<Offset>) {
        for child in self.children() {
            child.prune(operands, present, expired);
        }
        match &self.node {
            Node::Within { slot, window, of } => {
                if let Some(OperandState::Newest(newest)) = operands.get(*slot) {
                    let begin = window.begin(*newest);
                    let is_before = |seen: &Seen| seen.time.is_some_and(|time| time < begin);
                    of.forget(operands, &is_before, &mut |offset| {
                        expired.insert(offset);
                    });
                }
            }
            Node::Sequence(parts) => {
                let mut after = Some(Offset::START);
                for part in parts {
                    let is_out_of_order = |seen: &Seen| after.is_none_or(|after| seen.offset <= after);
                    part.forget(operands, &is_out_of_order, &mut |offset| {
                        if offset != present.newest {
                            expired.insert(offset);
                        }
                    });
                    after = after.and_then(|after| {
                        let view = View { operands, present, missing: Missing::Always, without_guards: true };
                        let choice = part.choose(&view, Bounds::none().early_after(after))?;
                        Some(choice.used.last().copied().unwrap_or(after).max(after))
                    });
                }
            }
            Node::Operand(_)
            | Node::All(_)
            | Node::AtLeast(..)
            | Node::Count(..)
            | Node::Absence(_)
            | Node::Guard { .. }
            | Node::JobIs { .. }
            | Node::Optional { .. }
            | Node::Custom(_) => {}
        }
    }

    /// Drops events that are gone from the fronts of the queues. One that stands behind others waits until these are gone, and is not used.
    fn forget(&self, operands: &mut [OperandState], is_gone: &dyn Fn(&Seen) -> bool, dropped: &mut dyn FnMut(Offset)) {
        match &self.node {
            Node::Operand(slot) => match operands.get_mut(*slot) {
                Some(OperandState::Pending(pending)) => {
                    while let Some(seen) = pending.pop_front_if(|seen| is_gone(seen)) {
                        dropped(seen.offset);
                    }
                }
                Some(OperandState::Standing(standing)) => standing.retain(|_, seen| !is_gone(seen)),
                _ => {}
            },
            Node::Custom(slot) => {
                if let Some(OperandState::Custom(custom)) = operands.get_mut(*slot) {
                    let is_met_gone = |met: &Vec<Seen>| met.iter().any(is_gone);
                    custom.met.iter().filter(|met| is_met_gone(met)).flatten().for_each(|seen| dropped(seen.offset));
                    custom.met.retain(|met| !is_met_gone(met));
                }
            }
            // What an absence is made of is its own affair.
            Node::Absence(absence) => {
                if let Some(OperandState::Absence(state)) = operands.get_mut(absence.slot)
                    && let Some(held) = state.held.take_if(|held| is_gone(held))
                {
                    dropped(held.offset);
                }
            }
            Node::All(_)
            | Node::AtLeast(..)
            | Node::Sequence(_)
            | Node::Count(..)
            | Node::Within { .. }
            | Node::Optional { .. } => {
                for child in self.children() {
                    child.forget(operands, is_gone, dropped);
                }
            }
            Node::Guard { .. } | Node::JobIs { .. } => {}
        }
    }

    /// Forgets absences that neither wait nor hold, and will do neither before they are opened.
    pub(super) fn tidy(&self, operands: &mut [OperandState]) {
        for child in self.children() {
            child.tidy(operands);
        }
        if let Node::Absence(absence) = &self.node
            && absence.after.is_some()
            && let Some(OperandState::Absence(state)) = operands.get(absence.slot)
            && state.due.is_none()
            && state.held.is_none()
        {
            *absence.state(operands) = OperandState::Empty;
        }
    }

    /// Whether there is anything to keep up between events and firings.
    pub(super) fn needs_upkeep(&self) -> bool {
        matches!(self.node, Node::Within { .. } | Node::Sequence(_) | Node::Absence(_))
            || self.children().into_iter().any(Self::needs_upkeep)
    }
}

impl Absence {
    fn state<'o>(&self, operands: &'o mut [OperandState]) -> &'o mut OperandState {
        operands.get_mut(self.slot).expect("the slots of a rule are made before it is evaluated")
    }

    /// It waits from now on; an absence that already holds, and that no firing has used, still does.
    fn wait(&self, operands: &mut [OperandState], opened: Vec<Offset>, now: Timestamp, held: Option<AbsenceState>) {
        let AbsenceState { held, held_after, .. } = held.unwrap_or_default();
        let state = AbsenceState { due: Some(now + self.wait), opened, held, held_after };
        *self.state(operands) = OperandState::Absence(Box::new(state));
    }

    fn settle(&self, operands: &mut [OperandState], present: Present<'_>) {
        let chosen = |operands: &[OperandState], part: &Part| {
            let view = View { operands, present, missing: Missing::Never, without_guards: false };
            part.choose(&view, Bounds::none()).map(|choice| choice.used)
        };
        let mut state = match operands.get(self.slot) {
            Some(OperandState::Absence(state)) => (**state).clone(),
            _ => AbsenceState::default(),
        };
        let Some(after) = &self.after else {
            // Without an opening it always waits, or waits for the match that lets it wait again.
            if let Some(used) = chosen(operands, &self.of) {
                clear(operands, &self.of.slots);
                self.wait(operands, used, present.now, None);
            }
            return;
        };
        if (state.due.is_some() || state.held.is_some()) && chosen(operands, &self.of).is_some() {
            state = AbsenceState::default();
            *self.state(operands) = OperandState::Empty;
            clear(operands, &self.of.slots);
        }
        if state.due.is_none() {
            // A match counts while the absence waits, or holds and is not used.
            if state.held.is_none() {
                clear(operands, &self.of.slots);
            }
            if let Some(used) = chosen(operands, after) {
                clear(operands, &self.of.slots);
                self.wait(operands, used, present.now, Some(state));
            }
        }
        if matches!(operands.get(self.slot), Some(OperandState::Absence(state)) if state.due.is_some()) {
            clear(operands, &after.slots);
        }
    }
}

/// Forgets what waits in these slots. What guards, windows and custom code remember stays.
fn clear(operands: &mut [OperandState], slots: &Range<usize>) {
    for operand in operands.get_mut(slots.clone()).into_iter().flatten() {
        match operand {
            OperandState::Pending(_) | OperandState::Standing(_) | OperandState::Absence(_) => {
                *operand = OperandState::Empty;
            }
            OperandState::Custom(custom) => {
                custom.counted.clear();
                custom.met.clear();
            }
            OperandState::Empty | OperandState::Newest(_) => {}
        }
    }
}
