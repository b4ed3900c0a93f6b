//! Reading and waiting: does a listener get everything, and does it wake?

use std::sync::Arc;

use aiflow_core::bus::{EVENTS_PAGE_MAX, EventBus};
use aiflow_core::event::{EventFilter, Match, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::store::{Batch, MetaStore};

use super::{event, ids, publish, read_all};
use crate::StoreFixture;
use crate::run::poll_at_most;
use crate::store_suite::AT;

/// `read` returns every event after `after` that matches, by any filter and any page size.
pub async fn read_returns_every_event_that_matches(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let names = ["a", "ab", "b*", "%", "a_c", "A"];
    let mut all = Vec::new();
    for namespace in names {
        for key in names {
            for event_type in ["a", "b*"] {
                let sender = if key == "a" { "" } else { "a" };
                let event = NewEvent::new(namespace, key).event_type(event_type);
                all.push(event.sender(sender));
            }
        }
    }
    bus.publish(all.clone()).await.unwrap();

    let matches = [
        Match::Any,
        Match::exact("a"),
        Match::exact("b*"),
        Match::exact("_"),
        Match::exact(""),
        Match::from("a*"),
        Match::from("%*"),
        Match::from("a_*"),
        Match::Prefix(String::new()),
    ];
    let mut filters = vec![EventFilter::all().namespace("a").key("a*").sender("a")];
    for one in matches {
        filters.push(EventFilter::all().namespace(one.clone()));
        filters.push(EventFilter::all().key(one.clone()));
        filters.push(EventFilter::all().event_type(one.clone()));
        filters.push(EventFilter::all().sender(one.clone()).key("a*"));
    }
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|event| filter.matches(event)).collect();
        for max in [1, 5, 1000] {
            let found = read_all(&bus, Offset::START, &filter, max).await;
            let found: Vec<_> = found.iter().map(|event| &event.body).collect();
            assert_eq!(found, expected, "{filter:?} by {max}");
        }
    }
}

/// A page covers the log up to the offset it says, at least up to `after`; reading on from there leaves nothing out.
pub async fn pages_cover_the_log_without_gaps(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let names: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let offsets = publish(&bus, &names).await;
    for max in 1..=21 {
        let found = read_all(&bus, Offset::START, &EventFilter::all(), max).await;
        assert_eq!(found.len(), 20, "by {max}");
    }
    for (n, after) in offsets.iter().enumerate() {
        let found = read_all(&bus, *after, &EventFilter::all(), 100).await;
        assert_eq!(found.len(), 19 - n, "after {after}");
    }
    // A filter that matches nothing still makes progress.
    let none = EventFilter::all().key("none");
    assert!(read_all(&bus, Offset::START, &none, 3).await.is_empty());
}

/// A page holds at most `max` events, and at most `EVENTS_PAGE_MAX`.
pub async fn a_page_never_exceeds_its_bound(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let call: Vec<_> = (0..EVENTS_PAGE_MAX).map(|n| event(&n.to_string())).collect();
    bus.publish(call).await.unwrap();
    publish(&bus, &["one more"]).await;
    let all = EventFilter::all();
    let page = bus.read(Offset::START, &all, usize::MAX).await.unwrap();
    assert!(page.events.len() <= EVENTS_PAGE_MAX && !page.events.is_empty());
    assert_eq!(page.events.last().unwrap().offset, page.covered);
    let found = read_all(&bus, Offset::START, &all, EVENTS_PAGE_MAX).await;
    assert_eq!(found.len(), EVENTS_PAGE_MAX + 1);
}

/// After the end there is nothing, and the page covers at least what was asked.
pub async fn reading_beyond_the_end_is_empty(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let last = publish(&bus, &["a", "b"]).await[1];
    for after in [last, Offset(last.0 + 1000)] {
        let page = bus.read(after, &EventFilter::all(), 10).await.unwrap();
        assert_eq!((page.events, page.covered), (vec![], after));
    }
}

/// `head` is the offset of the newest event.
pub async fn head_is_the_newest_event(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let published = publish(&backend.bus, &["a", "b"]).await;
    assert_eq!(backend.bus.head().await.unwrap().last, published[1]);
    publish(&backend.bus, &["a"]).await;
    assert_eq!(backend.bus.head().await.unwrap().last, published[1]);
    let batch = Batch::at(AT).event(event("c"));
    let committed = backend.store.commit(batch).await.unwrap().offsets;
    assert_eq!(backend.bus.head().await.unwrap().last, committed[0]);
}

/// A store and a bus with the same log id share one log.
pub async fn events_of_a_commit_are_in_the_log(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    assert_eq!(backend.store.capabilities().log, backend.bus.capabilities().log);
    publish(&backend.bus, &["a"]).await;
    let batch = Batch::at(AT).event(event("b")).event(event("c"));
    let offsets = backend.store.commit(batch).await.unwrap().offsets;
    publish(&backend.bus, &["d"]).await;
    assert_eq!(ids(&backend.bus).await, ["a", "b", "c", "d"]);
    assert_eq!(publish(&backend.bus, &["b", "c"]).await, offsets);
}

/// `wait` returns if an event beyond `after` is there already.
pub async fn wait_returns_if_an_event_is_there(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let offsets = publish(&bus, &["a", "b"]).await;
    bus.wait(Offset::START).await.unwrap();
    bus.wait(offsets[0]).await.unwrap();
}

/// Waits until a `wait` wakes with an event after `after` visible.
async fn hear(bus: Arc<dyn EventBus>, after: Offset) {
    while bus.head().await.unwrap().last <= after {
        bus.wait(after).await.unwrap();
    }
}

/// `wait` returns soon after an event beyond `after` is visible, for every waiter.
pub async fn wait_wakes_every_waiter_on_a_publish(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let mut last = Offset::START;
    for round in 0..20 {
        let waiters: Vec<_> = (0..8).map(|_| tokio::spawn(hear(Arc::clone(&bus), last))).collect();
        // Every second round the publish is likely to come before the waiters do.
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        last = publish(&bus, &[&round.to_string()]).await[0];
        for waiter in waiters {
            waiter.await.unwrap();
        }
    }
}

/// `wait` wakes whoever published: a commit with events too.
pub async fn wait_wakes_on_a_commit(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let mut last = Offset::START;
    for round in 0..20 {
        let waiter = tokio::spawn(hear(Arc::clone(&backend.bus), last));
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let batch = Batch::at(AT).event(event(&round.to_string()));
        last = backend.store.commit(batch).await.unwrap().offsets[0];
        waiter.await.unwrap();
    }
}

/// Dropping `read`, `head` or `wait` has no effect.
pub async fn a_dropped_wait_has_no_effect(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let mut last = Offset::START;
    for round in 0..20 {
        poll_at_most(1 + round % 3, bus.head()).await;
        poll_at_most(1 + round % 3, bus.read(Offset::START, &EventFilter::all(), 9)).await;
        poll_at_most(1, bus.wait(last)).await;
        let waiter = tokio::spawn(hear(Arc::clone(&bus), last));
        poll_at_most(1, bus.wait(last)).await;
        last = publish(&bus, &[&round.to_string()]).await[0];
        waiter.await.unwrap();
    }
    assert_eq!(ids(&bus).await.len(), 20);
}
