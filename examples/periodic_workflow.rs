//! A periodic workflow: a schedule starts one execution after the other, each for a time of its own; what was missed in the past is made up
//! for by a backfill.
//!
//! `cargo run --example periodic_workflow`. The times are short here; in earnest they are like those of the schedule `nightly`.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use aiflow::function::JobError;
use aiflow::prelude::*;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;

    let mut graph = AiGraph::new("wine", "report");
    graph.node("prepare", function("prepare"));
    graph.node("write", function("write"));
    graph.after("write", "prepare");
    let often = every(Duration::from_millis(100)).named(ScheduleName::parse("often")?);
    graph.schedule(often.params(json!({ "window": "short" })));
    let nightly = cron("30 2 * * *").time_zone("Europe/Berlin").named(ScheduleName::parse("nightly")?);
    graph.schedule(nightly.misfire(Misfire::All { max: 7 }).overlap(OverlapPolicy::BufferAll));
    aiflow.submit(&graph.translate()?).await?;

    let mut reports = aiflow.listen(EventFilter::all().key("written"), aiflow.head().await?);
    let functions = Functions::new().register("prepare", prepare).register("write", write);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    for _ in 0..3 {
        println!("written for {}", reports.next().await?.value);
    }
    for time in aiflow.next_times("report", "nightly", 3).await? {
        println!("nightly comes at {}", time.to_rfc3339());
    }

    // Three nights of the past, around a change of the clock. Rules of other workflows do not hear of them.
    aiflow.pause_schedule("report", "often").await?;
    let (from, to) =
        (Timestamp::parse_rfc3339("2026-03-28T00:00:00Z")?, Timestamp::parse_rfc3339("2026-03-31T00:00:00Z")?);
    let request = aiflow.backfill("report", Backfill::new(ScheduleName::parse("nightly")?, from, to).quiet()).await?;
    for number in 0..3 {
        let execution = aiflow.wait(WorkflowExecutionId::new(request, number)).await?;
        let time = execution.scheduled_time().map(Timestamp::to_rfc3339).unwrap_or_default();
        println!("made up for {time}: {}", execution.status);
    }
    aiflow.resume_schedule("report", "often").await?;
    Ok(scheduler.shutdown().await?)
}

async fn prepare(_: JobContext, _: Value) -> Result<(), JobError> {
    Ok(())
}

/// The time that its execution is for, which is not the moment at which it runs.
async fn write(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let time = ctx.scheduled_time().ok_or("a schedule starts it")?;
    ctx.publish(ctx.event("written").value(time.to_rfc3339())).await?;
    Ok(())
}
