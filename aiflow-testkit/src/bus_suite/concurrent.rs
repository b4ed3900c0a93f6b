//! Many at once: do publishers and readers keep out of each other's way?

use std::sync::Arc;

use aiflow_core::bus::EventBus;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use tokio::task::JoinHandle;

use super::{event, ids, publish, read_all};
use crate::StoreFixture;

const PUBLISHERS: usize = 16;
const CALLS: usize = 12;
const EVENTS: usize = 5;

/// Publishers that each make calls of several events, named `publisher/call/event`.
fn start_publishers(bus: &Arc<dyn EventBus>) -> Vec<JoinHandle<()>> {
    let start = |publisher: usize| {
        let bus = Arc::clone(bus);
        tokio::spawn(async move {
            for call in 0..CALLS {
                let name = |n: usize| event(&format!("{publisher}/{call}/{n}"));
                bus.publish((0..EVENTS).map(name).collect()).await.unwrap();
            }
        })
    };
    (0..PUBLISHERS).map(start).collect()
}

async fn join(publishers: Vec<JoinHandle<()>>) {
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

/// The events of one `publish` are appended adjacent and in their order, whoever else publishes.
pub async fn events_of_one_publish_are_adjacent_under_concurrency(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    join(start_publishers(&bus)).await;
    let log = ids(&bus).await;
    assert_eq!(log.len(), PUBLISHERS * CALLS * EVENTS);
    let mut next_call = [0; PUBLISHERS];
    for call in log.chunks(EVENTS) {
        let publisher: usize = call[0].split('/').next().unwrap().parse().unwrap();
        let expected: Vec<_> = (0..EVENTS).map(|n| format!("{publisher}/{}/{n}", next_call[publisher])).collect();
        assert_eq!(call, expected);
        next_call[publisher] += 1;
    }
}

/// An event that several publish at once is appended once, and all are told the same offset.
pub async fn concurrent_publishes_of_one_id_append_it_once(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    for round in 0..10 {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|_| {
                let bus = Arc::clone(&bus);
                let call = vec![event(&format!("a{round}")), event(&format!("b{round}"))];
                tokio::spawn(async move { bus.publish(call).await.unwrap() })
            })
            .collect();
        let mut answers = Vec::new();
        for publisher in publishers {
            answers.push(publisher.await.unwrap());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
    assert_eq!(ids(&bus).await.len(), 20);
}

/// Once an offset was visible to a reader, no event appears below it.
pub async fn no_event_appears_below_a_visible_offset(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let publishers = start_publishers(&bus);
    let (mut after, mut seen) = (Offset::START, Vec::new());
    while seen.len() < PUBLISHERS * CALLS * EVENTS {
        bus.wait(after).await.unwrap();
        let head = bus.head().await.unwrap().last;
        let page = bus.read(after, &EventFilter::all(), 17).await.unwrap();
        assert!(page.events.len() == 17 || page.covered >= head, "a page that is not full covers what was there");
        after = page.covered;
        seen.extend(page.events);
    }
    join(publishers).await;
    let all = read_all(&bus, Offset::START, &EventFilter::all(), 1000).await;
    assert!(seen == all, "what was read on the way is not the log");
}

/// `wait` and `read` in turn give a listener every event, however publishing and waiting interleave.
pub async fn a_listener_that_waits_misses_nothing(fixture: &dyn StoreFixture) {
    const ROUNDS: usize = 200;
    let bus = fixture.open().await.bus;
    let listener = {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            let (mut after, mut heard) = (Offset::START, 0);
            while heard < ROUNDS {
                bus.wait(after).await.unwrap();
                let page = bus.read(after, &EventFilter::all(), 10).await.unwrap();
                heard += page.events.len();
                after = page.covered;
            }
            heard
        })
    };
    for round in 0..ROUNDS {
        publish(&bus, &[&round.to_string()]).await;
    }
    assert_eq!(listener.await.unwrap(), ROUNDS);
}
