//! Files in a folder: the suite, what lies on the disk, and a writer that is killed.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};

use aiflow_artifacts::ObjectArtifacts;
use aiflow_core::ErrorKind;
use aiflow_core::artifact_store::{ArtifactStore, Object, StoredObject};
use async_trait::async_trait;
use tempfile::{TempDir, tempdir};

/// A store with the folder that it lives in.
#[derive(Debug)]
struct Kept(ObjectArtifacts, #[expect(dead_code, reason = "the folder goes when it is dropped")] TempDir);

fn kept() -> Kept {
    let folder = tempdir().unwrap();
    Kept(ObjectArtifacts::folder(folder.path()).unwrap(), folder)
}

#[async_trait]
impl ArtifactStore for Kept {
    async fn put(&self, path: &str, bytes: Vec<u8>) -> aiflow_core::Result<StoredObject> {
        self.0.put(path, bytes).await
    }
    async fn get(&self, path: &str) -> aiflow_core::Result<Option<Object>> {
        self.0.get(path).await
    }
    async fn delete(&self, path: &str) -> aiflow_core::Result<()> {
        self.0.delete(path).await
    }
}

mod folder {
    aiflow_testkit::artifact_store_suite!(super::kept());
}

mod memory {
    aiflow_testkit::artifact_store_suite!(aiflow_core::memory::MemoryArtifacts::new());
}

#[tokio::test]
async fn files_lie_where_their_uri_says_and_a_second_handle_reads_them() {
    let folder = tempdir().unwrap();
    let root = folder.path().join("new folder");
    let stored = ObjectArtifacts::folder(&root).unwrap().put("models/wine", b"abc".to_vec()).await.unwrap();
    assert_eq!(std::fs::read(root.join("models/wine")).unwrap(), b"abc");
    assert!(stored.uri.starts_with("file:///") && stored.uri.ends_with("/new%20folder/models/wine"), "{}", stored.uri);
    let url = stored.uri.strip_suffix("/models/wine").unwrap();
    let again = ObjectArtifacts::open(url).unwrap().get("models/wine").await.unwrap().unwrap();
    assert_eq!(again.stored, stored);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(ObjectArtifacts::folder(&file).unwrap_err().kind(), ErrorKind::Unavailable);
    for url in ["no url", "ftp://host/x", "file://host/share"] {
        assert_eq!(ObjectArtifacts::open(url).unwrap_err().kind(), ErrorKind::Invalid, "{url}");
    }
}

const FOLDER: &str = "AIFLOW_ARTIFACTS_TEST_FOLDER";

fn content(n: u64) -> Vec<u8> {
    n.to_string().repeat(200_000).into_bytes()
}

/// The other process: writes for as long as it lives.
#[tokio::test]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = ObjectArtifacts::folder(Path::new(&folder)).unwrap();
    for n in 0.. {
        store.put("value", content(n)).await.unwrap();
    }
}

/// A writer that is killed leaves the old content or the new, whole.
#[tokio::test]
async fn a_killed_writer_leaves_one_content_whole() {
    let folder = tempdir().unwrap();
    let store = ObjectArtifacts::folder(folder.path()).unwrap();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = store.get("value").await.unwrap().map(|object| object.stored.digest);
        // It has written at least once more: the kill hits one of the next writes.
        while store.get("value").await.unwrap().map(|object| object.stored.digest) == before {
            tokio::task::yield_now().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = store.get("value").await.unwrap().unwrap().bytes;
        let text = std::str::from_utf8(&bytes).unwrap();
        let n = (1..=6)
            .find_map(|digits| text.get(..digits).and_then(|n| n.parse::<u64>().ok()).filter(|n| content(*n) == bytes));
        assert!(n.is_some(), "round {round}: {} bytes are no content", bytes.len());
    }
}
