//! Searches over entities and executions as users write them.

use aiflow_core::ErrorKind;
use aiflow_core::meta::{Dataset, Model, NewMetric, NewModelVersion, Subject};

use super::aiflow;

#[tokio::test]
async fn versions_are_found_by_stage_metric_and_the_tags_of_their_model() {
    let flow = aiflow();
    let models = flow.models();
    for (model, team, aucs) in [("wine", "ads", [0.8, 0.95]), ("beer", "web", [0.99, 0.7])] {
        models.register(Model::new(model).unwrap().tag("team", team)).await.unwrap();
        for auc in aucs {
            let version = models.register_version(model, NewModelVersion::new("file:///m")).await.unwrap();
            let subject = Subject::ModelVersion { model: model.parse().unwrap(), version: version.version };
            flow.metrics().record(NewMetric::new("auc", subject, auc).unwrap()).await.unwrap();
        }
        models.deploy(model, 2).await.unwrap();
    }
    let found = async |text: &str| -> Vec<String> {
        let page = models.search_versions(text, None).await.unwrap();
        page.items.iter().map(|version| format!("{} {}", version.model, version.version)).collect()
    };
    assert_eq!(found("stage = 'DEPLOYED' and metrics.auc > 0.9 order by created desc").await, ["wine 2"]);
    assert_eq!(found("metrics.auc > 0.9 order by metrics.auc desc").await, ["beer 1", "wine 2"]);
    assert_eq!(found("of model(tags.team = 'web') and stage != 'DEPLOYED'").await, ["beer 1"]);
    assert_eq!(found("version = 2 order by model").await, ["beer 2", "wine 2"]);
    let error = models.search_versions("stage = DEPLOYED", None).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("column 9"), "{error}");
}

#[tokio::test]
async fn what_is_deleted_or_of_another_project_is_not_found() {
    let flow = aiflow();
    let other = flow.project("other").unwrap();
    for flow in [&flow, &other] {
        flow.datasets().register(Dataset::new("samples", "file:///s").unwrap().tag("team", "ads")).await.unwrap();
    }
    flow.datasets().register(Dataset::new("old", "file:///o").unwrap().tag("team", "ads")).await.unwrap();
    flow.datasets().delete("old").await.unwrap();
    let found = flow.datasets().search("tags.team = 'ads' and uri like 'file:%'", None).await.unwrap();
    assert_eq!(found.items.iter().map(|dataset| dataset.name.as_str()).collect::<Vec<_>>(), ["samples"]);
    assert!(flow.datasets().search("not (tags.team = 'ads')", None).await.unwrap().items.is_empty());
    assert_eq!(flow.search("dataset", "", None).await.unwrap().items.len(), 2, "records are all there is");
}
