//! Somebody's service, with a scheduler inside: each line that it receives is an event, and each event starts a workflow.
//!
//! `cargo run --package aiflow-example-embedding`, then `echo hello | nc localhost 7070`, which answers with the event's place in the log.
//! `PORT` names another port, 0 any that is free; `AIFLOW_URL` another store.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "sqlite://aiflow-data/embedding/aiflow.db".to_owned());
    let aiflow = aiflow::open(&url).await?;
    let mut graph = AiGraph::new("default", "greet");
    graph.node("greet", function("greet"));
    graph.rule(start_workflow(on("line")));
    aiflow.submit(&graph.translate()?).await?;
    let functions = Functions::new().register("greet", async |ctx: JobContext, _: serde_json::Value| {
        println!("{}: {}", ctx.attempt(), ctx.events()[0].value);
        aiflow::Result::Ok(())
    });
    let _scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    let port = std::env::var("PORT").map_or(Ok(7070), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (reader, mut writer) = listener.accept().await?.0.into_split();
        let mut lines = BufReader::new(reader).lines();
        while let Some(line) = lines.next_line().await? {
            let offset = aiflow.publish(aiflow.event("line").value(line)).await?;
            writer.write_all(format!("event {offset}\n").as_bytes()).await?;
        }
    }
}
