//! One event, one job: how long from the call of `publish` to the first instruction of the function, and where does the time go?

use std::time::{Duration, Instant};

use aiflow::function::{FunctionExecutor, Functions, JobContext};
use aiflow::workflow::{Workflow, on, start_workflow};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::raw::{self, Raw};
use crate::table::{FULL, Pairs, Table, Target, percentile};
use crate::world::{PROJECT, World, job};

/// Short ones, each side first in turn: the time of a flush drifts.
const ROUNDS: usize = 20;
const EVENTS: usize = 100;
/// Between two events, so that the work that follows from one is done when the next one comes.
const PACE: Duration = Duration::from_millis(5);
const P50_MAX: Duration = Duration::from_micros(800);
const P99_MAX: Duration = Duration::from_millis(3);

/// The times of one event, in seconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    total: f64,
    publish: f64,
    wake_and_read: f64,
    decide: f64,
    commit: f64,
    dispatch: f64,
}

type Part = fn(&Times) -> f64;

pub(crate) fn event_to_job(table: &mut Table) {
    let (mut paced, mut busy, mut floor, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    crate::runtime().block_on(async {
        let (sender, mut started) = mpsc::unbounded_channel();
        let functions = Functions::new().register("a", move |_: JobContext, _: Value| {
            // The first instruction of the function.
            let sent = sender.send(Instant::now());
            async move { Ok(sent?) }
        });
        let dir = crate::folder();
        let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "latency".parse().unwrap());
        workflow.jobs.push(job("a", "function"));
        workflow.rules.push(start_workflow(on("go")));
        let executor = FunctionExecutor::new(functions);
        let world = World::start(&dir.path().join("ours.db"), "function", executor, &workflow).await;
        let raw = Raw::create(&dir.path().join("raw.db")).await;
        let raw_rows = Raw::create(&dir.path().join("rows.db")).await;
        raw_rows.begin_decisions();
        for round in 0..ROUNDS {
            let mut floors = || {
                floor.extend((0..EVENTS).map(|_| two_commits(&world, &raw)));
                rows.extend((0..EVENTS).map(|_| event_and_decision(&world, &raw_rows)));
            };
            if round % 2 == 0 {
                floors();
            }
            for (pace, times) in [(PACE, &mut paced), (Duration::ZERO, &mut busy)] {
                for _ in 0..EVENTS {
                    times.push(one(&world, &mut started).await);
                    tokio::time::sleep(pace).await;
                }
            }
            world.probe.wait_ended(paced.len() + busy.len()).await;
            if round % 2 == 1 {
                floors();
            }
        }
        world.stop().await;
    });
    let name = "event to first instruction of its function";
    for (times, what, p50, p99) in [
        (&paced, "an event each 5 ms", Target::Within(P50_MAX), Target::Within(P99_MAX)),
        (&busy, "at once after the last", Target::Info, Target::Info),
    ] {
        for (percent, target) in [(50, p50), (99, p99)] {
            let path = format!("{name}, {what}, p{percent} (floor: two raw commits)");
            add(table, &path, target, percent, times, |times| times.total, &floor);
        }
    }
    for percent in [50, 99] {
        let path = format!("{name}, an event each 5 ms, p{percent} (floor: the same rows, raw)");
        add(table, &path, Target::Info, percent, &paced, |times| times.total, &rows);
    }
    let whole = [percentile(paced.iter().map(|times| times.total), 50)];
    let parts: [(&str, Part); 5] = [
        ("publish", |times| times.publish),
        ("wake and read", |times| times.wake_and_read),
        ("decide and encode", |times| times.decide),
        ("commit of the decision", |times| times.commit),
        ("commit to function", |times| times.dispatch),
    ];
    for (part, time) in parts {
        let path = format!("... of which {part}, p50 (beside it: the whole)");
        add(table, &path, Target::Info, 50, &paced, time, &whole);
    }
}

fn add(
    table: &mut Table,
    path: &str,
    target: Target,
    percent: usize,
    times: &[Times],
    time: fn(&Times) -> f64,
    floor: &[f64],
) {
    let mut pairs = Pairs::default();
    pairs.add(percentile(times.iter().map(time), percent), percentile(floor.iter().copied(), percent));
    table.times(path, FULL, &pairs, target);
}

async fn one(world: &World, started: &mut mpsc::UnboundedReceiver<Instant>) -> Times {
    let event = world.aiflow.event("go").value("batch-7").sender("ingest");
    world.probe.take_commits();
    let begun = Instant::now();
    world.aiflow.publish(event).await.unwrap();
    let published = Instant::now();
    let started = started.recv().await.unwrap();
    // The job is started only after the commit of the decision.
    let commits = world.probe.take_commits();
    let commit = commits.iter().rfind(|commit| commit.ended <= started).unwrap();
    let read_at = commit.read_at.unwrap();
    let span = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    Times {
        total: span(begun, started),
        publish: span(begun, published),
        wake_and_read: span(published, read_at),
        decide: span(read_at, commit.begun),
        commit: span(commit.begun, commit.ended),
        dispatch: span(commit.ended, started),
    }
}

/// The event and what follows from it, each durable before it goes on, without anything else.
fn two_commits(world: &World, raw: &Raw) -> f64 {
    let row = || [raw::row(&world.aiflow.event("go").value("batch-7").sender("ingest"))];
    let (event, decision) = (row(), row());
    let begun = Instant::now();
    raw.append(&event);
    raw.append(&decision);
    begun.elapsed().as_secs_f64()
}

/// The event, and the rows of the decision that follows from it.
fn event_and_decision(world: &World, raw: &Raw) -> f64 {
    let event = raw::row(&world.aiflow.event("go").value("batch-7").sender("ingest"));
    let id = event[0].clone();
    let begun = Instant::now();
    raw.append(&[event]);
    raw.decide(&id);
    begun.elapsed().as_secs_f64()
}
