//! The port for the event log: what must a backend append, in which order, and how is it read?

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::{Event, EventFilter, NewEvent};
use crate::id::Offset;
use crate::store::Capabilities;

/// The most events a `read` returns, and the most a `publish` takes.
pub const EVENTS_PAGE_MAX: usize = 10_000;

/// The durable, totally ordered event log.
///
/// # Parties
/// *Backends* implement these six methods. *Publishers* append; *listeners*, the scheduler among them, read from any offset at their own
/// pace and keep their own position.
///
/// # Contract
/// 1. **Durable.** When `publish` returns `Ok`, the events have the durability that [`Capabilities::durability`] declares.
/// 2. **Atomic.** The events of one `publish` are appended all or none, adjacent and in their order.
/// 3. **Idempotent.** An event whose id is in the log already is not appended again; its first offset is returned. The same id with other
///    content ([`NewEvent::says_the_same`]) is `AlreadyExists`, and nothing of the call is appended. An id that occurs twice in one call
///    counts as published before.
/// 4. **Ordered.** Offsets rise strictly. Once an offset was visible to a reader, no event appears below it.
/// 5. **Complete.** `read` returns every event after `after` that matches, up to the offset the page says it covers.
/// 6. **Kept.** Events stay until `trim` removes them; trimming never renumbers.
/// 7. **Awake.** `wait` returns soon after an event beyond `after` is visible, whoever published it; a wake-up without one is allowed.
/// 8. **Cancel safety.** Dropping a `publish` leaves all of it done or none; dropping `read`, `head` or `wait` has no effect.
///
/// # Errors
/// `Invalid`: an event is out of bounds. `Unavailable`, `Full`: nothing was appended. `OutcomeUnknown`: publish again with the same ids.
#[async_trait]
pub trait EventBus: Send + Sync + fmt::Debug {
    /// Appends events and returns their offsets, in their order. At most [`EVENTS_PAGE_MAX`].
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>>;

    /// The events after `after` that match, at most `max` of them (and at most [`EVENTS_PAGE_MAX`]), oldest first.
    ///
    /// A page may end before the log does, also one that is not full: read on from `covered`. What this bus has told of (by a
    /// [`head`](Self::head), a [`wait`](Self::wait) or an offset that it returned) can be read from then on.
    ///
    /// # Errors
    /// `NotFound` if `after` lies below what was trimmed: events were lost to this reader, and it must know.
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage>;

    /// The ends of the log.
    async fn head(&self) -> Result<Head>;

    /// Returns when an event after `after` may be there.
    async fn wait(&self, after: Offset) -> Result<()>;

    /// Removes the events up to and including `through`.
    async fn trim(&self, through: Offset) -> Result<()>;

    /// What this bus can do.
    fn capabilities(&self) -> Capabilities;
}

/// One page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, oldest first; shared with whoever else reads them.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here was looked at: read on from here. At least the `after` that was asked.
    pub covered: Offset,
}

/// The ends of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Offset of the newest event ever appended, 0 if none.
    pub last: Offset,
    /// Everything up to here was trimmed, 0 if nothing.
    pub trimmed: Offset,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: EventBus + ?Sized> EventBus for Arc<B> {
    async fn publish(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        (**self).publish(events).await
    }
    async fn read(&self, after: Offset, filter: &EventFilter, max: usize) -> Result<EventPage> {
        (**self).read(after, filter, max).await
    }
    async fn head(&self) -> Result<Head> {
        (**self).head().await
    }
    async fn wait(&self, after: Offset) -> Result<()> {
        (**self).wait(after).await
    }
    async fn trim(&self, through: Offset) -> Result<()> {
        (**self).trim(through).await
    }
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
}
