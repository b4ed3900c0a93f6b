//! The checks of a world at rest: is the state what the log says, and did the outside world see only what was promised?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aiflow_core::bus::EventBus as _;
use aiflow_core::control::Control;
use aiflow_core::engine::{Decision, Engine, Input};
use aiflow_core::event::{Event, EventFilter};
use aiflow_core::execution::{
    AdmissionStage, FiringOutcome, FiringRecord, JobExecution, JobState, JobStatus, KIND_DEAD_LETTER, KIND_FIRING,
    KIND_JOB_EXECUTION, KIND_JOB_STATE, KIND_METER, KIND_POOL, KIND_WORKFLOW, KIND_WORKFLOW_EXECUTION, Meter,
    RuleAction, WorkflowExecution, WorkflowState,
};
use aiflow_core::executor::{Ending, ReportKind};
use aiflow_core::history::read_history;
use aiflow_core::host::KIND_HOST;
use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::records::{
    DeadLetter, DeadLetterState, WorkflowVersion, body_of, dead_letter_key, dead_letter_put, firing_of, firing_put,
    host_key, host_put, job_execution_key, job_execution_put, job_state_put, meter_key, meter_put, pool_key, pool_put,
    rerun_key, workflow_execution_key, workflow_execution_put, workflow_put, workflow_version_key,
};
use aiflow_core::runtime::{KIND_CURSOR, SCHEDULER_LEASE};
use aiflow_core::store::{Batch, Fence, Record, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_core::timer::Subject;
use aiflow_core::{ErrorKind, Result};
use serde_json::json;

use super::check_hosts::Placed;
use super::check_pools::SlotsOut;
use super::clients::Acknowledged;
use super::executor::{Effect, Platform};
use super::ledger::Ledger;
use super::recorder::{Recorder, SEQUENCE_LABEL, timer_of};

pub(super) struct Checker<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) recorder: &'a Recorder,
}

/// What the store and the log hold at one moment.
pub(super) struct State {
    pub(super) records: BTreeMap<RecordKey, Record>,
    /// The ids of events that the store keeps until the log, which lies elsewhere, has them.
    pub(super) on_their_way: Vec<String>,
    pub(super) log: Vec<Arc<Event>>,
    pub(super) cursor: Offset,
}

impl State {
    /// The ids of events that were committed and that the log does not have yet.
    fn not_in_the_log(&self) -> impl Iterator<Item = &str> {
        let ids: BTreeSet<&str> = self.log.iter().map(|event| event.id.as_str()).collect();
        self.on_their_way.iter().map(String::as_str).filter(move |id| !ids.contains(id))
    }

    pub(super) fn workflows(&self) -> Vec<WorkflowState> {
        self.all(KIND_WORKFLOW)
    }

    pub(super) fn all<T: serde_like::Body>(&self, kind: &str) -> Vec<T> {
        let of_kind = self.records.values().filter(|record| record.key.kind == kind);
        of_kind.filter_map(|record| T::read(record)).collect()
    }

    pub(super) fn jobs(&self) -> Vec<JobExecution> {
        self.all(KIND_JOB_EXECUTION)
    }

    /// Whether a workflow execution is paused.
    pub(super) fn is_paused(&self, id: WorkflowExecutionId) -> bool {
        let record = self.records.get(&workflow_execution_key(id));
        let execution = record.and_then(|record| body_of::<WorkflowExecution>(record).ok());
        execution.is_some_and(|execution| execution.paused.is_some())
    }

    pub(super) fn job_states(&self) -> Vec<JobState> {
        self.all(KIND_JOB_STATE)
    }

    pub(super) fn executions(&self) -> Vec<WorkflowExecution> {
        self.all(KIND_WORKFLOW_EXECUTION)
    }

    pub(super) fn head(&self) -> Offset {
        self.log.last().map_or(Offset::START, |event| event.offset)
    }
}

/// The kinds of bodies that checks read in numbers.
mod serde_like {
    use super::{
        FiringRecord, JobExecution, JobState, Record, WorkflowExecution, WorkflowState, WorkflowVersion, body_of,
    };

    pub(in crate::sim) trait Body: Sized {
        fn read(record: &Record) -> Option<Self>;
    }
    impl Body for JobExecution {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
    impl Body for JobState {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
    impl Body for WorkflowState {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
    impl Body for WorkflowVersion {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
    impl Body for FiringRecord {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
    impl Body for WorkflowExecution {
        fn read(record: &Record) -> Option<Self> {
            body_of(record).ok()
        }
    }
}

impl Checker<'_> {
    pub(super) fn violate(&self, invariant: &'static str, message: String) {
        self.ledger.violate(invariant, message);
    }

    pub(super) async fn state(&self) -> Result<State> {
        let records = self.recorder.dump().await?;
        let on_their_way = self.recorder.on_their_way().await?;
        let mut log = Vec::new();
        let mut after = Offset::START;
        loop {
            let page = self.recorder.whole_log().read(after, &EventFilter::all(), 10_000).await?;
            if page.events.is_empty() {
                break;
            }
            after = page.covered;
            log.extend(page.events);
        }
        let cursor = records.get(&RecordKey::new(KIND_CURSOR, SCHEDULER_LEASE));
        let cursor = cursor.and_then(|record| record.body.to_value().get("offset")?.as_u64()).unwrap_or(0);
        Ok(State { records, on_their_way, log, cursor: Offset(cursor) })
    }

    /// I3, I4: the state is the fold of the log up to the cursor, nothing more and nothing less.
    pub(super) async fn replay(&self, state: &State) -> Result<()> {
        let mut engine = Engine::new().with_conditions(super::workload::customs());
        let mut expected: BTreeMap<RecordKey, RecordPut> = BTreeMap::new();
        let mut emitted: Vec<String> = Vec::new();
        let mut slots_out = SlotsOut::default();
        let mut placed = Placed::default();
        for event in state.log.iter().take_while(|event| event.offset <= state.cursor) {
            let mut input = Input::from(Arc::clone(event));
            match Control::from_event(event) {
                Ok(Some(Control::WorkflowSubmitted { project, workflow, version })) => {
                    let record = state.records.get(&workflow_version_key(&project, &workflow, version));
                    input.workflow = record
                        .and_then(|record| body_of::<WorkflowVersion>(record).ok())
                        .map(|version| Arc::new(version.workflow));
                }
                Ok(Some(Control::CatchUp { read, .. })) => {
                    self.ledger.count("page of the past");
                    input.history = Some(read_history(&self.recorder.log_at(event.offset), &read, event.offset).await?);
                }
                Ok(Some(Control::RerunExecution { plan, .. })) => {
                    // It may have been removed, with the execution that was to run again, before it was asked for.
                    let refused = state.records.get(&dead_letter_key(event.offset));
                    let refused = refused.and_then(|record| body_of::<DeadLetter>(record).ok());
                    let was_gone = refused.is_some_and(|letter| letter.reason.ends_with("is not stored"));
                    let record = state.records.get(&rerun_key(&plan)).filter(|_| !was_gone);
                    input.rerun = record.and_then(|record| body_of(record).ok()).map(Arc::new);
                }
                Ok(_) | Err(_) => {}
            }
            let decision = engine.decide(&[input]);
            self.asked_to_stop(event, &decision, &expected);
            if let Err(message) = slots_out.follow(&decision) {
                self.violate("I25", message);
            }
            if let Err(message) = placed.follow(&decision) {
                self.violate("I33", message);
            }
            for _ in decision.jobs.values().filter(|job| job.placement.host.is_some()) {
                self.ledger.count("attempt on a host");
            }
            for ((name, place), now) in &decision.hosts {
                match now {
                    Some(host) => expected.insert(host_key(name, *place), host_put(host)),
                    None => expected.remove(&host_key(name, *place)),
                };
            }
            for ((project, pool), now) in &decision.pools {
                match now {
                    Some(pool) => expected.insert(pool_key(project, &pool.name), pool_put(pool)),
                    None => expected.remove(&pool_key(project, pool)),
                };
            }
            let firings = decision.firings.values();
            let firings = firings.map(|firing| firing_put(firing.id.to_string(), &firing.project, &firing.record));
            for (id, meter) in &decision.meters {
                match meter {
                    Some(meter) => expected.insert(meter_key(id), meter_put(id, meter)),
                    None => expected.remove(&meter_key(id)),
                };
            }
            let letters = decision.dead_letters.iter().map(|letter| {
                let body = DeadLetter::new(&letter.id, letter.offset, &letter.reason);
                dead_letter_put(&letter.id, &body)
            });
            let puts = decision.workflows.values().map(|workflow| workflow_put(workflow));
            let puts = puts.chain(decision.executions.values().map(|execution| workflow_execution_put(execution)));
            let job_states = decision.job_states.values().flatten().map(|(_, job)| job_state_put(job));
            let puts = puts.chain(job_states);
            let puts =
                puts.chain(decision.jobs.values().map(|job| job_execution_put(job))).chain(firings).chain(letters);
            expected.extend(puts.map(|put| (put.key.clone(), put)));
            emitted.extend(decision.events.iter().map(|event| event.id.clone()));
            engine.apply(&decision);
        }
        let replayed = [
            KIND_WORKFLOW,
            KIND_WORKFLOW_EXECUTION,
            KIND_JOB_STATE,
            KIND_JOB_EXECUTION,
            KIND_FIRING,
            KIND_METER,
            KIND_POOL,
            KIND_HOST,
            KIND_DEAD_LETTER,
        ];
        for (key, record) in state.records.iter().filter(|(key, _)| replayed.contains(&key.kind.as_str())) {
            match expected.remove(key) {
                None => self.violate("I4", format!("{key} does not follow from the log")),
                Some(put) => {
                    // What somebody has done about a dead letter does not follow from the log.
                    let (put, record) = match key.kind.as_str() {
                        KIND_DEAD_LETTER => (put, &as_open(record)),
                        _ => (put, record),
                    };
                    let same = (&put.project, &put.parent, &put.name, &put.state)
                        == (&record.project, &record.parent, &record.name, &record.state);
                    let (replayed, stored) = (put.body.to_string(), record.body.to_string());
                    if replayed != stored || !same {
                        self.violate("I3", format!("{key} is {stored}, but the log says {replayed}"));
                    }
                }
            }
        }
        if let Some(key) = expected.keys().next() {
            self.violate("I4", format!("{key} follows from the log and is missing"));
        }
        let stored = state.log.iter().map(|event| event.id.as_str()).chain(state.not_in_the_log());
        if !stored.filter(|id| id.starts_with("aiflow:")).eq(emitted.iter()) {
            self.violate("I3", "the events of the scheduler in the log are not those that follow from it".to_owned());
        }
        Ok(())
    }

    /// I28: a rule that begins in the past reaches the present, and what of it was missing is said.
    pub(super) fn catch_ups(&self, state: &State) {
        // The rules that should have been shown what was trimmed.
        let mut lost: BTreeSet<(String, Offset)> = BTreeSet::new();
        for event in &state.log {
            let Ok(Some(Control::CatchUp { of, rule, begun, read })) = Control::from_event(event) else { continue };
            let trimmed = self.recorder.log_at(event.offset).trimmed();
            let is_lost = match &read.again {
                Some(again) if trimmed <= again.then => {
                    again.events.iter().any(|offset| *offset > read.after && *offset <= trimmed)
                }
                _ => trimmed > read.after,
            };
            if is_lost {
                self.ledger.count("past that was trimmed");
                let name = match of {
                    Subject::Workflow { workflow, .. } => format!("{workflow}/{rule}"),
                    Subject::Job { execution, job } => format!("{execution}/{job}/{rule}"),
                };
                lost.insert((name, begun));
            }
        }
        let workflows = state.workflows();
        let jobs = state.job_states();
        let of_workflows = workflows.iter().flat_map(|workflow| {
            workflow.rules.iter().map(move |(rule, state)| (format!("{}/{rule}", workflow.name), state))
        });
        let of_jobs = jobs.iter().flat_map(|job| {
            job.rules.iter().map(move |(rule, state)| (format!("{}/{}/{rule}", job.execution, job.job), state))
        });
        for (name, rule) in of_workflows.chain(of_jobs) {
            let Some(catch_up) = &rule.catch_up else { continue };
            if !catch_up.is_done || catch_up.is_cut {
                self.violate("I28", format!("rule {name} has not come to the present: {catch_up:?}"));
            }
            if catch_up.lost_through.is_some() != lost.contains(&(name.clone(), catch_up.begun)) {
                self.violate("I28", format!("what rule {name} says of the past that it lost is wrong: {catch_up:?}"));
            }
        }
    }

    /// P7: no platform of a world stops an attempt by itself, so nothing ends as stopped that was not asked to.
    fn asked_to_stop(&self, event: &Event, decision: &Decision, before: &BTreeMap<RecordKey, RecordPut>) {
        let Ok(Some(Control::Reported { attempt, report: ReportKind::Ended(Ending::Stopped) })) =
            Control::from_event(event)
        else {
            return;
        };
        let before = before.get(&job_execution_key(attempt.job_execution)).map(|put| put.state.as_str());
        let after = decision.jobs.get(&attempt.job_execution).map(|job| job.status);
        if after == Some(JobStatus::Stopped) && before != Some(JobStatus::Stopping.as_str()) {
            self.violate("P7", format!("attempt {attempt} was stopped and nobody had asked for it"));
        }
    }

    /// I1, I6: what was acknowledged stands where it was said, once, and each user's events in their order.
    pub(super) fn acknowledged(&self, state: &State, users: &[Acknowledged]) {
        let mut places: BTreeMap<&str, Vec<Offset>> = BTreeMap::new();
        for event in state.log.iter().filter(|event| event.context.replay_of.is_none()) {
            if let Some(sequence) = event.context.labels.get(SEQUENCE_LABEL) {
                places.entry(sequence).or_default().push(event.offset);
            }
        }
        for user in users {
            for (id, offset) in &user.events {
                match places.remove(id.as_str()).as_deref() {
                    Some([place]) if place == offset => {}
                    found => self.violate("I1", format!("event {id} was acknowledged at {offset} and is at {found:?}")),
                }
            }
            if !user.events.is_sorted_by_key(|(_, offset)| *offset) {
                self.violate("I6", format!("the events of {} are out of order", user.user));
            }
        }
        if let Some((id, _)) = places.first_key_value() {
            self.violate("I6", format!("event {id} is in the log and was never acknowledged"));
        }
        let offsets = state.log.iter().map(|event| event.offset.0);
        if !offsets.eq(1..=state.head().0) {
            self.violate("I7", "the offsets of the log are not dense".to_owned());
        }
    }

    /// I34: what a commit says is in the log in the end, also where that lies elsewhere.
    pub(super) fn relayed(&self, state: &State) {
        for id in state.not_in_the_log() {
            self.violate("I34", format!("event {id} was committed and is not in the log"));
        }
    }

    /// I17: a timer fires once.
    pub(super) fn timers(&self, state: &State) {
        let mut fired = BTreeSet::new();
        for event in &state.log {
            if timer_of(event).is_some() && !fired.insert(event.id.clone()) {
                self.violate("I17", format!("{} fired twice", event.id));
            }
        }
    }

    /// I10, I11: user code ran at most once an attempt, and the attempts of an execution one after the other.
    pub(super) fn effects(&self, effects: &[Effect]) {
        let mut starts: BTreeMap<AttemptId, u32> = BTreeMap::new();
        let mut durable: BTreeMap<JobExecutionId, Vec<&Effect>> = BTreeMap::new();
        for effect in effects {
            *starts.entry(effect.attempt).or_default() += 1;
            if effect.is_durable {
                durable.entry(effect.attempt.job_execution).or_default().push(effect);
            }
        }
        for (attempt, n) in starts.into_iter().filter(|(_, n)| *n > 1) {
            self.violate("I10", format!("attempt {attempt} was started {n} times"));
        }
        for effects in durable.values() {
            for pair in effects.windows(2) {
                let [first, second] = pair else { continue };
                if first.attempt != second.attempt && first.ended_at.is_none_or(|ended| ended > second.started_at) {
                    self.violate("I11", format!("attempts {} and {} overlap", first.attempt, second.attempt));
                }
            }
        }
    }

    /// I5, I13: everything that is not over has a reason that a platform or a timer knows.
    pub(super) fn reasons(&self, state: &State, platforms: &[Arc<Platform>], now: Timestamp) {
        let live: BTreeSet<AttemptId> = platforms.iter().flat_map(|platform| platform.live()).collect();
        let jobs = state.jobs();
        let open: Vec<&JobExecution> = jobs.iter().filter(|job| !job.status.is_terminal()).collect();
        let ids: BTreeSet<JobExecutionId> = open.iter().map(|job| job.id).collect();
        let states: BTreeMap<_, _> =
            state.job_states().into_iter().map(|job| ((job.execution, job.job.clone()), job)).collect();
        for job in open {
            let is_paused = state.is_paused(job.workflow_execution);
            let slot = states.get(&(job.workflow_execution, job.job.clone()));
            let has_reason = match job.status {
                _ if job.held => is_paused,
                // I33 looks at why.
                JobStatus::Init | JobStatus::Retrying if job.placement.waiting => true,
                // I25 looks at why.
                JobStatus::Init | JobStatus::Retrying if job.slots.as_ref().is_some_and(|slots| slots.waiting) => true,
                JobStatus::Init => slot.is_some_and(|slot| {
                    slot.waiting == Some(job.id) && slot.current.is_some_and(|current| ids.contains(&current))
                }),
                JobStatus::Retrying => job.due.values().any(|due| *due > now),
                _ => live.contains(&job.attempt_id()),
            };
            if !has_reason {
                self.violate("I13", format!("job execution {} is {} for no reason", job.id, job.status));
            }
            let is_ready = platforms.iter().any(|platform| platform.is_ready(job.attempt_id()));
            if job.status == JobStatus::Running && is_ready {
                self.violate("I13", format!("job execution {} said that it is ready and is {}", job.id, job.status));
            }
        }
        for attempt in live {
            let job = jobs.iter().find(|job| job.id == attempt.job_execution);
            if job.is_none_or(|job| job.status.is_terminal() || job.attempt != attempt.attempt) {
                self.violate("I5", format!("attempt {attempt} runs, and the scheduler does not know it any more"));
            }
        }
    }

    /// I24: no firing is lost: one that was admitted has its execution, one that waits has a reason that time or the end of something ends.
    pub(super) fn firings(&self, state: &State, now: Timestamp) {
        let records = state.records.values().filter(|record| record.key.kind == KIND_FIRING);
        let firings: Vec<_> = records.filter_map(|record| firing_of(record).ok()).collect();
        let executions = state.executions();
        let live: BTreeSet<_> = executions
            .iter()
            .filter(|execution| !execution.status.is_terminal())
            .map(|execution| execution.id)
            .collect();
        let of_kind = |kind: &'static str| state.records.values().filter(move |record| record.key.kind == kind);
        let meters: Vec<Meter> = of_kind(KIND_METER).filter_map(|record| body_of(record).ok()).collect();
        let workflows: Vec<WorkflowState> = of_kind(KIND_WORKFLOW).filter_map(|record| body_of(record).ok()).collect();
        for firing in &firings {
            let record = &firing.record;
            if record.outcome == FiringOutcome::Started && matches!(record.action, RuleAction::Workflow(_)) {
                let made = record.request.execution.map(workflow_execution_key);
                if made.is_none_or(|key| !state.records.contains_key(&key)) {
                    self.violate("I24", format!("firing {} was admitted and made nothing", firing.id));
                }
            }
            let Some(waits) = &record.waits else { continue };
            let of = record.subject(&firing.project);
            let has_reason = match waits.stage {
                AdmissionStage::Debounce | AdmissionStage::Batch => firings.iter().any(|other| {
                    let same = other.record.subject(&other.project) == of;
                    let others = other
                        .record
                        .waits
                        .as_ref()
                        .filter(|other| other.stage == waits.stage && other.key == waits.key);
                    same && others.and_then(|other| other.due).is_some_and(|due| due > now)
                }),
                AdmissionStage::Restart => waits.after.iter().any(|id| live.contains(id)),
                AdmissionStage::Concurrency if record.job.is_none() => {
                    let is_of = |execution: &&WorkflowExecution| execution.workflow == record.workflow;
                    let is_held_up = executions.iter().filter(is_of).any(|execution| live.contains(&execution.id));
                    is_held_up || workflows.iter().any(|state| state.name == record.workflow && !state.enabled)
                }
                AdmissionStage::Pause => record.workflow_execution.is_some_and(|id| state.is_paused(id)),
                AdmissionStage::Concurrency => state.job_states().iter().any(|job| {
                    record.workflow_execution == Some(job.execution)
                        && record.job.as_ref() == Some(&job.job)
                        && (job.current.is_some() || state.is_paused(job.execution))
                }),
                stage => meters.iter().any(|meter| {
                    meter.of == of && meter.stage == stage && meter.key == waits.key && meter.alarm.due > now
                }),
            };
            if !has_reason {
                self.violate("I24", format!("firing {} waits at {} for no reason", firing.id, waits.stage));
            }
        }
    }

    /// I21: a commit under an old epoch, and one that expects an old cursor, change nothing.
    pub(super) async fn stale_commits(&self) -> Result<()> {
        let before = (self.recorder.dump().await?, self.recorder.head().await?);
        let epoch = self.recorder.epoch();
        let key = RecordKey::new(KIND_CURSOR, SCHEDULER_LEASE);
        let revision = before.0.get(&key).map(|record| record.revision);
        let put = RecordPut::new(key.clone(), json!({ "offset": 0, "epoch": 0 }));
        let fence = |epoch| Some(Fence { lease: SCHEDULER_LEASE.to_owned(), epoch });
        let batch = Batch::at(Timestamp::EPOCH).put(put);
        let stale = [
            (
                ErrorKind::Fenced,
                Batch { fence: fence(epoch.saturating_sub(1)), ..batch.clone().expect(key.clone(), revision) },
            ),
            (
                ErrorKind::Conflict,
                Batch {
                    fence: fence(epoch),
                    ..batch.expect(key, revision.and_then(|revision| revision.checked_sub(1)))
                },
            ),
        ];
        for (kind, batch) in stale.into_iter().filter(|_| epoch > 0 && revision.is_some()) {
            match self.recorder.commit_unchecked(batch).await {
                Err(error) if error.kind() == kind => {}
                answer => self.violate(
                    "I21",
                    format!("a stale commit was answered with {answer:?} instead of {}", kind.as_str()),
                ),
            }
        }
        if before != (self.recorder.dump().await?, self.recorder.head().await?) {
            self.violate("I21", "a stale commit changed something".to_owned());
        }
        Ok(())
    }
}

/// A dead letter as it was before anybody did something about it.
fn as_open(record: &Record) -> Record {
    let Ok(letter) = body_of::<DeadLetter>(record) else { return record.clone() };
    let open = dead_letter_put(&letter.id, &DeadLetter { state: DeadLetterState::Open, ..letter.clone() });
    Record { state: open.state, body: open.body, ..record.clone() }
}
