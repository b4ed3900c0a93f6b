//! Function jobs: values, failures, stopping, limits, and what a job publishes and registers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::event::{Event, EventFilter, NewEvent};
use aiflow_core::executor::{
    Ending, Executor, ExecutorHost, Launch, NodeRun, Observation, Report, ReportKind, Reporter, StopMode, TimeLimit,
};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError, OUTPUT_BYTES_MAX};
use aiflow_core::id::{AttemptId, JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId, WorkflowName};
use aiflow_core::memory::MemoryStore;
use aiflow_core::meta::{Dataset, Model, NewModelVersion};
use aiflow_core::records::job_execution_key;
use aiflow_core::store::{MetaStore, RelationQuery};
use aiflow_core::time::{SystemClock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// An executor, and the scheduler's end of its reports.
pub(crate) struct Stage {
    pub(crate) executor: FunctionExecutor,
    reports: mpsc::Receiver<Report>,
    memory: Arc<MemoryStore>,
    /// What was told last of the nodes.
    pub(crate) nodes: Vec<NodeRun>,
}

impl Stage {
    pub(crate) async fn new(functions: Functions) -> Self {
        Self::with(FunctionExecutor::new(functions), 1_000).await
    }

    pub(crate) async fn with(executor: FunctionExecutor, capacity: usize) -> Self {
        let memory = super::client::memory();
        let (reporter, reports) = Reporter::channel(capacity);
        let host = ExecutorHost {
            reporter,
            store: Arc::<MemoryStore>::clone(&memory),
            bus: Arc::<MemoryStore>::clone(&memory),
            clock: Arc::new(SystemClock),
            epoch: 1,
        };
        executor.attach(host).await.unwrap();
        Self { executor, reports, memory, nodes: Vec::new() }
    }

    pub(crate) fn aiflow(&self) -> AiFlow {
        super::client::handle_of(&self.memory)
    }

    pub(crate) async fn next(&mut self) -> ReportKind {
        self.reports.recv().await.unwrap().kind
    }

    pub(crate) async fn submit(&self, launch: Launch) -> AttemptId {
        let attempt = launch.attempt;
        self.executor.submit(launch).await.unwrap();
        attempt
    }

    /// Runs a job and returns its ending.
    pub(crate) async fn run(&mut self, launch: Launch) -> Ending {
        self.submit(launch).await;
        assert_eq!(self.next().await, ReportKind::started());
        self.ending().await
    }

    pub(crate) async fn ending(&mut self) -> Ending {
        loop {
            match self.next().await {
                ReportKind::Ended(ending) => return ending,
                ReportKind::Nodes { nodes } => self.nodes = nodes,
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn attempt(n: u64) -> AttemptId {
    AttemptId::new(JobExecutionId::new(Offset(n), 0), 1)
}

pub(crate) fn launch(spec: Value) -> Launch {
    Launch {
        attempt: attempt(1),
        epoch: 1,
        project: ProjectName::parse("wine").unwrap(),
        workflow: WorkflowName::parse("quality").unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(1), 0),
        job: JobName::parse("train").unwrap(),
        spec,
        params: Value::Null,
        events: Vec::new(),
        timeout: None,
        heartbeat_timeout: None,
        checkpoint: None,
        stop_grace: Duration::from_secs(10),
        ends_with_host: false,
    }
}

/// A job of one node that runs `function`.
pub(crate) fn single(function: &str) -> Value {
    json!({"nodes": [{"name": "node", "function": function}]})
}

pub(crate) fn succeeded(output: Value) -> Ending {
    Ending::Succeeded { output }
}

#[track_caller]
pub(crate) fn assert_failed(ending: &Ending, text: &str, is_retryable: bool) {
    let Ending::Failed { message, retryable, .. } = ending else {
        panic!("{ending:?}");
    };
    assert!(message.contains(text), "{message}");
    assert_eq!(*retryable, is_retryable, "{message}");
}

#[derive(Debug, Deserialize)]
struct TrainInput {
    rate: f64,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Layer {
    units: u32,
}

fn training() -> Functions {
    Functions::new().register("train", |ctx: JobContext, input: TrainInput| async move {
        let units: u32 = input.layers.iter().map(|layer| layer.units).sum();
        let params: Value = ctx.params()?;
        Ok(json!({"rate": input.rate, "units": units, "params": params}))
    })
}

#[tokio::test]
async fn parameters_are_the_input_of_a_node_without_data_edges() {
    let mut stage = Stage::new(training()).await;
    let mut launch = launch(json!({"nodes": [
        {"name": "node", "function": "train", "params": {"rate": 0.5, "layers": [{"units": 3}]}}
    ]}));
    launch.params = json!({"rate": 0.25});
    let params = json!({"rate": 0.25, "layers": [{"units": 3}]});
    assert_eq!(stage.run(launch).await, succeeded(json!({"rate": 0.25, "units": 3, "params": params})));
}

#[tokio::test]
async fn an_input_that_does_not_fit_fails_for_good_and_names_the_place() {
    let mut stage = Stage::new(training()).await;
    let mut bad = launch(single("train"));
    bad.params = json!({"rate": 1, "layers": [{"units": 1}, {"units": "many"}]});
    let ending = stage.run(bad).await;
    assert_failed(&ending, "layers[1].units: invalid type: string \"many\"", false);
}

#[tokio::test]
async fn missing_parameters_read_as_empty_ones() {
    #[derive(Deserialize)]
    struct Options {
        #[serde(default)]
        epochs: u32,
    }
    let functions = Functions::new()
        .register("options", |_, options: Options| async move { Ok(options.epochs) })
        .register("nothing", |_, (): ()| async move { Ok(()) });
    let mut stage = Stage::new(functions).await;
    assert_eq!(stage.run(launch(single("options"))).await, succeeded(json!(0)));
    let mut nothing = launch(single("nothing"));
    nothing.attempt = attempt(2);
    assert_eq!(stage.run(nothing).await, succeeded(Value::Null));
}

fn arithmetic() -> Functions {
    Functions::new()
        .register("split", |_, n: u64| async move { Ok(vec![n / 10, n % 10]) })
        .register("number", |ctx: JobContext, _: Value| async move {
            let params: BTreeMap<String, u64> = ctx.params()?;
            params.get("n").copied().ok_or_else(|| JobError::permanent("no n"))
        })
        .register("minus", |_, (a, b): (u64, u64)| async move { Ok(a - b) })
        .register_blocking("twice", |_, n: u64| Ok(2 * n))
}

#[tokio::test]
async fn values_flow_over_data_edges_and_ports() {
    let mut stage = Stage::new(arithmetic()).await;
    let spec = json!({"nodes": [
        {"name": "n", "function": "number", "params": {"n": 73}},
        {"name": "digits", "function": "split", "inputs": [{"node": "n"}], "outputs": 2},
        {"name": "difference", "function": "minus", "inputs": [{"node": "digits", "port": 0}, {"node": "digits", "port": 1}]},
        {"name": "same", "function": "minus", "inputs": [{"node": "digits", "port": 1}, {"node": "digits", "port": 1}]},
        {"name": "twice", "function": "twice", "inputs": [{"node": "difference"}]}
    ]});
    let ending = stage.run(launch(spec)).await;
    assert_eq!(ending, succeeded(json!({"same": 0, "twice": 8})));
}

#[tokio::test]
async fn a_node_must_return_one_value_a_port() {
    let mut stage = Stage::new(arithmetic()).await;
    let spec = json!({"nodes": [
        {"name": "n", "function": "number", "params": {"n": 73}},
        {"name": "digits", "function": "split", "inputs": [{"node": "n"}], "outputs": 3},
        {"name": "end", "function": "twice", "inputs": [{"node": "digits", "port": 2}]}
    ]});
    let ending = stage.run(launch(spec)).await;
    assert_failed(&ending, "node digits: returned 2 values, but has 3 output ports", false);
}

#[tokio::test]
async fn an_output_that_no_event_can_carry_fails_the_job() {
    let functions = Functions::new().register("big", |_, _: Value| async move { Ok("x".repeat(OUTPUT_BYTES_MAX)) });
    let mut stage = Stage::new(functions).await;
    let ending = stage.run(launch(single("big"))).await;
    assert_failed(&ending, "store it and return a reference", false);
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reading the configuration")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn failures_and_panics_are_told_with_their_causes() {
    let functions = Functions::new()
        .register("parse", |_, _: Value| async move {
            let n: u32 = "seven".parse().map_err(Outer)?;
            Ok(n)
        })
        .register("panic", |_, _: Value| async move {
            if std::hint::black_box(true) {
                panic!("boom {}", 7);
            }
            Ok(())
        })
        .register_blocking("panic_blocking", |_, _: Value| {
            if std::hint::black_box(true) {
                panic!("bang");
            }
            Ok(())
        })
        .register("long", |_, _: Value| async move { Err::<(), _>("é".repeat(10_000).into()) });
    let mut stage = Stage::new(functions).await;
    for (n, (function, text)) in [
        ("parse", "reading the configuration: invalid digit found in string"),
        ("panic", "panicked: boom 7"),
        ("panic_blocking", "panicked: bang"),
        ("long", "é…"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut launch = launch(single(function));
        launch.attempt = attempt(n as u64);
        assert_failed(&stage.run(launch).await, text, true);
    }
}

#[tokio::test]
async fn an_unknown_function_is_refused_with_the_known_names() {
    let stage = Stage::new(arithmetic()).await;
    let error = stage.executor.submit(launch(single("trian"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("minus, number, split, twice"), "{error}");
}

/// Sets a flag when it is dropped.
struct DropGuard(Arc<AtomicBool>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// `deaf` never returns; the flag tells that its future was dropped.
fn deaf() -> (Functions, Arc<AtomicBool>) {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_dropped);
    let functions = Functions::new().register("deaf", move |ctx: JobContext, _: Value| {
        let guard = DropGuard(Arc::clone(&flag));
        async move {
            let _guard = guard;
            ctx.ready().await;
            std::future::pending::<()>().await;
            Ok(())
        }
    });
    (functions, is_dropped)
}

#[tokio::test(start_paused = true)]
async fn a_kill_drops_the_future_before_the_ending_is_told() {
    let (functions, is_dropped) = deaf();
    let mut stage = Stage::new(functions).await;
    let attempt = stage.submit(launch(single("deaf"))).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    let before = tokio::time::Instant::now();
    stage.executor.stop(attempt, StopMode::Kill).await.unwrap();
    assert_eq!(stage.ending().await, Ending::Stopped);
    assert!(is_dropped.load(Ordering::SeqCst));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_that_is_ignored_drops_the_future_after_the_grace_time() {
    let (functions, is_dropped) = deaf();
    let mut stage = Stage::new(functions).await;
    let attempt = stage.submit(launch(single("deaf"))).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    let before = tokio::time::Instant::now();
    stage.executor.stop(attempt, StopMode::Graceful).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(9), stage.ending()).await;
    assert!(early.is_err(), "{early:?}");
    assert!(!is_dropped.load(Ordering::SeqCst));
    assert_eq!(stage.ending().await, Ending::Stopped);
    assert!(is_dropped.load(Ordering::SeqCst));
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_function_that_returns_after_a_stop_has_stopped_and_no_node_follows() {
    let n_ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&n_ran);
    let functions = Functions::new()
        .register("polite", |ctx: JobContext, _: Value| async move {
            ctx.cancelled().await;
            Ok(7)
        })
        .register("next", move |_, _: Value| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok(()) }
        });
    let mut stage = Stage::new(functions).await;
    let attempt = stage
        .submit(launch(json!({"nodes": [
            {"name": "a", "function": "polite"},
            {"name": "b", "function": "next", "inputs": [{"node": "a"}]}
        ]})))
        .await;
    assert_eq!(stage.next().await, ReportKind::started());
    stage.executor.stop(attempt, StopMode::Graceful).await.unwrap();
    assert_eq!(stage.ending().await, Ending::Stopped);
    assert_eq!(n_ran.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_over_its_time_limit_is_dropped_and_timed_out() {
    let (functions, is_dropped) = deaf();
    let mut stage = Stage::new(functions).await;
    let mut limited = launch(single("deaf"));
    limited.timeout = Some(Duration::from_secs(60));
    let before = tokio::time::Instant::now();
    stage.submit(limited).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    assert_eq!(stage.ending().await, Ending::TimedOut { limit: TimeLimit::Run });
    assert!(is_dropped.load(Ordering::SeqCst));
    assert_eq!(before.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_heartbeat_fails_and_one_with_lives() {
    let functions = Functions::new().register("beats", |ctx: JobContext, n: u32| async move {
        for _ in 0..n {
            tokio::time::sleep(Duration::from_secs(8)).await;
            ctx.heartbeat();
        }
        tokio::time::sleep(Duration::from_secs(12)).await;
        Ok(())
    });
    let mut stage = Stage::new(functions).await;
    let mut beating = launch(single("beats"));
    beating.params = json!(5);
    beating.heartbeat_timeout = Some(Duration::from_secs(10));
    let before = tokio::time::Instant::now();
    let ending = stage.run(beating.clone()).await;
    assert_eq!(ending, Ending::TimedOut { limit: TimeLimit::Heartbeat });
    assert_eq!(before.elapsed().as_secs(), 50);

    beating.attempt = attempt(2);
    beating.heartbeat_timeout = Some(Duration::from_secs(13));
    assert_eq!(stage.run(beating).await, succeeded(Value::Null));
}

#[tokio::test]
async fn a_blocking_function_is_asked_to_end_and_ends_by_itself() {
    let functions = Functions::new().register_blocking("spin", |ctx: JobContext, _: Value| {
        ctx.block_on(ctx.ready());
        let is_told = ctx.is_cancelled();
        ctx.block_on(ctx.cancelled());
        Ok(is_told)
    });
    let mut stage = Stage::new(functions).await;
    for (n, mode) in [(1, StopMode::Graceful), (2, StopMode::Kill)] {
        let mut spin = launch(single("spin"));
        spin.attempt = attempt(n);
        let attempt = stage.submit(spin).await;
        assert_eq!(stage.next().await, ReportKind::started());
        assert_eq!(stage.next().await, ReportKind::Ready);
        stage.executor.stop(attempt, mode).await.unwrap();
        assert_eq!(stage.ending().await, Ending::Stopped);
    }
    let mut limited = launch(single("spin"));
    limited.attempt = attempt(3);
    limited.timeout = Some(Duration::from_millis(10));
    stage.submit(limited).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    assert_eq!(stage.ending().await, Ending::TimedOut { limit: TimeLimit::Run });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_jobs_run_at_once_and_no_more_than_allowed() {
    const JOBS: u64 = 1_000;
    const AT_ONCE: usize = 32;
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counts = Arc::clone(&running);
    let functions = Functions::new().register("count", move |_, _: Value| {
        let counts = Arc::clone(&counts);
        async move {
            let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
            counts.1.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            counts.0.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    // The queue of reports is short, so jobs also wait for the scheduler.
    let executor = FunctionExecutor::new(functions).max_concurrent(AT_ONCE);
    let mut stage = Stage::with(executor, 8).await;
    for n in 1..=JOBS {
        let mut launch = launch(single("count"));
        launch.attempt = attempt(n);
        stage.submit(launch).await;
    }
    let mut heard: BTreeMap<AttemptId, Vec<ReportKind>> = BTreeMap::new();
    for _ in 0..2 * JOBS {
        let report = stage.reports.recv().await.unwrap();
        heard.entry(report.attempt).or_default().push(report.kind);
    }
    let expected = [ReportKind::started(), ReportKind::Ended(succeeded(Value::Null))];
    assert_eq!(heard.len(), usize::try_from(JOBS).unwrap());
    assert!(heard.values().all(|kinds| *kinds == expected));
    let most = running.1.load(Ordering::SeqCst);
    assert!((2..=AT_ONCE).contains(&most), "{most}");
    stage.executor.shutdown().await.unwrap();
    let error = stage.executor.submit(launch(single("count"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_queued_attempt_that_is_stopped_never_starts() {
    let (functions, _) = deaf();
    let executor = FunctionExecutor::new(functions).max_concurrent(1);
    let mut stage = Stage::with(executor, 10).await;
    stage.submit(launch(single("deaf"))).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    let mut second = launch(single("deaf"));
    second.attempt = attempt(2);
    let second = stage.submit(second).await;
    let seen = stage.executor.observe(&[attempt(1), second]).await.unwrap();
    assert_eq!(seen, [Observation::Running, Observation::Queued]);
    stage.executor.stop(second, StopMode::Graceful).await.unwrap();
    let report = stage.reports.recv().await.unwrap();
    assert_eq!((report.attempt, report.kind), (second, ReportKind::Ended(Ending::Stopped)));
}

/// An event that made the job run.
fn firing(offset: u64, hops: u32) -> Arc<Event> {
    let mut body = NewEvent::new("wine", "samples");
    body.cause = (hops > 0).then_some(aiflow_core::event::Cause { offset: Offset(1), hops });
    Arc::new(Event { offset: Offset(offset), recorded: Timestamp::EPOCH, body })
}

#[tokio::test]
async fn what_a_job_publishes_carries_the_job_and_its_cause() {
    let functions = Functions::new().register("publish", |ctx: JobContext, _: Value| async move {
        ctx.publish(ctx.event("own").value(ctx.events().len())).await?;
        ctx.broadcast(ctx.event("all").sender("me")).await?;
        ctx.publish_once("done", ctx.event("once")).await?;
        let refused = ctx.publish(NewEvent::new("aiflow.system", "x")).await;
        Ok(refused.is_err())
    });
    let mut stage = Stage::new(functions).await;
    let mut launch = launch(single("publish"));
    launch.events = vec![firing(5, 0), firing(9, 3)];
    let first = launch.attempt;
    assert_eq!(stage.run(launch.clone()).await, succeeded(json!(true)));
    launch.attempt.attempt = 2;
    stage.run(launch.clone()).await;

    let filter = EventFilter::all();
    let log = stage.memory.read(Offset::START, &filter, 100).await.unwrap().events;
    let keys: Vec<&str> = log.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["own", "all", "once", "own", "all"], "a retry publishes once");
    for event in &log {
        let cause = event.cause.unwrap();
        assert_eq!((cause.offset, cause.hops), (Offset(9), 4));
        let is_broadcast = event.key == "all";
        let execution = (!is_broadcast).then_some(launch.workflow_execution);
        assert_eq!(event.context.workflow_execution, execution);
        assert_eq!(event.sender, if is_broadcast { "me" } else { "train" });
    }
    assert_eq!(log[0].context.attempt, Some(first));
    assert_eq!(log[0].value, 2);
}

#[tokio::test]
async fn what_a_job_registers_and_reads_becomes_lineage() {
    let functions = Functions::new().register("train", |ctx: JobContext, _: Value| async move {
        let data = ctx.datasets().get("train").await?.ok_or("no data")?;
        ctx.models().register(Model::new("wine")?).await?;
        let version = NewModelVersion::new(&data.uri).idempotency_key(ctx.once("model"));
        Ok(ctx.models().register_version("wine", version).await?.version)
    });
    let mut stage = Stage::new(functions).await;
    let data = Dataset::new("train", "file:///a").unwrap();
    stage.aiflow().datasets().register(data).await.unwrap();
    let mut launch = launch(single("train"));
    assert_eq!(stage.run(launch.clone()).await, succeeded(json!(1)));
    launch.attempt.attempt = 2;
    assert_eq!(stage.run(launch.clone()).await, succeeded(json!(1)), "a retry makes no second version");

    let query =
        RelationQuery { from: vec![job_execution_key(launch.attempt.job_execution)], ..RelationQuery::default() };
    let relations = stage.memory.relations(&query).await.unwrap().items;
    let mut lineage: Vec<(String, String)> =
        relations.into_iter().map(|relation| (relation.kind, relation.to.to_string())).collect();
    lineage.sort();
    let expected =
        [("produced", "model:wine/wine"), ("produced", "model_version:wine/wine/1"), ("read", "dataset:wine/train")];
    assert!(lineage.iter().map(|(kind, to)| (kind.as_str(), to.as_str())).eq(expected), "{lineage:?}");
    let flow = stage.aiflow();
    let version = flow.models().version("wine", 1).await.unwrap().unwrap();
    assert_eq!(version.created_by, Some(attempt(1)));
    let filter = EventFilter::all().event_type("MODEL_GENERATED");
    let events = stage.memory.read(Offset::START, &filter, 10).await.unwrap().events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].context.workflow_execution, Some(launch.workflow_execution));
    assert_eq!(events[0].sender, "train");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_scheduler_that_left() {
    let (functions, is_dropped) = deaf();
    let mut stage = Stage::new(functions).await;
    stage.submit(launch(single("deaf"))).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    stage.reports.close();
    stage.executor.shutdown().await.unwrap();
    assert!(is_dropped.load(Ordering::SeqCst));
    let seen = stage.executor.observe(&[attempt(1)]).await.unwrap();
    assert_eq!(seen, [Observation::Ended(Ending::Stopped)]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_though_nobody_takes_the_reports() {
    let (functions, _) = deaf();
    let stage = Stage::with(FunctionExecutor::new(functions), 1).await;
    for n in 1..=20 {
        let mut launch = launch(single("deaf"));
        launch.attempt = attempt(n);
        stage.submit(launch).await;
    }
    stage.executor.shutdown().await.unwrap();
    let seen = stage.executor.observe(&[attempt(20)]).await.unwrap();
    assert_eq!(seen, [Observation::Ended(Ending::Stopped)]);
}

#[tokio::test]
async fn a_dropped_executor_kills_what_runs() {
    let (functions, is_dropped) = deaf();
    let Stage { executor, mut reports, .. } = Stage::new(functions).await;
    executor.submit(launch(single("deaf"))).await.unwrap();
    for _ in 0..2 {
        reports.recv().await.unwrap();
    }
    drop(executor);
    let report = reports.recv().await.unwrap();
    assert_eq!(report.kind, ReportKind::Ended(Ending::Stopped));
    assert!(is_dropped.load(Ordering::SeqCst));
}
