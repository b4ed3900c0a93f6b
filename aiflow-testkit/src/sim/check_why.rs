//! The check of explanations: does a replay tell what was recorded, and can everything be explained?

use std::collections::BTreeSet;
use std::sync::Arc;

use aiflow_core::client::{AiFlow, WhatIf};
use aiflow_core::control::Control;
use aiflow_core::execution::Firing;
use aiflow_core::id::{Offset, WorkflowExecutionId};
use aiflow_core::records::{job_execution_key, workflow_execution_key};
use aiflow_core::rerun::KIND_RERUN;
use aiflow_core::store::RecordKey;
use aiflow_core::why::{Side, StartedThen, Step};
use aiflow_core::{ErrorKind, Result};

use super::check::{Checker, State};
use super::recorder::Recorder;
use super::workload;

/// So many of the newest job executions are explained.
const EXPLAINED_MAX: usize = 10;

impl Checker<'_> {
    /// I26: with the definitions of then, a replay fires exactly as recorded. I27: what ran, and what has not run, can be explained.
    pub(super) async fn why(&self, state: &State, recorder: &Arc<Recorder>) -> Result<()> {
        let joined = recorder.joined().await?;
        let flow = AiFlow::new(joined.store, joined.bus)?;
        let is_of_rule = |cause: &Firing| cause.rule.is_some() || cause.schedule.is_some();
        let jobs = state.jobs();
        let recorded = jobs.iter().filter(|job| is_of_rule(&job.cause)).map(|job| format!("job {}", job.id));
        let executions = state.executions();
        let recorded: BTreeSet<String> = recorded
            .chain(
                executions
                    .iter()
                    .filter(|begun| is_of_rule(&begun.cause))
                    .map(|begun| format!("workflow {}", begun.id)),
            )
            .collect();
        let removed = recorder.removed();
        // Without the plan of a rerun nobody knows what it started.
        let is_complete = !removed.iter().any(|key| key.kind == KIND_RERUN);
        // A replay of what is left of a trimmed log begins without what was before.
        let is_whole = recorder.trimmed() == Offset::START;
        let mut replay = flow.what_if(WhatIf::over_all().conditions(workload::customs())).await?;
        let mut replayed = BTreeSet::new();
        while let Some(page) = replay.next_page().await? {
            for found in page.firings {
                let is_job = found.firing.record.job.is_some();
                match &found.firing.started {
                    _ if !is_whole => {}
                    _ if found.side != Side::Both || found.firing.moment.is_some() => {
                        self.violate("I26", format!("a replay without changes is not what was: {}", found.firing));
                    }
                    Some(StartedThen::AsRecorded(id)) => {
                        replayed.insert(format!("{} {id}", if is_job { "job" } else { "workflow" }));
                        self.ledger.count("replayed start");
                    }
                    Some(StartedThen::Not) => self.violate("I26", format!("{} was recorded", found.firing)),
                    None => {}
                }
            }
        }
        for id in recorded.symmetric_difference(&replayed).filter(|_| is_complete && is_whole) {
            self.violate("I26", format!("{id} is only in one of the records and the replay"));
        }
        let controls = state.log.iter().filter_map(|event| Control::from_event(event).ok()?);
        let upgraded: BTreeSet<WorkflowExecutionId> = controls
            .filter_map(|control| match control {
                Control::UpgradeExecution { execution } => Some(execution),
                _ => None,
            })
            .collect();
        let is_there = |key: RecordKey| !removed.contains(&key);
        let explained = jobs.iter().rev().filter(|job| {
            is_there(job_execution_key(job.id)) && is_there(workflow_execution_key(job.workflow_execution))
        });
        for job in explained.take(EXPLAINED_MAX) {
            let told = flow.explain_execution(job.id).await?;
            // What led to it may have been removed.
            let ends = |step: &Step| match step {
                Step::Trimmed { .. } => is_whole,
                Step::Gone { .. } => removed.is_empty(),
                _ => false,
            };
            if told.steps.len() < if is_whole { 2 } else { 1 } || told.steps.iter().any(ends) {
                self.violate("I27", format!("{} is explained by {told}", job.id));
            }
            let flow = flow.project(job.project.as_str())?;
            let why_not = match flow.explain_job(job.workflow_execution, job.job.as_str()).await {
                // Its execution was upgraded to a version without the job.
                Err(error) if error.kind() == ErrorKind::NotFound && upgraded.contains(&job.workflow_execution) => {
                    continue;
                }
                why_not => why_not?,
            };
            if why_not.runs == 0 || why_not.to_string().is_empty() {
                self.violate("I27", format!("{} has run, and {why_not}", job.id));
            }
        }
        Ok(())
    }
}
