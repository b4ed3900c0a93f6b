//! A world to play the [text form](steps) in: a log, virtual time, and an engine that is fed from the log and whose events go back into it.
//!
//! # Trace
//! A line per event of the log that had an effect, with its offset, and below it what the engine made of it. Events of the engine itself are
//! shown by what they say: `train#1 RUNNING`.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use aiflow_core::control::Control;
use aiflow_core::engine::{
    Command, CustomCondition, CustomConditions, Decision, Engine, Input, NewFiring, Snapshot, Verdict,
};
use aiflow_core::event::{Event, NewEvent};
use aiflow_core::execution::{FiringOutcome, JobExecution, JobState, JobStatus, RuleAction, WorkflowExecution};
use aiflow_core::executor::StopMode;
use aiflow_core::history::{HISTORY_EVENTS_PAGE, History, HistoryRead};
use aiflow_core::host::HostCommand;
use aiflow_core::id::{JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{KeyOf, Workflow};
use serde_json::Value;

use super::names::Names;
use super::text::{PROJECT, duration, parse_rules};

pub(crate) use steps::report_kind;

/// More events than a test of a few lines can need: the engine runs in a circle.
const EVENTS_MAX: usize = 20_000;

/// A log, the present, and the engine.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) log: Vec<Input>,
    pub(crate) executions: BTreeMap<WorkflowExecutionId, WorkflowExecution>,
    pub(super) job_states: BTreeMap<WorkflowExecutionId, BTreeMap<JobName, JobState>>,
    pub(crate) jobs: BTreeMap<JobExecutionId, JobExecution>,
    pub(crate) decisions: Vec<Decision>,
    applied: usize,
    now: Timestamp,
    /// How many events of the past a rule is shown at once.
    page: usize,
    /// The store refuses what rules are shown of the past.
    refuses_past: bool,
    /// Events up to here are not shown to rules that begin in the past.
    trimmed: Offset,
    labels: BTreeMap<Offset, String>,
    pub(crate) definitions: BTreeMap<(WorkflowName, u32), Arc<Workflow>>,
    names: Names,
    pub(super) trace: String,
}

impl World {
    /// A world in which `rules` are submitted.
    pub(crate) fn new(rules: &str) -> Self {
        let mut world = Self {
            engine: Engine::new().with_conditions(conditions()),
            log: Vec::new(),
            executions: BTreeMap::new(),
            job_states: BTreeMap::new(),
            jobs: BTreeMap::new(),
            decisions: Vec::new(),
            applied: 0,
            now: Timestamp::EPOCH,
            page: HISTORY_EVENTS_PAGE,
            refuses_past: false,
            trimmed: Offset::START,
            labels: BTreeMap::new(),
            definitions: BTreeMap::new(),
            names: Names::default(),
            trace: String::new(),
        };
        world.submit(rules);
        world.decide();
        world
    }

    /// Plays steps of the text form.
    pub(crate) fn play(&mut self, events: &str) {
        for group in events.split(['|', '\n']).map(str::trim) {
            for step in group.split('&').map(str::trim).filter(|s| !s.is_empty()) {
                self.step(step);
            }
            self.decide();
        }
    }

    /// The time of its clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// What happened so far.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }

    /// Puts a control event into the log.
    pub(crate) fn control(&mut self, label: &str, control: Control) {
        let event = control.into_event(self.fresh_id());
        self.append(event, label, None);
    }

    fn submit(&mut self, rules: &str) {
        for workflow in parse_rules(rules) {
            let name = workflow.name.clone();
            let versions = (name.clone(), 0)..=(name.clone(), u32::MAX);
            let last = self.definitions.range(versions).next_back();
            let version = last.map_or(1, |((_, version), _)| version + 1);
            self.names.learn_rules(&workflow);
            let workflow = Arc::new(workflow);
            self.definitions.insert((name.clone(), version), Arc::clone(&workflow));
            let control = Control::WorkflowSubmitted { project: project(), workflow: name.clone(), version };
            let event = control.into_event(self.fresh_id());
            self.append(event, &format!("submit {name} v{version}"), Some(workflow));
        }
    }

    /// Sets the clock and lets what is due by it fire, once each.
    pub(crate) fn jump(&mut self, by: &str) {
        self.now = match by.strip_prefix('-') {
            Some(by) => self.now - duration(by),
            None => self.now + duration(by),
        };
        self.fire();
    }

    /// Lets every timer fire that is due by the clock.
    pub(crate) fn fire(&mut self) {
        for _ in 0..EVENTS_MAX {
            let due = self.engine.due_timers(self.now, 16);
            if due.is_empty() {
                return;
            }
            for timer in due {
                let label = self.names.timer(&timer);
                self.append(timer.into_event(), &label, None);
            }
            self.decide();
        }
        panic!("timers beget timers without end");
    }

    fn tick(&mut self, by: &str) {
        let end = self.now + duration(by);
        while let Some(due) = self.engine.next_timer().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for timer in self.engine.due_timers(self.now, 16) {
                let label = self.names.timer(&timer);
                self.append(timer.into_event(), &label, None);
            }
            self.decide();
        }
        self.now = end;
    }

    /// Restores the engine from its snapshot, through JSON, and checks that nothing was lost.
    pub(crate) fn restore(&mut self) {
        self.engine = through_json(&self.engine);
    }

    /// The short name of a job execution.
    pub(crate) fn name_of(&self, job: JobExecutionId) -> &str {
        &self.names.jobs[&job]
    }

    pub(super) fn fresh_id(&self) -> String {
        format!("x{}", self.log.len())
    }

    /// A text with the short names of the executions that it speaks of.
    pub(super) fn shorten(&self, text: &str) -> String {
        let executions = self.names.jobs.iter().map(|(id, name)| (id.to_string(), name));
        let executions = executions.chain(self.names.executions.iter().map(|(id, name)| (id.to_string(), name)));
        executions.fold(text.to_owned(), |text, (id, name)| text.replace(&format!("execution {id}"), name))
    }

    fn append(&mut self, event: NewEvent, label: &str, workflow: Option<Arc<Workflow>>) {
        assert!(self.log.len() < EVENTS_MAX, "events beget events without end");
        let offset = Offset(self.log.len() as u64 + 1);
        if !label.is_empty() {
            self.labels.insert(offset, label.to_owned());
        }
        let event = Arc::new(Event { offset, recorded: self.now, body: event });
        let history = match Control::from_event(&event) {
            Ok(Some(Control::CatchUp { read, .. })) => Some(self.history(&read)),
            _ => None,
        };
        self.log.push(Input { workflow, history, ..Input::from(event) });
    }

    /// What a rule asks for of the whole log so far, found in the simplest way.
    fn history(&self, read: &HistoryRead) -> History {
        if let Some(again) = &read.again {
            let mut own = read.clone();
            (own.again, own.after) = (None, again.then);
            let mut history = self.history(&own);
            for offset in again.events.iter().rev() {
                let mut event = Event::clone(&self.log[usize::try_from(offset.0).expect("an offset") - 1].event);
                event.body.context.workflow_execution = event.body.context.workflow_execution.and(read.execution);
                history.events.insert(0, Arc::new(event));
            }
            return History { after: read.after, ..history };
        }
        let after = read.after.max(self.trimmed);
        let log: Vec<&Arc<Event>> = self.log.iter().map(|input| &input.event).filter(|e| e.offset > after).collect();
        let mut events: Vec<Arc<Event>> = Vec::new();
        let key = |event: &Event| {
            let per = match &read.per {
                Some(KeyOf::Value(pointer)) => event.value.pointer(pointer).cloned(),
                Some(KeyOf::Label(name)) => event.context.labels.get(name).cloned().map(Value::from),
                _ => None,
            };
            (event.namespace.clone(), event.key.clone(), event.event_type.clone(), per)
        };
        let is_newest_only = |event: &Event| read.latest_through.is_some_and(|through| event.offset <= through);
        for event in log.into_iter().filter(|event| read.wants(event)) {
            if is_newest_only(event) {
                events.retain(|older| key(older) != key(event));
            }
            events.push(Arc::clone(event));
        }
        let is_all = events.len() <= self.page;
        events.truncate(self.page);
        let covered = match events.last() {
            Some(last) if !is_all => last.offset,
            _ => Offset(self.log.len() as u64),
        };
        History { events, after, covered, is_cut: false }
    }

    /// Lets the engine see the log to its end, one event at a time.
    pub(crate) fn decide(&mut self) {
        while let Some(input) = self.log.get(self.applied).cloned() {
            let is_refused = self.refuses_past && input.history.is_some();
            let decision = match is_refused {
                true => self.engine.set_aside(&input, "the store refused it".to_owned()),
                false => self.engine.decide(std::slice::from_ref(&input)),
            };
            assert_eq!(decision.consumed, 1);
            assert_eq!(decision.cursor, input.event.offset);
            self.applied += 1;
            super::invariants::check(&self.executions, &self.job_states, &self.jobs, &decision, &input.event);
            for (id, jobs) in &decision.job_states {
                let known = self.job_states.entry(*id).or_default();
                known.extend(jobs.iter().map(|(job, state)| (job.clone(), (**state).clone())));
            }
            self.write(&input.event, &decision);
            for (id, execution) in &decision.executions {
                self.executions.insert(*id, (**execution).clone());
            }
            for (id, job) in &decision.jobs {
                self.jobs.insert(*id, (**job).clone());
            }
            for event in decision.events.clone() {
                self.append(event, "", None);
            }
            self.engine.apply(&decision);
            self.decisions.push(decision);
        }
    }

    pub(super) fn execution_named(&self, name: Option<&str>) -> WorkflowExecutionId {
        let found = match name {
            None | Some("wf") => self.executions.keys().next_back(),
            Some(name) => {
                let n: usize = name
                    .strip_prefix('@')
                    .and_then(|n| n.parse().ok())
                    .unwrap_or_else(|| panic!("{name:?} must look like @1"));
                self.executions.keys().nth(n - 1)
            }
        };
        *found.unwrap_or_else(|| panic!("there is no workflow execution {name:?} yet"))
    }

    /// Adds to the trace what `decision` made of `event`.
    fn write(&mut self, event: &Event, decision: &Decision) {
        let mut lines = Vec::new();
        for (id, execution) in &decision.executions {
            let name = self.names.execution(*id, &execution.workflow);
            let before = self.executions.get(id);
            if before.map(|before| before.status) != Some(execution.status) {
                lines.push(format!("{name} {}{}", execution.status, self.details(execution, before.is_none())));
            }
        }
        for (id, job) in &decision.jobs {
            let name = self.names.job(*id, &job.job);
            let before = self.jobs.get(id);
            if before.map(|before| (before.status, before.attempt)) == Some((job.status, job.attempt)) {
                continue;
            }
            let mut line = format!("{name} {}", job.status);
            if before.is_none() {
                let cause = self.names.firing(&job.workflow, Some(&job.job), &job.cause);
                let _ = write!(line, " by {cause}");
            }
            if let Some(due) = job.due.values().min() {
                let _ = write!(line, " until {due}");
            }
            lines.push(line);
        }
        for firing in decision.firings.values() {
            let record = &firing.record;
            let action = match record.action {
                RuleAction::Job(action) => action.as_str(),
                RuleAction::Workflow(action) => action.as_str(),
            };
            let cause = self.names.firing(&record.workflow, record.job.as_ref(), &record.firing);
            let why = record.steps.last().map(|step| format!(" ({}: {})", step.stage, step.reason));
            lines.push(format!("{cause} {action}: {}{}", outcome(record.outcome), why.unwrap_or_default()));
        }
        for letter in &decision.dead_letters {
            lines.push(format!("dead letter: {}", self.names.shorten(&letter.reason)));
        }
        for command in &decision.commands {
            let (what, attempt) = match command {
                Command::Launch { attempt } => ("launch", attempt),
                Command::Signal { attempt, signal, .. } => {
                    let name = &self.names.jobs[&attempt.job_execution];
                    lines.push(format!("signal {name}-{} {}", attempt.attempt, signal.value));
                    continue;
                }
                Command::Stop { attempt, mode: StopMode::Kill, .. } => ("kill", attempt),
                Command::Stop { attempt, .. } => ("stop", attempt),
            };
            let name = &self.names.jobs[&attempt.job_execution];
            lines.push(format!("{what} {name}-{}", attempt.attempt));
        }
        for event in &decision.events {
            let Ok(Some(Control::TellHost { host, attempt, command })) = Control::from_event(event) else { continue };
            let what = match command {
                HostCommand::Launch => "launch",
                HostCommand::Signal { .. } => "signal",
                HostCommand::Stop { mode: StopMode::Kill } => "kill",
                _ => "stop",
            };
            let name = &self.names.jobs[&attempt.job_execution];
            let place = if host.place == 1 { String::new() } else { format!("@{}", host.place) };
            lines.push(format!("{what} {name}-{} on {}{place}", attempt.attempt, host.name));
        }
        if lines.is_empty() {
            return;
        }
        let label = self.labels.get(&event.offset).cloned();
        let label = label.unwrap_or_else(|| self.names.own_event(event));
        let _ = writeln!(self.trace, "{} {label}", event.offset);
        for line in lines {
            let _ = writeln!(self.trace, "  {line}");
        }
    }

    fn details(&mut self, execution: &WorkflowExecution, is_new: bool) -> String {
        if is_new {
            let cause = self.names.firing(&execution.workflow, None, &execution.cause);
            return format!(" v{} by {cause}", execution.version);
        }
        if !execution.status.is_terminal() {
            return String::new();
        }
        let version = usize::try_from(execution.version).expect("a small number");
        let versions = self.log.iter().filter_map(|input| input.workflow.as_ref());
        let definition =
            versions.filter(|workflow| workflow.name == execution.workflow).nth(version - 1).expect("was submitted");
        let names: BTreeSet<&JobName> = definition.jobs.iter().map(|job| &job.name).collect();
        let last = |job: &JobName| self.job_state(execution.id, job).and_then(|job| job.last);
        let jobs: Vec<String> = names
            .into_iter()
            .map(|job| format!("{job} {}", last(job).map_or(JobStatus::Skipped.as_str(), JobStatus::as_str)))
            .collect();
        format!(": {}", jobs.join(", "))
    }

    /// A job of an execution, if something has happened to it.
    pub(crate) fn job_state(&self, execution: WorkflowExecutionId, job: &JobName) -> Option<&JobState> {
        self.job_states.get(&execution)?.get(job)
    }
}

fn project() -> ProjectName {
    ProjectName::parse(PROJECT).expect("a project name")
}

fn outcome(outcome: FiringOutcome) -> String {
    let json = serde_json::to_value(outcome).expect("an outcome is plain data");
    json.as_str().expect("written as text").to_owned()
}

/// A snapshot as JSON: each struct as the store keeps it.
pub(crate) fn snapshot_json(snapshot: &Snapshot) -> String {
    let Snapshot { workflows, definitions, executions, job_states, jobs, firings, meters, pools, hosts } = snapshot;
    let firings: Vec<_> = firings.iter().map(|firing| (firing.id, &firing.project, &firing.record)).collect();
    let all = (workflows, definitions, executions, job_states, jobs, firings, meters, pools, hosts);
    serde_json::to_string_pretty(&all).expect("a snapshot is plain data")
}

/// The engine that is restored from the snapshot of `engine`, written as JSON and read back.
pub(crate) fn through_json(engine: &Engine) -> Engine {
    let text = snapshot_json(&engine.snapshot());
    let read = serde_json::from_str(&text).expect("a snapshot reads back");
    let (workflows, definitions, executions, job_states, jobs, firings, meters, pools, hosts) = read;
    let firings: Vec<_> = firings;
    let firings = firings.into_iter().map(|(id, project, record)| NewFiring { id, project, record }).collect();
    let restored = Engine::restore(Snapshot {
        workflows,
        definitions,
        executions,
        job_states,
        jobs,
        firings,
        meters,
        pools,
        hosts,
    })
    .with_conditions(conditions());
    assert_eq!(snapshot_json(&restored.snapshot()), text);
    restored
}

/// The custom conditions of every world.
pub(crate) fn conditions() -> CustomConditions {
    let mut conditions = CustomConditions::default();
    conditions.insert("sum", Sum);
    conditions
}

/// The values add up to the parameter. A value that is no number is an error, and 666 a panic.
#[derive(Debug)]
struct Sum;

impl CustomCondition for Sum {
    fn see(&self, params: &Value, state: &mut Value, event: &Event) -> Result<Verdict, String> {
        let value = event.value.as_i64().ok_or("the value is no number")?;
        assert_ne!(value, 666, "what a number");
        if value == 0 {
            return Ok(Verdict::Ignored);
        }
        let sum = state.as_i64().unwrap_or(0) + value;
        if sum < params.as_i64().unwrap_or(0) {
            *state = sum.into();
            return Ok(Verdict::Counts);
        }
        *state = Value::Null;
        Ok(Verdict::Met)
    }
}
