//! What an event says: code of the host and tests of values, one table each.

use expect_test::expect;

use super::text::check;

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
