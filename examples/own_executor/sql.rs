//! A job type of one's own: scripts of SQL. How a node names it, how a job is made of several nodes, and what runs it.
//!
//! It keeps every promise of [`Executor`], as `tests/it/own_executor.rs` shows with the suite of `aiflow-testkit`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aiflow::executor::{
    Ending, Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, NodeRun, OBSERVE_MAX,
    Observation, Report, ReportKind, StopMode, Submission, TimeLimit,
};
use aiflow::graph::{AiNode, operation};
use aiflow::id::{AttemptId, NodeName};
use aiflow::prelude::*;
use aiflow::time::{Clock as _, SystemClock};
use aiflow::translator::{Generated, JobGenerator, JobNode};
use aiflow::workflow::Diagnostic;
use aiflow::{Error, ErrorKind, Result};
use async_trait::async_trait;
use rusqlite::{Connection, InterruptHandle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The name under which graphs, files and the scheduler know the job type.
pub(crate) const SQL: &str = "sql";
/// The most rows of a statement that become events.
const ROWS_MAX: usize = 1_000;

// 1. What a node says. In a file it is `executor: sql` with `spec: {sql: …}`.

/// A node that is one statement.
pub(crate) fn sql(statement: &str) -> AiNode {
    operation(SQL, json!({ "sql": statement }))
}

/// A node that publishes the first column of each row of a statement, with this key.
pub(crate) fn publish(key: &str, statement: &str) -> AiNode {
    operation(SQL, json!({ "sql": statement, "publish": key }))
}

/// What a node of a job does, as it lies in the workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    node: NodeName,
    sql: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publish: Option<String>,
}

// 2. What a job is: the statements of its nodes, each after those whose tables it reads.

/// Makes a job of the nodes that data edges connect.
#[derive(Debug)]
pub(crate) struct SqlGenerator;

impl JobGenerator for SqlGenerator {
    fn generate(&self, nodes: Vec<JobNode<'_>>) -> Result<Generated, Vec<Diagnostic>> {
        let (mut script, mut wrong) = (Vec::new(), Vec::new());
        for node in nodes {
            let mut spec = node.node.spec.clone();
            if let Some(spec) = spec.as_object_mut() {
                spec.insert("node".to_owned(), node.name.as_str().into());
            }
            match serde_json::from_value::<Statement>(spec.clone()) {
                Ok(_) => script.push(spec),
                Err(error) => wrong.push(node.problem(format!("is no statement: {error}"))),
            }
        }
        if wrong.is_empty() { Ok(Generated::new(script)) } else { Err(wrong) }
    }
}

// 3. What runs it.

/// Runs scripts on a SQLite file, each statement by itself. `:attempt` stands for the attempt.
///
/// A statement is interrupted by a stop; there is no gentler way. What ran when the process dies is repeated, as another attempt.
#[derive(Debug)]
pub(crate) struct SqlExecutor {
    database: PathBuf,
    shared: Arc<Shared>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    host: Option<ExecutorHost>,
    attempts: BTreeMap<AttemptId, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    epoch: u64,
    observation: Observation,
    stop: watch::Sender<bool>,
}

impl SqlExecutor {
    /// An executor on this file, which is made if it is missing.
    pub(crate) fn new(database: impl Into<PathBuf>) -> Self {
        Self { database: database.into(), shared: Arc::default(), tasks: tokio::sync::Mutex::default() }
    }
}

/// The file, with a table in which each attempt leaves a row as it starts.
pub(crate) fn connect(database: &PathBuf) -> rusqlite::Result<Connection> {
    /// One after the other: SQLite does not wait for another connection that makes the file.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS attempts (attempt TEXT, job TEXT)")?;
    Ok(connection)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> Option<ExecutorHost> {
        self.state().host.clone()
    }

    fn set(&self, attempt: AttemptId, observation: Observation) {
        if let Some(known) = self.state().attempts.get_mut(&attempt) {
            known.observation = observation;
        }
    }

    async fn report(&self, attempt: AttemptId, kind: ReportKind) {
        if let Some(host) = self.host() {
            let at = host.clock.now();
            // If the scheduler is gone, the next one asks, and `observe` answers with the ending.
            let _ = host.reporter.report(Report { attempt, at, kind }).await;
        }
    }

    /// Runs an attempt to its one ending.
    async fn live(
        self: Arc<Self>,
        database: PathBuf,
        launch: Launch,
        script: Vec<Statement>,
        stop: watch::Receiver<bool>,
    ) {
        let attempt = launch.attempt;
        let ending = self.run(database, launch, script, stop).await;
        self.set(attempt, Observation::Ended(ending.clone()));
        self.report(attempt, ReportKind::Ended(ending)).await;
    }

    async fn run(
        self: &Arc<Self>,
        database: PathBuf,
        launch: Launch,
        script: Vec<Statement>,
        mut stop: watch::Receiver<bool>,
    ) -> Ending {
        let connection = match connect(&database) {
            Ok(connection) => connection,
            Err(error) => return Ending::failed(error.to_string()),
        };
        if *stop.borrow() {
            return Ending::Stopped;
        }
        let (is_cut, handle) = (Arc::new(AtomicBool::new(false)), connection.get_interrupt_handle());
        let timeout = launch.timeout.unwrap_or(Duration::MAX);
        let work = Work { shared: Arc::clone(self), launch, is_cut: Arc::clone(&is_cut) };
        let runtime = Handle::current();
        let mut working = tokio::task::spawn_blocking(move || work.run(&connection, script, &runtime));
        let cut = tokio::select! {
            biased;
            done = &mut working => return done.unwrap_or_else(|error| Ending::failed(error.to_string())),
            // The sender lives as long as the attempt is known.
            _ = stop.wait_for(|stop| *stop) => Ending::Stopped,
            () = tokio::time::sleep(timeout) => Ending::TimedOut { limit: TimeLimit::Run },
        };
        is_cut.store(true, Ordering::Release);
        interrupt(&handle, working).await;
        cut
    }
}

/// Interrupts whatever statement runs, until none does: between two of them an interrupt is lost.
async fn interrupt(handle: &InterruptHandle, mut working: tokio::task::JoinHandle<Ending>) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            biased;
            _ = &mut working => return,
            _ = again.tick() => handle.interrupt(),
        }
    }
}

/// What a thread does for an attempt.
struct Work {
    shared: Arc<Shared>,
    launch: Launch,
    is_cut: Arc<AtomicBool>,
}

impl Work {
    fn run(&self, connection: &Connection, script: Vec<Statement>, runtime: &Handle) -> Ending {
        let attempt = self.launch.attempt;
        let started =
            connection.execute("INSERT INTO attempts VALUES (?1, ?2)", (attempt.to_string(), self.launch.job.as_str()));
        if let Err(error) = started {
            return Ending::failed(error.to_string());
        }
        self.shared.set(attempt, Observation::Running);
        runtime.block_on(self.shared.report(attempt, ReportKind::started()));
        let (mut nodes, mut rows, mut wrong) = (Vec::new(), Value::Null, None);
        for statement in script {
            if self.is_cut.load(Ordering::Acquire) || wrong.is_some() {
                break;
            }
            let started_at = SystemClock.now();
            match self.execute(connection, &statement, runtime) {
                Ok(n) => rows = n.into(),
                Err(error) => wrong = Some(format!("node {}: {error}", statement.node)),
            }
            let (finished_at, failed) = (Some(SystemClock.now()), wrong.is_some());
            nodes.push(NodeRun { node: statement.node, started_at, finished_at, failed });
        }
        runtime.block_on(self.shared.report(attempt, ReportKind::Nodes { nodes }));
        wrong.map_or(Ending::Succeeded { output: json!({ "rows": rows }) }, Ending::failed)
    }

    /// Executes a statement; gives the number of rows that it changed, or published.
    fn execute(
        &self,
        connection: &Connection,
        Statement { node, sql, publish }: &Statement,
        runtime: &Handle,
    ) -> std::result::Result<usize, Box<dyn std::error::Error>> {
        let mut statement = connection.prepare(sql)?;
        if let Some(place) = statement.parameter_index(":attempt")? {
            statement.raw_bind_parameter(place, self.launch.attempt.to_string())?;
        }
        let mut rows = statement.raw_query();
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(key) = publish else { continue };
            if events.len() == ROWS_MAX {
                return Err(format!("it has more than {ROWS_MAX} rows to publish").into());
            }
            let value = match row.get::<_, rusqlite::types::Value>(0)? {
                rusqlite::types::Value::Integer(number) => number.into(),
                rusqlite::types::Value::Real(number) => number.into(),
                rusqlite::types::Value::Text(text) => text.into(),
                rusqlite::types::Value::Null | rusqlite::types::Value::Blob(_) => Value::Null,
            };
            // The id names the attempt and the row: saying it again says nothing new.
            let id = format!("sql:{}:{node}:{}", self.launch.attempt, events.len());
            let event = NewEvent::identified(id, self.launch.project.as_str(), key.as_str()).value(value);
            let mut event = event.sender(self.launch.job.as_str()).for_execution(self.launch.workflow_execution);
            event.context.attempt = Some(self.launch.attempt);
            events.push(event);
        }
        drop(rows);
        let n = if publish.is_some() { events.len() } else { usize::try_from(connection.changes())? };
        // What an attempt says is in the log before its ending is reported.
        if let Some(host) = self.shared.host().filter(|_| !events.is_empty()) {
            runtime.block_on(host.bus.publish(events))?;
        }
        Ok(n)
    }
}

#[async_trait]
impl Executor for SqlExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.shared.state().host = Some(host);
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        // A refusal is for good: nothing has started, and nothing will.
        let script = serde_json::from_value::<Vec<Statement>>(launch.spec.clone())
            .map_err(|error| Error::invalid("submit", "the job is no script of SQL").caused_by(error))?;
        if launch.heartbeat_timeout.is_some() {
            return Err(Error::invalid("submit", "a statement gives no sign of life; limit its time instead"));
        }
        let (sender, stop) = watch::channel(false);
        let mut tasks = self.tasks.lock().await;
        while tasks.try_join_next().is_some() {}
        {
            let mut state = self.shared.state();
            if let Some(known) = state.attempts.get_mut(&launch.attempt) {
                if known.epoch > launch.epoch {
                    return Err(Error::new(ErrorKind::Fenced, "submit", "a later leader has submitted this attempt"));
                }
                known.epoch = launch.epoch;
                return Ok(Submission::AlreadySubmitted);
            }
            let known = Attempt { epoch: launch.epoch, observation: Observation::Queued, stop: sender };
            state.attempts.insert(launch.attempt, known);
        }
        tasks.spawn(Arc::clone(&self.shared).live(self.database.clone(), launch, script, stop));
        Ok(Submission::Submitted)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        if attempts.len() > OBSERVE_MAX {
            return Err(Error::invalid("observe", "too many attempts at once"));
        }
        let state = self.shared.state();
        let observe = |attempt| state.attempts.get(attempt).map(|known| known.observation.clone());
        Ok(attempts.iter().map(|attempt| observe(attempt).unwrap_or(Observation::NotFound)).collect())
    }

    async fn stop(&self, attempt: AttemptId, _: StopMode) -> Result<()> {
        if let Some(known) = self.shared.state().attempts.get(&attempt) {
            known.stop.send_replace(true);
        }
        Ok(())
    }

    async fn logs(&self, _: AttemptId, _: LogStream, _: u64, _: usize) -> Result<LogChunk> {
        Err(Error::new(ErrorKind::Unsupported, "logs", "statements write no logs"))
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        ExecutorCapabilities::default()
    }

    async fn shutdown(&self) -> Result<()> {
        let mut tasks = self.tasks.lock().await;
        for known in self.shared.state().attempts.values() {
            known.stop.send_replace(true);
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}
