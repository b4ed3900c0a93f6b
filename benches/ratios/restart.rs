//! A restart: how long until a scheduler that takes over 10,000 live executions decides again?

use std::path::Path;
use std::time::{Duration, Instant};

use aiflow::event::NewEvent;
use aiflow::execution::{KIND_JOB_EXECUTION, KIND_WORKFLOW_EXECUTION};
use aiflow::function::{FunctionExecutor, Functions, JobContext};
use aiflow::workflow::{Workflow, on, start, start_workflow};
use serde_json::Value;

use crate::raw::Raw;
use crate::table::{FULL, Pairs, Table, Target};
use crate::world::{PROJECT, World, control, job, open};

const ROUNDS: usize = 3;
const EXECUTIONS: usize = 10_000;
const EVENTS_AT_ONCE: usize = 1_000;

pub(crate) fn restart(table: &mut Table) {
    let mut waiting = Workflow::new(PROJECT.parse().unwrap(), "live".parse().unwrap());
    waiting.jobs.push(job("a", "function"));
    waiting.rules.push(start_workflow(on("go")));
    let running = waiting.clone();
    waiting.control_edges.push(control("a", start(on("never"))));
    for (workflow, what) in [(waiting, "that wait"), (running, "with a lost function job each")] {
        let pairs = crate::runtime().block_on(async move { tokio::spawn(rounds(workflow)).await.unwrap() });
        let path = format!("restart to leading with {EXECUTIONS} executions {what} (floor: read their records raw)");
        table.times(&path, FULL, &pairs, Target::Within(Duration::from_secs(1)));
    }
}

/// Runs until it is told to stop.
fn executor() -> FunctionExecutor {
    let functions = Functions::new().register("a", |job: JobContext, _: Value| async move {
        job.cancelled().await;
        Ok(())
    });
    FunctionExecutor::new(functions)
}

async fn rounds(workflow: Workflow) -> Pairs {
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let dir = crate::folder();
        let path = dir.path().join("ours.db");
        populate(&path, &workflow).await;
        let aiflow = open(&path).await;
        let begun = Instant::now();
        let scheduler = aiflow.scheduler().executor("function", executor()).start().unwrap();
        scheduler.wait_leading().await.unwrap();
        let elapsed = begun.elapsed();
        let floor = read(&path);
        scheduler.shutdown().await.unwrap();
        aiflow.store().close().await.unwrap();
        pairs.add(elapsed.as_secs_f64(), floor.as_secs_f64());
    }
    pairs
}

async fn populate(path: &Path, workflow: &Workflow) {
    let world = World::start(path, "function", executor(), workflow).await;
    for _ in 0..EXECUTIONS / EVENTS_AT_ONCE {
        let events: Vec<NewEvent> = (0..EVENTS_AT_ONCE).map(|_| world.aiflow.event("go")).collect();
        let offsets = world.aiflow.publish_all(events).await.unwrap();
        world.scheduler.wait_applied(*offsets.last().unwrap()).await.unwrap();
    }
    world.stop().await;
}

fn read(path: &Path) -> Duration {
    let raw = Raw::open(path);
    let begun = Instant::now();
    let bodies: usize = [KIND_WORKFLOW_EXECUTION, KIND_JOB_EXECUTION].iter().map(|kind| raw.bodies(kind).len()).sum();
    assert!(bodies >= EXECUTIONS);
    begun.elapsed()
}
