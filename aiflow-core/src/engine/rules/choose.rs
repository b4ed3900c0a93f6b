//! Which events would a firing use now?

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, Part};
use crate::execution::{OperandState, Seen};
use crate::id::{JobName, Offset};
use crate::status::JobStatus;
use crate::time::Timestamp;
use crate::workflow::Wait;

/// What a rule knows of the present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'a> {
    /// The event that is seen.
    pub(super) newest: Offset,
    /// The event that is being decided.
    pub(super) decided: Offset,
    pub(super) now: Timestamp,
    /// Of the jobs that guards look at.
    pub(super) statuses: &'a BTreeMap<JobName, JobStatus>,
}

/// Whether optional operands may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Never,
    /// Those whose wait, begun then, is over.
    Since(Timestamp),
    Always,
}

impl Missing {
    fn may(self, wait: &Wait, now: Timestamp) -> bool {
        match self {
            Self::Never => false,
            Self::Since(since) => now >= wait.end(since),
            Self::Always => true,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) operands: &'a [OperandState],
    pub(super) present: Present<'a>,
    pub(super) missing: Missing,
    /// Guards are taken to hold: what does not depend on the present is asked for.
    pub(super) without_guards: bool,
}

/// Which events a part may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Only those behind this one.
    after: Offset,
    /// Only those that happened then or later.
    floor: Option<Timestamp>,
    /// Only those that are not taken.
    taken: &'a BTreeSet<Offset>,
    /// Of several choices the one that ends first is wanted.
    is_early: bool,
}

static NONE_TAKEN: BTreeSet<Offset> = BTreeSet::new();

impl Bounds<'_> {
    pub(super) fn none() -> Self {
        Self { after: Offset::START, floor: None, taken: &NONE_TAKEN, is_early: false }
    }

    /// What ends first among what lies behind `after`.
    pub(super) fn early_after(self, after: Offset) -> Self {
        Self { after, is_early: true, ..self }
    }

    fn allow(&self, seen: &Seen) -> bool {
        seen.offset > self.after
            && self.floor.is_none_or(|floor| seen.time.is_some_and(|time| time >= floor))
            && !self.taken.contains(&seen.offset)
    }
}

/// The events that a firing would use, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) used: Vec<Offset>,
    /// Those among them that were pending: the firing uses them up.
    pub(super) used_up: Vec<Offset>,
}

impl Choice {
    fn pending(offset: Offset) -> Self {
        Self { used: vec![offset], used_up: vec![offset] }
    }

    fn join(&mut self, other: Self) {
        for (mine, others) in [(&mut self.used, other.used), (&mut self.used_up, other.used_up)] {
            mine.extend(others);
            mine.sort_unstable();
            mine.dedup();
        }
    }

    fn end(&self) -> Option<Offset> {
        self.used.last().copied()
    }
}

impl Part {
    /// The events that a firing would use now; `None` if the part is not met.
    pub(super) fn choose(&self, view: &View<'_>, bounds: Bounds<'_>) -> Option<Choice> {
        match &self.node {
            Node::Operand(slot) => operand(view.operands.get(*slot)?, bounds),
            // An empty `all` is refused at submit; here it is never met.
            Node::All(parts) if parts.is_empty() => None,
            Node::All(parts) => {
                let mut all = Choice::default();
                for part in parts {
                    all.join(part.choose(view, bounds)?);
                }
                Some(all)
            }
            Node::AtLeast(n, parts) => at_least(*n, parts, view, bounds),
            Node::Sequence(parts) => sequence(parts, view, bounds),
            Node::Count(n, of) => count(*n, of, view, bounds),
            Node::Within { slot, window, of } => {
                let floor = match view.operands.get(*slot) {
                    Some(OperandState::Newest(newest)) => Some(window.begin(*newest)),
                    _ => None,
                };
                of.choose(view, Bounds { floor: bounds.floor.max(floor), ..bounds })
            }
            Node::Absence(absence) => match view.operands.get(absence.slot)? {
                OperandState::Absence(state) => {
                    let held = state.held.filter(|held| bounds.allow(held))?;
                    let mut choice = Choice::pending(held.offset);
                    choice.join(Choice { used: state.held_after.clone(), used_up: Vec::new() });
                    Some(choice)
                }
                _ => None,
            },
            Node::Guard { .. } | Node::JobIs { .. } if view.without_guards => Some(Choice::default()),
            Node::Guard { slot, within } => match view.operands.get(*slot) {
                Some(OperandState::Newest(last)) if view.present.now.since(*last) <= *within => None,
                _ => Some(Choice::default()),
            },
            Node::JobIs { job, statuses } => {
                let status = view.present.statuses.get(job).unwrap_or(&JobStatus::Init);
                statuses.contains(status).then(Choice::default)
            }
            Node::Optional { wait, of } => {
                of.choose(view, bounds).or_else(|| view.missing.may(wait, view.present.now).then(Choice::default))
            }
            Node::Custom(slot) => match view.operands.get(*slot)? {
                OperandState::Custom(custom) => {
                    let met = custom.met.iter().find(|met| met.iter().all(|seen| bounds.allow(seen)))?;
                    let used: Vec<Offset> = met.iter().map(|seen| seen.offset).collect();
                    Some(Choice { used_up: used.clone(), used })
                }
                _ => None,
            },
        }
    }
}

fn operand(state: &OperandState, bounds: Bounds<'_>) -> Option<Choice> {
    match state {
        OperandState::Pending(pending) => {
            let first = pending.partition_point(|seen| seen.offset <= bounds.after);
            let seen = pending.range(first..).find(|seen| bounds.allow(seen))?;
            Some(Choice::pending(seen.offset))
        }
        OperandState::Standing(standing) => {
            let allowed = standing.values().filter(|seen| bounds.allow(seen)).map(|seen| seen.offset);
            let offset = if bounds.is_early { allowed.min() } else { allowed.max() }?;
            Some(Choice { used: vec![offset], used_up: Vec::new() })
        }
        OperandState::Empty | OperandState::Newest(_) | OperandState::Absence(_) | OperandState::Custom(_) => None,
    }
}

fn at_least(n: usize, parts: &[Part], view: &View<'_>, bounds: Bounds<'_>) -> Option<Choice> {
    let mut met: Vec<Choice> = parts.iter().filter_map(|part| part.choose(view, bounds)).collect();
    if met.len() < n.max(1) {
        return None;
    }
    // Sorting is stable: what is equal stays in definition order.
    if bounds.is_early {
        met.sort_by_key(Choice::end);
    } else {
        met.sort_by_key(|choice| (!choice.used.contains(&view.present.newest), choice.used.first().copied()));
    }
    let mut choice = Choice::default();
    met.into_iter().take(n.max(1)).for_each(|part| choice.join(part));
    Some(choice)
}

fn sequence(parts: &[Part], view: &View<'_>, bounds: Bounds<'_>) -> Option<Choice> {
    let (last, earlier) = parts.split_last()?;
    let mut whole = Choice::default();
    let mut after = bounds.after;
    for part in earlier {
        // What ends first leaves most to those that follow.
        let choice = part.choose(view, Bounds { after, is_early: true, ..bounds })?;
        after = choice.end().unwrap_or(after).max(after);
        whole.join(choice);
    }
    whole.join(last.choose(view, Bounds { after, ..bounds })?);
    Some(whole)
}

fn count(n: usize, of: &Part, view: &View<'_>, bounds: Bounds<'_>) -> Option<Choice> {
    if let Node::Operand(slot) = of.node {
        return count_operand(n, view.operands.get(slot)?, bounds);
    }
    let mut taken = bounds.taken.clone();
    let mut whole = Choice::default();
    for _ in 0..n {
        let choice = of.choose(view, Bounds { taken: &taken, is_early: true, ..bounds })?;
        // Guards alone are met without an event; they are refused at submit.
        if choice.used.is_empty() {
            return None;
        }
        taken.extend(&choice.used);
        whole.join(choice);
    }
    Some(whole)
}

/// The common case, without a look at each event for each other.
fn count_operand(n: usize, state: &OperandState, bounds: Bounds<'_>) -> Option<Choice> {
    let is_pending = matches!(state, OperandState::Pending(_));
    let mut used: Vec<Offset> = match state {
        OperandState::Pending(pending) if pending.len() < n => return None,
        OperandState::Pending(pending) => {
            pending.iter().filter(|seen| bounds.allow(seen)).map(|seen| seen.offset).take(n).collect()
        }
        OperandState::Standing(standing) => {
            let mut all: Vec<Offset> = standing.values().filter(|s| bounds.allow(s)).map(|s| s.offset).collect();
            all.sort_unstable();
            all.truncate(n);
            all
        }
        OperandState::Empty | OperandState::Newest(_) | OperandState::Absence(_) | OperandState::Custom(_) => {
            return None;
        }
    };
    if used.len() < n {
        return None;
    }
    used.sort_unstable();
    Some(Choice { used_up: if is_pending { used.clone() } else { Vec::new() }, used })
}
