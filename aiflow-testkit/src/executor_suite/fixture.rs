//! Fixtures of executors: how does a case get one, what can jobs be asked to do, and who listens to the reports?

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::Result;
use aiflow_core::bus::EventBus;
use aiflow_core::executor::{
    Ending, Executor, ExecutorHost, Launch, Observation, Report, ReportKind, Reporter, StopMode, Submission,
};
use aiflow_core::id::{AttemptId, JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId, WorkflowName};
use aiflow_core::memory::MemoryStore;
use aiflow_core::time::SystemClock;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Room for reports; small, so that executors meet a full queue.
const REPORTS_QUEUED_MAX: usize = 4;
/// The grace time of launches, unless a case sets another: longer than any case.
const GRACE: Duration = Duration::from_secs(3600);

/// What a job of a case does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Ends well at once.
    Succeed,
    /// Fails at once, in a way that another attempt may mend.
    Fail,
    /// Runs until it is asked to stop, and then ends.
    RunUntilStopped,
    /// Runs until it is killed.
    IgnoreGracefulStop,
    /// Publishes so many events with the key `case` and the values 0, 1, …, then ends well.
    PublishEventsThenSucceed(u32),
    /// Writes the lines `line 0`, `line 1`, … to standard output and `error` to standard error, then ends well. Asked only of
    /// executors with logs.
    PrintThenSucceed(u32),
    /// A function or program that does not exist.
    Unknown,
    /// Runs for as long as it may: the launch has a time limit.
    TimeOut,
}

/// Makes the executor that the suite checks. One fixture serves one case.
#[async_trait]
pub trait ExecutorFixture: Send + Sync {
    /// Opens an executor that knows no attempt yet. Called once.
    async fn open(&self) -> Arc<dyn Executor>;

    /// Opens the executor again as after the death of its host: the first was dropped without shutdown. `None` exactly if it does not
    /// survive its host.
    async fn restart(&self) -> Option<Arc<dyn Executor>>;

    /// The job specification, in the executor's own terms, of a job that does this. Every job also counts its start where
    /// [`starts`](ExecutorFixture::starts) finds it.
    fn spec(&self, behaviour: Behaviour) -> Value;

    /// How often this attempt really started: counted by an effect of the job itself (a line in a file, a counter).
    fn starts(&self, attempt: AttemptId) -> u32;
}

/// A report, and the end of the log at the moment it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The report.
    pub report: Report,
    /// The newest event that was in the log by then.
    pub log_last: Offset,
}

/// Listens to an executor in place of the scheduler, with a store and a log in memory.
#[derive(Debug)]
pub struct Listener {
    /// What the executor is attached to.
    pub host: ExecutorHost,
    heard: watch::Receiver<Vec<Heard>>,
    collector: JoinHandle<()>,
}

impl Listener {
    /// Starts to listen; pass `host` to [`Executor::attach`].
    #[must_use]
    pub fn start() -> Self {
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(Arc::<SystemClock>::clone(&clock)));
        let (reporter, reports) = Reporter::channel(REPORTS_QUEUED_MAX);
        let (sender, heard) = watch::channel(Vec::new());
        let bus: Arc<dyn EventBus> = Arc::<MemoryStore>::clone(&store);
        let collector = tokio::spawn(collect(reports, Arc::clone(&bus), sender));
        let host = ExecutorHost { reporter, store, bus, clock, epoch: 1 };
        Self { host, heard, collector }
    }

    /// Listens, and attaches `executor`.
    pub async fn attached_to(executor: &dyn Executor) -> Self {
        let listener = Self::start();
        executor.attach(listener.host.clone()).await.unwrap();
        listener
    }

    /// Everything heard so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow().clone()
    }

    /// Waits for a report of `attempt` of which `wanted` makes something.
    pub async fn wait_for<T>(&self, attempt: AttemptId, wanted: impl Fn(&Heard) -> Option<T>) -> T {
        let mut heard = self.heard.clone();
        let find = |heard: &Vec<Heard>| {
            let mut mine = heard.iter().filter(|one| one.report.attempt == attempt);
            mine.find_map(&wanted)
        };
        let heard = heard.wait_for(|heard| find(heard).is_some()).await;
        find(&heard.unwrap()).expect("it was found just now")
    }

    /// Waits for the ending of `attempt`.
    pub async fn ending(&self, attempt: AttemptId) -> Ending {
        self.wait_for(attempt, |heard| match &heard.report.kind {
            ReportKind::Ended(ending) => Some(ending.clone()),
            _ => None,
        })
        .await
    }

    /// All endings of `attempt` heard so far; repetitions are harmless, so one of each.
    #[must_use]
    pub fn endings(&self, attempt: AttemptId) -> Vec<Ending> {
        let mut endings = Vec::new();
        for heard in self.heard() {
            if let ReportKind::Ended(ending) = heard.report.kind
                && heard.report.attempt == attempt
                && !endings.contains(&ending)
            {
                endings.push(ending);
            }
        }
        endings
    }

    /// Goes away like a scheduler that ends: reports find nobody.
    pub async fn leave(self) {
        self.collector.abort();
        // An aborted task ends as cancelled; nothing else is to learn from it.
        let _ = self.collector.await;
    }
}

async fn collect(mut reports: mpsc::Receiver<Report>, bus: Arc<dyn EventBus>, sender: watch::Sender<Vec<Heard>>) {
    while let Some(report) = reports.recv().await {
        let log_last = bus.head().await.unwrap().last;
        sender.send_modify(|heard| heard.push(Heard { report, log_last }));
    }
}

/// Attempt `attempt` of the `n`-th job execution of a case.
pub(super) fn attempt(n: u32, attempt: u32) -> AttemptId {
    AttemptId::new(JobExecutionId::new(Offset(7), n), attempt)
}

/// A launch of `spec` without a time limit.
pub(super) fn launch(attempt: AttemptId, spec: Value) -> Launch {
    Launch {
        attempt,
        epoch: 1,
        project: ProjectName::parse("wine").unwrap(),
        workflow: WorkflowName::parse("retrain").unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(7), 0),
        job: JobName::parse("train").unwrap(),
        spec,
        params: json!({}),
        events: Vec::new(),
        timeout: None,
        heartbeat_timeout: None,
        checkpoint: None,
        stop_grace: GRACE,
        ends_with_host: false,
    }
}

/// An executor and its listener, as most cases need them.
pub(super) struct Stage<'a> {
    pub(super) fixture: &'a dyn ExecutorFixture,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) listener: Listener,
}

impl<'a> Stage<'a> {
    pub(super) async fn open(fixture: &'a dyn ExecutorFixture) -> Self {
        let executor = fixture.open().await;
        let listener = Listener::attached_to(&*executor).await;
        Self { fixture, executor, listener }
    }

    pub(super) fn launch(&self, n: u32, behaviour: Behaviour) -> Launch {
        launch(attempt(n, 1), self.fixture.spec(behaviour))
    }

    /// Submits the first attempt of job execution `n`.
    pub(super) async fn submit(&self, n: u32, behaviour: Behaviour) -> AttemptId {
        let launch = self.launch(n, behaviour);
        let attempt = launch.attempt;
        let submission = self.executor.submit(launch).await.unwrap();
        assert_eq!(submission, Submission::Submitted);
        attempt
    }

    /// Submits it and waits until it runs.
    pub(super) async fn run(&self, n: u32, behaviour: Behaviour) -> AttemptId {
        let attempt = self.submit(n, behaviour).await;
        self.started(attempt).await;
        attempt
    }

    /// Waits until the job of `attempt` is at work: it was seen to have counted its start.
    pub(super) async fn started(&self, attempt: AttemptId) {
        let is_started = |heard: &Heard| matches!(heard.report.kind, ReportKind::Started { .. }).then_some(());
        self.listener.wait_for(attempt, is_started).await;
        while self.fixture.starts(attempt) == 0 {
            tokio::time::sleep(POLL_PAUSE).await;
        }
    }

    pub(super) async fn observe(&self, attempt: AttemptId) -> Observation {
        observe(&*self.executor, attempt).await.unwrap()
    }

    pub(super) async fn stop(&self, attempt: AttemptId, mode: StopMode) {
        self.executor.stop(attempt, mode).await.unwrap();
    }

    /// Shuts the executor down, after which nothing more is reported.
    pub(super) async fn shutdown(&self) {
        self.executor.shutdown().await.unwrap();
    }
}

/// The pause between two looks at a condition that does not announce itself.
pub(super) const POLL_PAUSE: Duration = Duration::from_millis(2);

pub(super) async fn observe(executor: &dyn Executor, attempt: AttemptId) -> Result<Observation> {
    let observations = executor.observe(&[attempt]).await?;
    assert_eq!(observations.len(), 1);
    Ok(observations[0].clone())
}

/// Looks until the attempt is observed to have ended.
pub(super) async fn observed_ending(executor: &dyn Executor, attempt: AttemptId) -> Ending {
    loop {
        if let Observation::Ended(ending) = observe(executor, attempt).await.unwrap() {
            return ending;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}
