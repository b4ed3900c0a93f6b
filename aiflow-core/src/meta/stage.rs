//! Stages: which may follow which, and which version was in which stage when?

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Tries, decide};
use super::entity::{Stored, Verb, news, write};
use super::versions::{Head, existing, owner_id};
use super::{ENTITIES_LISTED_MAX, KIND_STAGE_CHANGE, Model, ModelStage, ModelVersion, Registry, names};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AttemptId, EntityName};
use crate::records::{body_of, put};
use crate::store::{MetaStoreExt as _, Query, RecordKey, RecordPut};
use crate::time::Timestamp;

const OPERATION: &str = "set stage";

/// A version of a model came into a stage. Recorded in the transaction of the change, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageChange {
    /// Model.
    pub model: EntityName,
    /// Version.
    pub version: u32,
    /// The stage before; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ModelStage>,
    /// The stage since then.
    pub to: ModelStage,
    /// When. Of the changes of one model, none is before an earlier one.
    pub at: Timestamp,
    /// The attempt that changed it, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AttemptId>,
}

/// Takes note that `version` is in its stage now, and was in `from` before.
pub(super) fn enter(
    draft: &mut Draft,
    flow: &AiFlow,
    head: &mut Head,
    version: &Stored<ModelVersion>,
    from: Option<ModelStage>,
) -> Result<()> {
    let is_deployed = version.stage == ModelStage::Deployed;
    match head.deployed {
        Some(other) if is_deployed && other != version.version => {
            let message = "another version is deployed; deploy() hands over";
            return Err(Error::new(ErrorKind::Conflict, OPERATION, message)
                .with("model", &version.model)
                .with("version", version.version)
                .with("deployed", other));
        }
        Some(this) if this == version.version && !is_deployed => head.deployed = None,
        _ if is_deployed => head.deployed = Some(version.version),
        _ => {}
    }
    let (number, at) = head.next_change(draft.now());
    let change = StageChange {
        model: version.model.clone(),
        version: version.version,
        from,
        to: version.stage.clone(),
        at,
        by: flow.origin().map(|origin| origin.identity.attempt),
    };
    let owner = owner_id(&version.key);
    draft.put(RecordPut {
        project: flow.project_name().to_string(),
        parent: owner.to_owned(),
        name: version.model.to_string(),
        state: version.stage.as_str().to_owned(),
        ..put(RecordKey::new(KIND_STAGE_CHANGE, format!("{owner}/{number}")), &change)
    });
    Ok(())
}

/// What is done to the stage of a version.
#[derive(Debug, Clone)]
pub(super) enum Move {
    /// Into this stage.
    To(ModelStage),
    /// Into DEPLOYED, from which another version goes to DEPRECATED.
    Deploy,
    /// Back to where it was before it was deleted.
    Restore,
}

/// Moves a version. The stage that it has changes nothing.
pub(super) async fn change(
    draft: &mut Draft,
    flow: &AiFlow,
    model: &EntityName,
    number: u32,
    to: &Move,
) -> Result<Stored<ModelVersion>> {
    let owner = names::existing::<Model>(draft, flow, model.as_str(), OPERATION).await?;
    let before = existing::<Model>(draft, &owner.key, number, OPERATION).await?;
    let Some(stage) = next_stage(&before, to)? else {
        return Ok(before);
    };
    owner.check_stage(&stage)?;
    let mut head = Head::load(draft, &owner.key).await?;
    if let (Move::Deploy, Some(old)) = (to, head.deployed) {
        let old = existing::<Model>(draft, &owner.key, old, OPERATION).await?;
        restage(draft, flow, &mut head, &old, ModelStage::Deprecated)?;
    }
    let stored = restage(draft, flow, &mut head, &before, stage)?;
    head.store(draft, flow, &owner.key);
    Ok(stored)
}

/// The stage into which a version comes, if it is another one.
fn next_stage(version: &Stored<ModelVersion>, to: &Move) -> Result<Option<ModelStage>> {
    let refused = |kind, message: &str| {
        Err(Error::new(kind, OPERATION, message).with("model", &version.model).with("version", version.version))
    };
    let stage = match to {
        Move::To(stage) => stage.clone(),
        Move::Deploy => ModelStage::Deployed,
        Move::Restore if version.stage != ModelStage::Deleted => return Ok(None),
        // It was deployed; meanwhile another one may be.
        Move::Restore => match version.stage_before.clone() {
            None | Some(ModelStage::Deployed) => ModelStage::Deprecated,
            Some(before) => before,
        },
    };
    if version.stage == stage {
        return Ok(None);
    }
    if version.stage == ModelStage::Deleted && !matches!(to, Move::Restore) {
        return refused(ErrorKind::Invalid, "the version was deleted; restore_version() brings it back");
    }
    if stage == ModelStage::Deleted && !version.aliases.is_empty() {
        return refused(ErrorKind::Conflict, "aliases name the version; move or delete them first");
    }
    Ok(Some(stage))
}

fn restage(
    draft: &mut Draft,
    flow: &AiFlow,
    head: &mut Head,
    before: &Stored<ModelVersion>,
    stage: ModelStage,
) -> Result<Stored<ModelVersion>> {
    let mut content = before.content.clone();
    let from = std::mem::replace(&mut content.stage, stage);
    let is_deleted = content.stage == ModelStage::Deleted;
    content.stage_before = is_deleted.then(|| from.clone());
    let deleted_at = is_deleted.then(|| draft.now());
    let stored = write(draft, flow, &before.key, Some(before), content, deleted_at);
    enter(draft, flow, head, &stored, Some(from))?;
    let verb = if is_deleted { Verb::Removed } else { Verb::Restored };
    let mut event = news(flow, &stored, verb, &[]);
    event.value["change"] = "stage".into();
    draft.event(event);
    Ok(stored)
}

/// Stages of model versions.
impl Registry<Model> {
    /// Brings a version into a stage and announces it. The stage that it has changes nothing and announces nothing.
    ///
    /// Any stage may follow any other, except that a deleted version stays deleted and that only one version is deployed. A stage of the
    /// model's own must be one of [`Model::stages`].
    ///
    /// # Errors
    /// `NotFound`: there is no such model or version. `Conflict`: another version is deployed, see [`deploy`](Self::deploy); or the version
    /// should be deleted while an alias names it. `Invalid`: the version was deleted, or the model does not have the stage. Others are those
    /// of the store.
    pub async fn set_stage(
        &self,
        model: impl AsRef<str>,
        version: u32,
        stage: ModelStage,
    ) -> Result<Stored<ModelVersion>> {
        self.move_version(model.as_ref(), version, Move::To(stage)).await
    }

    /// Deploys a version. The one that was deployed becomes deprecated in the same moment; both are announced, the old one first.
    ///
    /// # Errors
    /// `NotFound`: there is no such model or version. `Invalid`: the version was deleted. Others are those of the store.
    pub async fn deploy(&self, model: impl AsRef<str>, version: u32) -> Result<Stored<ModelVersion>> {
        self.move_version(model.as_ref(), version, Move::Deploy).await
    }

    /// Deletes a version: it comes into stage `DELETED`. Lineage keeps it, and [`restore_version`](Self::restore_version) brings it back.
    ///
    /// # Errors
    /// As [`set_stage`](Self::set_stage).
    pub async fn delete_version(&self, model: impl AsRef<str>, version: u32) -> Result<Stored<ModelVersion>> {
        self.move_version(model.as_ref(), version, Move::To(ModelStage::Deleted)).await
    }

    /// Brings a deleted version back into the stage in which it was, or into `DEPRECATED` if it was deployed. One that is not deleted stays as
    /// it is.
    ///
    /// # Errors
    /// As [`set_stage`](Self::set_stage).
    pub async fn restore_version(&self, model: impl AsRef<str>, version: u32) -> Result<Stored<ModelVersion>> {
        self.move_version(model.as_ref(), version, Move::Restore).await
    }

    async fn move_version(&self, model: &str, version: u32, to: Move) -> Result<Stored<ModelVersion>> {
        let model = EntityName::parse(model)?;
        Ok(decide!(&self.flow, Tries::repeatable(OPERATION), |draft| change(
            &mut draft, &self.flow, &model, version, &to
        )
        .await?))
    }

    /// The version that is deployed. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn deployed(&self, model: impl AsRef<str>) -> Result<Option<Stored<ModelVersion>>> {
        let model = EntityName::parse(model)?;
        let mut draft = Draft::new(&self.flow);
        let owner = names::find::<Model>(&mut draft, &self.flow, model.as_str()).await?.key;
        let Some(number) = Head::load(&mut draft, &owner).await?.deployed else {
            return Ok(None);
        };
        let version = existing::<Model>(&mut draft, &owner, number, "get").await?;
        self.flow.note_read(std::slice::from_ref(&version.key)).await?;
        Ok(Some(version))
    }

    /// The newest version of a model, or the newest in `stage`. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn latest(
        &self,
        model: impl AsRef<str>,
        stage: impl Into<Option<ModelStage>>,
    ) -> Result<Option<Stored<ModelVersion>>> {
        let stage = stage.into();
        self.newest(model.as_ref(), stage.as_ref().map(ModelStage::as_str)).await
    }

    /// What happened to the stages of the versions of a model, oldest first.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn stage_history(&self, model: impl AsRef<str>) -> Result<Vec<StageChange>> {
        let records = self.flow.store().query_all(self.changes(model.as_ref()).await?, ENTITIES_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// The number of the version that was deployed at a time.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn deployed_at(&self, model: impl AsRef<str>, at: Timestamp) -> Result<Option<u32>> {
        let is_about = |change: &StageChange| {
            change.to == ModelStage::Deployed || change.from.as_ref() == Some(&ModelStage::Deployed)
        };
        let last = self.last_change(model.as_ref(), at, is_about).await?;
        Ok(last.filter(|change| change.to == ModelStage::Deployed).map(|change| change.version))
    }

    /// The stage in which a version was at a time; `None` if it was not there yet.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn stage_at(&self, model: impl AsRef<str>, version: u32, at: Timestamp) -> Result<Option<ModelStage>> {
        let last = self.last_change(model.as_ref(), at, |change| change.version == version).await?;
        Ok(last.map(|change| change.to))
    }

    async fn changes(&self, model: &str) -> Result<Query> {
        Ok(Query::kind(KIND_STAGE_CHANGE).parent(self.owner(model).await?.id))
    }

    async fn last_change(
        &self,
        model: &str,
        at: Timestamp,
        is_about: impl Fn(&StageChange) -> bool + Send + Sync,
    ) -> Result<Option<StageChange>> {
        let query = self.changes(model).await?;
        last_before(&self.flow, query, |change: &StageChange| change.at <= at && is_about(change)).await
    }
}

/// The newest of the recorded changes for which `is_it` holds.
pub(super) async fn last_before<T: serde::de::DeserializeOwned + Send>(
    flow: &AiFlow,
    query: Query,
    is_it: impl Fn(&T) -> bool + Send + Sync,
) -> Result<Option<T>> {
    let mut query = query.newest_first();
    loop {
        let page = flow.store().query(&query).await?;
        for record in &page.items {
            let change = body_of(record)?;
            if is_it(&change) {
                return Ok(Some(change));
            }
        }
        match page.next {
            Some(token) => query.after = Some(token),
            None => return Ok(None),
        }
    }
}
