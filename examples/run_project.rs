//! A project directory: three workflows in YAML, with jobs in Python and shell, are loaded, checked, archived with their code, submitted and run.
//!
//! `cargo run --features project,artifacts --example run_project -- examples/project`. Break a file and run it again to see what is said.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use aiflow::artifacts::ObjectArtifacts;
use aiflow::event::WORKFLOW_STATUS_CHANGED;
use aiflow::prelude::*;
use aiflow::project::{Project, ProjectExecutor, Secrets, Snapshots};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "examples/project".to_owned());
    let data = PathBuf::from(arguments.next().unwrap_or_else(|| "aiflow-data/run_project".to_owned()));
    std::fs::create_dir_all(&data)?;
    let data = data.canonicalize()?;

    let project = match Project::load(&dir) {
        Ok(project) => project,
        Err(problems) => {
            eprint!("{problems}");
            std::process::exit(1);
        }
    };
    print!("{}", project.warnings());
    let file = || format!("sqlite://{}", data.join("aiflow.db").display());
    let aiflow = aiflow::open(&std::env::var("AIFLOW_URL").unwrap_or_else(|_| file())).await?;
    let aiflow = aiflow.project(project.name().as_str())?;
    let snapshots = Snapshots::local(data.join("snapshots"), data.join("unpacked"))?;
    // Where jobs leave what they make, and find what others made.
    let artifacts = ObjectArtifacts::folder(data.join("artifacts"))?;
    let executor = ProjectExecutor::new(ProcessExecutor::new(data.join("runs")).artifact_store(artifacts))
        .snapshots(snapshots.clone())
        .secrets(Secrets::of_process("SECRET_"));
    let scheduler = aiflow.scheduler().executor("process", executor).start()?;

    for done in project.submit_snapshot(&aiflow, &snapshots).await? {
        let what = if done.is_new { "submitted" } else { "unchanged" };
        let snapshot = done.snapshot.map(|id| format!(", with the files {id:.12}")).unwrap_or_default();
        println!("workflow {} is version {}, {what}{snapshot}", done.workflow, done.version);
    }
    run(&aiflow).await?;
    Ok(scheduler.shutdown().await?)
}

/// Plays the part of the world around the three workflows: it starts one by hand, and tells another of new samples.
async fn run(aiflow: &AiFlow) -> Result<(), Box<dyn std::error::Error>> {
    let by_hand = aiflow.start("status_rules", Value::Null).await?;
    let mut events = aiflow.listen(EventFilter::all().namespace(aiflow.project_name().as_str()), by_hand.cause);
    aiflow.publish(aiflow.event("samples").value("first")).await?;
    let (mut models, mut n_ticks, mut ended) = (BTreeSet::new(), 0, BTreeSet::new());
    while n_ticks < 2 || !ended.contains("status_rules") || !ended.contains("online_training") {
        let event = events.next().await?;
        match event.key.as_str() {
            "counted" | "report" | "model_trained" => println!("{}: {}", event.key, event.value),
            "tick" => {
                n_ticks += 1;
                println!("tick: {}", event.value);
            }
            "predicted" if models.insert(event.value["model"].to_string()) => {
                println!("predicted with model {}: {}", models.len(), event.value["temperature"]);
                let next = if models.len() == 1 { "more" } else { "enough" };
                aiflow.publish(aiflow.event("samples").value(next)).await?;
            }
            _ if event.event_type == WORKFLOW_STATUS_CHANGED && event.value != "RUNNING" => {
                if event.key != "periodic" {
                    println!("workflow {}: {}", event.key, event.value.as_str().unwrap_or_default());
                }
                if event.value != "STOPPING" {
                    ended.insert(event.key.clone());
                }
            }
            _ => {}
        }
    }
    Ok(())
}
