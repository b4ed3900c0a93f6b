//! The signal: has the log grown, and is the store still open?

use aiflow_core::id::Offset;
use aiflow_core::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// Wakes those who wait for events, without their asking again and again.
#[derive(Debug)]
pub(crate) struct Signal(watch::Sender<State>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    last: Offset,
    closed: bool,
}

impl Signal {
    pub(crate) fn new(last: Offset) -> Self {
        Self(watch::Sender::new(State { last, closed: false }))
    }

    /// The log reaches up to `last`.
    pub(crate) fn reached(&self, last: Offset) {
        self.0.send_if_modified(|state| {
            let grew = last > state.last;
            state.last = state.last.max(last);
            grew
        });
    }

    /// How far the log is known to reach.
    pub(crate) fn known(&self) -> Offset {
        self.0.borrow().last
    }

    /// The store was closed.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Fails if the store was closed.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        if self.0.borrow().closed {
            return Err(closed(operation));
        }
        Ok(())
    }

    /// Returns when the log is known to reach beyond `after`.
    pub(crate) async fn beyond(&self, after: Offset) -> Result<()> {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`.
        let seen = state.wait_for(|state| state.closed || state.last > after).await;
        match seen {
            Ok(state) if !state.closed => Ok(()),
            _ => Err(closed("wait")),
        }
    }
}

/// The error of a closed store.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store was closed")
}
