//! What a rule has seen: which events wait at which operand, and for what does the rule wait?
//!
//! Plain data, stored with the workflow or the execution that the rule belongs to, and readable: the operands stand in the order of the
//! condition, written out as the engine evaluates it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::id::Offset;
use crate::time::Timestamp;
use crate::timer::Alarm;

/// What a rule has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// Of a rule without `for_each`.
    #[serde(default, skip_serializing_if = "KeyState::is_empty")]
    pub whole: KeyState,
    /// Of a rule with `for_each`: what it has seen of each key. Keys of which nothing is left are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, Arc<KeyState>>,
    /// The alarms of the keys, earliest first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub alarms: BTreeSet<(Alarm, String)>,
    /// Whether the rule is at work.
    #[serde(default, skip_serializing_if = "RuleStatus::is_active")]
    pub status: RuleStatus,
    /// An event without a field that a predicate looks at was recorded; it is recorded once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing_noted: bool,
    /// How it comes to the present, if it [begins in the past](crate::workflow::StartPosition).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
}

/// How a rule that begins in the past comes to the present.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUp {
    /// The event that brought the rule.
    pub begun: Offset,
    /// It has seen what it is to see up to here, and sees no event that comes at or before.
    pub covered: Offset,
    /// It has reached the present. Until then it sees no event as it comes, and waits for no moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_done: bool,
    /// How many events of the past it was shown.
    #[serde(default)]
    pub n_events: u64,
    /// It should have seen what is up to here and could not: it was trimmed from the log, or is [out of reach](crate::history::HISTORY_REACH).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_through: Option<Offset>,
    /// There were more than [`HISTORY_KEYS_MAX`](crate::history::HISTORY_KEYS_MAX) keys: it was shown nothing of those whose newest event is
    /// the oldest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// It was paused, or its workflow disabled, when it should have seen the past, which passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passed_over: bool,
    /// A part of the past could not be applied: this event, which was to show it, is a dead letter. What the rule had not seen up to there, of
    /// the past and since it came, did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<Offset>,
}

impl CatchUp {
    /// Whether the rule does not see the event at this offset as it comes.
    pub(crate) fn hides(&self, offset: Offset) -> bool {
        !self.is_done || offset <= self.covered
    }
}

impl RuleState {
    /// When the rule is to be evaluated without an event, at the earliest.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        if self.is_catching_up() {
            return None;
        }
        self.whole.alarm.into_iter().chain(self.alarms.first().map(|(alarm, _)| *alarm)).min()
    }

    /// Whether the rule, or one of its keys, waits for this moment.
    #[must_use]
    pub fn waits_for(&self, alarm: Alarm) -> bool {
        !self.is_catching_up()
            && (self.whole.alarm == Some(alarm) || self.alarms.iter().any(|(waiting, _)| *waiting == alarm))
    }

    /// Whether it begins in the past and has not reached the present.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| !catch_up.is_done)
    }

    /// Whether it is as if the rule had seen nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
            && self.keys.is_empty()
            && !self.missing_noted
            && self.status.is_active()
            && self.catch_up.is_none()
    }

    /// What it has seen, without what it waits for: its execution has ended. `None` if there is nothing.
    pub(crate) fn ended(&self) -> Option<Self> {
        let ended = |key: &KeyState| KeyState { alarm: None, ..key.clone() };
        let keys = self.keys.iter().map(|(name, key)| (name.clone(), Arc::new(ended(key)))).collect();
        let (alarms, catch_up) = (BTreeSet::new(), None);
        let ended = Self { whole: ended(&self.whole), keys, alarms, catch_up, ..self.clone() };
        (!ended.kept().is_empty()).then_some(ended)
    }

    /// Every event that a firing may still use, oldest first: those that wait, and those that stand.
    #[must_use]
    pub fn kept(&self) -> Vec<Offset> {
        let mut kept: Vec<Offset> = self.operands().flat_map(OperandState::kept).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    fn operands(&self) -> impl Iterator<Item = &OperandState> {
        let keys = std::iter::once(&self.whole).chain(self.keys.values().map(|state| &**state));
        keys.flat_map(|key| &key.operands)
    }

    /// The events that wait for a firing, oldest first: those that would be lost with the rule.
    #[must_use]
    pub fn pending(&self) -> Vec<Offset> {
        let mut pending: Vec<Offset> = self.operands().flat_map(OperandState::pending).collect();
        pending.sort_unstable();
        pending.dedup();
        pending
    }
}

/// Whether a rule is at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RuleStatus {
    /// It is.
    #[default]
    Active,
    /// Events do not count, and are recorded. What waited before the pause waits on.
    Paused,
    /// It sees nothing any more.
    Removed,
}

impl RuleStatus {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// What is done to a rule while it is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RuleChange {
    /// Events do not count until it is resumed.
    Pause,
    /// Events count again.
    Resume,
    /// What waits for a firing is forgotten, and recorded.
    Clear,
    /// As [`Clear`](Self::Clear), and the rule sees nothing any more.
    Remove,
}

/// What a rule has seen of one key, or in all if it has no `for_each`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// The parts of the condition that keep something, in definition order; a part stands before those it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operands: Vec<OperandState>,
    /// Since when all but optional operands are met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met_since: Option<Timestamp>,
    /// When it is to be evaluated without an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// What a firing would take as parameters from events that are kept above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<Offset, BTreeMap<String, Value>>,
}

impl KeyState {
    /// Forgets the values of events that no operand keeps any more.
    pub(crate) fn forget_values(&mut self) {
        if self.values.is_empty() {
            return;
        }
        // Each event with values is kept by some operand, if there are not more of them than the operands keep.
        let n_kept: usize = self.operands.iter().map(OperandState::n_kept).fold(0, usize::saturating_add);
        if self.values.len() > n_kept {
            let kept: BTreeSet<Offset> = self.operands.iter().flat_map(OperandState::kept).collect();
            self.values.retain(|offset, _| kept.contains(offset));
        }
    }

    /// Whether it is as if nothing had been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alarm.is_none() && self.operands.iter().all(OperandState::is_empty)
    }
}

/// What a part of a condition keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperandState {
    /// Nothing.
    #[default]
    Empty,
    /// A `once` or `latest` operand: the events that wait for a firing, oldest first.
    Pending(VecDeque<Seen>),
    /// A `repeated` operand: the newest event of each namespace, type, sender and key that passed the value test and was not followed by one
    /// that failed it.
    Standing(BTreeMap<String, Seen>),
    /// A window or a guard: when the newest event happened that it has seen.
    Newest(Timestamp),
    /// An absence.
    Absence(Box<AbsenceState>),
    /// Custom code.
    Custom(Box<CustomState>),
}

impl OperandState {
    /// Whether it is as if nothing had been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Pending(seen) => seen.is_empty(),
            Self::Standing(seen) => seen.is_empty(),
            Self::Newest(_) | Self::Absence(_) => false,
            Self::Custom(custom) => **custom == CustomState::default(),
        }
    }

    /// Whether an event stands here, and goes on to after a firing has used it.
    pub(crate) fn stands(&self, offset: Offset) -> bool {
        match self {
            Self::Standing(standing) => standing.values().any(|seen| seen.offset == offset),
            _ => false,
        }
    }

    fn n_kept(&self) -> usize {
        match self {
            Self::Empty | Self::Newest(_) => 0,
            Self::Pending(seen) => seen.len(),
            Self::Standing(seen) => seen.len(),
            Self::Absence(_) | Self::Custom(_) => self.kept().len(),
        }
    }

    /// Every event that a firing may still use.
    fn kept(&self) -> Vec<Offset> {
        match self {
            Self::Standing(standing) => standing.values().map(|seen| seen.offset).collect(),
            Self::Absence(absence) => {
                let held = absence.held.iter().map(|seen| seen.offset);
                held.chain(absence.opened.iter().chain(&absence.held_after).copied()).collect()
            }
            _ => self.pending(),
        }
    }

    /// The events that wait for a firing here.
    fn pending(&self) -> Vec<Offset> {
        match self {
            Self::Pending(seen) => seen.iter().map(|seen| seen.offset).collect(),
            Self::Absence(absence) => absence.held.iter().map(|seen| seen.offset).collect(),
            Self::Custom(custom) => {
                custom.met.iter().flatten().chain(&custom.counted).map(|seen| seen.offset).collect()
            }
            Self::Empty | Self::Standing(_) | Self::Newest(_) => Vec::new(),
        }
    }
}

/// An event that an operand has seen. Written as its offset, or as `[offset, milliseconds]` where the time is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The event.
    pub offset: Offset,
    /// When it happened, if the operand stands in a window.
    pub time: Option<Timestamp>,
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.time {
            Some(time) => (self.offset, time).serialize(serializer),
            None => self.offset.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Offset(Offset),
            Timed(Offset, Timestamp),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Offset(offset) => Self { offset, time: None },
            Written::Timed(offset, time) => Self { offset, time: Some(time) },
        })
    }
}

/// What an `absent` waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsenceState {
    /// When it holds if nothing matches; `None` while it does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The events that began the wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<Offset>,
    /// It holds since this timer, and no firing has used it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Seen>,
    /// The events that began the wait after which it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_after: Vec<Offset>,
}

/// What custom code keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomState {
    /// The code's own state.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
    /// Events that counted since the condition was last met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Seen>,
    /// The events of each time it was met and no firing has used them yet, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub met: VecDeque<Vec<Seen>>,
}
