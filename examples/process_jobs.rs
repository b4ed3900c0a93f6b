//! Jobs in any language: a Python producer that never ends streams rows of a real CSV file as events; each event starts a shell job that
//! computes something from it, again and again; when that job has seen enough, a rule stops the producer.
//!
//! `cargo run --release --example process_jobs`. The jobs are processes of their own: kill this program, and they go on; the next run finds
//! them and every exit code.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use aiflow::event::JOB_STATUS_CHANGED;
use aiflow::prelude::*;
use aiflow::workflow::Completion;
use serde_json::{Value, json};

#[path = "wine/data.rs"]
mod data;

/// Appends one event for every forty rows of the file to the file named by AIFLOW_EVENTS, one JSON line each, for ever.
const PRODUCER: &str = r#"
import json, os, time
rows = open(json.loads(os.environ["AIFLOW_PARAMS"])["csv"]).read().split()
batch = 0
while True:
    batch += 1
    first = (batch - 1) * 40 % len(rows)
    with open(os.environ["AIFLOW_EVENTS"], "a") as events:
        events.write(json.dumps({"key": "rows", "value": {"batch": batch, "rows": rows[first:first + 40]}}) + "\n")
    time.sleep(0.3)
"#;

/// The mean alcohol of the rows in the event that started it; after five of them it says that this is enough.
const SUMMARISE: &str = r#"
means=$(tr -c '0-9.,' '\n' < "$AIFLOW_TRIGGER" | awk -F, 'NF == 12 { n++; sum += $11 } END { printf "%.3f", sum / n }')
echo "$means" >> means.txt
echo "{\"key\": \"mean_alcohol\", \"value\": $means}" >> "$AIFLOW_EVENTS"
if [ "$(wc -l < means.txt)" -ge 5 ]; then echo '{"key": "enough"}' >> "$AIFLOW_EVENTS"; fi
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = data::folder("process_jobs");
    let aiflow = aiflow::open(&data::url("process_jobs")).await?.project("wine")?;
    let csv = data::write_samples(&folder, 1)?;
    let _ = std::fs::remove_file(folder.join("means.txt"));

    let mut graph = AiGraph::new("wine", "means");
    graph.params(json!({ "csv": csv }));
    graph.node("producer", process(["python3", "-c", PRODUCER]).node().streaming());
    graph.node("summarise", shell(SUMMARISE).cwd(&folder).node());
    graph.control("summarise", start(on("rows")));
    graph.control("producer", stop(on("enough")));
    // No rule starts the producer, so it starts with the execution, which ends when nothing is left to run.
    graph.completion(Completion::Idle);
    aiflow.submit(&graph.translate()?).await?;

    let scheduler = aiflow.scheduler().executor("process", ProcessExecutor::new(folder.join("runs"))).start()?;
    let execution = aiflow.start("means", Value::Null).await?;
    let mut events = aiflow.listen(EventFilter::all().namespace("wine"), execution.cause);
    loop {
        let event = events.next().await?;
        match event.event_type.as_str() {
            JOB_STATUS_CHANGED => {
                println!("{:>4}  {:<10} {}", event.offset, event.sender, event.value)
            }
            _ if event.key == "mean_alcohol" => {
                println!("{:>4}  mean alcohol of these rows: {}", event.offset, event.value)
            }
            _ if event.key == "enough" => {
                println!("{:>4}  enough: the rule stops the producer", event.offset)
            }
            aiflow::event::WORKFLOW_STATUS_CHANGED if event.value != "RUNNING" => break,
            _ => {}
        }
    }
    let ended = aiflow.wait(execution).await?;
    println!("workflow execution {execution}: {}", ended.status);
    Ok(scheduler.shutdown().await?)
}
