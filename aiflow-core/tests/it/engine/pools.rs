//! Pools: who gets slots, and who waits for them?

use expect_test::expect;

use super::text::check;

/// A limit across workflows and executions. Where slots belonged to a queue of the executor, nobody saw who waited.
#[test]
fn jobs_of_several_workflows_share_the_slots_of_a_pool() {
    check(
        "
        a: function
        admit a pool(gpu,1)
        workflow other
        b: function
        admit b pool(gpu,1)
        ",
        "pool gpu 1 | start wf | start other | start wf | a#1 started | a#1 ok | b ok",
        expect![[r#"
            4 start wf
              wf#1 RUNNING v1 by start [4]
              a#1 QUEUED by start [4]
              launch a#1-1
            6 start other
              other#1 RUNNING v1 by start [6]
              b#1 INIT by start [6]
            8 start wf
              wf#2 RUNNING v1 by start [8]
              a#2 INIT by start [8]
            10 a#1 started
              a#1 RUNNING
            12 a#1 ok
              a#1 SUCCEEDED
              b#1 QUEUED
              launch b#1-1
            13 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED
            15 b ok
              b#1 SUCCEEDED
              a#2 QUEUED
              launch a#2-1
            16 b#1 SUCCEEDED
              other#1 SUCCEEDED: b SUCCEEDED
        "#]],
    );
}

/// Light jobs that pass a heavy one starve it.
#[test]
fn nobody_passes_the_first_that_waits_and_priority_says_who_is_first() {
    check(
        "
        light: function; heavy: START when big; urgent: START when now
        admit light pool(gpu,1); admit heavy pool(gpu,3); admit urgent pool(gpu,1) priority(5)
        small: START when tiny
        admit small pool(gpu,1)
        ",
        "pool gpu 3 | start | big | tiny | now | light ok | urgent ok | heavy ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              light#1 QUEUED by start [3]
              launch light#1-1
            5 big
              heavy#1 INIT by heavy.1 [5]
            6 tiny
              small#1 INIT by small.1 [6]
            7 now
              urgent#1 QUEUED by urgent.1 [7]
              launch urgent#1-1
            8 light ok
              light#1 SUCCEEDED
            10 urgent ok
              heavy#1 QUEUED
              urgent#1 SUCCEEDED
              launch heavy#1-1
            12 heavy ok
              heavy#1 SUCCEEDED
              small#1 QUEUED
              launch small#1-1
        "#]],
    );
}

#[test]
fn a_job_that_wants_more_than_there_is_takes_all() {
    check(
        "a: function; b: START when go; admit a pool(gpu,8); admit b pool(gpu,1)",
        "pool gpu 2 | start | go | a ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1
            5 go
              b#1 INIT by b.1 [5]
            6 a ok
              a#1 SUCCEEDED
              b#1 QUEUED
              launch b#1-1
        "#]],
    );
}

/// Without a pool of this name nothing starts, and nothing is lost.
#[test]
fn jobs_wait_for_a_pool_that_is_set_later_or_made_larger() {
    check(
        "a: function; b: START when go; admit a pool(gpu,1); admit b pool(gpu,1)",
        "start | go | pool gpu 1 | pool gpu 2 | pool gpu 0 | a failed | b ok | pool gpu none",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 INIT by start [2]
            4 go
              b#1 INIT by b.1 [4]
            5 pool gpu 1
              a#1 QUEUED
              launch a#1-1
            6 pool gpu 2
              b#1 QUEUED
              launch b#1-1
            8 a failed
              a#1 FAILED
            10 b ok
              b#1 SUCCEEDED
            11 b#1 SUCCEEDED
              wf#1 FAILED: a FAILED, b SUCCEEDED
        "#]],
    );
}

/// A retry that slept on its slot kept others from working.
#[test]
fn slots_are_given_back_between_attempts() {
    check(
        "a: function; b: START when go; admit a pool(gpu,1); admit b pool(gpu,1); retry a 1 x 10s",
        "pool gpu 1 | start | go | a failed | tick 10s | b ok | a ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1
            5 go
              b#1 INIT by b.1 [5]
            6 a failed
              a#1 RETRYING until 10000ms
              b#1 QUEUED
              launch b#1-1
            9 b ok
              a#1 QUEUED
              b#1 SUCCEEDED
              launch a#1-2
            11 a ok
              a#1 SUCCEEDED
            12 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SUCCEEDED
        "#]],
    );
}

#[test]
fn what_waits_for_slots_is_stopped_at_once_and_restored() {
    check(
        "a: function; b: START when go; b: STOP when no; c: START when go; admit a pool(gpu,2); admit b pool(gpu,2); admit c pool(gpu,1)",
        "pool gpu 2 | start | go | restore | no | a ok | stop",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1
            5 go
              b#1 INIT by b.1 [5]
              c#1 INIT by c.1 [5]
            6 no
              b#1 STOPPED
              b.2 [6] STOP: stopped
            8 a ok
              a#1 SUCCEEDED
              c#1 QUEUED
              launch c#1-1
            10 stop
              wf#1 STOPPING
              c#1 STOPPING
              stop c#1-1
        "#]],
    );
}

/// Slots that a paused execution waits for go to the others meanwhile.
#[test]
fn a_paused_execution_takes_no_slots() {
    check(
        "a: function; b: START when go; admit a pool(gpu,1); admit b pool(gpu,1)",
        "pool gpu 1 | start | @1 go | start | pause @1 | a#1 ok | a#2 ok | resume @1",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1
            5 @1 go
              b#1 INIT by b.1 [5]
            6 start
              wf#2 RUNNING v1 by start [6]
              a#2 INIT by start [6]
            9 a#1 ok
              a#1 SUCCEEDED
              a#2 QUEUED
              launch a#2-1
            11 a#2 ok
              a#2 SUCCEEDED
            12 a#2 SUCCEEDED
              wf#2 SUCCEEDED: a SUCCEEDED, b SKIPPED
            14 resume @1
              b#1 QUEUED
              launch b#1-1
        "#]],
    );
}
