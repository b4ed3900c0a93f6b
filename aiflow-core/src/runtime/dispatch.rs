//! Commands to executors: how does a committed decision reach the platforms?
//!
//! One task and one bounded queue an executor, and a lane for each attempt that something is done about. In a lane one thing follows the
//! other: a stop does not overtake the start it is meant for. Lanes hold up one another nowhere but at the number of submissions at once. What a
//! platform does not accept is given up when its attempt is to stop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::settings::{Backoff, Settings};
use crate::bus::EventBus;
use crate::error::{ErrorKind, Result, Retry};
use crate::event::{Event, EventFilter};
use crate::executor::{Ending, Executor, Launch, Observation, Report, ReportKind, Reporter, Signal, StopMode};
use crate::id::{AttemptId, ExecutorName, Offset};
use crate::time::Clock;

/// How often handing over one value is tried. After that the limit of its acknowledgement decides.
const SIGNAL_TRIES_MAX: u32 = 6;
/// How often it is asked at once how an attempt stands that was to stop before its platform had accepted it. After that the leader asks for it
/// together with those that the last leader left behind, again and again.
const SETTLE_TRIES_MAX: u32 = 10;
/// The most values that wait in the lane of an attempt; the limit of its acknowledgement decides about one that has no room.
const LANE_SIGNALS_MAX: usize = 1_000;

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
        unsettled: &mpsc::Sender<AttemptId>,
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
                unsettled: unsettled.clone(),
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
    /// Attempts of which the platform cannot say how they stand.
    unsettled: mpsc::Sender<AttemptId>,
}

/// What is done about an attempt.
#[derive(Debug)]
struct Lane {
    /// What is under way.
    task: AbortHandle,
    /// How the attempt is to stop.
    stop: watch::Sender<Option<StopMode>>,
    /// Values to hand over after that.
    signals: VecDeque<Signal>,
}

/// An attempt, and the stop that was passed on to it.
type Done = (AttemptId, Option<StopMode>);

impl Dispatcher {
    async fn run(self, mut queue: mpsc::Receiver<Dispatch>) {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut lanes: BTreeMap<AttemptId, Lane> = BTreeMap::new();
        loop {
            let is_full = lanes.len() >= self.settings.dispatch_queue.max(1);
            let dispatch = tokio::select! {
                biased;
                Some(done) = tasks.join_next() => {
                    self.go_on(done, &mut tasks, &mut lanes);
                    continue;
                }
                dispatch = queue.recv(), if !is_full => dispatch,
            };
            match dispatch {
                None => break,
                Some(dispatch) => self.take(dispatch, &mut tasks, &mut lanes),
            }
        }
        while let Some(done) = tasks.join_next().await {
            self.go_on(done, &mut tasks, &mut lanes);
        }
    }

    /// Begins what is asked, or lets it wait for what is under way.
    fn take(&self, dispatch: Dispatch, tasks: &mut JoinSet<Done>, lanes: &mut BTreeMap<AttemptId, Lane>) {
        match dispatch {
            Dispatch::Launch { launch, missing } => {
                let (attempt, this) = (launch.attempt, self.clone());
                if lanes.contains_key(&attempt) {
                    return tracing::warn!(%attempt, "an attempt is launched that something is done about already");
                }
                self.begin(attempt, None, tasks, lanes, |stop| this.launch(*launch, missing, stop));
            }
            Dispatch::Signal { attempt, signal } => match lanes.get_mut(&attempt) {
                Some(lane) if lane.signals.len() < LANE_SIGNALS_MAX => lane.signals.push_back(*signal),
                Some(_) => tracing::warn!(%attempt, signal = %signal.id, "too many values wait to be handed over"),
                None => self.begin_signal(attempt, *signal, tasks, lanes),
            },
            Dispatch::Stop { attempt, mode } => match lanes.get(&attempt) {
                Some(lane) => {
                    lane.stop.send_replace(Some(mode));
                }
                None => self.begin_stop(attempt, mode, tasks, lanes),
            },
        }
    }

    fn begin<T>(
        &self,
        attempt: AttemptId,
        mode: Option<StopMode>,
        tasks: &mut JoinSet<Done>,
        lanes: &mut BTreeMap<AttemptId, Lane>,
        task: impl FnOnce(watch::Receiver<Option<StopMode>>) -> T,
    ) where
        T: Future<Output = Done> + Send + 'static,
    {
        let (stop, wanted) = watch::channel(mode);
        let task = tasks.spawn(task(wanted));
        lanes.insert(attempt, Lane { task, stop, signals: VecDeque::new() });
    }

    fn begin_signal(
        &self,
        attempt: AttemptId,
        signal: Signal,
        tasks: &mut JoinSet<Done>,
        lanes: &mut BTreeMap<AttemptId, Lane>,
    ) {
        let this = self.clone();
        self.begin(attempt, None, tasks, lanes, |stop| this.signal(attempt, signal, stop));
    }

    fn begin_stop(
        &self,
        attempt: AttemptId,
        mode: StopMode,
        tasks: &mut JoinSet<Done>,
        lanes: &mut BTreeMap<AttemptId, Lane>,
    ) {
        let this = self.clone();
        self.begin(attempt, Some(mode), tasks, lanes, |stop| this.stop_as_wanted(attempt, stop));
    }

    /// What was under way in a lane is done: the next thing begins. After a stop nothing is handed over any more.
    fn go_on(
        &self,
        done: std::result::Result<Done, JoinError>,
        tasks: &mut JoinSet<Done>,
        lanes: &mut BTreeMap<AttemptId, Lane>,
    ) {
        let (attempt, passed_on) = match done {
            Ok(done) => done,
            // What panicked in the executor says nothing; a stop still reaches it.
            Err(error) => match lanes.iter().find(|(_, lane)| lane.task.id() == error.id()) {
                Some((attempt, _)) => (*attempt, None),
                None => return,
            },
        };
        let Some(mut lane) = lanes.remove(&attempt) else { return };
        let wanted = *lane.stop.borrow();
        match (wanted, lane.signals.pop_front()) {
            (Some(mode), _) if wanted != passed_on => self.begin_stop(attempt, mode, tasks, lanes),
            (None, Some(signal)) => {
                let rest = lane.signals;
                self.begin_signal(attempt, signal, tasks, lanes);
                if let Some(lane) = lanes.get_mut(&attempt) {
                    lane.signals = rest;
                }
            }
            (Some(_), _) | (None, None) => {}
        }
    }

    /// Submits an attempt until its platform accepts or refuses it, or it is to stop. Returns the stop that was passed on.
    async fn launch(
        self,
        mut launch: Launch,
        missing: Vec<Offset>,
        mut stop: watch::Receiver<Option<StopMode>>,
    ) -> Done {
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
                // It lives, under the one who leads now: this one has nothing to say of it any more.
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    tracing::warn!(%error, %attempt, "the attempt is a later leader's");
                    return (attempt, None);
                }
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
            if stop.borrow().is_some() {
                let done = self.clone().stop_as_wanted(attempt, stop).await;
                self.settle_unaccepted(attempt).await;
                return done;
            }
        }
    }

    /// An attempt was told to stop while nobody knew whether it had been accepted. If it was not, it has ended.
    async fn settle_unaccepted(&self, attempt: AttemptId) {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        for _ in 0..SETTLE_TRIES_MAX {
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
        tracing::warn!(%attempt, "nobody can say whether an attempt that was to stop was accepted; the leader goes on to ask");
        // If the scheduler is gone, its successor asks.
        let _ = self.unsettled.send(attempt).await;
    }

    async fn event_at(&self, offset: Offset) -> Result<Option<Arc<Event>>> {
        let before = Offset(offset.0.saturating_sub(1));
        let page = self.bus.read(before, &EventFilter::all(), 1).await?;
        Ok(page.events.into_iter().next().filter(|event| event.offset == offset))
    }

    /// Hands a value over, or says that it cannot be. If the platform is out of reach for long, the limit of the acknowledgement decides; if
    /// the attempt is to stop, nothing has to be handed over any more.
    async fn signal(self, attempt: AttemptId, signal: Signal, mut stop: watch::Receiver<Option<StopMode>>) -> Done {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        for _ in 0..SIGNAL_TRIES_MAX {
            let handed_over = tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => return (attempt, None),
                handed_over = self.executor.signal(attempt, signal.clone()) => handed_over,
            };
            let Err(error) = handed_over else { break };
            if error.retry() == Retry::Never {
                let refused = ReportKind::SignalRefused { signal: signal.id, message: error.to_string() };
                // If the scheduler is gone, its successor hands the value over again.
                let _ = self.reporter.report(Report { attempt, at: self.clock.now(), kind: refused }).await;
                break;
            }
            tracing::warn!(%error, %attempt, signal = %signal.id, "a value could not be handed over");
            tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => return (attempt, None),
                () = backoff.pause() => {}
            }
        }
        (attempt, None)
    }

    /// Passes a stop on until the platform has taken it in, in the way that is wanted by then.
    async fn stop_as_wanted(self, attempt: AttemptId, mut stop: watch::Receiver<Option<StopMode>>) -> Done {
        let mut backoff = Backoff::new(self.settings.backoff_max);
        loop {
            let wanted = *stop.borrow_and_update();
            let Some(mode) = wanted else { return (attempt, None) };
            match self.executor.stop(attempt, mode).await {
                Ok(()) => return (attempt, wanted),
                Err(error) => {
                    tracing::warn!(%error, %attempt, "stop failed");
                    if error.retry() == Retry::Never {
                        return (attempt, wanted);
                    }
                }
            }
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = backoff.pause() => {}
            }
        }
    }

    async fn report_ended(&self, attempt: AttemptId, ending: Ending) {
        let report = Report { attempt, at: self.clock.now(), kind: ReportKind::Ended(ending) };
        // If the scheduler is gone, its successor submits the attempt again and gets the same answer.
        let _ = self.reporter.report(report).await;
    }
}
