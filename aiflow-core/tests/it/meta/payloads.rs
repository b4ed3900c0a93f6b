//! Payloads: what nobody needs any more, and what goes with it.

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::id::EntityName;
use aiflow_core::meta::{Artifact, Dataset, NewDatasetVersion, NewMetric, NewModelVersion, Subject};
use aiflow_core::store::{MetaStore as _, MetaStoreExt as _, Query, RelationQuery};

use super::{aiflow, at, timed, with_model};

async fn garbage(flow: &AiFlow, before: aiflow_core::time::Timestamp) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = flow.garbage(before, after).await.unwrap();
        found.extend(page.items.into_iter().map(|garbage| format!("{} {}", garbage.key, garbage.uri)));
        match page.next {
            Some(token) => after = Some(token),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_payload_is_garbage_when_all_that_lie_there_are_deleted() {
    let (flow, clock) = timed();
    let (datasets, artifacts) = (flow.datasets(), flow.artifacts());
    datasets.register(Dataset::new("a", "file:///shared").unwrap()).await.unwrap();
    artifacts.register(Artifact::new("b", "file:///shared").unwrap()).await.unwrap();
    let beer = flow.project("beer").unwrap();
    beer.artifacts().register(Artifact::new("c", "file:///other").unwrap()).await.unwrap();
    artifacts.register(Artifact::new("c", "file:///other").unwrap()).await.unwrap();
    clock.set(at(100));
    datasets.delete("a").await.unwrap();
    artifacts.delete("c").await.unwrap();
    clock.set(at(200));
    assert!(garbage(&flow, at(200)).await.is_empty(), "something else lies there");
    assert_eq!(flow.references("file:///shared").await.unwrap().len(), 1);
    artifacts.delete("b").await.unwrap();
    clock.set(at(300));
    assert_eq!(garbage(&flow, at(150)).await, ["dataset:wine/a file:///shared"], "the artifact was deleted later");
    assert_eq!(garbage(&flow, at(300)).await, ["dataset:wine/a file:///shared", "artifact:wine/b file:///shared"]);
    artifacts.restore("wine/b").await.unwrap();
    assert!(garbage(&flow, at(300)).await.is_empty());
    // It moves: nothing lies at the old place any more.
    artifacts.update("b", |artifact| artifact.uri = "file:///moved".into()).await.unwrap();
    assert_eq!(garbage(&flow, at(300)).await, ["dataset:wine/a file:///shared"]);
    let page = flow.garbage(at(300), None).await.unwrap();
    flow.purge(&page.items[0].key).await.unwrap();
    assert!(garbage(&flow, at(300)).await.is_empty());
    for token in ["", "x", "9:1", "0"] {
        let token = aiflow_core::store::PageToken(token.to_owned());
        assert_eq!(flow.garbage(at(300), Some(token)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_model_is_purged_after_its_versions_and_with_all_that_belongs_to_it() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    let new = NewModelVersion::new("file:///m").metric("auc", 0.9).idempotency_key("once");
    let version = models.register_version("wine", new).await.unwrap();
    let subject = Subject::ModelVersion { model: EntityName::parse("wine").unwrap(), version: 1 };
    let losses = (0..100).map(|n| NewMetric::new("loss", subject.clone(), f64::from(n)).unwrap());
    flow.metrics().record_all(losses.collect()).await.unwrap();
    models.set_alias("wine", "prod", 1).await.unwrap();
    models.delete_alias("wine", "prod").await.unwrap();
    let model = models.delete("wine").await.unwrap();
    assert_eq!(flow.purge(&model.key).await.unwrap_err().kind(), ErrorKind::Conflict, "it has a version");
    assert_eq!(flow.purge(&version.key).await.unwrap_err().kind(), ErrorKind::Conflict, "which is not deleted");
    models.restore(model.id()).await.unwrap();
    models.delete_version("wine", 1).await.unwrap();
    models.purge_version("wine", 1).await.unwrap();
    assert_eq!(models.version("wine", 1).await.unwrap(), None);
    assert_eq!(models.register_version("wine", NewModelVersion::new("file:///m2")).await.unwrap().version, 2);
    let second = models.delete_version("wine", 2).await.unwrap();
    flow.purge(&second.key).await.unwrap();
    models.delete("wine").await.unwrap();
    flow.purge(&model.key).await.unwrap();
    for kind in [
        "model",
        "model_version",
        "version_head",
        "version_key",
        "model_stage_change",
        "alias",
        "alias_change",
        "metric_summary",
        "metric_points",
    ] {
        let left = flow.store().query_all(Query::kind(kind), 10).await.unwrap();
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    let relations = flow.store().relations(&RelationQuery::default()).await.unwrap().items;
    assert!(relations.is_empty(), "{relations:?}");
}

#[tokio::test]
async fn a_dataset_keeps_versions_of_its_own_kind_only() {
    let flow = aiflow();
    with_model(&flow).await;
    super::register(&flow).await;
    let datasets = flow.datasets();
    let data = datasets.register(Dataset::new("wine", "file:///d").unwrap()).await.unwrap();
    let version = datasets.register_version("wine", NewDatasetVersion::new("file:///d/1")).await.unwrap();
    datasets.delete_version("wine", 1).await.unwrap();
    datasets.delete("wine").await.unwrap();
    assert_eq!(flow.purge(&data.key).await.unwrap_err().kind(), ErrorKind::Conflict);
    flow.purge(&version.key).await.unwrap();
    flow.purge(&data.key).await.unwrap();
    assert_eq!(flow.models().versions("wine").await.unwrap().len(), 1);
    let error = flow.purge(&aiflow_core::store::RecordKey::new("workflow", "wine/quality")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
