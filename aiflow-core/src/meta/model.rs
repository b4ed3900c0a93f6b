//! Models: what is a model besides its versions, and which of them is in use?

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::entity::{Content, EventTypes, Stored};
use super::notes::noted;
use super::problems::Problems;
use super::versions::{Head, Versioned};
use super::{KIND_MODEL, ModelStage, ModelVersion, NewModelVersion, Notes, Registry};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::id::EntityName;

/// The most stages of its own that a model has.
pub const MODEL_STAGES_MAX: usize = 32;

/// A model: a name under which versions are registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name, unique among the models of the project.
    pub name: EntityName,
    /// Stages that its versions may have besides the five built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<EntityName>,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Model {
    /// A model without description.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        Ok(Self { name: EntityName::parse(name)?, stages: Vec::new(), notes: Notes::default() })
    }

    /// Adds a stage of its own, as `canary`: any number of versions may be in it.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn stage(mut self, stage: impl AsRef<str>) -> Result<Self> {
        self.stages.push(EntityName::parse(stage)?);
        Ok(self)
    }

    /// Checks that a version of it may be in this stage.
    pub(super) fn check_stage(&self, stage: &ModelStage) -> Result<()> {
        let ModelStage::Custom(name) = stage else {
            return Ok(());
        };
        if self.stages.contains(name) {
            return Ok(());
        }
        let own: Vec<&str> = self.stages.iter().map(EntityName::as_str).collect();
        Err(Error::invalid("set stage", "the model does not have this stage")
            .with("model", &self.name)
            .with("stage", name)
            .with("its own stages", own.join(", ")))
    }
}

noted!(Model);

impl Content for Model {
    const KIND: &'static str = KIND_MODEL;
    const EVENTS: EventTypes = EventTypes {
        registered: "MODEL_REGISTERED",
        changed: "MODEL_CHANGED",
        removed: "MODEL_REMOVED",
        restored: "MODEL_RESTORED",
        purged: "MODEL_PURGED",
    };

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.count("stages", self.stages.len(), MODEL_STAGES_MAX);
        let mut names = BTreeSet::new();
        for stage in self.stages.iter().take(MODEL_STAGES_MAX) {
            let is_own = matches!(ModelStage::parse(stage.as_str()), Ok(ModelStage::Custom(_)));
            if !is_own || !names.insert(stage) {
                problems.add(format!("a stage of its own needs a name of its own: {stage}"));
            }
        }
    }

    async fn check_removal(draft: &mut Draft, _: &AiFlow, model: &Stored<Self>) -> Result<()> {
        match Head::load(draft, &model.key).await?.deployed {
            None => Ok(()),
            Some(version) => Err(Error::new(ErrorKind::Conflict, "delete", "a version is deployed")
                .with("model", &model.name)
                .with("version", version)),
        }
    }
}

impl Versioned for Model {
    type New = NewModelVersion;
    type Version = ModelVersion;

    fn check_new(&self, new: &NewModelVersion) -> Result<()> {
        self.check_stage(new.first_stage())
    }
}

/// The models of a project and their versions: see [`Registry`]. Obtained from [`AiFlow::models`] or the context of a job. A model of which a
/// version is deployed is not deleted.
pub type Models = Registry<Model>;
