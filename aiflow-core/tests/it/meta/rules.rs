//! Metadata in rules: which events do the conditions for it match?

use aiflow_core::event::{Event, Match};
use aiflow_core::meta::{Dataset, Model, ModelStage, NewDatasetVersion, NewMetric, Subject};
use aiflow_core::workflow::{Comparison, EventPattern, on_alias, on_dataset, on_metric, on_model_version};

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
