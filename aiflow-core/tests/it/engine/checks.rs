//! What is said at submit of rules that are probably not meant.

use std::fmt::Write as _;

use aiflow_core::workflow::{Diagnostic, KeyOf, ValueTest, on, restart_workflow, start, start_workflow, stop_workflow};
use expect_test::{Expect, expect};

use super::text::parse_rules;

/// Checks the first workflow of `rules`, which can be submitted.
fn warnings(rules: &str, expected: Expect) {
    let workflow = parse_rules(rules).remove(0);
    let mut lines = String::new();
    for found in workflow.check() {
        assert!(!found.is_error(), "{found}");
        let _ = writeln!(lines, "{found}");
    }
    expected.assert_eq(&lines);
}

#[test]
fn what_is_meant_draws_no_warning() {
    for rules in [
        "features: function; train: START when status(features SUCCEEDED); infer: RESTART when model.a",
        "train: RESTART when model.*; train: STOP when kill",
        "train: START when any(go, status(eval FAILED)); eval: START when all(status(train SUCCEEDED), samples)",
        "a: START when go; a: STOP when count(3, status(a FAILED)); b: START when count(3, status(a FAILED))",
        "a: START when go; a: START when all(samples, status(a SUCCEEDED repeated))",
        "a: function; a: NONE when all(b, not(5s, halt), is(a RUNNING/SUCCEEDED))",
        "schedule train every 10s; eval: START when status(train SUCCEEDED)",
        "a: START when status(a STOPPED); a: START when go; a: STOP when halt",
        "a: START when custom(sum, 3, *)",
        "wf: STOP when status(a FAILED); a: function",
    ] {
        warnings(rules, expect![[""]]);
    }
}

#[test]
fn jobs_that_nothing_starts_are_named_with_the_reason() {
    warnings(
        "a: START when status(b SUCCEEDED); b: START when status(a SUCCEEDED)",
        expect![[r#"
        warning: job a: nothing starts it, except by hand: it waits for b SUCCEEDED, and nothing starts b
        warning: job b: nothing starts it, except by hand: it waits for a SUCCEEDED, and nothing starts a
    "#]],
    );
    warnings(
        "a: START when status(a SUCCEEDED)",
        expect![[r#"
        warning: job a: nothing starts it, except by hand: it waits for a SUCCEEDED, and nothing starts a
    "#]],
    );
    warnings(
        "a: function; b: START when all(go, is(a SKIPPED))",
        expect![[r#"
        warning: job b: nothing starts it, except by hand: it needs that a is SKIPPED, which is never so
    "#]],
    );
    warnings(
        "a: function; b: START when wf/nobody=SUCCEEDED type:JOB_STATUS_CHANGED; c: START when any(status(b FAILED), status(b STOPPED))",
        expect![[r#"
            warning: job b: nothing starts it, except by hand: it waits for job nobody, which is not defined in this workflow
            warning: job c: nothing starts it, except by hand: it waits for b FAILED, and nothing starts b; it waits for b STOPPED, and nothing starts b
        "#]],
    );
    warnings(
        "a: function; a: STOP when status(b FAILED); b: START when status(b FAILED)",
        expect![[r#"
        warning: job b: nothing starts it, except by hand: it waits for b FAILED, and nothing starts b
        warning: job a, rule stop-a7564569f230: fires only after a start by hand: it waits for b FAILED, and nothing starts b
    "#]],
    );
}

#[test]
fn conditions_that_never_hold_are_named_with_the_reason() {
    warnings(
        "a: function; a: STOP when count(2, b latest)",
        expect![[r#"
        warning: job a, rule stop-150e34b7592b: can never fire: b (latest) waits with the newest event only, never with 2
    "#]],
    );
    warnings(
        "a: function; a: STOP when count(2, status(a FAILED repeated))",
        expect![[r#"
        warning: job a, rule stop-f57ad455f5be: can never fire: a FAILED (repeated) stands through one event of its key, never through 2
    "#]],
    );
    warnings(
        "a: function; a: STOP when all(b, is(a RUNNING), all(c, is(a FAILED/STOPPED)))",
        expect![[r#"
        warning: job a, rule stop-09f780e8c6f0: can never fire: a is RUNNING and a is FAILED|STOPPED are never so at once
    "#]],
    );
    warnings(
        "a: function; a: STOP when all(b, not(5s, b))",
        expect![[r#"
        warning: job a, rule stop-9ded5955bcdb: can never fire: no b in the last 5 s fails with each event that could make it fire
    "#]],
    );
    warnings(
        "a: function; a: STOP when wf/a=SUCCEEDEDD type:JOB_STATUS_CHANGED",
        expect![[r#"
            warning: job a, rule stop-9bae38157926: can never fire: JOB_STATUS_CHANGED wf/a = "SUCCEEDEDD" is no status; there are RUNNING, READY, RETRYING, SUCCEEDED, FAILED, STOPPED
        "#]],
    );
    warnings(
        "a: function; wf: STOP when other=READY type:WORKFLOW_STATUS_CHANGED",
        expect![[r#"
        warning: workflow rule stop-a5f3957551b3: can never fire: WORKFLOW_STATUS_CHANGED other = "READY" is no status; there are RUNNING, SUCCEEDED, FAILED, STOPPED
    "#]],
    );
    warnings(
        "a: function; a: STOP when at_least(2, b, count(2, c latest))",
        expect![[r#"
        warning: job a, rule stop-29accfa66cf7: can never fire: c (latest) waits with the newest event only, never with 2
    "#]],
    );
}

/// The trap behind the warning: the guard sees the event before the rule does.
#[test]
fn a_guard_against_what_makes_the_rule_fire_really_never_lets_it_fire() {
    let mut world = super::world::World::new("a: NONE when all(b, not(5s, b))");
    world.play("start | b | tick 10s | b | tick 10s | b");
    assert!(!world.trace().contains("NONE"), "{}", world.trace());
}

#[test]
fn guards_that_always_hold_are_named() {
    let all = "INIT/QUEUED/RUNNING/READY/UNKNOWN/RETRYING/STOPPING/SUCCEEDED/FAILED/STOPPED";
    warnings(
        &format!("a: function; a: STOP when all(b, is(a {all}))"),
        expect![[r#"
        warning: job a, rule stop-751eea793ac6: the guard a is INIT|QUEUED|RUNNING|READY|UNKNOWN|RETRYING|STOPPING|SUCCEEDED|FAILED|STOPPED always holds
    "#]],
    );
}

#[test]
fn rules_that_are_hidden_by_one_before_them_are_named() {
    warnings(
        "a: START [x] when go; a: STOP [y] when go; b: START [z] when go",
        expect![[r#"
        warning: job a, rule y: never acts: a rule before it has the same condition
    "#]],
    );
    warnings(
        "a: function; wf: START [x] when go; wf: RESTART [y] when go; wf: STOP [z] when go",
        expect![[r#"
        warning: workflow rule y: never acts: a rule before it has the same condition
    "#]],
    );
}

/// Legitimate loops exist: they are named, and never refused.
#[test]
fn rules_that_feed_themselves_are_named_with_their_cycle() {
    warnings(
        "a: START when any(go, status(a SUCCEEDED))",
        expect![[r#"
        warning: job a: feeds itself without an event from outside: job a starts job a; only the bound on chains of causes ends it
    "#]],
    );
    warnings(
        "a: START when go; a: RESTART when status(a RUNNING)",
        expect![[r#"
            warning: job a: feeds itself without an event from outside: job a starts job a; only the bound on chains of causes ends it
        "#]],
    );
    warnings(
        "a: START when any(go, status(c SUCCEEDED)); b: START when status(a SUCCEEDED); c: START when all(status(b SUCCEEDED/FAILED), optional(5s, x))",
        expect![[r#"
            warning: job a: feeds itself without an event from outside: job a starts job b starts job c starts job a; only the bound on chains of causes ends it
        "#]],
    );
    warnings(
        "a: START when any(go, *); b: START when status(a SUCCEEDED)",
        expect![[r#"
        warning: job a: feeds itself without an event from outside: job a starts job a; only the bound on chains of causes ends it
    "#]],
    );
    warnings(
        "a: function; a: SIGNAL when status(b SUCCEEDED); b: START when status(a SUCCEEDED)",
        expect![[r#"
        warning: job a: feeds itself without an event from outside: job a starts job b starts job a; only the bound on chains of causes ends it
    "#]],
    );
    // What goes on running takes the value.
    warnings("job a streaming; a: SIGNAL when status(b SUCCEEDED); b: START when status(a RUNNING)", expect![[r#""#]]);
    warnings(
        "a: function; wf: START when workflow(wf SUCCEEDED)",
        expect![[r#"
        warning: workflow wf: feeds itself without an event from outside: workflow wf starts workflow wf; only the bound on chains of causes ends it
    "#]],
    );
    warnings(
        "a: function; b: START when status(a SUCCEEDED); wf: START when status(b FAILED)",
        expect![[r#"
        warning: workflow wf: feeds itself without an event from outside: workflow wf starts job a starts job b starts workflow wf; only the bound on chains of causes ends it
    "#]],
    );
    warnings(
        "a: START when any(go, absent(5s, beat, status(a SUCCEEDED)))",
        expect![[r#"
        warning: job a: feeds itself without an event from outside: job a starts job a; only the bound on chains of causes ends it
    "#]],
    );
}

/// What the warning says happens: the loop turns until the bound on chains of causes ends it.
#[test]
fn a_loop_that_is_warned_of_turns_until_it_is_stopped() {
    let mut world = super::world::World::new("a: START when any(go, status(a SUCCEEDED))");
    world.play("start | go");
    for _ in 0..20 {
        world.play("a started | a ok");
    }
    assert_eq!(world.jobs.len(), 21);
}

#[test]
fn warnings_come_after_errors_are_mended_and_read_back() {
    let mut workflow = parse_rules("a: START when status(a SUCCEEDED)").remove(0);
    let warning = workflow.check().remove(0);
    let text = serde_json::to_string(&warning).unwrap();
    assert!(text.contains(r#""severity":"warning""#), "{text}");
    assert_eq!(serde_json::from_str::<Diagnostic>(&text).unwrap(), warning);
    let pattern = aiflow_core::workflow::EventPattern { value: ValueTest::In(Vec::new()), ..on("x") };
    workflow.control_edges[0].rule = start(pattern);
    let found = workflow.check();
    assert!(found.iter().all(Diagnostic::is_error), "{found:?}");
    let text = serde_json::to_string(&found[0]).unwrap();
    assert!(!text.contains("severity"), "{text}");
}

/// Ten thousand jobs in a chain, and as many in a ring: checked in time that grows with their number.
#[test]
fn long_chains_and_rings_are_checked_in_one_pass() {
    let mut rules = String::from("j0: function\n");
    for n in 1..10_000 {
        let _ = writeln!(rules, "j{n}: START when status(j{} SUCCEEDED)", n - 1);
    }
    let chain = parse_rules(&rules).remove(0);
    assert_eq!(chain.check(), []);
    let mut ring = chain;
    let from_last =
        parse_rules("j0: function; j9999: function; j0: START when any(go, status(j9999 SUCCEEDED))").remove(0);
    ring.control_edges.extend(from_last.control_edges);
    let found = ring.check();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("job j0 starts job j1 starts job j2"), "{}", &found[0].message[..200]);
}

#[test]
fn executions_are_told_apart_by_the_key_of_a_rule_that_stops_or_restarts() {
    let each = || on("x").for_each(KeyOf::Key);
    for (rule, is_right) in [
        (stop_workflow(each()).of("order"), true),
        (restart_workflow(each()).of("order"), true),
        (stop_workflow(on("x")).of("order"), false),
        (start_workflow(each()).of("order"), false),
        (stop_workflow(each()).of(""), false),
        (stop_workflow(on("x").for_each(KeyOf::first_of([KeyOf::value("/id"), KeyOf::Key]))), true),
        (stop_workflow(on("x").for_each(KeyOf::first_of([]))), false),
        (stop_workflow(on("x").for_each(KeyOf::first_of([KeyOf::value("id")]))), false),
        (stop_workflow(on("x").for_each(KeyOf::first_of([KeyOf::first_of([KeyOf::Key])]))), false),
    ] {
        let mut workflow = parse_rules("a: function").remove(0);
        workflow.rules.push(rule.clone());
        assert_eq!(!workflow.check().iter().any(Diagnostic::is_error), is_right, "{rule}: {:?}", workflow.check());
    }
}
