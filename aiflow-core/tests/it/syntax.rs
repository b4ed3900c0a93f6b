//! Conditions and rules as text: what is written is read back, and what is wrong is said with its place.

use std::time::Duration;

use aiflow_core::execution::JobStatus;
use aiflow_core::id::JobName;
use aiflow_core::workflow::syntax::{SYNTAX_BYTES_MAX, duration_text, parse_duration};
use aiflow_core::workflow::{
    Comparison, Condition, KeyOf, ModelStage, SchedulingRule, ValueTest, Window, WorkflowRule, absent, absent_after,
    all, any, at_least, count, custom, job_is, job_status, not_within, on, on_dataset, on_metric, on_model_version,
    optional, sequence, start, stop_workflow,
};
use aiflow_testkit::definitions::Definitions;
use aiflow_testkit::rng::{SEED_VARIABLE, test_rounds, test_seed};
use expect_test::expect;
use serde_json::json;

const CONDITIONS: usize = 3_000;
const MUTATIONS: usize = 20_000;

fn condition(text: &str) -> Condition {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_condition_and_rule_reads_back_as_it_was_written() {
    let seed = test_seed();
    let mut definitions = Definitions::new(seed);
    for i in 0..test_rounds(CONDITIONS) {
        let known = definitions.condition(4);
        let text = known.to_string();
        assert_eq!(text.parse::<Condition>(), Ok(known), "{SEED_VARIABLE}={seed}, condition {i}: {text}");
        let known = definitions.job_rule();
        let text = known.to_string();
        assert_eq!(text.parse::<SchedulingRule>(), Ok(known), "{SEED_VARIABLE}={seed}, rule {i}: {text}");
        let known = definitions.workflow_rule();
        let text = known.to_string();
        assert_eq!(text.parse::<WorkflowRule>(), Ok(known), "{SEED_VARIABLE}={seed}, workflow rule {i}: {text}");
    }
}

/// Random changes of texts that are right, a hundred times as many with `AIFLOW_TEST_ROUNDS=100`: whatever comes of it is read or refused with a place inside the text, and what is read is
/// written and read again.
#[test]
fn no_text_makes_the_reader_panic() {
    let seed = test_seed();
    let mut definitions = Definitions::new(seed);
    let pieces = [
        "(",
        ")",
        "\"",
        "'",
        "::",
        "*",
        ",",
        "=",
        "[",
        "{",
        "for each",
        "\\u12",
        "é",
        "|",
        "no",
        "99999999999999999999",
        "1 h",
        "\0",
    ];
    for i in 0..test_rounds(MUTATIONS) {
        let mut text: Vec<char> = definitions.condition(3).to_string().chars().collect();
        for _ in 0..=definitions.rng().below(4) {
            let at = usize::try_from(definitions.rng().below(text.len() as u64 + 1)).unwrap();
            match definitions.rng().below(3) {
                0 if at < text.len() => drop(text.remove(at)),
                1 => text.truncate(at),
                _ => {
                    let piece = definitions.pick(&pieces);
                    drop(text.splice(at..at, piece.chars()));
                }
            }
        }
        let text: String = text.into_iter().collect();
        match text.parse::<Condition>() {
            Ok(read) => assert_eq!(read.to_string().parse(), Ok(read), "{SEED_VARIABLE}={seed}, text {i}: {text}"),
            Err(error) => {
                assert!(text.is_char_boundary(error.at), "{SEED_VARIABLE}={seed}, text {i}: {text}: {error:?}");
                assert_eq!(error.column, text[..error.at].chars().count() + 1, "{text}: {error:?}");
            }
        }
    }
}

#[test]
fn what_the_builder_says_reads_well() {
    let job = |name: &str| JobName::parse(name).unwrap();
    let hour = Duration::from_secs(3_600);
    for (built, text) in [
        (on("samples").into(), "samples"),
        (on("*").event_type("A").sender("x").latest().into(), "A * from x (latest)"),
        (on("a").namespace("other").equals("x").into(), r#"other::a = "x""#),
        (on("a").no_sender().any_execution().into(), r#"a of any execution from """#),
        (on("a").one_of(["x", "y"]).into(), r#"a in ["x","y"]"#),
        (on("a").at("/m/x", ValueTest::Compare(Comparison::Greater, json!(0.5))).into(), "a at /m/x > 0.5"),
        (on("a").cel("value.x > 3").into(), r#"a where "value.x > 3""#),
        (on("train").event_type("SUCCEEDED").into(), "SUCCEEDED train"),
        (on("SUCCEEDED").event_type("train").into(), r#"train "SUCCEEDED""#),
        (job_status(&job("train"), JobStatus::Succeeded), "train SUCCEEDED"),
        (job_is(&job("no"), [JobStatus::Init, JobStatus::Failed]), r#""no" is INIT|FAILED"#),
        (all([on("a"), on("b")]), "all of (a, b)"),
        (any([on("a"), on("b")]), "any of (a, b)"),
        (at_least(2, [on("a"), on("b")]), "at least 2 of (a, b)"),
        (sequence([on("a"), on("b")]).within(hour), "in this order (a, b) within 1 h"),
        (count(3, on("a")).within(Window::daily("UTC")), "3 times a within one day in UTC"),
        (count(3, on("a").within(hour)), "3 times (a within 1 h)"),
        (on("a").within(Window::daily_from("Europe/Berlin", 6, 30)), "a within one day from 06:30 in Europe/Berlin"),
        (on("a").within(Window::tumbling(hour)), "a within one span of 1 h"),
        (on("a").for_each(KeyOf::value("/id")), "a for each /id"),
        (
            on("a").for_each(KeyOf::first_of([KeyOf::Key, KeyOf::label("x"), KeyOf::value("")])),
            "a for each first of (key, label x, value)",
        ),
        (absent(count(2, on("a")), hour), "no (2 times a) for 1 h"),
        (absent_after(on("b"), on("a"), hour), "no a for 1 h after b"),
        (all([on("a").into(), not_within(on("halt"), hour)]), "all of (a, no halt in the last 1 h)"),
        (optional(on("a"), hour), "a if it comes within 1 h"),
        (
            optional(on("a"), aiflow_core::workflow::Wait::until("Europe/Berlin", 18, 0)),
            "a if it comes by 18:00 Europe/Berlin",
        ),
        (custom("sum", json!({"limit": 100}), [on("a"), on("b")]), r#"custom(sum, {"limit":100}) of (a, b)"#),
        (on_model_version("wine", ModelStage::Deployed).into(), "model(wine) DEPLOYED"),
        (on_model_version("wine", ModelStage::parse("canary").unwrap()).into(), "model(wine) canary"),
        (on_dataset("iris").repeated().into(), "dataset(iris) (repeated)"),
        (on_metric("drift", Comparison::Greater, 0.2).into(), "metric(drift) > 0.2"),
    ] {
        assert_eq!(built.to_string(), text);
        assert_eq!(condition(text), built, "{text}");
    }
}

#[test]
fn what_people_also_write_is_understood() {
    let (a, b, c) = (|| Condition::from(on("a")), || Condition::from(on("b")), || Condition::from(on("c")));
    let hour = Duration::from_secs(3_600);
    for (text, built) in [
        ("a and b and c", all([a(), b(), c()])),
        ("a and b or c", any([all([a(), b()]), c()])),
        ("a and (b or c)", all([a(), any([b(), c()])])),
        ("a and b for each key", all([a(), b()]).for_each(KeyOf::Key)),
        ("a and b within 60 min", all([a(), b().within(hour)])),
        ("((a))", a()),
        ("  a\n  and\tb ", all([a(), b()])),
        ("'a'", a()),
        ("a where 'value == \"it''s\"'", on("a").cel("value == \"it's\"").into()),
        ("a == 1", on("a").equals(1).into()),
        ("a within 59min 60 s", a().within(hour)),
        ("model(wine) deployed", on_model_version("wine", ModelStage::Deployed).into()),
        ("metric(drift) > 1", on_metric("drift", Comparison::Greater, 1.0).into()),
        ("3 times \"3\"", count(3, on("3"))),
        ("3", on("3").into()),
        ("s3://bucket/a", on("s3://bucket/a").into()),
    ] {
        assert_eq!(condition(text), built, "{text}");
    }
    let rule: SchedulingRule =
        "start when a, from event 3 on, named n, taking uri from /uri of samples".parse().unwrap();
    let built = start(on("a"))
        .param("uri", aiflow_core::workflow::field("/uri").of("samples"))
        .from_offset(aiflow_core::id::Offset(3))
        .named("n".parse().unwrap());
    assert_eq!(rule, built);
    assert_eq!(rule.to_string(), "START when a, taking uri from /uri of samples, from event 3 on, named n");
    let rule: WorkflowRule = "STOP of the same order when order.paid for each /id".parse().unwrap();
    assert_eq!(rule, stop_workflow(on("order.paid").for_each(KeyOf::value("/id"))).of("order"));
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    let mut said = String::new();
    for text in [
        "",
        "a =",
        "a = ready",
        "a = \"x",
        "a b c",
        "all (a)",
        "all of a",
        "all of (a b c)",
        "all of (a,)",
        "at least two of (a)",
        "no a",
        "no (a and b) in the last 5 s",
        "a within",
        "a within 5",
        "a within 5 fortnights",
        "a within 99999999999999999 d",
        "a within one day",
        "a if it comes",
        "a if it comes by noon UTC",
        "a for each",
        "a for every key",
        "train is",
        "train SUCCEEDED|DONE",
        "a/b SUCCEEDED",
        "model(wine)",
        "model(wine) a/b",
        "metric(drift)",
        "metric(drift) > \"x\"",
        "workflow(w) DONE",
        "custom(f)",
        "custom(f, {a: 1}) of (x)",
        "custom(f) of (all of (a))",
        "a (often)",
        "é & b",
        "a, b",
        "when a",
        "a in the last 5 s",
        "(a",
    ] {
        let error = text.parse::<Condition>().map(|read| read.to_string()).unwrap_err();
        said.push_str(&format!("{text} >> {error}\n"));
    }
    for text in [
        "begin when a",
        "START a",
        "START when a, taking x",
        "START when a, named a b",
        "START when a, from event x",
        "START when a, named x, named y",
    ] {
        let error = text.parse::<SchedulingRule>().map(|read| read.to_string()).unwrap_err();
        said.push_str(&format!("{text} >> {error}\n"));
    }
    expect![[r#"
         >> column 1: expected a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom, found the end
        a = >> column 4: expected a JSON value (a text in double quotes, a number, true, false, null, a list, an object), found the end
        a = ready >> column 5: expected a JSON value (a text in double quotes, a number, true, false, null, a list, an object), found ready
        a = "x >> column 5: no JSON: EOF while parsing a string
        a b c >> column 5: expected and, or, within, if it comes, for each, or the end, found c
        all (a) >> column 1: expected a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom, found all
        all of a >> column 8: expected "(", found a
        all of (a b c) >> column 13: expected a comma or ")", found c
        all of (a,) >> column 11: expected a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom, found ')'
        at least two of (a) >> column 10: expected a number, found two
        no a >> column 5: expected for, or in the last, found the end
        no (a and b) in the last 5 s >> column 4: only one event can be missing in the last while; say "no … for …" of a condition
        a within >> column 9: expected a span of time such as 90 s or 1 h 30 min, found the end
        a within 5 >> column 11: expected ms, s, min, h or d, found the end
        a within 5 fortnights >> column 12: expected ms, s, min, h or d, found fortnights
        a within 99999999999999999 d >> column 10: the span of time is too long
        a within one day >> column 17: expected in, found the end
        a if it comes >> column 14: expected within or by, found the end
        a if it comes by noon UTC >> column 18: expected a time of day such as 06:30, found noon
        a for each >> column 11: expected key, a JSON pointer such as /order/id, value, label or first of, found the end
        a for every key >> column 3: expected and, or, within, if it comes, for each, or the end, found for
        train is >> column 9: expected a status of a job such as SUCCEEDED, found the end
        train SUCCEEDED|DONE >> column 17: expected a status of a job, found DONE
        a/b SUCCEEDED >> column 1: job name has '/' at byte 1; allowed are A-Z a-z 0-9 . _ -
        model(wine) >> column 12: expected a stage such as DEPLOYED, found the end
        model(wine) a/b >> column 13: name has '/' at byte 1; allowed are A-Z a-z 0-9 . _ -
        metric(drift) >> column 14: expected a comparison such as > 0.2, found the end
        metric(drift) > "x" >> column 17: a metric is compared with a number
        workflow(w) DONE >> column 13: expected a status of a workflow execution such as SUCCEEDED, found DONE
        custom(f) >> column 10: expected of, found the end
        custom(f, {a: 1}) of (x) >> column 11: no JSON: key must be a string
        custom(f) of (all of (a)) >> column 15: expected a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom, found all
        a (often) >> column 4: expected latest or repeated, found often
        é & b >> column 3: expected and, or, within, if it comes, for each, or the end, found '&'
        a, b >> column 2: expected and, or, within, if it comes, for each, or the end, found ','
        when a >> column 1: expected a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom, found when
        a in the last 5 s >> column 3: expected and, or, within, if it comes, for each, or the end, found in
        (a >> column 3: expected ")", found the end
        begin when a >> column 1: expected START, STOP, RESTART, SIGNAL or NONE, found begin
        START a >> column 7: expected when, found a
        START when a, taking x >> column 23: expected from, found the end
        START when a, named a b >> column 23: expected and, or, within, if it comes, for each, a comma, or the end, found b
        START when a, from event x >> column 26: expected the offset of an event, found x
        START when a, named x, named y >> column 24: this was said before
    "#]].assert_eq(&said);
}

#[test]
fn texts_are_bounded_in_size_and_depth() {
    let error = |text: &str| text.parse::<Condition>().unwrap_err().to_string();
    assert!(error(&"a ".repeat(SYNTAX_BYTES_MAX)).contains("bytes"));
    for text in [
        format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("a{}", " within 1 s".repeat(10_000)),
        format!("a{}", " for each key".repeat(10_000)),
        format!("a{}", " at /x".repeat(10_000)),
        format!("a for each {}", "first of (".repeat(10_000)),
        format!("a = {}", "[".repeat(10_000)),
        "no (".repeat(10_000),
    ] {
        let said = error(&text);
        assert!(said.contains("deep") || said.contains("recursion limit"), "{said}");
    }
}

#[test]
fn spans_of_time_read_back() {
    for millis in [0, 1, 999, 1_000, 90_000, 3_600_000, 86_400_000, 86_400_001, u64::MAX] {
        let duration = Duration::from_millis(millis);
        assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
    }
    assert_eq!(parse_duration("1h 30min"), Ok(Duration::from_secs(5_400)));
    for text in ["", "5", "-5 s", "5 s 3", "18446744073709551615 s", "1 h h"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}
