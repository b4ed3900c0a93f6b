//! Datasets: where does data lie, and in which form?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entity::{self, Entity, of_project};
use super::{DATASET_CHANGED, DESCRIPTION_BYTES_MAX, KIND_DATASET, URI_BYTES_MAX, check_text};
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::{EntityName, Offset};

/// Data that jobs read and write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Name, unique among the datasets of the project.
    pub name: EntityName,
    /// Where it lies.
    pub uri: String,
    /// Its form: `csv`, `parquet`, …; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Free properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Dataset {
    /// A dataset without format and description.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, uri: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: EntityName::parse(name)?,
            uri: uri.into(),
            format: String::new(),
            description: String::new(),
            properties: BTreeMap::new(),
        })
    }

    /// Sets the format.
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets a property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

impl Entity for Dataset {
    const KIND: &'static str = KIND_DATASET;
    const EVENT_TYPE: &'static str = DATASET_CHANGED;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn news(&self) -> Value {
        json!({"uri": self.uri, "format": self.format})
    }

    fn check(&self) -> Result<()> {
        check_text("register dataset", "uri", &self.uri, URI_BYTES_MAX)?;
        check_text("register dataset", "format", &self.format, URI_BYTES_MAX)?;
        check_text("register dataset", "description", &self.description, DESCRIPTION_BYTES_MAX)
    }
}

/// The datasets of a project. Obtained from [`AiFlow::datasets`] or the context of a job.
#[derive(Debug, Clone)]
pub struct Datasets(pub(super) AiFlow);

impl Datasets {
    /// Registers a dataset and announces it. Again with the same content is fine and announces nothing.
    ///
    /// # Errors
    /// `AlreadyExists`: there is one of this name with other content, whose differing fields are named. `Invalid`: out of bounds. Others are
    /// those of the store.
    pub async fn register(&self, dataset: Dataset) -> Result<Dataset> {
        entity::register(&self.0, dataset).await
    }

    /// Replaces a dataset and announces it; the same content changes nothing and announces nothing.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. `Invalid`: out of bounds. Others are those of the store.
    pub async fn update(&self, dataset: Dataset) -> Result<Dataset> {
        entity::update(&self.0, dataset).await
    }

    /// Announces that the data behind a dataset changed, though what is registered did not. Returns the offset of the event.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. Others are those of the store.
    pub async fn changed(&self, name: impl AsRef<str>) -> Result<Offset> {
        entity::announce::<Dataset>(&self.0, EntityName::parse(name)?.as_str()).await
    }

    /// The dataset of this name. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<Dataset>> {
        entity::get(&self.0, EntityName::parse(name)?.as_str()).await
    }

    /// All datasets of the project, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`](super::ENTITIES_LISTED_MAX); others are those of the store.
    pub async fn list(&self) -> Result<Vec<Dataset>> {
        entity::list(&self.0, of_project::<Dataset>(&self.0)).await
    }
}
