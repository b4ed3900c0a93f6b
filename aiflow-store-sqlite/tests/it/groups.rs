//! Requests that wait at the same time share a transaction, and do not disturb one another.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use aiflow_core::bus::EventBus;
use aiflow_core::event::{Cause, EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, Fence, MetaStore, MetaStoreExt, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_core::{ErrorKind, Result};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use serde_json::json;
use tempfile::tempdir;

use super::{assert_intact, event, ids, open};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

type Request<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Polls once, which hands the request over. On a runtime of one thread the writer cannot run in between.
fn hand_over<'a, T>(request: impl Future<Output = Result<T>> + 'a) -> Request<'a, T> {
    let mut request: Request<'a, T> = Box::pin(request);
    let mut context = Context::from_waker(Waker::noop());
    assert!(request.as_mut().poll(&mut context).is_pending());
    request
}

fn key(id: &str) -> RecordKey {
    RecordKey::new("thing", id)
}

fn put(id: &str) -> Batch {
    Batch::at(AT).put(RecordPut::new(key(id), json!({ "id": id })))
}

#[tokio::test]
async fn a_hundred_publishers_share_a_transaction() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    store.publish(vec![event("first")]).await.unwrap();
    let before = store.stats();
    let requests: Vec<_> = (0..100).map(|n| hand_over(store.publish(vec![event(n.to_string())]))).collect();
    for (n, request) in (2_u64..).zip(requests) {
        assert_eq!(request.await.unwrap(), [Offset(n)]);
    }
    let after = store.stats();
    assert_eq!(after.requests - before.requests, 100);
    assert_eq!(after.transactions - before.transactions, 1);
}

#[tokio::test]
async fn a_refused_request_does_not_disturb_its_group() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    store.commit(put("old").event(event("known"))).await.unwrap();
    let before = store.stats().transactions;

    let fine = hand_over(store.publish(vec![event("a")]));
    let conflict = hand_over(store.commit(put("x").expect(key("old"), Some(7)).event(event("x"))));
    let mut fenced = put("y").event(event("y"));
    fenced.fence = Some(Fence { lease: "leader".to_owned(), epoch: 1 });
    let fenced = hand_over(store.commit(fenced));
    let lease = hand_over(store.acquire("leader", "me", Duration::from_secs(60)));
    let other = event("known").value("something else");
    let contradicts = hand_over(store.publish(vec![event("z"), other]));
    let again = hand_over(store.publish(vec![event("known"), event("b")]));
    let next = hand_over(store.commit(put("old").expect(key("old"), Some(1))));
    let late = hand_over(store.commit(put("old").expect(key("old"), Some(1))));
    let gone = hand_over(store.commit(Batch::at(AT).delete(key("old")).expect(key("old"), Some(2))));
    let anew = hand_over(store.commit(put("old").expect(key("old"), None)));

    assert_eq!(fine.await.unwrap(), [Offset(2)]);
    assert_eq!(conflict.await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(fenced.await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(lease.await.unwrap().unwrap().epoch, 1);
    assert_eq!(contradicts.await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(again.await.unwrap(), [Offset(1), Offset(3)]);
    next.await.unwrap();
    assert_eq!(late.await.unwrap_err().kind(), ErrorKind::Conflict);
    gone.await.unwrap();
    anew.await.unwrap();
    assert_eq!(store.stats().transactions - before, 1);

    assert_eq!(ids(&store).await, ["known", "a", "b"]);
    let found = store.get(&[key("x"), key("y"), key("old")]).await.unwrap();
    assert_eq!(found[..2], [None, None]);
    assert_eq!(found[2].as_ref().unwrap().revision, 1);
}

#[tokio::test]
async fn only_the_request_that_does_not_fit_fails() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let options = SqliteOptions { file_bytes_max: Some(2 * 1024 * 1024), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let large = Batch::at(AT).put(RecordPut::new(key("large"), json!("x".repeat(3_000_000))));
    let before = hand_over(store.publish(vec![event("before")]));
    let large = hand_over(store.commit(large.event(event("large"))));
    let after = hand_over(store.commit(put("small").event(event("after"))));
    assert_eq!(before.await.unwrap(), [Offset(1)]);
    assert_eq!(large.await.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(after.await.unwrap().offsets, [Offset(2)]);
    assert_eq!(ids(&store).await, ["before", "after"]);
    assert_eq!(store.get_one(&key("large")).await.unwrap(), None);
    store.close().await.unwrap();
    assert_intact(&path).await;
}

#[tokio::test]
async fn what_was_handed_over_is_done_although_nobody_waits() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    drop(hand_over(store.publish(vec![event("dropped")])));
    store.publish(vec![event("next")]).await.unwrap();
    assert_eq!(ids(&store).await, ["dropped", "next"]);
}

#[tokio::test]
async fn close_finishes_what_was_accepted() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = open(&path).await;
    let accepted = hand_over(store.publish(vec![event("accepted")]));
    store.close().await.unwrap();
    assert_eq!(accepted.await.unwrap(), [Offset(1)]);
    let waiting = store.wait(Offset(1)).await.unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::Closed);
    let published = store.publish(vec![event("late")]).await.unwrap_err();
    assert_eq!(published.kind(), ErrorKind::Closed);
    assert_eq!(store.close().await.unwrap_err().kind(), ErrorKind::Closed);
    // The log was written back into the file.
    let wal = folder.path().join("aiflow.db-wal");
    assert!(!wal.exists() || std::fs::metadata(wal).unwrap().len() == 0);
    assert_eq!(ids(&open(&path).await).await, ["accepted"]);
}

#[tokio::test]
async fn a_long_log_is_trimmed_in_steps() {
    const EVENTS: usize = 45_000;
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    for begin in (0..EVENTS).step_by(9_000) {
        let events = (begin..begin + 9_000).map(|n| event(n.to_string()));
        store.publish(events.collect()).await.unwrap();
    }
    let before = store.stats().transactions;
    store.trim(Offset(44_000)).await.unwrap();
    assert!(store.stats().transactions - before >= 3);
    assert_eq!(store.head().await.unwrap().trimmed, Offset(44_000));
    let kept = ids(&store).await;
    assert_eq!((kept.len(), kept[0].as_str()), (1_000, "44000"));
}

#[tokio::test]
async fn rare_fields_and_awkward_texts_read_back() {
    let folder = tempdir().unwrap();
    let store = open(&folder.path().join("aiflow.db")).await;
    let mut full = NewEvent::identified("\"id'", "wine", "ключ\u{10ffff}")
        .value(json!({"nul": "a\0b", "f": 0.1 + 0.2}))
        .sender("s")
        .time(AT)
        .label("k", "v");
    full.cause = Some(Cause { offset: Offset(9), hops: 3 });
    let plain = event("plain");
    // Three events in a statement for four: the unused row must not show.
    let events = vec![plain.clone(), full.clone(), event("third")];
    store.publish(events).await.unwrap();
    let everything = EventFilter::all();
    let page = store.read(Offset(0), &everything, 10);
    let found: Vec<_> = page.await.unwrap().events;
    assert_eq!(found[0].body, plain);
    assert_eq!(found[1].body, full);
    assert_eq!(found.len(), 3);

    let odd = RecordPut { name: "a\0b".to_owned(), ..RecordPut::new(RecordKey::new("kind\0", "id\0'"), json!("\0")) };
    store.commit(Batch::at(AT).put(odd.clone())).await.unwrap();
    let record = store.get_one(&odd.key).await.unwrap().unwrap();
    assert_eq!((record.name, record.body), (odd.name, odd.body));
}

#[tokio::test]
async fn what_this_process_wrote_is_known_until_another_one_writes() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let (ours, other) = (open(&path).await, open(&path).await);
    let lease = ours.acquire("leader", "us", Duration::from_secs(60)).await.unwrap().unwrap();
    let batch = |revision: Option<u64>, id: &str| {
        let mut batch = put(id).expect(key(id), revision).event(event(format!("{id}{revision:?}")));
        batch.fence = Some(lease.fence());
        batch
    };
    ours.commit(batch(None, "a")).await.unwrap();
    let looks = ours.stats().looks;
    for revision in 1..20 {
        ours.commit(batch(Some(revision), "a")).await.unwrap();
        ours.publish(vec![event(format!("published{revision}"))]).await.unwrap();
    }
    let error = ours.commit(batch(Some(3), "a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(ours.stats().looks, looks, "each of these is one transaction without a look");

    // A record, no event: only `data_version` tells.
    other.commit(put("a")).await.unwrap();
    let error = ours.commit(batch(Some(20), "a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(ours.stats().looks, looks + 1);
    ours.commit(batch(Some(21), "a")).await.unwrap();
    assert_eq!(ours.stats().looks, looks + 1);
    let record = other.get_one(&key("a")).await.unwrap().unwrap();
    assert_eq!(record.revision, 22);

    // Taken for new, refused by the table, and then looked at.
    other.commit(put("b")).await.unwrap();
    ours.commit(batch(Some(22), "a")).await.unwrap();
    ours.commit(put("b")).await.unwrap();
    assert_eq!(other.get_one(&key("b")).await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn that_there_is_no_such_record_is_known_until_there_is_one() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let (ours, other) = (open(&path).await, open(&path).await);
    // Expects that there is none, and leaves it so.
    let without = |absent: &str| put("kept").expect(key(absent), None);
    ours.commit(without("a")).await.unwrap();
    let looks = ours.stats().looks;
    ours.commit(without("a")).await.unwrap();
    assert_eq!(ours.stats().looks, looks);

    ours.commit(put("a")).await.unwrap();
    let error = ours.commit(without("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "ours");
    assert_eq!(ours.stats().looks, looks, "what was written here is known as well");
    let mut gone = Batch::at(AT);
    gone.deletes.push(key("a"));
    ours.commit(gone).await.unwrap();
    ours.commit(without("a")).await.unwrap();

    ours.commit(without("b")).await.unwrap();
    other.commit(put("b")).await.unwrap();
    let error = ours.commit(without("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "another's");
}
