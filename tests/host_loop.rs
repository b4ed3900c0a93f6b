//! Kills real processes of several hosts at random moments, and the leader among them, while events flow and jobs run on all of them: on SQLite,
//! and with the feature `redis` on Redis. Then checks that every event had its effect once, that no attempt started twice or where it
//! may not, that no host had more than it takes, and that no process of a dead host runs on beside the attempt that replaces it.
//!
//! `cargo test --test host_loop -- --kills 200` runs longer. What is killed is this program again: a leader that runs nothing, and hosts,
//! two of which have the same name. A host may also stand still until it was taken for lost, and then go on.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test program talks to its user and fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use aiflow::Retry;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow_testkit::redis_server::RedisServer;
use aiflow_testkit::rng::Rng;
use serde_json::Value;

const KILLS_DEFAULT: usize = 25;
const EVENTS_PER_KILL: u64 = 4;
/// The longest pause between two events, in milliseconds.
const PAUSE: u64 = 40;
const LEASE: Duration = Duration::from_millis(300);
/// That of processes whose names begin with [`PATIENT`]: a busy machine does not make the next host late, so that just one attempt is lost.
const LONG_LEASE: Duration = Duration::from_secs(2);
const PATIENT: &str = "patient-";
/// How many attempts each host takes at a time.
const CAPACITY: u32 = 2;
/// Name and label of each host; the leader is none.
const HOSTS: [(&str, &str); 3] = [("ada", ""), ("ada", ""), ("bob", "gpu")];
/// How long those that are left may take to finish what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(120);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let [role, folder, url] = &arguments[..]
        && role != "--kills"
    {
        return runtime.block_on(host(role, Path::new(folder), url));
    }
    let kills = arguments.iter().position(|argument| argument == "--kills");
    let kills = kills.map_or(KILLS_DEFAULT, |at| arguments[at + 1].parse().unwrap());
    let seed = u64::from(std::process::id());
    let run = |name: &str, url: &str, folder: &Path| {
        let started = Instant::now();
        runtime.block_on(orphan(folder, url));
        let report = runtime.block_on(host_loop(folder, url, kills, seed));
        println!("host loop on {name}: {kills} kills in {:.1?}, seed {seed}: {report}", started.elapsed());
    };
    let folder = tempfile::tempdir().unwrap();
    run("SQLite", &format!("sqlite://{}", folder.path().join("aiflow.db").display()), folder.path());
    if cfg!(feature = "redis") {
        let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start());
        run("Redis", &redis.url(), folder.path());
    }
}

async fn open(url: &str) -> AiFlow {
    aiflow::open(url).await.unwrap().project("hosts").unwrap()
}

/// One process: the leader that runs nothing, or the host of this number. It runs until it is killed.
async fn host(role: &str, folder: &Path, url: &str) {
    let (role, lease) = role.strip_prefix(PATIENT).map_or((role, LEASE), |role| (role, LONG_LEASE));
    let settings = Settings {
        lease_ttl: lease,
        standby_poll: Duration::from_millis(20),
        backoff_max: LEASE,
        ..Settings::default()
    };
    let scheduler = open(url).await.scheduler().settings(settings);
    let scheduler = match role.parse::<usize>() {
        Err(_) => scheduler,
        Ok(number) => {
            let (name, label) = HOSTS[number];
            let host = Host::named(name).executor("function", CAPACITY).executor("process", CAPACITY);
            let host = if label.is_empty() { host } else { host.label(label) };
            // All hosts of this machine share a folder.
            let scheduler = scheduler.executor("process", ProcessExecutor::new(folder.join("runs")));
            scheduler.executor("function", FunctionExecutor::new(functions(folder, label))).host(host)
        }
    };
    let scheduler = scheduler.start().unwrap();
    let error = scheduler.wait_applied(Offset(u64::MAX)).await;
    panic!("a scheduler ended by itself: {error:?} {:?}", scheduler.status());
}

/// Each attempt writes a line when it starts, with the labels of its host, and one more if too many run here.
fn functions(folder: &Path, label: &str) -> Functions {
    let (starts, label, running) = (folder.join("starts"), label.to_owned(), Arc::new(AtomicU32::new(0)));
    Functions::new().register("work", move |ctx: JobContext, _: Value| {
        let (starts, label, running) = (starts.clone(), label.clone(), Arc::clone(&running));
        async move {
            if running.fetch_add(1, SeqCst) >= CAPACITY {
                note(&starts, "too many");
            }
            // Dropped also when it is killed.
            let _here = OneLess(running);
            note(&starts, &format!("{} [{label}]", ctx.attempt()));
            tokio::time::sleep(Duration::from_millis(15)).await;
            Ok::<_, JobError>(())
        }
    })
}

struct OneLess(Arc<AtomicU32>);

impl Drop for OneLess {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn note(path: &Path, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A process that says so if the one that the last attempt left in `last` still runs.
fn says_if_alive(last: &str, what: &str) -> String {
    format!(
        "p=$(cat {last} 2>/dev/null) && grep -q '^State:[[:space:]]*[^ZX[:space:]]' /proc/$p/status 2>/dev/null && {what}"
    )
}

/// Each attempt writes a line when it starts, and one if the last attempt of its job still runs.
fn process_workflow(folder: &Path) -> AiGraph {
    let folder = folder.display();
    let last = format!("{folder}/last-$AIFLOW_JOB_EXECUTION");
    let beside = says_if_alive(&last, &format!("echo $AIFLOW_ATTEMPT_ID >>{folder}/beside"));
    let script = format!("{beside}; echo $$ >{last}; echo $AIFLOW_ATTEMPT_ID >>{folder}/processes; sleep 0.05");
    let mut graph = AiGraph::new("hosts", "process");
    graph.node("job", shell(script));
    graph.rule(start_workflow(on("go")));
    graph
}

/// A host is killed while a process runs that would never end: the process is gone before the attempt is repeated on the next host.
async fn orphan(folder: &Path, url: &str) {
    let aiflow = open(url).await;
    let first = folder.join("first");
    let is_alive = says_if_alive(&first.display().to_string(), "exit 7");
    let again = format!("[ -e {} ] && {{ {is_alive}; exit 0; }}", first.display());
    let mut graph = AiGraph::new("hosts", "orphan");
    graph.node("job", shell(format!("{again}; echo $$ >{}; while :; do sleep 1000; done", first.display())));
    graph.rule(start_workflow(on("begin")));
    aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    let start = |role: &str| Running::start(&format!("{PATIENT}{role}"), folder, url);
    let (_leader, host) = (start("leader"), start("0"));
    aiflow.publish(aiflow.event("begin")).await.unwrap();
    let started = Instant::now();
    while !fs::read_to_string(&first).is_ok_and(|pid| pid.ends_with('\n')) {
        assert!(started.elapsed() < FINISH_WITHIN, "the process does not start");
        std::thread::yield_now();
    }
    drop(host);
    let _next = start("2");
    let execution = aiflow.executions("orphan", 2).await.unwrap()[0].id;
    let ended = tokio::time::timeout(FINISH_WITHIN, aiflow.wait(execution)).await.expect("it ends").unwrap();
    let jobs = aiflow.job_executions(execution).await.unwrap();
    assert_eq!(ended.status, WorkflowStatus::Succeeded, "the orphan runs on: {:?}", jobs[0].ending);
    assert_eq!(jobs[0].losses, 1, "{:?}", jobs[0].ending);
}

fn workflow(name: &str, label: Option<&str>) -> AiGraph {
    let mut graph = AiGraph::new("hosts", name);
    let node = function("work");
    graph.node("job", label.into_iter().fold(node, |node, label| node.runs_on(label)));
    graph.rule(start_workflow(on("go")));
    graph
}

/// A process that is killed when it is forgotten, also by a test that fails.
struct Running(Child);

impl Running {
    fn start(role: &str, folder: &Path, url: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        Self(Command::new(program).arg(role).arg(folder).arg(url).stdin(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.0.id().to_string()).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which the test notices elsewhere.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn host_loop(folder: &Path, url: &str, kills: usize, seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let aiflow = open(url).await;
    for graph in [workflow("plain", None), workflow("gpu", Some("gpu")), process_workflow(folder)] {
        aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    }
    // What comes before any of them is there waits for them.
    let mut acked = vec![publish(&aiflow, 0).await];
    let roles = ["leader", "0", "1", "2"];
    let mut running: Vec<Running> = roles.iter().map(|role| Running::start(role, folder, url)).collect();
    let mut n_lost = 0_u32;
    for _ in 0..kills {
        for _ in 0..EVENTS_PER_KILL {
            tokio::time::sleep(Duration::from_millis(rng.below(PAUSE))).await;
            acked.push(publish(&aiflow, acked.len() as u64).await);
        }
        let which = usize::try_from(rng.below(4)).unwrap();
        if rng.chance(25) {
            running[which].signal("STOP");
            tokio::time::sleep(LEASE * 2).await;
            running[which].signal("CONT");
        } else {
            running[which] = Running::start(roles[which], folder, url);
        }
    }
    let expected = acked.len();
    let started = Instant::now();
    let filter = EventFilter::all().event_type(aiflow::event::WORKFLOW_STATUS_CHANGED);
    let mut changes = aiflow.listen(filter, Offset::START);
    let mut ended = BTreeSet::new();
    // Those of this loop, and the one before it.
    while ended.len() < expected * 3 + 1 {
        let left = FINISH_WITHIN.saturating_sub(started.elapsed());
        let change = tokio::time::timeout(left, changes.next()).await;
        let change =
            change.unwrap_or_else(|_| panic!("{} of {} executions ended", ended.len(), expected * 3 + 1)).unwrap();
        if change.value != "RUNNING" && change.value != "STOPPING" {
            ended.insert(change.context.workflow_execution.unwrap());
        }
    }
    let starts = check_starts(folder);
    let processes = check_processes(folder);
    for workflow in ["plain", "gpu", "process"] {
        let executions = aiflow.executions(workflow, expected + 1).await.unwrap();
        let causes: BTreeSet<Offset> = executions.iter().map(|execution| execution.cause.events[0]).collect();
        assert!(executions.len() == expected && causes.iter().eq(acked.iter()), "{workflow}: one execution an event");
        for execution in executions {
            let jobs = aiflow.job_executions(execution.id).await.unwrap();
            assert_eq!(execution.status, WorkflowStatus::Succeeded, "{workflow}: {jobs:#?}");
            assert_eq!(jobs.len(), 1, "{workflow} {}", execution.id);
            n_lost += jobs[0].losses;
            if workflow == "process" {
                let last = jobs[0].attempt_id().to_string();
                assert!(processes.contains(&last), "{last} ended and never started");
                continue;
            }
            let labels: Vec<&str> =
                starts.iter().filter_map(|line| line.strip_prefix(&format!("{} ", jobs[0].attempt_id()))).collect();
            assert_eq!(labels.len(), 1, "{workflow} {}: its last attempt started once", jobs[0].id);
            for attempt in 1..=jobs[0].attempt {
                let line = format!("{}-{attempt} []", jobs[0].id);
                assert!(workflow == "plain" || !starts.contains(&line), "{line} runs without its label");
            }
        }
    }
    assert_eq!(aiflow.dead_letters(1).await.unwrap().len(), 0, "a dead letter");
    format!(
        "{expected} events, {} starts, {n_lost} attempts lost with their hosts, nothing lost or done twice",
        starts.len() + processes.len()
    )
}

/// The lines of all starts, which are different ones.
fn check_starts(folder: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(folder.join("starts")).unwrap();
    assert!(!text.contains("too many"), "a host had more attempts than it takes");
    let starts: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let attempts: BTreeSet<&str> = starts.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(attempts.len(), text.lines().count(), "an attempt started twice");
    starts
}

/// The attempts that were started as processes.
fn check_processes(folder: &Path) -> BTreeSet<String> {
    let beside = fs::read_to_string(folder.join("beside")).unwrap_or_default();
    assert_eq!(beside, "", "processes of dead hosts ran on beside these attempts");
    let text = fs::read_to_string(folder.join("processes")).unwrap();
    let attempts: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(attempts.len(), text.lines().count(), "an attempt started twice");
    attempts
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
