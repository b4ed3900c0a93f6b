//! The workload of a world: which workflows are there, what do users publish, and what do operators ask for?
//!
//! Conditions only look at user events and at jobs and workflows defined earlier, so that every world comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::bus::EventBus as _;
use aiflow_core::control::Control;
use aiflow_core::engine::{CustomCondition, CustomConditions, Verdict};
use aiflow_core::event::{Event, NewEvent};
use aiflow_core::execution::{
    JobStatus, KIND_FIRING, KIND_WORKFLOW_EXECUTION, PoolUse, ScheduleAction, WorkflowExecution, WorkflowState,
    WorkflowStatus,
};
use aiflow_core::executor::StopMode;
use aiflow_core::id::{ExecutorName, JobName, Offset, PoolName, ProjectName, WorkflowExecutionId, WorkflowName};
use aiflow_core::records::{FIRING_WAITING, WorkflowVersion, body_of, firing_of, workflow_key, workflow_version_put};
use aiflow_core::store::{Batch, MetaStore as _, MetaStoreExt as _, Query};
use aiflow_core::time::{Clock as _, Timestamp};
use aiflow_core::timer::Subject;
use aiflow_core::workflow::{
    Admission, Completion, Condition, ControlEdge, Deadline, Diagnostic, FailureTest, Field, Hook, HookOn, Job,
    JobAction, KeyOf, Misfire, OverlapPolicy, Rate, RestartPolicy, RetryPolicy, Schedule, SchedulingRule,
    StartPosition, Window, Workflow, WorkflowAction, WorkflowRule, absent, absent_after, at_least, count, cron, custom,
    every, field, job_status, not_within, on, optional, sequence, workflow_status,
};
use aiflow_core::{ErrorKind, Result, Retry};
use serde_json::{Value, json};

use super::executor::{Behaviour, DURABLE, VOLATILE};
use super::process::{Connection, Shared, WORLD_BEGINS};
use super::recorder::SEQUENCE_LABEL;
use crate::rng::Rng;

/// The one project of a world.
pub(super) const PROJECT: &str = "wine";
const KEYS: [&str; 5] = ["samples", "labels", "model.red", "model.white", "go"];
const VALUES: [&str; 3] = ["ready", "bad", "7"];
/// Name of the custom condition.
pub(super) const CUSTOM: &str = "every so many";
/// Waits between tries of a client.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> Option<T> {
    let index = rng.below(u64::try_from(of.len()).ok()?);
    of.get(usize::try_from(index).ok()?).copied()
}

fn number(rng: &mut Rng, min: u32, max: u32) -> u32 {
    min + u32::try_from(rng.below(u64::from(max - min) + 1)).unwrap_or(0)
}

fn millis(rng: &mut Rng, max: u64) -> Duration {
    Duration::from_millis(rng.below(max + 1))
}

pub(super) fn project() -> ProjectName {
    ProjectName::parse(PROJECT).expect("a constant name")
}

fn workflow_name(index: u32) -> WorkflowName {
    WorkflowName::parse(format!("w{index}")).expect("a letter and digits")
}

pub(super) fn job_name(index: u32) -> JobName {
    JobName::parse(format!("j{index}")).expect("a letter and digits")
}

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
    if rng.chance(40) {
        workflow.completion = one_of(rng, &[Completion::Idle, Completion::Standing]);
    }
    workflow
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
    let pattern = if rng.chance(30) { pattern.equals("ready") } else { pattern };
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

/// Events of one user that the log acknowledged, in order.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) user: String,
    pub(super) events: Vec<(String, Offset)>,
}

/// Publishes events of its own, one call after the other, each until it is acknowledged; some calls are repeated.
pub(super) async fn user(connection: &Connection, shared: &Shared, number: u32, calls: u32) -> Acknowledged {
    let mut done = Acknowledged { user: format!("user{number}"), events: Vec::new() };
    let pause = shared.plan.chaos / (calls + 1) * 2;
    let mut sequence = 0_u32;
    for call in 0..calls {
        tokio::time::sleep(shared.ledger.time_below(pause)).await;
        let n_events = shared.ledger.draw(|rng| if rng.chance(20) { 2 + rng.below(2) } else { 1 });
        let mut events = Vec::new();
        for _ in 0..n_events {
            sequence += 1;
            let (key, value) = shared.ledger.draw(|rng| (one_of(rng, &KEYS), one_of(rng, &VALUES)));
            events.push(
                NewEvent::identified(format!("{}-{sequence}", done.user), PROJECT, key.unwrap_or("go"))
                    .value(value.unwrap_or("ready"))
                    .sender(&done.user)
                    .label(SEQUENCE_LABEL, format!("{}-{sequence}", done.user)),
            );
        }
        let offsets = publish(connection, shared, events.clone()).await;
        if shared.ledger.draw(|rng| rng.chance(20)) {
            let again = publish(connection, shared, events.clone()).await;
            if again != offsets {
                shared
                    .ledger
                    .violate("I1", format!("call {call} of {} moved from {offsets:?} to {again:?}", done.user));
            }
        }
        let acknowledged = events.into_iter().zip(offsets);
        done.events.extend(acknowledged.map(|(event, offset)| (event.id, offset)));
    }
    done
}

/// Publishes until it is acknowledged.
pub(super) async fn publish(connection: &Connection, shared: &Shared, events: Vec<NewEvent>) -> Vec<Offset> {
    loop {
        match connection.publish(events.clone()).await {
            Ok(offsets) => return offsets,
            Err(error) if error.retry() == Retry::Never => {
                shared.ledger.violate("I1", format!("the log refused an event: {error}"));
                return Vec::new();
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// The pool of every world.
fn pool() -> PoolName {
    PoolName::parse("gpu").expect("a constant name")
}

/// Stores a version and announces it, in one commit.
pub(super) async fn submit(connection: &Connection, shared: &Shared, workflow: Workflow, version: u32) {
    let submitted =
        Control::WorkflowSubmitted { project: workflow.project.clone(), workflow: workflow.name.clone(), version };
    let now = shared.clock.now();
    let id = format!("submit:{}:{version}", workflow.name);
    let hash = workflow.content_hash();
    let put = workflow_version_put(&WorkflowVersion { version, workflow, hash, submitted_at: now });
    let batch = Batch::at(now).expect(put.key.clone(), None).put(put.clone()).event(submitted.into_event(id));
    loop {
        match connection.commit(batch.clone()).await {
            Ok(_) => return,
            // The answer to an earlier try was lost, or it is under way still.
            Err(error) if error.kind() == ErrorKind::Conflict => return,
            Err(error) if error.retry() == Retry::Never => {
                return shared.ledger.violate("I1", format!("the store refused a workflow: {error}"));
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

async fn live_executions(connection: &Connection) -> Result<Vec<WorkflowExecution>> {
    let live = WorkflowStatus::ALL.iter().filter(|status| !status.is_terminal()).map(|status| status.as_str());
    let rows = connection.query_all(Query::kind(KIND_WORKFLOW_EXECUTION).states(live), 100_000).await?;
    rows.iter().map(body_of).collect()
}

/// Asks for this and that while the world is in chaos.
pub(super) async fn operator(connection: &Arc<Connection>, shared: &Arc<Shared>, workflows: u32, orders: u32) {
    let slots = |shared: &Shared| Some(shared.ledger.draw(|rng| number(rng, 0, 4)));
    let first = Control::SetPool { project: project(), pool: pool(), slots: slots(shared) };
    publish(connection, shared, vec![first.into_event("pool")]).await;
    let mut versions = vec![1_u32; usize::try_from(workflows).unwrap_or(0)];
    let pause = shared.plan.chaos / (orders + 1) * 2;
    for order in 0..orders {
        tokio::time::sleep(shared.ledger.time_below(pause)).await;
        let (index, what) = shared.ledger.draw(|rng| (number(rng, 0, workflows - 1), rng.below(37)));
        let (project, workflow) = (project(), workflow_name(index));
        let control = match what {
            0..9 => Control::StartWorkflow {
                project,
                workflow,
                params: json!({ "order": order }),
                context: None,
                labels: BTreeMap::from([("order".to_owned(), order.to_string())]),
            },
            9..11 => Control::EnableWorkflow { project, workflow, enabled: shared.ledger.draw(|rng| rng.chance(60)) },
            11..14 => {
                let Some(version) = usize::try_from(index).ok().and_then(|index| versions.get_mut(index)) else {
                    continue;
                };
                *version += 1;
                let definition = shared.ledger.draw(|rng| self::workflow(rng, index));
                submit(connection, shared, definition, *version).await;
                continue;
            }
            33.. => {
                super::rerun::run_again(connection, shared, order).await;
                continue;
            }
            30..33 => Control::SetPool { project, pool: pool(), slots: slots(shared).filter(|slots| *slots != 4) },
            20..24 => match on_a_schedule(connection, shared, &workflow).await {
                Some(control) => control,
                None => continue,
            },
            _ => {
                let Ok(live) = live_executions(connection).await else {
                    continue;
                };
                let ids: Vec<_> = live.iter().map(|execution| execution.id).collect();
                let Some(execution) = shared.ledger.draw(|rng| one_of(rng, &ids)) else {
                    continue;
                };
                if what < 16 {
                    stop(execution, shared.ledger.draw(|rng| rng.chance(30)))
                } else if what >= 24 {
                    shared.ledger.draw(|rng| pause_or_resume(rng, execution))
                } else {
                    let (job, action) = shared.ledger.draw(|rng| {
                        let action =
                            one_of(rng, &[JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Restart]);
                        (job_name(number(rng, 0, 4)), action.unwrap_or(JobAction::Start))
                    });
                    let mode = if what == 19 { StopMode::Kill } else { StopMode::Graceful };
                    Control::ActOnJob { execution, job, action, mode, reason: String::new() }
                }
            }
        };
        shared.ledger.count("order");
        publish(connection, shared, vec![control.into_event(format!("order-{order}"))]).await;
    }
}

fn stop(execution: WorkflowExecutionId, kills: bool) -> Control {
    let mode = if kills { StopMode::Kill } else { StopMode::Graceful };
    Control::StopExecution { execution, mode, reason: "enough".to_owned() }
}

/// Pauses, resumes or upgrades an execution, or stops or resumes the scheduling of one of its jobs.
fn pause_or_resume(rng: &mut Rng, execution: WorkflowExecutionId) -> Control {
    match rng.below(8) {
        6.. => Control::UpgradeExecution { execution },
        0..2 => Control::PauseExecution { execution, reason: "to look around".to_owned() },
        2..4 => Control::ResumeExecution { execution },
        n => Control::ScheduleJob { execution, job: job_name(number(rng, 0, 4)), scheduled: n == 5 },
    }
}

/// Something to ask of a schedule of a workflow, if it has one.
async fn on_a_schedule(connection: &Connection, shared: &Shared, workflow: &WorkflowName) -> Option<Control> {
    let record = connection.get_one(&workflow_key(&project(), workflow)).await.ok()??;
    let state: WorkflowState = body_of(&record).ok()?;
    let names: Vec<_> = state.schedules.into_keys().collect();
    let name = names.first()?.clone();
    shared.ledger.draw(|rng| {
        let action = one_of(
            rng,
            &[ScheduleAction::Pause, ScheduleAction::Resume, ScheduleAction::Resume, ScheduleAction::Delete],
        );
        if rng.chance(60) {
            let of = Subject::Workflow { project: project(), workflow: workflow.clone() };
            return Some(Control::ActOnSchedule { of, schedule: name, action: action? });
        }
        let from = Timestamp::from_millis(WORLD_BEGINS) + millis(rng, 5_000);
        let to = from + millis(rng, 3_000);
        let (quiet, overlap) = (rng.chance(50), one_of(rng, &OverlapPolicy::ALL)?);
        let (project, workflow) = (project(), workflow.clone());
        Some(Control::Backfill { project, workflow, schedule: name, from, to, quiet, overlap })
    })
}

/// Stops everything that still runs.
pub(super) async fn stop_all(connection: &Connection, shared: &Shared, round: u32) -> usize {
    let live = match live_executions(connection).await {
        Ok(live) => live,
        Err(error) => {
            shared.ledger.violate("I22", format!("the store fails in calm: {error}"));
            return 0;
        }
    };
    let orders = live.iter().map(|execution| {
        let id = format!("end-{round}-{}", execution.id);
        stop(execution.id, false).into_event(id)
    });
    let orders: Vec<NewEvent> = orders.collect();
    let mut orders = orders;
    let waiting = Query::kind(KIND_FIRING).states([FIRING_WAITING]);
    match connection.query_all(waiting, 100_000).await {
        Ok(rows) => {
            let starts = rows.iter().filter_map(|row| firing_of(row).ok()?.record.request.execution);
            orders
                .extend(starts.map(|execution| stop(execution, false).into_event(format!("end-{round}-{execution}"))));
        }
        Err(error) => shared.ledger.violate("I22", format!("the store fails in calm: {error}")),
    }
    let n_orders = orders.len();
    if !orders.is_empty() {
        publish(connection, shared, orders).await;
    }
    n_orders
}

/// The parameters under which jobs run are objects or nothing.
pub(super) fn is_valid(workflow: &Workflow) -> bool {
    !workflow.check().iter().any(Diagnostic::is_error) && workflow.params == Value::Null
}
