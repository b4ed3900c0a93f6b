//! Admission: what becomes of a firing at each stage, in the text form.

use expect_test::expect;

use super::text::check;

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

/// Inngest: cancels by a key. Here STOP stopped every execution, whichever was meant.
#[test]
fn stop_of_one_key_leaves_the_executions_of_the_others() {
    check(
        "
        remind: function
        wf: START when placed with order=/id
        wf: STOP(order) when each(/id, paid)
        ",
        r#"placed={"id":1} | placed={"id":2} | paid={"id":2} | paid={"id":3}"#,
        expect![[r#"
            2 placed={"id":1}
              wf#1 RUNNING v1 by wf.1 [2]
              remind#1 QUEUED by start [2]
              launch remind#1-1
            4 placed={"id":2}
              wf#2 RUNNING v1 by wf.1 [4]
              remind#2 QUEUED by start [4]
              launch remind#2-1
            6 paid={"id":2}
              wf#2 STOPPING
              remind#2 STOPPING
              wf.2 [6] of 2 STOP: stopped
              stop remind#2-1
            7 paid={"id":3}
              wf.2 [7] of 3 STOP: not_live
        "#]],
    );
}

#[test]
fn restart_of_one_key_waits_for_the_executions_of_that_key() {
    check(
        "
        train: function
        wf: START when model.* with model=key
        wf: RESTART(model) when each(/model, drift) with model=/model
        wf: STOP(model) when each(/model, halt)
        ",
        r#"model.a | model.b | drift={"model":"model.a"} | drift={"model":"model.b"} | drift={"model":"model.a"} | restore | halt={"model":"model.b"} | train#1 stopped | train#2 stopped"#,
        expect![[r#"
            2 model.a
              wf#1 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 model.b
              wf#2 RUNNING v1 by wf.1 [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            6 drift={"model":"model.a"}
              wf#1 STOPPING
              train#1 STOPPING
              wf.2 [6] of model.a RESTART: waiting (restart: waits for the end of 2.0)
              stop train#1-1
            7 drift={"model":"model.b"}
              wf#2 STOPPING
              train#2 STOPPING
              wf.2 [7] of model.b RESTART: waiting (restart: waits for the end of 4.0)
              stop train#2-1
            8 drift={"model":"model.a"}
              wf.2 [8] of model.a RESTART: merged (restart: firing 6.0 waits for the same)
            9 halt={"model":"model.b"}
              wf.2 [7] of model.b RESTART: cancelled (restart: a STOP came while it waited)
              wf.3 [9] of model.b STOP: stopped
            10 train#1 stopped
              wf#1 STOPPED: train STOPPED
              wf#3 RUNNING v1 by wf.2 [6] of model.a
              train#1 STOPPED
              train#3 QUEUED by start [10]
              wf.2 [6] of model.a RESTART: started (restart: waits for the end of 2.0)
              launch train#3-1
            14 train#2 stopped
              wf#2 STOPPED: train STOPPED
              train#2 STOPPED
        "#]],
    );
}
