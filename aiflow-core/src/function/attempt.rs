//! One attempt: how does it run from its start to its one ending, and what can cut it short?

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::executor::Reports;
use super::labels::Labels;
use super::plan::Plan;
use super::run::Run;
use super::signal::Signals;
use crate::artifact_store::ArtifactStore;
use crate::client::{AiFlow, Origin};
use crate::error::{Error, Result};
use crate::event::json_bytes;
use crate::event::{Cause, Event};
use crate::executor::{
    CHECKPOINT_BYTES_MAX, Ending, ExecutorHost, JobIdentity, Launch, Report, ReportKind, StopMode, TimeLimit,
};
use crate::id::{JobName, NodeName};
use crate::time::Timestamp;

/// An accepted attempt: what it is, and what it was told.
pub(super) struct Attempt {
    identity: JobIdentity,
    events: Vec<Arc<Event>>,
    params: Value,
    timeout: Option<Duration>,
    heartbeat_timeout: Option<Duration>,
    stop_grace: Duration,
    host: Arc<ExecutorHost>,
    reports: Arc<Reports>,
    files: Option<Arc<dyn ArtifactStore>>,
    runtime: Handle,
    aiflow: OnceLock<AiFlow>,
    is_started: AtomicBool,
    stop: watch::Sender<Option<StopMode>>,
    last_beat: Mutex<Instant>,
    checkpoint: Option<Value>,
    checkpoints: tokio::sync::Mutex<Checkpoints>,
    signals: Signals,
    labels: Labels,
    /// If its execution is a rerun: the jobs that keep values, with the nodes whose they are. Looked up once.
    pub(super) givers: tokio::sync::OnceCell<Vec<(JobName, BTreeSet<NodeName>)>>,
}

/// The shortest time between two checkpoints of an attempt; one that comes earlier waits.
pub const CHECKPOINT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Checkpoints {
    n: u64,
    last: Option<Instant>,
}

/// Why an attempt is ended from outside.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    Stopped,
    TimedOut,
    Silent,
}

impl Attempt {
    pub(super) fn new(
        launch: Launch,
        host: Arc<ExecutorHost>,
        reports: Arc<Reports>,
        files: Option<Arc<dyn ArtifactStore>>,
    ) -> Self {
        Self {
            identity: launch.identity(),
            events: launch.events,
            params: launch.params,
            timeout: launch.timeout,
            heartbeat_timeout: launch.heartbeat_timeout,
            stop_grace: launch.stop_grace,
            host,
            reports,
            files,
            runtime: Handle::current(),
            aiflow: OnceLock::new(),
            is_started: AtomicBool::new(false),
            stop: watch::Sender::default(),
            last_beat: Mutex::new(Instant::now()),
            checkpoint: launch.checkpoint,
            checkpoints: tokio::sync::Mutex::default(),
            signals: Signals::default(),
            labels: Labels::default(),
            givers: tokio::sync::OnceCell::new(),
        }
    }

    pub(super) fn identity(&self) -> &JobIdentity {
        &self.identity
    }

    pub(super) fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    pub(super) fn store_of_files(&self) -> Option<&Arc<dyn ArtifactStore>> {
        self.files.as_ref()
    }

    /// The parameters of the launch.
    pub(super) fn params(&self) -> &Value {
        &self.params
    }

    pub(super) fn now(&self) -> Timestamp {
        self.host.clock.now()
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn aiflow(&self) -> &AiFlow {
        self.aiflow.get_or_init(|| {
            let newest = self.events.iter().max_by_key(|event| event.offset);
            let origin = Origin {
                identity: self.identity.clone(),
                cause: newest.map(|event| Cause { offset: event.offset, hops: event.hops().saturating_add(1) }),
            };
            let host = &self.host;
            AiFlow::of_job(Arc::clone(&host.store), Arc::clone(&host.bus), Arc::clone(&host.clock), origin)
        })
    }

    pub(super) fn is_started(&self) -> bool {
        self.is_started.load(Ordering::Acquire)
    }

    /// Tells the attempt to stop; a kill is not taken back by a graceful stop.
    pub(super) fn stop(&self, mode: StopMode) {
        self.stop.send_if_modified(|now| match (*now, mode) {
            (Some(StopMode::Kill), _) | (Some(StopMode::Graceful), StopMode::Graceful) => false,
            _ => {
                *now = Some(mode);
                true
            }
        });
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.stop.borrow().is_some()
    }

    pub(super) async fn cancelled(&self) {
        // The sender lives in `self`, so it cannot be gone.
        let _ = self.stop.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn beat(&self) {
        *self.last_beat() = Instant::now();
    }

    fn last_beat(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last_beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the attempt is to go on.
    pub(super) fn last_checkpoint(&self) -> Option<&Value> {
        self.checkpoint.as_ref()
    }

    pub(super) async fn checkpoint(&self, value: Value) -> Result<()> {
        let bytes = json_bytes(&value);
        if bytes > CHECKPOINT_BYTES_MAX {
            let message =
                format!("the reference has {bytes} bytes of JSON, at most {CHECKPOINT_BYTES_MAX} are allowed");
            return Err(Error::invalid("checkpoint", message));
        }
        let mut checkpoints = self.checkpoints.lock().await;
        if let Some(last) = checkpoints.last {
            sleep_until(last + CHECKPOINT_PAUSE).await;
        }
        let number = checkpoints.n + 1;
        self.say(ReportKind::Checkpoint { number, value }).await?;
        *checkpoints = Checkpoints { n: number, last: Some(Instant::now()) };
        Ok(())
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Brings a report of the job itself into the log.
    pub(super) async fn say(&self, kind: ReportKind) -> Result<()> {
        let report = Report { attempt: self.identity.attempt, at: self.host.clock.now(), kind };
        self.host.bus.publish(vec![report.into_event()]).await.map(drop)
    }

    pub(super) async fn report(&self, kind: ReportKind) {
        let report = Report { attempt: self.identity.attempt, at: self.host.clock.now(), kind };
        self.reports.send(report).await;
    }

    /// Runs the nodes and returns the ending.
    pub(super) async fn run(self: &Arc<Self>, plan: Plan) -> Ending {
        self.is_started.store(true, Ordering::Release);
        self.report(ReportKind::started()).await;
        self.beat();
        let deadline = self.timeout.map(|limit| Instant::now() + limit);
        let mut run = Run::new(self, plan);
        let cut = std::pin::pin!(self.cut(deadline));
        let ending = tokio::select! {
            biased;
            ending = run.finish(cut) => ending,
            // It never returns.
            () = self.labels.keep_telling(self) => Ending::failed("it said no more about itself"),
        };
        // What it said last belongs to it; if it cannot be told now, it is lost with a warning.
        let _ = self.labels.tell(self).await;
        let nodes = run.times();
        if !nodes.is_empty() {
            self.report(ReportKind::Nodes { nodes }).await;
        }
        ending
    }

    /// Returns when the attempt must not go on.
    async fn cut(&self, deadline: Option<Instant>) -> Cut {
        tokio::select! {
            () = self.stopped_for_good() => Cut::Stopped,
            () = at(deadline) => Cut::TimedOut,
            () = self.silence() => Cut::Silent,
        }
    }

    /// Returns at a kill, or when the grace time after a graceful stop is over.
    async fn stopped_for_good(&self) {
        self.cancelled().await;
        let mut stop = self.stop.subscribe();
        let killed = stop.wait_for(|stop| *stop == Some(StopMode::Kill));
        // Either way it is over.
        let _ = tokio::time::timeout(self.stop_grace, killed).await;
    }

    /// Returns when there was no heartbeat for as long as is allowed.
    async fn silence(&self) {
        let Some(limit) = self.heartbeat_timeout else {
            return std::future::pending().await;
        };
        loop {
            let due = *self.last_beat() + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

impl Cut {
    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Stopped => Ending::Stopped,
            Self::TimedOut => Ending::TimedOut { limit: TimeLimit::Run },
            Self::Silent => Ending::TimedOut { limit: TimeLimit::Heartbeat },
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
