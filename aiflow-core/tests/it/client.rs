//! The handle of clients: events, listening, submissions, requests, waiting.

use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::control::{CONTROL_REFUSED, Control};
use aiflow_core::event::{EventFilter, JOB_STATUS_CHANGED, NewEvent, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use aiflow_core::execution::{Firing, JobCounts, WorkflowExecution, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, FunctionSpec, Functions};
use aiflow_core::id::{ExecutorName, JobName, NodeName, Offset, WorkflowExecutionId, WorkflowName};
use aiflow_core::memory::MemoryStore;
use aiflow_core::records::{DeadLetter, dead_letter_put, workflow_execution_put};
use aiflow_core::store::{Batch, MetaStore};
use aiflow_core::time::{SystemClock, Timestamp};
use aiflow_core::why::{Source, Step};
use aiflow_core::workflow::{Completion, ControlEdge, Job, Workflow, on, start};
use aiflow_core::{ErrorKind, bus::EventBus};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

/// A handle on `memory`, in project `wine`.
pub(crate) fn handle_of(memory: &Arc<MemoryStore>) -> AiFlow {
    let store = Arc::<MemoryStore>::clone(memory);
    let bus = Arc::<MemoryStore>::clone(memory);
    AiFlow::new(store, bus).unwrap().project("wine").unwrap()
}

pub(crate) fn aiflow() -> AiFlow {
    handle_of(&memory())
}

fn workflow(flow: &AiFlow, job: &str) -> Workflow {
    let mut workflow = Workflow::new(flow.project_name().clone(), WorkflowName::parse("quality").unwrap());
    workflow.jobs.push(Job::new(JobName::parse(job).unwrap(), ExecutorName::parse("function").unwrap(), Value::Null));
    workflow
}

async fn log_of(flow: &AiFlow) -> Vec<std::sync::Arc<aiflow_core::event::Event>> {
    let filter = EventFilter::all();
    let page = flow.bus().read(Offset::START, &filter, 1000);
    page.await.unwrap().events
}

#[test]
fn a_store_and_a_bus_with_different_logs_are_refused() {
    let error = AiFlow::new(memory(), memory()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_the_library_says_itself_cannot_be_published() {
    let flow = aiflow();
    for event in [
        NewEvent::new(SYSTEM_NAMESPACE, "x"),
        NewEvent::new("aiflow.other", "x"),
        flow.event("train").event_type(JOB_STATUS_CHANGED),
        flow.event("model").event_type("MODEL_DEPLOYED"),
        flow.event("data").event_type("DATASET_CHANGED"),
    ] {
        // One bad event keeps the good one out, too.
        let error = flow.publish_all(vec![flow.event("good"), event]).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(log_of(&flow).await.is_empty());
    flow.publish(NewEvent::new("aiflowers", "x")).await.unwrap();
}

#[tokio::test]
async fn a_listener_reads_from_any_offset_without_loss() {
    const EVENTS: u64 = 1_000;
    let flow = aiflow();
    for n in 0..EVENTS {
        let key = if n % 2 == 0 { "even" } else { "odd" };
        flow.publish(flow.event(key).value(n)).await.unwrap();
    }
    for after in [0, 1, 7, 500, 999] {
        let mut listener = flow.listen(EventFilter::all().key("odd"), Offset(after));
        let mut seen = Vec::new();
        while let Some(event) = listener.try_next().await.unwrap() {
            assert_eq!(listener.position(), event.offset);
            seen.push(event.value.as_u64().unwrap());
        }
        let expected: Vec<u64> = (after..EVENTS).filter(|n| n % 2 == 1).collect();
        assert_eq!(seen, expected, "after {after}");
        assert_eq!(listener.position(), Offset(EVENTS));
    }
}

#[tokio::test]
async fn a_cancelled_wait_for_the_next_event_loses_nothing() {
    let flow = aiflow();
    let mut listener = flow.listen(EventFilter::all(), Offset::START);
    for n in 0..50_u64 {
        // Poll once, then drop: nothing is there yet.
        tokio::select! {
            biased;
            event = listener.next() => panic!("{event:?}"),
            () = std::future::ready(()) => {}
        }
        flow.publish(flow.event("n").value(n)).await.unwrap();
        assert_eq!(listener.next().await.unwrap().value, n);
    }
}

#[tokio::test]
async fn a_listener_wakes_up_for_new_events() {
    let flow = aiflow();
    let mut listener = flow.listen(EventFilter::all().namespace("wine"), Offset::START);
    let waiting = tokio::spawn(async move { listener.next().await.unwrap() });
    let elsewhere = flow.project("beer").unwrap();
    elsewhere.publish(elsewhere.event("x")).await.unwrap();
    let offset = flow.publish(flow.event("x")).await.unwrap();
    assert_eq!(waiting.await.unwrap().offset, offset);
}

#[tokio::test]
async fn a_listener_is_told_that_events_were_trimmed() {
    let flow = aiflow();
    flow.publish(flow.event("x")).await.unwrap();
    let through = flow.publish(flow.event("x")).await.unwrap();
    flow.bus().trim(through).await.unwrap();
    let mut listener = flow.listen(EventFilter::all(), Offset::START);
    let error = listener.next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_submission_of_the_same_definition_makes_no_version() {
    let flow = aiflow();
    let (first, second) = (workflow(&flow, "train"), workflow(&flow, "validate"));
    for (workflow, version, is_new) in
        [(&first, 1, true), (&first, 1, false), (&second, 2, true), (&first, 3, true), (&first, 3, false)]
    {
        let submitted = flow.submit(workflow).await.unwrap();
        assert_eq!((submitted.version, submitted.is_new), (version, is_new));
    }
    let announced: Vec<_> =
        log_of(&flow).await.iter().map(|event| Control::from_event(event).unwrap().unwrap()).collect();
    let versions = announced.iter().map(|control| match control {
        Control::WorkflowSubmitted { version, .. } => *version,
        other => panic!("{other:?}"),
    });
    assert_eq!(versions.collect::<Vec<_>>(), [1, 2, 3]);
    let stored = flow.workflow_version("quality", 2).await.unwrap().unwrap();
    assert_eq!(stored.workflow, second);
    let latest = flow.latest_workflow_version("quality").await.unwrap();
    assert_eq!(latest.unwrap().version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_submissions_number_versions_without_gap() {
    const SUBMITTERS: u32 = 16;
    let flow = aiflow();
    let mut submitters = JoinSet::new();
    for n in 0..SUBMITTERS {
        let flow = flow.clone();
        let workflow = workflow(&flow, &format!("job{n}"));
        submitters.spawn(async move { flow.submit(&workflow).await.unwrap().version });
    }
    let mut versions = submitters.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=SUBMITTERS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_submission_names_every_problem() {
    let flow = aiflow();
    let mut bad = workflow(&flow, "train");
    bad.params = json!([1]);
    bad.jobs.push(bad.jobs[0].clone());
    let error = flow.submit(&bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("params: must be a JSON object") && text.contains("is defined twice"), "{text}");
    let elsewhere = flow.project("beer").unwrap();
    let error = elsewhere.submit(&workflow(&flow, "train")).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(log_of(&flow).await.is_empty());
}

#[tokio::test]
async fn a_name_of_full_length_can_be_submitted() {
    let flow = aiflow().project("p".repeat(128)).unwrap();
    let mut long = workflow(&flow, "train");
    long.name = WorkflowName::parse("w".repeat(128)).unwrap();
    assert!(flow.submit(&long).await.unwrap().is_new);
    assert!(!flow.submit(&long).await.unwrap().is_new);
}

#[tokio::test]
async fn a_start_is_a_durable_request_that_names_the_execution() {
    let flow = aiflow();
    let first = flow.start("quality", json!({"rate": 1})).await.unwrap();
    let second = flow.start("quality", Value::Null).await.unwrap();
    assert_ne!(first, second);
    let log = log_of(&flow).await;
    assert_eq!(first, WorkflowExecutionId::new(log[0].offset, 0));
    let request = Control::from_event(&log[0]).unwrap().unwrap();
    assert!(matches!(request, Control::StartWorkflow { params, .. } if params == json!({"rate": 1})));
    let error = flow.start("quality", json!([1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(flow.start("no/name", Value::Null).await.is_err());
}

#[tokio::test]
async fn a_start_under_the_same_key_starts_once() {
    let flow = aiflow();
    let start = |params| flow.start_with_key("quality", params, "2026-01-01");
    let first = start(json!({"rate": 1})).await.unwrap();
    assert_eq!(start(json!({"rate": 1})).await.unwrap(), first);
    let error = start(json!({"rate": 2})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let elsewhere = flow.project("beer").unwrap();
    let other = elsewhere.start_with_key("quality", Value::Null, "2026-01-01");
    assert_ne!(other.await.unwrap(), first);
    assert_eq!(log_of(&flow).await.len(), 2);
    assert!(flow.start_with_key("quality", Value::Null, "").await.is_err());
}

fn execution(flow: &AiFlow, id: WorkflowExecutionId, status: WorkflowStatus) -> WorkflowExecution {
    WorkflowExecution {
        deadline: None,
        id,
        project: flow.project_name().clone(),
        workflow: WorkflowName::parse("quality").unwrap(),
        version: 1,
        status,
        completion: Completion::Idle,
        params: Value::Null,
        cause: Firing { rule: None, schedule: None, events: vec![id.cause], key: None, hops: 0 },
        rerun_of: None,
        created_at: Timestamp::EPOCH,
        finished_at: None,
        counts: JobCounts::default(),
        concurrency_key: None,
        held: 0,
        paused: None,
        context: None,
        labels: std::collections::BTreeMap::new(),
        stops: Vec::new(),
        last_word: None,
    }
}

/// Writes what the scheduler would write, with the event that announces it.
async fn set_status(flow: &AiFlow, id: WorkflowExecutionId, status: WorkflowStatus) {
    let batch = Batch::at(Timestamp::EPOCH)
        .put(workflow_execution_put(&execution(flow, id, status)))
        .event(flow.event("quality").event_type(WORKFLOW_STATUS_CHANGED).for_execution(id));
    flow.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_wait_ends_with_the_execution() {
    let flow = aiflow();
    let id = flow.start("quality", Value::Null).await.unwrap();
    assert_eq!(flow.execution(id).await.unwrap(), None);
    let waiting = {
        let flow = flow.clone();
        tokio::spawn(async move { flow.wait(id).await.unwrap() })
    };
    set_status(&flow, id, WorkflowStatus::Running).await;
    let running = flow.wait_until(id, |execution, _| execution.status == WorkflowStatus::Running);
    assert_eq!(running.await.unwrap().0.status, WorkflowStatus::Running);
    assert!(!waiting.is_finished());
    set_status(&flow, id, WorkflowStatus::Failed).await;
    assert_eq!(waiting.await.unwrap().status, WorkflowStatus::Failed);
    let never = flow.wait_until(id, |execution, _| execution.status == WorkflowStatus::Running);
    assert_eq!(never.await.unwrap_err().kind(), ErrorKind::Invalid);
    let listed = flow.executions("quality", 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(flow.executions("quality", 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wait_goes_on_though_the_log_was_trimmed() {
    let flow = aiflow();
    let id = flow.start("quality", Value::Null).await.unwrap();
    let waiting = {
        let flow = flow.clone();
        tokio::spawn(async move { flow.wait(id).await.unwrap() })
    };
    tokio::task::yield_now().await;
    set_status(&flow, id, WorkflowStatus::Running).await;
    set_status(&flow, id, WorkflowStatus::Succeeded).await;
    let end = flow.head().await.unwrap();
    flow.bus().trim(end).await.unwrap();
    assert_eq!(waiting.await.unwrap().status, WorkflowStatus::Succeeded);
}

#[tokio::test]
async fn a_wait_for_a_refused_start_tells_the_reason() {
    let flow = aiflow();
    let id = flow.start("quality", Value::Null).await.unwrap();
    let waiting = {
        let flow = flow.clone();
        tokio::spawn(async move { flow.wait(id).await })
    };
    let letter = DeadLetter::new(id.cause.to_string(), id.cause, "workflow quality is not known");
    let batch = Batch::at(Timestamp::EPOCH)
        .put(dead_letter_put(id.cause.to_string(), &letter))
        .event(NewEvent::new(SYSTEM_NAMESPACE, id.cause.to_string()).event_type(CONTROL_REFUSED));
    flow.store().commit(batch).await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("workflow quality is not known"), "{error}");
    assert_eq!(flow.dead_letters(10).await.unwrap(), std::slice::from_ref(&letter));
    assert_eq!(flow.dead_letter(id.cause).await.unwrap(), Some(letter));
}

/// `produce` starts with the execution and publishes; `consume` starts when both of its events were seen.
fn two_jobs(flow: &AiFlow) -> Workflow {
    let mut workflow = workflow(flow, "produce");
    workflow.jobs.push(workflow.jobs[0].clone());
    workflow.jobs[1].name = JobName::parse("consume").unwrap();
    for job in &mut workflow.jobs {
        let node = NodeName::parse(job.name.as_str()).unwrap();
        let spec = FunctionSpec::single(node, job.name.as_str());
        job.spec = serde_json::to_value(spec).unwrap();
    }
    workflow
        .control_edges
        .push(ControlEdge { job: JobName::parse("consume").unwrap(), rule: start(on("a").and(on("b"))) });
    workflow
}

fn two_functions() -> Functions {
    Functions::new()
        .register("produce", |ctx, _: Value| async move {
            for key in ["a", "noise", "b"] {
                ctx.publish(ctx.event(key)).await?;
            }
            Ok(())
        })
        .register("consume", |ctx, _: Value| async move { Ok(ctx.events().len()) })
}

#[tokio::test]
async fn a_job_is_explained_by_exactly_the_events_that_started_it() {
    let flow = aiflow();
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(two_functions())).start().unwrap();
    flow.submit(&two_jobs(&flow)).await.unwrap();
    let id = flow.start("quality", Value::Null).await.unwrap();
    let ended = flow.wait(id).await.unwrap();
    assert_eq!(ended.status, WorkflowStatus::Succeeded);

    let jobs = flow.job_executions(id).await.unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job.job.as_str()).collect();
    assert_eq!(names, ["produce", "consume"]);
    assert_eq!(jobs[1].output(), Some(&json!(2)));
    let why = flow.explain_execution(jobs[1].id).await.unwrap();
    let (published, back): (Vec<&Step>, Vec<&Step>) =
        why.steps.iter().skip(1).partition(|step| matches!(step, Step::Event(event) if event.text.len() == 1));
    let by = Source::Job { attempt: jobs[0].attempt_id(), sender: "produce".to_owned() };
    let came: Vec<(&str, &Source)> = published
        .iter()
        .filter_map(|step| match step {
            Step::Event(event) => Some((event.text.as_str(), &event.source)),
            _ => None,
        })
        .collect();
    assert_eq!(came, [("a", &by), ("b", &by)]);
    assert!(
        matches!(back[..], [Step::Job(produced), Step::Workflow(_), Step::Event(request)]
            if produced.execution == jobs[0].id && request.source == Source::Request),
        "{why}"
    );
    let version = flow.workflow("quality").await.unwrap().unwrap().version;
    assert_eq!(version, 1);
    assert_eq!(flow.workflows().await.unwrap().len(), 1);
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_start_of_an_unknown_workflow_is_refused_with_the_reason() {
    let flow = aiflow();
    let scheduler = flow.scheduler().start().unwrap();
    let id = flow.start("nothing", Value::Null).await.unwrap();
    let error = flow.wait(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("nothing"), "{error}");
    assert_eq!(flow.dead_letters(10).await.unwrap().len(), 1);
    scheduler.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_waits_at_once_all_end() {
    const WAITS: usize = 200;
    let flow = aiflow();
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(two_functions())).start().unwrap();
    flow.submit(&two_jobs(&flow)).await.unwrap();
    let mut waits = JoinSet::new();
    for n in 0..WAITS {
        let flow = flow.clone();
        waits.spawn(async move {
            let id = flow.start("quality", Value::Null).await.unwrap();
            if n % 3 == 0 {
                // A wait that is given up leaves the others as they are.
                let given_up = flow.wait(id);
                tokio::select! {
                    biased;
                    ended = given_up => return ended.unwrap().status,
                    () = tokio::task::yield_now() => {}
                }
            }
            flow.wait(id).await.unwrap().status
        });
    }
    for status in waits.join_all().await {
        assert_eq!(status, WorkflowStatus::Succeeded);
    }
    scheduler.shutdown().await.unwrap();
}
