//! Artifacts: which files did jobs make that are neither datasets nor models?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entity::{self, Entity, of_project};
use super::{ARTIFACT_REGISTERED, DESCRIPTION_BYTES_MAX, KIND_ARTIFACT, URI_BYTES_MAX, check_text};
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::EntityName;

/// A file or folder: a report, a plot, a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name, unique among the artifacts of the project.
    pub name: EntityName,
    /// Where it lies.
    pub uri: String,
    /// What it is: `report`, `plot`, …; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Free properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Artifact {
    /// An artifact without type and description.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, uri: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: EntityName::parse(name)?,
            uri: uri.into(),
            artifact_type: String::new(),
            description: String::new(),
            properties: BTreeMap::new(),
        })
    }

    /// Sets the type.
    #[must_use]
    pub fn artifact_type(mut self, artifact_type: impl Into<String>) -> Self {
        self.artifact_type = artifact_type.into();
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

impl Entity for Artifact {
    const KIND: &'static str = KIND_ARTIFACT;
    const EVENT_TYPE: &'static str = ARTIFACT_REGISTERED;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn news(&self) -> Value {
        json!({"uri": self.uri})
    }

    fn check(&self) -> Result<()> {
        check_text("register artifact", "uri", &self.uri, URI_BYTES_MAX)?;
        check_text("register artifact", "description", &self.description, DESCRIPTION_BYTES_MAX)
    }
}

/// The artifacts of a project. Obtained from [`AiFlow::artifacts`] or the context of a job.
#[derive(Debug, Clone)]
pub struct Artifacts(pub(super) AiFlow);

impl Artifacts {
    /// Registers an artifact and announces it. Again with the same content is fine and announces nothing.
    ///
    /// # Errors
    /// `AlreadyExists`: there is one of this name with other content, whose differing fields are named. `Invalid`: out of bounds. Others are
    /// those of the store.
    pub async fn register(&self, artifact: Artifact) -> Result<Artifact> {
        entity::register(&self.0, artifact).await
    }

    /// Replaces an artifact and announces it; the same content changes nothing and announces nothing.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. `Invalid`: out of bounds. Others are those of the store.
    pub async fn update(&self, artifact: Artifact) -> Result<Artifact> {
        entity::update(&self.0, artifact).await
    }

    /// The artifact of this name. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<Artifact>> {
        entity::get(&self.0, EntityName::parse(name)?.as_str()).await
    }

    /// All artifacts of the project, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`](super::ENTITIES_LISTED_MAX); others are those of the store.
    pub async fn list(&self) -> Result<Vec<Artifact>> {
        entity::list(&self.0, of_project::<Artifact>(&self.0)).await
    }
}
