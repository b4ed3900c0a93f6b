//! Traps of the original's rules, each done right: which rule of a job acts, and what does its action do to the job?

use expect_test::expect;

use super::text::check;

/// Master: later rules were not evaluated, so their state missed the event. Original: they were consumed silently.
#[test]
fn losers_keep_what_they_have_seen() {
    check(
        "
        train: NONE when a
        train: NONE when all(a, b)
        ",
        "start | a | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 a
              train.1 [4] NONE: none
            5 b
              train.2 [4 5] NONE: none
        "#]],
    );
}

/// Original: later rules were consumed silently.
#[test]
fn a_loser_that_was_satisfied_is_recorded_as_superseded() {
    check(
        "
        train: START when a
        train: STOP when all(a, b)
        ",
        "start | b | a | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            5 a
              train#1 QUEUED by train.1 [5]
              train.2 [4 5] STOP: superseded
              launch train#1-1
            6 a
              train.1 [6] START: already_live
        "#]],
    );
}

#[test]
fn none_hides_the_rules_after_it() {
    check(
        "
        train: NONE when a=skip
        train: START when a
        ",
        "start | a=skip | a=go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a=skip
              train.1 [4] NONE: none
              train.2 [4] START: superseded
            5 a=go
              train#1 QUEUED by train.2 [5]
              launch train#1-1
        "#]],
    );
}

#[test]
fn priority_is_among_the_rules_of_one_job_only() {
    check(
        "
        one: NONE when a
        two: START when a
        ",
        "start | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              one#1 QUEUED by start [2]
              launch one#1-1
            4 a
              two#1 QUEUED by two.1 [4]
              one.1 [4] NONE: none
              launch two#1-1
        "#]],
    );
}

/// Master: two conditions of the same state name shared it.
#[test]
fn rules_never_share_state() {
    check(
        "
        one: NONE when all(a, b)
        two: NONE when all(a, b)
        two: NONE [twin] when all(a, b)
        ",
        "start | a | b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              one#1 QUEUED by start [2]
              two#1 QUEUED by start [2]
              launch one#1-1
              launch two#1-1
            5 b
              one.1 [4 5] NONE: none
              two.1 [4 5] NONE: none
              twin [4 5] NONE: superseded
        "#]],
    );
}

#[test]
fn start_of_a_live_job_does_nothing_and_is_recorded() {
    check(
        "train: START when a",
        "start | a | a | train started | a | train ok | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 a
              train.1 [5] START: already_live
            6 train started
              train#1 RUNNING
            8 a
              train.1 [8] START: already_live
            9 train ok
              train#1 SUCCEEDED
            11 a
              train#2 QUEUED by train.1 [11]
              launch train#2-1
        "#]],
    );
}

/// Master: a stopping job did not count as alive, so two ran at once.
#[test]
fn start_while_stopping_waits_for_the_end() {
    check(
        "
        train: START when a
        train: STOP when kill
        ",
        "start | a | train started | kill | a | a | train#1 stopped | train#2 started",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 kill
              train#1 STOPPING
              train.2 [7] STOP: stopped
              stop train#1-1
            8 a
              train#2 INIT by train.1 [8]
            9 a
              train.1 [9] START: merged
            10 train#1 stopped
              train#1 STOPPED
              train#2 QUEUED
              launch train#2-1
            12 train#2 started
              train#2 RUNNING
        "#]],
    );
}

/// Original: the new one was started at once.
#[test]
fn restart_waits_for_the_old_one() {
    check(
        "
        train: START when a
        train: RESTART when again
        ",
        "start | again | train started | again | again | a | train#1 ok | train#2 started",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 again
              train#1 QUEUED by train.2 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 again
              train#1 STOPPING
              train#2 INIT by train.2 [7]
              stop train#1-1
            8 again
              train.2 [8] RESTART: merged
            9 a
              train.1 [9] START: merged
            10 train#1 ok
              train#1 STOPPED
              train#2 QUEUED
              launch train#2-1
            12 train#2 started
              train#2 RUNNING
        "#]],
    );
}

/// Master: an error, and the event was lost.
#[test]
fn stop_of_a_job_that_never_ran_is_recorded() {
    check(
        "train: STOP when kill; train: START when go",
        "start | kill | go",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 kill
              train.1 [4] STOP: not_live
            5 go
              train#1 QUEUED by train.2 [5]
              launch train#1-1
        "#]],
    );
}

#[test]
fn stop_cancels_a_start_that_waits() {
    check(
        "
        train: RESTART when a
        train: STOP when kill
        ",
        "start | a | train started | a | kill | train#1 stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 a
              train#1 STOPPING
              train#2 INIT by train.1 [7]
              stop train#1-1
            8 kill
              train#2 STOPPED
              train.2 [8] STOP: stopped
            10 train#1 stopped
              train#1 STOPPED
        "#]],
    );
}

/// Issue A 357.
#[test]
fn a_queued_job_can_be_stopped() {
    check(
        "train: START when a; train: STOP when kill",
        "start | a | kill | train stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 kill
              train#1 STOPPING
              train.2 [5] STOP: stopped
              stop train#1-1
            6 train stopped
              train#1 STOPPED
        "#]],
    );
}

/// Issues D 466 and D 137: finished became killed.
#[test]
fn stop_of_a_finished_job_is_ignored() {
    check(
        "train: START when a; train: STOP when kill",
        "start | a | train started | train ok | kill",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 train ok
              train#1 SUCCEEDED
            9 kill
              train.2 [9] STOP: not_live
        "#]],
    );
}

/// Issue D 130: status events out of order started the downstream job twice.
#[test]
fn a_repeated_report_starts_nothing_twice() {
    check(
        "
        a: START when go
        b: START when status(a SUCCEEDED)
        ",
        "start | go | a started | a started | a ok | a ok | a#1-1 started | a#1-1 failed | b started | b ok | b#1-1 ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 go
              a#1 QUEUED by a.1 [4]
              launch a#1-1
            5 a started
              a#1 RUNNING
            8 a ok
              a#1 SUCCEEDED
            9 a#1 SUCCEEDED
              b#1 QUEUED by b.1 [9]
              launch b#1-1
            13 b started
              b#1 RUNNING
            15 b ok
              b#1 SUCCEEDED
        "#]],
    );
}

#[test]
fn a_job_with_only_stop_rules_starts_with_its_execution() {
    check(
        "train: STOP when kill; other: NONE when x",
        "start",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              other#1 QUEUED by start [2]
              launch train#1-1
              launch other#1-1
        "#]],
    );
}

#[test]
fn jobs_without_rules_all_start_at_once() {
    check(
        "a: function; b: function; c: START when status(a SUCCEEDED)",
        "start",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
        "#]],
    );
}
