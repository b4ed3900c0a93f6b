//! The workload of a world: which workflows are there?
//!
//! Conditions only look at user events and at jobs and workflows defined earlier, so that every world comes to rest.

use std::time::Duration;

use aiflow_core::engine::{CustomCondition, CustomConditions, Verdict};
use aiflow_core::event::{Event, SYSTEM_NAMESPACE};
use aiflow_core::execution::{JobStatus, PoolUse, WorkflowStatus};
use aiflow_core::id::{ExecutorName, HostLabel, JobName, Offset, PoolName, ProjectName, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{
    Admission, Comparison, Completion, Condition, ContextOf, ControlEdge, Deadline, Diagnostic, FailureTest, Field,
    Hook, HookOn, Job, JobAction, KeyOf, Misfire, OverlapPolicy, Rate, RestartPolicy, RetryPolicy, Schedule,
    SchedulingRule, StartPosition, Window, Workflow, WorkflowAction, WorkflowRule, absent, absent_after, at_least,
    count, cron, custom, every, field, job_status, not_within, on, optional, sequence, workflow_status,
};
use serde_json::Value;

use super::executor::{Behaviour, DURABLE, VOLATILE};
use super::process::WORLD_BEGINS;
use crate::rng::Rng;

/// The one project of a world.
pub(super) const PROJECT: &str = "wine";
pub(super) const KEYS: [&str; 5] = ["samples", "labels", "model.red", "model.white", "go"];
pub(super) const VALUES: [&str; 3] = ["ready", "bad", "7"];
/// A label that one of the hosts has.
pub(super) const LABEL: &str = "gpu";
/// Name of the custom condition.
pub(super) const CUSTOM: &str = "every so many";

pub(super) fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> Option<T> {
    let index = rng.below(u64::try_from(of.len()).ok()?);
    of.get(usize::try_from(index).ok()?).copied()
}

pub(super) fn number(rng: &mut Rng, min: u32, max: u32) -> u32 {
    min + u32::try_from(rng.below(u64::from(max - min) + 1)).unwrap_or(0)
}

pub(super) fn millis(rng: &mut Rng, max: u64) -> Duration {
    Duration::from_millis(rng.below(max + 1))
}

pub(super) fn project() -> ProjectName {
    ProjectName::parse(PROJECT).expect("a constant name")
}

pub(super) fn workflow_name(index: u32) -> WorkflowName {
    WorkflowName::parse(format!("w{index}")).expect("a letter and digits")
}

pub(super) fn job_name(index: u32) -> JobName {
    JobName::parse(format!("j{index}")).expect("a letter and digits")
}

/// The label by which users may name a context.
pub(super) const TENANT_LABEL: &str = "tenant";

/// Workflow number `index`, drawn anew with each call: re-submission changes jobs and rules.
pub(super) fn workflow(rng: &mut Rng, index: u32) -> Workflow {
    let mut workflow = Workflow::new(project(), workflow_name(index));
    if rng.chance(20) {
        workflow.deadline = Some(Duration::from_millis(1 + rng.below(3_000)));
        workflow.hooks.push(Hook::new(HookOn::End, "over"));
    }
    let n_jobs = number(rng, 1, 5);
    for j in 0..n_jobs {
        let job = job(rng, index, j);
        let name = job.name.clone();
        workflow.jobs.push(job);
        // A job without rules starts with its execution.
        let n_rules = if rng.chance(40) { 0 } else { number(rng, 1, 3) };
        for r in 0..n_rules {
            let condition = condition(rng, index, j, 0);
            let action = one_of(
                rng,
                &[
                    JobAction::Start,
                    JobAction::Start,
                    JobAction::Start,
                    JobAction::Restart,
                    JobAction::Signal,
                    JobAction::Stop,
                    JobAction::None,
                ],
            );
            let mut rule = SchedulingRule::new(condition, action.unwrap_or(JobAction::Start));
            rule.from = start_position(rng);
            let rule =
                if rng.chance(50) { rule.named(format!("r{r}").parse().expect("a letter and digits")) } else { rule };
            if workflow.rules_of(&name).all(|other| other.name != rule.name) {
                workflow.control_edges.push(ControlEdge { job: name.clone(), rule });
            }
        }
    }
    for _ in 0..number(rng, 0, 2) {
        let earlier = (index > 0).then(|| number(rng, 0, index - 1));
        let condition = match earlier {
            Some(earlier) if rng.chance(40) => {
                let status = one_of(rng, &[WorkflowStatus::Succeeded, WorkflowStatus::Failed, WorkflowStatus::Stopped]);
                workflow_status(&workflow_name(earlier), status.unwrap_or(WorkflowStatus::Succeeded)).into()
            }
            Some(earlier) if rng.chance(30) => on(format!("out.w{earlier}.*")).into(),
            _ if rng.chance(25) => {
                let both = [user_pattern(rng), user_pattern(rng)];
                at_least(2, both).within(millis(rng, 2_000) + Duration::from_millis(1)).for_each(KeyOf::Key)
            }
            _ => Condition::from(user_pattern(rng)),
        };
        let action = match rng.below(20) {
            0..13 => WorkflowAction::Start,
            13..17 => WorkflowAction::Stop,
            _ => WorkflowAction::Restart,
        };
        let rule = WorkflowRule { from: start_position(rng), ..WorkflowRule::new(condition, action) };
        // What a firing takes forms the keys of admission.
        let takes = action != WorkflowAction::Stop && rng.chance(30);
        let rule = if takes { rule.param("order", field("")).param("sequence", Field::Offset) } else { rule };
        let rule = if action == WorkflowAction::Stop { rule } else { rule.param("topic", Field::Key) };
        let tells_apart = action != WorkflowAction::Start && matches!(rule.condition, Condition::ForEach { .. });
        let rule = if tells_apart && rng.chance(60) { rule.of("topic") } else { rule };
        if workflow.rules.iter().all(|other| other.name != rule.name) {
            workflow.rules.push(rule);
        }
    }
    if rng.chance(35) {
        workflow.schedules.push(schedule(rng));
    }
    if rng.chance(40) {
        workflow.admission = admission(rng, false);
    }
    // Not drawn: it is the same in every version, so that what an event has served can be checked.
    let tenant = || ContextOf::from(Field::Label(TENANT_LABEL.to_owned()));
    workflow.contexts = match index % 3 {
        1 => tenant().or_all(),
        2 => tenant(),
        _ => ContextOf::Event,
    };
    if rng.chance(40) {
        workflow.completion = one_of(rng, &[Completion::Idle, Completion::Standing]);
    }
    workflow
}

/// Whether an event without an execution concerns executions of a workflow with this context, in other words than the engine's.
pub(super) fn concerns(workflow: &WorkflowName, event: &Event, carried: Option<&str>) -> bool {
    // The moment at which a wait began, or came to its end, is nobody's.
    if event.namespace == SYSTEM_NAMESPACE {
        return true;
    }
    let tenant = event.context.labels.get(TENANT_LABEL).map(String::as_str);
    match (workflow.as_str(), tenant) {
        ("w1" | "w2", Some(tenant)) => carried == Some(tenant),
        ("w1", None) => true,
        ("w2", None) => false,
        _ => {
            let named = &event.context.contexts;
            named.is_empty() || carried.is_some_and(|carried| named.contains(carried))
        }
    }
}

/// Mostly now; the other rules catch up with a part of the log, which is short while there are few submissions.
fn start_position(rng: &mut Rng) -> StartPosition {
    match rng.below(20) {
        0 => StartPosition::Offset(Offset(rng.below(60))),
        1 => StartPosition::LatestPerKey,
        _ => StartPosition::Now,
    }
}

/// Times that come within the first seconds of a world, and then no more.
fn schedule(rng: &mut Rng) -> Schedule {
    let schedule = if rng.chance(30) {
        let zone = one_of(rng, &["UTC", "Europe/Berlin", "Asia/Kathmandu"]);
        cron(format!("*/{} * * * * *", number(rng, 1, 3))).time_zone(zone.unwrap_or("UTC"))
    } else {
        every(Duration::from_millis(300 + rng.below(3_000)))
    };
    let misfires = [Misfire::Skip, Misfire::Once, Misfire::Once, Misfire::All { max: 2 }, Misfire::All { max: 1_000 }];
    let jitter = if rng.chance(70) { Duration::ZERO } else { millis(rng, 1_000) };
    schedule
        .ending(Timestamp::from_millis(WORLD_BEGINS) + millis(rng, 12_000))
        .jitter(jitter)
        .misfire(one_of(rng, &misfires).unwrap_or_default())
        .misfire_grace(millis(rng, 3_000))
        .overlap(one_of(rng, &OverlapPolicy::ALL).unwrap_or(OverlapPolicy::Skip))
}

fn job(rng: &mut Rng, workflow: u32, index: u32) -> Job {
    let streams = rng.chance(15);
    let behaviour = Behaviour {
        millis: if rng.chance(30) { 0 } else { rng.below(2_000) },
        fails_first: if rng.chance(30) { number(rng, 1, 3) } else { 0 },
        fails: rng.chance(10),
        events: if rng.chance(30) { number(rng, 1, 3) } else { 0 },
        key: format!("out.w{workflow}.{}", number(rng, index, index + 1)),
        ignores_stop: rng.chance(20),
        streams,
        is_invalid: rng.chance(3),
        checkpoints: if rng.chance(30) { number(rng, 1, 3) } else { 0 },
        signals: one_of(rng, &["take", "drop", ""]).unwrap_or_default().to_owned(),
    };
    let executor = match rng.below(40) {
        0 => "missing",
        n if n % 2 == 0 => VOLATILE,
        _ => DURABLE,
    };
    let executor = ExecutorName::parse(executor).expect("a constant name");
    let mut job = Job::new(job_name(index), executor, behaviour.to_spec());
    job.streaming = streams;
    if rng.chance(8) && job.executor.as_str() == VOLATILE {
        job.runs_on.extend(HostLabel::parse(LABEL));
    }
    if !streams && rng.chance(25) {
        job.admission.pool = Some(PoolUse { pool: pool(), weight: number(rng, 1, 3) });
        job.admission.priority = i32::from(rng.chance(30));
    }
    if rng.chance(15) {
        let schedule = schedule(rng);
        job.schedules.push(if rng.chance(40) { schedule.restart() } else { schedule });
    }
    job.ack_within = Duration::from_millis(1 + rng.below(1_500));
    let restarts = streams && rng.chance(50);
    if restarts {
        job.restart = RestartPolicy::on_failure(millis(rng, 800)).restarts_max(number(rng, 0, 2));
    } else if rng.chance(50) {
        let backoff = if rng.chance(30) { Duration::ZERO } else { millis(rng, 800) };
        job.retry = if rng.chance(50) {
            RetryPolicy::fixed(number(rng, 1, 4), backoff)
        } else {
            RetryPolicy::exponential(number(rng, 1, 4), backoff)
        };
        if rng.chance(30) {
            job.retry = job.retry.jitter(50);
        }
        if rng.chance(30) {
            let tests = [FailureTest::exit_code(70), FailureTest::kind("io.*"), FailureTest::timed_out()];
            let test = one_of(rng, &[0, 1, 2]).and_then(|n: usize| tests.get(n).cloned());
            job.retry = if rng.chance(50) { job.retry.retry_on(test) } else { job.retry.no_retry_on(test) };
        }
    }
    if rng.chance(20) {
        let after = Duration::from_millis(1 + rng.below(3_000));
        let of_job = rng.chance(50);
        job.deadline = Some(if of_job { Deadline::after_start(after) } else { Deadline::after_execution_start(after) });
    }
    if rng.chance(20) {
        let hook = one_of(rng, &[HookOn::Success, HookOn::Failure, HookOn::Stop, HookOn::End]);
        let hook = hook.map(|on| Hook::new(on, format!("out.w{workflow}.{index}")));
        job.hooks.extend(hook.map(|hook| if rng.chance(30) { hook.broadcast() } else { hook }));
    }
    if rng.chance(20) {
        job.queue_timeout = Some(Duration::from_millis(1 + rng.below(1_500)));
    }
    if streams && rng.chance(50) {
        job.start_timeout = Some(Duration::from_millis(1 + rng.below(1_500)));
    }
    if rng.chance(30) {
        job.timeout = Some(Duration::from_millis(1 + rng.below(1_500)));
    }
    if rng.chance(20) {
        job.admission = admission(rng, true);
    }
    // A stream that becomes healthy before each of its time limits would be restarted for ever.
    if restarts && job.timeout.is_none() && job.start_timeout.is_none() {
        job.restart.healthy_after = millis(rng, 2_000);
    }
    job.stop_grace = if rng.chance(20) { Duration::ZERO } else { millis(rng, 2_000) };
    job
}

/// Some stages of admission, each with numbers small enough to be felt. Rates and waits end within the calm.
fn admission(rng: &mut Rng, is_job: bool) -> Admission {
    let mut admission = Admission::new();
    if rng.chance(20) {
        admission = admission.once_per(["order"], Duration::from_millis(1 + rng.below(3_000)));
    }
    if rng.chance(20) {
        admission = admission.rate_limit(Rate::of(number(rng, 1, 3), Duration::from_millis(1 + rng.below(2_000))));
    }
    if rng.chance(30) {
        let quiet = Duration::from_millis(1 + rng.below(1_000));
        let longest = rng.chance(50).then(|| quiet + Duration::from_millis(rng.below(1_000)));
        admission = admission.debounce(quiet, longest);
    }
    if rng.chance(30) {
        admission = admission.batch(number(rng, 1, 4), Duration::from_millis(1 + rng.below(1_500)));
    }
    if rng.chance(30) {
        admission = admission.throttle(Rate::of(number(rng, 1, 2), Duration::from_millis(1 + rng.below(1_000))));
    }
    if rng.chance(40) && !is_job {
        admission = admission.concurrency(number(rng, 1, 2));
    }
    if rng.chance(40) {
        // Everything but allow_all, which no concurrency limit may be combined with.
        let policies = &OverlapPolicy::ALL[..5];
        admission = admission.overlap(one_of(rng, policies).unwrap_or(OverlapPolicy::Skip));
    }
    if rng.chance(30) { admission.per(["order"]) } else { admission.priority(if rng.chance(50) { 1 } else { 0 }) }
}

fn user_pattern(rng: &mut Rng) -> aiflow_core::workflow::EventPattern {
    let key = match rng.below(10) {
        0 => "*",
        1 => "model.*",
        _ => one_of(rng, &KEYS).unwrap_or("go"),
    };
    // Only users send so: a pattern for any key must not see what the scheduler itself says.
    let pattern = on(key).sender("user*");
    // A text cannot be compared with a number: a dead letter of the rule.
    let pattern = match rng.below(20) {
        0..6 => pattern.equals("ready"),
        6 => pattern.compares(Comparison::Less, 5),
        _ => pattern,
    };
    match rng.below(20) {
        0..4 => pattern.repeated(),
        4..7 => pattern.latest(),
        _ => pattern,
    }
}

/// A condition for job `job`: over user events, and over what earlier jobs do.
fn condition(rng: &mut Rng, workflow: u32, job: u32, depth: u32) -> Condition {
    match rng.below(if depth < 2 { 10 } else { 7 }) {
        0..3 => user_pattern(rng).into(),
        3..6 if job > 0 => {
            let earlier = job_name(number(rng, 0, job - 1));
            let statuses = [
                JobStatus::Succeeded,
                JobStatus::Succeeded,
                JobStatus::Running,
                JobStatus::Failed,
                JobStatus::Stopped,
                JobStatus::Ready,
                JobStatus::Retrying,
            ];
            job_status(&earlier, one_of(rng, &statuses).unwrap_or(JobStatus::Succeeded))
        }
        6 if job > 0 => on(format!("out.w{workflow}.{}", job - 1)).into(),
        n if n >= 7 => {
            let operands: Vec<Condition> =
                (0..number(rng, 1, 3)).map(|_| condition(rng, workflow, job, depth + 1)).collect();
            combined(rng, operands)
        }
        _ => user_pattern(rng).into(),
    }
}

/// The operands under one of the operators.
fn combined(rng: &mut Rng, operands: Vec<Condition>) -> Condition {
    match rng.below(12) {
        0..3 => Condition::All(operands),
        3..5 => Condition::Any(operands),
        5 => sequence(operands),
        6 => at_least(operands.len().min(2), operands),
        7 => count(2, Condition::Any(operands)),
        8 if rng.chance(50) => Condition::Any(operands).within(Window::tumbling(Duration::from_millis(700))),
        8 => Condition::All(operands).within(millis(rng, 1_500) + Duration::from_millis(1)),
        9 => {
            let wait = millis(rng, 1_500) + Duration::from_millis(1);
            if rng.chance(50) {
                absent(Condition::Any(operands), wait)
            } else {
                absent_after(user_pattern(rng), Condition::Any(operands), wait)
            }
        }
        10 => {
            let wait = millis(rng, 1_000) + Duration::from_millis(1);
            let extra = optional(user_pattern(rng), wait);
            let guard = not_within(user_pattern(rng), wait);
            Condition::Any(operands).and(if rng.chance(50) { extra } else { guard })
        }
        _ => Condition::Any(operands).and(custom(CUSTOM, rng.below(4), [user_pattern(rng).once()])),
    }
}

/// Of the events it is shown, it is met by every so many.
#[derive(Debug)]
pub(super) struct EverySoMany;

impl CustomCondition for EverySoMany {
    fn see(&self, params: &Value, state: &mut Value, event: &Event) -> std::result::Result<Verdict, String> {
        if event.value == "bad" {
            return Err("a bad value".to_owned());
        }
        let seen = state.as_u64().unwrap_or(0) + 1;
        if seen < params.as_u64().unwrap_or(0) {
            *state = seen.into();
            return Ok(Verdict::Counts);
        }
        *state = Value::Null;
        Ok(Verdict::Met)
    }
}

/// The custom conditions of every scheduler.
pub(super) fn customs() -> CustomConditions {
    let mut customs = CustomConditions::default();
    customs.insert(CUSTOM, EverySoMany);
    customs
}

/// The pool of every world.
pub(super) fn pool() -> PoolName {
    PoolName::parse("gpu").expect("a constant name")
}

/// The parameters under which jobs run are objects or nothing.
pub(super) fn is_valid(workflow: &Workflow) -> bool {
    !workflow.check().iter().any(Diagnostic::is_error) && workflow.params == Value::Null
}
