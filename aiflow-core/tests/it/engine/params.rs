//! Parameters: what is checked at a start, and what a firing takes from its events.

use expect_test::{Expect, expect};

use super::text::{check, parse_rules};
use super::world::World;

/// The parameters of every execution and job execution, in order, and what was refused or recorded.
fn given(rules: &str, events: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    world.restore();
    let executions = world.executions.values().map(|execution| format!("{}: {}", execution.workflow, execution.params));
    let jobs =
        world.jobs.values().filter(|job| !job.params.is_null()).map(|job| format!("{}: {}", job.job, job.params));
    let firings = world.decisions.iter().flat_map(|decision| decision.firings.values());
    let firings = firings.map(|firing| {
        let record = &firing.record;
        let reasons: Vec<&str> = record.steps.iter().map(|step| step.reason.as_str()).collect();
        format!("{:?} {:?} {}", record.outcome, record.firing.events, reasons.join("; "))
    });
    let letters = world.decisions.iter().flat_map(|decision| &decision.dead_letters);
    let letters = letters.map(|letter| format!("dead letter: {}", letter.reason));
    let lines: Vec<String> = executions.chain(jobs).chain(firings).chain(letters).collect();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn a_start_by_hand_is_checked_and_defaults_are_filled_in() {
    given(
        "
        a: function
        param wf rate float default:0.1 min:0 max:1
        param wf uri string required
        param wf mode string one_of:[\"fast\",\"exact\"]
        param wf at timestamp
        param a epochs integer default:3
        ",
        "start uri=s | start rate=0.5 uri=s mode=exact epochs=4 | start | start uri=7 | start uri=s rate=2 | start uri=s mode=slow
         start uri=s other=1 | start uri=s at=noon | start uri=s at=2026-03-01T00:00:00Z | start uri=s epochs=half",
        expect![[r#"
            wf: {"rate":0.1,"uri":"s"}
            wf: {"epochs":4,"mode":"exact","rate":0.5,"uri":"s"}
            wf: {"at":"2026-03-01T00:00:00Z","rate":0.1,"uri":"s"}
            Refused [Offset(6)] parameter uri is missing
            Refused [Offset(8)] parameter uri must be text
            Refused [Offset(10)] parameter rate is 2, at most 1 is allowed
            Refused [Offset(12)] parameter mode must be one of ["fast","exact"]
            Refused [Offset(14)] parameter other is not declared
            Refused [Offset(16)] parameter at must be a time as in RFC 3339
            Refused [Offset(20)] job a: parameter epochs must be a whole number
            dead letter: parameter uri is missing
            dead letter: parameter uri must be text
            dead letter: parameter rate is 2, at most 1 is allowed
            dead letter: parameter mode must be one of ["fast","exact"]
            dead letter: parameter other is not declared
            dead letter: parameter at must be a time as in RFC 3339
            dead letter: job a: parameter epochs must be a whole number
        "#]],
    );
}

/// What waits is checked against the version under which it starts, by hand as by a rule, and what is refused holds up nobody.
#[test]
fn a_start_that_waits_is_checked_again_when_it_starts() {
    given(
        "a: function; wf: START when new with n=value; admit wf concurrency(1)",
        "start | start n=x | new=7 | new=y | submit { a: function; wf: START when new with n=value; admit wf concurrency(1); param wf n integer required } | stop @1 | a stopped",
        expect![[r#"
            wf: null
            wf: {"n":7}
            Started [Offset(2)] 
            Waiting [Offset(4)] 1 of at most 1 executions are live
            Waiting [Offset(5)] 1 of at most 1 executions are live
            Waiting [Offset(6)] 1 of at most 1 executions are live
            Refused [Offset(4)] 1 of at most 1 executions are live; there is room; parameter n must be a whole number
            Started [Offset(5)] 1 of at most 1 executions are live; there is room
            dead letter: parameter n must be a whole number
        "#]],
    );
    given(
        "a: START when new with n=value; job b streaming; admit a overlap(buffer_all)",
        "start | new=x | new=y | new=1 | submit { a: START when new with n=value; job b streaming; admit a overlap(buffer_all); param a n integer } | upgrade | a started | a ok",
        expect![[r#"
            wf: null
            a: {"n":"x"}
            a: {"n":1}
            Started [Offset(4)] 
            Waiting [Offset(5)] buffer_all: execution 4.0 is live
            Waiting [Offset(6)] buffer_all: execution 4.0 is live
            Refused [Offset(5)] buffer_all: execution 4.0 is live; the execution before it has ended; parameter n must be a whole number
            Started [Offset(6)] buffer_all: execution 4.0 is live; the execution before it has ended
        "#]],
    );
    given(
        "a: START when new with n=value; job b streaming",
        "start | pause | new=x | act START a | submit { a: START when new with n=value; job b streaming; param a n integer required } | upgrade | resume",
        expect![[r#"
            wf: null
            Waiting [Offset(5)] its workflow execution is paused
            Waiting [Offset(6)] its workflow execution is paused
            Refused [Offset(5)] its workflow execution is paused; parameter n must be a whole number
            Refused [Offset(6)] its workflow execution is paused; parameter n is missing
            dead letter: parameter n is missing
        "#]],
    );
}

/// A firing that lacks what is required is no error of the log: it is refused with a record, and the next one starts.
#[test]
fn a_firing_with_wrong_parameters_is_refused_with_a_record() {
    given(
        "
        a: function
        wf: START when new with uri=/uri rate=/rate
        param wf uri string required
        param wf rate float max:1
        ",
        r#"new={"uri":"x","rate":0.5} | new={"rate":0.5} | new={"uri":"x","rate":2} | new={"uri":"y"}"#,
        expect![[r#"
            wf: {"rate":0.5,"uri":"x"}
            wf: {"uri":"y"}
            FieldMissing [Offset(4)] 
            Refused [Offset(4)] parameter uri is missing
            Refused [Offset(5)] parameter rate is 2, at most 1 is allowed
        "#]],
    );
}

#[test]
fn each_field_of_an_event_can_be_taken() {
    given(
        "
        a: START when new with k=key v=value u=/u/0 t=type s=sender o=offset l=label:who at=time
        completion standing
        ",
        r#"start | new={"u":[1]} type:T from:me label:who=you at:0"#,
        expect![[r#"
            wf: null
            a: {"at":"1970-01-01T00:00:00.000Z","k":"new","l":"you","o":4,"s":"me","t":"T","u":1,"v":{"u":[1]}}
        "#]],
    );
}

/// The order in which the operands came does not matter: a parameter is taken from the newest of the used events that has it.
#[test]
fn a_parameter_comes_from_the_event_that_has_it_whichever_came_last() {
    let rules = "
        a: START when all(samples, model) with uri=/uri version=/version last=key of=offset@samples
        completion standing
        ";
    let uri = r#"samples={"uri":"u"}"#;
    let version = r#"model={"version":7}"#;
    given(
        rules,
        &format!("start | {uri} | {version}"),
        expect![[r#"
        wf: null
        a: {"last":"model","of":4,"uri":"u","version":7}
    "#]],
    );
    given(
        rules,
        &format!("start | {version} | {uri}"),
        expect![[r#"
        wf: null
        a: {"last":"samples","of":5,"uri":"u","version":7}
    "#]],
    );
}

/// Each firing of a burst carries what its own events said, also after a restart of the scheduler, and keeps nothing behind.
#[test]
fn each_firing_of_a_queue_takes_from_its_own_events() {
    let rules = "
        a: function
        wf: START when all(x, y) with x=value@x y=value@y
        ";
    let mut world = World::new(rules);
    world.play("x=1 | x=2 | x=3 | restore | y=1 | y=2");
    let params: Vec<String> = world.executions.values().map(|execution| execution.params.to_string()).collect();
    assert_eq!(params, [r#"{"x":1,"y":1}"#, r#"{"x":2,"y":2}"#]);
    let snapshot = world.engine.snapshot();
    let state = snapshot.workflows[0].rules.values().next().expect("x=3 waits");
    assert_eq!(state.whole.values.len(), 1, "{state:?}");
}

#[test]
fn latest_sequence_absence_and_repeated_take_from_what_they_used() {
    for (when, events, expected) in [
        ("x latest with v=value", "x=1", r#"{"v":1}"#),
        ("all(x latest, y) with v=value@x", "x=1 | x=2 | y", r#"{"v":2}"#),
        ("seq(x, y) with v=value@x w=value@y", "x=1 | y=2", r#"{"v":1,"w":2}"#),
        ("count(3, x) with v=value", "x=1 | x=2 | x=3", r#"{"v":3}"#),
        ("absent(5s, y, x) with v=value", "x=1 | tick 5s", r#"{"v":1}"#),
        ("all(x repeated, y) with v=value@x", "x=1 | x=2 | y", r#"{"v":2}"#),
        ("all(x, optional(5s, y)) with v=value@x", "x=1 | tick 5s", r#"{"v":1}"#),
        ("each(/id, all(x, y)) with n=/n@x", r#"x={"id":"a","n":1} | x={"id":"b","n":2} | y={"id":"b"}"#, r#"{"n":2}"#),
    ] {
        let mut world = World::new(&format!("a: function; wf: START when {when}"));
        world.play(events);
        let params: Vec<String> = world.executions.values().map(|execution| execution.params.to_string()).collect();
        assert_eq!(params, [expected], "{when}");
    }
}

/// Keys of admission are the parameters that the firing took: no neighbour lets a trigger's payload form the key.
#[test]
fn concurrency_keys_and_idempotency_keys_see_what_a_firing_took() {
    check(
        "
        a: function
        wf: START when new with order=/order tenant=/tenant
        admit wf once(order,1h) concurrency(1) per(tenant)
        ",
        r#"new={"order":1,"tenant":"red"} | new={"order":2,"tenant":"red"} | new={"order":3,"tenant":"blue"} | new={"order":1,"tenant":"blue"}"#,
        expect![[r#"
            2 new={"order":1,"tenant":"red"}
              wf#1 RUNNING v1 by wf.1 [2]
              a#1 QUEUED by start [2]
              wf.1 [2] START: started
              launch a#1-1
            4 new={"order":2,"tenant":"red"}
              wf.1 [4] START: waiting (concurrency: 1 of at most 1 executions are live)
            5 new={"order":3,"tenant":"blue"}
              wf#2 RUNNING v1 by wf.1 [5]
              a#2 QUEUED by start [5]
              wf.1 [5] START: started
              launch a#2-1
            7 new={"order":1,"tenant":"blue"}
              wf.1 [7] START: duplicate (idempotency: firing 2.0 had the same key)
        "#]],
    );
}

#[test]
fn a_value_that_is_too_large_is_a_dead_letter_of_its_rule_alone() {
    let text = "x".repeat(5_000);
    given(
        "
        a: START when new with v=value
        b: START when new with k=key
        completion standing
        ",
        &format!("start | new={text}"),
        expect![[r#"
            wf: null
            b: {"k":"new"}
            dead letter: parameter v would have 5002 bytes, at most 4096 are taken from an event
        "#]],
    );
}

#[test]
fn the_parameters_of_a_job_are_checked_before_it_starts() {
    given(
        "
        a: START when go with epochs=/epochs
        param a epochs integer required min:1
        b: function
        completion standing
        ",
        r#"start | act START a | go={"epochs":0} | go={"other":1} | go={"epochs":2}"#,
        expect![[r#"
            wf: null
            a: {"epochs":2}
            Refused [Offset(6)] parameter epochs is 0, at least 1 is allowed
            FieldMissing [Offset(7)] 
            Refused [Offset(7)] parameter epochs is missing
            dead letter: parameter epochs is missing
        "#]],
    );
}

#[test]
fn mistakes_in_declarations_are_found_at_submit() {
    let mut workflow = parse_rules("a: function; a: STOP when x; wf: START when y").remove(0);
    let json = r#"[
        {"name": "", "type": "string"},
        {"name": "r", "type": "float", "min": 2.0, "max": 1.0},
        {"name": "s", "type": "string", "max": 1.0, "required": true, "default": "x"},
        {"name": "t", "type": "integer", "default": 1.5},
        {"name": "t", "type": "integer", "one_of": [1, "two"]}
    ]"#;
    workflow.parameters = serde_json::from_str(json).expect("parameters");
    workflow.params = serde_json::json!({"t": "x", "u": 1});
    let source = aiflow_core::workflow::field("uri");
    workflow.control_edges[0].rule.params.insert("v".to_owned(), source.clone());
    workflow.rules[0].params.insert("w".to_owned(), source);
    let problems: Vec<String> = workflow.check().iter().map(ToString::to_string).collect();
    expect![[r#"
        workflow wf, parameter : a name has 1 to 128 bytes
        workflow wf, parameter r: its bounds must be finite, the lower one not above the upper one
        workflow wf, parameter s: only numbers have bounds
        workflow wf, parameter s: it is required and has a default: only one of them has a meaning
        workflow wf, parameter t: parameter t must be a whole number
        workflow wf: declares the parameter t twice
        workflow wf, parameter t: parameter t must be a whole number
        workflow wf: parameter u is not declared
        workflow wf: parameter t must be a whole number
        workflow wf: parameter t must be a whole number
        job a, rule stop-cbcbbf0a24bd: only START and RESTART take parameters
        job a, rule stop-cbcbbf0a24bd: the pointer of parameter v must be empty or begin with "/"
        workflow rule start-f9c4237dabb6: takes the parameter w, which is not declared
        workflow rule start-f9c4237dabb6: the pointer of parameter w must be empty or begin with "/"
    "#]]
    .assert_eq(&(problems.join("\n") + "\n"));
}
