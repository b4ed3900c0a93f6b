//! Jobs that do nothing: how many a second, from their events to their recorded ends?

use std::time::Instant;

use aiflow::event::NewEvent;
use aiflow::execution::JobStatus;
use aiflow::function::{FunctionExecutor, Functions, JobContext};
use aiflow::workflow::{Workflow, job_status, on, start, start_workflow};
use serde_json::Value;

use crate::raw::{Raw, Volume};
use crate::table::{FULL, Pairs, Table, Target, cpu_seconds, seconds};
use crate::world::{PROJECT, World, control, job};

const ROUNDS: usize = 3;
const EVENTS_AT_ONCE: usize = 256;

pub(crate) fn one_job(table: &mut Table) {
    let path = "no-op function jobs, event to recorded end (floor: the same rows, raw)";
    measure(table, path, &["a"], 20_000, Target::Rate(10_000.0));
}

pub(crate) fn three_steps(table: &mut Table) {
    let path = "workflows of three no-op steps, event to recorded end (floor: the same rows, raw)";
    measure(table, path, &["a", "b", "c"], 6_000, Target::Rate(3_500.0));
}

/// Each job starts when the one before it has succeeded.
fn chain(jobs: &[&str]) -> Workflow {
    let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "noop".parse().unwrap());
    workflow.jobs = jobs.iter().map(|name| job(name, "function")).collect();
    for pair in jobs.windows(2) {
        let before = pair[0].parse().unwrap();
        workflow.control_edges.push(control(pair[1], start(job_status(&before, JobStatus::Succeeded))));
    }
    workflow.rules.push(start_workflow(on("go")));
    workflow
}

fn measure(table: &mut Table, path: &str, jobs: &[&str], count: usize, target: Target) {
    let runtime = crate::runtime();
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let workflow = chain(jobs);
        let (ours, floor) = runtime.block_on(async move { tokio::spawn(round(workflow, count)).await.unwrap() });
        pairs.add(ours, floor);
    }
    table.rates(path, FULL, &pairs, target);
}

async fn round(workflow: Workflow, count: usize) -> (f64, f64) {
    let dir = crate::folder();
    let path = dir.path().join("ours.db");
    let mut functions = Functions::new();
    for job in &workflow.jobs {
        functions = functions.register(job.name.as_str(), |_: JobContext, _: Value| async { Ok(()) });
    }
    let world = World::start(&path, "function", FunctionExecutor::new(functions), &workflow).await;
    let (begun, cpu_before) = (Instant::now(), cpu_seconds());
    let aiflow = world.aiflow.clone();
    let publisher = tokio::spawn(async move {
        let mut rest = count;
        while rest > 0 {
            let batch: Vec<NewEvent> = (0..rest.min(EVENTS_AT_ONCE)).map(|_| aiflow.event("go")).collect();
            rest -= batch.len();
            aiflow.publish_all(batch).await.unwrap();
        }
    });
    world.probe.wait_ended(count).await;
    let (elapsed, cpu) = (begun.elapsed(), cpu_seconds() - cpu_before);
    publisher.await.unwrap();
    let transactions = world.probe.transactions();
    world.stop().await;
    let volume = Raw::open(&path).volume(transactions);
    describe(volume, count, cpu);
    let floor = Raw::create(&dir.path().join("raw.db")).await.replay(volume);
    let rate = |elapsed: std::time::Duration| f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64();
    (rate(elapsed), rate(floor))
}

/// What one workflow execution costs in rows.
fn describe(volume: Volume, count: usize, cpu: f64) {
    let Volume { transactions, events, event_bytes, inserts, updates, body_bytes } = volume;
    let each = |rows: usize| f64::from(u32::try_from(rows).unwrap()) / f64::from(u32::try_from(count).unwrap());
    eprintln!(
        "   each: {:.2} events of {event_bytes} bytes, {:.2} new records and {:.2} changes of {body_bytes} bytes; in all {transactions} transactions; {} of processor time",
        each(events),
        each(inserts),
        each(updates),
        seconds(cpu / f64::from(u32::try_from(count).unwrap())),
    );
}
