//! An execution failed half-way. The plan of a rerun says which results stand, what starts, and what waits; then it is done, with a better parameter.
//!
//! `cargo run --example rerun`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::rerun::{Rerun, RerunStep};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;
    aiflow.submit(&quality().translate()?).await?;
    let functions = Functions::new()
        .register("load", async |_: JobContext, _: Value| Ok::<_, JobError>(1_599))
        .register("train", train)
        .register("report", async |ctx: JobContext, _: Value| {
            Ok::<_, JobError>(ctx.events().iter().map(|event| event.key.clone()).collect::<Vec<String>>())
        });
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    let first = aiflow.start("quality", json!({ "rate": 10.0 })).await?;
    println!("first run: {}", aiflow.wait(first).await?.status);

    // Nothing has happened yet: look at what would.
    let plan = aiflow.plan_rerun(first, Rerun::from_failed().params(json!({ "rate": 0.1 }))).await?;
    println!("\n{plan}\n");
    assert!(matches!(plan.jobs[&JobName::parse("load")?].step, RerunStep::Reused { .. }));
    assert!(matches!(plan.jobs[&JobName::parse("train")?].step, RerunStep::Starts { .. }));

    let second = aiflow.rerun(&plan).await?;
    let ended = aiflow.wait(second).await?;
    println!("second run: {}, with {}", ended.status, ended.params);
    for job in aiflow.job_executions(second).await? {
        println!("  {} {}: {}", job.job, job.status, job.output().unwrap_or(&Value::Null));
    }
    assert_eq!((ended.status, ended.rerun_of), (WorkflowStatus::Succeeded, Some(first)));
    let report = aiflow.job_state(second, "report").await?.and_then(|job| job.last_execution).ok_or("it ran")?;
    let report = aiflow.job_execution(report).await?.ok_or("it ran")?;
    assert_eq!(
        report.output(),
        Some(&json!(["quality/load", "quality/train"])),
        "the first run's load, the second's train"
    );
    println!("\n{}", aiflow.explain_execution(report.id).await?);
    Ok(scheduler.shutdown().await?)
}

/// `load`, then `train`, then `report` on both.
fn quality() -> AiGraph {
    let [load, train] = ["load", "train"].map(|name| JobName::parse(name).expect("it is well formed"));
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("load", function("load"));
    graph.node("train", function("train"));
    graph.node("report", function("report"));
    graph.control("train", start(job_status(&load, JobStatus::Succeeded)));
    graph.control("report", start(all([load, train].map(|job| job_status(&job, JobStatus::Succeeded)))));
    graph
}

async fn train(_: JobContext, params: Value) -> Result<f64, JobError> {
    match params["rate"].as_f64() {
        Some(rate) if rate < 1.0 => Ok(0.72),
        rate => Err(JobError::permanent(format!("the loss is not a number at rate {rate:?}"))),
    }
}
