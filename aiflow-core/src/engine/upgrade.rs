//! Upgrades: how does a running execution come to the latest version of its workflow?

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rules::CompiledRule;
use super::schedule::adopt;
use super::state::{Compiled, Draft, workflow_key};
use crate::execution::{FiringOutcome, RuleState, WorkflowStatus};
use crate::id::{JobName, RuleName, WorkflowExecutionId};
use crate::timer::Subject;
use crate::workflow::{Job, JobAction, Workflow};

impl Draft<'_> {
    /// Lets a running execution go on under the latest version of its workflow. What its rules have seen stays where the condition does.
    pub(super) fn upgrade_execution(&mut self, id: WorkflowExecutionId) {
        let Some(execution) = self.execution(id).filter(|execution| execution.status == WorkflowStatus::Running) else {
            return self.refuse(format!("workflow execution {id} is not running"));
        };
        let key = workflow_key(&execution.project, &execution.workflow);
        let latest = self.workflow(&key).map_or(0, |state| state.version);
        if execution.version == latest {
            return;
        }
        let compiled = |version| self.state.definition(&key, version).cloned();
        let (Some(old), Some(new)) = (compiled(execution.version), compiled(latest)) else {
            return self.refuse(format!("version {latest} of workflow {key} is not known"));
        };
        if let Some(job) = self.busy_job_without_definition(id, &new.workflow) {
            return self.refuse(format!("job {job} is live or waits, and version {latest} does not have it"));
        }
        for job in self.jobs_of(id) {
            self.adopt_job(id, &job, &old, &new);
        }
        if let Some(execution) = self.execution_mut(id) {
            execution.version = latest;
            execution.completion = new.workflow.completion();
        }
        self.note_version(&key, latest, id);
        self.begin_new_rules(id, &old, &new);
        self.begin_new_jobs(id, &old.workflow, &new);
        self.finish_if_done(id);
    }

    fn busy_job_without_definition(&self, id: WorkflowExecutionId, new: &Workflow) -> Option<JobName> {
        let is_busy = |job: &JobName| {
            let of = Subject::Job { execution: id, job: job.clone() };
            self.live_job(id, job).is_some() || !self.rows_of(&of).is_empty()
        };
        self.jobs_of(id).into_iter().find(|job| new.job(job).is_none() && is_busy(job))
    }

    /// A job comes under its new definition. What rules take along that changed or went is recorded.
    fn adopt_job(&mut self, id: WorkflowExecutionId, name: &JobName, old: &Compiled, new: &Compiled) {
        let at = (self.now(), self.event.offset);
        let schedules_of = |job: Option<&Job>| job.map(|job| job.schedules.clone()).unwrap_or_default();
        let (before, now) = (schedules_of(old.workflow.job(name)), schedules_of(new.workflow.job(name)));
        let lost = self.change_job_state(id, name, |state| {
            let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
                std::mem::take(&mut state.rules).into_iter().partition(|(rule, _)| {
                    condition(&old.workflow, name, rule)
                        .is_some_and(|then| condition(&new.workflow, name, rule).is_some_and(|now| now == then))
                });
            state.rules = kept;
            let schedules = std::mem::take(&mut state.schedules);
            state.schedules =
                adopt(Some((&before, schedules)), &now, &new.schedules, Some(name), !state.unscheduled, at);
            lost
        });
        let pending = |state: Arc<RuleState>| Some(state.pending()).filter(|pending| !pending.is_empty());
        for (rule, pending) in lost.into_iter().flatten().filter_map(|(rule, state)| Some((rule, pending(state)?))) {
            let of = |workflow: &Workflow| workflow.rules_of(name).find(|known| known.name == rule).map(|r| r.action);
            let action = of(&old.workflow).unwrap_or(JobAction::None);
            let firing = self.firing(Some(rule), pending);
            self.record_outcome(id, name, action, firing, FiringOutcome::RuleChanged);
        }
    }

    fn begin_new_rules(&mut self, id: WorkflowExecutionId, old: &Compiled, new: &Compiled) {
        let is_new = |rule: &&Arc<CompiledRule>| {
            rule.job().is_some_and(|job| {
                condition(&old.workflow, job, &rule.name) != condition(&new.workflow, job, &rule.name)
            })
        };
        let rules: Vec<Arc<CompiledRule>> = new.job_rules.iter().filter(is_new).cloned().collect();
        self.begin_job_rules(id, &rules, None);
    }

    /// Jobs that the old version did not have start if they start with an execution.
    fn begin_new_jobs(&mut self, id: WorkflowExecutionId, old: &Workflow, new: &Compiled) {
        let at = (self.now(), self.event.offset);
        let cause = self.firing(None, vec![self.event.offset]);
        for job in new.workflow.jobs.iter().filter(|job| old.job(&job.name).is_none()) {
            if !job.schedules.is_empty() {
                let schedules = adopt(None, &job.schedules, &new.schedules, Some(&job.name), true, at);
                self.change_job_state(id, &job.name, |state| state.schedules = schedules);
            }
            if new.workflow.starts_with_execution(&job.name) {
                self.create_job(id, &job.name, cause.clone(), &serde_json::Value::Null);
            }
        }
    }
}

fn condition<'w>(workflow: &'w Workflow, job: &'w JobName, rule: &RuleName) -> Option<&'w crate::workflow::Condition> {
    workflow.rules_of(job).find(|known| known.name == *rule).map(|known| &known.condition)
}
