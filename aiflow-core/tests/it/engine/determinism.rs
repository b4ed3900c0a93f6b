//! The same log gives the same decisions: again, in batches of any size, and from a snapshot half-way.

use std::collections::BTreeMap;
use std::sync::Arc;

use aiflow_core::engine::{Command, DeadLetter, Decision, Engine, Input, NewFiring};
use aiflow_core::event::NewEvent;
use aiflow_core::execution::{JobExecution, WorkflowExecution, WorkflowState};
use aiflow_core::id::{FiringId, JobExecutionId, WorkflowExecutionId};
use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{World, snapshot_json};

const RULES: &str = "
    features: function
    retry features 2 x 1s
    timeout features 3s
    job infer streaming
    infer: START when go
    infer: RESTART when any(status(train SUCCEEDED), model.* repeated)
    infer: STOP when kill
    train: START when all(status(features SUCCEEDED repeated), samples)
    train: STOP when all(kill, status(infer STOPPED))
    train: RESTART when again
    retry train 1 x 2s
    wf: START when all(raw, raw=1)
    wf: STOP when halt
    admit wf throttle(2,2s) concurrency(2) overlap(buffer_one)
    admit train debounce(1s,3s) batch(2,2s) overlap(cancel_other)
    workflow next
    admit wf rate(3,2s) overlap(terminate_other)
    wf: START when workflow(wf STOPPED)
    wf: START when raw
    wf: STOP when all(halt, raw)
    evaluate: function
    deploy: START when any(status(evaluate SUCCEEDED), status(deploy FAILED))
    deploy: NONE when kill
    workflow all
    completion standing
    one: NONE when seq(go, at_least(2, samples, again, kill))
    one: NONE when count(2, any(samples, all(go, again)))
    two: NONE when all(raw latest, absent(3s, samples))
    two: NONE when within(3s, all(go, again, optional(1s, kill)))
    three: NONE when each(key, within(tumbling 2s, count(2, model.*)))
    three: NONE when each(key, absent(2s, model.a, model.*))
    four: NONE when all(custom(sum, 3, raw, model.b), not(2s, halt), is(one QUEUED/RUNNING))
    four: NONE when any(raw, model.*) from latest
    wf: START when absent(5s, all(raw, halt), go)
";
const NEWER: &str = "
    features: function
    train: START when samples
    train: STOP when kill
    wf: START when raw=1
    wf: START when all(raw, raw=1)
    wf: RESTART when again
    wf: STOP when halt
    wf: START when all(go, samples) from 0
    wf: START when any(model.*, absent(3s, raw)) from latest
    train: NONE when each(key, count(2, any(samples, model.*))) from 3
    admit wf concurrency(1) priority(2)
";

/// A step of a random history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Play(&'static str),
    Event(&'static str, Option<Index>),
    Report(Index, bool, &'static str),
    Act(&'static str, &'static str, Index),
    Stop(Index),
    Submit,
}

fn a_step() -> impl Strategy<Value = Step> {
    let text = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    let plays =
        text(&["start", "start next", "start all", "tick 1s", "tick 2s", "disable wf", "enable wf", "start nothing"]);
    let keys = text(&["go", "kill", "samples", "again", "raw", "raw=1", "halt", "model.a", "model.b=1"]);
    let reports = text(&["started", "ready", "ok", "ok", "failed", "fatal", "lost", "stopped", "timedout"]);
    let actions = text(&["START", "STOP", "RESTART", "NONE"]);
    let jobs = text(&["features", "infer", "train", "evaluate", "deploy"]);
    prop_oneof![
        3 => plays.prop_map(Step::Play),
        5 => (keys, prop::option::of(any::<Index>())).prop_map(|(key, of)| Step::Event(key, of)),
        9 => (any::<Index>(), any::<bool>(), reports).prop_map(|(job, stale, report)| Step::Report(job, stale, report)),
        2 => (actions, jobs, any::<Index>()).prop_map(|(action, job, of)| Step::Act(action, job, of)),
        1 => any::<Index>().prop_map(Step::Stop),
        1 => Just(Step::Submit),
    ]
}

/// Steps, each with whether the engine sees it at once or only together with the next.
pub(super) fn a_history() -> impl Strategy<Value = Vec<(Step, bool)>> {
    prop::collection::vec((a_step(), prop::bool::weighted(0.7)), 1..50)
}

pub(super) fn play(history: &[(Step, bool)], mut between: impl FnMut(usize, &mut World)) -> World {
    let mut world = World::new(RULES);
    world.play("start");
    for (i, (step, at_once)) in history.iter().enumerate() {
        let text = match step {
            Step::Play(text) => (*text).to_owned(),
            Step::Event(key, None) => (*key).to_owned(),
            Step::Event(key, Some(of)) => {
                format!("@{} {key}", of.index(world.executions.len()) + 1)
            }
            Step::Report(job, stale, report) => {
                let job = world.jobs.values().nth(job.index(world.jobs.len())).expect("in range");
                let attempt = job.attempt.saturating_sub(u32::from(*stale && job.attempt > 1));
                format!("{}-{attempt} {report}", world.name_of(job.id))
            }
            Step::Act(action, job, of) => {
                format!("act {action} {job} @{}", of.index(world.executions.len()) + 1)
            }
            Step::Stop(of) => format!("stop @{}", of.index(world.executions.len()) + 1),
            Step::Submit => format!("submit {{{NEWER}}}"),
        };
        world.step(&text);
        if *at_once {
            world.decide();
        }
        between(i, &mut world);
    }
    world.decide();
    world
}

/// Everything that a series of decisions said, and where it led.
#[derive(Debug, Default, PartialEq)]
struct Told {
    events: Vec<NewEvent>,
    commands: Vec<Command>,
    firings: BTreeMap<FiringId, NewFiring>,
    dead_letters: Vec<DeadLetter>,
    executions: BTreeMap<WorkflowExecutionId, WorkflowExecution>,
    jobs: BTreeMap<JobExecutionId, JobExecution>,
    workflows: BTreeMap<String, WorkflowState>,
    engine: String,
}

impl Told {
    fn hear(&mut self, decision: Decision) {
        self.events.extend(decision.events);
        self.commands.extend(decision.commands);
        self.firings.extend(decision.firings);
        self.dead_letters.extend(decision.dead_letters);
        self.executions
            .extend(decision.executions.into_iter().map(|(id, execution)| (id, Arc::unwrap_or_clone(execution))));
        self.jobs.extend(decision.jobs.into_iter().map(|(id, job)| (id, Arc::unwrap_or_clone(job))));
        let workflows = decision.workflows.into_iter();
        self.workflows.extend(workflows.map(|(key, state)| (key.to_string(), Arc::unwrap_or_clone(state))));
    }

    fn of(world: &World) -> Self {
        let mut told = Self::default();
        world.decisions.iter().cloned().for_each(|decision| told.hear(decision));
        told.engine = snapshot_json(&world.engine.snapshot());
        told
    }
}

/// Lets an engine see a log in batches; after each of them, `between` may exchange it.
fn replay(log: &[Input], batches: &[usize], between: impl Fn(Engine) -> Engine) -> Told {
    let mut engine = Engine::new().with_conditions(super::world::conditions());
    let mut told = Told::default();
    let mut rest = log;
    let mut batches = batches.iter().cycle();
    while !rest.is_empty() {
        let batch = batches.next().map_or(1, |n| (*n).min(rest.len()));
        let decision = engine.decide(&rest[..batch]);
        assert!((1..=batch).contains(&decision.consumed));
        rest = &rest[decision.consumed..];
        told.hear(decision.clone());
        engine.apply(&decision);
        engine = between(engine);
    }
    told.engine = snapshot_json(&engine.snapshot());
    told
}

#[test]
fn nothing_decided_changes_nothing() {
    assert_eq!(Engine::new().decide(&[]), Decision::default());
}

#[test]
fn deciding_does_not_change_the_engine() {
    let mut world = World::new(RULES);
    world.play("start | features started | samples | go");
    let before = snapshot_json(&world.engine.snapshot());
    let last = world.log.last().expect("a log").clone();
    let first = world.engine.decide(std::slice::from_ref(&last));
    assert_eq!(world.engine.decide(std::slice::from_ref(&last)), first);
    assert_eq!(snapshot_json(&world.engine.snapshot()), before);
}

#[test]
fn a_start_and_a_newer_version_in_one_batch_keep_both() {
    let mut world = World::new("train: START when a");
    world.step("start");
    world.step("submit { train: START when b }");
    world.step("a");
    let told = replay(&world.log, &[2, 100], |engine| engine);
    world.decide();
    assert_eq!(told.commands.len(), 1, "{told:?}");
    assert_eq!(told.commands, Told::of(&world).commands);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_history_gives_the_same_trace(history in a_history()) {
        let (first, second) = (play(&history, |_, _| ()), play(&history, |_, _| ()));
        prop_assert_eq!(first.trace(), second.trace());
    }

    /// The log, replayed from its beginning in batches of any size, leads to the same state, events, commands and records.
    #[test]
    fn the_size_of_batches_does_not_matter(
        history in a_history(),
        batches in prop::collection::vec(1_usize..40, 1..8),
    ) {
        let world = play(&history, |_, _| ());
        prop_assert_eq!(replay(&world.log, &batches, |engine| engine), Told::of(&world));
    }

    #[test]
    fn an_engine_restored_after_every_batch_goes_on_as_before(
        history in a_history(),
        batches in prop::collection::vec(1_usize..10, 1..8),
    ) {
        let world = play(&history, |_, _| ());
        let restored = |engine: Engine| super::world::through_json(&engine);
        prop_assert_eq!(replay(&world.log, &batches, restored), Told::of(&world));
    }

    #[test]
    fn a_world_restored_half_way_gives_the_same_trace(history in a_history(), at in any::<Index>()) {
        let whole = play(&history, |_, _| ());
        let at = at.index(history.len());
        let restored = play(&history, |i, world| if i == at { world.restore() });
        prop_assert_eq!(restored.trace(), whole.trace());
        prop_assert_eq!(Told::of(&restored), Told::of(&whole));
    }

    /// What the engine announced is what its log holds, in the order in which it was said.
    #[test]
    fn the_log_holds_what_the_engine_announced(history in a_history()) {
        let world = play(&history, |_, _| ());
        let own = world.log.iter().map(|input| &input.event.body).filter(|event| event.id.starts_with("aiflow:"));
        let own: Vec<NewEvent> = own.cloned().collect();
        prop_assert_eq!(own, Told::of(&world).events);
    }
}
