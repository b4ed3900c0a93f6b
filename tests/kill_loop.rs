//! Kills a real scheduler process at random moments while events flow and jobs run, and then checks that nothing was lost or done twice: on
//! SQLite, and with the feature `redis` on a Redis that is killed as well, with hosts that stand still and come
//! back after another has led.
//!
//! `cargo test --test kill_loop -- --kills 1000` runs longer. The host that is killed is this program again, with `host <folder> <URL>` as its
//! arguments. Every event starts an execution of two workflows: one of a process, which survives the host, and one of a function, which dies
//! with it. Each attempt appends a line to a file when it starts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test program talks to its user and fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiflow::Retry;
use aiflow::execution::{JobExecution, WorkflowExecution};
use aiflow::executor::Ending;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow_testkit::redis_server::RedisServer;
use aiflow_testkit::rng::Rng;
use serde_json::Value;

const KILLS_DEFAULT: usize = 50;
/// Events published while the hosts are killed, for each kill.
const EVENTS_PER_KILL: u64 = 4;
/// The longest pause between two events, in milliseconds: without and with a Redis, where a takeover takes its time.
const PAUSES: [u64; 2] = [40, 240];
/// The longest time from the last event to the kill, in milliseconds.
const KILL_AFTER: u64 = 20;
const LEASE: Duration = Duration::from_millis(150);
/// How long the last host may take to finish what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.first().is_some_and(|first| first == "host") {
        runtime.block_on(host(Path::new(&arguments[1]), &arguments[2]));
        return;
    }
    let kills = arguments.iter().position(|argument| argument == "--kills");
    let kills = kills.map_or(KILLS_DEFAULT, |at| arguments[at + 1].parse().unwrap());
    let seed = u64::from(std::process::id());
    let run = |name: &str, folder: &Path, world: World| {
        let started = Instant::now();
        let report = runtime.block_on(kill_loop(folder, world, kills, seed));
        println!("kill loop on {name}: {kills} kills in {:.1?}, seed {seed}: {report}", started.elapsed());
    };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("aiflow.db").display());
    run("SQLite", folder.path(), World { url, redis: None });
    if cfg!(feature = "redis") {
        let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start());
        let url = format!("{}?persistence=always", redis.url());
        run("Redis", folder.path(), World { url, redis: Some(redis) });
        let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start());
        let file = folder.path().join("aiflow.db");
        let url = format!("sqlite://{} {}?persistence=always", file.display(), redis.url());
        run("SQLite with a log on Redis", folder.path(), World { url, redis: Some(redis) });
    }
}

/// Where everything is kept, and the server that keeps it, if it can be killed. Two URLs with a space between them are those of a store and a log.
struct World {
    url: String,
    redis: Option<RedisServer>,
}

async fn open_both(urls: &str) -> aiflow::Result<AiFlow> {
    match urls.split_once(' ') {
        Some((store, log)) => aiflow::open_with_log(store, log).await,
        None => aiflow::open(urls).await,
    }
}

async fn open(url: &str) -> AiFlow {
    open_both(url).await.unwrap().project("kill").unwrap()
}

/// A scheduler that runs until it is killed.
async fn host(folder: &Path, url: &str) {
    let aiflow = open_at_last(url).await;
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
        let workflow = workflow.translate().unwrap();
        while let Err(error) = aiflow.submit(&workflow).await {
            assert_ne!(error.retry(), Retry::Never, "{error:?}");
        }
    }
    // Without a lock file that is free at once, the next host leads when the lease of the last one has run out.
    let settings = Settings {
        lease_ttl: LEASE,
        standby_poll: Duration::from_millis(20),
        backoff_max: LEASE,
        ..Settings::default()
    };
    let scheduler = aiflow
        .scheduler()
        .settings(settings)
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

async fn kill_loop(folder: &Path, mut world: World, kills: usize, seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut host = spawn(folder, &world.url);
    wait_for_file(&folder.join("leading"));
    let aiflow = open(&world.url).await;
    let mut acked = BTreeMap::new();
    let mut next = 0;
    let mut stopped: Option<Host> = None;
    for _ in 0..kills {
        // One that stood still while another led goes on, and finds that it leads no more.
        if let Some(stopped) = &stopped {
            signal(stopped, "CONT");
        }
        for _ in 0..EVENTS_PER_KILL {
            let pause = PAUSES[usize::from(world.redis.is_some())];
            tokio::time::sleep(Duration::from_millis(rng.below(pause))).await;
            acked.insert(publish(&aiflow, next).await, next);
            next += 1;
        }
        // Soon after an event, while what follows from it is under way.
        tokio::time::sleep(Duration::from_millis(rng.below(KILL_AFTER))).await;
        drop(stopped.take());
        // The host, the server under it, or both at once; or the host stands still until the next has led for a while.
        let choice = if world.redis.is_some() { rng.below(4) } else { 0 };
        if choice == 3 {
            signal(&host, "STOP");
            stopped = Some(std::mem::replace(&mut host, spawn(folder, &world.url)));
            tokio::time::sleep(LEASE * 2).await;
            continue;
        }
        if let Some(redis) = world.redis.as_mut().filter(|_| choice != 0) {
            redis.kill();
        }
        if choice != 1 {
            // The old one is dead before the new one starts.
            host.0.kill().unwrap();
            host.0.wait().unwrap();
            host = spawn(folder, &world.url);
        }
        if let Some(redis) = world.redis.as_mut().filter(|_| choice != 0) {
            redis.restart();
        }
    }
    drop(stopped);
    let report = finish(&aiflow, folder, &acked).await;
    drop(host);
    report
}

/// Publishes an event, whatever it takes: its id makes the repetition harmless.
async fn publish(aiflow: &AiFlow, n: u64) -> Offset {
    loop {
        match aiflow.publish(aiflow.event("go").id(format!("go-{n}")).value(n)).await {
            Ok(offset) => return offset,
            Err(error) => assert_ne!(error.retry(), Retry::Never, "{error:?}"),
        }
    }
}

/// Opens as soon as the server is there.
async fn open_at_last(url: &str) -> AiFlow {
    loop {
        match open_both(url).await {
            Ok(aiflow) => return aiflow.project("kill").unwrap(),
            Err(error) => assert_ne!(error.retry(), Retry::Never, "{error:?}"),
        }
    }
}

/// A host that is killed when it is forgotten, also by a test that fails.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended by itself, which the test notices elsewhere.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(host: &Host, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(host.0.id().to_string()).status();
    assert!(sent.unwrap().success());
}

fn spawn(folder: &Path, url: &str) -> Host {
    let program = std::env::current_exe().unwrap();
    Host(Command::new(program).arg("host").arg(folder).arg(url).stdin(Stdio::null()).spawn().unwrap())
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
    assert_eq!(job.attempt, 1, "{attempt}: a process was lost");
    let code = match &job.ending {
        Some(Ending::Succeeded { .. }) => 0,
        Some(Ending::Failed { exit_code: Some(code), .. }) => *code,
        other => panic!("{workflow} {attempt}: {other:?}"),
    };
    assert_eq!(u64::try_from(code).unwrap(), value % 5, "{workflow} {attempt}: another exit code");
    0
}
