//! The life of a workflow execution, and what operators ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::decision::{Input, WorkflowKey};
use super::rules::CompiledRule;
use super::schedule::{self, BackfillRequest};
use super::state::{Draft, workflow_key};
use crate::control::{CONTROL_REFUSED, Control};
use crate::event::{NewEvent, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::execution::{
    Firing, FiringOutcome, FiringRecord, JobStatus, RuleAction, WorkflowExecution, WorkflowState, WorkflowStatus,
};
use crate::id::{JobExecutionId, JobName, RuleName, WorkflowExecutionId};
use crate::workflow::{Completion, Workflow, WorkflowAction};

impl Draft<'_> {
    /// Takes in a control event. What cannot be done becomes a dead letter and an event that says so.
    pub(super) fn on_control(&mut self, control: Control, input: &Input) {
        let by_hand = self.firing(None, vec![self.event.offset]);
        match control {
            Control::WorkflowSubmitted { project, workflow, version } => match &input.workflow {
                Some(definition) => self.on_submitted(&workflow_key(&project, &workflow), version, definition),
                None => self.refuse(format!("version {version} of workflow {project}/{workflow} is not stored")),
            },
            Control::StartWorkflow { project, workflow, params } => {
                let key = workflow_key(&project, &workflow);
                match self.workflow(&key).map(|state| state.enabled) {
                    None => self.refuse(format!("workflow {key} is not known")),
                    Some(false) => self.refuse(format!("workflow {key} is disabled")),
                    Some(true) => self.start_execution(&key, by_hand, &params),
                }
            }
            Control::StopExecution { execution } => {
                match self.execution(execution).map(|execution| execution.status) {
                    Some(WorkflowStatus::Running) => self.stop_execution(execution),
                    Some(WorkflowStatus::Stopping) => {}
                    // One that ended earlier in the same decision is as unknown as one that ended before.
                    _ => self.refuse(format!("workflow execution {execution} is not running")),
                }
            }
            Control::ActOnJob { execution, job, action } => {
                let is_running =
                    self.execution(execution).is_some_and(|execution| execution.status == WorkflowStatus::Running);
                let is_defined =
                    self.definition(execution).is_some_and(|compiled| compiled.workflow.job(&job).is_some());
                match (is_running, is_defined) {
                    (false, _) => self.refuse(format!("workflow execution {execution} is not running")),
                    (true, false) => self.refuse(format!("workflow execution {execution} has no job {job}")),
                    (true, true) => self.act_on_job(execution, &job, action, by_hand),
                }
            }
            Control::EnableWorkflow { project, workflow, enabled } => {
                let key = workflow_key(&project, &workflow);
                match self.workflow_mut(&key) {
                    Some(state) => {
                        state.enabled = enabled;
                        self.set_schedules_enabled(&key, enabled);
                    }
                    None => self.refuse(format!("workflow {key} is not known")),
                }
            }
            Control::ActOnRule { of, rule, change } => self.on_rule_change(&of, &rule, change),
            Control::ActOnSchedule { of, schedule, action } => self.on_schedule_action(&of, &schedule, action),
            Control::Backfill { project, workflow, schedule, from, to, quiet, overlap } => {
                let key = workflow_key(&project, &workflow);
                self.on_backfill(&key, &BackfillRequest { schedule, from, to, quiet, overlap });
            }
            Control::Reported { attempt, report } => self.on_report(attempt, report),
            Control::TimerFired(timer) => self.on_timer(&timer),
        }
    }

    /// Refuses what the current event asks.
    pub(super) fn refuse(&mut self, reason: String) {
        let offset = self.event.offset.to_string();
        self.emit(
            NewEvent::identified("", SYSTEM_NAMESPACE, &offset).event_type(CONTROL_REFUSED).value(reason.as_str()),
            0,
        );
        self.dead_letter(offset, reason);
    }

    fn on_submitted(&mut self, key: &WorkflowKey, version: u32, definition: &Arc<Workflow>) {
        let before = self.workflow(key).cloned();
        if before.as_ref().is_some_and(|state| state.version >= version) {
            return;
        }
        // A rule whose condition stays keeps what it has seen; one that changed or went is told what it takes along.
        let previous = before.as_ref().and_then(|state| self.state.definition(key, state.version).cloned());
        let at = (self.now(), self.event.offset);
        let (enabled, seen, schedules) = before
            .map_or((true, BTreeMap::new(), BTreeMap::new()), |state| (state.enabled, state.rules, state.schedules));
        let old = previous.as_ref().map(|then| (then.workflow.schedules.as_slice(), schedules));
        let compiled = schedule::compile(definition);
        let schedules = schedule::adopt(old, &definition.schedules, &compiled, None, enabled, at);
        let rule_of = |workflow: &Workflow, name: &RuleName| workflow.rules.iter().find(|r| r.name == *name).cloned();
        let (mut rules, mut lost) = (BTreeMap::new(), Vec::new());
        for (name, state) in seen {
            let then = previous.as_ref().and_then(|then| rule_of(&then.workflow, &name));
            let now = rule_of(definition, &name);
            match then {
                Some(then) if now.is_some_and(|now| now.condition == then.condition) => {
                    rules.insert(name, state);
                }
                then => lost.push((name, then.map_or(WorkflowAction::Start, |then| then.action), state.pending())),
            }
        }
        for rule in &definition.rules {
            let is_new = previous.as_ref().is_none_or(|then| {
                rule_of(&then.workflow, &rule.name).is_none_or(|then| then.condition != rule.condition)
            });
            let compiled = CompiledRule::of_workflow(&definition.name, rule);
            if is_new && compiled.waits_at_once() && !rules.contains_key(&rule.name) {
                rules.insert(rule.name.clone(), Arc::new(compiled.begin(self.event)));
            }
        }
        let (project, name) = (definition.project.clone(), definition.name.clone());
        let state = WorkflowState { project, name, version, enabled, rules, schedules };
        self.out.workflows.insert(Arc::clone(key), Arc::new(state));
        self.out.definitions.insert(Arc::clone(key), Arc::clone(definition));
        for (rule, action, pending) in lost.into_iter().filter(|(.., pending)| !pending.is_empty()) {
            self.record_rule_changed(key, rule, action, pending);
        }
    }

    /// Starts an execution of the latest version, and the jobs that start with it.
    pub(super) fn start_execution(&mut self, key: &WorkflowKey, cause: Firing, params: &Value) {
        let Some(version) = self.workflow(key).map(|state| state.version) else {
            return;
        };
        let Some(compiled) = self.state.definition(key, version).cloned() else {
            return;
        };
        let definition = &compiled.workflow;
        let id = self.next_execution_id();
        let execution = WorkflowExecution {
            id,
            project: definition.project.clone(),
            workflow: definition.name.clone(),
            version,
            status: WorkflowStatus::Running,
            completion: definition.completion(),
            params: merge(&definition.params, params),
            cause,
            created_at: self.now(),
            finished_at: None,
            jobs: Default::default(),
            rules: Default::default(),
            schedules: self.job_schedules(&compiled),
            last_word: None,
        };
        self.add_execution(key, execution);
        self.announce_status(id, WorkflowStatus::Running);
        self.begin_job_rules(id, &compiled.job_rules);
        let cause = self.firing(None, vec![self.event.offset]);
        for job in &definition.jobs {
            if definition.starts_with_execution(&job.name) {
                self.create_job(id, &job.name, cause.clone());
            }
        }
    }

    /// Asks every live job of an execution to end; the execution ends with the last of them.
    pub(super) fn stop_execution(&mut self, id: WorkflowExecutionId) {
        let Some(execution) = self.execution_mut(id) else {
            return;
        };
        execution.status = WorkflowStatus::Stopping;
        let live: Vec<(JobName, Option<JobExecutionId>)> =
            execution.jobs.iter().map(|(name, slot)| (name.clone(), slot.current)).collect();
        for (name, current) in live {
            self.cancel_waiting(id, &name);
            if let Some(current) = current {
                self.stop_job(current);
            }
        }
        self.finish_if_done(id);
    }

    /// Takes `action` on a workflow because one of its rules fired.
    pub(super) fn act_on_workflow(&mut self, key: &WorkflowKey, action: WorkflowAction, firing: Firing) {
        let Some(state) = self.workflow(key) else {
            return;
        };
        let (project, workflow) = (state.project.clone(), state.name.clone());
        let outcome = match action {
            WorkflowAction::Start => return self.start_execution(key, firing, &Value::Null),
            WorkflowAction::Stop => {
                // An execution sees the events after the one that created it, so a rule pair on one event can restart a workflow.
                let mut running = self.running_any_version(key);
                running.retain(|id| id.cause != self.event.offset);
                let named = self.event.context.workflow_execution.filter(|id| running.contains(id));
                let targets = named.map_or(running, |id| vec![id]);
                let outcome = if targets.is_empty() { FiringOutcome::NotLive } else { FiringOutcome::Stopped };
                for id in targets {
                    if self.execution(id).is_some_and(|execution| execution.status == WorkflowStatus::Running) {
                        self.stop_execution(id);
                    }
                }
                outcome
            }
        };
        let action = RuleAction::Workflow(action);
        self.record_firing(
            project,
            FiringRecord { workflow_execution: None, workflow, job: None, firing, action, outcome },
        );
    }

    /// An event that the execution announced was applied.
    pub(super) fn on_announced(&mut self, id: WorkflowExecutionId) {
        if self.execution(id).is_some_and(|execution| execution.status == WorkflowStatus::Running) {
            self.finish_if_done(id);
        }
    }

    /// Ends an execution that has nothing left to do. The result does not depend on the order of its jobs.
    pub(super) fn finish_if_done(&mut self, id: WorkflowExecutionId) {
        let Some(execution) = self.execution(id) else {
            return;
        };
        let is_busy = execution.jobs.values().any(|slot| slot.current.is_some());
        let last = |status| execution.jobs.values().any(|slot| slot.last == Some(status));
        let status = match execution.status {
            _ if is_busy => return,
            WorkflowStatus::Stopping => WorkflowStatus::Stopped,
            WorkflowStatus::Running
                if execution.completion != Completion::Idle
                    || execution.last_word.as_ref().is_some_and(|word| *word != self.event.id) =>
            {
                return;
            }
            WorkflowStatus::Running if execution.waits_for_a_moment() => {
                // Its events were applied; now it waits for a moment only.
                if execution.last_word.is_some()
                    && let Some(execution) = self.execution_mut(id)
                {
                    execution.last_word = None;
                }
                return;
            }
            WorkflowStatus::Running if last(JobStatus::Failed) => WorkflowStatus::Failed,
            WorkflowStatus::Running if last(JobStatus::Stopped) => WorkflowStatus::Stopped,
            WorkflowStatus::Running => WorkflowStatus::Succeeded,
            WorkflowStatus::Succeeded | WorkflowStatus::Failed | WorkflowStatus::Stopped => return,
        };
        let now = self.now();
        let compiled = self.definition(id);
        let Some(execution) = self.execution_mut(id) else {
            return;
        };
        for job in compiled.iter().flat_map(|compiled| &compiled.workflow.jobs) {
            let slot = execution.jobs.entry(job.name.clone()).or_default();
            slot.last.get_or_insert(JobStatus::Skipped);
        }
        execution.status = status;
        execution.finished_at = Some(now);
        execution.rules.clear();
        execution.schedules.clear();
        execution.last_word = None;
        self.announce_status(id, status);
    }

    fn announce_status(&mut self, id: WorkflowExecutionId, status: WorkflowStatus) {
        let Some(execution) = self.execution(id) else {
            return;
        };
        let mut event = NewEvent::identified("", execution.project.as_str(), execution.workflow.as_str())
            .event_type(WORKFLOW_STATUS_CHANGED)
            .value(status.as_str())
            .sender(execution.workflow.as_str())
            .for_execution(id);
        event.context.quiet = self.is_quiet(id);
        let behind = execution.cause.hops;
        let event_id = self.emit(event, behind);
        if let Some(execution) = self.execution_mut(id).filter(|_| !status.is_terminal()) {
            execution.last_word = Some(event_id);
        }
    }
}

/// The members of both objects; those of `over` win.
pub(super) fn merge(under: &Value, over: &Value) -> Value {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            let mut merged = under.clone();
            merged.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
            Value::Object(merged)
        }
        (under, Value::Null) => under.clone(),
        (_, over) => over.clone(),
    }
}
