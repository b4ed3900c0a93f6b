//! A world to play the text form in: a log, virtual time, and an engine that is fed from the log and whose events go back into it.
//!
//! # Events
//! Steps are separated by `|` or line ends; steps joined by `&` stand in the log before the engine sees the first of them.
//!
//! ```text
//! start [workflow] [k=v …]         start an execution by hand; executions are called @1, @2, … in order of creation
//! start wf in:blue label:k=v       in a named context, with a label
//! stop [@n], stop! [@n]            stop or kill an execution (the newest); the words after `because` are the reason
//! enable wf, disable wf
//! act RESTART train [@n]           act on a job by hand; also KILL, and `because` as above
//! train ok                         a report of the newest execution of job train; also started, ready, failed, fatal, lost, stopped, timedout,
//!                                  silent, exit:75 and error:io
//! train#2-1 ok                     a report of the second execution of train in this world, attempt 1
//! [@n] key[=value] [ns:… type:… from:… at:… hops:… label:name=…]      an event of a user; with @n, for that execution only; with
//!                                  only:p/wf/name for that rule only: a dead letter that is tried again
//! infer at 2 x7                    the attempt says where to go on: the second time, `x7`
//! infer acks, infer refuses        the oldest value that was handed over; signal infer v [@n] hands one over by hand
//! tick 5s                          time passes and timers fire when they are due
//! at 2026-03-29T02:30Z             sets the clock, and no timer fires
//! jump 5s, jump -5s                the clock is set forward or back; what is due by it fires
//! pause wf/nightly                 a schedule; also resume, delete; of a job in an execution: pause train/tick [@n]
//! upgrade @1                             lets an execution go on under the latest version
//! rerun @1 from:train,test k=v           runs an ended execution again; without from: what did not succeed
//! pool gpu 2                             says how many slots a pool has; `none` removes it
//! backfill wf/nightly 2026-03-01 2026-03-03 [quiet] [overlap:skip]
//! rule pause wf name [@n]          also resume, clear, remove; of a job in an execution: rule pause train name
//! pause [@n], resume [@n]          an execution
//! unschedule train [@n]            stops the scheduling of a job; schedule resumes it
//! skip 5s                          time passes, and what was due waits for the next tick: no scheduler was there
//! submit { rules }                 a new version of the workflows
//! page 2                           rules that begin in the past are shown two events at once; trim 3: nothing up to event 3
//! refuse past                            from now on the store refuses for good what such rules are shown
//! restore                          the engine is thrown away and restored from its snapshot, through JSON
//! ```
//!
//! # Trace
//! A line per event of the log that had an effect, with its offset, and below it what the engine made of it. Events of the engine itself are
//! shown by what they say: `train#1 RUNNING`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use aiflow_core::control::Control;
use aiflow_core::engine::{
    Command, CustomCondition, CustomConditions, Decision, Engine, Input, NewFiring, Snapshot, Verdict,
};
use aiflow_core::event::{Cause, Event, NewEvent};
use aiflow_core::execution::{
    FiringOutcome, JobExecution, JobState, JobStatus, RuleAction, ScheduleAction, WorkflowExecution,
};
use aiflow_core::executor::{Ending, ReportKind, StopMode, TimeLimit};
use aiflow_core::history::{HISTORY_EVENTS_PAGE, History, HistoryRead};
use aiflow_core::id::{
    AttemptId, JobExecutionId, JobName, Offset, ProjectName, RuleName, ScheduleName, WorkflowExecutionId, WorkflowName,
};
use aiflow_core::time::Timestamp;
use aiflow_core::timer::Subject;
use aiflow_core::workflow::{JobAction, KeyOf, OverlapPolicy, Workflow};
use serde_json::Value;

use super::names::Names;
use super::text::{PROJECT, duration, job_action, job_name, overlap, parse_rules, time, value};

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

    /// Puts one step into the log, or lets time pass.
    pub(crate) fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        if let Some(rules) = step.strip_prefix("submit") {
            let rules = rules.trim().strip_prefix('{').and_then(|r| r.strip_suffix('}'));
            return self.submit(rules.expect("submit { rules }"));
        }
        match words[..] {
            ["restore"] => self.restore(),
            ["page", n] => self.page = n.parse().expect("a number of events"),
            ["refuse", "past"] => self.refuses_past = true,
            ["trim", offset] => self.trimmed = Offset(offset.parse().expect("an offset")),
            ["tick", by] => self.tick(by),
            ["at", text] => self.now = time(text),
            ["jump", by] => self.jump(by),
            [action @ ("pause" | "resume" | "delete"), name, ..] if let Some((of, schedule)) = name.split_once('/') => {
                let of = self.schedule_subject(of, words.get(2).copied());
                let schedule = ScheduleName::parse(schedule).expect("a schedule name");
                let action = match action {
                    "pause" => ScheduleAction::Pause,
                    "resume" => ScheduleAction::Resume,
                    _ => ScheduleAction::Delete,
                };
                self.control(step, Control::ActOnSchedule { of, schedule, action });
            }
            ["pause", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::PauseExecution { execution, reason: String::new() });
            }
            ["resume", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::ResumeExecution { execution });
            }
            [word @ ("schedule" | "unschedule"), job, ..] => {
                let (execution, job) = (self.execution_named(words.get(2).copied()), job_name(job));
                self.control(step, Control::ScheduleJob { execution, job, scheduled: word == "schedule" });
            }
            ["backfill", name, from, to, ref options @ ..] => {
                let (workflow, schedule) = name.split_once('/').expect("workflow/schedule");
                let policy = options.iter().find_map(|word| word.strip_prefix("overlap:"));
                let control = Control::Backfill {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    schedule: ScheduleName::parse(schedule).expect("a schedule name"),
                    from: time(from),
                    to: time(to),
                    quiet: options.contains(&"quiet"),
                    overlap: policy.map_or(OverlapPolicy::AllowAll, overlap),
                };
                self.control(step, control);
            }
            ["rule", change, of, rule, ..] => {
                let of = self.schedule_subject(of, words.get(4).copied());
                let rule = RuleName::parse(rule).expect("a rule name");
                let change = serde_json::from_value(change.into()).expect("pause, resume, clear or remove");
                self.control(step, Control::ActOnRule { of, rule, change });
            }
            ["upgrade", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::UpgradeExecution { execution });
            }
            ["rerun", ..] => self.rerun(step, &words),
            ["pool", name, slots] => {
                let (project, pool) = (project(), name.parse().expect("a pool name"));
                self.control(step, Control::SetPool { project, pool, slots: slots.parse().ok() });
            }
            ["skip", by] => self.now = self.now + duration(by),
            ["start", ..] => {
                let (workflow, params) = match words.get(1) {
                    Some(word) if !word.contains('=') => (*word, &words[2..]),
                    _ => ("wf", &words[1..]),
                };
                let labels = params.iter().filter_map(|word| word.strip_prefix("label:")?.split_once('='));
                let labels = labels.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
                let context = params.iter().find_map(|word| word.strip_prefix("in:")).map(str::to_owned);
                let params = params.iter().filter(|word| !word.starts_with("in:") && !word.starts_with("label:"));
                let params = params.map(|param| {
                    let (name, text) = param.split_once('=').expect("name=value");
                    (name.to_owned(), value(text))
                });
                let params: serde_json::Map<String, Value> = params.collect();
                self.control(
                    step,
                    Control::StartWorkflow {
                        project: project(),
                        workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                        params: if params.is_empty() { Value::Null } else { params.into() },
                        context,
                        labels,
                    },
                );
            }
            [word @ ("stop" | "stop!"), ..] => {
                let execution = self.execution_named(words.get(1).copied().filter(|word| word.starts_with('@')));
                let (mode, reason) = (stop_mode(word), reason(step));
                self.control(step, Control::StopExecution { execution, mode, reason });
            }
            ["enable" | "disable", workflow] => self.control(
                step,
                Control::EnableWorkflow {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    enabled: words[0] == "enable",
                },
            ),
            ["delete" | "restore", workflow] => self.control(
                step,
                Control::DeleteWorkflow {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    deleted: words[0] == "delete",
                },
            ),
            ["act", action, job, ..] => {
                let execution = self.execution_named(words.get(3).copied().filter(|word| word.starts_with('@')));
                let mode = stop_mode(action);
                let action = if action == "KILL" { JobAction::Stop } else { job_action(action) };
                let control = Control::ActOnJob { execution, job: job_name(job), action, mode, reason: reason(step) };
                self.control(step, control);
            }
            ["signal", job, text, ..] => {
                let (execution, job) = (self.execution_named(words.get(3).copied()), job_name(job));
                self.control(step, Control::SignalJob { execution, job, value: value(text) });
            }
            [target, "acks" | "refuses"] => {
                let attempt = self.attempt_named(target);
                let oldest = self.jobs[&attempt.job_execution].signals.first().expect("a value was handed over");
                let signal = oldest.signal.id;
                let report = match words[1] {
                    "acks" => ReportKind::Acknowledged { signal },
                    _ => ReportKind::SignalRefused { signal, message: "it cannot".to_owned() },
                };
                self.control(step, Control::Reported { attempt, report });
            }
            [target, "at", number, text] => {
                let attempt = self.attempt_named(target);
                let number = number.parse().expect("the number of a checkpoint");
                let report = ReportKind::Checkpoint { number, value: value(text) };
                self.control(step, Control::Reported { attempt, report });
            }
            [target, report] if let Some(report) = report_kind(report) => {
                let attempt = self.attempt_named(target);
                self.control(step, Control::Reported { attempt, report });
            }
            _ => self.user_event(step, &words),
        }
    }

    fn user_event(&mut self, step: &str, words: &[&str]) {
        let (execution, words) = match words {
            [name, rest @ ..] if name.starts_with('@') => (Some(self.execution_named(Some(name))), rest),
            _ => (None, words),
        };
        let Some((first, fields)) = words.split_first() else { panic!("an empty event in {step:?}") };
        let (key, event_value) = match first.split_once('=') {
            Some((key, text)) => (key, value(text)),
            None => (*first, Value::Null),
        };
        let mut event = NewEvent::identified(self.fresh_id(), PROJECT, key).value(event_value);
        event.context.workflow_execution = execution;
        for field in fields {
            let Some((name, text)) = field.split_once(':') else {
                panic!("cannot read {field:?} in the event {step:?}")
            };
            match name {
                "ns" => text.clone_into(&mut event.namespace),
                "type" => text.clone_into(&mut event.event_type),
                "from" => text.clone_into(&mut event.sender),
                "in" => event.context.context = Some(text.to_owned()),
                "only" => event.context.only_rule = Some(text.to_owned()),
                "label" => {
                    let (name, text) = text.split_once('=').expect("label:name=text");
                    event.context.labels.insert(name.to_owned(), text.to_owned());
                }
                "at" => {
                    let millis = text.parse().expect("milliseconds");
                    event.time = Some(Timestamp::from_millis(millis));
                }
                "hops" => {
                    let (offset, hops) = (Offset(1), text.parse().expect("a number of hops"));
                    event.cause = Some(Cause { offset, hops });
                }
                _ => panic!("events have no field {name:?}, in {step:?}"),
            }
        }
        self.append(event, step, None);
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

    fn schedule_subject(&self, of: &str, execution: Option<&str>) -> Subject {
        match WorkflowName::parse(of) {
            Ok(workflow) if self.definitions.keys().any(|(name, _)| *name == workflow) => {
                Subject::Workflow { project: project(), workflow }
            }
            _ => Subject::Job { execution: self.execution_named(execution), job: job_name(of) },
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

    /// `train`, `train#2` or `train#2-1`; the newest execution and its current attempt where not said.
    fn attempt_named(&self, name: &str) -> AttemptId {
        let (wanted, attempt) = match name.split_once('-') {
            Some((wanted, attempt)) => (wanted, Some(attempt.parse().expect("an attempt"))),
            None => (name, None),
        };
        let is_meant =
            |short: &str| short == wanted || (!wanted.contains('#') && short.starts_with(&format!("{wanted}#")));
        let found = self
            .jobs
            .values()
            .rev()
            .filter(|job| is_meant(&self.names.jobs[&job.id]))
            .max_by_key(|job| (job.attempt > 0, job.id))
            .unwrap_or_else(|| panic!("there is no execution of job {name:?} yet"));
        AttemptId::new(found.id, attempt.unwrap_or(found.attempt))
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

fn stop_mode(word: &str) -> StopMode {
    if matches!(word, "stop!" | "KILL") { StopMode::Kill } else { StopMode::Graceful }
}

/// The words after `because`.
fn reason(step: &str) -> String {
    step.split_once(" because ").map(|(_, reason)| reason.to_owned()).unwrap_or_default()
}

fn project() -> ProjectName {
    ProjectName::parse(PROJECT).expect("a project name")
}

/// The report of this name.
pub(crate) fn report_kind(text: &str) -> Option<ReportKind> {
    Some(match text {
        "started" => ReportKind::Started,
        "ready" => ReportKind::Ready,
        "ok" => ReportKind::Ended(Ending::Succeeded { output: Value::Null }),
        "failed" => ReportKind::Ended(Ending::failed("boom")),
        "fatal" => ReportKind::Ended(Ending::refused("no such function")),
        "lost" => ReportKind::Ended(Ending::Lost { message: "host died".to_owned() }),
        "stopped" => ReportKind::Ended(Ending::Stopped),
        "timedout" => ReportKind::Ended(Ending::TimedOut { limit: TimeLimit::Run }),
        "silent" => ReportKind::Ended(Ending::TimedOut { limit: TimeLimit::Heartbeat }),
        _ => return failure(text),
    })
}

/// `exit:75` or `error:io`.
fn failure(text: &str) -> Option<ReportKind> {
    let (what, of) = text.split_once(':')?;
    let (exit_code, kind) = match what {
        "exit" => (Some(of.parse().ok()?), None),
        "error" => (None, Some(of.to_owned())),
        _ => return None,
    };
    Some(ReportKind::Ended(Ending::Failed { message: text.to_owned(), exit_code, kind, retryable: true }))
}

fn outcome(outcome: FiringOutcome) -> String {
    let json = serde_json::to_value(outcome).expect("an outcome is plain data");
    json.as_str().expect("written as text").to_owned()
}

/// A snapshot as JSON: each struct as the store keeps it.
pub(crate) fn snapshot_json(snapshot: &Snapshot) -> String {
    let Snapshot { workflows, definitions, executions, job_states, jobs, firings, meters, pools } = snapshot;
    let firings: Vec<_> = firings.iter().map(|firing| (firing.id, &firing.project, &firing.record)).collect();
    let all = (workflows, definitions, executions, job_states, jobs, firings, meters, pools);
    serde_json::to_string_pretty(&all).expect("a snapshot is plain data")
}

/// The engine that is restored from the snapshot of `engine`, written as JSON and read back.
pub(crate) fn through_json(engine: &Engine) -> Engine {
    let text = snapshot_json(&engine.snapshot());
    let read = serde_json::from_str(&text).expect("a snapshot reads back");
    let (workflows, definitions, executions, job_states, jobs, firings, meters, pools): (_, _, _, _, _, Vec<_>, _, _) =
        read;
    let firings = firings.into_iter().map(|(id, project, record)| NewFiring { id, project, record }).collect();
    let restored =
        Engine::restore(Snapshot { workflows, definitions, executions, job_states, jobs, firings, meters, pools })
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
