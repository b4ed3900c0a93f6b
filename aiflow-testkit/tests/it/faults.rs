//! Faults: do they happen as planned, and do all promises hold in spite of them?

use std::sync::Arc;
use std::time::Duration;

use aiflow_core::bus::EventBus;
use aiflow_core::event::NewEvent;
use aiflow_core::executor::{Executor, Observation, StopMode};
use aiflow_core::id::{AttemptId, JobExecutionId, Offset};
use aiflow_core::store::{Batch, MetaStore, MetaStoreExt, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_core::{ErrorKind, Retry};
use aiflow_testkit::fault::{FaultPlan, FaultyBus, FaultyFixture, FaultyStore};
use aiflow_testkit::fault_executor::{FaultyExecutor, FaultyExecutorFixture};
use aiflow_testkit::retrying::Retrying;
use aiflow_testkit::rng::test_seed;
use aiflow_testkit::{Backend, ExecutorFixture, MemoryFixture, StoreFixture};
use serde_json::json;

use super::executor::TaskFixture;

macro_rules! suites_through {
    ($($name:ident: $plan:expr;)+) => {
        $(
            mod $name {
                use super::*;

                fn fixture() -> FaultyFixture<MemoryFixture> {
                    FaultyFixture::new(MemoryFixture::new(), $plan)
                }

                fn tasks() -> FaultyExecutorFixture<TaskFixture> {
                    FaultyExecutorFixture::new(TaskFixture::default(), $plan)
                }

                mod executor {
                    aiflow_testkit::executor_suite!(super::tasks());
                }

                mod store {
                    aiflow_testkit::meta_store_suite!(super::fixture());
                }

                mod bus {
                    aiflow_testkit::event_bus_suite!(super::fixture());
                }
            }
        )+
    };
}

suites_through! {
    no_faults: FaultPlan::default();
    delays: FaultPlan::seeded(test_seed()).delay(Duration::from_micros(200));
    failures: FaultPlan::seeded(test_seed()).fail_before(30);
    lost_replies: FaultPlan::seeded(test_seed()).reply_lost(30);
    all_faults: FaultPlan::seeded(test_seed()).fail_before(20).reply_lost(20).delay(Duration::from_micros(100));
}

fn batch() -> Batch {
    Batch::at(Timestamp::EPOCH).put(RecordPut::new(key(), json!({}))).event(NewEvent::identified("a", "wine", "k"))
}

fn key() -> RecordKey {
    RecordKey::new("thing", "a")
}

fn faulty(inner: &Backend, plan: FaultPlan) -> Backend {
    Backend {
        store: Arc::new(FaultyStore::new(Arc::clone(&inner.store), plan)),
        bus: Arc::new(FaultyBus::new(Arc::clone(&inner.bus), plan)),
    }
}

#[tokio::test]
async fn a_call_that_fails_before_did_nothing() {
    let inner = MemoryFixture::new().open().await;
    let backend = faulty(&inner, FaultPlan::default().fail_before(100));
    let event = NewEvent::new("wine", "k");
    let errors = [
        backend.store.commit(batch()).await.unwrap_err(),
        backend.bus.publish(vec![event]).await.unwrap_err(),
        backend.bus.head().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert_eq!(inner.bus.head().await.unwrap().last, Offset::START);
    assert_eq!(inner.store.get_one(&key()).await.unwrap(), None);
}

#[tokio::test]
async fn a_call_whose_reply_is_lost_did_its_work() {
    let inner = MemoryFixture::new().open().await;
    let backend = faulty(&inner, FaultPlan::default().reply_lost(100));
    let event = NewEvent::new("wine", "k");
    let errors =
        [backend.store.commit(batch()).await.unwrap_err(), backend.bus.publish(vec![event]).await.unwrap_err()];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    }
    assert_eq!(backend.bus.head().await.unwrap().last, Offset(2));
    let record = backend.store.get_one(&key()).await.unwrap();
    assert_eq!(record.unwrap().revision, 1);
}

#[tokio::test]
async fn a_commit_whose_reply_is_always_lost_is_looked_up_and_done_once() {
    let inner = MemoryFixture::new().open().await;
    let faulty = faulty(&inner, FaultPlan::default().reply_lost(100));
    let retrying = Retrying::new(faulty);
    for revision in 1..=3 {
        let receipt = retrying.commit(batch()).await.unwrap();
        assert_eq!(receipt.offsets, [Offset(1)]);
        let record = inner.store.get_one(&key()).await.unwrap();
        assert_eq!(record.unwrap().revision, revision);
    }
    let error = retrying.publish(vec![NewEvent::new("wine", "k")]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn a_seed_always_gives_the_same_faults() {
    async fn pattern(seed: u64) -> Vec<bool> {
        let inner = MemoryFixture::new().open().await;
        let backend = faulty(&inner, FaultPlan::seeded(seed).fail_before(50));
        let mut pattern = Vec::new();
        for _ in 0..64 {
            pattern.push(backend.bus.head().await.is_ok());
        }
        pattern
    }
    let one = pattern(1).await;
    assert_eq!(one, pattern(1).await);
    assert_ne!(one, pattern(2).await);
    assert!(one.contains(&true) && one.contains(&false));
}

#[tokio::test]
async fn calls_of_an_executor_fail_before_it_hears_of_them_or_after_it_did_them() {
    let inner = TaskFixture::default().open().await;
    let attempt = AttemptId::new(JobExecutionId::new(Offset(7), 0), 1);
    let failing = FaultyExecutor::new(Arc::clone(&inner), FaultPlan::default().fail_before(100));
    let stop = failing.stop(attempt, StopMode::Kill).await.unwrap_err();
    assert_eq!((stop.kind(), stop.retry()), (ErrorKind::Unavailable, Retry::Later));
    let observe = failing.observe(&[attempt]).await.unwrap_err();
    assert_eq!((observe.kind(), observe.retry()), (ErrorKind::Unavailable, Retry::Later));
    let losing = FaultyExecutor::new(Arc::clone(&inner), FaultPlan::default().reply_lost(100));
    let stop = losing.stop(attempt, StopMode::Kill).await.unwrap_err();
    assert_eq!((stop.kind(), stop.retry()), (ErrorKind::OutcomeUnknown, Retry::AfterReadBack));
    // What only looks has no outcome to lose.
    assert_eq!(losing.observe(&[attempt]).await.unwrap(), [Observation::NotFound]);
}
