//! OpenLineage: how does what ran look to the tools that collect lineage?
//!
//! Run events of the [OpenLineage](https://openlineage.io) specification 2-0-2, made from what is stored: nothing is written, and nobody is
//! told. Send them where they belong as JSON, one by one.

mod dataset;
mod run;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::id::{JobExecutionId, WorkflowExecutionId};

pub use run::RUN_JOBS_MAX;

/// Who made the events: the library, in its version.
pub const PRODUCER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/v", env!("CARGO_PKG_VERSION"));
/// The schema of the events.
pub const SCHEMA_URL: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// The execution of which run events are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Execution {
    /// One of a workflow, with those of its jobs.
    Workflow(WorkflowExecutionId),
    /// One of a job.
    Job(JobExecutionId),
}

impl From<WorkflowExecutionId> for Execution {
    fn from(id: WorkflowExecutionId) -> Self {
        Self::Workflow(id)
    }
}

impl From<JobExecutionId> for Execution {
    fn from(id: JobExecutionId) -> Self {
        Self::Job(id)
    }
}

/// The transition that a run event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunState {
    /// It was started.
    Start,
    /// It is not over; what it has read and produced so far.
    Running,
    /// It succeeded.
    Complete,
    /// It failed.
    Fail,
    /// It was stopped.
    Abort,
}

/// Facets by name: each an object with `_producer` and `_schemaURL`.
pub type Facets = BTreeMap<&'static str, Value>;

/// A run event. Written by `serde` as the specification says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// The transition.
    pub event_type: RunState,
    /// When: RFC 3339, UTC.
    pub event_time: String,
    /// The run.
    pub run: Run,
    /// The job that runs.
    pub job: Job,
    /// What it has read.
    pub inputs: Vec<Dataset>,
    /// What it has produced.
    pub outputs: Vec<Dataset>,
    /// [`PRODUCER`].
    pub producer: &'static str,
    /// [`SCHEMA_URL`].
    #[serde(rename = "schemaURL")]
    pub schema_url: &'static str,
}

/// A run: one execution of a workflow or of a job, with all its attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// A UUID that follows from project, workflow, id and creation of the execution: always the same, also in a copy of the store.
    pub run_id: String,
    /// `parent`, `nominalTime`, `errorMessage`, `processing_engine`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
}

/// A workflow or job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// The project.
    pub namespace: String,
    /// `workflow`, or `workflow.job`.
    pub name: String,
    /// `jobType`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
}

/// A dataset, model or artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dataset {
    /// Where its name is unique: for data with a URI `scheme://authority` (`file` for local paths), for a table of a catalogue how to connect to
    /// that, otherwise `aiflow://project`.
    pub namespace: String,
    /// For data with a URI the path, for a table `database.table`, otherwise `kind/name`.
    pub name: String,
    /// `version`, `schema`, `dataSource`, `datasetType`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facets: Facets,
}

/// The schemas of the facets, each with its version.
#[derive(Debug, Clone, Copy)]
enum FacetSchema {
    Parent,
    NominalTime,
    ErrorMessage,
    ProcessingEngine,
    JobType,
    Version,
    Schema,
    DataSource,
    DatasetType,
}

impl FacetSchema {
    fn name(self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::NominalTime => "nominalTime",
            Self::ErrorMessage => "errorMessage",
            Self::ProcessingEngine => "processing_engine",
            Self::JobType => "jobType",
            Self::Version => "version",
            Self::Schema => "schema",
            Self::DataSource => "dataSource",
            Self::DatasetType => "datasetType",
        }
    }

    fn url(self) -> String {
        let (version, name) = match self {
            Self::Parent => ("1-0-1", "ParentRunFacet"),
            Self::NominalTime => ("1-0-1", "NominalTimeRunFacet"),
            Self::ErrorMessage => ("1-0-1", "ErrorMessageRunFacet"),
            Self::ProcessingEngine => ("1-1-1", "ProcessingEngineRunFacet"),
            Self::JobType => ("2-0-3", "JobTypeJobFacet"),
            Self::Version => ("1-0-1", "DatasetVersionDatasetFacet"),
            Self::Schema => ("1-1-1", "SchemaDatasetFacet"),
            Self::DataSource => ("1-0-1", "DatasourceDatasetFacet"),
            Self::DatasetType => ("1-0-0", "DatasetTypeDatasetFacet"),
        };
        format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}")
    }

    /// The facet with this content, an object.
    fn add(self, content: Value, to: &mut Facets) {
        let mut facet = match content {
            Value::Object(content) => content,
            _ => Map::new(),
        };
        facet.insert("_producer".to_owned(), PRODUCER.into());
        facet.insert("_schemaURL".to_owned(), self.url().into());
        to.insert(self.name(), Value::Object(facet));
    }
}
