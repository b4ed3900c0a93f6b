//! Metrics: what is measured, on what, and which values were there?

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Tries};
use super::entity::{Content, EventTypes};
use super::metric_append::{self, Point, Series};
use super::notes::noted;
use super::versions::version_key;
use super::{
    Artifact, Dataset, ENTITIES_LISTED_MAX, KIND_DATASET, KIND_METRIC_DEFINITION, KIND_METRIC_POINTS,
    KIND_METRIC_SUMMARY, KIND_MODEL, METRIC_REMOVED, Model, Notes, Registry, URI_BYTES_MAX, check_text, check_uri,
    names,
};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::id::{AttemptId, EntityName, JobExecutionId, JobName, WorkflowExecutionId, WorkflowName};
use crate::records::{body_of, job_execution_key, workflow_execution_key};
use crate::store::{MetaStoreExt as _, Page, PageToken, Query, RecordKey};
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
    /// A version of a dataset of the project.
    DatasetVersion {
        /// Dataset.
        dataset: EntityName,
        /// Version.
        version: u32,
    },
    /// An artifact of the project.
    Artifact(EntityName),
    /// A job of a workflow of the project, over all its executions.
    Job {
        /// Workflow.
        workflow: WorkflowName,
        /// Job.
        job: JobName,
    },
    /// One execution of a workflow.
    WorkflowExecution(WorkflowExecutionId),
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

    /// A dataset.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn dataset(name: impl AsRef<str>) -> Result<Self> {
        EntityName::parse(name).map(Self::Dataset)
    }

    /// A version of a dataset.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn dataset_version(dataset: impl AsRef<str>, version: u32) -> Result<Self> {
        Ok(Self::DatasetVersion { dataset: EntityName::parse(dataset)?, version })
    }

    /// The key of what has these names now.
    pub(super) async fn key(&self, draft: &mut Draft, flow: &AiFlow) -> Result<RecordKey> {
        match self {
            Self::ModelVersion { model, version } => {
                let owner = names::find::<Model>(draft, flow, model.as_str()).await?.key;
                Ok(version_key::<Model>(&owner, *version))
            }
            Self::DatasetVersion { dataset, version } => {
                let owner = names::find::<Dataset>(draft, flow, dataset.as_str()).await?.key;
                Ok(version_key::<Dataset>(&owner, *version))
            }
            Self::Dataset(name) => Ok(names::find::<Dataset>(draft, flow, name.as_str()).await?.key),
            Self::Artifact(name) => Ok(names::find::<Artifact>(draft, flow, name.as_str()).await?.key),
            Self::Job { workflow, job } => {
                Ok(RecordKey::new("job", format!("{}/{workflow}/{job}", flow.project_name())))
            }
            Self::WorkflowExecution(id) => Ok(workflow_execution_key(*id)),
            Self::JobExecution(id) => Ok(job_execution_key(*id)),
        }
    }

    /// Whether there must be a record of it.
    pub(super) fn is_entity(&self) -> bool {
        !matches!(self, Self::Job { .. } | Self::WorkflowExecution(_) | Self::JobExecution(_))
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
    /// When it was measured; now if `None`.
    pub time: Option<Timestamp>,
}

impl NewMetric {
    /// A value without step, measured now.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>, subject: Subject, value: f64) -> Result<Self> {
        Ok(Self { name: EntityName::parse(name)?, subject, value, step: None, time: None })
    }

    /// Sets the step.
    #[must_use]
    pub fn step(mut self, step: u64) -> Self {
        self.step = Some(step);
        self
    }

    /// Sets when it was measured.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }
}

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(Option<u64>, Timestamp, f64)", into = "(Option<u64>, Timestamp, f64)")]
pub struct MetricPoint {
    /// The training step or epoch it belongs to.
    pub step: Option<u64>,
    /// When it was measured.
    pub time: Timestamp,
    /// The value.
    pub value: f64,
}

impl From<(Option<u64>, Timestamp, f64)> for MetricPoint {
    fn from((step, time, value): (Option<u64>, Timestamp, f64)) -> Self {
        Self { step, time, value }
    }
}

impl From<MetricPoint> for (Option<u64>, Timestamp, f64) {
    fn from(MetricPoint { step, time, value }: MetricPoint) -> Self {
        (step, time, value)
    }
}

/// What is known of one metric of one subject without looking at all its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Metric.
    pub name: EntityName,
    /// What it was measured on: the kind and id of its record.
    pub subject: RecordKey,
    /// The value of the highest step, and of the latest time among those; of values that agree in both, the one recorded last.
    pub latest: f64,
    /// Its step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Its time.
    pub time: Timestamp,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// How many values there are.
    pub count: u64,
    /// The attempt that recorded last, if a job did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_by: Option<AttemptId>,
}

/// The values of the metrics of a project. Obtained from [`AiFlow::metrics`] or the context of a job. A metric needs no
/// [definition](MetricDefinition).
#[derive(Debug, Clone)]
pub struct Metrics(pub(super) AiFlow);

impl Metrics {
    /// Records a value and announces it.
    ///
    /// # Errors
    /// `Invalid`: the value is not finite. `NotFound`: there is no such model version, dataset or artifact. `OutcomeUnknown`: recording again
    /// may record twice. Others are those of the store.
    pub async fn record(&self, metric: NewMetric) -> Result<()> {
        self.record_all(vec![metric]).await
    }

    /// Records values, all or none, and announces each metric of each subject once; at most [`METRICS_BATCH_MAX`]. Values of one metric of
    /// one subject are in the order given.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn record_all(&self, metrics: Vec<NewMetric>) -> Result<()> {
        if metrics.len() > METRICS_BATCH_MAX {
            let message = format!("{} values at once, at most {METRICS_BATCH_MAX} are allowed", metrics.len());
            return Err(Error::invalid("record metric", message));
        }
        let mut tries = Tries::once("record metric");
        loop {
            let mut draft = Draft::new(&self.0);
            record(&mut draft, &self.0, &metrics).await?;
            if tries.commit(draft).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// The summary of one metric of a subject; `None` if it was never measured.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn summary(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Option<MetricSummary>> {
        let key = self.key(subject, name.as_ref()).await?;
        let record = self.0.store().get_one(&key).await?;
        Ok(record.as_ref().map(body_of::<Series>).transpose()?.map(|series| series.summary))
    }

    /// The latest value of one metric of a subject, as [`MetricSummary::latest`].
    ///
    /// # Errors
    /// As [`summary`](Self::summary).
    pub async fn latest(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Option<f64>> {
        Ok(self.summary(subject, name).await?.map(|summary| summary.latest))
    }

    /// The summaries of all metrics of a subject, in the order in which they were first measured.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn of(&self, subject: &Subject) -> Result<Vec<MetricSummary>> {
        let subject = subject.key(&mut Draft::new(&self.0), &self.0).await?;
        let query = Query::kind(KIND_METRIC_SUMMARY).parent(subject.to_string());
        let records = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        records.iter().map(|record| Ok(body_of::<Series>(record)?.summary)).collect()
    }

    /// One page of the summaries of a metric over all subjects of the project, in the order in which it was first measured on each.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or the token is not one of this store; others are those of the store.
    pub async fn named(&self, name: impl AsRef<str>, after: Option<PageToken>) -> Result<Page<MetricSummary>> {
        let name = EntityName::parse(name)?;
        let query = Query::kind(KIND_METRIC_SUMMARY).project(self.0.project_name().as_str()).name(name.as_str());
        let page = self.0.store().query(&query.after(after)).await?;
        let items = page.items.iter().map(|record| Ok(body_of::<Series>(record)?.summary));
        Ok(Page { items: items.collect::<Result<_>>()?, next: page.next })
    }

    /// The values of one metric of a subject, in the order in which they were recorded.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`ENTITIES_LISTED_MAX`] records of them; others are those of the
    /// store.
    pub async fn series(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Vec<MetricPoint>> {
        let key = self.key(subject, name.as_ref()).await?;
        let Some(record) = self.0.store().get_one(&key).await? else {
            return Ok(Vec::new());
        };
        let series: Series = body_of(&record)?;
        let query = Query::kind(KIND_METRIC_POINTS).parent(&key.id);
        let mut points = Vec::new();
        let chunks = self.0.store().query_all(query, ENTITIES_LISTED_MAX).await?;
        // What moved from the summary to a chunk after the summary was read is in both.
        for chunk in chunks.iter().take(usize::try_from(series.chunks).unwrap_or(usize::MAX)) {
            points.extend(body_of::<Vec<MetricPoint>>(chunk)?);
        }
        points.extend(series.tail);
        Ok(points)
    }

    /// Removes all values of one metric of a subject for good, and announces it. Returns how many there were.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if they are in more than [`PURGED_MAX`](super::PURGED_MAX) records; others are those of the store.
    pub async fn purge(&self, subject: &Subject, name: impl AsRef<str>) -> Result<u64> {
        let key = self.key(subject, name.as_ref()).await?;
        let mut tries = Tries::repeatable("purge metric");
        loop {
            let mut draft = Draft::new(&self.0);
            let Some(record) = draft.get(&key).await? else {
                return Ok(0);
            };
            let Series { summary, .. } = body_of(&record)?;
            draft.discard(metric_append::chunk_keys(&self.0, &key).await?);
            draft.delete(&key);
            let value = serde_json::json!({"subject": summary.subject, "points": summary.count});
            let event = self.0.event(summary.name.as_str()).event_type(METRIC_REMOVED).value(value);
            draft.event(self.0.stamp_for_execution(event));
            if tries.commit(draft).await?.is_some() {
                return Ok(summary.count);
            }
        }
    }

    async fn key(&self, subject: &Subject, name: &str) -> Result<RecordKey> {
        let name = EntityName::parse(name)?;
        let subject = subject.key(&mut Draft::new(&self.0), &self.0).await?;
        Ok(metric_append::series_key(&subject, &name))
    }
}

/// Adds values to a draft.
pub(super) async fn record(draft: &mut Draft, flow: &AiFlow, metrics: &[NewMetric]) -> Result<()> {
    let mut keys = std::collections::BTreeMap::new();
    for metric in metrics {
        if !keys.contains_key(&metric.subject) {
            let key = metric.subject.key(draft, flow).await?;
            if metric.subject.is_entity() && draft.get(&key).await?.is_none() {
                return Err(names::missing("record metric", &key));
            }
            keys.insert(metric.subject.clone(), key);
        }
    }
    let points = metrics.iter().filter_map(|metric| {
        let subject = keys.get(&metric.subject)?.clone();
        Some(Point::new(metric.name.clone(), subject, metric.value).at(metric.step, metric.time))
    });
    metric_append::append(draft, flow, points.collect()).await
}

/// What a metric means. Nothing requires it; it is for people and for what compares values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricDefinition {
    /// Name, that of the metric.
    pub name: EntityName,
    /// Whether more or less is better; `None` if neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
    /// Of one value: `ms`, `percent`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The dataset or model for which it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<MetricOwner>,
    /// The job that measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// Where its values are kept outside, if they are; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Since when it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Until when it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

/// Which of two values is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The greater one.
    Higher,
    /// The smaller one.
    Lower,
}

/// For what a metric is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricOwner {
    /// A dataset of the project.
    Dataset(EntityName),
    /// A model of the project.
    Model(EntityName),
}

impl MetricOwner {
    fn parent(&self, project: &str) -> String {
        let (kind, name) = match self {
            Self::Dataset(name) => (KIND_DATASET, name),
            Self::Model(name) => (KIND_MODEL, name),
        };
        format!("{kind}:{project}/{name}")
    }
}

impl MetricDefinition {
    /// A metric of which only the name is known.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        Ok(Self {
            name: EntityName::parse(name)?,
            better: None,
            unit: String::new(),
            of: None,
            job: None,
            uri: String::new(),
            start_time: None,
            end_time: None,
            notes: Notes::default(),
        })
    }

    /// Sets whether more or less is better.
    #[must_use]
    pub fn better(mut self, better: Better) -> Self {
        self.better = Some(better);
        self
    }

    /// Sets the unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// Sets for what it is meant.
    #[must_use]
    pub fn of(mut self, owner: MetricOwner) -> Self {
        self.of = Some(owner);
        self
    }

    /// Sets the job that measures it.
    #[must_use]
    pub fn job(mut self, job: JobName) -> Self {
        self.job = Some(job);
        self
    }
}

noted!(MetricDefinition);

impl Content for MetricDefinition {
    const KIND: &'static str = KIND_METRIC_DEFINITION;
    const EVENTS: EventTypes = EventTypes {
        registered: "METRIC_DEFINED",
        changed: "METRIC_DEFINITION_CHANGED",
        removed: "METRIC_DEFINITION_REMOVED",
        restored: "METRIC_DEFINITION_RESTORED",
        purged: "METRIC_DEFINITION_PURGED",
    };

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        check_text(operation, "unit", &self.unit, URI_BYTES_MAX)?;
        check_uri(operation, &self.uri)
    }

    fn parent(&self, key: &RecordKey) -> String {
        let project = key.id.split_once('/').map_or("", |(project, _)| project);
        self.of.as_ref().map(|of| of.parent(project)).unwrap_or_default()
    }
}

/// What the metrics of a project mean: see [`Registry`]. Obtained from [`AiFlow::metric_definitions`] or the context of a job.
pub type MetricDefinitions = Registry<MetricDefinition>;

impl Registry<MetricDefinition> {
    /// The live definitions of metrics that are meant for a dataset or model, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`]; others are those of the store.
    pub async fn meant_for(&self, owner: &MetricOwner) -> Result<Vec<super::Stored<MetricDefinition>>> {
        let parent = owner.parent(self.flow.project_name().as_str());
        super::registry::all(&self.flow, Query::kind(KIND_METRIC_DEFINITION).parent(parent)).await
    }
}
