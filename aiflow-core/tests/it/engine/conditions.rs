//! Conditions: which events satisfy a rule, and which does a firing use up? With the traps of the original's evaluation, each done right.

use aiflow_core::engine::{Input, OPERAND_PENDING_MAX};
use aiflow_core::event::{Event, NewEvent};
use aiflow_core::id::Offset;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Condition, Diagnostic, all, any, start};
use expect_test::expect;

use super::text::{PROJECT, check, parse_rules};
use super::world::World;

/// Original: an event with the time of the last firing never counted.
#[test]
fn events_of_one_millisecond_all_count() {
    check(
        "train: NONE when a",
        "start | a & a & a",
        expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
          train#1 QUEUED by start [2]
          launch train#1-1
        4 a
          train.1 [4] NONE: none
        5 a
          train.1 [5] NONE: none
        6 a
          train.1 [6] NONE: none
    "#]],
    );
}

/// Original: an older time lowered the rule's clock, and skew between servers swallowed events.
#[test]
fn the_senders_clock_decides_nothing() {
    check(
        "train: NONE when all(a, b)",
        "start | a at:9000 | b at:1000 | b at:-5 | a at:0",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b at:1000
              train.1 [4 5] NONE: none
            7 a at:0
              train.1 [6 7] NONE: none
        "#]],
    );
}

/// Original: an event that came between two firings counted only if it was newer than the last one.
#[test]
fn an_event_is_used_up_by_the_firing_and_not_by_time() {
    check(
        "train: NONE when all(a, b)",
        "start | a | a | b | b | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 b
              train.1 [4 6] NONE: none
            7 b
              train.1 [5 7] NONE: none
        "#]],
    );
}

/// Original: of several events of one key only the last was kept.
#[test]
fn a_burst_of_pairs_gives_as_many_firings() {
    check(
        "train: NONE when all(a, b)",
        "start | b & b & b & a & a & a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 a
              train.1 [4 7] NONE: none
            8 a
              train.1 [5 8] NONE: none
            9 a
              train.1 [6 9] NONE: none
        "#]],
    );
}

#[test]
fn a_standing_match_serves_every_event_that_waits() {
    check(
        "train: NONE when all(a repeated, b)",
        "start | b & b & b & a | b | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 a
              train.1 [4 7] NONE: none
              train.1 [5 7] NONE: none
              train.1 [6 7] NONE: none
            8 b
              train.1 [7 8] NONE: none
        "#]],
    );
}

/// Original: a later value of the same key hid the earlier one.
#[test]
fn nothing_is_collapsed_to_the_last_value() {
    check(
        "train: NONE when all(a=1, b)",
        "start | a=1 | a=2 | b | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 b
              train.1 [4 6] NONE: none
        "#]],
    );
}

/// Original: a default sender was woken by all and met only by events without one.
#[test]
fn any_sender_and_no_sender_are_different_things() {
    check(
        "
        any: NONE when a
        none: NONE when a from:none
        ingest: NONE when a from:ingest
        ",
        "start | a | a from:ingest | a from:other",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              any#1 QUEUED by start [2]
              none#1 QUEUED by start [2]
              ingest#1 QUEUED by start [2]
              launch any#1-1
              launch none#1-1
              launch ingest#1-1
            4 a
              any.1 [4] NONE: none
              none.1 [4] NONE: none
            5 a from:ingest
              any.1 [5] NONE: none
              ingest.1 [5] NONE: none
            6 a from:other
              any.1 [6] NONE: none
        "#]],
    );
}

/// Master: exact keys only, no type, no sender, no value.
#[test]
fn every_field_of_an_event_is_matched() {
    check(
        "
        plain: NONE when model.a
        prefix: NONE when model.*
        typed: NONE when * type:MODEL_DEPLOYED
        foreign: NONE when model.a ns:other
        anywhere: NONE when model.a ns:*
        ",
        "start | model.a | model.b type:MODEL_DEPLOYED | model.a ns:other | modela",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              plain#1 QUEUED by start [2]
              prefix#1 QUEUED by start [2]
              typed#1 QUEUED by start [2]
              foreign#1 QUEUED by start [2]
              anywhere#1 QUEUED by start [2]
              launch plain#1-1
              launch prefix#1-1
              launch typed#1-1
              launch foreign#1-1
              launch anywhere#1-1
            4 model.a
              plain.1 [4] NONE: none
              prefix.1 [4] NONE: none
              anywhere.1 [4] NONE: none
            5 model.b type:MODEL_DEPLOYED
              prefix.1 [5] NONE: none
              typed.1 [5] NONE: none
            6 model.a ns:other
              foreign.1 [6] NONE: none
              anywhere.1 [6] NONE: none
        "#]],
    );
}

#[test]
fn a_repeated_match_counts_until_its_key_changes() {
    check(
        "train: NONE when all(a=ready repeated, b)",
        "start | a=ready | b | b | a=stale | b | a=ready | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b
              train.1 [4 5] NONE: none
            6 b
              train.1 [4 6] NONE: none
            9 a=ready
              train.1 [8 9] NONE: none
            10 b
              train.1 [9 10] NONE: none
        "#]],
    );
}

#[test]
fn every_further_match_of_a_repeated_operand_is_a_firing_of_its_own() {
    check(
        "train: NONE when model.* repeated",
        "start | model.a | model.b | model.a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 model.a
              train.1 [4] NONE: none
            5 model.b
              train.1 [5] NONE: none
            6 model.a
              train.1 [6] NONE: none
        "#]],
    );
}

#[test]
fn a_repeated_operand_says_what_stands_now() {
    check(
        "train: NONE when all(model.* repeated, go)",
        "start | model.a | model.b | go | model.a | go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 go
              train.1 [5 6] NONE: none
            8 go
              train.1 [7 8] NONE: none
        "#]],
    );
}

/// Master: the flags stayed set, so every further event fired.
#[test]
fn meet_all_is_used_up_by_the_firing() {
    check(
        "train: NONE when all(a, b, c)",
        "start | a | b | c | c | a | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 c
              train.1 [4 5 6] NONE: none
            9 b
              train.1 [7 8 9] NONE: none
        "#]],
    );
}

#[test]
fn any_uses_one_branch_and_leaves_the_others() {
    check(
        "train: NONE when any(all(a, b), all(c, d))",
        "start | a | c | b | d",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 b
              train.1 [4 6] NONE: none
            7 d
              train.1 [5 7] NONE: none
        "#]],
    );
}

#[test]
fn any_prefers_the_branch_of_the_newest_event() {
    check(
        "train: NONE when all(any(a, b), c)",
        "start | a | b | c | c | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 c
              train.1 [4 6] NONE: none
            7 c
              train.1 [5 7] NONE: none
        "#]],
    );
}

/// First generation: an unmet necessary condition hid the sufficient ones after it.
#[test]
fn sufficient_and_necessary_conditions_do_not_depend_on_their_order() {
    check(
        "
        one: NONE when any(s, all(n, m))
        two: NONE when any(all(m, n), s)
        ",
        "start | n | s | m",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              one#1 QUEUED by start [2]
              two#1 QUEUED by start [2]
              launch one#1-1
              launch two#1-1
            5 s
              one.1 [5] NONE: none
              two.1 [5] NONE: none
            6 m
              one.1 [4 6] NONE: none
              two.1 [4 6] NONE: none
        "#]],
    );
}

#[test]
fn a_standing_match_is_not_fired_again_by_an_event_it_does_not_need() {
    check(
        "train: NONE when any(a repeated, b)",
        "start | a | b | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 a
              train.1 [4] NONE: none
            5 b
              train.1 [5] NONE: none
            6 b
              train.1 [6] NONE: none
        "#]],
    );
}

#[test]
fn a_standing_branch_is_not_fired_again_by_half_of_another_branch() {
    check(
        "train: NONE when any(a repeated, all(b, c))",
        "start | a | b | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 a
              train.1 [4] NONE: none
            6 c
              train.1 [5 6] NONE: none
        "#]],
    );
}

#[test]
fn an_event_used_as_repeated_is_not_used_up_for_a_once_operand() {
    check(
        "train: NONE when all(m.* repeated, m.a, go)",
        "start | m.a | m.a | go | go | go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 go
              train.1 [4 5 6] NONE: none
            7 go
              train.1 [5 7] NONE: none
        "#]],
    );
}

#[test]
fn one_event_may_serve_several_operands() {
    check(
        "train: NONE when all(a, a*)",
        "start | a | ab | a | ab | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 a
              train.1 [4] NONE: none
            6 a
              train.1 [5 6] NONE: none
            8 a
              train.1 [7 8] NONE: none
        "#]],
    );
}

/// Original: one status could not be reached because of a condition that was always true.
#[test]
fn a_rule_on_each_announced_status_is_reached() {
    check(
        "
        infer: START when go
        job infer streaming
        retry infer 1 x 1s
        running: NONE when status(infer RUNNING)
        ready: NONE when status(infer READY)
        retrying: NONE when status(infer RETRYING)
        ended: NONE when status(infer SUCCEEDED/FAILED/STOPPED)
        ",
        "start | go | infer started | infer ready | infer failed | tick 1s | infer started | infer failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              running#1 QUEUED by start [2]
              ready#1 QUEUED by start [2]
              retrying#1 QUEUED by start [2]
              ended#1 QUEUED by start [2]
              launch running#1-1
              launch ready#1-1
              launch retrying#1-1
              launch ended#1-1
            4 go
              infer#1 QUEUED by infer.1 [4]
              launch infer#1-1
            5 infer started
              infer#1 RUNNING
            6 infer#1 RUNNING
              running.1 [6] NONE: none
            7 infer ready
              infer#1 READY
            8 infer#1 READY
              ready.1 [8] NONE: none
            9 infer failed
              infer#1 RETRYING until 1000ms
            10 infer#1 RETRYING
              retrying.1 [10] NONE: none
            11 timer of infer#1 at 1000ms
              infer#1 QUEUED
              launch infer#1-2
            12 infer started
              infer#1 RUNNING
            13 infer#1 RUNNING
              running.1 [13] NONE: none
            14 infer failed
              infer#1 FAILED
            15 infer#1 FAILED
              ended.1 [15] NONE: none
        "#]],
    );
}

#[test]
fn a_standing_status_ends_with_the_next_status() {
    check(
        "
        a: START when go
        b: NONE when all(status(a SUCCEEDED repeated), x)
        ",
        "start | go | a started | a ok | x | x | go | a started | x | a ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              b#1 QUEUED by start [2]
              launch b#1-1
            4 go
              a#1 QUEUED by a.1 [4]
              launch a#1-1
            5 a started
              a#1 RUNNING
            7 a ok
              a#1 SUCCEEDED
            9 x
              b.1 [8 9] NONE: none
            10 x
              b.1 [8 10] NONE: none
            11 go
              a#2 QUEUED by a.1 [11]
              launch a#2-1
            12 a started
              a#2 RUNNING
            15 a ok
              a#2 SUCCEEDED
            16 a#2 SUCCEEDED
              b.1 [14 16] NONE: none
        "#]],
    );
}

/// Master: level triggered, it fired again whenever one of them succeeded.
#[test]
fn upstreams_must_all_succeed_anew_for_another_firing() {
    check(
        "
        a: START when go
        b: START when go
        c: NONE when all(status(a SUCCEEDED), status(b SUCCEEDED))
        ",
        "start | go | a started | a ok | b started | b ok | act START a | a ok | act START b | b ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              c#1 QUEUED by start [2]
              launch c#1-1
            4 go
              a#1 QUEUED by a.1 [4]
              b#1 QUEUED by b.1 [4]
              launch a#1-1
              launch b#1-1
            5 a started
              a#1 RUNNING
            7 a ok
              a#1 SUCCEEDED
            9 b started
              b#1 RUNNING
            11 b ok
              b#1 SUCCEEDED
            12 b#1 SUCCEEDED
              c.1 [8 12] NONE: none
            13 act START a
              a#2 QUEUED by start [13]
              launch a#2-1
            14 a ok
              a#2 SUCCEEDED
            16 act START b
              b#2 QUEUED by start [16]
              launch b#2-1
            17 b ok
              b#2 SUCCEEDED
            18 b#2 SUCCEEDED
              c.1 [15 18] NONE: none
        "#]],
    );
}

/// Original: MEET_ALL of nothing was always met.
#[test]
fn an_empty_condition_is_refused() {
    for condition in [all::<Condition>([]), any::<Condition>([])] {
        let mut workflow = parse_rules("train: START when a").remove(0);
        workflow.control_edges[0].rule = start(condition.clone());
        let mut problems = workflow.check();
        problems.retain(Diagnostic::is_error);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("empty all, any or sequence"));
    }
}

#[test]
fn an_event_that_finds_its_operand_full_is_a_dead_letter() {
    let mut world = World::new("train: NONE when all(a, b)");
    world.play("start");
    let first = world.log.len() as u64 + 1;
    let input = |offset: u64, key: &str| {
        Input::from(Event {
            offset: Offset(offset),
            recorded: Timestamp::EPOCH,
            body: NewEvent::identified(format!("n{offset}"), PROJECT, key),
        })
    };
    let room = OPERAND_PENDING_MAX as u64;
    let fill: Vec<Input> = (first..first + room).map(|offset| input(offset, "a")).collect();
    let decision = world.engine.decide(&fill);
    assert_eq!(decision.dead_letters, []);
    world.engine.apply(&decision);
    let decision = world.engine.decide(&[input(first + room, "a"), input(first + room + 1, "b")]);
    let reasons: Vec<&str> = decision.dead_letters.iter().map(|l| l.reason.as_str()).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].ends_with("already holds 10000 events"), "{reasons:?}");
    assert_eq!(decision.dead_letters[0].offset, Offset(first + room));
    let used = &decision.firings.values().next().expect("it fired").record.firing.events;
    assert_eq!(used, &[Offset(first), Offset(first + room + 1)]);
}
