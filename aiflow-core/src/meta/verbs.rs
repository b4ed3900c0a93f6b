//! Verbs: how is any entity registered, changed, deleted, restored and purged? Each adds to a draft what it takes.

use super::draft::Draft;
use super::entity::{Content, Stored, Verb, changed_fields, contradictions, news, write};
use super::names::{self, missing};
use super::payload::{STORED_AT, uri_key};
use super::problems::Problems;
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::store::RecordKey;

const DELETE: &str = "delete";

/// Makes the entity exist. It is fine if it does and says nothing else.
pub(super) async fn register<E: Content>(draft: &mut Draft, flow: &AiFlow, entity: E) -> Result<Stored<E>> {
    const OPERATION: &str = "register";
    check(&entity, OPERATION)?;
    let flow = E::home(flow, entity.name())?;
    let place = names::find::<E>(draft, &flow, entity.name()).await?;
    if let Some(record) = &place.record {
        let known = Stored::<E>::of(record)?;
        let fields = contradictions(&entity, &known.content);
        if fields.is_empty() {
            draft.produced(&place.key);
            return Ok(known);
        }
        let message = format!("this {} exists with other {}", E::KIND, fields.join(", "));
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION, message).with("key", &place.key));
    }
    place.claim::<E>(draft, &flow, entity.name());
    let stored = write(draft, &flow, &place.key, None, entity, None);
    draft.event(news(&flow, &stored, Verb::Registered, &[]));
    Ok(stored)
}

/// Changes an entity. What the edit leaves alone stays; an edit that changes nothing says nothing.
pub(super) fn update<E: Content>(
    draft: &mut Draft,
    flow: &AiFlow,
    before: Stored<E>,
    revision: Option<u64>,
    edit: &mut (dyn FnMut(&mut E) + Send),
) -> Result<Stored<E>> {
    const OPERATION: &str = "update";
    let mut after = before.content.clone();
    edit(&mut after);
    if after == before.content {
        return Ok(before);
    }
    check(&after, OPERATION)?;
    before.check_update(&after, OPERATION)?;
    if before.is_deleted() {
        return Err(Error::invalid(OPERATION, "it is deleted: restore it first").with("key", &before.key));
    }
    if revision.is_some_and(|revision| revision != before.revision) {
        return Err(Error::new(ErrorKind::Conflict, OPERATION, "it was changed since it was read")
            .with("key", &before.key)
            .with("revision", before.revision));
    }
    let fields = changed_fields(&before.content, &after);
    let stored = write(draft, flow, &before.key, Some(&before), after, None);
    draft.event(news(flow, &stored, Verb::Updated, &fields));
    Ok(stored)
}

/// Takes an entity out of use: its name is free, its id still finds it.
pub(super) async fn delete<E: Content>(draft: &mut Draft, flow: &AiFlow, name: &str) -> Result<Stored<E>> {
    let flow = E::home(flow, name)?;
    let before = names::existing::<E>(draft, &flow, name, DELETE).await?;
    retire(draft, &flow, &before).await
}

/// As [`delete`], by id. One that is deleted stays so.
pub(super) async fn delete_by_id<E: Content>(draft: &mut Draft, flow: &AiFlow, id: &str) -> Result<Stored<E>> {
    let before = by_id::<E>(draft, flow, id, DELETE).await?;
    if before.is_deleted() {
        return Ok(before);
    }
    retire(draft, &E::home(flow, before.name())?, &before).await
}

async fn retire<E: Content>(draft: &mut Draft, flow: &AiFlow, before: &Stored<E>) -> Result<Stored<E>> {
    E::check_removal(draft, flow, before).await?;
    names::release(draft, flow, before).await?;
    Ok(remove(draft, flow, before))
}

/// Marks an entity as deleted.
pub(super) fn remove<E: Content>(draft: &mut Draft, flow: &AiFlow, before: &Stored<E>) -> Stored<E> {
    let now = draft.now();
    let stored = write(draft, flow, &before.key, Some(before), before.content.clone(), Some(now));
    draft.event(news(flow, &stored, Verb::Removed, &[]));
    stored
}

/// Brings a deleted entity back under its name.
pub(super) async fn restore<E: Content>(draft: &mut Draft, flow: &AiFlow, id: &str) -> Result<Stored<E>> {
    let before = by_id::<E>(draft, flow, id, "restore").await?;
    let flow = E::home(flow, before.name())?;
    if !before.is_deleted() {
        return Ok(before);
    }
    names::reclaim(draft, &flow, &before).await?;
    Ok(bring_back(draft, &flow, &before))
}

/// Marks an entity as not deleted.
pub(super) fn bring_back<E: Content>(draft: &mut Draft, flow: &AiFlow, before: &Stored<E>) -> Stored<E> {
    let stored = write(draft, flow, &before.key, Some(before), before.content.clone(), None);
    draft.event(news(flow, &stored, Verb::Restored, &[]));
    stored
}

/// Removes the record of a deleted entity for good.
pub(super) async fn purge<E: Content>(draft: &mut Draft, flow: &AiFlow, key: &RecordKey) -> Result<Stored<E>> {
    const OPERATION: &str = "purge";
    let stored = by_id::<E>(draft, flow, &key.id, OPERATION).await?;
    if !stored.is_deleted() {
        return Err(Error::new(ErrorKind::Conflict, OPERATION, "it is in use: delete it first").with("key", key));
    }
    let flow = E::home(flow, stored.name())?;
    if let Some(uri) = stored.uri() {
        draft.unrelate(STORED_AT, key.clone(), uri_key(uri));
    }
    draft.delete(key);
    draft.event(news(&flow, &stored, Verb::Purged, &[]));
    Ok(stored)
}

/// The entity of an id, deleted or not, in the project of the handle.
pub(super) async fn by_id<E: Content>(
    draft: &mut Draft,
    flow: &AiFlow,
    id: &str,
    operation: &'static str,
) -> Result<Stored<E>> {
    let key = RecordKey::new(E::KIND, id);
    match draft.get(&key).await? {
        Some(record) if !E::IS_OF_PROJECT || record.project == flow.project_name().as_str() => Stored::of(&record),
        _ => Err(missing(operation, &key)),
    }
}

pub(super) fn check<E: Content>(entity: &E, operation: &'static str) -> Result<()> {
    let mut problems = Problems::default();
    entity.check(&mut problems);
    entity.notes().check(&mut problems);
    problems.none(operation)
}
