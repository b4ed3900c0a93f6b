//! Records of workflows and executions: under which key and with which copied columns is each thing of the scheduler stored?
//!
//! The runtime writes these and clients read them, so the layout stands in one place. The body is always the whole struct as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::NewFiring;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{
    FiringRecord, JobExecution, JobState, KIND_DEAD_LETTER, KIND_FIRING, KIND_JOB_EXECUTION, KIND_JOB_STATE,
    KIND_METER, KIND_POOL, KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, Meter, Pool,
    WorkflowExecution, WorkflowState,
};
use crate::host::{HostState, KIND_HOST};
use crate::id::{HostName, JobExecutionId, JobName, Offset, PoolName, ProjectName, WorkflowExecutionId, WorkflowName};
use crate::json::Json;
use crate::rerun::{KIND_RERUN, RerunPlan};
use crate::store::{Record, RecordKey, RecordPut, Relation};
use crate::time::Timestamp;
use crate::workflow::Workflow;

/// One submitted version of a workflow; never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowVersion {
    /// Number, from 1, without gaps.
    pub version: u32,
    /// The definition.
    pub workflow: Workflow,
    /// [`Workflow::content_hash`] of the definition.
    pub hash: String,
    /// When it was submitted.
    pub submitted_at: Timestamp,
}

/// An event that could not be applied, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id: the event's offset; the offset, the owner of the rule and the rule, `12/wine/quality/start-1a2b`, if only that rule could not take it.
    #[serde(default)]
    pub id: String,
    /// What was done about it.
    #[serde(default)]
    pub state: DeadLetterState,
    /// The event.
    pub offset: Offset,
    /// Why, for people.
    pub reason: String,
}

/// What was done about a dead letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DeadLetterState {
    /// Nothing.
    #[default]
    Open,
    /// Its event was published again.
    Replayed,
    /// It was set aside.
    Discarded,
}

impl DeadLetterState {
    /// The state in capitals, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Replayed => "REPLAYED",
            Self::Discarded => "DISCARDED",
        }
    }
}

impl DeadLetter {
    /// An event that could not be applied, and why.
    #[must_use]
    pub fn new(id: impl Into<String>, offset: Offset, reason: impl Into<String>) -> Self {
        Self { id: id.into(), state: DeadLetterState::Open, offset, reason: reason.into() }
    }

    /// The owner and name of the one rule that could not take the event; `None` if the event as a whole could not be applied.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.id.split_once('/').map(|(_, rule)| rule)
    }
}

/// `project/workflow`: id of the workflow's record, and parent of its versions and executions.
#[must_use]
pub fn workflow_id(project: &ProjectName, workflow: &WorkflowName) -> String {
    format!("{project}/{workflow}")
}

/// Key of a workflow.
#[must_use]
pub fn workflow_key(project: &ProjectName, workflow: &WorkflowName) -> RecordKey {
    RecordKey::new(KIND_WORKFLOW, workflow_id(project, workflow))
}

/// Key of one version of a workflow: `project/workflow/3`.
#[must_use]
pub fn workflow_version_key(project: &ProjectName, workflow: &WorkflowName, version: u32) -> RecordKey {
    RecordKey::new(KIND_WORKFLOW_VERSION, format!("{project}/{workflow}/{version}"))
}

/// Key of a workflow execution.
#[must_use]
pub fn workflow_execution_key(id: WorkflowExecutionId) -> RecordKey {
    RecordKey::new(KIND_WORKFLOW_EXECUTION, id.to_string())
}

/// `execution/job`: key of a job within a workflow execution.
#[must_use]
pub fn job_state_key(execution: WorkflowExecutionId, job: &JobName) -> RecordKey {
    RecordKey::new(KIND_JOB_STATE, format!("{execution}/{job}"))
}

/// Key of a plan by which an execution is run again.
#[must_use]
pub fn rerun_key(id: &str) -> RecordKey {
    RecordKey::new(KIND_RERUN, id)
}

/// The record of a plan by which an execution is run again. Parent = that execution, name = workflow.
#[must_use]
pub fn rerun_put(plan: &RerunPlan) -> RecordPut {
    RecordPut {
        project: plan.project.to_string(),
        parent: plan.execution.to_string(),
        name: plan.workflow.to_string(),
        ..put(rerun_key(&plan.id), plan)
    }
}

/// Key of a job execution.
#[must_use]
pub fn job_execution_key(id: JobExecutionId) -> RecordKey {
    RecordKey::new(KIND_JOB_EXECUTION, id.to_string())
}

/// Key of the dead letter of the event at `offset`.
#[must_use]
pub fn dead_letter_key(offset: Offset) -> RecordKey {
    RecordKey::new(KIND_DEAD_LETTER, offset.to_string())
}

/// The record of a workflow. Name = workflow, state = `ENABLED`, `DISABLED` or `DELETED`.
#[must_use]
pub fn workflow_put(workflow: &WorkflowState) -> RecordPut {
    RecordPut {
        project: workflow.project.to_string(),
        name: workflow.name.to_string(),
        state: match (workflow.deleted_at, workflow.enabled) {
            (Some(_), _) => "DELETED",
            (None, true) => "ENABLED",
            (None, false) => "DISABLED",
        }
        .to_owned(),
        ..put(workflow_key(&workflow.project, &workflow.name), workflow)
    }
}

/// The record of a version. Parent = [`workflow_id`], name = workflow.
#[must_use]
pub fn workflow_version_put(version: &WorkflowVersion) -> RecordPut {
    let Workflow { project, name, .. } = &version.workflow;
    RecordPut {
        project: project.to_string(),
        parent: workflow_id(project, name),
        name: name.to_string(),
        ..put(workflow_version_key(project, name, version.version), version)
    }
}

/// The record of a workflow execution. Parent = [`workflow_id`], name = workflow, state = status.
#[must_use]
pub fn workflow_execution_put(execution: &WorkflowExecution) -> RecordPut {
    RecordPut {
        project: execution.project.to_string(),
        parent: workflow_id(&execution.project, &execution.workflow),
        name: execution.workflow.to_string(),
        state: execution.status.to_string(),
        ..put(workflow_execution_key(execution.id), execution)
    }
}

/// The record of a job within a workflow execution. Parent = workflow execution, name = job, state = `LIVE`, or how its last execution ended.
#[must_use]
pub fn job_state_put(job: &JobState) -> RecordPut {
    RecordPut {
        project: job.project.to_string(),
        parent: job.execution.to_string(),
        name: job.job.to_string(),
        state: match (job.current, job.last) {
            (Some(_), _) => "LIVE".to_owned(),
            (None, last) => last.map(|last| last.to_string()).unwrap_or_default(),
        },
        ..put(job_state_key(job.execution, &job.job), job)
    }
}

/// Kind of the relation from a workflow execution to each of its [labels](label_key).
pub const LABELLED: &str = "labelled";

/// What the executions of a project with this label are related to. There is no record of it.
#[must_use]
pub fn label_key(project: &ProjectName, name: &str, value: &str) -> RecordKey {
    RecordKey::new("label", format!("{project}/{name}={value}"))
}

/// The relations of a workflow execution to its labels.
pub(crate) fn label_relations(execution: &WorkflowExecution) -> impl Iterator<Item = Relation> {
    execution.labels.iter().map(|(name, value)| Relation {
        kind: LABELLED.to_owned(),
        from: workflow_execution_key(execution.id),
        to: label_key(&execution.project, name, value),
    })
}

/// The record of a job execution. Parent = workflow execution, name = job, state = status.
#[must_use]
pub fn job_execution_put(execution: &JobExecution) -> RecordPut {
    RecordPut {
        project: execution.project.to_string(),
        parent: execution.workflow_execution.to_string(),
        name: execution.job.to_string(),
        state: execution.status.to_string(),
        ..put(job_execution_key(execution.id), execution)
    }
}

/// The record of a firing under an id that the writer chooses. Parent = the workflow execution, or [`workflow_id`] for a workflow rule;
/// name = job, or workflow for a workflow rule; state = outcome.
#[must_use]
pub fn firing_put(id: impl Into<String>, project: &ProjectName, firing: &FiringRecord) -> RecordPut {
    RecordPut {
        project: project.to_string(),
        parent: match firing.workflow_execution {
            Some(execution) => execution.to_string(),
            None => workflow_id(project, &firing.workflow),
        },
        name: match &firing.job {
            Some(job) => job.to_string(),
            None => firing.workflow.to_string(),
        },
        state: match serde_json::to_value(firing.outcome).unwrap_or_default() {
            Value::String(text) => text,
            _ => String::new(),
        },
        ..put(RecordKey::new(KIND_FIRING, id), firing)
    }
}

/// Key of what a stage of admission counts.
#[must_use]
pub fn meter_key(id: &str) -> RecordKey {
    RecordKey::new(KIND_METER, id)
}

/// The record of what a stage of admission counts. Parent = workflow or job, name = stage.
#[must_use]
pub fn meter_put(id: &str, meter: &Meter) -> RecordPut {
    RecordPut {
        project: meter.project.to_string(),
        parent: meter.of.to_string(),
        name: meter.stage.to_string(),
        ..put(meter_key(id), meter)
    }
}

/// `project/pool`: key of a pool.
#[must_use]
pub fn pool_key(project: &ProjectName, pool: &PoolName) -> RecordKey {
    RecordKey::new(KIND_POOL, format!("{project}/{pool}"))
}

/// The record of a pool. Name = pool.
#[must_use]
pub fn pool_put(pool: &Pool) -> RecordPut {
    RecordPut {
        project: pool.project.to_string(),
        name: pool.name.to_string(),
        ..put(pool_key(&pool.project, &pool.name), pool)
    }
}

/// `name:place`: key of a host.
#[must_use]
pub fn host_key(name: &HostName, place: u32) -> RecordKey {
    RecordKey::new(KIND_HOST, format!("{name}:{place}"))
}

/// The record of a host. Name = host, state = how it stands. Hosts belong to no project.
#[must_use]
pub fn host_put(host: &HostState) -> RecordPut {
    RecordPut {
        name: host.id.name.to_string(),
        state: host.status.as_str().to_owned(),
        ..put(host_key(&host.id.name, host.id.place), host)
    }
}

/// The state of the record of a firing that waits to be admitted.
pub const FIRING_WAITING: &str = "waiting";

/// The firing in a record.
///
/// # Errors
/// `Corrupt`, naming the record, if it is none.
pub fn firing_of(record: &Record) -> Result<NewFiring> {
    let corrupt =
        |error: Error| Error::new(ErrorKind::Corrupt, "read record", error.to_string()).with("key", &record.key);
    Ok(NewFiring {
        id: record.key.id.parse().map_err(corrupt)?,
        project: ProjectName::parse(&record.project).map_err(corrupt)?,
        record: body_of(record)?,
    })
}

/// The record of a dead letter under an id that the writer chooses: the event's offset, or more if only a part of its effect is missing.
/// State = what was done about it. Project is empty: the event may not be readable at all.
#[must_use]
pub fn dead_letter_put(id: impl Into<String>, letter: &DeadLetter) -> RecordPut {
    RecordPut { state: letter.state.as_str().to_owned(), ..put(RecordKey::new(KIND_DEAD_LETTER, id), letter) }
}

/// The struct in the body of a record.
///
/// # Errors
/// `Corrupt`, naming the record, if the body is not of this type.
pub fn body_of<T: DeserializeOwned>(record: &Record) -> Result<T> {
    record
        .body
        .parse()
        .map_err(|error| Error::new(ErrorKind::Corrupt, "read record", error.to_string()).with("key", &record.key))
}

pub(crate) fn put<T: Serialize>(key: RecordKey, content: &T) -> RecordPut {
    RecordPut::new(key, Json::of(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::{Firing, FiringOutcome, JobCounts, RuleAction, WorkflowStatus};
    use crate::workflow::{Completion, JobAction};

    fn stored(put: RecordPut) -> Record {
        Record {
            key: put.key,
            project: put.project,
            parent: put.parent,
            name: put.name,
            state: put.state,
            number: put.number,
            body: put.body,
            revision: 1,
            created: Timestamp::EPOCH,
            updated: Timestamp::EPOCH,
        }
    }

    fn cause() -> Firing {
        Firing { rule: None, schedule: None, events: vec![Offset(7)], key: None, hops: 0 }
    }

    #[test]
    fn a_workflow_execution_reads_back_and_is_found_by_its_columns() {
        let execution = WorkflowExecution {
            deadline: None,
            id: WorkflowExecutionId::new(Offset(7), 0),
            project: ProjectName::parse("wine").unwrap(),
            workflow: WorkflowName::parse("quality").unwrap(),
            version: 3,
            status: WorkflowStatus::Running,
            completion: Completion::Idle,
            params: Value::Null,
            cause: cause(),
            rerun_of: None,
            created_at: Timestamp::EPOCH,
            finished_at: None,
            counts: JobCounts::default(),
            concurrency_key: None,
            held: 0,
            paused: None,
            context: None,
            labels: std::collections::BTreeMap::new(),
            stops: Vec::new(),
            last_word: None,
        };
        let record = stored(workflow_execution_put(&execution));
        assert_eq!(record.key.to_string(), "workflow_execution:7.0");
        assert_eq!((record.parent.as_str(), record.state.as_str()), ("wine/quality", "RUNNING"));
        assert_eq!(body_of::<WorkflowExecution>(&record).unwrap(), execution);
        assert_eq!(body_of::<WorkflowVersion>(&record).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_firing_is_found_by_its_execution_and_outcome() {
        let workflow = WorkflowName::parse("quality").unwrap();
        let action = RuleAction::Job(JobAction::Start);
        let firing = FiringRecord::new(workflow, cause(), action, FiringOutcome::AlreadyLive)
            .of_job(WorkflowExecutionId::new(Offset(7), 0), JobName::parse("train").unwrap());
        let record = stored(firing_put("9.0", &ProjectName::parse("wine").unwrap(), &firing));
        assert_eq!(
            (record.parent.as_str(), record.name.as_str(), record.state.as_str()),
            ("7.0", "train", "already_live")
        );
        assert_eq!(body_of::<FiringRecord>(&record).unwrap(), firing);
    }
}
