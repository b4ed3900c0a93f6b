//! A real object store, opened by its URL as an application does: do files of jobs and snapshots of projects keep their promises there?
//!
//! `cargo xtask object-store s3://bucket/prefix` runs this there; credentials come from the environment, and what it writes lies below the
//! prefix. Without a URL the place is a folder.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aiflow::artifact_store::ArtifactStore as _;
use aiflow::artifacts::ObjectArtifacts;
use aiflow::prelude::*;
use aiflow::project::{Project, Snapshots};

/// Names the place.
const VARIABLE: &str = "AIFLOW_TEST_OBJECT_STORE";

/// The URL of a place that nobody has written to.
fn fresh() -> String {
    static CASE: AtomicU32 = AtomicU32::new(0);
    let base = std::env::var(VARIABLE)
        .unwrap_or_else(|_| concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/object-store").to_owned());
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{}/{run}-{}", base.trim_end_matches('/'), CASE.fetch_add(1, Ordering::Relaxed))
}

mod files {
    aiflow_testkit::artifact_store_suite!(aiflow::artifacts::ObjectArtifacts::open(&super::fresh()).unwrap());
}

#[tokio::test]
async fn a_place_is_found_again_by_its_url_and_is_no_other() {
    let (here, there) = (fresh(), fresh());
    let stored = ObjectArtifacts::open(&here).unwrap().put("models/wine", b"abc".to_vec()).await.unwrap();
    assert_eq!(stored.uri, format!("{here}/models/wine"));
    let found = ObjectArtifacts::open(&format!("{here}/models")).unwrap().get("wine").await.unwrap().unwrap();
    assert_eq!((found.bytes.as_slice(), &found.stored), (&b"abc"[..], &stored));
    assert!(ObjectArtifacts::open(&there).unwrap().get("models/wine").await.unwrap().is_none());
}

/// Values between jobs, as a workflow leaves and finds them.
#[tokio::test]
async fn jobs_hand_files_on() {
    let aiflow = aiflow::open("memory://").await.unwrap().project("wine").unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("train", function("train"));
    graph.node("serve", function("serve"));
    graph.control("serve", start(job_status(&JobName::parse("train").unwrap(), JobStatus::Succeeded)));
    aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new()
        .register("train", async |ctx: JobContext, _: serde_json::Value| {
            ctx.save("model", b"weights".to_vec()).await?;
            aiflow::Result::Ok(())
        })
        .register("serve", async |ctx: JobContext, _: serde_json::Value| {
            assert_eq!(ctx.load("model").await?, b"weights");
            aiflow::Result::Ok(())
        });
    let executor = FunctionExecutor::new(functions).artifact_store(ObjectArtifacts::open(&fresh()).unwrap());
    let scheduler = aiflow.scheduler().executor("function", executor).start().unwrap();
    let execution = aiflow.start("quality", serde_json::Value::Null).await.unwrap();
    assert_eq!(aiflow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn snapshots_are_stored_once_unpacked_whole_and_collected() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = dir.path().join("workflows/w/say.sh");
    fs::create_dir_all(script.parent().unwrap()).unwrap();
    fs::write(dir.path().join("project.yaml"), "name: p\n").unwrap();
    fs::write(script.with_file_name("w.yaml"), "nodes:\n  a: {bash: say.sh}\n").unwrap();
    fs::write(&script, "echo one\n").unwrap();
    let project = Project::load(dir.path()).unwrap();
    let store = ObjectArtifacts::open(&fresh()).unwrap();
    let snapshots = Snapshots::new(store.object_store(), cache.path());
    let w = WorkflowName::parse("w").unwrap();
    let first = snapshots.take(&project).await.unwrap()[&w].clone();
    assert_eq!(snapshots.take(&project).await.unwrap()[&w], first);
    fs::write(&script, "echo two\n").unwrap();
    let second = snapshots.take(&project).await.unwrap()[&w].clone();
    // Two that take the same at once write the same.
    fs::write(&script, "echo three\n").unwrap();
    let (third, same) = tokio::join!(snapshots.take(&project), snapshots.take(&project));
    assert_eq!(third.unwrap(), same.unwrap());
    for (id, text) in [(&first, "echo one\n"), (&second, "echo two\n")] {
        let unpacked = snapshots.fetch(project.name(), id).await.unwrap();
        assert_eq!(fs::read_to_string(unpacked.join("workflows/w/say.sh")).unwrap(), text);
    }
    let aiflow = aiflow::open("memory://").await.unwrap();
    project.submit_snapshot(&aiflow, &snapshots).await.unwrap();
    let young = snapshots.collect(&aiflow, project.name(), Duration::from_secs(3_600)).await.unwrap();
    assert_eq!((young.snapshots, young.files), (0, 0), "{young:?}");
    let collected = snapshots.collect(&aiflow, project.name(), Duration::ZERO).await.unwrap();
    assert_eq!((collected.snapshots, collected.files), (2, 2), "{collected:?}");
    let again = Snapshots::new(store.object_store(), tempfile::tempdir().unwrap().path());
    assert!(again.fetch(project.name(), &first).await.is_err());
}
