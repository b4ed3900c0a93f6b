//! Aliases: which version of a model does a name of its own mean, and which did it mean when?

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Tries, decide};
use super::entity::write;
use super::stage::last_before;
use super::versions::{Head, existing};
use super::{
    ALIAS_CHANGED, ENTITIES_LISTED_MAX, KIND_ALIAS, KIND_ALIAS_CHANGE, Model, ModelVersion, Registry, Stored, names,
};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AttemptId, EntityName};
use crate::records::{body_of, put};
use crate::store::{MetaStoreExt as _, Query, RecordKey, RecordPut};
use crate::time::Timestamp;

const OPERATION: &str = "set alias";
/// The most aliases of one version.
pub const ALIASES_MAX: usize = 64;

/// A name of a model's own for one of its versions: `champion`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Model.
    pub model: EntityName,
    /// Alias, unique in the model.
    pub alias: EntityName,
    /// The version that it names.
    pub version: u32,
    /// Whether it only moves for who says from where, and is not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

/// An alias came to name another version, or none. Recorded in the transaction of the change, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasChange {
    /// Model.
    pub model: EntityName,
    /// Alias.
    pub alias: EntityName,
    /// The version before; `None` if it was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// The version since then; `None` if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// When. Of the changes of one model, none is before an earlier one.
    pub at: Timestamp,
    /// The attempt that changed it, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AttemptId>,
}

/// What is done to an alias.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    To(u32),
    From { from: u32, to: u32 },
    Delete,
    Protect(bool),
}

/// Changes an alias. What it is already changes nothing.
pub(super) async fn change(
    draft: &mut Draft,
    flow: &AiFlow,
    model: &EntityName,
    name: &EntityName,
    to: Move,
) -> Result<Option<Alias>> {
    let owner = names::existing::<Model>(draft, flow, model.as_str(), OPERATION).await?.key;
    let key = alias_key(&owner, name);
    let before: Option<Alias> = draft.get(&key).await?.as_ref().map(body_of).transpose()?;
    let refused = |kind, message: &str| {
        let error = Error::new(kind, OPERATION, message).with("model", model).with("alias", name);
        Err(match &before {
            Some(before) => error.with("names", before.version),
            None => error,
        })
    };
    let (version, protected) = match (&before, to) {
        (Some(before), Move::To(to)) if before.version == to => return Ok(Some(before.clone())),
        (Some(Alias { protected: true, .. }), Move::To(_) | Move::Delete) => {
            return refused(
                ErrorKind::Conflict,
                "the alias is protected: move_alias() says from where, protect_alias() frees it",
            );
        }
        (before, Move::To(to)) => (Some(to), before.as_ref().is_some_and(|before| before.protected)),
        // An earlier try may have moved it.
        (Some(before), Move::From { to, .. }) if before.version == to => return Ok(Some(before.clone())),
        (Some(before), Move::From { from, to }) if before.version == from => (Some(to), before.protected),
        (Some(_), Move::From { .. }) => return refused(ErrorKind::Conflict, "the alias names another version"),
        (None, Move::Delete) => return Ok(None),
        (Some(_), Move::Delete) => (None, false),
        (Some(before), Move::Protect(protected)) if before.protected == protected => return Ok(Some(before.clone())),
        (Some(before), Move::Protect(protected)) => (Some(before.version), protected),
        (None, Move::From { .. } | Move::Protect(_)) => return refused(ErrorKind::NotFound, "there is no such alias"),
    };
    let from = before.as_ref().map(|before| before.version);
    if from != version {
        rename(draft, flow, &owner, from, |aliases| aliases.remove(name)).await?;
        rename(draft, flow, &owner, version, |aliases| aliases.insert(name.clone())).await?;
        record(
            draft,
            flow,
            &owner,
            AliasChange {
                model: model.clone(),
                alias: name.clone(),
                from,
                to: version,
                at: draft.now(),
                by: flow.origin().map(|origin| origin.identity.attempt),
            },
        )
        .await?;
    }
    let alias = version.map(|version| Alias { model: model.clone(), alias: name.clone(), version, protected });
    match &alias {
        Some(alias) => {
            draft.put(RecordPut {
                project: flow.project_name().to_string(),
                parent: owner.id.clone(),
                name: name.to_string(),
                ..put(key, alias)
            });
        }
        None => draft.delete(&key),
    }
    let value = serde_json::json!({"alias": name, "from": from, "version": version, "protected": protected});
    draft.event(flow.stamp_for_execution(flow.event(model.as_str()).event_type(ALIAS_CHANGED).value(value)));
    Ok(alias)
}

/// Changes the aliases that a version carries.
async fn rename(
    draft: &mut Draft,
    flow: &AiFlow,
    owner: &RecordKey,
    version: Option<u32>,
    edit: impl FnOnce(&mut std::collections::BTreeSet<EntityName>) -> bool + Send,
) -> Result<()> {
    let Some(version) = version else { return Ok(()) };
    let before = existing::<Model>(draft, owner, version, OPERATION).await?;
    if before.is_deleted() {
        return Err(Error::invalid(OPERATION, "the version is deleted").with("key", &before.key));
    }
    let mut content = before.content.clone();
    edit(&mut content.aliases);
    if content.aliases.len() > ALIASES_MAX {
        let message = format!("at most {ALIASES_MAX} aliases name one version");
        return Err(Error::new(ErrorKind::Full, OPERATION, message).with("key", &before.key));
    }
    write(draft, flow, &before.key, Some(&before), content, None);
    Ok(())
}

async fn record(draft: &mut Draft, flow: &AiFlow, owner: &RecordKey, mut change: AliasChange) -> Result<()> {
    let mut head = Head::load(draft, owner).await?;
    let (number, at) = head.next_change(draft.now());
    head.store(draft, flow, owner);
    change.at = at;
    draft.put(RecordPut {
        project: flow.project_name().to_string(),
        parent: owner.id.clone(),
        name: change.alias.to_string(),
        ..put(RecordKey::new(KIND_ALIAS_CHANGE, format!("{}/{number}", owner.id)), &change)
    });
    Ok(())
}

fn alias_key(owner: &RecordKey, alias: &EntityName) -> RecordKey {
    RecordKey::new(KIND_ALIAS, format!("{}/{alias}", owner.id))
}

/// Aliases of model versions.
impl Registry<Model> {
    /// Lets an alias name a version, and announces it; it is made if there is none. What it names already changes nothing.
    ///
    /// # Errors
    /// `NotFound`: there is no such model or version. `Conflict`: the alias is protected, see [`move_alias`](Self::move_alias). `Invalid`: the
    /// version is deleted. Others are those of the store.
    pub async fn set_alias(&self, model: impl AsRef<str>, alias: impl AsRef<str>, version: u32) -> Result<Alias> {
        self.certain(model.as_ref(), alias.as_ref(), Move::To(version)).await
    }

    /// Moves an alias, also a protected one, from the version that it names to another.
    ///
    /// # Errors
    /// As [`set_alias`](Self::set_alias). `Conflict`: it names another version than `from`.
    pub async fn move_alias(
        &self,
        model: impl AsRef<str>,
        alias: impl AsRef<str>,
        from: u32,
        to: u32,
    ) -> Result<Alias> {
        self.certain(model.as_ref(), alias.as_ref(), Move::From { from, to }).await
    }

    /// Protects an alias, or frees it: a protected one is not deleted, and only [`move_alias`](Self::move_alias) moves it.
    ///
    /// # Errors
    /// `NotFound`: there is no such model or alias. Others are those of the store.
    pub async fn protect_alias(
        &self,
        model: impl AsRef<str>,
        alias: impl AsRef<str>,
        protected: bool,
    ) -> Result<Alias> {
        self.certain(model.as_ref(), alias.as_ref(), Move::Protect(protected)).await
    }

    /// Deletes an alias, and announces it; the version stays. One that is not there is fine.
    ///
    /// # Errors
    /// `NotFound`: there is no such model. `Conflict`: the alias is protected. Others are those of the store.
    pub async fn delete_alias(&self, model: impl AsRef<str>, alias: impl AsRef<str>) -> Result<()> {
        self.move_it(model.as_ref(), alias.as_ref(), Move::Delete).await.map(|_| ())
    }

    async fn certain(&self, model: &str, alias: &str, to: Move) -> Result<Alias> {
        let moved = self.move_it(model, alias, to).await?;
        moved.ok_or_else(|| Error::new(ErrorKind::Internal, OPERATION, "the alias is gone").with("alias", alias))
    }

    async fn move_it(&self, model: &str, alias: &str, to: Move) -> Result<Option<Alias>> {
        let (model, alias) = (EntityName::parse(model)?, EntityName::parse(alias)?);
        Ok(decide!(&self.flow, Tries::repeatable(OPERATION), |draft| change(
            &mut draft, &self.flow, &model, &alias, to
        )
        .await?))
    }

    /// The version that an alias names. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if a name is not well formed; others are those of the store.
    pub async fn by_alias(
        &self,
        model: impl AsRef<str>,
        alias: impl AsRef<str>,
    ) -> Result<Option<Stored<ModelVersion>>> {
        let key = alias_key(&self.owner(model.as_ref()).await?, &EntityName::parse(alias)?);
        let Some(record) = self.flow.store().get_one(&key).await? else {
            return Ok(None);
        };
        self.version(model, body_of::<Alias>(&record)?.version).await
    }

    /// The aliases of a model, oldest first.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn aliases(&self, model: impl AsRef<str>) -> Result<Vec<Alias>> {
        let query = Query::kind(KIND_ALIAS).parent(self.owner(model.as_ref()).await?.id);
        self.flow.store().query_all(query, ENTITIES_LISTED_MAX).await?.iter().map(body_of).collect()
    }

    /// What happened to the aliases of a model, oldest first.
    ///
    /// # Errors
    /// As [`aliases`](Self::aliases).
    pub async fn alias_history(&self, model: impl AsRef<str>) -> Result<Vec<AliasChange>> {
        let query = Query::kind(KIND_ALIAS_CHANGE).parent(self.owner(model.as_ref()).await?.id);
        self.flow.store().query_all(query, ENTITIES_LISTED_MAX).await?.iter().map(body_of).collect()
    }

    /// The number of the version that an alias named at a time.
    ///
    /// # Errors
    /// `Invalid` if a name is not well formed; others are those of the store.
    pub async fn alias_at(&self, model: impl AsRef<str>, alias: impl AsRef<str>, at: Timestamp) -> Result<Option<u32>> {
        let alias = EntityName::parse(alias)?;
        let query = Query::kind(KIND_ALIAS_CHANGE).parent(self.owner(model.as_ref()).await?.id);
        let is_it = |change: &AliasChange| change.at <= at && change.alias == alias;
        Ok(last_before(&self.flow, query, is_it).await?.and_then(|change| change.to))
    }
}
