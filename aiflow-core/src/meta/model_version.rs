//! Model versions: what is known of one, and what does registering one take?

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draft::Draft;
use super::entity::{Content, EventTypes, Stored, Verb};
use super::metric_append::{self, Point};
use super::notes::noted;
use super::problems::Problems;
use super::versions::{Head, NewVersion, VersionContent, owner_id};
use super::{KIND_MODEL_VERSION, METRICS_BATCH_MAX, ModelStage, Notes, URI_BYTES_MAX, stage};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::id::EntityName;
use crate::store::RecordKey;

/// How far the payload of a version is, as in the original AIFlow's model center.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum VersionStatus {
    /// Being written.
    PendingRegistration,
    /// It could not be written.
    FailedRegistration,
    /// There.
    #[default]
    Ready,
    /// Being removed.
    PendingDeletion,
    /// It could not be removed.
    FailedDeletion,
}

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Model.
    pub model: EntityName,
    /// Number, from 1, without gaps, never used again.
    pub version: u32,
    /// Stage. It changes through [`Models::set_stage`](super::Models::set_stage) and [`deploy`](super::Models::deploy) only.
    pub stage: ModelStage,
    /// Of a deleted version: the stage in which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_before: Option<ModelStage>,
    /// Where it lies.
    pub uri: String,
    /// What it is: `linfa`, `onnx`, …; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_type: String,
    /// How far its payload is.
    #[serde(default)]
    pub status: VersionStatus,
    /// The aliases that name it. They change through [`Models::set_alias`](super::Models::set_alias) and its like only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<EntityName>,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Content for ModelVersion {
    const KIND: &'static str = KIND_MODEL_VERSION;
    const EVENTS: EventTypes = EventTypes {
        registered: "MODEL_GENERATED",
        changed: "MODEL_VERSION_CHANGED",
        removed: "MODEL_DELETED",
        restored: "MODEL_VERSION_RESTORED",
        purged: "MODEL_VERSION_PURGED",
    };

    fn name(&self) -> &str {
        self.model.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.some_uri(&self.uri);
        problems.text("the type", &self.model_type, URI_BYTES_MAX);
    }

    fn news(&self) -> Value {
        json!({"version": self.version, "uri": self.uri, "stage": self.stage})
    }

    fn state(&self) -> &str {
        self.stage.as_str()
    }

    fn parent(&self, key: &RecordKey) -> String {
        owner_id(key).to_owned()
    }

    fn uri(&self) -> Option<&str> {
        Some(&self.uri)
    }

    fn event_type(&self, verb: Verb) -> &'static str {
        match verb {
            Verb::Registered | Verb::Removed | Verb::Restored => self.stage.event_type(),
            Verb::Updated => Self::EVENTS.changed,
            Verb::Purged => Self::EVENTS.purged,
        }
    }

    fn check_update(&self, after: &Self, operation: &'static str) -> Result<()> {
        let fixed = |version: &Self| {
            let Self { model, version, stage, stage_before, aliases, .. } = version.clone();
            (model, version, stage, stage_before, aliases)
        };
        if fixed(self) == fixed(after) {
            return Ok(());
        }
        let message = "the model, the number, the stage and the aliases of a version do not change by an update";
        Err(Error::invalid(operation, message))
    }
}

impl VersionContent for ModelVersion {
    fn number(&self) -> u32 {
        self.version
    }

    fn enter(draft: &mut Draft, flow: &AiFlow, head: &mut Head, version: &Stored<Self>) -> Result<()> {
        stage::enter(draft, flow, head, version, None)
    }
}

/// A model version to register.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModelVersion {
    uri: String,
    stage: ModelStage,
    model_type: String,
    status: VersionStatus,
    notes: Notes,
    metrics: BTreeMap<String, f64>,
    idempotency_key: Option<String>,
}

impl NewModelVersion {
    /// A version that lies at `uri`, in stage `GENERATED`.
    #[must_use]
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            stage: ModelStage::Generated,
            model_type: String::new(),
            status: VersionStatus::Ready,
            notes: Notes::default(),
            metrics: BTreeMap::new(),
            idempotency_key: None,
        }
    }

    pub(super) fn first_stage(&self) -> &ModelStage {
        &self.stage
    }

    /// Sets the first stage.
    #[must_use]
    pub fn stage(mut self, stage: ModelStage) -> Self {
        self.stage = stage;
        self
    }

    /// Sets the type.
    #[must_use]
    pub fn model_type(mut self, model_type: impl Into<String>) -> Self {
        self.model_type = model_type.into();
        self
    }

    /// Sets how far its payload is.
    #[must_use]
    pub fn status(mut self, status: VersionStatus) -> Self {
        self.status = status;
        self
    }

    /// Adds a value measured on it; finite. It is recorded as [`Metrics`](super::Metrics) do, in the same transaction.
    #[must_use]
    pub fn metric(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.insert(name.into(), value);
        self
    }

    /// Registers at most one version of the model under this key: asking again returns the first, whatever else is asked then. So a job
    /// that is tried again, and need not come to the same result twice, registers one version.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

noted!(NewModelVersion);

impl NewVersion for NewModelVersion {
    type Version = ModelVersion;

    fn version(&self, of: &EntityName, number: u32) -> ModelVersion {
        ModelVersion {
            model: of.clone(),
            version: number,
            stage: self.stage.clone(),
            stage_before: None,
            uri: self.uri.clone(),
            model_type: self.model_type.clone(),
            status: self.status,
            aliases: BTreeSet::new(),
            notes: self.notes.clone(),
        }
    }

    fn key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    fn check(&self) -> Result<()> {
        const OPERATION: &str = "register version";
        if self.metrics.len() > METRICS_BATCH_MAX {
            let message = format!("{} metrics, at most {METRICS_BATCH_MAX} are allowed", self.metrics.len());
            return Err(Error::invalid(OPERATION, message));
        }
        if self.stage == ModelStage::Deleted {
            return Err(Error::invalid(OPERATION, "a version cannot begin its life deleted"));
        }
        Ok(())
    }

    async fn measure(&self, draft: &mut Draft, flow: &AiFlow, version: &RecordKey) -> Result<()> {
        let mut points = Vec::new();
        for (name, value) in &self.metrics {
            points.push(Point::new(EntityName::parse(name)?, version.clone(), *value));
        }
        metric_append::append(draft, flow, points).await
    }
}
