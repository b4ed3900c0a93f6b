//! A full disk refuses, loses nothing, and is forgotten when there is space again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::id::Offset;
use aiflow_core::store::MetaStore;
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use tempfile::{TempDir, tempdir};

use super::{assert_intact, event, ids};

/// More writes than fit into any of the places here.
const WRITES_MAX: usize = 2_000;
const PLACE_BYTES: u64 = 4 * 1024 * 1024;
const BALLAST_BYTES: usize = 1024 * 1024;

/// Writes until the place is full; returns the ids that were acknowledged.
async fn fill(store: &SqliteStore) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0..WRITES_MAX {
        let batch: Vec<String> = (0..8).map(|m| format!("{n}-{m}")).collect();
        let events = batch.iter().map(|id| event(id).value("v".repeat(1_000))).collect();
        match store.publish(events).await {
            Ok(_) => acknowledged.extend(batch),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
                return acknowledged;
            }
        }
    }
    panic!("the place was never full");
}

#[tokio::test]
async fn a_full_file_refuses_until_the_log_is_trimmed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let options = SqliteOptions { file_bytes_max: Some(PLACE_BYTES), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let acknowledged = fill(&store).await;
    assert!(!acknowledged.is_empty());
    assert_eq!(ids(&store).await, acknowledged);
    let error = store.publish(vec![event("large").value("v".repeat(100_000))]);
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(ids(&store).await, acknowledged);

    let half = Offset(u64::try_from(acknowledged.len() / 2).unwrap());
    store.trim(half).await.unwrap();
    store.publish(vec![event("later").value("v".repeat(100_000))]).await.unwrap();
    let kept = ids(&store).await;
    assert_eq!(kept.last().unwrap(), "later");
    assert_eq!(kept.len(), acknowledged.len() - acknowledged.len() / 2 + 1);
    store.close().await.unwrap();
    assert_intact(&path).await;
}

/// A small file system of its own where this process may mount one, otherwise a file with a limit.
struct SmallDisk {
    folder: TempDir,
    mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        let mounted = cfg!(target_os = "linux")
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o"])
                .arg(format!("size={PLACE_BYTES}"))
                .arg("tmpfs")
                .arg(folder.path())
                .status()
                .is_ok_and(|status| status.success());
        Self { folder, mounted }
    }

    fn options(&self) -> SqliteOptions {
        SqliteOptions {
            checkpoint_pages: 100,
            file_bytes_max: (!self.mounted).then_some(PLACE_BYTES),
            ..SqliteOptions::default()
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("aiflow.db")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg(self.folder.path()).status();
        }
    }
}

/// Gives space back: removes the ballast, or lifts the limit.
async fn make_space(disk: &SmallDisk, ballast: &Path, store: SqliteStore) -> SqliteStore {
    if disk.mounted {
        fs::remove_file(ballast).unwrap();
        return store;
    }
    drop(store);
    super::open(&disk.path()).await
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_forgotten_when_there_is_space() {
    let disk = SmallDisk::new();
    let ballast = disk.folder.path().join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let store = SqliteStore::open(disk.path(), disk.options()).await.unwrap();
    let acknowledged = fill(&store).await;
    assert!(!acknowledged.is_empty());
    assert_eq!(ids(&store).await, acknowledged);

    let store = make_space(&disk, &ballast, store).await;
    store.publish(vec![event("later")]).await.unwrap();
    let mut expected = acknowledged;
    expected.push("later".to_owned());
    assert_eq!(ids(&store).await, expected);
    assert_intact(&disk.path()).await;

    // Neither does the file remember when it is opened anew.
    store.close().await.unwrap();
    let store = SqliteStore::open(disk.path(), disk.options()).await.unwrap();
    assert_eq!(ids(&store).await, expected);
    store.close().await.unwrap();
}
