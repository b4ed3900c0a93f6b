//! Definitions of metrics: what does a metric mean, and for what is it meant?

use serde::{Deserialize, Serialize};

use super::entity::{Content, EventTypes};
use super::notes::noted;
use super::problems::Problems;
use super::{KIND_DATASET, KIND_METRIC_DEFINITION, KIND_MODEL, Notes, Registry, Stored, URI_BYTES_MAX, registry};
use crate::error::Result;
use crate::id::{EntityName, JobName};
use crate::store::{Query, RecordKey};
use crate::time::Timestamp;

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

    fn check(&self, problems: &mut Problems) {
        problems.text("the unit", &self.unit, URI_BYTES_MAX);
        problems.uri("the uri", &self.uri);
    }

    fn parent(&self, key: &RecordKey) -> String {
        let project = key.id.split_once('/').map_or("", |(project, _)| project);
        self.of.as_ref().map(|of| of.parent(project)).unwrap_or_default()
    }
}

/// What the metrics of a project mean: see [`Registry`]. Obtained from [`AiFlow::metric_definitions`](crate::client::AiFlow::metric_definitions) or the context of a job.
pub type MetricDefinitions = Registry<MetricDefinition>;

impl Registry<MetricDefinition> {
    /// The live definitions of metrics that are meant for a dataset or model, oldest first.
    ///
    /// # Errors
    /// `Full` if there are more than [`ENTITIES_LISTED_MAX`](super::ENTITIES_LISTED_MAX); others are those of the store.
    pub async fn meant_for(&self, owner: &MetricOwner) -> Result<Vec<Stored<MetricDefinition>>> {
        let parent = owner.parent(self.flow.project_name().as_str());
        registry::all(&self.flow, Query::kind(KIND_METRIC_DEFINITION).parent(parent)).await
    }
}
