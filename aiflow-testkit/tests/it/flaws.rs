//! Flaws: does the suite notice a backend that breaks a promise?
//!
//! Each flaw is one that a real backend could have. The case of the promise must fail on it, and pass without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::bus::{EventBus, EventPage, Head};
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::id::{Offset, random_id};
use aiflow_core::store::{
    Batch, Capabilities, Lease, MetaStore, MetaStoreExt, Page, PageToken, Query, Receipt, Record, RecordKey, Relation,
    RelationQuery,
};
use aiflow_core::{ErrorKind, Result};
use aiflow_testkit::{Backend, MemoryFixture, StoreFixture, bus_suite, run_case, store_suite};
use async_trait::async_trait;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ExpectationsIgnored,
    FenceIgnored,
    PutsOneByOne,
    EventsBeforeRecords,
    UnrelateIgnored,
    PagesByPosition,
    OrderedById,
    OneHolderForAll,
    EpochsNeverRise,
    IdsForgotten,
    EventsOneByOne,
    PageClaimsTheEnd,
    TrimIgnored,
    LossUnnoticed,
    PrefixesIgnored,
}

#[derive(Debug)]
struct Flawed {
    inner: Backend,
    flaw: Flaw,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }
}

#[async_trait]
impl MetaStore for Flawed {
    async fn get(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        self.inner.store.get(keys).await
    }

    async fn query(&self, query: &Query) -> Result<Page<Record>> {
        if self.has(Flaw::PagesByPosition) {
            let skipped = query.after.as_ref().map_or(0, |t| t.0.parse().unwrap());
            let all = query.clone().after(None).limit(1000);
            let mut items = self.inner.store.query_all(all, 10_000).await?;
            items.drain(..items.len().min(skipped));
            let has_next = items.len() > query.page_rows();
            items.truncate(query.page_rows());
            let next = PageToken((skipped + items.len()).to_string());
            return Ok(Page { items, next: has_next.then_some(next) });
        }
        let mut page = self.inner.store.query(query).await?;
        if self.has(Flaw::OrderedById) {
            page.items.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(page)
    }

    async fn relations(&self, query: &RelationQuery) -> Result<Page<Relation>> {
        self.inner.store.relations(query).await
    }

    async fn commit(&self, mut batch: Batch) -> Result<Receipt> {
        match self.flaw {
            Flaw::ExpectationsIgnored => batch.expect.clear(),
            Flaw::FenceIgnored => batch.fence = None,
            Flaw::UnrelateIgnored => batch.unrelate.clear(),
            Flaw::PutsOneByOne => {
                for put in std::mem::take(&mut batch.puts) {
                    self.inner.store.commit(Batch::at(batch.at).put(put)).await?;
                    tokio::task::yield_now().await;
                }
            }
            Flaw::EventsBeforeRecords => {
                self.inner.bus.publish(batch.events.clone()).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => {}
        }
        self.inner.store.commit(batch).await
    }

    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>> {
        if self.has(Flaw::OneHolderForAll) {
            let lease = self.inner.store.acquire(name, "all", ttl).await?;
            return Ok(lease.map(|lease| Lease { holder: holder.to_owned(), ..lease }));
        }
        let mut lease = self.inner.store.acquire(name, holder, ttl).await?;
        if let (Flaw::EpochsNeverRise, Some(lease)) = (self.flaw, &mut lease) {
            lease.epoch = 1;
        }
        Ok(lease)
    }

    async fn release(&self, lease: &Lease) -> Result<()> {
        self.inner.store.release(lease).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.store.capabilities()
    }

    async fn close(&self) -> Result<()> {
        self.inner.store.close().await
    }
}

#[async_trait]
impl EventBus for Flawed {
    async fn publish(&self, mut events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        if self.has(Flaw::IdsForgotten) {
            events.iter_mut().for_each(|event| event.id = random_id());
        }
        if self.has(Flaw::EventsOneByOne) {
            let mut offsets = Vec::new();
            for event in events {
                offsets.extend(self.inner.bus.publish(vec![event]).await?);
                tokio::task::yield_now().await;
            }
            return Ok(offsets);
        }
        self.inner.bus.publish(events).await
    }

    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        if self.has(Flaw::PrefixesIgnored) {
            let all = EventFilter::all();
            return self.inner.bus.read(after, &all, max).await;
        }
        let mut page = self.inner.bus.read(after, filter, max).await;
        if self.has(Flaw::LossUnnoticed) && page.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            let trimmed = self.inner.bus.head().await?.trimmed;
            page = self.inner.bus.read(trimmed, filter, max).await;
        }
        let mut page = page?;
        if self.has(Flaw::PageClaimsTheEnd) {
            page.covered = page.covered.max(self.inner.bus.head().await?.last);
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Head> {
        self.inner.bus.head().await
    }

    async fn wait(&self, after: Offset) -> Result<()> {
        self.inner.bus.wait(after).await
    }

    async fn trim(&self, through: Offset) -> Result<()> {
        if self.has(Flaw::TrimIgnored) {
            return Ok(());
        }
        self.inner.bus.trim(through).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.bus.capabilities()
    }
}

struct FlawedFixture {
    inner: MemoryFixture,
    flaw: Flaw,
}

#[async_trait]
impl StoreFixture for FlawedFixture {
    async fn open(&self) -> Backend {
        let inner = self.inner.open().await;
        let flaw = self.flaw;
        Backend::of(Arc::new(Flawed { inner, flaw }))
    }

    async fn reopen(&self) -> Option<Backend> {
        None
    }

    async fn pass(&self, time: Duration) {
        self.inner.pass(time).await;
    }
}

macro_rules! flaws_are_noticed {
    ($($name:ident: $flaw:ident by $suite:ident::$case:ident;)+) => {
        $(
            #[test]
            fn $name() {
                let run = |flaw| {
                    run_case(stringify!($case), async move {
                        let inner = MemoryFixture::new();
                        $suite::$case(&FlawedFixture { inner, flaw }).await;
                    });
                };
                run(Flaw::None);
                let noticed = catch_unwind(AssertUnwindSafe(|| run(Flaw::$flaw)));
                assert!(noticed.is_err(), "the case passed in spite of the flaw");
            }
        )+
    };
}

flaws_are_noticed! {
    ignored_expectations_are_noticed: ExpectationsIgnored by store_suite::a_failed_expectation_changes_nothing;
    ignored_expectations_are_noticed_in_a_race: ExpectationsIgnored by store_suite::concurrent_commits_with_one_expectation_have_one_winner;
    an_ignored_fence_is_noticed: FenceIgnored by store_suite::a_commit_under_an_old_epoch_is_fenced_and_changes_nothing;
    puts_outside_of_the_transaction_are_noticed: PutsOneByOne by store_suite::a_failed_expectation_changes_nothing;
    puts_one_by_one_are_noticed_by_readers: PutsOneByOne by store_suite::no_read_sees_a_part_of_a_batch;
    events_before_their_records_are_noticed: EventsBeforeRecords by store_suite::an_event_is_never_visible_before_its_records;
    events_of_a_refused_batch_are_noticed: EventsBeforeRecords by store_suite::a_failed_expectation_changes_nothing;
    relations_that_stay_are_noticed: UnrelateIgnored by store_suite::a_removed_relation_is_gone;
    pages_by_position_are_noticed: PagesByPosition by store_suite::pages_are_stable_while_others_write;
    pages_by_position_are_noticed_backwards: PagesByPosition by store_suite::pages_backwards_are_stable_while_others_write;
    another_order_is_noticed: OrderedById by store_suite::records_come_in_the_order_of_their_first_put;
    a_lease_with_many_holders_is_noticed: OneHolderForAll by store_suite::a_lease_has_one_holder;
    a_lease_with_many_holders_is_noticed_in_a_race: OneHolderForAll by store_suite::concurrent_acquisitions_have_one_winner;
    epochs_that_never_rise_are_noticed: EpochsNeverRise by store_suite::epochs_of_a_lease_never_repeat;
    forgotten_ids_are_noticed: IdsForgotten by bus_suite::an_event_published_again_keeps_its_first_offset;
    events_one_by_one_are_noticed_in_a_race: EventsOneByOne by bus_suite::events_of_one_publish_are_adjacent_under_concurrency;
    events_one_by_one_are_noticed_on_refusal: EventsOneByOne by bus_suite::an_id_with_other_content_refuses_the_whole_call;
    events_one_by_one_are_noticed_on_cancellation: EventsOneByOne by bus_suite::a_cancelled_publish_is_done_or_not;
    pages_that_skip_are_noticed: PageClaimsTheEnd by bus_suite::pages_cover_the_log_without_gaps;
    an_ignored_trim_is_noticed: TrimIgnored by bus_suite::trimmed_events_are_gone_and_the_rest_keep_their_offsets;
    unnoticed_loss_is_noticed: LossUnnoticed by bus_suite::reading_below_what_was_trimmed_is_an_error;
    ignored_filters_are_noticed: PrefixesIgnored by bus_suite::read_returns_every_event_that_matches;
}
