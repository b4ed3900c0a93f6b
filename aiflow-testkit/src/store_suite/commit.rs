//! Commits: does a batch take effect wholly or not at all, and is it seen so?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aiflow_core::ErrorKind;
use aiflow_core::event::{EVENT_VALUE_BYTES_MAX, EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{
    BATCH_ITEMS_MAX, Batch, MetaStore, MetaStoreExt, PAGE_ROWS_MAX, Query, RECORD_BYTES_MAX, RecordKey, RecordPut,
    RelationQuery,
};
use aiflow_core::time::Timestamp;
use serde_json::json;

use super::{AT, commit, key, last, put, revisions};
use crate::run::poll_at_most;
use crate::{Backend, StoreFixture};

/// Items that a case leaves free in a large batch, for wrappers that add some of their own.
const WRAPPER_ITEMS_MAX: usize = 8;

/// A batch with one item of each sort, over what [`prepare`] wrote.
fn everything() -> Batch {
    let mut batch = Batch::at(AT)
        .put(put("old", 2))
        .put(put("new", 1))
        .delete(key("gone"))
        .relate("read", key("new"), key("old"))
        .event(NewEvent::identified("e1", "wine", "k"));
    batch.unrelate = prepare().relate;
    batch
}

fn prepare() -> Batch {
    Batch::at(AT)
        .put(put("old", 1))
        .put(put("gone", 1))
        .relate("read", key("old"), key("gone"))
        .event(NewEvent::identified("e0", "wine", "k"))
}

/// Asserts that only [`prepare`] was written.
async fn assert_untouched(backend: &Backend) {
    let found = revisions(&backend.store, &["old", "new", "gone"]).await;
    assert_eq!(found, [Some(1), None, Some(1)]);
    let relations = backend.store.relations(&RelationQuery::default()).await;
    assert_eq!(relations.unwrap().items, prepare().relate);
    let start = Offset::START;
    let events = backend.bus.read(start, &EventFilter::all(), 10).await;
    let events = events.unwrap().events;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].id, "e0");
}

/// A batch takes effect wholly or not at all.
pub async fn a_batch_takes_effect_wholly(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let receipt = commit(&backend.store, everything()).await;

    let found = revisions(&backend.store, &["old", "new", "gone"]).await;
    assert_eq!(found, [Some(2), Some(1), None]);
    let relations = backend.store.relations(&RelationQuery::default()).await;
    assert_eq!(relations.unwrap().items, everything().relate);
    assert_eq!(receipt.offsets, [last(&backend).await]);
}

/// If any expectation does not hold, nothing changes, and the error is `Conflict`.
pub async fn a_failed_expectation_changes_nothing(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    for revision in [0, 2, u64::from(u32::MAX)] {
        let batch = everything().expect(key("gone"), Some(1)).expect(key("old"), Some(revision));
        let error = backend.store.commit(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_untouched(&backend).await;
    }
}

/// An expectation without a revision means that the record does not exist.
pub async fn an_expectation_of_absence_fails_if_the_record_exists(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let batch = everything().expect(key("old"), None);
    let error = backend.store.commit(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_untouched(&backend).await;

    commit(&backend.store, everything().expect(key("new"), None)).await;
}

/// A missing record is at no revision.
pub async fn an_expectation_of_a_missing_record_fails(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let batch = everything().expect(key("new"), Some(1));
    let error = backend.store.commit(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_untouched(&backend).await;
}

/// The same id with other content is `AlreadyExists`, in which case nothing changes.
pub async fn an_event_that_contradicts_the_log_changes_nothing(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let batch = everything().event(NewEvent::identified("e0", "wine", "other"));
    let error = backend.store.commit(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_untouched(&backend).await;
}

/// An event id that is in the log already yields its first offset.
pub async fn an_event_that_is_in_the_log_yields_its_first_offset(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let event = |id: &str| NewEvent::identified(id, "wine", "k");
    let first = backend.bus.publish(vec![event("a"), event("b")]).await;
    let first = first.unwrap();

    let batch = Batch::at(AT).event(event("c")).event(event("b")).event(event("c")).event(event("a"));
    let offsets = commit(&backend.store, batch).await.offsets;
    let last = last(&backend).await;
    assert_eq!(offsets, [last, first[1], last, first[0]]);
}

/// A record reads back as it was written, with the times of its writers.
pub async fn a_record_reads_back_as_written(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let body = json!({
        "text": "Grüße \u{1f377} \"quoted\" \\ \n", "least": i64::MIN, "most": u64::MAX, "ratio": 0.1,
        "none": null, "list": [true, [], {}], "empty key": {"": 1},
    });
    let written = RecordPut {
        key: RecordKey::new("kind:1", "id/ä:2"),
        project: "wine".to_owned(),
        parent: "7.0".to_owned(),
        name: "O'Brien; --".to_owned(),
        state: "RUNNING".to_owned(),
        number: Some(0.1 + 0.2),
        body: body.into(),
        stamp: None,
    };
    commit(&backend.store, Batch::at(AT).put(written.clone())).await;
    let later = Timestamp::from_millis(AT.as_millis() + 5);
    commit(&backend.store, Batch::at(later).put(written.clone())).await;

    let record = backend.store.get_one(&written.key).await.unwrap().unwrap();
    assert_eq!(record.key, written.key);
    assert_eq!(record.project, written.project);
    assert_eq!(record.parent, written.parent);
    assert_eq!(record.name, written.name);
    assert_eq!(record.state, written.state);
    assert_eq!(record.number, written.number);
    assert_eq!(record.body, written.body);
    assert_eq!((record.created, record.updated), (AT, later));
}

/// The number of a record reads back exactly, and a put without one takes it away; also where nothing else changes.
pub async fn a_number_reads_back_exactly_and_goes_with_a_put(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let numbers = [None, Some(0.1 + 0.2), Some(-7.0), Some(f64::MAX), Some(1e-310), None, Some(0.0)];
    for number in numbers {
        commit(&backend.store, Batch::at(AT).put(RecordPut { number, ..put("a", 1) })).await;
        let record = backend.store.get_one(&key("a")).await.unwrap().unwrap();
        assert_eq!(record.number, number);
        let page = backend.store.query(&Query::kind("thing")).await.unwrap();
        assert_eq!(page.items[0].number, number);
    }
}

/// `get` answers in the order asked, with `None` where there is no record.
pub async fn records_come_in_the_order_asked(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let batch = Batch::at(AT).put(put("a", 1)).put(put("b", 2));
    commit(&backend.store, batch).await;
    let keys = [key("b"), key("x"), key("a"), key("b")];
    let records = backend.store.get(&keys).await.unwrap();
    let bodies: Vec<_> =
        records.iter().map(|record| record.as_ref().map(|record| record.body.to_value()["n"].clone())).collect();
    assert_eq!(bodies, [Some(json!(2)), None, Some(json!(1)), Some(json!(2))]);
    assert!(backend.store.get(&[]).await.unwrap().is_empty());
}

/// A read that begins after `commit` returned sees its effects.
pub async fn a_read_after_a_commit_sees_it(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    for n in 1..=50 {
        let batch = Batch::at(AT)
            .put(put("a", n))
            .relate("read", key("a"), key(&n.to_string()))
            .event(NewEvent::new("wine", "k"));
        let offsets = commit(&backend.store, batch).await.offsets;
        assert_eq!(revisions(&backend.store, &["a"]).await, [Some(n)]);
        let records = backend.store.query(&Query::kind("thing")).await.unwrap();
        assert_eq!(records.items[0].body, json!({ "n": n }));
        let relations = backend.store.relations(&RelationQuery::default()).await;
        assert_eq!(relations.unwrap().items.len() as u64, n);
        assert_eq!(last(&backend).await, offsets[0]);
    }
}

/// No read sees a part of a batch.
pub async fn no_read_sees_a_part_of_a_batch(fixture: &dyn StoreFixture) {
    const READS_MIN: u32 = 200;
    const STATES_MIN: u32 = 10;
    let backend = fixture.open().await;
    let ids = ["a", "b", "c"];
    let is_enough = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, is_enough) = (Arc::clone(&backend.store), Arc::clone(&is_enough));
        tokio::spawn(async move {
            let mut n = 0;
            while !is_enough.load(Ordering::Relaxed) {
                n += 1;
                let batch = Batch::at(AT);
                let batch = ids.iter().fold(batch, |batch, id| batch.put(put(id, n)));
                commit(&store, batch).await;
            }
        })
    };
    let (mut reads, mut states, mut known) = (0, 0, None);
    while reads < READS_MIN || states < STATES_MIN {
        let found = revisions(&backend.store, &ids).await;
        assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
        let page = backend.store.query(&Query::kind("thing")).await.unwrap();
        let seen: Vec<_> = page.items.iter().map(|record| record.revision).collect();
        assert!(seen.is_empty() || seen.len() == ids.len() && seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        reads += 1;
        states += u32::from(found[0] != known);
        known = found[0];
        tokio::task::yield_now().await;
    }
    is_enough.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

/// No read sees a part of a batch: who sees an event sees the records that came with it.
pub async fn an_event_is_never_visible_before_its_records(fixture: &dyn StoreFixture) {
    const ROUNDS: u64 = 100;
    let backend = fixture.open().await;
    let store = Arc::clone(&backend.store);
    let writer = tokio::spawn(async move {
        for n in 1..=ROUNDS {
            let event = NewEvent::new("wine", "k").value(n);
            commit(&store, Batch::at(AT).put(put("a", n)).event(event)).await;
        }
    });
    let (mut after, mut seen) = (Offset::START, 0);
    while seen < ROUNDS {
        backend.bus.wait(after).await.unwrap();
        let page = backend.bus.read(after, &EventFilter::all(), 7).await;
        let page = page.unwrap();
        if let Some(event) = page.events.last() {
            seen = event.value.as_u64().unwrap();
            let revision = revisions(&backend.store, &["a"]).await[0];
            assert!(revision >= Some(seen), "{revision:?} at event {seen}");
        }
        after = page.covered;
    }
    writer.await.unwrap();
}

/// Of several commits that expect the same revision, one takes effect; the others are `Conflict`.
pub async fn concurrent_commits_with_one_expectation_have_one_winner(fixture: &dyn StoreFixture) {
    const WRITERS: u64 = 16;
    let backend = fixture.open().await;
    for revision in [None, Some(1), Some(2)] {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = Arc::clone(&backend.store);
                let batch = Batch::at(AT).expect(key("a"), revision);
                let batch = batch.put(put("a", writer));
                let batch = batch.event(NewEvent::new("wine", "won"));
                tokio::spawn(async move { (writer, store.commit(batch).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                (writer, Ok(_)) => winners.push(writer),
                (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "winners {winners:?}");
        let record = backend.store.get_one(&key("a")).await.unwrap().unwrap();
        assert_eq!(record.body, json!({ "n": winners[0] }));
        assert_eq!(record.revision, revision.unwrap_or(0) + 1);
    }
    let all = EventFilter::all();
    let page = backend.bus.read(Offset::START, &all, 10).await.unwrap();
    assert_eq!(page.events.len(), 3);
}

/// Dropping a `commit` leaves it either done or not done, never half.
pub async fn a_cancelled_commit_is_done_or_not(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    for round in 0..40_u64 {
        let (a, b, id) = (format!("a{round}"), format!("b{round}"), format!("e{round}"));
        let batch = Batch::at(AT).put(put(&a, round)).put(put(&b, round)).event(NewEvent::identified(&id, "wine", "k"));
        let polls = u32::try_from(round % 5).unwrap();
        poll_at_most(polls, backend.store.commit(batch)).await;

        // The commit may still be on its way, so each read only bounds the reads beside it.
        let was_event_there = is_in_log(&backend, &id).await;
        let found = revisions(&backend.store, &[&a, &b]).await;
        let is_event_there = is_in_log(&backend, &id).await;
        assert_eq!(found[0], found[1], "round {round}");
        let are_records_there = found[0].is_some();
        assert!(are_records_there || !was_event_there, "round {round}");
        assert!(is_event_there || !are_records_there, "round {round}");
    }
}

async fn is_in_log(backend: &Backend, id: &str) -> bool {
    let all = EventFilter::all();
    let page = backend.bus.read(Offset::START, &all, 100).await.unwrap();
    page.events.iter().any(|event| event.id == id)
}

/// A record's revision is 1 when it is first put and rises by 1 with each put.
pub async fn a_revision_counts_the_puts(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    for n in 1..=5 {
        commit(&backend.store, Batch::at(AT).put(put("a", 0))).await;
        assert_eq!(revisions(&backend.store, &["a"]).await, [Some(n)]);
    }
}

/// A deleted record that is put again starts at 1 again.
pub async fn a_deleted_record_starts_again_at_revision_one(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    for _ in 0..2 {
        commit(&backend.store, Batch::at(AT).put(put("a", 0))).await;
        commit(&backend.store, Batch::at(AT).put(put("a", 0))).await;
        assert_eq!(revisions(&backend.store, &["a"]).await, [Some(2)]);
        commit(&backend.store, Batch::at(AT).delete(key("a"))).await;
        assert_eq!(revisions(&backend.store, &["a"]).await, [None]);
    }
    let later = Timestamp::from_millis(AT.as_millis() + 5);
    commit(&backend.store, Batch::at(later).put(put("a", 0))).await;
    let record = backend.store.get_one(&key("a")).await.unwrap().unwrap();
    assert_eq!((record.revision, record.created), (1, later));
}

/// Deleting a missing record, removing a missing relation, and an empty batch are fine.
pub async fn deleting_what_is_missing_is_fine(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let mut batch = Batch::at(AT).delete(key("never"));
    batch.unrelate = everything().relate;
    assert!(commit(&backend.store, batch).await.offsets.is_empty());
    commit(&backend.store, Batch::at(AT)).await;
    assert_untouched(&backend).await;
}

/// A batch holds at most `BATCH_ITEMS_MAX` items, each key at most once, records and events within their bounds.
pub async fn a_batch_out_of_bounds_is_refused_whole(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, prepare()).await;
    let long = |bytes: usize| json!("x".repeat(bytes));
    let mut too_many = everything();
    too_many.deletes = (0..=BATCH_ITEMS_MAX).map(|n| key(&n.to_string())).collect();
    let bad = [
        too_many,
        everything().put(put("new", 3)),
        everything().delete(key("new")),
        everything().put(put("", 1)),
        everything().put(RecordPut::new(key("big"), long(RECORD_BYTES_MAX))),
        everything().put(RecordPut { number: Some(f64::NAN), ..put("odd", 1) }),
        everything().put(RecordPut { number: Some(f64::INFINITY), ..put("odd", 1) }),
        everything().event(NewEvent::new("wine", "k").value(long(EVENT_VALUE_BYTES_MAX))),
        everything().event(NewEvent::new("wine", "")),
    ];
    for batch in bad {
        let error = backend.store.commit(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_untouched(&backend).await;
    }
}

/// A batch of nearly `BATCH_ITEMS_MAX` items, and a record of `RECORD_BYTES_MAX` bytes, are accepted.
pub async fn a_large_batch_takes_effect_wholly(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let big = json!("x".repeat(RECORD_BYTES_MAX - 2));
    let big = RecordPut::new(RecordKey::new("big", "1"), big);
    commit(&backend.store, Batch::at(AT).put(big.clone())).await;
    let read = backend.store.get_one(&big.key).await.unwrap().unwrap();
    assert_eq!(read.body, big.body);

    let each = (BATCH_ITEMS_MAX - WRAPPER_ITEMS_MAX) / 4;
    let mut batch = Batch::at(AT);
    for n in 0..each {
        let id = n.to_string();
        batch = batch
            .expect(key(&id), None)
            .put(put(&id, n as u64))
            .relate("next", key(&id), key(&(n + 1).to_string()))
            .event(NewEvent::new("wine", id));
    }
    let offsets = commit(&backend.store, batch).await.offsets;
    assert_eq!(offsets.len(), each);
    assert!(offsets.is_sorted_by(|a, b| a < b));
    let records = backend.store.query_all(Query::kind("thing"), each).await;
    assert_eq!(records.unwrap().len(), each);
}

/// `get` names at most `PAGE_ROWS_MAX` keys.
pub async fn too_many_keys_are_refused(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, Batch::at(AT).put(put("7", 1))).await;
    let mut keys: Vec<_> = (0..PAGE_ROWS_MAX).map(|n| key(&n.to_string())).collect();
    let records = backend.store.get(&keys).await.unwrap();
    assert_eq!(records.len(), PAGE_ROWS_MAX);
    assert_eq!(records.iter().flatten().count(), 1);
    assert!(records[7].is_some());

    keys.push(key("one more"));
    let error = backend.store.get(&keys).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
