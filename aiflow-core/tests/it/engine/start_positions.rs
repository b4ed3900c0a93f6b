//! Start positions: what does a new rule see of the log before it?

use aiflow_core::execution::{CatchUp, RuleState};
use aiflow_core::id::{Offset, RuleName};
use expect_test::expect;
use proptest::prelude::*;

use super::text::check;
use super::world::World;

/// What the rule `r` of workflow `wf` has seen.
fn rule_state(world: &World) -> RuleState {
    let snapshot = world.engine.snapshot();
    let workflow = snapshot.workflows.iter().find(|workflow| workflow.name.as_str() == "wf").expect("it is submitted");
    let state = workflow.rules.get(&RuleName::parse("r").unwrap()).expect("it has a state");
    RuleState::clone(state)
}

fn catch_up(world: &World) -> CatchUp {
    rule_state(world).catch_up.expect("it begins in the past")
}

#[test]
fn a_rule_from_an_offset_is_shown_the_events_from_there_in_their_order_and_then_those_that_come() {
    check(
        "train: NONE when x",
        "a=1 | a=2 | b | a=3 | submit { train: NONE when x; wf: START [r] when a with n=value from 3 } | a=4",
        expect![[r#"
            7 p/wf/r catches up
              wf#1 RUNNING v2 by r [3]
              wf#2 RUNNING v2 by r [5]
              train#1 QUEUED by start [7]
              train#2 QUEUED by start [7]
              launch train#1-1
              launch train#2-1
            10 a=4
              wf#3 RUNNING v2 by r [10]
              train#3 QUEUED by start [10]
              launch train#3-1
        "#]],
    );
}

#[test]
fn what_comes_while_a_rule_catches_up_is_neither_missed_nor_seen_twice() {
    check(
        "train: NONE when x",
        "page 2 | a=1 | a=2 | a=3 | a=4 & submit { train: NONE when x; wf: START [r] when a from 0 } & a=5 & a=6 & a=7 | a=8",
        expect![[r#"
            10 p/wf/r catches up
              wf#1 RUNNING v2 by r [2]
              wf#2 RUNNING v2 by r [3]
              train#1 QUEUED by start [10]
              train#2 QUEUED by start [10]
              launch train#1-1
              launch train#2-1
            13 p/wf/r catches up
              wf#3 RUNNING v2 by r [4]
              wf#4 RUNNING v2 by r [5]
              train#3 QUEUED by start [13]
              train#4 QUEUED by start [13]
              launch train#3-1
              launch train#4-1
            16 p/wf/r catches up
              wf#5 RUNNING v2 by r [7]
              wf#6 RUNNING v2 by r [8]
              train#5 QUEUED by start [16]
              train#6 QUEUED by start [16]
              launch train#5-1
              launch train#6-1
            19 p/wf/r catches up
              wf#7 RUNNING v2 by r [9]
              train#7 QUEUED by start [19]
              launch train#7-1
            21 a=8
              wf#8 RUNNING v2 by r [21]
              train#8 QUEUED by start [21]
              launch train#8-1
        "#]],
    );
}

/// A submission of the same rule, at work or catching up, with or without a start position, is no new rule.
#[test]
fn a_start_position_is_no_part_of_what_a_rule_is() {
    check(
        "wf: START [r] when all(a, b); train: NONE when x",
        "a | submit { wf: START [r] when all(a, b) from 0; train: NONE when y } | b | b | submit { wf: START [r] when all(a, b) from latest; train: NONE when z } | a",
        expect![[r#"
            4 b
              wf#1 RUNNING v2 by r [2 4]
              train#1 QUEUED by start [4]
              launch train#1-1
            8 a
              wf#2 RUNNING v3 by r [6 8]
              train#2 QUEUED by start [8]
              launch train#2-1
        "#]],
    );
}

#[test]
fn of_each_key_the_latest_event_counts_and_not_the_latest_that_passes_the_test() {
    check(
        "train: NONE when x",
        "m.red=1 | m.white=1 | m.red=2 | m.blue=2 | m.red=1 | m.blue=2 type:T | submit { train: NONE when x; wf: START [r] when m.*={2/3} from latest } | m.red=3",
        expect![[r#"
            9 p/wf/r catches up
              wf#1 RUNNING v2 by r [5]
              wf#2 RUNNING v2 by r [7]
              train#1 QUEUED by start [9]
              train#2 QUEUED by start [9]
              launch train#1-1
              launch train#2-1
            12 m.red=3
              wf#3 RUNNING v2 by r [12]
              train#3 QUEUED by start [12]
              launch train#3-1
        "#]],
    );
}

#[test]
fn under_for_each_the_latest_event_of_each_of_its_keys_counts() {
    check(
        "train: NONE when x",
        r#"a={"p":1} | a={"p":2,"n":1} | a={"p":2,"n":2} | a | submit { train: NONE when x; wf: START [r] when each(/p, all(a, b)) from latest } | b={"p":2} | b={"p":1}"#,
        expect![[r#"
            7 p/wf/r catches up
              r [5] START: no_key
            8 b={"p":2}
              wf#1 RUNNING v2 by r [4 8] of 2
              train#1 QUEUED by start [8]
              launch train#1-1
            10 b={"p":1}
              wf#2 RUNNING v2 by r [2 10] of 1
              train#2 QUEUED by start [10]
              launch train#2-1
        "#]],
    );
}

/// Events that follow the submission are not from before: each of them counts.
#[test]
fn what_comes_after_the_rule_counts_even_if_it_is_not_the_latest_of_its_key() {
    check(
        "train: NONE when x",
        "page 1 | a=1 | b=1 | a=2 & submit { train: NONE when x; wf: START [r] when * from:u from latest } | a=3 from:u | a=4 from:u & submit { train: NONE when x; wf: START [s] when * from:u from latest } & a=5 from:u & a=6 from:u",
        expect![[r#"
            7 a=3 from:u
              wf#1 RUNNING v2 by r [7]
              train#1 QUEUED by start [7]
              launch train#1-1
            9 a=4 from:u
              wf#2 RUNNING v2 by r [9]
              train#2 QUEUED by start [9]
              launch train#2-1
            14 p/wf/s catches up
              wf#3 RUNNING v3 by s [9]
              train#3 QUEUED by start [14]
              launch train#3-1
            16 p/wf/s catches up
              wf#4 RUNNING v3 by s [11]
              train#4 QUEUED by start [16]
              launch train#4-1
            18 p/wf/s catches up
              wf#5 RUNNING v3 by s [12]
              train#5 QUEUED by start [18]
              launch train#5-1
        "#]],
    );
}

#[test]
fn the_rule_of_a_new_execution_may_see_what_came_before_it() {
    check(
        "train: START when model from latest; job infer streaming; completion standing",
        "model=1 | model=2 | start | @1 model=3 | start | model=4",
        expect![[r#"
            4 start
              wf#1 RUNNING v1 by start [4]
              infer#1 QUEUED by start [4]
              launch infer#1-1
            6 wf#1/train/start-b4981b66e5ff catches up
              train#1 QUEUED by train.1 [3]
              launch train#1-1
            7 @1 model=3
              train.1 [7] START: already_live
            8 start
              wf#2 RUNNING v1 by start [8]
              infer#2 QUEUED by start [8]
              launch infer#2-1
            10 wf#2/train/start-b4981b66e5ff catches up
              train#2 QUEUED by train.1 [3]
              launch train#2-1
            11 model=4
              train.1 [11] START: already_live
              train.1 [11] START: already_live
        "#]],
    );
}

#[test]
fn a_rule_that_comes_with_an_upgrade_sees_the_past_of_its_execution_and_what_is_for_all() {
    check(
        "job infer streaming; train: NONE when x",
        "start | start | @1 a=1 | @2 a=2 | a=3 | submit { job infer streaming; train: NONE [r] when a from 0 } | upgrade @1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              train#1 QUEUED by start [2]
              launch infer#1-1
              launch train#1-1
            4 start
              wf#2 RUNNING v1 by start [4]
              infer#2 QUEUED by start [4]
              train#2 QUEUED by start [4]
              launch infer#2-1
              launch train#2-1
            11 wf#1/train/r catches up
              r [6] NONE: none
              r [8] NONE: none
        "#]],
    );
}

/// An execution that would be over waits for the rule to catch up.
#[test]
fn an_execution_does_not_end_before_its_rules_have_seen_the_past() {
    check(
        "completion idle; train: START when a from 0",
        "a | start | train ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
            5 wf#1/train/start-4ed180d2755d catches up
              train#1 QUEUED by train.1 [2]
              launch train#1-1
            6 train ok
              train#1 SUCCEEDED
            7 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

/// Windows and waits go by the times of the events: what would have been due meanwhile is due at once, and nothing is between two pages.
#[test]
fn waits_and_windows_go_by_the_times_of_the_events() {
    check(
        "train: NONE when x",
        "page 1 | beat | tick 9s | beat | tick 8s | beat | tick 20s | submit { train: NONE when x; wf: START [r] when absent(10s, beat) from 0; wf: START [w] when within(8s, count(2, beat)) from 0 } | tick 1s | tick 10s",
        expect![[r#"
            9 p/wf/w catches up
              w [2] START: expired
            11 p/wf/w catches up
              wf#1 RUNNING v2 by w [3 4]
              train#1 QUEUED by start [11]
              launch train#1-1
            13 timer of rule r of wf at 27000ms
              wf#2 RUNNING v2 by r [4 13]
              train#2 QUEUED by start [13]
              launch train#2-1
        "#]],
    );
}

#[test]
fn a_rule_that_is_paused_or_disabled_when_it_should_catch_up_lets_the_past_pass() {
    check(
        "train: NONE when x",
        "a=1 | disable wf | submit { train: NONE when x; wf: START [r] when a from 0; wf: STOP [s] when a from 0 } | enable wf | a=2",
        expect![[r#"
            6 p/wf/s catches up
              s [2] STOP: not_live
            8 a=2
              wf#1 RUNNING v2 by r [8]
              train#1 QUEUED by start [8]
              s [8] STOP: not_live
              launch train#1-1
        "#]],
    );
    let mut world = World::new("train: NONE when x");
    world.play("a | submit { train: NONE when x; wf: START [r] when a from 0 } & rule pause wf r | rule resume wf r");
    let expected =
        CatchUp { begun: Offset(3), covered: Offset(4), is_done: true, passed_over: true, ..CatchUp::default() };
    assert_eq!(catch_up(&world), expected);
}

#[test]
fn a_rule_that_goes_or_changes_before_it_has_caught_up_sees_nothing_of_the_past() {
    check(
        "train: NONE when x",
        "a | submit { train: NONE when x; wf: START [r] when a from 0 } & submit { train: NONE when y } | submit { train: NONE when x; wf: START [r] when a from 0 } & rule remove wf r | submit { train: NONE when x; wf: START [r] when any(a, b) from 0 } & submit { train: NONE when x; wf: START [r] when b from 0 } | b",
        expect![[r#"
            13 b
              wf#1 RUNNING v6 by r [13]
              train#1 QUEUED by start [13]
              launch train#1-1
        "#]],
    );
}

#[test]
fn what_was_trimmed_is_said() {
    let mut world = World::new("train: NONE when x");
    world.play("a | a | a | a | trim 3 | page 1 | submit { train: NONE when x; wf: START [r] when a from 2 }");
    let expected = CatchUp {
        begun: Offset(6),
        covered: Offset(8),
        is_done: true,
        n_events: 2,
        lost_through: Some(Offset(3)),
        ..CatchUp::default()
    };
    assert_eq!(catch_up(&world), expected);
}

#[test]
fn a_rule_that_begins_in_the_future_sees_nothing_until_then() {
    check(
        "wf: START [r] when a from 4; train: NONE when x",
        "a=1 | restore | a=2 | a=3 | a=4",
        expect![[r#"
        4 a=3
          wf#1 RUNNING v1 by r [4]
          train#1 QUEUED by start [4]
          launch train#1-1
        6 a=4
          wf#2 RUNNING v1 by r [6]
          train#2 QUEUED by start [6]
          launch train#2-1
    "#]],
    );
}

/// A value that cannot be compared is a dead letter of the event of the past, under the offset of that event.
#[test]
fn an_event_of_the_past_that_cannot_be_evaluated_is_a_dead_letter() {
    let mut world = World::new("train: NONE when x");
    world.play("a={} | a=1 | a=[] | submit { train: NONE when x; wf: START [r] when a>0 from 0 }");
    let letters = world.decisions.iter().flat_map(|decision| &decision.dead_letters);
    let letters: Vec<(String, Offset)> = letters.map(|letter| (letter.id.clone(), letter.offset)).collect();
    assert_eq!(letters, [("2/p/wf/r".to_owned(), Offset(2)), ("4/p/wf/r".to_owned(), Offset(4))]);
    assert_eq!(world.executions.len(), 1);
}

/// A value is handed over as if it came now.
#[test]
fn a_running_job_is_handed_the_values_of_the_past() {
    check(
        "job infer streaming; infer: SIGNAL when model from latest",
        "model=1 | model=2 | start | infer started | model=3",
        expect![[r#"
            4 start
              wf#1 RUNNING v1 by start [4]
              infer#1 QUEUED by start [4]
              launch infer#1-1
            6 wf#1/infer/signal-47d0d892be16 catches up
              infer.1 [3] SIGNAL: handed_over
            7 infer started
              infer#1 RUNNING
              signal infer#1-1 2
            9 model=3
              infer.1 [9] SIGNAL: handed_over
              signal infer#1-1 3
        "#]],
    );
}

const CONDITIONS: [&str; 9] = [
    "a",
    "all(a, b)",
    "any(all(a, b), c)",
    "seq(a, b latest, c)",
    "count(3, any(a, b))",
    "all(a repeated, b=1 repeated, c)",
    "each(key, count(2, any(a, b, c)))",
    "within(2s, all(a, b))",
    "all(custom(sum, 3, a), b)",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// A rule that is added after some events and begins before them comes to the same state, and uses the same events in the same
    /// firings, as one that was there from the start, in pages of any size.
    #[test]
    fn a_rule_from_the_first_event_is_as_if_it_had_always_been_there(
        condition in prop::sample::select(CONDITIONS.to_vec()),
        before in prop::collection::vec(prop::sample::select(vec!["a=1", "b=1", "b=2", "c=1", "a=2", "tick 1s"]), 0..25),
        after in prop::collection::vec(prop::sample::select(vec!["a=1", "b=1", "b=2", "c=1", "tick 1s"]), 0..10),
        page in 1_usize..5,
    ) {
        let others = "train: NONE when x";
        let used = |world: &World| -> Vec<Vec<String>> {
            let event = |offset: &Offset| &world.log[usize::try_from(offset.0).expect("a small number") - 1].event;
            let names = |offset: &Offset| event(offset).context.labels.get("n").cloned();
            let started = world.executions.values().filter(|execution| execution.cause.rule.is_some());
            started.map(|execution| execution.cause.events.iter().filter_map(names).collect()).collect()
        };
        let mut always = World::new(&format!("{others}; wf: START [r] when {condition}; admit wf overlap(allow_all)"));
        let mut added = World::new(others);
        let rule = format!("submit {{ {others}; wf: START [r] when {condition} from 0; admit wf overlap(allow_all) }}");
        added.play(&format!("page {page}"));
        for (n, step) in before.iter().chain(&after).enumerate() {
            if n == before.len() {
                added.play(&rule);
            }
            let step = if step.starts_with("tick") { (*step).to_owned() } else { format!("{step} label:n={n}") };
            always.play(&step);
            added.play(&step);
        }
        if after.is_empty() {
            added.play(&rule);
        }
        prop_assert_eq!(used(&added), used(&always));
    }
}

/// A page that the store refuses for good left the rule without any event, for ever and unseen.
#[test]
fn a_rule_whose_past_cannot_be_applied_goes_on_with_the_present() {
    let mut world = World::new("train: NONE when x");
    world.play(
        "a | a | page 1 | refuse past | submit { train: NONE when x; wf: START [r] when a from 1 } | a | restore | a",
    );
    let expected = CatchUp {
        begun: Offset(4),
        covered: Offset(5),
        is_done: true,
        given_up: Some(Offset(5)),
        ..CatchUp::default()
    };
    assert_eq!(catch_up(&world), expected);
    let letters: Vec<&str> =
        world.decisions.iter().flat_map(|decision| &decision.dead_letters).map(|letter| letter.id.as_str()).collect();
    assert_eq!(letters, ["5"]);
    let used: Vec<_> = world.executions.values().map(|execution| execution.cause.events.clone()).collect();
    assert_eq!(used, [[Offset(6)], [Offset(8)]]);
}

#[test]
fn a_rule_of_a_job_whose_past_cannot_be_applied_does_not_keep_its_execution_waiting() {
    check(
        "train: START when a from 1; other: function",
        "a | page 1 | refuse past | start | other ok | a",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              other#1 QUEUED by start [3]
              launch other#1-1
            5 wf#1/train/start-4ed180d2755d catches up
              dead letter: the store refused it
            6 other ok
              other#1 SUCCEEDED
            7 other#1 SUCCEEDED
              wf#1 SUCCEEDED: other SUCCEEDED, train SKIPPED
        "#]],
    );
}
