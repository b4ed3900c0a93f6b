//! The text form: a few lines of rules and events in, a trace of statuses, firings and commands out.
//!
//! # Rules
//! One statement a line, or several separated by `;`. A job that is only named in a rule runs on the executor `function`.
//!
//! ```text
//! features: function                     a job and its executor; without a START or RESTART rule it starts with the execution
//! job infer streaming                    a streaming job
//! train: START when samples=ready        START, STOP, RESTART, SIGNAL or NONE
//! train: STOP [quit] when kill           a rule with a name of its own
//! wf: START when raw                     a rule of the workflow: START, STOP or RESTART
//! wf: START when raw with uri=/uri@raw k=key    parameters from the used events: a pointer, key, type, sender, time, offset or label:name;
//!                                        of events with this key only
//! wf: STOP(order) when each(/id, paid)   STOP or RESTART of the executions alone whose parameter is the key
//! wf: START when raw from 3              begins with event 3; `from latest` with the newest event of each key; stands last
//! param wf rate float required           declares a parameter of the workflow or a job; also default:0.1 min:0 max:1 one_of:["a"]
//! retry train 2 x 1s factor:2 max:1m jitter:20 on:75/io* not:late     what follows the pause may be left out
//! timeout train 5s                       also: timeout queue train 5s, timeout start infer 5s
//! admit wf debounce(5s,20s) per(model)   admission of the workflow or a job: once(param,1s) rate(n,1s) debounce(1s,5s) batch(n,1s)
//!                                        throttle(n,1s) concurrency(n) overlap(skip) priority(n) pool(gpu,2), per(param) for those
//!                                        before it
//! restart infer always 1s healthy:1m max:3     of a streaming job; also failure
//! on train gpu,eu                        the labels of the hosts that train runs on
//! ack infer 5s                           how long it may take to acknowledge a value of a SIGNAL rule
//! deadline train 5s                      counted from the start of the job; with of:execution from that of the execution; deadline wf 1h
//! hook train failure key=value           also success, stop, end; of a job also broadcast; hook wf end key
//! completion idle                        or standing
//! contexts /customers or all             where events name the contexts that they concern; also event, all, key, label tenant
//! schedule wf [nightly] cron 30 2 * * * tz:Europe/Berlin misfire:all3 overlap:allow_all
//! schedule train every 10s restart       of a job; also start:… end:… (times), jitter:…, grace:…, misfire:skip
//! workflow other                         what follows belongs to another workflow; the first is called `wf`
//! ```
//!
//! A condition is one of `all(…, …)`, `any(…, …)`, `at_least(2, …, …)`, `seq(…, …)`, `count(3, …)`, `within(5s, …)` (also `tumbling 5s`,
//! `daily Europe/Berlin 06:00`), `each(key, …)` (also `/pointer`, `label name`, `/a or /b`), `absent(5s, what)`, `absent(5s, what, after)`,
//! `not(5s, pattern)`, `is(job STATUS/STATUS)`, `optional(5s, …)` (also `until 18:00 Europe/Berlin`), `custom(name, params, pattern, …)`, `status(job STATUS/STATUS)` and
//! `workflow(name STATUS)`; or a pattern: `key`, `key=value`, `key={one/of/these}`, `key>5` (also `<`, `<=`, `>=`, `!=`) or
//! `key:/pointer>5`, followed by any of `once`, `latest`, `repeated`, `any_execution`, `ns:…`, `type:…`, `from:…` (`from:none` is "no sender").

use std::time::Duration;

use aiflow_core::event::Match;
use aiflow_core::execution::{JobStatus, WorkflowStatus};
use aiflow_core::executor::TimeLimit;
use aiflow_core::id::{ExecutorName, JobName, Offset, ProjectName, RuleName, ScheduleName, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{
    Admission, Comparison, Completion, Condition, ControlEdge, Deadline, Diagnostic, EventPattern, FailureTest, Field,
    Hook, Job, JobAction, KeyOf, Life, Misfire, OverlapPolicy, ParamSource, Parameter, Rate, RestartPolicy,
    RetryPolicy, SchedulingRule, StartPosition, ValueTest, Wait, Window, Workflow, WorkflowAction, WorkflowRule,
    absent, absent_after, all, any, at_least, count, cron, custom, every, field, job_is, not_within, on, optional,
    sequence, workflow_status,
};
use expect_test::Expect;
use serde_json::Value;

use super::world::World;

/// The project of every workflow in the text form.
pub(crate) const PROJECT: &str = "p";

/// Plays `events` against `rules` and compares the trace.
pub(crate) fn check(rules: &str, events: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    expected.assert_eq(world.trace());
}

/// The workflows that `rules` define.
pub(crate) fn parse_rules(rules: &str) -> Vec<Workflow> {
    let mut workflows = vec![new_workflow("wf")];
    for statement in rules.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = statement.strip_prefix("workflow ") {
            workflows.push(new_workflow(name.trim()));
            continue;
        }
        let workflow = workflows.last_mut().expect("it is never empty");
        parse_statement(workflow, statement);
    }
    workflows.retain(|workflow| !workflow.jobs.is_empty());
    for workflow in &workflows {
        let mut problems = workflow.check();
        problems.retain(Diagnostic::is_error);
        assert!(problems.is_empty(), "in rules {rules:?}: {problems:?}");
    }
    workflows
}

fn new_workflow(name: &str) -> Workflow {
    let name = WorkflowName::parse(name).expect("a workflow name");
    Workflow::new(ProjectName::parse(PROJECT).expect("a project name"), name)
}

fn parse_statement(workflow: &mut Workflow, statement: &str) {
    if let Some((subject, rest)) = statement.split_once(": ") {
        match rest.split_once(" when ") {
            Some((action, when)) => parse_rule(workflow, subject, action, when),
            None => {
                job_mut(workflow, subject).executor = ExecutorName::parse(rest.trim()).expect("an executor name");
            }
        }
        return;
    }
    let words: Vec<&str> = statement.split_whitespace().collect();
    match words[..] {
        ["param", subject, name, kind, ref words @ ..] => {
            let parameter = parameter(name, kind, words);
            match subject {
                "wf" => workflow.parameters.push(parameter),
                job => job_mut(workflow, job).parameters.push(parameter),
            }
        }
        ["schedule", subject, ref words @ ..] => parse_schedule(workflow, subject, words),
        ["job", name] => {
            job_mut(workflow, name);
        }
        ["job", name, "streaming"] => job_mut(workflow, name).streaming = true,
        ["retry", name, n, "x", pause, ref more @ ..] => {
            let n = n.parse().expect("a number of retries");
            job_mut(workflow, name).retry = retry(RetryPolicy::fixed(n, duration(pause)), more);
        }
        ["timeout", name, limit] => job_mut(workflow, name).timeout = Some(duration(limit)),
        ["timeout", "queue", name, limit] => job_mut(workflow, name).queue_timeout = Some(duration(limit)),
        ["timeout", "start", name, limit] => job_mut(workflow, name).start_timeout = Some(duration(limit)),
        ["on", name, labels] => {
            let labels = labels.split(',').map(|label| label.parse().expect("a label"));
            job_mut(workflow, name).runs_on.extend(labels);
        }
        ["ack", name, within] => job_mut(workflow, name).ack_within = duration(within),
        ["restart", name, when, pause, ref more @ ..] => {
            let pause = duration(pause);
            let policy = if when == "always" { RestartPolicy::always(pause) } else { RestartPolicy::on_failure(pause) };
            job_mut(workflow, name).restart = more.iter().fold(policy, |policy, word| match word.split_once(':') {
                Some(("healthy", after)) => policy.healthy_after(duration(after)),
                Some(("max", n)) => policy.restarts_max(n.parse().expect("a number of restarts")),
                _ => panic!("cannot read {word:?} of a restart policy"),
            });
        }
        ["deadline", "wf", after] => workflow.deadline = Some(duration(after)),
        ["deadline", name, after] => job_mut(workflow, name).deadline = Some(Deadline::after_start(duration(after))),
        ["deadline", name, after, "of:execution"] => {
            job_mut(workflow, name).deadline = Some(Deadline::after_execution_start(duration(after)));
        }
        ["hook", "wf", on, key] => workflow.hooks.push(hook(on, key)),
        ["hook", name, on, key] => job_mut(workflow, name).hooks.push(hook(on, key)),
        ["hook", name, on, key, "broadcast"] => job_mut(workflow, name).hooks.push(hook(on, key).broadcast()),
        ["admit", "wf", ..] => workflow.admission = admission(&words[2..]),
        ["admit", name, ..] => job_mut(workflow, name).admission = admission(&words[2..]),
        ["contexts", ..] => workflow.contexts = words[1..].join(" ").parse().expect("where contexts are"),
        ["completion", "idle"] => workflow.completion = Some(Completion::Idle),
        ["completion", "standing"] => workflow.completion = Some(Completion::Standing),
        _ => panic!("cannot read the statement {statement:?}"),
    }
}

/// `failure` and `key` or `key=value`.
fn hook(on: &str, event: &str) -> Hook {
    let on = serde_json::from_value(on.into()).expect("success, failure, stop or end");
    match event.split_once('=') {
        Some((key, text)) => Hook::new(on, key).value(value(text)),
        None => Hook::new(on, event),
    }
}

fn retry(policy: RetryPolicy, words: &[&str]) -> RetryPolicy {
    words.iter().fold(policy, |policy, word| {
        let (what, of) = word.split_once(':').unwrap_or_else(|| panic!("cannot read {word:?} of a retry policy"));
        let number = || of.parse().unwrap_or_else(|_| panic!("{word:?} must end in a number"));
        match what {
            "factor" => RetryPolicy { factor: number(), backoff_max: Duration::from_secs(300), ..policy },
            "max" => policy.backoff_max(duration(of)),
            "jitter" => policy.jitter(u8::try_from(number()).expect("a percentage")),
            "on" => policy.retry_on(of.split('/').map(failure)),
            "not" => policy.no_retry_on(of.split('/').map(failure)),
            _ => panic!("cannot read {word:?} of a retry policy"),
        }
    })
}

fn failure(text: &str) -> FailureTest {
    match text {
        "late" => FailureTest::timed_out(),
        "silent" => FailureTest::exceeded(TimeLimit::Heartbeat),
        _ => text.parse().map_or_else(|_| FailureTest::kind(text), FailureTest::exit_code),
    }
}

fn parse_schedule(workflow: &mut Workflow, subject: &str, words: &[&str]) {
    let (name, words) = match words {
        [name, rest @ ..] if name.starts_with('[') => (Some(name.trim_matches(['[', ']'])), rest),
        _ => (None, words),
    };
    let mut words = words.iter().copied().peekable();
    let mut schedule = match words.next() {
        Some("every") => every(duration(words.next().expect("an interval"))),
        Some("cron") => {
            let mut pattern = Vec::new();
            while let Some(word) = words.next_if(|word| !word.contains(':') && *word != "restart") {
                pattern.push(word);
            }
            cron(pattern.join(" "))
        }
        other => panic!("{other:?} is neither every nor cron"),
    };
    for word in words {
        schedule = match word.split_once(':') {
            None if word == "restart" => schedule.restart(),
            Some(("tz", zone)) => schedule.time_zone(zone),
            Some(("start", text)) => schedule.starting(time(text)),
            Some(("end", text)) => schedule.ending(time(text)),
            Some(("jitter", text)) => schedule.jitter(duration(text)),
            Some(("grace", text)) => schedule.misfire_grace(duration(text)),
            Some(("misfire", "skip")) => schedule.misfire(Misfire::Skip),
            Some(("misfire", "once")) => schedule.misfire(Misfire::Once),
            Some(("misfire", text)) => {
                let max = text.strip_prefix("all").and_then(|max| max.parse().ok()).expect("all and a number");
                schedule.misfire(Misfire::All { max })
            }
            Some(("overlap", text)) => schedule.overlap(overlap(text)),
            Some(("params", text)) => schedule.params(value(text)),
            _ => panic!("cannot read {word:?} in a schedule"),
        };
    }
    if let Some(name) = name {
        schedule = schedule.named(ScheduleName::parse(name).expect("a schedule name"));
    }
    match subject {
        "wf" => workflow.schedules.push(schedule),
        job => job_mut(workflow, job).schedules.push(schedule),
    }
}

fn admission(words: &[&str]) -> Admission {
    words.iter().fold(Admission::new(), |admission, word| {
        let (stage, inner) = word.split_once('(').unwrap_or_else(|| panic!("{word:?} must look like rate(2,1s)"));
        let inner: Vec<&str> = inner.trim_end_matches(')').split(',').collect();
        let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("{text:?} in {word:?}"));
        match (stage, inner.as_slice()) {
            ("once", [param, window]) => admission.once_per([*param], duration(window)),
            ("rate", [n, per]) => admission.rate_limit(Rate::of(number(n), duration(per))),
            ("debounce", [quiet]) => admission.debounce(duration(quiet), None),
            ("debounce", [quiet, longest]) => admission.debounce(duration(quiet), Some(duration(longest))),
            ("batch", [n, within]) => admission.batch(number(n), duration(within)),
            ("throttle", [n, per]) => admission.throttle(Rate::of(number(n), duration(per))),
            ("concurrency", [n]) => admission.concurrency(number(n)),
            ("overlap", [policy]) => admission.overlap(overlap(policy)),
            ("priority", [n]) => admission.priority(n.parse().expect("a priority")),
            ("pool", [pool, weight]) => admission.pool(pool.parse().expect("a pool name"), number(weight)),
            ("per", params) => admission.per(params.iter().copied()),
            _ => panic!("cannot read the stage {word:?}"),
        }
    })
}

/// The policy of this name.
pub(crate) fn overlap(text: &str) -> OverlapPolicy {
    let found = OverlapPolicy::ALL.into_iter().find(|policy| policy.as_str() == text);
    found.unwrap_or_else(|| panic!("{text:?} is no overlap policy"))
}

fn job_mut<'w>(workflow: &'w mut Workflow, name: &str) -> &'w mut Job {
    let name = job_name(name);
    let place = workflow.jobs.iter().position(|job| job.name == name);
    let place = place.unwrap_or_else(|| {
        let executor = ExecutorName::parse("function").expect("an executor name");
        workflow.jobs.push(Job::new(name, executor, Value::Null));
        workflow.jobs.len() - 1
    });
    &mut workflow.jobs[place]
}

fn parse_rule(workflow: &mut Workflow, subject: &str, action: &str, when: &str) {
    let (action, name) = match action.split_once('[') {
        Some((action, name)) => (action.trim(), Some(name.trim_end_matches([']', ' ']))),
        None => (action.trim(), None),
    };
    let name = name.map(|name| RuleName::parse(name).expect("a rule name"));
    let (when, from) = match when.rsplit_once(" from ") {
        Some((when, "latest")) => (when, StartPosition::LatestPerKey),
        Some((when, offset)) => (when, StartPosition::Offset(Offset(offset.trim().parse().expect("an offset")))),
        None => (when, StartPosition::Now),
    };
    let (when, mapping) = when.split_once(" with ").unwrap_or((when, ""));
    let condition = condition(when);
    let mapping = || mapping.split_whitespace().map(param_source);
    if subject == "wf" {
        let (action, of_param) = match call_of(action) {
            Some((action, param)) => (action, Some(param.to_owned())),
            None => (action, None),
        };
        let action = match action {
            "START" => WorkflowAction::Start,
            "STOP" => WorkflowAction::Stop,
            "RESTART" => WorkflowAction::Restart,
            _ => panic!("{action:?} is no action of a workflow rule"),
        };
        let rule = WorkflowRule { from, of_param, ..WorkflowRule::new(condition, action) };
        let rule = mapping().fold(rule, |rule, (name, source)| rule.param(name, source));
        workflow.rules.push(match name {
            Some(name) => rule.named(name),
            None => rule,
        });
    } else {
        job_mut(workflow, subject);
        let rule = SchedulingRule { from, ..SchedulingRule::new(condition, job_action(action)) };
        let rule = mapping().fold(rule, |rule, (name, source)| rule.param(name, source));
        let rule = match name {
            Some(name) => rule.named(name),
            None => rule,
        };
        let job = job_name(subject);
        workflow.control_edges.push(ControlEdge { job, rule });
    }
}

fn param_source(text: &str) -> (&str, ParamSource) {
    let (name, source) = text.split_once('=').expect("name=field");
    let (from, of) = source.split_once('@').map_or((source, None), |(from, of)| (from, Some(of)));
    let source: ParamSource = match from {
        "key" => Field::Key.into(),
        "type" => Field::EventType.into(),
        "sender" => Field::Sender.into(),
        "time" => Field::Time.into(),
        "offset" => Field::Offset.into(),
        "value" => field(""),
        other => match other.strip_prefix("label:") {
            Some(label) => Field::Label(label.to_owned()).into(),
            None => field(other),
        },
    };
    (name, of.map_or(source.clone(), |of| source.of(of)))
}

fn parameter(name: &str, kind: &str, words: &[&str]) -> Parameter {
    let kind = serde_json::from_value(kind.into()).expect("a type of parameters");
    words.iter().fold(Parameter::new(name, kind), |parameter, word| match word.split_once(':') {
        None if *word == "required" => parameter.required(),
        Some(("default", text)) => parameter.default(value(text)),
        Some(("min", text)) => Parameter { min: text.parse().ok(), ..parameter },
        Some(("max", text)) => Parameter { max: text.parse().ok(), ..parameter },
        Some(("one_of", text)) => Parameter { one_of: value(text).as_array().expect("an array").clone(), ..parameter },
        _ => panic!("cannot read {word:?} of a parameter"),
    })
}

/// The action of this name.
pub(crate) fn job_action(text: &str) -> JobAction {
    match text {
        "START" => JobAction::Start,
        "STOP" => JobAction::Stop,
        "RESTART" => JobAction::Restart,
        "SIGNAL" => JobAction::Signal,
        "NONE" => JobAction::None,
        _ => panic!("{text:?} is no action of a job rule"),
    }
}

/// The job of this name.
pub(crate) fn job_name(name: &str) -> JobName {
    JobName::parse(name.trim()).expect("a job name")
}

fn condition(text: &str) -> Condition {
    let text = text.trim();
    let Some((name, inner)) = call(text) else {
        return pattern(text).into();
    };
    let arguments: Vec<&str> = split_outer(inner).map(str::trim).collect();
    let rest = |from: usize| arguments[from..].iter().map(|text| condition(text));
    let number = || arguments[0].parse().unwrap_or_else(|_| panic!("{text:?} must begin with a number"));
    match name {
        "all" => all(rest(0)),
        "any" => any(rest(0)),
        "seq" => sequence(rest(0)),
        "at_least" => at_least(number(), rest(1)),
        "count" => count(number(), condition(arguments[1])),
        "within" => condition(arguments[1]).within(window(arguments[0])),
        "each" => condition(arguments[1]).for_each(key_of(arguments[0])),
        "absent" => match arguments[..] {
            [wait, of] => absent(condition(of), duration(wait)),
            [wait, of, after] => absent_after(condition(after), condition(of), duration(wait)),
            _ => panic!("absent(wait, of) or absent(wait, of, after), not {text:?}"),
        },
        "not" => not_within(pattern(arguments[1]), duration(arguments[0])),
        "optional" => match arguments[0].split_whitespace().collect::<Vec<_>>()[..] {
            ["until", at, zone] => {
                let (hour, minute) = at.split_once(':').expect("a time of day");
                let wait = Wait::until(zone, hour.parse().expect("an hour"), minute.parse().expect("a minute"));
                optional(condition(arguments[1]), wait)
            }
            _ => optional(condition(arguments[1]), duration(arguments[0])),
        },
        "custom" => custom(arguments[0], value(arguments[1]), arguments[2..].iter().map(|text| pattern(text))),
        "is" => {
            let (job, statuses) = inner.split_once(' ').expect("a job and its statuses");
            job_is(&job_name(job), statuses.split('/').map(job_status))
        }
        "status" => {
            let words: Vec<&str> = inner.split_whitespace().collect();
            let (job, statuses, life) = match words[..] {
                [job, statuses] => (job, statuses, Life::Once),
                [job, statuses, "latest"] => (job, statuses, Life::Latest),
                [job, statuses, "repeated"] => (job, statuses, Life::Repeated),
                _ => panic!("status needs a job and its statuses, not {inner:?}"),
            };
            Condition::JobStatus { job: job_name(job), statuses: statuses.split('/').map(job_status).collect(), life }
        }
        "workflow" => {
            let (workflow, status) = inner.split_once(' ').expect("a workflow and its status");
            let status = WorkflowStatus::ALL.iter().find(|s| s.as_str() == status);
            let name = WorkflowName::parse(workflow).expect("a workflow name");
            workflow_status(&name, *status.expect("a workflow status")).into()
        }
        _ => panic!("there is no condition {name:?}"),
    }
}

fn window(text: &str) -> Window {
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["tumbling", length] => Window::tumbling(duration(length)),
        ["daily", zone] => Window::daily(zone),
        ["daily", zone, begin] => {
            let (hour, minute) = begin.split_once(':').expect("a time of day");
            Window::daily_from(zone, hour.parse().expect("an hour"), minute.parse().expect("a minute"))
        }
        [length] => duration(length).into(),
        _ => panic!("{text:?} is no window"),
    }
}

fn key_of(text: &str) -> KeyOf {
    if text.contains(" or ") {
        return KeyOf::first_of(text.split(" or ").map(key_of));
    }
    match text.strip_prefix("label ") {
        Some(label) => KeyOf::label(label),
        None if text == "key" => KeyOf::Key,
        None => KeyOf::value(text),
    }
}

/// `STOP(order)`: the action, and the parameter that tells executions apart.
fn call_of(action: &str) -> Option<(&str, &str)> {
    action.strip_suffix(')')?.split_once('(')
}

/// The name before the parentheses, and what stands in them.
fn call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let inner = rest.strip_suffix(')')?;
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some((name, inner.trim()))
}

/// Splits at the commas that are in no parentheses.
fn split_outer(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn job_status(text: &str) -> JobStatus {
    let status = JobStatus::ALL.iter().find(|s| s.as_str() == text);
    *status.unwrap_or_else(|| panic!("{text:?} is no status of a job"))
}

fn pattern(text: &str) -> EventPattern {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_else(|| panic!("an empty pattern"));
    let comparisons = ["!=", "<=", ">=", "<", ">"];
    let compared = comparisons.iter().find_map(|sign| Some((first.split_once(sign)?, *sign)));
    let mut pattern = match (compared, first.split_once('=')) {
        (Some(((key, other), sign)), _) => {
            let test = ValueTest::Compare(value_of(sign), value(other));
            match key.split_once(':') {
                Some((key, pointer)) => on(key).at(pointer, test),
                None => on(key).compares(value_of(sign), value(other)),
            }
        }
        (None, Some((key, expected))) => match expected.strip_prefix('{').and_then(|list| list.strip_suffix('}')) {
            Some(list) => on(key).one_of(list.split('/').map(value)),
            None => on(key).equals(value(expected)),
        },
        (None, None) => on(first),
    };
    for word in words {
        pattern = match word.split_once(':') {
            Some(("ns", namespace)) => pattern.namespace(namespace),
            Some(("type", event_type)) => pattern.event_type(event_type),
            Some(("from", "none")) => pattern.sender(Match::exact("")),
            Some(("from", sender)) => pattern.sender(sender),
            None if word == "once" => pattern.once(),
            None if word == "latest" => pattern.latest(),
            None if word == "repeated" => pattern.repeated(),
            None if word == "any_execution" => pattern.any_execution(),
            _ => panic!("cannot read {word:?} in the pattern {text:?}"),
        };
    }
    pattern
}

fn value_of(sign: &str) -> Comparison {
    serde_json::from_value(sign.into()).expect("a comparison")
}

/// JSON if it reads as such, otherwise text.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// `20ms`, `5s`, `3m`, `2h`, `1d` or `2w`.
pub(crate) fn duration(text: &str) -> Duration {
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} is no whole number"));
    if let Some(millis) = text.strip_suffix("ms") {
        return Duration::from_millis(number(millis));
    }
    let (count, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Duration::from_secs(number(text)),
    };
    Duration::from_secs(number(count) * seconds)
}

/// `2026-03-29T02:30Z` or `2026-03-29`.
pub(crate) fn time(text: &str) -> Timestamp {
    let text = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.trim_end_matches('Z')),
        _ => text.to_owned(),
    };
    Timestamp::parse_rfc3339(&text).expect("a time")
}

/// A time as the trace shows it.
pub(crate) fn shown(time: Timestamp) -> String {
    time.to_rfc3339().replace(".000Z", "Z").replace(":00Z", "Z")
}
