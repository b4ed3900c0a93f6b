//! What would other rules have done? History goes once more through the pure engine, beside other definitions, without side effects.
//!
//! The log holds everything that the scheduler ever decided on, its own events and the reports of executors included. A replay feeds it to
//! several engines: one with the definitions as they were recorded, and one for each *side* that is compared. What they decide is looked
//! at and thrown away: no command is carried out, and no event is appended, because the log holds the recorded ones. With unchanged
//! definitions a side fires exactly as recorded.
//!
//! # What a replay cannot know
//! Whatever other rules start that was not started then has no recorded future: nothing was ever reported of it, so it stays queued, its
//! status events do not come, and nothing follows from it. Such starts are marked ([`StartedThen::Not`]). What was started then and is not
//! now simply has no effect: its reports find nobody. Events that its job published are in the log all the same, and count.
//!
//! Moments that only a side waits for (an absence of a new rule, another schedule) are not in the log; they come when they are due, before
//! the next event that was recorded at that time or later. What a rule that [begins in the past](crate::workflow::StartPosition) asks for on
//! a side only is shown to it at once. Of what lies before the range such rules see nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::words;
use crate::control::Control;
use crate::engine::{CustomConditions, Decision, Engine, Input, NEW_IDS_FROM, Names, WorkflowKey};
use crate::event::{Event, NewEvent};
use crate::execution::{FiringOutcome, FiringRecord, JobExecution, RuleAction, WorkflowExecution};
use crate::history::{History, HistoryRead};
use crate::id::{JobExecutionId, Offset, ProjectName, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::workflow::{JobAction, Workflow, WorkflowAction};

/// The most moments before one event that a side has and history does not know; those beyond are left out, and that is said.
pub const MOMENTS_PER_EVENT_MAX: u32 = 1_000;

/// A firing in a replay, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedFiring {
    /// The event at which it fired; of a moment that the log does not hold, the event before which it came.
    pub at: Offset,
    /// The moment at which it fired, if the log does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Timestamp>,
    /// Project of the rule.
    pub project: ProjectName,
    /// Rule or schedule, job, action, events used, and outcome. A start that waits for admission is told twice: when it begins to wait, and when
    /// it ends.
    #[serde(flatten)]
    pub record: FiringRecord,
    /// The execution that it made, if it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<StartedThen>,
}

/// Whether what a firing started in a replay was also started then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedThen {
    /// It was: this execution. What was reported of it counts in the replay.
    AsRecorded(String),
    /// It was not: it has no recorded future, and nothing follows from it.
    Not,
}

/// On which side of a comparison a firing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// On both.
    Both,
    /// Only the first: as recorded, unless the question names another.
    OnlyFirst,
    /// Only the second.
    OnlySecond,
}

/// A firing and on which side it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedFiring {
    /// The side.
    pub side: Side,
    /// The firing; if it is on both sides, that of the second.
    pub firing: ReplayedFiring,
}

/// What a page of history led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPage {
    /// Everything up to here was replayed.
    pub covered: Offset,
    /// The firings, in order.
    pub firings: Vec<ComparedFiring>,
    /// Some moments were left out: there were more than [`MOMENTS_PER_EVENT_MAX`] before one event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

impl ReplayPage {
    /// The firings of the first side, in order.
    pub fn first(&self) -> impl Iterator<Item = &ReplayedFiring> {
        self.firings.iter().filter(|found| found.side != Side::OnlySecond).map(|found| &found.firing)
    }

    /// The firings of the second side, in order.
    pub fn second(&self) -> impl Iterator<Item = &ReplayedFiring> {
        self.firings.iter().filter(|found| found.side != Side::OnlyFirst).map(|found| &found.firing)
    }
}

/// What two sides have in common and what not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Firings of the first side alone.
    pub only_first: Vec<ReplayedFiring>,
    /// Firings of the second side alone.
    pub only_second: Vec<ReplayedFiring>,
    /// How many firings are on both.
    pub n_both: u64,
    /// There are more than the lists hold, or moments were left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// The most pages of the past that rules of a side ask for because of one event and that history does not know; those beyond are left out, and
/// that is said.
const PAGES_PER_EVENT_MAX: u32 = 1_000;

/// An engine with some definitions exchanged.
#[derive(Debug)]
struct SideEngine {
    engine: Engine,
    exchanged: BTreeMap<WorkflowKey, Arc<Workflow>>,
    /// What its rules ask for and history does not know.
    wanted: VecDeque<NewEvent>,
    /// How many pages it was given because of the current event.
    n_pages: u32,
    told: Vec<ReplayedFiring>,
}

/// What a rule of a side asks for that history does not know.
#[derive(Debug)]
pub(crate) struct Wanted {
    is_first: bool,
    event: Event,
    read: HistoryRead,
}

impl Wanted {
    /// What is to be read, of the events before the offset.
    pub(crate) fn read(&self) -> (&HistoryRead, Offset) {
        (&self.read, self.event.offset.next())
    }
}

/// Engines that see the same history.
#[derive(Debug)]
pub(crate) struct Replay {
    recorded: Engine,
    /// The first side; as recorded if `None`.
    first: Option<SideEngine>,
    second: SideEngine,
    /// Firings as recorded.
    told: Vec<ReplayedFiring>,
}

impl Replay {
    pub(crate) fn new(first: Vec<Workflow>, second: Vec<Workflow>, customs: &CustomConditions) -> Self {
        let side = |workflows: Vec<Workflow>| SideEngine {
            engine: Engine::new().with_conditions(customs.clone()),
            exchanged: workflows
                .into_iter()
                .map(|workflow| (key_of(&workflow), Arc::new(workflow)))
                .collect::<BTreeMap<WorkflowKey, Arc<Workflow>>>(),
            wanted: VecDeque::new(),
            n_pages: 0,
            told: Vec::new(),
        };
        Self {
            recorded: Engine::new().with_conditions(customs.clone()),
            first: (!first.is_empty()).then(|| side(first)),
            second: side(second),
            told: Vec::new(),
        }
    }

    /// Lets the engines know a workflow before history begins: as it was `recorded` then, if it was, and as the sides have it.
    pub(crate) fn begin_with(&mut self, recorded: Option<(u32, Arc<Workflow>)>, exchanged: &Workflow, first: &Event) {
        let version = recorded.as_ref().map_or(0, |(version, _)| *version);
        let submitted = Control::WorkflowSubmitted {
            project: exchanged.project.clone(),
            workflow: exchanged.name.clone(),
            version,
        };
        let event = Arc::new(Event {
            offset: Offset(first.offset.0.saturating_sub(1)),
            recorded: first.recorded,
            body: submitted.into_event("before"),
        });
        let recorded = recorded.map(|(_, definition)| definition);
        for side in self.first.iter_mut().chain([&mut self.second]) {
            let workflow = side.exchanged.get(&key_of(exchanged)).or(recorded.as_ref()).cloned();
            if workflow.is_some() {
                begin(&mut side.engine, Input { workflow, ..Input::from(Arc::clone(&event)) });
            }
        }
        if recorded.is_some() {
            begin(&mut self.recorded, Input { workflow: recorded, ..Input::from(event) });
        }
    }

    /// Shows the next event of history to all engines.
    pub(crate) fn see(&mut self, input: &Input, page: &mut ReplayPage) {
        for side in self.first.iter_mut().chain([&mut self.second]) {
            side.n_pages = 0;
            page.is_cut |= side.pass_moments(&self.recorded, &input.event);
        }
        let recorded = self.recorded.decide(std::slice::from_ref(input));
        for side in self.first.iter_mut().chain([&mut self.second]) {
            side.see(input, &recorded);
        }
        if self.first.is_none() {
            tell(&self.recorded, &recorded, None, &mut self.told);
        }
        self.recorded.apply(&recorded);
        page.covered = input.event.offset;
    }

    /// What a rule asks for, of the log up to the event that was seen last, and history does not know: to be [given](Self::give).
    pub(crate) fn wanted(&mut self, last: &Event, page: &mut ReplayPage) -> Option<Wanted> {
        let sides = self.first.iter_mut().map(|side| (true, side)).chain([(false, &mut self.second)]);
        for (is_first, side) in sides {
            while let Some(body) = side.wanted.pop_front() {
                if side.n_pages >= PAGES_PER_EVENT_MAX {
                    page.is_cut = true;
                } else if let Ok(Some(Control::CatchUp { read, .. })) = Control::from_event(&body) {
                    let event = Event { offset: last.offset, recorded: last.recorded, body };
                    return Some(Wanted { is_first, event, read: *read });
                }
            }
        }
        None
    }

    /// Shows a rule what it asked for.
    pub(crate) fn give(&mut self, wanted: Wanted, history: History) {
        let Wanted { is_first, event, .. } = wanted;
        let side = self.first.as_mut().filter(|_| is_first).unwrap_or(&mut self.second);
        side.take(Input { history: Some(history), ..Input::from(event) });
    }

    /// Adds what was fired since it was last asked.
    pub(crate) fn tell(&mut self, page: &mut ReplayPage) {
        let first = self.first.as_mut().map_or(&mut self.told, |side| &mut side.told);
        compare(std::mem::take(first), std::mem::take(&mut self.second.told), &mut page.firings);
    }
}

/// Lets an engine know a workflow; its rules have seen nothing.
fn begin(engine: &mut Engine, input: Input) {
    let decision = engine.decide(std::slice::from_ref(&input));
    engine.apply(&decision);
    for body in asks_for_history(&decision.events) {
        let (offset, recorded) = (input.event.offset.next(), input.event.recorded);
        let history = History { covered: input.event.offset, ..History::default() };
        let event = Event { offset, recorded, body: body.clone() };
        let decision = engine.decide(&[Input { history: Some(history), ..Input::from(event) }]);
        engine.apply(&decision);
    }
}

fn asks_for_history(events: &[NewEvent]) -> impl Iterator<Item = &NewEvent> {
    events.iter().filter(|event| matches!(Control::from_event(event), Ok(Some(Control::CatchUp { .. }))))
}

impl SideEngine {
    /// Lets the moments come that are due before `next` and that history does not know. True if there were too many.
    fn pass_moments(&mut self, recorded: &Engine, next: &Event) -> bool {
        for moment in 0..MOMENTS_PER_EVENT_MAX {
            // What history waited for as well came when its event came.
            let Some(timer) = self.engine.due_and_unknown_to(recorded, next.recorded) else {
                return false;
            };
            let due = timer.due;
            let event = Event { offset: next.offset, recorded: due, body: timer.into_event() };
            let decision = self.engine.decide_again(&Input::from(event), Names::unknown(moment));
            self.adopt(&decision, Some(due), &[]);
        }
        true
    }

    fn see(&mut self, input: &Input, recorded: &Decision) {
        let mut input = input.clone();
        if let Some(submitted) = &input.workflow
            && let Some(exchanged) = self.exchanged.get(&key_of(submitted))
        {
            input.workflow = Some(Arc::clone(exchanged));
        }
        let decision = self.engine.decide_again(&input, Names::of(recorded));
        self.adopt(&decision, None, &recorded.events);
    }

    /// Takes in a page of the past that history does not know.
    fn take(&mut self, input: Input) {
        let number = MOMENTS_PER_EVENT_MAX.saturating_add(self.n_pages);
        self.n_pages = self.n_pages.saturating_add(1);
        let decision = self.engine.decide_again(&input, Names::unknown(number));
        self.adopt(&decision, None, &[]);
    }

    fn adopt(&mut self, decision: &Decision, moment: Option<Timestamp>, recorded: &[NewEvent]) {
        tell(&self.engine, decision, moment, &mut self.told);
        self.engine.apply(decision);
        let is_known = |event: &&NewEvent| {
            recorded.iter().any(|known| (&known.event_type, &known.value) == (&event.event_type, &event.value))
        };
        self.wanted.extend(asks_for_history(&decision.events).filter(|event| !is_known(event)).cloned());
    }
}

fn key_of(workflow: &Workflow) -> WorkflowKey {
    format!("{}/{}", workflow.project, workflow.name).into()
}

/// Adds the firings of rules and schedules that a decision is about, which `before` has not adopted yet.
fn tell(before: &Engine, decision: &Decision, moment: Option<Timestamp>, told: &mut Vec<ReplayedFiring>) {
    let at = decision.cursor;
    let mut admitted: Vec<StartedId> = Vec::new();
    for firing in decision.firings.values() {
        let record = &firing.record;
        // One that goes on waiting was told when it began to.
        if record.outcome == FiringOutcome::Waiting && before.holds(firing.id) {
            continue;
        }
        let started = (record.outcome == FiringOutcome::Started).then(|| started_by(decision, record)).flatten();
        admitted.extend(started);
        let started = started.map(StartedId::then);
        told.push(ReplayedFiring { at, moment, project: firing.project.clone(), record: record.clone(), started });
    }
    let is_new = |id: &StartedId| !admitted.contains(id);
    for begun in decision.executions.values() {
        let id = StartedId::Workflow(begun.id);
        if before.execution(begun.id).is_none() && is_new(&id) {
            let action = RuleAction::Workflow(workflow_action(before, begun));
            let record = FiringRecord::new(begun.workflow.clone(), begun.cause.clone(), action, FiringOutcome::Started);
            told.push(ReplayedFiring { at, moment, project: begun.project.clone(), record, started: Some(id.then()) });
        }
    }
    for job in decision.jobs.values() {
        let id = StartedId::Job(job.id);
        if before.job_execution(job.id).is_none() && is_new(&id) {
            let action = RuleAction::Job(job_action(before, decision, job));
            let record = FiringRecord::new(job.workflow.clone(), job.cause.clone(), action, FiringOutcome::Started)
                .of_job(job.workflow_execution, job.job.clone());
            told.push(ReplayedFiring { at, moment, project: job.project.clone(), record, started: Some(id.then()) });
        }
    }
    // Neither a rule nor a schedule: it was asked for, or it starts with its workflow execution.
    told.retain(|told| told.record.firing.rule.is_some() || told.record.firing.schedule.is_some());
}

/// What was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartedId {
    Job(JobExecutionId),
    Workflow(WorkflowExecutionId),
}

impl StartedId {
    fn then(self) -> StartedThen {
        let (number, text) = match self {
            Self::Job(id) => (id.number, id.to_string()),
            Self::Workflow(id) => (id.number, id.to_string()),
        };
        if number >= NEW_IDS_FROM { StartedThen::Not } else { StartedThen::AsRecorded(text) }
    }
}

/// What a firing that was admitted has started.
fn started_by(decision: &Decision, record: &FiringRecord) -> Option<StartedId> {
    if let Some(execution) = record.request.execution {
        return Some(StartedId::Workflow(execution));
    }
    let mut started = decision.jobs.values().filter(|job| {
        Some(job.workflow_execution) == record.workflow_execution
            && Some(&job.job) == record.job.as_ref()
            && job.cause.is_same(&record.firing)
    });
    started.next().map(|job| StartedId::Job(job.id))
}

/// The action of the rule that started an execution; schedules start.
fn workflow_action(engine: &Engine, begun: &WorkflowExecution) -> WorkflowAction {
    let key: WorkflowKey = format!("{}/{}", begun.project, begun.workflow).into();
    let rules = engine.definition(&key, begun.version).map(|workflow| workflow.rules.as_slice()).unwrap_or_default();
    let rule = rules.iter().find(|rule| Some(&rule.name) == begun.cause.rule.as_ref());
    rule.map_or(WorkflowAction::Start, |rule| rule.action)
}

/// The action of the rule or schedule that started a job.
fn job_action(engine: &Engine, decision: &Decision, job: &JobExecution) -> JobAction {
    let parent = decision.executions.get(&job.workflow_execution).map(|parent| &**parent);
    let parent = parent.or_else(|| engine.execution(job.workflow_execution));
    let key: WorkflowKey = format!("{}/{}", job.project, job.workflow).into();
    let Some(workflow) = parent.and_then(|parent| engine.definition(&key, parent.version)) else {
        return JobAction::Start;
    };
    let rule = workflow.rules_of(&job.job).find(|rule| Some(&rule.name) == job.cause.rule.as_ref());
    let schedule = job.cause.schedule.as_ref().and_then(|time| workflow.schedule(Some(&job.job), &time.schedule));
    rule.map(|rule| rule.action).or(schedule.map(|schedule| schedule.action)).unwrap_or(JobAction::Start)
}

/// What makes two firings the same: what was done, because of what, and what came of it; not how the rule is called.
fn likeness(firing: &ReplayedFiring) -> String {
    let ReplayedFiring { at, moment, project, record, .. } = firing;
    let FiringRecord { workflow_execution, workflow, job, firing, action, outcome, .. } = record;
    format!(
        "{at} {moment:?} {project}/{workflow} {workflow_execution:?} {job:?} {action:?} {outcome:?} {:?} {:?} {:?}",
        firing.schedule, firing.key, firing.events
    )
}

fn compare(first: Vec<ReplayedFiring>, second: Vec<ReplayedFiring>, firings: &mut Vec<ComparedFiring>) {
    let mut firsts: BTreeMap<String, usize> = BTreeMap::new();
    for firing in &first {
        let n = firsts.entry(likeness(firing)).or_default();
        *n = n.saturating_add(1);
    }
    let mut seconds = Vec::with_capacity(second.len());
    for firing in second {
        match firsts.get_mut(&likeness(&firing)).filter(|n| **n > 0) {
            Some(n) => {
                *n = n.saturating_sub(1);
                seconds.push(ComparedFiring { side: Side::Both, firing });
            }
            None => seconds.push(ComparedFiring { side: Side::OnlySecond, firing }),
        }
    }
    for firing in first {
        if let Some(n) = firsts.get_mut(&likeness(&firing)).filter(|n| **n > 0) {
            *n = n.saturating_sub(1);
            firings.push(ComparedFiring { side: Side::OnlyFirst, firing });
        }
    }
    firings.extend(seconds);
}

impl fmt::Display for ReplayedFiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, moment, record, started, .. } = self;
        match moment {
            Some(moment) => write!(f, "at {}, before event {at}: ", moment.to_rfc3339())?,
            None => write!(f, "at event {at}: ")?,
        }
        let action = match record.action {
            RuleAction::Job(action) => action.as_str(),
            RuleAction::Workflow(action) => action.as_str(),
        };
        match (&record.job, record.workflow_execution) {
            (Some(job), Some(execution)) => write!(f, "{action} job {job} in execution {}", known(execution))?,
            _ => write!(f, "{action} workflow {}", record.workflow)?,
        }
        if let Some(rule) = &record.firing.rule {
            write!(f, " by rule {rule}")?;
        }
        if let Some(time) = &record.firing.schedule {
            write!(f, " by schedule {}", time.schedule)?;
        }
        let (events, n) = (&record.firing.events, record.firing.events.len());
        let shown = events.get(n.saturating_sub(super::SHOWN_EVENTS_MAX)..).unwrap_or_default();
        write!(f, ": {} {}", words::events(shown, n), words::outcome(record.outcome))?;
        match started {
            None => Ok(()),
            Some(StartedThen::AsRecorded(execution)) => write!(f, " (execution {execution})"),
            Some(StartedThen::Not) => {
                f.write_str(" what was not started then: nothing is known of what would have followed")
            }
        }
    }
}

/// What history does not know has no number that says anything.
fn known(execution: WorkflowExecutionId) -> String {
    if execution.number >= NEW_IDS_FROM { "that was not started then".to_owned() } else { execution.to_string() }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} firings on both sides, {} only on the first, {} only on the second",
            self.n_both,
            self.only_first.len(),
            self.only_second.len()
        )?;
        for firing in &self.only_first {
            write!(f, "\n- {firing}")?;
        }
        for firing in &self.only_second {
            write!(f, "\n+ {firing}")?;
        }
        f.write_str(if self.is_cut { "\nand more that is left out here" } else { "" })
    }
}
