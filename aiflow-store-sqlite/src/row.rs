//! Rows: how do events, records and relations look in the file, and how do they come back?

use std::sync::Arc;

use aiflow_core::bus::Head;
use aiflow_core::event::{Cause, Event, EventContext, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::json::Json;
use aiflow_core::store::{Record, RecordKey, RecordPut, RecordStamp, Relation};
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::{Fault, Phase};

/// What an event takes in memory beside its long texts, about.
const EVENT_BYTES: usize = 400;

/// An event as it is written. Made by the caller of `publish`, so that the writer only passes it on.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) id: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) event_type: Arc<str>,
    pub(crate) sender: Arc<str>,
    pub(crate) value: Option<Arc<str>>,
    pub(crate) context: Option<Arc<str>>,
    /// When it was recorded in the log from which it is copied; the moment of its transaction if `None`.
    pub(crate) recorded: Option<i64>,
    /// What was encoded: readers in this process get it as it is.
    event: NewEvent,
}

impl EventRow {
    /// Checks and encodes events. Neighbours mostly agree in namespace, key, type and sender, and then share the text.
    pub(crate) fn encode_all(events: Vec<NewEvent>) -> Result<Vec<Self>> {
        let mut rows: Vec<Self> = Vec::with_capacity(events.len());
        for event in events {
            let row = Self::encode(event, rows.last())?;
            rows.push(row);
        }
        Ok(rows)
    }

    /// As [`encode_all`](Self::encode_all), of a batch: with the moments at which copies were recorded.
    pub(crate) fn encode_batch(events: Vec<NewEvent>, recorded: &[Timestamp]) -> Result<Vec<Self>> {
        let mut rows = Self::encode_all(events)?;
        for (row, recorded) in rows.iter_mut().zip(recorded) {
            row.recorded = Some(recorded.as_millis());
        }
        Ok(rows)
    }

    fn encode(event: NewEvent, before: Option<&Self>) -> Result<Self> {
        event.check()?;
        let share = |text: &str, field: fn(&Self) -> &Arc<str>| match before.map(field) {
            Some(known) if **known == *text => Arc::clone(known),
            _ => text.into(),
        };
        let context =
            if event.context == EventContext::default() { None } else { Some(json("publish", &event.context)?) };
        Ok(Self {
            value: match &event.value {
                Value::Null => None,
                value => Some(json("publish", value)?),
            },
            context,
            id: event.id.as_str().into(),
            namespace: share(&event.namespace, |row| &row.namespace),
            key: share(&event.key, |row| &row.key),
            event_type: share(&event.event_type, |row| &row.event_type),
            sender: share(&event.sender, |row| &row.sender),
            recorded: None,
            event,
        })
    }

    /// Whether any of the columns that few events have is set.
    pub(crate) fn has_extra(&self) -> bool {
        self.context.is_some() || self.event.time.is_some() || self.event.cause.is_some()
    }

    pub(crate) fn time(&self) -> Option<i64> {
        self.event.time.map(Timestamp::as_millis)
    }

    pub(crate) fn cause(&self) -> Option<i64> {
        self.event.cause.map(|cause| signed(cause.offset.0))
    }

    pub(crate) fn hops(&self) -> Option<i64> {
        self.event.cause.map(|cause| i64::from(cause.hops))
    }

    /// The event as it stands in the log, and the bytes of its texts.
    pub(crate) fn into_event(self, offset: Offset, recorded: i64) -> (Arc<Event>, usize) {
        let texts = [Some(&self.id), Some(&self.key), self.value.as_ref(), self.context.as_ref()];
        let bytes = texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() + EVENT_BYTES;
        let event = Event { offset, recorded: Timestamp::from_millis(recorded), body: self.event };
        (Arc::new(event), bytes)
    }

    /// Whether the stored event says the same: all but context, times and causes.
    pub(crate) fn says_the_same(&self, stored: &StoredEvent) -> bool {
        *self.namespace == *stored.namespace
            && *self.key == *stored.key
            && *self.event_type == *stored.event_type
            && *self.sender == *stored.sender
            && same_json(self.value.as_deref(), stored.value.as_deref())
    }
}

/// Members of objects may be written in another order; that is the same value.
fn same_json(one: Option<&str>, other: Option<&str>) -> bool {
    one == other
        || matches!((one, other), (Some(one), Some(other))
            if matches!((serde_json::from_str::<Value>(one), serde_json::from_str::<Value>(other)), (Ok(one), Ok(other)) if one == other))
}

/// What must be known about an event in the log to judge a second one with its id.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) offset: Offset,
    pub(crate) namespace: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) event_type: Arc<str>,
    pub(crate) sender: Arc<str>,
    pub(crate) value: Option<Arc<str>>,
}

impl StoredEvent {
    /// The event that is about to be written at `offset`.
    pub(crate) fn written(row: &EventRow, offset: Offset) -> Self {
        Self {
            offset,
            namespace: Arc::clone(&row.namespace),
            key: Arc::clone(&row.key),
            event_type: Arc::clone(&row.event_type),
            sender: Arc::clone(&row.sender),
            value: row.value.clone(),
        }
    }

    /// Reads a row of `Bulk::FindEvents`: the id and the event.
    pub(crate) fn decode(row: &SqliteRow) -> Result<(String, Self), Fault> {
        let text = |index: usize| -> Result<Arc<str>, Fault> { Ok(row.try_get_unchecked::<&str, _>(index)?.into()) };
        let stored = Self {
            offset: Offset(unsigned(row.try_get_unchecked(1)?)),
            namespace: text(2)?,
            key: text(3)?,
            event_type: text(4)?,
            sender: text(5)?,
            value: row.try_get_unchecked::<Option<&str>, _>(6)?.map(Arc::from),
        };
        Ok((row.try_get_unchecked(0)?, stored))
    }
}

/// A record as it is written.
#[derive(Debug)]
pub(crate) struct RecordRow {
    pub(crate) kind: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) project: Arc<str>,
    pub(crate) parent: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) state: Arc<str>,
    pub(crate) number: Option<f64>,
    pub(crate) body: Arc<str>,
    pub(crate) stamp: Option<RecordStamp>,
}

impl RecordRow {
    /// Encodes records. Neighbours mostly agree in kind, project, parent, name and state, and then share the text.
    pub(crate) fn encode_all(puts: Vec<RecordPut>) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::with_capacity(puts.len());
        for put in puts {
            let before = rows.last();
            let share = |text: String, field: fn(&Self) -> &Arc<str>| match before.map(field) {
                Some(known) if **known == *text => Arc::clone(known),
                _ => text.into(),
            };
            let row = Self {
                kind: share(put.key.kind, |row| &row.kind),
                id: put.key.id.into(),
                project: share(put.project, |row| &row.project),
                parent: share(put.parent, |row| &row.parent),
                name: share(put.name, |row| &row.name),
                state: share(put.state, |row| &row.state),
                number: put.number,
                body: put.body.into_text(),
                stamp: put.stamp,
            };
            rows.push(row);
        }
        rows
    }
}

fn json(operation: &'static str, value: &impl serde::Serialize) -> Result<Arc<str>> {
    serde_json::to_string(value)
        .map(Arc::from)
        .map_err(|error| Error::invalid(operation, "the value cannot be written as JSON").caused_by(error))
}

fn parse<'t, T: Deserialize<'t>>(operation: &'static str, what: &str, text: &'t str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, operation, format!("the stored {what} cannot be read")).caused_by(error)
    })
}

/// Reads columns by number; any misfit is damage, for the tables are STRICT and ours.
struct Columns<'r>(&'r SqliteRow, &'static str);

impl<'r> Columns<'r> {
    fn get<T>(&self, index: usize) -> Result<T>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.0.try_get_unchecked(index).map_err(|error| Fault::from(error).into_error(self.1, Phase::Read))
    }
}

/// A page of the log, and the ends of the log at the same moment.
pub(crate) struct LogPage {
    pub(crate) head: Head,
    pub(crate) events: Vec<Arc<Event>>,
}

/// Reads a page of [`crate::sql::LOG_COLUMNS`]; `None` if its header is missing.
pub(crate) fn log_page(operation: &'static str, rows: &[SqliteRow]) -> Result<Option<LogPage>> {
    let mut head = None;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let columns = Columns(row, operation);
        match columns.get::<Option<&str>>(0)? {
            Some(ends) => {
                let (trimmed, last) = parse(operation, "ends of the log", ends)?;
                head = Some(Head { trimmed: Offset(trimmed), last: Offset(last) });
            }
            None => events.push(Arc::new(event(&columns)?)),
        }
    }
    Ok(head.map(|head| LogPage { head, events }))
}

/// The short columns of an event, in the order of [`crate::sql::LOG_COLUMNS`].
#[derive(Deserialize)]
struct Short {
    offset: u64,
    recorded: i64,
    id: String,
    namespace: String,
    key: String,
    event_type: String,
    sender: String,
    time: Option<i64>,
    cause: Option<u64>,
    hops: Option<u32>,
}

fn event(columns: &Columns<'_>) -> Result<Event> {
    let short: Short = parse(columns.1, "event", columns.get(1)?)?;
    let value = match columns.get::<Option<&str>>(2)? {
        Some(text) => parse(columns.1, "event value", text)?,
        None => Value::Null,
    };
    let context = match columns.get::<Option<&str>>(3)? {
        Some(text) => parse(columns.1, "event context", text)?,
        None => EventContext::default(),
    };
    let body = NewEvent {
        id: short.id,
        namespace: short.namespace,
        key: short.key,
        event_type: short.event_type,
        sender: short.sender,
        value,
        context,
        time: short.time.map(Timestamp::from_millis),
        cause: short.cause.map(|offset| Cause { offset: Offset(offset), hops: short.hops.unwrap_or(0) }),
    };
    Ok(Event { offset: Offset(short.offset), recorded: Timestamp::from_millis(short.recorded), body })
}

/// Reads a row of [`crate::sql::RECORD_COLUMNS`]: its place in the order, and the record.
pub(crate) fn record(operation: &'static str, row: &SqliteRow) -> Result<(i64, Record)> {
    let columns = Columns(row, operation);
    let record = Record {
        key: RecordKey { kind: columns.get(1)?, id: columns.get(2)? },
        project: columns.get(3)?,
        parent: columns.get(4)?,
        name: columns.get(5)?,
        state: columns.get(6)?,
        revision: unsigned(columns.get(7)?),
        created: Timestamp::from_millis(columns.get(8)?),
        updated: Timestamp::from_millis(columns.get(9)?),
        body: Json::from_text(columns.get::<&str>(10)?),
        number: columns.get(11)?,
    };
    Ok((columns.get(0)?, record))
}

/// The number of the question that a row of `Bulk::GetRecords` answers.
pub(crate) fn question(row: &SqliteRow) -> Result<usize> {
    let number: i64 = Columns(row, "get").get(12)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// Reads kind, from and to of a relation.
pub(crate) fn relation(row: &SqliteRow) -> Result<Relation> {
    let columns = Columns(row, "relations");
    Ok(Relation {
        kind: columns.get(0)?,
        from: RecordKey { kind: columns.get(1)?, id: columns.get(2)? },
        to: RecordKey { kind: columns.get(3)?, id: columns.get(4)? },
    })
}

/// Offsets and revisions are counted from 1 by SQLite and never reach the sign bit.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The inverse of [`unsigned`]; what SQLite cannot hold becomes the largest it can, which no row has.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_json() {
        assert!(same_json(None, None));
        assert!(same_json(Some("{\"a\":1,\"b\":2}"), Some("{\"b\":2,\"a\":1}")));
        assert!(!same_json(Some("1"), None));
        assert!(!same_json(Some("1"), Some("\"1\"")));
    }

    #[test]
    fn numbers_read_back_exactly() {
        for number in [0.1 + 0.2, 1e-310, 123_456_789.123_456_79, f64::MAX] {
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits());
        }
    }
}
