//! Publishing: is every event appended once, in order, all of a call or none?

use aiflow_core::ErrorKind;
use aiflow_core::bus::{EVENTS_PAGE_MAX, EventBus};
use aiflow_core::event::{
    Cause, EVENT_FIELD_BYTES_MAX, EVENT_KEY_BYTES_MAX, EVENT_VALUE_BYTES_MAX, EventFilter, NewEvent,
};
use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::time::Timestamp;
use serde_json::json;

use super::{event, ids, publish, read_all};
use crate::StoreFixture;
use crate::run::poll_at_most;

/// The first event has offset 1; 0 stands for before the first.
pub async fn an_empty_log_begins_before_offset_one(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let head = bus.head().await.unwrap();
    assert_eq!((head.last, head.trimmed), (Offset::START, Offset::START));
    let page = bus.read(Offset::START, &EventFilter::all(), 10).await;
    let page = page.unwrap();
    assert_eq!((page.events, page.covered), (vec![], Offset::START));
    assert_eq!(publish(&bus, &["a"]).await, [Offset(1)]);
}

/// Offsets rise strictly; `publish` returns them in the order of the events.
pub async fn offsets_rise_in_the_order_of_the_events(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let mut offsets = publish(&bus, &["c", "a", "b"]).await;
    offsets.extend(publish(&bus, &["d"]).await);
    assert_eq!(offsets.len(), 4);
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let events = read_all(&bus, Offset::START, &EventFilter::all(), 10).await;
    let found: Vec<_> = events.iter().map(|event| event.offset).collect();
    assert_eq!(found, offsets);
    assert_eq!(ids(&bus).await, ["c", "a", "b", "d"]);
}

/// An event reads back as it was published, with its offset.
pub async fn an_event_reads_back_as_published(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let execution = WorkflowExecutionId::new(Offset(3), 1);
    let mut full = NewEvent::identified("id 1/ä", "wine \u{1f377}", "key'; --")
        .event_type("MODEL")
        .value(json!({"text": "\"\\\n\u{7f}ü", "least": i64::MIN, "most": u64::MAX, "list": [null, 0.5, {}]}))
        .sender("job")
        .time(Timestamp::from_millis(-5))
        .for_execution(execution)
        .label("partition", "7")
        .label("a", "");
    full.context.attempt = Some(AttemptId::new(JobExecutionId::new(Offset(4), 0), 2));
    full.cause = Some(Cause { offset: Offset(9), hops: 3 });
    let values = [json!(null), json!("text"), json!(-1.5), json!([]), json!(true)];
    let mut published = vec![full];
    published.extend(values.map(|value| NewEvent::new("wine", "k").value(value)));
    let offsets = bus.publish(published.clone()).await.unwrap();

    let events = read_all(&bus, Offset::START, &EventFilter::all(), 100).await;
    assert_eq!(events.len(), published.len());
    for ((event, body), offset) in events.into_iter().zip(published).zip(offsets) {
        assert_eq!((event.offset, &event.body), (offset, &body));
    }
}

/// An event whose id is in the log already is not appended again; its first offset is returned.
pub async fn an_event_published_again_keeps_its_first_offset(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let first = publish(&bus, &["a", "b"]).await;
    assert_eq!(publish(&bus, &["a", "b"]).await, first);
    let mixed = publish(&bus, &["b", "c", "a", "d"]).await;
    assert_eq!((mixed[0], mixed[2]), (first[1], first[0]));
    assert!(first[1] < mixed[1] && mixed[1] < mixed[3]);
    assert_eq!(ids(&bus).await, ["a", "b", "c", "d"]);
}

/// An id that occurs twice in one call counts as published before.
pub async fn an_id_that_occurs_twice_in_a_call_is_appended_once(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let offsets = publish(&bus, &["a", "b", "a", "b", "c"]).await;
    assert_eq!((offsets[2], offsets[3]), (offsets[0], offsets[1]));
    assert!(offsets[0] < offsets[1] && offsets[1] < offsets[4]);
    assert_eq!(ids(&bus).await, ["a", "b", "c"]);

    let call = vec![event("d"), event("e"), event("d").value(1)];
    let error = bus.publish(call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    assert_eq!(ids(&bus).await, ["a", "b", "c"]);
}

/// The same id with other content is `AlreadyExists`, and nothing of the call is appended.
pub async fn an_id_with_other_content_refuses_the_whole_call(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    publish(&bus, &["a"]).await;
    let others = [
        event("a").value(1),
        event("a").value("null"),
        event("a").event_type("OTHER"),
        event("a").sender("other"),
        NewEvent::identified("a", "wine", "other"),
        NewEvent::identified("a", "other", "samples"),
    ];
    for other in others {
        let call = vec![event("b"), other, event("c")];
        let error = bus.publish(call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert_eq!(ids(&bus).await, ["a"]);
    }
}

/// Two events with the same id say the same if all fields but the times, causes and contexts agree.
pub async fn times_causes_and_contexts_do_not_make_another_event(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let value = json!({"a": 1, "b": 2});
    let first = bus.publish(vec![event("a").value(value)]).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(r#"{"b": 2, "a": 1}"#).unwrap();
    let mut again = event("a").value(value).time(Timestamp::from_millis(7));
    again.cause = Some(Cause { offset: Offset(1), hops: 1 });
    let again = again.label("attempt", "2");
    assert_eq!(bus.publish(vec![again]).await.unwrap(), first);
    assert_eq!(ids(&bus).await, ["a"]);
}

/// `Invalid`: an event is out of bounds, and nothing of the call is appended.
pub async fn an_event_out_of_bounds_refuses_the_whole_call(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let long = |bytes: usize| "x".repeat(bytes);
    let bad = [
        event(""),
        event(&long(EVENT_FIELD_BYTES_MAX + 1)),
        NewEvent::new("", "k"),
        NewEvent::new("wine", ""),
        NewEvent::new("wine", long(EVENT_KEY_BYTES_MAX + 1)),
        event("x").event_type(""),
        event("x").sender(long(EVENT_FIELD_BYTES_MAX + 1)),
        event("x").value(long(EVENT_VALUE_BYTES_MAX - 1)),
        event("x\0"),
    ];
    for bad in bad {
        let call = vec![event("a"), bad, event("b")];
        let error = bus.publish(call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(ids(&bus).await.is_empty());
    }
}

/// Events at their bounds are accepted.
pub async fn the_largest_events_are_accepted(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let long = |bytes: usize| "x".repeat(bytes);
    let largest =
        NewEvent::identified(long(EVENT_FIELD_BYTES_MAX), long(EVENT_FIELD_BYTES_MAX), long(EVENT_KEY_BYTES_MAX))
            .event_type(long(EVENT_FIELD_BYTES_MAX))
            .sender(long(EVENT_FIELD_BYTES_MAX))
            .value(long(EVENT_VALUE_BYTES_MAX - 2));
    bus.publish(vec![largest.clone()]).await.unwrap();
    let events = read_all(&bus, Offset::START, &EventFilter::all(), 10).await;
    assert_eq!(events[0].body, largest);
}

/// A `publish` takes at most `EVENTS_PAGE_MAX` events.
pub async fn a_call_takes_a_bounded_number_of_events(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let mut call: Vec<_> = (0..EVENTS_PAGE_MAX).map(|n| event(&n.to_string())).collect();
    call.push(event("one more"));
    let error = bus.publish(call.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(ids(&bus).await.is_empty());

    call.pop();
    let offsets = bus.publish(call).await.unwrap();
    assert_eq!(offsets.len(), EVENTS_PAGE_MAX);
    assert!(offsets.is_sorted_by(|a, b| a < b));
}

/// Publishing nothing appends nothing.
pub async fn publishing_nothing_is_fine(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    assert!(publish(&bus, &[]).await.is_empty());
    assert_eq!(bus.head().await.unwrap().last, Offset::START);
}

/// Dropping a `publish` leaves all of it done or none; publishing again with the same ids completes it.
pub async fn a_cancelled_publish_is_done_or_not(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    for round in 0..40_u32 {
        let names: Vec<_> = (0..3).map(|n| format!("{round}-{n}")).collect();
        let call: Vec<_> = names.iter().map(|name| event(name)).collect();
        poll_at_most(round % 5, bus.publish(call.clone())).await;
        let mine = |id: &&String| id.starts_with(&format!("{round}-"));
        let appended = ids(&bus).await.iter().filter(mine).count();
        assert!(appended == 0 || appended == 3, "{appended} of 3 events");

        let offsets = bus.publish(call).await.unwrap();
        assert!(offsets.is_sorted_by(|a, b| a < b));
        let now = ids(&bus).await;
        assert_eq!(now.iter().filter(mine).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    }
    assert_eq!(ids(&bus).await.len(), 120);
}
