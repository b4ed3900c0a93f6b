//! What has a rule seen, part by part, and what does it still lack?
//!
//! Walks a condition beside the state that the engine keeps of it. The engine numbers the slots of the state in the order of this walk
//! (see `engine/rules/compile.rs`); a test holds the two together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words;
use crate::execution::{AbsenceState, JobStatus, KeyState, OperandState, Seen};
use crate::id::{JobName, Offset};
use crate::time::Timestamp;
use crate::workflow::Condition;

/// The most events of one operand that are listed.
pub const SHOWN_EVENTS_MAX: usize = 16;

/// What a rule has seen of one key, or in all if it has no `for_each`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyExplanation {
    /// The key of `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The parts of the condition that see events or wait, in definition order.
    pub parts: Vec<PartExplanation>,
    /// What has to come before the rule can fire, each in words; empty if nothing has.
    pub missing: Vec<String>,
    /// What holds the rule back although nothing is missing from it: guards, and the wait for optional events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<String>,
    /// When the rule is looked at without an event, at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartExplanation {
    /// The part in words: `samples = "ready"`.
    pub text: String,
    /// How it stands.
    pub state: PartState,
}

/// How a part of a condition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartState {
    /// No event that matches waits.
    Missing,
    /// Events wait for a firing, the first since it came.
    Pending {
        /// The oldest of them, at most [`SHOWN_EVENTS_MAX`].
        events: Vec<Offset>,
        /// How many there are.
        n: usize,
    },
    /// A `repeated` part is met until its events are contradicted.
    Standing {
        /// The oldest of them, at most [`SHOWN_EVENTS_MAX`].
        events: Vec<Offset>,
        /// How many there are.
        n: usize,
    },
    /// An absence: nothing has begun its wait.
    NotBegun,
    /// An absence waits; it holds if nothing matches until then.
    Waits {
        /// Until when.
        until: Timestamp,
        /// The events that began the wait; empty if it began with the rule.
        since: Vec<Offset>,
    },
    /// An absence holds, and waits for a firing.
    Held {
        /// The event of the moment since which it holds.
        since: Offset,
    },
    /// A guard holds.
    Holds,
    /// A guard does not hold now.
    HoldsBack {
        /// Why not.
        why: String,
    },
    /// Custom code has counted events and is not met.
    Counts {
        /// How many events counted since it was last met.
        n: usize,
    },
}

/// What is outside a rule's own state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) now: Timestamp,
    /// Of the jobs that guards may look at.
    pub(crate) statuses: &'a BTreeMap<JobName, JobStatus>,
}

/// Explains what a rule with `condition` has seen of one key.
pub(crate) fn explain_key(
    condition: &Condition,
    state: &KeyState,
    key: Option<String>,
    present: Circumstances<'_>,
) -> KeyExplanation {
    let mut walk = Walk { state, present, next_slot: 0, parts: Vec::new(), held_back: Vec::new() };
    let missing = walk.part(condition);
    let Walk { parts, held_back, .. } = walk;
    KeyExplanation { key, parts, missing, held_back, due: state.alarm.map(|alarm| alarm.due) }
}

/// How many slots the engine keeps for a condition.
#[cfg(test)]
pub(crate) fn n_slots(condition: &Condition) -> usize {
    let present = Circumstances { now: Timestamp::EPOCH, statuses: &BTreeMap::new() };
    let state = KeyState::default();
    let mut walk = Walk { state: &state, present, next_slot: 0, parts: Vec::new(), held_back: Vec::new() };
    walk.part(condition);
    walk.next_slot
}

struct Walk<'a> {
    state: &'a KeyState,
    present: Circumstances<'a>,
    next_slot: usize,
    parts: Vec<PartExplanation>,
    held_back: Vec<String>,
}

impl<'a> Walk<'a> {
    fn slot(&mut self) -> Option<&'a OperandState> {
        let slot = self.next_slot;
        self.next_slot = slot.saturating_add(1);
        self.state.operands.get(slot)
    }

    fn tell(&mut self, text: String, state: PartState) {
        self.parts.push(PartExplanation { text, state });
    }

    /// What the part lacks, in words; empty if it is met. Guards are told apart.
    fn part(&mut self, condition: &Condition) -> Vec<String> {
        match condition {
            Condition::On(pattern) => self.operand(pattern.to_string()),
            Condition::JobStatus { job, statuses, life } => {
                let lacks: Vec<Vec<String>> =
                    statuses.iter().map(|status| self.operand(format!("{job} {status}{life}"))).collect();
                at_least(1, &lacks, condition)
            }
            Condition::All(of) | Condition::Sequence(of) => of.iter().flat_map(|part| self.part(part)).collect(),
            Condition::Any(of) => {
                let lacks: Vec<Vec<String>> = of.iter().map(|part| self.part(part)).collect();
                at_least(1, &lacks, condition)
            }
            Condition::AtLeast { n, of } => {
                let lacks: Vec<Vec<String>> = of.iter().map(|part| self.part(part)).collect();
                at_least(*n, &lacks, condition)
            }
            Condition::Count { n, of } => self.count(*n, of),
            Condition::Within { of, .. } => {
                self.slot();
                self.part(of)
            }
            Condition::ForEach { of, .. } => self.part(of),
            Condition::Absent { of, wait, after } => self.absence(condition, of, *wait, after.as_deref()),
            Condition::NotWithin { within, .. } => {
                self.guard(condition, *within);
                Vec::new()
            }
            Condition::JobIs { job, statuses } => {
                let now = self.present.statuses.get(job).copied().unwrap_or(JobStatus::Init);
                let why = format!("{condition:#} is needed, and {job} is {now}");
                let state = if statuses.contains(&now) { PartState::Holds } else { self.hold_back(why) };
                self.tell(format!("{condition:#}"), state);
                Vec::new()
            }
            Condition::Optional { of, wait } => {
                let lacks = self.part(of);
                if let Some(since) = self.state.met_since.filter(|_| !lacks.is_empty()) {
                    let until = wait.end(since).to_rfc3339();
                    self.held_back.push(format!("it waits until {until} for {of}, which may be missing"));
                }
                Vec::new()
            }
            Condition::Custom { .. } => self.custom(condition),
        }
    }

    fn hold_back(&mut self, why: String) -> PartState {
        self.held_back.push(why.clone());
        PartState::HoldsBack { why }
    }

    fn operand(&mut self, text: String) -> Vec<String> {
        let state = match self.slot() {
            Some(OperandState::Pending(seen)) if !seen.is_empty() => {
                PartState::Pending { events: shown(seen.iter()), n: seen.len() }
            }
            Some(OperandState::Standing(standing)) if !standing.is_empty() => {
                let mut offsets: Vec<Offset> = standing.values().map(|seen| seen.offset).collect();
                offsets.sort_unstable();
                offsets.truncate(SHOWN_EVENTS_MAX);
                PartState::Standing { events: offsets, n: standing.len() }
            }
            _ => PartState::Missing,
        };
        let lacks = if state == PartState::Missing { vec![text.clone()] } else { Vec::new() };
        self.tell(text, state);
        lacks
    }

    fn count(&mut self, n: usize, of: &Condition) -> Vec<String> {
        let place = self.parts.len();
        let lacks = self.part(of);
        // Of a single operand it is known how many wait; of anything else only whether one does.
        let n_waiting = match self.parts.get(place..) {
            Some([PartExplanation { state: PartState::Pending { n, .. } | PartState::Standing { n, .. }, .. }]) => {
                Some(*n)
            }
            Some([_]) => Some(0),
            _ if !lacks.is_empty() => Some(0),
            _ => None,
        };
        match n_waiting {
            Some(waiting) if waiting >= n => Vec::new(),
            Some(waiting) => vec![format!("{} more of the {n} times {of}", n.saturating_sub(waiting))],
            None => vec![format!("{of} so often that it is {n} times")],
        }
    }

    fn absence(
        &mut self,
        condition: &Condition,
        of: &Condition,
        wait: Duration,
        after: Option<&Condition>,
    ) -> Vec<String> {
        let state = match self.slot() {
            Some(OperandState::Absence(state)) => AbsenceState::clone(state),
            _ => AbsenceState::default(),
        };
        // What it is made of has slots of its own, and is told by the absence as a whole.
        let (n_parts, n_held) = (self.parts.len(), self.held_back.len());
        self.part(of);
        after.into_iter().for_each(|after| drop(self.part(after)));
        self.parts.truncate(n_parts);
        self.held_back.truncate(n_held);
        let (state, lacks) = match (state.held, state.due, after) {
            (Some(held), ..) => (PartState::Held { since: held.offset }, None),
            (None, Some(until), _) => {
                let lack = format!("no {of} until {}", until.to_rfc3339());
                (PartState::Waits { until, since: state.opened }, Some(lack))
            }
            (None, None, Some(after)) => (PartState::NotBegun, Some(format!("{after}, after which it waits {wait:?}"))),
            (None, None, None) => (PartState::NotBegun, Some(format!("{of}, after which it waits {wait:?}"))),
        };
        self.tell(format!("{condition:#}"), state);
        lacks.into_iter().collect()
    }

    fn guard(&mut self, condition: &Condition, within: Duration) {
        let state = match self.slot() {
            Some(OperandState::Newest(last)) if self.present.now.since(*last) <= within => {
                let (last, until) = (last.to_rfc3339(), (*last + within).to_rfc3339());
                self.hold_back(format!(
                    "{condition:#} is needed, the last was at {last}; until {until} no event makes it fire"
                ))
            }
            _ => PartState::Holds,
        };
        self.tell(format!("{condition:#}"), state);
    }

    fn custom(&mut self, condition: &Condition) -> Vec<String> {
        let state = match self.slot() {
            Some(OperandState::Custom(custom)) => match custom.met.front() {
                Some(first) => PartState::Pending { events: shown(first.iter()), n: first.len() },
                None => PartState::Counts { n: custom.counted.len() },
            },
            _ => PartState::Counts { n: 0 },
        };
        let text = format!("{condition:#}");
        let lacks = match &state {
            PartState::Counts { n } => vec![format!("{text} to be met, {n} events counted so far")],
            _ => Vec::new(),
        };
        self.tell(text, state);
        lacks
    }
}

fn shown<'s>(seen: impl Iterator<Item = &'s Seen>) -> Vec<Offset> {
    seen.take(SHOWN_EVENTS_MAX).map(|seen| seen.offset).collect()
}

/// What is lacking of a part that needs `n` of several.
fn at_least(n: usize, lacks: &[Vec<String>], condition: &Condition) -> Vec<String> {
    let n_met = lacks.iter().filter(|lacks| lacks.is_empty()).count();
    match n.saturating_sub(n_met) {
        0 => Vec::new(),
        // The only one of one says it better than the whole.
        _ if lacks.len() == 1 => lacks.first().cloned().unwrap_or_default(),
        _ if n_met == 0 => vec![format!("{condition:#}")],
        lacking => {
            let open: Vec<String> =
                lacks.iter().filter(|lacks| !lacks.is_empty()).map(|l| words::join(l, "and")).collect();
            vec![format!("{lacking} more of ({})", open.join(", "))]
        }
    }
}

impl fmt::Display for PartExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, state } = self;
        match state {
            PartState::Missing => write!(f, "{text} has not come"),
            PartState::Pending { events, n } => write!(f, "{text} has come: {}", words::events(events, *n)),
            PartState::Standing { events, n } => write!(f, "{text} stands: {}", words::events(events, *n)),
            PartState::NotBegun => write!(f, "{text}: the wait has not begun"),
            PartState::Waits { until, since } if since.is_empty() => {
                write!(f, "{text}: waits until {}", until.to_rfc3339())
            }
            PartState::Waits { until, since } => {
                write!(f, "{text}: waits until {}, since {}", until.to_rfc3339(), words::events(since, since.len()))
            }
            PartState::Held { since } => write!(f, "{text} holds since event {since}"),
            PartState::Holds => write!(f, "{text} holds"),
            PartState::HoldsBack { .. } => write!(f, "{text} does not hold"),
            PartState::Counts { n } => write!(f, "{text}: {n} events counted, not met"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::n_slots_in_engine;
    use crate::status::JobStatus::{Failed, Running, Succeeded};
    use crate::workflow::{
        KeyOf, absent, absent_after, all, any, at_least, count, custom, job_is, job_status, not_within, on, optional,
        sequence,
    };

    /// Every kind of part, in one another: whoever changes how the engine numbers slots sees it here.
    #[test]
    fn slots_are_numbered_as_in_the_engine() {
        let (job, second) = (JobName::parse("train").unwrap(), Duration::from_secs(1));
        let status = |statuses: &[JobStatus]| Condition::JobStatus {
            job: job.clone(),
            statuses: statuses.to_vec(),
            life: crate::workflow::Life::Once,
        };
        let conditions: Vec<Condition> = vec![
            on("a").into(),
            job_status(&job, Succeeded),
            status(&[Succeeded, Failed, Running]),
            all([Condition::from(on("a")), not_within(on("b"), second), job_is(&job, [Running])]),
            sequence([any([on("a"), on("b")]), at_least(2, [on("c"), on("d").latest(), on("e").repeated()])]),
            count(3, all([on("a"), on("b")])).within(second),
            absent(all([on("a"), on("b")]), second).within(second),
            all([absent_after(on("a"), on("b").within(second), second), optional(on("c"), second)]),
            all([custom("sum", serde_json::Value::Null, [on("a"), on("b")]), on("z").into()]),
        ];
        let whole = all(conditions.clone()).for_each(KeyOf::Key);
        for condition in conditions.into_iter().chain([whole]) {
            assert_eq!(n_slots(&condition), n_slots_in_engine(&condition), "{condition}");
        }
    }
}
