//! A job type of your own: jobs that are scripts of SQL. Of three nodes two form one job; what the third publishes starts a function.
//!
//! `cargo run --example own_executor -- folder`. What it takes stands in `sql.rs`: functions that make nodes, a generator that makes a job
//! of several nodes, and an executor.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod sql;

use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::translator::{SplitTranslator, TranslateOptions};
use aiflow::workflow::Completion;
use serde_json::Value;

use sql::{SQL, SqlExecutor, SqlGenerator, publish, sql};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the database")?;
    let database = std::path::Path::new(&folder).join("shop.db");
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("shop")?;

    let mut graph = AiGraph::new("shop", "report");
    graph.node(
        "orders",
        sql("CREATE TABLE IF NOT EXISTS orders AS SELECT * FROM (VALUES ('ada', 70), ('bob', 20), ('ada', 50))"),
    );
    graph.node("totals", sql("CREATE TABLE IF NOT EXISTS totals AS SELECT column1 AS customer, sum(column2) AS total FROM orders GROUP BY 1"));
    graph.data("orders", "totals");
    graph.node("good_customers", publish("good_customer", "SELECT customer FROM totals WHERE total > 100"));
    graph.after("good_customers", "totals");
    graph.node("thank", function("thank"));
    graph.control("thank", start(on("good_customer")));
    graph.completion(Completion::Idle);
    let translator = SplitTranslator::new().generator(SQL, SqlGenerator);
    let workflow = graph.translate_with(&translator, &TranslateOptions::default())?;
    println!("jobs: {}", workflow.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", "));
    aiflow.submit(&workflow).await?;

    let functions = Functions::new().register("thank", thank);
    let scheduler = aiflow.scheduler().executor(SQL, SqlExecutor::new(database));
    let scheduler = scheduler.executor("function", FunctionExecutor::new(functions)).start()?;
    let execution = aiflow.start("report", Value::Null).await?;
    let ended = aiflow.wait(execution).await?;
    for job in aiflow.job_executions(execution).await? {
        let nodes: Vec<&str> = job.nodes.iter().map(|run| run.node.as_str()).collect();
        println!("{} ({}): {} {}", job.job, nodes.join(", "), job.status, job.output().unwrap_or(&Value::Null));
    }
    println!("the execution is {}", ended.status);
    Ok(scheduler.shutdown().await?)
}

/// Thanks the customer of the event that made it run.
async fn thank(ctx: JobContext, _: Value) -> Result<String, JobError> {
    let customer = ctx.events().first().map_or("nobody", |event| event.value.as_str().unwrap_or("somebody"));
    Ok(format!("thank you, {customer}"))
}
