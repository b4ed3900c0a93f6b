//! What the attempts of one executor share: who is live, where reports go, and when is it over?

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{PipeReader, PipeWriter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aiflow_core::artifact_files::ArtifactFiles;
use aiflow_core::artifact_store::ArtifactStore;
use aiflow_core::event::NewEvent;
use aiflow_core::executor::{Ending, ExecutorHost, JobIdentity, LogStream, Report, ReportKind, StopMode};
use aiflow_core::id::AttemptId;
use aiflow_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::inotify::{Inotify, Watch};
use crate::launch::io_error;
use crate::logs;
use crate::options::ProcessOptions;
use crate::rundir::RunDir;

/// Processes that are started at the same time. Starting one occupies a processor.
const STARTS_MAX: usize = 16;
/// How often outputs are brought back to their bound, and event files looked at where there is no inotify.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// An attempt that this executor is busy with.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) dir: RunDir,
    pub(crate) stage: watch::Sender<Stage>,
    /// The strongest stop asked for.
    pub(crate) stop: watch::Sender<Option<StopMode>>,
    /// Held while the ending is decided or a stop recorded, so that one comes before the other; `true` once it is decided.
    pub(crate) is_over: Arc<tokio::sync::Mutex<bool>>,
    /// The event file grew.
    pub(crate) said: Arc<Notify>,
    /// Epoch of the leader that submitted it, once that is known.
    pub(crate) epoch: OnceLock<u64>,
}

/// How far this executor is with an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// Being submitted or looked up.
    Unsettled,
    Live,
    /// Ended, all its events published, its ending being reported.
    Ended(Ending),
    /// No longer this executor's business: the files say what there is to know.
    Left,
}

/// Shared by the handle and all tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) run_root: PathBuf,
    pub(crate) options: ProcessOptions,
    /// Where artifacts of jobs lie.
    pub(crate) files: Option<Arc<dyn ArtifactStore>>,
    pub(crate) starts: Semaphore,
    host: watch::Sender<Option<Arc<ExecutorHost>>>,
    closing: watch::Sender<bool>,
    live: Mutex<HashMap<AttemptId, Arc<Attempt>>>,
    arrived: Notify,
    inotify: OnceLock<Option<Arc<Inotify>>>,
    /// A pipe into which nothing is ever written. Its other end is closed when this executor, or its process, is gone.
    lifeline: OnceLock<(PipeReader, PipeWriter)>,
    bound_failed: AtomicBool,
    /// Cloned into every task; closed when the last one is done.
    token: Mutex<Option<mpsc::Sender<Infallible>>>,
    tasks_done: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

impl Shared {
    pub(crate) fn new(run_root: PathBuf, options: ProcessOptions, files: Option<Arc<dyn ArtifactStore>>) -> Self {
        let (token, tasks_done) = mpsc::channel(1);
        Self {
            run_root,
            options,
            files,
            starts: Semaphore::new(STARTS_MAX),
            host: watch::Sender::new(None),
            closing: watch::Sender::new(false),
            live: Mutex::default(),
            arrived: Notify::new(),
            inotify: OnceLock::new(),
            lifeline: OnceLock::new(),
            bound_failed: AtomicBool::new(false),
            token: Mutex::new(Some(token)),
            tasks_done: tokio::sync::Mutex::new(tasks_done),
        }
    }

    /// Starts a task that `close` waits for.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let token = lock(&self.token).clone().ok_or_else(closed)?;
        self.start_service();
        tokio::spawn(async move {
            task.await;
            drop(token);
        });
        Ok(())
    }

    /// Starts the task that serves all attempts, once, within the runtime of the first caller.
    fn start_service(self: &Arc<Self>) {
        let mut is_first = false;
        let inotify = self.inotify.get_or_init(|| {
            is_first = true;
            Inotify::open()
        });
        let token = lock(&self.token).clone();
        if !is_first || token.is_none() {
            return;
        }
        if inotify.is_none() {
            tracing::warn!("no inotify: events of jobs are read every {ROUND_INTERVAL:?}");
        }
        let (inotify, shared) = (inotify.clone(), Arc::clone(self));
        tokio::spawn(async move {
            let pass_on = async {
                match inotify {
                    Some(inotify) => inotify.run().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.closed() => {}
                // Ends only if inotify breaks; the rounds go on.
                () = async { tokio::join!(pass_on, shared.rounds()); } => {}
            }
            drop(token);
        });
    }

    /// Bounds the outputs of live attempts, and wakes those that inotify does not.
    async fn rounds(self: &Arc<Self>) {
        loop {
            let arrived = self.arrived.notified();
            let live: Vec<Arc<Attempt>> = lock(&self.live).values().cloned().collect();
            if live.is_empty() {
                arrived.await;
                continue;
            }
            tokio::time::sleep(ROUND_INTERVAL).await;
            let has_inotify = self.inotify.get().is_some_and(Option::is_some);
            let shared = Arc::clone(self);
            let round = tokio::task::spawn_blocking(move || {
                for attempt in live {
                    shared.bound_logs(&attempt.dir);
                    if !has_inotify {
                        attempt.said.notify_one();
                    }
                }
            });
            // A panic in there was printed, and the next round tries again.
            let _ = round.await;
        }
    }

    /// Brings the outputs of an attempt back to their bound. Blocks.
    pub(crate) fn bound_logs(&self, dir: &RunDir) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if let Err(error) = logs::bound(dir, stream, self.options.log_bytes_max)
                && !self.bound_failed.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(%error, run_dir = %dir.path().display(), "an output outgrew its bound and could not be cut; said once");
            }
        }
    }

    /// Wakes `attempt.said` when its event file grows, until the watch is dropped.
    pub(crate) fn watch_events(&self, attempt: &Attempt) -> Option<Watch> {
        let inotify = self.inotify.get()?.as_ref()?;
        let watch = inotify.watch(&attempt.dir.events(), Arc::clone(&attempt.said));
        // What was written before the watch counts as well.
        if std::fs::metadata(attempt.dir.events()).is_ok_and(|events| events.len() > 0) {
            attempt.said.notify_one();
        }
        watch
    }

    /// The live attempt with this id, and whether it was made live by this call.
    pub(crate) fn enter(&self, id: AttemptId) -> (Arc<Attempt>, bool) {
        let mut live = lock(&self.live);
        if let Some(attempt) = live.get(&id) {
            return (Arc::clone(attempt), false);
        }
        let attempt = Arc::new(Attempt {
            id,
            dir: RunDir::of(&self.run_root, id),
            stage: watch::Sender::new(Stage::Unsettled),
            stop: watch::Sender::new(None),
            is_over: Arc::default(),
            said: Arc::default(),
            epoch: OnceLock::new(),
        });
        live.insert(id, Arc::clone(&attempt));
        self.arrived.notify_one();
        (attempt, true)
    }

    /// The live attempt with this id.
    pub(crate) fn live(&self, id: AttemptId) -> Option<Arc<Attempt>> {
        lock(&self.live).get(&id).cloned()
    }

    /// Forgets an attempt: from now on its files answer.
    pub(crate) fn leave(&self, attempt: &Attempt) {
        lock(&self.live).remove(&attempt.id);
        attempt.stage.send_replace(Stage::Left);
    }

    /// What comes to its end when this executor, or its process, is gone: however that happens, its end of the pipe is closed.
    pub(crate) fn lifeline(&self) -> std::io::Result<PipeReader> {
        let (reader, _writer) = match self.lifeline.get() {
            Some(lifeline) => lifeline,
            None => {
                // Of two that are made at once, one stays.
                let made = std::io::pipe()?;
                self.lifeline.get_or_init(|| made)
            }
        };
        reader.try_clone()
    }

    pub(crate) fn attach(&self, host: ExecutorHost) {
        self.host.send_replace(Some(Arc::new(host)));
    }

    /// The artifacts of a job's project; `None` if there is nowhere to keep any, or no scheduler yet.
    pub(crate) fn artifacts(&self, job: &JobIdentity) -> Option<ArtifactFiles> {
        let host = self.host.borrow().clone()?;
        self.files.as_ref().map(|files| ArtifactFiles::of_job(&host, job.clone(), Arc::clone(files)))
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Returns when the executor closes.
    pub(crate) async fn closed(&self) {
        // The sender is in `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    pub(crate) fn begin_to_close(&self) {
        self.closing.send_replace(true);
        lock(&self.token).take();
    }

    pub(crate) async fn close(&self) {
        self.begin_to_close();
        while self.tasks_done.lock().await.recv().await.is_some() {}
    }

    /// Tells the scheduler. What cannot be delivered is dropped: `observe` answers from the files.
    pub(crate) async fn report(&self, attempt: AttemptId, kind: ReportKind) {
        let mut hosts = self.host.subscribe();
        loop {
            let Some(host) = hosts.borrow_and_update().clone() else {
                return;
            };
            let report = Report { attempt, at: host.clock.now(), kind: kind.clone() };
            tokio::select! {
                delivered = host.reporter.report(report) => {
                    if delivered.is_err() {
                        tracing::debug!(%attempt, "a report found no scheduler; its files keep it");
                    }
                    return;
                }
                _ = hosts.changed() => {}
                () = self.closed() => return,
            }
        }
    }

    /// Publishes events of a job, trying until it is done. `false` if the executor closes before.
    pub(crate) async fn publish(&self, attempt: AttemptId, events: Vec<NewEvent>) -> bool {
        let mut pause = RETRY_MIN;
        loop {
            let mut hosts = self.host.subscribe();
            let host = hosts.borrow_and_update().clone();
            if let Some(host) = host {
                match host.bus.publish(events.clone()).await {
                    Ok(_) => return true,
                    Err(error) if is_final(&error) => {
                        return self.publish_singly(attempt, &host, events).await;
                    }
                    Err(error) => {
                        tracing::warn!(%attempt, %error, "events of a job wait for the log");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = hosts.changed() => {}
                () = self.closed() => return false,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Publishes what can be published of events that the log refuses together.
    async fn publish_singly(&self, attempt: AttemptId, host: &ExecutorHost, events: Vec<NewEvent>) -> bool {
        for event in events {
            let mut pause = RETRY_MIN;
            while let Err(error) = host.bus.publish(vec![event.clone()]).await {
                if is_final(&error) {
                    tracing::warn!(%attempt, id = event.id, %error, "the log refused an event of a job");
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.closed() => return false,
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
        true
    }
}

/// Whether publishing the same events again must fail again.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::AlreadyExists)
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, operation, "file work panicked").caused_by(error))?
}

/// [`blocking`] for work that fails with the errors of the file system.
pub(crate) async fn blocking_io<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    blocking(operation, move || work().map_err(|error| io_error(operation, error))).await
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "use executor", "it was shut down")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
