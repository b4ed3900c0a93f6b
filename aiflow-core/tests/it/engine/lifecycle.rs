//! Lives of jobs and workflow executions: attempts, limits, stops, ends, and what operators ask for.

use aiflow_core::event::EVENT_HOPS_MAX;
use aiflow_core::execution::{FiringOutcome, WorkflowStatus};
use expect_test::expect;
use serde_json::json;

use super::text::check;
use super::world::World;

#[test]
fn a_failed_attempt_is_retried_after_its_pause() {
    check(
        "train: function; retry train 2 x 1s",
        "start | train started | train failed | tick 999ms | tick 1ms | train started | train failed | tick 1s | train failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING
            6 train failed
              train#1 RETRYING until 1000ms
            8 timer of train#1 at 1000ms
              train#1 QUEUED
              launch train#1-2
            9 train started
              train#1 RUNNING
            11 train failed
              train#1 RETRYING until 2000ms
            13 timer of train#1 at 2000ms
              train#1 QUEUED
              launch train#1-3
            14 train failed
              train#1 FAILED
            15 train#1 FAILED
              wf#1 FAILED: train FAILED
        "#]],
    );
}

#[test]
fn a_failure_that_no_retry_can_mend_is_final() {
    check(
        "train: function; retry train 2 x 1s",
        "start | train fatal",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train fatal
              train#1 FAILED
            5 train#1 FAILED
              wf#1 FAILED: train FAILED
        "#]],
    );
}

#[test]
fn a_lost_attempt_is_repeated_at_once_and_costs_no_retry() {
    check(
        "train: function; retry train 1 x 1s",
        "start | train started | train lost | train lost | train failed | tick 1s | train#1-1 ok | train started | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING
            6 train lost
              train#1 QUEUED
              launch train#1-2
            8 train lost
              train#1 QUEUED
              launch train#1-3
            10 train failed
              train#1 RETRYING until 1000ms
            12 timer of train#1 at 1000ms
              train#1 QUEUED
              launch train#1-4
            14 train started
              train#1 RUNNING
            16 train ok
              train#1 SUCCEEDED
            17 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_attempt_over_its_limit_is_stopped_and_has_failed() {
    check(
        "train: function; timeout train 5s",
        "start | tick 9s | train started | tick 4s | tick 1s | train stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING until 14000ms
            6 timer of train#1 at 14000ms
              stop train#1-1
            7 train stopped
              train#1 FAILED
            8 train#1 FAILED
              wf#1 FAILED: train FAILED
        "#]],
    );
}

#[test]
fn an_attempt_over_its_limit_is_retried() {
    check(
        "train: function; timeout train 5s; retry train 1 x 1s",
        "start | train started | tick 5s | train stopped | tick 1s | train started | tick 4s | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING until 5000ms
            6 timer of train#1 at 5000ms
              stop train#1-1
            7 train stopped
              train#1 RETRYING until 6000ms
            9 timer of train#1 at 6000ms
              train#1 QUEUED
              launch train#1-2
            10 train started
              train#1 RUNNING until 11000ms
            12 train ok
              train#1 SUCCEEDED
            13 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_late_success_of_an_attempt_over_its_limit_is_a_failure() {
    check(
        "train: function; timeout train 5s",
        "start | train started | tick 5s | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING until 5000ms
            6 timer of train#1 at 5000ms
              stop train#1-1
            7 train ok
              train#1 FAILED
            8 train#1 FAILED
              wf#1 FAILED: train FAILED
        "#]],
    );
}

#[test]
fn a_stop_after_the_limit_ends_as_stopped() {
    check(
        "train: function; timeout train 5s; retry train 1 x 1s",
        "start | train started | tick 5s | act STOP train | train stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train started
              train#1 RUNNING until 5000ms
            6 timer of train#1 at 5000ms
              stop train#1-1
            7 act STOP train
              train#1 STOPPING
              start [7] STOP: stopped
              stop train#1-1
            8 train stopped
              train#1 STOPPED
            9 train#1 STOPPED
              wf#1 STOPPED: train STOPPED
        "#]],
    );
}

#[test]
fn a_streaming_job_is_ready_before_it_ends() {
    check(
        "job infer streaming; serve: START when status(infer READY)",
        "start | infer started | infer ready | infer ready | infer started | serve ok | stop @1 | infer stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING
            6 infer ready
              infer#1 READY
            7 infer#1 READY
              serve#1 QUEUED by serve.1 [7]
              launch serve#1-1
            10 serve ok
              serve#1 SUCCEEDED
            12 stop @1
              wf#1 STOPPING
              infer#1 STOPPING
              stop infer#1-1
            13 infer stopped
              wf#1 STOPPED: infer STOPPED, serve SUCCEEDED
              infer#1 STOPPED
        "#]],
    );
}

#[test]
fn ready_without_started_counts_as_both() {
    check(
        "job infer streaming; a: NONE when status(infer RUNNING); b: NONE when status(infer READY)",
        "start | infer ready",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch infer#1-1
              launch a#1-1
              launch b#1-1
            4 infer ready
              infer#1 READY
            5 infer#1 RUNNING
              a.1 [5] NONE: none
            6 infer#1 READY
              b.1 [6] NONE: none
        "#]],
    );
}

#[test]
fn a_retrying_job_is_stopped_at_once() {
    check(
        "train: function; retry train 2 x 1s",
        "start | train failed | act STOP train | tick 5s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train failed
              train#1 RETRYING until 1000ms
            6 act STOP train
              train#1 STOPPED
              start [6] STOP: stopped
            7 train#1 STOPPED
              wf#1 STOPPED: train STOPPED
        "#]],
    );
}

#[test]
fn restart_of_a_retrying_job_starts_at_once() {
    check(
        "train: RESTART when a; retry train 2 x 10s",
        "start | a | train failed | a | tick 20s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train failed
              train#1 RETRYING until 10000ms
            7 a
              train#1 STOPPED
              train#2 QUEUED by train.1 [7]
              launch train#2-1
        "#]],
    );
}

#[test]
fn a_stopped_execution_without_live_jobs_ends_at_once() {
    check(
        "train: START when go",
        "start | stop @1",
        expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
        4 stop @1
          wf#1 STOPPED: train SKIPPED
    "#]],
    );
}

#[test]
fn stopping_an_execution_cancels_what_waits() {
    check(
        "train: RESTART when a",
        "start | a | train started | a | stop @1 | stop @1 | a | train#1 ok",
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
            8 stop @1
              wf#1 STOPPING
              train#2 STOPPED
            12 train#1 ok
              wf#1 STOPPED: train STOPPED
              train#1 STOPPED
        "#]],
    );
}

#[test]
fn stopping_an_execution_ends_jobs_that_wait_for_a_retry() {
    check(
        "a: function; b: function; retry a 1 x 1s",
        "start | a failed | stop @1 | tick 5s | b stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 a failed
              a#1 RETRYING until 1000ms
            6 stop @1
              wf#1 STOPPING
              a#1 STOPPED
              b#1 STOPPING
              stop b#1-1
            8 b stopped
              wf#1 STOPPED: a STOPPED, b STOPPED
              b#1 STOPPED
        "#]],
    );
}

#[test]
fn a_standing_execution_outlives_its_jobs() {
    check(
        "completion standing; train: function",
        "start | train ok | act START train | train ok | stop @1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train ok
              train#1 SUCCEEDED
            6 act START train
              train#2 QUEUED by start [6]
              launch train#2-1
            7 train ok
              train#2 SUCCEEDED
            9 stop @1
              wf#1 STOPPED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_idle_execution_in_which_nothing_starts_ends_at_once() {
    check(
        "completion idle; train: START when go",
        "start",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            3 wf#1 RUNNING
              wf#1 SUCCEEDED: train SKIPPED
        "#]],
    );
}

#[test]
fn an_execution_ends_only_after_its_last_status_was_applied() {
    check(
        "a: function; b: START when status(a FAILED); c: START when status(b SUCCEEDED)",
        "start | a failed | b ok | c ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a failed
              a#1 FAILED
            5 a#1 FAILED
              b#1 QUEUED by b.1 [5]
              launch b#1-1
            6 b ok
              b#1 SUCCEEDED
            7 b#1 SUCCEEDED
              c#1 QUEUED by c.1 [7]
              launch c#1-1
            8 c ok
              c#1 SUCCEEDED
            9 c#1 SUCCEEDED
              wf#1 FAILED: a FAILED, b SUCCEEDED, c SUCCEEDED
        "#]],
    );
}

/// Only the scheduler's own announcements are counted.
#[test]
fn a_status_that_a_user_claims_does_not_end_an_execution() {
    check(
        "a: function; b: START when status(a SUCCEEDED)",
        "start | a started | a ok & @1 wf/a=RUNNING type:JOB_STATUS_CHANGED | b ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a started
              a#1 RUNNING
            6 a ok
              a#1 SUCCEEDED
            8 a#1 SUCCEEDED
              b#1 QUEUED by b.1 [8]
              launch b#1-1
            9 b ok
              b#1 SUCCEEDED
            10 b#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SUCCEEDED
        "#]],
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    check(
        "train: function",
        "start nothing | start | act START nothing @1 | train ok | stop @1 | act START train @1 | disable nothing",
        expect![[r#"
            2 start nothing
              dead letter: workflow p/nothing is not known
            4 start
              wf#1 RUNNING v1 by start [4]
              train#1 QUEUED by start [4]
              launch train#1-1
            6 act START nothing @1
              dead letter: workflow execution wf#1 has no job nothing
            8 train ok
              train#1 SUCCEEDED
            9 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
            11 stop @1
              dead letter: workflow execution wf#1 is not running
            13 act START train @1
              dead letter: workflow execution wf#1 is not running
            15 disable nothing
              dead letter: workflow p/nothing is not known
        "#]],
    );
}

#[test]
fn a_workflow_starts_after_another() {
    check(
        "
        a: function
        workflow next
        wf: START when workflow(wf SUCCEEDED)
        b: function
        ",
        "start | a ok | b ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1
            5 a ok
              a#1 SUCCEEDED
            6 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED
            7 wf#1 SUCCEEDED
              next#1 RUNNING v1 by wf.1 [7]
              b#1 QUEUED by start [7]
              launch b#1-1
            9 b ok
              b#1 SUCCEEDED
            10 b#1 SUCCEEDED
              next#1 SUCCEEDED: b SUCCEEDED
        "#]],
    );
}

#[test]
fn parameters_of_the_start_reach_the_attempt() {
    let mut world = World::new("train: function");
    world.play("start lr=0.1 note=x");
    let job = *world.jobs.keys().next().unwrap();
    let plan = world.engine.launch_plan(job).unwrap();
    assert_eq!(plan.params, json!({"lr": 0.1, "note": "x"}));
    assert_eq!(plan.job.name.as_str(), "train");
    world.play("train ok");
    assert!(world.engine.launch_plan(job).is_none());
}

#[test]
fn a_job_acted_on_by_hand_runs_as_by_a_rule() {
    check(
        "train: START when go",
        "start | act START train | train started | act RESTART train | act NONE train | train#1 stopped | act STOP train | train#2 stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 act START train
              train#1 QUEUED by start [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 act RESTART train
              train#1 STOPPING
              train#2 INIT by start [7]
              stop train#1-1
            8 act NONE train
              start [8] NONE: none
            9 train#1 stopped
              train#1 STOPPED
              train#2 QUEUED
              launch train#2-1
            11 act STOP train
              train#2 STOPPING
              start [11] STOP: stopped
              stop train#2-1
            12 train#2 stopped
              train#2 STOPPED
        "#]],
    );
}

#[test]
fn two_workflows_that_start_each_other_are_stopped_by_the_bound() {
    let mut world = World::new(
        "
        train: START when never
        wf: START when workflow(next RUNNING)
        workflow next
        other: START when never
        wf: START when workflow(wf RUNNING)
        ",
    );
    world.play("start");
    assert_eq!(world.executions.len(), EVENT_HOPS_MAX as usize);
    let firings = world.decisions.iter().flat_map(|d| d.firings.values());
    let outcomes: Vec<FiringOutcome> = firings.map(|firing| firing.record.outcome).collect();
    assert_eq!(outcomes, [FiringOutcome::TooManyHops]);
}

#[test]
fn an_event_beyond_the_bound_acts_no_more() {
    check(
        "train: START when a",
        "start | a hops:1000 | a hops:999",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 a hops:1000
              train.1 [4] START: too_many_hops
            5 a hops:999
              train#1 QUEUED by train.1 [5]
              launch train#1-1
        "#]],
    );
}

#[test]
fn jobs_that_start_each_other_are_stopped_by_the_bound() {
    let mut world = World::new(
        "
        a: START when any(go, status(b SUCCEEDED))
        b: START when status(a SUCCEEDED)
        ",
    );
    world.play("start | go");
    for _ in 0..EVENT_HOPS_MAX {
        world.play("a ok | b ok");
    }
    // The first run of a job does not count.
    assert_eq!(world.jobs.len(), EVENT_HOPS_MAX as usize + 1);
    let last = world.decisions.iter().flat_map(|d| d.firings.values()).last();
    assert_eq!(last.unwrap().record.outcome, FiringOutcome::TooManyHops);
    world.play("go");
    assert_eq!(world.jobs.len(), EVENT_HOPS_MAX as usize + 2);
}

/// A bound on causes that cuts a long pipeline in two is no protection from loops.
#[test]
fn a_long_chain_of_jobs_is_no_loop() {
    const JOBS: usize = EVENT_HOPS_MAX as usize + 10;
    let jobs: Vec<String> = (1..JOBS).map(|n| format!("job{n}: START when status(job{} SUCCEEDED)", n - 1)).collect();
    let mut world = World::new(&format!("job0: function\n{}\nwf: START when end", jobs.join("\n")));
    world.play("start");
    for n in 0..JOBS {
        world.play(&format!("job{n} ok"));
    }
    let execution = world.executions.values().next().expect("it was started");
    assert_eq!((execution.status, world.jobs.len()), (WorkflowStatus::Succeeded, JOBS));
}

#[test]
fn a_restored_world_goes_on_as_before() {
    check(
        "
        features: function
        train: START when all(status(features SUCCEEDED), model.* repeated, go)
        retry train 1 x 5s
        timeout train 9s
        wf: START when all(x, y)
        ",
        "start | x | restore | go | restore | features started | model.a | restore | features ok | restore | train started | restore | train failed | restore | tick 5s | restore | train started | restore | tick 9s | restore | train stopped | y | restore",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              features#1 QUEUED by start [2]
              launch features#1-1
            6 features started
              features#1 RUNNING
            9 features ok
              features#1 SUCCEEDED
            10 features#1 SUCCEEDED
              train#1 QUEUED by train.1 [5 8 10]
              launch train#1-1
            11 train started
              train#1 RUNNING until 9000ms
            13 train failed
              train#1 RETRYING until 5000ms
            15 timer of train#1 at 5000ms
              train#1 QUEUED
              launch train#1-2
            16 train started
              train#1 RUNNING until 14000ms
            18 timer of train#1 at 14000ms
              stop train#1-2
            19 train stopped
              train#1 FAILED
            20 train#1 FAILED
              wf#1 FAILED: features SUCCEEDED, train FAILED
            22 y
              wf#2 RUNNING v1 by wf.1 [4 22]
              features#2 QUEUED by start [22]
              launch features#2-1
        "#]],
    );
}
