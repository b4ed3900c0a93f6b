//! The signal: has the log grown, is the store still open, and is it still the same?

use aiflow_core::id::Offset;
use aiflow_core::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// Wakes those who wait for events.
#[derive(Debug)]
pub(crate) struct Signal(watch::Sender<State>);

#[derive(Debug, Clone, Default)]
struct State {
    last: Offset,
    closed: bool,
    /// Why nothing more will come, if the server is not the one that was opened any more.
    broken: Option<String>,
}

impl Signal {
    pub(crate) fn new(last: Offset) -> Self {
        Self(watch::Sender::new(State { last, ..State::default() }))
    }

    /// The newest offset that was told.
    pub(crate) fn last(&self) -> Offset {
        self.0.borrow().last
    }

    /// The log reaches up to `last`.
    pub(crate) fn reached(&self, last: Offset) {
        self.0.send_if_modified(|state| {
            let grew = last > state.last;
            state.last = state.last.max(last);
            grew
        });
    }

    /// The store was closed.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// The server is not the one that was opened.
    pub(crate) fn broke(&self, why: &Error) {
        self.0.send_modify(|state| state.broken = Some(why.message().to_owned()));
    }

    /// Returns when the log is known to reach beyond `after`.
    pub(crate) async fn beyond(&self, after: Offset) -> Result<()> {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`.
        let seen = state.wait_for(|state| state.closed || state.broken.is_some() || state.last > after).await;
        match seen.as_deref() {
            Ok(State { closed: false, broken: None, .. }) => Ok(()),
            Ok(State { closed: false, broken: Some(why), .. }) => {
                Err(Error::new(ErrorKind::Corrupt, "wait", why.clone()))
            }
            _ => Err(closed("wait")),
        }
    }
}

/// The error of a closed store.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the store was closed")
}
