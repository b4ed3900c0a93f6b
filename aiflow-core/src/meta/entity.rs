//! Entities: what has every kind of thing in common, and how does it stand in the store?

use std::ops::Deref;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Notes;
use super::draft::Draft;
use super::payload::{STORED_AT, uri_key};
use super::problems::Problems;
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::id::AttemptId;
use crate::records::{body_of, put};
use crate::store::{Record, RecordKey, RecordPut};
use crate::time::Timestamp;

/// State of the record of an entity that has no life cycle of its own.
pub const ACTIVE: &str = "ACTIVE";
/// State of the record of a deleted entity.
pub const DELETED: &str = "DELETED";

/// An entity as it stands in the store: its envelope, and through `Deref` its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<E> {
    /// What lineage and every other reference names: kind and id. The id never changes and is never used again.
    pub key: RecordKey,
    /// Rises with each change, from 1.
    pub revision: u64,
    /// [`ACTIVE`], [`DELETED`], or the state of its own life cycle: a stage, the state of an artifact.
    pub state: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The attempt that registered it, if a job did.
    pub created_by: Option<AttemptId>,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
    /// What was registered.
    pub content: E,
}

impl<E> Stored<E> {
    /// The id within its kind: `project/name`; `project/name~2` is the second of this name, after the first was deleted.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.key.id
    }

    /// Whether it is deleted: it does not occupy its name, and only its id finds it.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.state == DELETED
    }
}

impl<E> Deref for Stored<E> {
    type Target = E;
    fn deref(&self) -> &E {
        &self.content
    }
}

/// What the body of a record holds: the content, and the part of the envelope that has no column.
#[derive(Debug, Serialize, Deserialize)]
struct Body<E> {
    #[serde(flatten)]
    content: E,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<AttemptId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
}

impl<E: Content> Stored<E> {
    /// The entity in a record.
    pub(crate) fn of(record: &Record) -> Result<Self> {
        let Body { content, created_by, deleted_at } = body_of(record)?;
        Ok(Self {
            key: record.key.clone(),
            revision: record.revision,
            state: record.state.clone(),
            created_at: record.created,
            updated_at: record.updated,
            created_by,
            deleted_at,
            content,
        })
    }
}

/// The kinds of things of which a project has at most one by each name. Not for implementing: the kinds are those of this module.
pub trait Entity: Content {}

impl<E: Content> Entity for E {}

/// What was done to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Registered,
    Updated,
    Removed,
    Restored,
    Purged,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Restored => "restored",
            Self::Purged => "purged",
        }
    }
}

/// Types of the events that tell of an entity.
#[derive(Debug)]
pub struct EventTypes {
    pub registered: &'static str,
    pub changed: &'static str,
    pub removed: &'static str,
    pub restored: &'static str,
    pub purged: &'static str,
}

impl EventTypes {
    pub(crate) fn all(&self) -> [&'static str; 5] {
        [self.registered, self.changed, self.removed, self.restored, self.purged]
    }
}

/// What the generic verbs must know of a kind.
pub trait Content: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Record kind.
    const KIND: &'static str;
    /// The types of its events.
    const EVENTS: EventTypes;
    /// Whether it belongs to a project, rather than to the store.
    const IS_OF_PROJECT: bool = true;
    /// Fields of its life cycle: registering it again does not speak of them.
    const LIFE: &'static [&'static str] = &[];

    fn name(&self) -> &str;
    fn notes(&self) -> &Notes;
    /// Whether everything but the notes is within bounds.
    fn check(&self, problems: &mut Problems);

    /// What events of it say, besides what was done.
    fn news(&self) -> Value {
        json!({})
    }

    fn state(&self) -> &str {
        ACTIVE
    }

    /// What its record, which has this key, is a part of.
    fn parent(&self, _: &RecordKey) -> String {
        String::new()
    }

    /// Where its payload lies.
    fn uri(&self) -> Option<&str> {
        None
    }

    fn event_type(&self, verb: Verb) -> &'static str {
        match verb {
            Verb::Registered => Self::EVENTS.registered,
            Verb::Updated => Self::EVENTS.changed,
            Verb::Removed => Self::EVENTS.removed,
            Verb::Restored => Self::EVENTS.restored,
            Verb::Purged => Self::EVENTS.purged,
        }
    }

    /// Whether an update may make this of it.
    fn check_update(&self, after: &Self, operation: &'static str) -> Result<()> {
        if self.name() == after.name() {
            return Ok(());
        }
        Err(Error::invalid(operation, "a name does not change").with("name", self.name()).with("to", after.name()))
    }

    /// The handle in whose project it is told of.
    fn home(flow: &AiFlow, _name: &str) -> Result<AiFlow> {
        Ok(flow.clone())
    }

    /// Whether it may be deleted now.
    fn check_removal(_: &mut Draft, _: &AiFlow, _: &Stored<Self>) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Writes an entity under its key, and what follows from it being there.
pub(super) fn write<E: Content>(
    draft: &mut Draft,
    flow: &AiFlow,
    key: &RecordKey,
    before: Option<&Stored<E>>,
    content: E,
    deleted_at: Option<Timestamp>,
) -> Stored<E> {
    let (old, new) = (before.and_then(|before| before.uri()), content.uri());
    if old != new {
        if let Some(old) = old {
            draft.unrelate(STORED_AT, key.clone(), uri_key(old));
        }
        if let Some(new) = new {
            draft.relate(STORED_AT, key.clone(), uri_key(new));
        }
    }
    let created_by = match before {
        Some(before) => before.created_by,
        None => flow.origin().map(|origin| origin.identity.attempt),
    };
    let state = if deleted_at.is_some() { DELETED } else { content.state() }.to_owned();
    let body = Body { content, created_by, deleted_at };
    let &Record { revision, created: created_at, updated: updated_at, .. } = draft.put(RecordPut {
        project: flow.project_name().to_string(),
        parent: body.content.parent(key),
        name: body.content.name().to_owned(),
        state: state.clone(),
        ..put(key.clone(), &body)
    });
    draft.produced(key);
    Stored { key: key.clone(), revision, state, created_at, updated_at, created_by, deleted_at, content: body.content }
}

/// The event that tells what was done to an entity; `fields` names those that an update changed.
pub(super) fn news<E: Content>(flow: &AiFlow, entity: &Stored<E>, verb: Verb, fields: &[String]) -> NewEvent {
    let mut value = match entity.news() {
        Value::Object(value) => value,
        _ => Map::new(),
    };
    value.insert("id".to_owned(), entity.id().into());
    value.insert("change".to_owned(), verb.as_str().into());
    if !fields.is_empty() {
        value.insert("fields".to_owned(), fields.into());
    }
    let event = flow.event(entity.name()).event_type(entity.event_type(verb)).value(Value::Object(value));
    flow.stamp_for_execution(event)
}

/// The fields in which two contents differ.
pub(super) fn changed_fields<E: Serialize>(before: &E, after: &E) -> Vec<String> {
    let (before, after) = (fields_of(before), fields_of(after));
    let mut names: Vec<String> =
        before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The fields that `wanted` sets and `known` has otherwise. Tags and properties that `known` has besides are fine: somebody added them.
pub(super) fn contradictions<E: Content>(wanted: &E, known: &E) -> Vec<String> {
    let known = fields_of(known);
    let agrees = |name: &str, wanted: &Value| match (wanted, known.get(name)) {
        (Value::Object(wanted), Some(Value::Object(known))) if matches!(name, "tags" | "properties") => {
            wanted.iter().all(|(name, value)| known.get(name) == Some(value))
        }
        (wanted, known) => known == Some(wanted),
    };
    let mut fields = fields_of(wanted);
    fields.retain(|name, value| !E::LIFE.contains(&name.as_str()) && !agrees(name, value));
    fields.into_iter().map(|(name, _)| name).collect()
}

fn fields_of<E: Serialize>(content: &E) -> Map<String, Value> {
    match serde_json::to_value(content) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
