//! Events of users: how are they published, and which are reserved?

use super::{AiFlow, Listener};
use crate::bus::EVENTS_PAGE_MAX;
use crate::error::{Error, Result};
use crate::event::{DEADLINE_MISSED, EventFilter, JOB_STATUS_CHANGED, NewEvent, WORKFLOW_STATUS_CHANGED};
use crate::id::Offset;
use crate::meta::is_meta_event;

/// Namespaces that begin so belong to the library.
const RESERVED_NAMESPACES: &str = "aiflow.";

/// Ids that begin so are those of the scheduler's own events.
const RESERVED_IDS: &str = "aiflow:";

/// Checks that `event` may be published by users: within bounds, and not one of those by which the library itself tells what happened.
///
/// Reserved are namespaces that begin with `aiflow.`, ids that begin with `aiflow:`, and the types of status and metadata events: such an event is in the log exactly if
/// the change that it tells of took place.
///
/// # Errors
/// `Invalid`, naming what is wrong.
pub fn check_user_event(event: &NewEvent) -> Result<()> {
    event.check()?;
    let problem = if event.namespace.starts_with(RESERVED_NAMESPACES) {
        "namespaces that begin with \"aiflow.\" are reserved"
    } else if event.id.starts_with(RESERVED_IDS) {
        "ids that begin with \"aiflow:\" are reserved"
    } else if is_reserved_type(&event.event_type) {
        "this event type is reserved: only the change itself may announce it"
    } else {
        return Ok(());
    };
    Err(Error::invalid("publish", problem)
        .with("namespace", event.namespace.escape_default())
        .with("event_type", event.event_type.escape_default()))
}

fn is_reserved_type(event_type: &str) -> bool {
    [JOB_STATUS_CHANGED, WORKFLOW_STATUS_CHANGED, DEADLINE_MISSED].contains(&event_type) || is_meta_event(event_type)
}

impl AiFlow {
    /// A new event about `key` in the namespace of this project, with a fresh id.
    #[must_use]
    pub fn event(&self, key: impl Into<String>) -> NewEvent {
        NewEvent::new(self.project_name().as_str(), key)
    }

    /// Publishes an event; it is durable, in the class that the log declares, when this returns its offset.
    ///
    /// Publishing the same id again changes nothing and returns the first offset.
    ///
    /// # Errors
    /// `Invalid`: out of bounds or reserved, see [`check_user_event`]. `AlreadyExists`: the id was used for something else. `OutcomeUnknown`:
    /// publish again with the same id.
    pub async fn publish(&self, event: NewEvent) -> Result<Offset> {
        let offsets = self.publish_all(vec![event]).await?;
        offsets
            .first()
            .copied()
            .ok_or_else(|| Error::new(crate::ErrorKind::Internal, "publish", "the log gave no offset"))
    }

    /// Publishes events, all or none, adjacent and in this order; at most [`EVENTS_PAGE_MAX`].
    ///
    /// # Errors
    /// As [`publish`](Self::publish); then nothing was published.
    pub async fn publish_all(&self, events: Vec<NewEvent>) -> Result<Vec<Offset>> {
        self.append(events, Self::stamp_for_execution).await
    }

    /// Checks, stamps and appends user events.
    pub(crate) async fn append(
        &self,
        mut events: Vec<NewEvent>,
        stamp: impl Fn(&Self, NewEvent) -> NewEvent,
    ) -> Result<Vec<Offset>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        if events.len() > EVENTS_PAGE_MAX {
            return Err(Error::invalid(
                "publish",
                format!("{} events at once, at most {EVENTS_PAGE_MAX} are allowed", events.len()),
            ));
        }
        events.iter().try_for_each(check_user_event)?;
        if self.origin().is_some() {
            events = events.into_iter().map(|event| stamp(self, event)).collect();
        }
        self.bus().publish(events).await
    }

    /// The events after `after` that match, from now until the listener is dropped. `Offset::START` begins with the oldest.
    ///
    /// The filter is taken as it is: without a namespace it also sees other projects and the scheduler's own events.
    #[must_use]
    pub fn listen(&self, filter: EventFilter, after: Offset) -> Listener {
        Listener::new(std::sync::Arc::clone(self.bus()), filter, after)
    }

    /// Offset of the newest event in the log, 0 if there is none: listen after it to see only what is new.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn head(&self) -> Result<Offset> {
        Ok(self.bus().head().await?.last)
    }
}
