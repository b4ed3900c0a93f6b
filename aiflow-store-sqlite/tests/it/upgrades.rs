//! Is a file of an older release, opened with this one, what it would be if this one had made it, with all that was in it?

use std::path::Path;
use std::sync::Arc;

use aiflow_core::bus::EventBus;
use aiflow_core::client::AiFlow;
use aiflow_core::id::WorkflowExecutionId;
use aiflow_core::store::MetaStore;
use aiflow_store_sqlite::SqliteStore;
use tempfile::tempdir;

use super::processes::{as_other_process, other_process};
use super::{assert_intact, event, ids, open, run, shell, text, views};

/// What the releases before this one made their files with: the first had only the first of them.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../src/migrations/0001_tables.sql"),
    include_str!("../../src/migrations/0002_views.sql"),
    include_str!("../../src/migrations/0003_values.sql"),
];
/// Everything that a table holds, as one text.
const TABLES: [(&str, &str); 5] = [
    (
        "event",
        "SELECT json_group_array(json_array(offset, recorded, id, namespace, key, event_type, sender, value, context, time, cause, hops)) FROM event",
    ),
    (
        "record",
        "SELECT json_group_array(json_array(seq, kind, id, project, parent, name, state, revision, created, updated, body, number)) FROM record",
    ),
    ("relation", "SELECT json_group_array(json_array(kind, from_kind, from_id, to_kind, to_id)) FROM relation"),
    ("lease", "SELECT json_group_array(json_array(name, epoch)) FROM lease"),
    ("meta", "SELECT json_group_array(json_array(one, store_id, trimmed, trimmed_recorded)) FROM meta"),
];

/// A file of this release with executions, metadata and their events.
async fn make_new(path: &Path) {
    let store = open(path).await;
    store.commit(views::executions()).await.unwrap();
    views::metadata(&handle(&store)).await;
    store.acquire("leader", "me", std::time::Duration::from_secs(60)).await.unwrap().unwrap();
    store.close().await.unwrap();
}

fn handle(store: &SqliteStore) -> AiFlow {
    let store = Arc::new(store.clone());
    AiFlow::new(Arc::<SqliteStore>::clone(&store), store).unwrap().project("wine").unwrap()
}

/// A file with the same rows as `new`, of the release whose schema had this version.
async fn make_old(path: &Path, version: usize, new: &Path) {
    let mut conn = shell(path).await;
    run(&mut conn, "PRAGMA journal_mode = wal").await;
    for migration in &MIGRATIONS[..version] {
        run(&mut conn, migration).await;
    }
    let copy = TABLES.map(|(table, _)| format!("INSERT INTO main.{table} SELECT * FROM new.{table};")).concat();
    run(&mut conn, &format!("ATTACH '{}' AS new; {copy} DETACH new;", new.display())).await;
    // "AIfl": how every release marks its files.
    run(&mut conn, &format!("PRAGMA application_id = 1095329388; PRAGMA user_version = {version};")).await;
    assert_eq!(
        text(&mut conn, "SELECT count(*) || '' FROM sqlite_schema WHERE type = 'view'").await == "0",
        version == 1
    );
}

async fn rows(path: &Path) -> Vec<String> {
    let mut conn = shell(path).await;
    let mut rows = Vec::new();
    for (_, all) in TABLES {
        rows.push(text(&mut conn, all).await);
    }
    rows
}

/// Version, tables, indexes and views.
async fn schema(path: &Path) -> String {
    const ALL: &str = "SELECT json_group_array(json_array(type, name, sql)) || (SELECT user_version FROM pragma_user_version()) \
        FROM (SELECT * FROM sqlite_schema ORDER BY type, name)";
    text(&mut shell(path).await, ALL).await
}

#[tokio::test]
async fn a_file_of_every_older_version_becomes_one_of_this_version_with_all_that_was_in_it() {
    let folder = tempdir().unwrap();
    let new = folder.path().join("new.db");
    make_new(&new).await;
    let (rows_before, newest) = (rows(&new).await, schema(&new).await);
    for version in 1..=MIGRATIONS.len() {
        let path = folder.path().join(format!("version-{version}.db"));
        make_old(&path, version, &new).await;
        assert_eq!(rows(&path).await, rows_before);
        assert_ne!(schema(&path).await, newest);

        let store = open(&path).await;
        assert_eq!(schema(&path).await, newest, "version {version}");
        assert_eq!(rows(&path).await, rows_before, "version {version}");
        goes_on(&store).await;
        store.close().await.unwrap();
        assert_intact(&path).await;
    }
}

/// What was in the file is read, and what is new comes behind it.
async fn goes_on(store: &SqliteStore) {
    let flow = handle(store);
    let execution = flow.execution("7.0".parse::<WorkflowExecutionId>().unwrap()).await.unwrap().unwrap();
    assert_eq!(flow.job_executions(execution.id).await.unwrap().len(), 1);
    let found = flow.models().search_versions("metrics.accuracy > 0.8", None).await.unwrap();
    assert_eq!(found.items.len(), 1);
    let last = store.head().await.unwrap().last;
    assert_eq!(store.publish(vec![event("new")]).await.unwrap(), [last.next()]);
    let lease = store.acquire("other", "me", std::time::Duration::from_secs(60)).await.unwrap();
    assert!(lease.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_open_an_old_file_at_once() {
    const TEST: &str = "upgrades::several_processes_may_open_an_old_file_at_once";
    if let Some(path) = as_other_process() {
        open(&path).await.publish(vec![event(format!("of {}", std::process::id()))]).await.unwrap();
        return;
    }
    let folder = tempdir().unwrap();
    let (new, old) = (folder.path().join("new.db"), folder.path().join("old.db"));
    make_new(&new).await;
    make_old(&old, 1, &new).await;
    let before = ids(&open(&new).await).await;

    let children = [other_process(TEST, &old), other_process(TEST, &old)];
    let opening = [(); 4].map(|()| {
        let old = old.clone();
        tokio::spawn(async move { open(&old).await })
    });
    let mut stores = Vec::new();
    for task in opening {
        stores.push(task.await.unwrap());
    }
    for (n, store) in stores.iter().enumerate() {
        store.publish(vec![event(format!("of opening {n}"))]).await.unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(schema(&old).await, schema(&new).await);
    let after = ids(&stores[0]).await;
    assert!(after.starts_with(&before));
    assert_eq!(after.len(), before.len() + stores.len() + 2, "{after:?}");
    assert_intact(&old).await;
}
