//! Kills a real scheduler process at random moments while events flow and jobs run, and then checks that nothing was lost or done twice.
//!
//! `cargo test --test kill_loop -- --kills 1000` runs longer. The host that is killed is this program again, with `host <folder>` as its
//! arguments. Every event starts an execution of two workflows: one of a process, which survives the host, and one of a function, which dies
//! with it. Each attempt appends a line to a file when it starts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test program talks to its user and fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiflow::execution::{JobExecution, WorkflowExecution};
use aiflow::executor::Ending;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow_testkit::rng::Rng;
use serde_json::Value;

const KILLS_DEFAULT: usize = 50;
/// Events published while the hosts are killed, for each kill.
const EVENTS_PER_KILL: u64 = 4;
/// How long the last host may take to finish what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.first().is_some_and(|first| first == "host") {
        runtime.block_on(host(Path::new(&arguments[1])));
        return;
    }
    let kills = arguments.iter().position(|argument| argument == "--kills");
    let kills = kills.map_or(KILLS_DEFAULT, |at| arguments[at + 1].parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let seed = u64::from(std::process::id());
    let report = runtime.block_on(kill_loop(folder.path(), kills, seed));
    println!("kill loop: {kills} kills in {:.1?}, seed {seed}: {report}", started.elapsed());
}

async fn open(folder: &Path) -> AiFlow {
    let url = format!("sqlite://{}", folder.join("aiflow.db").display());
    aiflow::open(&url).await.unwrap().project("kill").unwrap()
}

/// A scheduler that runs until it is killed.
async fn host(folder: &Path) {
    let aiflow = open(folder).await;
    let starts = folder.join("starts");
    let functions = Functions::new().register("work", move |ctx: JobContext, _: Value| {
        let starts = starts.clone();
        async move {
            note_start(&starts, &ctx.attempt().to_string());
            tokio::time::sleep(Duration::from_millis(3)).await;
            Ok::<_, JobError>(())
        }
    });
    for workflow in [process_workflow(folder), function_workflow()] {
        aiflow.submit(&workflow.translate().unwrap()).await.unwrap();
    }
    let scheduler = aiflow
        .scheduler()
        .executor("process", ProcessExecutor::new(folder.join("runs")))
        .executor("function", FunctionExecutor::new(functions))
        .start()
        .unwrap();
    scheduler.wait_leading().await.unwrap();
    fs::write(folder.join("leading"), "").unwrap();
    std::future::pending::<()>().await;
}

/// The exit code of each job is a function of its event, so that a lost or mixed-up code shows.
fn process_workflow(folder: &Path) -> AiGraph {
    let script = format!(
        "echo $AIFLOW_ATTEMPT_ID >> {starts}; n=$(sed -n 's/.*\"value\":\\([0-9]*\\).*/\\1/p' $AIFLOW_TRIGGER | head -n 1); \
         sleep 0.0$((n % 7)); exit $((n % 5))",
        starts = folder.join("starts").display()
    );
    let mut graph = AiGraph::new("kill", "processes");
    graph.node("job", shell(script));
    graph.rule(start_workflow(on("go")));
    graph
}

fn function_workflow() -> AiGraph {
    let mut graph = AiGraph::new("kill", "functions");
    graph.node("job", function("work"));
    graph.rule(start_workflow(on("go")));
    graph
}

fn note_start(path: &Path, attempt: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{attempt}\n").as_bytes()).unwrap();
}

async fn kill_loop(folder: &Path, kills: usize, seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut host = spawn(folder);
    wait_for_file(&folder.join("leading"));
    let aiflow = open(folder).await;
    let mut acked = BTreeMap::new();
    let mut next = 0;
    for _ in 0..kills {
        for _ in 0..EVENTS_PER_KILL {
            let event = aiflow.event("go").id(format!("go-{next}")).value(next);
            acked.insert(aiflow.publish(event).await.unwrap(), next);
            next += 1;
            tokio::time::sleep(Duration::from_millis(rng.below(40))).await;
        }
        host.kill().unwrap();
        host.wait().unwrap();
        host = spawn(folder);
    }
    let report = finish(&aiflow, folder, &acked).await;
    host.kill().unwrap();
    host.wait().unwrap();
    report
}

fn spawn(folder: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program).arg("host").arg(folder).stdin(Stdio::null()).spawn().unwrap()
}

fn wait_for_file(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < FINISH_WITHIN, "the first host does not come to lead");
        std::thread::yield_now();
    }
}

/// Waits until every execution has ended, then checks the store against what was acknowledged and what started.
async fn finish(aiflow: &AiFlow, folder: &Path, acked: &BTreeMap<Offset, u64>) -> String {
    let started = Instant::now();
    let expected = acked.len();
    let filter = EventFilter::all().event_type(aiflow::event::WORKFLOW_STATUS_CHANGED);
    let mut changes = aiflow.listen(filter, Offset::START);
    let mut ended = BTreeSet::new();
    while ended.len() < expected * 2 {
        let left = FINISH_WITHIN.saturating_sub(started.elapsed());
        let change = tokio::time::timeout(left, changes.next()).await;
        let change = change.unwrap_or_else(|_| panic!("{} of {} executions ended", ended.len(), expected * 2)).unwrap();
        if change.value != "RUNNING" && change.value != "STOPPING" {
            ended.insert(change.context.workflow_execution.unwrap());
        }
    }
    let starts = fs::read_to_string(folder.join("starts")).unwrap();
    let mut lines: Vec<&str> = starts.lines().collect();
    let n_starts = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), n_starts, "an attempt started twice");
    let (mut lost, mut n_jobs) = (0, 0);
    for workflow in ["processes", "functions"] {
        let executions: Vec<WorkflowExecution> = aiflow.executions(workflow, expected + 1).await.unwrap();
        let causes: BTreeSet<Offset> = executions.iter().map(|execution| execution.cause.events[0]).collect();
        assert_eq!(executions.len(), expected, "{workflow}: one execution an event");
        assert!(causes.iter().eq(acked.keys()), "{workflow}: an event was not applied, or applied twice");
        for execution in executions {
            let jobs = aiflow.job_executions(execution.id).await.unwrap();
            assert_eq!(jobs.len(), 1, "{workflow} {}", execution.id);
            n_jobs += 1;
            lost += check_job(workflow, &jobs[0], acked[&execution.cause.events[0]], &lines);
        }
    }
    assert_eq!(aiflow.dead_letters(1).await.unwrap().len(), 0, "a dead letter");
    format!(
        "{expected} events, {n_jobs} jobs, {n_starts} starts, {lost} attempts lost with their host, nothing lost or done twice"
    )
}

fn check_job(workflow: &str, job: &JobExecution, value: u64, starts: &[&str]) -> u32 {
    let attempt = job.attempt_id().to_string();
    assert!(starts.binary_search(&attempt.as_str()).is_ok(), "{workflow} {attempt} ended and never started");
    if workflow == "functions" {
        assert!(matches!(job.ending, Some(Ending::Succeeded { .. })), "{workflow} {attempt}: {:?}", job.ending);
        return job.losses;
    }
    assert_eq!(job.attempt, 1, "{workflow} {attempt}: a process was lost");
    let code = match &job.ending {
        Some(Ending::Succeeded { .. }) => 0,
        Some(Ending::Failed { exit_code: Some(code), .. }) => *code,
        other => panic!("{workflow} {attempt}: {other:?}"),
    };
    assert_eq!(u64::try_from(code).unwrap(), value % 5, "{workflow} {attempt}: another exit code");
    0
}
