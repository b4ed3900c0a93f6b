//! The executor: how are launches, questions and stops passed to the attempts they concern?

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use aiflow_core::artifact_store::ArtifactStore;
use aiflow_core::executor::{
    Executor, ExecutorCapabilities, ExecutorHost, LOG_CHUNK_BYTES_MAX, Launch, LogChunk, LogStream, OBSERVE_MAX,
    Observation, Signal, StopMode, Submission,
};
use aiflow_core::id::AttemptId;
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::launch::{check_epoch, io_error};
use crate::life;
use crate::logs;
use crate::options::ProcessOptions;
use crate::process::Group;
use crate::rundir::{Record, RunDir, Standing, StopReason};
use crate::shared::{Attempt, Shared, Stage, blocking, blocking_io, closed};

/// Runs attempts as local processes that go on when the host application dies.
///
/// See the [crate documentation](crate) for what it promises. It needs a Tokio runtime with time and I/O enabled, the one in which the
/// first call is made; at least two worker threads let it read files and start processes beside other work.
///
/// Dropping it ends its tasks soon; [`shutdown`](Executor::shutdown) waits for them. Processes go on in both cases, but for those that were placed
/// on a host, which end when it is dropped.
#[derive(Debug)]
pub struct ProcessExecutor {
    shared: Arc<Shared>,
}

/// What was found out about an attempt that nobody was busy with.
enum Found {
    Is(Observation),
    /// There is something to wait for, to publish or to keep.
    Live(Record, Option<Group>),
}

impl ProcessExecutor {
    /// An executor that keeps a directory for each attempt below `run_root`, with default settings.
    ///
    /// The directory is made when it is first needed, for this user alone. Give each store its own: attempts of different stores have
    /// the same names.
    #[must_use]
    pub fn new(run_root: impl Into<PathBuf>) -> Self {
        Self::with_options(run_root, ProcessOptions::default())
    }

    /// An executor with other settings.
    #[must_use]
    pub fn with_options(run_root: impl Into<PathBuf>, options: ProcessOptions) -> Self {
        let run_root = run_root.into();
        // Jobs run elsewhere: a relative path would mean something else to them.
        let run_root = std::path::absolute(&run_root).unwrap_or(run_root);
        Self { shared: Arc::new(Shared::new(run_root, options, None)) }
    }

    /// Lets jobs read and make artifacts by name, in this store: see [the crate's documentation](crate). Call it before the executor is used.
    #[must_use]
    pub fn artifact_store(self, store: impl ArtifactStore + 'static) -> Self {
        let (run_root, options) = (self.shared.run_root.clone(), self.shared.options.clone());
        Self { shared: Arc::new(Shared::new(run_root, options, Some(Arc::new(store)))) }
    }

    /// Removes all that is kept of an attempt that has ended: outputs, exit code, events.
    ///
    /// Afterwards the attempt is not found, and submitting it would run it again: call this when the store will never ask for it again.
    ///
    /// # Errors
    /// `Conflict` if the attempt has not ended. `Unavailable` if files cannot be removed: call it again.
    pub async fn remove(&self, attempt: AttemptId) -> Result<()> {
        match self.observe(&[attempt]).await?.pop() {
            Some(Observation::Ended(_)) => {
                let dir = RunDir::of(&self.shared.run_root, attempt);
                blocking_io("remove attempt", move || dir.remove()).await
            }
            Some(Observation::NotFound) => Ok(()),
            _ => {
                Err(Error::new(ErrorKind::Conflict, "remove attempt", "the attempt has not ended")
                    .with("attempt", attempt))
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.shared.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    /// How attempts stand. Those that still run, or whose events may not have been published, are watched from now on.
    async fn look_up(&self, ids: &[AttemptId]) -> Result<HashMap<AttemptId, Observation>> {
        let mut known = HashMap::with_capacity(ids.len());
        loop {
            let (mut entered, mut met) = (Vec::new(), Vec::new());
            for id in ids.iter().filter(|id| !known.contains_key(*id)) {
                match self.shared.enter(*id) {
                    (attempt, true) => entered.push(attempt),
                    (attempt, false) => met.push(attempt),
                }
            }
            if entered.is_empty() && met.is_empty() {
                return Ok(known);
            }
            if !entered.is_empty() {
                known.extend(self.find(entered).await?);
            }
            for attempt in met {
                let stage = settled(&attempt).await;
                let observation = match stage {
                    Stage::Live => Observation::Running,
                    Stage::Ended(ending) => Observation::Ended(ending),
                    // Its files answer, in the next turn.
                    Stage::Unsettled | Stage::Left => continue,
                };
                known.insert(attempt.id, observation);
            }
        }
    }

    /// Reads how attempts stand, in a task of its own: one that is entered must be settled even if nobody waits for it any more.
    async fn find(&self, entered: Vec<Arc<Attempt>>) -> Result<Vec<(AttemptId, Observation)>> {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let task_entered = entered.clone();
        let spawned = self.shared.spawn(async move {
            let mut observations = Vec::with_capacity(task_entered.len());
            let dirs: Vec<RunDir> = task_entered.iter().map(|attempt| attempt.dir.clone()).collect();
            let found = blocking("observe", move || Ok(dirs.iter().map(find).collect::<Vec<_>>())).await;
            let mut found = found.unwrap_or_default().into_iter();
            for attempt in task_entered {
                let observation = match found.next().unwrap_or(Found::Is(Observation::Unknown)) {
                    Found::Is(observation) => {
                        shared.leave(&attempt);
                        observation
                    }
                    Found::Live(record, group) => adopt(&shared, &attempt, record, group),
                };
                observations.push((attempt.id, observation));
            }
            let _ = answer.send(observations);
        });
        if let Err(error) = spawned {
            entered.iter().for_each(|attempt| self.shared.leave(attempt));
            return Err(error);
        }
        answered.await.map_err(|_| closed())
    }
}

/// The stage of an attempt, once it is more than being looked up.
async fn settled(attempt: &Attempt) -> Stage {
    let mut stages = attempt.stage.subscribe();
    match stages.wait_for(|stage| *stage != Stage::Unsettled).await {
        Ok(stage) => stage.clone(),
        Err(_) => Stage::Left,
    }
}

/// Watches an attempt from now on.
fn adopt(shared: &Arc<Shared>, attempt: &Arc<Attempt>, record: Record, group: Option<Group>) -> Observation {
    let _ = attempt.epoch.set(record.epoch);
    attempt.stage.send_replace(Stage::Live);
    let life = life::adopt(Arc::clone(shared), Arc::clone(attempt), record, group);
    if shared.spawn(life).is_err() {
        shared.leave(attempt);
        return Observation::Unknown;
    }
    Observation::Running
}

/// How the attempt of a run directory stands. Blocks.
fn find(dir: &RunDir) -> Found {
    let look = || -> std::io::Result<Found> {
        let (ending, group) = match dir.settle()? {
            Standing::Absent => return Ok(Found::Is(Observation::NotFound)),
            Standing::Running(group) => (None, Some(group)),
            Standing::Ended(ending) if dir.has_unpublished_events()? || dir.has_unkept_outputs(&ending)? => {
                (Some(ending), None)
            }
            Standing::Ended(ending) => return Ok(Found::Is(Observation::Ended(ending))),
        };
        Ok(match (dir.record()?, ending) {
            (Some(record), _) => Found::Live(record, group),
            // Nobody can tell any more whose events they are.
            (None, Some(ending)) => Found::Is(Observation::Ended(ending)),
            (None, None) => Found::Is(Observation::Unknown),
        })
    };
    look().unwrap_or_else(|error| {
        tracing::warn!(run_dir = %dir.path().display(), %error, "cannot read how the attempt stands");
        Found::Is(Observation::Unknown)
    })
}

#[async_trait]
impl Executor for ProcessExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.check_open()?;
        self.shared.attach(host);
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        loop {
            self.check_open()?;
            let (attempt, is_entered) = self.shared.enter(launch.attempt);
            if is_entered {
                let (answer, answered) = oneshot::channel();
                let submit = life::submit(Arc::clone(&self.shared), Arc::clone(&attempt), launch, answer);
                if let Err(error) = self.shared.spawn(submit) {
                    self.shared.leave(&attempt);
                    return Err(error);
                }
                return answered.await.unwrap_or_else(|_| {
                    let message = "the runtime ended while the attempt was submitted";
                    Err(Error::new(ErrorKind::OutcomeUnknown, "submit", message))
                });
            }
            match settled(&attempt).await {
                Stage::Live | Stage::Ended(_) => {
                    check_epoch(attempt.epoch.get().copied().unwrap_or(0), &launch)?;
                    return Ok(Submission::AlreadySubmitted);
                }
                // Refused, or left: its files know more.
                Stage::Unsettled | Stage::Left => {}
            }
        }
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        self.check_open()?;
        if attempts.len() > OBSERVE_MAX {
            let message = format!("{} attempts, at most {OBSERVE_MAX} are allowed", attempts.len());
            return Err(Error::invalid("observe", message));
        }
        let known = self.look_up(attempts).await?;
        Ok(attempts.iter().map(|id| known.get(id).cloned().unwrap_or(Observation::Unknown)).collect())
    }

    async fn stop(&self, id: AttemptId, mode: StopMode) -> Result<()> {
        self.check_open()?;
        // Finds it, if it is alive.
        self.look_up(&[id]).await?;
        let Some(attempt) = self.shared.live(id) else {
            return Ok(());
        };
        if settled(&attempt).await != Stage::Live {
            return Ok(());
        }
        let is_over = Arc::clone(&attempt.is_over).lock_owned().await;
        // All of it happens even if nobody waits for it any more.
        blocking_io("stop", move || {
            if *is_over {
                return Ok(());
            }
            attempt.dir.mark_stop(StopReason::Requested)?;
            attempt.stop.send_modify(|stop| {
                if *stop != Some(StopMode::Kill) {
                    *stop = Some(mode);
                }
            });
            Ok(())
        })
        .await
    }

    async fn signal(&self, id: AttemptId, signal: Signal) -> Result<()> {
        self.check_open()?;
        // Finds it, if it is alive.
        self.look_up(&[id]).await?;
        let Some(attempt) = self.shared.live(id) else {
            return Ok(());
        };
        if settled(&attempt).await != Stage::Live {
            return Ok(());
        }
        let line = serde_json::to_string(&signal)
            .map_err(|error| Error::invalid("signal", "the value is no JSON").caused_by(error))?;
        let dir = attempt.dir.clone();
        if blocking_io("signal", move || dir.add_signal(&(line + "\n"))).await? {
            return Ok(());
        }
        let message = "the file of values is as large as it may be";
        Err(Error::new(ErrorKind::Unsupported, "signal", message).with("attempt", id))
    }

    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        self.check_open()?;
        let dir = RunDir::of(&self.shared.run_root, attempt);
        let read = move || -> std::io::Result<Option<LogChunk>> {
            // Whether it has ended is asked first: what is read afterwards is then complete.
            let Some(has_ended) = dir.has_ended()? else { return Ok(None) };
            let piece = logs::read(&dir, stream, from, bytes_max.min(LOG_CHUNK_BYTES_MAX))?;
            Ok(Some(LogChunk { bytes: piece.bytes, next: piece.next, is_end: has_ended && piece.is_end }))
        };
        blocking("read logs", move || read().map_err(|error| io_error("read logs", error).with("attempt", attempt)))
            .await?
            .ok_or_else(|| Error::not_found("read logs", "no such attempt").with("attempt", attempt))
    }

    /// The folder in which its outputs are `stdout` and `stderr`.
    fn log_location(&self, attempt: AttemptId) -> Option<String> {
        Some(RunDir::of(&self.shared.run_root, attempt).location())
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        ExecutorCapabilities::default().survives_host().logs().graceful_stop().signals()
    }

    async fn shutdown(&self) -> Result<()> {
        self.shared.close().await;
        Ok(())
    }
}

impl Drop for ProcessExecutor {
    fn drop(&mut self) {
        self.shared.begin_to_close();
    }
}
