//! Rules, decided by keeping every event and recomputing everything each time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiflow_core::event::{Event, Match};
use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Condition, EventPattern, KeyOf, Life, Wait, Window};

use super::text::PROJECT;

pub(crate) type Offsets = BTreeSet<Offset>;

/// A rule that remembers every event that it was ever shown, of each key on its own.
pub(crate) struct Model<'r> {
    condition: &'r Condition,
    pub(crate) key: Option<&'r KeyOf>,
    keys: BTreeMap<Option<String>, Memory<'r>>,
    pub(crate) firings: Vec<Offsets>,
}

/// What was seen of one key.
#[derive(Default)]
struct Memory<'r> {
    seen: Vec<&'r Event>,
    used_up: Offsets,
    /// Since when nothing but optional operands is missing, and nothing has fired.
    since: Option<Timestamp>,
    /// When it was looked at last.
    looked: Option<Timestamp>,
}

/// Which events are asked for.
#[derive(Clone)]
struct Ask<'r> {
    newest: Offset,
    now: Timestamp,
    after: Offset,
    floor: Timestamp,
    /// The windows around.
    windows: Vec<(&'r Window, &'r Condition)>,
    taken: Offsets,
    is_early: bool,
    /// Optional operands whose wait has been so long may be missing.
    waited: Option<Duration>,
    without_guards: bool,
}

impl Ask<'_> {
    fn new(newest: Offset, now: Timestamp) -> Self {
        let (after, floor) = (Offset::START, Timestamp::from_millis(i64::MIN));
        let (windows, taken) = (Vec::new(), Offsets::new());
        Self { newest, now, after, floor, windows, taken, is_early: false, waited: None, without_guards: false }
    }

    fn allows(&self, event: &Event) -> bool {
        event.offset > self.after && time_of(event) >= self.floor && !self.taken.contains(&event.offset)
    }
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
        self.pass_time(event.recorded);
        let key = match self.key {
            None => None,
            Some(KeyOf::Label(name)) => match event.context.labels.get(name) {
                Some(key) => Some(key.clone()),
                None => return,
            },
            Some(_) => unreachable!("no other key is generated"),
        };
        // Code that cannot say what an event is to it costs the rule the event.
        if customs(self.condition).iter().any(|on| is_any_match(*on, event)) && event.value.as_i64().is_none() {
            return;
        }
        let memory = self.keys.entry(key).or_default();
        memory.seen.push(event);
        if memory.is_news(self.condition, event, &[]) {
            memory.fire(self.condition, Some(event.offset), event.recorded, &mut self.firings);
        }
        memory.look(self.condition, event.recorded);
    }

    /// Lets the waits end that are over then.
    pub(crate) fn pass_time(&mut self, until: Timestamp) {
        let waits = waits(self.condition);
        loop {
            let dues = self.keys.iter().flat_map(|(key, memory)| {
                let dues = memory.since.into_iter().flat_map(|since| waits.iter().map(move |wait| since + *wait));
                dues.filter(|due| memory.looked.is_none_or(|looked| *due > looked)).map(|due| (due, key.clone()))
            });
            let Some((due, key)) = dues.filter(|(due, _)| *due <= until).min() else { return };
            let memory = self.keys.get_mut(&key).expect("it waits");
            memory.fire(self.condition, None, due, &mut self.firings);
            memory.look(self.condition, due);
        }
    }
}

impl<'r> Memory<'r> {
    /// Fires as often as what is known allows, because of an event or because a moment has come.
    fn fire(&mut self, condition: &'r Condition, news: Option<Offset>, now: Timestamp, firings: &mut Vec<Offsets>) {
        let ask = Ask::new(news.unwrap_or(Offset::START), now);
        let mut is_first = true;
        loop {
            let whole = self.met(condition, &ask);
            let has_waited = whole.is_none();
            let Some((used, used_up)) = whole.or_else(|| self.met_in_part(condition, &ask)) else { return };
            self.since = None;
            let is_news = is_first && (has_waited || used.contains(&ask.newest));
            if used_up.is_empty() && !is_news {
                return;
            }
            firings.push(used);
            if used_up.is_empty() {
                return;
            }
            self.used_up.extend(used_up);
            is_first = false;
        }
    }

    /// What a firing would use that has waited long enough for what is optional.
    fn met_in_part(&mut self, condition: &'r Condition, ask: &Ask<'r>) -> Option<(Offsets, Offsets)> {
        if !self.is_rest_met(condition, ask.now) {
            return None;
        }
        let since = *self.since.get_or_insert(ask.now);
        self.met(condition, &Ask { waited: Some(ask.now.since(since)), ..ask.clone() })
    }

    /// Whether nothing is missing but what is optional; guards only have a say when it comes to firing.
    fn is_rest_met(&self, condition: &'r Condition, now: Timestamp) -> bool {
        let ask = Ask { waited: Some(Duration::MAX), without_guards: true, ..Ask::new(Offset::START, now) };
        self.met(condition, &ask).is_some()
    }

    /// What is missing again is waited for anew.
    fn look(&mut self, condition: &'r Condition, now: Timestamp) {
        self.looked = Some(now);
        if !self.is_rest_met(condition, now) {
            self.since = None;
        }
    }

    /// Whether the event is one that an operand takes.
    fn is_news(&self, condition: &'r Condition, event: &Event, windows: &[(&'r Window, &'r Condition)]) -> bool {
        match condition {
            Condition::On(pattern) => is_match(pattern, event) && self.is_inside(event, windows, self.seen.len()),
            Condition::Custom { params, on, .. } => {
                let sums = self.sums(params.as_i64().expect("a number"), on, windows);
                sums.last().is_some_and(|sum| sum.last().is_some_and(|last| last.offset == event.offset))
            }
            Condition::NotWithin { .. } => false,
            Condition::Within { window, of } => self.is_news(of, event, &[windows, &[(window, &**of)]].concat()),
            other => children(other).into_iter().any(|child| self.is_news(child, event, windows)),
        }
    }

    /// Whether the event lies in the windows, as they stood when the first `n` events had come.
    fn is_inside(&self, event: &Event, windows: &[(&Window, &Condition)], n: usize) -> bool {
        windows.iter().all(|(window, of)| time_of(event) >= floor(&self.seen[..n], window, of))
    }

    /// The events that add up to the sum, one time after the other.
    fn sums(&self, sum: i64, on: &[EventPattern], windows: &[(&'r Window, &'r Condition)]) -> Vec<Vec<&'r Event>> {
        let counts =
            self.seen.iter().enumerate().filter(|(i, event)| {
                is_any_match(on, event) && event.value != 0 && self.is_inside(event, windows, i + 1)
            });
        let (mut sums, mut counted): (Vec<Vec<&Event>>, Vec<&Event>) = (Vec::new(), Vec::new());
        for (_, event) in counts {
            counted.push(event);
            if counted.iter().filter_map(|event| event.value.as_i64()).sum::<i64>() >= sum {
                sums.push(std::mem::take(&mut counted));
            }
        }
        sums
    }

    /// What a firing would use, and use up.
    fn met(&self, condition: &'r Condition, ask: &Ask<'r>) -> Option<(Offsets, Offsets)> {
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
                let windows = [&ask.windows[..], &[(window, &**of)]].concat();
                self.met(of, &Ask { floor: ask.floor.max(floor(&self.seen, window, of)), windows, ..ask.clone() })
            }
            Condition::Optional { of, wait: Wait::For(wait) } => {
                self.met(of, ask).or_else(|| ask.waited.is_some_and(|waited| waited >= *wait).then(Default::default))
            }
            Condition::Custom { params, on, .. } => {
                let is_left = |sum: &Vec<&Event>| !self.used_up.contains(&sum[sum.len() - 1].offset);
                let sums = self.sums(params.as_i64().expect("a number"), on, &ask.windows);
                let sum = sums.into_iter().filter(is_left).find(|sum| sum.iter().all(|event| ask.allows(event)))?;
                let used: Offsets = sum.into_iter().map(|event| event.offset).collect();
                Some((used.clone(), used))
            }
            Condition::NotWithin { .. } if ask.without_guards => Some(Default::default()),
            Condition::NotWithin { pattern, within } => {
                let last = self.seen.iter().filter(|event| is_match(pattern, event)).map(|event| time_of(event)).max();
                let is_met = last.is_none_or(|last| ask.now.since(last) > *within);
                is_met.then(Default::default)
            }
            _ => unreachable!("no other condition is generated"),
        }
    }

    fn operand(&self, pattern: &EventPattern, ask: &Ask<'r>) -> Option<(Offsets, Offsets)> {
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
        let allowed = offsets.into_iter().filter(|event| ask.allows(event)).map(|event| event.offset);
        let chosen = if pattern.life == Life::Repeated && !ask.is_early { allowed.max() } else { allowed.min() }?;
        let used_up = if pattern.life == Life::Repeated { Offsets::new() } else { Offsets::from([chosen]) };
        Some((Offsets::from([chosen]), used_up))
    }

    fn at_least(&self, n: usize, of: &'r [Condition], ask: &Ask<'r>) -> Option<(Offsets, Offsets)> {
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

/// Where the window lies when these events have come.
fn floor(seen: &[&Event], window: &Window, of: &Condition) -> Timestamp {
    let patterns = patterns(of);
    let times = seen.iter().filter(|event| is_any_match(patterns.iter().copied(), event)).map(|event| time_of(event));
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

fn is_any_match<'p>(patterns: impl IntoIterator<Item = &'p EventPattern>, event: &Event) -> bool {
    patterns.into_iter().any(|pattern| is_match(pattern, event))
}

fn children(condition: &Condition) -> Vec<&Condition> {
    match condition {
        Condition::On(_) | Condition::NotWithin { .. } | Condition::Custom { .. } => Vec::new(),
        Condition::All(of) | Condition::Any(of) | Condition::AtLeast { of, .. } | Condition::Sequence(of) => {
            of.iter().collect()
        }
        Condition::Count { of, .. } | Condition::Within { of, .. } | Condition::Optional { of, .. } => vec![of],
        _ => unreachable!("no other condition is generated"),
    }
}

/// The patterns of operands, without those of guards.
pub(crate) fn patterns(condition: &Condition) -> Vec<&EventPattern> {
    match condition {
        Condition::On(pattern) => vec![pattern],
        Condition::Custom { on, .. } => on.iter().collect(),
        other => children(other).into_iter().flat_map(patterns).collect(),
    }
}

/// How long optional operands are waited for.
fn waits(condition: &Condition) -> Vec<Duration> {
    let own = match condition {
        Condition::Optional { wait: Wait::For(wait), .. } => Some(*wait),
        _ => None,
    };
    own.into_iter().chain(children(condition).into_iter().flat_map(waits)).collect()
}

/// The patterns of custom code, each with its own.
fn customs(condition: &Condition) -> Vec<&[EventPattern]> {
    match condition {
        Condition::Custom { on, .. } => vec![on],
        other => children(other).into_iter().flat_map(customs).collect(),
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
