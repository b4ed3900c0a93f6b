//! Artifacts: which files did jobs make that are neither datasets nor models, and how far are they?

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::entity::{Content, EventTypes};
use super::notes::noted;
use super::problems::Problems;
use super::{KIND_ARTIFACT, Notes, Registry, URI_BYTES_MAX};
use crate::error::Result;
use crate::id::EntityName;

/// Where an artifact is in its life, as in ML Metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ArtifactState {
    /// Being written: not to be read yet.
    Pending,
    /// There.
    #[default]
    Live,
    /// To be deleted: not to be read any more.
    MarkedForDeletion,
    /// Its writer gave up.
    Abandoned,
    /// It lies elsewhere and is not ours to delete.
    Reference,
}

impl ArtifactState {
    /// The state in capitals, as stored: `MARKED_FOR_DELETION`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Live => "LIVE",
            Self::MarkedForDeletion => "MARKED_FOR_DELETION",
            Self::Abandoned => "ABANDONED",
            Self::Reference => "REFERENCE",
        }
    }
}

/// A file or folder: a report, a plot, a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name, unique among the artifacts of the project.
    pub name: EntityName,
    /// Where it lies.
    pub uri: String,
    /// What it is: `report`, `plot`, …; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// Where it is in its life. Registering it again does not change it.
    #[serde(default)]
    pub state: ArtifactState,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Artifact {
    /// A live artifact without type and description.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, uri: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: EntityName::parse(name)?,
            uri: uri.into(),
            artifact_type: String::new(),
            state: ArtifactState::Live,
            notes: Notes::default(),
        })
    }

    /// Sets the type.
    #[must_use]
    pub fn artifact_type(mut self, artifact_type: impl Into<String>) -> Self {
        self.artifact_type = artifact_type.into();
        self
    }

    /// Sets the first state: [`ArtifactState::Pending`] before it is written.
    #[must_use]
    pub fn state(mut self, state: ArtifactState) -> Self {
        self.state = state;
        self
    }
}

noted!(Artifact);

impl Content for Artifact {
    const KIND: &'static str = KIND_ARTIFACT;
    const EVENTS: EventTypes = EventTypes {
        registered: "ARTIFACT_REGISTERED",
        changed: "ARTIFACT_CHANGED",
        removed: "ARTIFACT_REMOVED",
        restored: "ARTIFACT_RESTORED",
        purged: "ARTIFACT_PURGED",
    };
    const LIFE: &'static [&'static str] = &["state"];

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.some_uri(&self.uri);
        problems.text("the type", &self.artifact_type, URI_BYTES_MAX);
    }

    fn news(&self) -> Value {
        json!({"uri": self.uri, "state": self.state})
    }

    fn state(&self) -> &str {
        self.state.as_str()
    }

    fn uri(&self) -> Option<&str> {
        Some(&self.uri)
    }
}

/// The artifacts of a project: see [`Registry`]. Obtained from [`AiFlow::artifacts`](crate::client::AiFlow::artifacts) or the context of a job.
pub type Artifacts = Registry<Artifact>;
