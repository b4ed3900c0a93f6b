//! Contexts: which executions does an event concern that names several, or names them in a field?

use expect_test::expect;

use super::text::check;
use super::world::World;

const THREE: &str = "start wf in:red | start wf in:blue | start wf in:green";

fn played(rules: &str, events: &str, expected: expect_test::Expect) {
    check(rules, &format!("{THREE} | {events}"), expected);
}

#[test]
fn an_event_in_several_contexts_concerns_the_executions_that_carry_one_of_them() {
    played(
        "train: START when go; completion standing",
        "go in:red,blue,grey | restore | go in:none",
        expect![[r#"
        2 start wf in:red
          wf#1 RUNNING v1 by start [2]
        4 start wf in:blue
          wf#2 RUNNING v1 by start [4]
        6 start wf in:green
          wf#3 RUNNING v1 by start [6]
        8 go in:red,blue,grey
          train#1 QUEUED by train.1 [8]
          train#2 QUEUED by train.1 [8]
          launch train#1-1
          launch train#2-1
    "#]],
    );
}

#[test]
fn a_workflow_starts_in_each_context_of_an_event() {
    check(
        "job train; wf: START when go with n=value",
        "go=1 in:red,blue | restore | go=2 in:red | go=3",
        expect![[r#"
        2 go=1 in:red,blue
          wf#1 RUNNING v1 by wf.1 [2]
          wf#2 RUNNING v1 by wf.1 [2]
          train#1 QUEUED by start [2]
          train#2 QUEUED by start [2]
          launch train#1-1
          launch train#2-1
        5 go=2 in:red
          wf#3 RUNNING v1 by wf.1 [5]
          train#3 QUEUED by start [5]
          launch train#3-1
        7 go=3
          wf#4 RUNNING v1 by wf.1 [7]
          train#4 QUEUED by start [7]
          launch train#4-1
    "#]],
    );
}

#[test]
fn each_execution_carries_the_context_that_it_was_started_in() {
    let mut world = World::new("contexts /of or all; job train; wf: START when go");
    world.play(r#"go={"of":["red",7]} | restore | go"#);
    let carried: Vec<Option<&str>> = world.executions.values().map(|execution| execution.context.as_deref()).collect();
    assert_eq!(carried, [Some("7"), Some("red"), None]);
}

#[test]
fn a_stop_concerns_the_executions_in_the_contexts_of_the_event() {
    played(
        "job serve streaming; wf: STOP when full",
        "full in:blue,grey | full in:grey | full",
        expect![[r#"
        2 start wf in:red
          wf#1 RUNNING v1 by start [2]
          serve#1 QUEUED by start [2]
          launch serve#1-1
        4 start wf in:blue
          wf#2 RUNNING v1 by start [4]
          serve#2 QUEUED by start [4]
          launch serve#2-1
        6 start wf in:green
          wf#3 RUNNING v1 by start [6]
          serve#3 QUEUED by start [6]
          launch serve#3-1
        8 full in:blue,grey
          wf#2 STOPPING
          serve#2 STOPPING
          wf.1 [8] STOP: stopped
          stop serve#2-1
        9 full in:grey
          wf.1 [9] STOP: not_live
        10 full
          wf#1 STOPPING
          wf#3 STOPPING
          serve#1 STOPPING
          serve#3 STOPPING
          wf.1 [10] STOP: stopped
          stop serve#1-1
          stop serve#3-1
    "#]],
    );
}

#[test]
fn a_restart_replaces_the_executions_in_each_context_of_the_event() {
    played(
        "job serve streaming; wf: RESTART when model; wf: STOP when full",
        "model in:red,blue | model in:red | serve stopped | restore | full in:blue",
        expect![[r#"
            2 start wf in:red
              wf#1 RUNNING v1 by start [2]
              serve#1 QUEUED by start [2]
              launch serve#1-1
            4 start wf in:blue
              wf#2 RUNNING v1 by start [4]
              serve#2 QUEUED by start [4]
              launch serve#2-1
            6 start wf in:green
              wf#3 RUNNING v1 by start [6]
              serve#3 QUEUED by start [6]
              launch serve#3-1
            8 model in:red,blue
              wf#1 STOPPING
              wf#2 STOPPING
              serve#1 STOPPING
              serve#2 STOPPING
              wf.1 [8] RESTART: waiting (restart: waits for the end of 4.0)
              wf.1 [8] RESTART: waiting (restart: waits for the end of 2.0)
              stop serve#2-1
              stop serve#1-1
            9 model in:red
              wf.1 [9] RESTART: merged (restart: firing 8.1 waits for the same)
            10 serve stopped
              serve#3 STOPPED
            12 full in:blue
              wf.1 [8] RESTART: cancelled (restart: a STOP came while it waited)
              wf.2 [12] STOP: stopped
        "#]],
    );
}

#[test]
fn a_field_names_the_contexts_and_what_has_it_not_is_recorded_where_it_would_have_counted() {
    played(
        "contexts /of; train: START when go:/n>1; wf: START when new; completion standing",
        r#"go={"of":"red","n":2} | go={"of":["blue","green"],"n":2} | go={"n":2} | go={"n":1} | go={"of":[],"n":2} in:red | new={"of":["x","y"]} | new"#,
        expect![[r#"
            2 start wf in:red
              wf#1 RUNNING v1 by start [2]
            4 start wf in:blue
              wf#2 RUNNING v1 by start [4]
            6 start wf in:green
              wf#3 RUNNING v1 by start [6]
            8 go={"of":"red","n":2}
              train#1 QUEUED by train.1 [8]
              launch train#1-1
            9 go={"of":["blue","green"],"n":2}
              train#2 QUEUED by train.1 [9]
              train#3 QUEUED by train.1 [9]
              launch train#2-1
              launch train#3-1
            10 go={"n":2}
              train.1 [10] START: no_context
              train.1 [10] START: no_context
              train.1 [10] START: no_context
            12 go={"of":[],"n":2} in:red
              train.1 [12] START: no_context
              train.1 [12] START: no_context
              train.1 [12] START: no_context
            13 new={"of":["x","y"]}
              wf#4 RUNNING v1 by wf.1 [13]
              wf#5 RUNNING v1 by wf.1 [13]
            16 new
              wf.1 [16] START: no_context
        "#]],
    );
}

#[test]
fn a_field_may_be_left_out_where_that_means_all() {
    played(
        "contexts label tenant or all; train: START when go; completion standing",
        "go label:tenant=red | go",
        expect![[r#"
            2 start wf in:red
              wf#1 RUNNING v1 by start [2]
            4 start wf in:blue
              wf#2 RUNNING v1 by start [4]
            6 start wf in:green
              wf#3 RUNNING v1 by start [6]
            8 go label:tenant=red
              train#1 QUEUED by train.1 [8]
              launch train#1-1
            9 go
              train#2 QUEUED by train.1 [9]
              train#3 QUEUED by train.1 [9]
              train.1 [9] START: already_live
              launch train#2-1
              launch train#3-1
        "#]],
    );
}

#[test]
fn every_event_may_concern_all() {
    played(
        "contexts all; train: START when go; completion standing",
        "go in:red",
        expect![[r#"
        2 start wf in:red
          wf#1 RUNNING v1 by start [2]
        4 start wf in:blue
          wf#2 RUNNING v1 by start [4]
        6 start wf in:green
          wf#3 RUNNING v1 by start [6]
        8 go in:red
          train#1 QUEUED by train.1 [8]
          train#2 QUEUED by train.1 [8]
          train#3 QUEUED by train.1 [8]
          launch train#1-1
          launch train#2-1
          launch train#3-1
    "#]],
    );
}

/// What another workflow says of itself names no context, and is heard as before.
#[test]
fn what_comes_from_an_execution_needs_no_field() {
    check(
        "contexts /of; job report; wf: START when workflow(other SUCCEEDED)\nworkflow other\njob train",
        "start other | train started | train ok",
        expect![[r#"
            3 start other
              other#1 RUNNING v1 by start [3]
              train#1 QUEUED by start [3]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 train ok
              train#1 SUCCEEDED
            8 train#1 SUCCEEDED
              other#1 SUCCEEDED: train SUCCEEDED
            9 other#1 SUCCEEDED
              wf#1 RUNNING v1 by wf.1 [9]
              report#1 QUEUED by start [9]
              launch report#1-1
        "#]],
    );
}

#[test]
fn starts_are_admitted_for_each_context_where_the_key_names_it() {
    check(
        "job train; wf: START when go; admit wf concurrency(1) per(@context)",
        "go in:red,blue | go in:blue | train ok",
        expect![[r#"
            2 go in:red,blue
              wf#1 RUNNING v1 by wf.1 [2]
              wf#2 RUNNING v1 by wf.1 [2]
              train#1 QUEUED by start [2]
              train#2 QUEUED by start [2]
              wf.1 [2] START: started
              wf.1 [2] START: started
              launch train#1-1
              launch train#2-1
            5 go in:blue
              wf.1 [5] START: waiting (concurrency: 1 of at most 1 executions are live)
            6 train ok
              train#2 SUCCEEDED
            7 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_rule_that_begins_in_the_past_is_shown_what_concerns_its_execution() {
    check(
        "contexts /of; train: START when all(a, b) from 1; completion standing",
        r#"a={"of":"red"} | b={"of":"blue"} | start wf in:red | b={"of":["red","x"]}"#,
        expect![[r#"
            4 start wf in:red
              wf#1 RUNNING v1 by start [4]
            7 b={"of":["red","x"]}
              train#1 QUEUED by train.1 [2 7]
              launch train#1-1
        "#]],
    );
}
