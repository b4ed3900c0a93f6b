//! Does SQL alone tell what something was made from, as the library does?

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::JobStatus;
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::lineage::{Lineage, LineageQuery};
use aiflow_core::meta::{Dataset, Model, NewDatasetVersion, NewModelVersion, PRODUCED};
use aiflow_core::store::RecordKey;
use aiflow_core::workflow::{Completion, on, on_dataset, start};
use aiflow_store_sqlite::SqliteStore;
use serde_json::Value;
use tempfile::tempdir;

use super::{open, shell, text};

/// As a user writes it: everything upstream of the version, however far.
const UPSTREAM: &str = "WITH RECURSIVE up(kind, id) AS (
    VALUES ('model_version', 'wine/classifier/1')
    UNION SELECT upstream_kind, upstream_id FROM up JOIN lineage ON downstream_kind = kind AND downstream_id = id)";

/// A batch becomes a version of the samples, which becomes a version of the model. Returns when both jobs have ended.
async fn train(flow: &AiFlow) {
    flow.datasets().register(Dataset::new("samples", "file:///samples").unwrap()).await.unwrap();
    flow.models().register(Model::new("classifier").unwrap()).await.unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.completion(Completion::Standing);
    graph.node("features", function("features"));
    graph.node("training", function("train"));
    graph.control("features", start(on("raw_batch")));
    graph.control("training", start(on_dataset("samples")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new()
        .register("features", async |ctx: JobContext, _: Value| {
            ctx.datasets().register_version("samples", NewDatasetVersion::new("file:///samples/1")).await?;
            Ok::<_, JobError>(())
        })
        .register("train", async |ctx: JobContext, _: Value| {
            let samples = ctx.datasets().versions("samples").await?;
            ctx.aiflow().note_read(&samples.iter().map(|version| version.key.clone()).collect::<Vec<_>>()).await?;
            ctx.models().register_version("classifier", NewModelVersion::new("file:///m1")).await?;
            Ok::<_, JobError>(())
        });
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    let execution = flow.start("quality", Value::Null).await.unwrap();
    flow.publish(flow.event("raw_batch").value(1)).await.unwrap();
    let trained = flow.wait_until(execution, |_, jobs| {
        jobs.iter().any(|(name, job)| name.as_str() == "training" && job.last == Some(JobStatus::Succeeded))
    });
    trained.await.unwrap();
    scheduler.shutdown().await.unwrap();
}

/// Kind, id and name of everything; and what hangs together how: relation, upstream, downstream.
type Told = (BTreeSet<[String; 3]>, BTreeSet<[String; 5]>);

fn told(lineage: &Lineage) -> Told {
    let node = |key: &RecordKey| [key.kind.to_string(), key.id.to_string()];
    let nodes = lineage.nodes.iter().map(|it| [it.key.kind.to_string(), it.key.id.to_string(), it.name.clone()]);
    let edges = lineage.edges.iter().map(|edge| {
        let ([from_kind, from_id], [to_kind, to_id]) = (node(&edge.from), node(&edge.to));
        let relation = edge.kind.clone();
        if relation == PRODUCED {
            [relation, from_kind, from_id, to_kind, to_id]
        } else {
            [relation, to_kind, to_id, from_kind, from_id]
        }
    });
    (nodes.collect(), edges.collect())
}

async fn ask(path: &Path, sql: &str) -> String {
    text(&mut shell(path).await, &format!("{UPSTREAM} {sql}")).await
}

#[tokio::test]
async fn sql_alone_tells_which_event_data_and_code_made_a_model_version() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = Arc::new(open(&path).await);
    let flow = AiFlow::new(Arc::<SqliteStore>::clone(&store), store).unwrap().project("wine").unwrap();
    train(&flow).await;

    let version = flow.models().version("classifier", 1).await.unwrap().unwrap();
    let lineage = flow.lineage(&LineageQuery::upstream(version.key.clone())).await.unwrap();
    assert!(lineage.complete);
    let edges =
        "SELECT json_group_array(json_array(relation, upstream_kind, upstream_id, downstream_kind, downstream_id))
        FROM up JOIN lineage ON downstream_kind = kind AND downstream_id = id";
    let edges: Vec<[String; 5]> = serde_json::from_str(&ask(&path, edges).await).unwrap();
    let nodes = "SELECT json_group_array(json_array(kind, id, coalesce(upstream_name, 'classifier')))
        FROM (SELECT DISTINCT kind, id, upstream_name FROM up LEFT JOIN lineage ON upstream_kind = kind AND upstream_id = id)";
    let nodes: BTreeSet<[String; 3]> = serde_json::from_str(&ask(&path, nodes).await).unwrap();
    let n_edges = edges.len();
    let by_sql = (nodes, BTreeSet::from_iter(edges));
    assert_eq!(by_sql, told(&lineage));
    assert_eq!(n_edges, by_sql.1.len(), "each is shown once");

    let event = "SELECT key || ' ' || value FROM up JOIN event_log ON kind = 'event' AND offset = up.id WHERE event_type = 'UNDEFINED'";
    assert_eq!(ask(&path, event).await, "raw_batch 1");
    let data =
        "SELECT dataset || ' ' || version FROM up JOIN dataset_version v ON kind = 'dataset_version' AND v.id = up.id";
    assert_eq!(ask(&path, data).await, "samples 1");
    let code = "SELECT workflow || ' ' || version || ' ' || hash FROM up JOIN workflow_version v ON kind = 'workflow_version' AND v.id = up.id";
    let stored = flow.workflow_version("quality", 1).await.unwrap().unwrap();
    assert_eq!(ask(&path, code).await, format!("quality 1 {}", stored.hash));
}
