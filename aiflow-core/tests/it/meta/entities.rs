//! The verbs of every kind of entity.

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::meta::{
    Artifact, ArtifactState, Better, Catalog, DataType, Dataset, Entity, Listing, MetricDefinition, MetricOwner, Model,
    Notes, Project, Registry, Scalar, Schema,
};

use super::{aiflow, told, with_model};

/// Every verb on one kind, and what is told of each.
async fn assert_verbs<E: Entity>(
    flow: &AiFlow,
    registry: Registry<E>,
    entity: E,
    notes: fn(&mut E) -> &mut Notes,
    types: [&str; 5],
) {
    let name = "thing";
    let first = registry.register(entity.clone()).await.unwrap();
    assert_eq!(registry.register(entity.clone()).await.unwrap(), first, "the same again is fine");
    assert_eq!(registry.get(name).await.unwrap().as_ref(), Some(&first));
    assert_eq!(registry.get_by_id(first.id()).await.unwrap().as_ref(), Some(&first));
    assert_eq!(registry.list().await.unwrap(), std::slice::from_ref(&first));

    let tagged = registry.update(name, |entity| notes(entity).tag("team", "ads")).await.unwrap();
    assert_eq!((tagged.revision, tagged.key.clone()), (2, first.key.clone()));
    let mut expected = entity.clone();
    notes(&mut expected).tag("team", "ads");
    assert_eq!(tagged.content, expected, "what the edit leaves alone stays");
    let same = registry.update(name, |entity| notes(entity).tag("team", "ads")).await.unwrap();
    assert_eq!(same, tagged, "an edit that changes nothing writes nothing");
    let stale = registry.update_read(&first, |entity| notes(entity).tag("team", "core")).await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(registry.register(entity.clone()).await.unwrap(), tagged, "it says less, not otherwise");

    let deleted = registry.delete_by_id(first.id()).await.unwrap();
    assert_eq!(registry.delete_by_id(first.id()).await.unwrap(), deleted, "it is deleted already");
    assert_eq!(registry.delete_by_id("none").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(deleted.is_deleted() && deleted.deleted_at.is_some());
    assert_eq!(registry.delete(name).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(registry.get(name).await.unwrap(), None);
    assert_eq!(registry.list().await.unwrap(), []);
    assert_eq!(registry.get_by_id(first.id()).await.unwrap().as_ref(), Some(&deleted));
    let both = registry.page(&Listing::new().with_deleted()).await.unwrap();
    assert_eq!(both.items, std::slice::from_ref(&deleted));

    let second = registry.register(entity.clone()).await.unwrap();
    assert_ne!(second.key, first.key, "lineage keeps the first one");
    assert_eq!(registry.get(name).await.unwrap().as_ref(), Some(&second));
    assert_eq!(registry.restore(first.id()).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(flow.purge(&second.key).await.unwrap_err().kind(), ErrorKind::Conflict, "it is in use");
    registry.delete(name).await.unwrap();
    let restored = registry.restore(first.id()).await.unwrap();
    assert_eq!((restored.content.clone(), restored.deleted_at), (expected, None));
    assert_eq!(registry.get(name).await.unwrap().as_ref(), Some(&restored));
    assert_eq!(registry.restore(first.id()).await.unwrap(), restored, "it is restored already");
    registry.delete(name).await.unwrap();
    registry.purge(first.id()).await.unwrap();
    assert_eq!(registry.get_by_id(first.id()).await.unwrap(), None);
    assert_eq!(flow.purge(&first.key).await.unwrap_err().kind(), ErrorKind::NotFound);
    let third = registry.register(entity).await.unwrap();
    assert!(third.key != first.key && third.key != second.key, "an id is never used again");

    let [registered, changed, removed, restored, purged] = types;
    let expected = [
        format!("{registered} registered"),
        format!("{changed} updated"),
        format!("{removed} removed"),
        format!("{registered} registered"),
        format!("{removed} removed"),
        format!("{restored} restored"),
        format!("{removed} removed"),
        format!("{purged} purged"),
        format!("{registered} registered"),
    ];
    assert_eq!(told(flow).await, expected);
}

#[tokio::test]
async fn datasets_have_every_verb() {
    let flow = aiflow();
    let dataset = Dataset::new("thing", "file:///a").unwrap().format("csv");
    let types = ["DATASET_CHANGED", "DATASET_CHANGED", "DATASET_REMOVED", "DATASET_RESTORED", "DATASET_PURGED"];
    assert_verbs(&flow, flow.datasets(), dataset, |it| &mut it.notes, types).await;
}

#[tokio::test]
async fn models_have_every_verb() {
    let flow = aiflow();
    let model = Model::new("thing").unwrap().description("by taste");
    let types = ["MODEL_REGISTERED", "MODEL_CHANGED", "MODEL_REMOVED", "MODEL_RESTORED", "MODEL_PURGED"];
    assert_verbs(&flow, flow.models(), model, |it| &mut it.notes, types).await;
}

#[tokio::test]
async fn artifacts_have_every_verb() {
    let flow = aiflow();
    let artifact = Artifact::new("thing", "file:///r").unwrap().artifact_type("report");
    let types = ["ARTIFACT_REGISTERED", "ARTIFACT_CHANGED", "ARTIFACT_REMOVED", "ARTIFACT_RESTORED", "ARTIFACT_PURGED"];
    assert_verbs(&flow, flow.artifacts(), artifact, |it| &mut it.notes, types).await;
}

#[tokio::test]
async fn metric_definitions_have_every_verb() {
    let flow = aiflow();
    let metric = MetricDefinition::new("thing").unwrap().better(Better::Higher).unit("percent");
    let types = [
        "METRIC_DEFINED",
        "METRIC_DEFINITION_CHANGED",
        "METRIC_DEFINITION_REMOVED",
        "METRIC_DEFINITION_RESTORED",
        "METRIC_DEFINITION_PURGED",
    ];
    assert_verbs(&flow, flow.metric_definitions(), metric, |it| &mut it.notes, types).await;
}

#[tokio::test]
async fn projects_have_every_verb_and_are_told_of_in_their_own_namespace() {
    let flow = aiflow();
    let thing = flow.project("thing").unwrap();
    let project = Project::new("thing".parse().unwrap()).uri("file:///p").description("lager");
    let types = ["PROJECT_CHANGED", "PROJECT_CHANGED", "PROJECT_REMOVED", "PROJECT_RESTORED", "PROJECT_PURGED"];
    assert_verbs(&thing, flow.projects(), project, |it| &mut it.notes, types).await;
    assert!(told(&flow).await.is_empty());
}

#[tokio::test]
async fn a_project_that_holds_anything_is_not_deleted() {
    let flow = aiflow();
    flow.projects().register(Project::new("wine".parse().unwrap())).await.unwrap();
    with_model(&flow).await;
    let error = flow.projects().delete("wine").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("model:wine/wine"), "{error}");
    flow.models().delete("wine").await.unwrap();
    flow.projects().delete("wine").await.unwrap();
}

#[tokio::test]
async fn what_is_registered_otherwise_is_refused_with_the_fields_that_differ() {
    let flow = aiflow();
    let datasets = flow.datasets();
    datasets.register(Dataset::new("train", "file:///a").unwrap().format("csv").tag("team", "ads")).await.unwrap();
    let other = Dataset::new("train", "file:///b").unwrap().format("parquet").tag("team", "core");
    let error = datasets.register(other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("this dataset exists with other format, tags, uri"), "{error}");
    let error = datasets.update("train", |data| data.name = "other".parse().unwrap()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(datasets.update("none", |_| {}).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(datasets.changed("none").await.unwrap_err().kind(), ErrorKind::NotFound);
    datasets.changed("train").await.unwrap();
    assert_eq!(told(&flow).await, ["DATASET_CHANGED registered", "DATASET_CHANGED data"]);
}

#[tokio::test]
async fn an_update_names_the_fields_it_changed() {
    let flow = aiflow();
    flow.datasets().register(Dataset::new("train", "file:///a").unwrap()).await.unwrap();
    let schema = Schema::new().column("grape", DataType::String).column("scores", DataType::Float32.array());
    let edit = |data: &mut Dataset| {
        data.schema = schema.clone();
        data.notes.property("rows", 1_000);
    };
    let updated = flow.datasets().update("train", edit).await.unwrap();
    assert_eq!(updated.notes.properties["rows"], Scalar::Int(1_000));
    let event = super::log_of(&flow).await.pop().unwrap();
    assert_eq!((event.key.as_str(), event.namespace.as_str()), ("train", "wine"));
    let value = serde_json::json!({
        "id": "wine/train", "change": "updated", "fields": ["properties", "schema"], "uri": "file:///a", "format": "",
    });
    assert_eq!(event.value, value);
}

#[tokio::test]
async fn names_are_unique_in_their_project_and_kind_only() {
    let flow = aiflow();
    let beer = flow.project("beer").unwrap();
    for flow in [&flow, &beer] {
        let artifact = Artifact::new("report", format!("file:///{}", flow.project_name()));
        flow.artifacts().register(artifact.unwrap()).await.unwrap();
        flow.datasets().register(Dataset::new("report", "file:///d").unwrap()).await.unwrap();
    }
    assert_eq!(flow.artifacts().list().await.unwrap().len(), 1);
    let report = beer.artifacts().get("report").await.unwrap().unwrap();
    assert_eq!(report.uri, "file:///beer");
    assert_eq!(flow.artifacts().get_by_id(report.id()).await.unwrap(), None, "it is another project's");
    assert_eq!(flow.purge(&report.key).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_catalogue_dataset_needs_no_uri_and_every_other_does() {
    let flow = aiflow();
    let catalog = Catalog::new("hive", "wines", "samples").catalog_type("hive").connection_uri("thrift://h:1");
    let dataset = Dataset::in_catalog("samples", catalog.clone()).unwrap();
    let stored = flow.datasets().register(dataset).await.unwrap();
    assert_eq!((stored.catalog.as_ref(), stored.uri.as_str()), (Some(&catalog), ""));
    let datasets = flow.datasets();
    let changed = datasets.update("samples", |data| {
        data.catalog = data.catalog.take().map(|catalog| catalog.connection_uri("thrift://other:1"));
    });
    assert_eq!(changed.await.unwrap().catalog.as_ref().unwrap().connection_uri, "thrift://other:1");
    let bad = [
        Dataset::new("x", "").unwrap(),
        Dataset::in_catalog("x", Catalog::new("", "d", "t")).unwrap(),
        Dataset::in_catalog("x", Catalog::new("c", "d", "")).unwrap(),
    ];
    for dataset in bad {
        assert_eq!(flow.datasets().register(dataset).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn an_artifact_goes_through_its_life() {
    let flow = aiflow();
    let artifacts = flow.artifacts();
    let report = Artifact::new("report", "file:///r").unwrap().state(ArtifactState::Pending);
    assert_eq!(artifacts.register(report.clone()).await.unwrap().state, "PENDING");
    for state in [ArtifactState::Live, ArtifactState::MarkedForDeletion, ArtifactState::Abandoned] {
        let stored = artifacts.update("report", |artifact| artifact.state = state).await.unwrap();
        assert_eq!((stored.state.as_str(), stored.content.state), (state.as_str(), state));
        let again = artifacts.register(report.clone()).await.unwrap();
        assert_eq!(again, stored, "a job that is tried again does not turn its life back");
    }
    let marked = artifacts.page(&Listing::new().states(["ABANDONED"])).await.unwrap();
    assert_eq!(marked.items.len(), 1);
    artifacts.delete("report").await.unwrap();
    let restored = artifacts.restore("wine/report").await.unwrap();
    assert_eq!(restored.state, "ABANDONED");
    let event = super::log_of(&flow).await.pop().unwrap();
    assert_eq!(event.value["state"], "ABANDONED");
}

#[tokio::test]
async fn definitions_of_metrics_are_found_by_what_they_are_meant_for() {
    let flow = aiflow();
    let (model, data) = (MetricOwner::Model("wine".parse().unwrap()), MetricOwner::Dataset("wine".parse().unwrap()));
    let define = |name: &str, of: &MetricOwner| MetricDefinition::new(name).unwrap().of(of.clone());
    for definition in [define("auc", &model), define("rows", &data), define("loss", &model)] {
        flow.metric_definitions().register(definition).await.unwrap();
    }
    flow.metric_definitions().delete("loss").await.unwrap();
    let names = |found: Vec<aiflow_core::meta::Stored<MetricDefinition>>| {
        found.iter().map(|metric| metric.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(flow.metric_definitions().meant_for(&model).await.unwrap()), ["auc"]);
    assert_eq!(names(flow.metric_definitions().meant_for(&data).await.unwrap()), ["rows"]);
}

#[tokio::test]
async fn pages_hold_each_entity_once_in_both_directions() {
    const ENTITIES: usize = 25;
    let flow = aiflow();
    for n in 0..ENTITIES {
        flow.datasets().register(Dataset::new(format!("d{n}"), "file:///d").unwrap()).await.unwrap();
    }
    flow.datasets().delete("d7").await.unwrap();
    for newest_first in [false, true] {
        let mut listing = Listing::new().limit(4);
        if newest_first {
            listing = listing.newest_first();
        }
        let mut names = Vec::new();
        loop {
            let page = flow.datasets().page(&listing).await.unwrap();
            assert!(page.items.len() == 4 || page.next.is_none(), "what is deleted leaves no gap");
            names.extend(page.items.iter().map(|dataset| dataset.name.to_string()));
            match page.next {
                Some(token) => listing = listing.after(Some(token)),
                None => break,
            }
        }
        let mut expected: Vec<String> = (0..ENTITIES).filter(|n| *n != 7).map(|n| format!("d{n}")).collect();
        if newest_first {
            expected.reverse();
        }
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn concurrent_updates_lose_nothing() {
    const WRITERS: usize = 16;
    let flow = aiflow();
    flow.datasets().register(Dataset::new("train", "file:///a").unwrap()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..WRITERS {
        let datasets = flow.datasets();
        writers.spawn(async move {
            datasets.update("train", |data| data.notes.tag(format!("t{n}"), "x")).await.unwrap();
        });
    }
    writers.join_all().await;
    let train = flow.datasets().get("train").await.unwrap().unwrap();
    assert_eq!((train.notes.tags.len(), train.revision), (WRITERS, 1 + WRITERS as u64));
    let filter = EventFilter::all().event_type("DATASET_CHANGED");
    let events = flow.bus().read(Offset::START, &filter, 100).await.unwrap().events;
    assert_eq!(events.len(), 1 + WRITERS);
}
