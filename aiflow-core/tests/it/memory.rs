//! The backends in memory keep every promise of the store and of the log.

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryStore;
use aiflow_core::store::MetaStore;
use aiflow_core::time::Timestamp;
use aiflow_testkit::clock::ManualClock;

mod store {
    aiflow_testkit::meta_store_suite!(aiflow_testkit::MemoryFixture::new());
}

mod meta {
    aiflow_testkit::meta_suite!(aiflow_testkit::MemoryFixture::new());
}

mod bus {
    aiflow_testkit::event_bus_suite!(aiflow_testkit::MemoryFixture::new());
}

#[tokio::test]
async fn events_are_stamped_by_the_clock_and_never_backwards() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(100)));
    let log = MemoryStore::new(Arc::<ManualClock>::clone(&clock));
    for now in [100, 200, 50, 201] {
        clock.set(Timestamp::from_millis(now));
        log.publish(vec![NewEvent::new("wine", "k")]).await.unwrap();
    }
    let page = log.read(Offset::START, &EventFilter::all(), 10).await;
    let recorded: Vec<_> = page.unwrap().events;
    let recorded: Vec<_> = recorded.iter().map(|event| event.recorded.as_millis()).collect();
    assert_eq!(recorded, [100, 200, 200, 201]);
}

#[tokio::test]
async fn two_stores_share_nothing() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let one = MemoryStore::new(Arc::<ManualClock>::clone(&clock));
    let other = MemoryStore::new(clock);
    one.publish(vec![NewEvent::new("wine", "k")]).await.unwrap();
    assert_eq!(other.head().await.unwrap().last, Offset::START);
    assert_ne!(MetaStore::capabilities(&one).log, MetaStore::capabilities(&other).log);
}

#[tokio::test]
async fn closing_wakes_those_who_wait() {
    let log = Arc::new(MemoryStore::new(Arc::new(ManualClock::new(Timestamp::EPOCH))));
    let waiter = Arc::clone(&log);
    let waiter = tokio::spawn(async move { waiter.wait(Offset::START).await });
    tokio::task::yield_now().await;
    log.close().await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(60), waiter).await;
    let error = woken.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}
