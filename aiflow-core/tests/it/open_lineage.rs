//! Run events of OpenLineage: do they say what is stored, in the shape of the specification?
//!
//! `open_lineage_facts.json` holds what specification 2-0-2 and its facets require, in words of our own: the fields of each sort of object,
//! and what each field holds. Fields that it does not know are wrong, too: a misspelt one would be lost on everybody who reads the events.

use std::collections::BTreeSet;

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::execution::{ScheduledTime, WorkflowExecution};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobExecutionId, Offset, ScheduleName, WorkflowExecutionId};
use aiflow_core::meta::{Artifact, Catalog, DataType, Dataset, Model, NewDatasetVersion, NewModelVersion, Schema};
use aiflow_core::open_lineage::{Execution, RunEvent};
use aiflow_core::records::workflow_execution_put;
use aiflow_core::runtime::Scheduler;
use aiflow_core::store::{Batch, MetaStore};
use aiflow_core::time::Timestamp;
use serde_json::{Value, json};

use super::client::aiflow;

/// What is wrong with `value` as a `sort`, at `path`.
fn problems(facts: &Value, sort: &str, path: &str, value: &Value) -> Vec<String> {
    let is = |holds: bool| if holds { Vec::new() } else { vec![format!("{path} is no {sort}: {value}")] };
    let text = value.as_str().unwrap_or_default();
    if let Some(of) = sort.strip_prefix('[').and_then(|sort| sort.strip_suffix(']')) {
        let Some(items) = value.as_array() else { return is(false) };
        let each = items.iter().enumerate();
        return each.flat_map(|(n, item)| problems(facts, of, &format!("{path}/{n}"), item)).collect();
    }
    match sort {
        "string" => is(value.is_string() && !text.is_empty()),
        "uri" => is(text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty())
            && text.chars().all(|c| c.is_ascii_graphic())),
        "uuid" => is(uuid::Uuid::try_parse(text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text)),
        "date-time" => is(Timestamp::parse_rfc3339(text).is_ok()),
        "facets" => {
            let Some(facets) = value.as_object() else { return is(false) };
            facets.iter().flat_map(|(name, facet)| problems(facts, name, &format!("{path}/{name}"), facet)).collect()
        }
        words if words.contains('|') => is(words.split('|').any(|word| word == text)),
        _ => {
            let (Some(known), Some(fields)) = (facts.get(sort), value.as_object()) else { return is(false) };
            let sort_of = |name: &str| {
                let sort = known["required"].get(name).or(known["optional"].get(name));
                sort.and_then(Value::as_str)
            };
            let required = known["required"].as_object().unwrap().keys();
            let missing =
                required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{path}/{name} is missing"));
            let wrong = fields.iter().flat_map(|(name, field)| match sort_of(name) {
                Some(sort) => problems(facts, sort, &format!("{path}/{name}"), field),
                None => vec![format!("{path}/{name} is unknown")],
            });
            missing.chain(wrong).collect()
        }
    }
}

fn facts() -> Value {
    serde_json::from_str(include_str!("open_lineage_facts.json")).unwrap()
}

/// The events as JSON, each checked; and the sequence that each run must have: one START, then at most one that is not RUNNING.
async fn told(flow: &AiFlow, execution: impl Into<Execution>) -> Vec<Value> {
    let events: Vec<RunEvent> = flow.open_lineage(execution).await.unwrap();
    let events: Vec<Value> = events.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let facts = facts();
    let mut begun = BTreeSet::new();
    let mut over = BTreeSet::new();
    for event in &events {
        assert_eq!(problems(&facts, "event", "", event), Vec::<String>::new(), "{event:#}");
        let run = event["run"]["runId"].as_str().unwrap().to_owned();
        let is_new = begun.insert(run.clone());
        assert_eq!(event["eventType"] == "START", is_new, "{event:#}");
        assert!(event["eventType"] == "START" || over.insert(run), "two ends of one run: {event:#}");
    }
    assert!(events.is_sorted_by_key(|event| event["eventTime"].as_str().unwrap().to_owned()), "{events:#?}");
    events
}

/// The events in short: transition, job, inputs and outputs.
fn short(events: &[Value]) -> Vec<String> {
    let names = |datasets: &Value| -> String {
        let name = |dataset: &Value| {
            let version = dataset["facets"]["version"]["datasetVersion"].as_str().map(|version| format!("@{version}"));
            let text = |field: &str| dataset[field].as_str().unwrap().to_owned();
            format!(" {}|{}{}", text("namespace"), text("name"), version.unwrap_or_default())
        };
        datasets.as_array().unwrap().iter().map(name).collect()
    };
    let event = |event: &Value| {
        let (sort, job) = (event["eventType"].as_str().unwrap(), event["job"]["name"].as_str().unwrap());
        format!("{sort} {job} <-{} ->{}", names(&event["inputs"]), names(&event["outputs"]))
    };
    events.iter().map(event).collect()
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    let functions = Functions::new()
        .register("train", async |ctx: JobContext, params: Value| {
            ctx.datasets().version("samples", 1).await?.ok_or("no data")?;
            ctx.datasets().get("labels").await?.ok_or("no labels")?;
            if params["fails"] == true {
                return Err(JobError::permanent("no convergence"));
            }
            ctx.models().register(Model::new("grape")?).await?;
            ctx.models().register_version("grape", NewModelVersion::new("s3://models/grape.onnx")).await?;
            ctx.artifacts().register(Artifact::new("report", "file:///r/report.html")?).await?;
            Ok(())
        })
        .register("serve", async |ctx: JobContext, _: Value| {
            ctx.datasets().get("labels").await?.ok_or("no labels")?;
            ctx.artifacts().register(Artifact::new("answers", "s3://out/answers")?).await?;
            ctx.publish(ctx.event("serving")).await?;
            ctx.cancelled().await;
            Ok::<_, JobError>(())
        });
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

/// A handle with data, and workflows `quality` (which trains) and `answers` (which serves).
async fn prepared() -> AiFlow {
    let flow = aiflow();
    let datasets = flow.datasets();
    let columns = Schema::new().column("acid", DataType::Float64).column("label", DataType::String);
    let samples = Dataset::new("samples", "s3://wine/samples").unwrap().schema(columns);
    datasets.register(samples).await.unwrap();
    datasets.register_version("samples", NewDatasetVersion::new("s3://wine/samples/1")).await.unwrap();
    let labels = Dataset::in_catalog("labels", Catalog::new("lake", "wine", "labels")).unwrap();
    datasets.register(labels).await.unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("train", function("train"));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let mut graph = AiGraph::new("wine", "answers");
    graph.node("serve", function("serve").streaming());
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    flow
}

async fn only_job(flow: &AiFlow, execution: WorkflowExecutionId) -> JobExecutionId {
    flow.job_executions(execution).await.unwrap()[0].id
}

#[tokio::test]
async fn a_run_tells_what_it_read_and_produced() {
    let flow = prepared().await;
    let scheduler = scheduler(&flow);
    let execution = flow.start("quality", json!({"fails": false})).await.unwrap();
    flow.wait(execution).await.unwrap();
    let head = flow.head().await.unwrap();
    let events = told(&flow, execution).await;
    assert_eq!(
        short(&events),
        [
            "START quality <- ->",
            "START quality.train <- ->",
            "COMPLETE quality.train <- catalog://lake|wine.labels s3://wine|samples@1 -> aiflow://wine|model/grape \
             aiflow://wine|model/grape@1 file|/r/report.html",
            "COMPLETE quality <- ->",
        ]
    );
    let end = &events[2];
    assert_eq!(end["job"]["namespace"], "wine");
    assert_eq!(end["run"]["facets"]["parent"]["run"]["runId"], events[0]["run"]["runId"]);
    assert_eq!(end["run"]["facets"]["parent"]["job"]["name"], "quality");
    let samples = &end["inputs"][1]["facets"];
    assert_eq!(samples["schema"]["fields"][0]["name"], "acid", "a version without columns has those of its dataset");
    assert_eq!(samples["dataSource"]["uri"], "s3://wine/samples/1");
    assert_eq!(end["outputs"][1]["facets"]["datasetType"]["datasetType"], "MODEL");
    assert_eq!(end["job"]["facets"]["jobType"]["processingType"], "BATCH");
    assert_eq!(told(&flow, only_job(&flow, execution).await).await, events[1..3], "the job alone is the same run");
    assert_eq!(flow.head().await.unwrap(), head, "nobody is told");
    scheduler.shutdown().await.unwrap();

    // A copy tells the same.
    let mut export = Vec::new();
    flow.export().to(&mut export).await.unwrap();
    let copy = aiflow();
    copy.import(export.as_slice()).await.unwrap();
    assert_eq!(told(&copy, execution).await, events);
}

#[tokio::test]
async fn a_failure_tells_its_reason() {
    let flow = prepared().await;
    let scheduler = scheduler(&flow);
    let execution = flow.start("quality", json!({"fails": true})).await.unwrap();
    flow.wait(execution).await.unwrap();
    let events = told(&flow, execution).await;
    let inputs = "catalog://lake|wine.labels s3://wine|samples@1";
    assert_eq!(short(&events)[2..], [format!("FAIL quality.train <- {inputs} ->"), "FAIL quality <- ->".to_owned()]);
    assert_eq!(events[2]["run"]["facets"]["errorMessage"]["message"], "no convergence");
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_seen_while_it_runs() {
    let flow = prepared().await;
    let scheduler = scheduler(&flow);
    let execution = flow.start("answers", Value::Null).await.unwrap();
    let filter = aiflow_core::event::EventFilter::all().key("serving");
    flow.listen(filter, Offset::START).next().await.unwrap();
    let job = only_job(&flow, execution).await;
    let serving = "<- catalog://lake|wine.labels -> s3://out|answers";
    let now = told(&flow, job).await;
    assert_eq!(short(&now), ["START answers.serve <- ->".to_owned(), format!("RUNNING answers.serve {serving}")]);
    assert_eq!(now[1]["job"]["facets"]["jobType"]["processingType"], "STREAMING");
    flow.stop(execution).await.unwrap();
    flow.wait(execution).await.unwrap();
    let then = told(&flow, execution).await;
    assert_eq!(short(&then)[2..], [format!("ABORT answers.serve {serving}"), "ABORT answers <- ->".to_owned()]);
    assert_eq!(then[1]["run"]["runId"], now[0]["run"]["runId"]);
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_time_of_a_schedule_is_the_nominal_time_of_workflow_and_job() {
    let flow = prepared().await;
    let scheduler = scheduler(&flow);
    let execution = flow.start("quality", json!({"fails": false})).await.unwrap();
    let mut stored: WorkflowExecution = flow.wait(execution).await.unwrap();
    scheduler.shutdown().await.unwrap();
    let schedule = ScheduleName::parse("nightly").unwrap();
    let time = Timestamp::from_millis(1_700_000_000_000);
    stored.cause.schedule = Some(ScheduledTime { schedule, time, until: None, backfill: false, quiet: false });
    flow.store().commit(Batch::at(time).put(workflow_execution_put(&stored))).await.unwrap();
    for event in told(&flow, execution).await {
        let nominal = &event["run"]["facets"]["nominalTime"]["nominalStartTime"];
        assert_eq!(nominal, "2023-11-14T22:13:20.000Z", "{event:#}");
    }
}

#[tokio::test]
async fn what_was_never_there_tells_nothing() {
    let flow = prepared().await;
    for execution in [Execution::from(WorkflowExecutionId::new(Offset(7), 0)), JobExecutionId::new(Offset(7), 0).into()]
    {
        assert_eq!(flow.open_lineage(execution).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

/// The check can fail.
#[test]
fn events_that_are_no_run_events_are_found() {
    let facts = facts();
    let whole = json!({
        "eventType": "START", "eventTime": "2023-11-14T22:13:20Z", "producer": "https://example.org/a",
        "schemaURL": "https://example.org/b", "run": {"runId": "0190a4c6-7e0e-8000-8000-000000000000"},
        "job": {"namespace": "wine", "name": "quality"}, "inputs": [{"namespace": "file", "name": "/a"}],
    });
    assert_eq!(problems(&facts, "event", "", &whole), Vec::<String>::new());
    for (path, wrong) in [
        ("/eventType", json!("BEGIN")),
        ("/eventTime", json!("yesterday")),
        ("/producer", json!("me")),
        ("/run/runId", json!("7.0")),
        ("/job/name", json!("")),
        ("/inputs", json!({})),
        ("/inputs/0", json!({"namespace": "file"})),
        ("/job", json!({"namespace": "wine", "name": "quality", "facets": {"parent": {}}})),
        ("/run", json!({"runID": "0190a4c6-7e0e-8000-8000-000000000000"})),
    ] {
        let mut event = whole.clone();
        *event.pointer_mut(path).unwrap() = wrong;
        let found = problems(&facts, "event", "", &event);
        assert!(found.iter().any(|problem| problem.starts_with(path)), "{path}: {found:?}");
    }
}
