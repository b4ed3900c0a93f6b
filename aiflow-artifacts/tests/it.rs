//! Files in a folder: the suite, what lies on the disk, and a writer that is killed. Of clouds, what can be told without one: which URLs are known, and what
//! of the environment reaches them. `tests/object_store.rs` of `aiflow` asks a real one.

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
    for (url, kind) in [
        ("no url", ErrorKind::Invalid),
        ("file://host/share", ErrorKind::Invalid),
        ("s3://key:secret@bucket/x", ErrorKind::Invalid),
        ("az://container/x?sig=secret", ErrorKind::Invalid),
        ("ftp://host/x", ErrorKind::Unsupported),
        ("http://host/x", ErrorKind::Unsupported),
        ("memory:///x", ErrorKind::Unsupported),
    ] {
        let error = ObjectArtifacts::open(url).unwrap_err();
        assert!(error.kind() == kind && !error.to_string().contains("secret"), "{url}: {error}");
    }
}

const CLOUD: &str = "AIFLOW_ARTIFACTS_TEST_CLOUD";

/// The other process: opens clouds with an environment of its own.
#[test]
fn opener() {
    let Some(url) = std::env::var_os(CLOUD) else { return };
    let store = ObjectArtifacts::open(url.to_str().unwrap()).unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains("//place/prefix") && !shown.contains("hidden"), "{shown}");
    let client = format!("{:?}", store.object_store());
    assert!(client.contains("of-the-platform") && !client.contains("of-others"), "{client}");
}

/// A cloud is opened by its URL with what the environment says of its platform. What the environment says to others is not taken for it, what is
/// no text stops nothing, and no key is shown.
#[cfg(unix)]
#[test]
fn clouds_are_told_what_their_variables_say_and_nothing_else() {
    use std::os::unix::ffi::OsStrExt as _;
    let broken = std::ffi::OsStr::from_bytes(b"\xff");
    for (is_built, url, named) in [
        (cfg!(feature = "s3"), "s3://place/prefix", &["AWS_REGION"][..]),
        (cfg!(feature = "gcs"), "gs://place/prefix", &["GOOGLE_BASE_URL"]),
        (cfg!(feature = "azure"), "az://place/prefix", &["AZURE_STORAGE_ACCOUNT_NAME"]),
    ] {
        if !is_built {
            let error = ObjectArtifacts::open(url).unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("feature"), "{error}");
            continue;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["opener", "--exact"]).env_clear().env(CLOUD, url);
        for name in named {
            command.env(name, "https://of-the-platform.example");
        }
        for name in ["REGION", "ENDPOINT", "BASE_URL", "TOKEN", "ACCOUNT_NAME", "USER_AGENT", "PROXY_URL", "BUCKET"] {
            command.env(name, "https://of-others.example");
        }
        let keys = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
            ("AZURE_STORAGE_ACCOUNT_KEY", "hidden+8"),
        ];
        command
            .envs(keys)
            .env("TIMEOUT", "soon")
            .env("ALLOW_HTTP", "perhaps")
            .env("AWS_ENDPOINT", broken)
            .env(broken, "x");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{url}: {said}");
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
