//! Commands to executors: how does a committed decision reach the platforms?
//!
//! One task and one bounded queue an executor. Launches run several at a time; a stop waits for the launch of its attempt, so that it does
//! not overtake the start it is meant for. A launch that its platform does not accept is given up when its attempt is to stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::settings::{Backoff, Settings};
use crate::bus::EventBus;
use crate::error::{Result, Retry};
use crate::event::{Event, EventFilter};
use crate::executor::{Ending, Executor, Launch, Observation, Report, ReportKind, Reporter, Signal, StopMode};
use crate::id::{AttemptId, ExecutorName, Offset};
use crate::time::Clock;

/// How often handing over one value is tried.
const SIGNAL_TRIES_MAX: u32 = 6;

/// What is handed to the task of an executor.
#[derive(Debug)]
pub(super) enum Dispatch {
    /// Start an attempt. `missing` are offsets of its events that are not in the launch yet.
    Launch { launch: Box<Launch>, missing: Vec<Offset> },
    /// Hand a value to an attempt.
    Signal { attempt: AttemptId, signal: Box<Signal> },
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
                submits: Arc::new(Semaphore::new(settings.submits_at_once.clamp(1, Semaphore::MAX_PERMITS))),
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
    /// Turns to call `submit`.
    submits: Arc<Semaphore>,
    settings: Settings,
}

/// A launch that is under way: how its attempt is to stop once it is through.
type StopWanted = watch::Sender<Option<StopMode>>;

impl Dispatcher {
    async fn run(self, mut queue: mpsc::Receiver<Dispatch>) {
        let mut launches = JoinSet::new();
        let mut under_way: BTreeMap<AttemptId, StopWanted> = BTreeMap::new();
        loop {
            let is_full = launches.len() >= self.settings.dispatch_queue.max(1);
            let dispatch = tokio::select! {
                biased;
                Some(done) = launches.join_next() => {
                    self.launched(done, &mut under_way).await;
                    continue;
                }
                dispatch = queue.recv(), if !is_full => dispatch,
            };
            match dispatch {
                None => break,
                Some(Dispatch::Launch { launch, missing }) => {
                    let (wanted, stop) = watch::channel(None);
                    under_way.insert(launch.attempt, wanted);
                    launches.spawn(self.clone().launch(*launch, missing, stop));
                }
                Some(Dispatch::Signal { attempt, signal }) => self.signal(attempt, *signal).await,
                // No stop overtakes the start it is meant for, and none waits for other starts.
                Some(Dispatch::Stop { attempt, mode }) => match under_way.get(&attempt) {
                    Some(wanted) => {
                        wanted.send_replace(Some(mode));
                    }
                    None => self.stop(attempt, mode).await,
                },
            }
        }
        while let Some(done) = launches.join_next().await {
            self.launched(done, &mut under_way).await;
        }
    }

    /// A launch is through. A stop that came in its last moment is passed on now.
    async fn launched(
        &self,
        done: std::result::Result<(AttemptId, Option<StopMode>), JoinError>,
        under_way: &mut BTreeMap<AttemptId, StopWanted>,
    ) {
        // A launch that panicked in the executor says nothing; the stop of its attempt reaches the executor with the next leader.
        let Ok((attempt, passed_on)) = done else { return };
        let wanted = under_way.remove(&attempt).and_then(|wanted| *wanted.borrow());
        if let Some(mode) = wanted.filter(|_| wanted != passed_on) {
            self.stop(attempt, mode).await;
        }
    }

    /// Submits an attempt until its platform accepts or refuses it, or it is to stop. Returns the stop that was passed on.
    async fn launch(
        self,
        mut launch: Launch,
        missing: Vec<Offset>,
        mut stop: watch::Receiver<Option<StopMode>>,
    ) -> (AttemptId, Option<StopMode>) {
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
            let submitted = {
                let _turn = self.submits.acquire().await;
                self.executor.submit(launch.clone()).await
            };
            match submitted {
                Ok(_) => return (attempt, None),
                Err(error) if error.retry() == Retry::Never => {
                    self.report_ended(attempt, Ending::refused(error.to_string())).await;
                    return (attempt, None);
                }
                Err(error) => {
                    tracing::warn!(%error, %attempt, "submit failed; trying again");
                    tokio::select! {
                        biased;
                        // The sender lives as long as this launch is under way.
                        _ = stop.wait_for(Option::is_some) => {}
                        () = backoff.pause() => {}
                    }
                }
            }
            let wanted = *stop.borrow_and_update();
            if let Some(mode) = wanted {
                self.stop(attempt, mode).await;
                self.settle_unaccepted(attempt).await;
                return (attempt, wanted);
            }
        }
    }

    /// An attempt was told to stop while nobody knew whether it had been accepted. If it was not, it has ended.
    async fn settle_unaccepted(&self, attempt: AttemptId) {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        loop {
            match self.executor.observe(&[attempt]).await.as_deref() {
                Ok([Observation::NotFound]) => return self.report_ended(attempt, Ending::Stopped).await,
                Ok([Observation::Unknown] | []) => {}
                // The executor has it, and says how it ends.
                Ok(_) => return,
                Err(error) if error.retry() == Retry::Never => {
                    tracing::warn!(%error, %attempt, "cannot look up an attempt that was to stop before it was accepted");
                    return;
                }
                Err(_) => {}
            }
            backoff.pause().await;
        }
    }

    async fn event_at(&self, offset: Offset) -> Result<Option<Arc<Event>>> {
        let before = Offset(offset.0.saturating_sub(1));
        let page = self.bus.read(before, &EventFilter::all(), 1).await?;
        Ok(page.events.into_iter().next().filter(|event| event.offset == offset))
    }

    /// Hands a value over, or says that it cannot be. If the platform is out of reach for long, the limit of the acknowledgement decides.
    async fn signal(&self, attempt: AttemptId, signal: Signal) {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        for _ in 0..SIGNAL_TRIES_MAX {
            let Err(error) = self.executor.signal(attempt, signal.clone()).await else { return };
            if error.retry() == Retry::Never {
                let refused = ReportKind::SignalRefused { signal: signal.id, message: error.to_string() };
                // If the scheduler is gone, its successor hands the value over again.
                let _ = self.reporter.report(Report { attempt, at: self.clock.now(), kind: refused }).await;
                return;
            }
            tracing::warn!(%error, %attempt, signal = %signal.id, "a value could not be handed over");
            backoff.pause().await;
        }
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

    async fn report_ended(&self, attempt: AttemptId, ending: Ending) {
        let report = Report { attempt, at: self.clock.now(), kind: ReportKind::Ended(ending) };
        // If the scheduler is gone, its successor submits the attempt again and gets the same answer.
        let _ = self.reporter.report(report).await;
    }
}
