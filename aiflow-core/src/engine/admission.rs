//! Admission: does a firing start something now, later, or not at all?
//!
//! A firing passes the stages in their order. Each one lets it pass, holds it in a row, or drops it; whatever it decides is written into the
//! firing's record. What passes the last stage starts.

use std::sync::Arc;

use serde_json::Value;

use super::decision::{DeadLetter, NewFiring, WorkflowKey};
use super::queues::RowKey;
use super::state::{Draft, workflow_key};
use crate::control::CONTROL_REFUSED;
use crate::event::{NewEvent, SYSTEM_NAMESPACE};
use crate::execution::{
    AdmissionStage, AdmissionStep, Firing, FiringOutcome, FiringRecord, Meter, RuleAction, StartRequest, Waiting,
    WorkflowStatus,
};
use crate::id::{FiringId, JobName, Offset, WorkflowExecutionId};
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject};
use crate::workflow::{
    Admission, BatchOf, CONTEXT_KEY, Debounce, Idempotency, JobAction, OverlapPolicy, Rate, WAITING_PER_KEY_MAX,
    WorkflowAction, hash_of, merge,
};

/// The longest key that is kept as it is; a longer one is replaced by its hash.
const KEY_BYTES_MAX: usize = 256;

/// What a stage decides.
pub(super) enum Verdict {
    Pass,
    /// It goes on, and this is worth a word.
    PassWith(String),
    Wait(Waiting, String),
    Drop(FiringOutcome, String),
}

impl Draft<'_> {
    /// Takes in that an execution of a workflow is to be started.
    pub(super) fn request_start(
        &mut self,
        key: &WorkflowKey,
        action: WorkflowAction,
        firing: Firing,
        request: StartRequest,
    ) {
        let Some(state) = self.workflow(key) else { return };
        let (project, workflow) = (state.project.clone(), state.name.clone());
        // A policy has nothing to say where nothing else is live.
        let asks = |policy: Option<OverlapPolicy>| policy.is_some_and(|policy| policy != OverlapPolicy::AllowAll);
        let is_plain =
            action == WorkflowAction::Start && (!asks(request.overlap) || self.running_any_version(key).is_empty());
        let Some(compiled) = self.state.definition(key, state.version).cloned() else { return };
        let execution = self.next_execution_id(key);
        let request = StartRequest { execution: Some(execution), ..request };
        let is_plain = is_plain && compiled.workflow.admission.is_none();
        if is_plain && compiled.workflow.check_start(&request.params).is_ok() {
            return self.start_execution(key, execution, firing, request);
        }
        let action = RuleAction::Workflow(action);
        let record = FiringRecord::new(workflow, firing, action, FiringOutcome::Waiting);
        let id = self.next_firing_id();
        self.admit(NewFiring { id, project, record: FiringRecord { request, ..record } }, None);
    }

    /// Takes in that a rule or schedule of a job has fired.
    pub(super) fn request_job(
        &mut self,
        execution: WorkflowExecutionId,
        job: &JobName,
        action: JobAction,
        firing: Firing,
        request: StartRequest,
    ) {
        let starts = matches!(action, JobAction::Start | JobAction::Restart);
        let has_stages = request.overlap.is_some()
            || self.is_paused(execution)
            || self.check_job_params(execution, job, &request.params).is_err()
            || self
                .definition(execution)
                .is_some_and(|compiled| compiled.job(job).is_some_and(|job| job.admission.holds_firings()));
        let Some(parent) = self.execution(execution).filter(|_| starts && has_stages) else {
            return self.act_on_job(execution, job, action, firing, &request.params);
        };
        let (project, workflow) = (parent.project.clone(), parent.workflow.clone());
        let record = FiringRecord::new(workflow, firing, RuleAction::Job(action), FiringOutcome::Waiting);
        let record = FiringRecord { request, ..record.of_job(execution, job.clone()) };
        let id = self.next_firing_id();
        self.admit(NewFiring { id, project, record }, None);
    }

    /// Lets a firing pass the stages after `after`, as far as they let it.
    pub(super) fn admit(&mut self, mut firing: NewFiring, after: Option<AdmissionStage>) {
        let Some(admission) = self.admission_of(&firing) else {
            return self.drop_firing(firing, FiringOutcome::Refused, None, "its definition is gone".to_owned());
        };
        firing.record.waits = None;
        for stage in AdmissionStage::ALL.into_iter().filter(|stage| after.is_none_or(|after| *stage > after)) {
            match self.pass(stage, &admission, &mut firing) {
                Verdict::Pass => {}
                Verdict::PassWith(reason) => self.say(&mut firing, stage, reason),
                Verdict::Wait(waits, reason) => {
                    self.say(&mut firing, stage, reason);
                    firing.record.outcome = FiringOutcome::Waiting;
                    firing.record.waits = Some(waits);
                    return self.set_firing(firing);
                }
                Verdict::Drop(outcome, reason) => return self.drop_firing(firing, outcome, Some(stage), reason),
            }
        }
        self.begin(firing);
    }

    fn pass(&mut self, stage: AdmissionStage, admission: &Admission, firing: &mut NewFiring) -> Verdict {
        match stage {
            AdmissionStage::Parameters => match self.check_params(firing) {
                Ok(()) => Verdict::Pass,
                Err(reason) => Verdict::Drop(FiringOutcome::Refused, reason),
            },
            AdmissionStage::Idempotency => match &admission.idempotency {
                Some(idempotency) => self.pass_idempotency(idempotency, firing),
                None => Verdict::Pass,
            },
            AdmissionStage::RateLimit => match &admission.rate_limit {
                Some(rate) => self.pass_rate_limit(rate, firing),
                None => Verdict::Pass,
            },
            AdmissionStage::Debounce => match &admission.debounce {
                Some(debounce) => self.pass_debounce(debounce, firing),
                None => Verdict::Pass,
            },
            AdmissionStage::Batch => match &admission.batch {
                Some(batch) => self.pass_batch(batch, firing),
                None => Verdict::Pass,
            },
            AdmissionStage::Throttle => match &admission.throttle {
                Some(rate) => self.pass_throttle(rate, admission.priority, firing),
                None => Verdict::Pass,
            },
            AdmissionStage::Restart => self.pass_restart(firing),
            AdmissionStage::Pause => self.pass_pause(firing),
            AdmissionStage::Concurrency => self.pass_concurrency(admission, firing),
        }
    }

    /// Checks the parameters of a start against those that are declared.
    fn check_params(&self, firing: &NewFiring) -> Result<(), String> {
        let (record, params) = (&firing.record, &firing.record.request.params);
        match (record.workflow_execution, &record.job) {
            (Some(execution), Some(job)) => self.check_job_params(execution, job, params),
            _ => {
                let key = workflow_key(&firing.project, &record.workflow);
                let version = self.workflow(&key).map_or(0, |state| state.version);
                self.definition_named(&key, version).map_or(Ok(()), |workflow| workflow.check_start(params))
            }
        }
    }

    pub(super) fn check_job_params(
        &self,
        execution: WorkflowExecutionId,
        job: &JobName,
        params: &Value,
    ) -> Result<(), String> {
        let compiled = self.definition(execution);
        let Some(job) = compiled.as_ref().and_then(|compiled| compiled.job(job)) else { return Ok(()) };
        let parent = self.execution(execution).map(|execution| &execution.params).unwrap_or(&Value::Null);
        job.check_start(parent, params)
    }

    fn pass_idempotency(&mut self, idempotency: &Idempotency, firing: &NewFiring) -> Verdict {
        let key = self.key_of(firing, &idempotency.key);
        let of = firing.record.subject(&firing.project);
        if let Some(meter) = self.fresh(&of, AdmissionStage::Idempotency, &key, idempotency.window) {
            return Verdict::Drop(FiringOutcome::Duplicate, format!("firing {} had the same key", meter.firing));
        }
        self.pass_meter(firing, AdmissionStage::Idempotency, key, idempotency.window);
        Verdict::Pass
    }

    fn pass_rate_limit(&mut self, rate: &Rate, firing: &NewFiring) -> Verdict {
        let key = self.key_of(firing, &rate.key);
        let of = firing.record.subject(&firing.project);
        let passed = self.fresh(&of, AdmissionStage::RateLimit, &key, rate.per).map_or(0, |meter| meter.passed.len());
        if passed >= as_count(rate.starts) {
            return Verdict::Drop(FiringOutcome::RateLimited, over_rate(rate));
        }
        self.pass_meter(firing, AdmissionStage::RateLimit, key, rate.per);
        Verdict::Pass
    }

    fn pass_debounce(&mut self, debounce: &Debounce, firing: &NewFiring) -> Verdict {
        let stage = AdmissionStage::Debounce;
        let row = self.row_key(firing, stage, &debounce.key);
        let mut since = self.now();
        for (_, id) in self.row(&row) {
            let Some(before) = self.held(id).cloned() else { continue };
            since = before.record.waits.as_ref().map_or(since, |waits| waits.since);
            self.drop_firing(
                before,
                FiringOutcome::Replaced,
                Some(stage),
                format!("firing {} came after it", firing.id),
            );
        }
        let quiet = self.now() + debounce.quiet;
        let due = debounce.longest.map_or(quiet, |longest| quiet.min(since + longest));
        let waits = Waiting { since, due: Some(due), ..waiting(stage, row.2, 0, since) };
        Verdict::Wait(waits, format!("waits until {due} for a later one"))
    }

    fn pass_batch(&mut self, batch: &BatchOf, firing: &mut NewFiring) -> Verdict {
        let stage = AdmissionStage::Batch;
        let row = self.row_key(firing, stage, &batch.key);
        let (n, _) = self.row_head(&row);
        if n.saturating_add(1) >= as_count(batch.firings) {
            let reason = self.join(&row, firing);
            return Verdict::PassWith(reason);
        }
        let now = self.now();
        // The first of a batch carries its timer.
        let due = (n == 0).then(|| now + batch.within);
        let waits = Waiting { due, ..waiting(stage, row.2, 0, now) };
        Verdict::Wait(waits, format!("waits for {} firings, {} so far", batch.firings, n.saturating_add(1)))
    }

    /// Joins the firings of a batch into `last`, which takes the events of all.
    fn join(&mut self, row: &RowKey, last: &mut NewFiring) -> String {
        let mut n = 1_usize;
        for (_, id) in self.row(row) {
            let Some(other) = self.held(id).cloned().filter(|other| other.id != last.id) else { continue };
            n = n.saturating_add(1);
            last.record.firing.events.extend(other.record.firing.events.iter().copied());
            last.record.firing.hops = last.record.firing.hops.max(other.record.firing.hops);
            self.drop_firing(other, FiringOutcome::Batched, Some(row.1), format!("joined into firing {}", last.id));
        }
        last.record.firing.events.sort_unstable();
        last.record.firing.events.dedup();
        format!("starts for {n} firings")
    }

    fn pass_throttle(&mut self, rate: &Rate, priority: i32, firing: &NewFiring) -> Verdict {
        let stage = AdmissionStage::Throttle;
        let row = self.row_key(firing, stage, &rate.key);
        let passed = self.fresh(&row.0, stage, &row.2, rate.per).map_or(0, |meter| meter.passed.len());
        let (n, _) = self.row_head(&row);
        if passed < as_count(rate.starts) && n == 0 {
            self.pass_meter(firing, stage, row.2, rate.per);
            return Verdict::Pass;
        }
        if n >= WAITING_PER_KEY_MAX {
            return queue_full();
        }
        if n == 0 {
            // From now on the meter has to say when there is room, not when it is empty.
            self.set_alarm(&row, rate.per, true);
        }
        Verdict::Wait(waiting(stage, row.2, priority, self.now()), over_rate(rate))
    }

    /// The meter of a key if it counts something still; what does not count any more is left out.
    fn fresh(&self, of: &Subject, stage: AdmissionStage, key: &str, window: std::time::Duration) -> Option<Meter> {
        let mut meter = self.meter(&Meter::id(of, stage, key))?.clone();
        let now = self.now();
        meter.passed.retain(|passed| now.since(*passed) < window);
        (!meter.passed.is_empty()).then_some(meter)
    }

    /// Counts a firing that passes.
    fn pass_meter(&mut self, firing: &NewFiring, stage: AdmissionStage, key: String, window: std::time::Duration) {
        let now = self.now();
        let of = firing.record.subject(&firing.project);
        let alarm = Alarm { due: now + window, set_by: self.event.offset };
        let mut meter = self.fresh(&of, stage, &key, window).unwrap_or_else(|| Meter {
            project: firing.project.clone(),
            of,
            stage,
            key,
            passed: Default::default(),
            firing: firing.id,
            alarm,
        });
        meter.passed.push_back(now);
        meter.firing = firing.id;
        meter.alarm = alarm;
        self.set_meter(meter);
    }

    /// Sets when a meter changes by itself: with its oldest entry if somebody waits for room, otherwise with its newest.
    fn set_alarm(&mut self, row: &RowKey, window: std::time::Duration, somebody_waits: bool) {
        let Some(mut meter) = self.fresh(&row.0, row.1, &row.2, window) else { return };
        let entry = if somebody_waits { meter.passed.front() } else { meter.passed.back() };
        let due = entry.map_or(self.now(), |entry| *entry + window);
        if meter.alarm.due != due {
            meter.alarm = Alarm { due, set_by: self.event.offset };
            self.set_meter(meter);
        }
    }

    /// The timer of a firing that waits is due.
    pub(super) fn on_firing_timer(&mut self, id: FiringId, stage: AdmissionStage, due: Timestamp) {
        let waits_so = |waits: &Waiting| waits.stage == stage && waits.due == Some(due);
        let Some(mut firing) = self.held(id).filter(|held| held.record.waits.as_ref().is_some_and(waits_so)).cloned()
        else {
            return;
        };
        let job_of = firing.record.workflow_execution;
        match stage {
            AdmissionStage::Debounce => {
                self.say(&mut firing, stage, "nothing came after it in time".to_owned());
                self.admit(firing, Some(stage));
            }
            AdmissionStage::Batch => {
                let key = firing.record.waits.as_ref().map(|waits| waits.key.clone()).unwrap_or_default();
                let row = (firing.record.subject(&firing.project), stage, key);
                let last = self.row(&row).last().and_then(|(_, last)| self.held(*last)).cloned();
                let mut last = last.unwrap_or(firing);
                let reason = self.join(&row, &mut last);
                self.say(&mut last, stage, reason);
                self.admit(last, Some(stage));
            }
            _ => {}
        }
        if let Some(execution) = job_of {
            self.finish_if_done(execution);
        }
    }

    /// The alarm of a meter is due: what is old is forgotten, and those that wait for room go on.
    pub(super) fn on_meter_timer(&mut self, id: &str, due: Timestamp, set_by: Offset) {
        let Some(meter) = self.meter(id).filter(|meter| meter.alarm == Alarm { due, set_by }).cloned() else {
            return;
        };
        let row = (meter.of.clone(), meter.stage, meter.key.clone());
        let window = self.window_of(&meter);
        match self.fresh(&row.0, row.1, &row.2, window) {
            Some(fresh) => self.set_meter(fresh),
            None => self.set_meter(Meter { passed: Default::default(), ..meter.clone() }),
        }
        if meter.stage == AdmissionStage::Throttle {
            self.release_throttled(&row);
        } else {
            self.set_alarm(&row, window, false);
        }
        if let Subject::Job { execution, .. } = meter.of {
            self.finish_if_done(execution);
        }
    }

    /// The window of the stage of a meter, as its definition says now; none if it has no such stage any more.
    fn window_of(&self, meter: &Meter) -> std::time::Duration {
        let admission = self.admission_of_subject(&meter.of);
        let window = admission.and_then(|admission| match meter.stage {
            AdmissionStage::Idempotency => admission.idempotency.map(|idempotency| idempotency.window),
            AdmissionStage::RateLimit => admission.rate_limit.map(|rate| rate.per),
            AdmissionStage::Throttle => admission.throttle.map(|rate| rate.per),
            _ => None,
        });
        window.unwrap_or_default()
    }

    /// Lets firings of a row of the throttle go on, as many as there is room for.
    pub(super) fn release_throttled(&mut self, row: &RowKey) {
        while let Some(head) = self.row_head(row).1.and_then(|id| self.held(id)).cloned() {
            let rate = self.admission_of_subject(&row.0).and_then(|admission| admission.throttle);
            let passed = rate.as_ref().and_then(|rate| self.fresh(&row.0, row.1, &row.2, rate.per));
            let passed = passed.map_or(0, |meter| meter.passed.len());
            // A definition that has no throttle any more holds nobody.
            if rate.as_ref().is_some_and(|rate| passed >= as_count(rate.starts)) {
                break;
            }
            if let Some(rate) = rate {
                self.pass_meter(&head, row.1, row.2.clone(), rate.per);
            }
            self.admit(head, Some(row.1));
        }
        let window = self.admission_of_subject(&row.0).and_then(|admission| admission.throttle);
        self.set_alarm(row, window.map(|rate| rate.per).unwrap_or_default(), self.row_head(row).0 > 0);
    }

    /// Starts what a firing asks for: it was admitted. A version that came while it waited may ask for other parameters.
    pub(super) fn begin(&mut self, mut firing: NewFiring) {
        if let Err(reason) = self.check_plan(&firing).and_then(|()| self.check_params(&firing)) {
            return self.drop_firing(firing, FiringOutcome::Refused, Some(AdmissionStage::Parameters), reason);
        }
        let record = &mut firing.record;
        record.waits = None;
        record.outcome = FiringOutcome::Started;
        let (cause, request, action) = (record.firing.clone(), record.request.clone(), record.action);
        match (action, record.workflow_execution, record.job.clone()) {
            (RuleAction::Job(action), Some(execution), Some(job)) => {
                let outcome = self.job_outcome(execution, &job, action, cause, &request.params);
                firing.record.outcome = outcome.unwrap_or(FiringOutcome::Started);
                self.set_firing(firing);
            }
            (RuleAction::Workflow(_), _, _) => {
                let key = workflow_key(&firing.project, &firing.record.workflow);
                let id = request.execution.unwrap_or_else(|| WorkflowExecutionId::new(self.event.offset, 0));
                let is_known = self.workflow(&key).is_some();
                self.set_firing(firing);
                if is_known {
                    self.start_execution(&key, id, cause, request);
                }
            }
            (RuleAction::Job(_), _, _) => {
                self.drop_firing(firing, FiringOutcome::Refused, None, "it names no job".to_owned());
            }
        }
    }

    /// Ends a firing that starts nothing. What was asked by hand is refused, so that the one who asked learns of it.
    pub(super) fn drop_firing(
        &mut self,
        mut firing: NewFiring,
        outcome: FiringOutcome,
        stage: Option<AdmissionStage>,
        reason: String,
    ) {
        let asked = firing.record.firing.events.last().copied().filter(|_| firing.record.request.by_hand);
        if let Some(offset) = asked {
            self.refuse_request(offset, reason.clone());
        }
        if let Some(stage) = stage {
            self.say(&mut firing, stage, reason);
        }
        // A key is free again if nothing came of the firing that took it.
        if !matches!(outcome, FiringOutcome::Duplicate | FiringOutcome::Batched)
            && let Some(idempotency) = self.admission_of(&firing).and_then(|admission| admission.idempotency)
        {
            let key = self.key_of(&firing, &idempotency.key);
            let of = firing.record.subject(&firing.project);
            let meter = self.meter(&Meter::id(&of, AdmissionStage::Idempotency, &key));
            if let Some(meter) = meter.filter(|meter| meter.firing == firing.id).cloned() {
                self.set_meter(Meter { passed: Default::default(), ..meter });
            }
        }
        firing.record.waits = None;
        firing.record.outcome = outcome;
        self.set_firing(firing);
    }

    /// Refuses an earlier request.
    fn refuse_request(&mut self, offset: Offset, reason: String) {
        let event = NewEvent::identified("", SYSTEM_NAMESPACE, offset.to_string());
        self.emit(event.event_type(CONTROL_REFUSED).value(reason.as_str()), 0);
        self.out.dead_letters.push(DeadLetter { id: offset.to_string(), offset, reason });
    }

    /// Cancels what waits to be admitted for `of`.
    pub(super) fn cancel_held(&mut self, of: &Subject, reason: &str) -> usize {
        let mut n = 0_usize;
        for row in self.rows_of(of) {
            for (_, id) in self.row(&row) {
                if let Some(firing) = self.held(id).cloned() {
                    n = n.saturating_add(1);
                    self.drop_firing(firing, FiringOutcome::Cancelled, Some(row.1), reason.to_owned());
                }
            }
        }
        n
    }

    /// Writes down what a stage decided.
    pub(super) fn say(&self, firing: &mut NewFiring, stage: AdmissionStage, reason: String) {
        firing.record.steps.push(AdmissionStep { stage, at: self.now(), reason });
    }

    fn admission_of(&self, firing: &NewFiring) -> Option<Admission> {
        self.admission_of_subject(&firing.record.subject(&firing.project))
    }

    /// How starts are admitted: of a workflow, as its latest version says; of a job, as the version of its execution says.
    pub(super) fn admission_of_subject(&self, of: &Subject) -> Option<Admission> {
        match of {
            Subject::Workflow { project, workflow } => {
                let key = workflow_key(project, workflow);
                let version = self.workflow(&key)?.version;
                Some(self.definition_named(&key, version)?.admission.clone())
            }
            Subject::Job { execution, job } => Some(self.definition(*execution)?.job(job)?.admission.clone()),
        }
    }

    /// A definition, also one that was submitted in this very decision.
    pub(super) fn definition_named(&self, key: &WorkflowKey, version: u32) -> Option<Arc<crate::workflow::Workflow>> {
        let submitted = self.out.definitions.get(key).cloned();
        submitted.or_else(|| self.state.definition(key, version).map(|compiled| Arc::clone(&compiled.workflow)))
    }

    pub(super) fn row_key(&self, firing: &NewFiring, stage: AdmissionStage, key: &[String]) -> RowKey {
        (firing.record.subject(&firing.project), stage, self.key_of(firing, key))
    }

    /// The values of some parameters of a start.
    pub(super) fn key_of(&self, firing: &NewFiring, names: &[String]) -> String {
        if names.is_empty() {
            return String::new();
        }
        key_of_params(&self.params_of(firing), firing.record.request.context.as_deref(), names)
    }

    /// All parameters that a start would have.
    fn params_of(&self, firing: &NewFiring) -> Value {
        let record = &firing.record;
        let under = match (record.workflow_execution, &record.job) {
            (Some(execution), Some(job)) => {
                let compiled = self.definition(execution);
                let job = compiled.as_ref().and_then(|compiled| compiled.job(job));
                let parent = self.execution(execution).map(|execution| execution.params.clone()).unwrap_or_default();
                merge(&job.map(|job| job.base_params()).unwrap_or_default(), &parent)
            }
            _ => {
                let key = workflow_key(&firing.project, &record.workflow);
                let version = self.workflow(&key).map_or(0, |state| state.version);
                self.definition_named(&key, version).map(|workflow| workflow.base_params()).unwrap_or_default()
            }
        };
        merge(&under, &record.request.params)
    }

    /// Whether a workflow may start executions.
    pub(super) fn is_enabled(&self, of: &Subject) -> bool {
        match of {
            Subject::Workflow { project, workflow } => {
                self.workflow(&workflow_key(project, workflow)).is_some_and(|state| state.enabled)
            }
            Subject::Job { execution, .. } => {
                self.execution(*execution).is_some_and(|execution| execution.status == WorkflowStatus::Running)
            }
        }
    }
}

/// The values of these parameters, and the context, as a key.
pub(super) fn key_of_params(params: &Value, context: Option<&str>, names: &[String]) -> String {
    let value = |name: &String| match name.as_str() {
        CONTEXT_KEY => Value::from(context).to_string(),
        name => params.get(name).unwrap_or(&Value::Null).to_string(),
    };
    let values: Vec<String> = names.iter().map(value).collect();
    let key = values.join(",");
    if key.len() > KEY_BYTES_MAX { hash_of(&key) } else { key }
}

pub(super) fn waiting(stage: AdmissionStage, key: String, priority: i32, since: Timestamp) -> Waiting {
    Waiting { stage, key, priority, since, due: None, after: Vec::new() }
}

pub(super) fn queue_full() -> Verdict {
    Verdict::Drop(FiringOutcome::QueueFull, format!("{WAITING_PER_KEY_MAX} firings wait already"))
}

fn over_rate(rate: &Rate) -> String {
    format!("{} starts within {} ms are all that is allowed", rate.starts, rate.per.as_millis())
}

pub(super) fn as_count(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
