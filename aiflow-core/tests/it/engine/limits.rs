//! Retries that tell failures apart, and the limits of the time that attempts may take.

use aiflow_core::execution::JobStatus;
use aiflow_core::executor::{Ending, TimeLimit};
use expect_test::expect;

use super::text::check;
use super::world::World;

/// A neighbour retries whatever failed, also what cannot get better.
#[test]
fn only_failures_that_the_policy_names_are_tried_again() {
    check(
        "train: function; retry train 9 x 1s on:75/io*/late",
        "start | train exit:75 | tick 1s | train error:io.timeout | tick 1s | train timedout | tick 1s | train exit:1",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train exit:75
              train#1 RETRYING until 1000ms
            6 timer of train#1 at 1000ms
              train#1 QUEUED
              launch train#1-2
            7 train error:io.timeout
              train#1 RETRYING until 2000ms
            9 timer of train#1 at 2000ms
              train#1 QUEUED
              launch train#1-3
            10 train timedout
              train#1 RETRYING until 3000ms
            12 timer of train#1 at 3000ms
              train#1 QUEUED
              launch train#1-4
            13 train exit:1
              train#1 FAILED
            14 train#1 FAILED
              wf#1 FAILED: train FAILED
        "#]],
    );
}

#[test]
fn a_lost_heartbeat_is_announced_and_counts_as_the_policy_says() {
    check(
        "train: function; retry train 9 x 1s; strict: function; retry strict 9 x 1s not:silent",
        "start | train started | strict started | train silent | strict silent",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              strict#1 QUEUED by start [2]
              launch train#1-1
              launch strict#1-1
            4 train started
              train#1 RUNNING
            6 strict started
              strict#1 RUNNING
            8 train silent
              train#1 RETRYING until 1000ms
            10 strict silent
              strict#1 FAILED
        "#]],
    );
}

#[test]
fn the_pause_grows_to_its_bound() {
    check(
        "train: function; retry train 3 x 1s factor:3 max:5s",
        "start | train failed | tick 1s | train failed | tick 3s | train failed",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train failed
              train#1 RETRYING until 1000ms
            6 timer of train#1 at 1000ms
              train#1 QUEUED
              launch train#1-2
            7 train failed
              train#1 RETRYING until 4000ms
            9 timer of train#1 at 4000ms
              train#1 QUEUED
              launch train#1-3
            10 train failed
              train#1 RETRYING until 9000ms
        "#]],
    );
}

#[test]
fn jitter_is_the_same_in_every_replay_and_differs_from_job_to_job() {
    let rules = "a: function; b: function; c: function; retry a 1 x 1m jitter:50; retry b 1 x 1m jitter:50; retry c 1 x 1m jitter:50";
    let play = || {
        let mut world = World::new(rules);
        world.play("start | a failed | b failed | c failed");
        world.jobs.values().flat_map(|job| job.due.values().copied()).collect::<Vec<_>>()
    };
    let pauses = play();
    assert_eq!(pauses, play());
    assert_eq!(pauses.len(), 3);
    assert!(pauses.iter().all(|pause| (30_000..=60_000).contains(&pause.as_millis())), "{pauses:?}");
    assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]), "{pauses:?}");
}

#[test]
fn an_attempt_that_waits_too_long_to_run_is_withdrawn() {
    check(
        "train: function; timeout queue train 5s; retry train 1 x 1s",
        "start | tick 5s | restore | train stopped | tick 1s | train started | tick 1h | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2] until 5000ms
              launch train#1-1
            4 timer of train#1 at 5000ms
              stop train#1-1
            5 train stopped
              train#1 RETRYING until 6000ms
            7 timer of train#1 at 6000ms
              train#1 QUEUED until 11000ms
              launch train#1-2
            8 train started
              train#1 RUNNING
            10 train ok
              train#1 SUCCEEDED
            11 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

/// It began in the moment it was withdrawn: its time limit does not begin anew, and the ending says which limit it was.
#[test]
fn an_attempt_that_runs_after_all_has_still_exceeded_its_wait() {
    let mut world = World::new("train: function; timeout queue train 5s; timeout train 1s");
    world.play("start | tick 5s | train started | tick 9s | train ok");
    let job = world.jobs.values().next().expect("train was started");
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.ending, Some(Ending::TimedOut { limit: TimeLimit::Queue }));
}

#[test]
fn a_streaming_job_that_does_not_become_ready_is_stopped() {
    check(
        "job infer streaming; timeout start infer 5s; timeout infer 1m",
        "start | infer started | tick 5s | infer stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING until 5000ms
            6 timer of infer#1 at 5000ms
              stop infer#1-1
            7 infer stopped
              infer#1 FAILED
        "#]],
    );
}

#[test]
fn a_streaming_job_that_is_ready_in_time_is_left_alone() {
    check(
        "job infer streaming; timeout start infer 5s",
        "start | infer started | tick 4s | infer ready | tick 1h",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING until 5000ms
            6 infer ready
              infer#1 READY
        "#]],
    );
}
