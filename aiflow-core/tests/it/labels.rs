//! Labels of running jobs: are they shown while the job runs, found by searches, and kept at its end?

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::{JobExecution, JobStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError, OUTSIDE_STATUS};
use aiflow_core::graph::{AiGraph, function, read_only};
use aiflow_core::job_labels::JOB_LABELS_MAX;
use aiflow_core::workflow::Completion;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::client::aiflow;

/// The one job execution that a search finds, as soon as it finds one.
async fn found(aiflow: &AiFlow, search: &str) -> JobExecution {
    let looking = async {
        loop {
            let page = aiflow.search_job_executions(search, None).await.unwrap();
            if let [found] = &page.items[..] {
                return found.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap()
}

#[tokio::test]
async fn a_running_job_says_how_far_it_is_and_is_found_by_it() {
    let aiflow = aiflow();
    let mut graph = AiGraph::new("wine", "training");
    graph.node("fit", function("fit"));
    graph.completion(Completion::Idle);
    aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let fit = move |ctx: JobContext, _: Value| {
        let go_on = Arc::clone(&waits);
        async move {
            ctx.set_label("warm-up", true)?;
            for epoch in 1..=1_000 {
                ctx.set_label("epoch", epoch)?;
            }
            ctx.remove_label("warm-up")?;
            assert!(ctx.set_label("", 1).is_err() && ctx.set_label("note", "x".repeat(1_000)).is_err());
            go_on.notified().await;
            for n in 1..JOB_LABELS_MAX {
                ctx.set_label(format!("n{n}"), n)?;
            }
            assert!(ctx.set_label("one more", 1).is_err(), "there is no room");
            ctx.set_label("epoch", "done")?;
            Ok::<_, JobError>(())
        }
    };
    let executor = FunctionExecutor::new(Functions::new().register("fit", fit));
    let scheduler = aiflow.scheduler().executor("function", executor).start().unwrap();
    let execution = aiflow.start("training", Value::Null).await.unwrap();
    let running = found(&aiflow, "labels.epoch = '1000'").await;
    assert_eq!((running.status, running.labels.len()), (JobStatus::Running, 1));
    assert_eq!(running.labels_number, 1, "what changes at once is told at once");
    go_on.notify_one();
    aiflow.wait(execution).await.unwrap();
    let ended = found(&aiflow, "labels.epoch = 'done'").await;
    assert_eq!((ended.status, ended.labels.len()), (JobStatus::Succeeded, JOB_LABELS_MAX));
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_job_that_runs_elsewhere_is_shown_with_the_labels_of_its_events() {
    let aiflow = aiflow();
    let mut graph = AiGraph::new("wine", "outside");
    graph.node("stream", read_only("flink-7"));
    graph.completion(Completion::Idle);
    aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(Functions::new())).start().unwrap();
    let execution = aiflow.start("outside", Value::Null).await.unwrap();
    let say = |status: Value| aiflow.event("flink-7").event_type(OUTSIDE_STATUS).value(status);
    aiflow.publish(say(json!({"status": "RUNNING"})).label("records", "12 M")).await.unwrap();
    let running = found(&aiflow, "labels.records = '12 M'").await;
    assert!(!running.status.is_terminal());
    aiflow.publish(say(json!({"status": "SUCCEEDED"})).label("records", "15 M")).await.unwrap();
    aiflow.wait(execution).await.unwrap();
    assert_eq!(found(&aiflow, "labels.records = '15 M'").await.status, JobStatus::Succeeded);
    scheduler.shutdown().await.unwrap();
}
