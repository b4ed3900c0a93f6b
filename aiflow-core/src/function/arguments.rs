//! What a node is about: which dataset and which models, by name, found when the job runs.

use serde::{Deserialize, Serialize};

use super::JobContext;
use crate::error::{Error, Result};
use crate::meta::{Dataset, Model, ModelVersion, Stored};
use crate::workflow::ModelStage;

/// Names of the dataset and the models that a node is about. They are looked up when the job runs, so that a graph needs no store.
///
/// Source: `dataset_info`, `model_info`, `model_version_info`, `base_model_info` of the operations of AIFlow 0.3 (`ai_flow/api/ops.py`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeArguments {
    /// A dataset of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// A model of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which version of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<VersionRef>,
    /// The model that the work goes on from, or is compared with; the model itself if there is only a [version](Self::base_model_version).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// Which version of the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_version: Option<VersionRef>,
}

/// A version of a model, by number, or by what leads to it when the job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VersionRef {
    /// The version of this number.
    Number(u32),
    /// The newest version in this stage.
    Stage(ModelStage),
    /// The version that this alias points to.
    Alias(String),
    /// The newest version.
    Latest,
}

impl From<u32> for VersionRef {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<ModelStage> for VersionRef {
    fn from(stage: ModelStage) -> Self {
        Self::Stage(stage)
    }
}

impl NodeArguments {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What the node is about. What is found becomes lineage of the job: `read`.
impl JobContext {
    /// The names that the node was given.
    #[must_use]
    pub fn arguments(&self) -> &NodeArguments {
        &self.node_context().arguments
    }

    /// The dataset that the node is about.
    ///
    /// # Errors
    /// `Invalid`: the node names none. `NotFound`: there is none of this name. Others are those of the store.
    pub async fn dataset(&self) -> Result<Stored<Dataset>> {
        let name = named(self.arguments().dataset.as_deref(), "dataset")?;
        found(self.datasets().get(name).await?, "dataset", name)
    }

    /// The model that the node is about.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub async fn model(&self) -> Result<Stored<Model>> {
        let name = named(self.arguments().model.as_deref(), "model")?;
        found(self.models().get(name).await?, "model", name)
    }

    /// The version of the model that the node is about; the newest if the node does not say which.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub async fn model_version(&self) -> Result<Stored<ModelVersion>> {
        let NodeArguments { model, model_version, .. } = self.arguments();
        self.version_of(named(model.as_deref(), "model")?, model_version.as_ref()).await
    }

    /// The base model of the node.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub async fn base_model(&self) -> Result<Stored<Model>> {
        let name = self.base_name()?;
        found(self.models().get(name).await?, "model", name)
    }

    /// The version of the base model of the node; the newest if the node does not say which.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub async fn base_model_version(&self) -> Result<Stored<ModelVersion>> {
        self.version_of(self.base_name()?, self.arguments().base_model_version.as_ref()).await
    }

    fn base_name(&self) -> Result<&str> {
        let NodeArguments { model, base_model, base_model_version, .. } = self.arguments();
        let own = model.as_deref().filter(|_| base_model_version.is_some());
        named(base_model.as_deref().or(own), "base model")
    }

    async fn version_of(&self, model: &str, version: Option<&VersionRef>) -> Result<Stored<ModelVersion>> {
        let models = self.models();
        let version = match version {
            None | Some(VersionRef::Latest) => models.latest(model, None).await?,
            Some(VersionRef::Number(number)) => models.version(model, *number).await?,
            Some(VersionRef::Stage(stage)) => models.latest(model, stage.clone()).await?,
            Some(VersionRef::Alias(alias)) => models.by_alias(model, alias).await?,
        };
        found(version, "model version", model)
    }
}

fn named<'a>(name: Option<&'a str>, what: &'static str) -> Result<&'a str> {
    name.ok_or_else(|| Error::invalid("look up", format!("the node names no {what}")))
}

fn found<T>(entity: Option<T>, what: &'static str, name: &str) -> Result<T> {
    let missing = || Error::not_found("look up", format!("there is no such {what}")).with("name", name);
    entity.ok_or_else(missing)
}
