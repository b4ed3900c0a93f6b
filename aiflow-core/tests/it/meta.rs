//! Metadata: names, version numbers, stages, events and lineage.

use std::collections::BTreeSet;
use std::sync::Arc;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::event::{Event, EventFilter};
use aiflow_core::id::{EntityName, Offset};
use aiflow_core::meta::{Artifact, Dataset, Model, ModelStage, NewMetric, NewModelVersion, Project, Subject};
use serde_json::json;
use tokio::task::JoinSet;

use super::client::aiflow;

async fn with_model(flow: &AiFlow) {
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
}

async fn register(flow: &AiFlow) -> u32 {
    let models = flow.models();
    let version = models.register_version("wine", NewModelVersion::new("file:///m"));
    version.await.unwrap().version
}

async fn log_of(flow: &AiFlow) -> Vec<Arc<Event>> {
    let filter = EventFilter::all().namespace("wine");
    let page = flow.bus().read(Offset::START, &filter, 10_000);
    page.await.unwrap().events
}

/// The stage events in the log: type and version.
async fn stages(flow: &AiFlow) -> Vec<(String, u64)> {
    let events = log_of(flow).await;
    let staged = events.iter().filter_map(|event| {
        let version = event.value.get("version")?.as_u64()?;
        Some((event.event_type.clone(), version))
    });
    staged.collect()
}

#[tokio::test]
async fn registering_the_same_twice_is_fine_and_differently_is_not() {
    let flow = aiflow();
    let dataset = Dataset::new("train", "file:///a").unwrap().format("csv");
    for _ in 0..2 {
        let registered = flow.datasets().register(dataset.clone()).await.unwrap();
        assert_eq!(registered, dataset);
    }
    let other = Dataset::new("train", "file:///b").unwrap().format("csv");
    let error = flow.datasets().register(other.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("this dataset exists with other uri"), "{error}");

    flow.datasets().update(other.clone()).await.unwrap();
    flow.datasets().update(other.clone()).await.unwrap();
    assert_eq!(flow.datasets().get("train").await.unwrap(), Some(other));
    flow.datasets().changed("train").await.unwrap();
    let uris: Vec<_> = log_of(&flow).await.iter().map(|event| event.value["uri"].clone()).collect();
    assert_eq!(uris, ["file:///a", "file:///b", "file:///b"]);

    let missing = Dataset::new("none", "x").unwrap();
    assert_eq!(flow.datasets().update(missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(flow.datasets().changed("none").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn names_are_unique_in_their_project_only() {
    let flow = aiflow();
    let beer = flow.project("beer").unwrap();
    for flow in [&flow, &beer] {
        let artifact = Artifact::new("report", format!("file:///{}", flow.project_name()));
        flow.artifacts().register(artifact.unwrap()).await.unwrap();
    }
    assert_eq!(flow.artifacts().list().await.unwrap().len(), 1);
    let uri = beer.artifacts().get("report").await.unwrap().unwrap().uri;
    assert_eq!(uri, "file:///beer");
}

#[tokio::test]
async fn a_project_is_announced_in_its_own_namespace() {
    let flow = aiflow();
    let beer = Project::new("beer".parse().unwrap()).description("lager");
    flow.projects().register(beer.clone()).await.unwrap();
    flow.projects().register(beer.clone()).await.unwrap();
    assert_eq!(flow.projects().list().await.unwrap(), [beer]);
    let events = flow.bus().read(Offset::START, &EventFilter::all(), 10).await.unwrap().events;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].namespace.as_str(), events[0].event_type.as_str()), ("beer", "PROJECT_CHANGED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_number_versions_without_gap_or_repeat() {
    const WRITERS: u32 = 16;
    const EACH: u32 = 8;
    let flow = aiflow();
    with_model(&flow).await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let flow = flow.clone();
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..EACH {
                numbers.push(register(&flow).await);
            }
            numbers
        });
    }
    let numbers: Vec<u32> = writers.join_all().await.into_iter().flatten().collect();
    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(unique, (1..=WRITERS * EACH).collect());
    assert_eq!(numbers.len(), unique.len());
    // The events are in the order of the numbers, one each.
    let announced: Vec<u64> = stages(&flow).await.into_iter().map(|(_, version)| version).collect();
    assert_eq!(announced, (1..=u64::from(WRITERS * EACH)).collect::<Vec<_>>());
    let listed = flow.models().versions("wine").await.unwrap();
    assert!(listed.iter().map(|version| version.version).eq(1..=WRITERS * EACH));
}

#[tokio::test]
async fn a_version_needs_its_model_and_finite_metrics() {
    let flow = aiflow();
    let version = NewModelVersion::new("file:///m").metric("accuracy", 0.9);
    let error = flow.models().register_version("wine", version.clone()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    with_model(&flow).await;
    let bad = version.clone().metric("loss", f64::NAN);
    let error = flow.models().register_version("wine", bad).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    let deleted = version.clone().stage(ModelStage::Deleted);
    assert!(flow.models().register_version("wine", deleted).await.is_err());
    let stored = flow.models().register_version("wine", version).await.unwrap();
    assert_eq!((stored.version, stored.metrics["accuracy"]), (1, 0.9));
    assert_eq!(flow.models().version("wine", 1).await.unwrap(), Some(stored));
    assert_eq!(flow.models().version("wine", 2).await.unwrap(), None);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_version() {
    let flow = aiflow();
    with_model(&flow).await;
    let keyed = |uri: &str| NewModelVersion::new(uri).idempotency_key("run-1");
    let first = flow.models().register_version("wine", keyed("file:///a")).await.unwrap();
    let again = flow.models().register_version("wine", keyed("file:///b")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(register(&flow).await, 2);
    assert_eq!(stages(&flow).await.len(), 2);
}

#[tokio::test]
async fn a_stage_is_announced_once_and_by_its_own_type() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let set = |stage| {
        let models = flow.models();
        async move { models.set_stage("wine", 1, stage).await }
    };
    for stage in [
        ModelStage::Generated,
        ModelStage::Validated,
        ModelStage::Validated,
        ModelStage::Deployed,
        ModelStage::Deployed,
        ModelStage::Deprecated,
        ModelStage::Deleted,
    ] {
        assert_eq!(set(stage).await.unwrap().stage, stage);
    }
    let types: Vec<String> = stages(&flow).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, ["MODEL_GENERATED", "MODEL_VALIDATED", "MODEL_DEPLOYED", "MODEL_DEPRECATED", "MODEL_DELETED"]);
    let event = log_of(&flow).await.pop().unwrap();
    assert_eq!(event.key, "wine");
    assert_eq!(event.value, json!({"version": 1, "uri": "file:///m", "stage": "DELETED"}));
    let error = set(ModelStage::Deployed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "deleted stays deleted");
    let error = flow.models().set_stage("wine", 9, ModelStage::Validated).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn deploying_hands_over_and_promoting_beside_another_does_not() {
    let flow = aiflow();
    with_model(&flow).await;
    let models = flow.models();
    for _ in 0..3 {
        register(&flow).await;
    }
    assert_eq!(models.deployed("wine").await.unwrap(), None);
    models.set_stage("wine", 1, ModelStage::Deployed).await.unwrap();
    let error = models.set_stage("wine", 2, ModelStage::Deployed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("deployed=1"), "{error}");
    let deployed_at_once = NewModelVersion::new("x").stage(ModelStage::Deployed);
    let error = models.register_version("wine", deployed_at_once).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);

    models.deploy("wine", 2).await.unwrap();
    models.deploy("wine", 2).await.unwrap();
    let deployed = models.deployed("wine").await.unwrap().unwrap();
    assert_eq!((deployed.version, deployed.stage), (2, ModelStage::Deployed));
    let old = models.version("wine", 1).await.unwrap().unwrap();
    assert_eq!(old.stage, ModelStage::Deprecated);
    let log = stages(&flow).await;
    let last: Vec<(&str, u64)> = log[3..].iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(last, [("MODEL_DEPLOYED", 1), ("MODEL_DEPRECATED", 1), ("MODEL_DEPLOYED", 2)]);

    models.set_stage("wine", 2, ModelStage::Deprecated).await.unwrap();
    models.set_stage("wine", 3, ModelStage::Deployed).await.unwrap();
    let latest = models.latest("wine", ModelStage::Deprecated).await.unwrap().unwrap();
    assert_eq!(latest.version, 2);
    let latest = models.latest("wine", None).await.unwrap().unwrap();
    assert_eq!(latest.version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_promotions_one_wins_and_handovers_leave_one_deployed() {
    const VERSIONS: u32 = 12;
    let flow = aiflow();
    with_model(&flow).await;
    for _ in 0..VERSIONS {
        register(&flow).await;
    }
    let mut promotions = JoinSet::new();
    for version in 1..=VERSIONS {
        let models = flow.models();
        promotions.spawn(async move { models.set_stage("wine", version, ModelStage::Deployed).await });
    }
    let results = promotions.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|lost| { lost.as_ref().is_err_and(|error| error.kind() == ErrorKind::Conflict) }));

    let mut handovers = JoinSet::new();
    for version in 1..=VERSIONS {
        let models = flow.models();
        handovers.spawn(async move { models.deploy("wine", version).await.unwrap() });
    }
    handovers.join_all().await;
    let versions = flow.models().versions("wine").await.unwrap();
    let n_deployed = versions.iter().filter(|version| version.stage == ModelStage::Deployed).count();
    assert_eq!(n_deployed, 1);
    // Replayed, the events never show two versions deployed at a time, and end with the one that is.
    let mut deployed = None;
    for (kind, version) in stages(&flow).await {
        match kind.as_str() {
            "MODEL_DEPLOYED" => assert_eq!(deployed.replace(version), None),
            "MODEL_DEPRECATED" => assert_eq!(deployed.take(), Some(version)),
            _ => {}
        }
    }
    let now = flow.models().deployed("wine").await.unwrap().unwrap();
    assert_eq!(deployed, Some(u64::from(now.version)));
}

#[tokio::test]
async fn metrics_are_recorded_on_what_exists_and_announced() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let subject = |version| Subject::ModelVersion { model: EntityName::parse("wine").unwrap(), version };
    let metrics = flow.metrics();
    let loss = |version, value: f64, step| NewMetric::new("loss", subject(version), value).unwrap().step(step);
    metrics.record_all(vec![loss(1, 0.5, 1), loss(1, 0.25, 2)]).await.unwrap();
    let other = NewMetric::new("accuracy", subject(1), 0.9).unwrap();
    metrics.record(other).await.unwrap();
    let series: Vec<f64> =
        metrics.series(&subject(1), "loss").await.unwrap().iter().map(|metric| metric.value).collect();
    assert_eq!(series, [0.5, 0.25]);
    let latest = metrics.latest(&subject(1), "loss").await.unwrap().unwrap();
    assert_eq!((latest.value, latest.step), (0.25, Some(2)));
    assert_eq!(metrics.of(&subject(1)).await.unwrap().len(), 3);
    let filter = EventFilter::all().event_type("METRIC_RECORDED").key("loss");
    let events = flow.bus().read(Offset::START, &filter, 10).await.unwrap().events;
    let expected = json!({"value": 0.5, "step": 1, "subject": {"model_version": {"model": "wine", "version": 1}}});
    assert_eq!(events[0].value, expected);
    assert_eq!(events.len(), 2);

    let error = metrics.record(loss(2, 0.1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = metrics.record_all(vec![loss(1, 0.1, 3), loss(1, f64::INFINITY, 4)]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(metrics.of(&subject(1)).await.unwrap().len(), 3, "all or none");
}
