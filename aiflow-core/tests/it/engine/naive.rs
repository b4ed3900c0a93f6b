//! Rules, decided by keeping every event and recomputing everything each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiflow_core::event::{Event, Match};
use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Condition, EventPattern, KeyOf, Life, Window};

use super::text::PROJECT;

pub(crate) type Offsets = BTreeSet<Offset>;

/// A rule that remembers every event that it was ever shown, of each key on its own.
pub(crate) struct Model<'r> {
    condition: &'r Condition,
    key: Option<&'r KeyOf>,
    keys: BTreeMap<Option<String>, Memory<'r>>,
    pub(crate) firings: Vec<Offsets>,
}

/// What was seen of one key.
#[derive(Default)]
struct Memory<'r> {
    seen: Vec<&'r Event>,
    used_up: Offsets,
}

/// Which events are asked for.
#[derive(Clone)]
struct Ask {
    newest: Offset,
    now: Timestamp,
    after: Offset,
    floor: Timestamp,
    taken: Offsets,
    is_early: bool,
}

impl<'r> Model<'r> {
    pub(crate) fn new(condition: &'r Condition) -> Self {
        let (key, condition) = match condition {
            Condition::ForEach { key, of } => (Some(key), &**of),
            other => (None, other),
        };
        Self { condition, key, keys: BTreeMap::new(), firings: Vec::new() }
    }

    pub(crate) fn show(&mut self, event: &'r Event) {
        let key = match self.key {
            None => None,
            Some(KeyOf::Label(name)) => match event.context.labels.get(name) {
                Some(key) => Some(key.clone()),
                None => return,
            },
            Some(_) => unreachable!("no other key is generated"),
        };
        let memory = self.keys.entry(key).or_default();
        memory.seen.push(event);
        if !memory.is_news(self.condition, event, Timestamp::from_millis(i64::MIN)) {
            return;
        }
        let mut is_first = true;
        let ask = Ask {
            newest: event.offset,
            now: event.recorded,
            after: Offset::START,
            floor: Timestamp::from_millis(i64::MIN),
            taken: Offsets::new(),
            is_early: false,
        };
        while let Some((used, used_up)) = memory.met(self.condition, &ask) {
            let is_news = is_first && used.contains(&event.offset);
            if used_up.is_empty() && !is_news {
                return;
            }
            self.firings.push(used);
            if used_up.is_empty() {
                return;
            }
            memory.used_up.extend(used_up);
            is_first = false;
        }
    }
}

impl Memory<'_> {
    /// Whether the event is one that an operand takes.
    fn is_news(&self, condition: &Condition, event: &Event, floor: Timestamp) -> bool {
        match condition {
            Condition::On(pattern) => is_match(pattern, event) && time_of(event) >= floor,
            Condition::NotWithin { .. } => false,
            Condition::Within { window, of } => self.is_news(of, event, floor.max(self.floor(window, of))),
            other => children(other).into_iter().any(|child| self.is_news(child, event, floor)),
        }
    }

    /// Where the window lies.
    fn floor(&self, window: &Window, of: &Condition) -> Timestamp {
        let patterns = patterns(of);
        let times = self.seen.iter().filter(|event| patterns.iter().any(|p| is_match(p, event))).map(|e| time_of(e));
        let Some(newest) = times.max() else { return Timestamp::from_millis(i64::MIN) };
        match window {
            Window::Sliding { length } => newest - *length,
            Window::Tumbling { length } => {
                let length = i64::try_from(length.as_millis()).expect("a short window");
                Timestamp::from_millis(newest.as_millis().div_euclid(length) * length)
            }
            _ => unreachable!("no other window is generated"),
        }
    }

    /// What a firing would use, and use up.
    fn met(&self, condition: &Condition, ask: &Ask) -> Option<(Offsets, Offsets)> {
        match condition {
            Condition::On(pattern) => self.operand(pattern, ask),
            Condition::All(of) => of.iter().try_fold(<(Offsets, Offsets)>::default(), |mut all, condition| {
                join(&mut all, self.met(condition, ask)?);
                Some(all)
            }),
            Condition::Any(of) => self.at_least(1, of, ask),
            Condition::AtLeast { n, of } => self.at_least(*n, of, ask),
            Condition::Sequence(of) => {
                let mut whole = <(Offsets, Offsets)>::default();
                let mut after = ask.after;
                for (i, condition) in of.iter().enumerate() {
                    let is_early = ask.is_early || i + 1 < of.len();
                    let met = self.met(condition, &Ask { after, is_early, ..ask.clone() })?;
                    after = met.0.last().copied().unwrap_or(after).max(after);
                    join(&mut whole, met);
                }
                Some(whole)
            }
            Condition::Count { n, of } => {
                let mut whole = <(Offsets, Offsets)>::default();
                let mut ask = Ask { is_early: true, ..ask.clone() };
                for _ in 0..*n {
                    let met = self.met(of, &ask)?;
                    ask.taken.extend(&met.0);
                    join(&mut whole, met);
                }
                Some(whole)
            }
            Condition::Within { window, of } => {
                self.met(of, &Ask { floor: ask.floor.max(self.floor(window, of)), ..ask.clone() })
            }
            Condition::NotWithin { pattern, within } => {
                let last = self.seen.iter().filter(|event| is_match(pattern, event)).map(|event| time_of(event)).max();
                let is_met = last.is_none_or(|last| ask.now.since(last) > *within);
                is_met.then(Default::default)
            }
            _ => unreachable!("no other condition is generated"),
        }
    }

    fn operand(&self, pattern: &EventPattern, ask: &Ask) -> Option<(Offsets, Offsets)> {
        let matching = self.seen.iter().filter(|event| is_match(pattern, event));
        let offsets: Vec<&&Event> = match pattern.life {
            Life::Once => matching.filter(|event| !self.used_up.contains(&event.offset)).collect(),
            Life::Latest => matching.rev().take(1).filter(|event| !self.used_up.contains(&event.offset)).collect(),
            Life::Repeated => {
                let mut last = BTreeMap::new();
                for event in self.seen.iter().filter(|event| concerns(pattern, event)) {
                    let subject = (&event.namespace, &event.event_type, &event.sender, &event.key);
                    last.insert(subject, event);
                }
                last.into_values().filter(|event| is_match(pattern, event)).collect()
            }
            _ => unreachable!("no other life is generated"),
        };
        let allowed = offsets
            .into_iter()
            .filter(|event| {
                event.offset > ask.after && time_of(event) >= ask.floor && !ask.taken.contains(&event.offset)
            })
            .map(|event| event.offset);
        let chosen = if pattern.life == Life::Repeated && !ask.is_early { allowed.max() } else { allowed.min() }?;
        let used_up = if pattern.life == Life::Repeated { Offsets::new() } else { Offsets::from([chosen]) };
        Some((Offsets::from([chosen]), used_up))
    }

    fn at_least(&self, n: usize, of: &[Condition], ask: &Ask) -> Option<(Offsets, Offsets)> {
        let mut met: Vec<_> = of.iter().filter_map(|condition| self.met(condition, ask)).collect();
        if met.len() < n {
            return None;
        }
        if ask.is_early {
            met.sort_by_key(|(used, _)| used.last().copied());
        } else {
            met.sort_by_key(|(used, _)| (!used.contains(&ask.newest), used.first().copied()));
        }
        let mut whole = <(Offsets, Offsets)>::default();
        met.into_iter().take(n).for_each(|one| join(&mut whole, one));
        Some(whole)
    }
}

fn join(whole: &mut (Offsets, Offsets), part: (Offsets, Offsets)) {
    whole.0.extend(part.0);
    whole.1.extend(part.1);
}

fn time_of(event: &Event) -> Timestamp {
    event.time.unwrap_or(event.recorded).min(event.recorded)
}

fn concerns(pattern: &EventPattern, event: &Event) -> bool {
    let namespace = pattern.namespace.clone().unwrap_or(Match::exact(PROJECT));
    namespace.matches(&event.namespace)
        && pattern.key.matches(&event.key)
        && pattern.sender.matches(&event.sender)
        && pattern.event_type.matches(&event.event_type)
}

pub(crate) fn is_match(pattern: &EventPattern, event: &Event) -> bool {
    concerns(pattern, event) && pattern.value.holds(&event.value)
}

fn children(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::On(_) | Condition::NotWithin { .. } => Vec::new(),
        Condition::All(of) | Condition::Any(of) | Condition::AtLeast { of, .. } | Condition::Sequence(of) => {
            of.iter().collect()
        }
        Condition::Count { of, .. } | Condition::Within { of, .. } => vec![of],
        _ => unreachable!("no other condition is generated"),
    }
}

/// The patterns of operands, without those of guards.
pub(crate) fn patterns(condition: &Condition) -> Vec<&EventPattern> {
    match condition {
        Condition::On(pattern) => vec![pattern],
        other => children(other).into_iter().flat_map(patterns).collect(),
    }
}

/// When an absence of `of` is told: after each wait that no event ended, once until the next; `None` for the beginning, of which there is
/// no event.
pub(crate) fn absences(begin: Timestamp, of: &[Timestamp], wait: Duration, end: Timestamp) -> Vec<Timestamp> {
    let mut told = Vec::new();
    let mut since = begin;
    for next in of.iter().copied().chain([Timestamp::from_millis(i64::MAX)]) {
        if since + wait <= next.min(end) {
            told.push(since + wait);
        }
        since = next;
    }
    told
}
