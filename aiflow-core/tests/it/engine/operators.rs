//! The operators of conditions, one table each: what fires, with which events, and what is left over. Where a neighbour or the original
//! did otherwise, the test says so.

use expect_test::expect;

use super::text::check;

/// Kestra: `AT_LEAST` counts flows, not keys. Argo: a firing clears every operand.
#[test]
fn at_least_uses_as_many_branches_as_it_needs() {
    check(
        "train: NONE when at_least(2, a, b, c)",
        "start | a | a | b | c | c | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 b
              train.1 [4 6] NONE: none
            7 c
              train.1 [5 7] NONE: none
        "#]],
    );
}

#[test]
fn at_least_prefers_the_newest_event_and_then_the_oldest() {
    check(
        "train: NONE when all(at_least(2, a, b, c), go)",
        "start | c | b | a | go | go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 go
              train.1 [4 5 7] NONE: none
        "#]],
    );
}

/// Prefect: a sequence is ordered by when its parts fired, not by their events.
#[test]
fn a_sequence_takes_events_in_the_order_of_the_log() {
    check(
        "train: NONE when seq(a, b, c)",
        "start | c | b | a | c | b | b | c | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            10 c
              train.1 [9] NONE: expired
              train.1 [6 8 10] NONE: none
        "#]],
    );
}

#[test]
fn in_a_sequence_one_event_is_one_step() {
    check(
        "train: NONE when seq(a*, a*)",
        "start | a | ab | a | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 ab
              train.1 [4 5] NONE: none
            7 a
              train.1 [6 7] NONE: none
        "#]],
    );
}

#[test]
fn a_burst_of_sequences_gives_as_many_firings() {
    check(
        "train: NONE when seq(a, b)",
        "start | a & a & a & b & b & b & b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 b
              train.1 [4 7] NONE: none
            8 b
              train.1 [5 8] NONE: none
            9 b
              train.1 [6 9] NONE: none
        "#]],
    );
}

#[test]
fn what_can_no_longer_come_in_order_is_recorded() {
    check(
        "train: NONE when seq(a, b, c)",
        "start | a | b | b | c | a | c | b | c",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 c
              train.1 [6] NONE: expired
              train.1 [4 5 7] NONE: none
            11 c
              train.1 [8 10 11] NONE: none
        "#]],
    );
}

/// The earlier step takes what ends first, not what begins first.
#[test]
fn a_sequence_finds_the_order_if_there_is_one() {
    check(
        "train: NONE when seq(any(all(a, b), c), d)",
        "start | a | c | d | b | d",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 d
              train.1 [5 6] NONE: none
            8 d
              train.1 [4 7 8] NONE: none
        "#]],
    );
}

/// Prefect: only the last of the counted events is passed on.
#[test]
fn count_uses_different_events_and_names_them_all() {
    check(
        "train: NONE when count(3, a)",
        "start | a | a & a & a | a & a & a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 a
              train.1 [4 5 6] NONE: none
            9 a
              train.1 [7 8 9] NONE: none
        "#]],
    );
}

#[test]
fn count_of_a_condition_uses_other_events_each_time() {
    check(
        "train: NONE when count(2, any(a, all(b, c)))",
        "start | b | a | b | c | c | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 c
              train.1 [4 5 7] NONE: none
            9 a
              train.1 [6 8 9] NONE: none
        "#]],
    );
}

#[test]
fn count_of_a_standing_match_needs_different_keys() {
    check(
        "train: NONE when all(count(2, model.* repeated), go)",
        "start | model.a | model.a | go | model.b | go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 model.b
              train.1 [5 6 7] NONE: none
            8 go
              train.1 [5 7 8] NONE: none
        "#]],
    );
}

/// Airflow: events of one asset collapse, whoever waits for them.
#[test]
fn latest_replaces_what_waits_and_says_so() {
    check(
        "train: NONE when all(a latest, b)",
        "start | a | a | a | b | b | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 a
              train.1 [4] NONE: event_replaced
            6 a
              train.1 [5] NONE: event_replaced
            7 b
              train.1 [6 7] NONE: none
            9 a
              train.1 [8 9] NONE: none
        "#]],
    );
}

/// Kestra: its sliding window drops the earlier event too late.
#[test]
fn a_sliding_window_ends_at_the_newest_event_and_its_edge_is_inside() {
    check(
        "train: NONE when within(5s, all(a, b))",
        "start | tick 60s | a at:10000 | b at:15000 | a at:20000 | b at:25001 | a at:25001",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b at:15000
              train.1 [4 5] NONE: none
            7 b at:25001
              train.1 [6] NONE: expired
            8 a at:25001
              train.1 [7 8] NONE: none
        "#]],
    );
}

/// Prefect: an event that happened before the bucket began is dropped.
#[test]
fn a_late_event_counts_if_it_still_lies_inside() {
    check(
        "train: NONE when within(5s, count(3, a))",
        "start | tick 60s | a at:10000 | a at:13000 | a at:7999 | a at:8000 | a at:13000",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 a at:7999
              train.1 [6] NONE: expired
            7 a at:8000
              train.1 [4 5 7] NONE: none
        "#]],
    );
}

/// A sender whose clock is ahead would close the window for everybody else.
#[test]
fn an_event_happens_at_the_latest_when_it_is_recorded() {
    check(
        "train: NONE when within(5s, all(a, b))",
        "start | tick 10s | a at:99999999 | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b
              train.1 [4 5] NONE: none
        "#]],
    );
}

#[test]
fn tumbling_windows_do_not_meet() {
    check(
        "train: NONE when within(tumbling 10s, all(a, b))",
        "start | tick 60s | a at:9999 | b at:10000 | a at:19999 | b at:20000 | b at:15000 | a at:29999",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b at:10000
              train.1 [4] NONE: expired
            6 a at:19999
              train.1 [5 6] NONE: none
            8 b at:15000
              train.1 [8] NONE: expired
            9 a at:29999
              train.1 [7 9] NONE: none
        "#]],
    );
}

/// Argo: dependencies reset by cron, in no time zone.
#[test]
fn a_day_is_a_day_by_the_clocks_of_its_zone() {
    check(
        "train: NONE when within(daily Europe/Berlin, all(a, b))",
        "start | tick 400000s | a at:82799999 | b at:82800000 | a at:82800001 | b at:169199999 | a at:169200000",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 b at:82800000
              train.1 [4] NONE: expired
            6 a at:82800001
              train.1 [5 6] NONE: none
            8 a at:169200000
              train.1 [7] NONE: expired
        "#]],
    );
}

#[test]
fn windows_may_stand_within_windows() {
    check(
        "train: NONE when within(10s, all(within(2s, count(2, a)), b))",
        "start | tick 100s | a at:1000 | a at:4000 | a at:5000 | b at:14000 | a at:6000 | b at:15000",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 a at:4000
              train.1 [4] NONE: expired
            7 b at:14000
              train.1 [5 6 7] NONE: none
        "#]],
    );
}

/// Argo, Prefect: operands of different keys meet.
#[test]
fn for_each_key_the_rule_is_a_rule_of_its_own() {
    check(
        "train: NONE when each(/id, all(order, paid))",
        r#"start | order={"id":1} | order={"id":2} | paid={"id":2} | paid={"id":"1"} | paid={"id":3} | order={"id":2}"#,
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 paid={"id":2}
              train.1 [5 6] of 2 NONE: none
            7 paid={"id":"1"}
              train.1 [4 7] of 1 NONE: none
        "#]],
    );
}

#[test]
fn an_event_without_the_key_is_recorded_and_not_seen() {
    check(
        "train: NONE when each(label region, all(a, b))",
        "start | a label:region=eu | a | b | b label:region=us | b label:region=eu",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 a
              train.1 [5] NONE: no_key
            6 b
              train.1 [6] NONE: no_key
            8 b label:region=eu
              train.1 [4 8] of eu NONE: none
        "#]],
    );
}

#[test]
fn each_key_has_its_own_window() {
    check(
        "train: NONE when each(key, within(5s, count(2, model.*)))",
        "start | tick 60s | model.a at:1000 | model.b at:20000 | model.a at:6000 | model.b at:14999 | model.b at:15000",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 model.a at:6000
              train.1 [4 6] of model.a NONE: none
            7 model.b at:14999
              train.1 [7] NONE: expired
            8 model.b at:15000
              train.1 [5 8] of model.b NONE: none
        "#]],
    );
}

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

/// Master: custom state is shared by conditions of one name.
#[test]
fn a_custom_condition_keeps_its_own_state() {
    check(
        "one: NONE when custom(sum, 100, n); two: NONE when custom(sum, 50, n)",
        "start | n=40 | n=0 | n=60 | n=70 | restore | n=30",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              one#1 QUEUED by start [2]
              two#1 QUEUED by start [2]
              launch one#1-1
              launch two#1-1
            6 n=60
              one.1 [4 6] NONE: none
              two.1 [4 6] NONE: none
            7 n=70
              two.1 [7] NONE: none
            8 n=30
              one.1 [7 8] NONE: none
        "#]],
    );
}

#[test]
fn a_custom_condition_that_fails_is_a_dead_letter_of_its_rule_alone() {
    check(
        "one: NONE when custom(sum, 10, n); two: NONE when n; three: NONE when custom(unknown, 10, n)",
        "start | n=6 | n=text | n=666 | n=4",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              one#1 QUEUED by start [2]
              two#1 QUEUED by start [2]
              three#1 QUEUED by start [2]
              launch one#1-1
              launch two#1-1
              launch three#1-1
            4 n=6
              two.1 [4] NONE: none
              dead letter: no custom condition "unknown" is registered with the scheduler
            5 n=text
              two.1 [5] NONE: none
              dead letter: custom condition "sum": the value is no number
              dead letter: no custom condition "unknown" is registered with the scheduler
            6 n=666
              two.1 [6] NONE: none
              dead letter: custom condition "sum": it panicked: assertion `left != right` failed: what a number
              left: 666
             right: 666
              dead letter: no custom condition "unknown" is registered with the scheduler
            7 n=4
              one.1 [4 7] NONE: none
              two.1 [7] NONE: none
              dead letter: no custom condition "unknown" is registered with the scheduler
        "#]],
    );
}

#[test]
fn a_custom_condition_is_an_operand_like_others() {
    check(
        "train: NONE when each(label of, within(10s, all(custom(sum, 10, n), go)))",
        "start | tick 60s | n=6 at:1000 label:of=a | n=9 at:1000 label:of=b | n=4 at:2000 label:of=a | go at:12001 label:of=a | n=10 at:12002 label:of=a | go at:2 label:of=b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 go at:12001 label:of=a
              train.1 [4 6] NONE: expired
            8 n=10 at:12002 label:of=a
              train.1 [7 8] of a NONE: none
        "#]],
    );
}

/// AIFlow: values are equal or they are anything.
#[test]
fn values_are_compared() {
    check(
        "above: NONE when drift>0.2; below: NONE when drift<=0.2; other: NONE when drift!=0.2; some: NONE when drift={1/2/high}",
        "start | drift=0.3 | drift=0.2 | drift=1 | drift=high | drift",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              above#1 QUEUED by start [2]
              below#1 QUEUED by start [2]
              other#1 QUEUED by start [2]
              some#1 QUEUED by start [2]
              launch above#1-1
              launch below#1-1
              launch other#1-1
              launch some#1-1
            4 drift=0.3
              above.1 [4] NONE: none
              other.1 [4] NONE: none
            5 drift=0.2
              below.1 [5] NONE: none
            6 drift=1
              above.1 [6] NONE: none
              other.1 [6] NONE: none
              some.1 [6] NONE: none
            7 drift=high
              other.1 [7] NONE: none
              some.1 [7] NONE: none
              dead letter: cannot compare a text with a number
              dead letter: cannot compare a text with a number
            8 drift
              above.1 [8] NONE: field_missing
              below.1 [8] NONE: field_missing
              other.1 [8] NONE: none
        "#]],
    );
}

/// Prefect: no payload in a match. Here a missing field is no error, and is told once.
#[test]
fn a_test_looks_into_the_value() {
    check(
        "good: NONE when metrics:/accuracy>=0.9; any: NONE when metrics",
        r#"start | metrics={"accuracy":0.95} | metrics={"accuracy":0.8} | metrics={} | metrics={"loss":1} | metrics={"accuracy":"high"}"#,
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              good#1 QUEUED by start [2]
              any#1 QUEUED by start [2]
              launch good#1-1
              launch any#1-1
            4 metrics={"accuracy":0.95}
              good.1 [4] NONE: none
              any.1 [4] NONE: none
            5 metrics={"accuracy":0.8}
              any.1 [5] NONE: none
            6 metrics={}
              good.1 [6] NONE: field_missing
              any.1 [6] NONE: none
            7 metrics={"loss":1}
              any.1 [7] NONE: none
            8 metrics={"accuracy":"high"}
              any.1 [8] NONE: none
              dead letter: cannot compare a text with a number
        "#]],
    );
}

/// Master: the rule of a paused trigger is evaluated when another trigger listens to the same key.
#[test]
fn a_paused_rule_keeps_what_it_has_and_counts_nothing() {
    check(
        "train: NONE [both] when all(a, b); train: NONE [other] when b",
        "start | a | rule pause train both | b | restore | rule resume train both | a | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 b
              both [6] NONE: paused
              other [6] NONE: none
            9 b
              both [4 9] NONE: none
              other [9] NONE: superseded
        "#]],
    );
}

/// Airflow: queued events of an asset can be listed and deleted.
#[test]
fn what_waits_at_a_rule_can_be_cleared_and_the_rule_removed() {
    check(
        "wf: START [both] when all(a, b); train: NONE when x",
        "a | rule clear wf both | b | a | a | rule remove wf both | b | rule resume wf both | rule pause wf other",
        expect![[r#"
            3 rule clear wf both
              both [2] START: cleared
            5 a
              wf#1 RUNNING v1 by both [4 5]
              train#1 QUEUED by start [5]
              launch train#1-1
            8 rule remove wf both
              both [7] START: rule_changed
            11 rule pause wf other
              dead letter: p/wf has no rule other that is at work
        "#]],
    );
}

#[test]
fn a_removed_rule_comes_back_with_another_condition() {
    check(
        "wf: START [r] when a; train: NONE when x",
        "rule remove wf r | a | submit { wf: START [r] when a; train: NONE when y } | a | submit { wf: START [r] when any(a, b); train: NONE when y } | a",
        expect![[r#"
            7 a
              wf#1 RUNNING v3 by r [7]
              train#1 QUEUED by start [7]
              launch train#1-1
        "#]],
    );
}

#[test]
fn a_rule_that_waits_begins_anew_when_it_is_cleared() {
    check(
        "train: NONE [gone] when absent(10s, a)",
        "start | tick 5s | rule clear train gone | tick 9s | rule pause train gone | tick 1s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            6 timer of rule gone of wf#1 at 15000ms
              gone [4 6] NONE: paused
        "#]],
    );
}
