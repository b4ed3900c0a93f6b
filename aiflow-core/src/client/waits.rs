//! Waiting for executions: how do many waits share one look at the log?
//!
//! One of those who wait reads the log for all; when it leaves, another takes over. So a thousand waits cost one reader, and no task has
//! to be kept alive for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::bus::EventBus;
use crate::control::CONTROL_REFUSED;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, EventFilter, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::id::{Offset, WorkflowExecutionId};

/// How many events are read at a time.
const WAITS_PAGE_EVENTS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Held by the one who reads.
    reader: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Everything up to here was told to those who waited then.
    position: Offset,
    waiting: BTreeMap<WorkflowExecutionId, watch::Sender<()>>,
}

/// Someone's interest in an execution; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    waits: &'a Waits,
    execution: WorkflowExecutionId,
    news: watch::Receiver<()>,
}

impl Waits {
    /// Takes interest in what happens to `execution` from now on. `head` is an end of the log that was seen before.
    pub(super) fn ticket(&self, execution: WorkflowExecutionId, head: Offset) -> Ticket<'_> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.position = state.position.max(head);
        }
        let news = state.waiting.entry(execution).or_default().subscribe();
        Ticket { waits: self, execution, news }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the log for everyone until `news` has changed.
    async fn read(&self, bus: &dyn EventBus, news: watch::Receiver<()>) -> Result<()> {
        let _reader = self.reader.lock().await;
        while !news.has_changed().unwrap_or(true) {
            let position = self.state().position;
            bus.wait(position).await?;
            match self.read_page(bus, position).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Events were trimmed before they were read: everyone looks again.
                    let trimmed = bus.head().await?.trimmed;
                    if trimmed <= position {
                        return Err(error);
                    }
                    let mut state = self.state();
                    for news in state.waiting.values() {
                        news.send_replace(());
                    }
                    state.position = state.position.max(trimmed);
                }
                read => read?,
            }
        }
        Ok(())
    }

    /// Reads on after `position` and tells everyone concerned.
    async fn read_page(&self, bus: &dyn EventBus, position: Offset) -> Result<()> {
        let status = EventFilter::all().event_type(WORKFLOW_STATUS_CHANGED);
        let status = bus.read(position, &status, WAITS_PAGE_EVENTS).await?;
        let refused = EventFilter::all().namespace(SYSTEM_NAMESPACE).event_type(CONTROL_REFUSED);
        let refused = bus.read(position, &refused, WAITS_PAGE_EVENTS).await?;
        let covered = status.covered.min(refused.covered);
        let mut state = self.state();
        for event in status.events.iter().chain(&refused.events) {
            if let Some(news) = concerned(event).and_then(|id| state.waiting.get(&id)) {
                news.send_replace(());
            }
        }
        state.position = state.position.max(covered);
        Ok(())
    }
}

/// The execution that an event tells of.
fn concerned(event: &Event) -> Option<WorkflowExecutionId> {
    if event.event_type == CONTROL_REFUSED {
        let request = event.key.parse().ok()?;
        return Some(WorkflowExecutionId::new(Offset(request), 0));
    }
    event.context.workflow_execution
}

impl Ticket<'_> {
    /// Forgets the news so far: what is looked up after this call is at least as new as they.
    pub(super) fn forget(&mut self) {
        self.news.mark_unchanged();
    }

    /// Returns when there is news since [`forget`](Self::forget). Cancel safe.
    pub(super) async fn news(&mut self, bus: &dyn EventBus) -> Result<()> {
        let mine = self.news.clone();
        tokio::select! {
            biased;
            // The sender stays while this ticket lives.
            _ = self.news.changed() => Ok(()),
            read = self.waits.read(bus, mine) => read,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.waits.state();
        // This ticket's own receiver is still counted.
        if state.waiting.get(&self.execution).is_some_and(|news| news.receiver_count() <= 1) {
            state.waiting.remove(&self.execution);
        }
    }
}
