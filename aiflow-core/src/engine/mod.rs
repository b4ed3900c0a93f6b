//! The scheduling engine: what follows from the next events of the log?
//!
//! A pure function. No clock, randomness, I/O, hash order or `async` is in this module; time comes with the events, ids from their offsets.
//! The same state and events give the same decisions on every machine, so that history can be replayed and worlds simulated. The engine
//! names no port: the runtime reads events, commits decisions and carries out commands.
//!
//! [`Engine::decide`] does not change the engine; [`Engine::apply`] adopts a [`Decision`]. Its commands wait until it is committed. Whoever
//! decides further before that must restore the engine from the store if the commit fails; a crash after the commit is repaired by
//! launching again what [`Engine::live_attempts`] lists.

mod admission;
mod by_workflow;
mod decision;
mod index;
mod job;
mod overlap;
mod queues;
mod rules;
mod schedule;
mod state;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

pub use decision::{Command, DeadLetter, Decision, Input, NewFiring, WorkflowKey};
pub use job::LOSSES_MAX;
pub use rules::OPERAND_PENDING_MAX;
use rules::Target;
pub use schedule::BACKFILL_TIMES_MAX;
use state::{Draft, OWN_EVENT_ID, State, workflow_key};

use crate::control::Control;
use crate::event::{EVENT_HOPS_MAX, JOB_STATUS_CHANGED, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::execution::{
    FiringOutcome, FiringRecord, JobExecution, JobStatus, Meter, RuleAction, RuleState, StartRequest,
    WorkflowExecution, WorkflowState, WorkflowStatus,
};
use crate::id::{JobExecutionId, JobName, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject, Timer, TimerKey};
use crate::workflow::{Job, JobAction, Workflow, WorkflowAction};
use index::RuleRef;

/// The scheduling engine.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    state: State,
}

/// What an engine is restored from: everything that is not over.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every workflow.
    pub workflows: Vec<WorkflowState>,
    /// The definitions that are the latest or that a live execution is pinned to, with their versions.
    pub definitions: Vec<(u32, Arc<Workflow>)>,
    /// The workflow executions that are not terminal.
    pub executions: Vec<WorkflowExecution>,
    /// The job executions that are not terminal.
    pub jobs: Vec<JobExecution>,
    /// The firings that wait to be admitted.
    pub firings: Vec<NewFiring>,
    /// What the stages of admission count.
    pub meters: Vec<Meter>,
}

/// What an executor is to be given for an attempt.
#[derive(Debug, Clone)]
pub struct LaunchPlan<'a> {
    /// The job execution.
    pub execution: &'a JobExecution,
    /// The definition of its job.
    pub job: &'a Job,
    /// Parameters of the job, overridden by those of the workflow execution, and these by those of the firing.
    pub params: Value,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine that stored state describes.
    #[must_use]
    pub fn restore(snapshot: Snapshot) -> Self {
        let mut state = State::default();
        for workflow in snapshot.workflows {
            state.set_workflow(workflow_key(&workflow.project, &workflow.name), Arc::new(workflow));
        }
        for (version, definition) in snapshot.definitions {
            state.define(&workflow_key(&definition.project, &definition.name), version, definition);
        }
        for execution in snapshot.executions {
            state.set_execution(execution.id, Arc::new(execution));
        }
        for job in snapshot.jobs {
            state.set_job(job.id, Arc::new(job));
        }
        for firing in snapshot.firings {
            state.set_firing(firing);
        }
        for meter in snapshot.meters {
            state.set_meter(Meter::id(&meter.of, meter.stage, &meter.key), Some(meter));
        }
        Self { state }
    }

    /// Everything that is not over: [`Engine::restore`] of it is this engine again.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = &self.state;
        Snapshot {
            workflows: state.workflows.values().map(|workflow| (**workflow).clone()).collect(),
            definitions: state.definitions(),
            executions: self.executions().cloned().collect(),
            jobs: self.job_executions().cloned().collect(),
            firings: state.queues.held().cloned().collect(),
            meters: state.queues.meters().cloned().collect(),
        }
    }

    /// Decides what follows from `inputs`, which must be the next events of the log, in order. Changes nothing.
    ///
    /// A submitted workflow ends a decision early ([`Decision::consumed`]), because it changes the rules that later events are matched with.
    #[must_use]
    pub fn decide(&self, inputs: &[Input]) -> Decision {
        let Some(first) = inputs.first() else {
            return Decision::default();
        };
        let mut draft = Draft::new(&self.state, &first.event);
        for input in inputs {
            draft.turn_to(&input.event);
            draft.on_input(input);
            if !draft.out.definitions.is_empty() {
                break;
            }
        }
        draft.out
    }

    /// Adopts a decision. Takes the decisions in the order in which they were made; their commands are to be carried out once they are
    /// committed.
    pub fn apply(&mut self, decision: &Decision) {
        // Executions first: a version that a new execution is pinned to must not be forgotten when a newer one follows.
        for (id, execution) in &decision.executions {
            self.state.set_execution(*id, Arc::clone(execution));
        }
        for (id, job) in &decision.jobs {
            self.state.set_job(*id, Arc::clone(job));
        }
        for firing in decision.firings.values() {
            self.state.set_firing(firing.clone());
        }
        for (id, meter) in &decision.meters {
            self.state.set_meter(id.clone(), meter.clone());
        }
        for (key, workflow) in &decision.workflows {
            self.state.set_workflow(Arc::clone(key), Arc::clone(workflow));
        }
        for (key, definition) in &decision.definitions {
            if let Some(version) = self.state.workflows.get(key).map(|state| state.version) {
                self.state.define(key, version, Arc::clone(definition));
            }
        }
    }

    /// The earliest moment at which a timer is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.state.timers().first().map(|timer| timer.due)
    }

    /// Timers that are due at `now`, at most `max`, earliest first. Each is to be published as its [`Timer::into_event`].
    #[must_use]
    pub fn due_timers(&self, now: Timestamp, max: usize) -> Vec<Timer> {
        self.state.timers().iter().take_while(|timer| timer.due <= now).take(max).cloned().collect()
    }

    /// Job executions with an attempt at an executor: after a restart, these are to be looked up there.
    pub fn live_attempts(&self) -> impl Iterator<Item = &JobExecution> {
        self.job_executions().filter(|job| !matches!(job.status, JobStatus::Init | JobStatus::Retrying))
    }

    /// What the executor of a live job execution is to be given.
    #[must_use]
    pub fn launch_plan(&self, id: JobExecutionId) -> Option<LaunchPlan<'_>> {
        let execution = self.state.jobs.get(&id)?;
        let parent = self.state.executions.get(&execution.workflow_execution)?;
        let compiled = self.state.definition(&workflow_key(&execution.project, &execution.workflow), parent.version)?;
        let job = compiled.workflow.job(&execution.job)?;
        let mut params = workflow::merge(&job.params, &parent.params);
        if let Some(schedule) = &execution.cause.schedule {
            params = workflow::merge(&params, &schedule::time_param(schedule.time));
        }
        params = workflow::merge(&params, &execution.params);
        Some(LaunchPlan { execution, job, params })
    }

    /// The live workflow executions.
    pub fn executions(&self) -> impl Iterator<Item = &WorkflowExecution> {
        self.state.executions.values().map(|execution| &**execution)
    }

    /// The live job executions.
    pub fn job_executions(&self) -> impl Iterator<Item = &JobExecution> {
        self.state.jobs.values().map(|job| &**job)
    }
}

impl Draft<'_> {
    fn on_input(&mut self, input: &Input) {
        let event = self.event;
        if event.namespace == SYSTEM_NAMESPACE {
            match Control::from_event(event) {
                Ok(Some(control)) => self.on_control(control, input),
                Ok(None) => {}
                Err(error) => self.dead_letter(event.offset.to_string(), error.to_string()),
            }
            return;
        }
        self.match_rules();
        let is_status = event.event_type == JOB_STATUS_CHANGED || event.event_type == WORKFLOW_STATUS_CHANGED;
        let is_own = is_status && event.id.starts_with(OWN_EVENT_ID);
        if let Some(execution) = event.context.workflow_execution.filter(|_| is_own) {
            self.on_announced(execution);
        }
    }

    /// A timer is due. One whose owner waits for something else by now, or not at all, changes nothing.
    fn on_timer(&mut self, timer: &Timer) {
        self.at_least(timer.due);
        match &timer.key {
            TimerKey::Firing { firing, stage } => self.on_firing_timer(*firing, *stage, timer.due),
            TimerKey::Meter { meter, set_by } => self.on_meter_timer(meter, timer.due, *set_by),
            TimerKey::Job { attempt, purpose } => self.on_job_timer(*attempt, *purpose, timer.due),
            TimerKey::Schedule { of, schedule, set_by } => {
                self.on_schedule_timer(of, schedule, Alarm { due: timer.due, set_by: *set_by });
            }
            // No condition waits for a moment yet.
            TimerKey::Rule { .. } => {}
        }
        if let TimerKey::Rule { of: Subject::Job { execution, .. }, .. }
        | TimerKey::Schedule { of: Subject::Job { execution, .. }, .. } = &timer.key
        {
            // It may have been the last thing that the execution waited for.
            self.finish_if_done(*execution);
        }
    }

    /// Evaluates every rule that the current event concerns, in order of workflow and definition.
    fn match_rules(&mut self) {
        // The first rule of a job that fires on this event acts; the ones after it are superseded.
        let mut acted: BTreeSet<(WorkflowExecutionId, JobName)> = BTreeSet::new();
        // Likewise the first START or RESTART rule of a workflow.
        let mut started: BTreeSet<WorkflowKey> = BTreeSet::new();
        let state = self.state;
        for (rule_ref, (rule, operands)) in state.index().candidates(self.event) {
            match (&rule.target, rule_ref.version) {
                (Target::Workflow(action), _) => {
                    let starts = matches!(action, WorkflowAction::Start | WorkflowAction::Restart);
                    let is_superseded = starts && started.contains(&rule_ref.workflow);
                    let fired = self.match_workflow_rule(rule_ref, rule, *action, &operands, is_superseded);
                    if fired && starts {
                        started.insert(Arc::clone(&rule_ref.workflow));
                    }
                }
                (Target::Job(job, action), Some(version)) => {
                    for execution in self.executions_concerned(rule_ref, version, rule, &operands) {
                        let fired = self.match_job_rule(
                            execution,
                            rule,
                            job,
                            *action,
                            &operands,
                            acted.contains(&(execution, job.clone())),
                        );
                        if fired {
                            acted.insert((execution, job.clone()));
                        }
                    }
                }
                (Target::Job(..), None) => {}
            }
        }
    }

    /// Running executions whose job rules may see the current event: not those that it created itself.
    fn executions_concerned(
        &self,
        rule_ref: &RuleRef,
        version: u32,
        rule: &rules::CompiledRule,
        operands: &[usize],
    ) -> Vec<WorkflowExecutionId> {
        let workflow = &rule_ref.workflow;
        let mut concerned = match self.event.context.workflow_execution {
            // Found without a look at all the others: nearly every status event takes this way.
            Some(own) if self.event.context.quiet || !self.sees_other_executions(workflow, version, rule, operands) => {
                let is_of_workflow = self.execution(own).is_some_and(|execution| {
                    execution.version == version && workflow_key(&execution.project, &execution.workflow) == *workflow
                });
                Vec::from_iter(is_of_workflow.then_some(own))
            }
            _ => self.running(workflow, version),
        };
        concerned.retain(|id| {
            !self.is_begun(*id)
                && self.execution(*id).is_some_and(|execution| execution.status == WorkflowStatus::Running)
        });
        concerned
    }

    /// Whether one of these operands takes events of executions other than its own.
    fn sees_other_executions(
        &self,
        workflow: &WorkflowKey,
        version: u32,
        rule: &rules::CompiledRule,
        operands: &[usize],
    ) -> bool {
        self.state.definition(workflow, version).is_none_or(|compiled| {
            let project = compiled.workflow.project.as_str();
            operands
                .iter()
                .filter_map(|operand| rule.operands.get(*operand))
                .any(|pattern| pattern.sees_other_executions(project))
        })
    }

    fn match_job_rule(
        &mut self,
        id: WorkflowExecutionId,
        rule: &rules::CompiledRule,
        job: &JobName,
        action: JobAction,
        operands: &[usize],
        is_superseded: bool,
    ) -> bool {
        let event = self.event;
        let Some(execution) = self.execution(id) else {
            return false;
        };
        if execution.status != WorkflowStatus::Running {
            return false;
        }
        let project = execution.project.as_str();
        let is_own = event.context.workflow_execution.is_none_or(|own| own == id);
        let sees = |operand: &&usize| {
            rule.operands.get(**operand).is_some_and(|pattern| {
                pattern.fields_match(project, event) && (is_own || pattern.sees_other_executions(project))
            })
        };
        let hits: Vec<usize> = operands.iter().filter(sees).copied().collect();
        if hits.is_empty() {
            return false;
        }
        let before = execution.rules.get(job).and_then(|rules| rules.get(&rule.name));
        let mut state = before.cloned().unwrap_or_default();
        let evaluation = rule.evaluate(&mut state, &hits, event);
        if before.map_or_else(|| has_seen(&state), |before| *before != state)
            && let Some(execution) = self.execution_mut(id)
        {
            let rules = execution.rules.entry(job.clone()).or_default();
            keep_state(rules, &rule.name, state);
            if rules.is_empty() {
                execution.rules.remove(job);
            }
        }
        if evaluation.is_full {
            self.dead_letter_full(&rule.name, &format!("{id}/{job}"));
        }
        let fired = !evaluation.firings.is_empty();
        for events in evaluation.firings {
            let firing = self.firing(Some(rule.name.clone()), events);
            if is_superseded {
                self.record_outcome(id, job, action, firing, FiringOutcome::Superseded);
            } else if self.event.hops() >= EVENT_HOPS_MAX {
                self.record_outcome(id, job, action, firing, FiringOutcome::TooManyHops);
            } else {
                self.request_job(id, job, action, firing, StartRequest::default());
            }
        }
        fired
    }

    fn match_workflow_rule(
        &mut self,
        rule_ref: &RuleRef,
        rule: &rules::CompiledRule,
        action: WorkflowAction,
        operands: &[usize],
        is_superseded: bool,
    ) -> bool {
        let event = self.event;
        let Some(workflow) = self.workflow(&rule_ref.workflow).filter(|_| !event.context.quiet) else {
            return false;
        };
        let project = workflow.project.as_str();
        let matches =
            |operand: &&usize| rule.operands.get(**operand).is_some_and(|pattern| pattern.fields_match(project, event));
        let hits: Vec<usize> = operands.iter().filter(matches).copied().collect();
        if hits.is_empty() {
            return false;
        }
        let before = workflow.rules.get(&rule.name);
        let mut state = before.cloned().unwrap_or_default();
        // Events during a pause do not count: a rule is not to fire on them when the workflow is enabled again.
        let is_paused = action != WorkflowAction::Stop && !workflow.enabled;
        let evaluation = if is_paused {
            let would_count = rule.pass_over(&mut state, &hits, event);
            rules::Evaluation { firings: would_count.then(|| vec![event.offset]).into_iter().collect(), is_full: false }
        } else {
            rule.evaluate(&mut state, &hits, event)
        };
        let (project, name) = (workflow.project.clone(), workflow.name.clone());
        if before.map_or_else(|| has_seen(&state), |before| *before != state)
            && let Some(workflow) = self.workflow_mut(&rule_ref.workflow)
        {
            keep_state(&mut workflow.rules, &rule.name, state);
        }
        if evaluation.is_full {
            self.dead_letter_full(&rule.name, &rule_ref.workflow);
        }
        let fired = !evaluation.firings.is_empty();
        for events in evaluation.firings {
            let firing = self.firing(Some(rule.name.clone()), events);
            let outcome = if is_paused {
                FiringOutcome::Disabled
            } else if is_superseded {
                FiringOutcome::Superseded
            } else if self.event.hops() >= EVENT_HOPS_MAX {
                FiringOutcome::TooManyHops
            } else {
                self.act_on_workflow(&rule_ref.workflow, action, firing);
                continue;
            };
            self.record_firing(
                project.clone(),
                FiringRecord::new(name.clone(), firing, RuleAction::Workflow(action), outcome),
            );
        }
        fired
    }

    fn dead_letter_full(&mut self, rule: &crate::id::RuleName, of: &str) {
        let id = format!("{}/{of}/{rule}", self.event.offset);
        self.dead_letter(id, format!("an operand of rule {rule} of {of} already holds {OPERAND_PENDING_MAX} events"));
    }
}

fn has_seen(state: &RuleState) -> bool {
    state.alarm.is_some()
        || state.operands.iter().any(|operand| !operand.pending.is_empty() || !operand.standing.is_empty())
}

fn keep_state(rules: &mut BTreeMap<crate::id::RuleName, RuleState>, name: &crate::id::RuleName, state: RuleState) {
    if has_seen(&state) {
        rules.insert(name.clone(), state);
    } else {
        rules.remove(name);
    }
}
