//! Windows and keys: which events may meet each other?

use std::time::Duration;

use jiff::Timestamp as Instant;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{EVENT_KEY_BYTES_MAX, NewEvent};
use crate::time::Timestamp;
use crate::workflow::millis;

/// The longest window.
const WINDOW_MS_MAX: u128 = 3_660 * 86_400_000;

/// A span of time whose events may meet. Measured at the times at which the events happened; the newest says where the window lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Window {
    /// Ends at the newest event and reaches back so far; its edge is inside.
    Sliding {
        /// In milliseconds.
        #[serde(with = "millis", rename = "length_ms")]
        length: Duration,
    },
    /// One of the equal spans into which time is cut from the Unix epoch on. Its beginning is inside, its end is not.
    Tumbling {
        /// In milliseconds.
        #[serde(with = "millis", rename = "length_ms")]
        length: Duration,
    },
    /// A day in a time zone, 23 to 25 hours long where clocks are changed.
    Daily {
        /// IANA name: `Europe/Berlin`.
        time_zone: String,
        /// When the day begins, in minutes after midnight; moments that the clocks skip begin with the first one after.
        #[serde(default, skip_serializing_if = "is_midnight")]
        begins_minutes: u16,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_midnight(minutes: &u16) -> bool {
    *minutes == 0
}

impl From<Duration> for Window {
    fn from(length: Duration) -> Self {
        Self::Sliding { length }
    }
}

impl Window {
    /// Equal spans, one after the other.
    #[must_use]
    pub fn tumbling(length: Duration) -> Self {
        Self::Tumbling { length }
    }

    /// Days in a time zone, from midnight to midnight.
    #[must_use]
    pub fn daily(time_zone: impl Into<String>) -> Self {
        Self::Daily { time_zone: time_zone.into(), begins_minutes: 0 }
    }

    /// Days in a time zone that begin at another time than midnight.
    #[must_use]
    pub fn daily_from(time_zone: impl Into<String>, hour: u16, minute: u16) -> Self {
        Self::Daily { time_zone: time_zone.into(), begins_minutes: hour.saturating_mul(60).saturating_add(minute) }
    }

    /// Why this is no window, if it is none.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Sliding { length } | Self::Tumbling { length }
                if length.as_millis() == 0 || length.as_millis() > WINDOW_MS_MAX =>
            {
                Some("a window lasts from 1 ms to ten years".to_owned())
            }
            Self::Sliding { .. } | Self::Tumbling { .. } => None,
            Self::Daily { begins_minutes, .. } if *begins_minutes >= 24 * 60 => {
                Some(format!("a day does not begin {begins_minutes} minutes after midnight"))
            }
            Self::Daily { time_zone, .. } => zone(time_zone).err(),
        }
    }
}

/// A window that is ready for many events.
#[derive(Debug, Clone)]
pub(crate) enum CompiledWindow {
    Sliding(Duration),
    Tumbling(i64),
    Daily(TimeZone, u16),
}

impl CompiledWindow {
    pub(crate) fn new(window: &Window) -> Self {
        let millis = |length: &Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
        match window {
            Window::Sliding { length } => Self::Sliding(*length),
            Window::Tumbling { length } => Self::Tumbling(millis(length)),
            // What is stored was checked; a zone that a later release of the time zone data forgot is taken for UTC.
            Window::Daily { time_zone, begins_minutes } => {
                Self::Daily(zone(time_zone).unwrap_or(TimeZone::UTC), *begins_minutes)
            }
        }
    }

    /// The first moment of the window in which an event at `newest` is the newest.
    pub(crate) fn begin(&self, newest: Timestamp) -> Timestamp {
        match self {
            Self::Sliding(length) => newest - *length,
            Self::Tumbling(length) => {
                let millis = newest.as_millis();
                Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(*length)))
            }
            Self::Daily(zone, begins_minutes) => begin_of_day(zone, *begins_minutes, newest),
        }
    }
}

/// The last moment, not after `now`, at which the clocks of `zone` came to the given time of day. Before and after the years that calendars
/// know, days are 24 hours long.
fn begin_of_day(zone: &TimeZone, begins_minutes: u16, now: Timestamp) -> Timestamp {
    let found = || {
        let instant = Instant::from_millisecond(now.as_millis()).ok()?;
        let (hour, minute) = (i8::try_from(begins_minutes / 60).ok()?, i8::try_from(begins_minutes % 60).ok()?);
        let mut date = zone.to_datetime(instant).date().tomorrow().ok()?;
        // Clocks change by less than a day, so at most the fourth candidate lies before now.
        for _ in 0..4 {
            let begin = zone.to_timestamp(date.at(hour, minute, 0, 0)).ok()?;
            if begin <= instant {
                return Some(Timestamp::from_millis(begin.as_millisecond()));
            }
            date = date.yesterday().ok()?;
        }
        None
    };
    found().unwrap_or_else(|| CompiledWindow::Tumbling(86_400_000).begin(now))
}

/// A time zone of the database that is compiled in: the machine's own may differ from that of the next machine.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|error| format!("time zone {name:?}: {error}"))
}

/// The most places at which [`KeyOf::FirstOf`] looks.
pub const KEY_PLACES_MAX: usize = 8;

/// Where the correlation key of an event is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyOf {
    /// The event's key.
    Key,
    /// The text, number or truth value at a JSON pointer into the value.
    Value(String),
    /// A label of the context.
    Label(String),
    /// The first of these places at which the event has a key; at most [`KEY_PLACES_MAX`].
    FirstOf(Vec<Self>),
}

impl KeyOf {
    /// At a JSON pointer into the value: `/order/id`.
    #[must_use]
    pub fn value(pointer: impl Into<String>) -> Self {
        Self::Value(pointer.into())
    }

    /// A label of the context.
    #[must_use]
    pub fn label(name: impl Into<String>) -> Self {
        Self::Label(name.into())
    }

    /// At the first of these places at which the event has one: for events of several kinds, each with the key at a place of its own.
    ///
    /// ```
    /// use aiflow_core::workflow::{KeyOf, all, on};
    ///
    /// let paid = all([on("order.created"), on("payment.received")]);
    /// let each_order = paid.for_each(KeyOf::first_of([KeyOf::value("/payment/order"), KeyOf::value("/id")]));
    /// ```
    #[must_use]
    pub fn first_of(places: impl IntoIterator<Item = Self>) -> Self {
        Self::FirstOf(places.into_iter().collect())
    }

    /// Whether every event has a key there.
    pub(crate) fn is_everywhere(&self) -> bool {
        match self {
            Self::Key => true,
            Self::Value(_) | Self::Label(_) => false,
            Self::FirstOf(places) => places.contains(&Self::Key),
        }
    }

    /// The key of `event`: a text of at most [`EVENT_KEY_BYTES_MAX`] bytes. The number 1 and the text "1" are the same key.
    pub(crate) fn of(&self, event: &NewEvent) -> Option<String> {
        let key = match self {
            Self::Key => event.key.clone(),
            Self::Label(name) => event.context.labels.get(name)?.clone(),
            Self::Value(pointer) => match event.value.pointer(pointer)? {
                Value::String(text) => text.clone(),
                part @ (Value::Number(_) | Value::Bool(_)) => part.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            },
            Self::FirstOf(places) => places.iter().take(KEY_PLACES_MAX).find_map(|place| place.of(event))?,
        };
        (key.len() <= EVENT_KEY_BYTES_MAX).then_some(key)
    }

    /// Why this names no place, if it does not.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Value(pointer) if !(pointer.is_empty() || pointer.starts_with('/')) => {
                Some(format!("{pointer:?} is no JSON pointer; it must begin with '/'"))
            }
            Self::Label(name) if name.is_empty() => Some("a label has a name".to_owned()),
            Self::Key | Self::Value(_) | Self::Label(_) => None,
            Self::FirstOf(places) if places.is_empty() || places.len() > KEY_PLACES_MAX => {
                Some(format!("a key is looked for at 1 to {KEY_PLACES_MAX} places, not {}", places.len()))
            }
            Self::FirstOf(places) if places.iter().any(|place| matches!(place, Self::FirstOf(_))) => {
                Some("the places of a key are said in one list, not in lists of lists".to_owned())
            }
            Self::FirstOf(places) => places.iter().find_map(Self::problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<Instant>().unwrap().as_millisecond())
    }

    fn begin(window: &Window, newest: &str) -> String {
        let begin = CompiledWindow::new(window).begin(at(newest));
        Instant::from_millisecond(begin.as_millis()).unwrap().to_string()
    }

    #[test]
    fn days_begin_by_the_clocks_of_their_zone() {
        let berlin = Window::daily("Europe/Berlin");
        assert_eq!(begin(&berlin, "2024-01-15T12:00:00Z"), "2024-01-14T23:00:00Z");
        assert_eq!(begin(&berlin, "2024-07-15T12:00:00Z"), "2024-07-14T22:00:00Z");
        assert_eq!(begin(&berlin, "2024-01-14T23:00:00Z"), "2024-01-14T23:00:00Z");
        assert_eq!(begin(&berlin, "2024-01-14T22:59:59Z"), "2024-01-13T23:00:00Z");
        // 02:30 is skipped on the last Sunday of March: the day begins an hour later by the clock, at once by the sun.
        let early = Window::daily_from("Europe/Berlin", 2, 30);
        assert_eq!(begin(&early, "2024-03-31T06:00:00Z"), "2024-03-31T01:30:00Z");
        // It comes twice on the last Sunday of October: the day begins with the first.
        assert_eq!(begin(&early, "2024-10-27T06:00:00Z"), "2024-10-27T00:30:00Z");
    }

    #[test]
    fn tumbling_windows_are_aligned_and_sliding_ones_are_not() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(begin(&Window::tumbling(hour), "2024-01-15T12:34:56Z"), "2024-01-15T12:00:00Z");
        assert_eq!(begin(&Window::tumbling(hour), "1969-12-31T23:59:59Z"), "1969-12-31T23:00:00Z");
        assert_eq!(begin(&Window::from(hour), "2024-01-15T12:34:56Z"), "2024-01-15T11:34:56Z");
    }

    #[test]
    fn what_is_no_window_is_refused_with_the_reason() {
        assert!(Window::daily("Europe/Atlantis").problem().unwrap().contains("Atlantis"));
        assert!(Window::daily_from("UTC", 24, 0).problem().is_some());
        assert!(Window::from(Duration::ZERO).problem().is_some());
        assert_eq!(Window::daily("UTC").problem(), None);
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        for millis in [i64::MIN, i64::MAX] {
            for window in [Window::daily("Asia/Tokyo"), Window::tumbling(Duration::from_secs(7))] {
                let _ = CompiledWindow::new(&window).begin(Timestamp::from_millis(millis));
            }
        }
    }
}
