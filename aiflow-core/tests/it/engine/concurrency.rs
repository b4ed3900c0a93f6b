//! The last stage of admission: what becomes of a start while others are live, and who goes on when one has ended?

use expect_test::expect;

use super::text::check;
use super::world::World;

/// Airflow merges runs that wait for capacity; here each keeps its own events.
#[test]
fn starts_above_the_concurrency_wait_each_with_its_own_events() {
    check(
        "
        train: function
        wf: START when data
        admit wf concurrency(1)
        ",
        "data | data | data | train#1 ok | restore | train#2 ok | train#3 ok",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            5 data
              wf.1 [5] START: waiting (concurrency: 1 of at most 1 executions are live)
            6 train#1 ok
              train#1 SUCCEEDED
            7 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [7]
              wf.1 [4] START: started (concurrency: there is room)
              launch train#2-1
            10 train#2 ok
              train#2 SUCCEEDED
            11 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
              wf#3 RUNNING v1 by wf.1 [5]
              train#3 QUEUED by start [11]
              wf.1 [5] START: started (concurrency: there is room)
              launch train#3-1
            14 train#3 ok
              train#3 SUCCEEDED
            15 train#3 SUCCEEDED
              wf#3 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn concurrency_is_counted_per_key() {
    check(
        "
        train: function
        admit wf concurrency(1) per(model)
        ",
        "start model=a | start model=a | start model=b | train#2 ok | train#1 ok",
        expect![[r#"
            2 start model=a
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              start [2] START: started
              launch train#1-1
            4 start model=a
              start [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            5 start model=b
              wf#2 RUNNING v1 by start [5]
              train#2 QUEUED by start [5]
              start [5] START: started
              launch train#2-1
            7 train#2 ok
              train#2 SUCCEEDED
            8 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
            10 train#1 ok
              train#1 SUCCEEDED
            11 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
              wf#3 RUNNING v1 by start [4]
              train#3 QUEUED by start [11]
              start [4] START: started (concurrency: there is room)
              launch train#3-1
        "#]],
    );
}

#[test]
fn overlap_skip_drops() {
    check(
        "train: function; wf: START when data; admit wf overlap(skip)",
        "data | data | start | train ok | data",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: overlapped (concurrency: skipped: 1 of at most 1 executions are live)
            5 start
              start [5] START: overlapped (concurrency: skipped: 1 of at most 1 executions are live)
              dead letter: skipped: 1 of at most 1 executions are live
            7 train ok
              train#1 SUCCEEDED
            8 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
            10 data
              wf#2 RUNNING v1 by wf.1 [10]
              train#2 QUEUED by start [10]
              wf.1 [10] START: started
              launch train#2-1
        "#]],
    );
}

#[test]
fn overlap_buffer_one_lets_one_wait() {
    check(
        "train: function; wf: START when data; admit wf overlap(buffer_one)",
        "data | data | data | train ok | data",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            5 data
              wf.1 [5] START: overlapped (concurrency: skipped: 1 of at most 1 executions are live, and one waits)
            6 train ok
              train#1 SUCCEEDED
            7 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [7]
              wf.1 [4] START: started (concurrency: there is room)
              launch train#2-1
            10 data
              wf.1 [10] START: waiting (concurrency: 1 of at most 1 executions are live)
        "#]],
    );
}

#[test]
fn overlap_buffer_all_lets_all_wait() {
    check(
        "train: function; wf: START when data; admit wf overlap(buffer_all)",
        "data | data | data | train ok | train#2 ok",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            5 data
              wf.1 [5] START: waiting (concurrency: 1 of at most 1 executions are live)
            6 train ok
              train#1 SUCCEEDED
            7 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [7]
              wf.1 [4] START: started (concurrency: there is room)
              launch train#2-1
            10 train#2 ok
              train#2 SUCCEEDED
            11 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
              wf#3 RUNNING v1 by wf.1 [5]
              train#3 QUEUED by start [11]
              wf.1 [5] START: started (concurrency: there is room)
              launch train#3-1
        "#]],
    );
}

#[test]
fn overlap_cancel_other_asks_the_live_one_to_stop_and_counts_the_newest() {
    check(
        "train: function; wf: START when data; admit wf overlap(cancel_other)",
        "data | train started | data | data | train#1 stopped",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 train started
              train#1 RUNNING
            6 data
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [6] START: waiting (concurrency: cancel_other: 1 of at most 1 executions are live)
              stop train#1-1
            7 data
              wf.1 [6] START: replaced (concurrency: firing 7.0 took its place)
              wf.1 [7] START: waiting (concurrency: cancel_other: 1 of at most 1 executions are live)
            8 train#1 stopped
              wf#1 STOPPED: train STOPPED
              wf#2 RUNNING v1 by wf.1 [7]
              train#1 STOPPED
              train#2 QUEUED by start [8]
              wf.1 [7] START: started (concurrency: there is room)
              launch train#2-1
        "#]],
    );
}

#[test]
fn overlap_terminate_other_kills() {
    check(
        "train: function; wf: START when data; admit wf overlap(terminate_other)",
        "data | train started | data | train#1 stopped",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 train started
              train#1 RUNNING
            6 data
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [6] START: waiting (concurrency: terminate_other: 1 of at most 1 executions are live)
              kill train#1-1
            7 train#1 stopped
              wf#1 STOPPED: train STOPPED
              wf#2 RUNNING v1 by wf.1 [6]
              train#1 STOPPED
              train#2 QUEUED by start [7]
              wf.1 [6] START: started (concurrency: there is room)
              launch train#2-1
        "#]],
    );
}

#[test]
fn overlap_cancel_other_of_an_execution_without_live_jobs_starts_at_once() {
    check(
        "job train; train: START when go; wf: START when data; admit wf overlap(cancel_other)",
        "data | data",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              wf.1 [2] START: started
            4 data
              wf#1 STOPPED: train SKIPPED
              wf#2 RUNNING v1 by wf.1 [4]
              wf.1 [4] START: started
        "#]],
    );
}

#[test]
fn a_start_that_waits_can_be_cancelled_by_its_id() {
    let mut world = World::new("train: function; admit wf concurrency(1)");
    world.play("start | start | start");
    let waiting = world.log.iter().filter(|input| input.event.event_type == "START_WORKFLOW").nth(1);
    let id = aiflow_core::id::WorkflowExecutionId::new(waiting.expect("it was asked for").event.offset, 0);
    let control = aiflow_core::control::Control::StopExecution {
        execution: id,
        mode: aiflow_core::executor::StopMode::Graceful,
        reason: String::new(),
    };
    world.control("stop the second", control);
    world.play("train ok");
    expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
          train#1 QUEUED by start [2]
          start [2] START: started
          launch train#1-1
        4 start
          start [4] START: waiting (concurrency: 1 of at most 1 executions are live)
        5 start
          start [5] START: waiting (concurrency: 1 of at most 1 executions are live)
        6 stop the second
          start [4] START: cancelled (concurrency: it was asked to stop)
          dead letter: it was asked to stop
        7 train ok
          train#1 SUCCEEDED
        9 train#1 SUCCEEDED
          wf#1 SUCCEEDED: train SUCCEEDED
          wf#2 RUNNING v1 by start [5]
          train#2 QUEUED by start [9]
          start [5] START: started (concurrency: there is room)
          launch train#2-1
    "#]]
    .assert_eq(world.trace());
}

#[test]
fn what_waits_goes_on_when_the_workflow_is_enabled_or_its_limit_is_lifted() {
    check(
        "train: function; wf: START when data; admit wf concurrency(1) debounce(5s)",
        "data | tick 5s | data | disable wf | tick 5s | train ok | enable wf | data | tick 5s | \
         submit { train: function; wf: START when data }",
        expect![[r#"
            2 data
              wf.1 [2] START: waiting (debounce: waits until 5000ms for a later one)
            3 timer firing:2.0:debounce at 5000ms
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [3]
              wf.1 [2] START: started (debounce: nothing came after it in time)
              launch train#1-1
            5 data
              wf.1 [5] START: waiting (debounce: waits until 10000ms for a later one)
            7 timer firing:5.0:debounce at 10000ms
              wf.1 [5] START: waiting (concurrency: the workflow is disabled)
            8 train ok
              train#1 SUCCEEDED
            9 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
            11 enable wf
              wf#2 RUNNING v1 by wf.1 [5]
              train#2 QUEUED by start [11]
              wf.1 [5] START: started (concurrency: there is room)
              launch train#2-1
            13 data
              wf.1 [13] START: waiting (debounce: waits until 15000ms for a later one)
            14 timer firing:13.0:debounce at 15000ms
              wf.1 [13] START: waiting (concurrency: 1 of at most 1 executions are live)
            16 p/wf 
              wf#3 RUNNING v2 by wf.1 [13]
              train#3 QUEUED by start [16]
              wf.1 [13] START: started (concurrency: there is room)
              launch train#3-1
        "#]],
    );
}

#[test]
fn firings_of_a_job_are_held_too_and_keep_its_execution_open() {
    check(
        "
        prepare: function
        train: START when data
        admit train debounce(5s)
        ",
        "start | data | prepare ok | tick 2s | data | restore | tick 5s | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              prepare#1 QUEUED by start [2]
              launch prepare#1-1
            4 data
              train.1 [4] START: waiting (debounce: waits until 5000ms for a later one)
            5 prepare ok
              prepare#1 SUCCEEDED
            7 data
              train.1 [4] START: replaced (debounce: firing 7.0 came after it)
              train.1 [7] START: waiting (debounce: waits until 7000ms for a later one)
            8 timer firing:7.0:debounce at 7000ms
              train#1 QUEUED by train.1 [7]
              train.1 [7] START: started (debounce: nothing came after it in time)
              launch train#1-1
            9 train ok
              train#1 SUCCEEDED
            10 train#1 SUCCEEDED
              wf#1 SUCCEEDED: prepare SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_held_firing_of_a_job_that_does_nothing_lets_its_execution_end() {
    check(
        "
        train: function
        train: STOP when kill
        train: RESTART when data
        prepare: function
        admit train batch(5,5s)
        ",
        "start | data | prepare ok | kill",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              prepare#1 QUEUED by start [2]
              launch prepare#1-1
            4 data
              train.2 [4] RESTART: waiting (batch: waits for 5 firings, 1 so far)
            5 prepare ok
              prepare#1 SUCCEEDED
            7 kill
              wf#1 SUCCEEDED: prepare SUCCEEDED, train SKIPPED
              train.2 [4] RESTART: cancelled (batch: a STOP came while it waited)
              train.1 [7] STOP: stopped
        "#]],
    );
}

#[test]
fn stopping_an_execution_drops_the_firings_that_wait_in_it() {
    check(
        "
        prepare: function
        train: START when data
        admit train throttle(1,10s)
        ",
        "start | data | data | stop | prepare stopped | train stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              prepare#1 QUEUED by start [2]
              launch prepare#1-1
            4 data
              train#1 QUEUED by train.1 [4]
              train.1 [4] START: started
              launch train#1-1
            5 data
              train.1 [5] START: waiting (throttle: 1 starts within 10000 ms are all that is allowed)
            6 stop
              wf#1 STOPPING
              prepare#1 STOPPING
              train#1 STOPPING
              train.1 [5] START: cancelled (throttle: its workflow execution is stopped)
              stop prepare#1-1
              stop train#1-1
            7 prepare stopped
              prepare#1 STOPPED
            9 train stopped
              wf#1 STOPPED: prepare STOPPED, train STOPPED
              train#1 STOPPED
        "#]],
    );
}

#[test]
fn a_job_may_buffer_starts_while_it_is_live() {
    check(
        "
        prepare: function
        train: START when data
        admit train overlap(buffer_all)
        ",
        "start | data | data | data | prepare ok | train#1 ok | train#2 ok | train#3 ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              prepare#1 QUEUED by start [2]
              launch prepare#1-1
            4 data
              train#1 QUEUED by train.1 [4]
              train.1 [4] START: started
              launch train#1-1
            5 data
              train.1 [5] START: waiting (concurrency: buffer_all: execution 4.0 is live)
            6 data
              train.1 [6] START: waiting (concurrency: buffer_all: execution 4.0 is live)
            7 prepare ok
              prepare#1 SUCCEEDED
            9 train#1 ok
              train#1 SUCCEEDED
              train#2 QUEUED by train.1 [5]
              train.1 [5] START: started (concurrency: the execution before it has ended)
              launch train#2-1
            11 train#2 ok
              train#2 SUCCEEDED
              train#3 QUEUED by train.1 [6]
              train.1 [6] START: started (concurrency: the execution before it has ended)
              launch train#3-1
            13 train#3 ok
              train#3 SUCCEEDED
            14 train#3 SUCCEEDED
              wf#1 SUCCEEDED: prepare SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_job_may_kill_what_is_live() {
    check(
        "
        job train
        train: START when data
        admit train overlap(terminate_other)
        ",
        "start | data | train started | data | data | train#1 stopped | train#2 started",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 data
              train#1 QUEUED by train.1 [4]
              train.1 [4] START: started
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 data
              train#1 STOPPING
              train.1 [7] START: waiting (concurrency: terminate_other: execution 4.0 is live)
              kill train#1-1
            8 data
              train.1 [7] START: replaced (concurrency: firing 8.0 took its place)
              train.1 [8] START: waiting (concurrency: terminate_other: execution 4.0 is live)
            9 train#1 stopped
              train#1 STOPPED
              train#2 QUEUED by train.1 [8]
              train.1 [8] START: started (concurrency: the execution before it has ended)
              launch train#2-1
            11 train#2 started
              train#2 RUNNING
        "#]],
    );
}

#[test]
fn a_higher_priority_of_a_newer_version_goes_first() {
    check(
        "train: function; wf: START when data; admit wf concurrency(1)",
        "data | data | submit { train: function; wf: START when data; admit wf concurrency(1) priority(5) } | data | train ok",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            7 data
              wf.1 [7] START: waiting (concurrency: 1 of at most 1 executions are live)
            8 train ok
              train#1 SUCCEEDED
            9 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
              wf#2 RUNNING v2 by wf.1 [7]
              train#2 QUEUED by start [9]
              wf.1 [7] START: started (concurrency: there is room)
              launch train#2-1
        "#]],
    );
}
