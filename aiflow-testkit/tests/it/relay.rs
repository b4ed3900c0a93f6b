//! A store and a log of different backends: are the promises of both kept, also when calls fail and processes die in between?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::client::AiFlow;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::execution::WorkflowStatus;
use aiflow_core::function::{FunctionExecutor, Functions, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::Offset;
use aiflow_core::memory::MemoryStore;
use aiflow_core::relay::RelayedStore;
use aiflow_core::runtime::{SCHEDULER_LEASE, Settings};
use aiflow_core::store::{Batch, Capabilities, MetaStore, MetaStoreExt as _, Query, RecordKey, RecordPut};
use aiflow_core::time::{SystemClock, Timestamp};
use aiflow_core::workflow::{on, start_workflow};
use aiflow_core::{Error, ErrorKind, Result, Retry};
use aiflow_testkit::clock::ManualClock;
use aiflow_testkit::fault::{FaultPlan, FaultyBus, FaultyStore};
use aiflow_testkit::retrying::Retrying;
use aiflow_testkit::rng::test_seed;
use aiflow_testkit::{Backend, StoreFixture};
use async_trait::async_trait;
use serde_json::{Value, json};

/// Two stores in memory, one of which is only the log, with faults below the join.
struct Joined {
    clock: Arc<ManualClock>,
    plan: FaultPlan,
}

impl Joined {
    fn new(plan: FaultPlan) -> Self {
        Self { clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))), plan }
    }
}

#[async_trait]
impl StoreFixture for Joined {
    async fn open(&self) -> Backend {
        let memory = || Arc::new(MemoryStore::new(Arc::<ManualClock>::clone(&self.clock)));
        let store: Arc<dyn MetaStore> = Arc::new(FaultyStore::new(memory(), self.plan));
        let bus: Arc<dyn EventBus> =
            Arc::new(FaultyBus::new(memory(), FaultPlan { seed: !self.plan.seed, ..self.plan }));
        let joined = loop {
            match RelayedStore::open(Arc::clone(&store), Arc::clone(&bus)).await {
                Ok(joined) => break joined,
                Err(error) => assert_ne!(error.retry(), Retry::Never, "{error}"),
            }
        };
        let joined = Backend::of(Arc::new(joined));
        if self.plan.fail_before_percent > 0 { Backend::of(Arc::new(Retrying::new(joined))) } else { joined }
    }

    async fn reopen(&self) -> Option<Backend> {
        None
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// All cases but four, about what such a store says that it does otherwise. An id is known to the log alone, which is asked after the records
/// were written: `an_event_that_contradicts_the_log_changes_nothing`. And a log is given events without their moments:
/// `copied_events_keep_their_moments`, `the_time_of_the_log_never_goes_back_for_copies`. And a commit that is given up goes on by itself, so that its event may
/// come a moment after its records: `a_cancelled_commit_is_done_or_not` looks at once; below is a test that waits.
macro_rules! suites_through {
    ($($name:ident: $plan:expr;)+) => {
        $(
            mod $name {
                use super::*;

                fn fixture() -> Joined {
                    Joined::new($plan)
                }

                mod store {
                    aiflow_testkit::conformance_tests!(super::fixture(), store_suite:
                        a_batch_takes_effect_wholly,
                        a_failed_expectation_changes_nothing,
                        an_expectation_of_absence_fails_if_the_record_exists,
                        an_expectation_of_a_missing_record_fails,
                        an_event_that_is_in_the_log_yields_its_first_offset,
                        a_record_reads_back_as_written,
                        a_number_reads_back_exactly_and_goes_with_a_put,
                        records_come_in_the_order_asked,
                        a_read_after_a_commit_sees_it,
                        no_read_sees_a_part_of_a_batch,
                        an_event_is_never_visible_before_its_records,
                        concurrent_commits_with_one_expectation_have_one_winner,
                        a_revision_counts_the_puts,
                        a_deleted_record_starts_again_at_revision_one,
                        deleting_what_is_missing_is_fine,
                        a_copied_record_keeps_its_stamp,
                        a_stamp_changes_nothing_of_a_record_that_is_there,
                        a_batch_out_of_bounds_is_refused_whole,
                        a_large_batch_takes_effect_wholly,
                        too_many_keys_are_refused,
                        records_come_in_the_order_of_their_first_put,
                        a_record_put_again_keeps_its_place,
                        every_filter_restricts,
                        kinds_are_apart,
                        pages_hold_every_record_once,
                        pages_are_stable_while_others_write,
                        pages_backwards_are_stable_while_others_write,
                        a_page_never_exceeds_the_bound,
                        a_search_finds_what_its_language_says,
                        a_search_agrees_with_a_look_at_every_record,
                        a_search_orders_by_the_time_of_creation,
                        a_search_by_age_pages_through_many_records,
                        a_token_of_another_search_is_refused,
                        a_relation_exists_at_most_once,
                        a_removed_relation_is_gone,
                        relations_are_found_by_kind_and_ends,
                        relation_pages_are_stable_while_others_write,
                        a_lease_has_one_holder,
                        a_lease_that_ran_out_is_granted_with_a_higher_epoch,
                        renewing_keeps_the_epoch_and_prolongs,
                        a_released_lease_is_granted_at_once,
                        releasing_a_lease_that_was_taken_over_does_nothing,
                        epochs_of_a_lease_never_repeat,
                        concurrent_acquisitions_have_one_winner,
                        a_commit_under_the_current_epoch_passes,
                        a_commit_under_an_old_epoch_is_fenced_and_changes_nothing,
                        a_fence_on_a_lease_nobody_took_is_fenced,
                        a_closed_store_answers_closed,
                        a_closed_store_opens_again_with_everything,
                        a_dropped_store_keeps_what_it_acknowledged,
                    );
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
    all_faults: FaultPlan::seeded(test_seed()).fail_before(20).reply_lost(20).delay(Duration::from_micros(100));
}

/// A log that can be out of reach, or show that it was emptied.
#[derive(Debug)]
struct Log {
    inner: Arc<MemoryStore>,
    is_away: AtomicBool,
    is_empty: AtomicBool,
}

#[async_trait]
impl EventBus for Log {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        if self.is_away.load(SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "publish", "out of reach"));
        }
        self.inner.publish(events).await
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        self.inner.read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        if self.is_empty.load(SeqCst) { Ok(Head::default()) } else { self.inner.head().await }
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        self.inner.wait(after).await
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        self.inner.trim(through).await
    }
    fn capabilities(&self) -> Capabilities {
        EventBus::capabilities(&*self.inner)
    }
}

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

fn log() -> Arc<Log> {
    Arc::new(Log { inner: memory(), is_away: AtomicBool::new(false), is_empty: AtomicBool::new(false) })
}

async fn join(store: &Arc<MemoryStore>, log: &Arc<Log>) -> Result<RelayedStore> {
    RelayedStore::open(Arc::<MemoryStore>::clone(store), Arc::<Log>::clone(log)).await
}

fn batch(n: u32) -> Batch {
    let put = RecordPut::new(RecordKey::new("thing", n.to_string()), json!({}));
    Batch::at(Timestamp::EPOCH).put(put).event(NewEvent::identified(format!("e{n}"), "wine", "k"))
}

async fn ids(bus: &dyn EventBus) -> Vec<String> {
    let page = bus.read(Offset::START, &EventFilter::all(), 1_000).await.unwrap();
    page.events.iter().map(|event| event.id.clone()).collect()
}

/// A process dies when its records are written and their events are not. Whoever comes next publishes them, in their order, before its own.
#[test]
fn events_that_a_dead_process_left_behind_are_published_in_their_order() {
    let process = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (store, log) = (memory(), log());
    let dying = process();
    dying.block_on(async {
        let first = join(&store, &log).await.unwrap();
        first.commit(batch(0)).await.unwrap();
        log.is_away.store(true, SeqCst);
        for n in 1..4 {
            let given_up = tokio::time::timeout(Duration::from_millis(20), first.commit(batch(n))).await;
            assert!(given_up.is_err(), "{given_up:?}");
        }
    });
    // Every task of it ends where it waits.
    drop(dying);
    process().block_on(async {
        assert_eq!(store.query_all(Query::kind("thing"), 10).await.unwrap().len(), 4);
        assert_eq!(ids(&*log).await, ["e0"]);
        log.is_away.store(false, SeqCst);
        let next = join(&store, &log).await.unwrap();
        next.commit(batch(4)).await.unwrap();
        assert_eq!(ids(&next).await, ["e0", "e1", "e2", "e3", "e4"]);
        next.close().await.unwrap();
    });
}

/// A commit says when its log is away for too long; its events come before those of the next one, and whoever takes the lead publishes what others left.
#[tokio::test(start_paused = true)]
async fn events_of_a_log_that_was_away_come_before_those_of_later_commits() {
    let (store, log) = (memory(), log());
    let (joined, other) = (join(&store, &log).await.unwrap(), join(&store, &log).await.unwrap());
    log.is_away.store(true, SeqCst);
    assert_eq!(joined.commit(batch(1)).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    log.is_away.store(false, SeqCst);
    joined.commit(batch(2)).await.unwrap();
    assert_eq!(ids(&joined).await, ["e1", "e2"]);
    log.is_away.store(true, SeqCst);
    assert_eq!(joined.commit(batch(3)).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    log.is_away.store(false, SeqCst);
    other.acquire(SCHEDULER_LEASE, "other", Duration::from_secs(9)).await.unwrap().unwrap();
    assert_eq!(ids(&joined).await, ["e1", "e2", "e3"]);
    assert_eq!(store.query_all(Query::kind("outbox"), 10).await.unwrap(), []);
}

/// A caller that gives up leaves nothing half done: the commit goes on, and its event comes.
#[tokio::test]
async fn a_commit_that_is_given_up_goes_on_to_its_end() {
    const COMMITS: u32 = 20;
    let (store, log) = (memory(), log());
    let joined = join(&store, &log).await.unwrap();
    for n in 0..COMMITS {
        // It is begun, and waited for no longer.
        let _ = tokio::time::timeout(Duration::ZERO, joined.commit(batch(n))).await;
    }
    loop {
        let head = joined.head().await.unwrap().last;
        if head == Offset(u64::from(COMMITS)) {
            break;
        }
        joined.wait(head).await.unwrap();
    }
    assert_eq!(store.query_all(Query::kind("thing"), 100).await.unwrap().len(), 20);
}

/// Published events stay in the outbox until the next commit removes them. A log that was trimmed meanwhile does not know their ids any more.
#[tokio::test]
async fn events_that_were_published_and_trimmed_do_not_come_again() {
    let (store, log) = (memory(), log());
    let (joined, other) = (join(&store, &log).await.unwrap(), join(&store, &log).await.unwrap());
    joined.commit(batch(1)).await.unwrap();
    assert_eq!(store.query_all(Query::kind("outbox"), 10).await.unwrap().len(), 1);
    other.trim(Offset(9)).await.unwrap();
    assert_eq!(other.head().await.unwrap(), Head { last: Offset(1), trimmed: Offset(1) });
    other.acquire(SCHEDULER_LEASE, "other", Duration::from_secs(9)).await.unwrap().unwrap();
    join(&store, &log).await.unwrap();
    joined.commit(batch(2)).await.unwrap();
    let page = joined.read(Offset(1), &EventFilter::all(), 10).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["e2"]);
}

/// A process stands still between its records and their events. Others publish these, and trim them; it must not do so again.
#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_does_not_publish_what_others_have_published_and_trimmed() {
    let (store, log) = (memory(), log());
    let joined = join(&store, &log).await.unwrap();
    log.is_away.store(true, SeqCst);
    let still = tokio::spawn(async move { joined.commit(batch(1)).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    log.is_away.store(false, SeqCst);
    let other = join(&store, &log).await.unwrap();
    assert_eq!(ids(&other).await, ["e1"]);
    other.trim(Offset(1)).await.unwrap();
    let error = still.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::OutcomeUnknown, Retry::AfterReadBack));
    assert_eq!(log.inner.head().await.unwrap(), Head { last: Offset(1), trimmed: Offset(1) });
    assert!(store.get_one(&RecordKey::new("thing", "1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_belongs_to_one_log() {
    let (store, log) = (memory(), log());
    join(&store, &log).await.unwrap();
    join(&store, &log).await.unwrap();
    let error = join(&store, &self::log()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = RelayedStore::open(Arc::<MemoryStore>::clone(&store), store).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn an_event_with_an_id_of_another_is_said_and_the_rest_gets_through() {
    let (store, log) = (memory(), log());
    let joined = join(&store, &log).await.unwrap();
    joined.publish(vec![NewEvent::identified("e1", "wine", "another")]).await.unwrap();
    let both = batch(1).event(NewEvent::identified("e2", "wine", "k"));
    assert_eq!(joined.commit(both).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(ids(&joined).await, ["e1", "e2"]);
    // It does not come up again.
    joined.commit(batch(3)).await.unwrap();
    join(&store, &log).await.unwrap();
    assert_eq!(ids(&joined).await, ["e1", "e2", "e3"]);
}

/// What comes into the log cannot be taken for what came long ago.
#[tokio::test]
async fn events_with_moments_of_their_own_are_refused_before_anything_is_written() {
    let (store, log) = (memory(), log());
    let joined = join(&store, &log).await.unwrap();
    let copy = Batch { recorded: vec![Timestamp::EPOCH], ..batch(1) };
    assert_eq!(joined.commit(copy).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(store.query_all(Query::kind("thing"), 10).await.unwrap(), []);
    assert_eq!(ids(&*log).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_scheduler_works_with_a_joined_store_and_notices_a_log_that_was_emptied() {
    let (store, log) = (memory(), log());
    let joined = Arc::new(join(&store, &log).await.unwrap());
    let flow = AiFlow::new(Arc::<RelayedStore>::clone(&joined), joined).unwrap().project("wine").unwrap();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("train", function("train"));
    graph.rule(start_workflow(on("samples")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new().register("train", async |_, _: Value| Ok::<_, JobError>(7));
    let settings = Settings { lease_ttl: Duration::from_millis(300), ..Settings::default() };
    let scheduler =
        flow.scheduler().settings(settings).executor("function", FunctionExecutor::new(functions)).start().unwrap();
    for n in 0..20 {
        flow.publish(flow.event("samples").value(n)).await.unwrap();
    }
    let executions = loop {
        let executions = flow.executions("quality", 100).await.unwrap();
        if executions.len() == 20 {
            break executions;
        }
        flow.bus().wait(flow.head().await.unwrap()).await.unwrap();
    };
    for execution in executions {
        assert_eq!(flow.wait(execution.id).await.unwrap().status, WorkflowStatus::Succeeded);
    }
    log.is_empty.store(true, SeqCst);
    let ended = scheduler.wait_applied(Offset(u64::MAX)).await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Closed);
    let error = scheduler.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(join(&store, &log).await.unwrap_err().kind(), ErrorKind::Corrupt);
}
