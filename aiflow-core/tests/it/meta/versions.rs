//! Versions: numbers, idempotency keys, and their own verbs.

use std::collections::BTreeSet;

use aiflow_core::ErrorKind;
use aiflow_core::meta::{
    DataType, Dataset, Listing, Model, ModelStage, NewDatasetVersion, NewModelVersion, Schema, VersionStatus,
};
use tokio::task::JoinSet;

use super::{aiflow, log_of, register, stages, told, with_model};

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
    let bad = [
        version.clone().metric("loss", f64::NAN),
        version.clone().metric("not a name", 1.0),
        version.clone().stage(ModelStage::Deleted),
        version.clone().stage(ModelStage::parse("canary").unwrap()),
        version.clone().idempotency_key("x".repeat(257)),
        NewModelVersion::new(""),
    ];
    for bad in bad {
        let error = flow.models().register_version("wine", bad).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let stored = flow.models().register_version("wine", version).await.unwrap();
    assert_eq!(stored.version, 1, "what was refused took no number");
    assert_eq!(flow.models().version("wine", 1).await.unwrap(), Some(stored));
    assert_eq!(flow.models().version("wine", 2).await.unwrap(), None);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_version() {
    let flow = aiflow();
    with_model(&flow).await;
    let keyed = |uri: &str| NewModelVersion::new(uri).idempotency_key("run-1").metric("accuracy", 0.9);
    let first = flow.models().register_version("wine", keyed("file:///a")).await.unwrap();
    let again = flow.models().register_version("wine", keyed("file:///b")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(register(&flow).await, 2);
    assert_eq!(stages(&flow).await.len(), 2);
    let subject = aiflow_core::meta::Subject::model_version("wine", 1).unwrap();
    assert_eq!(flow.metrics().summary(&subject, "accuracy").await.unwrap().unwrap().count, 1);
}

#[tokio::test]
async fn the_versions_of_a_model_that_was_deleted_stay_with_it() {
    let flow = aiflow();
    let models = flow.models();
    with_model(&flow).await;
    let keyed = || NewModelVersion::new("file:///old").idempotency_key("run-1");
    let old = models.register_version("wine", keyed()).await.unwrap();
    let first = models.delete("wine").await.unwrap();
    assert_eq!(models.versions("wine").await.unwrap(), []);
    assert_eq!(models.register_version("wine", keyed()).await.unwrap_err().kind(), ErrorKind::NotFound);

    with_model(&flow).await;
    let new = models.register_version("wine", keyed()).await.unwrap();
    assert_eq!((new.version, new.id()), (1, "wine/wine~2/1"));
    assert_eq!(models.versions("wine").await.unwrap(), [new]);
    models.delete("wine").await.unwrap();
    models.restore(first.id()).await.unwrap();
    assert_eq!(models.versions("wine").await.unwrap(), [old]);
    assert_eq!(register(&flow).await, 2);
}

#[tokio::test]
async fn a_version_is_changed_but_for_what_makes_it_one() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let models = flow.models();
    let changed = models.update_version("wine", 1, |version| {
        version.status = VersionStatus::PendingDeletion;
        version.notes.description = "the first".into();
    });
    let changed = changed.await.unwrap();
    assert_eq!((changed.stage.clone(), changed.uri.as_str()), (ModelStage::Generated, "file:///m"));
    let read = models.version("wine", 1).await.unwrap().unwrap();
    assert_eq!(read, changed);
    let again = models.update_version_read(&read, |version| version.notes.tag("team", "ads")).await.unwrap();
    assert_eq!(again.notes.tags["team"], "ads".to_owned());
    let stale = models.update_version_read(&read, |version| version.notes.tag("team", "core")).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict, "{stale}");
    let by_fields: [fn(&mut aiflow_core::meta::ModelVersion); 4] = [
        |version| version.stage = ModelStage::Deployed,
        |version| version.version = 7,
        |version| version.model = "other".parse().unwrap(),
        |version| {
            version.aliases.insert("prod".parse().unwrap());
        },
    ];
    for edit in by_fields {
        let error = models.update_version("wine", 1, edit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!(models.update_version("wine", 2, |_| {}).await.unwrap_err().kind(), ErrorKind::NotFound);
    let told = told(&flow).await;
    let changed = "MODEL_VERSION_CHANGED updated";
    assert_eq!(told, ["MODEL_REGISTERED registered", "MODEL_GENERATED registered", changed, changed]);
}

#[tokio::test]
async fn dataset_versions_are_numbered_listed_deleted_and_restored() {
    let flow = aiflow();
    let datasets = flow.datasets();
    datasets.register(Dataset::new("train", "file:///d").unwrap()).await.unwrap();
    let schema = Schema::new().column("grape", DataType::String);
    for day in 1..=3 {
        let new = NewDatasetVersion::new(format!("file:///d/{day}")).digest(format!("sha:{day}"));
        let new = new.schema(schema.clone()).tag("day", day.to_string()).idempotency_key(format!("day {day}"));
        for _ in 0..2 {
            let version = datasets.register_version("train", new.clone()).await.unwrap();
            assert_eq!((version.version, version.id()), (day, format!("wine/train/{day}").as_str()));
        }
    }
    datasets.delete_version("train", 3).await.unwrap();
    datasets.delete_version("train", 3).await.unwrap();
    let numbers: Vec<u32> = datasets.versions("train").await.unwrap().iter().map(|it| it.version).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(datasets.latest_version("train").await.unwrap().unwrap().version, 2);
    assert!(datasets.version("train", 3).await.unwrap().unwrap().is_deleted());
    datasets.restore_version("train", 3).await.unwrap();
    let page = datasets.versions_page("train", &Listing::new().newest_first().limit(2)).await.unwrap();
    assert_eq!(page.items.iter().map(|it| it.version).collect::<Vec<_>>(), [3, 2]);
    assert!(page.next.is_some());
    let events = log_of(&flow).await;
    let versions: Vec<u64> = events.iter().filter_map(|event| event.value["version"].as_u64()).collect();
    assert_eq!(versions, [1, 2, 3, 3, 3]);
    assert_eq!(events[1].event_type, "DATASET_CHANGED");
    assert_eq!(events.last().unwrap().event_type, "DATASET_VERSION_RESTORED");
}

#[tokio::test]
async fn versions_of_a_dataset_and_a_model_of_one_name_do_not_mix() {
    let flow = aiflow();
    with_model(&flow).await;
    flow.datasets().register(Dataset::new("wine", "file:///d").unwrap()).await.unwrap();
    register(&flow).await;
    assert_eq!(flow.datasets().versions("wine").await.unwrap(), []);
    let version = flow.datasets().register_version("wine", NewDatasetVersion::new("file:///d/1")).await.unwrap();
    assert_eq!(version.version, 1);
    assert_eq!(flow.models().versions("wine").await.unwrap().len(), 1);
    flow.models().register(Model::new("beer").unwrap()).await.unwrap();
    assert_eq!(flow.models().latest_version("beer").await.unwrap(), None);
}
