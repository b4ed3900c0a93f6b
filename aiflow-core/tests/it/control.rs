//! Control by hand against a real scheduler in memory: starts, stops, pauses, removal, and dead letters.

use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::client::{AiFlow, Retention, Start, Stop};
use aiflow_core::event::{NewEvent, WORKFLOW_STATUS_CHANGED};
use aiflow_core::execution::{JobStatus, WorkflowExecution, WorkflowStatus};
use aiflow_core::executor::StopMode;
use aiflow_core::function::{FunctionExecutor, FunctionSpec, Functions, JobContext, JobError};
use aiflow_core::id::{ExecutorName, JobName, NodeName, Offset, WorkflowExecutionId, WorkflowName};
use aiflow_core::meta::Listing;
use aiflow_core::records::{DeadLetterState, workflow_execution_key};
use aiflow_core::runtime::{Scheduler, Settings};
use aiflow_core::store::Batch;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{
    Admission, Completion, ControlEdge, Job, OverlapPolicy, Parameter, ParameterType, RetryPolicy, SchedulingRule,
    Workflow, custom, on, start,
};
use serde_json::{Value, json};

/// A job that returns at once.
async fn quick(_: JobContext, _: Value) -> Result<u32, JobError> {
    Ok(1)
}

fn workflow(flow: &AiFlow, name: &str, rules: Vec<SchedulingRule>) -> Workflow {
    let mut workflow = Workflow::new(flow.project_name().clone(), WorkflowName::parse(name).unwrap());
    let (job, executor) = (JobName::parse("train").unwrap(), ExecutorName::parse("function").unwrap());
    let spec = FunctionSpec::single(NodeName::parse("train").unwrap(), "quick");
    let mut train = Job::new(job.clone(), executor, serde_json::to_value(spec).unwrap());
    train.retry = RetryPolicy::never();
    workflow.jobs.push(train);
    workflow.control_edges.extend(rules.into_iter().map(|rule| ControlEdge { job: job.clone(), rule }));
    workflow
}

fn scheduler(flow: &AiFlow, settings: Settings) -> Scheduler {
    let functions = Functions::new().register("quick", quick);
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).settings(settings).start().unwrap()
}

async fn ran(flow: &AiFlow, workflow: &str) -> WorkflowExecution {
    let id = flow.start(workflow, Value::Null).await.unwrap();
    flow.wait(id).await.unwrap()
}

#[tokio::test]
async fn what_a_start_is_given_is_kept_and_found() {
    let flow = super::client::aiflow();
    let mut definition = workflow(&flow, "quality", vec![start(on("never"))]);
    definition.completion = Some(Completion::Standing);
    definition.parameters.push(Parameter::new("rate", ParameterType::Float).default(0.5));
    flow.submit(&definition).await.unwrap();
    let wrong = flow.start("quality", json!({"rate": "fast"})).await.unwrap_err();
    assert!(wrong.kind() == ErrorKind::Invalid && wrong.to_string().contains("must be a number"), "{wrong}");
    let scheduler = scheduler(&flow, Settings::default());
    let begin = Start::new().params(json!({"rate": 1})).label("owner", "ada").context("red").key("once");
    let id = flow.start_with("quality", begin.clone()).await.unwrap();
    assert_eq!(flow.start_with("quality", begin.clone()).await.unwrap(), id);
    let other = flow.start_with("quality", begin.label("owner", "bob")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::AlreadyExists);
    flow.start_with("quality", Start::new().label("owner", "bob")).await.unwrap();
    let (execution, _) = flow.wait_until(id, |execution, _| execution.status == WorkflowStatus::Running).await.unwrap();
    assert_eq!((execution.context.as_deref(), &execution.params), (Some("red"), &json!({"rate": 1})));
    let found = flow.executions_labelled("owner", "ada", 10).await.unwrap();
    assert_eq!(found.iter().map(|execution| execution.id).collect::<Vec<_>>(), [id]);
    let paused = flow.pause(id, "to look around").await.unwrap();
    scheduler.wait_applied(paused).await.unwrap();
    assert_eq!(flow.execution(id).await.unwrap().unwrap().paused.unwrap().reason, "to look around");
    flow.resume(id).await.unwrap();
    flow.stop_with(id, Stop::because("enough").kill()).await.unwrap();
    let ended = flow.wait(id).await.unwrap();
    assert_eq!((ended.status, ended.paused), (WorkflowStatus::Stopped, None));
    assert_eq!((ended.stops[0].mode, ended.stops[0].reason.as_str()), (StopMode::Kill, "enough"));
    assert!(flow.stop_with(id, Stop::because("x".repeat(2_000))).await.is_err());
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_execution_that_has_ended_is_deleted_with_all_that_belongs_to_it() {
    let flow = super::client::aiflow();
    flow.submit(&workflow(&flow, "quality", Vec::new())).await.unwrap();
    let mut standing = workflow(&flow, "standing", Vec::new());
    standing.completion = Some(Completion::Standing);
    flow.submit(&standing).await.unwrap();
    let scheduler = scheduler(&flow, Settings::default());
    let labelled = flow.start_with("quality", Start::new().label("owner", "ada")).await.unwrap();
    flow.wait(labelled).await.unwrap();
    let kept = ran(&flow, "quality").await;
    let live = flow.start("standing", Value::Null).await.unwrap();
    flow.wait_until(live, |execution, _| execution.status == WorkflowStatus::Running).await.unwrap();
    assert_eq!(flow.delete_execution(live).await.unwrap_err().kind(), ErrorKind::Invalid);
    flow.delete_execution(labelled).await.unwrap();
    assert_eq!(flow.delete_execution(labelled).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(flow.execution(labelled).await.unwrap().is_none());
    assert!(flow.job_executions(labelled).await.unwrap().is_empty());
    assert!(flow.executions_labelled("owner", "ada", 10).await.unwrap().is_empty());
    assert_eq!(flow.job_executions(kept.id).await.unwrap()[0].status, JobStatus::Succeeded);
    scheduler.shutdown().await.unwrap();
}

/// A wait ends if there is nothing to wait for any more, and goes on while the start waits to be admitted.
#[tokio::test]
async fn a_workflow_without_live_executions_is_deleted_and_comes_back() {
    let flow = super::client::aiflow();
    let definition = workflow(&flow, "quality", vec![start(on("go"))]);
    flow.submit(&definition).await.unwrap();
    assert_eq!(flow.delete_workflow("quality").await.unwrap_err().kind(), ErrorKind::NotFound);
    let scheduler = scheduler(&flow, Settings::default());
    let id = flow.start("quality", Value::Null).await.unwrap();
    scheduler.wait_applied(id.cause).await.unwrap();
    assert_eq!(flow.delete_workflow("quality").await.unwrap_err().kind(), ErrorKind::Conflict);
    flow.stop(id).await.unwrap();
    flow.wait(id).await.unwrap();
    let deleted = flow.delete_workflow("quality").await.unwrap();
    scheduler.wait_applied(deleted).await.unwrap();
    assert!(flow.dead_letter(deleted).await.unwrap().is_none());
    assert!(flow.workflows().await.unwrap().is_empty());
    assert!(flow.workflows_page(&Listing::new()).await.unwrap().items.is_empty());
    assert_eq!(flow.workflows_page(&Listing::new().with_deleted()).await.unwrap().items.len(), 1);
    assert!(flow.workflow("quality").await.unwrap().unwrap().deleted_at.is_some());
    let refused = flow.start("quality", Value::Null).await.unwrap();
    assert!(flow.wait(refused).await.unwrap_err().to_string().contains("deleted"));
    assert_eq!(flow.executions("quality", 9).await.unwrap().len(), 1, "what has ended stays");
    let again = flow.submit(&definition).await.unwrap();
    assert_eq!((again.version, again.is_new), (1, false));
    assert_eq!(stopped_at_once(&flow, "quality").await, WorkflowStatus::Stopped);
    assert_eq!(flow.workflows().await.unwrap().len(), 1);
    scheduler.shutdown().await.unwrap();
}

#[cfg(feature = "svg")]
#[tokio::test]
async fn a_picture_of_an_execution_shows_how_its_jobs_stand() {
    let flow = super::client::aiflow();
    flow.submit(&workflow(&flow, "quality", Vec::new())).await.unwrap();
    let scheduler = scheduler(&flow, Settings::default());
    let ended = ran(&flow, "quality").await;
    let picture = flow.execution_svg(ended.id).await.unwrap();
    assert!(picture.contains(">SUCCEEDED</text>"), "{picture}");
    let plain = flow.workflow_version("quality", 1).await.unwrap().unwrap().workflow.to_svg(None).unwrap();
    assert!(!plain.contains("SUCCEEDED"), "{plain}");
    let missing = flow.execution_svg(WorkflowExecutionId::new(Offset(99), 0)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    scheduler.shutdown().await.unwrap();
}

/// What a deleted workflow left goes for good, but for the version from which numbers go on; one that is in use stays.
#[tokio::test]
async fn a_deleted_workflow_is_purged_and_its_versions_go_on() {
    let flow = super::client::aiflow();
    let scheduler = scheduler(&flow, Settings::default());
    for keys in 1..=3 {
        let rules = (0..keys).map(|key| start(on(format!("go{key}")))).collect();
        assert_eq!(flow.submit(&workflow(&flow, "quality", rules)).await.unwrap().version, keys);
        stopped_at_once(&flow, "quality").await;
    }
    assert_eq!(flow.purge_workflow("other").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(flow.purge_workflow("quality").await.unwrap_err().kind(), ErrorKind::Conflict);
    let deleted = flow.delete_workflow("quality").await.unwrap();
    scheduler.wait_applied(deleted).await.unwrap();
    assert_eq!(flow.purge_workflow("quality").await.unwrap(), 3);
    assert_eq!(flow.purge_workflow("quality").await.unwrap(), 0);
    assert!(flow.executions("quality", 9).await.unwrap().is_empty());
    assert!(flow.workflow_version("quality", 2).await.unwrap().is_none());
    assert_eq!(flow.latest_workflow_version("quality").await.unwrap().unwrap().version, 3);
    scheduler.shutdown().await.unwrap();
    // Another scheduler begins with what is left, and the workflow comes back.
    let scheduler = self::scheduler(&flow, Settings::default());
    let again = flow.submit(&workflow(&flow, "quality", vec![start(on("again"))])).await.unwrap();
    assert_eq!((again.version, again.is_new), (4, true));
    assert_eq!(stopped_at_once(&flow, "quality").await, WorkflowStatus::Stopped);
    scheduler.shutdown().await.unwrap();
}

/// The end of an execution that is stopped at once, because its job waits for events.
async fn stopped_at_once(flow: &AiFlow, workflow: &str) -> WorkflowStatus {
    let id = flow.start(workflow, Value::Null).await.unwrap();
    flow.stop(id).await.unwrap();
    flow.wait(id).await.unwrap().status
}

#[tokio::test]
async fn a_wait_for_what_was_deleted_says_so_and_one_for_a_start_that_waits_goes_on() {
    let flow = super::client::aiflow();
    let mut standing = workflow(&flow, "standing", Vec::new());
    standing.completion = Some(Completion::Standing);
    standing.admission = Admission::new().concurrency(1).overlap(OverlapPolicy::BufferAll);
    flow.submit(&standing).await.unwrap();
    let scheduler = scheduler(&flow, Settings::default());
    let is_running = |execution: &WorkflowExecution| execution.status == WorkflowStatus::Running;
    let first = flow.start("standing", Value::Null).await.unwrap();
    let second = flow.start("standing", Value::Null).await.unwrap();
    scheduler.wait_applied(second.cause).await.unwrap();
    assert!(flow.execution(second).await.unwrap().is_none(), "it waits to be admitted");
    let admitted = flow.wait_until(second, |execution, _| is_running(execution));
    let (admitted, _) = tokio::join!(admitted, flow.stop(first));
    assert_eq!(admitted.unwrap().0.id, second);
    let waits = {
        let flow = flow.clone();
        tokio::spawn(async move { flow.wait(second).await })
    };
    flow.stop(second).await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap().status, WorkflowStatus::Stopped);
    // It goes while somebody waits: the news of it come together with the removal.
    let third = flow.start("standing", Value::Null).await.unwrap();
    flow.wait_until(third, |execution, _| is_running(execution)).await.unwrap();
    let waits = {
        let flow = flow.clone();
        tokio::spawn(async move { flow.wait(third).await })
    };
    tokio::task::yield_now().await;
    let news = NewEvent::new("wine", "standing").event_type(WORKFLOW_STATUS_CHANGED).for_execution(third);
    let removal = Batch::at(Timestamp::EPOCH).delete(workflow_execution_key(third)).event(news);
    flow.store().commit(removal).await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    flow.delete_execution(first).await.unwrap();
    assert_eq!(flow.wait(first).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(flow.wait_until(first, |_, _| true).await.unwrap_err().kind(), ErrorKind::NotFound);
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn retention_keeps_the_newest_and_whatever_is_live() {
    let flow = super::client::aiflow();
    flow.submit(&workflow(&flow, "quality", Vec::new())).await.unwrap();
    let mut standing = workflow(&flow, "standing", Vec::new());
    standing.completion = Some(Completion::Standing);
    flow.submit(&standing).await.unwrap();
    let scheduler = scheduler(&flow, Settings::default());
    let live = flow.start("standing", Value::Null).await.unwrap();
    let mut ids: Vec<WorkflowExecutionId> = Vec::new();
    for _ in 0..5 {
        ids.push(ran(&flow, "quality").await.id);
    }
    let ages = Retention::default().age(Duration::from_secs(3_600));
    assert_eq!(flow.apply_retention(&ages).await.unwrap().records, 0, "nothing is so old");
    let retired = flow.apply_retention(&Retention::default().executions(2)).await.unwrap();
    assert_eq!((retired.executions, retired.is_more), (3, false));
    let left: Vec<_> = flow.executions("quality", 10).await.unwrap().iter().map(|execution| execution.id).collect();
    assert_eq!(left, [ids[4], ids[3]]);
    assert!(flow.job_executions(ids[0]).await.unwrap().is_empty());
    assert!(flow.execution(live).await.unwrap().is_some());
    let head = flow.head().await.unwrap();
    scheduler.wait_applied(head).await.unwrap();
    assert!(flow.trim(Offset(u64::MAX)).await.unwrap() <= flow.head().await.unwrap());
    let after = ran(&flow, "quality").await;
    assert_eq!(after.status, WorkflowStatus::Succeeded, "it goes on with what is left of the log");
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_leader_removes_what_its_settings_do_not_keep() {
    let flow = super::client::aiflow();
    flow.submit(&workflow(&flow, "quality", Vec::new())).await.unwrap();
    let first = scheduler(&flow, Settings::default());
    for _ in 0..3 {
        ran(&flow, "quality").await;
    }
    first.shutdown().await.unwrap();
    let retention = Retention::default().executions(1);
    let second = scheduler(&flow, Settings { retention, ..Settings::default() });
    second.wait_leading().await.unwrap();
    let removed = async {
        while flow.executions("quality", 10).await.unwrap().len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), removed).await.unwrap();
    second.shutdown().await.unwrap();
}

/// No neighbour replays what one rule could not take to that rule alone.
#[tokio::test]
async fn a_dead_letter_is_replayed_to_its_rule_alone_or_set_aside() {
    let flow = super::client::aiflow();
    let rules = vec![start(custom("unknown", Value::Null, [on("x")])), start(on("x"))];
    let mut definition = workflow(&flow, "quality", rules);
    definition.completion = Some(Completion::Standing);
    flow.submit(&definition).await.unwrap();
    let scheduler = scheduler(&flow, Settings::default());
    let id = flow.start("quality", Value::Null).await.unwrap();
    flow.wait_until(id, |_, _| true).await.unwrap();
    let offset = flow.publish(flow.event("x").value("bad")).await.unwrap();
    scheduler.wait_applied(offset).await.unwrap();
    let letters = flow.dead_letters(10).await.unwrap();
    assert_eq!((letters.len(), letters[0].offset), (1, offset), "{letters:?}");
    let jobs = flow.job_executions(id).await.unwrap().len();
    let again = flow.replay_dead_letter(&letters[0].id).await.unwrap();
    assert_eq!(flow.replay_dead_letter(&letters[0].id).await.unwrap(), again, "repeating it changes nothing");
    scheduler.wait_applied(again).await.unwrap();
    assert_eq!(flow.job_executions(id).await.unwrap().len(), jobs, "the other rule does not see it again");
    let open = flow.dead_letters(10).await.unwrap();
    assert_eq!(open.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [again], "it failed again");
    flow.discard_dead_letter(&open[0].id).await.unwrap();
    assert!(flow.dead_letters(10).await.unwrap().is_empty());
    assert_eq!(flow.discard_dead_letter("no such").await.unwrap_err().kind(), ErrorKind::NotFound);
    let refused = flow.stop(WorkflowExecutionId::new(Offset(999_999), 0)).await.unwrap();
    scheduler.wait_applied(refused).await.unwrap();
    assert_eq!(flow.dead_letter(refused).await.unwrap().unwrap().state, DeadLetterState::Open);
    scheduler.shutdown().await.unwrap();
}
