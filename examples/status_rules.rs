//! Rules on the status of jobs: all of them, any of them, a branch for a failure, and a job that is done again as soon as what it is made
//! from has changed and is at rest.
//!
//! `cargo run --example status_rules`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::execution::JobState;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::workflow::{Condition, Life};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;
    aiflow.submit(&regions().translate()?).await?;
    aiflow.submit(&dashboard().translate()?).await?;
    let functions = Functions::new().register("run", run);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    // Without the parameter both regions arrive; with it, the second fails, and yesterday's data stand in for it.
    for (params, stand_in, result) in [
        (Value::Null, JobStatus::Skipped, WorkflowStatus::Succeeded),
        (json!({ "fails": "us" }), JobStatus::Succeeded, WorkflowStatus::Failed),
    ] {
        let execution = aiflow.start("regions", params).await?;
        let ended = aiflow.wait(execution).await?;
        let jobs = aiflow.jobs(execution).await?;
        println!("\nregions, {}:", ended.status);
        for (name, job) in &jobs {
            println!("  {name:<11} {:<9} runs: {}", job.last.map_or("", JobStatus::as_str), job.runs);
        }
        assert_eq!(ended.status, result);
        assert_eq!(jobs[&JobName::parse("yesterday")?].last, Some(stand_in));
        assert_eq!(jobs[&JobName::parse("merge")?].last, Some(JobStatus::Succeeded));
        assert_eq!(jobs[&JobName::parse("first_look")?].runs, 1, "a second region is no first look");
    }

    // Both sources change at once: one new dashboard, when both are done. Then one of them changes: another.
    let execution = aiflow.start("dashboard", Value::Null).await?;
    aiflow.publish_all(vec![aiflow.event("new_sales"), aiflow.event("new_stock")]).await?;
    made(&aiflow, execution, 1).await?;
    aiflow.publish(aiflow.event("new_stock")).await?;
    made(&aiflow, execution, 2).await?;
    aiflow.stop(execution).await?;
    aiflow.wait(execution).await?;
    println!("\ndashboard:");
    for job in aiflow.job_executions(execution).await? {
        println!("  {} ran", job.job);
    }
    let dashboard = aiflow.job_state(execution, "dashboard").await?.ok_or("it ran")?;
    assert_eq!(dashboard.runs, 2);
    Ok(scheduler.shutdown().await?)
}

/// Waits until so many dashboards were made.
async fn made(aiflow: &AiFlow, execution: WorkflowExecutionId, n: u32) -> aiflow::Result<()> {
    let name = job("dashboard");
    let is_made = |job: &JobState| job.runs >= n && job.current.is_none();
    aiflow.wait_until(execution, |_, jobs| jobs.get(&name).is_some_and(is_made)).await.map(|_| ())
}

fn regions() -> AiGraph {
    let [eu, us, yesterday, first_look] = ["eu", "us", "yesterday", "first_look"].map(job);
    let mut graph = AiGraph::new("wine", "regions");
    for name in ["eu", "us", "yesterday", "first_look", "merge"] {
        graph.node(name, function("run"));
    }
    // A branch for the failure, which stands in for what is missing.
    graph.control("yesterday", start(job_status(&us, JobStatus::Failed)));
    let second = any([job_status(&us, JobStatus::Succeeded), job_status(&yesterday, JobStatus::Succeeded)]);
    graph.control("merge", start(all([job_status(&eu, JobStatus::Succeeded), second])));
    // `any` fires for each of them; the guard leaves the first.
    let arrived = any([eu, us].map(|region| job_status(&region, JobStatus::Succeeded)));
    graph.control("first_look", start(arrived.and(job_is(&first_look, [JobStatus::Init]))));
    graph
}

/// "Eager": a job runs when any of its sources is new, all of them have succeeded, none is at work, and it is not at work itself.
fn dashboard() -> AiGraph {
    let [sales, stock, dashboard] = ["sales", "stock", "dashboard"].map(job);
    let mut graph = AiGraph::new("wine", "dashboard");
    graph.node("sales", function("run")).control("sales", start(on("new_sales")));
    graph.node("stock", function("run")).control("stock", start(on("new_stock")));
    // `Latest`: what both have made new asks for one dashboard, not for two.
    let newest = |job: &JobName| Condition::JobStatus {
        job: job.clone(),
        statuses: vec![JobStatus::Succeeded],
        life: Life::Latest,
    };
    graph.node("dashboard", function("run"));
    graph.control(
        "dashboard",
        start(all([
            any([newest(&sales), newest(&stock)]),
            job_is(&sales, [JobStatus::Succeeded]),
            job_is(&stock, [JobStatus::Succeeded]),
            job_is(&dashboard, [JobStatus::Init, JobStatus::Succeeded, JobStatus::Failed]),
        ])),
    );
    graph
}

fn job(name: &str) -> JobName {
    JobName::parse(name).expect("it is well formed")
}

async fn run(ctx: JobContext, params: Value) -> Result<(), JobError> {
    let job = ctx.identity().job.as_str();
    match params["fails"] == job {
        true => Err(JobError::permanent(format!("no data from {job}"))),
        false => Ok(()),
    }
}
