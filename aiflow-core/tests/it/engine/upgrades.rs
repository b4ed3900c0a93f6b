//! Upgrades: rules, schedules and jobs change while an execution runs.

use expect_test::expect;

use super::text::check;

/// Streaming executions never end, so a rule that only new executions get never comes into force.
#[test]
fn rules_are_added_replaced_and_removed_while_an_execution_runs() {
    check(
        "
        job infer streaming
        train: START [a] when all(x, y)
        train: START [b] when all(u, v)
        ",
        "
        start | x | u
        submit { job infer streaming; train: START [a] when all(x, y); train: START [b] when all(u, w); train: START [c] when z }
        z | upgrade | y | train#1 ok | w | u | train#2 ok | z
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            8 upgrade
              b [5] START: rule_changed
            9 y
              train#1 QUEUED by a [4 9]
              launch train#1-1
            10 train#1 ok
              train#1 SUCCEEDED
            13 u
              train#2 QUEUED by b [12 13]
              launch train#2-1
            14 train#2 ok
              train#2 SUCCEEDED
            16 z
              train#3 QUEUED by c [16]
              launch train#3-1
        "#]],
    );
}

#[test]
fn events_of_the_past_are_nothing_to_a_new_rule_and_a_new_absence_waits_at_once() {
    check(
        "job infer streaming; infer: START when never",
        "
        start
        submit { job infer streaming; infer: START when never; alert: START when absent(10s, sign) }
        tick 20s | upgrade | tick 10s
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            6 timer of rule alert.1 of wf#1 at 30000ms
              alert#1 QUEUED by alert.1 [5 6]
              launch alert#1-1
        "#]],
    );
}

#[test]
fn a_live_job_goes_on_and_its_next_start_follows_the_new_definition() {
    check(
        "train: function; train: RESTART when again; retry train 0 x 1s",
        "
        start | again | train started
        submit { train: process; train: RESTART when again; new: function }
        upgrade | train#1 ok | again | train#2 ok | new ok
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 again
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            8 upgrade
              new#1 QUEUED by start [8]
              launch new#1-1
            9 train#1 ok
              train#1 SUCCEEDED
            11 again
              train#2 QUEUED by train.1 [11]
              launch train#2-1
            12 train#2 ok
              train#2 SUCCEEDED
            14 new ok
              new#1 SUCCEEDED
            15 new#1 SUCCEEDED
              wf#1 SUCCEEDED: new SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_upgrade_that_would_orphan_a_live_job_is_refused() {
    check(
        "train: function; other: START when go",
        "
        start
        submit { other: START when go }
        upgrade | train ok | upgrade
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            5 upgrade
              dead letter: job train is live or waits, and version 2 does not have it
            7 train ok
              train#1 SUCCEEDED
            8 train#1 SUCCEEDED
              wf#1 SUCCEEDED: other SKIPPED, train SUCCEEDED
            10 upgrade
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

/// The version that nobody runs any more is forgotten, also after a restart.
#[test]
fn an_upgraded_execution_is_restored_under_its_new_version() {
    check(
        "job s streaming; train: START when a",
        "
        start
        submit { job s streaming; train: START when b }
        upgrade | restore | a | b | restore | stop
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              s#1 QUEUED by start [2]
              launch s#1-1
            7 b
              train#1 QUEUED by train.2 [7]
              launch train#1-1
            8 stop
              wf#1 STOPPING
              s#1 STOPPING
              train#1 STOPPING
              stop s#1-1
              stop train#1-1
        "#]],
    );
}

#[test]
fn schedules_of_jobs_come_and_go_with_an_upgrade() {
    check(
        "job s streaming; schedule check every 10s; check: function",
        "
        start | tick 10s | check ok
        submit { job s streaming; schedule check every 10s; check: function; schedule report every 15s; report: function }
        upgrade | tick 10s | check ok
        submit { job s streaming; report: function; schedule report every 15s; check: START when never }
        upgrade | tick 30s
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              s#1 QUEUED by start [2]
              launch s#1-1
            4 schedule every-41ed1034a0e9 of check in wf#1 at 1970-01-01T00:00:10Z
              check#1 QUEUED by every-41ed1034a0e9 1970-01-01T00:00:10Z [4]
              launch check#1-1
            5 check ok
              check#1 SUCCEEDED
            9 schedule every-41ed1034a0e9 of check in wf#1 at 1970-01-01T00:00:20Z
              check#2 QUEUED by every-41ed1034a0e9 1970-01-01T00:00:20Z [9]
              launch check#2-1
            10 check ok
              check#2 SUCCEEDED
            14 schedule every-aebaa5b14f47 of report in wf#1 at 1970-01-01T00:00:25Z
              report#1 QUEUED by every-aebaa5b14f47 1970-01-01T00:00:25Z [14]
              launch report#1-1
            15 schedule every-aebaa5b14f47 of report in wf#1 at 1970-01-01T00:00:40Z
              every-aebaa5b14f47 1970-01-01T00:00:40Z [15] START: already_live
        "#]],
    );
}
