//! What does it cost that a process survives its scheduler and starts at most once?
//!
//! Runs `/bin/true` through submit and ending, and in the same rounds plainly through Tokio, with the same number at a time. The figure
//! that does not depend on the machine is the ratio of the two rates. Round by round, so that a busy neighbour disturbs both.
//!
//! `cargo bench -p aiflow-exec-process`. The run directories stay until the end, and `TMPDIR` says where they are: ext4 without a journal
//! makes files 10 to 40 times more slowly while many others were deleted in the last minute, which measures that and nothing else.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and fails loudly"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiflow_core::executor::{Ending, Executor, ExecutorHost, Launch, ReportKind, Reporter};
use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryStore;
use aiflow_core::time::SystemClock;
use aiflow_exec_process::{ProcessExecutor, process};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const JOBS: u32 = 500;
const ROUNDS: u64 = 5;

/// `JOBS` processes by Tokio alone.
async fn plain(at_once: usize) -> Duration {
    let slots = Arc::new(Semaphore::new(at_once));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..JOBS {
        let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
        tasks.spawn(async move {
            let mut command = tokio::process::Command::new("/bin/true");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            assert!(command.status().await.unwrap().success());
            drop(slot);
        });
    }
    while tasks.join_next().await.is_some() {}
    begin.elapsed()
}

/// `JOBS` processes by the executor, from submit to the reported ending.
async fn durable(run_root: PathBuf, at_once: usize, round: u64) -> Duration {
    let executor = Arc::new(ProcessExecutor::new(run_root));
    let clock = Arc::new(SystemClock);
    let store = Arc::new(MemoryStore::new(Arc::<SystemClock>::clone(&clock)));
    let (reporter, mut reports) = Reporter::channel(1000);
    let host = ExecutorHost {
        reporter,
        bus: Arc::<MemoryStore>::clone(&store),
        store,
        clock,
    };
    executor.attach(host).await.unwrap();
    let slots = Arc::new(Semaphore::new(at_once));
    let begin = Instant::now();
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
    let mut n_ended = 0;
    while n_ended < JOBS {
        if let ReportKind::Ended(ending) = reports.recv().await.unwrap().kind {
            assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
            slots.add_permits(1);
            n_ended += 1;
        }
    }
    let elapsed = begin.elapsed();
    submitter.await.unwrap();
    executor.shutdown().await.unwrap();
    elapsed
}

fn launch(round: u64, n: u32) -> Launch {
    Launch {
        attempt: AttemptId::new(JobExecutionId::new(Offset(round + 1), n), 1),
        epoch: 1,
        project: "bench".parse().unwrap(),
        workflow: "bench".parse().unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(1), 0),
        job: "true".parse().unwrap(),
        spec: process(["/bin/true"]).to_spec(),
        params: serde_json::Value::Null,
        events: Vec::new(),
        timeout: None,
        heartbeat_timeout: None,
        stop_grace: Duration::from_secs(10),
    }
}

fn rate(elapsed: Duration) -> f64 {
    f64::from(JOBS) / elapsed.as_secs_f64()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    println!("at once | plain /s | durable /s | ratio (median of {ROUNDS} rounds)");
    for at_once in [1, 8, 16, 32] {
        let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|round| {
                let plain = rate(runtime.block_on(plain(at_once)));
                let run_root = dir.path().join(format!("{at_once}-{round}"));
                (
                    plain,
                    rate(runtime.block_on(durable(run_root, at_once, round))),
                )
            })
            .collect();
        rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (plain, durable) = rounds[rounds.len() / 2];
        println!(
            "{at_once:7} | {plain:8.0} | {durable:10.0} | {:.0} %",
            100.0 * durable / plain
        );
    }
}
