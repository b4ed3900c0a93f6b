//! The tail of the log: what was appended last, as it lies in memory?
//!
//! Listeners of the same process are nearly always at the end of the log. They get their events from here, without asking the file; the
//! file is the truth, and everybody who reads from further back, or after events of another process, asks it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aiflow_core::bus::EventPage;
use aiflow_core::event::{Event, EventFilter};
use aiflow_core::id::Offset;

/// The most events kept.
const TAIL_EVENTS_MAX: usize = 8_192;
/// The most bytes of text kept.
const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Events that lie in the log without a gap between them.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    recent: Mutex<Recent>,
    /// A transaction is under way: the file may hold its events already, beside records that others have seen.
    is_behind: AtomicBool,
}

#[derive(Debug, Default)]
struct Recent {
    /// Oldest first, each with its bytes.
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
}

impl Tail {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        // The list is whole at every moment, also when a thread died holding it.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a transaction is under way whose events are not here yet.
    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::SeqCst);
    }

    /// Adds events that were appended, in their order, each with its bytes of text.
    pub(crate) fn push(&self, events: impl Iterator<Item = (Arc<Event>, usize)>) {
        let mut recent = self.recent();
        for (event, bytes) in events {
            recent.push(event, bytes);
        }
    }

    /// Forgets everything up to and including `through`.
    pub(crate) fn trim(&self, through: Offset) {
        let mut recent = self.recent();
        while recent.events.front().is_some_and(|(event, _)| event.offset <= through) {
            recent.pop();
        }
    }

    /// What the log holds after `after`, as far as it lies here; `None` if nothing does, so that the file must be asked.
    pub(crate) fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Option<EventPage> {
        // Asked first: what was seen in the file before this call is here unless it is so now.
        let is_behind = self.is_behind.load(Ordering::SeqCst);
        let recent = self.recent();
        let first = recent.events.front()?.0.offset;
        let skip = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        let mut covered = after;
        let mut events = Vec::new();
        for (event, _) in recent.events.range(skip.min(recent.events.len())..) {
            if events.len() == max {
                break;
            }
            covered = event.offset;
            if filter.matches(event) {
                events.push(Arc::clone(event));
            }
        }
        (covered > after && (events.len() == max || !is_behind)).then_some(EventPage { events, covered })
    }
}

impl Recent {
    fn push(&mut self, event: Arc<Event>, bytes: usize) {
        if self.events.back().is_some_and(|(last, _)| last.offset.next() != event.offset) {
            // Another process has appended in between.
            *self = Self::default();
        }
        self.bytes += bytes;
        self.events.push_back((event, bytes));
        while self.events.len() > TAIL_EVENTS_MAX || (self.bytes > TAIL_BYTES_MAX && self.events.len() > 1) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, bytes)) = self.events.pop_front() {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use aiflow_core::event::NewEvent;
    use aiflow_core::time::Timestamp;

    use super::*;

    fn push(tail: &Tail, offsets: std::ops::RangeInclusive<u64>) {
        tail.push(offsets.map(|offset| {
            let body = NewEvent::identified(offset.to_string(), "wine", if offset % 2 == 0 { "even" } else { "odd" });
            (Arc::new(Event { offset: Offset(offset), recorded: Timestamp::EPOCH, body }), 1_000)
        }));
    }

    fn read(tail: &Tail, after: u64, key: &str, max: usize) -> Option<(Vec<u64>, u64)> {
        let page = tail.read(Offset(after), &EventFilter::all().key(key), max)?;
        Some((page.events.iter().map(|event| event.offset.0).collect(), page.covered.0))
    }

    #[test]
    fn what_lies_here_is_served_and_nothing_else() {
        let tail = Tail::default();
        assert_eq!(read(&tail, 0, "*", 9), None);
        push(&tail, 5..=8);
        assert_eq!(read(&tail, 3, "*", 9), None, "4 may be in the file");
        assert_eq!(read(&tail, 4, "*", 9), Some((vec![5, 6, 7, 8], 8)));
        assert_eq!(read(&tail, 6, "*", 1), Some((vec![7], 7)));
        assert_eq!(read(&tail, 4, "even", 1), Some((vec![6], 6)));
        assert_eq!(read(&tail, 6, "odd", 9), Some((vec![7], 8)));
        assert_eq!(read(&tail, 7, "odd", 9), Some((vec![], 8)));
        assert_eq!(read(&tail, 8, "*", 9), None, "another process may have appended");
        assert_eq!(read(&tail, 99, "*", 9), None);
        assert_eq!(read(&tail, u64::MAX, "*", 9), None);
    }

    #[test]
    fn a_gap_begins_it_anew() {
        let tail = Tail::default();
        push(&tail, 1..=3);
        push(&tail, 6..=7);
        assert_eq!(read(&tail, 2, "*", 9), None);
        assert_eq!(read(&tail, 5, "*", 9), Some((vec![6, 7], 7)));
    }

    #[test]
    fn it_is_bounded_and_can_be_trimmed() {
        let tail = Tail::default();
        push(&tail, 1..=10_000);
        let held = tail.recent().events.len();
        assert_eq!(held, TAIL_BYTES_MAX / 1_000);
        tail.trim(Offset(9_998));
        assert_eq!(read(&tail, 9_997, "*", 9), None);
        assert_eq!(read(&tail, 9_998, "*", 9), Some((vec![9_999, 10_000], 10_000)));
        tail.trim(Offset(10_000));
        assert_eq!(tail.recent().bytes, 0);
    }
}
