//! Conformance of stores: does a [`MetaStore`] keep every sentence of its contract?
//!
//! Run all cases with [`meta_store_suite!`](crate::meta_store_suite).

mod commit;
mod copies;
mod leases;
mod life;
mod pages;
mod relations;
mod search;

pub use commit::*;
pub use copies::*;
pub use leases::*;
pub use life::*;
pub use pages::*;
pub use relations::*;
pub use search::*;

use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, MetaStore, Receipt, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use serde_json::json;

/// One test per promise of [`MetaStore`]: name a fixture, and do it in a module of its own.
#[macro_export]
macro_rules! meta_store_suite {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, store_suite:
            a_batch_takes_effect_wholly,
            a_failed_expectation_changes_nothing,
            an_expectation_of_absence_fails_if_the_record_exists,
            an_expectation_of_a_missing_record_fails,
            an_event_that_contradicts_the_log_changes_nothing,
            an_event_that_is_in_the_log_yields_its_first_offset,
            a_record_reads_back_as_written,
            a_number_reads_back_exactly_and_goes_with_a_put,
            records_come_in_the_order_asked,
            a_read_after_a_commit_sees_it,
            no_read_sees_a_part_of_a_batch,
            an_event_is_never_visible_before_its_records,
            concurrent_commits_with_one_expectation_have_one_winner,
            a_cancelled_commit_is_done_or_not,
            a_revision_counts_the_puts,
            a_deleted_record_starts_again_at_revision_one,
            deleting_what_is_missing_is_fine,
            a_copied_record_keeps_its_stamp,
            a_stamp_changes_nothing_of_a_record_that_is_there,
            copied_events_keep_their_moments,
            the_time_of_the_log_never_goes_back_for_copies,
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
    };
}

/// The moment at which cases write.
pub(crate) const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn key(id: &str) -> RecordKey {
    RecordKey::new("thing", id)
}

fn put(id: &str, n: u64) -> RecordPut {
    RecordPut::new(key(id), json!({ "n": n }))
}

async fn commit(store: &dyn MetaStore, batch: Batch) -> Receipt {
    store.commit(batch).await.unwrap()
}

/// The revision of each, `None` for those that do not exist.
async fn revisions(store: &dyn MetaStore, ids: &[&str]) -> Vec<Option<u64>> {
    let keys: Vec<RecordKey> = ids.iter().map(|id| key(id)).collect();
    let records = store.get(&keys).await.unwrap();
    records.into_iter().map(|record| record.map(|record| record.revision)).collect()
}

async fn last(backend: &crate::Backend) -> Offset {
    backend.bus.head().await.unwrap().last
}
