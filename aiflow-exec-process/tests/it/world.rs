//! What the tests share: launches, an executor with a listener, and looks at processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::artifact_files::ArtifactFiles;
use aiflow_core::client::AiFlow;
use aiflow_core::event::{Event, EventFilter};
use aiflow_core::executor::{Ending, Executor, Launch, LogStream, Observation, ReportKind, Submission};
use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryArtifacts;
use aiflow_exec_process::{ProcessExecutor, ProcessOptions, ProcessSpec};
use aiflow_testkit::executor_suite::Listener;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The pause between two looks at a condition that does not announce itself.
const POLL_PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn attempt(n: u32) -> AttemptId {
    AttemptId::new(JobExecutionId::new(Offset(9), n), 1)
}

pub(crate) fn launch(n: u32, spec: &ProcessSpec) -> Launch {
    Launch {
        attempt: attempt(n),
        epoch: 1,
        project: "wine".parse().unwrap(),
        workflow: "retrain".parse().unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(9), 0),
        job: "train".parse().unwrap(),
        spec: spec.to_spec(),
        params: json!({"rate": 0.1}),
        events: Vec::new(),
        timeout: None,
        heartbeat_timeout: None,
        checkpoint: None,
        stop_grace: Duration::from_secs(3600),
        ends_with_host: false,
    }
}

/// A host that this binary plays in a process of its own, so that it can be killed: the test of a module that does so if its variable is set.
pub(crate) struct HostPlayed {
    variable: &'static str,
    test: &'static str,
}

impl HostPlayed {
    /// `test` plays the host in the directory that `variable` names.
    pub(crate) const fn by(test: &'static str, variable: &'static str) -> Self {
        Self { variable, test }
    }

    /// The directory in which this process is to play the host; `None` in a test that runs by itself.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        std::env::var_os(self.variable).map(PathBuf::from)
    }

    /// Starts the host.
    pub(crate) fn start(&self, dir: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test])
            .env(self.variable, dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// A directory for a test, an executor in it, and somebody who listens.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) executor: ProcessExecutor,
    pub(crate) listener: Listener,
    /// Where artifacts lie.
    files: Option<Arc<MemoryArtifacts>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ProcessOptions::default()).await
    }

    pub(crate) async fn with(options: ProcessOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let executor = ProcessExecutor::with_options(dir.path().join("runs"), options);
        let listener = Listener::attached_to(&executor).await;
        Self { dir, executor, listener, files: None }
    }

    /// With a place for artifacts.
    pub(crate) async fn with_files() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(MemoryArtifacts::new());
        let executor = ProcessExecutor::new(dir.path().join("runs")).artifact_store(Arc::clone(&files));
        let listener = Listener::attached_to(&executor).await;
        Self { dir, executor, listener, files: Some(files) }
    }

    /// The artifacts of the project.
    pub(crate) fn artifacts(&self) -> ArtifactFiles {
        let host = &self.listener.host;
        let aiflow = AiFlow::new(Arc::clone(&host.store), Arc::clone(&host.bus)).unwrap().project("wine").unwrap();
        ArtifactFiles::new(aiflow, self.files.clone().unwrap())
    }

    /// Another host in place of this one, which goes without a word. It has the same log.
    pub(crate) async fn replace_host(self) -> Self {
        let Self { dir, executor, listener, files } = self;
        let mut host = listener.host.clone();
        drop(executor);
        listener.leave().await;
        let mut executor = ProcessExecutor::new(dir.path().join("runs"));
        if let Some(files) = &files {
            executor = executor.artifact_store(Arc::clone(files));
        }
        let mut listener = Listener::start();
        host.reporter = listener.host.reporter.clone();
        executor.attach(host.clone()).await.unwrap();
        listener.host = host;
        Self { dir, executor, listener, files }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn run_dir(&self, n: u32) -> PathBuf {
        self.dir.path().join("runs").join(attempt(n).to_string())
    }

    pub(crate) async fn submit(&self, n: u32, spec: &ProcessSpec) {
        self.submit_launch(launch(n, spec)).await;
    }

    pub(crate) async fn submit_launch(&self, launch: Launch) {
        let submission = self.executor.submit(launch).await.unwrap();
        assert_eq!(submission, Submission::Submitted);
    }

    pub(crate) async fn run(&self, n: u32, spec: &ProcessSpec) -> Ending {
        self.submit(n, spec).await;
        self.listener.ending(attempt(n)).await
    }

    pub(crate) async fn observe(&self, n: u32) -> Observation {
        let mut seen = self.executor.observe(&[attempt(n)]).await.unwrap();
        seen.pop().unwrap()
    }

    pub(crate) async fn is_ready(&self, n: u32) {
        let ready = |kind: &ReportKind| (*kind == ReportKind::Ready).then_some(());
        self.listener.wait_for(attempt(n), |heard| ready(&heard.report.kind)).await;
    }

    /// The standard output of an attempt that has ended.
    pub(crate) async fn stdout(&self, n: u32) -> Vec<u8> {
        let (mut bytes, mut from) = (Vec::new(), 0);
        loop {
            let logs = self.executor.logs(attempt(n), LogStream::Stdout, from, 1 << 20);
            let chunk = logs.await.unwrap();
            bytes.extend(chunk.bytes);
            if chunk.is_end {
                return bytes;
            }
            assert!(chunk.next > from, "no end in sight");
            from = chunk.next;
        }
    }

    /// Every event in the log.
    pub(crate) async fn events(&self) -> Vec<Arc<Event>> {
        let (bus, filter) = (&self.listener.host.bus, EventFilter::all());
        let page = bus.read(Offset::START, &filter, 10_000).await.unwrap();
        page.events
    }

    /// Key, type and value of every event in the log.
    pub(crate) async fn log(&self) -> Vec<(String, String, Value)> {
        let events = self.events().await.into_iter();
        events.map(|event| (event.key.clone(), event.event_type.clone(), event.value.clone())).collect()
    }
}

/// Waits for something that does not announce itself.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// The process number that somebody writes on a line of a file.
pub(crate) async fn pid_in(file: &Path) -> i32 {
    eventually(|| std::fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok()).await
}

/// Whether a process runs: a zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub(crate) async fn is_gone(pid: i32) {
    eventually(|| (!is_alive(pid)).then_some(())).await;
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs a test on two worker threads, for at most a minute.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let limit = Duration::from_secs(60);
    let in_time = runtime.block_on(async { tokio::time::timeout(limit, test).await });
    in_time.expect("the test takes longer than a minute");
}
