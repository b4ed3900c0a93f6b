//! What does not happen: absences, guards and optional operands, one table each.

use expect_test::expect;

use super::text::check;

/// Prefect: the first bucket of a proactive rule opens in the past.
#[test]
fn an_absence_is_told_once_until_the_next_match() {
    check(
        "train: NONE when absent(10s, beat)",
        "start | tick 9s | beat | tick 9s | beat | tick 10s | tick 60s | beat | tick 5s | tick 5s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 timer of rule train.1 of wf#1 at 28000ms
              train.1 [5 6] NONE: none
            8 timer of rule train.1 of wf#1 at 98000ms
              train.1 [7 8] NONE: none
        "#]],
    );
}

#[test]
fn an_absence_after_an_opening_begins_with_the_first() {
    check(
        "train: NONE when absent(10s, paid, order)",
        "start | tick 60s | paid | order | tick 5s | order | tick 5s | order | paid | tick 60s | order | tick 10s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 timer of rule train.1 of wf#1 at 70000ms
              train.1 [5 7] NONE: none
            11 timer of rule train.1 of wf#1 at 140000ms
              train.1 [10 11] NONE: none
        "#]],
    );
}

#[test]
fn too_few_is_an_absence_of_enough() {
    check(
        "train: NONE when absent(10s, count(2, a))",
        "start | a | tick 5s | a | tick 9s | a | tick 1s | a | tick 60s | a | tick 10s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 timer of rule train.1 of wf#1 at 15000ms
              train.1 [4 5 7] NONE: none
            10 timer of rule train.1 of wf#1 at 85000ms
              train.1 [8 9 10] NONE: none
        "#]],
    );
}

#[test]
fn an_absence_is_an_operand_that_a_match_takes_back() {
    check(
        "train: NONE when all(absent(10s, a), b)",
        "start | tick 10s | a | b | tick 10s | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 timer of rule train.1 of wf#1 at 20000ms
              train.1 [5 6 7] NONE: none
        "#]],
    );
}

#[test]
fn each_key_waits_on_its_own() {
    check(
        "train: NONE when each(key, absent(10s, model.*))",
        "start | model.a | tick 5s | model.b | tick 5s | model.b | tick 60s | model.a | tick 10s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 timer of rule train.1 of wf#1 at 10000ms
              train.1 [4 6] of model.a NONE: none
            8 timer of rule train.1 of wf#1 at 20000ms
              train.1 [7 8] of model.b NONE: none
            10 timer of rule train.1 of wf#1 at 80000ms
              train.1 [9 10] of model.a NONE: none
        "#]],
    );
}

/// A scheduler that was away finds the event before the timer.
#[test]
fn an_absence_holds_although_its_timer_comes_late() {
    check(
        "train: NONE when absent(10s, a)",
        "start | skip 30s | a | tick 0s | tick 10s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 a
              train.1 [2 4] NONE: none
            5 timer of rule train.1 of wf#1 at 40000ms
              train.1 [4 5] NONE: none
        "#]],
    );
}

/// Asked for in vain of Prefect: "not C" as a guard within a compound.
#[test]
fn a_guard_looks_at_the_moment_of_firing() {
    check(
        "train: NONE when all(a, b, not(10s, c))",
        "start | a | c | b | tick 10s | b | tick 1ms | b | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            8 b
              train.1 [4 6] NONE: none
            9 a
              train.1 [7 9] NONE: none
        "#]],
    );
}

/// Master: reads the current status of every upstream, and fires again.
#[test]
fn a_guard_on_a_status_looks_at_it_and_waits_for_nothing() {
    check(
        "a: START when go; b: NONE when all(x, is(a RUNNING/READY))",
        "start | x | go | a started | x | a ok | x | go | a started | x",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              b#1 QUEUED by start [2]
              launch b#1-1
            5 go
              a#1 QUEUED by a.1 [5]
              launch a#1-1
            6 a started
              a#1 RUNNING
            8 x
              b.1 [4] NONE: none
              b.1 [8] NONE: none
            9 a ok
              a#1 SUCCEEDED
            12 go
              a#2 QUEUED by a.1 [12]
              launch a#2-1
            13 a started
              a#2 RUNNING
            15 x
              b.1 [11] NONE: none
              b.1 [15] NONE: none
        "#]],
    );
}

/// Asked for in vain of Kestra: B, and C if it comes at all.
#[test]
fn an_optional_operand_is_waited_for_and_then_done_without() {
    check(
        "train: NONE when all(b, optional(5s, c))",
        "start | c | b | b | tick 5s | b | tick 4s | c | tick 60s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b
              train.1 [4 5] NONE: none
            7 timer of rule train.1 of wf#1 at 5000ms
              train.1 [6] NONE: none
            9 c
              train.1 [8 9] NONE: none
        "#]],
    );
}

#[test]
fn an_optional_operand_of_several_waits_longest() {
    check(
        "train: NONE when all(b, optional(5s, c), optional(10s, d))",
        "start | b | tick 5s | tick 5s | b | c | tick 10s | b | d | tick 5s | d | b | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 timer of rule train.1 of wf#1 at 10000ms
              train.1 [4] NONE: none
            10 timer of rule train.1 of wf#1 at 20000ms
              train.1 [7 8] NONE: none
            13 timer of rule train.1 of wf#1 at 25000ms
              train.1 [11 12] NONE: none
            16 c
              train.1 [14 15 16] NONE: none
        "#]],
    );
}

/// The wait went on although what it had begun with stood no longer.
#[test]
fn a_wait_for_an_optional_operand_begins_anew_with_what_it_stands_beside() {
    check(
        "train: NONE when all(b=1 repeated, optional(5s, c))",
        "start | b=1 | tick 1s | b=0 | tick 3s | b=1 | tick 1s | tick 4s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 timer of rule train.1 of wf#1 at 9000ms
              train.1 [6] NONE: none
        "#]],
    );
}

/// A scheduler that was away fired with an event that came when the wait was over.
#[test]
fn a_wait_for_an_optional_operand_is_over_although_its_timer_comes_late() {
    check(
        "train: NONE when all(b, optional(5s, c))",
        "start | b | skip 6s | c | tick 0s | b",
        expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
          train#1 QUEUED by start [2]
          launch train#1-1
        5 c
          train.1 [4] NONE: none
        6 b
          train.1 [5 6] NONE: none
    "#]],
    );
}

/// A guard that did not hold when all else was met kept the wait from beginning.
#[test]
fn a_guard_does_not_keep_an_optional_operand_from_being_waited_for() {
    check(
        "train: NONE when all(b, optional(5s, c), not(2s, d))",
        "start | d | tick 1s | b | tick 5s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 timer of rule train.1 of wf#1 at 6000ms
              train.1 [5] NONE: none
        "#]],
    );
}

/// Events that custom code had counted came again in a firing of the operand beside it.
#[test]
fn an_event_that_custom_code_counted_serves_one_firing() {
    check(
        "train: NONE when all(custom(sum, 3, n), n)",
        "start | n=1 | n=1 | n=1 | n=1 | n=1 | n=1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 n=1
              train.1 [4 5 6] NONE: none
            9 n=1
              train.1 [7 8 9] NONE: none
        "#]],
    );
}

/// Kestra: B, and C if C comes at all today.
#[test]
fn an_optional_operand_is_waited_for_until_a_time_of_day() {
    check(
        "train: NONE when all(b, optional(until 18:00 Europe/Berlin, c))",
        "at 2026-03-28T12:00Z | start | b | tick 4h | c | tick 1h | b | restore | tick 23h",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 c
              train.1 [4 5] NONE: none
            7 timer of rule train.1 of wf#1 at 1774800000000ms
              train.1 [6] NONE: none
        "#]],
    );
}
