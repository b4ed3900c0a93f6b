//! Closing and opening: what answers a closed store, and what is there when it opens again?

use std::time::Duration;

use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, Durability, MetaStore, MetaStoreExt, Query, RelationQuery};
use aiflow_core::{ErrorKind, Result};

use super::{AT, commit, key, put};
use crate::{Backend, StoreFixture};

/// A lease that does not run out during a case.
const LONG: Duration = Duration::from_secs(3600);

/// After `close`, later calls return `Closed`.
pub async fn a_closed_store_answers_closed(fixture: &dyn StoreFixture) {
    fn assert_closed<T: std::fmt::Debug>(answer: Result<T>) {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    let backend = fixture.open().await;
    let lease = backend.store.acquire("leader", "a", LONG).await.unwrap();
    commit(&backend.store, Batch::at(AT).put(put("a", 1))).await;
    backend.store.close().await.unwrap();

    let store = &backend.store;
    assert_closed(store.get(&[key("a")]).await);
    assert_closed(store.query(&Query::kind("thing")).await);
    assert_closed(store.relations(&RelationQuery::default()).await);
    assert_closed(store.commit(Batch::at(AT).put(put("a", 2))).await);
    assert_closed(store.acquire("leader", "a", LONG).await);
    assert_closed(store.release(&lease.unwrap()).await);
}

/// Some of everything, and how it reads.
async fn fill(backend: &Backend) -> Vec<String> {
    let lease = backend.store.acquire("leader", "a", LONG).await.unwrap();
    for n in 0..3 {
        let mut batch = Batch::at(AT)
            .put(put(&format!("z{}", 9 - n), n))
            .put(put("again", n))
            .relate("read", key("again"), key(&n.to_string()))
            .event(NewEvent::identified(format!("b{n}"), "wine", "k"));
        batch.fence = lease.as_ref().map(aiflow_core::store::Lease::fence);
        commit(&backend.store, batch).await;
        let event = NewEvent::identified(format!("p{n}"), "wine", "k").value(n);
        backend.bus.publish(vec![event]).await.unwrap();
    }
    commit(&backend.store, Batch::at(AT).delete(key("z8"))).await;
    backend.bus.trim(Offset(1)).await.unwrap();
    contents(backend).await
}

async fn contents(backend: &Backend) -> Vec<String> {
    let records = backend.store.query_all(Query::kind("thing"), 100).await;
    let relations = backend.store.relations(&RelationQuery::default()).await;
    let head = backend.bus.head().await.unwrap();
    let events = backend.bus.read(head.trimmed, &EventFilter::all(), 100).await;
    vec![
        format!("{:?}", records.unwrap()),
        format!("{:?}", relations.unwrap()),
        format!("{head:?}"),
        format!("{:?}", events.unwrap()),
    ]
}

/// Asserts that `again` holds what was written, and goes on where it ended.
async fn assert_kept(again: &Backend, written: &[String], durability: Durability) {
    assert_eq!(contents(again).await, written);
    assert_eq!(again.store.capabilities().durability, durability);
    let other = again.store.acquire("leader", "b", LONG).await.unwrap();
    assert_eq!(other, None, "the lease still runs");
    let renewed = again.store.acquire("leader", "a", LONG).await.unwrap();
    let renewed = renewed.expect("it is the holder");
    again.store.release(&renewed).await.unwrap();
    let taken = again.store.acquire("leader", "b", LONG).await.unwrap();
    assert!(taken.unwrap().epoch > renewed.epoch);

    let head = again.bus.head().await.unwrap();
    let known = NewEvent::identified("p2", "wine", "k").value(2);
    let new = NewEvent::identified("new", "wine", "k");
    let offsets = again.bus.publish(vec![known, new]).await.unwrap();
    assert_eq!(offsets[0], head.last);
    assert!(offsets[1] > head.last);
    commit(&again.store, Batch::at(AT).put(put("later", 1))).await;
    let newest = Query::kind("thing").newest_first().limit(1);
    let newest = again.store.query(&newest).await.unwrap();
    assert_eq!(newest.items[0].key, key("later"));
}

/// When `commit` returns `Ok`, its effects have the declared durability: a closed store opens again with everything in it.
pub async fn a_closed_store_opens_again_with_everything(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let durability = backend.store.capabilities().durability;
    let written = fill(&backend).await;
    backend.store.close().await.unwrap();
    drop(backend);
    match fixture.reopen().await {
        Some(again) => assert_kept(&again, &written, durability).await,
        None => assert_eq!(durability, Durability::Volatile),
    }
}

/// Dropping the last handle loses nothing that was acknowledged.
pub async fn a_dropped_store_keeps_what_it_acknowledged(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let durability = backend.store.capabilities().durability;
    let written = fill(&backend).await;
    drop(backend);
    match fixture.reopen().await {
        Some(again) => assert_kept(&again, &written, durability).await,
        None => assert_eq!(durability, Durability::Volatile),
    }
}
