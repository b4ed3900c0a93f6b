//! Several changes in one transaction.

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus as _;
use aiflow_core::meta::{
    CHANGES_MAX, Dataset, Model, ModelStage, NewDatasetVersion, NewMetric, NewModelVersion, Subject,
};

use super::{aiflow, told};

#[tokio::test]
async fn changes_are_made_together_and_later_ones_see_earlier_ones() {
    let flow = aiflow();
    let subject = Subject::model_version("wine", 2).unwrap();
    let batch = flow
        .meta_batch()
        .register(Dataset::new("samples", "file:///s").unwrap())
        .register_dataset_version("samples", NewDatasetVersion::new("file:///s/1"))
        .update::<Dataset>("samples", |data| data.notes.tag("team", "ads"))
        .register(Model::new("wine").unwrap())
        .register_model_version("wine", NewModelVersion::new("file:///m1"))
        .register_model_version("wine", NewModelVersion::new("file:///m2").metric("auc", 0.5))
        .record(NewMetric::new("auc", subject.clone(), 0.9).unwrap().step(1))
        .deploy("wine", 1)
        .deploy("wine", 2)
        .set_alias("wine", "prod", 2);
    batch.commit().await.unwrap();

    let samples = flow.datasets().get("samples").await.unwrap().unwrap();
    assert_eq!((samples.notes.tags["team"].as_str(), samples.revision), ("ads", 1));
    let versions = flow.models().versions("wine").await.unwrap();
    let stages: Vec<(u32, &str)> = versions.iter().map(|it| (it.version, it.state.as_str())).collect();
    assert_eq!(stages, [(1, "DEPRECATED"), (2, "DEPLOYED")]);
    assert_eq!(flow.models().by_alias("wine", "prod").await.unwrap().unwrap().version, 2);
    let auc = flow.metrics().summary(&subject, "auc").await.unwrap().unwrap();
    assert_eq!((auc.latest, auc.min, auc.count), (0.9, 0.5, 2));
    assert_eq!(told(&flow).await.len(), 12, "each change has its event");
    let head = flow.head().await.unwrap();
    flow.meta_batch()
        .register(Model::new("wine").unwrap())
        .set_stage("wine", 2, ModelStage::Deployed)
        .commit()
        .await
        .unwrap();
    flow.meta_batch().commit().await.unwrap();
    assert_eq!(flow.head().await.unwrap(), head, "nothing changed");
}

#[tokio::test]
async fn what_is_deleted_in_a_batch_is_brought_back_in_another() {
    let flow = aiflow();
    let made = flow
        .meta_batch()
        .register(Dataset::new("samples", "file:///s").unwrap())
        .register(Model::new("wine").unwrap())
        .register_model_version("wine", NewModelVersion::new("file:///m1"))
        .register_model_version("wine", NewModelVersion::new("file:///m2"))
        .set_alias("wine", "prod", 1);
    made.commit().await.unwrap();
    let samples = flow.datasets().get("samples").await.unwrap().unwrap();
    flow.meta_batch().delete::<Dataset>("samples").move_alias("wine", "prod", 1, 2).commit().await.unwrap();
    assert_eq!(flow.datasets().get("samples").await.unwrap(), None);
    assert_eq!(flow.models().by_alias("wine", "prod").await.unwrap().unwrap().version, 2);
    flow.meta_batch().restore::<Dataset>(samples.id()).delete_alias("wine", "prod").commit().await.unwrap();
    assert_eq!(flow.datasets().get("samples").await.unwrap().unwrap().content, samples.content);
    assert_eq!(flow.models().by_alias("wine", "prod").await.unwrap(), None);
}

#[tokio::test]
async fn one_change_that_cannot_be_made_keeps_all_from_being_made() {
    let flow = aiflow();
    let good = || flow.meta_batch().register(Model::new("wine").unwrap());
    let bad = [
        (good().register(Dataset::new("samples", "").unwrap()), ErrorKind::Invalid),
        (good().deploy("wine", 1), ErrorKind::NotFound),
        (good().register(Model::new("wine").unwrap().description("other")), ErrorKind::AlreadyExists),
        (good().delete::<Dataset>("none"), ErrorKind::NotFound),
        (good().restore::<Dataset>("none"), ErrorKind::NotFound),
        (good().move_alias("wine", "prod", 1, 2), ErrorKind::NotFound),
        ((0..=CHANGES_MAX).fold(good(), |batch, _| batch.register(Model::new("wine").unwrap())), ErrorKind::Invalid),
    ];
    for (batch, kind) in bad {
        assert_eq!(batch.commit().await.unwrap_err().kind(), kind);
        assert_eq!(flow.models().list().await.unwrap(), []);
        assert_eq!(flow.bus().head().await.unwrap().last.0, 0);
    }
    good().commit().await.unwrap();
}
