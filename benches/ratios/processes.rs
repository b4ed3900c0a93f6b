//! Processes: what does it cost that a process survives its scheduler and starts at most once?

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiflow::event::NewEvent;
use aiflow::executor::{Ending, Executor as _, ExecutorHost, Launch, ReportKind, Reporter};
use aiflow::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow::memory::MemoryStore;
use aiflow::process::{ProcessExecutor, process};
use aiflow::time::SystemClock;
use aiflow::workflow::{Job, Workflow, on, start_workflow};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::table::{FULL, Pairs, Table, Target};
use crate::world::{PROJECT, World};

const ROUNDS: u64 = 5;
const JOBS: u32 = 400;
/// As many as the scheduler submits at once.
const AT_ONCE: usize = 16;
const TRUE: &str = "/bin/true";

pub(crate) fn processes(table: &mut Table) {
    let (mut alone, mut scheduled) = (Pairs::default(), Pairs::default());
    // Deleted at the end: ext4 looks long for a free inode while many were deleted in the last seconds.
    let dir = crate::folder();
    let runtime = crate::runtime();
    for round in 1..=ROUNDS {
        runtime.block_on(async {
            let floor = rate(tokio::spawn(plain()).await.unwrap());
            alone.add(
                rate(tokio::spawn(by_executor(dir.path().join(format!("executor-{round}")), round)).await.unwrap()),
                floor,
            );
            scheduled.add(
                rate(tokio::spawn(by_scheduler(dir.path().join(format!("scheduler-{round}")))).await.unwrap()),
                floor,
            );
        });
    }
    let floor = format!("(floor: tokio, {AT_ONCE} at once)");
    let durability = "run directories, not flushed";
    table.rates(&format!("{TRUE} through the executor alone {floor}"), durability, &alone, Target::Info);
    table.rates(&format!("{TRUE}, event to recorded end {floor}"), FULL, &scheduled, Target::Share(0.4));
}

fn rate(elapsed: Duration) -> f64 {
    f64::from(JOBS) / elapsed.as_secs_f64()
}

async fn plain() -> Duration {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..JOBS {
        let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
        tasks.spawn(async move {
            let mut command = tokio::process::Command::new(TRUE);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            assert!(command.status().await.unwrap().success());
            drop(slot);
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}

async fn by_executor(dir: PathBuf, round: u64) -> Duration {
    let executor = Arc::new(ProcessExecutor::new(dir.join("runs")));
    let clock = Arc::new(SystemClock);
    let store = Arc::new(MemoryStore::new(Arc::<SystemClock>::clone(&clock)));
    let (reporter, mut reports) = Reporter::channel(1_000);
    let bus = Arc::<MemoryStore>::clone(&store);
    executor.attach(ExecutorHost { reporter, bus, store, clock, epoch: 1 }).await.unwrap();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let begun = Instant::now();
    let submitter = {
        let (executor, slots) = (Arc::clone(&executor), Arc::clone(&slots));
        tokio::spawn(async move {
            for n in 0..JOBS {
                slots.acquire().await.unwrap().forget();
                let executor = Arc::clone(&executor);
                tokio::spawn(async move { executor.submit(launch(round, n)).await.unwrap() });
            }
        })
    };
    let mut ended = 0;
    while ended < JOBS {
        if let ReportKind::Ended(ending) = reports.recv().await.unwrap().kind {
            assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
            slots.add_permits(1);
            ended += 1;
        }
    }
    let elapsed = begun.elapsed();
    submitter.await.unwrap();
    executor.shutdown().await.unwrap();
    elapsed
}

fn launch(round: u64, n: u32) -> Launch {
    Launch {
        attempt: AttemptId::new(JobExecutionId::new(Offset(round), n), 1),
        epoch: 1,
        project: PROJECT.parse().unwrap(),
        workflow: "true".parse().unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(1), 0),
        job: "true".parse().unwrap(),
        spec: process([TRUE]).to_spec(),
        params: serde_json::Value::Null,
        events: Vec::new(),
        timeout: None,
        heartbeat_timeout: None,
        checkpoint: None,
        stop_grace: Duration::from_secs(10),
        ends_with_host: false,
    }
}

async fn by_scheduler(dir: PathBuf) -> Duration {
    let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "true".parse().unwrap());
    workflow.jobs.push(Job::new("true".parse().unwrap(), "process".parse().unwrap(), process([TRUE]).to_spec()));
    workflow.rules.push(start_workflow(on("go")));
    let executor = ProcessExecutor::new(dir.join("runs"));
    let world = World::start(&dir.join("ours.db"), "process", executor, &workflow).await;
    let events: Vec<NewEvent> = (0..JOBS).map(|_| world.aiflow.event("go")).collect();
    let begun = Instant::now();
    world.aiflow.publish_all(events).await.unwrap();
    world.probe.wait_ended(usize::try_from(JOBS).unwrap()).await;
    let elapsed = begun.elapsed();
    world.stop().await;
    elapsed
}
