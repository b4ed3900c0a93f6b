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

/// Airflow, Prefect: events of two kinds, each with the key at a place of its own, could not be correlated.
#[test]
fn events_of_several_kinds_have_their_key_at_different_places() {
    check(
        "train: NONE when each(/payment/order or /id or label order, all(created, paid, sent))",
        r#"start | created={"id":7} | paid={"id":1,"payment":{"order":7}} | sent label:order=1 | sent label:order=7 | sent"#,
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            7 sent label:order=7
              train.1 [4 5 7] of 7 NONE: none
            8 sent
              train.1 [8] NONE: no_key
        "#]],
    );
}
