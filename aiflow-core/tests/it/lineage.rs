//! Lineage: which event, data and code made this model, and what came of a dataset?

use std::collections::BTreeSet;

use aiflow_core::ErrorKind;
use aiflow_core::client::{AiFlow, Retention};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId};
use aiflow_core::lineage::{Lineage, LineageQuery, TRIGGERS_MAX};
use aiflow_core::meta::{Dataset, Model, NewModelVersion};
use aiflow_core::records::workflow_execution_key;
use aiflow_core::runtime::Scheduler;
use aiflow_core::store::{Batch, RecordKey, RecordPut, RelationQuery};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{all, count, on, start, start_workflow};
use serde_json::{Value, json};

/// `clean` publishes an event for each raw batch; `train`, on that event and an approval, reads the samples and makes a version.
fn graph() -> AiGraph {
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("clean", function("clean"));
    graph.node("train", function("train"));
    graph.control("clean", start(on("raw")));
    graph.control("train", start(all([on("cleaned"), on("approved")])));
    graph
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    let functions = Functions::new()
        .register("clean", async |ctx: JobContext, _: Value| {
            ctx.publish(ctx.event("cleaned")).await?;
            Ok::<_, JobError>(())
        })
        .register("train", async |ctx: JobContext, _: Value| {
            ctx.datasets().get("samples").await?;
            ctx.models().register_version("wine", NewModelVersion::new("file:///m")).await?;
            Ok::<_, JobError>(())
        });
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

/// A standing execution in which one version was made.
async fn trained(flow: &AiFlow) -> WorkflowExecutionId {
    flow.datasets().register(Dataset::new("samples", "file:///s").unwrap()).await.unwrap();
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    flow.submit(&graph().translate().unwrap()).await.unwrap();
    let execution = flow.start("quality", Value::Null).await.unwrap();
    flow.publish(flow.event("raw").value("s3://raw/1")).await.unwrap();
    flow.wait_until(execution, |_, jobs| {
        jobs.get(&JobName::parse("clean").unwrap()).is_some_and(|job| job.last.is_some())
    })
    .await
    .unwrap();
    flow.publish(flow.event("approved").value("by ada")).await.unwrap();
    flow.wait_until(execution, |_, jobs| {
        jobs.get(&JobName::parse("train").unwrap()).is_some_and(|job| job.last.is_some())
    })
    .await
    .unwrap();
    execution
}

fn kinds(lineage: &Lineage) -> BTreeSet<&str> {
    lineage.nodes.iter().map(|node| node.key.kind.as_str()).collect()
}

#[tokio::test]
async fn one_call_tells_which_events_data_and_code_made_a_model() {
    let flow = super::client::aiflow();
    let scheduler = scheduler(&flow);
    let execution = trained(&flow).await;
    let version = flow.models().version("wine", 1).await.unwrap().unwrap();
    let lineage = flow.lineage(&LineageQuery::upstream(version.key.clone())).await.unwrap();
    assert!(lineage.complete && lineage.rest.is_empty());
    let names = |kind: &str| -> BTreeSet<String> { lineage.of_kind(kind).map(|node| node.name.clone()).collect() };
    assert_eq!(names("job_execution"), ["clean", "train"].map(str::to_owned).into());
    assert_eq!(names("dataset"), ["samples".to_owned()].into());
    assert_eq!(names("workflow_version"), ["quality".to_owned()].into());
    let events = names("event");
    for key in ["raw", "cleaned", "approved"] {
        assert!(events.iter().any(|event| event.contains(key)), "{key} is not in {events:?}");
    }
    let mermaid = lineage.to_mermaid();
    assert!(mermaid.contains("produced") && mermaid.contains("triggered_by"), "{mermaid}");
    assert!(lineage.to_dot().starts_with("digraph"), "{}", lineage.to_dot());

    // The other way round, through the event that one job published and that fired the other.
    let clean = lineage.of_kind("job_execution").find(|node| node.name == "clean").unwrap();
    let impact = flow.lineage(&LineageQuery::downstream(clean.key.clone())).await.unwrap();
    assert_eq!(kinds(&impact), BTreeSet::from(["job_execution", "event", "model_version"]), "{impact:?}");
    let samples = lineage.of_kind("dataset").next().unwrap().key.clone();
    let impact = flow.lineage(&LineageQuery::downstream(samples.clone())).await.unwrap();
    assert!(impact.of_kind("model_version").any(|node| node.key == version.key), "{impact:?}");
    let stopped = LineageQuery::downstream(samples.clone()).stop_at("job_execution");
    assert_eq!(kinds(&flow.lineage(&stopped).await.unwrap()), BTreeSet::from(["dataset", "job_execution"]));
    let stopped = LineageQuery::downstream(samples.clone()).stop_where("job_execution", "name = 'other'").unwrap();
    assert_eq!(flow.lineage(&stopped).await.unwrap(), impact);
    let past = LineageQuery::downstream(samples).as_of(Timestamp::EPOCH);
    assert!(flow.lineage(&past).await.unwrap().nodes.is_empty());

    // What retention removes leaves nothing behind but what was made.
    flow.stop(execution).await.unwrap();
    flow.wait(execution).await.unwrap();
    flow.apply_retention(&Retention::default().executions(0)).await.unwrap();
    let left = flow.store().relations(&RelationQuery { kind: Some("triggered_by".into()), ..Default::default() }).await;
    assert!(left.unwrap().items.iter().all(|left| left.from.kind == "workflow_execution"));
    let lineage = flow.lineage(&LineageQuery::upstream(version.key.clone())).await.unwrap();
    assert!(
        lineage.of_kind("job_execution").all(|node| !node.is_known) && lineage.of_kind("job_execution").count() == 1
    );
    scheduler.shutdown().await.unwrap();
}

fn thing(n: usize) -> RecordKey {
    RecordKey::new("artifact", n.to_string())
}

#[tokio::test]
async fn an_answer_without_room_says_where_to_go_on() {
    let flow = super::client::aiflow();
    let mut batch = Batch::at(Timestamp::EPOCH);
    for n in 0..40 {
        batch = batch.put(RecordPut::new(thing(n), json!({})));
    }
    flow.store().commit(batch).await.unwrap();
    // A tree: each thing is made from the one at half its number.
    for n in 1..40 {
        flow.derived(&thing(n), &thing(n / 2)).await.unwrap();
    }
    let whole = flow.lineage(&LineageQuery::downstream(thing(0))).await.unwrap();
    assert!(whole.complete && whole.nodes.len() == 40 && whole.edges.len() == 39);
    let mut found: BTreeSet<RecordKey> = BTreeSet::new();
    let mut roots = vec![thing(0)];
    let mut n_answers = 0;
    while let Some(root) = roots.pop() {
        let query = LineageQuery::downstream(root).and_from(std::mem::take(&mut roots)).nodes(7);
        let part = flow.lineage(&query).await.unwrap();
        assert!(part.nodes.len() <= 7 && part.complete == part.rest.is_empty());
        found.extend(part.nodes.into_iter().map(|node| node.key));
        roots.extend(part.rest);
        n_answers += 1;
    }
    assert!(found.len() == 40 && n_answers > 5, "{} in {n_answers}", found.len());
    let near = flow.lineage(&LineageQuery::downstream(thing(1)).hops(2)).await.unwrap();
    assert_eq!(near.nodes.iter().map(|node| node.hops).max(), Some(2));
    assert_eq!(near.nodes.len(), 1 + 2 + 4);
    let up = flow.lineage(&LineageQuery::upstream(thing(39)).along(["derived_from"])).await.unwrap();
    assert_eq!(up.nodes.len(), [39, 19, 9, 4, 2, 1, 0].len());
    let unknown = flow.lineage(&LineageQuery::upstream(thing(99))).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert_eq!(flow.derived(&thing(1), &thing(99)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Relations to the newest events alone were written, and the others were not found.
#[tokio::test]
async fn an_execution_that_many_events_fired_is_traced_back_to_all_of_them() {
    const EVENTS: usize = TRIGGERS_MAX + 20;
    let flow = super::client::aiflow();
    let scheduler = scheduler(&flow);
    let mut graph = graph();
    graph.rule(start_workflow(count(EVENTS, on("raw"))));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let mut last = Offset::START;
    for n in 0..EVENTS {
        last = flow.publish(flow.event("raw").value(n)).await.unwrap();
    }
    scheduler.wait_applied(last).await.unwrap();
    let execution = workflow_execution_key(WorkflowExecutionId::new(last, 0));
    let written = RelationQuery {
        kind: Some("triggered_by".to_owned()),
        from: vec![execution.clone()],
        ..RelationQuery::default()
    };
    assert_eq!(flow.store().relations(&written).await.unwrap().items.len(), TRIGGERS_MAX);
    let lineage = flow.lineage(&LineageQuery::upstream(execution)).await.unwrap();
    assert!(lineage.complete);
    assert_eq!(lineage.of_kind("event").count(), EVENTS);
    scheduler.shutdown().await.unwrap();
}
