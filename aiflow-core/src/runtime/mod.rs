//! The scheduler at work: the asynchronous shell around the [engine](crate::engine).
//!
//! It does all I/O and decides nothing. Any number of processes may run a scheduler on the same store: one leads, the others stand by.
//!
//! # A turn
//! Read a batch of events, let the engine decide, write everything that follows in **one** transaction (which checks that this is still the
//! leader and the cursor is where it was), hand its commands to the executors. The engine adopts a decision before it is committed, so that
//! the next one is made meanwhile. A crash anywhere repeats at most a command, and commands are harmless when repeated.

mod commit;
mod dispatch;
mod driver;
mod host;
mod host_commands;
mod hosts;
mod input;
mod launch;
mod lineage;
mod recover;
mod report;
mod session;
mod settings;
mod volatile;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use commit::KIND_CURSOR;
pub(crate) use commit::scheduler_cursor;
pub(crate) use input::input;
pub use recover::LIVE_ROWS_MAX;
pub use settings::Settings;

use crate::bus::EventBus;
use crate::client::AiFlow;
use crate::engine::{CustomCondition, CustomConditions};
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{JobExecution, KIND_JOB_EXECUTION};
use crate::executor::{Executor, LogChunk, LogStream};
use crate::host::{Host, HostId, HostOffer};
use crate::id::{AttemptId, ExecutorName, Offset, random_id};
use crate::records::body_of;
use crate::store::{MetaStore, MetaStoreExt as _, RecordKey};
use crate::time::{Clock, SystemClock};

/// Name of the lease that makes a scheduler the one that decides, and of its cursor.
pub const SCHEDULER_LEASE: &str = "scheduler";

/// The replaceable parts of a scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) executors: BTreeMap<ExecutorName, Arc<dyn Executor>>,
    pub(crate) customs: CustomConditions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) holder: String,
    /// What it offers to whoever leads.
    pub(crate) offer: Option<HostOffer>,
}

impl Parts {
    /// Whether this process runs attempts on this executor as a host.
    pub(crate) fn offers(&self, executor: &ExecutorName) -> bool {
        self.offer.as_ref().is_some_and(|offer| offer.executors.contains_key(executor))
    }

    /// Whether this process runs nothing: what it decides is for hosts, also before the first of them is there.
    pub(crate) fn only_leads(&self) -> bool {
        self.executors.is_empty()
    }
}

/// Puts a scheduler together.
#[derive(Debug)]
#[must_use = "a scheduler runs once it is started"]
pub struct SchedulerBuilder {
    parts: Parts,
    problems: Vec<String>,
}

impl AiFlow {
    /// A scheduler over the same store, log and clock: add executors, then start it. One without executors leads and runs nothing: the jobs wait for
    /// [hosts](SchedulerBuilder::host). In one with executors, a job that asks for another one fails, unless a host is or was there.
    pub fn scheduler(&self) -> SchedulerBuilder {
        Scheduler::builder(Arc::clone(self.store()), Arc::clone(self.bus())).clock(Arc::clone(self.clock()))
    }
}

impl SchedulerBuilder {
    /// Adds an executor under the name by which jobs ask for it.
    pub fn executor(mut self, name: &str, executor: impl Executor + 'static) -> Self {
        match ExecutorName::parse(name) {
            Ok(name) => {
                if self.parts.executors.insert(name.clone(), Arc::new(executor)).is_some() {
                    self.problems.push(format!("executor {name} is registered twice"));
                }
            }
            Err(error) => self.problems.push(error.to_string()),
        }
        self
    }

    /// Adds code for [custom conditions](crate::workflow::custom) under the name by which rules ask for it. Every scheduler of a store needs
    /// the same: one without makes dead letters of the events that the rule would have seen.
    pub fn condition(mut self, name: &str, condition: impl CustomCondition + 'static) -> Self {
        if self.parts.customs.insert(name, condition) {
            self.problems.push(format!("custom condition {name:?} is registered twice"));
        }
        self
    }

    /// Makes this process a host: whoever leads may place attempts on the executors that it offers, up to their capacity. Those that it does not
    /// offer are used as without this, while this scheduler leads.
    ///
    /// As soon as a host offers an executor, jobs of that executor run on hosts and nowhere else; while none has room, they wait. So either no
    /// scheduler offers an executor, or each one that has it does.
    pub fn host(mut self, host: Host) -> Self {
        match host.offer() {
            Ok(offer) => self.parts.offer = Some(offer),
            Err(error) => self.problems.push(error.to_string()),
        }
        self
    }

    /// Replaces the numbers.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.parts.settings = settings;
        self
    }

    /// Replaces the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.parts.clock = clock;
        self
    }

    /// Starts the scheduler on the current tokio runtime. It leads as soon as nobody else does.
    ///
    /// # Errors
    /// `Invalid`: names of executors or conditions. `Unsupported`: store and bus do not share a log, so that a decision and its events could not be one
    /// transaction.
    pub fn start(mut self) -> Result<Scheduler> {
        let offered = self.parts.offer.iter().flat_map(|offer| offer.executors.keys());
        for missing in offered.filter(|name| !self.parts.executors.contains_key(*name)) {
            self.problems.push(format!("the host offers an executor {missing}, and none of this name is registered"));
        }
        if !self.problems.is_empty() {
            return Err(Error::invalid("start scheduler", self.problems.join("; ")));
        }
        let (store, bus) = (self.parts.store.capabilities(), self.parts.bus.capabilities());
        if store.log != bus.log {
            let message = "store and bus must share one log: open both from the same backend";
            return Err(Error::new(ErrorKind::Unsupported, "start scheduler", message)
                .with("store", store.log)
                .with("bus", bus.log));
        }
        let (stop, stopped) = watch::channel(false);
        let (status, status_seen) = watch::channel(SchedulerStatus::Standby);
        let (applied, applied_seen) = watch::channel(Offset::START);
        let (joined, joined_seen) = watch::channel(None);
        let (store, executors) = (Arc::clone(&self.parts.store), self.parts.executors.clone());
        let task = tokio::spawn(session::run(self.parts, stopped, status, applied, joined));
        let (status, applied, joined) = (status_seen, applied_seen, joined_seen);
        Ok(Scheduler { stop, status, applied, joined, store, executors, task: Some(task) })
    }
}

/// What a scheduler is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulerStatus {
    /// Another one leads, or nobody yet.
    Standby,
    /// It decides, under this epoch.
    Leading {
        /// Rises with each change of leader.
        epoch: u64,
    },
    /// It has ended; the reason if it was not asked to.
    Ended {
        /// Why.
        error: Option<String>,
    },
}

/// A running scheduler.
///
/// Dropping it asks it to stop without waiting; call [`shutdown`](Scheduler::shutdown) to wait.
#[derive(Debug)]
pub struct Scheduler {
    stop: watch::Sender<bool>,
    status: watch::Receiver<SchedulerStatus>,
    applied: watch::Receiver<Offset>,
    joined: watch::Receiver<Option<HostId>>,
    store: Arc<dyn MetaStore>,
    executors: BTreeMap<ExecutorName, Arc<dyn Executor>>,
    task: Option<JoinHandle<Result<()>>>,
}

impl Scheduler {
    /// A scheduler over a store and the bus that shares its log.
    pub fn builder(store: Arc<dyn MetaStore>, bus: Arc<dyn EventBus>) -> SchedulerBuilder {
        let parts = Parts {
            store,
            bus,
            executors: BTreeMap::new(),
            customs: CustomConditions::default(),
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            holder: random_id(),
            offer: None,
        };
        SchedulerBuilder { parts, problems: Vec::new() }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> SchedulerStatus {
        self.status.borrow().clone()
    }

    /// Waits until it leads.
    ///
    /// # Errors
    /// `Closed` if it has ended.
    pub async fn wait_leading(&self) -> Result<u64> {
        let mut status = self.status.clone();
        let reached = status.wait_for(|status| !matches!(status, SchedulerStatus::Standby)).await;
        match reached.as_deref() {
            Ok(SchedulerStatus::Leading { epoch }) => Ok(*epoch),
            Ok(SchedulerStatus::Ended { error: Some(error) }) => {
                Err(Error::new(ErrorKind::Closed, "wait for scheduler", error.clone()))
            }
            _ => Err(ended()),
        }
    }

    /// Waits until it has joined as a [host](SchedulerBuilder::host), and returns the id of its present life.
    ///
    /// # Errors
    /// `Closed` if it has ended.
    pub async fn wait_joined(&self) -> Result<HostId> {
        let mut joined = self.joined.clone();
        let host = joined.wait_for(Option::is_some).await.map_err(|_| ended())?.clone();
        host.ok_or_else(ended)
    }

    /// Waits until every event up to `offset` was applied by this scheduler or one before it.
    ///
    /// # Errors
    /// `Closed` if it has ended.
    pub async fn wait_applied(&self, offset: Offset) -> Result<()> {
        self.applied.clone().wait_for(|applied| *applied >= offset).await.map(|_| ()).map_err(|_| ended())
    }

    /// What an attempt wrote to `stream` after position `from`, at most `bytes_max` (and at most
    /// [`LOG_CHUNK_BYTES_MAX`](crate::executor::LOG_CHUNK_BYTES_MAX)) bytes; also of one that ended long ago, while its platform keeps it. Asks the
    /// executor of this process; which attempts there were, a [`JobExecution`] says.
    ///
    /// # Errors
    /// `NotFound`: there is no such attempt, or it is not of a platform that this process reaches; then the error says where its logs are, if that
    /// is known. `Unsupported`: its executor keeps no logs.
    pub async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        let unknown = || Error::not_found("read logs", "no such attempt").with("attempt", attempt);
        let key = RecordKey::new(KIND_JOB_EXECUTION, attempt.job_execution.to_string());
        let job: JobExecution = body_of(&self.store.get_one(&key).await?.ok_or_else(unknown)?)?;
        let location = job.log_location(attempt.attempt).map(str::to_owned);
        let elsewhere = |error: Error| match &location {
            Some(location) => error.with("logs", location),
            None => error,
        };
        let Some(executor) = self.executors.get(&job.executor) else {
            let error = Error::not_found("read logs", "this process has no executor of that name");
            return Err(elsewhere(error.with("executor", &job.executor)));
        };
        executor.logs(attempt, stream, from, bytes_max).await.map_err(elsewhere)
    }

    /// Stops deciding, stops the jobs that live in this process, joins every task and gives the lease up. Processes go on; the next
    /// scheduler finds them. What was stopped in this process runs again with the next scheduler.
    ///
    /// # Errors
    /// Why the scheduler had ended, if it was not asked to.
    pub async fn shutdown(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => {
                task.await.map_err(|error| Error::new(ErrorKind::Internal, "shut down", error.to_string()))?
            }
            None => Ok(()),
        }
    }

    /// Ends the scheduler as if its process had died: nothing is handed on, told to stop or given up, and every task it started is
    /// dropped where it waits. For tests of recovery.
    pub fn abort(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "wait for scheduler", "the scheduler has ended")
}
