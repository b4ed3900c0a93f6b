//! The port for running jobs: what must a computing platform do when it is told to start, watch and stop an attempt?
//!
//! # A job type of one's own
//!
//! The example `own_executor` is one from end to end: jobs that are scripts of SQL. It takes
//!
//! 1. **a name**, such as `sql`. Nodes name it, [`operation("sql", spec)`](crate::graph::operation), best inside a function of one's own that
//!    makes the node; jobs do as [`Job::executor`](crate::workflow::Job::executor), and files by `executor: sql` with `spec: …`. What `spec` says
//!    is up to the job type.
//! 2. If several nodes are to form one job, **a [`JobGenerator`](crate::translator::JobGenerator)**, which makes the `spec` of the job from them and
//!    says what is wrong with a node before anything runs. It is registered at the translator:
//!    `SplitTranslator::new().generator("sql", …)`, which files are given by `LoadOptions::translator`.
//! 3. **An [`Executor`]**, registered under the name: `aiflow.scheduler().executor("sql", …)`. The one of a job that is quick and need not survive
//!    its process keeps a map of attempts, refuses what it cannot run in `submit`, starts a task for each attempt that it does not know yet, reports
//!    [`Started`](ReportKind::started) and the [`Ending`], and cancels the task in `stop` and `shutdown`. One that hands attempts to a platform
//!    uses [`Launch::attempt`] as the name of the job there, looks it up before it starts anything, and asks for it in `observe`.
//! 4. **A test**: `aiflow_testkit::executor_suite!(Fixture)` checks every sentence of the contract below, and shows what the executor only
//!    seems to do.
//!
//! Everything else (schedules, retries, time limits until the start, pools, placement on hosts, lineage) comes from outside the executor.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::bus::EventBus;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, NewEvent};
use crate::id::{AttemptId, FiringId, JobName, NodeName, ProjectName, WorkflowExecutionId, WorkflowName};
use crate::job_labels::LabelChanges;
use crate::store::MetaStore;
use crate::time::{Clock, Timestamp};

/// The most attempts one `observe` may name.
pub const OBSERVE_MAX: usize = 1_000;
/// The largest reference to a checkpoint, in bytes of JSON: what is larger belongs into a file, and its name here.
pub const CHECKPOINT_BYTES_MAX: usize = 16 * 1024;
/// The most values that a job has been handed and has not acknowledged; beyond it the job is restarted with the newest.
pub const SIGNALS_PENDING_MAX: usize = 64;
/// The most nodes whose times are told of one attempt; those of the others are not recorded.
pub const NODE_RUNS_MAX: usize = 500;
/// The most bytes one `logs` call returns.
pub const LOG_CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Runs attempts of jobs on a computing platform.
///
/// # Parties
/// The *scheduler* says what to start and stop; the *executor* does it and reports. Commands are delivered at least once, so each one is
/// harmless when repeated; the attempt id is its identity on the platform.
///
/// # Contract
/// 1. **Start at most once.** However often an attempt is submitted, it is started at most once; a repeated `submit` answers
///    `AlreadySubmitted`. With [`ExecutorCapabilities::survives_host`] this holds across crashes and restarts of the host application.
/// 2. **Submit is not start.** `submit` returns when the platform has accepted the attempt. A `submit` that fails with `Retry::Never` has not
///    started anything and never will; after any other error the outcome is unknown, and the attempt may be submitted again.
/// 3. **One ending.** Every started attempt leads to exactly one terminal [`Report`], to the reporter given to [`attach`](Executor::attach) last;
///    repeating it is harmless. Events that the attempt published are in the log before its ending is reported. What a running attempt of an
///    executor that survives its host has reported already ([`ReportKind::Ready`]) is reported again after `attach`: the last scheduler may
///    have died with the report in its hands.
/// 4. **Observe tells the truth.** `observe` answers from what is so now: `NotFound` only if the attempt was never accepted here, or is forgotten
///    for good and will never run; after `NotFound` for an executor that does not survive its host the attempt will not run.
/// 5. **Stop is a request.** `stop` returns when the request is recorded, not when the attempt has ended. Stopping what has ended or is not
///    known is fine. Graceful stop becomes a kill after the grace time. An attempt that was accepted but not yet started ends without starting.
/// 6. **Logs from a position.** `logs` returns what was written after a position; reading on from the returned position loses and repeats nothing.
/// 7. **Shutdown** joins every task of the executor. Attempts of an executor that survives its host go on; all others are stopped.
/// 8. **What ends with its host does.** An attempt with [`Launch::ends_with_host`] is repeated elsewhere when the process that submits it is gone:
///    it does not go on after that, as far as the platform can see to it.
///
/// # Errors
/// `Invalid`: the job's specification cannot be run (unknown function, missing program): not retried. `Unavailable`: try again.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Connects the executor to a scheduler: reports go there from now on. Called once each time this process begins to lead.
    ///
    /// A platform that several processes reach reports to the host of the highest epoch: a call that was under way when another process
    /// took the lead may come late.
    async fn attach(&self, host: ExecutorHost) -> Result<()>;

    /// Accepts an attempt for running.
    ///
    /// # Errors
    /// `Fenced`: a later leader has submitted it, and it goes on under that one. Any other that is not to be tried again ends the attempt.
    async fn submit(&self, launch: Launch) -> Result<Submission>;

    /// How these attempts stand, in the order asked. At most [`OBSERVE_MAX`].
    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>>;

    /// Asks an attempt to end.
    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()>;

    /// Hands a value to a running attempt. Returns when it will reach the attempt, which acknowledges it by itself
    /// ([`ReportKind::Acknowledged`]). The same signal may come again: its id says so. One for an attempt that has ended is dropped.
    ///
    /// # Errors
    /// `Unsupported`, unless implemented and [declared](ExecutorCapabilities::signals): the job is restarted with the value.
    async fn signal(&self, attempt: AttemptId, signal: Signal) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "signal", "this executor cannot hand values to running attempts")
            .with("attempt", attempt)
            .with("signal", signal.id))
    }

    /// What the attempt wrote after `from`, at most `bytes_max` (and at most [`LOG_CHUNK_BYTES_MAX`]).
    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk>;

    /// Where the platform keeps what the attempt writes, for people and for when this executor is gone: a path or a URL, the same each time. It
    /// stands in the job execution from the start of the attempt on.
    fn log_location(&self, attempt: AttemptId) -> Option<String> {
        let _ = attempt;
        None
    }

    /// What this platform can do.
    fn capabilities(&self) -> ExecutorCapabilities;

    /// Ends all work of the executor itself and joins its tasks.
    async fn shutdown(&self) -> Result<()>;
}

/// What a platform can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorCapabilities {
    /// Attempts go on when the host application dies, and are found again.
    pub survives_host: bool,
    /// `logs` works.
    pub logs: bool,
    /// `stop` can be graceful.
    pub graceful_stop: bool,
    /// `signal` works. If not, each value of a SIGNAL rule restarts its job, and a scheduler says so when such a workflow comes into use.
    pub signals: bool,
}

impl ExecutorCapabilities {
    /// Declares that attempts go on when the host application dies.
    #[must_use]
    pub fn survives_host(mut self) -> Self {
        self.survives_host = true;
        self
    }

    /// Declares that logs can be read.
    #[must_use]
    pub fn logs(mut self) -> Self {
        self.logs = true;
        self
    }

    /// Declares that attempts can be asked to stop gracefully.
    #[must_use]
    pub fn graceful_stop(mut self) -> Self {
        self.graceful_stop = true;
        self
    }

    /// Declares that values can be handed to running attempts.
    #[must_use]
    pub fn signals(mut self) -> Self {
        self.signals = true;
        self
    }
}

/// Everything needed to start one attempt.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Which attempt; its identity on the platform.
    pub attempt: AttemptId,
    /// Epoch of the leader that decided. An executor that knows a higher one for this attempt refuses.
    pub epoch: u64,
    /// Project of the workflow.
    pub project: ProjectName,
    /// The workflow.
    pub workflow: WorkflowName,
    /// The workflow execution that the job belongs to.
    pub workflow_execution: WorkflowExecutionId,
    /// The job.
    pub job: JobName,
    /// What to run, in the executor's own terms: the job's `spec`.
    pub spec: Value,
    /// Parameters: those of the job, overridden by those of the workflow execution.
    pub params: Value,
    /// The events that made the job run, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Where it is to go on: what an earlier attempt, or one of an earlier execution of the job, said last.
    pub checkpoint: Option<Value>,
    /// Wall-clock limit of the attempt.
    pub timeout: Option<Duration>,
    /// The attempt is killed and has failed when it gives no sign of life for so long; `None`: it need not give any.
    pub heartbeat_timeout: Option<Duration>,
    /// Time between a graceful stop and the kill.
    pub stop_grace: Duration,
    /// It is placed on a [host](crate::host), and is to end with the process that submits it, also if the executor [survives its host](ExecutorCapabilities::survives_host) otherwise.
    pub ends_with_host: bool,
}

/// The answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submission {
    /// Accepted now.
    Submitted,
    /// Was accepted before; nothing was started by this call.
    AlreadySubmitted,
}

/// How an attempt is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopMode {
    /// Ask, then kill after the grace time of the launch.
    #[default]
    Graceful,
    /// Kill now.
    Kill,
}

impl StopMode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    pub(crate) fn is_graceful(&self) -> bool {
        *self == Self::Graceful
    }
}

/// How an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Never accepted here, or forgotten for good; it will not run.
    NotFound,
    /// Accepted, not started yet.
    Queued,
    /// Running.
    Running,
    /// Ended.
    Ended(Ending),
    /// The platform cannot say now. No other attempt may be started meanwhile.
    Unknown,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ending")]
pub enum Ending {
    /// It did its work.
    Succeeded {
        /// What it returned, JSON.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// It failed.
    Failed {
        /// Why, for people.
        message: String,
        /// Exit code or `128 + signal` of a process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What sort of error it was, in the words of the job: what [`FailureTest::kind`](crate::workflow::FailureTest::kind) compares.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// Whether another attempt may help. `false` for an unknown function or a missing program.
        #[serde(default = "yes")]
        retryable: bool,
    },
    /// It was stopped on request.
    Stopped,
    /// It exceeded a time limit, and was stopped or killed for it.
    TimedOut {
        /// Which.
        #[serde(default)]
        limit: TimeLimit,
    },
    /// It vanished: its host or supervisor died and the outcome cannot be known.
    Lost {
        /// Why, for people.
        message: String,
    },
}

fn yes() -> bool {
    true
}

impl Ending {
    /// A failure that another attempt may mend.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), exit_code: None, kind: None, retryable: true }
    }

    /// A failure that no other attempt can mend.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), exit_code: None, kind: None, retryable: false }
    }
}

/// A limit of the time that an attempt may take for something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeLimit {
    /// From being handed to the executor until it runs.
    Queue,
    /// From running until ready; streaming jobs only.
    Start,
    /// From running until its end.
    #[default]
    Run,
    /// Between two signs of life.
    Heartbeat,
}

/// What an executor tells the scheduler of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which attempt.
    pub attempt: AttemptId,
    /// When, by the executor's clock.
    pub at: Timestamp,
    /// What.
    pub kind: ReportKind,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum ReportKind {
    /// It began to run.
    Started {
        /// Where what it writes is kept: [`log_location`](Executor::log_location).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        logs: Option<String>,
    },
    /// A streaming job is ready: what depends on it may start.
    Ready,
    /// It said where the next attempt is to go on, and would not begin anew.
    Checkpoint {
        /// Rises within an attempt.
        number: u64,
        /// The reference: at most [`CHECKPOINT_BYTES_MAX`] bytes of JSON.
        value: Value,
    },
    /// What it says about itself changed: labels of its job execution, from this attempt on.
    Labels {
        /// Rises within an attempt; what comes late does not count.
        number: u64,
        /// The labels that changed; what is beyond [their bounds](crate::job_labels) is left out.
        labels: LabelChanges,
    },
    /// It has taken a value that was handed to it.
    Acknowledged {
        /// The value.
        signal: FiringId,
    },
    /// A value could not be handed to it.
    SignalRefused {
        /// The value.
        signal: FiringId,
        /// Why, for people.
        message: String,
    },
    /// When the nodes of the job ran; told once, before its ending, by an executor that knows of nodes.
    Nodes {
        /// At most [`NODE_RUNS_MAX`], in the order of the job.
        nodes: Vec<NodeRun>,
    },
    /// It ended; nothing more will be reported of it.
    Ended(Ending),
}

impl ReportKind {
    /// It began to run, and what it writes is kept nowhere.
    #[must_use]
    pub fn started() -> Self {
        Self::Started { logs: None }
    }
}

/// When one node of a job ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRun {
    /// The node.
    pub node: NodeName,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it returned; `None` if it was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Whether it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// A value for a job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its identity: it may be handed over more than once.
    pub id: FiringId,
    /// Key of the event that the value is of; empty if it was given by hand.
    #[serde(default)]
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: Value,
    /// Parameters of the rule that hands it over.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

impl Report {
    /// The event that brings it into the log. Its id names attempt and fact, so that a repeated report is one event and the first ending
    /// stands.
    #[must_use]
    pub fn into_event(self) -> NewEvent {
        let Self { attempt, at, kind } = self;
        let id = match &kind {
            ReportKind::Started { .. } => format!("report:{attempt}:started"),
            ReportKind::Ready => format!("report:{attempt}:ready"),
            ReportKind::Checkpoint { number, .. } => format!("report:{attempt}:checkpoint:{number}"),
            ReportKind::Labels { number, .. } => format!("report:{attempt}:labels:{number}"),
            ReportKind::Acknowledged { signal } => format!("report:{attempt}:acknowledged:{signal}"),
            ReportKind::SignalRefused { signal, .. } => format!("report:{attempt}:refused:{signal}"),
            ReportKind::Nodes { .. } => format!("report:{attempt}:nodes"),
            ReportKind::Ended(_) => format!("report:{attempt}:ended"),
        };
        Control::Reported { attempt, report: kind }.into_event(id).time(at)
    }
}

/// What an executor is given to report with.
#[derive(Debug, Clone)]
pub struct ExecutorHost {
    /// Where reports go.
    pub reporter: Reporter,
    /// The store, for the contexts of jobs.
    pub store: Arc<dyn MetaStore>,
    /// The log, for events of jobs.
    pub bus: Arc<dyn EventBus>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Epoch of the scheduler's lead: it rises with each change of leader.
    pub epoch: u64,
}

/// The sending end of the report queue: bounded, so a scheduler that lags slows its executors down instead of growing.
#[derive(Debug, Clone)]
pub struct Reporter(mpsc::Sender<Report>);

impl Reporter {
    /// A reporter and its receiving end, with room for `capacity` reports.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Report>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self(sender), receiver)
    }

    /// Reports; waits while the queue is full.
    ///
    /// # Errors
    /// `Closed` when the scheduler is gone: keep the ending and answer `observe` with it.
    pub async fn report(&self, report: Report) -> Result<()> {
        self.0.send(report).await.map_err(|_| Error::new(ErrorKind::Closed, "report", "the scheduler is gone"))
    }
}

/// One of the two outputs of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Read on from here.
    pub next: u64,
    /// The attempt has ended and this is the end.
    pub is_end: bool,
}

/// One line of the job event protocol: what a process appends to the file named by `AIFLOW_EVENTS`.
///
/// ```
/// # use aiflow_core::executor::JobEventLine;
/// let line: JobEventLine = serde_json::from_str(r#"{"key": "samples", "value": {"rows": 320}}"#).unwrap();
/// assert_eq!(line.key, "samples");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobEventLine {
    /// Key, required.
    pub key: String,
    /// Any JSON; null if missing.
    #[serde(default)]
    pub value: Value,
    /// Type; `UNDEFINED` if missing.
    #[serde(default)]
    pub event_type: Option<String>,
    /// Namespace; the project of the job if missing.
    #[serde(default)]
    pub namespace: Option<String>,
    /// For all executions instead of the job's own.
    #[serde(default)]
    pub broadcast: bool,
    /// For the executions that carry one of these contexts instead of the job's own.
    #[serde(default)]
    pub contexts: BTreeSet<String>,
}

impl JobEventLine {
    /// The event that line number `line` (from 1) of `launch` stands for. The id names attempt and line, so that reading the file again
    /// publishes nothing twice.
    #[must_use]
    pub fn into_event(self, launch: &JobIdentity, line: u64) -> NewEvent {
        let namespace = self.namespace.unwrap_or_else(|| launch.project.to_string());
        let mut event = NewEvent::identified(format!("job:{}:{line}", launch.attempt), namespace, self.key)
            .value(self.value)
            .sender(launch.job.as_str());
        if let Some(event_type) = self.event_type {
            event = event.event_type(event_type);
        }
        event.context.attempt = Some(launch.attempt);
        event.context.contexts = self.contexts;
        if !self.broadcast && event.context.contexts.is_empty() {
            event = event.for_execution(launch.workflow_execution);
        }
        event
    }
}

/// Who a running job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its project.
    pub project: ProjectName,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// Its workflow execution.
    pub workflow_execution: WorkflowExecutionId,
    /// Its job.
    pub job: JobName,
}

impl Launch {
    /// Who the job of this launch is.
    #[must_use]
    pub fn identity(&self) -> JobIdentity {
        JobIdentity {
            attempt: self.attempt,
            project: self.project.clone(),
            workflow: self.workflow.clone(),
            workflow_execution: self.workflow_execution,
            job: self.job.clone(),
        }
    }
}
