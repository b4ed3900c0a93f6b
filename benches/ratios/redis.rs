//! Redis: how far are publishing, deciding and listening from the commands that they come to, and what does all of it take in memory?
//!
//! The floor speaks to the same server over a socket of its own, with the same bytes and nothing around them. The server flushes each write.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use aiflow::event::{EventFilter, NewEvent};
use aiflow::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow::id::Offset;
use aiflow::runtime::Settings;
use aiflow::store::{Batch, RecordKey, RecordPut};
use aiflow::time::Timestamp;
use aiflow::workflow::{Workflow, on, start_workflow};
use aiflow::{AiFlow, Scheduler};
use aiflow_testkit::redis_server::RedisServer;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::table::{Pairs, Table, Target, percentile};
use crate::world::{PROJECT, job};

const ALWAYS: &str = "Redis AOF always: power loss";
/// Short ones, each side first in turn.
const ROUNDS: usize = 20;
const PUBLISHERS: usize = 8;
/// Single events of each concurrent publisher in a round.
const EVENTS_EACH: usize = 40;
const VALUE_BYTES: usize = 200;
/// Records, and events, of one decision.
const DECISION: usize = 64;
const BODY_BYTES: usize = 500;
const DELIVERIES: usize = 1_000;
/// Events, and executions, whose memory is measured.
const KEPT: usize = 2_000;
const SCHEDULERS: usize = 3;

/// A connection that only writes commands and reads answers.
struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    fn connect(server: &RedisServer) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends commands together, and reads all answers.
    fn pipeline(&mut self, commands: &[Vec<String>]) {
        let text: String = commands.iter().map(|command| encoded(command)).collect();
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
        for _ in commands {
            self.answer();
        }
    }

    /// Reads one answer; of a text, what it says.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "$" => match rest.parse::<usize>() {
                Ok(bytes) => {
                    let mut text = vec![0; bytes + 2];
                    self.stream.read_exact(&mut text).unwrap();
                    String::from_utf8(text).unwrap()
                }
                Err(_) => String::new(),
            },
            "*" => {
                (0..rest.parse::<usize>().unwrap_or(0)).for_each(|_| _ = self.answer());
                String::new()
            }
            "-" => panic!("{rest}"),
            _ => rest.to_owned(),
        }
    }

    /// A number of the server's own account.
    fn info(&mut self, section: &str, name: &str) -> f64 {
        self.stream.get_mut().write_all(encoded(&words(&["INFO", section])).as_bytes()).unwrap();
        let text = self.answer();
        let found = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        found.split([',', '\r']).next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn encoded(command: &[String]) -> String {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", command.len(), words.collect::<String>())
}

fn events(count: usize) -> Vec<NewEvent> {
    let value = "v".repeat(VALUE_BYTES);
    let event =
        || NewEvent::new("wine", "samples/batch").event_type("SAMPLES_READY").sender("ingest").value(value.as_str());
    (0..count).map(|_| event()).collect()
}

/// The command that appends these bytes to a stream.
fn xadd(event: &NewEvent) -> Vec<String> {
    let NewEvent { id, namespace, key, event_type, sender, value, .. } = event.clone();
    let fields = ["i", &id, "n", &namespace, "k", &key, "t", &event_type, "s", &sender, "v", &value.to_string()];
    [&words(&["XADD", "raw", "*"])[..], &words(&fields)[..]].concat()
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64()
}

async fn open(server: &RedisServer) -> AiFlow {
    aiflow::open(&format!("{}?persistence=always", server.url())).await.unwrap().project(PROJECT).unwrap()
}

pub(crate) fn publish(table: &mut Table) {
    let runtime = crate::runtime();
    for (batch, batches) in [(1, 60), (16, 40), (256, 8)] {
        let pairs = runtime.block_on(in_batches(batch, batches));
        let path = format!("Redis: publish, batches of {batch} (floor: pipelined XADD)");
        table.rates(&path, ALWAYS, &pairs, Target::Share(0.7));
    }
    let pairs = runtime.block_on(concurrently());
    let path =
        format!("Redis: publish, {PUBLISHERS} concurrent publishers of single events (floor: as many connections)");
    table.rates(&path, ALWAYS, &pairs, Target::Share(0.7));
}

async fn in_batches(batch: usize, batches: usize) -> Pairs {
    let server = RedisServer::start();
    let (aiflow, mut raw, mut pairs) = (open(&server).await, Raw::connect(&server), Pairs::default());
    for round in 0..ROUNDS {
        let commands: Vec<Vec<String>> = events(batch * batches).iter().map(xadd).collect();
        let mut floor = || {
            let begun = Instant::now();
            commands.chunks(batch).for_each(|commands| raw.pipeline(commands));
            rate(commands.len(), begun.elapsed())
        };
        let before = (round % 2 == 0).then(&mut floor);
        let all: Vec<Vec<NewEvent>> = (0..batches).map(|_| events(batch)).collect();
        let begun = Instant::now();
        for events in all {
            aiflow.publish_all(events).await.unwrap();
        }
        let ours = rate(batch * batches, begun.elapsed());
        pairs.add(ours, before.unwrap_or_else(floor));
    }
    pairs
}

async fn concurrently() -> Pairs {
    let server = RedisServer::start();
    let (aiflow, mut pairs) = (open(&server).await, Pairs::default());
    let mut connections: Vec<Raw> = (0..PUBLISHERS).map(|_| Raw::connect(&server)).collect();
    for _ in 0..ROUNDS {
        let commands: Vec<Vec<Vec<String>>> =
            (0..PUBLISHERS).map(|_| events(EVENTS_EACH).iter().map(xadd).collect()).collect();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for (raw, commands) in connections.iter_mut().zip(&commands) {
                scope.spawn(|| commands.chunks(1).for_each(|command| raw.pipeline(command)));
            }
        });
        let floor = rate(PUBLISHERS * EVENTS_EACH, begun.elapsed());
        let mut publishers = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..PUBLISHERS {
            let aiflow = aiflow.clone();
            publishers.spawn(async move {
                for event in events(EVENTS_EACH) {
                    aiflow.publish(event).await.unwrap();
                }
            });
        }
        publishers.join_all().await;
        pairs.add(rate(PUBLISHERS * EVENTS_EACH, begun.elapsed()), floor);
    }
    pairs
}

/// Decisions of a typical size: as many records as events, one command each beside one command for all.
///
/// The first floor leaves out what makes an event known by its id, and a record found by its kind, project and state; the second does not.
pub(crate) fn decisions(table: &mut Table) {
    for (is_whole, floor) in [(false, "pipelined XADD and HSET"), (true, "the same with HSET of ids and ZADD of lists")]
    {
        commits(table, is_whole, floor);
    }
}

fn commits(table: &mut Table, is_whole: bool, floor_name: &str) {
    crate::runtime().block_on(async {
        let server = RedisServer::start();
        let (aiflow, mut raw, mut pairs) = (open(&server).await, Raw::connect(&server), Pairs::default());
        let body = json!({ "text": "b".repeat(BODY_BYTES) });
        let (mut n, mut commits) = (0_usize, 0.0);
        raw.pipeline(&[words(&["CONFIG", "RESETSTAT"])]);
        for round in 0..ROUNDS {
            let commands: Vec<Vec<String>> = events(DECISION)
                .iter()
                .enumerate()
                .flat_map(|(i, event)| {
                    let id = format!("{round}.{i}");
                    let mut commands = vec![xadd(event), words(&["HSET", "records", &id, &body.to_string()])];
                    if is_whole {
                        let place = format!("{:016x}{id}", round * DECISION + i);
                        let [all, project, state] = ["a", "p00000004wine", "s00000006QUEUED"]
                            .map(|list| format!("0000000djob_execution{list}{place}"));
                        commands.push(words(&["HSET", "ids", &event.id, &format!("{i} 0123456789abcdef")]));
                        commands.push(words(&["ZADD", "lists", "0", &all, "0", &project, "0", &state]));
                    }
                    commands
                })
                .collect();
            let mut floor = || {
                let begun = Instant::now();
                raw.pipeline(&commands);
                rate(DECISION, begun.elapsed())
            };
            let before = (round % 2 == 0).then(&mut floor);
            let mut batch = Batch::at(Timestamp::EPOCH);
            batch.events = events(DECISION);
            for _ in 0..DECISION {
                n += 1;
                let put = RecordPut::new(RecordKey::new("job_execution", format!("{n}.0")), body.clone());
                batch.puts.push(RecordPut { project: PROJECT.to_owned(), state: "QUEUED".to_owned(), ..put });
            }
            let begun = Instant::now();
            aiflow.store().commit(batch).await.unwrap();
            commits += 1.0;
            pairs.add(rate(DECISION, begun.elapsed()), before.unwrap_or_else(floor));
        }
        let path = format!("Redis: commit of {DECISION} records and events (floor: {floor_name})");
        table.rates(&path, ALWAYS, &pairs, Target::Share(0.7));
        if is_whole {
            return;
        }
        let calls = raw.info("commandstats", "cmdstat_evalsha:calls=") / commits;
        table.plain("Redis: round trips a commit", ALWAYS, &format!("{calls:.2}"), "1", Some(calls < 1.5));
    });
}

/// From the publisher's return to the subscriber's.
pub(crate) fn subscriber(table: &mut Table) {
    let server = RedisServer::start();
    let ours = crate::runtime().block_on(through_log(&server));
    let floor = through_stream(&server);
    for (percent, target) in [(50, Target::Info), (99, Target::Info)] {
        let mut pairs = Pairs::default();
        pairs.add(percentile(ours.iter().copied(), percent), percentile(floor.iter().copied(), percent));
        let path = format!("Redis: call of publish to subscriber, p{percent} (floor: XADD to XREAD BLOCK)");
        table.times(&path, ALWAYS, &pairs, target);
    }
}

async fn through_log(server: &RedisServer) -> Vec<f64> {
    let aiflow = open(server).await;
    let (sender, mut received) = mpsc::channel(1);
    // Another handle: what this process publishes is not handed over beside the server.
    let mut listener = open(server).await.listen(EventFilter::all().namespace("wine"), Offset::START);
    let task =
        tokio::spawn(
            async move { while listener.next().await.is_ok() && sender.send(Instant::now()).await.is_ok() {} },
        );
    let mut times = Vec::with_capacity(DELIVERIES);
    for event in events(DELIVERIES) {
        let begun = Instant::now();
        aiflow.publish(event).await.unwrap();
        times.push(received.recv().await.unwrap().duration_since(begun).as_secs_f64());
    }
    task.abort();
    times
}

fn through_stream(server: &RedisServer) -> Vec<f64> {
    let (mut writer, mut reader) = (Raw::connect(server), Raw::connect(server));
    writer.pipeline(&[words(&["DEL", "raw"])]);
    let (sender, received) = std::sync::mpsc::channel();
    let mut times = Vec::with_capacity(DELIVERIES);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..DELIVERIES {
                let last = format!("{n}-0");
                reader.pipeline(&[words(&["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "raw", &last])]);
                sender.send(Instant::now()).unwrap();
            }
        });
        for (n, event) in events(DELIVERIES).iter().enumerate() {
            let mut command = xadd(event);
            // Its id tells the reader what comes next.
            command[2] = format!("{}-0", n + 1);
            let begun = Instant::now();
            writer.pipeline(&[command]);
            times.push(received.recv().unwrap().duration_since(begun).as_secs_f64());
        }
    });
    times
}

/// Bytes of the server's memory for each event, and for each execution of one job with its events.
pub(crate) fn memory(table: &mut Table) {
    crate::runtime().block_on(async {
        let server = RedisServer::start();
        let (aiflow, mut raw) = (open(&server).await, Raw::connect(&server));
        let used = |raw: &mut Raw| raw.info("memory", "used_memory:");
        let each = |bytes: f64| format!("{:.0} bytes", bytes / f64::from(u32::try_from(KEPT).unwrap()));
        let before = used(&mut raw);
        for _ in 0..KEPT / 100 {
            aiflow.publish_all(events(100)).await.unwrap();
        }
        let events = used(&mut raw);
        let path = format!("Redis: memory of an event with a value of {VALUE_BYTES} bytes");
        table.plain(&path, ALWAYS, &each(events - before), "", None);
        run_jobs(&aiflow, 1, KEPT).await;
        let path = "Redis: memory of an execution of one job, with its events";
        table.plain(path, ALWAYS, &each(used(&mut raw) - events), "", None);
    });
}

/// No-op jobs end to end, with one scheduler and with two that stand by.
pub(crate) fn schedulers(table: &mut Table) {
    crate::runtime().block_on(async {
        let mut pairs = Pairs::default();
        for _ in 0..3 {
            let (one, three) = (RedisServer::start(), RedisServer::start());
            let alone = run_jobs(&open(&one).await, 1, KEPT).await;
            pairs.add(run_jobs(&open(&three).await, SCHEDULERS, KEPT).await, alone);
        }
        let path = format!("Redis: executions of one no-op job, {SCHEDULERS} schedulers (beside it: one)");
        table.rates(&path, ALWAYS, &pairs, Target::Info);
    });
}

/// Runs so many executions of one job, and returns how many ended in a second.
async fn run_jobs(aiflow: &AiFlow, schedulers: usize, count: usize) -> f64 {
    let mut workflow = Workflow::new(PROJECT.parse().unwrap(), "noop".parse().unwrap());
    workflow.jobs.push(job("a", "function"));
    workflow.rules.push(start_workflow(on("go")));
    aiflow.submit(&workflow).await.unwrap();
    let start = || -> Scheduler {
        let functions = Functions::new().register("a", async |_: JobContext, _: Value| Ok::<_, JobError>(()));
        let executor = FunctionExecutor::new(functions);
        aiflow.scheduler().settings(Settings::default()).executor("function", executor).start().unwrap()
    };
    let mut running = vec![start()];
    running[0].wait_leading().await.unwrap();
    running.extend((1..schedulers).map(|_| start()));
    let filter = EventFilter::all().event_type(aiflow::event::WORKFLOW_STATUS_CHANGED);
    let mut changes = aiflow.listen(filter, aiflow.head().await.unwrap());
    let begun = Instant::now();
    for _ in 0..count / 100 {
        aiflow.publish_all((0..100).map(|_| aiflow.event("go")).collect()).await.unwrap();
    }
    let mut ended = 0;
    while ended < count {
        let change = changes.next().await.unwrap();
        ended += usize::from(change.value != "RUNNING");
    }
    let rate = rate(count, begun.elapsed());
    for scheduler in running {
        scheduler.shutdown().await.unwrap();
    }
    rate
}
