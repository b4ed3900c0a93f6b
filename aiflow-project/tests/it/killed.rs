//! Unpacking by real processes: one that is killed in the middle of it, and others that wait for it or come later.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aiflow_core::id::ProjectName;
use aiflow_project::{LoadOptions, Project, SnapshotId, Snapshots};

use super::corpus::project;

/// Names the directory whose snapshot this binary is to unpack.
const DIR_VARIABLE: &str = "AIFLOW_TEST_UNPACK_DIR";
/// So many files are in the snapshot: it takes long enough to unpack that somebody can come in between.
const FILES: usize = 1_000;
/// So many files lie there when the process is killed: a few, and more in each round.
const KILLED_AT: [usize; 4] = [1, 40, 150, 300];

fn p() -> ProjectName {
    ProjectName::parse("p").unwrap()
}

fn content(i: usize) -> Vec<u8> {
    format!("file {i} ").repeat(i % 50 + 1).into_bytes()
}

/// A host with a snapshot of many files in its object store.
struct Host {
    dir: tempfile::TempDir,
    id: SnapshotId,
}

fn snapshots(dir: &Path) -> Snapshots {
    Snapshots::local(dir.join("store"), dir.join("cache")).unwrap()
}

impl Host {
    fn new() -> Self {
        let mut files = vec![
            ("project.yaml".to_owned(), b"name: p\n".to_vec()),
            ("workflows/w/w.yaml".to_owned(), b"nodes: {a: {shell: 'true'}}\n".to_vec()),
        ];
        files.extend((0..FILES).map(|i| (format!("resources/{}/{i}", i % 7), content(i))));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let source = project(&files);
        let dir = tempfile::tempdir().unwrap();
        let project = Project::load_with(source.path(), &LoadOptions::new()).unwrap();
        let taken = block_on(snapshots(dir.path()).take(&project)).unwrap();
        let id = taken.into_values().next().unwrap();
        fs::write(dir.path().join("id"), id.as_str()).unwrap();
        Self { dir, id }
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("cache/p").join(self.id.as_str())
    }

    fn part(&self) -> PathBuf {
        self.place().with_extension("part")
    }

    /// A process that unpacks.
    fn unpack(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::a_process_unpacks"])
            .env(DIR_VARIABLE, self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// A process that was stopped when so many files lay there, in the middle of unpacking: `None` if it was through by then.
    fn stopped_at(&self, n_files: usize) -> Option<Child> {
        let mut child = self.unpack();
        while n_files_in(&self.part()) < n_files && !self.place().exists() {
            assert!(child.try_wait().unwrap().is_none_or(|status| status.success()));
            std::thread::yield_now();
        }
        signal("-STOP", &child);
        if self.place().exists() {
            signal("-CONT", &child);
            assert!(child.wait().unwrap().success());
            return None;
        }
        Some(child)
    }

    fn assert_whole(&self) {
        assert_eq!(n_files_in(&self.place()), FILES + 2);
        for i in 0..FILES {
            assert_eq!(
                fs::read(self.place().join(format!("resources/{}/{i}", i % 7))).unwrap(),
                content(i),
                "file {i}"
            );
        }
        assert!(!self.part().exists());
    }

    fn forget(&self) {
        fs::remove_dir_all(self.dir.path().join("cache")).unwrap();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn signal(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn n_files_in(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.map(|path| if path.is_dir() { n_files_in(&path) } else { 1 }).sum()
}

/// Plays the process that the others kill; by itself, unpacks in peace.
#[test]
fn a_process_unpacks() {
    let own = std::env::var_os(DIR_VARIABLE).is_none().then(Host::new);
    let dir =
        own.as_ref().map_or_else(|| std::env::var_os(DIR_VARIABLE).unwrap().into(), |host| host.dir.path().to_owned());
    let id = SnapshotId::parse(&fs::read_to_string(dir.join("id")).unwrap()).unwrap();
    block_on(snapshots(&dir).fetch(&p(), &id)).unwrap();
    if let Some(host) = own {
        host.assert_whole();
    }
}

#[test]
fn a_process_that_is_killed_while_it_unpacks_leaves_nothing_that_is_taken_for_whole() {
    let host = Host::new();
    let mut n_killed = 0;
    for n_files in KILLED_AT {
        if let Some(mut child) = host.stopped_at(n_files) {
            child.kill().unwrap();
            child.wait().unwrap();
            n_killed += 1;
            let left = n_files_in(&host.part());
            assert!(left >= n_files && left < FILES + 2, "{left} files were left");
        }
        // The next one finds the lock free and unpacks whole.
        let dir = block_on(snapshots(host.dir.path()).fetch(&p(), &host.id)).unwrap();
        assert_eq!(dir, host.place());
        host.assert_whole();
        host.forget();
    }
    assert!(n_killed >= 2, "only {n_killed} were killed in time");
}

/// One holds the lock and is killed; the other waits for it in the kernel, and unpacks when it is gone.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_waits_for_one_that_is_killed_unpacks_whole() {
    let host = Host::new();
    let mut first = host.stopped_at(KILLED_AT[1]).expect("there are many files");
    let mut second = host.unpack();
    let waits = |locks: &str| {
        let pid = second.id().to_string();
        locks.lines().any(|line| line.contains("->") && line.split_whitespace().any(|word| word == pid))
    };
    while !waits(&fs::read_to_string("/proc/locks").unwrap()) {
        std::thread::yield_now();
    }
    assert!(second.try_wait().unwrap().is_none() && !host.place().exists());
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    host.assert_whole();
}

#[test]
fn processes_that_unpack_at_once_find_the_same() {
    let host = Host::new();
    let mut children: Vec<Child> = (0..3).map(|_| host.unpack()).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    host.assert_whole();
}
