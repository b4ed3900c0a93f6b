//! The stages of a model version, as rules name them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::MODEL_STAGE_CHANGED;
use crate::id::EntityName;

/// The stage of a model version: one of the five of the original AIFlow's model center, or one of the model's own.
///
/// Written in capitals if it is built in, `GENERATED`, and as it is named otherwise, `canary`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelStage {
    /// Trained and registered.
    Generated,
    /// Evaluated and found good.
    Validated,
    /// In use; at most one version of a model.
    Deployed,
    /// No longer in use.
    Deprecated,
    /// Removed.
    Deleted,
    /// A stage of the model's own; any number of versions may be in it.
    Custom(EntityName),
}

impl ModelStage {
    /// The stages of every model.
    pub const BUILT_IN: [Self; 5] = [Self::Generated, Self::Validated, Self::Deployed, Self::Deprecated, Self::Deleted];

    /// The built-in stage of this name, in capitals or not, or else the model's own.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn parse(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        match Self::BUILT_IN.into_iter().find(|stage| stage.as_str().eq_ignore_ascii_case(name)) {
            Some(stage) => Ok(stage),
            None => EntityName::parse(name).map(Self::Custom),
        }
    }

    /// The stage as it is stored: `GENERATED`, `canary`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Generated => "GENERATED",
            Self::Validated => "VALIDATED",
            Self::Deployed => "DEPLOYED",
            Self::Deprecated => "DEPRECATED",
            Self::Deleted => "DELETED",
            Self::Custom(name) => name.as_str(),
        }
    }

    /// Type of the event that a version reached this stage: `MODEL_GENERATED`; [`MODEL_STAGE_CHANGED`] for a stage of the model's own.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Generated => "MODEL_GENERATED",
            Self::Validated => "MODEL_VALIDATED",
            Self::Deployed => "MODEL_DEPLOYED",
            Self::Deprecated => "MODEL_DEPRECATED",
            Self::Deleted => "MODEL_DELETED",
            Self::Custom(_) => MODEL_STAGE_CHANGED,
        }
    }
}

impl TryFrom<String> for ModelStage {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::parse(name)
    }
}

impl From<ModelStage> for String {
    fn from(stage: ModelStage) -> Self {
        stage.as_str().to_owned()
    }
}

impl std::fmt::Display for ModelStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_stages_are_read_in_any_case_and_others_as_they_are() {
        for stage in ModelStage::BUILT_IN {
            assert_eq!(ModelStage::parse(stage.as_str().to_lowercase()).unwrap(), stage);
        }
        let own = ModelStage::parse("canary").unwrap();
        assert_eq!((own.as_str(), own.event_type()), ("canary", "MODEL_STAGE_CHANGED"));
        assert_eq!(serde_json::to_string(&own).unwrap(), "\"canary\"");
        assert!(ModelStage::parse("a b").is_err());
    }
}
