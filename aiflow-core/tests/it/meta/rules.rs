//! Metadata in rules: which events do the conditions for it match?

use std::collections::BTreeMap;

use aiflow_core::client::check_user_event;
use aiflow_core::event::{Event, EventFilter, Match};
use aiflow_core::execution::JobState;
use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset};
use aiflow_core::meta::{Dataset, Listing, Model, ModelStage, NewDatasetVersion, NewMetric, Subject};
use aiflow_core::workflow::{Comparison, EventPattern, on_alias, on_dataset, on_metric, on_model_version, start};
use serde_json::Value;

use super::{aiflow, log_of, register};

/// Whether a rule with this pattern, in the project of the event, would take the event.
fn matches(pattern: &EventPattern, event: &Event) -> bool {
    let is = |field: &Match, text: &str| match field {
        Match::Any => true,
        Match::Exact(exact) => exact == text,
        Match::Prefix(prefix) => text.starts_with(prefix.as_str()),
    };
    pattern.any_execution
        && is(&pattern.key, &event.key)
        && is(&pattern.event_type, &event.event_type)
        && pattern.value.holds(&event.value)
}

#[tokio::test]
async fn each_condition_matches_exactly_what_it_speaks_of() {
    let flow = aiflow();
    let models = flow.models();
    models.register(Model::new("wine").unwrap().stage("canary").unwrap().stage("shadow").unwrap()).await.unwrap();
    register(&flow).await;
    let canary = || ModelStage::parse("canary").unwrap();
    models.set_stage("wine", 1, canary()).await.unwrap();
    models.set_stage("wine", 1, ModelStage::parse("shadow").unwrap()).await.unwrap();
    models.deploy("wine", 1).await.unwrap();
    models.set_alias("wine", "prod", 1).await.unwrap();
    models.set_alias("wine", "test", 1).await.unwrap();
    let datasets = flow.datasets();
    datasets.register(Dataset::new("train", "file:///d").unwrap()).await.unwrap();
    datasets.register_version("train", NewDatasetVersion::new("file:///d/1")).await.unwrap();
    datasets.update("train", |data| data.format = "csv".into()).await.unwrap();
    datasets.changed("train").await.unwrap();
    datasets.register(Dataset::new("other", "file:///d").unwrap()).await.unwrap();
    datasets.delete("train").await.unwrap();
    let subject = Subject::model_version("wine", 1).unwrap();
    let loss = |value: f64| NewMetric::new("loss", subject.clone(), value).unwrap();
    flow.metrics().record_all(vec![loss(0.5), loss(0.01), loss(0.4)]).await.unwrap();
    flow.metrics().record(loss(0.3)).await.unwrap();

    let log = log_of(&flow).await;
    for event in &log {
        let forged = flow.event("wine").event_type(event.event_type.as_str());
        assert!(check_user_event(&forged).is_err(), "nobody else tells of {}", event.event_type);
    }
    let cases = [
        (on_model_version("wine", ModelStage::Generated), 1),
        (on_model_version("wine", canary()), 1),
        (on_model_version("wine", ModelStage::Deployed), 1),
        (on_model_version("wine", ModelStage::Deleted), 0),
        (on_model_version("beer", ModelStage::Generated), 0),
        (on_alias("wine", "prod"), 1),
        (on_dataset("train"), 4),
        (on_dataset("none"), 0),
        (on_metric("loss", Comparison::Less, 0.1), 1),
        (on_metric("loss", Comparison::Less, 0.01), 0),
        (on_metric("loss", Comparison::LessOrEqual, 0.3), 2),
        (on_metric("loss", Comparison::Greater, 0.4), 1),
        (on_metric("loss", Comparison::GreaterOrEqual, 0.3), 2),
        (on_metric("auc", Comparison::Less, 1.0), 0),
    ];
    for (pattern, count) in cases {
        let matching: Vec<_> = log.iter().filter(|event| matches(&pattern, event)).collect();
        assert_eq!(matching.len(), count, "{pattern:?}\n{matching:?}");
    }
}

/// What comes in makes a job measure, what it measures makes the next one run, and both are tagged and paged like anything else.
#[tokio::test]
async fn metadata_of_one_job_makes_the_next_one_run() {
    let flow = aiflow();
    flow.datasets().register(Dataset::new("samples", "file:///s").unwrap()).await.unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("measure", function("measure"));
    graph.node("alarm", function("alarm"));
    graph.control("measure", start(on_dataset("samples")));
    graph.control("alarm", start(on_metric("drift", Comparison::Greater, 0.2)));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new();
    let functions = functions.register("measure", |ctx: JobContext, _: Value| async move {
        let version = ctx.events()[0].value["version"].as_u64().ok_or("no version")?;
        let version = u32::try_from(version)?;
        let subject = Subject::dataset_version("samples", version)?;
        ctx.metrics().record(NewMetric::new("drift", subject, f64::from(version) / 10.0)?).await?;
        ctx.annotations().update(ctx.attempt().job_execution, |notes| notes.tag("kind", "check")).await?;
        Ok(())
    });
    let functions = functions.register("alarm", |ctx: JobContext, _: Value| async move {
        ctx.publish(ctx.event("alarm").value(ctx.events()[0].value["value"].clone())).await?;
        Ok(())
    });
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    let execution = flow.start("quality", Value::Null).await.unwrap();
    flow.wait_until(execution, |_, _| true).await.unwrap();
    for day in 1..=3 {
        let new = NewDatasetVersion::new(format!("file:///s/{day}"));
        flow.datasets().register_version("samples", new).await.unwrap();
        // A job that is live is not started again.
        let has_measured = |jobs: &BTreeMap<JobName, JobState>| {
            jobs.iter().any(|(job, state)| job.as_str() == "measure" && state.runs == day && state.current.is_none())
        };
        flow.wait_until(execution, |_, jobs| has_measured(jobs)).await.unwrap();
    }
    let mut alarms = flow.listen(EventFilter::all().key("alarm"), Offset::START);
    assert_eq!(alarms.next().await.unwrap().value, 0.3, "0.1 and 0.2 are not above 0.2");
    flow.stop(execution).await.unwrap();
    flow.wait(execution).await.unwrap();
    scheduler.shutdown().await.unwrap();

    let (mut jobs, mut listing) = (Vec::new(), Listing::new().limit(2));
    loop {
        let page = flow.job_executions_page(execution, &listing).await.unwrap();
        jobs.extend(page.items.into_iter().map(|ran| (ran.id, ran.job.to_string())));
        match page.next {
            Some(token) => listing = listing.after(Some(token)),
            None => break,
        }
    }
    assert_eq!(jobs.iter().filter(|(_, job)| job == "measure").count(), 3);
    let (first, _) = jobs[0];
    assert_eq!(flow.annotations().get(first).await.unwrap().tags["kind"], "check");
    let version = flow.workflow_versions("quality", &Listing::new()).await.unwrap().items.pop().unwrap();
    assert_eq!(flow.workflow_version_of_hash("quality", &version.hash).await.unwrap(), Some(version));
    assert_eq!(flow.workflow_version_of_hash("quality", "none").await.unwrap(), None);
    let stopped = flow.executions_page("quality", &Listing::new().states(["STOPPED"])).await.unwrap();
    assert_eq!(stopped.items.len(), 1);
    assert_eq!(flow.workflows_page(&Listing::new().states(["ENABLED"])).await.unwrap().items.len(), 1);
}
