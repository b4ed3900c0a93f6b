//! Annotations: tags of what the scheduler keeps.

use std::collections::BTreeMap;

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::execution::{WorkflowExecution, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::WorkflowExecutionId;
use aiflow_core::meta::{Annotated, Scalar};
use aiflow_core::records::{workflow_execution_key, workflow_execution_put};
use aiflow_core::store::{Batch, MetaStore as _, MetaStoreExt as _, Query};
use serde_json::{Value, json};

use super::{aiflow, at, log_of};

/// What a scheduler would have stored of an execution that has ended.
async fn with_execution(flow: &AiFlow) -> WorkflowExecutionId {
    let execution: WorkflowExecution = serde_json::from_value(json!({
        "id": "7.0", "project": "wine", "workflow": "quality", "version": 1, "status": "SUCCEEDED",
        "completion": "idle", "params": null, "cause": {"events": [7]}, "created_at": 0, "finished_at": 0,
    }))
    .unwrap();
    assert_eq!(execution.status, WorkflowStatus::Succeeded);
    flow.store().commit(Batch::at(at(0)).put(workflow_execution_put(&execution))).await.unwrap();
    execution.id
}

#[tokio::test]
async fn an_execution_is_tagged_without_touching_its_record() {
    let flow = aiflow();
    let id = with_execution(&flow).await;
    let before = flow.store().get_one(&workflow_execution_key(id)).await.unwrap();
    let annotations = flow.annotations();
    assert_eq!(annotations.get(id).await.unwrap().tags, BTreeMap::new());
    for _ in 0..2 {
        let tagged = annotations.update(id, |notes| {
            notes.tag("team", "ads");
            notes.property("cost", 1.5);
        });
        assert_eq!(tagged.await.unwrap().properties["cost"], Scalar::Float(1.5));
    }
    annotations.update(id, |notes| notes.description = "the good one".into()).await.unwrap();
    let read = annotations.get(id).await.unwrap();
    assert_eq!((read.tags["team"].as_str(), read.description.as_str()), ("ads", "the good one"));
    assert_eq!(flow.store().get_one(&workflow_execution_key(id)).await.unwrap(), before);
    let told: Vec<_> = log_of(&flow).await.iter().map(|event| (event.key.clone(), event.value.clone())).collect();
    let tags = json!({"team": "ads"});
    let expected = [
        ("7.0".to_owned(), json!({"of": "workflow_execution:7.0", "fields": ["properties", "tags"], "tags": tags})),
        ("7.0".to_owned(), json!({"of": "workflow_execution:7.0", "fields": ["description"], "tags": tags})),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn workflows_and_their_versions_are_tagged_and_found() {
    let flow = aiflow();
    let mut graph = AiGraph::new("wine", "quality");
    for node in ["clean", "train"] {
        graph.node(node, function("work"));
        flow.submit(&graph.translate().unwrap()).await.unwrap();
    }
    let functions = Functions::new().register("work", async |_: JobContext, _: Value| Ok::<_, JobError>(()));
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    scheduler.wait_applied(flow.head().await.unwrap()).await.unwrap();
    let workflow = || Annotated::Workflow("quality".parse().unwrap());
    let version = |version| Annotated::WorkflowVersion { workflow: "quality".parse().unwrap(), version };
    let annotations = flow.annotations();
    for (of, cost) in [(workflow(), 1.5), (version(2), 2.5)] {
        annotations
            .update(of, |notes| {
                notes.tag("team", "ads");
                notes.property("cost", cost);
            })
            .await
            .unwrap();
    }
    assert_eq!(annotations.get(workflow()).await.unwrap().properties["cost"], Scalar::Float(1.5));
    let read = annotations.get(version(2)).await.unwrap();
    assert_eq!((read.tags["team"].as_str(), &read.properties["cost"]), ("ads", &Scalar::Float(2.5)));
    assert_eq!(annotations.get(version(1)).await.unwrap().tags, BTreeMap::new());
    for (kind, text, found) in [
        ("workflow", "tags.team = 'ads'", &["wine/quality"][..]),
        ("workflow", "tags.team = 'ads' and properties.cost > 2", &[]),
        ("workflow_version", "tags.team = 'ads'", &["wine/quality/2"]),
        ("workflow_version", "not exists tags.team", &["wine/quality/1"]),
        ("workflow_version", "properties.cost = 2.5", &["wine/quality/2"]),
    ] {
        let page = flow.search(kind, text, None).await.unwrap();
        assert!(page.items.iter().map(|record| record.key.id.as_str()).eq(found.iter().copied()), "{kind} {text}");
    }
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_not_annotated_and_what_goes_takes_its_annotation_along() {
    let flow = aiflow();
    let annotations = flow.annotations();
    let missing: [Annotated; 3] = [
        WorkflowExecutionId::new(aiflow_core::id::Offset(9), 0).into(),
        Annotated::Workflow("quality".parse().unwrap()),
        Annotated::WorkflowVersion { workflow: "quality".parse().unwrap(), version: 1 },
    ];
    for missing in missing {
        let error = annotations.update(missing, |notes| notes.tag("a", "b")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let job = Annotated::Job { workflow: "quality".parse().unwrap(), job: "train".parse().unwrap() };
    annotations.update(job, |notes| notes.tag("a", "b")).await.unwrap();
    let id = with_execution(&flow).await;
    annotations.update(id, |notes| notes.tag("a", "b")).await.unwrap();
    let error = annotations.update(id, |notes| notes.tag("", "b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    flow.delete_execution(id).await.unwrap();
    let left = flow.store().query_all(Query::kind("annotation"), 10).await.unwrap();
    assert_eq!(left.iter().map(|record| record.key.id.as_str()).collect::<Vec<_>>(), ["job:wine/quality/train"]);
}
