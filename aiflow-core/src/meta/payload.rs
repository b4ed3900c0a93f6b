//! Payloads: where do the bytes of entities lie, which of them does nobody need any more, and what goes for good?

use super::draft::{Draft, Tries, decide};
use super::entity::{Content, DELETED, Stored};
use super::metric_append::chunk_keys;
use super::{
    Artifact, Dataset, DatasetVersion, KIND_ALIAS_CHANGE, KIND_ARTIFACT, KIND_DATASET, KIND_DATASET_VERSION,
    KIND_METRIC_DEFINITION, KIND_METRIC_SUMMARY, KIND_MODEL, KIND_MODEL_VERSION, KIND_PROJECT, KIND_STAGE_CHANGE,
    KIND_VERSION_HEAD, KIND_VERSION_KEY, MetricDefinition, Model, ModelVersion, Project, verbs,
};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{MetaStoreExt as _, Page, PageToken, Query, Record, RecordKey, RelationQuery};
use crate::time::Timestamp;
use crate::workflow::hash_of;

/// Relation from an entity to its URI: [`uri_key`]. There is no record of a URI.
pub const STORED_AT: &str = "stored_at";

/// The most records that go with an entity that is purged, or with the values of a metric.
pub const PURGED_MAX: usize = 40_000;

/// What entities that lie at this URI are related to by [`STORED_AT`].
#[must_use]
pub fn uri_key(uri: &str) -> RecordKey {
    RecordKey::new("uri", hash_of(&uri))
}

/// A deleted entity whose payload nobody names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The entity: give it to [`AiFlow::purge`] when its payload is deleted.
    pub key: RecordKey,
    /// Where its payload lies.
    pub uri: String,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// Kinds that have a payload.
const KINDS: [&str; 4] = [KIND_DATASET, KIND_DATASET_VERSION, KIND_MODEL_VERSION, KIND_ARTIFACT];

impl AiFlow {
    /// The keys of the entities that lie at this URI and are not deleted, of all projects: at most a page of them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn references(&self, uri: &str) -> Result<Vec<RecordKey>> {
        let mut query =
            RelationQuery { to: vec![uri_key(uri)], kind: Some(STORED_AT.to_owned()), ..RelationQuery::default() };
        loop {
            let page = self.store().relations(&query).await?;
            let keys: Vec<RecordKey> = page.items.into_iter().map(|relation| relation.from).collect();
            let records = self.store().get(&keys).await?;
            let live = records.into_iter().flatten().filter(|record| record.state != DELETED);
            let live: Vec<RecordKey> = live.map(|record| record.key).collect();
            if !live.is_empty() || page.next.is_none() {
                return Ok(live);
            }
            query.after = page.next;
        }
    }

    /// Entities of this project that were deleted before a time, and at whose URI nothing lies that is not deleted: one page, which may be
    /// short, or empty and still not the last.
    ///
    /// Whoever calls it deletes the bytes, as this library never does, and then [purges](Self::purge) the entity: in this order, so that
    /// whatever fails on the way is listed again. What is registered or restored meanwhile at a URI that is being deleted is lost: give new
    /// payloads new URIs, and choose `before` so that nobody restores any more.
    ///
    /// # Errors
    /// `Invalid` if the token is not one of this method; others are those of the store.
    pub async fn garbage(&self, before: Timestamp, after: Option<PageToken>) -> Result<Page<Garbage>> {
        let (kind, token) = match &after {
            None => (0, None),
            Some(PageToken(text)) => parse_token(text)?,
        };
        let Some(name) = KINDS.get(kind) else {
            return Err(wrong_token());
        };
        let project = self.project_name().as_str();
        let query = Query::kind(*name).project(project).states([DELETED]).after(token);
        let page = self.store().query(&query).await?;
        let mut items = Vec::new();
        for record in &page.items {
            if let Some(garbage) = garbage_in(record)?
                && garbage.deleted_at < before
                && self.references(&garbage.uri).await?.is_empty()
            {
                items.push(garbage);
            }
        }
        let next = match page.next {
            Some(PageToken(token)) => Some(PageToken(format!("{kind}:{token}"))),
            None if kind.saturating_add(1) < KINDS.len() => Some(PageToken(format!("{}:", kind.saturating_add(1)))),
            None => None,
        };
        Ok(Page { items, next })
    }

    /// Removes a deleted entity for good, with its metrics and history, and announces it. Its id is not used again; lineage goes on to name
    /// it. Its payload is the caller's: see [`garbage`](Self::garbage).
    ///
    /// # Errors
    /// `NotFound`: there is no such entity in this project. `Conflict`: it is not deleted, or has versions that are not purged.
    /// `Invalid`: things of this kind are not purged. `Full`: more than [`PURGED_MAX`] records belong to it; [purge its
    /// metrics](super::Metrics::purge) first. `OutcomeUnknown`: ask by its id. Others are those of the store.
    pub async fn purge(&self, key: &RecordKey) -> Result<()> {
        decide!(self, Tries::once("purge"), |draft| {
            purge(&mut draft, self, key).await?;
        });
        Ok(())
    }
}

fn parse_token(text: &str) -> Result<(usize, Option<PageToken>)> {
    let (kind, token) = text.split_once(':').ok_or_else(wrong_token)?;
    let kind = kind.parse().map_err(|_| wrong_token())?;
    Ok((kind, Some(token).filter(|token| !token.is_empty()).map(|token| PageToken(token.to_owned()))))
}

fn wrong_token() -> Error {
    Error::invalid("list garbage", "the page token was not made by this method")
}

fn garbage_in(record: &Record) -> Result<Option<Garbage>> {
    fn of<E: Content>(record: &Record) -> Result<Option<Garbage>> {
        let Stored { key, deleted_at, content, .. } = Stored::<E>::of(record)?;
        let uri = content.uri().map(str::to_owned);
        Ok(uri.zip(deleted_at).map(|(uri, deleted_at)| Garbage { key, uri, deleted_at }))
    }
    match record.key.kind.as_str() {
        KIND_DATASET => of::<Dataset>(record),
        KIND_DATASET_VERSION => of::<DatasetVersion>(record),
        KIND_MODEL_VERSION => of::<ModelVersion>(record),
        KIND_ARTIFACT => of::<Artifact>(record),
        _ => Ok(None),
    }
}

async fn purge(draft: &mut Draft, flow: &AiFlow, key: &RecordKey) -> Result<()> {
    match key.kind.as_str() {
        KIND_PROJECT => verbs::purge::<Project>(draft, flow, key).await.map(|_| ())?,
        KIND_DATASET => verbs::purge::<Dataset>(draft, flow, key).await.map(|_| ())?,
        KIND_DATASET_VERSION => verbs::purge::<DatasetVersion>(draft, flow, key).await.map(|_| ())?,
        KIND_MODEL => verbs::purge::<Model>(draft, flow, key).await.map(|_| ())?,
        KIND_MODEL_VERSION => verbs::purge::<ModelVersion>(draft, flow, key).await.map(|_| ())?,
        KIND_ARTIFACT => verbs::purge::<Artifact>(draft, flow, key).await.map(|_| ())?,
        KIND_METRIC_DEFINITION => verbs::purge::<MetricDefinition>(draft, flow, key).await.map(|_| ())?,
        _ => return Err(Error::invalid("purge", "things of this kind are not purged").with("key", key)),
    }
    for kind in [KIND_DATASET_VERSION, KIND_MODEL_VERSION] {
        // A version has no versions; another kind's ids may be the same.
        if owns(&key.kind, kind) {
            let page = flow.store().query(&Query::kind(kind).parent(&key.id).limit(1)).await?;
            if let Some(version) = page.items.first() {
                return Err(Error::new(ErrorKind::Conflict, "purge", "it has versions: purge them first")
                    .with("key", key)
                    .with("version", &version.key));
            }
        }
    }
    let mut parts = Vec::new();
    for summary in flow.store().query_all(parts_of(KIND_METRIC_SUMMARY, &key.to_string()), PURGED_MAX).await? {
        parts.extend(chunk_keys(flow, &summary.key).await?);
        parts.push(summary.key);
    }
    if owns(&key.kind, KIND_MODEL_VERSION) || owns(&key.kind, KIND_DATASET_VERSION) {
        parts.push(RecordKey::new(KIND_VERSION_HEAD, key.to_string()));
        let mut queries = vec![parts_of(KIND_VERSION_KEY, &key.to_string())];
        if key.kind == KIND_MODEL {
            queries.extend([KIND_STAGE_CHANGE, KIND_ALIAS_CHANGE].map(|kind| parts_of(kind, &key.id)));
        }
        for query in queries {
            parts.extend(flow.store().query_all(query, PURGED_MAX).await?.into_iter().map(|record| record.key));
        }
    }
    if parts.len() > PURGED_MAX {
        let message = format!("more than {PURGED_MAX} records belong to it; purge its metrics first");
        return Err(Error::new(ErrorKind::Full, "purge", message).with("key", key));
    }
    draft.discard(parts);
    Ok(())
}

fn owns(kind: &str, versions: &str) -> bool {
    matches!((kind, versions), (KIND_DATASET, KIND_DATASET_VERSION) | (KIND_MODEL, KIND_MODEL_VERSION))
}

fn parts_of(kind: &str, parent: &str) -> Query {
    Query::kind(kind).parent(parent)
}
