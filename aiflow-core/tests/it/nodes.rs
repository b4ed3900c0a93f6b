//! The nodes of a function job: which run at once, what processors do, what nodes are about, and jobs that run elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiflow_core::artifact_store::ArtifactStore as _;
use aiflow_core::event::NewEvent;
use aiflow_core::executor::{Ending, Executor as _, ReportKind, StopMode};
use aiflow_core::function::{
    DUMMY, EXTERNAL_TRIGGER, FunctionExecutor, Functions, JobContext, JobError, OUTSIDE_STATUS, Processor, READ_ONLY,
};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryArtifacts;
use aiflow_core::meta::{Dataset, Model, NewModelVersion};
use aiflow_core::workflow::ModelStage;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::function::{Stage, assert_failed, attempt, launch, single, succeeded};

/// `left` and `right` read from `source`, `sink` from both.
fn diamond() -> Value {
    json!({"nodes": [
        {"name": "source", "function": "source"},
        {"name": "left", "function": "side", "inputs": [{"node": "source"}]},
        {"name": "right", "function": "side", "inputs": [{"node": "source"}]},
        {"name": "sink", "function": "sink", "inputs": [{"node": "left"}, {"node": "right"}]},
    ]})
}

fn sides(side: impl Fn(&str) -> Result<i64, JobError> + Send + Sync + 'static) -> Functions {
    let meet = Arc::new(Barrier::new(2));
    let side = Arc::new(side);
    Functions::new()
        .register("source", |_, _: Value| async { Ok(20) })
        .register("side", move |ctx: JobContext, n: i64| {
            let (meet, side) = (Arc::clone(&meet), Arc::clone(&side));
            async move {
                // Neither goes on before the other has begun.
                meet.wait().await;
                Ok(n + side(ctx.node().as_str())?)
            }
        })
        .register("sink", |_, [left, right]: [i64; 2]| async move { Ok(left * right) })
}

#[tokio::test]
async fn nodes_that_do_not_read_from_one_another_run_at_once_and_their_times_are_told() {
    let mut stage = Stage::new(sides(|node| Ok(if node == "left" { 1 } else { 2 }))).await;
    assert_eq!(stage.run(launch(diamond())).await, succeeded(json!(21 * 22)));
    let names: Vec<&str> = stage.nodes.iter().map(|run| run.node.as_str()).collect();
    assert_eq!(names, ["source", "left", "right", "sink"]);
    let [source, left, right, sink] = &stage.nodes[..] else { panic!() };
    assert!(left.started_at >= source.finished_at.unwrap());
    assert!(left.started_at <= right.finished_at.unwrap() && right.started_at <= left.finished_at.unwrap());
    assert!(sink.started_at >= left.finished_at.unwrap().max(right.finished_at.unwrap()));
    assert!(!sink.failed);
}

/// The one that fails names the job's failure; the other, which could go on, is asked to stop and does not keep the job.
#[tokio::test]
async fn a_node_that_fails_fails_the_job_and_ends_the_others() {
    let meet = Arc::new(Barrier::new(2));
    let (here, there) = (Arc::clone(&meet), meet);
    let functions = Functions::new()
        .register("bad", move |_, _: Value| {
            let meet = Arc::clone(&here);
            async move {
                meet.wait().await;
                Err::<(), _>(JobError::permanent("no rows"))
            }
        })
        .register("good", move |ctx: JobContext, _: Value| {
            let meet = Arc::clone(&there);
            async move {
                meet.wait().await;
                ctx.cancelled().await;
                Ok(())
            }
        });
    let mut stage = Stage::new(functions).await;
    let spec = json!({"nodes": [{"name": "a", "function": "good"}, {"name": "b", "function": "bad"}]});
    let ending = stage.run(launch(spec)).await;
    assert_failed(&ending, "b: no rows", false);
    assert!(stage.nodes[1].failed && !stage.nodes[0].failed);
}

#[tokio::test]
async fn a_panic_in_one_of_several_nodes_names_it() {
    let mut stage = Stage::new(sides(|node| if node == "left" { panic!("boom") } else { Ok(2) })).await;
    let ending = stage.run(launch(diamond())).await;
    assert_failed(&ending, "left: ", true);
    assert_failed(&ending, "boom", true);
}

/// Notes what happens to it.
struct Noted {
    notes: Arc<Mutex<Vec<String>>>,
    fails_at: &'static str,
}

impl Noted {
    fn note(&self, ctx: &JobContext, what: &str) -> Result<(), JobError> {
        let note = format!("{what} {}", ctx.node());
        self.notes.lock().unwrap().push(note.clone());
        if note == self.fails_at { Err(JobError::permanent("broken")) } else { Ok(()) }
    }
}

impl Processor for Noted {
    type Input = Value;
    type Output = u32;

    async fn open(&mut self, ctx: &JobContext) -> Result<(), JobError> {
        self.note(ctx, "open")
    }

    async fn process(&mut self, ctx: &JobContext, _: Value) -> Result<u32, JobError> {
        self.note(ctx, "process")?;
        if ctx.params::<Value>()?["waits"] == true {
            ctx.cancelled().await;
        }
        Ok(7)
    }

    async fn close(&mut self, ctx: &JobContext) -> Result<(), JobError> {
        self.note(ctx, "close")
    }
}

/// Runs `first` -> `second`, both processors, and tells what happened to them.
async fn noted(fails_at: &'static str) -> (Ending, String) {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&notes);
    let functions = Functions::new().register_processor("noted", move || Noted { notes: Arc::clone(&made), fails_at });
    let mut stage = Stage::new(functions).await;
    let spec = json!({"nodes": [
        {"name": "first", "function": "noted"},
        {"name": "second", "function": "noted", "inputs": [{"node": "first"}]},
    ]});
    let ending = stage.run(launch(spec)).await;
    let notes = notes.lock().unwrap().join(", ");
    (ending, notes)
}

#[tokio::test]
async fn processors_are_opened_first_and_closed_last_whatever_happens() {
    let (ending, notes) = noted("").await;
    assert_eq!(ending, succeeded(json!(7)));
    assert_eq!(notes, "open first, open second, process first, process second, close second, close first");
    let (ending, notes) = noted("open second").await;
    assert_failed(&ending, "second: broken", false);
    assert_eq!(notes, "open first, open second, close first");
    let (ending, notes) = noted("process first").await;
    assert_failed(&ending, "first: broken", false);
    assert_eq!(notes, "open first, open second, process first, close second, close first");
    let (ending, notes) = noted("close second").await;
    assert_failed(&ending, "second: broken", false);
    assert_eq!(notes, "open first, open second, process first, process second, close second, close first");
}

#[tokio::test(start_paused = true)]
async fn a_processor_is_closed_after_a_stop_and_not_after_a_kill() {
    for (mode, closed) in [(StopMode::Graceful, ", close node"), (StopMode::Kill, "")] {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&notes);
        let functions =
            Functions::new().register_processor("noted", move || Noted { notes: Arc::clone(&made), fails_at: "" });
        let mut stage = Stage::new(functions).await;
        let mut launch = launch(single("noted"));
        launch.params = json!({"waits": true});
        stage.submit(launch).await;
        assert_eq!(stage.next().await, ReportKind::started());
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.executor.stop(attempt(1), mode).await.unwrap();
        assert_eq!(stage.ending().await, Ending::Stopped);
        assert_eq!(notes.lock().unwrap().join(", "), format!("open node, process node{closed}"));
    }
}

/// Names become entities when the job runs, and what is missing is said.
#[tokio::test]
async fn a_node_finds_what_it_is_about_when_it_runs() {
    let functions = Functions::new().register("look", |ctx: JobContext, _: Value| async move {
        let version = ctx.model_version().await?.version;
        let base = ctx.base_model_version().await?.version;
        Ok(json!([ctx.dataset().await?.name, ctx.model().await?.name, version, base]))
    });
    let node = json!({"name": "node", "function": "look", "arguments": {
        "dataset": "samples", "model": "wine", "base_model_version": {"stage": "VALIDATED"},
    }});
    let mut stage = Stage::new(functions).await;
    let mut first = launch(json!({"nodes": [node.clone()]}));
    assert_failed(&stage.run(first.clone()).await, "there is no such model version", true);
    let flow = stage.aiflow();
    flow.datasets().register(Dataset::new("samples", "file:///s.csv").unwrap()).await.unwrap();
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    for _ in 0..3 {
        flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
    }
    flow.models().set_stage("wine", 2, ModelStage::Validated).await.unwrap();
    first.attempt = attempt(2);
    assert_eq!(stage.run(first).await, succeeded(json!(["samples", "wine", 3, 2])));
    let mut unnamed = launch(single("look"));
    unnamed.attempt = attempt(3);
    assert_failed(&stage.run(unnamed).await, "the node names no model", true);
}

/// A value that one job keeps is there for another of the same execution, and for no other; several inputs keep their order.
#[tokio::test]
async fn values_flow_from_one_job_to_another() {
    let functions = Functions::new()
        .register("pair", |_, _: Value| async { Ok(json!([1, "two"])) })
        .register("echo", |_, input: Value| async move { Ok(input) })
        .register_blocking("blocking", |_, input: Value| Ok(input));
    let executor = FunctionExecutor::new(functions).artifact_store(MemoryArtifacts::new());
    let mut stage = Stage::with(executor, 100).await;
    let producer = json!({"nodes": [{"name": "source", "function": "pair", "outputs": 2, "kept": [1]}]});
    assert_eq!(stage.run(launch(producer)).await, succeeded(json!([1, "two"])));
    for (n, function) in [(2, "echo"), (3, "blocking")] {
        let mut consumer = launch(json!({"nodes": [
            {"name": "own", "function": "echo", "params": {"a": 1}},
            {"name": "sink", "function": function, "inputs": [{"node": "source", "port": 1, "kept": true}, {"node": "own"}]},
        ]}));
        consumer.attempt = attempt(n);
        assert_eq!(stage.run(consumer).await, succeeded(json!(["two", {"a": 1}])));
    }
    let mut other = launch(json!({"nodes": [
        {"name": "sink", "function": "echo", "inputs": [{"node": "source", "port": 1, "kept": true}]},
    ]}));
    other.attempt = attempt(4);
    other.workflow_execution = aiflow_core::id::WorkflowExecutionId::new(Offset(9), 0);
    assert_failed(&stage.run(other.clone()).await, "node source has not given a value in this execution", true);
    // Without a place to keep it, it is refused before it runs.
    let stage = Stage::new(Functions::new().register("echo", |_, input: Value| async move { Ok(input) })).await;
    let refused = stage.executor.submit(other).await.unwrap_err();
    assert!(refused.to_string().contains("no artifact store"), "{refused}");
}

/// What a job saves is registered with its digest; other content replaces it whole; what was changed behind its back is said.
#[tokio::test]
async fn what_a_job_saves_is_loaded_and_checked() {
    let files = Arc::new(MemoryArtifacts::new());
    let functions = Functions::new()
        .register("save", |ctx: JobContext, input: BTreeMap<String, String>| async move {
            let saved = ctx.save("report", input["text"].clone().into_bytes()).await?;
            Ok((saved.uri.clone(), saved.notes.properties["sha256"].to_string()))
        })
        .register("load", |ctx: JobContext, _: Value| async move { Ok(String::from_utf8(ctx.load("report").await?)?) });
    let executor = FunctionExecutor::new(functions).artifact_store(Arc::clone(&files));
    let mut stage = Stage::with(executor, 100).await;
    let run = |n: u64, function: &str, params: Value| {
        let mut launch = launch(single(function));
        (launch.attempt, launch.params) = (attempt(n), params);
        launch
    };
    assert_failed(&stage.run(run(1, "load", Value::Null)).await, "there is no such artifact", true);
    let mut saved = Vec::new();
    for (n, text) in [(2, "first"), (4, "first"), (6, "second")] {
        let Ending::Succeeded { output } = stage.run(run(n, "save", json!({"text": text}))).await else { panic!() };
        let (uri, digest): (String, String) = serde_json::from_value(output).unwrap();
        assert!(uri.ends_with(&digest), "{uri}");
        assert_eq!(stage.run(run(n + 1, "load", Value::Null)).await, succeeded(json!(text)));
        saved.push(uri);
    }
    assert!(saved[0] == saved[1] && saved[1] != saved[2]);
    let path = saved[2].strip_prefix("memory:///").unwrap();
    files.put(path, b"forged".to_vec()).await.unwrap();
    assert_failed(&stage.run(run(8, "load", Value::Null)).await, "are not what was saved", true);
    files.delete(path).await.unwrap();
    assert_failed(&stage.run(run(9, "load", Value::Null)).await, "are gone", true);
}

#[tokio::test]
async fn a_dummy_hands_on_and_an_external_trigger_stands() {
    let mut stage = Stage::new(Functions::new()).await;
    let mut dummy = launch(single(DUMMY));
    dummy.params = json!({"a": 1});
    assert_eq!(stage.run(dummy).await, succeeded(json!({"a": 1})));
    let mut trigger = launch(single(EXTERNAL_TRIGGER));
    trigger.attempt = attempt(2);
    stage.submit(trigger).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    stage.executor.stop(attempt(2), StopMode::Graceful).await.unwrap();
    assert_eq!(stage.ending().await, Ending::Stopped);
}

/// It stands as its events say, also those that came before the attempt; what says nothing is passed over.
#[tokio::test]
async fn a_job_that_runs_elsewhere_stands_as_its_events_say() {
    let mut stage = Stage::new(Functions::new()).await;
    let flow = stage.aiflow();
    let say = |value: Value| flow.event("flink-7").event_type(OUTSIDE_STATUS).value(value);
    let begun = flow.publish(say(json!({"status": "FAILED", "message": "of an earlier run"}))).await.unwrap();
    let outside = |n| {
        let mut launch = launch(single(READ_ONLY));
        launch.attempt = attempt(n);
        launch.params = json!({"key": "flink-7"});
        launch.workflow_execution = aiflow_core::id::WorkflowExecutionId::new(begun, 0);
        launch
    };
    stage.submit(outside(2)).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    for value in [json!({"status": "RUNNING"}), json!("gibberish"), json!({"status": "SUCCEEDED", "output": 5})] {
        flow.publish(say(value)).await.unwrap();
    }
    flow.publish(NewEvent::new("other", "flink-7").event_type(OUTSIDE_STATUS).value(json!({"status": "FAILED"})))
        .await
        .unwrap();
    assert_eq!(stage.ending().await, succeeded(json!(5)));
    // A repeated attempt hears it again.
    stage.submit(outside(3)).await;
    assert_eq!(stage.next().await, ReportKind::started());
    assert_eq!(stage.next().await, ReportKind::Ready);
    assert_eq!(stage.ending().await, succeeded(json!(5)));
    assert!(begun > Offset::START);
}
