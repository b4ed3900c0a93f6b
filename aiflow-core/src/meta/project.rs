//! Projects: what is known of a project, besides that it is a namespace?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entity::{self, Entity};
use super::{DESCRIPTION_BYTES_MAX, KIND_PROJECT, PROJECT_CHANGED, check_text};
use crate::client::AiFlow;
use crate::error::Result;
use crate::id::ProjectName;
use crate::store::{Query, RecordKey};

/// What is known of a project. Nothing requires it: a project works without being registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Name.
    pub name: ProjectName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Free properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Project {
    /// A project without description.
    #[must_use]
    pub fn new(name: ProjectName) -> Self {
        Self { name, description: String::new(), properties: BTreeMap::new() }
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

impl Entity for Project {
    const KIND: &'static str = KIND_PROJECT;
    const EVENT_TYPE: &'static str = PROJECT_CHANGED;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn key(_: &AiFlow, name: &str) -> RecordKey {
        RecordKey::new(Self::KIND, name)
    }

    fn news(&self) -> Value {
        json!({})
    }

    fn check(&self) -> Result<()> {
        check_text("register project", "description", &self.description, DESCRIPTION_BYTES_MAX)
    }
}

/// The projects of a store. Obtained from [`AiFlow::projects`].
#[derive(Debug, Clone)]
pub struct Projects(pub(super) AiFlow);

impl Projects {
    /// Registers a project. Again with the same content is fine. Announced in the project's own namespace.
    ///
    /// # Errors
    /// `AlreadyExists`: there is one of this name with other content. `Invalid`: out of bounds. Others are those of the store.
    pub async fn register(&self, project: Project) -> Result<Project> {
        let flow = self.0.project(&project.name)?;
        entity::register(&flow, project).await
    }

    /// Replaces what is known of a project; the same content changes nothing and announces nothing.
    ///
    /// # Errors
    /// `NotFound`: there is none of this name. `Invalid`: out of bounds. Others are those of the store.
    pub async fn update(&self, project: Project) -> Result<Project> {
        let flow = self.0.project(&project.name)?;
        entity::update(&flow, project).await
    }

    /// The registered project of this name.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<Project>> {
        entity::get(&self.0, ProjectName::parse(name)?.as_str()).await
    }

    /// All registered projects, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`](super::ENTITIES_LISTED_MAX); others are those of the store.
    pub async fn list(&self) -> Result<Vec<Project>> {
        entity::list(&self.0, Query::kind(KIND_PROJECT)).await
    }
}
