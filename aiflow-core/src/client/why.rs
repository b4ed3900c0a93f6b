//! Why has this not run? Reads how rules, schedules and admission of a workflow or a job stand.

use std::collections::BTreeMap;

use super::AiFlow;
use super::why_ran::known_job;
use crate::error::{Error, Result};
use crate::execution::{
    FiringOutcome, FiringRecord, JobExecution, JobState, JobStatus, KIND_FIRING, KIND_JOB_EXECUTION, Pause, PoolUse,
    RuleState, RuleStatus, ScheduleStatus, Slots, WorkflowExecution, WorkflowStatus,
};
use crate::id::{JobName, RuleName, WorkflowExecutionId};
use crate::records::{FIRING_WAITING, body_of, firing_of, workflow_id};
use crate::store::{PAGE_ROWS_MAX, Query, Record};
use crate::timer::{JobTimer, Subject};
use crate::why::{
    Circumstances, EXPLAIN_KEYS_MAX, JobExplanation, KeyExplanation, LATELY_MAX, Lately, RuleExplanation,
    SHOWN_EVENTS_MAX, ScheduleExplanation, explain_key,
};
use crate::workflow::{Condition, JobAction, SchedulingRule, WorkflowAction};

impl AiFlow {
    /// How a rule of a workflow stands: which events wait at which part of its condition and since when, what is missing, what holds it back,
    /// and what lately became of its firings. With `key`, only what it has seen of this key of its `for_each`.
    ///
    /// It speaks of the version in use. What waits can be cleared with [`change_rule`](Self::change_rule).
    ///
    /// # Errors
    /// `NotFound`: no scheduler has seen the workflow, or its version in use has no such rule. `Invalid` if a name is not well formed; others
    /// are those of the store.
    pub async fn explain_rule(
        &self,
        workflow: impl AsRef<str>,
        rule: impl AsRef<str>,
        key: Option<&str>,
    ) -> Result<RuleExplanation> {
        let rule = RuleName::parse(rule)?;
        let (state, definition) = self.workflow_in_use(workflow.as_ref()).await?;
        let found = definition.rules.iter().find(|found| found.name == rule).ok_or_else(|| no_rule(&rule))?;
        let mut hindrances = Vec::new();
        if !state.enabled && found.action != WorkflowAction::Stop {
            hindrances.push("its workflow is disabled: events do not count until it is enabled".to_owned());
        }
        let statuses = BTreeMap::new();
        let present = Circumstances { now: self.clock().now(), statuses: &statuses };
        let seen = state.rules.get(&rule).map(|state| &**state);
        let of = Subject::Workflow { project: state.project.clone(), workflow: state.name.clone() };
        let query = Query::kind(KIND_FIRING).parent(workflow_id(&state.project, &state.name));
        let lately = self.lately(query, |record| is_of(record, &rule, key)).await?;
        Ok(explained(of, format!("{found:#}"), &rule, &found.condition, seen, key, present, hindrances, lately))
    }

    /// As [`explain_rule`](Self::explain_rule), for a rule of a job in a workflow execution.
    ///
    /// # Errors
    /// `NotFound`: there is no such workflow execution, job or rule. Others as of [`explain_rule`](Self::explain_rule).
    pub async fn explain_job_rule(
        &self,
        execution: WorkflowExecutionId,
        job: impl AsRef<str>,
        rule: impl AsRef<str>,
        key: Option<&str>,
    ) -> Result<RuleExplanation> {
        let (job, rule) = (JobName::parse(job)?, RuleName::parse(rule)?);
        let found = self.execution_to_explain(execution).await?;
        let definition = self.definition(found.workflow.as_str(), found.version).await?;
        known_job(&definition, &job)?;
        let of_job = definition.rules_of(&job).find(|found| found.name == rule).ok_or_else(|| no_rule(&rule))?;
        let state = self.job_state(execution, &job).await?;
        let statuses = self.statuses_of(&found, &of_job.condition).await?;
        self.job_rule(&found, &job, state.as_ref(), of_job, key, &statuses).await
    }

    /// Why a job of a workflow execution has not run, or not again: whether the execution is live, what each rule that starts it waits for,
    /// when its schedules come, and which starts wait to be admitted and why.
    ///
    /// Displayed, it answers in a few lines:
    ///
    /// ```text
    /// job inference has not run in execution 12.0 of quality, which is RUNNING
    ///   RESTART when model(wine) DEPLOYED: waits for model(wine) DEPLOYED
    /// ```
    ///
    /// # Errors
    /// `NotFound`: there is no such workflow execution or job. `Invalid` if the name is not well formed; others are those of the store.
    pub async fn explain_job(&self, execution: WorkflowExecutionId, job: impl AsRef<str>) -> Result<JobExplanation> {
        let job = JobName::parse(job)?;
        let found = self.execution_to_explain(execution).await?;
        let definition = self.definition(found.workflow.as_str(), found.version).await?;
        known_job(&definition, &job)?;
        let state = self.job_state(execution, &job).await?;
        let (runs, current, last) =
            state.as_ref().map_or((0, None, None), |state| (state.runs, state.current, state.last));
        let live = match current {
            Some(current) => self.job_execution(current).await?,
            None => None,
        };
        let mut hindrances = hindrances_of(&found, state.as_ref());
        hindrances.extend(live.iter().flat_map(attempt_waits_for));
        if let Some(live) = &live {
            hindrances.extend(self.waits_for_host(live).await?);
        }
        let (mut start_rules, mut other_rules) = (Vec::new(), Vec::new());
        for rule in definition.rules_of(&job) {
            let statuses = self.statuses_of(&found, &rule.condition).await?;
            let explained = self.job_rule(&found, &job, state.as_ref(), rule, None, &statuses).await?;
            match rule.action {
                JobAction::Start | JobAction::Restart => start_rules.push(explained),
                JobAction::Stop | JobAction::Signal | JobAction::None => other_rules.push(explained),
            }
        }
        let states = state.as_ref().map(|state| &state.schedules);
        let of_job = definition.job(&job).map(|job| job.schedules.as_slice()).unwrap_or_default();
        let schedules = of_job.iter().map(|schedule| {
            let state = states.and_then(|states| states.get(&schedule.name));
            ScheduleExplanation {
                schedule: schedule.name.clone(),
                text: schedule.to_string(),
                status: state.map_or(ScheduleStatus::Active, |state| state.status),
                next: state.and_then(|state| state.next).map(|next| next.time),
            }
        });
        let waiting =
            Query::kind(KIND_FIRING).parent(execution.to_string()).name(job.as_str()).states([FIRING_WAITING]);
        Ok(JobExplanation {
            execution,
            workflow: found.workflow.clone(),
            workflow_status: found.status,
            runs,
            current,
            last,
            status: live.map(|live| live.status),
            starts_with_execution: definition.starts_with_execution(&job),
            hindrances,
            start_rules,
            other_rules,
            schedules: schedules.collect(),
            waiting: self.lately(waiting, |_| true).await?,
            job,
        })
    }

    async fn execution_to_explain(&self, execution: WorkflowExecutionId) -> Result<WorkflowExecution> {
        self.execution(execution).await?.ok_or_else(|| {
            Error::not_found("explain", "there is no such workflow execution").with("execution", execution)
        })
    }

    async fn job_rule(
        &self,
        execution: &WorkflowExecution,
        job: &JobName,
        state: Option<&JobState>,
        rule: &SchedulingRule,
        key: Option<&str>,
        statuses: &BTreeMap<JobName, JobStatus>,
    ) -> Result<RuleExplanation> {
        let present = Circumstances { now: self.clock().now(), statuses };
        let seen = state.and_then(|state| state.rules.get(&rule.name)).map(|state| &**state);
        let of_job = |kind: &str| Query::kind(kind).parent(execution.id.to_string()).name(job.as_str());
        let mut lately = self.lately(of_job(KIND_FIRING), |record| is_of(record, &rule.name, key)).await?;
        // What was started at once left no record but the execution itself.
        let started = self.store().query(&of_job(KIND_JOB_EXECUTION).newest_first().limit(PAGE_ROWS_MAX)).await?;
        let started: Result<Vec<JobExecution>> = started.items.iter().map(body_of).collect();
        let started = started?.into_iter().filter(|ran| {
            ran.cause.rule.as_ref() == Some(&rule.name) && key.is_none_or(|key| ran.cause.key.as_deref() == Some(key))
        });
        for ran in started {
            match lately.iter_mut().find(|lately| lately.outcome == FiringOutcome::Started && is_cause(lately, &ran)) {
                Some(admitted) => admitted.execution = Some(ran.id.to_string()),
                None => lately.push(late_start(&ran)),
            }
        }
        lately.sort_by_key(|lately| std::cmp::Reverse(lately.at));
        lately.truncate(LATELY_MAX);
        let of = Subject::Job { execution: execution.id, job: job.clone() };
        let hindrances = hindrances_of(execution, state);
        // With the end of its execution, a rule has forgotten what it had seen.
        if execution.status.is_terminal() {
            let (text, rule) = (format!("{rule:#}"), rule.name.clone());
            let (status, for_each, keys, n_keys_left_out) = (RuleStatus::Active, None, Vec::new(), 0);
            return Ok(RuleExplanation {
                of,
                rule,
                text,
                status,
                catch_up: None,
                hindrances,
                for_each,
                keys,
                n_keys_left_out,
                lately,
            });
        }
        Ok(explained(of, format!("{rule:#}"), &rule.name, &rule.condition, seen, key, present, hindrances, lately))
    }

    /// The newest records of firings that are meant.
    async fn lately(&self, query: Query, is_meant: impl Fn(&FiringRecord) -> bool) -> Result<Vec<Lately>> {
        let page = self.store().query(&query.newest_first().limit(PAGE_ROWS_MAX)).await?;
        let mut found = Vec::new();
        for record in &page.items {
            let lately = late_firing(record, &is_meant)?;
            found.extend(lately);
            if found.len() >= LATELY_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// The statuses of the jobs that guards of a condition look at.
    async fn statuses_of(
        &self,
        execution: &WorkflowExecution,
        condition: &Condition,
    ) -> Result<BTreeMap<JobName, JobStatus>> {
        let mut statuses = BTreeMap::new();
        for job in condition.jobs() {
            let Some(state) = self.job_state(execution.id, job).await? else { continue };
            let status = match state.current {
                Some(current) => self.job_execution(current).await?.map(|current| current.status),
                None => state.last,
            };
            statuses.extend(status.map(|status| (job.clone(), status)));
        }
        Ok(statuses)
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of what it makes")]
fn explained(
    of: Subject,
    text: String,
    rule: &RuleName,
    condition: &Condition,
    seen: Option<&RuleState>,
    key: Option<&str>,
    present: Circumstances<'_>,
    hindrances: Vec<String>,
    lately: Vec<Lately>,
) -> RuleExplanation {
    let nothing = RuleState::default();
    let seen = seen.unwrap_or(&nothing);
    let for_each = match condition {
        Condition::ForEach { key, .. } => Some(key.to_string()),
        _ => None,
    };
    let of_key = |name: &str| {
        let state = seen.keys.get(name).map(|state| &**state).unwrap_or(&nothing.whole);
        explain_key(condition, state, Some(name.to_owned()), present)
    };
    let keys: Vec<KeyExplanation> = match (&for_each, key) {
        (None, _) => vec![explain_key(condition, &seen.whole, None, present)],
        (Some(_), Some(key)) => vec![of_key(key)],
        (Some(_), None) => seen.keys.keys().take(EXPLAIN_KEYS_MAX).map(|key| of_key(key)).collect(),
    };
    let n_keys_left_out = match (&for_each, key) {
        (Some(_), None) => seen.keys.len().saturating_sub(keys.len()),
        _ => 0,
    };
    let keys = if seen.status == RuleStatus::Removed { Vec::new() } else { keys };
    RuleExplanation {
        of,
        rule: rule.clone(),
        text,
        status: seen.status,
        catch_up: seen.catch_up.clone(),
        hindrances,
        for_each,
        keys,
        n_keys_left_out,
        lately,
    }
}

/// What keeps a job of an execution from being started.
fn hindrances_of(execution: &WorkflowExecution, job: Option<&JobState>) -> Vec<String> {
    let WorkflowExecution { id, status, paused, .. } = execution;
    let mut hindrances = Vec::new();
    match status {
        WorkflowStatus::Running => {}
        WorkflowStatus::Stopping => {
            hindrances.push(format!("execution {id} is being stopped: nothing in it starts any more"));
        }
        status => hindrances.push(format!("execution {id} has ended ({status}): nothing in it starts any more")),
    }
    if let Some(Pause { by, reason, .. }) = paused {
        let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        hindrances.push(format!(
            "execution {id} is paused since event {by}{why}: what would start waits until it is resumed"
        ));
    }
    if job.is_some_and(|job| job.unscheduled) {
        hindrances.push("its scheduling is stopped: events and times do not count until it is resumed".to_owned());
    }
    hindrances
}

/// What the next attempt of a live job execution waits for.
fn attempt_waits_for(live: &JobExecution) -> Vec<String> {
    let mut waits = Vec::new();
    if live.held {
        waits.push("its next attempt waits until the execution is resumed".to_owned());
    }
    if let Some(Slots { of: PoolUse { pool, weight }, waiting: true, .. }) = &live.slots {
        waits.push(format!("its next attempt waits for free slots of pool {pool}: it takes {weight}"));
    }
    if let Some(retry) = live.due.get(&JobTimer::Retry) {
        waits.push(format!("its next attempt waits until {}", retry.to_rfc3339()));
    }
    waits
}

fn is_of(record: &FiringRecord, rule: &RuleName, key: Option<&str>) -> bool {
    record.firing.rule.as_ref() == Some(rule) && key.is_none_or(|key| record.firing.key.as_deref() == Some(key))
}

fn is_cause(lately: &Lately, ran: &JobExecution) -> bool {
    lately.n_events == ran.cause.events.len() && ran.cause.events.starts_with(&lately.events)
}

fn late_firing(record: &Record, is_meant: impl Fn(&FiringRecord) -> bool) -> Result<Option<Lately>> {
    let firing = firing_of(record)?;
    if !is_meant(&firing.record) {
        return Ok(None);
    }
    let FiringRecord { firing: cause, outcome, request, waits, steps, .. } = firing.record;
    let by = cause.rule.map(|rule| rule.to_string()).or(cause.schedule.map(|time| time.schedule.to_string()));
    let n_events = cause.events.len();
    let mut events = cause.events;
    events.truncate(SHOWN_EVENTS_MAX);
    let execution = request.execution.filter(|_| outcome == FiringOutcome::Started).map(|id| id.to_string());
    Ok(Some(Lately { at: firing.id.cause, by, key: cause.key, events, n_events, outcome, execution, steps, waits }))
}

fn late_start(ran: &JobExecution) -> Lately {
    let mut events = ran.cause.events.clone();
    events.truncate(SHOWN_EVENTS_MAX);
    Lately {
        at: ran.id.cause,
        by: ran.cause.rule.as_ref().map(ToString::to_string),
        key: ran.cause.key.clone(),
        events,
        n_events: ran.cause.events.len(),
        outcome: FiringOutcome::Started,
        execution: Some(ran.id.to_string()),
        steps: Vec::new(),
        waits: None,
    }
}

fn no_rule(rule: &RuleName) -> Error {
    Error::not_found("explain", "there is no such rule").with("rule", rule)
}
