//! Streams: restarts, checkpoints, and values that are handed to what runs.

use aiflow_core::execution::JobStatus;
use expect_test::expect;
use serde_json::json;

use super::text::check;
use super::world::World;

fn played(rules: &str, events: &str) -> World {
    let mut world = World::new(rules);
    world.play(events);
    world
}

#[test]
fn a_stream_that_breaks_is_restarted_with_growing_pauses_until_it_was_healthy() {
    check(
        "job infer streaming; restart infer failure 1s healthy:10s",
        "start | infer started | infer failed | tick 1s | infer started | infer silent | tick 2s | infer started | tick 10s | infer failed | restore | tick 1s | infer started | infer ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING
            6 infer failed
              infer#1 RETRYING until 1000ms
            8 timer of infer#1 at 1000ms
              infer#1 QUEUED
              launch infer#1-2
            9 infer started
              infer#1 RUNNING
            11 infer silent
              infer#1 RETRYING until 3000ms
            13 timer of infer#1 at 3000ms
              infer#1 QUEUED
              launch infer#1-3
            14 infer started
              infer#1 RUNNING
            16 infer failed
              infer#1 RETRYING until 14000ms
            18 timer of infer#1 at 14000ms
              infer#1 QUEUED
              launch infer#1-4
            19 infer started
              infer#1 RUNNING
            21 infer ok
              infer#1 SUCCEEDED
        "#]],
    );
}

#[test]
fn a_stream_that_always_runs_is_restarted_after_a_success_and_not_after_a_stop_or_what_nothing_mends() {
    let rules = "job infer streaming; restart infer always 1s max:2";
    for (events, status) in [
        ("infer ok", JobStatus::Retrying),
        ("infer ok | tick 1s | infer ok | tick 2s | infer ok", JobStatus::Succeeded),
        ("infer failed | tick 1s | infer failed | tick 2s | infer failed", JobStatus::Failed),
        ("infer fatal", JobStatus::Failed),
        ("infer stopped", JobStatus::Stopped),
        ("act STOP infer | infer failed", JobStatus::Stopped),
        ("infer failed | act STOP infer", JobStatus::Stopped),
    ] {
        let world = played(rules, &format!("start | infer started | {events}"));
        let last = world.jobs.values().next_back().expect("infer was started");
        assert_eq!(last.status, status, "{events}");
    }
}

/// What an attempt said comes to every one that follows: a retry, a repetition of a lost one, a restart by a rule. A stale report, or one
/// that comes again, takes nothing back.
#[test]
fn a_checkpoint_is_handed_on() {
    let mut world =
        World::new("job infer streaming; restart infer failure 1s; infer: START when go; infer: RESTART when again");
    world.play("start | go | infer started | infer at 1 a | infer at 2 b | infer at 1 a | infer failed");
    let given = |world: &World| {
        let job = world.jobs.values().next_back().expect("infer was started");
        let plan = world.engine.launch_plan(job.id).expect("it is live");
        plan.execution.checkpoint.as_ref().map(|checkpoint| checkpoint.value.clone())
    };
    world.play("tick 1s | restore");
    assert_eq!(given(&world), Some(json!("b")));
    world.play("infer#1-1 at 9 stale | infer started | infer lost");
    assert_eq!(given(&world), Some(json!("b")));
    // While it stops, it still says where it was.
    world.play("infer started | again | infer at 1 c | infer stopped");
    assert_eq!(world.jobs.len(), 2);
    assert_eq!(given(&world), Some(json!("c")));
    world.play("infer started | infer stopped | restore | go | infer started");
    assert_eq!(world.jobs.len(), 3);
    assert_eq!(given(&world), Some(json!("c")));
}

#[test]
fn an_attempt_labels_its_execution_and_the_next_one_begins_without() {
    let mut world = World::new("job fit; retry fit 2 x 1s");
    let labels = |world: &World| {
        let job = world.jobs.values().next_back().expect("fit was started");
        job.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    world.play(
        "start | fit says 1 page=p | fit started | fit says 2 epoch=1 loss=9 | fit says 3 epoch=2 loss | restore",
    );
    assert_eq!(labels(&world), "epoch=2 page=p");
    // What comes late, or a second time, does not count.
    world.play("fit says 2 epoch=1 loss=9 | fit says 3 epoch=0");
    assert_eq!(labels(&world), "epoch=2 page=p");
    world.play("fit failed");
    assert_eq!(labels(&world), "epoch=2 page=p", "one sees how far it came");
    world.play("tick 1s | fit#1-1 says 9 epoch=9 | fit started");
    assert_eq!(labels(&world), "");
    world.play("fit says 1 epoch=1 | fit ok | fit#1-2 says 2 epoch=2");
    assert_eq!(labels(&world), "epoch=1", "what has ended says no more");
}

#[test]
fn a_batch_job_that_has_done_its_work_begins_anew() {
    let mut world = World::new("train: START when go; completion standing");
    world.play("start | go | train started | train at 1 a | train failed | go | train started");
    let last = |world: &World| world.jobs.values().next_back().and_then(|job| job.checkpoint.clone()).map(|c| c.value);
    assert_eq!(last(&world), Some(json!("a")));
    world.play("train ok | go");
    assert_eq!(world.jobs.len(), 3);
    assert_eq!(last(&world), None);
}

#[test]
fn a_value_is_handed_to_what_runs_and_acknowledged() {
    check(
        "job infer streaming; infer: SIGNAL when model; ack infer 5s",
        "start | infer started | infer ready | model=v2 | tick 4s | infer acks | tick 1h",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING
            6 infer ready
              infer#1 READY
            8 model=v2
              infer.1 [8] SIGNAL: handed_over
              signal infer#1-1 "v2"
        "#]],
    );
}

/// A neighbour delivers to nobody and forgets it; here what is not taken becomes a restart with the newest value.
#[test]
fn a_value_that_is_not_acknowledged_restarts_the_job_with_it() {
    check(
        "job infer streaming; infer: SIGNAL when model; ack infer 5s",
        "start | infer started | model=v2 | tick 3s | model=v3 | restore | tick 2s | model=v4 | infer stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 infer started
              infer#1 RUNNING
            6 model=v2
              infer.1 [6] SIGNAL: handed_over
              signal infer#1-1 "v2"
            7 model=v3
              infer.1 [7] SIGNAL: handed_over
              signal infer#1-1 "v3"
            8 timer 2.0-1:signal:6.0 at 5000ms
              infer#1 STOPPING
              infer#2 INIT by infer.1 [7]
              stop infer#1-1
            9 model=v4
              infer.1 [9] SIGNAL: merged
            10 infer stopped
              infer#1 STOPPED
              infer#2 QUEUED
              launch infer#2-1
        "#]],
    );
    let mut world = World::new("job infer streaming; infer: SIGNAL when model; ack infer 5s");
    world.play("start | infer started | model=v2 | tick 3s | model=v3 | tick 2s | model=v4 | infer stopped");
    let newest = world.jobs.values().next_back().expect("it was restarted");
    assert_eq!(newest.params, json!({ "signal": "v4" }));
}

#[test]
fn a_value_that_cannot_be_handed_over_restarts_the_job_at_once() {
    let world = played(
        "job infer streaming; infer: SIGNAL when model",
        "start | infer started | model=v2 | infer refuses | infer stopped",
    );
    let newest = world.jobs.values().next_back().expect("it was restarted");
    assert_eq!((world.jobs.len(), newest.params.clone()), (2, json!({ "signal": "v2" })));
    // Whoever looks at what was stopped reads why.
    let stopped = world.jobs.values().next().expect("it ran");
    let why = &stopped.stops.first().expect("it was asked to stop").reason;
    assert!(why.starts_with("rule ") && why.ends_with("; the value could not be handed over: it cannot"), "{why}");
}

#[test]
fn a_value_for_a_job_that_does_not_run_yet_waits_for_it_and_outlives_an_attempt() {
    check(
        "job infer streaming; restart infer failure 1s; infer: SIGNAL when model; ack infer 5s",
        "start | model=v2 | infer started | infer failed | tick 1s | infer started | infer acks",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              infer#1 QUEUED by start [2]
              launch infer#1-1
            4 model=v2
              infer.1 [4] SIGNAL: handed_over
            5 infer started
              infer#1 RUNNING
              signal infer#1-1 "v2"
            7 infer failed
              infer#1 RETRYING until 1000ms
            9 timer of infer#1 at 1000ms
              infer#1 QUEUED
              launch infer#1-2
            10 infer started
              infer#1 RUNNING
              signal infer#1-2 "v2"
        "#]],
    );
}

#[test]
fn a_value_for_a_job_that_has_ended_starts_it() {
    let world = played(
        "infer: SIGNAL when model; completion standing",
        "start | infer started | model=v2 | infer ok | infer started | infer ok | signal infer v3",
    );
    let params: Vec<_> = world.jobs.values().map(|job| job.params.clone()).collect();
    assert_eq!(params, [json!(null), json!({ "signal": "v2" }), json!({ "signal": "v3" })]);
}

#[test]
fn a_restart_by_a_rule_takes_along_what_was_not_acknowledged() {
    let world = played(
        "job infer streaming; infer: SIGNAL when model; infer: RESTART when again",
        "start | act START infer | infer started | model=v2 | again | infer stopped",
    );
    let newest = world.jobs.values().next_back().expect("it was restarted");
    assert_eq!((world.jobs.len(), newest.params.clone()), (2, json!({ "signal": "v2" })));
}

#[test]
fn a_stopped_job_takes_no_values() {
    let world = played(
        "job infer streaming; infer: SIGNAL when model",
        "start | infer started | model=v2 | act STOP infer | tick 1h | infer stopped",
    );
    assert_eq!(world.jobs.len(), 1);
    assert_eq!(world.engine.next_timer(), None);
}
