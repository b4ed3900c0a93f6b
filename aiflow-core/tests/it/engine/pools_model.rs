//! Pools against a naive model: who holds slots, and who waits for them, looked at anew after each event.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use aiflow_core::engine::Command;
use aiflow_core::id::JobExecutionId;
use proptest::prelude::*;

use super::world::World;

const JOBS: usize = 5;

/// A job as it is drawn: its weight, its priority, and how often it is tried again, after a second.
type Drawn = (u32, i32, u32);

#[derive(Debug, Clone, Copy)]
enum Step {
    Start(usize),
    /// The `n`th of those that run succeeds or fails.
    End(prop::sample::Index, bool),
    Stop(usize),
    Pool(Option<u32>),
    Tick,
    Restore,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..JOBS).prop_map(Step::Start),
        5 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(n, succeeds)| Step::End(n, succeeds)),
        1 => (0..JOBS).prop_map(Step::Stop),
        1 => prop::option::of(0_u32..5).prop_map(Step::Pool),
        2 => Just(Step::Tick),
        1 => Just(Step::Restore),
    ]
}

/// An execution of a job, the number of which says its age.
#[derive(Debug, Clone)]
struct Execution {
    age: usize,
    job: usize,
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    Holds(u32),
    Pauses,
    Over,
}

#[derive(Debug, Default)]
struct Model {
    drawn: Vec<Drawn>,
    slots: u32,
    all: Vec<Execution>,
}

impl Model {
    fn live(&mut self, job: usize) -> Option<&mut Execution> {
        self.all.iter_mut().find(|execution| execution.job == job && execution.state != State::Over)
    }

    fn running(&self) -> Vec<usize> {
        self.all.iter().filter(|e| matches!(e.state, State::Holds(_))).map(|e| e.age).collect()
    }

    /// Takes a step in, and says who gets slots because of it. `end` names the execution that ends in it.
    fn take(&mut self, step: Step, end: Option<usize>) -> Vec<usize> {
        let mut got = Vec::new();
        match step {
            Step::Start(job) if self.live(job).is_none() => {
                let (age, state) = (self.all.len(), State::Waits);
                self.all.push(Execution { age, job, failures: 0, state });
            }
            Step::End(_, succeeds) => {
                let ended = &mut self.all[end.expect("something ends")];
                ended.failures += u32::from(!succeeds);
                let tries_again = !succeeds && ended.failures <= self.drawn[ended.job].2;
                ended.state = if tries_again { State::Pauses } else { State::Over };
            }
            // What runs has to be stopped by its executor first; only what does not run is stopped here.
            Step::Stop(job) => {
                if let Some(live) = self.live(job).filter(|live| !matches!(live.state, State::Holds(_))) {
                    live.state = State::Over;
                }
            }
            Step::Pool(slots) => self.slots = slots.unwrap_or(0),
            // Each pause is over on its own, the oldest first.
            Step::Tick => {
                for age in 0..self.all.len() {
                    if self.all[age].state == State::Pauses {
                        self.all[age].state = State::Waits;
                        got.extend(self.give_out());
                    }
                }
            }
            Step::Start(_) | Step::Restore => {}
        }
        got.extend(self.give_out());
        got
    }

    /// The executions that get their slots now: the first of those that wait, and the next, as long as each one fits.
    fn give_out(&mut self) -> Vec<usize> {
        let mut got = Vec::new();
        loop {
            let held = |execution: &Execution| if let State::Holds(n) = execution.state { n } else { 0 };
            let used: u32 = self.all.iter().map(held).sum();
            let waiting = self.all.iter().filter(|execution| execution.state == State::Waits);
            let first = waiting.min_by_key(|execution| (Reverse(self.drawn[execution.job].1), execution.age));
            let Some((age, job)) = first.map(|first| (first.age, first.job)) else { return got };
            let wanted = self.drawn[job].0.min(self.slots);
            if self.slots == 0 || used + wanted > self.slots {
                return got;
            }
            self.all[age].state = State::Holds(wanted);
            got.push(age);
        }
    }
}

/// The executions that are launched from this decision on, by age.
fn launched(world: &World, from: usize, ages: &mut BTreeMap<JobExecutionId, usize>) -> Vec<usize> {
    for id in world.jobs.keys() {
        let age = ages.len();
        ages.entry(*id).or_insert(age);
    }
    let commands = world.decisions[from..].iter().flat_map(|decision| &decision.commands);
    commands
        .filter_map(|command| match command {
            Command::Launch { attempt } => Some(ages[&attempt.job_execution]),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_are_given_out_as_a_look_at_all_who_want_them_says(
        drawn in prop::collection::vec((1_u32..4, 0_i32..3, 0_u32..2), JOBS),
        slots in 0_u32..5,
        steps in prop::collection::vec(a_step(), 1..60),
    ) {
        let rules = drawn.iter().enumerate().map(|(i, (weight, priority, retries))| {
            format!(
                "j{i}: START when s{i}; j{i}: STOP when t{i}; retry j{i} {retries} x 1s
                 admit j{i} pool(gpu,{weight}) priority({priority})"
            )
        });
        let rules: Vec<String> = rules.collect();
        let mut world = World::new(&format!("completion standing; {}", rules.join("; ")));
        world.play(&format!("pool gpu {slots} | start"));
        let mut model = Model { drawn, slots, all: Vec::new() };
        let mut ages = BTreeMap::new();
        for step in steps {
            let from = world.decisions.len();
            let running = model.running();
            let end = match step {
                Step::End(n, _) if !running.is_empty() => Some(running[n.index(running.len())]),
                _ => None,
            };
            let text = match (step, end) {
                (Step::Start(job), _) => format!("s{job}"),
                (Step::End(_, succeeds), Some(age)) => {
                    let id = ages.iter().find(|(_, of)| **of == age).map(|(id, _)| *id).expect("it was launched");
                    format!("{} {}", world.name_of(id), if succeeds { "ok" } else { "failed" })
                }
                // Stopping what runs is not the business of pools.
                (Step::Stop(job), _) if running.iter().all(|age| model.all[*age].job != job) => format!("t{job}"),
                (Step::Pool(slots), _) => format!("pool gpu {}", slots.map_or("none".to_owned(), |n| n.to_string())),
                (Step::Tick, _) => "tick 1s".to_owned(),
                (Step::Restore, _) => "restore".to_owned(),
                (Step::End(..) | Step::Stop(_), _) => continue,
            };
            world.play(&text);
            let got = model.take(step, end);
            let given = launched(&world, from, &mut ages);
            prop_assert_eq!(given, got, "at {} of {:?}", text, model);
        }
    }
}
