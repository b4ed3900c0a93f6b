//! Reruns against a real scheduler in memory: the plan that is read from the store, and what comes of it.

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::execution::{JobStatus, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryArtifacts;
use aiflow_core::rerun::{Rerun, RerunStep};
use aiflow_core::runtime::Scheduler;
use aiflow_core::workflow::{all, job_status, on, start};
use serde_json::{Value, json};

fn job(name: &str) -> JobName {
    JobName::parse(name).unwrap()
}

/// `load`, then `train`, which fails where the parameter `fails` says so, then `report`, once it is approved.
fn graph() -> AiGraph {
    let mut graph = AiGraph::new("wine", "quality");
    for name in ["load", "train", "report"] {
        graph.node(name, function(name));
    }
    graph.control("train", start(job_status(&job("load"), JobStatus::Succeeded)));
    let both = ["load", "train"].map(|name| job_status(&job(name), JobStatus::Succeeded));
    graph.control("report", start(all(both.into_iter().chain([on("approval").into()]))));
    graph
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    let functions = Functions::new()
        .register("load", async |ctx: JobContext, _: Value| {
            // So that the approval comes while the execution runs.
            let filter = EventFilter::all().key("approval");
            ctx.aiflow().listen(filter, Offset::START).next().await?;
            Ok::<_, JobError>(1_599)
        })
        .register("train", async |_: JobContext, params: Value| match params["fails"] {
            Value::Bool(true) => Err(JobError::permanent("no")),
            _ => Ok(0.7),
        })
        .register("report", async |ctx: JobContext, _: Value| {
            Ok::<_, JobError>(ctx.events().iter().map(|event| event.value.clone()).collect::<Vec<Value>>())
        });
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

async fn failed(flow: &AiFlow) -> WorkflowExecutionId {
    let first = flow.start("quality", json!({"fails": true, "kept": 1})).await.unwrap();
    flow.publish(flow.event("approval").value("by ada").for_execution(first)).await.unwrap();
    assert_eq!(flow.wait(first).await.unwrap().status, WorkflowStatus::Failed);
    first
}

#[tokio::test]
async fn what_failed_runs_again_and_sees_what_it_had_waited_with() {
    let flow = super::client::aiflow();
    flow.submit(&graph().translate().unwrap()).await.unwrap();
    let scheduler = scheduler(&flow);
    let first = failed(&flow).await;
    let rerun = Rerun::from_failed().params(json!({"fails": false})).label("again", "1");
    let plan = flow.plan_rerun(first, rerun).await.unwrap();
    let RerunStep::Reused { execution: load } = plan.jobs[&job("load")].step else { panic!("{plan}") };
    assert!(matches!(plan.jobs[&job("train")].step, RerunStep::Starts { .. }), "{plan}");
    assert!(matches!(plan.jobs[&job("report")].step, RerunStep::Waits { .. }), "{plan}");
    let second = flow.rerun(&plan).await.unwrap();
    assert_eq!(flow.rerun(&plan).await.unwrap(), second, "one plan makes one execution");
    let ended = flow.wait(second).await.unwrap();
    assert_eq!((ended.status, ended.rerun_of), (WorkflowStatus::Succeeded, Some(first)));
    assert_eq!(ended.params, json!({"fails": false, "kept": 1}));
    assert_eq!(flow.executions_labelled("again", "1", 9).await.unwrap().len(), 1);
    let jobs = flow.jobs(second).await.unwrap();
    assert_eq!((jobs[&job("load")].runs, jobs[&job("load")].last_execution), (0, Some(load)));
    let report = flow.job_execution(jobs[&job("report")].last_execution.unwrap()).await.unwrap().unwrap();
    assert_eq!(report.output(), Some(&json!(["by ada", "SUCCEEDED", "SUCCEEDED"])));
    let why = flow.explain_execution(jobs[&job("train")].last_execution.unwrap()).await.unwrap().to_string();
    assert!(why.contains("because it repeats execution ") && why.contains("RERUN_EXECUTION"), "{why}");
    assert_eq!(flow.wait(first).await.unwrap().status, WorkflowStatus::Failed, "the first run stays as it was");

    // A rerun can be run again: what it took over is taken over once more.
    let plan = flow.plan_rerun(second, Rerun::from_job("report")).await.unwrap();
    assert!(matches!(plan.jobs[&job("load")].step, RerunStep::Reused { execution } if execution == load), "{plan}");
    let third = flow.rerun(&plan).await.unwrap();
    assert_eq!(flow.wait(third).await.unwrap().status, WorkflowStatus::Succeeded);
    assert_eq!(flow.job_executions(third).await.unwrap().len(), 1, "only the report ran");
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_again_says_why() {
    let flow = super::client::aiflow();
    flow.submit(&graph().translate().unwrap()).await.unwrap();
    let scheduler = scheduler(&flow);
    let unknown = flow.plan_rerun(WorkflowExecutionId::new(Offset(77), 0), Rerun::from_failed()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let first = failed(&flow).await;
    let wrong = |rerun: Rerun| flow.plan_rerun(first, rerun);
    assert_eq!(wrong(Rerun::from_job("tain")).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(wrong(Rerun::from_failed().params(json!(3))).await.unwrap_err().kind(), ErrorKind::Invalid);
    let elsewhere = flow.project("other").unwrap().plan_rerun(first, Rerun::from_failed()).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Invalid);

    // A newer version came between the plan and the request.
    let plan = wrong(Rerun::from_failed()).await.unwrap();
    let mut newer = graph();
    newer.node("extra", function("load"));
    flow.submit(&newer.translate().unwrap()).await.unwrap();
    let late = flow.rerun(&plan).await.unwrap();
    let refused = flow.wait(late).await.unwrap_err();
    assert!(refused.to_string().contains("plan again"), "{refused}");

    let mut standing = AiGraph::new("wine", "standing");
    standing.node("never", function("load"));
    standing.control("never", start(on("never")));
    flow.submit(&standing.translate().unwrap()).await.unwrap();
    let running = flow.start("standing", json!({})).await.unwrap();
    flow.wait_until(running, |execution, _| !execution.status.is_terminal()).await.unwrap();
    let too_early = flow.plan_rerun(running, Rerun::from_failed()).await.unwrap_err();
    assert_eq!(too_early.kind(), ErrorKind::Invalid);
    flow.stop(running).await.unwrap();
    flow.wait(running).await.unwrap();
    flow.delete_execution(first).await.unwrap();
    assert_eq!(wrong(Rerun::from_failed()).await.unwrap_err().kind(), ErrorKind::NotFound);
    scheduler.shutdown().await.unwrap();
}

/// A job that runs again reads what a job gave in the first run whose result stands; one that gives anew is read anew.
#[tokio::test]
async fn values_of_jobs_whose_results_stand_are_found() {
    let flow = super::client::aiflow();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("load", function("load")).node("train", function("train")).stored_data("load", "train");
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new()
        .register("load", async |ctx: JobContext, _: Value| {
            Ok::<_, JobError>(ctx.identity().workflow_execution.to_string())
        })
        .register("train", async |ctx: JobContext, input: Value| match ctx.params::<Value>()?["fails"] {
            Value::Bool(true) => Err(JobError::permanent("no")),
            _ => Ok(input),
        });
    let executor = FunctionExecutor::new(functions).artifact_store(MemoryArtifacts::new());
    let scheduler = flow.scheduler().executor("function", executor).start().unwrap();
    let first = flow.start("quality", json!({"fails": true})).await.unwrap();
    assert_eq!(flow.wait(first).await.unwrap().status, WorkflowStatus::Failed);
    let again = async |of: WorkflowExecutionId, rerun: Rerun| {
        let plan = flow.plan_rerun(of, rerun).await.unwrap();
        let id = flow.rerun(&plan).await.unwrap();
        let status = flow.wait(id).await.unwrap().status;
        let jobs = flow.job_executions(id).await.unwrap();
        let train = jobs.into_iter().find(|ran| ran.job == job("train")).unwrap();
        (id, status, train.output().cloned().unwrap_or_default())
    };
    let (second, status, read) = again(first, Rerun::from_failed().params(json!({"fails": false}))).await;
    assert_eq!((status, read), (WorkflowStatus::Succeeded, json!(first.to_string())));
    // The rerun of a rerun finds it as well.
    let (third, status, read) = again(second, Rerun::from_job("train")).await;
    assert_eq!((status, read), (WorkflowStatus::Succeeded, json!(first.to_string())));
    let (fourth, status, read) = again(third, Rerun::from_job("load")).await;
    assert_eq!((status, read), (WorkflowStatus::Succeeded, json!(fourth.to_string())));
    scheduler.shutdown().await.unwrap();
}
