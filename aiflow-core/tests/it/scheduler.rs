//! A scheduler and its executors: what is said to a platform that does not accept, and by the next leader?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::execution::{JobExecution, JobState, JobStatus, KIND_JOB_EXECUTION};
use aiflow_core::executor::{
    Ending, Executor, ExecutorCapabilities, ExecutorHost, Launch, LogChunk, LogStream, Observation, Report, ReportKind,
    Signal, StopMode, Submission, TimeLimit,
};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{AttemptId, ExecutorName, JobName, Offset, WorkflowName};
use aiflow_core::records::body_of;
use aiflow_core::store::{MetaStoreExt as _, Query};
use aiflow_core::workflow::{Admission, Job, OverlapPolicy, Workflow, on, signal};
use aiflow_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::aiflow;

/// A platform that outlives schedulers, never ends an attempt, and notes what it is told.
#[derive(Debug, Clone, Default)]
struct Platform(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_full: bool,
    /// A later leader has submitted whatever is submitted here.
    is_of_another: bool,
    n_refused: watch::Sender<u32>,
    /// So often it cannot say how an attempt stands.
    cannot_say: AtomicU32,
    /// Values that are being handed over, for ever.
    n_signals: watch::Sender<u32>,
    host: Mutex<Option<ExecutorHost>>,
    stops: watch::Sender<Vec<StopMode>>,
}

impl Platform {
    fn full() -> Self {
        Self(Arc::new(Shared { is_full: true, ..Shared::default() }))
    }

    async fn is_told(&self, stops: &[StopMode]) {
        self.0.stops.subscribe().wait_for(|told| told == stops).await.unwrap();
    }
}

#[async_trait]
impl Executor for Platform {
    async fn attach(&self, host: ExecutorHost) -> Result<()> {
        *self.0.host.lock().unwrap() = Some(host);
        Ok(())
    }

    async fn submit(&self, launch: Launch) -> Result<Submission> {
        if self.0.is_of_another {
            self.0.n_refused.send_modify(|n| *n += 1);
            return Err(Error::new(ErrorKind::Fenced, "submit", "a later leader has submitted this attempt"));
        }
        if self.0.is_full {
            return Err(Error::new(ErrorKind::Full, "submit", "no room"));
        }
        let host = self.0.host.lock().unwrap().clone().unwrap();
        let report = Report { attempt: launch.attempt, at: host.clock.now(), kind: ReportKind::started() };
        host.reporter.report(report).await?;
        Ok(Submission::Submitted)
    }

    async fn observe(&self, attempts: &[AttemptId]) -> Result<Vec<Observation>> {
        let cannot_say = self.0.cannot_say.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok();
        let standing = match (cannot_say, self.0.is_full) {
            (true, _) => Observation::Unknown,
            (false, true) => Observation::NotFound,
            (false, false) => Observation::Running,
        };
        Ok(vec![standing; attempts.len()])
    }

    async fn signal(&self, _: AttemptId, _: Signal) -> Result<()> {
        self.0.n_signals.send_modify(|n| *n += 1);
        std::future::pending().await
    }

    async fn stop(&self, _: AttemptId, mode: StopMode) -> Result<()> {
        self.0.stops.send_modify(|stops| stops.push(mode));
        Ok(())
    }

    async fn logs(&self, _: AttemptId, _: LogStream, _: u64, _: usize) -> Result<LogChunk> {
        Err(Error::new(ErrorKind::Unsupported, "logs", "there are none"))
    }

    fn capabilities(&self) -> ExecutorCapabilities {
        ExecutorCapabilities::default().survives_host()
    }

    async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}

fn workflow(flow: &AiFlow) -> Workflow {
    let mut workflow = Workflow::new(flow.project_name().clone(), WorkflowName::parse("w").unwrap());
    let executor = ExecutorName::parse("platform").unwrap();
    workflow.jobs.push(Job::new(JobName::parse("train").unwrap(), executor, Value::Null));
    workflow
}

async fn jobs(flow: &AiFlow) -> Vec<JobExecution> {
    let rows = flow.store().query_all(Query::kind(KIND_JOB_EXECUTION), 100).await.unwrap();
    rows.iter().map(|row| body_of(row).unwrap()).collect()
}

/// A launch that its platform does not accept is tried again for ever; the limit ends that, and other commands do not wait behind it.
#[tokio::test]
async fn an_attempt_that_no_platform_accepts_ends_at_its_queue_limit() {
    let flow = aiflow();
    let mut workflow = workflow(&flow);
    workflow.jobs[0].queue_timeout = Some(Duration::from_millis(30));
    flow.submit(&workflow).await.unwrap();
    let platform = Platform::full();
    let scheduler = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    let execution = flow.start("w", Value::Null).await.unwrap();
    flow.wait(execution).await.unwrap();
    let [job] = &jobs(&flow).await[..] else { panic!("one job ran") };
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.ending, Some(Ending::TimedOut { limit: TimeLimit::Queue }));
    assert_eq!(*platform.0.stops.borrow(), [StopMode::Graceful]);
    scheduler.shutdown().await.unwrap();
}

/// A leader that stood still while another took over hands on what it had decided. That the platform refuses it is no ending of the attempt,
/// which runs under the other one.
#[tokio::test]
async fn an_attempt_that_a_later_leader_has_submitted_is_left_to_it() {
    let flow = aiflow();
    flow.submit(&workflow(&flow)).await.unwrap();
    let platform = Platform(Arc::new(Shared { is_of_another: true, ..Shared::default() }));
    let scheduler = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    flow.start("w", Value::Null).await.unwrap();
    platform.0.n_refused.subscribe().wait_for(|n| *n > 0).await.unwrap();
    // Whatever was reported is handed on before it ends.
    scheduler.shutdown().await.unwrap();
    let log = flow.bus().read(Offset::START, &EventFilter::all(), 100).await.unwrap().events;
    let reports: Vec<&str> = log.iter().map(|event| event.id.as_str()).filter(|id| id.starts_with("report:")).collect();
    assert!(reports.is_empty(), "{reports:?}");
    let [job] = &jobs(&flow).await[..] else { panic!("one job was started") };
    assert_eq!((job.status, job.attempt), (JobStatus::Queued, 1));
}

/// What nobody can say at once is asked for by the leader until somebody can.
#[tokio::test(start_paused = true)]
async fn an_attempt_of_which_nobody_can_say_whether_it_was_accepted_ends_when_somebody_can() {
    let flow = aiflow();
    let mut workflow = workflow(&flow);
    workflow.jobs[0].queue_timeout = Some(Duration::from_millis(30));
    flow.submit(&workflow).await.unwrap();
    let shared = Shared { is_full: true, cannot_say: AtomicU32::new(14), ..Shared::default() };
    let platform = Platform(Arc::new(shared));
    let scheduler = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    let execution = flow.start("w", Value::Null).await.unwrap();
    flow.wait(execution).await.unwrap();
    assert_eq!(platform.0.cannot_say.load(Relaxed), 0);
    let [job] = &jobs(&flow).await[..] else { panic!("one job ran") };
    assert_eq!(job.ending, Some(Ending::TimedOut { limit: TimeLimit::Queue }));
    scheduler.shutdown().await.unwrap();
}

/// A value that does not get through holds up neither the commands for other attempts nor the stop of its own.
#[tokio::test]
async fn a_value_that_does_not_get_through_holds_up_no_stop() {
    let flow = aiflow();
    let mut workflow = workflow(&flow);
    let mut other = workflow.jobs[0].clone();
    other.name = JobName::parse("other").unwrap();
    workflow.jobs.push(other);
    flow.submit(&workflow).await.unwrap();
    let platform = Platform::default();
    let scheduler = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    let execution = flow.start("w", Value::Null).await.unwrap();
    let all_run = |jobs: &BTreeMap<JobName, JobState>| jobs.values().filter(|job| job.current.is_some()).count() == 2;
    flow.wait_until(execution, |_, jobs| all_run(jobs)).await.unwrap();
    flow.signal_job(execution, "train", "v2").await.unwrap();
    platform.0.n_signals.subscribe().wait_for(|n| *n > 0).await.unwrap();
    flow.stop_job(execution, "other").await.unwrap();
    platform.is_told(&[StopMode::Graceful]).await;
    flow.stop_job(execution, "train").await.unwrap();
    platform.is_told(&[StopMode::Graceful; 2]).await;
    scheduler.shutdown().await.unwrap();
}

/// A kill stays a kill when the leader changes; an attempt that ignores a graceful stop would go on for the rest of its grace time.
#[tokio::test]
async fn the_next_leader_kills_what_the_last_one_killed() {
    let flow = aiflow();
    let mut workflow = workflow(&flow);
    workflow.admission = Admission::new().concurrency(1).overlap(OverlapPolicy::TerminateOther);
    flow.submit(&workflow).await.unwrap();
    let platform = Platform::default();
    let first = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    flow.start("w", Value::Null).await.unwrap();
    flow.start("w", Value::Null).await.unwrap();
    platform.is_told(&[StopMode::Kill]).await;
    first.shutdown().await.unwrap();
    let second = flow.scheduler().executor("platform", platform.clone()).start().unwrap();
    platform.is_told(&[StopMode::Kill; 2]).await;
    second.shutdown().await.unwrap();
}

/// From the log to the function and back: it begins where the last attempt was, takes a value, and is restarted with one that it drops.
#[tokio::test]
async fn a_streaming_function_goes_on_where_it_was_and_takes_values_while_it_runs() {
    let flow = aiflow();
    let functions = Functions::new().register("infer", |ctx: JobContext, _: Value| async move {
        let params: Value = ctx.params()?;
        let began = json!({ "at": ctx.last_checkpoint(), "signal": params.get("signal") });
        ctx.publish(ctx.event("began").value(began)).await?;
        ctx.ready().await;
        loop {
            let signal = tokio::select! {
                () = ctx.cancelled() => return Ok(()),
                signal = ctx.next_signal() => signal,
            };
            ctx.checkpoint(json!({ "model": signal.value() })).await?;
            if signal.value() != "broken" {
                signal.acknowledge().await?;
                ctx.publish(ctx.event("took").value(signal.value().clone())).await?;
            }
        }
    });
    let mut graph = AiGraph::new("wine", "w");
    graph.node("infer", function("infer").streaming().ack_within(Duration::from_millis(200)));
    graph.control("infer", signal(on("model")));
    let workflow = graph.translate().unwrap();
    flow.submit(&workflow).await.unwrap();
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    let execution = flow.start("w", Value::Null).await.unwrap();
    let mut began = flow.listen(EventFilter::all().key("began"), Offset::START);
    let mut took = flow.listen(EventFilter::all().key("took"), Offset::START);
    assert_eq!(began.next().await.unwrap().value, json!({ "at": null, "signal": null }));
    flow.publish(flow.event("model").value("v2")).await.unwrap();
    assert_eq!(took.next().await.unwrap().value, "v2");
    flow.publish(flow.event("model").value("broken")).await.unwrap();
    assert_eq!(began.next().await.unwrap().value, json!({ "at": { "model": "broken" }, "signal": "broken" }));
    flow.signal_job(execution, "infer", "v4").await.unwrap();
    assert_eq!(took.next().await.unwrap().value, "v4");
    scheduler.shutdown().await.unwrap();
}
