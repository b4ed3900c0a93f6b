//! Workflows that start one another: `ingest` publishes an event that starts `training`, and the end of `training` starts `report` or
//! `alarm`. None of them knows the others; the events are all they share.
//!
//! `cargo run --example workflow_trigger`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::event::WORKFLOW_STATUS_CHANGED;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::workflow::WorkflowRule;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;

    submit(&aiflow, "ingest", []).await?;
    submit(&aiflow, "training", [start_workflow(on("samples").equals("ready"))]).await?;
    let training = WorkflowName::parse("training")?;
    submit(&aiflow, "report", [start_workflow(workflow_status(&training, WorkflowStatus::Succeeded))]).await?;
    submit(&aiflow, "alarm", [start_workflow(workflow_status(&training, WorkflowStatus::Failed))]).await?;

    let functions = Functions::new().register("ingest", ingest).register("training", train);
    let functions = functions.register("report", say).register("alarm", say);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    let begun = aiflow.head().await?;
    // Enough samples: training succeeds, and that starts the report. Too few: it fails, and that starts the alarm.
    for (rows, last) in [(320, "report"), (3, "alarm")] {
        println!("\n{rows} rows:");
        let execution = aiflow.start("ingest", json!({ "rows": rows })).await?;
        let ended = end_of(&aiflow, last, execution.cause).await?;
        let why = aiflow.explain_workflow_execution(ended).await?.to_string();
        println!("{why}");
        for workflow in [last, "training", "ingest"] {
            assert!(why.contains(workflow), "{workflow} is missing");
        }
    }
    for (workflow, runs) in [("ingest", 2), ("training", 2), ("report", 1), ("alarm", 1)] {
        let executions = aiflow.executions(workflow, 10).await?;
        assert_eq!(executions.iter().filter(|execution| execution.id.cause > begun).count(), runs, "{workflow}");
    }
    Ok(scheduler.shutdown().await?)
}

/// A workflow of one job.
async fn submit<const N: usize>(aiflow: &AiFlow, name: &str, rules: [WorkflowRule; N]) -> aiflow::Result<()> {
    let mut graph = AiGraph::new("wine", name);
    graph.node("run", function(name));
    for rule in rules {
        println!("{name}: {rule}");
        graph.rule(rule);
    }
    aiflow.submit(&graph.translate()?).await?;
    Ok(())
}

/// Waits for the next execution of `workflow` to succeed.
async fn end_of(aiflow: &AiFlow, workflow: &str, after: Offset) -> aiflow::Result<WorkflowExecutionId> {
    let filter = EventFilter::all().event_type(WORKFLOW_STATUS_CHANGED).key(workflow);
    let mut statuses = aiflow.listen(filter, after);
    loop {
        let event = statuses.next().await?;
        if let Some(execution) = event.context.workflow_execution
            && event.value == WorkflowStatus::Succeeded.as_str()
        {
            return Ok(execution);
        }
    }
}

/// An event that a job publishes concerns its own execution; rules of workflows see it all the same.
async fn ingest(ctx: JobContext, params: Value) -> Result<(), JobError> {
    ctx.publish(ctx.event("samples").value("ready").label("rows", params["rows"].to_string())).await?;
    Ok(())
}

/// The job starts with its execution, whose cause is the firing of the workflow's rule.
async fn train(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let samples = ctx.events().first().ok_or("an event started the workflow")?;
    let rows: u32 = samples.context.labels.get("rows").ok_or("samples have rows")?.parse()?;
    if rows < 10 {
        return Err(JobError::permanent(format!("{rows} rows are too few")));
    }
    Ok(())
}

async fn say(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let event = ctx.events().first().ok_or("an event started the workflow")?;
    println!("{}: {} is {}", ctx.identity().workflow, event.key, event.value.as_str().unwrap_or_default());
    Ok(())
}
