//! Hosts: where does an attempt run, who waits for a host, and what becomes of what a lost one had?

use expect_test::expect;

use super::text::check;

#[test]
fn without_hosts_everything_runs_in_the_process_of_the_leader() {
    check(
        "a: function",
        "start | a ok",
        expect![[r#"
        2 start
          wf#1 RUNNING v1 by start [2]
          a#1 QUEUED by start [2]
          launch a#1-1
        4 a ok
          a#1 SUCCEEDED
        5 a#1 SUCCEEDED
          wf#1 SUCCEEDED: a SUCCEEDED
    "#]],
    );
}

#[test]
fn attempts_go_to_the_host_with_the_smallest_part_in_use_and_wait_when_all_are_full() {
    check(
        "a: function; b: function; c: function; d: function",
        "host ada function:2 | host bob function:1 | start | a ok & b started | b ok",
        expect![[r#"
            4 start
              wf#1 RUNNING v1 by start [4]
              a#1 QUEUED by start [4]
              b#1 QUEUED by start [4]
              c#1 QUEUED by start [4]
              d#1 INIT by start [4]
              launch a#1-1 on ada
              launch b#1-1 on bob
              launch c#1-1 on ada
            9 a ok
              a#1 SUCCEEDED
              d#1 QUEUED
              launch d#1-1 on ada
            10 b started
              b#1 RUNNING
            14 b ok
              b#1 SUCCEEDED
        "#]],
    );
}

/// What asks for a label never runs elsewhere, however much room there is.
#[test]
fn a_job_that_asks_for_labels_runs_only_where_they_are() {
    check(
        "a: function; b: function; on a gpu; on b gpu,eu",
        "start | host ada function:9 | host bob function:9 gpu | host cleo function:9 gpu eu fast",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 INIT by start [2]
              b#1 INIT by start [2]
            5 host bob function:9 gpu
              a#1 QUEUED
              launch a#1-1 on bob
            7 host cleo function:9 gpu eu fast
              b#1 QUEUED
              launch b#1-1 on cleo
        "#]],
    );
}

#[test]
fn what_a_lost_host_had_is_repeated_on_another_and_its_late_reports_do_not_count() {
    check(
        "a: function; b: START when go",
        "host ada function:5 | start | a started | host bob function:5 | host ada lost | a#1-1 ok | a#1-2 ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1 on ada
            6 a started
              a#1 RUNNING
            9 host ada lost
              a#1 QUEUED
              launch a#1-2 on bob
            13 a#1-2 ok
              a#1 SUCCEEDED
            14 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SKIPPED
        "#]],
    );
}

/// A stop that was under way is done with when the host is gone: nothing runs there that counts.
#[test]
fn what_was_to_stop_on_a_lost_host_has_stopped() {
    check(
        "a: function; b: function; retry b 1 x 5s",
        "host ada function:5 | start | a started & act STOP a | b failed | host ada left | tick 5s | host ada function:5",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              b#1 QUEUED by start [3]
              launch a#1-1 on ada
              launch b#1-1 on ada
            7 a started
              a#1 RUNNING
            8 act STOP a
              a#1 STOPPING
              start [8] STOP: stopped
              stop a#1-1 on ada
            11 b failed
              b#1 RETRYING until 5000ms
            13 host ada left
              a#1 STOPPED
            16 host ada function:5
              b#1 QUEUED
              launch b#1-2 on ada
        "#]],
    );
}

#[test]
fn a_host_that_comes_back_at_the_same_place_has_lost_what_it_had() {
    check(
        "a: function",
        "host ada function:1 | start | host ada function:1 | host ada@2 function:1 | host ada lost",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1 on ada
            6 host ada function:1
              a#1 QUEUED
              launch a#1-2 on ada
            10 host ada lost
              a#1 QUEUED
              launch a#1-3 on ada@2
        "#]],
    );
}

#[test]
fn a_host_that_drains_ends_what_it_has_and_gets_nothing_new() {
    check(
        "a: function; b: START when go",
        "host ada function:5 | start | host ada drains | go | a ok | host ada left | host bob function:1",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
              a#1 QUEUED by start [3]
              launch a#1-1 on ada
            7 go
              b#1 INIT by b.1 [7]
            8 a ok
              a#1 SUCCEEDED
            11 host bob function:1
              b#1 QUEUED
              launch b#1-1 on bob
        "#]],
    );
}

/// Nobody holds slots of a pool while it waits for a host.
#[test]
fn who_waits_for_a_host_leaves_its_slots_to_others() {
    check(
        "a: function; b: function; on a gpu; admit a pool(p,1); admit b pool(p,1)",
        "pool p 1 | host ada function:5 | start | b ok | host bob function:5 gpu | a ok",
        expect![[r#"
            4 start
              wf#1 RUNNING v1 by start [4]
              a#1 INIT by start [4]
              b#1 QUEUED by start [4]
              launch b#1-1 on ada
            7 b ok
              b#1 SUCCEEDED
            9 host bob function:5 gpu
              a#1 QUEUED
              launch a#1-1 on bob
            11 a ok
              a#1 SUCCEEDED
            12 a#1 SUCCEEDED
              wf#1 SUCCEEDED: a SUCCEEDED, b SUCCEEDED
        "#]],
    );
}

#[test]
fn the_higher_priority_and_then_the_older_execution_goes_first() {
    check(
        "a: START when s; b: START when s; c: START when t; admit b priority(3)",
        "host ada function:1 | start | t | s | c ok | b ok",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
            5 t
              c#1 QUEUED by c.1 [5]
              launch c#1-1 on ada
            7 s
              a#1 INIT by a.1 [7]
              b#1 INIT by b.1 [7]
            8 c ok
              c#1 SUCCEEDED
              b#1 QUEUED
              launch b#1-1 on ada
            11 b ok
              a#1 QUEUED
              b#1 SUCCEEDED
              launch a#1-1 on ada
        "#]],
    );
}

/// The leader that decided before any host was known does not fail what it cannot run.
#[test]
fn what_the_leader_cannot_run_waits_for_a_host() {
    check(
        "a: process; b: process",
        "start | unplaced a | act STOP b & unplaced b | host ada process:1 | a started",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              a#1 QUEUED by start [2]
              b#1 QUEUED by start [2]
              launch a#1-1
              launch b#1-1
            4 unplaced a
              a#1 RETRYING
            6 act STOP b
              b#1 STOPPING
              start [6] STOP: stopped
              stop b#1-1
            7 unplaced b
              b#1 STOPPED
            9 host ada process:1
              a#1 QUEUED
              launch a#1-2 on ada
            11 a started
              a#1 RUNNING
        "#]],
    );
}

#[test]
fn who_waits_for_a_host_can_be_stopped_and_paused() {
    check(
        "a: START when s; b: START when s; on a gpu; on b gpu",
        "start | s | act STOP a | pause | host ada function:1 gpu | resume",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 s
              a#1 INIT by a.1 [4]
              b#1 INIT by b.1 [4]
            5 act STOP a
              a#1 STOPPED
              start [5] STOP: stopped
            9 resume
              b#1 QUEUED
              launch b#1-1 on ada
        "#]],
    );
}

#[test]
fn stops_and_values_go_to_the_host_that_has_the_attempt() {
    check(
        "job a streaming; a: START when s; a: SIGNAL when v",
        "host ada function:1 | start | s | a started | v=1 | stop! | a stopped",
        expect![[r#"
            3 start
              wf#1 RUNNING v1 by start [3]
            5 s
              a#1 QUEUED by a.1 [5]
              launch a#1-1 on ada
            7 a started
              a#1 RUNNING
            9 v=1
              a.2 [9] SIGNAL: handed_over
              signal a#1-1 on ada
            11 stop!
              wf#1 STOPPING
              a#1 STOPPING
              kill a#1-1 on ada
            13 a stopped
              wf#1 STOPPED: a STOPPED
              a#1 STOPPED
        "#]],
    );
}
