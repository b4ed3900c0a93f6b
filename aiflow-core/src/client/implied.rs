//! Implied lineage: which edges stand in records and events themselves, and which records may say one?

use crate::error::Result;
use crate::event::Event;
use crate::execution::{
    JobExecution, KIND_JOB_EXECUTION, KIND_WORKFLOW_EXECUTION, KIND_WORKFLOW_VERSION, WorkflowExecution,
};
use crate::lineage::{PART_OF, PUBLISHED_BY, RERUN_OF, RUNS, TRIGGERED_BY, VERSION_OF, event_key};
use crate::meta::{KIND_DATASET, KIND_DATASET_VERSION, KIND_MODEL, KIND_MODEL_VERSION};
use crate::records::{body_of, job_execution_key, workflow_execution_key, workflow_version_key};
use crate::store::{Record, RecordKey, Relation};

/// The edges that an event says: from it to the job execution that published it.
pub(super) fn by_event(event: &Event) -> Option<Relation> {
    let attempt = event.context.attempt?;
    let (from, to) = (event_key(event.offset), job_execution_key(attempt.job_execution));
    Some(Relation { kind: PUBLISHED_BY.to_owned(), from, to })
}

/// The edges that a record says, each from it to something upstream.
pub(super) fn by_record(record: &Record) -> Result<Vec<Relation>> {
    let edge = |kind: &str, to: RecordKey| Relation { kind: kind.to_owned(), from: record.key.clone(), to };
    let version_of = |kind: &str| vec![edge(VERSION_OF, RecordKey::new(kind, record.parent.as_str()))];
    Ok(match record.key.kind.as_str() {
        _ if record.parent.is_empty() => Vec::new(),
        // An execution names every event that fired it, also those that there was no room to write relations of.
        KIND_JOB_EXECUTION => {
            let JobExecution { workflow_execution, cause, .. } = body_of(record)?;
            // What starts together with its workflow execution is part of that.
            let is_fired = cause.rule.is_some() || cause.schedule.is_some();
            let events = cause.events.iter().filter(|_| is_fired).map(|by| edge(TRIGGERED_BY, event_key(*by)));
            std::iter::once(edge(PART_OF, workflow_execution_key(workflow_execution))).chain(events).collect()
        }
        KIND_WORKFLOW_EXECUTION => {
            let WorkflowExecution { project, workflow, version, cause, rerun_of, .. } = body_of(record)?;
            let events = cause.events.iter().map(|by| edge(TRIGGERED_BY, event_key(*by)));
            let first = rerun_of.map(|first| edge(RERUN_OF, workflow_execution_key(first)));
            let runs = edge(RUNS, workflow_version_key(&project, &workflow, version));
            std::iter::once(runs).chain(events).chain(first).collect()
        }
        KIND_MODEL_VERSION => version_of(KIND_MODEL),
        KIND_DATASET_VERSION => version_of(KIND_DATASET),
        _ => Vec::new(),
    })
}

/// Where the records stand that may say an edge to this one: the kind of the edge, theirs, and their parent.
pub(super) fn sayers(key: &RecordKey) -> Option<(&'static str, &'static str, &str)> {
    let id = key.id.as_str();
    match key.kind.as_str() {
        KIND_MODEL => Some((VERSION_OF, KIND_MODEL_VERSION, id)),
        KIND_DATASET => Some((VERSION_OF, KIND_DATASET_VERSION, id)),
        KIND_WORKFLOW_EXECUTION => Some((PART_OF, KIND_JOB_EXECUTION, id)),
        // The executions of all versions have the workflow as parent.
        KIND_WORKFLOW_VERSION => id.rsplit_once('/').map(|(workflow, _)| (RUNS, KIND_WORKFLOW_EXECUTION, workflow)),
        _ => None,
    }
}
