//! Why has this job not run, or not again?

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rule::{Lately, RuleExplanation};
use super::words;
use crate::execution::{FiringOutcome, JobStatus, RuleStatus, ScheduleStatus, WorkflowStatus};
use crate::id::{JobExecutionId, JobName, ScheduleName, WorkflowExecutionId, WorkflowName};
use crate::time::Timestamp;

/// How a job of a workflow execution stands, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobExplanation {
    /// The workflow execution.
    pub execution: WorkflowExecutionId,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// How the workflow execution stands.
    pub workflow_status: WorkflowStatus,
    /// The job.
    pub job: JobName,
    /// Its executions so far.
    pub runs: u32,
    /// The live one, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<JobExecutionId>,
    /// How the last one ended that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<JobStatus>,
    /// How the live one stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Whether it starts together with the workflow execution.
    pub starts_with_execution: bool,
    /// What keeps it from being started, whatever its rules have seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<String>,
    /// Its rules that start or restart it, in definition order.
    pub start_rules: Vec<RuleExplanation>,
    /// Its other rules, in definition order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_rules: Vec<RuleExplanation>,
    /// Its schedules, in definition order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleExplanation>,
    /// Starts of it that wait to be admitted, newest first, at most [`LATELY_MAX`](super::LATELY_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Lately>,
}

/// How a schedule of a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleExplanation {
    /// The schedule.
    pub schedule: ScheduleName,
    /// The schedule in words.
    pub text: String,
    /// Whether it is active.
    pub status: ScheduleStatus,
    /// Its next time, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

impl fmt::Display for JobExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { execution, workflow, workflow_status, job, .. } = self;
        write!(f, "job {job} {} in execution {execution} of {workflow}, which is {workflow_status}", self.standing())?;
        for hindrance in &self.hindrances {
            write!(f, "\n  {hindrance}")?;
        }
        for waiting in &self.waiting {
            write!(f, "\n  {waiting}")?;
        }
        if self.start_rules.is_empty() && self.schedules.is_empty() {
            f.write_str("\n  it starts together with the execution, and no rule or schedule starts it again")?;
        }
        for rule in &self.start_rules {
            match self.workflow_status.is_terminal() {
                false => write!(f, "\n  {}: {}", rule.text, what_it_waits_for(rule))?,
                true => write!(f, "\n  its rule was: {}", rule.text)?,
            }
        }
        for schedule in &self.schedules {
            write!(f, "\n  {schedule}")?;
        }
        Ok(())
    }
}

impl JobExplanation {
    fn standing(&self) -> String {
        match (self.current, self.status, self.runs, self.last) {
            (Some(current), Some(status), ..) => format!("is {status} (execution {current})"),
            (Some(current), None, ..) => format!("is live (execution {current})"),
            (None, _, 0, _) => "has not run".to_owned(),
            (None, _, 1, Some(last)) => format!("has run once and ended {last}"),
            (None, _, runs, Some(last)) => format!("has run {runs} times and ended {last} the last time"),
            (None, _, runs, None) => format!("has run {runs} times"),
        }
    }
}

fn what_it_waits_for(rule: &RuleExplanation) -> String {
    match rule.status {
        RuleStatus::Active => {}
        RuleStatus::Paused => return "is paused".to_owned(),
        RuleStatus::Removed => return "was removed".to_owned(),
    }
    let mut said: Vec<String> = Vec::new();
    if rule.catch_up.as_ref().is_some_and(|catch_up| !catch_up.is_done) {
        said.push("catches up with the events before it".to_owned());
    }
    match rule.keys.as_slice() {
        [] => said.push("has seen no event yet".to_owned()),
        [key] => {
            if !key.missing.is_empty() {
                said.push(format!("waits for {}", words::join(&key.missing, "and")));
            }
            said.extend(key.held_back.iter().map(|why| format!("held back: {why}")));
        }
        keys => said
            .push(format!("waits for {} keys, see explain_job_rule", keys.len().saturating_add(rule.n_keys_left_out))),
    }
    // What waits to be admitted is told of the job.
    let lately = rule.lately.first().filter(|lately| lately.outcome != FiringOutcome::Waiting);
    said.extend(lately.map(|lately| format!("lately {lately}")));
    if said.is_empty() { "is met, and fires with the next event that concerns it".to_owned() } else { said.join("; ") }
}

impl fmt::Display for ScheduleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedule, text, status, next } = self;
        write!(f, "schedule {schedule}, {text}: ")?;
        match (status, next) {
            (ScheduleStatus::Paused, _) => f.write_str("is paused"),
            (ScheduleStatus::Deleted, _) => f.write_str("was deleted"),
            (ScheduleStatus::Active, Some(next)) => write!(f, "comes next at {}", next.to_rfc3339()),
            (ScheduleStatus::Active, None) => f.write_str("has no time to come"),
        }
    }
}
