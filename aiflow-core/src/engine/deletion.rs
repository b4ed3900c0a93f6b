//! Deleting a workflow: what ends with it, and how does it come back?

use std::sync::Arc;

use super::decision::WorkflowKey;
use super::state::Draft;
use crate::execution::RuleState;
use crate::id::RuleName;
use crate::timer::Subject;
use crate::workflow::WorkflowAction;

impl Draft<'_> {
    /// Deletes a workflow that has nothing live. What its rules had seen is forgotten, and said to be.
    pub(super) fn delete_workflow(&mut self, key: &WorkflowKey, of: &Subject) {
        match self.workflow(key).map(|state| state.deleted_at) {
            None => return self.refuse(format!("workflow {key} is not known")),
            Some(Some(_)) => return,
            Some(None) => {}
        }
        if let Some(live) = self.running_any_version(key).first() {
            return self.refuse(format!("execution {live} of workflow {key} has not ended: stop it first"));
        }
        if !self.rows_of(of).is_empty() {
            return self.refuse(format!("starts of workflow {key} wait to be admitted: stop them first"));
        }
        self.set_enabled(key, of, false);
        let now = self.now();
        let Some(state) = self.workflow_mut(key) else { return };
        state.deleted_at = Some(now);
        let forgotten = std::mem::take(&mut state.rules);
        for (rule, state) in forgotten {
            self.forget(key, rule, &state);
        }
    }

    fn forget(&mut self, key: &WorkflowKey, name: RuleName, state: &Arc<RuleState>) {
        let pending = state.pending();
        if pending.is_empty() {
            return;
        }
        let version = self.workflow(key).map(|state| state.version).unwrap_or_default();
        let action = self.state.definition(key, version).and_then(|compiled| {
            let rule = compiled.workflow.rules.iter().find(|rule| rule.name == name);
            rule.map(|rule| rule.action)
        });
        self.record_rule_changed(key, name, action.unwrap_or(WorkflowAction::Start), pending);
    }

    fn begin_rules_anew(&mut self, key: &WorkflowKey) {
        let version = self.workflow(key).map(|state| state.version).unwrap_or_default();
        let Some(compiled) = self.state.definition(key, version).cloned() else { return };
        let rules = compiled.rules(false).iter();
        let begun: Vec<_> = rules.filter_map(|rule| self.begin_workflow_rule(&compiled.workflow, rule)).collect();
        if let Some(state) = self.workflow_mut(key) {
            state.rules.extend(begun);
        }
    }

    /// Brings a deleted workflow back, enabled, with rules that have seen nothing.
    pub(super) fn restore_workflow(&mut self, key: &WorkflowKey, of: &Subject) {
        match self.workflow_mut(key) {
            Some(state) if state.deleted_at.is_some() => {
                state.deleted_at = None;
                self.begin_rules_anew(key);
                self.set_enabled(key, of, true);
            }
            Some(_) => {}
            None => self.refuse(format!("workflow {key} is not known")),
        }
    }
}
