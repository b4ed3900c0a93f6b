//! The life of a workflow execution, and what operators ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::admission::key_of_params;
use super::decision::{Input, NewFiring, WorkflowKey};
use super::rules::CompiledRule;
use super::schedule::{self, BackfillRequest};
use super::state::{Draft, workflow_key};
use crate::control::{CONTROL_REFUSED, Control};
use crate::event::{NewEvent, STOP_REASON, SYSTEM_NAMESPACE, WORKFLOW_STATUS_CHANGED};
use crate::execution::{
    AdmissionStage, Firing, FiringOutcome, FiringRecord, JobCounts, JobState, RuleAction, RuleState, StartRequest,
    StopNote, WorkflowExecution, WorkflowState, WorkflowStatus,
};
use crate::executor::StopMode;
use crate::id::{JobName, ProjectName, RuleName, WorkflowExecutionId, WorkflowName};
use crate::timer::Subject;
use crate::workflow::{Completion, Contexts, JobAction, Workflow, WorkflowAction, merge};

impl<'a> Draft<'a> {
    /// Takes in a control event. What cannot be done becomes a dead letter and an event that says so.
    pub(super) fn on_control(&mut self, control: Control, input: &'a Input) {
        let by_hand = self.firing(None, vec![self.event.offset]);
        match control {
            Control::WorkflowSubmitted { project, workflow, version } => match &input.workflow {
                Some(definition) => self.on_submitted(&workflow_key(&project, &workflow), version, definition),
                None => self.refuse(format!("version {version} of workflow {project}/{workflow} is not stored")),
            },
            Control::StartWorkflow { project, workflow, params, context, labels } => {
                let key = workflow_key(&project, &workflow);
                match self.workflow(&key).map(|state| (state.enabled, state.deleted_at)) {
                    None => self.refuse(format!("workflow {key} is not known")),
                    Some((_, Some(_))) => self.refuse(format!("workflow {key} is deleted")),
                    Some((false, None)) => self.refuse(format!("workflow {key} is disabled")),
                    Some((true, None)) => {
                        let request =
                            StartRequest { params, context, labels, by_hand: true, ..StartRequest::default() };
                        self.request_start(&key, WorkflowAction::Start, by_hand, request);
                    }
                }
            }
            Control::StopExecution { execution, mode, reason } => {
                match self.execution(execution).map(|execution| execution.status) {
                    Some(WorkflowStatus::Running | WorkflowStatus::Stopping) => {
                        self.stop_execution(execution, mode, &reason);
                    }
                    // One that ended earlier in the same decision is as unknown as one that ended before.
                    _ if self.cancel_start(execution, &reason) => {}
                    _ => self.refuse(format!("workflow execution {execution} is not running")),
                }
            }
            Control::PauseExecution { execution, reason } => self.pause_execution(execution, reason),
            Control::ResumeExecution { execution } => self.resume_execution(execution),
            Control::ScheduleJob { execution, job, scheduled } => {
                if self.has_running_job(execution, &job) {
                    self.schedule_job(execution, &job, scheduled);
                }
            }
            Control::ActOnJob { execution, job, action: JobAction::Stop, mode, reason } => {
                if self.has_job_to_stop(execution, &job) {
                    let outcome = self.stop_job_of(execution, &job, mode, &reason);
                    self.record_outcome(execution, &job, JobAction::Stop, by_hand, outcome);
                }
            }
            Control::ActOnJob { execution, job, action, .. } => {
                if self.has_running_job(execution, &job) {
                    self.act_by_hand(execution, &job, action, by_hand);
                }
            }
            Control::SignalJob { execution, job, value } => {
                if self.has_running_job(execution, &job)
                    && let Some(outcome) = self.signal_job(execution, &job, by_hand.clone(), &Value::Null, value)
                {
                    self.record_outcome(execution, &job, JobAction::Signal, by_hand, outcome);
                }
            }
            Control::EnableWorkflow { project, workflow, enabled } => {
                let key = workflow_key(&project, &workflow);
                match self.workflow_mut(&key) {
                    Some(state) if state.deleted_at.is_some() => self.refuse(format!("workflow {key} is deleted")),
                    Some(_) => self.set_enabled(&key, &Subject::Workflow { project, workflow }, enabled),
                    None => self.refuse(format!("workflow {key} is not known")),
                }
            }
            Control::DeleteWorkflow { project, workflow, deleted } => {
                let key = workflow_key(&project, &workflow);
                let of = Subject::Workflow { project, workflow };
                if deleted { self.delete_workflow(&key, &of) } else { self.restore_workflow(&key, &of) }
            }
            Control::ActOnRule { of, rule, change } => self.on_rule_change(&of, &rule, change),
            Control::ActOnSchedule { of, schedule, action } => self.on_schedule_action(&of, &schedule, action),
            Control::Backfill { project, workflow, schedule, from, to, quiet, overlap } => {
                let key = workflow_key(&project, &workflow);
                self.on_backfill(&key, &BackfillRequest { schedule, from, to, quiet, overlap });
            }
            Control::LookAgain { project, workflow } => self.release_all(&Subject::Workflow { project, workflow }),
            Control::CatchUp { of, rule, begun, read } => match &input.history {
                Some(history) => self.catch_up(&of, &rule, begun, *read, history),
                None => {
                    self.give_up_past(&of, &rule, begun, &read);
                    self.refuse(format!("what rule {rule} of {of} asks for was not read from the log"));
                }
            },
            Control::UpgradeExecution { execution } => self.upgrade_execution(execution),
            Control::RerunExecution { plan, .. } => match &input.rerun {
                Some(plan) => self.request_rerun(plan, by_hand),
                None => self.refuse(format!("plan {plan} is not stored")),
            },
            Control::SetPool { project, pool, slots } => self.set_pool((project, pool), slots),
            Control::HostJoined { host, offer } => self.on_host_joined(host, offer),
            Control::HostDrains { host } => self.on_host_drains(&host),
            Control::HostLeft { host, lost } => self.on_host_left(&host, lost),
            // It is meant for the host, which reads it from the log.
            Control::TellHost { .. } => {}
            Control::Unplaced { attempt } => self.on_unplaced(attempt),
            Control::Reported { attempt, report } => self.on_report(attempt, report),
            Control::TimerFired(timer) => self.on_timer(&timer),
        }
    }

    /// As [`has_running_job`](Self::has_running_job), also while the execution is stopping: a job that does not end can still be killed.
    fn has_job_to_stop(&mut self, execution: WorkflowExecutionId, job: &JobName) -> bool {
        let is_live = self.live_job(execution, job).is_some();
        let is_stopping =
            self.execution(execution).is_some_and(|execution| execution.status == WorkflowStatus::Stopping);
        (is_live && is_stopping) || self.has_running_job(execution, job)
    }

    /// Whether an execution is running and has this job; otherwise what the current event asks is refused.
    fn has_running_job(&mut self, execution: WorkflowExecutionId, job: &JobName) -> bool {
        let is_running = self.execution(execution).is_some_and(|execution| execution.status == WorkflowStatus::Running);
        let is_defined = self.definition(execution).is_some_and(|compiled| compiled.job(job).is_some());
        match (is_running, is_defined) {
            (true, true) => return true,
            (false, _) => self.refuse(format!("workflow execution {execution} is not running")),
            (true, false) => self.refuse(format!("workflow execution {execution} has no job {job}")),
        }
        false
    }

    /// Lets a workflow start, or not.
    pub(super) fn set_enabled(&mut self, key: &WorkflowKey, of: &Subject, enabled: bool) {
        if let Some(state) = self.workflow_mut(key) {
            state.enabled = enabled;
            self.set_schedules_enabled(key, enabled);
            self.release_all(of);
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
        let was_deleted = before.as_ref().is_some_and(|state| state.deleted_at.is_some());
        let (enabled, seen, schedules) = before
            .map_or((true, BTreeMap::new(), BTreeMap::new()), |state| (state.enabled, state.rules, state.schedules));
        // A new version of a deleted workflow brings it back.
        let enabled = enabled || was_deleted;
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
            let is_new = was_deleted
                || previous.as_ref().is_none_or(|then| {
                    rule_of(&then.workflow, &rule.name).is_none_or(|then| then.condition != rule.condition)
                });
            if is_new && !rules.contains_key(&rule.name) {
                let compiled = CompiledRule::of_workflow(&definition.name, rule);
                rules.extend(self.begin_workflow_rule(definition, &compiled));
            }
        }
        let (project, name) = (definition.project.clone(), definition.name.clone());
        let state = WorkflowState { project, name, version, enabled, deleted_at: None, rules, schedules };
        self.out.workflows.insert(Arc::clone(key), Arc::new(state));
        self.out.definitions.insert(Arc::clone(key), Arc::clone(definition));
        for (rule, action, pending) in lost.into_iter().filter(|(.., pending)| !pending.is_empty()) {
            self.record_rule_changed(key, rule, action, pending);
        }
        let (project, workflow) = (definition.project.clone(), definition.name.clone());
        if !self.rows_of(&Subject::Workflow { project: project.clone(), workflow: workflow.clone() }).is_empty() {
            self.emit(Control::LookAgain { project, workflow }.into_event(""), 0);
        }
    }

    /// What a rule of a workflow begins with, if that is anything.
    pub(super) fn begin_workflow_rule(
        &mut self,
        workflow: &Workflow,
        rule: &CompiledRule,
    ) -> Option<(RuleName, Arc<RuleState>)> {
        let of = Subject::Workflow { project: workflow.project.clone(), workflow: workflow.name.clone() };
        let state = self.begin_rule(&of, rule, &workflow.project, None, None)?;
        Some((rule.name.clone(), Arc::new(state)))
    }

    /// Cancels the start that would make this execution, if it waits to be admitted.
    fn cancel_start(&mut self, execution: WorkflowExecutionId, reason: &str) -> bool {
        let waits_in = |firing: &&NewFiring| firing.record.request.execution == Some(execution);
        let Some(firing) = self.held_by(execution.cause).into_iter().filter_map(|id| self.held(id)).find(waits_in)
        else {
            return false;
        };
        let (firing, stage) = (firing.clone(), firing.record.waits.as_ref().map(|waits| waits.stage));
        self.drop_firing(firing, FiringOutcome::Cancelled, stage, because("it was asked to stop", reason));
        true
    }

    /// Starts an execution of the latest version, and the jobs that start with it.
    pub(super) fn start_execution(
        &mut self,
        key: &WorkflowKey,
        id: WorkflowExecutionId,
        cause: Firing,
        request: StartRequest,
    ) {
        let Some(version) = self.workflow(key).map(|state| state.version) else {
            return;
        };
        let Some(compiled) = self.state.definition(key, version).cloned() else {
            return;
        };
        let definition = &compiled.workflow;
        let params = merge(&definition.base_params(), &request.params);
        let limit = definition.admission.executions_max();
        let key_params = definition.admission.concurrency.as_ref().map(|concurrency| concurrency.key.as_slice());
        let deadline = definition.deadline.map(|after| self.now() + after);
        let key_params = key_params.unwrap_or_default();
        let concurrency_key = limit.map(|_| key_of_params(&params, request.context.as_deref(), key_params));
        let execution = WorkflowExecution {
            id,
            deadline,
            project: definition.project.clone(),
            workflow: definition.name.clone(),
            version,
            status: WorkflowStatus::Running,
            completion: definition.completion(),
            context: request.context,
            labels: request.labels,
            stops: Vec::new(),
            concurrency_key,
            params,
            held: 0,
            cause,
            rerun_of: request.rerun.as_ref().map(|plan| plan.execution),
            created_at: self.now(),
            finished_at: None,
            paused: None,
            counts: JobCounts::default(),
            last_word: None,
        };
        self.add_execution(key, execution);
        self.begin_job_schedules(id, &compiled);
        self.begin_deadlines(id, &compiled);
        self.note_live(id);
        self.out.begun.push(id);
        self.announce_status(id, WorkflowStatus::Running);
        self.begin_job_rules(id, &compiled.job_rules, request.rerun.as_deref());
        if let Some(plan) = request.rerun {
            return self.begin_rerun(id, &plan, definition);
        }
        let cause = self.firing(None, vec![self.event.offset]);
        for job in definition.jobs_that_start() {
            self.create_job(id, &job.name, cause.clone(), &Value::Null);
        }
    }

    /// Asks every live job of an execution to end; the execution ends with the last of them. One that is stopping already can still be
    /// killed.
    pub(super) fn stop_execution(&mut self, id: WorkflowExecutionId, mode: StopMode, reason: &str) {
        let status = self.execution(id).map(|execution| execution.status);
        if status == Some(WorkflowStatus::Stopping) && mode == StopMode::Graceful {
            return;
        }
        let note = StopNote { at: self.now(), by: self.event.offset, mode, reason: reason.to_owned() };
        let Some(execution) = self.execution_mut(id).filter(|execution| !execution.status.is_terminal()) else {
            return;
        };
        execution.status = WorkflowStatus::Stopping;
        note.add(&mut execution.stops);
        execution.paused = None;
        let is_waited_for = execution.held > 0;
        self.forget_waits(id);
        for name in self.jobs_of(id) {
            self.cancel_waiting(id, &name);
            if let Some(current) = self.live_job(id, &name) {
                self.stop_job(current, mode, &because("its workflow execution was asked to stop", reason));
            }
        }
        if is_waited_for {
            let jobs = self.definition(id).map(|compiled| Arc::clone(&compiled.workflow));
            for job in jobs.iter().flat_map(|workflow| &workflow.jobs) {
                let of = Subject::Job { execution: id, job: job.name.clone() };
                self.cancel_held(&of, "its workflow execution is stopped");
            }
        }
        self.finish_if_done(id);
    }

    /// Takes `action` on a workflow because one of its rules fired.
    pub(super) fn act_on_workflow(
        &mut self,
        key: &WorkflowKey,
        action: WorkflowAction,
        firing: Firing,
        params: Value,
        of_param: Option<&str>,
    ) {
        let Some(state) = self.workflow(key) else {
            return;
        };
        let (project, workflow) = (state.project.clone(), state.name.clone());
        let outcome = match action {
            WorkflowAction::Start | WorkflowAction::Restart => {
                let of_param = of_param.filter(|_| action == WorkflowAction::Restart).map(str::to_owned);
                let request = StartRequest { of_param, params, ..StartRequest::default() };
                return self.start_in_contexts(key, action, &firing, &request);
            }
            WorkflowAction::Stop => {
                // An execution sees the events after the one that created it, so a rule pair on one event can restart a workflow.
                let mut running = self.running_any_version(key);
                running.retain(|id| !self.is_begun(*id));
                let contexts = self.contexts_of_seen_now(key);
                let named = self.named_execution(key, &contexts).filter(|id| running.contains(id));
                let is_concerned = |id: &WorkflowExecutionId| {
                    contexts.concern(self.execution(*id).and_then(|of| of.context.as_deref()))
                };
                running.retain(|id| named.map_or_else(|| is_concerned(id), |named| named == *id));
                let mut targets = running;
                targets.retain(|id| self.is_of(*id, of_param, firing.key.as_deref()));
                let meant = (of_param, firing.key.as_deref(), &contexts);
                let is_restart_cancelled = self.cancel_restarts(&project, &workflow, meant);
                let acts = !targets.is_empty() || is_restart_cancelled;
                let outcome = if acts { FiringOutcome::Stopped } else { FiringOutcome::NotLive };
                for id in targets {
                    if self.execution(id).is_some_and(|execution| execution.status == WorkflowStatus::Running) {
                        self.stop_execution(id, StopMode::Graceful, &firing.why());
                    }
                }
                outcome
            }
        };
        let action = RuleAction::Workflow(action);
        self.record_firing(project, FiringRecord::new(workflow, firing, action, outcome));
    }

    /// Whether an execution is one that a rule acts on which names executions by a parameter.
    pub(super) fn is_of(&self, id: WorkflowExecutionId, of_param: Option<&str>, key: Option<&str>) -> bool {
        self.execution(id).is_some_and(|execution| has_key(&execution.params, of_param, key))
    }

    /// STOP cancels a RESTART that waits.
    fn cancel_restarts(
        &mut self,
        project: &ProjectName,
        workflow: &WorkflowName,
        (of_param, key, contexts): (Option<&str>, Option<&str>, &Contexts),
    ) -> bool {
        let of = Subject::Workflow { project: project.clone(), workflow: workflow.clone() };
        let mut is_any = false;
        for (_, id) in self.row(&(of, AdmissionStage::Restart, String::new())) {
            let is_meant = |firing: &&NewFiring| {
                has_key(&firing.record.request.params, of_param, key) && Self::waits_in(firing, contexts)
            };
            if let Some(firing) = self.held(id).filter(is_meant).cloned() {
                is_any = true;
                let reason = "a STOP came while it waited".to_owned();
                self.drop_firing(firing, FiringOutcome::Cancelled, Some(AdmissionStage::Restart), reason);
            }
        }
        is_any
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
        let counts = execution.counts;
        let is_waited_for = execution.held > 0;
        let is_heard_out = execution.last_word.as_deref().is_none_or(|word| word == self.event.id);
        let status = match execution.status {
            _ if counts.live > 0 => return,
            WorkflowStatus::Stopping => WorkflowStatus::Stopped,
            WorkflowStatus::Running if execution.completion != Completion::Idle || !is_heard_out => return,
            WorkflowStatus::Running if is_waited_for || execution.paused.is_some() || counts.moments > 0 => {
                // Its events were applied; now it waits for a moment only, for a firing to be admitted, or to be resumed.
                if execution.last_word.is_some()
                    && let Some(execution) = self.execution_mut(id)
                {
                    execution.last_word = None;
                }
                return;
            }
            WorkflowStatus::Running if counts.failed > 0 => WorkflowStatus::Failed,
            WorkflowStatus::Running if counts.stopped > 0 => WorkflowStatus::Stopped,
            WorkflowStatus::Running => WorkflowStatus::Succeeded,
            WorkflowStatus::Succeeded | WorkflowStatus::Failed | WorkflowStatus::Stopped => return,
        };
        let now = self.now();
        self.forget_waits(id);
        let Some(execution) = self.execution_mut(id) else {
            return;
        };
        execution.status = status;
        execution.finished_at = Some(now);
        execution.deadline = None;
        execution.last_word = None;
        self.run_workflow_hooks(id, status);
        self.announce_status(id, status);
        self.on_execution_ended(id);
    }

    /// The jobs of an execution wait for nothing any more. What their rules have seen stays to be read, and for a rerun.
    fn forget_waits(&mut self, id: WorkflowExecutionId) {
        for job in self.jobs_of(id) {
            let waits = |job: &JobState| !job.rules.is_empty() || !job.schedules.is_empty() || job.deadline.is_some();
            if self.job_state(id, &job).is_some_and(waits) {
                self.change_job_state(id, &job, |job| {
                    job.rules = job
                        .rules
                        .iter()
                        .filter_map(|(name, rule)| Some((name.clone(), Arc::new(rule.ended()?))))
                        .collect();
                    job.schedules.clear();
                    job.deadline = None;
                });
            }
        }
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
        if let Some(reason) = StopNote::reason_of(&execution.stops).filter(|_| status == WorkflowStatus::Stopped) {
            event = event.label(STOP_REASON, reason);
        }
        event.context.quiet = self.is_quiet(id);
        let behind = execution.cause.hops;
        let event_id = self.emit(event, behind);
        if let Some(execution) = self.execution_mut(id).filter(|_| !status.is_terminal()) {
            execution.last_word = Some(event_id);
        }
    }
}

/// What happened, and the reason that was given, if one was.
fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}

/// Whether a parameter is this key, as text. Without a parameter that is asked for, everything is.
fn has_key(params: &Value, of_param: Option<&str>, key: Option<&str>) -> bool {
    let Some(name) = of_param else { return true };
    match params.get(name) {
        Some(Value::String(text)) => Some(text.as_str()) == key,
        Some(part @ (Value::Number(_) | Value::Bool(_))) => Some(part.to_string().as_str()) == key,
        _ => false,
    }
}
