//! Models: what is a model besides its versions, and how are both registered and found?

use serde::{Deserialize, Serialize};

use super::entity::{differs, existing, is_read_back};
use super::{
    DESCRIPTION_BYTES_MAX, ENTITIES_LISTED_MAX, KIND_MODEL, KIND_MODEL_VERSION, MODEL_REGISTERED, ModelStage,
    ModelVersion, check_text,
};
use crate::client::{AiFlow, CONFLICT_TRIES_MAX, too_many_conflicts};
use crate::error::Result;
use crate::id::EntityName;
use crate::json::Json;
use crate::records::{body_of, put};
use crate::store::{Batch, MetaStoreExt as _, Query, Record, RecordKey, RecordPut};

/// A model: a name under which versions are registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name, unique among the models of the project.
    pub name: EntityName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Model {
    /// A model without description.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        Ok(Self { name: EntityName::parse(name)?, description: String::new() })
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

/// What the record of a model holds. Its revision is what concurrent changes of the model's versions are checked against, so that numbers
/// have no gap and at most one version is deployed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ModelState {
    #[serde(flatten)]
    pub(super) model: Model,
    /// Number of the newest version, 0 if none.
    #[serde(default)]
    pub(super) versions: u32,
    /// The version that is deployed.
    #[serde(default)]
    pub(super) deployed: Option<u32>,
}

/// The models of a project and their versions. Obtained from [`AiFlow::models`] or the context of a job.
#[derive(Debug, Clone)]
pub struct Models(pub(super) AiFlow);

impl Models {
    /// Registers a model and announces it. Again with the same content is fine and announces nothing.
    ///
    /// # Errors
    /// `AlreadyExists`: there is one of this name with another description. `Invalid`: out of bounds. Others are those of the store.
    pub async fn register(&self, model: Model) -> Result<Model> {
        check_text("register model", "description", &model.description, DESCRIPTION_BYTES_MAX)?;
        let key = self.key(&model.name);
        for _ in 0..CONFLICT_TRIES_MAX {
            if let Some(mut record) = self.0.store().get_one(&key).await? {
                let known = body_of::<ModelState>(&record)?.model;
                if known == model {
                    return Ok(known);
                }
                record.body = Json::of(&known);
                return Err(differs(&model, &record));
            }
            let state = ModelState { model: model.clone(), versions: 0, deployed: None };
            let news = self.0.event(model.name.as_str()).event_type(MODEL_REGISTERED);
            let batch = Batch::at(self.0.clock().now())
                .expect(key.clone(), None)
                .put(self.state_put(&state))
                .event(self.0.stamp_for_execution(news));
            match self.0.store().commit(self.0.produced(batch, &key)).await {
                Ok(_) => return Ok(model),
                Err(error) if is_read_back(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(too_many_conflicts("register model").with("model", model.name))
    }

    /// The model of this name. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<Model>> {
        let key = self.key(&EntityName::parse(name)?);
        let Some(record) = self.0.store().get_one(&key).await? else {
            return Ok(None);
        };
        self.0.note_read(&key).await?;
        Ok(Some(body_of::<ModelState>(&record)?.model))
    }

    /// All models of the project, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn list(&self) -> Result<Vec<Model>> {
        let query = Query::kind(KIND_MODEL).project(self.0.project_name().as_str());
        let records = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        records.iter().map(|record| Ok(body_of::<ModelState>(record)?.model)).collect()
    }

    /// One version of a model. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn version(&self, model: impl AsRef<str>, version: u32) -> Result<Option<ModelVersion>> {
        let key = self.version_key(&EntityName::parse(model)?, version);
        self.read_version(self.0.store().get_one(&key).await?).await
    }

    /// All versions of a model, oldest first; none if there is no such model.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn versions(&self, model: impl AsRef<str>) -> Result<Vec<ModelVersion>> {
        let query = self.versions_of(&EntityName::parse(model)?);
        let records = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// The newest version of a model, or the newest in `stage`. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn latest(
        &self,
        model: impl AsRef<str>,
        stage: impl Into<Option<ModelStage>>,
    ) -> Result<Option<ModelVersion>> {
        let query = self
            .versions_of(&EntityName::parse(model)?)
            .states(stage.into().map(ModelStage::as_str))
            .newest_first()
            .limit(1);
        let page = self.0.store().query(&query).await?;
        self.read_version(page.items.into_iter().next()).await
    }

    /// The version that is deployed. Through the context of a job, the lookup is recorded as `read`.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn deployed(&self, model: impl AsRef<str>) -> Result<Option<ModelVersion>> {
        self.latest(model, ModelStage::Deployed).await
    }

    async fn read_version(&self, record: Option<Record>) -> Result<Option<ModelVersion>> {
        let Some(record) = record else {
            return Ok(None);
        };
        self.0.note_read(&record.key).await?;
        body_of(&record).map(Some)
    }

    /// The state of a model that must exist, and its revision.
    pub(super) async fn state(&self, model: &EntityName, operation: &'static str) -> Result<(ModelState, u64)> {
        let record = existing(&self.0, &self.key(model), operation).await?;
        Ok((body_of(&record)?, record.revision))
    }

    pub(super) fn state_put(&self, state: &ModelState) -> RecordPut {
        RecordPut {
            project: self.0.project_name().to_string(),
            name: state.model.name.to_string(),
            ..put(self.key(&state.model.name), state)
        }
    }

    pub(super) fn key(&self, model: &EntityName) -> RecordKey {
        self.0.entity_key(KIND_MODEL, model)
    }

    pub(super) fn version_key(&self, model: &EntityName, version: u32) -> RecordKey {
        self.0.entity_key(KIND_MODEL_VERSION, format!("{model}/{version}"))
    }

    fn versions_of(&self, model: &EntityName) -> Query {
        Query::kind(KIND_MODEL_VERSION).parent(self.key(model).id)
    }
}
