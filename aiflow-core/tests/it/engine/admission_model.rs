//! Admission against a naive model: each stage takes the list of all starts that ever come to it, and gives the list of those that leave it,
//! each with its moment.

use std::collections::BTreeMap;
use std::time::Duration;

use aiflow_core::execution::FiringOutcome;
use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Admission, BatchOf, Debounce, Idempotency, Rate};
use proptest::prelude::*;

use super::naive::Offsets;
use super::text::parse_rules;
use super::world::World;

/// A firing on its way through the stages.
#[derive(Debug, Clone)]
struct Start {
    /// The event that fired, after which it is named.
    name: Offset,
    /// The parameters that keys are formed of.
    params: BTreeMap<String, i64>,
    /// The events of all that were joined into it.
    events: Offsets,
    /// When it comes to the stage.
    at: Timestamp,
}

/// What becomes of a firing, when, and with which events if it starts.
type Fate = (FiringOutcome, Option<Timestamp>, Offsets);
type Fates = BTreeMap<Offset, Fate>;

impl Start {
    fn key(&self, names: &[String]) -> Vec<i64> {
        names.iter().map(|name| self.params[name]).collect()
    }

    fn ends(&self, outcome: FiringOutcome, at: Timestamp, fates: &mut Fates) {
        fates.insert(self.name, (outcome, Some(at), Offsets::new()));
    }
}

/// What becomes of each start until `now`.
fn interpret(admission: &Admission, starts: &[Start], now: Timestamp) -> Fates {
    let mut fates = Fates::new();
    let starts = match &admission.idempotency {
        Some(idempotency) => first_of_each_key(idempotency, admission, starts, &mut fates),
        None => starts.to_vec(),
    };
    fates.extend(after_idempotency(admission, &starts));
    for (outcome, at, events) in fates.values_mut() {
        if at.is_some_and(|at| at > now) {
            (*outcome, *at, *events) = (FiringOutcome::Waiting, None, Offsets::new());
        }
    }
    fates
}

/// What becomes of starts behind the first stage.
fn after_idempotency(admission: &Admission, starts: &[Start]) -> Fates {
    let mut fates = Fates::new();
    let mut starts = starts.to_vec();
    if let Some(rate) = &admission.rate_limit {
        starts = within_rate(rate, &starts, &mut fates);
    }
    if let Some(debounce) = &admission.debounce {
        starts = last_of_each_burst(debounce, &starts, &mut fates);
    }
    if let Some(batch) = &admission.batch {
        starts = batches(batch, &starts, &mut fates);
    }
    if let Some(rate) = &admission.throttle {
        starts = in_turn(rate, &starts);
    }
    for start in starts {
        fates.insert(start.name, (FiringOutcome::Started, Some(start.at), start.events));
    }
    fates
}

/// A start is dropped if one with its key came through before, not too long ago, and was not dropped meanwhile.
fn first_of_each_key(by: &Idempotency, admission: &Admission, starts: &[Start], fates: &mut Fates) -> Vec<Start> {
    let mut passed: Vec<Start> = Vec::new();
    for start in starts {
        let known = after_idempotency(admission, &passed);
        let is_dropped = |other: &Start| {
            let (outcome, at, _) = &known[&other.name];
            at.is_some_and(|at| at <= start.at) && !matches!(outcome, FiringOutcome::Started | FiringOutcome::Batched)
        };
        let is_same = |other: &Start| other.key(&by.key) == start.key(&by.key) && start.at.since(other.at) < by.window;
        if passed.iter().any(|other| is_same(other) && !is_dropped(other)) {
            start.ends(FiringOutcome::Duplicate, start.at, fates);
        } else {
            passed.push(start.clone());
        }
    }
    passed
}

/// A start is dropped if as many as are allowed came through in the stretch of time that ends with it.
fn within_rate(rate: &Rate, starts: &[Start], fates: &mut Fates) -> Vec<Start> {
    let mut passed: Vec<Start> = Vec::new();
    for start in starts {
        let is_counted =
            |other: &&Start| other.key(&rate.key) == start.key(&rate.key) && start.at.since(other.at) < rate.per;
        if passed.iter().filter(is_counted).count() < rate.starts as usize {
            passed.push(start.clone());
        } else {
            start.ends(FiringOutcome::RateLimited, start.at, fates);
        }
    }
    passed
}

/// The starts of each key, and each key's starts in groups: the first of a group, and all that come before the group is done.
fn groups(starts: &[Start], key: &[String], is_done: impl Fn(&[Start], &Start) -> bool) -> Vec<Vec<Start>> {
    let mut keys: BTreeMap<Vec<i64>, Vec<Vec<Start>>> = BTreeMap::new();
    for start in starts {
        let groups = keys.entry(start.key(key)).or_default();
        match groups.last_mut().filter(|group| !is_done(group, start)) {
            Some(group) => group.push(start.clone()),
            None => groups.push(vec![start.clone()]),
        }
    }
    keys.into_values().flatten().collect()
}

/// One start for all that come in quick succession: the last, when nothing came for a while, or the first has waited long enough.
fn last_of_each_burst(debounce: &Debounce, starts: &[Start], fates: &mut Fates) -> Vec<Start> {
    let due = |group: &[Start]| {
        let quiet = group[group.len() - 1].at + debounce.quiet;
        debounce.longest.map_or(quiet, |longest| quiet.min(group[0].at + longest))
    };
    let mut passed = Vec::new();
    for group in groups(starts, &debounce.key, |group, next| next.at >= due(group)) {
        for pair in group.windows(2) {
            pair[0].ends(FiringOutcome::Replaced, pair[1].at, fates);
        }
        passed.push(Start { at: due(&group), ..group[group.len() - 1].clone() });
    }
    passed.sort_by_key(|start| start.at);
    passed
}

/// One start for several, when there are enough of them, or the first has waited long enough.
fn batches(batch: &BatchOf, starts: &[Start], fates: &mut Fates) -> Vec<Start> {
    let is_full = |group: &[Start]| group.len() == batch.firings as usize;
    let late = |group: &[Start]| group[0].at + batch.within;
    let mut passed = Vec::new();
    for group in groups(starts, &batch.key, |group, next| is_full(group) || next.at >= late(group)) {
        let named = if is_full(&group) { group.last() } else { group.iter().max_by_key(|start| start.name) };
        let named = named.expect("a group has a first");
        let at = if is_full(&group) { named.at } else { late(&group) };
        for other in group.iter().filter(|other| other.name != named.name) {
            other.ends(FiringOutcome::Batched, at, fates);
        }
        let events = group.iter().flat_map(|start| start.events.iter().copied()).collect();
        passed.push(Start { at, events, ..named.clone() });
    }
    passed.sort_by_key(|start| start.at);
    passed
}

/// All start, one after the other: whenever there is room, the oldest firing of those that have come.
fn in_turn(rate: &Rate, starts: &[Start]) -> Vec<Start> {
    let mut passed: Vec<Start> = Vec::new();
    for mut waiting in groups(starts, &rate.key, |_, _| false) {
        let mut went: Vec<Timestamp> = Vec::new();
        while let Some(first) = waiting.iter().map(|start| start.at).min() {
            let room = went.len().checked_sub(rate.starts as usize).map(|nth| went[nth] + rate.per);
            let at = room.map_or(first, |room| room.max(first));
            let come = waiting.iter().enumerate().filter(|(_, start)| start.at <= at);
            let (place, _) = come.min_by_key(|(_, start)| start.name).expect("the first has come");
            went.push(at);
            passed.push(Start { at, ..waiting.remove(place) });
        }
    }
    passed
}

/// What the engine made of each firing.
fn decided(world: &World) -> Fates {
    let mut fates = Fates::new();
    for (input, decision) in world.log.iter().zip(&world.decisions) {
        for (id, firing) in &decision.firings {
            let outcome = match firing.record.outcome {
                // Of a job that is live: it was admitted all the same.
                FiringOutcome::AlreadyLive => FiringOutcome::Started,
                other => other,
            };
            let at = (outcome != FiringOutcome::Waiting).then_some(input.event.recorded);
            let starts = outcome == FiringOutcome::Started;
            let events = firing.record.firing.events.iter().copied().filter(|_| starts).collect();
            fates.insert(id.cause, (outcome, at, events));
        }
    }
    fates
}

/// Stages in the text form, with what their keys are formed of.
fn stages(max: usize) -> impl Strategy<Value = Vec<String>> {
    let seconds = || 1_u32..7;
    let once = seconds().prop_map(|n| format!("once(k,{n}s)"));
    let rate = (1_u32..4, seconds()).prop_map(|(n, per)| format!("rate({n},{per}s)"));
    let debounce = (seconds(), prop::option::of(seconds())).prop_map(|(quiet, more)| match more {
        Some(more) => format!("debounce({quiet}s,{}s)", quiet + more),
        None => format!("debounce({quiet}s)"),
    });
    let batch = (1_u32..5, seconds()).prop_map(|(n, within)| format!("batch({n},{within}s)"));
    let throttle = (1_u32..4, seconds()).prop_map(|(n, per)| format!("throttle({n},{per}s)"));
    let stage = prop_oneof![once, rate, debounce, batch, throttle];
    prop::collection::vec(stage, 1..=max)
}

/// Plays starts after these pauses, of a workflow or of a job, and compares what became of them.
fn compare(
    stages: &[String],
    keyed: usize,
    starts: &[(u64, i64, i64)],
    is_job: bool,
    restored: usize,
) -> Result<(), TestCaseError> {
    let mut stages = stages.to_vec();
    stages.insert(keyed, "per(g)".to_owned());
    let subject = if is_job { "train" } else { "wf" };
    let rules = format!(
        "train: STOP when never; completion standing
         {subject}: START when data with k=/k g=/g
         admit {subject} {}",
        stages.join(" ")
    );
    let rules = if is_job { rules } else { format!("{rules}\nparam wf k integer; param wf g integer") };
    let mut world = World::new(&rules);
    if is_job {
        world.play("start");
    }
    let mut model = Vec::new();
    for (i, (pause, k, g)) in starts.iter().enumerate() {
        world.play(&format!("tick {pause}ms"));
        let name = Offset(u64::try_from(world.log.len()).expect("a short log") + 1);
        let params = BTreeMap::from([("k".to_owned(), *k), ("g".to_owned(), *g)]);
        model.push(Start { name, params, events: Offsets::from([name]), at: world.now() });
        world.play(&format!(r#"data={{"k":{k},"g":{g}}}"#));
        if i == restored {
            world.restore();
        }
    }
    world.play("tick 2s");
    let definition = parse_rules(&rules).remove(0);
    let admission = if is_job { &definition.jobs[0].admission } else { &definition.admission };
    prop_assert_eq!(decided(&world), interpret(admission, &model, world.now()), "{}", rules);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Starts and ends of waits fall together here: each edge is met.
    #[test]
    fn a_stage_agrees_with_a_model_of_all_starts(
        stage in stages(1),
        is_keyed in any::<bool>(),
        starts in prop::collection::vec((0_u64..5, 0_i64..3, 0_i64..2), 1..40),
        is_job in any::<bool>(),
        restored in 0_usize..40,
    ) {
        let starts: Vec<_> = starts.into_iter().map(|(seconds, k, g)| (seconds * 1_000, k, g)).collect();
        compare(&stage, usize::from(is_keyed), &starts, is_job, restored)?;
    }

    /// No two moments are the same here, so that there is one order in which stages pass things on.
    #[test]
    fn stages_agree_with_a_model_of_all_starts_one_after_the_other(
        stages in stages(5),
        keyed in any::<prop::sample::Index>(),
        starts in prop::collection::vec((0_u64..4, 0_i64..3, 0_i64..2), 1..40),
        is_job in any::<bool>(),
        restored in 0_usize..40,
    ) {
        let starts: Vec<_> = starts.into_iter().map(|(seconds, k, g)| (seconds * 1_000 + 7, k, g)).collect();
        let keyed = keyed.index(stages.len() + 1);
        compare(&stages, keyed, &starts, is_job, restored)?;
    }
}

#[test]
fn the_model_tells_a_burst_from_two() {
    let start = |name: u64, at: u64| Start {
        name: Offset(name),
        params: BTreeMap::new(),
        events: Offsets::from([Offset(name)]),
        at: Timestamp::EPOCH + Duration::from_secs(at),
    };
    let admission = Admission::new().debounce(Duration::from_secs(5), None);
    let fates = interpret(&admission, &[start(1, 0), start(2, 4), start(3, 9)], start(4, 20).at);
    let outcomes: Vec<FiringOutcome> = fates.values().map(|(outcome, ..)| *outcome).collect();
    assert_eq!(outcomes, [FiringOutcome::Replaced, FiringOutcome::Started, FiringOutcome::Started]);
}
