//! Runs: which events tell of an execution, and what do they say?

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::dataset::{dataset_of, owner};
use super::{Dataset, Execution, FacetSchema, Facets, Job, PRODUCER, Run, RunEvent, RunState, SCHEMA_URL};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::execution::{
    Firing, JobExecution, JobStatus, KIND_JOB_EXECUTION, StopNote, WorkflowExecution, WorkflowStatus,
};
use crate::executor::Ending;
use crate::id::{JobExecutionId, ProjectName, WorkflowName};
use crate::meta::{PRODUCED, READ};
use crate::records::{WorkflowVersion, body_of, job_execution_key, workflow_execution_key, workflow_version_key};
use crate::store::{MetaStoreExt as _, PAGE_ROWS_MAX, Query, Record, RecordKey, RelationQuery};
use crate::time::Timestamp;
use crate::workflow::Workflow;

/// The most job executions of a workflow execution of which run events are made.
pub const RUN_JOBS_MAX: usize = 10_000;
/// The most datasets of a job execution in one direction.
const DATASETS_MAX: usize = 10_000;

impl AiFlow {
    /// The run events of an execution, oldest first; of a workflow's with those of its jobs, which name it as their parent. Made from what is stored, without side effect.
    ///
    /// Each has a START, at the moment at which the execution was created. What is over has its COMPLETE, FAIL (with the reason) or ABORT, what still runs a RUNNING of this moment, with what it
    /// has read and produced so far, so that a streaming job is seen while it runs; ask again for news. What a job reads and produces is what it looks up,
    /// registers and changes through its context: datasets, models, their versions, artifacts.
    ///
    /// ```
    /// # async fn example(aiflow: aiflow_core::client::AiFlow, execution: aiflow_core::id::WorkflowExecutionId) -> aiflow_core::Result<()> {
    /// for event in aiflow.open_lineage(execution).await? {
    ///     let json = serde_json::to_string(&event).unwrap(); // POST it to /api/v1/lineage
    ///     println!("{json}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `NotFound`: there is no such execution. `Full`: it has more than [`RUN_JOBS_MAX`] job executions, or one with more than 10,000 datasets. Others are those of
    /// the store.
    pub async fn open_lineage(&self, execution: impl Into<Execution>) -> Result<Vec<RunEvent>> {
        let execution = execution.into();
        let missing = || Error::not_found("open lineage", "there is no such execution");
        let (jobs, parent) = match execution {
            Execution::Workflow(id) => {
                let parent: WorkflowExecution = self.read(workflow_execution_key(id)).await?.ok_or_else(missing)?;
                let query = Query::kind(KIND_JOB_EXECUTION).parent(id.to_string());
                let jobs = self.store().query_all(query, RUN_JOBS_MAX).await?;
                (jobs.iter().map(body_of).collect::<Result<Vec<JobExecution>>>()?, Some(parent))
            }
            Execution::Job(id) => {
                let job: JobExecution = self.read(job_execution_key(id)).await?.ok_or_else(missing)?;
                let parent = self.read(workflow_execution_key(job.workflow_execution)).await?;
                (vec![job], parent)
            }
        };
        let mut telling = Telling { flow: self, now: self.clock().now(), parent, workflow: None, events: Vec::new() };
        telling.find_workflow().await?;
        if let Execution::Workflow(_) = execution {
            telling.workflow();
        }
        for job in &jobs {
            telling.job(job).await?;
        }
        // Stable: what happened in the same millisecond stays in the order of cause and effect, but for the end of the whole.
        telling.events.sort_by_key(|(at, is_end_of_all, _)| (*at, *is_end_of_all));
        Ok(telling.events.into_iter().map(|(_, _, event)| event).collect())
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, key: RecordKey) -> Result<Option<T>> {
        self.store().get_one(&key).await?.as_ref().map(body_of).transpose()
    }

    /// The datasets to which a job execution is related.
    async fn datasets_of(&self, job: JobExecutionId, kind: &str) -> Result<Vec<Dataset>> {
        let mut query = RelationQuery {
            kind: Some(kind.to_owned()),
            from: vec![job_execution_key(job)],
            ..RelationQuery::default()
        };
        let mut records: Vec<Record> = Vec::new();
        loop {
            let page = self.store().relations(&query).await?;
            let keys: Vec<RecordKey> = page.items.into_iter().map(|relation| relation.to).collect();
            records.extend(self.store().get(&keys).await?.into_iter().flatten());
            if records.len() > DATASETS_MAX {
                let message = format!("a job execution with more than {DATASETS_MAX} datasets");
                return Err(Error::new(crate::ErrorKind::Full, "open lineage", message).with("job_execution", job));
            }
            match page.next {
                Some(token) => query.after = Some(token),
                None => break,
            }
        }
        let mut owners = BTreeMap::new();
        let keys: Vec<RecordKey> = records.iter().filter_map(owner).collect();
        for keys in keys.chunks(PAGE_ROWS_MAX) {
            let found = self.store().get(keys).await?;
            owners.extend(found.into_iter().flatten().map(|record| (record.key.clone(), record)));
        }
        let mut datasets = Vec::new();
        for record in &records {
            let owner = owner(record).and_then(|key| owners.get(&key));
            datasets.extend(dataset_of(record, owner)?);
        }
        datasets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Ok(datasets)
    }
}

/// The events in the making, each with its moment, and whether it is the end of the workflow execution.
struct Telling<'a> {
    flow: &'a AiFlow,
    now: Timestamp,
    /// The workflow execution, if it is still there.
    parent: Option<WorkflowExecution>,
    /// Its definition, if it is still there.
    workflow: Option<Workflow>,
    events: Vec<(Timestamp, bool, RunEvent)>,
}

impl Telling<'_> {
    async fn find_workflow(&mut self) -> Result<()> {
        if let Some(WorkflowExecution { project, workflow, version, .. }) = &self.parent {
            let key = workflow_version_key(project, workflow, *version);
            self.workflow = self.flow.read(key).await?.map(|version: WorkflowVersion| version.workflow);
        }
        Ok(())
    }

    fn workflow(&mut self) {
        let Some(execution) = self.parent.clone() else { return };
        let mut facets = engine();
        nominal_time(&execution.cause, &mut facets);
        let is_standing = self.workflow.as_ref().is_some_and(|workflow| workflow.jobs.iter().any(|job| job.streaming));
        let job = job_of(&execution.project, execution.workflow.as_str().to_owned(), is_standing, "DAG");
        let begin = event(RunState::Start, execution.created_at, Run { run_id: run_of(&execution), facets }, job);
        self.events.push((execution.created_at, false, begin.clone()));
        let (state, at) = match (execution.status, execution.finished_at) {
            (WorkflowStatus::Succeeded, Some(at)) => (RunState::Complete, at),
            (WorkflowStatus::Stopped, Some(at)) => (RunState::Abort, at),
            (status, Some(at)) if status.is_terminal() => (RunState::Fail, at),
            _ => (RunState::Running, self.now.max(execution.created_at)),
        };
        let mut end = begin.at(state, at);
        if state == RunState::Fail {
            error(StopNote::reason_of(&execution.stops).unwrap_or("a job of the workflow failed"), &mut end.run.facets);
        }
        self.events.push((at, true, end));
    }

    async fn job(&mut self, execution: &JobExecution) -> Result<()> {
        let JobExecution { project, workflow, job: name, .. } = execution;
        let mut facets = engine();
        nominal_time(&execution.cause, &mut facets);
        if let Some(parent) = &self.parent {
            if !facets.contains_key(FacetSchema::NominalTime.name()) {
                nominal_time(&parent.cause, &mut facets);
            }
            let job = json!({ "namespace": parent.project.as_str(), "name": parent.workflow.as_str() });
            FacetSchema::Parent.add(json!({ "run": { "runId": run_of(parent) }, "job": job }), &mut facets);
        }
        let definition = self.workflow.as_ref().and_then(|workflow| workflow.job(name));
        let is_streaming = definition.is_some_and(|job| job.streaming);
        let job = job_of(project, format!("{workflow}.{name}"), is_streaming, "JOB");
        let id = execution.id.to_string();
        let run_id = run_id(project, workflow, "job", &id, execution.created_at);
        let begin = event(RunState::Start, execution.created_at, Run { run_id, facets }, job);
        self.events.push((execution.created_at, false, begin.clone()));
        let (state, at) = match (execution.status, execution.finished_at) {
            (JobStatus::Succeeded, Some(at)) => (RunState::Complete, at),
            (JobStatus::Stopped | JobStatus::Skipped, Some(at)) => (RunState::Abort, at),
            (status, Some(at)) if status.is_terminal() => (RunState::Fail, at),
            _ if execution.attempt == 0 => return Ok(()),
            _ => (RunState::Running, self.now.max(execution.created_at)),
        };
        let mut end = begin.at(state, at);
        if state == RunState::Fail {
            error(&reason_of(execution), &mut end.run.facets);
        }
        end.inputs = self.flow.datasets_of(execution.id, READ).await?;
        end.outputs = self.flow.datasets_of(execution.id, PRODUCED).await?;
        self.events.push((at, false, end));
        Ok(())
    }
}

impl RunEvent {
    /// Another event of the same run.
    fn at(&self, state: RunState, at: Timestamp) -> Self {
        Self { event_type: state, event_time: at.to_rfc3339(), ..self.clone() }
    }
}

fn event(event_type: RunState, at: Timestamp, run: Run, job: Job) -> RunEvent {
    RunEvent {
        event_type,
        event_time: at.to_rfc3339(),
        run,
        job,
        inputs: Vec::new(),
        outputs: Vec::new(),
        producer: PRODUCER,
        schema_url: SCHEMA_URL,
    }
}

fn job_of(project: &ProjectName, name: String, is_streaming: bool, job_type: &str) -> Job {
    let mut facets = Facets::new();
    let processing = if is_streaming { "STREAMING" } else { "BATCH" };
    let content = json!({ "processingType": processing, "integration": "AIFLOW", "jobType": job_type });
    FacetSchema::JobType.add(content, &mut facets);
    Job { namespace: project.as_str().to_owned(), name, facets }
}

fn engine() -> Facets {
    let mut facets = Facets::new();
    let content = json!({ "name": "AIFlow", "version": env!("CARGO_PKG_VERSION") });
    FacetSchema::ProcessingEngine.add(content, &mut facets);
    facets
}

fn nominal_time(cause: &Firing, facets: &mut Facets) {
    if let Some(schedule) = &cause.schedule {
        FacetSchema::NominalTime.add(json!({ "nominalStartTime": schedule.time.to_rfc3339() }), facets);
    }
}

fn error(message: &str, facets: &mut Facets) {
    // The language is required; the job may be written in any.
    FacetSchema::ErrorMessage.add(json!({ "message": message, "programmingLanguage": "unknown" }), facets);
}

fn reason_of(execution: &JobExecution) -> String {
    match &execution.ending {
        Some(Ending::Failed { message, .. } | Ending::Lost { message }) => message.clone(),
        Some(Ending::TimedOut { limit }) => match serde_json::to_value(limit) {
            Ok(serde_json::Value::String(limit)) => format!("it exceeded its time limit ({limit})"),
            _ => "it exceeded its time limit".to_owned(),
        },
        _ => StopNote::reason_of(&execution.stops).unwrap_or("it failed").to_owned(),
    }
}

fn run_of(execution: &WorkflowExecution) -> String {
    let WorkflowExecution { project, workflow, id, created_at, .. } = execution;
    run_id(project, workflow, "workflow", &id.to_string(), *created_at)
}

/// A UUID (version 8, made from a hash) of what names a run among all runs of all stores.
fn run_id(project: &ProjectName, workflow: &WorkflowName, sort: &str, id: &str, created: Timestamp) -> String {
    let named = format!("{project}/{workflow}/{sort}/{id}/{}", created.as_millis());
    let digest = Sha256::digest(named.as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
