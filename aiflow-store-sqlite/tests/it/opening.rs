//! What is refused at opening, and is it left alone?

use std::fs;
use std::path::Path;

use aiflow_core::bus::EventBus;
use aiflow_core::store::{Durability, MetaStore};
use aiflow_core::{Error, ErrorKind};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tempfile::tempdir;

use super::{event, open, run, shell, text};

async fn refused(path: &Path) -> Error {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap_err()
}

/// Opens a file that is not ours: it must be refused as `Corrupt` and stay as it is.
async fn assert_left_alone(path: &Path) {
    let before = fs::read(path).unwrap();
    let error = refused(path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(fs::read(path).unwrap() == before, "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a/b/aiflow.db");
    let url = format!("sqlite://{}?synchronous=normal", path.display());
    let store = SqliteStore::open_url(&url).await.unwrap();
    store.publish(vec![event("one")]).await.unwrap();
    let declared = MetaStore::capabilities(&store);
    assert_eq!(declared.durability, Durability::ProcessCrash);
    assert!(declared.several_processes);
    store.close().await.unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn every_opening_of_a_file_is_the_same_log() {
    let folder = tempdir().unwrap();
    let (one, other) = (folder.path().join("one.db"), folder.path().join("other.db"));
    let log = |store: &SqliteStore| MetaStore::capabilities(store).log;
    let (a, b) = (open(&one).await, open(&one).await);
    assert_eq!(log(&a), log(&b));
    assert_eq!(log(&a), EventBus::capabilities(&a).log);
    assert_ne!(log(&a), log(&open(&other).await));
}

#[tokio::test]
async fn the_file_of_another_application_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    let marked = folder.path().join("marked.db");
    run(&mut shell(&marked).await, "PRAGMA application_id=7; CREATE TABLE t(x)").await;
    assert_left_alone(&marked).await;

    let unmarked = folder.path().join("unmarked.db");
    run(&mut shell(&unmarked).await, "CREATE TABLE t(x)").await;
    assert_left_alone(&unmarked).await;

    let versioned = folder.path().join("versioned.db");
    run(&mut shell(&versioned).await, "PRAGMA user_version=3").await;
    assert_left_alone(&versioned).await;
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    for (name, content) in
        [("short", b"hello".to_vec()), ("long", vec![b'x'; 10_000]), ("cut", b"SQLite format 3\0\x10\0".to_vec())]
    {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        assert_left_alone(&path).await;
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    open(&path).await.close().await.unwrap();
    let mut newer = shell(&path).await;
    run(&mut newer, "PRAGMA user_version=99").await;
    // Also while the newer version stands only in the write-ahead log.
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("newer release"), "{error}");
    run(&mut newer, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(newer);
    assert_left_alone(&path).await;
    let mut conn = shell(&path).await;
    let version = text(&mut conn, "SELECT user_version || '' FROM pragma_user_version()");
    assert_eq!(version.await, "99");
}

#[tokio::test]
async fn a_path_that_cannot_hold_a_file_is_refused() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.join("aiflow.db"), folder.path().to_owned()] {
        let error = refused(&path).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("path="), "{error}");
    }
    // Nobody may make files here, not even the superuser.
    #[cfg(target_os = "linux")]
    assert_eq!(refused(Path::new("/proc/aiflow.db")).await.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn options_out_of_bounds_are_refused() {
    let folder = tempdir().unwrap();
    let options = SqliteOptions { readers: 0, synchronous: Synchronous::Normal, ..SqliteOptions::default() };
    let path = folder.path().join("aiflow.db");
    let error = SqliteStore::open(&path, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!path.exists());
}

#[tokio::test]
async fn several_openings_may_make_the_file_at_once() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let opening = (0..8).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { open(&path).await })
    });
    let mut stores = Vec::new();
    for task in opening.collect::<Vec<_>>() {
        stores.push(task.await.unwrap());
    }
    for (n, store) in stores.iter().enumerate() {
        store.publish(vec![event(n.to_string())]).await.unwrap();
    }
    assert_eq!(super::ids(&stores[0]).await.len(), 8);
}
