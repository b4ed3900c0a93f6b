//! Rules by hand: what becomes of what waits when a rule is paused, cleared or removed?

use expect_test::expect;

use super::text::check;

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

/// A dead letter that is tried again concerns one rule; the others are told nothing, whether they are at work or not.
#[test]
fn what_is_for_one_rule_is_recorded_of_no_other() {
    check(
        "wf: START [r] when a; wf: START [s] when all(a, b); wf: STOP [t] when a; train: NONE [u] when a; train: NONE [v] when a",
        "a only:p/wf/r | disable wf | a only:p/wf/r | rule pause train v | a only:2.0/train/u | rule pause wf t | enable wf | a only:p/wf/t",
        expect![[r#"
            2 a only:p/wf/r
              wf#1 RUNNING v1 by r [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 a only:p/wf/r
              r [5] START: disabled
            7 a only:2.0/train/u
              u [7] NONE: none
            10 a only:p/wf/t
              t [10] STOP: paused
        "#]],
    );
}
