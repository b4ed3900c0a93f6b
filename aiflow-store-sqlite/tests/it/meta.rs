//! Metadata in a file: what a process that is killed leaves behind.

use std::sync::Arc;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus as _;
use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::meta::{Model, ModelStage, NewMetric, NewModelVersion, Subject};
use aiflow_store_sqlite::SqliteStore;
use tempfile::tempdir;
use tokio::task::JoinSet;

use super::processes::{as_other_process, other_process, reports};
use super::{assert_intact, open};

/// Writers of each process that registers beside another one.
const WRITERS: u32 = 8;
const VERSIONS_EACH: u32 = 100;

fn handle(store: &SqliteStore) -> AiFlow {
    let store = Arc::new(store.clone());
    AiFlow::new(Arc::<SqliteStore>::clone(&store), store).unwrap().project("wine").unwrap()
}

async fn count(flow: &AiFlow, event_type: &str) -> u32 {
    let filter = EventFilter::all().event_type(event_type);
    let events = flow.bus().read(Offset::START, &filter, 10_000).await.unwrap().events;
    u32::try_from(events.len()).unwrap()
}

/// Registers, measures and deploys versions for ever, and reports each number once it is acknowledged.
async fn register_for_ever(flow: &AiFlow) {
    let models = flow.models();
    models.register(Model::new("wine").unwrap()).await.unwrap();
    loop {
        let new = NewModelVersion::new("file:///m").metric("auc", 0.9);
        let version = models.register_version("wine", new).await.unwrap().version;
        models.deploy("wine", version).await.unwrap();
        eprintln!("{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_while_it_registers_leaves_metadata_and_events_together() {
    const TEST: &str = "meta::a_process_killed_while_it_registers_leaves_metadata_and_events_together";
    if let Some(path) = as_other_process() {
        register_for_ever(&handle(&open(&path).await)).await;
    }
    // Killed after ever more reports, so that it dies at ever other moments.
    for reported in [1, 7, 40] {
        let folder = tempdir().unwrap();
        let path = folder.path().join("aiflow.db");
        let mut child = other_process(TEST, &path);
        let mut lines = reports(&mut child);
        let mut acknowledged: Vec<String> = lines.by_ref().take(reported).collect();
        child.kill().unwrap();
        acknowledged.extend(lines);
        child.wait().unwrap();
        let acknowledged: u32 = acknowledged.last().unwrap().parse().unwrap();

        let store = open(&path).await;
        let flow = handle(&store);
        let versions = flow.models().versions("wine").await.unwrap();
        let n = u32::try_from(versions.len()).unwrap();
        assert!(n >= acknowledged, "{n} of {acknowledged}");
        assert!(versions.iter().map(|version| version.version).eq(1..=n));
        assert_eq!(count(&flow, "MODEL_GENERATED").await, n, "metadata and event are there both, or neither");
        assert_eq!(count(&flow, "METRIC_RECORDED").await, n);
        for version in 1..=n {
            let subject = Subject::model_version("wine", version).unwrap();
            assert_eq!(flow.metrics().latest(&subject, "auc").await.unwrap(), Some(0.9));
        }
        let deployed: Vec<u32> =
            versions.iter().filter(|it| it.stage == ModelStage::Deployed).map(|it| it.version).collect();
        assert_eq!(deployed, [count(&flow, "MODEL_DEPLOYED").await]);
        assert_eq!(count(&flow, "MODEL_DEPRECATED").await, deployed[0] - 1);
        let history = flow.models().stage_history("wine").await.unwrap();
        assert_eq!(history.len(), (n + 2 * deployed[0] - 1) as usize);
        let next = flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
        assert_eq!(next.version, n + 1);
        drop((flow, store));
        assert_intact(&path).await;
    }
}

#[tokio::test]
async fn metadata_that_this_process_writes_again_needs_no_look_at_the_file() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    let flow = handle(&store);
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    let round = async |value: f64| {
        let version = flow.models().register_version("wine", NewModelVersion::new("file:///m")).await.unwrap().version;
        flow.models().set_stage("wine", version, ModelStage::Validated).await.unwrap();
        let subject = Subject::model_version("wine", 1).unwrap();
        let metrics = ["auc", "loss"].map(|name| NewMetric::new(name, subject.clone(), value).unwrap());
        flow.metrics().record_all(metrics.into()).await.unwrap();
    };
    round(0.5).await;
    let looks = store.stats().looks;
    for n in 0..5 {
        round(f64::from(n)).await;
    }
    assert_eq!(store.stats().looks, looks);
}

/// What each of two processes registers at once, by as many writers as a busy one has.
async fn register_at_once(flow: &AiFlow) -> Vec<u32> {
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let models = flow.models();
        writers.spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..VERSIONS_EACH {
                let new = NewModelVersion::new("file:///m");
                numbers.push(models.register_version("wine", new).await.unwrap().version);
            }
            numbers
        });
    }
    writers.join_all().await.concat()
}

/// Deploys unless the other process does it in the same moment.
async fn deploy(flow: &AiFlow, version: u32) {
    if let Err(error) = flow.models().deploy("wine", version).await {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_two_processes_have_no_gap_and_one_is_deployed() {
    const TEST: &str = "meta::versions_of_two_processes_have_no_gap_and_one_is_deployed";
    if let Some(path) = as_other_process() {
        let flow = handle(&open(&path).await);
        eprintln!("begins");
        let numbers = register_at_once(&flow).await;
        for number in &numbers {
            eprintln!("{number}");
        }
        return deploy(&flow, numbers[0]).await;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let flow = handle(&open(&path).await);
    flow.models().register(Model::new("wine").unwrap()).await.unwrap();
    let mut child = other_process(TEST, &path);
    let mut lines = reports(&mut child);
    assert_eq!(lines.next().as_deref(), Some("begins"));
    let ours = register_at_once(&flow).await;
    let mut numbers: Vec<u32> = lines.map(|line| line.parse().unwrap()).collect();
    deploy(&flow, ours[0]).await;
    assert!(child.wait().unwrap().success());
    numbers.extend(ours);
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=2 * WRITERS * VERSIONS_EACH), "{numbers:?}");
    let versions = flow.models().versions("wine").await.unwrap();
    assert!(versions.iter().map(|version| version.version).eq(numbers));
    assert_eq!(versions.iter().filter(|version| version.stage == ModelStage::Deployed).count(), 1);
}
