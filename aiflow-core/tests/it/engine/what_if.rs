//! What would other rules have done? Histories of played worlds, replayed.

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::client::{AiFlow, WhatIf};
use aiflow_core::execution::{FiringOutcome, FiringRecord};
use aiflow_core::id::Offset;
use aiflow_core::why::{ComparedFiring, Side, StartedThen};
use aiflow_core::workflow::Workflow;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::determinism::{a_history, play};
use super::text::parse_rules;
use super::why::stored;
use super::world::{World, conditions};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn replayed(flow: &AiFlow, question: WhatIf) -> Vec<ComparedFiring> {
    let mut replay = flow.what_if(question.conditions(conditions())).await.unwrap();
    let mut firings = Vec::new();
    let mut covered = Offset::START;
    while let Some(page) = replay.next_page().await.unwrap() {
        assert!(page.covered > covered && !page.is_cut);
        covered = page.covered;
        firings.extend(page.firings);
    }
    firings
}

fn with(workflows: Vec<Workflow>) -> WhatIf {
    workflows.into_iter().fold(WhatIf::over_all(), WhatIf::with)
}

/// Plays `events` against `rules`, and replays them against `others`.
fn check(rules: &str, events: &str, others: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    let text = block_on(async {
        let flow = stored(&world).await;
        let mut text = String::new();
        for ComparedFiring { side, firing } in replayed(&flow, with(parse_rules(others))).await {
            let sign = match side {
                Side::Both => '=',
                Side::OnlyFirst => '-',
                Side::OnlySecond => '+',
            };
            text = format!("{text}{sign} {firing}\n");
        }
        text
    });
    expected.assert_eq(&text);
}

/// What a firing is, however it was found.
type Told = (Offset, String);

fn told(at: Offset, record: &FiringRecord) -> Option<Told> {
    let by = record.firing.rule.as_ref().map(ToString::to_string);
    let by = by.or(record.firing.schedule.as_ref().map(|time| time.schedule.to_string()))?;
    Some((at, format!("{by} {:?} {:?} {:?}", record.outcome, record.job, record.firing.events)))
}

/// What a world has recorded of its firings: those that left a record of their own, and all executions that rules started.
fn recorded(world: &World) -> (BTreeMap<Told, usize>, BTreeSet<String>) {
    let (mut records, mut started) = (BTreeMap::new(), BTreeSet::new());
    let mut waiting = BTreeSet::new();
    for decision in &world.decisions {
        for firing in decision.firings.values() {
            if firing.record.outcome == FiringOutcome::Waiting && !waiting.insert(firing.id) {
                continue;
            }
            if let Some(told) = told(decision.cursor, &firing.record) {
                *records.entry(told).or_default() += 1;
            }
        }
        let by_rule = |cause: &aiflow_core::execution::Firing| cause.rule.is_some() || cause.schedule.is_some();
        started
            .extend(decision.executions.values().filter(|e| by_rule(&e.cause)).map(|e| format!("workflow {}", e.id)));
        started.extend(decision.jobs.values().filter(|job| by_rule(&job.cause)).map(|job| format!("job {}", job.id)));
    }
    (records, started)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// With the definitions of then, a replay fires exactly as recorded, whatever happened.
    #[test]
    fn unchanged_definitions_fire_exactly_as_recorded(history in a_history()) {
        let world = play(&history, |_, _| ());
        let firings = block_on(async {
            let flow = stored(&world).await;
            replayed(&flow, WhatIf::over_all()).await
        });
        let (mut records, mut started) = (BTreeMap::new(), BTreeSet::new());
        let (expected_records, expected_started) = recorded(&world);
        for ComparedFiring { side, firing } in firings {
            prop_assert_eq!(side, Side::Both, "{}", firing);
            prop_assert_eq!(firing.moment, None);
            match &firing.started {
                Some(StartedThen::AsRecorded(id)) => {
                    let kind = if firing.record.job.is_some() { "job" } else { "workflow" };
                    started.insert(format!("{kind} {id}"));
                }
                Some(StartedThen::Not) => prop_assert!(false, "{} was recorded", firing),
                None => prop_assert_ne!(firing.record.outcome, FiringOutcome::Started),
            }
            // What started at once left no record of its own.
            let is_record = |told: &Told| firing.record.outcome != FiringOutcome::Started || expected_records.contains_key(told);
            if let Some(told) = told(firing.at, &firing.record).filter(is_record) {
                *records.entry(told).or_default() += 1;
            }
        }
        prop_assert_eq!(started, expected_started);
        prop_assert_eq!(records, expected_records);
    }
}

const RULES: &str = "b: START when go; c: START when status(b SUCCEEDED)";
const EVENTS: &str = "start | go | b started | b ok | c started | c ok | go | b started | b failed";

#[test]
fn the_same_rules_in_place_of_themselves_change_nothing() {
    check(
        RULES,
        EVENTS,
        RULES,
        expect![[r#"
            = at event 4: START job b in execution 2.0 by rule start-6fac818c1d71: event 4 made it fire and start (execution 4.0)
            = at event 8: START job c in execution 2.0 by rule start-e73e2c81bca2: event 8 made it fire and start (execution 8.0)
            = at event 13: START job b in execution 2.0 by rule start-6fac818c1d71: event 13 made it fire and start (execution 13.0)
        "#]],
    );
}

/// A neighbour names runs by number: another rule that fires first takes the number, and the reports of the one are taken for those of the other.
#[test]
fn what_is_reported_of_one_job_is_never_taken_for_anothers() {
    check(
        RULES,
        EVENTS,
        "a: START when go; d: START when status(a SUCCEEDED); b: START when go; c: START when status(b SUCCEEDED)",
        expect![[r#"
            = at event 4: START job b in execution 2.0 by rule start-6fac818c1d71: event 4 made it fire and start (execution 4.0)
            + at event 4: START job a in execution 2.0 by rule start-6fac818c1d71: event 4 made it fire and start what was not started then: nothing is known of what would have followed
            = at event 8: START job c in execution 2.0 by rule start-e73e2c81bca2: event 8 made it fire and start (execution 8.0)
            + at event 13: START job a in execution 2.0 by rule start-6fac818c1d71: event 13 made it fire in vain: the job was live already
            = at event 13: START job b in execution 2.0 by rule start-6fac818c1d71: event 13 made it fire and start (execution 13.0)
        "#]],
    );
    let (rules, events) = (
        "x: function\nworkflow two\nwf: START when raw\ny: function\nz: START when status(y SUCCEEDED)",
        "raw | y started | y ok",
    );
    check(
        rules,
        events,
        "x: function; wf: START when raw; z: START when status(x SUCCEEDED)",
        expect![[r#"
            = at event 3: START workflow two by rule start-8060afb40401: event 3 made it fire and start (execution 3.0)
            + at event 3: START workflow wf by rule start-8060afb40401: event 3 made it fire and start what was not started then: nothing is known of what would have followed
            = at event 8: START job z in execution 3.0 by rule start-ca9577bb9e33: event 8 made it fire and start (execution 8.0)
        "#]],
    );
}

#[test]
fn a_stricter_rule_fires_less() {
    check(
        "train: NONE when drift>2",
        "start | drift=1 | drift=3 | drift=7",
        "train: NONE when drift>5",
        expect![[r#"
            - at event 5: NONE job train in execution 2.0 by rule none-d7096d451003: event 5 made it fire, and its action is to do nothing
            = at event 6: NONE job train in execution 2.0 by rule none-402105a05b27: event 6 made it fire, and its action is to do nothing
        "#]],
    );
}

#[test]
fn what_was_not_started_then_has_no_future() {
    check(
        "a: START when go; b: START when status(a FAILED)",
        "start | go | a started | a ok",
        "a: START when go; b: START when status(a SUCCEEDED); c: START when status(b RUNNING)",
        expect![[r#"
            = at event 4: START job a in execution 2.0 by rule start-6fac818c1d71: event 4 made it fire and start (execution 4.0)
            + at event 8: START job b in execution 2.0 by rule start-82640028ec6c: event 8 made it fire and start what was not started then: nothing is known of what would have followed
        "#]],
    );
}

#[test]
fn moments_that_only_other_rules_wait_for_come_when_they_are_due() {
    check(
        "train: NONE when never",
        "start | go | tick 4s | beat | go | skip 9s | other",
        "train: NONE when absent(5s, beat, go)",
        expect![[r#"
            + at 1970-01-01T00:00:09.000Z, before event 7: NONE job train in execution 2.0 by rule none-70c29c6bb32c: events 6 and 7 made it fire, and its action is to do nothing
        "#]],
    );
    check(
        "train: NONE when never",
        "start | go | skip 25s | go",
        "train: NONE when never; schedule train [often] every 10s",
        expect![[r#"
            + at 1970-01-01T00:00:10.000Z, before event 5: START job train in execution 2.0 by schedule often: event 5 made it fire and start what was not started then: nothing is known of what would have followed
            + at 1970-01-01T00:00:20.000Z, before event 5: START job train in execution 2.0 by schedule often: event 5 made it fire in vain: the job was live already
        "#]],
    );
}

#[test]
fn a_range_begins_with_the_definitions_of_then_and_nothing_else() {
    let mut world = World::new("train: function; wf: START [r] when all(raw, go)");
    world.play("raw | go | go | raw");
    let after = world.log.iter().position(|input| input.event.key == "go").unwrap() as u64 + 1;
    let text = block_on(async {
        let flow = stored(&world).await;
        let other = parse_rules("train: function; wf: START when go").remove(0);
        let through = Offset(world.log.len() as u64);
        let mut replay = flow.what_if(WhatIf::over(Offset(after), through).with(other)).await.unwrap();
        replay.difference().await.unwrap().to_string()
    });
    expect![[r#"
        0 firings on both sides, 1 only on the first, 1 only on the second
        - at event 6: START workflow wf by rule r: events 5 and 6 made it fire and start (execution 6.0)
        + at event 5: START workflow wf by rule start-6fac818c1d71: event 5 made it fire and start what was not started then: nothing is known of what would have followed"#]].assert_eq(&text);
}

#[test]
fn two_candidates_are_compared_with_one_another() {
    let mut world = World::new("train: NONE when never");
    world.play("start | drift=1 | drift=3 | drift=7");
    let text = block_on(async {
        let flow = stored(&world).await;
        let candidate = |rules: &str| parse_rules(rules).remove(0);
        let question = WhatIf::over_all()
            .instead_of(candidate("train: NONE when drift>2"))
            .with(candidate("train: NONE when drift<5"));
        let mut replay = flow.what_if(question).await.unwrap();
        replay.difference().await.unwrap().to_string()
    });
    expect![[r#"
        1 firings on both sides, 1 only on the first, 1 only on the second
        - at event 6: NONE job train in execution 2.0 by rule none-d7096d451003: event 6 made it fire, and its action is to do nothing
        + at event 4: NONE job train in execution 2.0 by rule none-0a364566fa95: event 4 made it fire, and its action is to do nothing"#]].assert_eq(&text);
}

#[test]
fn a_definition_with_errors_is_refused_and_trimmed_events_are_missed() {
    let mut world = World::new("train: NONE when go");
    world.play("start | go");
    block_on(async {
        let flow = stored(&world).await;
        let mut bad = parse_rules("train: NONE when go").remove(0);
        bad.jobs.clear();
        let error = flow.what_if(WhatIf::over_all().with(bad)).await.unwrap_err();
        assert_eq!(error.kind(), aiflow_core::ErrorKind::Invalid);
        flow.bus().trim(Offset(2)).await.unwrap();
        let mut replay = flow.what_if(WhatIf::over(Offset(1), Offset(3))).await.unwrap();
        assert_eq!(replay.next_page().await.unwrap_err().kind(), aiflow_core::ErrorKind::NotFound);
        assert!(replayed(&flow, WhatIf::over_all()).await.is_empty());
    });
}

/// What a rule of a side asks for of the past is shown to it when it comes, whatever the rules of then asked for.
#[test]
fn rules_that_begin_in_the_past_are_shown_it_on_their_side() {
    let late = |when: &str| format!("workflow late; y: function; wf: START [r] when {when}");
    let events = |when: &str| format!("a=1 | a=2 | submit {{ {} }} | a=2 | a=1", late(when));
    let same = late("a=1 from 0");
    check(
        "x: function",
        &events("a=1 from 0"),
        &same,
        expect![[r#"
        = at event 5: START workflow late by rule r: event 2 made it fire and start (execution 5.0)
        = at event 8: START workflow late by rule r: event 8 made it fire and start (execution 8.0)
    "#]],
    );
    check(
        "x: function",
        &events("a=1 from 0"),
        &late("a from latest"),
        expect![[r#"
            + at event 4: START workflow late by rule r: event 3 made it fire and start what was not started then: nothing is known of what would have followed
            - at event 5: START workflow late by rule r: event 2 made it fire and start (execution 5.0)
            + at event 7: START workflow late by rule r: event 7 made it fire and start what was not started then: nothing is known of what would have followed
            = at event 8: START workflow late by rule r: event 8 made it fire and start (execution 8.0)
        "#]],
    );
    check(
        "x: function",
        &events("a=1"),
        &late("a=1 from 0"),
        expect![[r#"
            + at event 4: START workflow late by rule r: event 2 made it fire and start what was not started then: nothing is known of what would have followed
            = at event 6: START workflow late by rule r: event 6 made it fire and start (execution 6.0)
        "#]],
    );
    check(
        "x: function; train: START when model",
        "model=1 | model=2 | start",
        "x: function; train: START when model from latest",
        expect![[r#"
            + at event 4: START job train in execution 4.0 by rule start-b4981b66e5ff: event 3 made it fire and start what was not started then: nothing is known of what would have followed
        "#]],
    );
}
