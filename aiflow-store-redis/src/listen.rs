//! Listening: how does a process learn of events that others appended, without asking again and again?
//!
//! On a connection of its own, on which the server holds its answer back until there is an event behind the newest one known. Begun by the
//! first who waits. A connection that broke is made anew, and then the end of the log is asked for, so that nothing is missed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiflow_core::id::Offset;
use aiflow_core::{ErrorKind, Result};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::task::AbortHandle;

use crate::answer::Answer;
use crate::calls::Calls;
use crate::error::{Phase, convert};
use crate::link::Address;
use crate::signal::Signal;

/// How long the server holds its answer back at most. A connection on which nothing comes for longer than this, and the time that an answer
/// may take, counts as lost.
const HOLD: Duration = Duration::from_secs(5);
/// The pauses between tries to connect, from the first to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The task that listens, once somebody waits.
#[derive(Debug, Default)]
pub(crate) struct Listener(Mutex<Option<AbortHandle>>);

impl Listener {
    /// Begins to listen, unless it has begun.
    pub(crate) fn begin(&self, address: &Address, calls: &Arc<Calls>, signal: &Arc<Signal>) {
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            let listening = listen(address.clone().patient(HOLD), Arc::clone(calls), Arc::clone(signal));
            *task = Some(tokio::spawn(listening).abort_handle());
        }
    }

    pub(crate) fn end(&self) {
        if let Some(task) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end();
    }
}

/// Listens until it is aborted, or the server is not the one that was opened.
async fn listen(address: Address, calls: Arc<Calls>, signal: Arc<Signal>) {
    let mut pause = PAUSE_MIN;
    loop {
        let before = signal.last();
        let Err(error) = listen_once(&address, &calls, &signal).await;
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Closed) {
            signal.broke(&error);
            return;
        }
        tracing::warn!(%error, "listening for events was interrupted; trying again");
        pause = if signal.last() > before { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

async fn listen_once(address: &Address, calls: &Calls, signal: &Signal) -> Result<std::convert::Infallible> {
    let mut conn = address.connect().await?;
    loop {
        // Also says whether the server is still the one that was opened.
        let last = calls.read("wait", |_| {}).await?.last;
        signal.reached(last);
        while !hold(&mut conn, calls.keys().log(), signal).await? {
            calls.read("wait", |_| {}).await?;
        }
    }
}

/// Returns when there is an event behind those known, and tells of it; false if there was none for long.
async fn hold(conn: &mut MultiplexedConnection, log: &str, signal: &Signal) -> Result<bool> {
    let mut cmd = redis::cmd("XREAD");
    cmd.arg("COUNT").arg(1).arg("BLOCK").arg(HOLD.as_secs().saturating_mul(1_000));
    cmd.arg("STREAMS").arg(log).arg(format!("{}-0", signal.last()));
    let answer: Value = cmd.query_async(conn).await.map_err(|fault| convert(fault, "wait", Phase::Repeatable))?;
    if answer == Value::Nil {
        return Ok(false);
    }
    // One stream: its name and its entries, each an id and fields.
    let mut stream = Answer::new(answer, "wait")?.list()?;
    stream.bytes()?;
    let id = stream.list()?.list()?.text()?;
    if let Some(offset) = id.split('-').next().and_then(|offset| offset.parse().ok()) {
        signal.reached(Offset(offset));
    }
    Ok(true)
}
