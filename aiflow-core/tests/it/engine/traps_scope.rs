//! Traps of the original's executions, each done right: which execution and which version does an event, or a rule, concern?

use expect_test::expect;

use super::text::check;

#[test]
fn each_execution_has_its_own_rule_state() {
    check(
        "train: NONE when all(a, b)",
        "start | start | @1 a | @2 b | b | @2 a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 start
              wf#2 RUNNING v1 by start [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            8 b
              train.1 [6 8] NONE: none
            9 @2 a
              train.1 [7 9] NONE: none
        "#]],
    );
}

/// Issue A 358.
#[test]
fn events_are_isolated_by_execution() {
    check(
        "
        train: NONE when a
        spy: NONE when a any_execution
        ",
        "start | start | @1 a | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              spy#1 QUEUED by start [2]
              launch train#1-1
              launch spy#1-1
            4 start
              wf#2 RUNNING v1 by start [4]
              train#2 QUEUED by start [4]
              spy#2 QUEUED by start [4]
              launch train#2-1
              launch spy#2-1
            6 @1 a
              train.1 [6] NONE: none
              spy.1 [6] NONE: none
              spy.1 [6] NONE: none
            7 a
              train.1 [7] NONE: none
              train.1 [7] NONE: none
              spy.1 [7] NONE: none
              spy.1 [7] NONE: none
        "#]],
    );
}

#[test]
fn job_rules_see_status_of_their_own_execution_only() {
    check(
        "
        a: function
        b: START when status(a SUCCEEDED)
        ",
        "start | start | a#1 started | a#1 ok | a#2 started | a#2 ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 start
              wf#2 RUNNING v1 by start [4]
              a#2 QUEUED by start [4]
              launch a#2-1
            6 a#1 started
              a#1 RUNNING
            8 a#1 ok
              a#1 SUCCEEDED
            9 a#1 SUCCEEDED
              b#1 QUEUED by b.1 [9]
              launch b#1-1
            10 a#2 started
              a#2 RUNNING
            12 a#2 ok
              a#2 SUCCEEDED
            13 a#2 SUCCEEDED
              b#2 QUEUED by b.1 [13]
              launch b#2-1
        "#]],
    );
}

/// Master: the namespace of such events was not looked at.
#[test]
fn an_event_for_an_execution_is_still_matched_by_namespace() {
    check(
        "train: NONE when a",
        "start | @1 a ns:other | @1 a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 @1 a
              train.1 [5] NONE: none
        "#]],
    );
}

#[test]
fn workflow_rules_see_events_of_every_execution() {
    check(
        "
        train: NONE when x
        wf: START when a
        ",
        "start | @1 a | a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 @1 a
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            6 a
              wf#3 RUNNING v1 by wf.1 [6]
              train#3 QUEUED by start [6]
              launch train#3-1
        "#]],
    );
}

#[test]
fn several_executions_run_at_once() {
    check(
        "wf: START when raw; train: function",
        "raw | raw | train#1 started | train#2 started | train#2 ok | train#1 ok",
        expect![[r#"
            2 raw
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 raw
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            6 train#1 started
              train#1 RUNNING
            8 train#2 started
              train#2 RUNNING
            10 train#2 ok
              train#2 SUCCEEDED
            11 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
            13 train#1 ok
              train#1 SUCCEEDED
            14 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_new_execution_does_not_see_the_event_that_created_it() {
    check(
        "wf: START when raw; train: NONE when raw",
        "raw | raw",
        expect![[r#"
            2 raw
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 raw
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              train.1 [4] NONE: none
              launch train#2-1
        "#]],
    );
}

#[test]
fn of_two_start_rules_of_a_workflow_the_first_acts() {
    check(
        "
        wf: START when raw
        wf: START when raw=1
        train: NONE when x
        ",
        "raw=1 | raw=2",
        expect![[r#"
            2 raw=1
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.2 [2] START: superseded
              launch train#1-1
            4 raw=2
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              launch train#2-1
        "#]],
    );
}

/// The execution that the event creates is not stopped by the same event.
#[test]
fn a_workflow_restarts_on_an_event_that_stops_the_old_and_starts_the_new() {
    check(
        "
        wf: START when raw
        wf: STOP when raw
        train: START when go
        ",
        "raw | go | raw | train stopped",
        expect![[r#"
            2 raw
              wf#1 RUNNING v1 by wf.1 [2]
              wf.2 [2] STOP: not_live
            4 go
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 raw
              wf#1 STOPPING
              wf#2 RUNNING v1 by wf.1 [5]
              train#1 STOPPING
              wf.2 [5] STOP: stopped
              stop train#1-1
            7 train stopped
              wf#1 STOPPED: train STOPPED
              train#1 STOPPED
        "#]],
    );
}

/// Master: rules fired for an ended execution if the event carried its id.
#[test]
fn a_finished_execution_never_fires() {
    check(
        "
        a: function
        b: START when x
        ",
        "start | a ok | @1 x | x | act START a @1 | stop @1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a ok
              a#1 SUCCEEDED
            5 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SKIPPED
            9 act START a @1
              dead letter: workflow execution wf#1 is not running
            11 stop @1
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

/// Master: there was none.
#[test]
fn a_workflow_stop_rule_stops_the_named_execution_or_all() {
    check(
        "
        train: START when go
        wf: STOP when halt
        ",
        "start | start | go | @1 halt | train#1 stopped | halt | train#2 stopped | halt",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 start
              wf#2 RUNNING v1 by start [4]
            6 go
              train#1 QUEUED by train.1 [6]
              train#2 QUEUED by train.1 [6]
              launch train#1-1
              launch train#2-1
            7 @1 halt
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [7] STOP: stopped
              stop train#1-1
            8 train#1 stopped
              wf#1 STOPPED: train STOPPED
              train#1 STOPPED
            11 halt
              wf#2 STOPPING
              train#2 STOPPING
              wf.1 [11] STOP: stopped
              stop train#2-1
            12 train#2 stopped
              wf#2 STOPPED: train STOPPED
              train#2 STOPPED
            15 halt
              wf.1 [15] STOP: not_live
        "#]],
    );
}

/// Master: schedules and manual starts still worked, and running executions hung.
#[test]
fn a_disabled_workflow_starts_nothing_and_lets_running_ones_go_on() {
    check(
        "
        wf: START when raw
        train: START when go
        ",
        "start | disable wf | raw | start | go | train started | train ok | enable wf | raw",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            5 raw
              wf.1 [5] START: disabled
            6 start
              dead letter: workflow p/wf is disabled
            8 go
              train#1 QUEUED by train.1 [8]
              launch train#1-1
            9 train started
              train#1 RUNNING
            11 train ok
              train#1 SUCCEEDED
            14 raw
              wf#2 RUNNING v1 by wf.1 [14]
        "#]],
    );
}

/// Master: a deleted workflow's schedules and rules went on, and its name could not be used again.
#[test]
fn a_deleted_workflow_sees_nothing_and_comes_back_anew() {
    check(
        "
        wf: START when all(raw, go)
        train: START when go
        ",
        "delete nothing | start | delete wf | stop | raw | delete wf | delete wf | raw | go | start | enable wf | restore wf | go | \
         raw | stop | go | delete wf | submit { wf: START when all(raw, go); train: START when raw } | raw | go",
        expect![[r#"
            2 delete nothing
              dead letter: workflow p/nothing is not known
            4 start
              wf#1 RUNNING v1 by start [4]
            6 delete wf
              dead letter: execution wf#1 of workflow p/wf has not ended: stop it first
            8 stop
              wf#1 STOPPED: train SKIPPED
            11 delete wf
              wf.1 [10] START: rule_changed
            15 start
              dead letter: workflow p/wf is deleted
            17 enable wf
              dead letter: workflow p/wf is deleted
            21 raw
              wf#2 RUNNING v1 by wf.1 [20 21]
            23 stop
              wf#2 STOPPED: train SKIPPED
            26 delete wf
              wf.1 [25] START: rule_changed
            29 go
              wf#3 RUNNING v2 by wf.1 [28 29]
        "#]],
    );
}

/// Master: rules came from the latest workflow, so submitting changed running executions.
#[test]
fn an_execution_stays_pinned_to_its_version() {
    check(
        "train: START when a; late: NONE when b",
        "
        start
        submit { train: START when b; train: STOP when a; extra: NONE when a }
        a | b | start | @2 a & @2 b
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              late#1 QUEUED by start [2]
              launch late#1-1
            5 a
              train#1 QUEUED by train.1 [5]
              launch train#1-1
            6 b
              late.1 [6] NONE: none
            7 start
              wf#2 RUNNING v2 by start [7]
              extra#1 QUEUED by start [7]
              launch extra#1-1
            9 @2 a
              train.3 [9] STOP: not_live
              extra.1 [9] NONE: none
            10 @2 b
              train#2 QUEUED by train.2 [10]
              launch train#2-1
        "#]],
    );
}

/// Original: rule state was kept by place, so removing or reordering rules mixed it up.
#[test]
fn submitting_the_same_rules_again_keeps_what_they_have_seen() {
    check(
        "wf: START when all(a, b); wf: STOP when kill; train: NONE when x",
        "
        a
        submit { wf: STOP when kill; wf: START when all(c, d); wf: START when all(a, b); train: NONE when x }
        b | c | d
        ",
        expect![[r#"
            4 b
              wf#1 RUNNING v2 by wf.1 [2 4]
              train#1 QUEUED by start [4]
              launch train#1-1
            7 d
              wf#2 RUNNING v2 by wf.3 [6 7]
              train#2 QUEUED by start [7]
              launch train#2-1
        "#]],
    );
}

#[test]
fn a_rule_that_went_takes_its_state_along() {
    check(
        "wf: START when all(a, b); train: NONE when x",
        "
        a
        submit { wf: START when c; train: NONE when x }
        submit { wf: START when all(a, b); train: NONE when x }
        b | a
        ",
        expect![[r#"
            3 submit wf v2
              wf.1 [2] START: rule_changed
            6 a
              wf#1 RUNNING v3 by wf.1 [5 6]
              train#1 QUEUED by start [6]
              launch train#1-1
        "#]],
    );
}

#[test]
fn events_during_a_pause_do_not_count_and_are_recorded() {
    check(
        "wf: START when all(a, b=1 repeated); wf: STOP when kill; train: NONE when x",
        "b=1 | disable wf | a | x | kill | b=2 | enable wf | a | b=1",
        expect![[r#"
            4 a
              wf.1 [4] START: disabled
            6 kill
              wf.2 [6] STOP: not_live
            10 b=1
              wf#1 RUNNING v1 by wf.1 [9 10]
              train#1 QUEUED by start [10]
              launch train#1-1
        "#]],
    );
}

#[test]
fn a_rule_of_the_same_name_that_waits_for_other_events_begins_anew() {
    check(
        "wf: START [r] when all(a, b); train: NONE when x",
        "a | submit { wf: START [r] when any(all(c, b), all(a, d)); train: NONE when x } | b | d | c",
        expect![[r#"
            3 submit wf v2
              r [2] START: rule_changed
            6 c
              wf#1 RUNNING v2 by r [4 6]
              train#1 QUEUED by start [6]
              launch train#1-1
        "#]],
    );
}

#[test]
fn a_rule_of_the_same_name_with_another_action_keeps_what_it_has_seen() {
    check(
        "wf: START [r] when all(a, b); train: NONE when x",
        "a | submit { wf: STOP [r] when all(a, b); train: NONE when x } | start | b",
        expect![[r#"
            4 start
              wf#1 RUNNING v2 by start [4]
              train#1 QUEUED by start [4]
              launch train#1-1
            6 b
              wf#1 STOPPING
              train#1 STOPPING
              r [2 6] STOP: stopped
              stop train#1-1
        "#]],
    );
}
