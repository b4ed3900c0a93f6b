//! Events and moments meet rules: which rules do they concern, and what comes of each?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::contexts::Scope;
use super::decision::WorkflowKey;
use super::index::{Candidate, RuleRef};
use super::rules::{CompiledRule, Evaluation, Full, OPERAND_PENDING_MAX, Prepared, RULE_KEYS_MAX, Target};
use super::state::{Draft, workflow_key};
use crate::event::EVENT_HOPS_MAX;
use crate::execution::{
    Firing, FiringOutcome, FiringRecord, JobStatus, RuleAction, RuleChange, RuleState, RuleStatus, StartRequest,
    WorkflowState, WorkflowStatus,
};
use crate::id::{JobName, Offset, RuleName, WorkflowExecutionId};
use crate::rerun::RerunPlan;
use crate::timer::{Alarm, Subject};
use crate::workflow::{Contexts, EventPattern, WorkflowAction};

/// Whose rule is evaluated, and where its state is kept.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    Job(WorkflowExecutionId, JobName),
    Workflow(WorkflowKey),
}

/// Why a firing does not act, if it does not.
type Hindrance = Option<FiringOutcome>;

impl Draft<'_> {
    /// Evaluates every rule that the current event concerns, in order of workflow and definition.
    pub(super) fn match_rules(&mut self) {
        // The first rule of a job that fires on this event acts; the ones after it are superseded.
        let mut acted: BTreeSet<(WorkflowExecutionId, JobName)> = BTreeSet::new();
        // Likewise the first START or RESTART rule of a workflow.
        let mut started: BTreeSet<WorkflowKey> = BTreeSet::new();
        let state = self.state;
        let mut operands = Vec::new();
        for of_rule in state.index().candidates(self.seen).chunk_by(|a, b| a.rule_ref == b.rule_ref) {
            let [Candidate { rule_ref, rule, .. }, ..] = *of_rule else { continue };
            operands.clear();
            operands.extend(of_rule.iter().map(|candidate| candidate.operand));
            match (&rule.target, rule_ref.version) {
                (Target::Workflow(action), _) => {
                    let starts = *action != WorkflowAction::Stop;
                    let is_superseded = starts && started.contains(&rule_ref.workflow);
                    let fired = self.match_workflow_rule(&rule_ref.workflow, rule, *action, &operands, is_superseded);
                    if fired && starts {
                        started.insert(Arc::clone(&rule_ref.workflow));
                    }
                }
                (Target::Job(job, _), Some(version)) => {
                    let contexts = self.contexts_of_seen(&rule_ref.workflow, version);
                    for execution in self.executions_concerned(rule_ref, version, rule, &operands) {
                        let place = (execution, job.clone());
                        if self.match_job_rule(
                            execution,
                            rule,
                            job,
                            &operands,
                            acted.contains(&place),
                            contexts.as_ref(),
                        ) {
                            acted.insert(place);
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
        rule: &CompiledRule,
        operands: &[usize],
    ) -> Vec<WorkflowExecutionId> {
        let workflow = &rule_ref.workflow;
        let mut concerned = match self.seen.context.workflow_execution {
            // Found without a look at all the others: nearly every status event takes this way.
            Some(own) if self.seen.context.quiet || !self.sees_other_executions(workflow, version, rule, operands) => {
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
        rule: &CompiledRule,
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

    pub(super) fn match_job_rule(
        &mut self,
        id: WorkflowExecutionId,
        rule: &CompiledRule,
        job: &JobName,
        operands: &[usize],
        is_superseded: bool,
        contexts: Option<&Contexts>,
    ) -> bool {
        let event = self.seen;
        let Some(execution) = self.execution(id).filter(|execution| execution.status == WorkflowStatus::Running) else {
            return false;
        };
        let project = execution.project.as_str();
        let scope = Scope::of(execution, event.context.workflow_execution, contexts);
        let matches =
            |operand: &&usize| rule.operands.get(**operand).is_some_and(|pattern| pattern.fields_match(project, event));
        let sees = |operand: &usize| {
            let sees_others = |pattern: &EventPattern| pattern.sees_other_executions(project);
            scope == Scope::Own || rule.operands.get(*operand).is_some_and(sees_others)
        };
        let (hits, unseen): (Vec<usize>, Vec<usize>) = operands.iter().filter(matches).copied().partition(sees);
        if scope == Scope::Unsaid {
            self.note_no_context(&Owner::Job(id, job.clone()), rule, &unseen);
        }
        let hindrance = is_superseded.then_some(FiringOutcome::Superseded);
        self.match_rule(&Owner::Job(id, job.clone()), rule, &hits, hindrance)
    }

    pub(super) fn match_workflow_rule(
        &mut self,
        key: &WorkflowKey,
        rule: &CompiledRule,
        action: WorkflowAction,
        operands: &[usize],
        is_superseded: bool,
    ) -> bool {
        let event = self.seen;
        let sees = |workflow: &&WorkflowState| workflow.deleted_at.is_none() && !event.context.quiet;
        let Some(workflow) = self.workflow(key).filter(sees) else {
            return false;
        };
        let project = workflow.project.as_str();
        let matches =
            |operand: &&usize| rule.operands.get(**operand).is_some_and(|pattern| pattern.fields_match(project, event));
        let hits: Vec<usize> = operands.iter().filter(matches).copied().collect();
        let owner = Owner::Workflow(Arc::clone(key));
        if self.is_unsaid(key, rule) {
            self.note_no_context(&owner, rule, &hits);
            return false;
        }
        // Events during a pause do not count: a rule is not to fire on them when the workflow is enabled again.
        if action != WorkflowAction::Stop && !workflow.enabled {
            self.pass_over(&owner, rule, &hits, FiringOutcome::Disabled);
            return false;
        }
        self.match_rule(&owner, rule, &hits, is_superseded.then_some(FiringOutcome::Superseded))
    }

    /// Shows the current event to a rule that is paused, and records it if it would have counted.
    fn pass_over(&mut self, owner: &Owner, rule: &CompiledRule, hits: &[usize], outcome: FiringOutcome) {
        let event = self.seen;
        if hits.is_empty() || !self.is_meant(owner, rule) {
            return;
        }
        let before = self.rule_state(owner, &rule.name).cloned();
        if self.is_too_early_for(before.as_deref()) {
            return;
        }
        let mut state = before.as_deref().cloned().unwrap_or_default();
        let would_count = rule.pass_over(&mut state, hits, event);
        if before.is_some_and(|before| *before != state) {
            self.change_rule_state(owner, &rule.name, |kept| *kept = state);
        }
        if would_count {
            let firing = self.firing(Some(rule.name.clone()), vec![event.offset]);
            self.record_rule(owner, &rule.target, firing, outcome);
        }
    }

    /// Whether the event that is seen is not for another rule alone.
    pub(super) fn is_meant(&self, owner: &Owner, rule: &CompiledRule) -> bool {
        let is_this = |only: &String| *only == format!("{}/{}", label(owner), rule.name);
        self.seen.context.only_rule.as_ref().is_none_or(is_this)
    }

    /// Shows the current event to a rule; true if it fired.
    fn match_rule(&mut self, owner: &Owner, rule: &CompiledRule, hits: &[usize], hindrance: Hindrance) -> bool {
        let event = self.seen;
        if hits.is_empty() || !self.is_meant(owner, rule) {
            return false;
        }
        let before = self.rule_state(owner, &rule.name).map(|state| &**state);
        if self.is_too_early_for(before) {
            return false;
        }
        let is_unscheduled = self.is_owner_unscheduled(owner);
        match before.map(|before| before.status).unwrap_or_default() {
            RuleStatus::Active if !is_unscheduled => {}
            RuleStatus::Removed => return false,
            RuleStatus::Active | RuleStatus::Paused => {
                self.pass_over(owner, rule, hits, FiringOutcome::Paused);
                return false;
            }
        }
        match rule.prepare(before, hits, event, self.customs) {
            Prepared::Nothing => false,
            Prepared::NoKey => {
                let firing = self.firing(Some(rule.name.clone()), vec![event.offset]);
                self.record_rule(owner, &rule.target, firing, FiringOutcome::NoKey);
                false
            }
            Prepared::Failed(reason) => {
                self.dead_letter_of(owner, &rule.name, reason);
                false
            }
            Prepared::Hit(hit) => {
                let statuses = self.statuses_of(owner, rule);
                let decided = self.event.offset;
                let evaluate = |state: &mut RuleState| rule.evaluate(state, &hit, event, decided, &statuses);
                let Some(evaluation) = self.change_rule_state(owner, &rule.name, evaluate) else { return false };
                if hit.is_missing() {
                    let firing = self.firing(Some(rule.name.clone()), vec![event.offset]);
                    self.record_rule(owner, &rule.target, firing, FiringOutcome::FieldMissing);
                }
                self.act(owner, rule, evaluation, hindrance)
            }
        }
    }

    /// A moment that a rule waits for has come.
    pub(super) fn on_rule_timer(&mut self, of: &Subject, name: &RuleName, alarm: Alarm) {
        let Some((owner, rule)) = self.rule_of(of, name) else {
            return;
        };
        let Some(before) = self.rule_state(&owner, name).filter(|state| state.waits_for(alarm)) else {
            return;
        };
        let is_disabled = match (&owner, &rule.target) {
            (Owner::Workflow(key), Target::Workflow(action)) => {
                *action != WorkflowAction::Stop && self.workflow(key).is_some_and(|workflow| !workflow.enabled)
            }
            _ => false,
        };
        let is_paused = before.status == RuleStatus::Paused || self.is_owner_unscheduled(&owner);
        let hindrance = is_paused.then_some(FiringOutcome::Paused).or(is_disabled.then_some(FiringOutcome::Disabled));
        let statuses = self.statuses_of(&owner, &rule);
        let event = self.event;
        let on_alarm = |state: &mut RuleState| rule.on_alarm(state, alarm, event, &statuses);
        let Some(evaluation) = self.change_rule_state(&owner, name, on_alarm) else { return };
        self.act(&owner, &rule, evaluation, hindrance);
    }

    /// Whether the scheduling of the job is stopped whose rule it is.
    pub(super) fn is_owner_unscheduled(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Job(id, job) => self.is_unscheduled(*id, job),
            Owner::Workflow(_) => false,
        }
    }

    /// Pauses, resumes, clears or removes a rule.
    pub(super) fn on_rule_change(&mut self, of: &Subject, name: &RuleName, change: RuleChange) {
        let Some((owner, rule)) = self.rule_of(of, name) else {
            return self.refuse(format!("{of} has no rule {name} that is at work"));
        };
        let event = self.event;
        let apply = |state: &mut RuleState| {
            let (outcome, status) = match change {
                _ if state.status == RuleStatus::Removed && change != RuleChange::Clear => return None,
                RuleChange::Pause | RuleChange::Resume => {
                    let is_pause = change == RuleChange::Pause;
                    state.status = if is_pause { RuleStatus::Paused } else { RuleStatus::Active };
                    return None;
                }
                RuleChange::Clear => (FiringOutcome::Cleared, state.status),
                RuleChange::Remove => (FiringOutcome::RuleChanged, RuleStatus::Removed),
            };
            let pending = state.pending();
            // A rule that waits for a moment begins anew.
            let anew = if status == RuleStatus::Removed { RuleState::default() } else { rule.begin(event) };
            let catch_up = state.catch_up.take().filter(|_| status != RuleStatus::Removed);
            *state = RuleState { status, missing_noted: state.missing_noted, catch_up, ..anew };
            Some((pending, outcome))
        };
        let lost = self.change_rule_state(&owner, name, apply).flatten();
        if let Some((pending, outcome)) = lost.filter(|(pending, _)| !pending.is_empty()) {
            let firing = self.firing(Some(name.clone()), pending);
            self.record_rule(&owner, &rule.target, firing, outcome);
        }
        self.end_what_waits_no_more();
    }

    /// The rule of this name that is at work, and its owner.
    pub(super) fn rule_of(&self, of: &Subject, name: &RuleName) -> Option<(Owner, Arc<CompiledRule>)> {
        match of {
            Subject::Workflow { project, workflow } => {
                let key = workflow_key(project, workflow);
                let compiled = self.state.definition(&key, self.workflow(&key)?.version)?;
                let rule = compiled.workflow_rules.iter().find(|rule| rule.name == *name)?;
                Some((Owner::Workflow(key), Arc::clone(rule)))
            }
            Subject::Job { execution, job } => {
                self.execution(*execution).filter(|execution| execution.status == WorkflowStatus::Running)?;
                let is_meant = |rule: &&Arc<CompiledRule>| {
                    rule.name == *name && matches!(&rule.target, Target::Job(target, _) if target == job)
                };
                let compiled = self.definition(*execution)?;
                let rule = compiled.job_rules.iter().find(is_meant)?;
                Some((Owner::Job(*execution, job.clone()), Arc::clone(rule)))
            }
        }
    }

    /// Ends executions that have nothing left to do now that a rule of theirs waits for no moment any more.
    pub(super) fn end_what_waits_no_more(&mut self) {
        for id in std::mem::take(&mut self.waits_no_more) {
            self.finish_if_done(id);
        }
    }

    /// Does and records what an evaluation led to; true if the rule fired.
    fn act(&mut self, owner: &Owner, rule: &CompiledRule, evaluation: Evaluation, hindrance: Hindrance) -> bool {
        let name = &rule.name;
        for (events, outcome) in
            [(evaluation.replaced, FiringOutcome::EventReplaced), (evaluation.expired, FiringOutcome::Expired)]
        {
            if !events.is_empty() {
                let firing = self.firing(Some(name.clone()), events.into_iter().collect());
                self.record_rule(owner, &rule.target, firing, outcome);
            }
        }
        if evaluation.is_missing {
            let used = evaluation.firings.first().map(|fired| fired.used.clone()).unwrap_or_default();
            let firing = self.firing(Some(name.clone()), used);
            self.record_rule(owner, &rule.target, firing, FiringOutcome::FieldMissing);
        }
        match evaluation.full {
            Some(Full::Operand) => self.dead_letter_of(
                owner,
                name,
                format!("an operand of rule {name} of {} already holds {OPERAND_PENDING_MAX} events", label(owner)),
            ),
            Some(Full::Keys) => self.dead_letter_of(
                owner,
                name,
                format!("rule {name} of {} already waits for {RULE_KEYS_MAX} keys", label(owner)),
            ),
            None => {}
        }
        let hindrance = hindrance
            .or((self.event.hops().max(self.seen.hops()) >= EVENT_HOPS_MAX).then_some(FiringOutcome::TooManyHops));
        let fired = !evaluation.firings.is_empty();
        for fired in evaluation.firings {
            let firing = Firing { key: fired.key, ..self.firing(Some(name.clone()), fired.used) };
            match (hindrance, owner, &rule.target) {
                (Some(outcome), ..) => self.record_rule(owner, &rule.target, firing, outcome),
                (None, Owner::Job(id, job), Target::Job(_, action)) => {
                    let request = StartRequest { params: fired.params, ..StartRequest::default() };
                    self.request_job(*id, job, *action, firing, request);
                }
                (None, Owner::Workflow(key), Target::Workflow(action)) => {
                    let of_param = rule.of_param.as_deref();
                    self.act_on_workflow(key, *action, firing, fired.params, of_param);
                }
                (None, Owner::Job(..), Target::Workflow(_)) | (None, Owner::Workflow(_), Target::Job(..)) => {}
            }
        }
        fired
    }

    /// Records what became of a firing, or of events, of a rule.
    pub(super) fn record_rule(&mut self, owner: &Owner, target: &Target, firing: Firing, outcome: FiringOutcome) {
        match (owner, target) {
            (Owner::Job(id, job), Target::Job(_, action)) => self.record_outcome(*id, job, *action, firing, outcome),
            (Owner::Workflow(key), Target::Workflow(action)) => {
                let Some((project, workflow)) = self.workflow(key).map(|w| (w.project.clone(), w.name.clone())) else {
                    return;
                };
                let action = RuleAction::Workflow(*action);
                self.record_firing(project, FiringRecord::new(workflow, firing, action, outcome));
            }
            (Owner::Job(..), Target::Workflow(_)) | (Owner::Workflow(_), Target::Job(..)) => {}
        }
    }

    /// Records the events that a rule of a workflow has seen in vain: it was changed or removed.
    pub(super) fn record_rule_changed(
        &mut self,
        key: &WorkflowKey,
        rule: RuleName,
        action: WorkflowAction,
        pending: Vec<Offset>,
    ) {
        let firing = self.firing(Some(rule), pending);
        let owner = Owner::Workflow(Arc::clone(key));
        self.record_rule(&owner, &Target::Workflow(action), firing, FiringOutcome::RuleChanged);
    }

    /// The rules of a new execution begin: some wait at once, some are to see the past, those of a rerun what they had seen.
    pub(super) fn begin_job_rules(
        &mut self,
        id: WorkflowExecutionId,
        rules: &[Arc<CompiledRule>],
        rerun: Option<&RerunPlan>,
    ) {
        let Some(project) = self.execution(id).map(|execution| execution.project.clone()) else { return };
        let begins_plainly = |rule: &CompiledRule| rerun.is_none() && rule.begins_plainly();
        for rule in rules.iter().filter(|rule| !begins_plainly(rule)) {
            if let Target::Job(job, _) = &rule.target {
                let of = Subject::Job { execution: id, job: job.clone() };
                let again = rerun.map(|plan| plan.events_of(job, &rule.name));
                if let Some(state) = self.begin_rule(&of, rule, &project, Some(id), again) {
                    self.change_rule_state(&Owner::Job(id, job.clone()), &rule.name, |new| *new = state);
                }
            }
        }
    }

    /// The statuses of the jobs that guards of the rule look at.
    fn statuses_of(&self, owner: &Owner, rule: &CompiledRule) -> BTreeMap<JobName, JobStatus> {
        let Owner::Job(id, _) = owner else {
            return BTreeMap::new();
        };
        let status_of = |job: &JobName| {
            let state = self.job_state(*id, job)?;
            match state.current {
                Some(current) => self.job(current).map(|job| job.status),
                None => state.last,
            }
        };
        rule.jobs.iter().filter_map(|job| Some((job.clone(), status_of(job)?))).collect()
    }

    pub(super) fn rule_state(&self, owner: &Owner, rule: &RuleName) -> Option<&Arc<RuleState>> {
        match owner {
            Owner::Job(id, job) => self.job_state(*id, job)?.rules.get(rule),
            Owner::Workflow(key) => self.workflow(key)?.rules.get(rule),
        }
    }

    /// Changes the state of a rule in place; an empty one is left out.
    pub(super) fn change_rule_state<T>(
        &mut self,
        owner: &Owner,
        rule: &RuleName,
        change: impl FnOnce(&mut RuleState) -> T,
    ) -> Option<T> {
        let change = |rules: &mut BTreeMap<RuleName, Arc<RuleState>>| {
            let mut state = rules.remove(rule).unwrap_or_default();
            let result = change(Arc::make_mut(&mut state));
            let has_alarm = state.alarm().is_some();
            if !state.is_empty() {
                rules.insert(rule.clone(), state);
            }
            (result, has_alarm)
        };
        let (result, has_alarm) = match owner {
            Owner::Job(id, job) => self.change_job_state(*id, job, |job| change(&mut job.rules))?,
            Owner::Workflow(key) => change(&mut self.workflow_mut(key)?.rules),
        };
        if let Owner::Job(id, _) = owner
            && !has_alarm
        {
            self.waits_no_more.insert(*id);
        }
        Some(result)
    }

    fn dead_letter_of(&mut self, owner: &Owner, rule: &RuleName, reason: String) {
        let id = format!("{}/{}/{rule}", self.seen.offset, label(owner));
        self.dead_letter(id, reason);
    }
}

/// Whose rule it is, for people: `120.0/train` or `wine/quality`.
fn label(owner: &Owner) -> String {
    match owner {
        Owner::Job(execution, job) => format!("{execution}/{job}"),
        Owner::Workflow(key) => key.to_string(),
    }
}
