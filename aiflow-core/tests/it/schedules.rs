//! The times of schedules: cron fields, time zones, clocks that are set forward and back, and mistakes.

use std::collections::BTreeSet;
use std::time::Duration;

use aiflow_core::id::{ExecutorName, JobName, ProjectName, ScheduleName, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Job, Misfire, OverlapPolicy, Schedule, Workflow, cron, every, on, start, stop_workflow};
use expect_test::{Expect, expect};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn next(schedule: &Schedule, after: &str, n: usize) -> Vec<String> {
    let times = schedule.next_times(Timestamp::EPOCH, time(after), n).unwrap();
    times.into_iter().map(|time| time.to_rfc3339().replace(":00.000Z", "Z").replace(".000Z", "Z")).collect()
}

#[test]
fn each_field_of_a_pattern() {
    let after = "2026-01-30T10:00:30Z";
    for (pattern, expected) in [
        ("* * * * *", ["2026-01-30T10:01Z", "2026-01-30T10:02Z"]),
        ("30 2 * * *", ["2026-01-31T02:30Z", "2026-02-01T02:30Z"]),
        ("0 9-17/4 * * MON-FRI", ["2026-01-30T13:00Z", "2026-01-30T17:00Z"]),
        ("0 0 1 * *", ["2026-02-01T00:00Z", "2026-03-01T00:00Z"]),
        ("0 0 L * *", ["2026-01-31T00:00Z", "2026-02-28T00:00Z"]),
        ("0 0 * * MON#2", ["2026-02-09T00:00Z", "2026-03-09T00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
        // The day of the month or the day of the week.
        ("0 0 1 * SUN", ["2026-02-01T00:00Z", "2026-02-08T00:00Z"]),
        ("*/15 * * * * *", ["2026-01-30T10:00:45Z", "2026-01-30T10:01Z"]),
        ("5,10 0 0 1 JAN *", ["2027-01-01T00:00:05Z", "2027-01-01T00:00:10Z"]),
        ("0 0 12 1 6 * 2027-2028", ["2027-06-01T12:00Z", "2028-06-01T12:00Z"]),
        ("@weekly", ["2026-02-01T00:00Z", "2026-02-08T00:00Z"]),
    ] {
        assert_eq!(next(&cron(pattern), after, 2), expected, "{pattern}");
    }
    assert_eq!(next(&cron("0 0 0 1 1 * 2027"), "2027-01-01T00:00:00Z", 3), [] as [&str; 0], "after the last");
}

#[test]
fn what_a_clock_skips_comes_after_the_gap_and_what_it_repeats_comes_once() {
    for (zone, pattern, after, expected) in [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        // Several times of one gap are one moment, which 03:00 itself shares.
        ("Europe/Berlin", "*/20 2,3 29 3 *", "2026-03-28T12:00:00Z", ["2026-03-29T01:00Z", "2026-03-29T01:20Z"]),
        // The second pass through an hour is no second time.
        ("America/New_York", "*/30 1 * * *", "2026-11-01T05:00:00Z", ["2026-11-01T05:30Z", "2026-11-02T06:00Z"]),
        // Asked in the middle of the second pass.
        ("America/New_York", "*/30 1-2 * * *", "2026-11-01T06:10:00Z", ["2026-11-01T07:00Z", "2026-11-01T07:30Z"]),
        // Half an hour, and a midnight that does not exist.
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00:00Z", ["2018-11-04T03:00Z", "2018-11-05T02:00Z"]),
        // A whole day was skipped: 30 December 2011. Its time and that of the day after are one moment apart.
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T22:00:00Z", ["2011-12-30T10:00Z", "2011-12-30T22:00Z"]),
        ("Asia/Kathmandu", "0 6 * * *", "2026-01-01T00:00:00Z", ["2026-01-01T00:15Z", "2026-01-02T00:15Z"]),
    ] {
        assert_eq!(next(&cron(pattern).time_zone(zone), after, 2), expected, "{pattern} in {zone}");
    }
}

#[test]
fn an_interval_lies_on_a_grid() {
    let schedule = every(Duration::from_secs(90));
    let since = time("2026-01-01T00:00:10Z");
    let times = |after: &str| schedule.next_times(since, time(after), 2).unwrap();
    assert_eq!(times("2026-01-01T00:00:00Z"), [time("2026-01-01T00:01:40Z"), time("2026-01-01T00:03:10Z")]);
    assert_eq!(times("2026-01-01T00:01:40Z"), [time("2026-01-01T00:03:10Z"), time("2026-01-01T00:04:40Z")]);
    let bounded = schedule.clone().starting(time("2026-02-01T00:00:00Z")).ending(time("2026-02-01T00:01:30Z"));
    let times = bounded.next_times(since, time("2026-01-01T00:00:00Z"), 9).unwrap();
    assert_eq!(times, [time("2026-02-01T00:00:00Z"), time("2026-02-01T00:01:30Z")]);
    let between = schedule.times_between(since, time("2026-01-01T00:01:40Z"), time("2026-01-01T00:04:40Z"), 9).unwrap();
    assert_eq!(between.len(), 3, "both ends are included");
}

fn workflow() -> Workflow {
    let mut workflow = Workflow::new(ProjectName::parse("p").unwrap(), WorkflowName::parse("wf").unwrap());
    let executor = ExecutorName::parse("function").unwrap();
    workflow.jobs.push(Job::new(JobName::parse("train").unwrap(), executor, Value::from("f")));
    workflow
}

fn problems(schedules: impl IntoIterator<Item = Schedule>, of_job: bool, expected: Expect) {
    let mut workflow = workflow();
    let target = if of_job { &mut workflow.jobs[0].schedules } else { &mut workflow.schedules };
    for (i, schedule) in schedules.into_iter().enumerate() {
        target.push(schedule.named(ScheduleName::parse(format!("s{i}")).unwrap()));
    }
    let lines: Vec<String> = workflow.check().iter().map(|problem| format!("{problem}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn mistakes_are_reported_with_the_field() {
    problems(
        [
            cron("0 25 * * *"),
            cron("0 2 * *"),
            cron("*/0 * * * *"),
            cron("0 0 * FOO *"),
            cron("0 0 30 2 *"),
            cron("@fortnightly"),
            cron("0 0 * * ä"),
            cron("0".repeat(300)),
            cron("0 2 * * *").time_zone("Europe/Berlinn"),
            every(Duration::ZERO),
            every(Duration::from_secs(1)).starting(time("2026-01-02T00:00:00Z")).ending(time("2026-01-01T00:00:00Z")),
            every(Duration::from_secs(1)).jitter(Duration::from_secs(100_000)).misfire(Misfire::All { max: 0 }),
            every(Duration::from_secs(1)).params(Value::from(3)).restart(),
            cron("0 0 0 1 1 * 1999"),
        ],
        false,
        expect![[r#"
            workflow wf, schedule s0: cron "0 25 * * *", field 2 (hour) "25": Number out of bounds.
            workflow wf, schedule s1: cron "0 2 * *" has 4 fields; 5 are "minute hour day-of-month month day-of-week", 6 begin with seconds, 7 end with a year
            workflow wf, schedule s2: cron "*/0 * * * *", field 1 (minute) "*/0": Step cannot be zero.
            workflow wf, schedule s3: cron "0 0 * FOO *", field 4 (month) "FOO": CronPattern contains illegal character 'F' in part 'FOO'
            workflow wf, schedule s4: has no time at all since 1970
            workflow wf, schedule s5: cron "@fortnightly" with 1 words is none of @hourly, @daily, @weekly, @monthly, @yearly
            workflow wf, schedule s6: cron "0 0 * * \u{e4}" has characters beyond ASCII
            workflow wf, schedule s7: cron "00000000000000000000000000000000000000000000000000000000000000000000000000000000…" has 300 bytes, at most 256 are allowed
            workflow wf, schedule s8: time zone "Europe/Berlinn" is not in the IANA database; write it like "Europe/Berlin"
            workflow wf, schedule s9: every_ms must be at least 1
            workflow wf, schedule s10: end_ms lies before start_ms
            workflow wf, schedule s11: jitter_ms must be at most 86400000
            workflow wf, schedule s11: misfire all has max 0, 1 to 1000 are allowed
            workflow wf, schedule s12: params must be a JSON object
            workflow wf, schedule s12: a schedule of a workflow performs START; to replace what runs, set overlap to cancel_other
        "#]],
    );
    let mut doubled = workflow();
    doubled.schedules = vec![cron("0 2 * * *"), cron("0 2 * * *").misfire(Misfire::Skip)];
    assert_eq!(doubled.check().len(), 1, "{:?}", doubled.check());
}

#[test]
fn a_schedule_reads_back_and_its_name_follows_its_times() {
    let schedule = cron("0 2 * * *")
        .time_zone("Asia/Tokyo")
        .misfire(Misfire::All { max: 3 })
        .overlap(OverlapPolicy::BufferOne)
        .jitter(Duration::from_secs(5))
        .ending(time("2030-01-01T00:00:00Z"));
    let text = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    assert_ne!(schedule.name, cron("0 2 * * *").name);
    let short: Schedule = serde_json::from_str(r#"{"name": "a", "times": {"every_ms": 5000}}"#).unwrap();
    assert_eq!(short, every(Duration::from_secs(5)).named(ScheduleName::parse("a").unwrap()));
    assert!(serde_json::from_str::<Schedule>(r#"{"name": "a", "times": {"every_ms": 5000, "cron": "x"}}"#).is_err());
    assert!(serde_json::from_str::<Schedule>(r#"{"name": "a", "times": {"every_ms": 5000}, "evrey": 3}"#).is_err());
}

#[test]
fn schedules_are_drawn_and_decide_what_starts_with_an_execution() {
    let mut workflow = workflow();
    let name = workflow.jobs[0].name.clone();
    assert!(workflow.starts_with_execution(&name));
    workflow.schedules.push(cron("0 2 * * *").time_zone("Europe/Berlin"));
    assert!(workflow.starts_with_execution(&name), "a schedule of the workflow starts the whole");
    assert_eq!(workflow.completion(), aiflow_core::workflow::Completion::Idle);
    workflow.jobs[0].schedules.push(every(Duration::from_secs(60)).restart());
    assert!(!workflow.starts_with_execution(&name));
    assert_eq!(workflow.completion(), aiflow_core::workflow::Completion::Standing);
    let picture = workflow.to_mermaid();
    assert!(picture.contains("START at 0 2 * * * Europe/Berlin") && picture.contains("RESTART every 60s"), "{picture}");
}

#[test]
fn a_graph_has_schedules_of_its_workflow_and_of_its_nodes() {
    use aiflow_core::graph::{AiGraph, function};
    let mut graph = AiGraph::new("p", "wf");
    graph.node("train", function("train").schedule(every(Duration::from_secs(60))));
    graph.node("report", function("report"));
    graph.control("report", start(on("x")));
    graph.schedule(cron("@daily")).rule(stop_workflow(on("y")));
    let workflow = graph.translate().unwrap();
    assert_eq!(workflow.schedules, [cron("@daily")]);
    assert_eq!(workflow.jobs[0].schedules, [every(Duration::from_secs(60))]);
    assert!(workflow.jobs[1].schedules.is_empty());
    let text = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<AiGraph>(&text).unwrap(), graph);
}

/// The moments of a pattern by the definition, minute by minute: a time on the wall is the first moment at which the clock shows it or
/// more.
fn naive(zone: &TimeZone, minutes: &BTreeSet<i8>, hours: &BTreeSet<i8>, after: i64, until: i64) -> Vec<i64> {
    let shown = |at: i64| zone.to_datetime(jiff::Timestamp::from_second(at).unwrap());
    let mut found = BTreeSet::new();
    // Begin a day early, with whatever the clock has shown by then.
    let begin = after - 2 * 86_400;
    let mut latest = shown(begin);
    let mut at = begin;
    while at <= until {
        let now = shown(at);
        // Every time on the wall up to what is shown now, and not shown before, is due now.
        let mut wall = latest;
        while wall < now {
            wall = wall.checked_add(jiff::Span::new().minutes(1)).unwrap();
            if minutes.contains(&wall.minute()) && hours.contains(&wall.hour()) && at > after {
                found.insert(at * 1_000);
            }
        }
        latest = latest.max(now);
        at += 60;
    }
    found.into_iter().collect()
}

fn list(numbers: &BTreeSet<i8>) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(",")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Around the changes of the clock in any zone and year, the times are those of the definition.
    #[test]
    fn times_are_those_of_the_definition_in_every_zone(
        zone in any::<Index>(),
        year in 1973_i16..2050,
        change in 0_usize..3,
        minutes in proptest::collection::btree_set(0_i8..60, 1..5),
        hours in proptest::collection::btree_set(0_i8..24, 1..24),
        asked in -86_400_i64..86_400,
    ) {
        let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
        let name = &names[zone.index(names.len())];
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let begin = TimeZone::UTC.to_timestamp(jiff::civil::datetime(year, 1, 1, 0, 0, 0, 0)).unwrap();
        let near = zone.following(begin).nth(change).map_or(begin, |transition| transition.timestamp());
        let near = if near.as_second() > 4_000_000_000 { begin } else { near };
        let after = near.as_second().div_euclid(60) * 60 + asked.div_euclid(60) * 60;
        let until = after + 2 * 86_400;
        let pattern = format!("{} {} * * *", list(&minutes), list(&hours));
        let schedule = cron(pattern).time_zone(name.as_str());
        let from = Timestamp::from_millis(after * 1_000);
        let found = schedule.times_between(from, Timestamp::from_millis(after * 1_000 + 1), Timestamp::from_millis(until * 1_000), 10_000);
        let found: Vec<i64> = found.unwrap().into_iter().map(Timestamp::as_millis).collect();
        prop_assert_eq!(found, naive(&zone, &minutes, &hours, after, until), "{} near {}", name, near);
    }

    /// Asking from any moment gives what comes next on the same list.
    #[test]
    fn the_next_time_does_not_depend_on_where_one_asks(
        zone in any::<Index>(),
        start in 0_i64..2_000_000_000_000,
        seconds in 0_u8..60,
        steps in proptest::collection::vec(0_u32..200_000_000, 1..20),
    ) {
        let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
        let schedule = cron(format!("{seconds} */7 1-5 * * *")).time_zone(names[zone.index(names.len())].as_str());
        let all = schedule.next_times(Timestamp::EPOCH, Timestamp::from_millis(start), 400).unwrap();
        prop_assert!(all.is_sorted_by(|one, next| one < next));
        for step in steps {
            let asked = Timestamp::from_millis(start + i64::from(step));
            let expected = all.iter().find(|time| **time > asked);
            if let Some(expected) = expected {
                prop_assert_eq!(&schedule.next_times(Timestamp::EPOCH, asked, 1).unwrap()[0], expected);
            }
        }
    }

    /// Whatever is written for a pattern: it is understood or refused with words.
    #[test]
    fn no_pattern_is_too_strange(pattern in "[-0-9*/,#LW?@a-zA-Zä+ ]{0,40}") {
        let mut workflow = workflow();
        workflow.schedules.push(cron(pattern));
        for problem in workflow.check() {
            prop_assert!(!problem.message.is_empty());
        }
    }
}
