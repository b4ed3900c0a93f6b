//! Trimming: are exactly the trimmed events gone, and does a reader who lost some learn of it?

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;

use super::{ids, publish, read_all};
use crate::StoreFixture;

/// Events stay until `trim` removes them; trimming never renumbers.
pub async fn trimmed_events_are_gone_and_the_rest_keep_their_offsets(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let offsets = publish(&bus, &["a", "b", "c", "d"]).await;
    let before = read_all(&bus, offsets[1], &EventFilter::all(), 10).await;
    bus.trim(offsets[1]).await.unwrap();
    let head = bus.head().await.unwrap();
    assert_eq!((head.trimmed, head.last), (offsets[1], offsets[3]));
    let after = read_all(&bus, offsets[1], &EventFilter::all(), 10).await;
    assert_eq!(after, before);
    assert_eq!(ids(&bus).await, ["c", "d"]);
    assert_eq!(publish(&bus, &["d", "c"]).await, [offsets[3], offsets[2]]);
}

/// `NotFound` if `after` lies below what was trimmed: events were lost to this reader, and it must know.
pub async fn reading_below_what_was_trimmed_is_an_error(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let offsets = publish(&bus, &["a", "b", "c"]).await;
    bus.trim(offsets[1]).await.unwrap();
    for after in [Offset::START, offsets[0]] {
        let error = bus.read(after, &EventFilter::all(), 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    let page = bus.read(offsets[1], &EventFilter::all(), 10).await.unwrap();
    assert_eq!(page.events.len(), 1);
}

/// Trimming everything, and more than there is, keeps the end of the log: offsets never repeat.
pub async fn trimming_everything_keeps_the_end_of_the_log(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    let offsets = publish(&bus, &["a", "b"]).await;
    bus.trim(offsets[1]).await.unwrap();
    let head = bus.head().await.unwrap();
    assert_eq!((head.trimmed, head.last), (offsets[1], offsets[1]));
    bus.trim(Offset(offsets[1].0 + 100)).await.unwrap();
    assert_eq!(bus.head().await.unwrap(), head);
    let next = publish(&bus, &["c"]).await[0];
    assert!(next > offsets[1]);
    assert_eq!(ids(&bus).await, ["c"]);
}

/// Trimming less than was trimmed already does nothing.
pub async fn trimming_never_goes_back(fixture: &dyn StoreFixture) {
    let bus = fixture.open().await.bus;
    bus.trim(Offset(5)).await.unwrap();
    assert_eq!(bus.head().await.unwrap().trimmed, Offset::START);
    let offsets = publish(&bus, &["a", "b", "c"]).await;
    bus.trim(offsets[1]).await.unwrap();
    for through in [Offset::START, offsets[0], offsets[1]] {
        bus.trim(through).await.unwrap();
        assert_eq!(bus.head().await.unwrap().trimmed, offsets[1]);
        assert_eq!(ids(&bus).await, ["c"]);
    }
}
