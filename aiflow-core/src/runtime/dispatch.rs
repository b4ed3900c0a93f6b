//! Commands to executors: how does a committed decision reach the platforms?
//!
//! One task and one bounded queue an executor. Launches run several at a time; a stop waits for the launches before it, so that no stop
//! overtakes the start it is meant for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::settings::{Backoff, Settings};
use crate::bus::EventBus;
use crate::error::{Error, Result, Retry};
use crate::event::{Event, EventFilter};
use crate::executor::{Ending, Executor, Launch, Report, ReportKind, Reporter, StopMode};
use crate::id::{AttemptId, ExecutorName, Offset};
use crate::time::Clock;

/// What is handed to the task of an executor.
#[derive(Debug)]
pub(super) enum Dispatch {
    /// Start an attempt. `missing` are offsets of its events that are not in the launch yet.
    Launch { launch: Box<Launch>, missing: Vec<Offset> },
    /// Stop an attempt.
    Stop { attempt: AttemptId, mode: StopMode },
}

/// The sending ends of all executors' queues.
#[derive(Debug, Default)]
pub(super) struct Dispatchers {
    queues: BTreeMap<ExecutorName, mpsc::Sender<Dispatch>>,
}

impl Dispatchers {
    /// Starts one task an executor in `tasks`. They end when this is dropped.
    pub(super) fn start(
        tasks: &mut JoinSet<()>,
        executors: &BTreeMap<ExecutorName, Arc<dyn Executor>>,
        bus: &Arc<dyn EventBus>,
        reporter: &Reporter,
        clock: &Arc<dyn Clock>,
        settings: &Settings,
    ) -> Self {
        let queues = executors.iter().map(|(name, executor)| {
            let (sender, receiver) = mpsc::channel(settings.dispatch_queue.max(1));
            let dispatcher = Dispatcher {
                executor: Arc::clone(executor),
                bus: Arc::clone(bus),
                reporter: reporter.clone(),
                clock: Arc::clone(clock),
                settings: settings.clone(),
            };
            tasks.spawn(dispatcher.run(receiver));
            (name.clone(), sender)
        });
        Self { queues: queues.collect() }
    }

    /// Hands a command over; waits while the queue is full. False if no such executor is registered.
    pub(super) async fn send(&self, executor: &ExecutorName, dispatch: Dispatch) -> bool {
        match self.queues.get(executor) {
            Some(queue) => {
                // The receiving task ends only after this sender is dropped.
                let _ = queue.send(dispatch).await;
                true
            }
            None => false,
        }
    }
}

#[derive(Debug, Clone)]
struct Dispatcher {
    executor: Arc<dyn Executor>,
    bus: Arc<dyn EventBus>,
    reporter: Reporter,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

impl Dispatcher {
    async fn run(self, mut queue: mpsc::Receiver<Dispatch>) {
        let mut launches = JoinSet::new();
        while let Some(dispatch) = queue.recv().await {
            match dispatch {
                Dispatch::Launch { launch, missing } => {
                    while launches.len() >= self.settings.submits_at_once.max(1) {
                        launches.join_next().await;
                    }
                    launches.spawn(self.clone().launch(*launch, missing));
                }
                Dispatch::Stop { attempt, mode } => {
                    while launches.join_next().await.is_some() {}
                    self.stop(attempt, mode).await;
                }
            }
        }
        while launches.join_next().await.is_some() {}
    }

    async fn launch(self, mut launch: Launch, missing: Vec<Offset>) {
        for offset in missing {
            match self.event_at(offset).await {
                Ok(Some(event)) => launch.events.push(event),
                Ok(None) => {
                    tracing::warn!(%offset, attempt = %launch.attempt, "an event that fired the job is no longer in the log")
                }
                Err(error) => {
                    tracing::warn!(%error, attempt = %launch.attempt, "an event that fired the job could not be read")
                }
            }
        }
        launch.events.sort_by_key(|event| event.offset);
        let attempt = launch.attempt;
        let mut backoff = Backoff::new(self.settings.backoff_max);
        loop {
            match self.executor.submit(launch.clone()).await {
                Ok(_) => return,
                Err(error) if error.retry() == Retry::Never => {
                    return self.report_refused(attempt, &error).await;
                }
                Err(error) => {
                    tracing::warn!(%error, %attempt, "submit failed; trying again");
                    backoff.pause().await;
                }
            }
        }
    }

    async fn event_at(&self, offset: Offset) -> Result<Option<Arc<Event>>> {
        let before = Offset(offset.0.saturating_sub(1));
        let page = self.bus.read(before, &EventFilter::all(), 1).await?;
        Ok(page.events.into_iter().next().filter(|event| event.offset == offset))
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        while let Err(error) = self.executor.stop(attempt, mode).await {
            tracing::warn!(%error, %attempt, "stop failed");
            if error.retry() == Retry::Never {
                return;
            }
            backoff.pause().await;
        }
    }

    async fn report_refused(&self, attempt: AttemptId, error: &Error) {
        let ending = Ending::Failed { message: error.to_string(), exit_code: None, retryable: false };
        let report = Report { attempt, at: self.clock.now(), kind: ReportKind::Ended(ending) };
        // If the scheduler is gone, its successor submits the attempt again and gets the same answer.
        let _ = self.reporter.report(report).await;
    }
}
