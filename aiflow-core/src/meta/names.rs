//! Names: which entity has a name now, and whose was it before?
//!
//! The first entity of a name has the id `project/name`, the next one `project/name~2`. A record for the name itself exists only once an
//! entity of that name was deleted; it says which one has the name now, so that an id is never used again.

use serde::{Deserialize, Serialize};

use super::KIND_NAME;
use super::draft::Draft;
use super::entity::{Content, Stored};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::records::{body_of, put};
use crate::store::{Record, RecordKey, RecordPut};

/// What stands between a name and the number of the entity that had it.
const GENERATION: char = '~';

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bearers {
    /// The number of the entity that has the name now.
    live: Option<u32>,
    /// The highest number that was ever given.
    last: u32,
}

/// An entity found by its name: there is one, or there could be.
pub(super) struct Place {
    /// The key of the entity that has the name, or of the next one.
    pub(super) key: RecordKey,
    /// The record of the entity that has the name.
    pub(super) record: Option<Record>,
    bearers: Option<Bearers>,
}

fn base<E: Content>(flow: &AiFlow, name: &str) -> String {
    if E::IS_OF_PROJECT { format!("{}/{name}", flow.project_name()) } else { name.to_owned() }
}

fn key_of<E: Content>(base: &str, number: u32) -> RecordKey {
    let id = if number <= 1 { base.to_owned() } else { format!("{base}{GENERATION}{number}") };
    RecordKey::new(E::KIND, id)
}

fn name_key(kind: &str, base: &str) -> RecordKey {
    RecordKey::new(KIND_NAME, format!("{kind}/{base}"))
}

/// What a name is looked up in: the entity that had it first, which nearly always has it still, and the list of those that had it.
pub(super) fn looked_at<E: Content>(flow: &AiFlow, name: &str) -> [RecordKey; 2] {
    let base = base::<E>(flow, name);
    [key_of::<E>(&base, 1), name_key(E::KIND, &base)]
}

/// Looks a name up.
pub(super) async fn find<E: Content>(draft: &mut Draft, flow: &AiFlow, name: &str) -> Result<Place> {
    let base = base::<E>(flow, name);
    let keys = looked_at::<E>(flow, name);
    let mut found = draft.get_all(&keys).await?.into_iter();
    let record = found.next().flatten().cloned();
    let Some(bearers) = found.next().flatten() else {
        let [first, _] = keys;
        return Ok(Place { key: first, record, bearers: None });
    };
    let bearers: Bearers = body_of(bearers)?;
    let number = bearers.live.unwrap_or_else(|| bearers.last.saturating_add(1));
    let key = key_of::<E>(&base, number);
    let record = if bearers.live.is_some() { draft.get(&key).await? } else { None };
    Ok(Place { key, record, bearers: Some(bearers) })
}

/// The entity that has a name.
///
/// # Errors
/// `NotFound` if there is none.
pub(super) async fn existing<E: Content>(
    draft: &mut Draft,
    flow: &AiFlow,
    name: &str,
    operation: &'static str,
) -> Result<Stored<E>> {
    let place = find::<E>(draft, flow, name).await?;
    match &place.record {
        Some(record) => Stored::of(record),
        None => Err(missing(operation, &place.key)),
    }
}

/// The error that there is no such entity.
pub(super) fn missing(operation: &'static str, key: &RecordKey) -> Error {
    Error::not_found(operation, format!("there is no such {}", key.kind)).with("key", key)
}

impl Place {
    /// Gives the name to the entity at [`Place::key`], which is new.
    pub(super) fn claim<E: Content>(&self, draft: &mut Draft, flow: &AiFlow, name: &str) {
        if let Some(bearers) = self.bearers {
            let number = bearers.last.saturating_add(1);
            write::<E>(draft, flow, name, Bearers { live: Some(number), last: number });
        }
    }
}

fn write<E: Content>(draft: &mut Draft, flow: &AiFlow, name: &str, bearers: Bearers) {
    let key = name_key(E::KIND, &base::<E>(flow, name));
    draft.put(RecordPut { project: flow.project_name().to_string(), name: name.to_owned(), ..put(key, &bearers) });
}

/// What is known of the name of an entity, and the number of the entity.
async fn bearers_of<E: Content>(draft: &mut Draft, flow: &AiFlow, entity: &Stored<E>) -> Result<(Bearers, u32)> {
    let number = match entity.id().rsplit_once(GENERATION) {
        Some((_, number)) => number.parse().unwrap_or(1),
        None => 1,
    };
    let key = name_key(E::KIND, &base::<E>(flow, entity.name()));
    let bearers = match draft.get(&key).await? {
        Some(record) => body_of(&record)?,
        None => Bearers { live: Some(number), last: number },
    };
    Ok((bearers, number))
}

/// Takes the name from the entity that has it.
pub(super) async fn release<E: Content>(draft: &mut Draft, flow: &AiFlow, entity: &Stored<E>) -> Result<()> {
    let (bearers, _) = bearers_of(draft, flow, entity).await?;
    write::<E>(draft, flow, entity.name(), Bearers { live: None, ..bearers });
    Ok(())
}

/// Gives the name back to an entity that was deleted.
pub(super) async fn reclaim<E: Content>(draft: &mut Draft, flow: &AiFlow, entity: &Stored<E>) -> Result<()> {
    let (bearers, number) = bearers_of(draft, flow, entity).await?;
    if bearers.live.is_some() {
        let message = format!("another {} has the name now", E::KIND);
        return Err(Error::new(ErrorKind::AlreadyExists, "restore", message).with("name", entity.name()));
    }
    write::<E>(draft, flow, entity.name(), Bearers { live: Some(number), ..bearers });
    Ok(())
}
