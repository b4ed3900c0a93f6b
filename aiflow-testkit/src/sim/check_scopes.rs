//! The check of scopes: did events serve only those whom they concern?

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::event::Event;
use aiflow_core::execution::{
    Firing, FiringOutcome, FiringRecord, KIND_FIRING, KIND_WORKFLOW_VERSION, WorkflowExecution,
};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId, WorkflowName};
use aiflow_core::records::WorkflowVersion;

use super::check::{Checker, State};
use super::workload;

/// A firing of a rule, and whose rule it is.
struct Fired {
    workflow: WorkflowName,
    of_job: Option<(WorkflowExecutionId, JobName)>,
    firing: Firing,
}

impl Checker<'_> {
    /// P9: a job execution has the labels that its current attempt said last: before each checkpoint the number of it.
    pub(super) fn labels(&self, state: &State) {
        for job in state.jobs() {
            let (said, shown) = (job.labels_number, job.labels.get("at"));
            let expected = (said > 0).then(|| format!("{}.{said}", job.attempt));
            let checkpoint = job.checkpoint.as_ref().filter(|last| last.attempt == job.attempt).map(|last| last.number);
            if shown != expected.as_ref() || checkpoint.is_some_and(|n| said != n && said != n + 1) {
                let message =
                    format!("{} is labelled {shown:?} after {said} labels and checkpoint {checkpoint:?}", job.id);
                self.violate("P9", message);
            }
            if said > 1 {
                self.ledger.count("job labelled again");
            }
        }
    }

    /// I31: an event in a named context serves the jobs of executions that carry it and of no others, and a dead letter that is tried again the
    /// one rule that could not take it.
    pub(super) fn scopes(&self, state: &State) {
        let executions: BTreeMap<WorkflowExecutionId, WorkflowExecution> =
            state.executions().into_iter().map(|execution| (execution.id, execution)).collect();
        let events: BTreeMap<Offset, &Event> = state.log.iter().map(|event| (event.offset, &**event)).collect();
        let joined = joins(state);
        for _ in state.log.iter().filter(|event| event.context.replay_of.is_some()) {
            self.ledger.count("dead letter tried again");
        }
        for Fired { workflow, of_job, firing } in fired(state, &executions) {
            let Some(rule) = &firing.rule else { continue };
            // What a batch has joined are the events of several rules.
            let is_joined = joined.contains(&(workflow.clone(), of_job.as_ref().map(|(_, job)| job.clone())));
            for event in firing.events.iter().filter_map(|offset| events.get(offset)) {
                let owner = match &of_job {
                    Some((execution, job)) => format!("{execution}/{job}"),
                    None => format!("{}/{workflow}", workload::project()),
                };
                let is_meant = event.context.only_rule.as_ref().is_none_or(|only| *only == format!("{owner}/{rule}"));
                if !is_meant && !is_joined {
                    self.violate(
                        "I31",
                        format!("event {} was meant for one rule and served {owner}/{rule}", event.offset),
                    );
                }
                let carried = of_job.as_ref().and_then(|(id, _)| executions.get(id)).map(|of| of.context.as_deref());
                if let Some(carried) = carried.filter(|_| event.context.workflow_execution.is_none())
                    && !workload::concerns(&workflow, event, carried)
                {
                    let message = format!("event {} served {owner}/{rule}, which carries {carried:?}", event.offset);
                    self.violate("I31", message);
                }
            }
        }
        self.contexts_of_executions(state, &events, &joined);
    }

    /// I31: an execution that a rule starts carries a context that one of the events of the firing names, if it carries any.
    fn contexts_of_executions(
        &self,
        state: &State,
        events: &BTreeMap<Offset, &Event>,
        joined: &BTreeSet<(WorkflowName, Option<JobName>)>,
    ) {
        for execution in state.executions().iter().filter(|execution| execution.cause.rule.is_some()) {
            let Some(carried) = execution.context.as_deref() else { continue };
            self.ledger.count("execution started in a context");
            let of_firing = || execution.cause.events.iter().filter_map(|offset| events.get(offset));
            // A RESTART takes over the context of what it replaces.
            let is_own = |event: &&&Event| event.context.workflow_execution.is_some();
            let is_named = of_firing().any(|event| workload::concerns(&execution.workflow, event, Some(carried)));
            let is_trimmed = of_firing().count() < execution.cause.events.len();
            let is_joined = joined.contains(&(execution.workflow.clone(), None));
            if !is_named && !is_trimmed && !is_joined && of_firing().filter(is_own).count() == 0 {
                self.violate("I31", format!("execution {} carries {carried:?}, which no event names", execution.id));
            }
        }
    }
}

fn fired(state: &State, executions: &BTreeMap<WorkflowExecutionId, WorkflowExecution>) -> Vec<Fired> {
    let of_workflows = executions.values().map(|begun| Fired {
        workflow: begun.workflow.clone(),
        of_job: None,
        firing: begun.cause.clone(),
    });
    let of_jobs = state.jobs().into_iter().map(|job| Fired {
        workflow: job.workflow,
        of_job: Some((job.workflow_execution, job.job)),
        firing: job.cause,
    });
    let records: Vec<FiringRecord> = state.all(KIND_FIRING);
    // Of what did not say whom it concerns nothing was served: that is what the record says.
    let served = records.into_iter().filter(|record| record.outcome != FiringOutcome::NoContext);
    let recorded = served.map(|record| Fired {
        workflow: record.workflow,
        of_job: record.workflow_execution.zip(record.job),
        firing: record.firing,
    });
    of_workflows.chain(of_jobs).chain(recorded).collect()
}

/// The workflows and jobs whose firings may be joined into batches.
fn joins(state: &State) -> BTreeSet<(WorkflowName, Option<JobName>)> {
    let versions: Vec<WorkflowVersion> = state.all(KIND_WORKFLOW_VERSION);
    let workflows = versions.into_iter().map(|version| version.workflow);
    workflows
        .flat_map(|workflow| {
            let name = workflow.name.clone();
            let jobs =
                workflow.jobs.iter().filter(|job| job.admission.batch.is_some()).map(|job| Some(job.name.clone()));
            let own = workflow.admission.batch.is_some().then_some(None);
            own.into_iter().chain(jobs).map(|job| (name.clone(), job)).collect::<Vec<_>>()
        })
        .collect()
}
