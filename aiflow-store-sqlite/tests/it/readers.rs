//! Readers never stop the writer, whoever they are.

use aiflow_core::bus::EventBus;
use aiflow_core::store::MetaStore;
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use tempfile::tempdir;

use super::{assert_intact, event, ids, run, shell, text};

/// Enough to pass the checkpoint limit several times.
const ROUNDS: usize = 40;
const ROUND_EVENTS: usize = 50;

async fn write(store: &SqliteStore, name: &str) {
    for round in 0..ROUNDS {
        let events = (0..ROUND_EVENTS).map(|n| event(format!("{name}-{round}-{n}")).value("v".repeat(500))).collect();
        store.publish(events).await.unwrap();
    }
}

#[tokio::test]
async fn a_held_reader_delays_the_checkpoint_and_nothing_else() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let options = SqliteOptions { checkpoint_pages: 100, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let wal_bytes = || std::fs::metadata(folder.path().join("aiflow.db-wal")).unwrap().len();
    store.publish(vec![event("seen")]).await.unwrap();

    let mut reader = shell(&path).await;
    let count = "SELECT count(*) || '' FROM event";
    run(&mut reader, "BEGIN").await;
    assert_eq!(text(&mut reader, count).await, "1");
    write(&store, "held").await;
    let held = wal_bytes();
    assert!(held > 100 * 4_096 * 4, "the log grows while it is pinned: {held}");
    assert_eq!(text(&mut reader, count).await, "1", "its moment stands still");
    run(&mut reader, "COMMIT").await;

    // The first commit still goes behind what was pinned; then the log is used again from its beginning.
    write(&store, "freed").await;
    let freed = wal_bytes();
    assert!(freed < held + held / 2, "{held} {freed}");
    write(&store, "again").await;
    assert_eq!(wal_bytes(), freed);
    assert_eq!(ids(&store).await.len(), 1 + 3 * ROUNDS * ROUND_EVENTS);
    store.close().await.unwrap();
    assert_intact(&path).await;
}

#[tokio::test]
async fn a_shell_that_writes_for_a_moment_is_waited_for() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = super::open(&path).await;
    store.publish(vec![event("first")]).await.unwrap();
    let mut writer = shell(&path).await;
    run(&mut writer, "BEGIN IMMEDIATE").await;
    let publishing = tokio::spawn({
        let store = store.clone();
        async move { store.publish(vec![event("second")]).await }
    });
    // Readers go on meanwhile.
    assert_eq!(ids(&store).await, ["first"]);
    run(&mut writer, "COMMIT").await;
    publishing.await.unwrap().unwrap();
    assert_eq!(ids(&store).await, ["first", "second"]);
}

#[tokio::test]
async fn a_file_that_stays_locked_is_unavailable() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let options = SqliteOptions { busy_timeout: std::time::Duration::from_millis(50), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let mut writer = shell(&path).await;
    run(&mut writer, "BEGIN IMMEDIATE").await;
    let error = store.publish(vec![event("a")]).await.unwrap_err();
    assert_eq!(error.kind(), aiflow_core::ErrorKind::Unavailable, "{error}");
    run(&mut writer, "ROLLBACK").await;
    store.publish(vec![event("a")]).await.unwrap();
    assert_eq!(ids(&store).await, ["a"]);
}
