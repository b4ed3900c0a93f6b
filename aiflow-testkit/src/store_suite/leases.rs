//! Leases and fences: who may decide, and is everybody else kept out?

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::event::NewEvent;
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, Fence, Lease, MetaStore, RelationQuery};

use super::{AT, commit, key, last, put, revisions};
use crate::StoreFixture;

/// A lease that does not run out during a case.
const LONG: Duration = Duration::from_secs(3600);
/// A lease that runs out during a case; long enough that real clocks tell it from nothing.
const SHORT: Duration = Duration::from_millis(200);
/// Tries until a lease that ran out must have been granted; a real clock may be a little late.
const EXPIRY_TRIES_MAX: u32 = 50;

async fn take(store: &dyn MetaStore, holder: &str) -> Lease {
    let lease = store.acquire("leader", holder, LONG).await.unwrap();
    lease.expect("nobody holds it")
}

/// Lets time pass until `holder` gets the lease after another one's short lease ran out.
async fn take_over(fixture: &dyn StoreFixture, store: &dyn MetaStore, holder: &str) -> Lease {
    for _ in 0..EXPIRY_TRIES_MAX {
        fixture.pass(SHORT).await;
        if let Some(lease) = store.acquire("leader", holder, LONG).await.unwrap() {
            return lease;
        }
    }
    panic!("a lease of {SHORT:?} was not granted to another after it ran out");
}

/// A lease is granted while nobody holds it; `None` while somebody else holds it. Leases of other names are apart.
pub async fn a_lease_has_one_holder(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let lease = take(&backend.store, "a").await;
    assert_eq!((lease.name.as_str(), lease.holder.as_str()), ("leader", "a"));
    let other = backend.store.acquire("leader", "b", LONG).await.unwrap();
    assert_eq!(other, None);
    let other = backend.store.acquire("cleaner", "b", LONG).await.unwrap();
    assert_eq!(other.unwrap().holder, "b");
}

/// A lease is granted after it ran out, and its epoch rises by at least 1 whenever the holder changes.
pub async fn a_lease_that_ran_out_is_granted_with_a_higher_epoch(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let first = backend.store.acquire("leader", "a", SHORT).await.unwrap();
    let second = take_over(fixture, &backend.store, "b").await;
    assert!(second.epoch > first.unwrap().epoch);
    let late = backend.store.acquire("leader", "a", LONG).await.unwrap();
    assert_eq!(late, None, "the old holder cannot renew what was taken over");
}

/// A lease is granted to the holder itself, which keeps the epoch; the time counts from the renewal.
pub async fn renewing_keeps_the_epoch_and_prolongs(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let first = backend.store.acquire("leader", "a", SHORT).await.unwrap();
    let renewed = take(&backend.store, "a").await;
    assert_eq!(Some(&renewed), first.as_ref());
    fixture.pass(2 * SHORT).await;
    let other = backend.store.acquire("leader", "b", LONG).await.unwrap();
    assert_eq!(other, None, "the renewed lease still runs");
}

/// A lease that was given up is granted to another at once, under a higher epoch.
pub async fn a_released_lease_is_granted_at_once(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let first = take(&backend.store, "a").await;
    backend.store.release(&first).await.unwrap();
    let second = take(&backend.store, "b").await;
    assert!(second.epoch > first.epoch);
}

/// `release` gives the lease up if it is still this one; otherwise it does nothing.
pub async fn releasing_a_lease_that_was_taken_over_does_nothing(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let first = backend.store.acquire("leader", "a", SHORT).await.unwrap();
    let first = first.unwrap();
    let second = take_over(fixture, &backend.store, "b").await;
    backend.store.release(&first).await.unwrap();
    let mut forged = second.clone();
    forged.holder = "a".to_owned();
    backend.store.release(&forged).await.unwrap();
    let mut unknown = second.clone();
    unknown.name = "unknown".to_owned();
    backend.store.release(&unknown).await.unwrap();
    let other = backend.store.acquire("leader", "c", LONG).await.unwrap();
    assert_eq!(other, None, "the lease of b still stands");
    assert_eq!(take(&backend.store, "b").await, second);
}

/// Two holders never share an epoch.
pub async fn epochs_of_a_lease_never_repeat(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut epoch_last = 0;
    for holder in ["a", "b", "a", "c", "b"] {
        let lease = take(&backend.store, holder).await;
        assert!(lease.epoch > epoch_last, "{lease:?} after {epoch_last}");
        epoch_last = lease.epoch;
        backend.store.release(&lease).await.unwrap();
    }
}

/// Of several that ask for a lease at once, one gets it.
pub async fn concurrent_acquisitions_have_one_winner(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let askers: Vec<_> = (0..16)
        .map(|n| {
            let store = Arc::clone(&backend.store);
            tokio::spawn(async move { store.acquire("leader", &format!("h{n}"), LONG).await })
        })
        .collect();
    let mut granted = Vec::new();
    for asker in askers {
        granted.extend(asker.await.unwrap().unwrap());
    }
    assert_eq!(granted.len(), 1, "{granted:?}");
}

/// A batch with a fence takes effect while the lease is at this epoch.
pub async fn a_commit_under_the_current_epoch_passes(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let lease = take(&backend.store, "a").await;
    for n in 1..=3 {
        let mut batch = Batch::at(AT).put(put("a", n));
        batch.fence = Some(lease.fence());
        commit(&backend.store, batch).await;
        assert_eq!(take(&backend.store, "a").await, lease);
    }
    assert_eq!(revisions(&backend.store, &["a"]).await, [Some(3)]);
}

/// If the fence does not hold, nothing changes, and the error is `Fenced`, also when an expectation does not hold either.
pub async fn a_commit_under_an_old_epoch_is_fenced_and_changes_nothing(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let old = backend.store.acquire("leader", "a", SHORT).await.unwrap();
    let new = take_over(fixture, &backend.store, "b").await;
    commit(&backend.store, Batch::at(AT).put(put("kept", 1))).await;

    let stale = |fence: Fence| {
        let mut batch = Batch::at(AT)
            .put(put("a", 1))
            .delete(key("kept"))
            .relate("read", key("a"), key("kept"))
            .event(NewEvent::new("wine", "k"));
        batch.fence = Some(fence);
        batch
    };
    let mut future = new.fence();
    future.epoch += 1;
    let old = old.unwrap().fence();
    let batches = [stale(old.clone()), stale(old).expect(key("kept"), Some(9)), stale(future)];
    for batch in batches {
        let error = backend.store.commit(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        let found = revisions(&backend.store, &["a", "kept"]).await;
        assert_eq!(found, [None, Some(1)]);
        let relations = backend.store.relations(&RelationQuery::default()).await;
        assert!(relations.unwrap().items.is_empty());
        assert_eq!(last(&backend).await, Offset::START);
    }
    commit(&backend.store, stale(new.fence())).await;
}

/// A fence names a lease and an epoch that was granted.
pub async fn a_fence_on_a_lease_nobody_took_is_fenced(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut batch = Batch::at(AT).put(put("a", 1));
    batch.fence = Some(Fence { lease: "leader".to_owned(), epoch: 1 });
    let error = backend.store.commit(batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(revisions(&backend.store, &["a"]).await, [None]);
}
