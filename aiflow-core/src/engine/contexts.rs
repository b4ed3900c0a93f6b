//! Contexts: which executions of a workflow does the event that is seen concern?

use super::decision::{NewFiring, WorkflowKey};
use super::matching::Owner;
use super::rules::CompiledRule;
use super::state::Draft;
use crate::event::SYSTEM_NAMESPACE;
use crate::execution::{Firing, FiringOutcome, StartRequest, WorkflowExecution};
use crate::id::{JobName, WorkflowExecutionId};
use crate::workflow::{Contexts, WorkflowAction};

/// What the event that is seen is to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// It concerns it.
    Own,
    /// It concerns others.
    Other,
    /// It should say whom it concerns, and does not.
    Unsaid,
}

impl Scope {
    pub(super) fn of(
        execution: &WorkflowExecution,
        own: Option<WorkflowExecutionId>,
        contexts: Option<&Contexts>,
    ) -> Self {
        let is_concerned = match (own, contexts) {
            (Some(own), _) => own == execution.id,
            (None, Some(contexts)) => contexts.concern(execution.context.as_deref()),
            (None, None) => return Self::Unsaid,
        };
        if is_concerned { Self::Own } else { Self::Other }
    }
}

impl Draft<'_> {
    /// Whom the event that is seen concerns, as this version of the workflow says; `None` if the event should name them and does not. A
    /// moment, or a request, concerns all.
    pub(super) fn contexts_of_seen(&self, key: &WorkflowKey, version: u32) -> Option<Contexts> {
        if self.seen.namespace == SYSTEM_NAMESPACE {
            return Some(Contexts::All);
        }
        let compiled = self.state.definition(key, version);
        compiled.map_or(Some(Contexts::All), |compiled| compiled.workflow.contexts.of(self.seen))
    }

    /// Shows the event that is seen to a rule of a job, as its execution is concerned.
    pub(super) fn see_for_job(
        &mut self,
        id: WorkflowExecutionId,
        rule: &CompiledRule,
        job: &JobName,
        operands: &[usize],
    ) {
        let Some((key, version)) = self
            .execution(id)
            .map(|execution| (super::state::workflow_key(&execution.project, &execution.workflow), execution.version))
        else {
            return;
        };
        let contexts = self.contexts_of_seen(&key, version);
        self.match_job_rule(id, rule, job, operands, false, contexts.as_ref());
    }

    /// Records that an event would have counted for a rule, if it had said whom it concerns.
    pub(super) fn note_no_context(&mut self, owner: &Owner, rule: &CompiledRule, hits: &[usize]) {
        if hits.is_empty() || !self.is_meant(owner, rule) || !rule.would_count(hits, self.seen) {
            return;
        }
        if !self.is_too_early_for(self.rule_state(owner, &rule.name).map(|state| &**state)) {
            let firing = self.firing(Some(rule.name.clone()), vec![self.seen.offset]);
            self.record_rule(owner, &rule.target, firing, FiringOutcome::NoContext);
        }
    }

    /// Asks for the starts that a firing of a rule of a workflow leads to: one in each context that its event concerns.
    pub(super) fn start_in_contexts(
        &mut self,
        key: &WorkflowKey,
        action: WorkflowAction,
        firing: &Firing,
        request: &StartRequest,
    ) {
        let contexts = self.contexts_of_seen_now(key);
        let named = self.named_execution(key, &contexts).filter(|_| action == WorkflowAction::Restart);
        for context in contexts.each() {
            // What replaces an execution carries its context.
            let carried = || self.execution(named?)?.context.clone();
            let context = context.or_else(carried);
            let request = StartRequest { replaces: named, context, ..request.clone() };
            self.request_start(key, action, firing.clone(), request);
        }
    }

    /// As [`contexts_of_seen`](Self::contexts_of_seen) under the latest version. An event that does not say whom it concerns was shown to no rule.
    pub(super) fn contexts_of_seen_now(&self, key: &WorkflowKey) -> Contexts {
        let version = self.workflow(key).map_or(0, |state| state.version);
        self.contexts_of_seen(key, version).unwrap_or_default()
    }

    /// The running execution of the workflow that the event itself comes from, unless the event names others by a field.
    pub(super) fn named_execution(&self, key: &WorkflowKey, contexts: &Contexts) -> Option<WorkflowExecutionId> {
        let own = self.seen.context.workflow_execution?;
        let version = self.workflow(key)?.version;
        let says_others = *contexts != Contexts::All
            && self.state.definition(key, version).is_some_and(|compiled| !compiled.workflow.contexts.is_event());
        (!says_others && self.running_any_version(key).contains(&own)).then_some(own)
    }

    /// Whether a RESTART that waits is in one of these contexts.
    pub(super) fn waits_in(firing: &NewFiring, contexts: &Contexts) -> bool {
        contexts.concern(firing.record.request.context.as_deref())
    }

    /// Whether a rule is one of a workflow that sees nothing of an event which does not say whom it concerns.
    pub(super) fn is_unsaid(&self, key: &WorkflowKey, rule: &CompiledRule) -> bool {
        let version = || self.workflow(key).map_or(0, |state| state.version);
        rule.needs_contexts && self.contexts_of_seen(key, version()).is_none()
    }
}
