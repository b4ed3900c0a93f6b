//! Traps of the original's endings, each done right: when does an execution end, and as what?

use expect_test::expect;

use super::text::check;

/// Master: it was marked stopped at once, and late results overwrote that.
#[test]
fn an_execution_is_stopping_until_its_jobs_have_ended() {
    check(
        "a: function; b: function",
        "start | a started | b started | stop @1 | a ok | b failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 a started
              a#1 RUNNING
            6 b started
              b#1 RUNNING
            8 stop @1
              wf#1 STOPPING
              a#1 STOPPING
              b#1 STOPPING
              stop a#1-1
              stop b#1-1
            9 a ok
              a#1 STOPPED
            11 b failed
              wf#1 STOPPED: a STOPPED, b STOPPED
              b#1 STOPPED
        "#]],
    );
}

#[test]
fn late_results_do_not_change_an_ended_execution() {
    check(
        "a: function",
        "start | a started | stop @1 | a stopped | a#1-1 ok | a#1-1 failed | stop @1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a started
              a#1 RUNNING
            6 stop @1
              wf#1 STOPPING
              a#1 STOPPING
              stop a#1-1
            7 a stopped
              wf#1 STOPPED: a STOPPED
              a#1 STOPPED
            12 stop @1
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

/// Master: a failed job before a running one ended the execution, after it not.
#[test]
fn a_failure_listed_first_does_not_end_the_execution_early() {
    check(
        "a: function; b: function",
        "start | a failed | b ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 a failed
              a#1 FAILED
            6 b ok
              b#1 SUCCEEDED
            7 b#1 SUCCEEDED
              wf#1 FAILED: a FAILED, b SUCCEEDED
        "#]],
    );
}

#[test]
fn a_failure_listed_last_gives_the_same_result() {
    check(
        "a: function; b: function",
        "start | b failed | a ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 b failed
              b#1 FAILED
            6 a ok
              a#1 SUCCEEDED
            7 a#1 SUCCEEDED
              wf#1 FAILED: a SUCCEEDED, b FAILED
        "#]],
    );
}

#[test]
fn stopped_jobs_make_a_stopped_execution_and_failures_win() {
    check(
        "a: function; b: function",
        "start | act STOP a | a stopped | b ok | start | act STOP a | a stopped | b failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 act STOP a
              a#1 STOPPING
              start [4] STOP: stopped
              stop a#1-1
            5 a stopped
              a#1 STOPPED
            7 b ok
              b#1 SUCCEEDED
            8 b#1 SUCCEEDED
              wf#1 STOPPED: a STOPPED, b SUCCEEDED
            10 start
              wf#2 RUNNING v1 by start [10]
              a#2 QUEUED by start [10]
              b#2 QUEUED by start [10]
              launch a#2-1
              launch b#2-1
            12 act STOP a
              a#2 STOPPING
              start [12] STOP: stopped
              stop a#2-1
            13 a stopped
              a#2 STOPPED
            15 b failed
              b#2 FAILED
            16 b#2 FAILED
              wf#2 FAILED: a STOPPED, b FAILED
        "#]],
    );
}

/// Issue A 367, open: it stayed running for ever.
#[test]
fn an_execution_whose_upstream_failed_ends_and_skips_the_rest() {
    check(
        "
        a: function
        b: START when status(a SUCCEEDED)
        c: START when status(b SUCCEEDED)
        ",
        "start | a started | a failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a started
              a#1 RUNNING
            6 a failed
              a#1 FAILED
            7 a#1 FAILED
              wf#1 FAILED: a FAILED, b SKIPPED, c SKIPPED
        "#]],
    );
}

#[test]
fn the_last_execution_of_a_job_counts_for_the_result() {
    check(
        "
        a: function
        b: function
        ",
        "start | a failed | act START a | a ok | b ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 a failed
              a#1 FAILED
            6 act START a
              a#2 QUEUED by start [6]
              launch a#2-1
            7 a ok
              a#2 SUCCEEDED
            9 b ok
              b#1 SUCCEEDED
            10 b#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SUCCEEDED
        "#]],
    );
}

#[test]
fn a_job_without_start_rule_starts_with_its_execution() {
    check(
        "
        features: function
        train: START when status(features SUCCEEDED)
        ",
        "start | features started | features ok | train started | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              features#1 QUEUED by start [2]
              launch features#1-1
            4 features started
              features#1 RUNNING
            6 features ok
              features#1 SUCCEEDED
            7 features#1 SUCCEEDED
              train#1 QUEUED by train.1 [7]
              launch train#1-1
            8 train started
              train#1 RUNNING
            10 train ok
              train#1 SUCCEEDED
            11 train#1 SUCCEEDED
              wf#1 SUCCEEDED: features SUCCEEDED, train SUCCEEDED
        "#]],
    );
}
