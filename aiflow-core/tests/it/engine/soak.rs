//! Weeks in seconds: schedules that run for a long virtual time, and very many timers that wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::control::Control;
use aiflow_core::engine::{Command, Engine, Input, Snapshot};
use aiflow_core::event::{Event, NewEvent};
use aiflow_core::executor::{Ending, ReportKind};
use aiflow_core::id::{Offset, ScheduleName};
use aiflow_core::schedule_state::{NextTime, ScheduleState, ScheduleStatus};
use aiflow_core::time::Timestamp;
use aiflow_core::timer::Alarm;
use aiflow_core::workflow::{Workflow, every};
use serde_json::Value;

use super::text::parse_rules;
use super::world::World;

/// An engine whose jobs succeed at once.
struct Soak {
    engine: Engine,
    now: Timestamp,
    n_events: u64,
    queue: VecDeque<(NewEvent, Option<Arc<Workflow>>)>,
    /// How often each schedule has acted.
    times: BTreeMap<String, Vec<Timestamp>>,
}

impl Soak {
    fn run(rules: &str, begin: Timestamp, span: Duration) -> Self {
        let (engine, queue) = (Engine::new(), VecDeque::new());
        let mut soak = Self { engine, now: begin, n_events: 0, queue, times: BTreeMap::new() };
        for workflow in parse_rules(rules) {
            let (project, name) = (workflow.project.clone(), workflow.name.clone());
            let event = Control::WorkflowSubmitted { project, workflow: name, version: 1 }.into_event("submit");
            soak.queue.push_back((event, Some(Arc::new(workflow))));
        }
        soak.settle();
        while let Some(due) = soak.engine.next_timer().filter(|due| *due <= begin + span) {
            soak.now = soak.now.max(due);
            let due = soak.engine.due_timers(soak.now, 64);
            soak.queue.extend(due.into_iter().map(|timer| (timer.into_event(), None)));
            soak.settle();
        }
        soak
    }

    fn settle(&mut self) {
        while let Some((body, workflow)) = self.queue.pop_front() {
            self.n_events += 1;
            let event = Arc::new(Event { offset: Offset(self.n_events), recorded: self.now, body });
            let decision = self.engine.decide(&[Input { workflow, ..Input::from(event) }]);
            for time in decision
                .executions
                .values()
                .filter(|execution| execution.created_at == execution.scheduled_time().unwrap_or_default())
            {
                let schedule = time.cause.schedule.as_ref().map(|schedule| schedule.schedule.to_string());
                let times = self.times.entry(schedule.unwrap_or_default()).or_default();
                if times.last() != time.scheduled_time().as_ref() {
                    times.extend(time.scheduled_time());
                }
            }
            self.queue.extend(decision.events.iter().map(|event| (event.clone(), None)));
            self.engine.apply(&decision);
            for command in decision.commands {
                if let Command::Launch { attempt } = command {
                    let ended = ReportKind::Ended(Ending::Succeeded { output: Value::Null });
                    for (what, report) in [("started", ReportKind::started()), ("ended", ended)] {
                        let event = Control::Reported { attempt, report }.into_event(format!("{attempt}:{what}"));
                        self.queue.push_back((event, None));
                    }
                }
            }
        }
    }
}

#[test]
fn eight_weeks_of_schedules_across_a_change_of_the_clock() {
    let rules = "load: function; train: START when status(load SUCCEEDED)
        schedule wf [often] every 10m overlap:allow_all
        schedule wf [night] cron 30 2 * * * tz:Europe/Berlin overlap:allow_all
        schedule wf [workdays] cron 0 9-17 * * MON-FRI tz:America/New_York overlap:allow_all";
    let begin = Timestamp::parse_rfc3339("2026-03-02T00:00:00Z").unwrap();
    let soak = Soak::run(rules, begin, Duration::from_secs(8 * 7 * 86_400));
    let count = |name: &str| soak.times.get(name).map_or(0, Vec::len);
    assert_eq!(count("often"), 8 * 7 * 24 * 6);
    assert_eq!(count("night"), 8 * 7);
    assert_eq!(count("workdays"), 8 * 5 * 9);
    for times in soak.times.values() {
        assert!(times.is_sorted_by(|one, next| one < next), "no time comes twice");
    }
    assert_eq!(soak.engine.executions().count(), 0, "all have ended");
    assert_eq!(soak.engine.due_timers(Timestamp::from_millis(i64::MAX), 9).len(), 3, "and only the schedules wait");
}

#[test]
fn a_hundred_thousand_timers_wait_in_order_and_only_those_that_are_due_come() {
    const WORKFLOWS: i64 = 1_000;
    const EACH: i64 = 100;
    let template = World::new("train: function").engine.snapshot();
    let mut snapshot = Snapshot::default();
    for n in 0..WORKFLOWS {
        let mut definition = (*template.definitions[0].1).clone();
        let mut state = template.workflows[0].clone();
        definition.name = format!("wf{n}").try_into().unwrap();
        state.name = definition.name.clone();
        for m in 0..EACH {
            let name = ScheduleName::parse(format!("s{m}")).unwrap();
            definition.schedules.push(every(Duration::from_secs(86_400)).named(name.clone()));
            // Not in the order of the workflows.
            let time = Timestamp::from_millis((n * 7_919 + m * 104_729) % 100_003 + 1);
            let next = Some(NextTime { time, alarm: Alarm { due: time, set_by: Offset(1) } });
            let (since, status) = (Timestamp::EPOCH, ScheduleStatus::Active);
            state.schedules.insert(name, ScheduleState { since, last: None, next, status });
        }
        snapshot.definitions.push((1, Arc::new(definition)));
        snapshot.workflows.push(state);
    }
    let mut engine = Engine::restore(snapshot);
    let all = engine.due_timers(Timestamp::from_millis(i64::MAX), usize::MAX);
    assert_eq!(all.len(), 100_000);
    assert!(all.is_sorted());
    assert!(engine.due_timers(Timestamp::EPOCH, 9).is_empty(), "none is early");
    let first = engine.next_timer().unwrap();
    let due = engine.due_timers(first, 1_000);
    assert!(!due.is_empty() && due.iter().all(|timer| timer.due == first), "{due:?}");
    for (n, timer) in due.clone().into_iter().enumerate() {
        let event = Event { offset: Offset(10 + n as u64), recorded: first, body: timer.into_event() };
        let decision = engine.decide(&[Input::from(event)]);
        assert_eq!(decision.executions.len(), 1);
        engine.apply(&decision);
    }
    assert!(engine.next_timer().unwrap() > first, "each came once");
    let left = engine.due_timers(Timestamp::from_millis(i64::MAX), usize::MAX);
    assert_eq!(left.len(), 100_000, "each waits for its next time");
}
