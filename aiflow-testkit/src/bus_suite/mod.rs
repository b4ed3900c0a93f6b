//! Conformance of logs: does an [`EventBus`] keep every sentence of its contract?
//!
//! Run all cases with [`event_bus_suite!`](crate::event_bus_suite).

mod concurrent;
mod publish;
mod read;
mod trim;

pub use concurrent::*;
pub use publish::*;
pub use read::*;
pub use trim::*;

use std::sync::Arc;

use aiflow_core::bus::EventBus;
use aiflow_core::event::{Event, EventFilter, NewEvent};
use aiflow_core::id::Offset;

/// One test per promise of [`EventBus`]: name a fixture, and do it in a module of its own.
#[macro_export]
macro_rules! event_bus_suite {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture, bus_suite:
            an_empty_log_begins_before_offset_one,
            offsets_rise_in_the_order_of_the_events,
            an_event_reads_back_as_published,
            an_event_published_again_keeps_its_first_offset,
            an_id_that_occurs_twice_in_a_call_is_appended_once,
            an_id_with_other_content_refuses_the_whole_call,
            times_causes_and_contexts_do_not_make_another_event,
            an_event_out_of_bounds_refuses_the_whole_call,
            the_largest_events_are_accepted,
            a_call_takes_a_bounded_number_of_events,
            publishing_nothing_is_fine,
            a_cancelled_publish_is_done_or_not,
            events_of_one_publish_are_adjacent_under_concurrency,
            concurrent_publishes_of_one_id_append_it_once,
            no_event_appears_below_a_visible_offset,
            read_returns_every_event_that_matches,
            pages_cover_the_log_without_gaps,
            a_page_never_exceeds_its_bound,
            reading_beyond_the_end_is_empty,
            head_is_the_newest_event,
            events_of_a_commit_are_in_the_log,
            trimmed_events_are_gone_and_the_rest_keep_their_offsets,
            reading_below_what_was_trimmed_is_an_error,
            trimming_everything_keeps_the_end_of_the_log,
            trimming_never_goes_back,
            wait_returns_if_an_event_is_there,
            wait_wakes_every_waiter_on_a_publish,
            wait_wakes_on_a_commit,
            a_dropped_wait_has_no_effect,
            a_listener_that_waits_misses_nothing,
        );
    };
}

fn event(id: &str) -> NewEvent {
    NewEvent::identified(id, "wine", "samples")
}

async fn publish(bus: &dyn EventBus, ids: &[&str]) -> Vec<Offset> {
    let events = ids.iter().map(|id| event(id)).collect();
    bus.publish(events).await.unwrap()
}

/// Every event after `after` that matches, by pages of `max`; checks what a page promises on the way.
async fn read_all(bus: &dyn EventBus, mut after: Offset, filter: &EventFilter, max: usize) -> Vec<Arc<Event>> {
    let last = bus.head().await.unwrap().last;
    let mut events = Vec::new();
    while after < last {
        let page = bus.read(after, filter, max).await.unwrap();
        assert!(page.events.len() <= max);
        assert!(page.events.is_sorted_by(|a, b| a.offset < b.offset));
        for event in &page.events {
            assert!(event.offset > after && event.offset <= page.covered);
        }
        assert!(page.covered > after, "a page before the end covers something");
        after = page.covered;
        events.extend(page.events);
    }
    events
}

/// The ids of the whole log, in its order.
async fn ids(bus: &dyn EventBus) -> Vec<String> {
    let trimmed = bus.head().await.unwrap().trimmed;
    let events = read_all(bus, trimmed, &EventFilter::all(), 1000).await;
    events.into_iter().map(|event| event.id.clone()).collect()
}
