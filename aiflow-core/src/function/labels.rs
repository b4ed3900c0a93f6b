//! Labels of a running attempt: what does it say about itself, and when is that told?

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::attempt::Attempt;
use crate::error::{Error, Result, Retry};
use crate::executor::ReportKind;
use crate::job_labels::{JOB_LABELS_MAX, LabelChanges, check_label_changes};

/// The shortest time between two messages about the labels of an attempt; what changes meanwhile is told together.
pub const LABELS_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Labels {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    known: BTreeMap<String, String>,
    /// What has changed and was not told.
    untold: LabelChanges,
    /// What is being told: the same again until that has worked.
    telling: Option<LabelChanges>,
    number: u64,
}

impl Labels {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets or takes away a label.
    pub(super) fn change(&self, name: String, value: Option<String>) -> Result<()> {
        let changes = LabelChanges::from([(name, value)]);
        check_label_changes(&changes)?;
        let mut state = self.state();
        for (name, value) in changes {
            if state.known.get(&name) == value.as_ref() {
                continue;
            }
            match &value {
                Some(_) if state.known.len() >= JOB_LABELS_MAX && !state.known.contains_key(&name) => {
                    let message = format!("the job has {JOB_LABELS_MAX} labels already, and no more are allowed");
                    return Err(Error::invalid("label", message).with("label", name));
                }
                Some(value) => _ = state.known.insert(name.clone(), value.clone()),
                None => _ = state.known.remove(&name),
            }
            state.untold.insert(name, value);
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// What is to be told next, with its number.
    fn next(&self) -> Option<(u64, LabelChanges)> {
        let mut state = self.state();
        if state.telling.is_none() && !state.untold.is_empty() {
            state.telling = Some(std::mem::take(&mut state.untold));
            state.number += 1;
        }
        Some((state.number, state.telling.clone()?))
    }

    /// Tells what changes for as long as it is polled. What it was telling when it is dropped is told again.
    pub(super) async fn keep_telling(&self, attempt: &Attempt) {
        loop {
            self.changed.notified().await;
            if self.tell(attempt).await.is_err() {
                self.changed.notify_one();
            }
            tokio::time::sleep(LABELS_PAUSE).await;
        }
    }

    /// Tells what is untold; an attempt that ends does so once.
    pub(super) async fn tell(&self, attempt: &Attempt) -> Result<()> {
        while let Some((number, labels)) = self.next() {
            let told = attempt.say(ReportKind::Labels { number, labels }).await;
            if let Err(error) = &told {
                tracing::warn!(attempt = %attempt.identity().attempt, %error, "the labels of a job could not be told");
                if error.retry() != Retry::Never {
                    return told;
                }
            }
            self.state().telling = None;
        }
        Ok(())
    }
}
