//! Metadata: which projects, datasets, models, metrics and artifacts are there, and which job made or read them?
//!
//! Typed entities outside, records and relations inside. Every change and the event that announces it are one transaction, so rules see
//! exactly what happened. Through the context of a job the same calls also write lineage: `produced` and `read`, from the job execution.
//! Source: seed "Meta Service"; AIFlow 0.3 metadata store and model center.
//!
//! In reading order: [`Registry`] (what can be done with any entity) → the entities; inside, `draft` (a transaction in the making) → `entity`,
//! `names`, `verbs` (written once for all kinds) → `versions`, `stage`, `alias`, `metric_append`.

mod alias;
mod annotation;
mod artifact;
mod batch;
mod dataset;
mod draft;
mod entity;
mod metric;
mod metric_append;
mod metric_definition;
mod model;
mod model_version;
mod names;
mod notes;
mod payload;
mod problems;
mod project;
mod registry;
mod schema;
mod stage;
mod verbs;
mod versions;

pub use alias::{ALIASES_MAX, Alias, AliasChange};
pub use annotation::{Annotated, Annotation, Annotations, annotation_key};
pub use artifact::{Artifact, ArtifactState, Artifacts};
pub use batch::{CHANGES_MAX, MetaBatch};
pub use dataset::{Catalog, Dataset, DatasetVersion, Datasets, NewDatasetVersion};
pub use entity::{ACTIVE, DELETED, Entity, Stored};
pub use metric::{METRICS_BATCH_MAX, MetricPoint, MetricSummary, Metrics, NewMetric, SERIES_LISTED_MAX, Subject};
pub use metric_definition::{Better, MetricDefinition, MetricDefinitions, MetricOwner};
pub use model::{MODEL_STAGES_MAX, Model, Models};
pub use model_version::{ModelVersion, NewModelVersion, VersionStatus};
pub use notes::{NOTE_NAME_BYTES_MAX, NOTE_VALUE_BYTES_MAX, NOTES_MAX, Notes, Scalar};
pub use payload::{Garbage, PURGED_MAX, STORED_AT, uri_key};
pub use project::{Project, Projects};
pub use registry::{Listing, Registry};
pub use schema::{COLUMNS_MAX, Column, DataType, Schema};
pub use stage::StageChange;
pub use versions::{IDEMPOTENCY_KEY_BYTES_MAX, Versioned};

pub use crate::search::{KIND_ANNOTATION, KIND_METRIC_SUMMARY};
pub use crate::workflow::ModelStage;

use crate::client::AiFlow;
use crate::error::Result;
use crate::records::job_execution_key;
use crate::store::{Batch, RecordKey};
use entity::Content as _;

pub use crate::event::{ALIAS_CHANGED, DATASET_CHANGED, METRIC_RECORDED, MODEL_STAGE_CHANGED};

/// Type of the event that the values of a metric were removed. Key = metric, value = `{"subject", "points"}`.
pub const METRIC_REMOVED: &str = "METRIC_REMOVED";
/// Type of the event that tags or properties of what the scheduler keeps changed. Key = workflow, `workflow/job` or id of an execution,
/// value = `{"of", "fields", "tags"}`.
pub const ANNOTATION_CHANGED: &str = "ANNOTATION_CHANGED";

/// Record kind of a project.
pub const KIND_PROJECT: &str = "project";
/// Record kind of a dataset.
pub const KIND_DATASET: &str = "dataset";
/// Record kind of a version of a dataset.
pub const KIND_DATASET_VERSION: &str = "dataset_version";
/// Record kind of a model.
pub const KIND_MODEL: &str = "model";
/// Record kind of a model version. State = stage.
pub const KIND_MODEL_VERSION: &str = "model_version";
/// Record kind of a recorded change of the stage of a model version.
pub const KIND_STAGE_CHANGE: &str = "model_stage_change";
/// Record kind of an alias of a model version.
pub const KIND_ALIAS: &str = "alias";
/// Record kind of a recorded change of an alias.
pub const KIND_ALIAS_CHANGE: &str = "alias_change";
/// Record kind of what changes with the versions of a dataset or model.
pub const KIND_VERSION_HEAD: &str = "version_head";
/// Record kind of the idempotency key under which a version was registered.
pub const KIND_VERSION_KEY: &str = "version_key";
/// Record kind of a name of which an entity was deleted: which one has it now.
pub const KIND_NAME: &str = "entity_name";
/// Record kind of what a metric means.
pub const KIND_METRIC_DEFINITION: &str = "metric_definition";
/// Record kind of earlier values of a metric of a subject: a list. Parent = id of the summary.
pub const KIND_METRIC_POINTS: &str = "metric_points";
/// Record kind of an artifact. State = [`ArtifactState`], or [`DELETED`].
pub const KIND_ARTIFACT: &str = "artifact";

/// Relation from a job execution to what it registered or changed.
pub const PRODUCED: &str = "produced";
/// Relation from a job execution to what it looked up.
pub const READ: &str = "read";

/// The longest URI, in bytes.
pub const URI_BYTES_MAX: usize = 4096;
/// The longest description, in bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;
/// The most entities that one list returns.
pub const ENTITIES_LISTED_MAX: usize = 100_000;

impl AiFlow {
    /// The projects.
    #[must_use]
    pub fn projects(&self) -> Projects {
        Projects::new(self)
    }

    /// The datasets of this project, and their versions.
    #[must_use]
    pub fn datasets(&self) -> Datasets {
        Datasets::new(self)
    }

    /// The models of this project, their versions and aliases.
    #[must_use]
    pub fn models(&self) -> Models {
        Models::new(self)
    }

    /// The values of the metrics of this project.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics(self.clone())
    }

    /// What the metrics of this project mean.
    #[must_use]
    pub fn metric_definitions(&self) -> MetricDefinitions {
        MetricDefinitions::new(self)
    }

    /// The artifacts of this project.
    #[must_use]
    pub fn artifacts(&self) -> Artifacts {
        Artifacts::new(self)
    }

    /// Tags and properties of the workflows, jobs and executions of this project.
    #[must_use]
    pub fn annotations(&self) -> Annotations {
        Annotations(self.clone())
    }

    /// Changes of metadata that are made together or not at all.
    pub fn meta_batch(&self) -> MetaBatch {
        MetaBatch::new(self)
    }

    /// Notes in the lineage that the job that speaks through this handle has read these. What it looks up by name or number is noted by
    /// itself; what it lists is not. Without a job, nothing is noted.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_read(&self, entities: &[RecordKey]) -> Result<()> {
        let Some(origin) = self.origin() else {
            return Ok(());
        };
        let job = job_execution_key(origin.identity.attempt.job_execution);
        let read = |batch: Batch, entity: &RecordKey| batch.relate(READ, job.clone(), entity.clone());
        let batch = entities.iter().fold(Batch::at(self.clock().now()), read);
        self.store().commit(batch).await.map(|_| ())
    }
}

/// Whether only metadata itself announces events of this type.
pub(crate) fn is_meta_event(event_type: &str) -> bool {
    let of_entities = [
        Project::EVENTS.all(),
        Dataset::EVENTS.all(),
        DatasetVersion::EVENTS.all(),
        Model::EVENTS.all(),
        ModelVersion::EVENTS.all(),
        Artifact::EVENTS.all(),
        MetricDefinition::EVENTS.all(),
    ];
    let others = [ALIAS_CHANGED, METRIC_RECORDED, METRIC_REMOVED, ANNOTATION_CHANGED, MODEL_STAGE_CHANGED];
    of_entities.as_flattened().contains(&event_type)
        || others.contains(&event_type)
        || ModelStage::BUILT_IN.iter().any(|stage| stage.event_type() == event_type)
}
