//! Listening: which event comes next for a reader that keeps its own position?

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bus::EventBus;
use crate::error::Result;
use crate::event::{Event, EventFilter};
use crate::id::Offset;

/// The most events a listener reads ahead.
const LISTENER_EVENTS_MAX: usize = 256;

/// Reads the log at its own pace, from any position, without missing or repeating an event.
///
/// It holds at most a few hundred events in memory, asks for more when they are used up, and sleeps until the log grows.
#[derive(Debug)]
pub struct Listener {
    bus: Arc<dyn EventBus>,
    filter: EventFilter,
    /// Read and not handed out yet, oldest first.
    ahead: VecDeque<Arc<Event>>,
    /// Everything up to here was read.
    covered: Offset,
    /// Everything up to here was handed out.
    position: Offset,
}

impl Listener {
    pub(super) fn new(bus: Arc<dyn EventBus>, filter: EventFilter, after: Offset) -> Self {
        Self { bus, filter, ahead: VecDeque::new(), covered: after, position: after }
    }

    /// The next event; waits until there is one.
    ///
    /// Cancel safe: dropping the future loses nothing, the next call returns the same event.
    ///
    /// # Errors
    /// `NotFound`: events that this listener had not read were trimmed; listen anew from where the log begins. Others are those of the log.
    pub async fn next(&mut self) -> Result<Arc<Event>> {
        loop {
            // Waiting costs nothing while there is more; reading at the end of the log would ask the backend in vain.
            if self.ahead.is_empty() {
                self.bus.wait(self.covered).await?;
            }
            if let Some(event) = self.try_next().await? {
                return Ok(event);
            }
        }
    }

    /// The next event that is in the log already; `None` if there is none yet. Cancel safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<Arc<Event>>> {
        while self.ahead.is_empty() {
            let page = self.bus.read(self.covered, &self.filter, LISTENER_EVENTS_MAX).await?;
            let is_end = page.covered <= self.covered;
            self.covered = self.covered.max(page.covered);
            self.ahead = page.events.into();
            if self.ahead.is_empty() {
                self.position = self.covered;
                if is_end {
                    return Ok(None);
                }
            }
        }
        let event = self.ahead.pop_front();
        if let Some(event) = &event {
            self.position = event.offset;
        }
        Ok(event)
    }

    /// Where to listen on: everything up to here was handed out or did not match.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.position
    }
}
