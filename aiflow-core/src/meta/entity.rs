//! Named entities: how is a thing that has a name and a content registered, changed, found and listed?

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ENTITIES_LISTED_MAX;
use crate::client::{AiFlow, CONFLICT_TRIES_MAX, too_many_conflicts};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Offset;
use crate::records::{body_of, put};
use crate::store::{Batch, MetaStoreExt as _, Query, Record, RecordKey, RecordPut};

/// A kind of thing of which a project has at most one by each name.
pub(super) trait Entity: Serialize + DeserializeOwned + PartialEq + Send + Sync {
    /// Record kind.
    const KIND: &'static str;
    /// Type of the event that one was registered or changed.
    const EVENT_TYPE: &'static str;
    fn name(&self) -> &str;
    fn key(flow: &AiFlow, name: &str) -> RecordKey {
        flow.entity_key(Self::KIND, name)
    }
    /// Value of the event.
    fn news(&self) -> Value;
    fn check(&self) -> Result<()>;
}

/// Makes the entity exist. It is fine if it does with the same content.
pub(super) async fn register<E: Entity>(flow: &AiFlow, entity: E) -> Result<E> {
    entity.check()?;
    let key = E::key(flow, entity.name());
    for _ in 0..CONFLICT_TRIES_MAX {
        if let Some(record) = flow.store().get_one(&key).await? {
            let known: E = body_of(&record)?;
            if known != entity {
                return Err(differs::<E>(&entity, &record));
            }
            let lineage = flow.produced(Batch::at(flow.clock().now()), &key);
            if !lineage.relate.is_empty() {
                flow.store().commit(lineage).await?;
            }
            return Ok(known);
        }
        match flow.store().commit(change(flow, &key, &entity, None)).await {
            Ok(_) => return Ok(entity),
            Err(error) if is_read_back(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_many_conflicts("register").with("key", key))
}

/// Replaces the content of an entity that exists; the same content changes nothing and says nothing.
pub(super) async fn update<E: Entity>(flow: &AiFlow, entity: E) -> Result<E> {
    entity.check()?;
    let key = E::key(flow, entity.name());
    for _ in 0..CONFLICT_TRIES_MAX {
        let record = existing(flow, &key, "update").await?;
        if body_of::<E>(&record)? == entity {
            return Ok(entity);
        }
        let batch = change(flow, &key, &entity, Some(record.revision));
        match flow.store().commit(batch).await {
            Ok(_) => return Ok(entity),
            Err(error) if is_read_back(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_many_conflicts("update").with("key", key))
}

/// Announces an entity anew without changing it.
pub(super) async fn announce<E: Entity>(flow: &AiFlow, name: &str) -> Result<Offset> {
    let key = E::key(flow, name);
    let entity: E = body_of(&existing(flow, &key, "announce").await?)?;
    let batch = flow.produced(Batch::at(flow.clock().now()), &key);
    let receipt = flow.store().commit(batch.event(news(flow, &entity))).await?;
    Ok(receipt.offsets.first().copied().unwrap_or_default())
}

pub(super) async fn get<E: Entity>(flow: &AiFlow, name: &str) -> Result<Option<E>> {
    let key = E::key(flow, name);
    let Some(record) = flow.store().get_one(&key).await? else {
        return Ok(None);
    };
    flow.note_read(&key).await?;
    body_of(&record).map(Some)
}

pub(super) async fn list<E: Entity>(flow: &AiFlow, query: Query) -> Result<Vec<E>> {
    let records = flow.store().query_all(query, ENTITIES_LISTED_MAX).await?;
    records.iter().map(body_of).collect()
}

/// All entities of this kind in the project of `flow`.
pub(super) fn of_project<E: Entity>(flow: &AiFlow) -> Query {
    Query::kind(E::KIND).project(flow.project_name().as_str())
}

pub(super) async fn existing(flow: &AiFlow, key: &RecordKey, operation: &'static str) -> Result<Record> {
    flow.store()
        .get_one(key)
        .await?
        .ok_or_else(|| Error::not_found(operation, format!("there is no such {}", key.kind)).with("key", key))
}

/// Whether what is stored now has to be looked at before anything else is tried.
pub(super) fn is_read_back(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::OutcomeUnknown)
}

fn change<E: Entity>(flow: &AiFlow, key: &RecordKey, entity: &E, revision: Option<u64>) -> Batch {
    let batch = Batch::at(flow.clock().now())
        .expect(key.clone(), revision)
        .put(RecordPut {
            project: flow.project_name().to_string(),
            name: entity.name().to_owned(),
            ..put(key.clone(), entity)
        })
        .event(news(flow, entity));
    flow.produced(batch, key)
}

fn news<E: Entity>(flow: &AiFlow, entity: &E) -> crate::event::NewEvent {
    let event = flow.event(entity.name()).event_type(E::EVENT_TYPE).value(entity.news());
    flow.stamp_for_execution(event)
}

/// The error that the name is taken by another content, naming the fields that differ.
pub(super) fn differs<E: Serialize>(wanted: &E, record: &Record) -> Error {
    let wanted = serde_json::to_value(wanted).unwrap_or_default();
    let fields: String = match (&wanted, &record.body.to_value()) {
        (Value::Object(wanted), Value::Object(known)) => {
            let names = wanted.keys().chain(known.keys());
            let mut names: Vec<&str> =
                names.filter(|name| wanted.get(*name) != known.get(*name)).map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        }
        _ => String::new(),
    };
    Error::new(ErrorKind::AlreadyExists, "register", format!("this {} exists with other {fields}", record.key.kind))
        .with("key", &record.key)
}
