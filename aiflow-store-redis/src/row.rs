//! Rows: how do events, records and relations look on the server, and how do they come back?

use std::collections::HashMap;

use aiflow_core::Result;
use aiflow_core::event::{Cause, Event, EventContext, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::json::Json;
use aiflow_core::store::{Record, RecordKey, RecordPut, Relation};
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

/// What of an event is kept as JSON, by the names that people know; its id lies beside it.
#[derive(Serialize)]
struct Said<'e> {
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

/// [`Said`], read.
#[derive(Deserialize)]
struct Heard {
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

/// What an event says, as JSON.
///
/// # Errors
/// `Invalid`: it cannot be written so.
pub(crate) fn json(event: &NewEvent) -> Result<String> {
    let context = (event.context != EventContext::default()).then_some(&event.context);
    let said = Said {
        namespace: &event.namespace,
        key: &event.key,
        event_type: &event.event_type,
        value: &event.value,
        sender: &event.sender,
        context,
        time: event.time,
        cause: event.cause,
    };
    serde_json::to_string(&said)
        .map_err(|error| Error::invalid("publish", "the event cannot be written as JSON").caused_by(error))
}

/// The same for two events exactly if [`NewEvent::says_the_same`] of them, as good as certainly.
pub(crate) fn digest(event: &NewEvent) -> String {
    let mut hasher = Sha256::new();
    for text in [&event.namespace, &event.key, &event.event_type, &event.sender] {
        hasher.update(text.len().to_be_bytes());
        hasher.update(text);
    }
    hash_value(&mut hasher, &event.value);
    let digest = hasher.finalize();
    digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
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

/// Reads an entry of the log.
pub(crate) fn event(mut entry: Answer) -> Result<Event> {
    let odd = || odd_data("read", "event");
    let id = entry.text()?;
    let offset = id.split('-').next().and_then(|offset| offset.parse().ok()).map(Offset).ok_or_else(odd)?;
    let mut fields = entry.list()?;
    let mut field = |name: &str| if fields.text()? == name { fields.bytes()?.ok_or_else(odd) } else { Err(odd()) };
    let id = String::from_utf8(field("id")?).map_err(|_| odd())?;
    let at = field("at")?;
    let at = std::str::from_utf8(&at).ok().and_then(|at| at.parse().ok()).ok_or_else(odd)?;
    let heard: Heard =
        serde_json::from_slice(&field("event")?).map_err(|error| odd().with("offset", offset).caused_by(error))?;
    let body = NewEvent {
        id,
        namespace: heard.namespace,
        key: heard.key,
        event_type: heard.event_type,
        value: heard.value,
        sender: heard.sender,
        context: heard.context,
        time: heard.time,
        cause: heard.cause,
    };
    Ok(Event { offset, recorded: Timestamp::from_millis(at), body })
}

/// The beginnings of index entries of a batch, each once.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    named: Vec<String>,
    places: HashMap<String, i64>,
}

impl Lists {
    /// Counted from 1.
    fn place(&mut self, list: String) -> i64 {
        let named = &mut self.named;
        *self.places.entry(list).or_insert_with_key(|list| {
            named.push(list.clone());
            i64::try_from(named.len()).unwrap_or(i64::MAX)
        })
    }

    pub(crate) fn named(&self) -> &[String] {
        &self.named
    }
}

/// Values of a put in the list of all.
pub(crate) const PUT_VALUES: usize = 8;

/// Packs a record to write: the lists it is in, its id, what follows the head, and its stamp. The head is a place, a revision and two moments, which
/// the server knows; behind it come the columns after their length, the number, and the body.
pub(crate) fn pack_put(pack: &mut Pack, put: &RecordPut, lists: &mut Lists) {
    let kind = part(&put.key.kind);
    pack.int(lists.place(format!("{kind}a")));
    let columns = [('p', &put.project), ('o', &put.parent), ('n', &put.name), ('s', &put.state)];
    for (letter, column) in columns {
        let place = if column.is_empty() { 0 } else { lists.place(format!("{kind}{letter}{}", part(column))) };
        pack.int(place);
    }
    pack.text(&put.key.id);
    let mut packed = Pack::default();
    columns.iter().for_each(|(_, column)| packed.text(column));
    let columns = packed.into_bytes();
    let mut tail = Pack::default();
    tail.size(columns.len());
    tail.raw(&columns);
    match put.number {
        Some(number) => tail.float(number),
        None => tail.no(),
    }
    tail.raw(put.body.as_str().as_bytes());
    pack.bytes(&tail.into_bytes());
    match &put.stamp {
        Some(stamp) => {
            pack.list(3);
            pack.int(i64::try_from(stamp.revision).unwrap_or(i64::MAX));
            pack.int(stamp.created.as_millis());
            pack.int(stamp.updated.as_millis());
        }
        None => pack.no(),
    }
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
