//! The smallest executor that keeps every promise: its jobs are tasks that do what a case asks. It shows that the suite can be passed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aiflow_core::event::NewEvent;
use aiflow_core::executor::{
    Ending, Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, OBSERVE_MAX, Observation,
    Report, ReportKind, StopMode, Submission, TimeLimit,
};
use aiflow_core::id::AttemptId;
use aiflow_core::{Error, ErrorKind, Result};
use aiflow_testkit::{Behaviour, ExecutorFixture};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

aiflow_testkit::executor_suite!(TaskFixture::default());

type Starts = Arc<Mutex<BTreeMap<AttemptId, u32>>>;

#[derive(Default)]
pub(crate) struct TaskFixture {
    starts: Starts,
}

#[async_trait]
impl ExecutorFixture for TaskFixture {
    async fn open(&self) -> Arc<dyn Executor> {
        let starts = Arc::clone(&self.starts);
        Arc::new(TaskExecutor {
            shared: Arc::new(Shared { starts, state: Mutex::default() }),
            tasks: tokio::sync::Mutex::default(),
        })
    }

    async fn restart(&self) -> Option<Arc<dyn Executor>> {
        None
    }

    fn spec(&self, behaviour: Behaviour) -> Value {
        match behaviour {
            Behaviour::PublishEventsThenSucceed(n) => json!({"do": "publish", "n": n}),
            Behaviour::PrintThenSucceed(n) => json!({"do": "print", "n": n}),
            other => json!({"do": format!("{other:?}")}),
        }
    }

    fn starts(&self, attempt: AttemptId) -> u32 {
        let starts = self.starts.lock().unwrap();
        starts.get(&attempt).copied().unwrap_or(0)
    }
}

#[derive(Debug)]
struct TaskExecutor {
    shared: Arc<Shared>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    starts: Starts,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    host: Option<ExecutorHost>,
    attempts: BTreeMap<AttemptId, Attempt>,
}

#[derive(Debug)]
struct Attempt {
    epoch: u64,
    observation: Observation,
    stop: watch::Sender<Option<StopMode>>,
    logs: [Vec<u8>; 2],
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn report(&self, attempt: AttemptId, kind: ReportKind) {
        let host = self.state().host.clone();
        if let Some(host) = host {
            let at = host.clock.now();
            // If the scheduler is gone, `observe` still answers with the ending.
            let _ = host.reporter.report(Report { attempt, at, kind }).await;
        }
    }

    fn set(&self, attempt: AttemptId, observation: Observation) {
        if let Some(known) = self.state().attempts.get_mut(&attempt) {
            known.observation = observation;
        }
    }

    async fn run(&self, launch: Launch, mut stop: watch::Receiver<Option<StopMode>>) {
        let attempt = launch.attempt;
        let ending = if stop.borrow_and_update().is_some() {
            Ending::Stopped
        } else {
            self.set(attempt, Observation::Running);
            *self.starts.lock().unwrap().entry(attempt).or_default() += 1;
            self.report(attempt, ReportKind::started()).await;
            let timeout = launch.timeout.unwrap_or(Duration::MAX);
            // Its jobs give no sign of life.
            let silence = launch.heartbeat_timeout.unwrap_or(Duration::MAX);
            tokio::select! {
                ending = self.work(&launch) => ending,
                () = stopped(&launch, stop) => Ending::Stopped,
                () = tokio::time::sleep(timeout) => Ending::TimedOut { limit: TimeLimit::Run },
                () = tokio::time::sleep(silence) => Ending::TimedOut { limit: TimeLimit::Heartbeat },
            }
        };
        self.set(attempt, Observation::Ended(ending.clone()));
        self.report(attempt, ReportKind::Ended(ending)).await;
    }

    async fn work(&self, launch: &Launch) -> Ending {
        let n = launch.spec["n"].as_u64().unwrap_or(0);
        match launch.spec["do"].as_str() {
            Some("Succeed") => {}
            Some("Fail") => return Ending::failed("asked to fail"),
            Some("publish") => self.publish(launch, n).await,
            Some("print") => self.print(launch.attempt, n),
            _ => std::future::pending().await,
        }
        Ending::Succeeded { output: Value::Null }
    }

    async fn publish(&self, launch: &Launch, n: u64) {
        let bus = self.state().host.as_ref().map(|host| Arc::clone(&host.bus));
        for value in 0..n {
            let mut event = NewEvent::new(launch.project.as_str(), "case").value(value);
            event.context.attempt = Some(launch.attempt);
            let event = event.for_execution(launch.workflow_execution);
            bus.as_ref().unwrap().publish(vec![event]).await.unwrap();
        }
    }

    fn print(&self, attempt: AttemptId, n: u64) {
        let lines: String = (0..n).map(|n| format!("line {n}\n")).collect();
        if let Some(known) = self.state().attempts.get_mut(&attempt) {
            known.logs = [lines.into_bytes(), b"error\n".to_vec()];
        }
    }
}

/// Returns when the attempt must end: at a kill, at a request it heeds, or when the grace time of one it ignores is over.
async fn stopped(launch: &Launch, mut stop: watch::Receiver<Option<StopMode>>) {
    let is_deaf = launch.spec["do"] == "IgnoreGracefulStop";
    let mode = *stop.wait_for(Option::is_some).await.unwrap();
    if is_deaf && mode == Some(StopMode::Graceful) {
        tokio::select! {
            killed = stop.wait_for(|mode| *mode == Some(StopMode::Kill)) => { killed.unwrap(); }
            () = tokio::time::sleep(launch.stop_grace) => {}
        }
    }
}

#[async_trait]
impl Executor for TaskExecutor {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        self.shared.state().host = Some(host);
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        if launch.spec["do"] == "Unknown" {
            return Err(Error::invalid("submit", "no such behaviour"));
        }
        let (sender, stop) = watch::channel(None);
        let mut tasks = self.tasks.lock().await;
        {
            let mut state = self.shared.state();
            if let Some(known) = state.attempts.get(&launch.attempt) {
                if known.epoch > launch.epoch {
                    let message = "a later leader submitted this attempt";
                    return Err(Error::new(ErrorKind::Fenced, "submit", message));
                }
                return Ok(Submission::AlreadySubmitted);
            }
            let attempt = Attempt {
                epoch: launch.epoch,
                observation: Observation::Queued,
                stop: sender,
                logs: [Vec::new(), Vec::new()],
            };
            state.attempts.insert(launch.attempt, attempt);
        }
        let shared = Arc::clone(&self.shared);
        tasks.spawn(async move { shared.run(launch, stop).await });
        Ok(Submission::Submitted)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        if attempts.len() > OBSERVE_MAX {
            return Err(Error::invalid("observe", "too many attempts"));
        }
        let state = self.shared.state();
        let observe = |attempt| match state.attempts.get(attempt) {
            Some(known) => known.observation.clone(),
            None => Observation::NotFound,
        };
        Ok(attempts.iter().map(observe).collect())
    }

    async fn stop(&self, attempt: AttemptId, mode: StopMode) -> Result<()> {
        if let Some(known) = self.shared.state().attempts.get(&attempt) {
            known.stop.send_replace(Some(mode));
        }
        Ok(())
    }

    async fn logs(&self, attempt: AttemptId, stream: LogStream, from: u64, bytes_max: usize) -> Result<LogChunk> {
        let state = self.shared.state();
        let known = state.attempts.get(&attempt);
        let known = known.ok_or_else(|| Error::not_found("logs", "no such attempt"))?;
        let log = &known.logs[usize::from(stream == LogStream::Stderr)];
        let from = usize::try_from(from).unwrap().min(log.len());
        let end = log.len().min(from.saturating_add(bytes_max));
        Ok(LogChunk {
            bytes: log[from..end].to_vec(),
            next: end as u64,
            is_end: end == log.len() && matches!(known.observation, Observation::Ended(_)),
        })
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        ExecutorCapabilities::default().logs().graceful_stop()
    }

    async fn shutdown(&self) -> Result<()> {
        let mut tasks = self.tasks.lock().await;
        for known in self.shared.state().attempts.values() {
            known.stop.send_replace(Some(StopMode::Kill));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        Ok(())
    }
}
