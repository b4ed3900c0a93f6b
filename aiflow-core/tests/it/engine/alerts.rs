//! Deadlines and hooks: what is said when something is late, and when it ends.

use expect_test::expect;

use super::text::check;
use super::world::World;

/// A neighbour's deadline fails the job, or is found out when the job ends at last; here what is late goes on and is said in time.
#[test]
fn a_deadline_is_an_event_and_stops_nothing() {
    check(
        "train: function; retry train 1 x 2s; deadline train 3s; call: START when wf/train type:DEADLINE_MISSED",
        "start | train failed | tick 2s | train started | restore | tick 1s | call ok | tick 1h | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2] until 3000ms
              launch train#1-1
            4 train failed
              train#1 RETRYING until 2000ms
            6 timer of train#1 at 2000ms
              train#1 QUEUED until 3000ms
              launch train#1-2
            7 train started
              train#1 RUNNING until 3000ms
            10 wf#1 DEADLINE_MISSED
              call#1 QUEUED by call.1 [10]
              launch call#1-1
            11 call ok
              call#1 SUCCEEDED
            13 train ok
              train#1 SUCCEEDED
            14 train#1 SUCCEEDED
              wf#1 SUCCEEDED: call SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_deadline_that_is_kept_says_nothing() {
    let world = played(
        "train: function; deadline train 3s; job infer streaming; deadline infer 3s; deadline wf 1h",
        "start | infer ready | tick 2s | train ok | tick 1m",
    );
    assert_eq!(missed(&world), [""; 0]);
}

#[test]
fn a_deadline_of_the_execution_holds_for_jobs_that_never_began() {
    let world = played(
        "load: function; train: START when status(load SUCCEEDED); deadline train 5s of:execution; deadline load 4s of:execution; deadline wf 6s",
        "start | load started | tick 10s | load ok | train ok",
    );
    assert_eq!(missed(&world), ["wf/load RUNNING", "wf/train null", "wf RUNNING"]);
    let world = played(
        "load: function; train: START when status(load SUCCEEDED); deadline train 5s of:execution; deadline wf 6s",
        "start | load ok | train ok | tick 10s",
    );
    assert_eq!(missed(&world), [""; 0]);
}

/// A deadline is no work: an execution that has nothing left to do ends before it.
#[test]
fn a_deadline_keeps_no_execution_open() {
    let world = played("train: function; deadline wf 1h; deadline train 1h of:execution", "start | train failed");
    assert!(world.executions.values().all(|execution| execution.status.is_terminal()));
    assert_eq!(world.engine.next_timer(), None);
}

#[test]
fn a_hook_of_a_job_starts_a_job_of_the_same_execution_before_that_ends() {
    check(
        "train: function; hook train failure rescue; hook train success never; clean: START when rescue",
        "start | train fatal | clean ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train fatal
              train#1 FAILED
            5 rescue {"ending":{"ending":"failed","message":"no such function","retryable":false},"execution":"wf#1","job":"train","job_execution":"wf#1","status":"FAILED","workflow":"wf"}
              clean#1 QUEUED by clean.1 [5]
              launch clean#1-1
            7 clean ok
              clean#1 SUCCEEDED
            8 clean#1 SUCCEEDED
              wf#1 FAILED: clean SUCCEEDED, train FAILED
        "#]],
    );
}

#[test]
fn the_hooks_of_a_workflow_are_heard_when_nothing_of_it_runs_any_more() {
    check(
        "train: function; hook wf failure lost; hook wf stop halted=1; hook wf end over
         workflow rescue
         clean: function; wf: START when lost; wf: START when halted=1; wf: START when over",
        "start | train fatal | restore | start | stop @4 | train stopped",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              train#1 QUEUED by start [3]
              launch train#1-1
            5 train fatal
              train#1 FAILED
            6 train#1 FAILED
              wf#1 FAILED: train FAILED
            7 lost {"execution":"wf#1","status":"FAILED","workflow":"wf"}
              rescue#1 RUNNING v1 by wf.1 [7]
              clean#1 QUEUED by start [7]
              launch clean#1-1
            8 over {"execution":"wf#1","status":"FAILED","workflow":"wf"}
              rescue#2 RUNNING v1 by wf.3 [8]
              clean#2 QUEUED by start [8]
              launch clean#2-1
            12 start
              wf#2 RUNNING v1 by start [12]
              train#2 QUEUED by start [12]
              launch train#2-1
            14 stop @4
              wf#2 STOPPING
              train#2 STOPPING
              stop train#2-1
            15 train stopped
              wf#2 STOPPED: train STOPPED
              train#2 STOPPED
            17 halted 1
              rescue#3 RUNNING v1 by wf.2 [17]
              clean#3 QUEUED by start [17]
              launch clean#3-1
            18 over {"execution":"wf#2","status":"STOPPED","workflow":"wf"}
              rescue#4 RUNNING v1 by wf.3 [18]
              clean#4 QUEUED by start [18]
              launch clean#4-1
        "#]],
    );
}

#[test]
fn a_retry_is_no_ending_and_a_stop_is_no_failure() {
    let world = played(
        "train: function; retry train 1 x 1s; hook train failure f; hook train stop s; hook train success y; hook train end e broadcast",
        "start | train failed | tick 1s | train started | act STOP train | train failed",
    );
    let said = world.log.iter().filter(|input| ["f", "s", "y", "e"].contains(&input.event.key.as_str()));
    let said: Vec<_> =
        said.map(|input| (input.event.key.as_str(), input.event.context.workflow_execution.is_some())).collect();
    assert_eq!(said, [("s", true), ("e", false)]);
}

fn played(rules: &str, events: &str) -> World {
    let mut world = World::new(rules);
    world.play(events);
    world
}

fn missed(world: &World) -> Vec<String> {
    let missed = world.log.iter().map(|input| &input.event).filter(|event| event.event_type == "DEADLINE_MISSED");
    missed.map(|event| format!("{} {}", event.key, event.value["status"].as_str().unwrap_or("null"))).collect()
}
