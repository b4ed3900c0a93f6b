//! The cases.

use std::collections::BTreeSet;
use std::sync::Arc;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus as _;
use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::meta::{
    Artifact, Dataset, Listing, Model, ModelStage, NewDatasetVersion, NewMetric, NewModelVersion, Subject,
};
use tokio::task::JoinSet;

use crate::{Backend, StoreFixture};

fn handle(backend: &Backend) -> AiFlow {
    let flow = AiFlow::new(Arc::clone(&backend.store), Arc::clone(&backend.bus));
    flow.unwrap().project("wine").unwrap()
}

async fn with_model(flow: &AiFlow, versions: u32) {
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    for _ in 0..versions {
        flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
    }
}

/// The types of all events, in their order.
async fn told(flow: &AiFlow) -> Vec<String> {
    let (mut after, mut types) = (Offset::START, Vec::new());
    loop {
        let page = flow.bus().read(after, &EventFilter::all(), 1_000).await.unwrap();
        if page.events.is_empty() {
            return types;
        }
        after = page.covered;
        types.extend(page.events.iter().map(|event| event.event_type.clone()));
    }
}

/// Versions that many writers register at once have the numbers 1, 2, 3, … without gap or repeat, in the order of their events.
pub async fn a_thousand_versions_of_many_writers_have_no_gap(fixture: &dyn StoreFixture) {
    const WRITERS: u32 = 16;
    const VERSIONS: u32 = 1_000;
    let backend = fixture.open().await;
    let flow = handle(&backend);
    with_model(&flow, 0).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let models = flow.models();
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for _ in (writer..VERSIONS).step_by(WRITERS as usize) {
                let new = NewModelVersion::new("file:///m");
                numbers.push(models.register_version("wine", new).await.unwrap().version);
            }
            numbers
        });
    }
    let numbers: Vec<u32> = writers.join_all().await.into_iter().flatten().collect();
    let unique: BTreeSet<u32> = numbers.iter().copied().collect();
    assert_eq!(unique, (1..=VERSIONS).collect());
    assert_eq!(numbers.len(), unique.len());
    let filter = EventFilter::all().event_type("MODEL_GENERATED");
    let events = flow.bus().read(Offset::START, &filter, 10_000).await.unwrap().events;
    assert!(events.iter().map(|event| event.value["version"].as_u64()).eq((1..=u64::from(VERSIONS)).map(Some)));
    let listed = flow.models().versions("wine").await.unwrap();
    assert!(listed.iter().map(|version| version.version).eq(1..=VERSIONS));
}

/// Of two writers that deploy two versions at once, one succeeds and the other gets `Conflict`; one version is deployed.
pub async fn of_two_deployments_one_wins(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let flow = handle(&backend);
    with_model(&flow, 2).await;
    for _ in 0..20 {
        let deploy = |version| {
            let models = flow.models();
            tokio::spawn(async move { models.set_stage("wine", version, ModelStage::Deployed).await })
        };
        let (one, two) = (deploy(1), deploy(2));
        let results = [one.await.unwrap(), two.await.unwrap()];
        let lost: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(lost.iter().map(|error| error.kind()).collect::<Vec<_>>(), [ErrorKind::Conflict]);
        let deployed = flow.models().page_of_deployed().await;
        assert_eq!(deployed.len(), 1);
        assert_eq!(flow.models().deployed("wine").await.unwrap().map(|it| it.version), deployed.first().copied());
        flow.models().set_stage("wine", deployed[0], ModelStage::Validated).await.unwrap();
    }
}

trait Deployed {
    async fn page_of_deployed(&self) -> Vec<u32>;
}

impl Deployed for aiflow_core::meta::Models {
    async fn page_of_deployed(&self) -> Vec<u32> {
        let page = self.versions_page("wine", &Listing::new().states(["DEPLOYED"])).await.unwrap();
        page.items.iter().map(|version| version.version).collect()
    }
}

/// Of many writers that register other things under a name that was freed, one succeeds, and the ids of all that ever had it differ.
pub async fn a_freed_name_is_given_once(fixture: &dyn StoreFixture) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 5;
    let backend = fixture.open().await;
    let flow = handle(&backend);
    let mut ids = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let datasets = flow.datasets();
            writers.spawn(async move {
                datasets.register(Dataset::new("samples", format!("file:///{writer}")).unwrap()).await
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) = writers.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|it| it.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists)));
        let mut deletes = JoinSet::new();
        for _ in 0..WRITERS {
            let datasets = flow.datasets();
            deletes.spawn(async move { datasets.delete("samples").await });
        }
        let deleted: Vec<_> = deletes.join_all().await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(deleted.len(), 1);
        assert!(ids.insert(deleted[0].key.clone()), "an id was used again");
    }
    assert_eq!(told(&flow).await.len(), 2 * ROUNDS);
}

/// What looks like code of a query is a text like any other.
pub async fn texts_of_attackers_are_kept_as_they_are(fixture: &dyn StoreFixture) {
    const ATTACKS: [&str; 6] = [
        "'; DROP TABLE record; --",
        "\" OR 1=1 --",
        "x') UNION SELECT body --",
        "%_\\",
        "{}[]$.a",
        "\u{202e}\u{1f377}",
    ];
    let backend = fixture.open().await;
    let flow = handle(&backend);
    for (n, text) in ATTACKS.into_iter().enumerate() {
        let name = format!("d{n}");
        let dataset = Dataset::new(&name, text).unwrap().format(text).description(text).tag(text, text);
        flow.datasets().register(dataset.property(text, text)).await.unwrap();
        let read = flow.datasets().get(&name).await.unwrap().unwrap();
        assert_eq!((read.uri.as_str(), read.notes.tags[text].as_str()), (text, text));
        assert_eq!(flow.references(text).await.unwrap(), std::slice::from_ref(&read.key));
        assert_eq!(flow.datasets().get_by_id(text).await.unwrap(), None);
        let states = flow.datasets().page(&Listing::new().states([text])).await.unwrap();
        assert!(states.items.is_empty());
    }
    assert_eq!(flow.datasets().list().await.unwrap().len(), ATTACKS.len());
}

/// Each change has its event, and what changes nothing has none.
pub async fn every_change_is_told_in_its_transaction(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let flow = handle(&backend);
    let (models, datasets) = (flow.models(), flow.datasets());
    for _ in 0..2 {
        models.register(Model::new("wine").unwrap()).await.unwrap();
        let new = NewModelVersion::new("file:///m").idempotency_key("once").metric("auc", 0.9);
        models.register_version("wine", new).await.unwrap();
        models.deploy("wine", 1).await.unwrap();
        models.set_alias("wine", "prod", 1).await.unwrap();
        datasets.register(Dataset::new("samples", "file:///s").unwrap()).await.unwrap();
        let new = NewDatasetVersion::new("file:///s/1").idempotency_key("once");
        datasets.register_version("samples", new).await.unwrap();
        datasets.update("samples", |data| data.notes.tag("team", "ads")).await.unwrap();
        flow.artifacts().register(Artifact::new("report", "file:///r").unwrap()).await.unwrap();
    }
    models.delete_alias("wine", "prod").await.unwrap();
    models.delete_version("wine", 1).await.unwrap();
    let samples = datasets.delete("samples").await.unwrap();
    datasets.restore(samples.id()).await.unwrap();
    let report = flow.artifacts().delete("report").await.unwrap();
    flow.purge(&report.key).await.unwrap();
    let expected = [
        "MODEL_REGISTERED",
        "MODEL_GENERATED",
        "METRIC_RECORDED",
        "MODEL_DEPLOYED",
        "ALIAS_CHANGED",
        "DATASET_CHANGED",
        "DATASET_CHANGED",
        "DATASET_CHANGED",
        "ARTIFACT_REGISTERED",
        "ALIAS_CHANGED",
        "MODEL_DELETED",
        "DATASET_REMOVED",
        "DATASET_RESTORED",
        "ARTIFACT_REMOVED",
        "ARTIFACT_PURGED",
    ];
    assert_eq!(told(&flow).await, expected);
}

/// A batch of changes is made together or not at all, whoever writes at the same time.
pub async fn a_batch_is_made_together_or_not_at_all(fixture: &dyn StoreFixture) {
    const WRITERS: usize = 8;
    let backend = fixture.open().await;
    let flow = handle(&backend);
    with_model(&flow, 0).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let flow = flow.clone();
        writers.spawn(async move {
            let name = if writer % 2 == 0 { "even".to_owned() } else { format!("odd{writer}") };
            let artifact = Artifact::new(name, format!("file:///{writer}")).unwrap();
            let batch = flow.meta_batch().register_model_version("wine", NewModelVersion::new("file:///m"));
            batch.register(artifact).commit().await
        });
    }
    let made = writers.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(made, WRITERS / 2 + 1, "one of those with the same name");
    let versions = flow.models().versions("wine").await.unwrap();
    assert!(versions.iter().zip(1..).all(|(it, n)| it.version == n) && versions.len() == made);
    assert_eq!(flow.artifacts().list().await.unwrap().len(), made);
    assert_eq!(told(&flow).await.len(), 1 + 2 * made);
}

/// No value that was recorded is lost, and the summary is that of all values.
pub async fn values_of_many_writers_are_all_kept(fixture: &dyn StoreFixture) {
    const WRITERS: u32 = 8;
    const EACH: u32 = 20;
    let backend = fixture.open().await;
    let flow = handle(&backend);
    with_model(&flow, 1).await;
    let subject = Subject::model_version("wine", 1).unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (metrics, subject) = (flow.metrics(), subject.clone());
        writers.spawn(async move {
            for n in 0..EACH {
                let value = f64::from(writer * EACH + n) + 0.1;
                metrics.record(NewMetric::new("loss", subject.clone(), value).unwrap()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let points = flow.metrics().series(&subject, "loss").await.unwrap();
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..WRITERS * EACH).map(|n| f64::from(n) + 0.1).collect();
    assert_eq!(values, expected);
    let summary = flow.metrics().summary(&subject, "loss").await.unwrap().unwrap();
    assert_eq!((summary.count, summary.min), (u64::from(WRITERS * EACH), 0.1));
}

/// What was acknowledged is there when the data is opened again, and goes on where it ended.
pub async fn metadata_outlives_the_handle(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let flow = handle(&backend);
    with_model(&flow, 2).await;
    flow.models().deploy("wine", 2).await.unwrap();
    let before = flow.models().versions("wine").await.unwrap();
    backend.store.close().await.unwrap();
    drop((flow, backend));
    let Some(again) = fixture.reopen().await else { return };
    let flow = handle(&again);
    assert_eq!(flow.models().versions("wine").await.unwrap(), before);
    assert_eq!(flow.models().deployed("wine").await.unwrap().map(|it| it.version), Some(2));
    let next = flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
    assert_eq!(next.version, 3);
}
