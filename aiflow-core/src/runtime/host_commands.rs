//! What a host is told: which attempts, and what does it need to start them?
//!
//! The event says what to do; the records say with what. They were written together, so the records are at least as new as the event.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Parts;
use super::launch::launch_of;
use super::session::repeat;
use crate::control::Control;
use crate::engine::LaunchPlan;
use crate::error::Result;
use crate::event::Event;
use crate::execution::{JobExecution, WorkflowExecution};
use crate::executor::Launch;
use crate::host::{HostCommand, HostId};
use crate::id::{AttemptId, ExecutorName, Offset, WorkflowExecutionId};
use crate::records::{WorkflowVersion, body_of, job_execution_key, workflow_execution_key, workflow_version_key};
use crate::store::{PAGE_ROWS_MAX, Record, RecordKey};
use crate::workflow::Workflow;

/// Something that a host is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) attempt: AttemptId,
    pub(super) executor: ExecutorName,
    pub(super) command: HostCommand,
    /// What is to be launched, and the offsets of its events; `None` if the attempt is not this host's any more.
    pub(super) launch: Option<(Box<Launch>, Vec<Offset>)>,
}

/// What these events tell `host`, in their order.
pub(super) async fn read_told(parts: &Parts, host: &HostId, events: &[Arc<Event>]) -> Result<Vec<Told>> {
    let mut commands: Vec<(AttemptId, HostCommand, Option<WorkflowExecutionId>)> = Vec::with_capacity(events.len());
    for event in events {
        if let Ok(Some(Control::TellHost { host: told, attempt, command })) = Control::from_event(event)
            && told == *host
        {
            commands.push((attempt, command, event.context.workflow_execution));
        }
    }
    let mut keys: Vec<RecordKey> =
        commands.iter().map(|(attempt, ..)| job_execution_key(attempt.job_execution)).collect();
    keys.extend(commands.iter().filter_map(|(.., execution)| execution.map(workflow_execution_key)));
    let records = read_all(parts, keys).await?;
    let mut versions = BTreeMap::new();
    let mut told = Vec::with_capacity(commands.len());
    for (attempt, command, _) in commands {
        let Some(record) = records.get(&job_execution_key(attempt.job_execution)) else { continue };
        let job: JobExecution = body_of(record)?;
        let launch = match command {
            HostCommand::Launch => launch_for(parts, host, attempt, &job, &records, &mut versions).await?,
            HostCommand::Signal { .. } | HostCommand::Stop { .. } => None,
        };
        told.push(Told { attempt, executor: job.executor, command, launch });
    }
    Ok(told)
}

async fn read_all(parts: &Parts, mut keys: Vec<RecordKey>) -> Result<BTreeMap<RecordKey, Record>> {
    keys.sort_unstable();
    keys.dedup();
    let mut records = BTreeMap::new();
    for keys in keys.chunks(PAGE_ROWS_MAX) {
        let found = repeat(parts, || parts.store.get(keys)).await?;
        records.extend(found.into_iter().flatten().map(|record| (record.key.clone(), record)));
    }
    Ok(records)
}

async fn launch_for(
    parts: &Parts,
    host: &HostId,
    attempt: AttemptId,
    job: &JobExecution,
    records: &BTreeMap<RecordKey, Record>,
    versions: &mut BTreeMap<RecordKey, Arc<Workflow>>,
) -> Result<Option<(Box<Launch>, Vec<Offset>)>> {
    let is_mine = job.attempt == attempt.attempt && job.placement.host.as_ref() == Some(host);
    let parent = records.get(&workflow_execution_key(job.workflow_execution)).filter(|_| is_mine);
    let Some(parent) = parent.map(body_of::<WorkflowExecution>).transpose()? else { return Ok(None) };
    let key = workflow_version_key(&job.project, &job.workflow, parent.version);
    if !versions.contains_key(&key) {
        let found = read_all(parts, vec![key.clone()]).await?;
        let Some(version) = found.get(&key).map(body_of::<WorkflowVersion>).transpose()? else { return Ok(None) };
        versions.insert(key.clone(), Arc::new(version.workflow));
    }
    let definition = versions.get(&key).and_then(|workflow| workflow.job(&job.job));
    let Some(definition) = definition else { return Ok(None) };
    let launch = launch_of(LaunchPlan::new(job, &parent, definition), host.epoch, Vec::new());
    // When this process is gone, the attempt is repeated on another host.
    let launch = Launch { ends_with_host: true, ..launch };
    Ok(Some((Box::new(launch), job.cause.events.clone())))
}
