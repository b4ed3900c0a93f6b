//! The executor of functions: which attempts were accepted, how do they stand, and how many run at once?

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};

use super::attempt::Attempt;
use super::plan::Plan;
use super::registry::Functions;
use crate::artifact_store::ArtifactStore;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{
    Ending, Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, OBSERVE_MAX, Observation,
    Report, ReportKind, Signal, StopMode, Submission,
};
use crate::id::AttemptId;

/// How many attempts run at once, unless set otherwise.
pub const MAX_CONCURRENT: usize = 256;
/// The most attempts that are accepted and have not ended.
const ATTEMPTS_LIVE_MAX: usize = 100_000;
/// How many endings are kept for `observe`.
const ENDINGS_KEPT_MAX: usize = 10_000;
/// How many ended attempts are remembered, so that a late repetition of their submission starts nothing.
const ENDED_KNOWN_MAX: usize = 200_000;
/// How long a report may wait for room in the queue while the executor shuts down: the scheduler may not listen any more.
const SHUTDOWN_REPORT_WAIT: Duration = Duration::from_secs(5);

/// Runs registered functions as jobs, in this process, on the tokio runtime that it is used on.
///
/// At most `max_concurrent` attempts run at once, streaming jobs included; the others are queued in the order of their submission. Attempts
/// end with the process: the scheduler then repeats them. Dropping the executor kills what runs.
///
/// Logs are not captured: functions use the logging of the host application.
pub struct FunctionExecutor(Arc<Inner>);

struct Inner {
    functions: Functions,
    files: Option<Arc<dyn ArtifactStore>>,
    max_concurrent: usize,
    permits: Arc<Semaphore>,
    reports: Arc<Reports>,
    state: Mutex<State>,
    /// Number of tasks that have not ended.
    tasks: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    live: BTreeMap<AttemptId, Live>,
    ended: BTreeMap<AttemptId, Ended>,
    /// The ended attempts, in the order of their endings.
    ended_order: VecDeque<AttemptId>,
}

struct Live {
    epoch: u64,
    attempt: Arc<Attempt>,
}

struct Ended {
    epoch: u64,
    /// `None` when it is too long ago.
    ending: Option<Ending>,
}

impl FunctionExecutor {
    /// An executor of these functions; [`MAX_CONCURRENT`] attempts run at once.
    #[must_use]
    pub fn new(functions: Functions) -> Self {
        Self(Arc::new(Inner::new(functions, None, MAX_CONCURRENT)))
    }

    /// Sets how many attempts run at once, at least 1. Call it before the executor is used: what was accepted before is killed.
    #[must_use]
    pub fn max_concurrent(self, max_concurrent: usize) -> Self {
        Self(Arc::new(Inner::new(self.0.functions.clone(), self.0.files.clone(), max_concurrent)))
    }

    /// Gives jobs a place for files: [`JobContext::save`](super::JobContext::save), and values that flow
    /// [from one job to another](crate::graph::AiGraph::stored_data). Call it before the executor is used, as
    /// [`max_concurrent`](Self::max_concurrent).
    #[must_use]
    pub fn artifact_store(self, store: impl ArtifactStore + 'static) -> Self {
        let files: Arc<dyn ArtifactStore> = Arc::new(store);
        Self(Arc::new(Inner::new(self.0.functions.clone(), Some(files), self.0.max_concurrent)))
    }
}

impl Inner {
    fn new(functions: Functions, files: Option<Arc<dyn ArtifactStore>>, max_concurrent: usize) -> Self {
        let max_concurrent = max_concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            functions,
            files,
            max_concurrent,
            permits: Arc::new(Semaphore::new(max_concurrent)),
            reports: Arc::new(Reports::default()),
            state: Mutex::default(),
            tasks: watch::Sender::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The critical sections below do not panic, so the state is whole whatever happened elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that happens to an accepted attempt.
    async fn drive(&self, attempt: Arc<Attempt>, plan: Plan) {
        let permit = tokio::select! {
            biased;
            () = attempt.cancelled() => None,
            permit = self.permits.acquire() => permit.ok(),
        };
        let ending = match &permit {
            Some(_) => attempt.run(plan).await,
            None => Ending::Stopped,
        };
        drop(permit);
        self.state().end(attempt.identity().attempt, ending.clone());
        attempt.report(ReportKind::Ended(ending)).await;
    }

    fn kill_all(&self) {
        let state = self.state();
        for live in state.live.values() {
            live.attempt.stop(StopMode::Kill);
        }
    }
}

impl State {
    /// `Some` if the attempt was accepted before.
    fn known(&mut self, launch: &Launch) -> Result<Option<Submission>> {
        let known = match self.live.get_mut(&launch.attempt) {
            Some(live) => Some(&mut live.epoch),
            None => self.ended.get_mut(&launch.attempt).map(|ended| &mut ended.epoch),
        };
        match known {
            None => Ok(None),
            Some(epoch) if *epoch > launch.epoch => {
                Err(Error::new(ErrorKind::Fenced, "submit", "a later leader has submitted this attempt")
                    .with("attempt", launch.attempt)
                    .with("epoch", launch.epoch)
                    .with("known", *epoch))
            }
            Some(epoch) => {
                *epoch = launch.epoch;
                Ok(Some(Submission::AlreadySubmitted))
            }
        }
    }

    fn end(&mut self, attempt: AttemptId, ending: Ending) {
        let epoch = self.live.remove(&attempt).map_or(0, |live| live.epoch);
        let ending = Some(ending);
        self.ended.insert(attempt, Ended { epoch, ending });
        self.ended_order.push_back(attempt);
        let n = self.ended_order.len();
        if let Some(old) = n.checked_sub(ENDINGS_KEPT_MAX + 1).and_then(|at| self.ended_order.get(at))
            && let Some(ended) = self.ended.get_mut(old)
        {
            ended.ending = None;
        }
        if n > ENDED_KNOWN_MAX
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    fn observe(&self, attempt: &AttemptId) -> Observation {
        if let Some(live) = self.live.get(attempt) {
            return if live.attempt.is_started() { Observation::Running } else { Observation::Queued };
        }
        match self.ended.get(attempt).and_then(|ended| ended.ending.clone()) {
            Some(ending) => Observation::Ended(ending),
            None => Observation::NotFound,
        }
    }
}

#[async_trait]
impl Executor for FunctionExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        if self.0.state().is_closed {
            return Err(closed("attach"));
        }
        self.0.reports.attach(host);
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        let plan = Plan::new(&self.0.functions, &launch.spec)?;
        if plan.needs_files && self.0.files.is_none() {
            return Err(Error::invalid(
                "submit",
                "values flow to or from other jobs, and the executor was given no artifact store",
            ));
        }
        let host = self.0.reports.host().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "submit", "the executor is not attached to a scheduler")
        })?;
        let attempt = {
            let mut state = self.0.state();
            if state.is_closed {
                return Err(closed("submit"));
            }
            if let Some(known) = state.known(&launch)? {
                return Ok(known);
            }
            if state.live.len() >= ATTEMPTS_LIVE_MAX {
                return Err(Error::new(
                    ErrorKind::Full,
                    "submit",
                    format!("{ATTEMPTS_LIVE_MAX} attempts are queued or running already"),
                ));
            }
            let (id, epoch) = (launch.attempt, launch.epoch);
            let attempt = Arc::new(Attempt::new(launch, host, Arc::clone(&self.0.reports), self.0.files.clone()));
            let live = Live { epoch, attempt: Arc::clone(&attempt) };
            state.live.insert(id, live);
            self.0.tasks.send_modify(|n| *n += 1);
            attempt
        };
        let task = Task(Arc::clone(&self.0));
        tokio::spawn(async move { task.0.drive(attempt, plan).await });
        Ok(Submission::Submitted)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        if attempts.len() > OBSERVE_MAX {
            return Err(Error::invalid(
                "observe",
                format!("{} attempts asked, at most {OBSERVE_MAX} are allowed", attempts.len()),
            ));
        }
        let state = self.0.state();
        Ok(attempts.iter().map(|attempt| state.observe(attempt)).collect())
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        if let Some(live) = self.0.state().live.get(&attempt) {
            live.attempt.stop(mode);
        }
        Ok(())
    }

    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        match self.0.state().live.get(&attempt) {
            Some(live) => live.attempt.signals().push(signal),
            None => Ok(()),
        }
    }

    async fn logs(&self, attempt: AttemptId, _: LogStream, _: u64, _: usize) -> Result<LogChunk> {
        Err(Error::new(ErrorKind::Unsupported, "logs", "functions log through the host application")
            .with("attempt", attempt))
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        ExecutorCapabilities::default().graceful_stop().signals()
    }

    async fn shutdown(&self) -> Result<()> {
        self.0.state().is_closed = true;
        self.0.reports.close();
        self.0.kill_all();
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.0.tasks.subscribe().wait_for(|n| *n == 0).await;
        Ok(())
    }
}

impl Drop for FunctionExecutor {
    fn drop(&mut self) {
        self.0.kill_all();
    }
}

impl fmt::Debug for FunctionExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionExecutor")
            .field("functions", &self.0.functions)
            .field("max_concurrent", &self.0.max_concurrent)
            .finish_non_exhaustive()
    }
}

/// Counts a task as ended when it is dropped, however that comes about.
struct Task(Arc<Inner>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|n| *n = n.saturating_sub(1));
    }
}

fn closed(operation: &'static str) -> Error {
    Error::new(ErrorKind::Closed, operation, "the executor was shut down")
}

/// Where reports go: to the scheduler that attached last.
#[derive(Default)]
pub(super) struct Reports {
    host: RwLock<Option<Arc<ExecutorHost>>>,
    is_closing: watch::Sender<bool>,
}

impl Reports {
    fn attach(&self, host: ExecutorHost) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(host));
    }

    fn host(&self) -> Option<Arc<ExecutorHost>> {
        self.host.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self) {
        self.is_closing.send_replace(true);
    }

    /// Sends a report to whoever is attached. If nobody listens, `observe` answers when somebody asks.
    pub(super) async fn send(&self, report: Report) {
        while let Some(host) = self.host() {
            let sent = tokio::select! {
                biased;
                sent = host.reporter.report(report.clone()) => sent.is_ok(),
                () = self.shutdown_wait_is_over() => return,
            };
            let is_last = self.host().is_some_and(|last| Arc::ptr_eq(&last, &host));
            if sent || is_last {
                return;
            }
        }
    }

    async fn shutdown_wait_is_over(&self) {
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.is_closing.subscribe().wait_for(|closing| *closing).await;
        tokio::time::sleep(SHUTDOWN_REPORT_WAIT).await;
    }
}
