//! Rules at work: what waits at them, and how are they paused, cleared and removed?

use super::AiFlow;
use crate::control::Control;
use crate::error::Result;
use crate::execution::{RuleChange, RuleState};
use crate::id::{JobName, Offset, RuleName, WorkflowExecutionId, WorkflowName};
use crate::timer::Subject;

impl AiFlow {
    /// What a rule of a workflow has seen and still waits with: the events pending at each operand and key, and its moments. `None` if that
    /// is nothing, or no scheduler has seen the workflow.
    ///
    /// # Errors
    /// `Invalid` if a name is not well formed; others are those of the store.
    pub async fn rule_state(&self, workflow: impl AsRef<str>, rule: impl AsRef<str>) -> Result<Option<RuleState>> {
        let rule = RuleName::parse(rule)?;
        let state = self.workflow(workflow).await?;
        Ok(state.and_then(|state| state.rules.get(&rule).map(|state| RuleState::clone(state))))
    }

    /// As [`rule_state`](Self::rule_state), for a rule of a job in a running workflow execution.
    ///
    /// # Errors
    /// As [`rule_state`](Self::rule_state).
    pub async fn job_rule_state(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        rule: impl AsRef<str>,
    ) -> Result<Option<RuleState>> {
        let (job, rule) = (JobName::parse(job)?, RuleName::parse(rule)?);
        let found = self.job_state(execution, &job).await?;
        Ok(found.and_then(|job| job.rules.get(&rule).map(|state| RuleState::clone(state))))
    }

    /// Pauses, resumes, clears or removes a rule of a workflow. It stays so until the workflow is submitted without the rule, or with another
    /// condition of it. Returns the offset of the request.
    ///
    /// To add or replace rules, submit the workflow with them: the others keep what they have seen.
    ///
    /// # Errors
    /// `Invalid` if a name is not well formed; others are those of the log. A request that the scheduler refuses becomes a
    /// [dead letter](Self::dead_letter) under its offset.
    pub async fn change_rule(
        &self,
        workflow: impl AsRef<str>,
        rule: impl AsRef<str>,
        change: RuleChange,
    ) -> Result<Offset> {
        let of = Subject::Workflow { project: self.project_name().clone(), workflow: WorkflowName::parse(workflow)? };
        self.control(Control::ActOnRule { of, rule: RuleName::parse(rule)?, change }).await
    }

    /// Pauses, resumes, clears or removes a rule of a job in a running workflow execution, until that ends. Returns the offset of the request.
    ///
    /// To add or replace rules, submit the workflow with them and [upgrade](Self::upgrade) the execution.
    ///
    /// # Errors
    /// As [`change_rule`](Self::change_rule).
    pub async fn change_job_rule(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        rule: impl AsRef<str>,
        change: RuleChange,
    ) -> Result<Offset> {
        let of = Subject::Job { execution, job: JobName::parse(job)? };
        self.control(Control::ActOnRule { of, rule: RuleName::parse(rule)?, change }).await
    }
}
