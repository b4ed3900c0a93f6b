//! Lineage: which event, data and code made this model, and what came of a dataset?

use std::collections::BTreeSet;
use std::sync::Arc;

use aiflow_core::ErrorKind;
use aiflow_core::client::{AiFlow, Retention};
use aiflow_core::event::{EventFilter, JOB_STATUS_CHANGED};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId};
use aiflow_core::lineage::{DERIVED_FROM, LINEAGE_NODES_MAX, LINEAGE_WALK_MAX, Lineage, LineageQuery, TRIGGERS_MAX};
use aiflow_core::memory::MemoryStore;
use aiflow_core::meta::{Dataset, Model, NewDatasetVersion, NewModelVersion};
use aiflow_core::records::{workflow_execution_key, workflow_version_key};
use aiflow_core::runtime::Scheduler;
use aiflow_core::store::{Batch, RecordKey, RecordPut, RelationQuery};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{all, count, on, start, start_workflow};
use aiflow_testkit::clock::ManualClock;
use aiflow_testkit::meta_suite::lineage_in_one;
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
    assert!(lineage.complete && lineage.next.is_none());
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

async fn with_things(flow: &AiFlow, things: usize) {
    let put = |batch: Batch, n| batch.put(RecordPut::new(thing(n), json!({})));
    flow.store().commit((0..things).fold(Batch::at(Timestamp::EPOCH), put)).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_room_says_where_to_go_on() {
    let flow = super::client::aiflow();
    with_things(&flow, 40).await;
    // A tree: each thing is made from the one at half its number.
    for n in 1..40 {
        flow.derived(&thing(n), &thing(n / 2)).await.unwrap();
    }
    let whole = lineage_in_one(&flow, LineageQuery::downstream(thing(0))).await;
    assert!(whole.nodes.len() == 40 && whole.edges.len() == 39);
    let part = flow.lineage(&LineageQuery::downstream(thing(0)).nodes(7)).await.unwrap();
    assert!(part.nodes.len() == 7 && !part.complete && part.next.is_some());
    let near = lineage_in_one(&flow, LineageQuery::downstream(thing(1)).hops(2)).await;
    assert_eq!(near.nodes.iter().map(|node| node.hops).max(), Some(2));
    assert_eq!(near.nodes.len(), 1 + 2 + 4);
    let up = flow.lineage(&LineageQuery::upstream(thing(39)).along(["derived_from"])).await.unwrap();
    assert_eq!(up.nodes.len(), [39, 19, 9, 4, 2, 1, 0].len());
    let roots = LineageQuery::upstream(thing(5)).and_from([thing(7), thing(5)]);
    assert_eq!(lineage_in_one(&flow, roots).await.nodes.len(), [5, 7, 2, 3, 1, 0].len());
    let unknown = flow.lineage(&LineageQuery::upstream(thing(99))).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let one_is_there = LineageQuery::upstream(thing(99)).and_from([thing(0)]).nodes(1);
    assert!(!flow.lineage(&one_is_there).await.unwrap().complete);
    assert_eq!(flow.derived(&thing(1), &thing(99)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Answers in parts went round for ever, gave things twice, and lost the edges between parts.
#[tokio::test]
async fn parts_of_a_lineage_with_ways_that_meet_and_circles_are_the_whole_and_end() {
    let flow = super::client::aiflow();
    with_things(&flow, 12).await;
    // A diamond with a way across and a longer way to its end; a circle of two; one that leads into a circle; a thing made from itself.
    let made_from = [(1, 0), (2, 0), (3, 1), (3, 2), (2, 1), (4, 1), (5, 4), (3, 5)];
    let circles = [(6, 7), (7, 6), (8, 6), (9, 8), (8, 9), (10, 10)];
    for (made, from) in made_from.into_iter().chain(circles) {
        flow.derived(&thing(made), &thing(from)).await.unwrap();
    }
    for n in 0..12 {
        lineage_in_one(&flow, LineageQuery::downstream(thing(n))).await;
        lineage_in_one(&flow, LineageQuery::upstream(thing(n))).await;
        lineage_in_one(&flow, LineageQuery::upstream(thing(n)).hops(2)).await;
    }
    let sizes = async |query| {
        let found = lineage_in_one(&flow, query).await;
        (found.nodes.len(), found.edges.len())
    };
    assert_eq!(sizes(LineageQuery::downstream(thing(0))).await, (6, made_from.len()));
    assert_eq!(sizes(LineageQuery::upstream(thing(3))).await, (6, made_from.len()));
    assert_eq!(sizes(LineageQuery::downstream(thing(6))).await, (4, 5));
    assert_eq!(sizes(LineageQuery::upstream(thing(9))).await, (4, 5));
    assert_eq!(sizes(LineageQuery::upstream(thing(10))).await, (1, 1));
    // A token can be kept as text.
    let part = flow.lineage(&LineageQuery::downstream(thing(0)).nodes(2)).await.unwrap();
    let text = serde_json::to_string(&part).unwrap();
    assert_eq!(serde_json::from_str::<Lineage>(&text).unwrap(), part);
}

#[tokio::test]
async fn a_lineage_that_is_too_large_ends_and_is_not_said_to_be_complete() {
    let flow = super::client::aiflow();
    let all = LINEAGE_WALK_MAX + 10;
    with_things(&flow, 1).await;
    for from in (1..all).step_by(50_000) {
        let relate = |batch: Batch, n| batch.relate(DERIVED_FROM, thing(n), thing(0));
        let batch = (from..all.min(from + 50_000)).fold(Batch::at(Timestamp::EPOCH), relate);
        flow.store().commit(batch).await.unwrap();
    }
    let (mut query, mut told) = (LineageQuery::downstream(thing(0)).nodes(LINEAGE_NODES_MAX), 0);
    loop {
        let part = flow.lineage(&query).await.unwrap();
        assert!(!part.complete);
        told += part.nodes.len();
        if part.next.is_none() {
            break;
        }
        query = query.after(part.next);
    }
    assert_eq!(told, LINEAGE_WALK_MAX);
}

#[tokio::test]
async fn what_came_later_is_not_there_as_of_a_moment() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let memory = Arc::new(MemoryStore::new(Arc::<ManualClock>::clone(&clock)));
    let flow = super::client::handle_of(&memory).with_clock(Arc::<ManualClock>::clone(&clock));
    let model = flow.models().register(Model::new("wine").unwrap()).await.unwrap().key;
    let mut versions = Vec::new();
    for millis in [100, 200, 300] {
        clock.set(Timestamp::from_millis(millis));
        versions.push(flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap().key);
    }
    // The third is made from the first. That is noted last of all, and is told of any moment at which both are there.
    clock.set(Timestamp::from_millis(400));
    flow.derived(&versions[2], &versions[0]).await.unwrap();
    for (moment, there) in [(50, 0), (99, 0), (100, 1), (150, 1), (200, 2), (299, 2), (300, 3)] {
        let as_of = |query: LineageQuery| query.as_of(Timestamp::from_millis(moment));
        let down = lineage_in_one(&flow, as_of(LineageQuery::downstream(model.clone()))).await;
        assert!(down.of_kind("model_version").map(|node| &node.key).eq(&versions[..there]), "at {moment}");
        let n_derived = down.edges.iter().filter(|edge| edge.kind == DERIVED_FROM).count();
        assert_eq!((down.edges.len(), n_derived), (there + n_derived, usize::from(there == 3)), "at {moment}");
    }
    let none = LineageQuery::upstream(versions[2].clone()).as_of(Timestamp::from_millis(299));
    assert_eq!(flow.lineage(&none).await.unwrap(), Lineage { complete: true, ..Lineage::default() });
}

/// Jobs name versions of the data that they read; nothing was found downstream of the dataset itself, nor of the code.
#[tokio::test]
async fn models_are_found_from_the_data_and_the_code_and_while_a_stream_still_runs() {
    let flow = super::client::aiflow();
    let functions = Functions::new().register("learn", async |ctx: JobContext, _: Value| {
        ctx.datasets().version("samples", 1).await?.ok_or("no data")?;
        ctx.models().register_version("wine", NewModelVersion::new("file:///m")).await?;
        ctx.publish(ctx.event("learnt")).await?;
        ctx.cancelled().await;
        Ok::<_, JobError>(())
    });
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    let samples = flow.datasets().register(Dataset::new("samples", "file:///s").unwrap()).await.unwrap();
    flow.datasets().register_version("samples", NewDatasetVersion::new("file:///s/1")).await.unwrap();
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    let mut graph = AiGraph::new("wine", "online");
    graph.node("learn", function("learn").streaming());
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let execution = flow.start("online", Value::Null).await.unwrap();
    flow.listen(EventFilter::all().key("learnt"), Offset::START).next().await.unwrap();
    let mut changes = flow.listen(EventFilter::all().event_type(JOB_STATUS_CHANGED), Offset::START);
    while changes.next().await.unwrap().value != "RUNNING" {}
    let model = flow.models().version("wine", 1).await.unwrap().unwrap().key;

    let code = workflow_version_key(flow.project_name(), &"online".parse().unwrap(), 1);
    for root in [samples.key.clone(), code.clone()] {
        let down = lineage_in_one(&flow, LineageQuery::downstream(root.clone())).await;
        assert!(down.nodes.iter().any(|node| node.key == model), "{down:?}");
        let up = lineage_in_one(&flow, LineageQuery::upstream(model.clone())).await;
        let job = up.of_kind("job_execution").next().unwrap();
        assert_eq!((job.name.as_str(), job.state.as_str()), ("learn", "RUNNING"));
        assert!(up.nodes.iter().any(|node| node.key == root), "{up:?}");
    }

    // Some relations only, and not beyond some things.
    let kinds_of = async |query| {
        let found = lineage_in_one(&flow, query).await;
        found.nodes.into_iter().map(|node| node.key.kind).collect::<BTreeSet<String>>()
    };
    let up = || LineageQuery::upstream(model.clone());
    let named = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<BTreeSet<String>>();
    let of_data = named(&["model_version", "job_execution", "dataset_version"]);
    assert_eq!(kinds_of(up().along(["produced", "read"])).await, of_data);
    let of_code = named(&["model_version", "job_execution", "workflow_execution", "workflow_version"]);
    assert_eq!(kinds_of(up().along(["produced", "part_of", "runs"])).await, of_code);
    assert_eq!(kinds_of(up().stop_at("job_execution")).await, named(&["model_version", "model", "job_execution"]));
    let stopped = up().along(["produced", "read", "version_of"]).stop_at("dataset_version").stop_at("model");
    assert_eq!(kinds_of(stopped).await, named(&["model_version", "model", "job_execution", "dataset_version"]));
    flow.stop(execution).await.unwrap();
    flow.wait(execution).await.unwrap();
    scheduler.shutdown().await.unwrap();
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
