//! Several processes and one file: what one writes the other sees, and what one acknowledged survives its death.
//!
//! The other process is this test program again, asked to run one test alone; a variable tells it that it is the other one.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, MetaStore};
use aiflow_core::time::Timestamp;
use tempfile::tempdir;

use super::{assert_intact, event, ids, open};

const FILE: &str = "AIFLOW_SQLITE_TEST_FILE";
const LONG: Duration = Duration::from_secs(3_600);

/// The file to work on, if this is the other process.
pub(crate) fn as_other_process() -> Option<PathBuf> {
    std::env::var_os(FILE).map(PathBuf::from)
}

pub(crate) fn other_process(test: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the other process reports, line by line.
pub(crate) fn reports(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.map_while(Result::ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_process_wakes_a_waiter() {
    if let Some(path) = as_other_process() {
        open(&path).await.publish(vec![event("theirs")]).await.unwrap();
        return;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = open(&path).await;
    let ours = store.publish(vec![event("ours")]).await.unwrap()[0];
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.wait(ours).await })
        })
        .collect();
    let mut child = other_process("processes::an_event_of_another_process_wakes_a_waiter", &path);
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(ids(&store).await, ["ours", "theirs"]);
    assert!(child.wait().unwrap().success());
    // The offsets go on behind theirs, although this process did not give them.
    let next = store.publish(vec![event("next")]).await.unwrap()[0];
    assert!(next > ours.next());
    let again = store.publish(vec![event("theirs")]).await.unwrap()[0];
    assert_eq!(again, ours.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    const ACKNOWLEDGED: usize = 200;
    if let Some(path) = as_other_process() {
        let store = open(&path).await;
        for n in 0_u64.. {
            let events = (0..5).map(|m| event(format!("{n}-{m}")));
            store.publish(events.collect()).await.unwrap();
            eprintln!("{n}");
        }
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let mut child = other_process("processes::a_killed_writer_loses_nothing_that_it_acknowledged", &path);
    let mut lines = reports(&mut child);
    let mut acknowledged: Vec<String> = lines.by_ref().take(ACKNOWLEDGED).collect();
    assert_eq!(acknowledged.len(), ACKNOWLEDGED);
    child.kill().unwrap();
    acknowledged.extend(lines);
    child.wait().unwrap();

    let store = open(&path).await;
    let found = ids(&store).await;
    let expected = acknowledged.iter().flat_map(|n| (0..5).map(move |m| format!("{n}-{m}")));
    let expected: Vec<String> = expected.collect();
    assert!(found.starts_with(&expected));
    assert_eq!(found.len() % 5, 0, "no half of a publish");
    store.publish(vec![event("after")]).await.unwrap();
    store.close().await.unwrap();
    assert_intact(&path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_killed_process_is_free_at_once() {
    if let Some(path) = as_other_process() {
        let store = open(&path).await;
        let lease = store.acquire("leader", "them", LONG).await.unwrap();
        eprintln!("{}", lease.unwrap().epoch);
        std::future::pending::<()>().await;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = open(&path).await;
    let mut child = other_process("processes::the_lease_of_a_killed_process_is_free_at_once", &path);
    let epoch: u64 = reports(&mut child).next().unwrap().parse().unwrap();
    let early = store.acquire("leader", "us", LONG).await.unwrap();
    assert_eq!(early, None, "the holder lives");
    child.kill().unwrap();
    child.wait().unwrap();
    let ours = store.acquire("leader", "us", LONG).await.unwrap().unwrap();
    assert!(ours.epoch > epoch);
}

#[tokio::test]
async fn a_holder_that_stood_still_for_too_long_is_fenced() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    // Two openings are as two processes: the first keeps its lock file, as a stopped process does.
    let (still, awake) = (open(&path).await, open(&path).await);
    let short = Duration::from_millis(50);
    let old = still.acquire("leader", "still", short).await.unwrap().unwrap();
    let new = loop {
        if let Some(lease) = awake.acquire("leader", "awake", LONG).await.unwrap() {
            break lease;
        }
        tokio::time::sleep(short).await;
    };
    assert!(new.epoch > old.epoch);
    let mut stale = Batch::at(Timestamp::EPOCH).event(event("stale"));
    stale.fence = Some(old.fence());
    let error = still.commit(stale).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let late = still.acquire("leader", "still", LONG).await.unwrap();
    assert_eq!(late, None);

    // The new holder leads without the lock file; that the old one ends does not end its lease.
    drop(still);
    let third = open(&path).await;
    assert_eq!(third.acquire("leader", "third", LONG).await.unwrap(), None);
    awake.release(&new).await.unwrap();
    let third = third.acquire("leader", "third", LONG).await.unwrap();
    assert!(third.unwrap().epoch > new.epoch);
}

/// A handle that holds the events before in memory, and did not append the newest itself.
#[tokio::test]
async fn what_head_told_can_be_read_also_if_another_opening_wrote_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let (here, there) = (open(&path).await, open(&path).await);
    for n in 1..=20 {
        here.publish(vec![event(format!("here{n}"))]).await.unwrap();
        there.publish(vec![event(format!("there{n}"))]).await.unwrap();
        let last = here.head().await.unwrap().last;
        let page = here.read(Offset::START, &EventFilter::all(), 1000).await.unwrap();
        assert_eq!((page.covered, page.events.len()), (last, 2 * n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_openings_that_write_at_once_make_one_log() {
    const EACH: usize = 200;
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let mut tasks = Vec::new();
    for name in ["a", "b"] {
        let store = open(&path).await;
        tasks.push(tokio::spawn(async move {
            let mut offsets = Vec::new();
            for n in 0..EACH {
                let id = event(format!("{name}{n}"));
                offsets.extend(store.publish(vec![id]).await.unwrap());
            }
            offsets
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        let offsets = task.await.unwrap();
        assert!(offsets.is_sorted());
        all.extend(offsets);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 2 * EACH);
    let store = open(&path).await;
    assert_eq!(ids(&store).await.len(), 2 * EACH);
    let filter = aiflow_core::event::EventFilter::all();
    let page = store.read(aiflow_core::id::Offset(0), &filter, 2 * EACH);
    let events = page.await.unwrap().events;
    assert!(events.is_sorted_by_key(|event| event.recorded));
}
