//! The event log in memory: which offset does an event get, and which events lie after one?

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bus::Head;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventFilter, NewEvent};
use crate::id::Offset;
use crate::time::Timestamp;

/// The most events that one `read` looks at, so that a filter that matches little does not hold up the others.
const SCAN_EVENTS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Log {
    events: BTreeMap<Offset, Arc<Event>>,
    by_id: BTreeMap<String, Offset>,
    head: Head,
    /// The newest `recorded`; the next is never before it, whatever the clock does.
    recorded: Timestamp,
}

impl Log {
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Appends all of `events`, or none if one contradicts an event of the same id; recorded at the moments given, or `now`.
    pub(super) fn append(
        &mut self,
        operation: &'static str,
        events: Vec<NewEvent>,
        recorded: &[Timestamp],
        now: Timestamp,
    ) -> Result<Vec<Offset>> {
        let offsets = self.place(operation, &events)?;
        for (index, (body, offset)) in events.into_iter().zip(&offsets).enumerate() {
            if *offset <= self.head.last {
                continue;
            }
            self.recorded = self.recorded.max(recorded.get(index).copied().unwrap_or(now));
            self.head.last = *offset;
            self.by_id.insert(body.id.clone(), *offset);
            let event = Event { offset: *offset, recorded: self.recorded, body };
            self.events.insert(*offset, Arc::new(event));
        }
        Ok(offsets)
    }

    /// Where each event stands or will stand.
    fn place(&self, operation: &'static str, events: &[NewEvent]) -> Result<Vec<Offset>> {
        let mut fresh: BTreeMap<&str, (Offset, &NewEvent)> = BTreeMap::new();
        let mut last = self.head.last;
        let mut offsets = Vec::with_capacity(events.len());
        for event in events {
            let known = match self.by_id.get(&event.id) {
                Some(offset) => self.events.get(offset).map(|known| (*offset, &known.body)),
                None => fresh.get(event.id.as_str()).copied(),
            };
            let offset = match known {
                Some((offset, known)) if known.says_the_same(event) => offset,
                Some((offset, _)) => {
                    return Err(Error::new(
                        ErrorKind::AlreadyExists,
                        operation,
                        "an event with this id and other content is in the log",
                    )
                    .with("id", event.id.escape_default())
                    .with("offset", offset));
                }
                None => {
                    last = last.next();
                    fresh.insert(&event.id, (last, event));
                    last
                }
            };
            offsets.push(offset);
        }
        Ok(offsets)
    }

    /// At most `max` matching events after `after`, and the offset up to which everything was looked at.
    pub(super) fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<(Vec<Arc<Event>>, Offset)> {
        if after < self.head.trimmed {
            return Err(Error::not_found("read", "events after this offset were trimmed")
                .with("after", after)
                .with("trimmed", self.head.trimmed));
        }
        let mut found = Vec::new();
        for (looked_at, (offset, event)) in self.events.range(after.next()..).enumerate() {
            if filter.matches(event) {
                found.push(Arc::clone(event));
            }
            if found.len() == max || looked_at + 1 == SCAN_EVENTS_MAX {
                return Ok((found, *offset));
            }
        }
        Ok((found, after.max(self.head.last)))
    }

    pub(super) fn trim(&mut self, through: Offset) {
        let through = through.min(self.head.last);
        if through <= self.head.trimmed {
            return;
        }
        let kept = self.events.split_off(&through.next());
        for event in std::mem::replace(&mut self.events, kept).into_values() {
            self.by_id.remove(&event.id);
        }
        self.head.trimmed = through;
    }
}
