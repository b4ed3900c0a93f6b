//! The stages of a model version, as rules name them.

use serde::{Deserialize, Serialize};

/// The stage of a model version, as in the original AIFlow's model center.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
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
}

impl ModelStage {
    /// The stage in capitals, as stored: `GENERATED`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "GENERATED",
            Self::Validated => "VALIDATED",
            Self::Deployed => "DEPLOYED",
            Self::Deprecated => "DEPRECATED",
            Self::Deleted => "DELETED",
        }
    }

    /// Type of the event that a version reached this stage: `MODEL_GENERATED`.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Generated => "MODEL_GENERATED",
            Self::Validated => "MODEL_VALIDATED",
            Self::Deployed => "MODEL_DEPLOYED",
            Self::Deprecated => "MODEL_DEPRECATED",
            Self::Deleted => "MODEL_DELETED",
        }
    }
}

impl std::fmt::Display for ModelStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
