//! Pauses: what waits while an execution is paused, what does not, and in which order does it go on?

use expect_test::expect;

use super::text::check;
use super::world::World;

/// DESIGN 5.7: events during the pause of an execution count when it resumes. Elsewhere they are lost, or the pause only hides the workflow.
#[test]
fn what_fires_during_a_pause_waits_and_goes_on_in_the_order_of_the_log() {
    check(
        "
        a: START when x
        b: START when y
        completion standing
        ",
        "start | pause | y | x | y | resume",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            5 y
              b.1 [5] START: waiting (pause: its workflow execution is paused)
            6 x
              a.1 [6] START: waiting (pause: its workflow execution is paused)
            7 y
              b.1 [7] START: waiting (pause: its workflow execution is paused)
            8 resume
              b#1 QUEUED by b.1 [5]
              a#1 QUEUED by a.1 [6]
              b.1 [5] START: started (pause: its workflow execution is paused)
              a.1 [6] START: started (pause: its workflow execution is paused)
              b.1 [7] START: already_live (pause: its workflow execution is paused)
              launch b#1-1
              launch a#1-1
        "#]],
    );
}

#[test]
fn what_runs_goes_on_and_a_stop_acts_at_once() {
    check(
        "
        a: START when x
        a: STOP when quit
        b: START when status(a SUCCEEDED)
        c: START when status(b SUCCEEDED)
        completion standing
        ",
        "start | x | a started | pause | a ok | resume | b started | pause | quit | x | quit | resume",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 x
              a#1 QUEUED by a.1 [4]
              launch a#1-1
            5 a started
              a#1 RUNNING
            8 a ok
              a#1 SUCCEEDED
            9 a#1 SUCCEEDED
              b.1 [9] START: waiting (pause: its workflow execution is paused)
            10 resume
              b#1 QUEUED by b.1 [9]
              b.1 [9] START: started (pause: its workflow execution is paused)
              launch b#1-1
            11 b started
              b#1 RUNNING
            14 quit
              a.2 [14] STOP: not_live
            15 x
              a.1 [15] START: waiting (pause: its workflow execution is paused)
            16 quit
              a.1 [15] START: cancelled (pause: a STOP came while it waited)
              a.2 [16] STOP: stopped
        "#]],
    );
}

#[test]
fn no_attempt_starts_during_a_pause() {
    check(
        "
        a: function
        retry a 2 x 1s
        b: function
        c: function
        c: RESTART when again
        completion standing
        ",
        "start | again | a started & b started & c started | again | pause | a failed | b lost | c stopped | tick 5s | resume",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 again
              c#1 QUEUED by c.1 [4]
              launch c#1-1
            5 a started
              a#1 RUNNING
            6 b started
              b#1 RUNNING
            7 c started
              c#1 RUNNING
            11 again
              c#1 STOPPING
              c#2 INIT by c.1 [11]
              stop c#1-1
            13 a failed
              a#1 RETRYING until 1000ms
            15 b lost
              b#1 RETRYING
            17 c stopped
              c#1 STOPPED
            20 resume
              a#1 QUEUED
              b#1 QUEUED
              c#2 QUEUED
              launch a#1-2
              launch b#1-2
              launch c#2-1
        "#]],
    );
}

#[test]
fn a_stop_ends_what_waits_for_the_resume() {
    check(
        "
        a: function
        retry a 2 x 1s
        b: START when x
        completion standing
        ",
        "start | a started | a failed | pause | x | tick 2s | stop",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 a started
              a#1 RUNNING
            6 a failed
              a#1 RETRYING until 1000ms
            9 x
              b.1 [9] START: waiting (pause: its workflow execution is paused)
            11 stop
              wf#1 STOPPED: a STOPPED, b SKIPPED
              a#1 STOPPED
              b.1 [9] START: cancelled (pause: its workflow execution is stopped)
        "#]],
    );
}

#[test]
fn a_start_by_hand_waits_too_and_a_stop_cancels_it() {
    check(
        "
        a: START when x
        completion standing
        ",
        "start | pause | act START a | act STOP a | act RESTART a | resume | pause | pause | resume | resume",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            5 act START a
              start [5] START: waiting (pause: its workflow execution is paused)
            6 act STOP a
              start [5] START: cancelled (pause: a STOP came while it waited)
              start [6] STOP: stopped
              dead letter: a STOP came while it waited
            8 act RESTART a
              start [8] RESTART: waiting (pause: its workflow execution is paused)
            9 resume
              a#1 QUEUED by start [8]
              start [8] RESTART: started (pause: its workflow execution is paused)
              launch a#1-1
        "#]],
    );
}

/// A pause is to a schedule what a scheduler is that was down: its misfire policy decides.
#[test]
fn times_that_pass_during_a_pause_are_left_to_the_misfire_policy() {
    check(
        "
        schedule a [tick] every 10s misfire:once
        schedule b [tick] every 10s misfire:all3
        ",
        "start | pause | tick 205s | resume | tick 1ms",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            6 schedule tick of a in wf#1 at 1970-01-01T00:00:10Z
              a#1 QUEUED by tick 1970-01-01T00:03:20Z [6]
              tick 1970-01-01T00:00:10Z to 1970-01-01T00:03:10Z [6] START: missed
              launch a#1-1
            7 schedule tick of b in wf#1 at 1970-01-01T00:00:10Z
              b#1 QUEUED by tick 1970-01-01T00:02:30Z [7]
              tick 1970-01-01T00:00:10Z to 1970-01-01T00:02:20Z [7] START: missed
              tick 1970-01-01T00:02:40Z [7] START: already_live
              tick 1970-01-01T00:02:50Z [7] START: already_live
              tick 1970-01-01T00:03Z [7] START: already_live
              tick 1970-01-01T00:03:10Z [7] START: already_live
              tick 1970-01-01T00:03:20Z [7] START: already_live
              launch b#1-1
        "#]],
    );
}

/// A timer that was under way when the execution was paused is not lost: the schedule sets another one.
#[test]
fn a_schedule_goes_on_after_a_pause_that_met_its_timer() {
    let mut world = World::new("schedule a [tick] every 10s misfire:once");
    world.play("start | skip 10s");
    world.step("pause");
    world.fire();
    world.play("resume | tick 1s | tick 9s");
    expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
        7 schedule tick of a in wf#1 at 1970-01-01T00:00:10Z
          a#1 QUEUED by tick 1970-01-01T00:00:10Z [7]
          launch a#1-1
        8 schedule tick of a in wf#1 at 1970-01-01T00:00:20Z
          tick 1970-01-01T00:00:20Z [8] START: already_live
    "#]]
    .assert_eq(world.trace());
}

/// An execution with nothing left to do does not end while it is paused, and ends when it is resumed.
#[test]
fn an_idle_execution_ends_when_it_is_resumed() {
    check(
        "a: function",
        "start | a started | pause | a ok | resume",
        expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
          a#1 QUEUED by start [2]
          launch a#1-1
        4 a started
          a#1 RUNNING
        7 a ok
          a#1 SUCCEEDED
        9 resume
          wf#1 SUCCEEDED: a SUCCEEDED
    "#]],
    );
}

/// What a stage holds that comes before the pause goes on to it, and what it lets go waits for the resume.
#[test]
fn stages_of_admission_go_on_during_a_pause() {
    check(
        "
        a: START when x
        admit a debounce(2s)
        b: START when y
        admit b overlap(buffer_all)
        completion standing
        ",
        "start | y | y | b started | pause | x | tick 3s | b ok | y | resume | b ok | b ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 y
              b#1 QUEUED by b.1 [4]
              b.1 [4] START: started
              launch b#1-1
            5 y
              b.1 [5] START: waiting (concurrency: buffer_all: execution 4.0 is live)
            6 b started
              b#1 RUNNING
            9 x
              a.1 [9] START: waiting (debounce: waits until 2000ms for a later one)
            10 timer firing:9.0:debounce at 2000ms
              a.1 [9] START: waiting (pause: its workflow execution is paused)
            11 b ok
              b#1 SUCCEEDED
            13 y
              b.1 [13] START: waiting (pause: its workflow execution is paused)
            14 resume
              b#2 QUEUED by b.1 [5]
              a#1 QUEUED by a.1 [9]
              b.1 [5] START: started (concurrency: the execution before it has ended)
              a.1 [9] START: started (pause: its workflow execution is paused)
              b.1 [13] START: waiting (concurrency: buffer_all: execution 14.0 is live)
              launch b#2-1
              launch a#1-1
            15 b ok
              b#2 SUCCEEDED
              b#3 QUEUED by b.1 [13]
              b.1 [13] START: started (concurrency: the execution before it has ended)
              launch b#3-1
            17 b ok
              b#3 SUCCEEDED
        "#]],
    );
}

#[test]
fn a_job_whose_scheduling_is_stopped_sees_nothing_and_keeps_what_it_saw() {
    check(
        "
        a: START when all(x, y)
        schedule b [tick] every 10s
        completion idle
        ",
        "start | x | unschedule a | unschedule b | y | tick 25s | act START a | a ok | schedule a | y | schedule b | tick 5s | tick 5s",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            7 y
              a.1 [7] START: paused
            8 act START a
              a#1 QUEUED by start [8]
              launch a#1-1
            9 a ok
              a#1 SUCCEEDED
            12 y
              a#2 QUEUED by a.1 [4 12]
              launch a#2-1
            14 schedule tick of b in wf#1 at 1970-01-01T00:00:30Z
              b#1 QUEUED by tick 1970-01-01T00:00:30Z [14]
              launch b#1-1
        "#]],
    );
}

#[test]
fn what_cannot_be_paused_is_refused() {
    check(
        "a: function",
        "start | unschedule nobody | stop | pause | resume | a stopped | pause | unschedule a",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              launch a#1-1
            4 unschedule nobody
              dead letter: workflow execution wf#1 has no job nobody
            6 stop
              wf#1 STOPPING
              a#1 STOPPING
              stop a#1-1
            7 pause
              dead letter: workflow execution wf#1 is not running
            9 resume
              dead letter: workflow execution wf#1 is not running
            11 a stopped
              wf#1 STOPPED: a STOPPED
              a#1 STOPPED
            14 pause
              dead letter: workflow execution wf#1 is not running
            16 unschedule a
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

/// The reason is kept, and the first one stays when it takes a kill to end what was asked to stop.
#[test]
fn a_stop_keeps_its_reason_and_can_become_a_kill() {
    let mut world = World::new("a: function; b: function; b: STOP [quit] when bad");
    world.play(
        "start | a started & b started | bad | stop because the budget is used up | stop because again | stop! | stop! | a stopped | b stopped",
    );
    let execution = world.executions.values().next().expect("an execution");
    let notes: Vec<String> =
        execution.stops.iter().map(|note| format!("{:?} by {}: {}", note.mode, note.by, note.reason)).collect();
    assert_eq!(notes, ["Graceful by 9: the budget is used up", "Kill by 11: "]);
    let of_jobs: Vec<String> = world
        .jobs
        .values()
        .map(|job| {
            let notes = job.stops.iter().map(|note| format!("{:?} by {}: {}", note.mode, note.by, note.reason));
            format!("{}: {}", job.job, notes.collect::<Vec<_>>().join("; "))
        })
        .collect();
    assert_eq!(
        of_jobs,
        [
            "a: Graceful by 9: its workflow execution was asked to stop: the budget is used up; \
             Kill by 11: its workflow execution was asked to stop",
            "b: Graceful by 8: rule quit; Kill by 11: its workflow execution was asked to stop",
        ]
    );
    let said: Vec<&str> = world
        .log
        .iter()
        .filter_map(|input| input.event.context.labels.get("stop_reason"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        said,
        ["its workflow execution was asked to stop: the budget is used up", "rule quit", "the budget is used up"]
    );
}

#[test]
fn one_job_is_killed_although_its_execution_is_stopping() {
    check(
        "a: function; b: function",
        "start | a started & b started | act STOP a | act KILL a because it hangs | act KILL a | stop | act KILL b | act START b",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 a started
              a#1 RUNNING
            5 b started
              b#1 RUNNING
            8 act STOP a
              a#1 STOPPING
              start [8] STOP: stopped
              stop a#1-1
            9 act KILL a because it hangs
              start [9] STOP: stopped
              kill a#1-1
            10 act KILL a
              start [10] STOP: stopped
            11 stop
              wf#1 STOPPING
              b#1 STOPPING
              stop b#1-1
            12 act KILL b
              start [12] STOP: stopped
              kill b#1-1
            13 act START b
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

/// Contexts are the original's way to keep executions for different tenants apart.
#[test]
fn an_event_in_a_context_concerns_the_executions_that_carry_it() {
    check(
        "
        a: START when x
        wf: START when new
        completion standing
        ",
        "start wf in:red | start wf in:blue | start | x in:red | new in:blue | x in:blue | x",
        expect![[r#"
            2 start wf in:red
              wf#1 RUNNING v1 by start [2]
            4 start wf in:blue
              wf#2 RUNNING v1 by start [4]
            6 start
              wf#3 RUNNING v1 by start [6]
            8 x in:red
              a#1 QUEUED by a.1 [8]
              launch a#1-1
            9 new in:blue
              wf#4 RUNNING v1 by wf.1 [9]
            11 x in:blue
              a#2 QUEUED by a.1 [11]
              a#3 QUEUED by a.1 [11]
              launch a#2-1
              launch a#3-1
            12 x
              a#4 QUEUED by a.1 [12]
              a.1 [12] START: already_live
              a.1 [12] START: already_live
              a.1 [12] START: already_live
              launch a#4-1
        "#]],
    );
}
