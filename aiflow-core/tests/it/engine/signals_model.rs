//! SIGNAL against a naive model: of each value that was ever to be handed over, who was given it, and what became of it?

use std::collections::BTreeMap;

use aiflow_core::engine::Command;
use aiflow_core::execution::JobStatus;
use proptest::prelude::*;
use serde_json::Value;

use super::world::World;

/// How long an attempt has to acknowledge a value.
const ACK_MS: i64 = 5_000;

/// A stretch of a job's life: an execution, with the value that it began with.
#[derive(Debug, Clone, Default)]
struct Execution {
    began_with: Option<i64>,
    state: State,
    /// Values that are to be handed over, oldest first, and until when the running attempt has to acknowledge each.
    open: Vec<(i64, Option<i64>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// It waits for the end of the one before it.
    #[default]
    Waits,
    Queued,
    Runs,
    Stops,
    Over,
}

/// What is seen from outside: values given to executions, and executions that begin, each with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Given(usize, i64),
    Begins(usize, Option<i64>),
}

#[derive(Debug, Default)]
struct Model {
    all: Vec<Execution>,
    told: Vec<Told>,
    now: i64,
}

impl Model {
    fn live(&self) -> Option<usize> {
        self.all.iter().position(|execution| !matches!(execution.state, State::Over | State::Waits))
    }

    fn waiting(&self) -> Option<usize> {
        self.all.iter().position(|execution| execution.state == State::Waits)
    }

    /// The job is to run with this value: the one that waits takes it, or one more begins.
    fn run_with(&mut self, value: Option<i64>) {
        if let Some(waiting) = self.waiting() {
            let began_with = &mut self.all[waiting].began_with;
            *began_with = value.or(*began_with);
            return;
        }
        self.all.push(Execution { began_with: value, ..Execution::default() });
        match self.live() {
            Some(live) => self.stop(live),
            None => self.next(),
        }
    }

    /// What was not handed over is for the execution that waits, unless that has a newer value already.
    fn stop(&mut self, live: usize) {
        if self.all[live].state == State::Stops {
            return;
        }
        self.all[live].state = State::Stops;
        let newest = self.all[live].open.last().map(|(value, _)| *value);
        self.all[live].open.clear();
        if let Some(waiting) = self.waiting() {
            let began_with = &mut self.all[waiting].began_with;
            *began_with = began_with.or(newest);
        }
    }

    fn next(&mut self) {
        if let Some(next) = self.waiting() {
            self.all[next].state = State::Queued;
            self.told.push(Told::Begins(next, self.all[next].began_with));
        }
    }

    fn signal(&mut self, value: i64) {
        match self.live().filter(|live| self.all[*live].state != State::Stops) {
            Some(live) => {
                self.all[live].open.push((value, None));
                self.hand_over(live);
            }
            None => self.run_with(Some(value)),
        }
    }

    /// A running attempt is given all that it was not given yet.
    fn hand_over(&mut self, live: usize) {
        if self.all[live].state != State::Runs {
            return;
        }
        for (value, due) in self.all[live].open.iter_mut().filter(|(_, due)| due.is_none()) {
            *due = Some(self.now + ACK_MS);
            self.told.push(Told::Given(live, *value));
        }
    }

    /// The attempt does not take a value, or not in time: the newest is for the next execution.
    fn give_up(&mut self, live: usize) {
        let newest = self.all[live].open.last().map(|(value, _)| *value);
        self.all[live].open.clear();
        self.run_with(newest);
    }

    fn report(&mut self, report: &str) {
        let Some(live) = self.live() else { return };
        let state = self.all[live].state;
        match report {
            "started" if state == State::Queued => {
                self.all[live].state = State::Runs;
                self.hand_over(live);
            }
            "lost" if state != State::Stops => {
                // Another attempt of the same execution follows at once, and is given everything again.
                self.all[live].state = State::Queued;
                self.all[live].open.iter_mut().for_each(|(_, due)| *due = None);
            }
            "acks" => _ = self.all[live].open.remove(0),
            "refuses" => self.give_up(live),
            "ok" | "failed" | "stopped" | "lost" => {
                let execution = &mut self.all[live];
                execution.state = State::Over;
                let newest = execution.open.pop().map(|(value, _)| value);
                // A stop, also one of its own accord, ends what was to be handed over; any other end leaves it to the next execution.
                if let Some(value) = newest.filter(|_| state != State::Stops && report != "stopped") {
                    self.run_with(Some(value));
                } else {
                    self.next();
                }
            }
            _ => {}
        }
    }

    fn pass(&mut self, millis: i64) {
        let end = self.now + millis;
        loop {
            let due = self.live().and_then(|live| self.all[live].open.iter().filter_map(|(_, due)| *due).min());
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due;
            self.give_up(self.live().expect("it has not acknowledged"));
        }
        self.now = end;
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Signal,
    Report(&'static str),
    Act(&'static str),
    Tick(i64),
    Restore,
}

fn a_step() -> impl Strategy<Value = Step> {
    let reports =
        prop::sample::select(vec!["started", "started", "acks", "acks", "refuses", "lost", "ok", "failed", "stopped"]);
    prop_oneof![
        5 => Just(Step::Signal),
        6 => reports.prop_map(Step::Report),
        1 => prop::sample::select(vec!["go", "again", "halt"]).prop_map(Step::Act),
        3 => (1_i64..5).prop_map(|seconds| Step::Tick(seconds * 1_000)),
        1 => Just(Step::Restore),
    ]
}

/// What was told in the world.
fn told(world: &World) -> Vec<Told> {
    let (mut ages, mut told) = (BTreeMap::new(), Vec::new());
    for decision in &world.decisions {
        for id in decision.jobs.keys() {
            let age = ages.len();
            ages.entry(*id).or_insert(age);
        }
        for command in &decision.commands {
            match command {
                Command::Launch { attempt } if attempt.attempt == 1 => {
                    let params = &world.jobs[&attempt.job_execution].params;
                    told.push(Told::Begins(ages[&attempt.job_execution], params.get("signal").and_then(Value::as_i64)));
                }
                Command::Signal { attempt, signal, .. } => {
                    told.push(Told::Given(ages[&attempt.job_execution], signal.value.as_i64().expect("a number")));
                }
                _ => {}
            }
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_value_comes_to_those_that_a_model_names(steps in prop::collection::vec(a_step(), 1..60)) {
        let mut world = World::new(
            "job infer streaming; ack infer 5s; completion standing
             infer: SIGNAL when model; infer: START when go; infer: RESTART when again; infer: STOP when halt",
        );
        world.play("start");
        let mut model = Model::default();
        let mut newest = 0;
        for step in steps {
            let open = model.live().map_or(0, |live| model.all[live].open.len());
            let attempted = world.jobs.values().any(|job| job.attempt > 0 && !job.status.is_terminal());
            let text = match step {
                Step::Signal => {
                    newest += 1;
                    model.signal(newest);
                    format!("model={newest}")
                }
                // Only what was given can be taken or refused.
                Step::Report("acks" | "refuses") if open == 0 || model.live().is_some_and(|live| model.all[live].open[0].1.is_none()) => continue,
                Step::Report(report) if attempted => {
                    let live = world.jobs.values().find(|job| job.attempt > 0 && !job.status.is_terminal());
                    let name = world.name_of(live.expect("it is live").id).to_owned();
                    model.report(report);
                    format!("{name} {report}")
                }
                Step::Report(_) => continue,
                Step::Act(action) => {
                    match (action, model.live()) {
                        ("go", Some(live)) if model.all[live].state != State::Stops => {}
                        ("go" | "again", _) => model.run_with(None),
                        (_, live) => {
                            // STOP also takes back what waits to start.
                            model.all.iter_mut().filter(|e| e.state == State::Waits).for_each(|e| e.state = State::Over);
                            live.into_iter().for_each(|live| model.stop(live));
                        }
                    }
                    action.to_owned()
                }
                Step::Tick(millis) => {
                    model.pass(millis);
                    format!("tick {millis}ms")
                }
                Step::Restore => "restore".to_owned(),
            };
            world.play(&text);
            prop_assert_eq!(told(&world), model.told.clone(), "at {} of {:?}", text, model);
            let live = world.jobs.values().filter(|job| job.status != JobStatus::Init && !job.status.is_terminal());
            let kept: Vec<i64> = live.flat_map(|job| &job.signals).filter_map(|open| open.signal.value.as_i64()).collect();
            let open: Vec<i64> = model.live().into_iter().flat_map(|live| &model.all[live].open).map(|(value, _)| *value).collect();
            prop_assert_eq!(kept, open, "at {} of {:?}", text, model);
        }
    }
}
