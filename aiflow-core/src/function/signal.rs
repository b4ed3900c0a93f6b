//! Values for running functions: what was handed over, and what has the function taken?

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::attempt::Attempt;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{ReportKind, SIGNALS_PENDING_MAX, Signal};
use crate::id::FiringId;

/// How many of the last values are remembered, so that one that comes again is not given again.
const HEARD_MAX: usize = 1_024;

/// The values of an attempt that wait to be taken.
#[derive(Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Signal>,
    heard: VecDeque<FiringId>,
}

impl Signals {
    pub(super) fn push(&self, signal: Signal) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.heard.contains(&signal.id) {
            return Ok(());
        }
        if state.waiting.len() >= SIGNALS_PENDING_MAX {
            let message = format!("{SIGNALS_PENDING_MAX} values wait to be taken already");
            return Err(Error::new(ErrorKind::Full, "signal", message));
        }
        if state.heard.len() >= HEARD_MAX {
            state.heard.pop_front();
        }
        state.heard.push_back(signal.id);
        state.waiting.push_back(signal);
        drop(state);
        self.came.notify_one();
        Ok(())
    }

    pub(super) async fn next(&self) -> Signal {
        loop {
            // The permit of a wait that is given up in this moment is passed on: nothing is lost.
            let came = self.came.notified();
            if let Some(signal) = self.take() {
                return signal;
            }
            came.await;
        }
    }

    fn take(&self) -> Option<Signal> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = state.waiting.pop_front();
        if !state.waiting.is_empty() {
            self.came.notify_one();
        }
        signal
    }
}

/// A value that was handed to the running function. Acknowledge it once it is in use: without that, the job is restarted with it.
pub struct ReceivedSignal {
    signal: Signal,
    attempt: Arc<Attempt>,
}

impl ReceivedSignal {
    pub(super) fn new(signal: Signal, attempt: Arc<Attempt>) -> Self {
        Self { signal, attempt }
    }

    /// Its identity. After a crash of the scheduler an attempt gets a value once all the same; the next attempt may get it again.
    #[must_use]
    pub fn id(&self) -> FiringId {
        self.signal.id
    }

    /// Key of the event that the value is of; empty if it was given by hand.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.signal.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.signal.value
    }

    /// Parameters of the rule that hands it over.
    #[must_use]
    pub fn params(&self) -> &Value {
        &self.signal.params
    }

    /// Says that the value was taken; durable when this returns.
    ///
    /// # Errors
    /// As [`AiFlow::publish`](crate::client::AiFlow::publish): call it again.
    pub async fn acknowledge(&self) -> Result<()> {
        self.attempt.say(ReportKind::Acknowledged { signal: self.signal.id }).await
    }
}

impl fmt::Debug for ReceivedSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceivedSignal").field(&self.signal).finish()
    }
}
