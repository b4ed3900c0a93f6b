//! Snapshots: the same files are the same snapshot, what is unpacked is what was taken, and what would do harm is refused.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::event::EventFilter;
use aiflow_core::execution::WorkflowStatus;
use aiflow_core::id::{Offset, ProjectName, WorkflowName};
use aiflow_core::memory::MemoryStore;
use aiflow_core::runtime::Scheduler;
use aiflow_core::time::SystemClock;
use aiflow_exec_process::ProcessExecutor;
use aiflow_project::{
    LoadOptions, Project, ProjectExecutor, SNAPSHOT_FILE_BYTES_MAX, SNAPSHOT_NESTING_MAX, Secrets, SnapshotId,
    Snapshots, Submitted,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::corpus::project;

const FILES: [(&str, &[u8]); 6] = [
    ("project.yaml", b"name: p\nignore: ['*.tmp']\n"),
    ("workflows/w/w.yaml", b"nodes:\n  a: {bash: say.sh, env: {TOKEN: '${{ secrets.TOKEN }}'}}\n"),
    ("workflows/w/say.sh", b"echo \"{\\\"key\\\": \\\"said\\\", \\\"value\\\": \\\"first $TOKEN $(cat ../../resources/r.txt)\\\"}\" >> \"$AIFLOW_EVENTS\"\n"),
    ("resources/r.txt", b"same"),
    ("resources/copy/r.txt", b"same"),
    ("scratch.tmp", b"scratch"),
];

struct World {
    dir: tempfile::TempDir,
    host: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: project(&FILES), host: tempfile::tempdir().unwrap() }
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::local(self.host.path().join("store"), self.host.path().join("cache")).unwrap()
    }

    fn project(&self) -> Project {
        Project::load_with(self.dir.path(), &LoadOptions::new()).unwrap()
    }

    /// The snapshot of the only workflow.
    async fn take(&self) -> aiflow_core::Result<SnapshotId> {
        let taken = self.snapshots().take(&self.project()).await?;
        Ok(taken[&WorkflowName::parse("w").unwrap()].clone())
    }

    /// Submits the only workflow.
    async fn submit(&self, aiflow: &AiFlow) -> (SnapshotId, Submitted) {
        let mut submitted = self.project().submit_snapshot(aiflow, &self.snapshots()).await.unwrap();
        let done = submitted.pop().unwrap();
        (done.snapshot.clone().unwrap(), done)
    }

    /// What the object store holds.
    fn objects(&self) -> BTreeMap<PathBuf, std::time::SystemTime> {
        files(&self.host.path().join("store"))
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path(), entry.metadata().unwrap().modified().unwrap())),
        }
    }
    found
}

fn p() -> ProjectName {
    ProjectName::parse("p").unwrap()
}

#[tokio::test]
async fn the_same_files_are_the_same_snapshot_and_stored_once() {
    let world = World::new();
    let id = world.take().await.unwrap();
    let objects = world.objects();
    // Four different contents (two of five files are the same) and the list.
    assert_eq!(objects.len(), 5, "{objects:?}");
    // Other times, generated files and scratch do not matter; nothing is written again.
    world.project().generate().unwrap();
    fs::write(world.dir.path().join("scratch.tmp"), "more").unwrap();
    fs::write(world.dir.path().join("resources/r.txt"), "same").unwrap();
    assert_eq!(world.take().await.unwrap(), id);
    assert_eq!(world.objects(), objects);
    // Another machine, another directory.
    let other = World::new();
    assert_eq!(other.take().await.unwrap(), id);
    // One file that changed is one file and one list more.
    fs::write(world.dir.path().join("resources/r.txt"), "other").unwrap();
    assert_ne!(world.take().await.unwrap(), id);
    assert_eq!(world.objects().len(), 7);
    // Whether a file can be run belongs to it.
    fs::write(world.dir.path().join("resources/r.txt"), "same").unwrap();
    let script = world.dir.path().join("workflows/w/say.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let executable = world.take().await.unwrap();
    assert_ne!(executable, id);
    let dir = world.snapshots().fetch(&p(), &executable).await.unwrap();
    assert_eq!(fs::metadata(dir.join("workflows/w/say.sh")).unwrap().permissions().mode() & 0o777, 0o555);
}

#[tokio::test]
async fn a_change_is_a_new_version_of_the_workflows_that_it_is_for() {
    let world = World::new();
    let (_, aiflow) = aiflow();
    let own = world.dir.path().join("workflows/other/own.sh");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(own.with_file_name("other.yaml"), "nodes: {a: {bash: own.sh}}\n").unwrap();
    fs::write(&own, "true").unwrap();
    let submit = async || {
        let submitted = world.project().submit_snapshot(&aiflow, &world.snapshots()).await.unwrap();
        submitted.into_iter().map(|done| (done.workflow.to_string(), done.version, done.is_new)).collect::<Vec<_>>()
    };
    let versions = |other: u32, w: u32| [("other".to_owned(), other), ("w".to_owned(), w)];
    let plain = |done: Vec<(String, u32, bool)>| done.into_iter().map(|(name, n, _)| (name, n)).collect::<Vec<_>>();
    assert_eq!(plain(submit().await), versions(1, 1));
    // A file of the one, then one that lies in the directory of neither.
    fs::write(&own, "false").unwrap();
    assert_eq!(plain(submit().await), versions(2, 1));
    fs::write(world.dir.path().join("resources/r.txt"), "for both").unwrap();
    assert_eq!(plain(submit().await), versions(3, 2));
    assert!(submit().await.iter().all(|(_, _, is_new)| !is_new));
    let version = aiflow.project("p").unwrap().latest_workflow_version("w").await.unwrap().unwrap();
    let id = version.workflow.jobs[0].spec["project"]["snapshot"].as_str().unwrap().parse::<String>().unwrap();
    let dir = world.snapshots().fetch(&p(), &SnapshotId::parse(&id).unwrap()).await.unwrap();
    assert!(dir.join("workflows/w/say.sh").exists() && !dir.join("workflows/other").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_unpacked_once_also_after_a_crash() {
    let world = World::new();
    let id = world.take().await.unwrap();
    // A process died while it unpacked: its lock is free, and what it left is not trusted.
    let left = world.host.path().join("cache/p").join(format!("{id}.part"));
    fs::create_dir_all(left.join("resources")).unwrap();
    fs::write(left.join("resources/r.txt"), "half").unwrap();
    fs::write(left.with_extension("lock"), "").unwrap();
    let fetches: Vec<_> = (0..8)
        .map(|_| {
            let (snapshots, id) = (world.snapshots(), id.clone());
            tokio::spawn(async move { snapshots.fetch(&p(), &id).await })
        })
        .collect();
    for fetch in fetches {
        let dir = fetch.await.unwrap().unwrap();
        for (path, content) in FILES.iter().filter(|(path, _)| *path != "scratch.tmp") {
            assert_eq!(fs::read(dir.join(path)).unwrap(), *content, "{path}");
        }
        assert!(fs::metadata(dir.join("resources/r.txt")).unwrap().permissions().readonly());
        assert_eq!(files(&dir).len(), FILES.len() - 1);
    }
    assert!(!left.exists());
    let unknown = SnapshotId::parse(&"0".repeat(64)).unwrap();
    assert_eq!(world.snapshots().fetch(&p(), &unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn links_out_of_the_project_and_what_is_no_file_are_refused() {
    for (name, make, says) in [
        (
            "out",
            Box::new(|path: &Path| symlink("/etc/passwd", path).unwrap()) as Box<dyn Fn(&Path)>,
            "out of the project",
        ),
        ("up", Box::new(|path: &Path| symlink("../..", path).unwrap()), "out of the project"),
        ("nowhere", Box::new(|path: &Path| symlink("none", path).unwrap()), "leads nowhere"),
        ("directory", Box::new(|path: &Path| symlink("../workflows", path).unwrap()), "no file"),
        ("loop", Box::new(|path: &Path| symlink("loop", path).unwrap()), "leads nowhere"),
        ("a:b", Box::new(|path: &Path| fs::write(path, "x").unwrap()), "contains a character"),
        ("socket", Box::new(|path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())), "no file"),
        (
            "huge",
            Box::new(|path: &Path| fs::File::create(path).unwrap().set_len(SNAPSHOT_FILE_BYTES_MAX + 1).unwrap()),
            "has more than",
        ),
        (
            "deep",
            Box::new(|path: &Path| fs::create_dir_all(path.join("a/".repeat(SNAPSHOT_NESTING_MAX))).unwrap()),
            "nested deeper",
        ),
    ] {
        let world = World::new();
        make(&world.dir.path().join("resources").join(name));
        let error = world.take().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(says), "{name}: {error}");
    }
    // A link inside is the file that it names.
    let world = World::new();
    symlink("r.txt", world.dir.path().join("resources/link.txt")).unwrap();
    let id = world.take().await.unwrap();
    let dir = world.snapshots().fetch(&p(), &id).await.unwrap();
    assert!(fs::symlink_metadata(dir.join("resources/link.txt")).unwrap().is_file());
}

/// An object store that others can write to: lists that lead out, contents and sizes that are not what is said.
#[tokio::test]
async fn what_was_tampered_with_is_refused_and_leaves_nothing() {
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let world = World::new();
    let (snapshots, store) = (world.snapshots(), world.host.path().join("store/p"));
    fs::create_dir_all(store.join("snapshots")).unwrap();
    fs::create_dir_all(store.join("files")).unwrap();
    let content = hex(b"evil");
    fs::write(store.join("files").join(&content), "evil").unwrap();
    let file = |path: &str, bytes: u64| json!({ "path": path, "bytes": bytes, "sha256": content });
    for (files, form) in [
        (vec![file("../../../evil", 4)], 1),
        (vec![file("/tmp/evil-of-a-snapshot", 4)], 1),
        (vec![file("a", 4), file("a/b", 4)], 1),
        (vec![file("a", 3)], 1),
        (vec![file("a", 1 << 40)], 1),
        (vec![file("a", 4)], 2),
    ] {
        let list = serde_json::to_vec(&json!({ "form": form, "files": files })).unwrap();
        let id = SnapshotId::parse(&hex(&list)).unwrap();
        fs::write(store.join("snapshots").join(format!("{id}.json")), &list).unwrap();
        let error = snapshots.fetch(&p(), &id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{files:?}: {error}");
        assert!(!world.host.path().join("cache/p").join(id.as_str()).exists());
    }
    assert!(!world.host.path().join("evil").exists() && !Path::new("/tmp/evil-of-a-snapshot").exists());
    // A list under a name that is not its own, and a file of the right size with other content.
    let id = world.take().await.unwrap();
    let other = SnapshotId::parse(&"1".repeat(64)).unwrap();
    fs::copy(store.join(format!("snapshots/{id}.json")), store.join(format!("snapshots/{other}.json"))).unwrap();
    assert_eq!(snapshots.fetch(&p(), &other).await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(store.join("files").join(hex(b"same")), "evil").unwrap();
    assert_eq!(snapshots.fetch(&p(), &id).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!world.host.path().join("cache/p").join(id.as_str()).exists());
}

fn aiflow() -> (Arc<MemoryStore>, AiFlow) {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    (Arc::clone(&store), AiFlow::new(Arc::<MemoryStore>::clone(&store), store).unwrap())
}

fn host(world: &World, store: &Arc<MemoryStore>, secret: Option<&'static str>) -> Scheduler {
    let runs = world.host.path().join("runs");
    let executor = ProjectExecutor::new(ProcessExecutor::new(runs))
        .snapshots(world.snapshots())
        .secrets(Secrets::by(move |_, name| Ok(secret.filter(|_| name == "TOKEN").map(str::to_owned))));
    Scheduler::builder(Arc::<MemoryStore>::clone(store), Arc::<MemoryStore>::clone(store))
        .executor("process", executor)
        .start()
        .unwrap()
}

async fn said(aiflow: &AiFlow) -> Vec<Value> {
    let page = aiflow.bus().read(Offset(0), &EventFilter::all().key("said"), 100).await.unwrap();
    page.events.into_iter().map(|event| event.value.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_run_with_the_files_of_their_snapshot_and_secrets_are_stored_nowhere() {
    let world = World::new();
    let (store, aiflow) = aiflow();
    let p = aiflow.project("p").unwrap();
    let (id, submitted) = world.submit(&aiflow).await;
    assert!(submitted.is_new);
    let (objects, head) = (world.objects(), aiflow.bus().head().await.unwrap());
    let again = world.submit(&aiflow).await;
    assert!(again.0 == id && !again.1.is_new);
    assert_eq!((world.objects(), aiflow.bus().head().await.unwrap()), (objects, head));
    // What becomes of the directory is nothing to what was submitted.
    fs::write(world.dir.path().join("resources/r.txt"), "changed").unwrap();
    let scheduler = host(&world, &store, Some("hidden"));
    let ended = p.wait(p.start("w", Value::Null).await.unwrap()).await.unwrap();
    assert_eq!(ended.status, WorkflowStatus::Succeeded);
    assert_eq!(said(&aiflow).await, [json!("first hidden same")]);
    world.submit(&aiflow).await;
    p.wait(p.start("w", Value::Null).await.unwrap()).await.unwrap();
    assert_eq!(said(&aiflow).await.last(), Some(&json!("first hidden changed")));
    scheduler.shutdown().await.unwrap();
    let version = p.latest_workflow_version("w").await.unwrap().unwrap();
    assert!(!serde_json::to_string(&version.workflow).unwrap().contains("hidden"));
    // The event says it because the job published it; nothing else of the attempt does.
    let runs = files(&world.host.path().join("runs"));
    let telling = runs.keys().filter(|path| fs::read(path).is_ok_and(|text| text.windows(6).any(|w| w == b"hidden")));
    let names: Vec<_> = telling.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| name == "events"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_there_is_a_failure_that_names_it() {
    let world = World::new();
    let (store, aiflow) = aiflow();
    world.submit(&aiflow).await;
    let scheduler = host(&world, &store, None);
    let p = aiflow.project("p").unwrap();
    let execution = p.start("w", Value::Null).await.unwrap();
    assert_eq!(p.wait(execution).await.unwrap().status, WorkflowStatus::Failed);
    let jobs = p.job_executions(execution).await.unwrap();
    let told = serde_json::to_string(&jobs).unwrap();
    assert!(told.contains("TOKEN") && told.contains("does not have"), "{told}");
    scheduler.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_submitted_waits_for_a_scheduler_with_its_snapshot() {
    let world = World::new();
    let (store, aiflow) = aiflow();
    let collect = async || world.snapshots().collect(&aiflow, &p(), Duration::ZERO).await.unwrap().snapshots;
    let unused = world.take().await.unwrap();
    fs::write(world.dir.path().join("resources/r.txt"), "first").unwrap();
    let (first, _) = world.submit(&aiflow).await;
    assert_eq!(collect().await, 1, "what was only taken");
    let scheduler = host(&world, &store, Some("x"));
    scheduler.wait_applied(aiflow.head().await.unwrap()).await.unwrap();
    scheduler.shutdown().await.unwrap();
    // Nobody schedules: a start that was asked for would still run the first.
    fs::write(world.dir.path().join("resources/r.txt"), "second").unwrap();
    let (second, _) = world.submit(&aiflow).await;
    assert_eq!(collect().await, 0);
    for id in [&first, &second] {
        world.snapshots().fetch(&p(), id).await.unwrap();
    }
    assert_eq!(world.snapshots().fetch(&p(), &unused).await.unwrap_err().kind(), ErrorKind::NotFound);
    let scheduler = host(&world, &store, Some("x"));
    scheduler.wait_applied(aiflow.head().await.unwrap()).await.unwrap();
    scheduler.shutdown().await.unwrap();
    assert_eq!(collect().await, 1, "the first was replaced, and never ran");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_refers_to_is_collected() {
    let world = World::new();
    let (store, aiflow) = aiflow();
    let p = aiflow.project("p").unwrap();
    let name = self::p();
    let scheduler = host(&world, &store, Some("x"));
    let (first, _) = world.submit(&aiflow).await;
    p.wait(p.start("w", Value::Null).await.unwrap()).await.unwrap();
    fs::write(world.dir.path().join("resources/r.txt"), "second").unwrap();
    // Taken, and never submitted.
    let second = world.take().await.unwrap();
    world.snapshots().fetch(&name, &second).await.unwrap();
    fs::write(world.dir.path().join("resources/r.txt"), "third").unwrap();
    let (third, _) = world.submit(&aiflow).await;
    p.wait(p.start("w", Value::Null).await.unwrap()).await.unwrap();
    let young = world.snapshots().collect(&aiflow, &name, Duration::from_secs(3_600)).await.unwrap();
    assert_eq!((young.snapshots, young.files), (0, 0));
    world.snapshots().fetch(&name, &second).await.unwrap();
    // The execution of the first is still there; the third is in use.
    let collected = world.snapshots().collect(&aiflow, &name, Duration::ZERO).await.unwrap();
    assert_eq!((collected.snapshots, collected.files, collected.directories), (1, 1, 1), "{collected:?}");
    for id in [&first, &third] {
        world.snapshots().fetch(&name, id).await.unwrap();
    }
    assert_eq!(world.snapshots().fetch(&name, &second).await.unwrap_err().kind(), ErrorKind::NotFound);
    scheduler.shutdown().await.unwrap();
}
