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
mod alert;
mod by_workflow;
mod catch_up;
mod contexts;
mod decision;
mod deletion;
mod hosts;
mod index;
mod job;
mod matching;
mod names;
mod overlap;
mod pause;
mod pools;
mod queues;
mod rerun;
mod rules;
mod schedule;
mod state;
mod stream;
mod upgrade;
mod workflow;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use decision::{Command, DeadLetter, Decision, Input, NewFiring, WorkflowKey};
pub use hosts::HostKey;
use hosts::host_key;
pub use job::LOSSES_MAX;
pub(crate) use names::{NEW_IDS_FROM, Names};
pub use pools::PoolKey;
pub use rules::{
    CUSTOM_STATE_BYTES_MAX, CustomCondition, CustomConditions, OPERAND_PENDING_MAX, RULE_KEYS_MAX, Verdict,
};
pub use schedule::BACKFILL_TIMES_MAX;
pub(crate) use state::OWN_EVENT_ID;
use state::{Draft, State, workflow_key};

use crate::control::Control;
use crate::event::{JOB_STATUS_CHANGED, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::execution::{JobExecution, JobState, JobStatus, Meter, Pool, WorkflowExecution, WorkflowState};
use crate::host::{HostId, HostState};
use crate::id::{FiringId, JobExecutionId, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject, Timer, TimerKey};
use crate::workflow::{Job, Workflow, merge};

/// The scheduling engine.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    state: State,
    customs: Arc<CustomConditions>,
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
    /// The jobs of these executions that something has happened to.
    pub job_states: Vec<JobState>,
    /// The job executions that are not terminal.
    pub jobs: Vec<JobExecution>,
    /// The firings that wait to be admitted.
    pub firings: Vec<NewFiring>,
    /// What the stages of admission count.
    pub meters: Vec<Meter>,
    /// Every pool.
    pub pools: Vec<Pool>,
    /// Every host that is known.
    pub hosts: Vec<HostState>,
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

impl<'a> LaunchPlan<'a> {
    /// What the executor of `execution`, which belongs to `parent`, is to be given.
    #[must_use]
    pub fn new(execution: &'a JobExecution, parent: &WorkflowExecution, job: &'a Job) -> Self {
        let mut params = merge(&job.base_params(), &parent.params);
        if let Some(schedule) = &execution.cause.schedule {
            params = merge(&params, &schedule::time_param(schedule.time));
        }
        params = merge(&params, &execution.params);
        Self { execution, job, params }
    }
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
        for job in snapshot.job_states {
            state.set_job_state(Arc::new(job));
        }
        for host in snapshot.hosts {
            state.hosts.set_host(host_key(&host.id), Some(Arc::new(host)));
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
        for pool in snapshot.pools {
            state.pools.set_pool((pool.project.clone(), pool.name.clone()), Some(Arc::new(pool)));
        }
        Self { state, customs: Arc::default() }
    }

    /// The same engine with code for custom conditions. It belongs to the engine's definition, not to its state: the same log gives the same
    /// decisions with the same code.
    #[must_use]
    pub fn with_conditions(mut self, customs: CustomConditions) -> Self {
        self.customs = Arc::new(customs);
        self
    }

    /// Everything that is not over: [`Engine::restore`] of it is this engine again.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = &self.state;
        Snapshot {
            workflows: state.workflows.values().map(|workflow| (**workflow).clone()).collect(),
            definitions: state.definitions(),
            executions: self.executions().cloned().collect(),
            job_states: state.job_states.values().flat_map(BTreeMap::values).map(|job| (**job).clone()).collect(),
            jobs: self.job_executions().cloned().collect(),
            firings: state.queues.held().cloned().collect(),
            meters: state.queues.meters().cloned().collect(),
            pools: state.pools.known().cloned().collect(),
            hosts: state.hosts.known().cloned().collect(),
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
        let mut draft = Draft::new(&self.state, &self.customs, &first.event);
        for input in inputs {
            draft.turn_to(&input.event);
            draft.on_input(input);
            if !draft.out.definitions.is_empty() {
                break;
            }
        }
        draft.out
    }

    /// Decides about an event whose consequences cannot be stored: it is a dead letter, and has no other consequence than that a rule which it
    /// was to show the past goes on without it.
    #[must_use]
    pub fn set_aside(&self, input: &Input, reason: String) -> Decision {
        let mut draft = Draft::new(&self.state, &self.customs, &input.event);
        draft.turn_to(&input.event);
        draft.dead_letter(input.event.offset.to_string(), reason);
        if let Ok(Some(Control::CatchUp { of, rule, begun, read })) = Control::from_event(&input.event) {
            draft.give_up_past(&of, &rule, begun, &read);
        }
        draft.out
    }

    /// As [`decide`](Self::decide) for one event, in a replay of history: what was made then gets the id that it got then.
    pub(crate) fn decide_again(&self, input: &Input, names: Names) -> Decision {
        let mut draft = Draft::new(&self.state, &self.customs, &input.event);
        draft.turn_to(&input.event);
        draft.number_firings_from(names.firings_from());
        draft.names = Some(names);
        draft.on_input(input);
        draft.out
    }

    /// The earliest timer that is due at `now` and that `other` does not have.
    pub(crate) fn due_and_unknown_to(&self, other: &Self, now: Timestamp) -> Option<Timer> {
        let mut due = self.state.timers().iter().take_while(|timer| timer.due <= now);
        due.find(|timer| !other.state.timers().contains(timer)).cloned()
    }

    /// A definition that is the latest, or that a live execution is pinned to.
    pub(crate) fn definition(&self, key: &WorkflowKey, version: u32) -> Option<&Workflow> {
        self.state.definition(key, version).map(|compiled| &*compiled.workflow)
    }

    /// A live workflow execution.
    pub(crate) fn execution(&self, id: WorkflowExecutionId) -> Option<&WorkflowExecution> {
        self.state.executions.get(&id).map(|execution| &**execution)
    }

    /// A live job execution.
    pub(crate) fn job_execution(&self, id: JobExecutionId) -> Option<&JobExecution> {
        self.state.jobs.get(&id).map(|job| &**job)
    }

    /// Whether a firing waits to be admitted.
    pub(crate) fn holds(&self, firing: FiringId) -> bool {
        self.state.queues.held_firing(firing).is_some()
    }

    /// Adopts a decision. Takes the decisions in the order in which they were made; their commands are to be carried out once they are
    /// committed.
    pub fn apply(&mut self, decision: &Decision) {
        // Executions first: a version that a new execution is pinned to must not be forgotten when a newer one follows.
        for (id, execution) in &decision.executions {
            self.state.set_execution(*id, Arc::clone(execution));
        }
        for job in decision.job_states.values().flat_map(BTreeMap::values) {
            self.state.set_job_state(Arc::clone(job));
        }
        for (key, host) in &decision.hosts {
            self.state.hosts.set_host(key.clone(), host.clone());
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
        for (key, pool) in &decision.pools {
            self.state.pools.set_pool(key.clone(), pool.clone());
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

    /// Job executions with an attempt at an executor of the leader: after a restart, these are to be looked up there.
    pub fn live_attempts(&self) -> impl Iterator<Item = &JobExecution> {
        let is_here = |job: &&JobExecution| job.placement.host.is_none();
        let is_live = |job: &&JobExecution| !matches!(job.status, JobStatus::Init | JobStatus::Retrying);
        self.job_executions().filter(is_here).filter(is_live)
    }

    /// The hosts that have not gone.
    pub fn live_hosts(&self) -> impl Iterator<Item = &HostId> {
        self.state.hosts.known().filter(|host| !host.status.is_gone()).map(|host| &host.id)
    }

    /// Whether there is a host, or was one.
    #[must_use]
    pub fn knows_hosts(&self) -> bool {
        self.state.hosts.known().next().is_some()
    }

    /// What the executor of a live job execution is to be given.
    #[must_use]
    pub fn launch_plan(&self, id: JobExecutionId) -> Option<LaunchPlan<'_>> {
        let execution = self.state.jobs.get(&id)?;
        let parent = self.state.executions.get(&execution.workflow_execution)?;
        let compiled = self.state.definition(&workflow_key(&execution.project, &execution.workflow), parent.version)?;
        let job = compiled.job(&execution.job)?;
        Some(LaunchPlan::new(execution, parent, job))
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

/// How many slots the state of a rule with this condition has.
#[cfg(test)]
pub(crate) fn n_slots_in_engine(condition: &crate::workflow::Condition) -> usize {
    let workflow = crate::id::WorkflowName::parse("wf").expect("a name");
    let rule = crate::workflow::start_workflow(condition.clone());
    rules::CompiledRule::of_workflow(&workflow, &rule).n_slots()
}

impl<'a> Draft<'a> {
    fn on_input(&mut self, input: &'a Input) {
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
        self.end_what_waits_no_more();
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
            TimerKey::Signal { attempt, signal } => self.on_signal_timer(*attempt, *signal, timer.due),
            TimerKey::Deadline { execution, job } => self.on_deadline(*execution, job.as_ref(), timer.due),
            TimerKey::Job { attempt, purpose } => self.on_job_timer(*attempt, *purpose, timer.due),
            TimerKey::Rule { of, rule, set_by } => {
                self.on_rule_timer(of, rule, Alarm { due: timer.due, set_by: *set_by });
            }
            TimerKey::Schedule { of, schedule, set_by } => {
                self.on_schedule_timer(of, schedule, Alarm { due: timer.due, set_by: *set_by });
            }
        }
        self.end_what_waits_no_more();
        if let TimerKey::Rule { of: Subject::Job { execution, .. }, .. }
        | TimerKey::Schedule { of: Subject::Job { execution, .. }, .. } = &timer.key
        {
            // It may have been the last thing that the execution waited for.
            self.finish_if_done(*execution);
        }
    }
}
