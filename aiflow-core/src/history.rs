//! History: which events of the log does a rule see that begins in the past?
//!
//! The engine says what it wants ([`HistoryRead`], in a [`CatchUp`](crate::control::Control::CatchUp) event on the log), whoever runs the
//! engine reads it ([`read_history`]) and gives it along with that event. What is read depends on the log before that event alone, so that a
//! replay reads the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bus::EventBus;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventFilter, NewEvent, SYSTEM_NAMESPACE};
use crate::id::{Offset, WorkflowExecutionId};
use crate::workflow::{ContextOf, Contexts, KeyOf};

/// The most events that a rule is shown at once; it goes on with the next ones in a decision of its own.
pub const HISTORY_EVENTS_PAGE: usize = 1_000;
/// The most filters with which history is read; a rule with more patterns reads more than it needs.
pub const HISTORY_FILTERS_MAX: usize = 16;
/// The most keys of which the newest event is looked for; the newest of these events are shown.
pub const HISTORY_KEYS_MAX: usize = 10_000;
/// So far back the newest event of a key is looked for, in events of the log.
pub const HISTORY_REACH: u64 = 1_000_000;
/// How often reading begins anew because the log was trimmed meanwhile.
const TRIES_MAX: usize = 3;

/// What a rule is to be shown of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRead {
    /// Events that one of these wants; at most [`HISTORY_FILTERS_MAX`].
    pub filters: Vec<EventFilter>,
    /// Those after this one.
    pub after: Offset,
    /// These events before any others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Up to here, only the newest event of each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_through: Option<Offset>,
    /// What tells keys apart beside namespace, key and type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<KeyOf>,
    /// The workflow execution whose rule it is, if it is that of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<WorkflowExecutionId>,
    /// The context of that execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where events name the contexts that they concern.
    #[serde(default, skip_serializing_if = "ContextOf::is_event")]
    pub contexts: ContextOf,
    /// It sees events of other executions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub others: bool,
}

/// Events of an earlier run that a rule of a [rerun](crate::rerun::RerunPlan) is shown as if they were of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The events, oldest first.
    pub events: Vec<Offset>,
    /// What follows them are the events after this one: the one that began the rerun.
    pub then: Offset,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The events, oldest first; at most [`HISTORY_EVENTS_PAGE`].
    pub events: Vec<Arc<Event>>,
    /// Nothing up to here could be shown: not less than was asked for, more if events were trimmed or are out of reach.
    pub after: Offset,
    /// Everything up to here was looked at.
    pub covered: Offset,
    /// There are more than [`HISTORY_KEYS_MAX`] keys: of those whose newest event is the oldest nothing is shown.
    pub is_cut: bool,
}

impl HistoryRead {
    /// Whether the rule sees such an event. A dead letter that was said again for one rule is not meant: the event itself is in history.
    #[must_use]
    pub fn wants(&self, event: &NewEvent) -> bool {
        let context = &event.context;
        let concerns = match (self.execution, context.workflow_execution) {
            (None, _) => !context.quiet && self.contexts.of(event).is_some(),
            (Some(own), Some(of)) => of == own || (self.others && !context.quiet),
            (Some(_), None) => {
                let concern = |contexts: Contexts| contexts.concern(self.context.as_deref());
                self.others || self.contexts.of(event).is_some_and(concern)
            }
        };
        concerns
            && event.namespace != SYSTEM_NAMESPACE
            && context.only_rule.is_none()
            && self.filters.iter().any(|filter| filter.matches(event))
    }

    fn key_of(&self, event: &NewEvent) -> (String, String, String, Option<String>) {
        let per = self.per.as_ref().and_then(|per| per.of(event));
        (event.namespace.clone(), event.key.clone(), event.event_type.clone(), per)
    }
}

/// Reads what a rule is to be shown of the events before `before`.
///
/// # Errors
/// Those of the log.
pub async fn read_history(bus: &dyn EventBus, read: &HistoryRead, before: Offset) -> Result<History> {
    let mut tries = 1;
    loop {
        let reader = Reader { bus, read, last: Offset(before.0.saturating_sub(1)) };
        match reader.read().await {
            Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES_MAX => tries += 1,
            history => return history,
        }
    }
}

struct Reader<'a> {
    bus: &'a dyn EventBus,
    read: &'a HistoryRead,
    /// The last event that counts.
    last: Offset,
}

impl Reader<'_> {
    async fn read(&self) -> Result<History> {
        let trimmed = self.bus.head().await?.trimmed;
        let through = self.read.latest_through.map(|through| through.min(self.last));
        let reach = through.map_or(Offset::START, |through| Offset(through.0.saturating_sub(HISTORY_REACH)));
        let after = self.read.after.max(trimmed).max(reach);
        let mut history = History { after, covered: after, ..History::default() };
        if let Some(again) = &self.read.again {
            self.read_again(&mut history, again, trimmed).await?;
            if history.covered < again.then {
                return Ok(history);
            }
        }
        if let Some(through) = through.filter(|through| *through > after) {
            self.read_latest(&mut history, through).await?;
            if history.covered < through {
                return Ok(history);
            }
        }
        while history.covered < self.last && history.events.len() < HISTORY_EVENTS_PAGE {
            let room = HISTORY_EVENTS_PAGE.saturating_sub(history.events.len());
            let (events, covered) = self.page(history.covered, self.last, room).await?;
            history.events.extend(events);
            history.covered = covered;
        }
        Ok(history)
    }

    /// Adds the events that are shown again, as many as a page holds.
    async fn read_again(&self, history: &mut History, again: &Again, trimmed: Offset) -> Result<()> {
        let asked = self.read.after;
        let (lost, rest): (Vec<Offset>, Vec<Offset>) =
            again.events.iter().filter(|offset| **offset > asked).partition(|offset| **offset <= trimmed);
        // What follows the events that are shown again may be gone as well.
        let gone = Some(trimmed).filter(|trimmed| *trimmed > again.then);
        history.after = gone.or(lost.last().copied()).unwrap_or(asked);
        for offset in rest.iter().take(HISTORY_EVENTS_PAGE) {
            let before = Offset(offset.0.saturating_sub(1));
            let page = self.bus.read(before, &EventFilter::all(), 1).await?;
            let found = page.events.into_iter().find(|event| event.offset == *offset);
            history.events.extend(found.map(|event| self.as_own(&event)));
        }
        let is_all = rest.len() <= HISTORY_EVENTS_PAGE;
        history.covered = match history.events.last() {
            Some(last) if !is_all => last.offset,
            _ => again.then.max(trimmed).max(asked),
        };
        Ok(())
    }

    /// The event as one of the execution that is shown it.
    fn as_own(&self, event: &Event) -> Arc<Event> {
        let mut event = event.clone();
        let context = &mut event.body.context;
        context.only_rule = None;
        if context.workflow_execution.is_some() {
            context.workflow_execution = self.read.execution;
        }
        Arc::new(event)
    }

    /// Adds the newest event of each key up to `through`, as many as a page holds.
    async fn read_latest(&self, history: &mut History, through: Offset) -> Result<()> {
        let mut newest: BTreeMap<_, Offset> = BTreeMap::new();
        let mut kept: BTreeMap<Offset, (_, Arc<Event>)> = BTreeMap::new();
        let mut at = history.covered;
        while at < through {
            let (events, covered) = self.page(at, through, HISTORY_EVENTS_PAGE).await?;
            at = covered;
            for event in events {
                let key = self.read.key_of(&event);
                if let Some(older) = newest.insert(key.clone(), event.offset) {
                    kept.remove(&older);
                }
                kept.insert(event.offset, (key, event));
                if kept.len() > HISTORY_KEYS_MAX
                    && let Some((_, (key, _))) = kept.pop_first()
                {
                    newest.remove(&key);
                    history.is_cut = true;
                }
            }
        }
        let is_all = kept.len() <= HISTORY_EVENTS_PAGE;
        history.events.extend(kept.into_values().take(HISTORY_EVENTS_PAGE).map(|(_, event)| event));
        history.covered = match history.events.last() {
            Some(last) if !is_all => last.offset,
            _ => through,
        };
        Ok(())
    }

    /// At most `max` wanted events after `after` and up to `last`, and up to where the log was looked at, which is beyond `after`.
    async fn page(&self, after: Offset, last: Offset, max: usize) -> Result<(Vec<Arc<Event>>, Offset)> {
        let mut found: BTreeMap<Offset, Arc<Event>> = BTreeMap::new();
        let mut covered = last;
        for filter in &self.read.filters {
            let page = self.bus.read(after, filter, max).await?;
            covered = covered.min(page.covered);
            found.extend(page.events.into_iter().map(|event| (event.offset, event)));
        }
        if covered <= after {
            return Err(Error::new(ErrorKind::Unavailable, "read history", "the log gives no further events"));
        }
        let is_wanted = |event: &Arc<Event>| event.offset <= covered && self.read.wants(event);
        let mut events: Vec<Arc<Event>> = found.into_values().filter(is_wanted).collect();
        if events.len() > max {
            events.truncate(max);
            covered = events.last().map_or(covered, |event| event.offset);
        }
        Ok((events, covered))
    }
}
