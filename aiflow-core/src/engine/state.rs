//! The engine's state, and a draft of the next one.
//!
//! [`State`] is a fold of the log: plain ordered data. A [`Draft`] reads through to it and keeps every change apart, so that deciding leaves
//! the state as it was until the decision is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::by_workflow::ByWorkflow;
use super::decision::{Command, DeadLetter, Decision, NewFiring, WorkflowKey};
use super::hosts::{HostDraft, Hosts};
use super::index::{RuleIndex, RuleRef};
use super::names::Names;
use super::pools::{PoolDraft, Pools};
use super::queues::{QueueDraft, Queues};
use super::rules::{CompiledRule, CustomConditions};
use super::schedule::CompiledSchedules;
use crate::event::{Cause, Event, NewEvent};
use crate::execution::{FiringRecord, JobExecution, JobState, Meter, WorkflowExecution, WorkflowState};
use crate::id::{FiringId, JobExecutionId, JobName, ProjectName, WorkflowExecutionId, WorkflowName};
use crate::time::Timestamp;
use crate::timer::Timer;
use crate::workflow::{ControlEdge, Job, Workflow, WorkflowRule};

/// With what the ids of the engine's own events begin.
pub(crate) const OWN_EVENT_ID: &str = "aiflow:";

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) workflows: ByWorkflow<Arc<WorkflowState>>,
    pub(super) executions: BTreeMap<WorkflowExecutionId, Arc<WorkflowExecution>>,
    pub(super) job_states: BTreeMap<WorkflowExecutionId, BTreeMap<JobName, Arc<JobState>>>,
    pub(super) jobs: BTreeMap<JobExecutionId, Arc<JobExecution>>,
    pub(super) queues: Queues,
    pub(super) pools: Pools,
    pub(super) hosts: Hosts,
    // Derived from the above.
    definitions: ByWorkflow<BTreeMap<u32, Arc<Compiled>>>,
    running: ByWorkflow<BTreeMap<u32, BTreeSet<WorkflowExecutionId>>>,
    timers: BTreeSet<Timer>,
    index: RuleIndex,
}

/// A version of a workflow with its rules compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) workflow: Arc<Workflow>,
    pub(super) job_rules: Vec<Arc<CompiledRule>>,
    pub(super) workflow_rules: Vec<Arc<CompiledRule>>,
    pub(super) schedules: CompiledSchedules,
    /// Where each job stands in the definition.
    places: BTreeMap<JobName, usize>,
}

pub(super) fn workflow_key(project: &ProjectName, workflow: &WorkflowName) -> WorkflowKey {
    [project.as_str(), "/", workflow.as_str()].concat().into()
}

impl Compiled {
    fn new(workflow: Arc<Workflow>) -> Self {
        // Rules of one job keep their definition order; jobs follow one another in definition order.
        let places: BTreeMap<JobName, usize> =
            workflow.jobs.iter().enumerate().map(|(place, job)| (job.name.clone(), place)).collect();
        let place_of = |job: &JobName| places.get(job).copied();
        let mut edges: Vec<_> =
            workflow.control_edges.iter().filter_map(|edge| Some((place_of(&edge.job)?, edge))).collect();
        edges.sort_by_key(|(place, _)| *place);
        let of_job = |edge: &ControlEdge| Arc::new(CompiledRule::of_job(&workflow.name, &edge.job, &edge.rule));
        let job_rules = edges.into_iter().map(|(_, edge)| of_job(edge)).collect();
        let of_workflow = |rule: &WorkflowRule| {
            Arc::new(CompiledRule::of_workflow(&workflow.name, rule).in_contexts(&workflow.contexts))
        };
        let workflow_rules = workflow.rules.iter().map(of_workflow).collect();
        let schedules = super::schedule::compile(&workflow);
        Self { workflow, job_rules, workflow_rules, schedules, places }
    }

    /// A job, found without a look at all the others.
    pub(super) fn job(&self, name: &JobName) -> Option<&Job> {
        self.workflow.jobs.get(*self.places.get(name)?)
    }

    pub(super) fn rules(&self, is_job: bool) -> &[Arc<CompiledRule>] {
        if is_job { &self.job_rules } else { &self.workflow_rules }
    }
}

impl State {
    pub(super) fn definition(&self, key: &WorkflowKey, version: u32) -> Option<&Arc<Compiled>> {
        self.definitions.get(key)?.get(&version)
    }

    pub(super) fn definitions(&self) -> Vec<(u32, Arc<Workflow>)> {
        let versions = self.definitions.values().flatten();
        versions.map(|(version, compiled)| (*version, Arc::clone(&compiled.workflow))).collect()
    }

    pub(super) fn index(&self) -> &RuleIndex {
        &self.index
    }

    pub(super) fn timers(&self) -> &BTreeSet<Timer> {
        &self.timers
    }

    /// Adds a definition: its job rules, and its workflow rules if it is the latest.
    pub(super) fn define(&mut self, key: &WorkflowKey, version: u32, workflow: Arc<Workflow>) {
        let compiled = Arc::new(Compiled::new(workflow));
        let key = &self.workflows.shared_key(key);
        self.index_rules(key, version, &compiled, true, RuleIndex::insert);
        if self.workflows.get(key).is_some_and(|state| state.version == version) {
            self.index_rules(key, version, &compiled, false, RuleIndex::insert);
        }
        self.definitions.change(key, |versions| versions.insert(version, compiled), BTreeMap::is_empty);
    }

    fn index_rules(
        &mut self,
        key: &WorkflowKey,
        version: u32,
        compiled: &Compiled,
        is_job: bool,
        change: fn(&mut RuleIndex, &RuleRef, &Arc<CompiledRule>),
    ) {
        for (place, rule) in compiled.rules(is_job).iter().enumerate() {
            let rule_ref = RuleRef { workflow: Arc::clone(key), version: is_job.then_some(version), place };
            change(&mut self.index, &rule_ref, rule);
        }
    }

    pub(super) fn set_workflow(&mut self, key: WorkflowKey, workflow: Arc<WorkflowState>) {
        let before = self.workflows.get(&key);
        let previous = before.map(|state| state.version);
        set_timers(&mut self.timers, before.into_iter().flat_map(|workflow| workflow.timers()), workflow.timers());
        if let Some(previous) = previous.filter(|previous| *previous != workflow.version)
            && let Some(compiled) = self.definition(&key, previous).cloned()
        {
            self.index_rules(&key, previous, &compiled, false, RuleIndex::remove);
            self.workflows.insert(Arc::clone(&key), workflow);
            self.forget_if_unused(&key, previous);
        } else {
            self.workflows.insert(key, workflow);
        }
    }

    pub(super) fn set_execution(&mut self, id: WorkflowExecutionId, execution: Arc<WorkflowExecution>) {
        let (key, version) = (workflow_key(&execution.project, &execution.workflow), execution.version);
        self.queues.set_execution(&execution);
        let before = self.executions.get(&id).into_iter().flat_map(|execution| execution.timers());
        set_timers(&mut self.timers, before, execution.timers());
        let before = self.executions.get(&id).map(|before| before.version).filter(|before| *before != version);
        if let Some(before) = before {
            self.end_running(&key, before, id);
        }
        if execution.status.is_terminal() {
            self.executions.remove(&id);
            let jobs = self.job_states.remove(&id).into_iter().flatten();
            jobs.for_each(|(_, job)| set_timers(&mut self.timers, job.timers(), std::iter::empty()));
            self.end_running(&key, version, id);
        } else {
            let begin = |versions: &mut BTreeMap<u32, BTreeSet<_>>| versions.entry(version).or_default().insert(id);
            self.running.change(&key, begin, BTreeMap::is_empty);
            self.executions.insert(id, execution);
        }
    }

    /// An execution does not run under this version any more.
    fn end_running(&mut self, key: &WorkflowKey, version: u32, id: WorkflowExecutionId) {
        let end = |versions: &mut BTreeMap<u32, BTreeSet<_>>| {
            if let Some(running) = versions.get_mut(&version) {
                running.remove(&id);
            }
            versions.retain(|_, running| !running.is_empty());
        };
        self.running.change(key, end, BTreeMap::is_empty);
        self.forget_if_unused(key, version);
    }

    pub(super) fn set_firing(&mut self, firing: NewFiring) {
        self.queues.set_firing(firing, &mut self.timers);
    }

    pub(super) fn set_meter(&mut self, id: String, meter: Option<Meter>) {
        self.queues.set_meter(id, meter, &mut self.timers);
    }

    /// Keeps a job of a live execution; the others are not the engine's any more.
    pub(super) fn set_job_state(&mut self, job: Arc<JobState>) {
        if !self.executions.contains_key(&job.execution) {
            return;
        }
        let jobs = self.job_states.entry(job.execution).or_default();
        let before = jobs.get(&job.job).into_iter().flat_map(|job| job.timers());
        set_timers(&mut self.timers, before, job.timers());
        jobs.insert(job.job.clone(), job);
    }

    pub(super) fn set_job(&mut self, id: JobExecutionId, job: Arc<JobExecution>) {
        let before = self.jobs.get(&id).into_iter().flat_map(|job| job.timers());
        set_timers(&mut self.timers, before, job.timers());
        self.pools.set_job(self.jobs.get(&id).map(|job| &**job), &job);
        self.hosts.set_job(self.jobs.get(&id).map(|job| &**job), &job);
        if job.status.is_terminal() {
            self.jobs.remove(&id);
        } else {
            self.jobs.insert(id, job);
        }
    }

    /// A version that is not the latest and that no execution is pinned to is never needed again.
    fn forget_if_unused(&mut self, key: &WorkflowKey, version: u32) {
        let is_latest = self.workflows.get(key).is_some_and(|state| state.version == version);
        if is_latest || self.running.get(key).is_some_and(|versions| versions.contains_key(&version)) {
            return;
        }
        if let Some(compiled) = self.definitions.change(key, |versions| versions.remove(&version), BTreeMap::is_empty) {
            self.index_rules(key, version, &compiled, true, RuleIndex::remove);
        }
    }
}

/// Replaces what something waited for by what it waits for now; what has ended waits for nothing.
pub(super) fn set_timers(
    timers: &mut BTreeSet<Timer>,
    before: impl Iterator<Item = Timer>,
    now: impl Iterator<Item = Timer>,
) {
    let (before, now): (Vec<Timer>, Vec<Timer>) = (before.collect(), now.collect());
    // Most changes leave the timers as they were.
    if before == now {
        return;
    }
    for timer in &before {
        timers.remove(timer);
    }
    timers.extend(now);
}

/// Changes on top of a [`State`], while events are being decided.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) state: &'a State,
    /// The event that is being decided: what is made is named after it, and it says what time it is.
    pub(super) event: &'a Event,
    /// The event that rules see: the same, unless a rule is shown the past.
    pub(super) seen: &'a Event,
    pub(super) out: Decision,
    pub(super) customs: &'a CustomConditions,
    /// Executions of which a rule waits no more: they may have nothing left to do.
    pub(super) waits_no_more: BTreeSet<WorkflowExecutionId>,
    pub(super) queues: QueueDraft,
    pub(super) pools: PoolDraft,
    pub(super) hosts: HostDraft,
    /// In a replay of history: the ids that were given when it was made.
    pub(super) names: Option<Names>,
    /// Executions that the current event has started: they do not see it.
    begun: BTreeSet<WorkflowExecutionId>,
    /// The moment for which the timer that fires was set: it is not earlier now, whatever the clock says.
    not_before: Timestamp,
    started: BTreeMap<(WorkflowKey, u32), Vec<WorkflowExecutionId>>,
    // Numbers of what the current event has made so far.
    n_executions: u32,
    n_jobs: u32,
    n_events: u32,
    n_firings: u32,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a State, customs: &'a CustomConditions, first: &'a Event) -> Self {
        Self {
            state,
            event: first,
            seen: first,
            out: Decision::default(),
            customs,
            waits_no_more: BTreeSet::new(),
            queues: QueueDraft::default(),
            pools: PoolDraft::default(),
            hosts: HostDraft::default(),
            names: None,
            begun: BTreeSet::new(),
            not_before: Timestamp::EPOCH,
            started: BTreeMap::new(),
            n_executions: 0,
            n_jobs: 0,
            n_events: 0,
            n_firings: 0,
        }
    }

    /// Turns to the next event: everything after is caused by it.
    pub(super) fn turn_to(&mut self, event: &'a Event) {
        (self.event, self.seen) = (event, event);
        self.out.consumed = self.out.consumed.saturating_add(1);
        self.out.cursor = event.offset;
        self.begun.clear();
        self.not_before = Timestamp::from_millis(i64::MIN);
        (self.n_executions, self.n_jobs, self.n_events, self.n_firings) = (0, 0, 0, 0);
    }

    /// The present, as far as the engine is concerned.
    pub(super) fn now(&self) -> Timestamp {
        self.event.recorded.max(self.not_before)
    }

    /// A timer that was set for `due` fires.
    pub(super) fn at_least(&mut self, due: Timestamp) {
        self.not_before = due;
    }

    /// Whether the current event has started this execution.
    pub(super) fn is_begun(&self, id: WorkflowExecutionId) -> bool {
        self.begun.contains(&id)
    }

    pub(super) fn workflow(&self, key: &WorkflowKey) -> Option<&WorkflowState> {
        self.out.workflows.get(key).or_else(|| self.state.workflows.get(key)).map(|workflow| &**workflow)
    }

    pub(super) fn execution(&self, id: WorkflowExecutionId) -> Option<&WorkflowExecution> {
        self.out.executions.get(&id).or_else(|| self.state.executions.get(&id)).map(|execution| &**execution)
    }

    pub(super) fn job(&self, id: JobExecutionId) -> Option<&JobExecution> {
        self.out.jobs.get(&id).or_else(|| self.state.jobs.get(&id)).map(|job| &**job)
    }

    pub(super) fn workflow_mut(&mut self, key: &WorkflowKey) -> Option<&mut WorkflowState> {
        let base = self.state.workflows.get(key);
        edit(&mut self.out.workflows, key, base).map(Arc::make_mut)
    }

    pub(super) fn execution_mut(&mut self, id: WorkflowExecutionId) -> Option<&mut WorkflowExecution> {
        let base = self.state.executions.get(&id);
        edit(&mut self.out.executions, &id, base).map(Arc::make_mut)
    }

    pub(super) fn job_state(&self, execution: WorkflowExecutionId, job: &JobName) -> Option<&JobState> {
        let changed = self.out.job_states.get(&execution).and_then(|jobs| jobs.get(job));
        changed.or_else(|| self.state.job_states.get(&execution)?.get(job)).map(|job| &**job)
    }

    /// The jobs of an execution that something has happened to.
    pub(super) fn jobs_of(&self, execution: WorkflowExecutionId) -> Vec<JobName> {
        let changed = self.out.job_states.get(&execution).into_iter().flatten();
        let known = self.state.job_states.get(&execution).into_iter().flatten();
        let jobs: BTreeSet<&JobName> = known.chain(changed).map(|(job, _)| job).collect();
        jobs.into_iter().cloned().collect()
    }

    /// Changes a job of an execution, and what the execution counts.
    pub(super) fn change_job_state<T>(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        change: impl FnOnce(&mut JobState) -> T,
    ) -> Option<T> {
        let project = &self.execution(execution)?.project;
        let base = self.state.job_states.get(&execution).and_then(|jobs| jobs.get(job));
        let new = || Arc::new(JobState::new(execution, project.clone(), job.clone()));
        let known = self.out.job_states.get(&execution).is_some_and(|jobs| jobs.contains_key(job));
        let base = (!known).then(|| base.map_or_else(new, Arc::clone));
        let jobs = self.out.job_states.entry(execution).or_default();
        if let Some(base) = base {
            jobs.insert(job.clone(), base);
        }
        let state = Arc::make_mut(jobs.get_mut(job)?);
        let before = state.counts();
        let result = change(state);
        let now = state.counts();
        if now != before
            && let Some(execution) = self.execution_mut(execution)
        {
            execution.counts = execution.counts.changed(before, now);
        }
        Some(result)
    }

    pub(super) fn job_mut(&mut self, id: JobExecutionId) -> Option<&mut JobExecution> {
        let base = self.state.jobs.get(&id);
        edit(&mut self.out.jobs, &id, base).map(Arc::make_mut)
    }

    /// Executions of this version that are not terminal in the draft, in order of their ids.
    pub(super) fn running(&self, key: &WorkflowKey, version: u32) -> Vec<WorkflowExecutionId> {
        let place = (Arc::clone(key), version);
        let before = self.state.running.get(key).and_then(|versions| versions.get(&version)).into_iter().flatten();
        let started = self.started.get(&place).into_iter().flatten();
        let is_live = |id: &WorkflowExecutionId| {
            self.execution(*id).is_some_and(|now| !now.status.is_terminal() && now.version == version)
        };
        let mut running: Vec<WorkflowExecutionId> = before.chain(started).copied().filter(is_live).collect();
        // An execution that waited to be admitted is older than its start.
        running.sort_unstable();
        running.dedup();
        running
    }

    /// Executions of every version of a workflow that are not terminal in the draft.
    pub(super) fn running_any_version(&self, key: &WorkflowKey) -> Vec<WorkflowExecutionId> {
        let range = (Arc::clone(key), 0)..=(Arc::clone(key), u32::MAX);
        let mut versions: BTreeSet<u32> =
            self.state.running.get(key).into_iter().flat_map(BTreeMap::keys).copied().collect();
        versions.extend(self.started.range(range).map(|((_, version), _)| *version));
        versions.into_iter().flat_map(|version| self.running(key, version)).collect()
    }

    /// Takes note that an execution has come to another version.
    pub(super) fn note_version(&mut self, key: &WorkflowKey, version: u32, id: WorkflowExecutionId) {
        self.started.entry((Arc::clone(key), version)).or_default().push(id);
    }

    pub(super) fn add_execution(&mut self, key: &WorkflowKey, execution: WorkflowExecution) {
        self.started.entry((Arc::clone(key), execution.version)).or_default().push(execution.id);
        self.begun.insert(execution.id);
        self.out.executions.insert(execution.id, Arc::new(execution));
    }

    pub(super) fn next_execution_id(&mut self, of: &WorkflowKey) -> WorkflowExecutionId {
        match &mut self.names {
            Some(names) => names.execution(of, self.event.offset),
            None => WorkflowExecutionId::new(self.event.offset, count(&mut self.n_executions)),
        }
    }

    pub(super) fn next_job_id(&mut self, execution: WorkflowExecutionId, job: &JobName) -> JobExecutionId {
        match &mut self.names {
            Some(names) => names.job(execution, job, self.event.offset),
            None => JobExecutionId::new(self.event.offset, count(&mut self.n_jobs)),
        }
    }

    /// Numbers the records of firings from here on.
    pub(super) fn number_firings_from(&mut self, n: u32) {
        self.n_firings = n;
    }

    /// Appends an event of the scheduler's own, caused by the current one. At least `behind` causes lie behind it: a report comes from
    /// outside, but the job that it is about was started by a chain that goes on.
    pub(super) fn emit(&mut self, mut event: NewEvent, behind: u32) -> String {
        event.id = match &mut self.names {
            Some(names) => names.event(&event, self.event.offset),
            None => format!("{OWN_EVENT_ID}{}.{}", self.event.offset, count(&mut self.n_events)),
        };
        event.cause = Some(Cause { offset: self.event.offset, hops: self.event.hops().saturating_add(1).max(behind) });
        event.time = Some(self.now());
        let id = event.id.clone();
        self.out.events.push(event);
        id
    }

    /// Gives a command: to the executors of the leader, or to the host that the attempt is placed on.
    pub(super) fn command(&mut self, command: Command) {
        match self.job(command.attempt().job_execution).and_then(|job| job.placement.host.clone()) {
            None => self.out.commands.push(command),
            Some(host) => self.tell_host(host, command),
        }
    }

    pub(super) fn record_firing(&mut self, project: ProjectName, record: FiringRecord) {
        let id = self.next_firing_id();
        self.out.firings.insert(id, NewFiring { id, project, record });
    }

    pub(super) fn next_firing_id(&mut self) -> FiringId {
        FiringId::new(self.event.offset, count(&mut self.n_firings))
    }

    pub(super) fn dead_letter(&mut self, id: String, reason: String) {
        self.out.dead_letters.push(DeadLetter { id, offset: self.seen.offset, reason });
    }
}

fn edit<'d, K: Ord + Clone, V: Clone>(changed: &'d mut BTreeMap<K, V>, key: &K, base: Option<&V>) -> Option<&'d mut V> {
    if !changed.contains_key(key) {
        changed.insert(key.clone(), base?.clone());
    }
    changed.get_mut(key)
}

pub(super) fn count(n: &mut u32) -> u32 {
    let number = *n;
    *n = n.saturating_add(1);
    number
}
