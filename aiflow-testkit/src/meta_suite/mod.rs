//! Metadata over any store: does the typed API keep its promises where many write at once?
//!
//! The API is written once, over the ports; what is left to a backend is to keep theirs when it is used like this. Run all cases with
//! [`meta_suite!`](macro@crate::meta_suite).

mod cases;
mod lineage;

pub use cases::*;
pub use lineage::*;

/// One test per promise of metadata: name a fixture, and do it in a module of its own.
#[macro_export]
macro_rules! meta_suite {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, meta_suite:
            a_thousand_versions_of_many_writers_have_no_gap,
            of_two_deployments_one_wins,
            a_freed_name_is_given_once,
            texts_of_attackers_are_kept_as_they_are,
            every_change_is_told_in_its_transaction,
            a_batch_is_made_together_or_not_at_all,
            values_of_many_writers_are_all_kept,
            metadata_outlives_the_handle,
            lineage_is_the_same_from_either_end,
        );
    };
}
