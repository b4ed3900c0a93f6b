//! Admission: what becomes of a firing at each stage, in the text form.

use expect_test::expect;

use super::text::check;
use super::world::World;

/// No system let a rule replace a running workflow.
#[test]
fn restart_of_a_workflow_waits_for_the_end_of_what_it_replaces() {
    check(
        "
        train: function
        wf: RESTART when drift
        ",
        "drift | train started | drift | drift | train#1 stopped | train#2 started",
        expect![[r#"
            2 drift
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] RESTART: started
              launch train#1-1
            4 train started
              train#1 RUNNING
            6 drift
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [6] RESTART: waiting (restart: waits for the end of 2.0)
              stop train#1-1
            7 drift
              wf.1 [7] RESTART: merged (restart: firing 6.0 waits for the same)
            8 train#1 stopped
              wf#1 STOPPED: train STOPPED
              wf#2 RUNNING v1 by wf.1 [6]
              train#1 STOPPED
              train#2 QUEUED by start [8]
              wf.1 [6] RESTART: started (restart: waits for the end of 2.0)
              launch train#2-1
            12 train#2 started
              train#2 RUNNING
        "#]],
    );
}

#[test]
fn restart_names_the_execution_that_the_event_names() {
    check(
        "
        train: function
        wf: RESTART when drift any_execution
        ",
        "start | start | @1 drift | train#1 stopped",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 start
              wf#2 RUNNING v1 by start [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            6 @1 drift
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [6] RESTART: waiting (restart: waits for the end of 2.0)
              stop train#1-1
            7 train#1 stopped
              wf#1 STOPPED: train STOPPED
              wf#3 RUNNING v1 by wf.1 [6]
              train#1 STOPPED
              train#3 QUEUED by start [7]
              wf.1 [6] RESTART: started (restart: waits for the end of 2.0)
              launch train#3-1
        "#]],
    );
}

#[test]
fn stop_cancels_a_restart_that_waits() {
    check(
        "
        train: function
        wf: RESTART when drift
        wf: STOP when halt
        ",
        "start | drift | halt | train stopped | drift",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 drift
              wf#1 STOPPING
              train#1 STOPPING
              wf.1 [4] RESTART: waiting (restart: waits for the end of 2.0)
              stop train#1-1
            5 halt
              wf.1 [4] RESTART: cancelled (restart: a STOP came while it waited)
              wf.2 [5] STOP: stopped
            6 train stopped
              wf#1 STOPPED: train STOPPED
              train#1 STOPPED
            9 drift
              wf#2 RUNNING v1 by wf.1 [9]
              train#2 QUEUED by start [9]
              wf.1 [9] RESTART: started
              launch train#2-1
        "#]],
    );
}

#[test]
fn the_same_key_starts_once_within_its_window() {
    check(
        "
        train: function
        admit wf once(batch,10s)
        ",
        "start batch=1 | start batch=1 | start batch=2 | tick 9999ms | start batch=1 | tick 1ms | start batch=1",
        expect![[r#"
            2 start batch=1
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              start [2] START: started
              launch train#1-1
            4 start batch=1
              start [4] START: duplicate (idempotency: firing 2.0 had the same key)
              dead letter: firing wf#1 had the same key
            6 start batch=2
              wf#2 RUNNING v1 by start [6]
              train#2 QUEUED by start [6]
              start [6] START: started
              launch train#2-1
            8 start batch=1
              start [8] START: duplicate (idempotency: firing 2.0 had the same key)
              dead letter: firing wf#1 had the same key
            12 start batch=1
              wf#3 RUNNING v1 by start [12]
              train#3 QUEUED by start [12]
              start [12] START: started
              launch train#3-1
        "#]],
    );
}

/// Inngest and Trigger.dev drop without a record in one place.
#[test]
fn what_comes_too_often_is_dropped_with_a_record() {
    check(
        "
        job train
        completion standing
        wf: START when data
        admit wf rate(2,10s)
        ",
        "data | tick 4s | data | tick 4s | data | tick 2s | data | data",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              wf.1 [4] START: started
              launch train#2-1
            6 data
              wf.1 [6] START: rate_limited (rate_limit: 2 starts within 10000 ms are all that is allowed)
            7 data
              wf#3 RUNNING v1 by wf.1 [7]
              train#3 QUEUED by start [7]
              wf.1 [7] START: started
              launch train#3-1
            9 data
              wf.1 [9] START: rate_limited (rate_limit: 2 starts within 10000 ms are all that is allowed)
        "#]],
    );
}

#[test]
fn a_dropped_firing_frees_its_key() {
    check(
        "
        train: function
        admit wf once(batch,60s) rate(1,1s)
        ",
        "start batch=1 | start batch=2 | tick 1s | start batch=2",
        expect![[r#"
            2 start batch=1
              wf#1 RUNNING v1 by start [2]
              train#1 QUEUED by start [2]
              start [2] START: started
              launch train#1-1
            4 start batch=2
              start [4] START: rate_limited (rate_limit: 1 starts within 1000 ms are all that is allowed)
              dead letter: 1 starts within 1000 ms are all that is allowed
            7 start batch=2
              wf#2 RUNNING v1 by start [7]
              train#2 QUEUED by start [7]
              start [7] START: started
              launch train#2-1
        "#]],
    );
}

#[test]
fn debounce_starts_once_for_the_last_of_a_burst() {
    check(
        "
        train: function
        wf: START when data
        admit wf debounce(5s)
        ",
        "data | tick 3s | data | tick 3s | data | tick 5s | train ok",
        expect![[r#"
            2 data
              wf.1 [2] START: waiting (debounce: waits until 5000ms for a later one)
            3 data
              wf.1 [2] START: replaced (debounce: firing 3.0 came after it)
              wf.1 [3] START: waiting (debounce: waits until 8000ms for a later one)
            4 data
              wf.1 [3] START: replaced (debounce: firing 4.0 came after it)
              wf.1 [4] START: waiting (debounce: waits until 11000ms for a later one)
            5 timer firing:4.0:debounce at 11000ms
              wf#1 RUNNING v1 by wf.1 [4]
              train#1 QUEUED by start [5]
              wf.1 [4] START: started (debounce: nothing came after it in time)
              launch train#1-1
            7 train ok
              train#1 SUCCEEDED
            8 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

/// Without a longest wait, a steady stream starts nothing for ever.
#[test]
fn debounce_waits_no_longer_than_its_longest_wait() {
    check(
        "
        train: function
        wf: START when data
        admit wf debounce(5s,8s)
        ",
        "data | tick 4s | data | tick 3s | data | tick 1s",
        expect![[r#"
            2 data
              wf.1 [2] START: waiting (debounce: waits until 5000ms for a later one)
            3 data
              wf.1 [2] START: replaced (debounce: firing 3.0 came after it)
              wf.1 [3] START: waiting (debounce: waits until 8000ms for a later one)
            4 data
              wf.1 [3] START: replaced (debounce: firing 4.0 came after it)
              wf.1 [4] START: waiting (debounce: waits until 8000ms for a later one)
            5 timer firing:4.0:debounce at 8000ms
              wf#1 RUNNING v1 by wf.1 [4]
              train#1 QUEUED by start [5]
              wf.1 [4] START: started (debounce: nothing came after it in time)
              launch train#1-1
        "#]],
    );
}

#[test]
fn a_batch_starts_once_for_the_events_of_all() {
    check(
        "
        train: function
        wf: START when data
        admit wf batch(3,10s)
        ",
        "data | data | data | data | tick 10s",
        expect![[r#"
            2 data
              wf.1 [2] START: waiting (batch: waits for 3 firings, 1 so far)
            3 data
              wf.1 [3] START: waiting (batch: waits for 3 firings, 2 so far)
            4 data
              wf#1 RUNNING v1 by wf.1 [2 3 4]
              train#1 QUEUED by start [4]
              wf.1 [2] START: batched (batch: joined into firing 4.0)
              wf.1 [3] START: batched (batch: joined into firing 4.0)
              wf.1 [2 3 4] START: started (batch: starts for 3 firings)
              launch train#1-1
            6 data
              wf.1 [6] START: waiting (batch: waits for 3 firings, 1 so far)
            7 timer firing:6.0:batch at 10000ms
              wf#2 RUNNING v1 by wf.1 [6]
              train#2 QUEUED by start [7]
              wf.1 [6] START: started (batch: starts for 1 firings)
              launch train#2-1
        "#]],
    );
}

#[test]
fn batches_are_collected_per_key() {
    check(
        "
        train: function
        admit wf batch(2,10s) per(model)
        ",
        "start model=a | start model=b | start model=a | restore | tick 10s",
        expect![[r#"
            2 start model=a
              start [2] START: waiting (batch: waits for 2 firings, 1 so far)
            3 start model=b
              start [3] START: waiting (batch: waits for 2 firings, 1 so far)
            4 start model=a
              wf#1 RUNNING v1 by start [2 4]
              train#1 QUEUED by start [4]
              start [2] START: batched (batch: joined into firing 4.0)
              start [2 4] START: started (batch: starts for 2 firings)
              dead letter: joined into firing wf#1
              launch train#1-1
            7 timer firing:3.0:batch at 10000ms
              wf#2 RUNNING v1 by start [3]
              train#2 QUEUED by start [7]
              start [3] START: started (batch: starts for 1 firings)
              launch train#2-1
        "#]],
    );
}

#[test]
fn throttled_starts_queue_and_go_on_in_order() {
    check(
        "
        job train
        completion standing
        wf: START when data
        admit wf throttle(1,10s)
        ",
        "data | data | data | tick 10s | restore | tick 10s | tick 10s | data",
        expect![[r#"
            2 data
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch train#1-1
            4 data
              wf.1 [4] START: waiting (throttle: 1 starts within 10000 ms are all that is allowed)
            5 data
              wf.1 [5] START: waiting (throttle: 1 starts within 10000 ms are all that is allowed)
            6 meter of wf throttle at 10000ms
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [6]
              wf.1 [4] START: started (throttle: 1 starts within 10000 ms are all that is allowed)
              launch train#2-1
            8 meter of wf throttle at 20000ms
              wf#3 RUNNING v1 by wf.1 [5]
              train#3 QUEUED by start [8]
              wf.1 [5] START: started (throttle: 1 starts within 10000 ms are all that is allowed)
              launch train#3-1
            11 data
              wf#4 RUNNING v1 by wf.1 [11]
              train#4 QUEUED by start [11]
              wf.1 [11] START: started
              launch train#4-1
        "#]],
    );
}

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
