//! The transition table of job executions: what does each report, action and timer make of each status?

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aiflow_core::control::Control;
use aiflow_core::engine::{Command, Decision, Engine, Input};
use aiflow_core::event::{Event, JOB_STATUS_CHANGED};
use aiflow_core::execution::JobStatus;
use aiflow_core::executor::StopMode;
use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::time::Timestamp;
use aiflow_core::timer::{JobTimer, Timer, TimerKey};
use aiflow_core::workflow::JobAction;
use expect_test::expect;
use proptest::prelude::*;
use proptest::sample::Index;

use super::text::job_name;
use super::world::{World, report_kind};

const RULES: &str = "completion standing; job train; retry train 1 x 1s";
const DUE: Timestamp = Timestamp::from_millis(5_000);
const REPORTS: [&str; 8] = ["started", "ready", "ok", "failed", "fatal", "lost", "stopped", "timedout"];

/// An engine with one job execution in a status.
struct Stand {
    engine: Engine,
    job: JobExecutionId,
    execution: WorkflowExecutionId,
}

/// Every status that lives in the engine carries a timer here, so that a timer is tried on each of them.
fn stand(status: JobStatus) -> Stand {
    let mut world = World::new(RULES);
    world.play("start | train started");
    match status {
        JobStatus::Init => world.play("act RESTART train"),
        JobStatus::Succeeded => world.play("train ok"),
        JobStatus::Failed => world.play("train fatal"),
        JobStatus::Stopped => world.play("train stopped"),
        _ => {}
    }
    let job = *world.jobs.keys().next_back().expect("train has run");
    let execution = *world.executions.keys().next().expect("it was started");
    let mut snapshot = world.engine.snapshot();
    for live in &mut snapshot.jobs {
        if live.id == job {
            live.status = status;
            live.due = [(purpose_in(status), DUE)].into();
        }
    }
    let engine = Engine::restore(snapshot);
    Stand { engine, job, execution }
}

/// What a timer is for in a status.
fn purpose_in(status: JobStatus) -> JobTimer {
    match status {
        JobStatus::Retrying => JobTimer::Retry,
        JobStatus::Queued => JobTimer::Queue,
        _ => JobTimer::Run,
    }
}

fn stimuli(stand: &Stand) -> Vec<(String, Control)> {
    let (job, execution) = (stand.job, stand.execution);
    let attempt = stand.engine.job_executions().find(|live| live.id == job).map_or(1, |live| live.attempt);
    let mut stimuli = Vec::new();
    for name in REPORTS {
        let report = report_kind(name).expect("a report");
        for (prefix, attempt) in [("", attempt), ("stale ", 7)] {
            let attempt = AttemptId::new(job, attempt);
            let report = report.clone();
            stimuli.push((format!("{prefix}{name}"), Control::Reported { attempt, report }));
        }
    }
    let live = stand.engine.job_executions().find(|live| live.id == job);
    let purpose = live.map_or(JobTimer::Run, |live| purpose_in(live.status));
    for (name, due, attempt) in
        [("timer", DUE, attempt), ("stale timer", Timestamp::from_millis(4_999), attempt), ("stale timer", DUE, 7)]
    {
        let attempt = AttemptId::new(job, attempt);
        let timer = Timer { due, key: TimerKey::Job { attempt, purpose } };
        stimuli.push((name.to_owned(), Control::TimerFired(timer)));
    }
    for action in [JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Signal, JobAction::None] {
        let job = job_name("train");
        let control = Control::ActOnJob { execution, job, action, mode: StopMode::Graceful, reason: String::new() };
        stimuli.push((action.as_str().to_owned(), control));
    }
    stimuli.push((
        "stop execution".to_owned(),
        Control::StopExecution { execution, mode: StopMode::Graceful, reason: String::new() },
    ));
    stimuli
}

fn decide(engine: &Engine, control: Control) -> Decision {
    let event = Event { offset: Offset(100), recorded: DUE, body: control.into_event("x") };
    engine.decide(&[Input::from(event)])
}

/// Whether nothing came of it but, perhaps, a record.
fn is_nothing(decision: &Decision) -> bool {
    decision.jobs.is_empty()
        && decision.executions.is_empty()
        && decision.commands.is_empty()
        && decision.events.is_empty()
}

fn describe(decision: &Decision, job: JobExecutionId) -> String {
    let mut text = match decision.jobs.get(&job) {
        Some(job) => job.status.to_string(),
        None => "unchanged".to_owned(),
    };
    for (id, other) in &decision.jobs {
        if *id != job {
            let which = if *id < job { "the old one" } else { "a new one" };
            let _ = write!(text, ", {which} {}", other.status);
        }
    }
    for command in &decision.commands {
        let _ = match command {
            Command::Launch { attempt } => write!(text, ", launch {}", attempt.attempt),
            Command::Signal { attempt, .. } => write!(text, ", signal {}", attempt.attempt),
            Command::Stop { attempt, mode, .. } => {
                assert_eq!(*mode, StopMode::Graceful);
                write!(text, ", stop {}", attempt.attempt)
            }
        };
    }
    text
}

/// The steps from status to status that a decision took a job execution through.
fn steps(before: JobStatus, decision: &Decision, job: JobExecutionId) -> Vec<(JobStatus, JobStatus)> {
    let announced = decision
        .events
        .iter()
        .filter(|event| event.event_type == JOB_STATUS_CHANGED)
        .filter(|event| event.context.attempt.map(|a| a.job_execution) == Some(job))
        .filter_map(|event| JobStatus::ALL.iter().find(|s| event.value == s.as_str()));
    let last = decision.jobs.get(&job).map(|job| job.status);
    let mut path = vec![before];
    path.extend(announced.copied().chain(last));
    path.dedup();
    path.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

fn statuses() -> impl Iterator<Item = JobStatus> {
    // A job execution is never Skipped; that is said of jobs without one.
    let all = JobStatus::ALL.iter().copied();
    all.filter(|status| *status != JobStatus::Skipped)
}

#[test]
fn every_report_action_and_timer_in_every_status() {
    let mut table = String::new();
    let mut taken = BTreeSet::new();
    for status in statuses() {
        let mut nothing = Vec::new();
        let _ = writeln!(table, "{status}");
        let stand = stand(status);
        for (name, control) in stimuli(&stand) {
            let decision = decide(&stand.engine, control);
            for (from, to) in steps(status, &decision, stand.job) {
                assert!(from.may_become(to), "{name}: {from} -> {to}");
                taken.insert((from, to));
            }
            if name.starts_with("stale") {
                assert!(is_nothing(&decision), "{name} in {status}: {decision:?}");
            } else if is_nothing(&decision) {
                nothing.push(name);
            } else {
                let _ = writeln!(table, "  {name}: {}", describe(&decision, stand.job));
            }
        }
        let _ = writeln!(table, "  nothing: {}", nothing.join(", "));
    }
    let allowed = statuses().flat_map(|from| statuses().map(move |to| (from, to)));
    let never: Vec<String> = allowed
        .filter(|(from, to)| from.may_become(*to) && !taken.contains(&(*from, *to)))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    let _ = writeln!(table, "allowed, but taken by none of these: {}", never.join(", "));
    expect![[r#"
        INIT
          STOP: STOPPED
          SIGNAL: INIT
          stop execution: STOPPED
          nothing: started, ready, ok, failed, fatal, lost, stopped, timedout, timer, START, RESTART, NONE
        QUEUED
          started: RUNNING
          ready: READY
          ok: SUCCEEDED
          failed: RETRYING
          fatal: FAILED
          lost: QUEUED, launch 2
          stopped: STOPPED
          timedout: RETRYING
          timer: QUEUED, stop 1
          STOP: STOPPING, stop 1
          RESTART: STOPPING, a new one INIT, stop 1
          SIGNAL: QUEUED
          stop execution: STOPPING, stop 1
          nothing: START, NONE
        RUNNING
          ready: READY
          ok: SUCCEEDED
          failed: RETRYING
          fatal: FAILED
          lost: QUEUED, launch 2
          stopped: STOPPED
          timedout: RETRYING
          timer: RUNNING, stop 1
          STOP: STOPPING, stop 1
          RESTART: STOPPING, a new one INIT, stop 1
          SIGNAL: RUNNING, signal 1
          stop execution: STOPPING, stop 1
          nothing: started, START, NONE
        READY
          ok: SUCCEEDED
          failed: RETRYING
          fatal: FAILED
          lost: QUEUED, launch 2
          stopped: STOPPED
          timedout: RETRYING
          timer: READY, stop 1
          STOP: STOPPING, stop 1
          RESTART: STOPPING, a new one INIT, stop 1
          SIGNAL: READY, signal 1
          stop execution: STOPPING, stop 1
          nothing: started, ready, START, NONE
        UNKNOWN
          started: RUNNING
          ready: READY
          ok: SUCCEEDED
          failed: RETRYING
          fatal: FAILED
          lost: QUEUED, launch 2
          stopped: STOPPED
          timedout: RETRYING
          timer: UNKNOWN, stop 1
          STOP: STOPPING, stop 1
          RESTART: STOPPING, a new one INIT, stop 1
          SIGNAL: UNKNOWN
          stop execution: STOPPING, stop 1
          nothing: START, NONE
        RETRYING
          timer: QUEUED, launch 2
          STOP: STOPPED
          RESTART: STOPPED, a new one QUEUED, launch 1
          SIGNAL: RETRYING
          stop execution: STOPPED
          nothing: started, ready, ok, failed, fatal, lost, stopped, timedout, START, NONE
        STOPPING
          ok: STOPPED
          failed: STOPPED
          fatal: STOPPED
          lost: STOPPED
          stopped: STOPPED
          timedout: STOPPED
          START: unchanged, a new one INIT
          RESTART: unchanged, a new one INIT
          SIGNAL: unchanged, a new one INIT
          stop execution: unchanged
          nothing: started, ready, timer, STOP, NONE
        SUCCEEDED
          START: unchanged, a new one QUEUED, launch 1
          RESTART: unchanged, a new one QUEUED, launch 1
          SIGNAL: unchanged, a new one QUEUED, launch 1
          stop execution: unchanged
          nothing: started, ready, ok, failed, fatal, lost, stopped, timedout, timer, STOP, NONE
        FAILED
          START: unchanged, a new one QUEUED, launch 1
          RESTART: unchanged, a new one QUEUED, launch 1
          SIGNAL: unchanged, a new one QUEUED, launch 1
          stop execution: unchanged
          nothing: started, ready, ok, failed, fatal, lost, stopped, timedout, timer, STOP, NONE
        STOPPED
          START: unchanged, a new one QUEUED, launch 1
          RESTART: unchanged, a new one QUEUED, launch 1
          SIGNAL: unchanged, a new one QUEUED, launch 1
          stop execution: unchanged
          nothing: started, ready, ok, failed, fatal, lost, stopped, timedout, timer, STOP, NONE
        allowed, but taken by none of these: INIT -> QUEUED, QUEUED -> UNKNOWN, RUNNING -> UNKNOWN, READY -> UNKNOWN, UNKNOWN -> QUEUED, UNKNOWN -> READY
    "#]].assert_eq(&table);
}

#[test]
fn terminal_statuses_may_become_nothing() {
    for from in JobStatus::ALL.iter().filter(|status| status.is_terminal()) {
        for to in JobStatus::ALL {
            assert!(!from.may_become(*to), "{from} -> {to}");
        }
    }
}

#[test]
fn no_status_but_the_terminal_ones_is_a_dead_end() {
    for from in statuses().filter(|status| !status.is_terminal()) {
        assert!(JobStatus::ALL.iter().any(|to| from.may_become(*to)), "{from} has no way out");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever executors report, in whatever order, how often and of which attempt: an attempt is launched once, attempts follow one
    /// another, and the end is the end. (What holds of each single step is checked by the world.)
    #[test]
    fn no_order_of_reports_breaks_a_job(
        reports in prop::collection::vec((any::<Index>(), 0_u32..4, any::<bool>()), 1..40)
    ) {
        let mut world = World::new("completion standing; job train; retry train 2 x 1s; timeout train 3s");
        world.play("start");
        let mut end = None;
        for (report, back, tick) in reports {
            let job = world.jobs.values().next().expect("train was started").clone();
            let attempt = job.attempt.saturating_sub(back);
            world.play(&format!("train#1-{attempt} {}", report.get(&REPORTS)));
            if tick {
                world.play("tick 1s");
            }
            let now = world.jobs.values().next().expect("train was started").clone();
            prop_assert!(now.attempt == job.attempt || now.attempt == job.attempt + 1);
            prop_assert!(back == 0 || tick || now == job, "a stale report changed {job:?} to {now:?}");
            match &end {
                None if now.status.is_terminal() => end = Some(now),
                None => {}
                Some(end) => prop_assert_eq!(end, &now),
            }
        }
        let mut launched: Vec<u32> = Vec::new();
        for command in world.decisions.iter().flat_map(|decision| &decision.commands) {
            if let Command::Launch { attempt } = command {
                launched.push(attempt.attempt);
            }
        }
        let expected: Vec<u32> = (1..=world.jobs.values().next().expect("train").attempt).collect();
        prop_assert_eq!(launched, expected);
    }
}
