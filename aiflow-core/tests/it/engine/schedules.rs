//! Schedules: which times are acted on, and what becomes of those that are not?

use std::collections::BTreeMap;

use aiflow_core::control::Control;
use aiflow_core::execution::{FiringOutcome, JobStatus};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::{Misfire, SCHEDULED_TIME};
use expect_test::expect;
use proptest::prelude::*;

use super::text::{check, shown};
use super::world::World;

#[test]
fn an_interval_counts_from_when_it_came_into_force() {
    check(
        "train: function; schedule wf [tick] every 10s",
        "tick 9999ms | tick 1ms | train ok | tick 10s | train ok",
        expect![[r#"
            2 schedule tick of wf at 1970-01-01T00:00:10Z
              wf#1 RUNNING v1 by tick 1970-01-01T00:00:10Z [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 train ok
              train#1 SUCCEEDED
            5 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
            7 schedule tick of wf at 1970-01-01T00:00:20Z
              wf#2 RUNNING v1 by tick 1970-01-01T00:00:20Z [7]
              train#2 QUEUED by start [7]
              launch train#2-1
            9 train ok
              train#2 SUCCEEDED
            10 train#2 SUCCEEDED
              wf#2 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn a_night_that_the_clock_skips_runs_after_the_gap_and_one_that_it_repeats_runs_once() {
    let rules = "train: function; schedule wf [night] cron 30 2 * * * tz:Europe/Berlin overlap:allow_all";
    // The clock skips 02:00 to 03:00 on 29 March and shows it twice on 25 October.
    let mut world = World::new("train: function");
    world.play(&format!("at 2026-03-28 | submit {{ {rules} }} | tick 3d"));
    assert_eq!(times(&world), ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
    let mut world = World::new("train: function");
    world.play(&format!("at 2026-10-24 | submit {{ {rules} }} | tick 3d"));
    assert_eq!(times(&world), ["2026-10-24T00:30Z", "2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
}

#[test]
fn a_time_that_finds_an_execution_live_is_skipped_with_a_record() {
    check(
        "train: function; schedule wf [tick] every 10s",
        "tick 20s | train ok | tick 10s",
        expect![[r#"
            2 schedule tick of wf at 1970-01-01T00:00:10Z
              wf#1 RUNNING v1 by tick 1970-01-01T00:00:10Z [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 schedule tick of wf at 1970-01-01T00:00:20Z
              tick 1970-01-01T00:00:20Z [4] START: overlapped (concurrency: skipped: 1 of at most 1 executions are live)
            5 train ok
              train#1 SUCCEEDED
            6 train#1 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
            8 schedule tick of wf at 1970-01-01T00:00:30Z
              wf#2 RUNNING v1 by tick 1970-01-01T00:00:30Z [8]
              train#2 QUEUED by start [8]
              launch train#2-1
        "#]],
    );
}

#[test]
fn times_that_passed_unseen_are_made_up_for_as_the_policy_says() {
    for (misfire, expected) in [
        ("skip", vec![]),
        ("once", vec!["1970-01-01T05:00Z"]),
        ("all2", vec!["1970-01-01T04:00Z", "1970-01-01T05:00Z"]),
        (
            "all9",
            vec![
                "1970-01-01T01:00Z",
                "1970-01-01T02:00Z",
                "1970-01-01T03:00Z",
                "1970-01-01T04:00Z",
                "1970-01-01T05:00Z",
            ],
        ),
    ] {
        let mut world = World::new(&format!(
            "train: function; schedule wf [hourly] cron 0 * * * * misfire:{misfire} overlap:allow_all"
        ));
        world.play("jump 330m");
        assert_eq!(times(&world), expected, "{misfire}");
        // The next one is on time again.
        world.play("tick 30m");
        assert_eq!(times(&world).last().map(String::as_str), Some("1970-01-01T06:00Z"), "{misfire}");
    }
}

#[test]
fn what_was_missed_is_recorded_as_one_range() {
    check(
        "train: function; schedule wf [hourly] cron 0 * * * *",
        "jump 330m",
        expect![[r#"
        2 schedule hourly of wf at 1970-01-01T01:00Z
          wf#1 RUNNING v1 by hourly 1970-01-01T05:00Z [2]
          train#1 QUEUED by start [2]
          hourly 1970-01-01T01:00Z to 1970-01-01T04:00Z [2] START: missed
          launch train#1-1
    "#]],
    );
}

#[test]
fn a_little_late_is_on_time() {
    let mut world =
        World::new("train: function; schedule wf [tick] every 10s misfire:skip grace:15s overlap:allow_all");
    world.play("jump 24s");
    assert_eq!(times(&world), ["1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"]);
    world.play("jump 40s");
    assert_eq!(
        times(&world).last().map(String::as_str),
        Some("1970-01-01T00:01Z"),
        "30, 40 are too late; 50, 60 are not"
    );
    assert_eq!(times(&world).len(), 4);
}

#[test]
fn a_clock_that_is_set_back_makes_no_time_come_twice() {
    let mut world = World::new("train: function; schedule wf [tick] every 10s overlap:allow_all");
    world.play("tick 25s | jump -20s | tick 24s");
    assert_eq!(times(&world), ["1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"]);
    world.play("tick 1s");
    assert_eq!(times(&world).last().map(String::as_str), Some("1970-01-01T00:00:30Z"));
}

#[test]
fn a_timer_that_arrives_twice_or_late_is_no_second_time() {
    let mut world = World::new("train: function; schedule wf [tick] every 10s overlap:allow_all");
    let timer = world.engine.due_timers(Timestamp::from_millis(10_000), 9).remove(0);
    world.play("tick 10s");
    world.control("again", Control::TimerFired(timer.clone()));
    world.decide();
    world.play("tick 10s");
    world.control("late", Control::TimerFired(timer));
    world.decide();
    assert_eq!(times(&world), ["1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"]);
}

#[test]
fn a_timer_under_way_starts_nothing_in_an_execution_that_was_stopped() {
    let mut world = World::new("job serve streaming; schedule train [tick] every 10s");
    world.play("start | serve started");
    let timer = world.engine.due_timers(Timestamp::from_millis(10_000), 9).remove(0);
    world.play("stop");
    assert_eq!(world.engine.next_timer(), None);
    world.control("late", Control::TimerFired(timer));
    world.play("serve stopped");
    assert_eq!(statuses(&world, "train"), []);
    assert!(world.executions.values().all(|execution| execution.status.is_terminal()));
}

#[test]
fn times_outside_start_and_end_do_not_count() {
    let mut world = World::new(
        "train: function; schedule wf [tick] every 10s start:1970-01-01T00:01Z end:1970-01-01T00:01:20Z overlap:allow_all",
    );
    world.play("tick 5m");
    assert_eq!(times(&world), ["1970-01-01T00:01Z", "1970-01-01T00:01:10Z", "1970-01-01T00:01:20Z"]);
    assert_eq!(world.engine.next_timer(), None);
}

#[test]
fn jitter_delays_the_act_and_not_the_time() {
    let mut world = World::new("train: function; schedule wf [tick] every 100s jitter:50s overlap:allow_all");
    world.play("tick 1000s");
    let delays: Vec<i64> = world
        .executions
        .values()
        .map(|execution| execution.created_at.as_millis() - execution.scheduled_time().expect("scheduled").as_millis())
        .collect();
    assert!(delays.len() >= 9 && delays.iter().all(|delay| (0..50_000).contains(delay)), "{delays:?}");
    let mut different = delays.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() >= 8, "{delays:?}");
    let mut again = World::new("train: function; schedule wf [tick] every 100s jitter:50s overlap:allow_all");
    again.play("tick 1000s");
    assert_eq!(world.trace(), again.trace());
}

#[test]
fn a_paused_schedule_lets_its_times_pass_and_a_deleted_one_stays_so() {
    check(
        "train: function; schedule wf [tick] every 10s",
        "tick 5s | pause wf/tick | tick 30s | resume wf/tick | tick 5s | delete wf/tick | tick 1h
         resume wf/tick | submit { train: function; job other; schedule wf [tick] every 10s } | tick 1h
         submit { train: function; schedule wf [tick] every 20s } | tick 20s",
        expect![[r#"
            4 schedule tick of wf at 1970-01-01T00:00:40Z
              wf#1 RUNNING v1 by tick 1970-01-01T00:00:40Z [4]
              train#1 QUEUED by start [4]
              launch train#1-1
            7 resume wf/tick
              dead letter: p/wf has no schedule tick
            11 schedule tick of wf at 1970-01-01T02:01Z
              tick 1970-01-01T02:01Z [11] START: overlapped (concurrency: skipped: 1 of at most 1 executions are live)
        "#]],
    );
}

#[test]
fn what_is_asked_of_no_schedule_is_refused() {
    check(
        "train: function; schedule wf [tick] every 10s end:1970-01-01T00:00:20Z; completion standing",
        "pause wf/tock | backfill wf/tock 1970-01-01 1970-01-02 | backfill wf/tick 1971-01-01 1971-01-02
         start | pause train/tick | stop | train stopped | pause train/tick",
        expect![[r#"
            2 pause wf/tock
              dead letter: p/wf has no schedule tock
            4 backfill wf/tock 1970-01-01 1970-01-02
              dead letter: workflow p/wf has no schedule tock
            6 backfill wf/tick 1971-01-01 1971-01-02
              dead letter: schedule tick of p/wf has no time from 1971-01-01T00:00:00.000Z to 1971-01-02T00:00:00.000Z
            8 start
              wf#1 RUNNING v1 by start [8]
              train#1 QUEUED by start [8]
              launch train#1-1
            10 pause train/tick
              dead letter: wf#1/train has no schedule tick
            12 stop
              wf#1 STOPPING
              train#1 STOPPING
              stop train#1-1
            13 train stopped
              wf#1 STOPPED: train STOPPED
              train#1 STOPPED
            16 pause train/tick
              dead letter: workflow execution wf#1 is not running
        "#]],
    );
}

#[test]
fn a_schedule_goes_on_with_the_next_version_if_its_times_stay() {
    let mut world = World::new("train: function; schedule wf [tick] every 10s overlap:allow_all");
    world.play(
        "tick 15s | submit { train: function; schedule wf [tick] every 10s overlap:allow_all misfire:skip } | tick 5s",
    );
    assert_eq!(times(&world), ["1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"], "the grid stays");
    world.play("tick 5s | submit { train: function; schedule wf [tick] every 20s overlap:allow_all } | tick 20s");
    assert_eq!(times(&world).last().map(String::as_str), Some("1970-01-01T00:00:45Z"), "a new one counts from now");
    world.play("submit { train: function } | tick 1h");
    assert_eq!(times(&world).len(), 3, "none without a schedule");
}

#[test]
fn the_schedules_of_a_disabled_workflow_wait_for_nothing() {
    let mut world = World::new("train: function; schedule wf [tick] every 10s overlap:allow_all");
    world.play("disable wf");
    assert_eq!(world.engine.next_timer(), None);
    world.play("tick 35s | enable wf | tick 10s");
    assert_eq!(times(&world), ["1970-01-01T00:00:40Z"]);
}

#[test]
fn several_schedules_of_one_workflow_are_told_apart() {
    check(
        "train: function
         schedule wf [fast] every 10s params:{\"window\":\"short\"} overlap:allow_all
         schedule wf [slow] every 20s params:{\"window\":\"long\"} overlap:allow_all",
        "tick 20s",
        expect![[r#"
            2 schedule fast of wf at 1970-01-01T00:00:10Z
              wf#1 RUNNING v1 by fast 1970-01-01T00:00:10Z [2]
              train#1 QUEUED by start [2]
              launch train#1-1
            4 schedule fast of wf at 1970-01-01T00:00:20Z
              wf#2 RUNNING v1 by fast 1970-01-01T00:00:20Z [4]
              train#2 QUEUED by start [4]
              launch train#2-1
            5 schedule slow of wf at 1970-01-01T00:00:20Z
              wf#3 RUNNING v1 by slow 1970-01-01T00:00:20Z [5]
              train#3 QUEUED by start [5]
              launch train#3-1
        "#]],
    );
}

#[test]
fn a_job_with_a_schedule_runs_at_its_times_while_the_execution_runs() {
    check(
        "job serve streaming; schedule train [tick] every 10s; schedule fresh [tick] every 10s restart",
        "start | tick 10s | fresh started | tick 10s | train ok | fresh stopped | tick 5s | stop | serve stopped | train stopped
         fresh stopped | tick 1h",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              serve#1 QUEUED by start [2]
              launch serve#1-1
            4 schedule tick of fresh in wf#1 at 1970-01-01T00:00:10Z
              fresh#1 QUEUED by tick 1970-01-01T00:00:10Z [4]
              launch fresh#1-1
            5 schedule tick of train in wf#1 at 1970-01-01T00:00:10Z
              train#1 QUEUED by tick 1970-01-01T00:00:10Z [5]
              launch train#1-1
            6 fresh started
              fresh#1 RUNNING
            8 schedule tick of fresh in wf#1 at 1970-01-01T00:00:20Z
              fresh#1 STOPPING
              fresh#2 INIT by tick 1970-01-01T00:00:20Z [8]
              stop fresh#1-1
            9 schedule tick of train in wf#1 at 1970-01-01T00:00:20Z
              tick 1970-01-01T00:00:20Z [9] START: already_live
            10 train ok
              train#1 SUCCEEDED
            12 fresh stopped
              fresh#1 STOPPED
              fresh#2 QUEUED
              launch fresh#2-1
            14 stop
              wf#1 STOPPING
              serve#1 STOPPING
              fresh#2 STOPPING
              stop fresh#2-1
              stop serve#1-1
            15 serve stopped
              serve#1 STOPPED
            18 fresh stopped
              wf#1 STOPPED: fresh STOPPED, serve STOPPED, train SUCCEEDED
              fresh#2 STOPPED
        "#]],
    );
}

#[test]
fn an_idle_execution_waits_for_the_last_time_of_its_schedules() {
    check(
        "train: function; schedule train [tick] every 10s end:1970-01-01T00:00:20Z; completion idle",
        "start | tick 10s | train ok | tick 10s | train ok",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 schedule tick of train in wf#1 at 1970-01-01T00:00:10Z
              train#1 QUEUED by tick 1970-01-01T00:00:10Z [4]
              launch train#1-1
            5 train ok
              train#1 SUCCEEDED
            7 schedule tick of train in wf#1 at 1970-01-01T00:00:20Z
              train#2 QUEUED by tick 1970-01-01T00:00:20Z [7]
              launch train#2-1
            8 train ok
              train#2 SUCCEEDED
            9 train#2 SUCCEEDED
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_idle_execution_ends_when_its_last_schedule_is_deleted_and_not_when_it_is_paused() {
    check(
        "train: function; schedule train [tick] every 10s; completion idle",
        "start | tick 10s | train ok | tick 5s | pause train/tick | tick 1h | delete train/tick",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 schedule tick of train in wf#1 at 1970-01-01T00:00:10Z
              train#1 QUEUED by tick 1970-01-01T00:00:10Z [4]
              launch train#1-1
            5 train ok
              train#1 SUCCEEDED
            8 delete train/tick
              wf#1 SUCCEEDED: train SUCCEEDED
        "#]],
    );
}

#[test]
fn the_jobs_of_a_scheduled_execution_know_its_time() {
    let mut world = World::new(
        "train: function; schedule wf [tick] every 10s params:{\"a\":1}; schedule late [tick] every 5s; completion standing",
    );
    world.play("tick 15s");
    let param = |name: &str| {
        let job = world.engine.job_executions().find(|job| job.job.as_str() == name).expect("it is live");
        let plan = world.engine.launch_plan(job.id).expect("it is live");
        (plan.params["a"].clone(), plan.params[SCHEDULED_TIME].clone())
    };
    assert_eq!(param("train"), (1.into(), "1970-01-01T00:00:10.000Z".into()));
    assert_eq!(param("late"), (1.into(), "1970-01-01T00:00:15.000Z".into()), "a job's own schedule is nearer");
}

#[test]
fn a_backfill_starts_an_execution_for_each_time_and_a_quiet_one_spares_the_others() {
    let rules = "train: function; after: START when status(train SUCCEEDED)
        schedule wf [daily] cron 0 3 * * * tz:Asia/Tokyo
        workflow other; report: function; other: x
        ";
    let rules = rules.replace("other: x", "wf: START when workflow(wf SUCCEEDED)");
    let finish = "train#1-1 ok | after#1-1 ok | train#2-1 ok | after#2-1 ok";
    let mut loud = World::new(&rules);
    loud.play(&format!("backfill wf/daily 2026-03-01 2026-03-02T23:00Z | {finish}"));
    assert_eq!(times(&loud), ["2026-03-01T18:00Z", "2026-03-02T18:00Z"]);
    assert_eq!(statuses(&loud, "report").len(), 2);
    let mut quiet = World::new(&rules);
    quiet.play(&format!("backfill wf/daily 2026-03-01 2026-03-02T23:00Z quiet | {finish}"));
    assert_eq!(times(&quiet), times(&loud));
    assert_eq!(statuses(&quiet, "after").len(), 2, "the rules of its own jobs see what happens");
    assert_eq!(statuses(&quiet, "report").len(), 0);
    assert!(
        quiet.executions.values().all(|execution| execution.cause.schedule.as_ref().is_some_and(|time| time.backfill))
    );
    assert!(quiet.executions.values().all(|execution| execution.status.is_terminal()));
}

#[test]
fn a_backfill_of_an_interval_lies_on_its_grid_and_is_bounded() {
    let mut world = World::new("train: function");
    world.play("at 2026-03-01T00:07Z | submit { train: function; schedule wf [tick] every 10m }");
    world.play("backfill wf/tick 2026-02-28T23:00Z 2026-02-28T23:20Z");
    assert_eq!(times(&world), ["2026-02-28T23:07Z", "2026-02-28T23:17Z"]);
    world.play("backfill wf/tick 2025-01-01 2026-01-01");
    assert_eq!(times(&world).len(), 2);
    let letters: Vec<_> = world.decisions.iter().flat_map(|decision| &decision.dead_letters).collect();
    assert_eq!(
        letters[0].reason,
        "schedule tick of p/wf has more than 1000 times from 2025-01-01T00:00:00.000Z to 2026-01-01T00:00:00.000Z"
    );
}

#[test]
fn a_restored_engine_waits_for_the_same_times() {
    let rules = "train: function; schedule wf [tick] every 10s overlap:allow_all; schedule train [own] every 7s; completion standing";
    let mut through = World::new(rules);
    through.play("start | tick 8s | pause wf/tick | restore | tick 20s | resume wf/tick | restore | tick 33s | restore | tick 60s");
    let mut straight = World::new(rules);
    straight.play("start | tick 8s | pause wf/tick | tick 20s | resume wf/tick | tick 33s | tick 60s");
    assert_eq!(through.trace(), straight.trace());
    assert!(times(&through).len() > 5);
}

/// The times for which executions of workflows were started, in that order.
fn times(world: &World) -> Vec<String> {
    world.executions.values().filter_map(|execution| execution.scheduled_time()).map(shown).collect()
}

fn statuses(world: &World, job: &str) -> Vec<JobStatus> {
    world.jobs.values().filter(|execution| execution.job.as_str() == job).map(|execution| execution.status).collect()
}

/// What was done about each time of the schedules of workflows: acted on, or within a recorded range.
fn outcomes(world: &World) -> (Vec<Timestamp>, Vec<(Timestamp, Timestamp)>) {
    let acted_on = world.executions.values().filter_map(|execution| execution.scheduled_time());
    let records = world.decisions.iter().flat_map(|decision| decision.firings.values());
    let missed = records.filter(|firing| firing.record.outcome == FiringOutcome::Missed).filter_map(|firing| {
        let time = firing.record.firing.schedule.as_ref()?;
        Some((time.time, time.until?))
    });
    (acted_on.collect(), missed.collect())
}

#[derive(Debug, Clone)]
enum Step {
    Tick(u32),
    Jump(i32),
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u32..40_000).prop_map(Step::Tick),
        3 => (-200_000_i32..400_000).prop_map(Step::Jump),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// However the clock is set and whenever the engine is restored: no time comes twice, they come in order, each one is acted on or
    /// recorded as missed, and only the policy drops one.
    #[test]
    fn no_time_comes_twice_and_none_is_lost(
        every in 1_000_u32..30_000,
        jitter in prop_oneof![Just(0_u32), 1_u32..60_000],
        misfire in prop_oneof![Just(Misfire::Skip), Just(Misfire::Once), (1_usize..50).prop_map(|max| Misfire::All { max })],
        steps in steps(),
    ) {
        let policy = match misfire {
            Misfire::Skip => "skip".to_owned(),
            Misfire::Once => "once".to_owned(),
            Misfire::All { max } => format!("all{max}"),
        };
        let mut world = World::new(&format!(
            "train: function; schedule wf [tick] every {every}ms jitter:{jitter}ms misfire:{policy} grace:20s overlap:allow_all"
        ));
        for step in &steps {
            match step {
                Step::Tick(by) => world.play(&format!("tick {by}ms")),
                Step::Jump(by) if *by < 0 => world.jump(&format!("-{}ms", by.unsigned_abs())),
                Step::Jump(by) => world.jump(&format!("{by}ms")),
                Step::Restore => world.restore(),
            }
        }
        let (acted_on, missed) = outcomes(&world);
        prop_assert!(acted_on.is_sorted_by(|one, next| one < next), "{acted_on:?}");
        let mut place: BTreeMap<i64, &str> = BTreeMap::new();
        for time in &acted_on {
            prop_assert_eq!(time.as_millis() % i64::from(every), 0);
            place.insert(time.as_millis(), "acted on");
        }
        for (first, last) in &missed {
            let mut time = first.as_millis();
            while time <= last.as_millis() {
                prop_assert_eq!(place.insert(time, "missed"), None);
                time += i64::from(every);
            }
        }
        let last = place.last_key_value().map_or(0, |(last, _)| *last);
        prop_assert_eq!(i64::try_from(place.len()).unwrap_or(0), last / i64::from(every), "none is lost: {:?}", place);
        if misfire == Misfire::Once && !missed.is_empty() {
            prop_assert!(!acted_on.is_empty());
        }
    }
}
