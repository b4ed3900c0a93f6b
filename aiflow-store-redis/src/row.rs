//! Rows: how do events, records and relations look on the server, and how do they come back?

use aiflow_core::Result;
use aiflow_core::event::{Cause, Event, EventContext, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::json::Json;
use aiflow_core::store::{Record, RecordKey, RecordPut, RecordStamp, Relation};
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::error::odd_data;
use crate::keys::{part, split_part};
use crate::pack::{Pack, Unpack};

/// Bytes of the digest of what an event says.
const DIGEST_BYTES: usize = 8;

/// The field of a record: its kind behind the length, and its id.
pub(crate) fn field(key: &RecordKey) -> String {
    part(&key.kind) + &key.id
}

fn key_of(field: &str) -> Option<RecordKey> {
    let (kind, id) = split_part(field)?;
    Some(RecordKey::new(kind, id))
}

/// What of an event is kept as JSON, by the names that people know. Scripts count on its id coming first.
#[derive(Serialize)]
pub(crate) struct Said<'e> {
    id: &'e str,
    namespace: &'e str,
    key: &'e str,
    #[serde(rename = "type")]
    event_type: &'e str,
    #[serde(skip_serializing_if = "Value::is_null")]
    value: &'e Value,
    #[serde(skip_serializing_if = "str::is_empty")]
    sender: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'e EventContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
}

impl<'e> Said<'e> {
    pub(crate) fn new(event: &'e NewEvent) -> Self {
        Self {
            id: &event.id,
            namespace: &event.namespace,
            key: &event.key,
            event_type: &event.event_type,
            value: &event.value,
            sender: &event.sender,
            context: (event.context != EventContext::default()).then_some(&event.context),
            time: event.time,
            cause: event.cause,
        }
    }
}

/// [`Said`], read.
#[derive(Deserialize)]
struct Heard {
    id: String,
    namespace: String,
    key: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    sender: String,
    #[serde(default)]
    context: EventContext,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default)]
    cause: Option<Cause>,
}

/// The `n`th event of a batch, as it is known by its id: its place in the batch, and the digest of what it says.
pub(crate) fn said(n: u32, event: &NewEvent) -> Vec<u8> {
    let mut said = n.to_be_bytes().to_vec();
    said.extend_from_slice(&digest(event));
    said
}

/// The same for two events exactly if [`NewEvent::says_the_same`] of them, as good as certainly.
fn digest(event: &NewEvent) -> [u8; DIGEST_BYTES] {
    let mut hasher = Sha256::new();
    for text in [&event.namespace, &event.key, &event.event_type, &event.sender] {
        hasher.update(text.len().to_be_bytes());
        hasher.update(text);
    }
    hash_value(&mut hasher, &event.value);
    let mut digest = [0; DIGEST_BYTES];
    digest.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
    digest
}

/// Whatever the order of its members.
fn hash_value(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            hasher.update([b'{']);
            hasher.update(members.len().to_be_bytes());
            for (name, value) in members {
                hasher.update(name.len().to_be_bytes());
                hasher.update(name);
                hash_value(hasher, value);
            }
        }
        Value::Array(values) => {
            hasher.update([b'[']);
            hasher.update(values.len().to_be_bytes());
            values.iter().for_each(|value| hash_value(hasher, value));
        }
        Value::String(text) => {
            hasher.update([b'"']);
            hasher.update(text.len().to_be_bytes());
            hasher.update(text);
        }
        // A float that is zero is equal to its negative.
        Value::Number(number) if number.as_f64() == Some(0.0) && number.is_f64() => hasher.update("0.0,"),
        Value::Null | Value::Bool(_) | Value::Number(_) => hasher.update(format!("{value},")),
    }
}

/// An entry of the log: some events that follow each other.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The offset before them.
    before: Offset,
    recorded: Timestamp,
    count: u64,
    lines: Vec<u8>,
}

/// Reads an entry of the log.
pub(crate) fn entry(mut entry: Answer) -> Result<Entry> {
    let odd = || odd_data("read", "event");
    let id = entry.text()?;
    let last: u64 = id.split('-').next().and_then(|offset| offset.parse().ok()).ok_or_else(odd)?;
    let mut fields = entry.list()?;
    let mut field = |name: &str| if fields.text()? == name { fields.bytes()?.ok_or_else(odd) } else { Err(odd()) };
    let number = |bytes: Vec<u8>| std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<i64>().ok());
    let count = number(field("n")?).and_then(|count| u64::try_from(count).ok()).ok_or_else(odd)?;
    let recorded = number(field("at")?).map(Timestamp::from_millis).ok_or_else(odd)?;
    let before = Offset(last.checked_sub(count).ok_or_else(odd)?);
    Ok(Entry { before, recorded, count, lines: field("events")? })
}

impl Entry {
    /// Its events after one offset and up to another.
    pub(crate) fn events(&self, after: Offset, end: Offset) -> impl Iterator<Item = Result<Event>> {
        let is_whole = self.lines.iter().filter(|byte| **byte == b'\n').count() as u64 + 1 == self.count;
        let lines = self.lines.split(|byte| *byte == b'\n');
        let offsets = (self.before.0.saturating_add(1)..).map(Offset);
        let wanted = offsets.zip(lines).filter(move |(offset, _)| *offset > after && *offset <= end);
        wanted
            .map(move |(offset, line)| if is_whole { self.event(offset, line) } else { Err(odd_data("read", "event")) })
    }

    fn event(&self, offset: Offset, line: &[u8]) -> Result<Event> {
        let heard: Heard = serde_json::from_slice(line)
            .map_err(|error| odd_data("read", "event").with("offset", offset).caused_by(error))?;
        let body = NewEvent {
            id: heard.id,
            namespace: heard.namespace,
            key: heard.key,
            event_type: heard.event_type,
            value: heard.value,
            sender: heard.sender,
            context: heard.context,
            time: heard.time,
            cause: heard.cause,
        };
        Ok(Event { offset, recorded: self.recorded, body })
    }
}

/// A record in its block of the index: its place in the block, and its id behind the length.
pub(crate) fn piece(slot: usize, id: &str) -> Vec<u8> {
    let mut pack = Pack::default();
    pack.raw(&[u8::try_from(slot).unwrap_or(u8::MAX)]);
    pack.size(id.len());
    pack.raw(id.as_bytes());
    pack.into_bytes()
}

/// A record as it is stored if it is new: its place, revision and two moments, the columns after their length, the number, and the body.
#[expect(clippy::cast_precision_loss, reason = "within the bounds that are checked before anything is sent")]
pub(crate) fn value(put: &RecordPut, place: u64, at: Timestamp) -> Vec<u8> {
    let stamp = put.stamp.unwrap_or(RecordStamp { revision: 1, created: at, updated: at });
    let mut columns = Pack::default();
    [&put.project, &put.parent, &put.name, &put.state].into_iter().for_each(|column| columns.text(column));
    let columns = columns.into_bytes();
    let mut pack = Pack::default();
    for number in
        [place as f64, stamp.revision as f64, stamp.created.as_millis() as f64, stamp.updated.as_millis() as f64]
    {
        pack.raw(&number.to_be_bytes());
    }
    pack.size(columns.len());
    pack.raw(&columns);
    match put.number {
        Some(number) => pack.float(number),
        None => pack.no(),
    }
    pack.raw(put.body.as_str().as_bytes());
    pack.into_bytes()
}

/// Reads a stored record: its head and its body.
pub(crate) fn record(operation: &'static str, key: RecordKey, stored: &[u8]) -> Result<Record> {
    read_record(key, stored).ok_or_else(|| odd_data(operation, "record"))
}

fn read_record(key: RecordKey, stored: &[u8]) -> Option<Record> {
    let mut head = Unpack::new(stored);
    let _place = head.counted()?;
    let revision = u64::try_from(head.counted()?).ok()?;
    let [created, updated] = [head.counted()?, head.counted()?].map(Timestamp::from_millis);
    let _columns = head.size()?;
    let [project, parent, name, state] = [head.text()?, head.text()?, head.text()?, head.text()?].map(str::to_owned);
    let number = head.maybe_float()?;
    let body = Json::from_text(std::str::from_utf8(head.rest()).ok()?);
    Some(Record { key, project, parent, name, state, number, body, revision, created, updated })
}

/// The place of a stored record, as sixteen hexadecimal digits.
pub(crate) fn place(stored: &[u8]) -> Option<String> {
    Unpack::new(stored).counted().map(|place| format!("{place:016x}"))
}

/// As [`record`], of a field.
pub(crate) fn record_of(operation: &'static str, field: &str, stored: &[u8]) -> Result<Record> {
    let key = key_of(field).ok_or_else(|| odd_data(operation, "record"))?;
    record(operation, key, stored)
}

/// The entries of a relation, which is found from its start, from its end, and by its kind.
pub(crate) fn relation_entries(relation: &Relation) -> [String; 3] {
    let (kind, from, to) = (part(&relation.kind), end(&relation.from), end(&relation.to));
    [format!("f{from}{kind}{to}"), format!("t{to}{kind}{from}"), format!("k{kind}{from}{to}")]
}

/// One end of a relation.
pub(crate) fn end(key: &RecordKey) -> String {
    part(&key.kind) + &part(&key.id)
}

/// Reads any entry of a relation.
pub(crate) fn relation(entry: &str) -> Result<Relation> {
    read_relation(entry).ok_or_else(|| odd_data("relations", "relation"))
}

fn read_relation(entry: &str) -> Option<Relation> {
    let read_end = |text| -> Option<(RecordKey, &str)> {
        let (kind, rest) = split_part(text)?;
        let (id, rest) = split_part(rest)?;
        Some((RecordKey::new(kind, id), rest))
    };
    let (list, rest) = entry.split_at_checked(1)?;
    let (first, second, kind, rest) = if list == "k" {
        let (kind, rest) = split_part(rest)?;
        let (first, rest) = read_end(rest)?;
        let (second, rest) = read_end(rest)?;
        (first, second, kind, rest)
    } else {
        let (first, rest) = read_end(rest)?;
        let (kind, rest) = split_part(rest)?;
        let (second, rest) = read_end(rest)?;
        (first, second, kind, rest)
    };
    let (from, to) = if list == "t" { (second, first) } else { (first, second) };
    rest.is_empty().then(|| Relation { kind: kind.to_owned(), from, to })
}

/// The error of a record that another caller changed.
pub(crate) fn conflict(key: &RecordKey, expected: Option<u64>, found: u64) -> Error {
    let shown = |revision: u64| if revision == 0 { "none".to_owned() } else { revision.to_string() };
    Error::new(ErrorKind::Conflict, "commit", "a record is not at the expected revision")
        .with("key", key)
        .with("expected", shown(expected.unwrap_or(0)))
        .with("found", shown(found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_tells_events_apart_as_their_content_does() {
        let event = |value: Value| NewEvent::identified("1", "n", "k").value(value);
        let one = digest(&event(json!({"a": [1, {"b": 2, "c": 3}]})));
        let same: Value = serde_json::from_str(r#"{"a": [1, {"c": 3, "b": 2}]}"#).unwrap();
        assert_eq!(digest(&event(same).label("x", "y").time(Timestamp::EPOCH)), one);
        assert_eq!(digest(&event(json!(-0.0))), digest(&event(json!(0.0))));
        let values = [
            json!(null),
            json!(1),
            json!(1.0),
            json!("1"),
            json!([1]),
            json!([[1]]),
            json!([1, 1]),
            json!([11]),
            json!({}),
            json!([]),
            json!({"a": 1}),
            json!({"a1": null}),
            json!("null"),
            json!(true),
            json!(0),
            json!(0.0),
        ];
        let mut digests: Vec<_> = values.into_iter().map(|value| digest(&event(value))).collect();
        digests.extend([
            digest(&NewEvent::identified("1", "nk", "")),
            digest(&NewEvent::identified("1", "n", "k").sender("s")),
        ]);
        let count = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_relation_reads_back_from_each_of_its_entries() {
        let from = RecordKey::new("kind:1", "ä\0");
        let relation = Relation { kind: "read".to_owned(), from, to: RecordKey::new("", "b") };
        for entry in relation_entries(&relation) {
            assert_eq!(super::relation(&entry).unwrap(), relation, "{entry}");
            assert!(super::relation(&entry[..entry.len() - 1]).is_err());
            assert!(super::relation(&(entry + "x")).is_err());
        }
    }

    #[test]
    fn a_record_that_is_cut_is_damage() {
        let error = record("get", RecordKey::new("a", "b"), &[0x98, 1, 2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
