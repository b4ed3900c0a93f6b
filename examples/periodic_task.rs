//! A periodic task: within one execution of a workflow, a job runs again and again at its own times, beside a job that never ends.
//!
//! `cargo run --example periodic_task`. The times are short here; in earnest they are `cron("0 * * * *")` or `every(Duration::from_secs(600))`.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use aiflow::function::JobError;
use aiflow::prelude::*;
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;

    let mut graph = AiGraph::new("wine", "monitoring");
    graph.node("inference", function("inference").streaming());
    // START while it is live does nothing; `.restart()` would restart it.
    graph.node("drift_check", function("drift_check").schedule(every(Duration::from_millis(100))));
    aiflow.submit(&graph.translate()?).await?;

    let functions = Functions::new().register("inference", inference).register("drift_check", drift_check);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;
    let execution = aiflow.start("monitoring", Value::Null).await?;

    let mut checks = aiflow.listen(EventFilter::all().key("drift"), execution.cause);
    for n in 1..=3 {
        println!("check {n} was due at {}", checks.next().await?.value);
    }
    for info in aiflow.job_schedules(execution).await? {
        let next = info.state.next.map(|next| next.time.to_rfc3339());
        println!("{} of {}: next at {}", info.schedule, info.of, next.unwrap_or_default());
    }

    // With the execution, its schedules end.
    aiflow.stop(execution).await?;
    let ended = aiflow.wait(execution).await?;
    let job = aiflow.job_state(execution, "drift_check").await?;
    println!("drift_check ran {} times; the execution is {}", job.map_or(0, |job| job.runs), ended.status);
    Ok(scheduler.shutdown().await?)
}

async fn inference(ctx: JobContext, _: Value) -> Result<(), JobError> {
    ctx.ready().await;
    ctx.cancelled().await;
    Ok(())
}

async fn drift_check(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let due = ctx.scheduled_time().ok_or("a schedule starts it")?;
    ctx.publish(ctx.event("drift").value(due.to_rfc3339())).await?;
    Ok(())
}
