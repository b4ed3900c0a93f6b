//! Copies: does what comes from another store stand here as it stood there?

use aiflow_core::ErrorKind;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, MetaStore, MetaStoreExt, RecordPut, RecordStamp};
use aiflow_core::time::Timestamp;

use super::{AT, commit, key, last, put};
use crate::{Backend, StoreFixture};

const LATER: Timestamp = Timestamp::from_millis(AT.as_millis() + 5);

fn copy(id: &str, revision: u64, created: i64, updated: i64) -> RecordPut {
    let (created, updated) = (Timestamp::from_millis(created), Timestamp::from_millis(updated));
    RecordPut { stamp: Some(RecordStamp { revision, created, updated }), ..put(id, 1) }
}

async fn stamp(store: &dyn MetaStore, id: &str) -> (u64, i64, i64) {
    let record = store.get_one(&key(id)).await.unwrap().unwrap();
    (record.revision, record.created.as_millis(), record.updated.as_millis())
}

/// The first put of a record takes revision and moments from its stamp, and counting goes on from there.
pub async fn a_copied_record_keeps_its_stamp(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    let batch = Batch::at(AT).put(copy("a", 7, 11, 13)).put(put("new", 1)).put(copy("b", 1, -5, 0));
    commit(store, batch).await;
    assert_eq!(stamp(store, "a").await, (7, 11, 13));
    assert_eq!(stamp(store, "b").await, (1, -5, 0));
    assert_eq!(stamp(store, "new").await, (1, AT.as_millis(), AT.as_millis()));
    commit(store, Batch::at(LATER).expect(key("a"), Some(7)).put(put("a", 2))).await;
    assert_eq!(stamp(store, "a").await, (8, 11, LATER.as_millis()));
}

/// Nothing is taken from a stamp if the record is there already; and there is no revision 0.
pub async fn a_stamp_changes_nothing_of_a_record_that_is_there(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    commit(store, Batch::at(AT).put(put("a", 1))).await;
    commit(store, Batch::at(LATER).put(copy("a", 7, 11, 13))).await;
    assert_eq!(stamp(store, "a").await, (2, AT.as_millis(), LATER.as_millis()));
    let error = store.commit(Batch::at(AT).put(copy("b", 0, 1, 1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

async fn moments(backend: &Backend) -> Vec<i64> {
    let events = backend.bus.read(Offset::START, &EventFilter::all(), 100).await.unwrap().events;
    events.iter().map(|event| event.recorded.as_millis()).collect()
}

fn copies(moments: &[i64]) -> Batch {
    let mut batch = Batch::at(AT);
    batch.events = moments.iter().map(|moment| NewEvent::identified(format!("e{moment}"), "wine", "k")).collect();
    batch.recorded = moments.iter().copied().map(Timestamp::from_millis).collect();
    batch
}

/// Events of a batch are recorded at its moments, if it names them, whoever reads them.
pub async fn copied_events_keep_their_moments(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    commit(&backend.store, copies(&[5, 7, 7, 90])).await;
    assert_eq!(moments(&backend).await, [5, 7, 90], "an id that occurs twice counts as published before");
    commit(&backend.store, copies(&[7, 95])).await;
    let all = [5, 7, 90, 95];
    assert_eq!(moments(&backend).await, all);
    let mut odd = copies(&[96, 97]);
    odd.recorded.pop();
    let error = backend.store.commit(odd).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    backend.store.close().await.unwrap();
    drop(backend);
    if let Some(again) = fixture.reopen().await {
        assert_eq!(moments(&again).await, all);
    }
}

/// An earlier moment than that of the event before counts as that, also for events without a moment of their own.
pub async fn the_time_of_the_log_never_goes_back_for_copies(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let future = Timestamp::from_millis(9_000_000_000_000).as_millis();
    commit(&backend.store, copies(&[50, 40])).await;
    commit(&backend.store, copies(&[30, future])).await;
    let offset = backend.bus.publish(vec![NewEvent::identified("new", "wine", "k")]).await.unwrap();
    assert_eq!(offset, [last(&backend).await]);
    assert_eq!(moments(&backend).await, [50, 50, 50, future, future]);
}
