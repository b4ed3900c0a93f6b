//! Large workflows and many timers: does a job cost the same beside ten others and beside ten thousand, and is a timer late among many?

use std::time::{Duration, Instant};

use aiflow::execution::JobStatus;
use aiflow::function::{FunctionExecutor, Functions, JobContext};
use aiflow::id::JobName;
use aiflow::time::{Clock as _, SystemClock, Timestamp};
use aiflow::workflow::{Workflow, WorkflowRule, absent, job_status, on, start, start_workflow};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::table::{FULL, Table, percentile};
use crate::world::{PROJECT, World, control, job};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
const TIMERS: usize = 100_000;
/// The timers that are watched: they come one after the other among all the others.
const WATCHED: usize = 100;
const BETWEEN: Duration = Duration::from_millis(50);
const LATE_MAX: Duration = Duration::from_millis(10);

fn functions() -> FunctionExecutor {
    FunctionExecutor::new(Functions::new().register("noop", |_: JobContext, _: Value| async { Ok(()) }))
}

fn noop(name: &str) -> aiflow::workflow::Job {
    let mut job = job("noop", "function");
    job.name = name.parse().unwrap();
    job
}

/// One job, and all the others after it.
fn fan_out(jobs: usize) -> Workflow {
    let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "shape".parse().unwrap());
    workflow.jobs.push(noop("first"));
    let first: JobName = "first".parse().unwrap();
    for n in 1..jobs {
        let name = format!("job-{n}");
        workflow.jobs.push(noop(&name));
        workflow.control_edges.push(control(&name, start(job_status(&first, JobStatus::Succeeded))));
    }
    workflow
}

/// Each job after the one before it.
fn chain(jobs: usize) -> Workflow {
    let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "shape".parse().unwrap());
    for n in 0..jobs {
        let name = format!("job-{n}");
        workflow.jobs.push(noop(&name));
        if n > 0 {
            let before: JobName = format!("job-{}", n - 1).parse().unwrap();
            workflow.control_edges.push(control(&name, start(job_status(&before, JobStatus::Succeeded))));
        }
    }
    workflow
}

pub(crate) fn large_workflows(table: &mut Table) {
    for (what, shape) in [("fan-out", fan_out as fn(usize) -> Workflow), ("chain", chain)] {
        let mut costs = Vec::new();
        for jobs in SIZES {
            let cost = crate::runtime().block_on(async move { tokio::spawn(run(shape(jobs))).await.unwrap() });
            eprintln!("   {what} of {jobs}: {cost:.1?}");
            costs.push(cost.as_secs_f64() * 1e6 / f64::from(u32::try_from(jobs).unwrap()));
        }
        let shown: Vec<String> = costs.iter().map(|cost| format!("{cost:.0}")).collect();
        let growth = costs[2] / costs[0];
        let title = format!("{what} of 100 / 1,000 / 10,000 no-op jobs, time per job");
        table.plain(&title, FULL, &format!("{} us", shown.join(" / ")), "constant", Some(growth < 2.0));
    }
}

async fn run(workflow: Workflow) -> Duration {
    let dir = crate::folder();
    let world = World::start(&dir.path().join("ours.db"), "function", functions(), &workflow).await;
    let begun = Instant::now();
    let execution = world.aiflow.start("shape", Value::Null).await.unwrap();
    world.aiflow.wait(execution).await.unwrap();
    let elapsed = begun.elapsed();
    world.stop().await;
    elapsed
}

/// Absences that are due one after the other, among many that are not due for an hour.
pub(crate) fn timers(table: &mut Table) {
    let late = crate::runtime().block_on(async move { tokio::spawn(lateness()).await.unwrap() });
    let title = format!("{TIMERS} waiting timers: from due to the first instruction of the job, 50 ms apart");
    let (p50, p99) = (percentile(late.iter().copied(), 50), percentile(late.iter().copied(), 99));
    let shown = format!("p50 {:.1} ms, p99 {:.1} ms", p50 * 1e3, p99 * 1e3);
    table.plain(&title, FULL, &shown, "10 ms (p99)", Some(p99 < LATE_MAX.as_secs_f64()));
}

async fn lateness() -> Vec<f64> {
    const PER_WORKFLOW: usize = 1_000;
    let dir = crate::folder();
    let (sender, mut started) = mpsc::unbounded_channel();
    let watched = Functions::new().register("noop", move |_: JobContext, _: Value| {
        let sent = sender.send(SystemClock.now());
        async move { Ok(sent?) }
    });
    let rules = |from: usize, due: &dyn Fn(usize) -> Duration| -> Vec<WorkflowRule> {
        (from..from + PER_WORKFLOW).map(|n| start_workflow(absent(on(format!("sign-{n}").as_str()), due(n)))).collect()
    };
    let hour = |_: usize| Duration::from_secs(3600);
    let waiting = |n: usize| {
        let mut workflow = Workflow::new(PROJECT.parse().unwrap(), format!("waits-{n}").parse().unwrap());
        workflow.jobs.push(noop("a"));
        workflow.rules = rules(n * PER_WORKFLOW, &hour);
        workflow
    };
    let world =
        World::start(&dir.path().join("ours.db"), "function", FunctionExecutor::new(watched), &waiting(0)).await;
    for n in 1..TIMERS / PER_WORKFLOW {
        world.aiflow.submit(&waiting(n)).await.unwrap();
    }
    let mut soon = Workflow::new(PROJECT.parse().unwrap(), "soon".parse().unwrap());
    soon.jobs.push(noop("a"));
    let watch = |n: u32| start_workflow(absent(on(format!("watched-{n}").as_str()), BETWEEN * (n + 10)));
    soon.rules = (0..u32::try_from(WATCHED).unwrap()).map(watch).collect();
    world.scheduler.wait_applied(world.aiflow.head().await.unwrap()).await.unwrap();
    world.aiflow.submit(&soon).await.unwrap();
    let state = loop {
        if let Some(state) = world.aiflow.workflow("soon").await.unwrap() {
            break state;
        }
        tokio::task::yield_now().await;
    };
    let mut due: Vec<Timestamp> = state.rules.values().filter_map(|rule| Some(rule.alarm()?.due)).collect();
    due.sort_unstable();
    let mut late = Vec::new();
    for due in due {
        let at: Timestamp = started.recv().await.unwrap();
        late.push(at.since(due).as_secs_f64());
    }
    world.stop().await;
    late
}
