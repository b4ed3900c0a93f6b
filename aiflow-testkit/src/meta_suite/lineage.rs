//! Lineage over any store: is it the same from either end, and in parts?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::{JobExecution, WorkflowExecution};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::lineage::{Lineage, LineageQuery};
use aiflow_core::meta::{Dataset, Model, NewDatasetVersion, NewModelVersion, PRODUCED, READ};
use aiflow_core::records::{job_execution_key, job_execution_put, workflow_execution_put, workflow_version_key};
use aiflow_core::store::{Batch, RecordKey};
use aiflow_core::time::Timestamp;
use serde_json::json;

use crate::{Backend, StoreFixture};

/// Asks in parts of at most `nodes` things, and puts them together in one answer, things by their distance and key.
///
/// # Panics
/// If a thing or an edge is told twice, a part is empty or too large, or an edge leads to what is told in no part.
pub async fn lineage_in_parts(flow: &AiFlow, query: LineageQuery, nodes: usize) -> Lineage {
    let (mut told, mut edges, mut token) = (BTreeMap::new(), BTreeSet::new(), None);
    loop {
        let part = flow.lineage(&query.clone().nodes(nodes).after(token)).await.unwrap();
        assert!((1..=nodes).contains(&part.nodes.len()), "{} of {nodes}", part.nodes.len());
        for node in part.nodes {
            let twice = told.insert((node.hops, node.key.clone()), node);
            assert!(twice.is_none(), "{twice:?}");
        }
        for edge in part.edges {
            assert!(edges.insert(edge.clone()), "{edge:?} is told twice");
        }
        assert_eq!(part.complete, part.next.is_none());
        token = part.next;
        if token.is_none() {
            break;
        }
    }
    let keys: BTreeSet<&RecordKey> = told.keys().map(|(_, key)| key).collect();
    assert_eq!(keys.len(), told.len(), "a thing is told at two distances");
    assert!(edges.iter().all(|edge| keys.contains(&edge.from) && keys.contains(&edge.to)), "an edge leads nowhere");
    Lineage { nodes: told.into_values().collect(), edges: edges.into_iter().collect(), complete: true, next: None }
}

/// The lineage in one answer, which is the same in parts of any size.
///
/// # Panics
/// If it is not.
pub async fn lineage_in_one(flow: &AiFlow, query: LineageQuery) -> Lineage {
    let mut whole = flow.lineage(&query).await.unwrap();
    assert!(whole.complete && whole.next.is_none());
    whole.nodes.sort_by(|a, b| (a.hops, &a.key).cmp(&(b.hops, &b.key)));
    for nodes in [1, 2, 3, 7] {
        assert_eq!(lineage_in_parts(flow, query.clone(), nodes).await, whole, "in parts of {nodes}");
    }
    whole
}

/// A workflow execution with one job, which read a version of a dataset and made one of a model, as a scheduler stores them.
fn execution(n: u32, version: u32) -> Batch {
    let cause = json!({"events": [n]});
    let execution: WorkflowExecution = serde_json::from_value(json!({
        "id": format!("{n}.0"), "project": "wine", "workflow": "quality", "version": version, "status": "SUCCEEDED",
        "completion": "idle", "params": null, "cause": cause, "created_at": 0, "finished_at": 0,
    }))
    .unwrap();
    let job: JobExecution = serde_json::from_value(json!({
        "id": format!("{n}.1"), "workflow_execution": format!("{n}.0"), "project": "wine", "workflow": "quality",
        "job": "train", "executor": "function", "status": "SUCCEEDED", "attempt": 1, "cause": cause, "created_at": 0,
    }))
    .unwrap();
    let key = job_execution_key(job.id);
    let version_of = |kind: &str, name: &str| RecordKey::new(kind, format!("wine/{name}/{n}"));
    Batch::at(Timestamp::EPOCH)
        .put(workflow_execution_put(&execution))
        .put(job_execution_put(&job))
        .relate(READ, key.clone(), version_of("dataset_version", "samples"))
        .relate(PRODUCED, key, version_of("model_version", "wine"))
}

fn ids<'a>(lineage: &'a Lineage, kind: &'a str) -> Vec<&'a str> {
    lineage.of_kind(kind).map(|node| node.key.id.as_str()).collect()
}

/// What came of data and of code is found, and what led to a model is the same the other way round; in one answer and in parts.
pub async fn lineage_is_the_same_from_either_end(fixture: &dyn StoreFixture) {
    let backend: Backend = fixture.open().await;
    let flow = AiFlow::new(Arc::clone(&backend.store), Arc::clone(&backend.bus)).unwrap().project("wine").unwrap();
    let samples = flow.datasets().register(Dataset::new("samples", "file:///s").unwrap()).await.unwrap();
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    for version in 1..=2 {
        let mut graph = AiGraph::new("wine", "quality");
        for n in 1..=version {
            graph.node(format!("train{n}"), function("train"));
        }
        flow.submit(&graph.translate().unwrap()).await.unwrap();
    }
    // The first execution has the first version of the workflow, the other two the second.
    for (n, version) in [(1, 1), (2, 2), (3, 2)] {
        let uri = format!("file:///s/{n}");
        flow.datasets().register_version("samples", NewDatasetVersion::new(uri)).await.unwrap();
        flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
        flow.store().commit(execution(n, version)).await.unwrap();
    }
    let (project, workflow) = ("wine".parse().unwrap(), "quality".parse().unwrap());
    let code = |version| workflow_version_key(&project, &workflow, version);
    let models = ["wine/wine/1", "wine/wine/2", "wine/wine/3"];
    for (root, made) in [(samples.key.clone(), &models[..]), (code(1), &models[..1]), (code(2), &models[1..])] {
        let down = lineage_in_one(&flow, LineageQuery::downstream(root.clone())).await;
        assert_eq!(ids(&down, "model_version"), made, "of {root}");
        assert_eq!(down.of_kind("job_execution").count(), made.len());
        for node in down.of_kind("model_version") {
            let up = lineage_in_one(&flow, LineageQuery::upstream(node.key.clone())).await;
            assert!(up.nodes.iter().any(|node| node.key == root), "{root} is not in {up:?}");
            // What leads from the root to the version is the same in both directions.
            let both = up.edges.iter().filter(|edge| down.edges.contains(edge));
            assert!(both.count() >= 2, "{up:?}\n{down:?}");
        }
    }
    let only = LineageQuery::downstream(samples.key.clone()).along(["version_of"]);
    assert_eq!(ids(&lineage_in_one(&flow, only).await, "dataset_version").len(), 3);
    let only = LineageQuery::downstream(code(2)).along(["runs", "part_of"]);
    let only = lineage_in_one(&flow, only).await;
    assert_eq!((ids(&only, "job_execution").len(), only.nodes.len()), (2, 1 + 2 + 2));
}
