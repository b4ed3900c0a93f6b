//! Metrics: what is measured, on what, and which values were there?

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::draft::{Draft, Tries, decide};
use super::metric_append::{self, Point, Values};
use super::versions::version_key;
use super::{Artifact, Dataset, ENTITIES_LISTED_MAX, KIND_METRIC_SUMMARY, METRIC_REMOVED, Model, names};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AttemptId, EntityName, JobExecutionId, JobName, WorkflowExecutionId, WorkflowName};
use crate::records::{body_of, job_execution_key, workflow_execution_key};
use crate::store::{MetaStoreExt as _, Page, PageToken, Query, RecordKey};
use crate::time::Timestamp;

/// The most values that one call records.
pub const METRICS_BATCH_MAX: usize = 1_000;
/// The most values that [`Metrics::series`] returns.
pub const SERIES_LISTED_MAX: usize = 1_000_000;
/// Records of values, of at least 33 each, that one page of a series reads.
const SERIES_PAGE_CHUNKS: u64 = 64;

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
            Self::Job { .. } | Self::WorkflowExecution(_) | Self::JobExecution(_) => Ok(self.likely_key(flow).1),
        }
    }

    /// What `key` looks at, and the key that it nearly always gives.
    fn likely_key(&self, flow: &AiFlow) -> (Vec<RecordKey>, RecordKey) {
        let looked_at = match self {
            Self::ModelVersion { model, .. } => names::looked_at::<Model>(flow, model.as_str()),
            Self::DatasetVersion { dataset: name, .. } | Self::Dataset(name) => {
                names::looked_at::<Dataset>(flow, name.as_str())
            }
            Self::Artifact(name) => names::looked_at::<Artifact>(flow, name.as_str()),
            Self::Job { workflow, job } => {
                return (Vec::new(), RecordKey::new("job", format!("{}/{workflow}/{job}", flow.project_name())));
            }
            Self::WorkflowExecution(id) => return (Vec::new(), workflow_execution_key(*id)),
            Self::JobExecution(id) => return (Vec::new(), job_execution_key(*id)),
        };
        let likely = match self {
            Self::ModelVersion { version, .. } => version_key::<Model>(&looked_at[0], *version),
            Self::DatasetVersion { version, .. } => version_key::<Dataset>(&looked_at[0], *version),
            _ => looked_at[0].clone(),
        };
        (looked_at.into(), likely)
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
/// [definition](super::MetricDefinition).
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
        decide!(&self.0, Tries::once("record metric"), |draft| {
            record(&mut draft, &self.0, &metrics).await?;
        });
        Ok(())
    }

    /// The summary of one metric of a subject; `None` if it was never measured.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed; others are those of the store.
    pub async fn summary(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Option<MetricSummary>> {
        let key = self.key(subject, name.as_ref()).await?;
        let record = self.0.store().get_one(&key).await?;
        record.as_ref().map(body_of).transpose()
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
        records.iter().map(body_of).collect()
    }

    /// One page of the summaries of a metric over all subjects of the project, in the order in which it was first measured on each.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or the token is not one of this store; others are those of the store.
    pub async fn named(&self, name: impl AsRef<str>, after: Option<PageToken>) -> Result<Page<MetricSummary>> {
        let name = EntityName::parse(name)?;
        let query = Query::kind(KIND_METRIC_SUMMARY).project(self.0.project_name().as_str()).name(name.as_str());
        let page = self.0.store().query(&query.after(after)).await?;
        let items = page.items.iter().map(body_of);
        Ok(Page { items: items.collect::<Result<_>>()?, next: page.next })
    }

    /// The values of one metric of a subject, in the order in which they were recorded.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if there are more than [`SERIES_LISTED_MAX`] values: read them by
    /// [pages](Self::series_page). Others are those of the store.
    pub async fn series(&self, subject: &Subject, name: impl AsRef<str>) -> Result<Vec<MetricPoint>> {
        let mut points = Vec::new();
        let mut after = None;
        loop {
            let page = self.series_page(subject, name.as_ref(), after).await?;
            points.extend(page.items);
            if points.len() > SERIES_LISTED_MAX {
                let message = format!("more than {SERIES_LISTED_MAX} values: read them by pages");
                return Err(Error::new(ErrorKind::Full, "metric series", message).with("metric", name.as_ref()));
            }
            after = page.next;
            if after.is_none() {
                return Ok(points);
            }
        }
    }

    /// One page of the values of one metric of a subject, in the order in which they were recorded: some thousand values, whatever the length of
    /// the series. Values that are recorded meanwhile come on later pages; none comes twice.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or the token is not one of this call; others are those of the store.
    pub async fn series_page(
        &self,
        subject: &Subject,
        name: impl AsRef<str>,
        after: Option<PageToken>,
    ) -> Result<Page<MetricPoint>> {
        let done: u64 = match &after {
            Some(token) => {
                token.0.parse().map_err(|_| Error::invalid("metric series", "the page token is not of a series"))?
            }
            None => 0,
        };
        let key = self.key(subject, name.as_ref()).await?;
        let Some(record) = self.0.store().get_one(&key).await? else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let values: Values = body_of(&record)?;
        let last = values.chunks.min(done.saturating_add(SERIES_PAGE_CHUNKS));
        let keys: Vec<RecordKey> = (done..last).map(|earlier| metric_append::chunk_key(&key, earlier + 1)).collect();
        let mut items = Vec::new();
        // A chunk that is gone was purged after the summary was read.
        for chunk in self.0.store().get(&keys).await?.iter().flatten() {
            items.extend(body_of::<Vec<MetricPoint>>(chunk)?);
        }
        if last < values.chunks {
            return Ok(Page { items, next: Some(PageToken(last.to_string())) });
        }
        items.extend(values.tail);
        Ok(Page { items, next: None })
    }

    /// Removes all values of one metric of a subject for good, and announces it. Returns how many there were.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, `Full` if they are in more than [`PURGED_MAX`](super::PURGED_MAX) records; others are those of the store.
    pub async fn purge(&self, subject: &Subject, name: impl AsRef<str>) -> Result<u64> {
        let key = self.key(subject, name.as_ref()).await?;
        let mut removed = 0;
        decide!(&self.0, Tries::repeatable("purge metric"), |draft| {
            let Some(record) = draft.get(&key).await? else {
                return Ok(removed);
            };
            let summary: MetricSummary = body_of(&record)?;
            draft.discard(metric_append::chunk_keys(&self.0, &key).await?);
            draft.delete(&key);
            let value = serde_json::json!({"subject": summary.subject, "points": summary.count});
            let event = self.0.event(summary.name.as_str()).event_type(METRIC_REMOVED).value(value);
            draft.event(self.0.stamp_for_execution(event));
            removed = summary.count;
        });
        Ok(removed)
    }

    async fn key(&self, subject: &Subject, name: &str) -> Result<RecordKey> {
        let name = EntityName::parse(name)?;
        let subject = subject.key(&mut Draft::new(&self.0), &self.0).await?;
        Ok(metric_append::series_key(&subject, &name))
    }
}

/// Adds values to a draft.
pub(super) async fn record(draft: &mut Draft, flow: &AiFlow, metrics: &[NewMetric]) -> Result<()> {
    draft.get_all(&likely_keys(flow, metrics)).await?;
    let mut keys = BTreeMap::new();
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

/// Everything that recording nearly always looks at, so that it is looked at once.
fn likely_keys(flow: &AiFlow, metrics: &[NewMetric]) -> Vec<RecordKey> {
    let mut subjects = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for metric in metrics {
        let likely = subjects.entry(&metric.subject).or_insert_with(|| {
            let (looked_at, likely) = metric.subject.likely_key(flow);
            keys.extend(looked_at);
            if metric.subject.is_entity() {
                keys.insert(likely.clone());
            }
            likely
        });
        keys.insert(metric_append::series_key(likely, &metric.name));
    }
    keys.into_iter().collect()
}
