//! Versions: how are those of a dataset or model numbered, found and changed?

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Tries, decide};
use super::entity::{Content, Stored, Verb, news, write};
use super::names::{self, missing};
use super::problems::Problems;
use super::registry::{self, Listing};
use super::{KIND_VERSION_HEAD, KIND_VERSION_KEY, Registry, verbs};
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::EntityName;
use crate::records::{body_of, put};
use crate::store::{MetaStoreExt as _, Page, PageToken, Query, Record, RecordKey, RecordPut};
use crate::time::Timestamp;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// What changes with the versions of an entity. Its revision is what concurrent changes are checked against, so that numbers have no gap and
/// at most one version is deployed; the entity's own record stays as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// Number of the newest version, 0 if none.
    pub(super) versions: u32,
    /// The version that is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deployed: Option<u32>,
    /// Number of recorded changes of stages and aliases.
    #[serde(default)]
    pub(super) changes: u64,
    /// When the last of them was.
    #[serde(default)]
    pub(super) changed_at: Timestamp,
}

impl Head {
    /// The head of the versions of the entity with this key.
    pub(super) async fn load(draft: &mut Draft, of: &RecordKey) -> Result<Self> {
        let record = draft.get(&head_key(of)).await?;
        Ok(record.as_ref().map(body_of).transpose()?.unwrap_or_default())
    }

    pub(super) fn store(&self, draft: &mut Draft, flow: &AiFlow, of: &RecordKey) {
        let project = flow.project_name().to_string();
        draft.put(RecordPut { project, parent: of.id.clone(), ..put(head_key(of), self) });
    }

    /// The number and the moment of the next recorded change: moments never go back.
    pub(super) fn next_change(&mut self, now: Timestamp) -> (u64, Timestamp) {
        self.changes = self.changes.saturating_add(1);
        self.changed_at = self.changed_at.max(now);
        (self.changes, self.changed_at)
    }
}

fn head_key(of: &RecordKey) -> RecordKey {
    RecordKey::new(KIND_VERSION_HEAD, of.to_string())
}

/// `id of the entity/3`: key of a version.
pub(super) fn version_key<E: Versioned>(of: &RecordKey, number: u32) -> RecordKey {
    RecordKey::new(E::Version::KIND, format!("{}/{number}", of.id))
}

/// The id of the entity whose version has this key.
pub(super) fn owner_id(version: &RecordKey) -> &str {
    version.id.rsplit_once('/').map_or("", |(owner, _)| owner)
}

/// An entity that has versions. Not for implementing.
pub trait Versioned: Content {
    /// A version to register.
    type New: NewVersion<Version = Self::Version> + Clone + Send + Sync;
    /// A version.
    type Version: VersionContent;

    /// Whether it may have such a version.
    #[doc(hidden)]
    fn check_new(&self, _: &Self::New) -> Result<()> {
        Ok(())
    }
}

/// What the generic verbs must know of a version.
pub trait VersionContent: Content {
    fn number(&self) -> u32;

    /// Takes note of a version that is registered just now.
    fn enter(_: &mut Draft, _: &AiFlow, _: &mut Head, _: &Stored<Self>) -> Result<()> {
        Ok(())
    }
}

/// What the generic verbs must know of a version to register.
pub trait NewVersion {
    type Version;
    fn version(&self, of: &EntityName, number: u32) -> Self::Version;
    fn key(&self) -> Option<&str>;

    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Adds what is measured on the version.
    fn measure(&self, _: &mut Draft, _: &AiFlow, _: &RecordKey) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct IdempotencyKey {
    version: u32,
}

/// Adds the next version of an entity, unless there is one under the same idempotency key.
pub(super) async fn register<E: Versioned>(
    draft: &mut Draft,
    flow: &AiFlow,
    of: &EntityName,
    new: &E::New,
) -> Result<Stored<E::Version>> {
    const OPERATION: &str = "register version";
    new.check()?;
    // In one look, whatever the name turns out to stand for.
    let [likely, name] = names::looked_at::<E>(flow, of.as_str());
    let head = head_key(&likely);
    draft.get_all(&[likely, name, head]).await?;
    let owner = names::existing::<E>(draft, flow, of.as_str(), OPERATION).await?;
    owner.check_new(new)?;
    let owner = owner.key;
    let mark = match new.key() {
        None => None,
        Some(text) => {
            let mut problems = Problems::default();
            problems.text("the idempotency key", text, IDEMPOTENCY_KEY_BYTES_MAX);
            problems.none(OPERATION)?;
            Some(RecordKey::new(KIND_VERSION_KEY, format!("{owner}/{text}")))
        }
    };
    draft.get_all(&[Some(head_key(&owner)), mark.clone()].into_iter().flatten().collect::<Vec<_>>()).await?;
    if let Some(mark) = &mark
        && let Some(record) = draft.get(mark).await?
    {
        let IdempotencyKey { version } = body_of(&record)?;
        return existing::<E>(draft, &owner, version, OPERATION).await;
    }
    let mut head = Head::load(draft, &owner).await?;
    head.versions = head.versions.saturating_add(1);
    let key = version_key::<E>(&owner, head.versions);
    let content = new.version(of, head.versions);
    verbs::check(&content, OPERATION)?;
    let stored = write(draft, flow, &key, None, content, None);
    E::Version::enter(draft, flow, &mut head, &stored)?;
    head.store(draft, flow, &owner);
    draft.event(news(flow, &stored, Verb::Registered, &[]));
    if let Some(mark) = mark {
        let project = flow.project_name().to_string();
        draft.put(RecordPut {
            project,
            parent: owner.to_string(),
            ..put(mark, &IdempotencyKey { version: head.versions })
        });
    }
    new.measure(draft, flow, &key).await?;
    Ok(stored)
}

/// A version that must exist.
pub(super) async fn existing<E: Versioned>(
    draft: &mut Draft,
    owner: &RecordKey,
    number: u32,
    operation: &'static str,
) -> Result<Stored<E::Version>> {
    let key = version_key::<E>(owner, number);
    match draft.get(&key).await? {
        Some(record) => Stored::of(&record),
        None => Err(missing(operation, &key)),
    }
}

/// A version of the live entity of a name, which must exist.
pub(super) async fn named<E: Versioned>(
    draft: &mut Draft,
    flow: &AiFlow,
    of: &EntityName,
    number: u32,
    operation: &'static str,
) -> Result<Stored<E::Version>> {
    let owner = names::find::<E>(draft, flow, of.as_str()).await?.key;
    existing::<E>(draft, &owner, number, operation).await
}

/// The versions of datasets and models.
impl<E: Versioned> Registry<E> {
    /// Registers the next version and announces it; its number is one more than that of the version before. Each call makes a new one,
    /// unless it carries an idempotency key.
    ///
    /// # Errors
    /// `NotFound`: there is nothing of this name. `Invalid`: out of bounds. `Conflict`: a model version should be deployed from the start
    /// while another is. `OutcomeUnknown`: with an idempotency key, ask again. Others are those of the store.
    pub async fn register_version(&self, of: impl AsRef<str>, new: E::New) -> Result<Stored<E::Version>> {
        let of = EntityName::parse(of)?;
        Ok(decide!(&self.flow, Tries::when("register version", new.key().is_some()), |draft| register::<E>(
            &mut draft, &self.flow, &of, &new
        )
        .await?))
    }

    /// One version, deleted or not. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn version(&self, of: impl AsRef<str>, number: u32) -> Result<Option<Stored<E::Version>>> {
        let owner = self.owner(of.as_ref()).await?;
        self.read_version(self.flow.store().get_one(&version_key::<E>(&owner, number)).await?).await
    }

    /// All versions, oldest first, without those that are deleted; none if there is nothing of this name.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`ENTITIES_LISTED_MAX`](super::ENTITIES_LISTED_MAX); others
    /// are those of the store.
    pub async fn versions(&self, of: impl AsRef<str>) -> Result<Vec<Stored<E::Version>>> {
        registry::all(&self.flow, self.versions_of(of.as_ref()).await?).await
    }

    /// One page of the versions, as [`page`](Self::page).
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or the token is not one of this store; others are those of the store.
    pub async fn versions_page(&self, of: impl AsRef<str>, listing: &Listing) -> Result<Page<Stored<E::Version>>> {
        registry::page(&self.flow, self.versions_of(of.as_ref()).await?, listing).await
    }

    /// One page of the live versions of all entities of the project that `text` describes, in its order:
    /// `stage = 'DEPLOYED' and metrics.auc > 0.9 and of model(tags.team = 'ads')`; see [the language](crate::search).
    ///
    /// # Errors
    /// `Invalid`: the text, with the column where it is wrong, or a token of another search. Others are those of the store.
    pub async fn search_versions(&self, text: &str, after: Option<PageToken>) -> Result<Page<Stored<E::Version>>> {
        registry::found(&self.flow, text, after).await
    }

    /// The newest version that is not deleted. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn latest_version(&self, of: impl AsRef<str>) -> Result<Option<Stored<E::Version>>> {
        self.newest(of.as_ref(), None).await
    }

    /// Changes a version: what `edit` leaves alone stays. Its number does not change, nor the stage of a model version.
    ///
    /// # Errors
    /// `NotFound`: there is no such version. `Invalid`: out of bounds, or a change of what does not change. Others are those of the store.
    pub async fn update_version(
        &self,
        of: impl AsRef<str>,
        number: u32,
        mut edit: impl FnMut(&mut E::Version) + Send,
    ) -> Result<Stored<E::Version>> {
        let of = EntityName::parse(of)?;
        Ok(decide!(&self.flow, Tries::repeatable("update"), |draft| {
            let before = named::<E>(&mut draft, &self.flow, &of, number, "update").await?;
            verbs::update(&mut draft, &self.flow, before, None, &mut edit)?
        }))
    }

    /// As [`update_version`](Self::update_version), if it was not changed since `read`.
    ///
    /// # Errors
    /// As [`update_version`](Self::update_version), and `Conflict` if it was changed.
    pub async fn update_version_read(
        &self,
        read: &Stored<E::Version>,
        mut edit: impl FnMut(&mut E::Version) + Send,
    ) -> Result<Stored<E::Version>> {
        Ok(decide!(&self.flow, Tries::repeatable("update"), |draft| {
            let before = verbs::by_id(&mut draft, &self.flow, &read.key.id, "update").await?;
            verbs::update(&mut draft, &self.flow, before, Some(read.revision), &mut edit)?
        }))
    }

    /// Removes a deleted version for good, with what was measured on it: [`AiFlow::purge`].
    ///
    /// # Errors
    /// As [`AiFlow::purge`].
    pub async fn purge_version(&self, of: impl AsRef<str>, number: u32) -> Result<()> {
        let owner = self.owner(of.as_ref()).await?;
        self.flow.purge(&version_key::<E>(&owner, number)).await
    }

    /// The key of the live entity of a name, or of the next one.
    pub(super) async fn owner(&self, of: &str) -> Result<RecordKey> {
        let of = EntityName::parse(of)?;
        let place = names::find::<E>(&mut Draft::new(&self.flow), &self.flow, of.as_str()).await?;
        Ok(place.key)
    }

    pub(super) async fn versions_of(&self, of: &str) -> Result<Query> {
        Ok(Query::kind(E::Version::KIND).parent(self.owner(of).await?.id))
    }

    /// The newest in a state, or the newest that is not deleted.
    pub(super) async fn newest(&self, of: &str, state: Option<&str>) -> Result<Option<Stored<E::Version>>> {
        let query = self.versions_of(of).await?;
        let mut listing = Listing::new().newest_first().limit(NEWEST_ROWS).states(state);
        loop {
            let page = registry::page::<E::Version>(&self.flow, query.clone(), &listing).await?;
            if let Some(version) = page.items.into_iter().next() {
                self.flow.note_read(std::slice::from_ref(&version.key)).await?;
                return Ok(Some(version));
            }
            if page.next.is_none() {
                return Ok(None);
            }
            listing = listing.after(page.next);
        }
    }

    async fn read_version(&self, record: Option<Record>) -> Result<Option<Stored<E::Version>>> {
        let Some(record) = record else {
            return Ok(None);
        };
        self.flow.note_read(std::slice::from_ref(&record.key)).await?;
        Stored::of(&record).map(Some)
    }
}

/// Rows that are looked at at once for the newest that is not deleted.
const NEWEST_ROWS: usize = 8;

impl Registry<super::Dataset> {
    /// Deletes a version: lineage keeps it, and [`restore_version`](Self::restore_version) brings it back. One that is deleted stays so.
    ///
    /// # Errors
    /// `NotFound`: there is no such version. Others are those of the store.
    pub async fn delete_version(&self, of: impl AsRef<str>, number: u32) -> Result<Stored<super::DatasetVersion>> {
        self.set_deleted(of.as_ref(), number, true).await
    }

    /// Brings a deleted version back. One that is not deleted stays as it is.
    ///
    /// # Errors
    /// As [`delete_version`](Self::delete_version).
    pub async fn restore_version(&self, of: impl AsRef<str>, number: u32) -> Result<Stored<super::DatasetVersion>> {
        self.set_deleted(of.as_ref(), number, false).await
    }

    async fn set_deleted(&self, of: &str, number: u32, deleted: bool) -> Result<Stored<super::DatasetVersion>> {
        let of = EntityName::parse(of)?;
        let operation = if deleted { "delete" } else { "restore" };
        Ok(decide!(&self.flow, Tries::repeatable(operation), |draft| {
            let before = named::<super::Dataset>(&mut draft, &self.flow, &of, number, operation).await?;
            match (before.is_deleted(), deleted) {
                (false, true) => verbs::remove(&mut draft, &self.flow, &before),
                (true, false) => verbs::bring_back(&mut draft, &self.flow, &before),
                _ => before,
            }
        }))
    }
}
