//! Contexts: which executions does an event concern that names several, or names them in a field?

use expect_test::expect;

use super::text::check;

const THREE: &str = "start in:red | start in:blue | start in:green";

fn played(rules: &str, events: &str, expected: expect_test::Expect) {
    check(rules, &format!("{THREE} | {events}"), expected);
}

#[test]
fn an_event_in_several_contexts_concerns_the_executions_that_carry_one_of_them() {
    played("train: START when go; completion standing", "go in:red,blue,grey | restore | go in:none", expect![""]);
}

#[test]
fn a_workflow_starts_in_each_context_of_an_event() {
    check("job train; wf: START when go with n=value", "go=1 in:red,blue | restore | go=2 in:red | go=3", expect![""]);
}

#[test]
fn a_stop_concerns_the_executions_in_the_contexts_of_the_event() {
    played("job serve streaming; wf: STOP when full", "full in:blue,grey | full in:grey | full", expect![""]);
}

#[test]
fn a_restart_replaces_the_executions_in_each_context_of_the_event() {
    played(
        "job serve streaming; wf: RESTART when model; wf: STOP when full",
        "model in:red,blue | model in:red | serve stopped | restore | full in:blue",
        expect![""],
    );
}

#[test]
fn a_field_names_the_contexts_and_what_has_it_not_is_recorded_where_it_would_have_counted() {
    played(
        "contexts /of; train: START when go:/n>1; wf: START when new; completion standing",
        r#"go={"of":"red","n":2} | go={"of":["blue","green"],"n":2} | go={"n":2} | go={"n":1} | go={"of":[],"n":2} in:red | new={"of":["x","y"]} | new"#,
        expect![""],
    );
}

#[test]
fn a_field_may_be_left_out_where_that_means_all() {
    played(
        "contexts label tenant or all; train: START when go; completion standing",
        "go label:tenant=red | go",
        expect![""],
    );
}

#[test]
fn every_event_may_concern_all() {
    played("contexts all; train: START when go; completion standing", "go in:red", expect![""]);
}

/// What another workflow says of itself names no context, and is heard as before.
#[test]
fn what_comes_from_an_execution_needs_no_field() {
    check(
        "contexts /of; job report; wf: START when workflow(other SUCCEEDED)\nworkflow other\njob train",
        "start other | train started | train ok",
        expect![""],
    );
}

#[test]
fn starts_are_admitted_for_each_context_where_the_key_names_it() {
    check(
        "job train; wf: START when go; admit wf concurrency(1) per(@context)",
        "go in:red,blue | go in:blue | train ok",
        expect![""],
    );
}

#[test]
fn a_rule_that_begins_in_the_past_is_shown_what_concerns_its_execution() {
    check(
        "contexts /of; train: START when all(a, b) from 1; completion standing",
        r#"a={"of":"red"} | b={"of":"blue"} | start in:red | b={"of":["red","x"]}"#,
        expect![""],
    );
}
