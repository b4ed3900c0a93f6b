//! Schedulers on a Redis: what do they do when it is not the one they knew, and does one go on with a copy?

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::{JobStatus, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::host::Host;
use aiflow_core::id::JobName;
use aiflow_core::memory::MemoryStore;
use aiflow_core::runtime::{Scheduler, SchedulerBuilder, SchedulerStatus, Settings};
use aiflow_core::time::SystemClock;
use aiflow_core::workflow::{Completion, all, job_status, on, start, start_workflow};
use aiflow_store_redis::{RedisOptions, RedisStore};
use aiflow_testkit::redis_server::RedisServer;
use serde_json::{Value, json};

use super::open;
use super::proxy::{Proxy, Way};

async fn flow(server: &RedisServer) -> AiFlow {
    flow_of(open(server).await)
}

fn flow_of(store: RedisStore) -> AiFlow {
    let store = Arc::new(store);
    AiFlow::new(Arc::<RedisStore>::clone(&store), store).unwrap().project("wine").unwrap()
}

fn job(name: &str) -> JobName {
    JobName::parse(name).unwrap()
}

/// `load` at once, then `train`, once there are samples and an approval besides.
fn graph() -> AiGraph {
    let mut graph = AiGraph::new("wine", "quality");
    graph.completion(Completion::Standing);
    graph.node("load", function("load"));
    graph.node("train", function("train"));
    let loaded = job_status(&job("load"), JobStatus::Succeeded);
    graph.control("train", start(all([loaded, on("samples").into(), on("approval").into()])));
    graph
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    builder(flow).start().unwrap()
}

fn builder(flow: &AiFlow) -> SchedulerBuilder {
    let functions = Functions::new().register("load", async |_, _: Value| Ok::<_, JobError>(1_599)).register(
        "train",
        async |ctx: JobContext, _: Value| {
            Ok::<_, JobError>(ctx.events().iter().map(|event| event.value.clone()).collect::<Vec<Value>>())
        },
    );
    let settings = Settings { lease_ttl: Duration::from_millis(900), ..Settings::default() };
    flow.scheduler().settings(settings).executor("function", FunctionExecutor::new(functions))
}

#[tokio::test]
async fn a_scheduler_whose_server_was_emptied_stops_and_says_why() {
    let server = RedisServer::start();
    let flow = flow(&server).await;
    flow.submit(&graph().translate().unwrap()).await.unwrap();
    let leader = scheduler(&flow);
    let standby = scheduler(&flow);
    leader.wait_leading().await.unwrap();
    let execution = flow.start("quality", Value::Null).await.unwrap();
    flow.wait_until(execution, |_, jobs| jobs[&job("load")].last.is_some()).await.unwrap();
    assert_eq!(server.command(&["FLUSHALL"]), "+OK");
    // Neither the leader nor the one that stands by takes the empty server for a new beginning.
    for scheduler in [leader, standby] {
        let ended = scheduler.wait_applied(aiflow_core::id::Offset(u64::MAX)).await.unwrap_err();
        assert_eq!(ended.kind(), aiflow_core::ErrorKind::Closed);
        let error = scheduler.shutdown().await.unwrap_err();
        assert!(error.message().contains("emptied"), "{error:?}");
    }
    assert_eq!(server.command(&["DBSIZE"]), ":0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_the_network_cuts_off_is_replaced_and_fenced_when_it_is_back() {
    const EACH: usize = 20;
    let server = RedisServer::start();
    let proxy = Proxy::before(server.port()).await;
    let near = flow(&server).await;
    let far = flow_of(RedisStore::open(&proxy.url, RedisOptions::default()).await.unwrap());
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("load", function("load"));
    graph.rule(start_workflow(on("samples")));
    near.submit(&graph.translate().unwrap()).await.unwrap();
    let publish = async |count: usize| {
        for n in 0..count {
            near.publish(near.event("samples").value(n)).await.unwrap();
        }
    };
    let cut_off = scheduler(&far);
    let first = cut_off.wait_leading().await.unwrap();
    let standby = scheduler(&near);
    publish(EACH).await;
    // In the midst of its work.
    proxy.set(Way::Cut);
    publish(EACH).await;
    let second = standby.wait_leading().await.unwrap();
    assert!(second > first);
    proxy.set(Way::Open);
    publish(EACH).await;
    standby.wait_applied(near.head().await.unwrap()).await.unwrap();
    standby.shutdown().await.unwrap();
    // What it had under way when it was cut off is refused; it leads again as a new leader.
    let leads_anew = |status: &SchedulerStatus| matches!(status, SchedulerStatus::Leading { epoch } if *epoch > second);
    while !leads_anew(&cut_off.status()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    publish(1).await;
    cut_off.wait_applied(near.head().await.unwrap()).await.unwrap();
    let executions = near.executions("quality", 4 * EACH).await.unwrap();
    let causes: BTreeSet<_> = executions.iter().flat_map(|execution| execution.cause.events.clone()).collect();
    assert_eq!((executions.len(), causes.len()), (3 * EACH + 1, 3 * EACH + 1), "one for each event");
    for execution in executions {
        assert_eq!(near.wait(execution.id).await.unwrap().status, WorkflowStatus::Succeeded);
        assert_eq!(near.job_executions(execution.id).await.unwrap().len(), 1);
    }
    cut_off.shutdown().await.unwrap();
}

/// Hosts are restarted one after the other, the leader among them, while events come and jobs run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing() {
    const EACH: usize = 15;
    const RESTARTS: usize = 4;
    let server = RedisServer::start();
    let flow = flow(&server).await;
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("load", function("load"));
    graph.rule(start_workflow(on("samples")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let host = async |name: &str| {
        let store = open(&server).await;
        let host = builder(&flow_of(store)).host(Host::named(name).executor("function", 4)).start().unwrap();
        host.wait_joined().await.unwrap();
        host
    };
    let mut hosts = VecDeque::from([host("ada").await, host("bob").await]);
    for restart in 0..RESTARTS {
        for n in 0..EACH {
            flow.publish(flow.event("samples").value(n)).await.unwrap();
        }
        hosts.pop_front().unwrap().shutdown().await.unwrap();
        hosts.push_back(host(if restart % 2 == 0 { "ada" } else { "bob" }).await);
    }
    let executions = loop {
        let executions = flow.executions("quality", 2 * RESTARTS * EACH).await.unwrap();
        if executions.len() >= RESTARTS * EACH {
            break executions;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(executions.len(), RESTARTS * EACH, "one for each event");
    for execution in executions {
        assert_eq!(flow.wait(execution.id).await.unwrap().status, WorkflowStatus::Succeeded);
        assert_eq!(flow.job_executions(execution.id).await.unwrap().len(), 1);
    }
    for host in hosts {
        host.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_scheduler_goes_on_with_a_copy_on_a_server() {
    let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let source = AiFlow::new(Arc::<MemoryStore>::clone(&memory), memory).unwrap().project("wine").unwrap();
    source.submit(&graph().translate().unwrap()).await.unwrap();
    let first = scheduler(&source);
    let execution = source.start("quality", json!({"rate": 0.1})).await.unwrap();
    source.wait_until(execution, |_, jobs| jobs[&job("load")].last.is_some()).await.unwrap();
    let samples = source.publish(source.event("samples").value("batch-7")).await.unwrap();
    first.wait_applied(samples).await.unwrap();
    first.shutdown().await.unwrap();
    source.publish(source.event("approval").value("by ada")).await.unwrap();
    let mut export = Vec::new();
    source.export().to(&mut export).await.unwrap();

    let server = RedisServer::start();
    let copy = flow(&server).await;
    copy.import(export.as_slice()).await.unwrap();
    let mut again = Vec::new();
    copy.export().to(&mut again).await.unwrap();
    // The first line tells of the export itself.
    let content = |text: &[u8]| -> Vec<Value> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).skip(1);
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    };
    assert_eq!(content(&again), content(&export));
    let second = scheduler(&copy);
    let trained = copy.wait_until(execution, |_, jobs| jobs.get(&job("train")).is_some_and(|job| job.last.is_some()));
    trained.await.unwrap();
    let train = copy.jobs(execution).await.unwrap()[&job("train")].last_execution.unwrap();
    let train = copy.job_execution(train).await.unwrap().unwrap();
    assert_eq!(train.output(), Some(&json!(["SUCCEEDED", "batch-7", "by ada"])));
    second.shutdown().await.unwrap();
}
