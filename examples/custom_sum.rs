//! A condition of your own: three producers publish numbers, and as soon as these add up to 100, a consumer starts; its success stops the
//! producers.
//!
//! `cargo run --example custom_sum`. What the condition has seen so far is stored with the rule: it survives a crash.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::engine::{CustomCondition, Verdict};
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::workflow::Completion;
use serde_json::{Value, json};

const PRODUCERS: [&str; 3] = ["north", "south", "west"];

/// Met when the values of the events that it was shown add up to the limit that stands in the rule; then it begins anew.
#[derive(Debug)]
struct SumReaches;

impl CustomCondition for SumReaches {
    fn see(&self, params: &Value, state: &mut Value, event: &Event) -> Result<Verdict, String> {
        let limit = params["limit"].as_i64().ok_or("the rule must say the limit")?;
        let sum = state.as_i64().unwrap_or(0) + event.value.as_i64().ok_or("the value is no number")?;
        if sum < limit {
            *state = sum.into();
            return Ok(Verdict::Counts);
        }
        *state = Value::Null;
        Ok(Verdict::Met)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("wine")?;

    let mut graph = AiGraph::new("wine", "sum");
    graph.node("consumer", function("consume"));
    graph.control("consumer", start(custom("sum_reaches", json!({ "limit": 100 }), [on("number")])));
    for producer in PRODUCERS {
        graph.node(producer, function("produce").streaming());
        graph.control(producer, stop(job_status(&JobName::parse("consumer")?, JobStatus::Succeeded)));
    }
    // A workflow with streaming jobs goes on for ever unless it is told to end when nothing is left to run.
    graph.completion(Completion::Idle);
    aiflow.submit(&graph.translate()?).await?;

    let functions = Functions::new().register("produce", produce).register("consume", consume);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions));
    let scheduler = scheduler.condition("sum_reaches", SumReaches).start()?;

    let execution = aiflow.start("sum", Value::Null).await?;
    let ended = aiflow.wait(execution).await?;
    for run in aiflow.job_executions(execution).await? {
        println!("{}: {}", run.job, run.status);
        if run.job.as_str() == "consumer" {
            // Its cause is exactly the events that the condition has counted.
            println!("{} numbers add up to {}", run.cause.events.len(), run.output().unwrap_or(&Value::Null));
            assert_eq!((run.cause.events.len(), run.output()), (20, Some(&json!(100))));
        }
    }
    // Of 150 in all, each number served at most one firing: what is left over starts nothing.
    let consumer = aiflow.job_state(execution, "consumer").await?.ok_or("the sum was reached")?;
    assert_eq!(consumer.runs, 1);
    println!("the execution is {}", ended.status);
    Ok(scheduler.shutdown().await?)
}

/// Publishes ten times 5, and would publish more some day.
async fn produce(ctx: JobContext, _: Value) -> Result<(), JobError> {
    for _ in 0..10 {
        ctx.publish(ctx.event("number").value(5)).await?;
    }
    ctx.cancelled().await;
    Ok(())
}

/// Adds up the numbers that made it run.
async fn consume(ctx: JobContext, _: Value) -> Result<i64, JobError> {
    Ok(ctx.events().iter().filter_map(|event| event.value.as_i64()).sum())
}
