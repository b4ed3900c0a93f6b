//! Batches: how are several changes of metadata made together?

use std::pin::Pin;

use super::draft::{Draft, Tries, decide};
use super::versions::{self, NewVersion as _};
use super::{
    Dataset, Entity, Model, ModelStage, NewDatasetVersion, NewMetric, NewModelVersion, alias, metric, stage, verbs,
};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::id::EntityName;

/// The most changes of one batch.
pub const CHANGES_MAX: usize = 1_000;

type Planned<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
type Change = Box<dyn for<'a> Fn(&'a mut Draft, &'a AiFlow) -> Planned<'a> + Send + Sync>;

/// Changes of metadata that are made together or not at all, each with its event. Later ones see earlier ones.
///
/// ```
/// # use std::sync::Arc;
/// # use aiflow_core::{client::AiFlow, memory::MemoryStore, time::SystemClock};
/// use aiflow_core::meta::{Dataset, Model, ModelStage, NewModelVersion};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
/// # let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
/// # let aiflow = AiFlow::new(memory.clone(), memory)?.project("wine")?;
/// aiflow
///     .meta_batch()
///     .register(Dataset::new("samples", "file:///samples")?)
///     .register(Model::new("wine")?)
///     .register_model_version("wine", NewModelVersion::new("file:///m1"))
///     .set_stage("wine", 1, ModelStage::Validated)
///     .commit()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "call commit"]
pub struct MetaBatch {
    flow: AiFlow,
    changes: Vec<Change>,
    is_repeatable: bool,
}

impl std::fmt::Debug for MetaBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetaBatch").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

impl MetaBatch {
    pub(super) fn new(flow: &AiFlow) -> Self {
        Self { flow: flow.clone(), changes: Vec::new(), is_repeatable: true }
    }

    fn with(
        mut self,
        change: impl for<'a> Fn(&'a mut Draft, &'a AiFlow) -> Planned<'a> + Send + Sync + 'static,
    ) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Registers an entity, as [`Registry::register`](super::Registry::register).
    pub fn register<E: Entity>(self, entity: E) -> Self {
        self.with(move |draft, flow| {
            let entity = entity.clone();
            Box::pin(async move { verbs::register(draft, flow, entity).await.map(|_| ()) })
        })
    }

    /// Changes a live entity, as [`Registry::update`](super::Registry::update).
    pub fn update<E: Entity>(self, name: impl Into<String>, edit: impl Fn(&mut E) + Send + Sync + 'static) -> Self {
        let (name, edit) = (name.into(), std::sync::Arc::new(edit));
        self.with(move |draft, flow| {
            let (name, edit) = (name.clone(), std::sync::Arc::clone(&edit));
            Box::pin(async move {
                let flow = E::home(flow, &name)?;
                let before = super::names::existing::<E>(draft, &flow, &name, "update").await?;
                verbs::update(draft, &flow, before, None, &mut |entity| edit(entity)).map(|_| ())
            })
        })
    }

    /// Deletes the live entity of a name, as [`Registry::delete`](super::Registry::delete): `batch.delete::<Dataset>("samples")`.
    pub fn delete<E: Entity>(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.is_repeatable = false;
        self.with(move |draft, flow| {
            let name = name.clone();
            Box::pin(async move { verbs::delete::<E>(draft, flow, &name).await.map(|_| ()) })
        })
    }

    /// Brings the deleted entity of an id back, as [`Registry::restore`](super::Registry::restore).
    pub fn restore<E: Entity>(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.with(move |draft, flow| {
            let id = id.clone();
            Box::pin(async move { verbs::restore::<E>(draft, flow, &id).await.map(|_| ()) })
        })
    }

    /// Registers the next version of a model, as [`Registry::register_version`](super::Registry::register_version).
    pub fn register_model_version(self, model: impl Into<String>, new: NewModelVersion) -> Self {
        let is_repeatable = new.key().is_some();
        self.version::<Model>(model.into(), new, is_repeatable)
    }

    /// Registers the next version of a dataset, as [`Registry::register_version`](super::Registry::register_version).
    pub fn register_dataset_version(self, dataset: impl Into<String>, new: NewDatasetVersion) -> Self {
        let is_repeatable = new.key().is_some();
        self.version::<Dataset>(dataset.into(), new, is_repeatable)
    }

    fn version<E: versions::Versioned>(mut self, of: String, new: E::New, is_repeatable: bool) -> Self
    where
        E::New: 'static,
    {
        self.is_repeatable &= is_repeatable;
        self.with(move |draft, flow| {
            let (of, new) = (of.clone(), new.clone());
            Box::pin(async move {
                let of = EntityName::parse(of)?;
                versions::register::<E>(draft, flow, &of, &new).await.map(|_| ())
            })
        })
    }

    /// Brings a model version into a stage, as [`Models::set_stage`](super::Models::set_stage).
    pub fn set_stage(self, model: impl Into<String>, version: u32, stage: ModelStage) -> Self {
        self.stage(model.into(), version, stage::Move::To(stage))
    }

    /// Deploys a model version, as [`Models::deploy`](super::Models::deploy).
    pub fn deploy(self, model: impl Into<String>, version: u32) -> Self {
        self.stage(model.into(), version, stage::Move::Deploy)
    }

    fn stage(self, model: String, version: u32, to: stage::Move) -> Self {
        self.with(move |draft, flow| {
            let (model, to) = (model.clone(), to.clone());
            Box::pin(async move {
                let model = EntityName::parse(model)?;
                stage::change(draft, flow, &model, version, &to).await.map(|_| ())
            })
        })
    }

    /// Lets an alias name a model version, as [`Models::set_alias`](super::Models::set_alias).
    pub fn set_alias(self, model: impl Into<String>, alias: impl Into<String>, version: u32) -> Self {
        self.alias(model.into(), alias.into(), alias::Move::To(version))
    }

    /// Moves an alias from one version to another, as [`Models::move_alias`](super::Models::move_alias).
    pub fn move_alias(self, model: impl Into<String>, alias: impl Into<String>, from: u32, to: u32) -> Self {
        self.alias(model.into(), alias.into(), alias::Move::From { from, to })
    }

    /// Deletes an alias, as [`Models::delete_alias`](super::Models::delete_alias).
    pub fn delete_alias(self, model: impl Into<String>, alias: impl Into<String>) -> Self {
        self.alias(model.into(), alias.into(), alias::Move::Delete)
    }

    fn alias(self, model: String, name: String, to: alias::Move) -> Self {
        self.with(move |draft, flow| {
            let (model, name) = (model.clone(), name.clone());
            Box::pin(async move {
                let (model, name) = (EntityName::parse(model)?, EntityName::parse(name)?);
                alias::change(draft, flow, &model, &name, to).await.map(|_| ())
            })
        })
    }

    /// Records a value, as [`Metrics::record`](super::Metrics::record).
    pub fn record(mut self, value: NewMetric) -> Self {
        self.is_repeatable = false;
        self.with(move |draft, flow| {
            let value = value.clone();
            Box::pin(async move { metric::record(draft, flow, &[value]).await })
        })
    }

    /// Makes the changes, all or none. An empty batch is fine.
    ///
    /// # Errors
    /// That of the first change that cannot be made; `Invalid`: more than [`CHANGES_MAX`] changes. `OutcomeUnknown`: only if a change would
    /// take effect twice when it is repeated, as a version without idempotency key. Others are those of the store.
    pub async fn commit(self) -> Result<()> {
        const OPERATION: &str = "commit metadata";
        if self.changes.len() > CHANGES_MAX {
            let message = format!("{} changes, at most {CHANGES_MAX} are allowed", self.changes.len());
            return Err(Error::invalid(OPERATION, message));
        }
        decide!(&self.flow, Tries::when(OPERATION, self.is_repeatable), |draft| {
            for change in &self.changes {
                change(&mut draft, &self.flow).await?;
            }
        });
        Ok(())
    }
}
