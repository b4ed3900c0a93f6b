//! Export and import of files: does a scheduler go on with the copy where the last one stopped?

use std::path::Path;
use std::sync::Arc;

use aiflow_core::bus::EventBus as _;
use aiflow_core::client::AiFlow;
use aiflow_core::execution::{JobStatus, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryStore;
use aiflow_core::runtime::Scheduler;
use aiflow_core::store::MetaStore;
use aiflow_core::time::SystemClock;
use aiflow_core::workflow::{Completion, all, job_status, on, start};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::BufReader;

async fn file(path: &Path) -> AiFlow {
    let store = Arc::new(SqliteStore::open(path, SqliteOptions::default()).await.unwrap());
    AiFlow::new(Arc::<SqliteStore>::clone(&store), store).unwrap().project("wine").unwrap()
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
    let functions = Functions::new().register("load", async |_, _: Value| Ok::<_, JobError>(1_599)).register(
        "train",
        async |ctx: JobContext, _: Value| {
            Ok::<_, JobError>(ctx.events().iter().map(|event| event.value.clone()).collect::<Vec<Value>>())
        },
    );
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

/// A scheduler takes over the execution in its midst: what its rule had seen counts, and what nobody had applied is applied.
async fn goes_on(copy: &AiFlow, execution: WorkflowExecutionId, samples: Offset) {
    let scheduler = scheduler(copy);
    let trained = copy.wait_until(execution, |_, jobs| jobs.get(&job("train")).is_some_and(|job| job.last.is_some()));
    trained.await.unwrap();
    let train = copy.jobs(execution).await.unwrap()[&job("train")].last_execution.unwrap();
    let train = copy.job_execution(train).await.unwrap().unwrap();
    assert_eq!(train.status, JobStatus::Succeeded);
    assert_eq!(train.output(), Some(&json!(["SUCCEEDED", "batch-7", "by ada"])));
    assert!(train.cause.events.contains(&samples), "{:?}", train.cause);
    let why = copy.explain_execution(train.id).await.unwrap().to_string();
    assert!(why.contains("samples"), "{why}");
    copy.stop(execution).await.unwrap();
    let ended = copy.wait(execution).await.unwrap();
    assert_eq!((ended.status, ended.params), (WorkflowStatus::Stopped, json!({"rate": 0.1})));
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_scheduler_goes_on_with_a_copy_in_a_file_and_in_memory() {
    let folder = tempdir().unwrap();
    let source = file(&folder.path().join("source.db")).await;
    source.submit(&graph().translate().unwrap()).await.unwrap();
    let first = scheduler(&source);
    let early = source.publish(source.event("early")).await.unwrap();
    let execution = source.start("quality", json!({"rate": 0.1})).await.unwrap();
    source.wait_until(execution, |_, jobs| jobs[&job("load")].last.is_some()).await.unwrap();
    let samples = source.publish(source.event("samples").value("batch-7")).await.unwrap();
    first.wait_applied(samples).await.unwrap();
    first.shutdown().await.unwrap();
    source.trim(early).await.unwrap();
    // Nobody has applied this one.
    source.publish(source.event("approval").value("by ada")).await.unwrap();
    let path = folder.path().join("export.jsonl");
    let done = source.export().to(tokio::fs::File::create(&path).await.unwrap()).await.unwrap();

    let copy_path = folder.path().join("copy.db");
    let copy = file(&copy_path).await;
    let read = copy.import(BufReader::new(tokio::fs::File::open(&path).await.unwrap())).await.unwrap();
    assert_eq!(read, done);
    assert_eq!(copy.bus().head().await.unwrap(), source.bus().head().await.unwrap());
    let mut again = Vec::new();
    copy.export().to(&mut again).await.unwrap();
    let content = |text: &[u8]| -> Vec<Value> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).skip(1);
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    };
    assert_eq!(content(&again), content(&std::fs::read(&path).unwrap()));
    // Another opening finds everything, too.
    copy.store().close().await.unwrap();
    goes_on(&file(&copy_path).await, execution, samples).await;

    let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let copy = AiFlow::new(Arc::<MemoryStore>::clone(&memory), memory).unwrap().project("wine").unwrap();
    copy.import(again.as_slice()).await.unwrap();
    goes_on(&copy, execution, samples).await;
}
