//! Registries: what can be done with the entities of a kind, whatever the kind?

use std::marker::PhantomData;

use super::ENTITIES_LISTED_MAX;
use super::draft::{Draft, Tries, decide};
use super::entity::{Content, DELETED, Entity, Stored};
use super::names;
use super::verbs;
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::EntityName;
use crate::search::{Field, Filter, Literal, Op, Search};
use crate::store::{MetaStoreExt as _, Page, PageToken, Query, Record, RecordKey};

/// How often a page reads on to fill up what is deleted.
const PAGE_READS_MAX: usize = 10;

/// The entities of one kind: [`Datasets`](super::Datasets), [`Models`](super::Models), … Obtained from the methods of [`AiFlow`] of those
/// names, or from the context of a job: then what is registered and looked up becomes lineage of the job.
///
/// Names are unique among the entities of a kind in a project that are not deleted. Every change and the event that tells of it are one
/// transaction; the value of the event holds the `id`, the `change` (`registered`, `updated`, `removed`, `restored`, `purged`), for an update
/// the changed `fields`, and what the kind adds.
///
/// ```
/// # use std::sync::Arc;
/// # use aiflow_core::{client::AiFlow, memory::MemoryStore, time::SystemClock};
/// use aiflow_core::meta::Dataset;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
/// # let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
/// # let aiflow = AiFlow::new(memory.clone(), memory)?.project("wine")?;
/// let datasets = aiflow.datasets();
/// let samples = datasets.register(Dataset::new("samples", "file:///samples")?.tag("team", "ads")).await?;
/// datasets.update("samples", |samples| samples.format = "parquet".into()).await?;
/// datasets.delete("samples").await?;
/// datasets.restore(samples.id()).await?;
/// assert_eq!(datasets.get("samples").await?.unwrap().format, "parquet");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Registry<E> {
    pub(super) flow: AiFlow,
    kind: PhantomData<fn() -> E>,
}

/// Which entities to list: by default the live ones, oldest first, up to a full page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "pass it to a registry"]
pub struct Listing {
    newest_first: bool,
    with_deleted: bool,
    states: Vec<String>,
    after: Option<PageToken>,
    limit: Option<usize>,
}

impl Listing {
    /// The live ones, oldest first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Newest first.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Also those that are deleted.
    pub fn with_deleted(mut self) -> Self {
        self.with_deleted = true;
        self
    }

    /// Only those in one of these [states](Stored::state).
    pub fn states<S: Into<String>>(mut self, states: impl IntoIterator<Item = S>) -> Self {
        self.states = states.into_iter().map(Into::into).collect();
        self
    }

    /// Goes on where a page ended.
    pub fn after(mut self, token: Option<PageToken>) -> Self {
        self.after = token;
        self
    }

    /// At most so many a page, and at most [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// What is not deleted has these states.
    pub(crate) fn or_states(self, live: [&str; 2]) -> Self {
        if self.with_deleted || !self.states.is_empty() { self } else { self.states(live) }
    }

    pub(crate) fn query(&self, mut query: Query) -> Query {
        query.descending = self.newest_first;
        query.after.clone_from(&self.after);
        query.states.clone_from(&self.states);
        query.limit = self.limit.unwrap_or(query.limit);
        query
    }

    fn shows(&self, record: &Record) -> bool {
        self.with_deleted || !self.states.is_empty() || record.state != DELETED
    }
}

/// One page of the entities that `query` finds. What is deleted is left out, and more is read in its place; a page is short only where many
/// that follow one another are deleted.
pub(super) async fn page<E: Content>(flow: &AiFlow, query: Query, listing: &Listing) -> Result<Page<Stored<E>>> {
    let mut query = listing.query(query);
    let rows = query.page_rows();
    let mut items = Vec::new();
    for _ in 0..PAGE_READS_MAX {
        query.limit = rows.saturating_sub(items.len());
        let page = flow.store().query(&query).await?;
        for record in page.items.iter().filter(|record| listing.shows(record)) {
            items.push(Stored::of(record)?);
        }
        query.after = page.next;
        if query.after.is_none() || items.len() >= rows {
            break;
        }
    }
    Ok(Page { items, next: query.after })
}

/// One page of the live entities that `text` describes.
pub(super) async fn found<E: Content>(flow: &AiFlow, text: &str, after: Option<PageToken>) -> Result<Page<Stored<E>>> {
    let mut search = Search::parse(E::KIND, text)?.after(after);
    search.project = E::IS_OF_PROJECT.then(|| flow.project_name().to_string());
    let is_live = Filter::Compare(Field::State, Op::Ne, Literal::Text(DELETED.to_owned()));
    search.filter = Some(match search.filter.take() {
        Some(filter) => Filter::All(vec![is_live, filter]),
        None => is_live,
    });
    let page = flow.store().search(&search).await?;
    Ok(Page { items: page.items.iter().map(Stored::of).collect::<Result<_>>()?, next: page.next })
}

/// All live entities that `query` finds, oldest first.
pub(super) async fn all<E: Content>(flow: &AiFlow, query: Query) -> Result<Vec<Stored<E>>> {
    let records = flow.store().query_all(query, ENTITIES_LISTED_MAX).await?;
    records.iter().filter(|record| record.state != DELETED).map(Stored::of).collect()
}

impl<E: Entity> Registry<E> {
    pub(super) fn new(flow: &AiFlow) -> Self {
        Self { flow: flow.clone(), kind: PhantomData }
    }

    /// Registers an entity. Again with the same content is fine and announces nothing; so is what says less than what is stored, as tags that
    /// somebody added since.
    ///
    /// # Errors
    /// `AlreadyExists`: there is one of this name with other content, whose differing fields are named. `Invalid`: out of bounds. Others are
    /// those of the store.
    pub async fn register(&self, entity: E) -> Result<Stored<E>> {
        Ok(decide!(&self.flow, Tries::repeatable("register"), |draft| verbs::register(
            &mut draft,
            &self.flow,
            entity.clone()
        )
        .await?))
    }

    /// The live entity of this name. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<Stored<E>>> {
        let name = EntityName::parse(name)?;
        let place = names::find::<E>(&mut Draft::new(&self.flow), &self.flow, name.as_str()).await?;
        self.read(place.record).await
    }

    /// The entity of this id, deleted or not. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get_by_id(&self, id: impl AsRef<str>) -> Result<Option<Stored<E>>> {
        let record = self.flow.store().get_one(&RecordKey::new(E::KIND, id.as_ref())).await?;
        let project = self.flow.project_name().as_str();
        self.read(record.filter(|record| !E::IS_OF_PROJECT || record.project == project)).await
    }

    async fn read(&self, record: Option<Record>) -> Result<Option<Stored<E>>> {
        let Some(record) = record else {
            return Ok(None);
        };
        self.flow.note_read(std::slice::from_ref(&record.key)).await?;
        Stored::of(&record).map(Some)
    }

    /// Changes the live entity of this name: what `edit` leaves alone stays. An edit that changes nothing announces nothing.
    ///
    /// If somebody else changes it meanwhile, `edit` is applied again to what it is then.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. `Invalid`: out of bounds, or a change of what does not change, as the name. Others are those of
    /// the store.
    pub async fn update(&self, name: impl AsRef<str>, mut edit: impl FnMut(&mut E) + Send) -> Result<Stored<E>> {
        let name = EntityName::parse(name)?;
        self.change(name.as_str(), None, &mut edit).await
    }

    /// As [`update`](Self::update), if it was not changed since `read`.
    ///
    /// # Errors
    /// As [`update`](Self::update), and `Conflict` if it was changed.
    pub async fn update_read(&self, read: &Stored<E>, mut edit: impl FnMut(&mut E) + Send) -> Result<Stored<E>> {
        self.change(read.name(), Some(read.revision), &mut edit).await
    }

    async fn change(
        &self,
        name: &str,
        revision: Option<u64>,
        edit: &mut (dyn FnMut(&mut E) + Send),
    ) -> Result<Stored<E>> {
        let flow = E::home(&self.flow, name)?;
        Ok(decide!(&flow, Tries::repeatable("update"), |draft| {
            let before = names::existing(&mut draft, &flow, name, "update").await?;
            verbs::update(&mut draft, &flow, before, revision, edit)?
        }))
    }

    /// All live entities of the project, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn list(&self) -> Result<Vec<Stored<E>>> {
        all(&self.flow, self.query()).await
    }

    /// One page of the entities of the project. A page may be short where many deleted ones follow one another; it is the last if it has no `next`.
    ///
    /// # Errors
    /// `Invalid` if the token is not one of this store; others are those of the store.
    pub async fn page(&self, listing: &Listing) -> Result<Page<Stored<E>>> {
        page(&self.flow, self.query(), listing).await
    }

    /// Removes the deleted entity of this id for good: [`AiFlow::purge`].
    ///
    /// # Errors
    /// As [`AiFlow::purge`].
    pub async fn purge(&self, id: impl Into<String>) -> Result<()> {
        self.flow.purge(&RecordKey::new(E::KIND, id)).await
    }

    /// One page of the live entities of the project that `text` describes, in its order: `tags.team = 'ads' and uri like 's3:%' order by name`;
    /// see [the language](crate::search).
    ///
    /// # Errors
    /// `Invalid`: the text, with the column where it is wrong, or a token of another search. Others are those of the store.
    pub async fn search(&self, text: &str, after: Option<PageToken>) -> Result<Page<Stored<E>>> {
        found(&self.flow, text, after).await
    }

    fn query(&self) -> Query {
        let query = Query::kind(E::KIND);
        if E::IS_OF_PROJECT { query.project(self.flow.project_name().as_str()) } else { query }
    }

    /// Deletes the live entity of this name. The name is free then; the id still finds it, lineage keeps it, and
    /// [`restore`](Self::restore) brings it back.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. `Conflict`: it is needed, and by what. `OutcomeUnknown`: ask by its id. Others are those of the
    /// store.
    pub async fn delete(&self, name: impl AsRef<str>) -> Result<Stored<E>> {
        let name = EntityName::parse(name)?;
        Ok(decide!(&self.flow, Tries::once("delete"), |draft| verbs::delete(&mut draft, &self.flow, name.as_str())
            .await?))
    }

    /// As [`delete`](Self::delete), by the id, which names the same entity for ever. One that is deleted stays as it is.
    ///
    /// # Errors
    /// `NotFound`: there is none of this id. `Conflict`: it is needed, and by what. Others are those of the store.
    pub async fn delete_by_id(&self, id: impl AsRef<str>) -> Result<Stored<E>> {
        let id = id.as_ref();
        Ok(decide!(&self.flow, Tries::repeatable("delete"), |draft| verbs::delete_by_id(&mut draft, &self.flow, id)
            .await?))
    }

    /// Brings the deleted entity of this id back under its name. One that is not deleted stays as it is.
    ///
    /// # Errors
    /// `NotFound`: there is none of this id. `AlreadyExists`: another one has the name now. Others are those of the store.
    pub async fn restore(&self, id: impl AsRef<str>) -> Result<Stored<E>> {
        Ok(decide!(&self.flow, Tries::repeatable("restore"), |draft| verbs::restore(
            &mut draft,
            &self.flow,
            id.as_ref()
        )
        .await?))
    }
}
