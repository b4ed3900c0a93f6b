//! Metadata: which projects, datasets, models, metrics and artifacts are there, and which job made or read them?
//!
//! Typed entities outside, records and relations inside. Every change and the event that announces it are one transaction, so rules see
//! exactly what happened. Through the context of a job the same calls also write lineage: `produced` and `read`, from the job execution.
//! Source: seed "Meta Service"; AIFlow 0.3 metadata store and model center.

mod artifact;
mod dataset;
mod entity;
mod metric;
mod model;
mod model_version;
mod project;

pub use artifact::{Artifact, Artifacts};
pub use dataset::{Dataset, Datasets};
pub use metric::{METRICS_BATCH_MAX, Metric, Metrics, NewMetric, Subject};
pub use model::{Model, Models};
pub use model_version::{ModelVersion, NewModelVersion};
pub use project::{Project, Projects};

pub use crate::workflow::ModelStage;

use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::records::job_execution_key;
use crate::store::{Batch, RecordKey};

/// Type of the event that a project was registered or changed. Key = project.
pub const PROJECT_CHANGED: &str = "PROJECT_CHANGED";
/// Type of the event that a dataset was registered or changed. Key = dataset, value = `{"uri", "format"}`.
pub const DATASET_CHANGED: &str = "DATASET_CHANGED";
/// Type of the event that a model was registered. Key = model. Its versions announce their stages, see [`ModelStage::event_type`].
pub const MODEL_REGISTERED: &str = "MODEL_REGISTERED";
/// Type of the event that a metric was recorded. Key = metric, value = `{"value", "subject"}` and `"step"` if it has one.
pub const METRIC_RECORDED: &str = "METRIC_RECORDED";
/// Type of the event that an artifact was registered. Key = artifact, value = `{"uri"}`.
pub const ARTIFACT_REGISTERED: &str = "ARTIFACT_REGISTERED";

/// Record kind of a project.
pub const KIND_PROJECT: &str = "project";
/// Record kind of a dataset.
pub const KIND_DATASET: &str = "dataset";
/// Record kind of a model.
pub const KIND_MODEL: &str = "model";
/// Record kind of a model version.
pub const KIND_MODEL_VERSION: &str = "model_version";
/// Record kind of the idempotency key under which a model version was registered.
pub const KIND_MODEL_VERSION_KEY: &str = "model_version_key";
/// Record kind of one recorded value of a metric.
pub const KIND_METRIC: &str = "metric";
/// Record kind of an artifact.
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
        Projects(self.clone())
    }

    /// The datasets of this project.
    #[must_use]
    pub fn datasets(&self) -> Datasets {
        Datasets(self.clone())
    }

    /// The models of this project, and their versions.
    #[must_use]
    pub fn models(&self) -> Models {
        Models(self.clone())
    }

    /// The metrics of this project.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics(self.clone())
    }

    /// The artifacts of this project.
    #[must_use]
    pub fn artifacts(&self) -> Artifacts {
        Artifacts(self.clone())
    }

    /// `project/name`: id of an entity of this project.
    fn entity_key(&self, kind: &str, name: impl std::fmt::Display) -> RecordKey {
        RecordKey::new(kind, format!("{}/{name}", self.project_name()))
    }

    /// Adds to `batch` that the job that speaks through this handle made `entity`.
    fn produced(&self, batch: Batch, entity: &RecordKey) -> Batch {
        match self.origin() {
            Some(origin) => {
                batch.relate(PRODUCED, job_execution_key(origin.identity.attempt.job_execution), entity.clone())
            }
            None => batch,
        }
    }

    /// Records that the job that speaks through this handle read `entity`.
    async fn note_read(&self, entity: &RecordKey) -> Result<()> {
        let Some(origin) = self.origin() else {
            return Ok(());
        };
        let job = job_execution_key(origin.identity.attempt.job_execution);
        let batch = Batch::at(self.clock().now()).relate(READ, job, entity.clone());
        self.store().commit(batch).await.map(|_| ())
    }
}

fn check_text(operation: &'static str, what: &str, text: &str, max: usize) -> Result<()> {
    if text.len() > max {
        return Err(Error::invalid(operation, format!("{what} has {} bytes, at most {max} are allowed", text.len())));
    }
    Ok(())
}
