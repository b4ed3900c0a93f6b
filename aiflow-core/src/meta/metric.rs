//! Metrics: which value was measured on what, when, and by which job?

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entity::existing;
use super::{ENTITIES_LISTED_MAX, KIND_DATASET, KIND_METRIC, KIND_MODEL_VERSION, METRIC_RECORDED};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::event::NewEvent;
use crate::id::{AttemptId, EntityName, JobExecutionId, JobName, ProjectName, WorkflowName, random_id};
use crate::records::{body_of, job_execution_key, put};
use crate::store::{Batch, MetaStoreExt as _, Query, RecordKey, RecordPut};
use crate::time::Timestamp;

/// The most values that one call records.
pub const METRICS_BATCH_MAX: usize = 1_000;

/// What a metric is measured on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A version of a model of the project.
    ModelVersion {
        /// Model.
        model: EntityName,
        /// Version.
        version: u32,
    },
    /// A dataset of the project.
    Dataset(EntityName),
    /// A job of a workflow of the project, over all its executions.
    Job {
        /// Workflow.
        workflow: WorkflowName,
        /// Job.
        job: JobName,
    },
    /// One execution of a job.
    JobExecution(JobExecutionId),
}

impl Subject {
    /// A version of a model.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn model_version(model: impl AsRef<str>, version: u32) -> Result<Self> {
        Ok(Self::ModelVersion { model: EntityName::parse(model)?, version })
    }

    fn key(&self, project: &ProjectName) -> RecordKey {
        match self {
            Self::ModelVersion { model, version } => {
                RecordKey::new(KIND_MODEL_VERSION, format!("{project}/{model}/{version}"))
            }
            Self::Dataset(name) => RecordKey::new(KIND_DATASET, format!("{project}/{name}")),
            Self::Job { workflow, job } => RecordKey::new("job", format!("{project}/{workflow}/{job}")),
            Self::JobExecution(id) => job_execution_key(*id),
        }
    }

    /// Whether there must be a record of it.
    fn is_entity(&self) -> bool {
        matches!(self, Self::ModelVersion { .. } | Self::Dataset(_))
    }
}

/// A value to record.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMetric {
    /// Metric: `accuracy`, `loss`, …
    pub name: EntityName,
    /// What it was measured on.
    pub subject: Subject,
    /// The value; finite.
    pub value: f64,
    /// The training step or epoch it belongs to.
    pub step: Option<u64>,
}

impl NewMetric {
    /// A value without step.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, subject: Subject, value: f64) -> Result<Self> {
        Ok(Self { name: EntityName::parse(name)?, subject, value, step: None })
    }

    /// Sets the step.
    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }
}

/// A recorded value; never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Metric.
    pub name: EntityName,
    /// What it was measured on.
    pub subject: Subject,
    /// The value.
    pub value: f64,
    /// The training step or epoch it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The attempt that recorded it, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_by: Option<AttemptId>,
}

/// The metrics of a project. Obtained from [`AiFlow::metrics`] or the context of a job.
#[derive(Debug, Clone)]
pub struct Metrics(pub(super) AiFlow);

impl Metrics {
    /// Records a value and announces it.
    ///
    /// # Errors
    /// `Invalid`: the value is not finite. `NotFound`: there is no such model version or dataset. Others are those of the store.
    pub async fn record(&self, metric: NewMetric) -> Result<()> {
        self.record_all(vec![metric]).await
    }

    /// Records values and announces each, all or none; at most [`METRICS_BATCH_MAX`].
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn record_all(&self, metrics: Vec<NewMetric>) -> Result<()> {
        if metrics.len() > METRICS_BATCH_MAX {
            return Err(Error::invalid(
                "record metric",
                format!("{} values at once, at most {METRICS_BATCH_MAX} are allowed", metrics.len()),
            ));
        }
        self.check_subjects(&metrics).await?;
        let now = self.0.clock().now();
        let mut batch = Batch::at(now);
        for metric in metrics {
            if !metric.value.is_finite() {
                return Err(Error::invalid("record metric", "the value must be finite")
                    .with("metric", &metric.name)
                    .with("value", metric.value));
            }
            let metric = Metric {
                name: metric.name,
                subject: metric.subject,
                value: metric.value,
                step: metric.step,
                recorded_at: now,
                recorded_by: self.0.origin().map(|origin| origin.identity.attempt),
            };
            let key = RecordKey::new(KIND_METRIC, random_id());
            let record = RecordPut {
                project: self.0.project_name().to_string(),
                parent: self.parent(&metric.subject),
                name: metric.name.to_string(),
                ..put(key.clone(), &metric)
            };
            batch = self.0.produced(batch, &key);
            batch = batch.put(record).event(self.news(&metric));
        }
        if batch.puts.is_empty() {
            return Ok(());
        }
        self.0.store().commit(batch).await.map(|_| ())
    }

    async fn check_subjects(&self, metrics: &[NewMetric]) -> Result<()> {
        let subjects: std::collections::BTreeSet<&Subject> =
            metrics.iter().map(|metric| &metric.subject).filter(|subject| subject.is_entity()).collect();
        for subject in subjects {
            existing(&self.0, &subject.key(self.0.project_name()), "record metric").await?;
        }
        Ok(())
    }

    fn news(&self, metric: &Metric) -> NewEvent {
        let mut value = json!({"value": metric.value, "subject": metric.subject});
        if let Some(step) = metric.step {
            value["step"] = step.into();
        }
        let event = self.0.event(metric.name.as_str()).event_type(METRIC_RECORDED).value(value);
        self.0.stamp_for_execution(event)
    }

    /// All values recorded on a subject, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn of(&self, subject: &Subject) -> Result<Vec<Metric>> {
        let query = Query::kind(KIND_METRIC).parent(self.parent(subject));
        let records = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// The values of one metric of a subject, oldest first.
    ///
    /// # Errors
    /// As [`of`](Self::of), and `Invalid` if the name is not well formed.
    pub async fn series(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Vec<Metric>> {
        let query = self.named(subject, name.as_ref())?;
        let records = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        records.iter().map(body_of).collect()
    }

    /// The newest value of one metric of a subject.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn latest(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Option<Metric>> {
        let query = self.named(subject, name.as_ref())?.newest_first().limit(1);
        let page = self.0.store().query(&query).await?;
        page.items.first().map(body_of).transpose()
    }

    fn named(&self, subject: &Subject, name: &str) -> Result<Query> {
        let name = EntityName::parse(name)?;
        Ok(Query::kind(KIND_METRIC).parent(self.parent(subject)).name(name.as_str()))
    }

    fn parent(&self, subject: &Subject) -> String {
        subject.key(self.0.project_name()).to_string()
    }
}
