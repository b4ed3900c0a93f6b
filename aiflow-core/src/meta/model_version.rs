//! Model versions: how are they numbered, and which stage may follow which?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entity::{existing, is_read_back};
use super::model::ModelState;
use super::{DESCRIPTION_BYTES_MAX, KIND_MODEL_VERSION_KEY, ModelStage, Models, URI_BYTES_MAX, check_text};
use crate::client::{CONFLICT_TRIES_MAX, too_many_conflicts};
use crate::error::{Error, ErrorKind, Result};
use crate::event::NewEvent;
use crate::id::{AttemptId, EntityName};
use crate::records::{body_of, put};
use crate::store::{Batch, MetaStoreExt as _, RecordKey, RecordPut};
use crate::time::Timestamp;

/// The most metrics that a model version is registered with.
const METRICS_PER_VERSION_MAX: usize = 1_000;
/// The longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Model.
    pub model: EntityName,
    /// Number, from 1, without gaps, never used again.
    pub version: u32,
    /// Stage.
    pub stage: ModelStage,
    /// Where it lies.
    pub uri: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Values known when it was registered. Later ones are recorded as [`Metrics`](super::Metrics).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The attempt that registered it, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<AttemptId>,
}

/// A model version to register.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModelVersion {
    uri: String,
    stage: ModelStage,
    description: String,
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
            description: String::new(),
            metrics: BTreeMap::new(),
            idempotency_key: None,
        }
    }

    /// Sets the first stage.
    #[must_use]
    pub fn stage(mut self, stage: ModelStage) -> Self {
        self.stage = stage;
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Adds a value known now; finite.
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

    fn check(&self) -> Result<()> {
        const OPERATION: &str = "register model version";
        check_text(OPERATION, "uri", &self.uri, URI_BYTES_MAX)?;
        check_text(OPERATION, "description", &self.description, DESCRIPTION_BYTES_MAX)?;
        if self.metrics.len() > METRICS_PER_VERSION_MAX {
            return Err(Error::invalid(
                OPERATION,
                format!("{} metrics, at most {METRICS_PER_VERSION_MAX} are allowed", self.metrics.len()),
            ));
        }
        if let Some((name, _)) = self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::invalid(OPERATION, "a metric must be finite").with("metric", name.escape_default()));
        }
        if let Some(key) = &self.idempotency_key {
            check_text(OPERATION, "idempotency key", key, IDEMPOTENCY_KEY_BYTES_MAX)?;
        }
        if self.stage == ModelStage::Deleted {
            return Err(Error::invalid(OPERATION, "a version cannot begin its life deleted"));
        }
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct IdempotencyKey {
    version: u32,
}

impl Models {
    /// Registers the next version of a model and announces its stage.
    ///
    /// # Errors
    /// `NotFound`: there is no such model. `Invalid`: out of bounds. `Conflict`: it should be deployed from the start while another is.
    /// `OutcomeUnknown`: with an idempotency key, ask again. Others are those of the store.
    pub async fn register_version(&self, model: impl AsRef<str>, new: NewModelVersion) -> Result<ModelVersion> {
        let model = EntityName::parse(model)?;
        new.check()?;
        for _ in 0..CONFLICT_TRIES_MAX {
            if let Some(known) = self.version_of_key(&model, &new).await? {
                return Ok(known);
            }
            let (state, revision) = self.state(&model, "register model version").await?;
            let (version, batch) = self.next_version(&new, state, revision)?;
            match self.0.store().commit(batch).await {
                Ok(_) => return Ok(version),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) if is_read_back(&error) && new.idempotency_key.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Err(too_many_conflicts("register model version").with("model", model))
    }

    /// The version that was registered under the key that `new` carries.
    async fn version_of_key(&self, model: &EntityName, new: &NewModelVersion) -> Result<Option<ModelVersion>> {
        let Some(key) = &new.idempotency_key else {
            return Ok(None);
        };
        let Some(record) = self.0.store().get_one(&self.idempotency(model, key)).await? else {
            return Ok(None);
        };
        let IdempotencyKey { version } = body_of(&record)?;
        let key = self.version_key(model, version);
        body_of(&existing(&self.0, &key, "register model version").await?).map(Some)
    }

    fn next_version(
        &self,
        new: &NewModelVersion,
        mut state: ModelState,
        revision: u64,
    ) -> Result<(ModelVersion, Batch)> {
        let now = self.0.clock().now();
        state.versions = state.versions.saturating_add(1);
        let version = ModelVersion {
            model: state.model.name.clone(),
            version: state.versions,
            stage: new.stage,
            uri: new.uri.clone(),
            description: new.description.clone(),
            metrics: new.metrics.clone(),
            created_at: now,
            created_by: self.0.origin().map(|origin| origin.identity.attempt),
        };
        state.enter(&version)?;
        let key = self.version_key(&version.model, version.version);
        let mut batch = Batch::at(now)
            .expect(self.key(&version.model), Some(revision))
            .expect(key.clone(), None)
            .put(self.state_put(&state))
            .put(self.version_put(&version))
            .event(self.stage_news(&version));
        if let Some(text) = &new.idempotency_key {
            let mark = IdempotencyKey { version: version.version };
            let mark_key = self.idempotency(&version.model, text);
            batch = batch.expect(mark_key.clone(), None).put(RecordPut {
                project: self.0.project_name().to_string(),
                parent: key.id.clone(),
                ..put(mark_key, &mark)
            });
        }
        Ok((version, self.0.produced(batch, &key)))
    }

    /// Brings a version into a stage and announces it. The stage that it has changes nothing and announces nothing.
    ///
    /// Any stage may follow any other, except that a deleted version stays deleted and that only one version is deployed.
    ///
    /// # Errors
    /// `NotFound`: there is no such model or version. `Conflict`: another version is deployed; see [`deploy`](Self::deploy). `Invalid`: the
    /// version was deleted. Others are those of the store.
    pub async fn set_stage(&self, model: impl AsRef<str>, version: u32, stage: ModelStage) -> Result<ModelVersion> {
        self.change_stage(&EntityName::parse(model)?, version, stage, false).await
    }

    /// Deploys a version. The one that was deployed becomes deprecated in the same moment; both are announced, the old one first.
    ///
    /// # Errors
    /// `NotFound`: there is no such model or version. `Invalid`: the version was deleted. Others are those of the store.
    pub async fn deploy(&self, model: impl AsRef<str>, version: u32) -> Result<ModelVersion> {
        self.change_stage(&EntityName::parse(model)?, version, ModelStage::Deployed, true).await
    }

    async fn change_stage(
        &self,
        model: &EntityName,
        version: u32,
        stage: ModelStage,
        hands_over: bool,
    ) -> Result<ModelVersion> {
        const OPERATION: &str = "set stage";
        for _ in 0..CONFLICT_TRIES_MAX {
            let (mut state, revision) = self.state(model, OPERATION).await?;
            let (mut changed, version_revision) = self.load(model, version).await?;
            if changed.stage == stage {
                return Ok(changed);
            }
            if changed.stage == ModelStage::Deleted {
                return Err(Error::invalid(OPERATION, "the version was deleted")
                    .with("model", model)
                    .with("version", version));
            }
            let mut batch = Batch::at(self.0.clock().now()).expect(self.key(model), Some(revision));
            if hands_over && let Some(old) = state.deployed.take() {
                let (mut old, old_revision) = self.load(model, old).await?;
                old.stage = ModelStage::Deprecated;
                batch = self.restage(batch, &old, old_revision);
            }
            changed.stage = stage;
            state.enter(&changed)?;
            batch = self.restage(batch, &changed, version_revision).put(self.state_put(&state));
            match self.0.store().commit(batch).await {
                Ok(_) => return Ok(changed),
                Err(error) if is_read_back(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(too_many_conflicts(OPERATION).with("model", model))
    }

    async fn load(&self, model: &EntityName, version: u32) -> Result<(ModelVersion, u64)> {
        let key = self.version_key(model, version);
        let record = existing(&self.0, &key, "set stage").await?;
        Ok((body_of(&record)?, record.revision))
    }

    fn restage(&self, batch: Batch, version: &ModelVersion, revision: u64) -> Batch {
        let key = self.version_key(&version.model, version.version);
        let batch =
            batch.expect(key.clone(), Some(revision)).put(self.version_put(version)).event(self.stage_news(version));
        self.0.produced(batch, &key)
    }

    fn version_put(&self, version: &ModelVersion) -> RecordPut {
        RecordPut {
            project: self.0.project_name().to_string(),
            parent: self.key(&version.model).id,
            name: version.model.to_string(),
            state: version.stage.to_string(),
            ..put(self.version_key(&version.model, version.version), version)
        }
    }

    fn stage_news(&self, version: &ModelVersion) -> NewEvent {
        let event = self.0.event(version.model.as_str()).event_type(version.stage.event_type()).value(json!({
            "version": version.version,
            "uri": version.uri,
            "stage": version.stage,
        }));
        self.0.stamp_for_execution(event)
    }

    fn idempotency(&self, model: &EntityName, key: &str) -> RecordKey {
        self.0.entity_key(KIND_MODEL_VERSION_KEY, format!("{model}/{key}"))
    }
}

impl ModelState {
    /// Notes that `version` is in its stage now.
    fn enter(&mut self, version: &ModelVersion) -> Result<()> {
        match self.deployed {
            Some(other) if other != version.version && version.stage == ModelStage::Deployed => {
                Err(Error::new(ErrorKind::Conflict, "set stage", "another version is deployed; deploy() hands over")
                    .with("model", &version.model)
                    .with("version", version.version)
                    .with("deployed", other))
            }
            Some(this) if this == version.version && version.stage != ModelStage::Deployed => {
                self.deployed = None;
                Ok(())
            }
            _ => {
                if version.stage == ModelStage::Deployed {
                    self.deployed = Some(version.version);
                }
                Ok(())
            }
        }
    }
}
