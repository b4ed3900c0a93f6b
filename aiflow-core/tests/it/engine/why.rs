//! Why did it run, and why not? What the store and the log of a played world say.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus as _;
use aiflow_core::client::AiFlow;
use aiflow_core::control::Control;
use aiflow_core::id::{JobExecutionId, Offset, WorkflowExecutionId};
use aiflow_core::memory::MemoryStore;
use aiflow_core::records::{
    WorkflowVersion, firing_put, job_execution_put, job_state_put, workflow_execution_put, workflow_put,
    workflow_version_put,
};
use aiflow_core::store::{Batch, MetaStore as _};
use aiflow_core::time::{Clock, Timestamp};
use aiflow_core::why::{EXPLAIN_STEPS_MAX, ExecutionExplanation, JobExplanation, RuleExplanation, Step};
use expect_test::{Expect, expect};

use super::text::PROJECT;
use super::world::World;

/// A clock that shows what it is set to.
#[derive(Debug, Default)]
pub(super) struct SetClock(AtomicI64);

impl SetClock {
    pub(super) fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A store and a log that hold what happened in `world`, as a scheduler would have left them.
pub(super) async fn stored(world: &World) -> AiFlow {
    let clock = Arc::new(SetClock::default());
    let now: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let memory = Arc::new(MemoryStore::new(Arc::clone(&now)));
    for input in &world.log {
        let event = &input.event;
        clock.set(event.recorded);
        let offsets = memory.publish(vec![event.body.clone()]).await.unwrap();
        assert_eq!(offsets, [event.offset], "the log of the world has no gaps");
        let Some(workflow) = &input.workflow else { continue };
        let Ok(Some(Control::WorkflowSubmitted { version, .. })) = Control::from_event(event) else {
            panic!("{event:?} brings a definition")
        };
        let (workflow, hash) = ((**workflow).clone(), workflow.content_hash());
        let version = WorkflowVersion { version, workflow, hash, submitted_at: event.recorded };
        memory.commit(Batch::at(event.recorded).put(workflow_version_put(&version))).await.unwrap();
    }
    for decision in &world.decisions {
        let mut batch = Batch::at(clock.now());
        batch.puts.extend(decision.workflows.values().map(|workflow| workflow_put(workflow)));
        batch.puts.extend(decision.executions.values().map(|execution| workflow_execution_put(execution)));
        batch.puts.extend(decision.jobs.values().map(|job| job_execution_put(job)));
        let states = decision.job_states.values().flat_map(std::collections::BTreeMap::values);
        batch.puts.extend(states.map(|state| job_state_put(state)));
        let firings = decision.firings.values();
        batch.puts.extend(firings.map(|f| firing_put(f.id.to_string(), &f.project, &f.record)));
        memory.commit(batch).await.unwrap();
    }
    let flow = AiFlow::new(Arc::<MemoryStore>::clone(&memory), memory).unwrap();
    flow.with_clock(now).project(PROJECT).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The job execution of this short name: `train#2`.
fn job(world: &World, name: &str) -> JobExecutionId {
    let found = world.jobs.keys().find(|id| world.name_of(**id) == name);
    *found.unwrap_or_else(|| panic!("there is no {name}"))
}

fn execution(world: &World, n: usize) -> WorkflowExecutionId {
    *world.executions.keys().nth(n - 1).unwrap()
}

/// Reads back what was written, and the words of it.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug + std::fmt::Display>(
    told: &T,
) -> String {
    let text = serde_json::to_string(told).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *told);
    told.to_string()
}

fn ran(rules: &str, events: &str, name: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    let told: ExecutionExplanation = block_on(async {
        let flow = stored(&world).await;
        flow.explain_execution(job(&world, name)).await.unwrap()
    });
    expected.assert_eq(&through_json(&told));
}

fn rule_of_job(rules: &str, events: &str, name: &str, rule: &str, key: Option<&str>, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    let told: RuleExplanation = block_on(async {
        let flow = stored(&world).await;
        flow.explain_job_rule(execution(&world, 1), name, rule, key).await.unwrap()
    });
    expected.assert_eq(&through_json(&told));
}

fn rule_of_workflow(rules: &str, events: &str, rule: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    let told: RuleExplanation = block_on(async {
        let flow = stored(&world).await;
        flow.explain_rule("wf", rule, None).await.unwrap()
    });
    expected.assert_eq(&through_json(&told));
}

fn not_run(rules: &str, events: &str, name: &str, expected: Expect) {
    let mut world = World::new(rules);
    world.play(events);
    let told: JobExplanation = block_on(async {
        let flow = stored(&world).await;
        flow.explain_job(execution(&world, 1), name).await.unwrap()
    });
    expected.assert_eq(&through_json(&told));
}

/// Original: why a job ran could only be read out of the log of the scheduler.
#[test]
fn a_chain_goes_back_to_what_came_from_outside() {
    ran(
        "features: function; train: START when status(features SUCCEEDED); infer: RESTART when all(status(train SUCCEEDED), go); wf: START when raw",
        "raw from:ingest | features started | features ok | train started | go=1 | train ok",
        "infer#1",
        expect![[r#"
            job infer ran (execution 12.0, QUEUED) because its rule "RESTART when all of (train SUCCEEDED, go)" fired on events 10 and 12
            event 10, go 1, came from outside
            event 12, wf/train SUCCEEDED, tells of job execution 7.0
            job train ran (execution 7.0, SUCCEEDED) because its rule "START when features SUCCEEDED" fired on event 7
            event 7, wf/features SUCCEEDED, tells of job execution 2.0
            job features ran (execution 2.0, SUCCEEDED) because it starts together with workflow execution 2.0
            workflow wf ran (execution 2.0, version 1, RUNNING) because its rule "START when raw" fired on event 2
            event 2, raw, came from outside, from ingest"#]],
    );
}

#[test]
fn a_request_is_where_a_chain_begins() {
    ran(
        "train: START when never",
        "start | act START train",
        "train#1",
        expect![[r#"
        job train ran (execution 4.0, QUEUED) because it was asked for by event 4
        event 4, ACT_ON_JOB 2.0/train, was asked for from outside"#]],
    );
    ran(
        "train: function",
        "start",
        "train#1",
        expect![[r#"
        job train ran (execution 2.0, QUEUED) because it starts together with workflow execution 2.0
        workflow wf ran (execution 2.0, version 1, RUNNING) because it was asked for by event 2
        event 2, START_WORKFLOW p/wf, was asked for from outside"#]],
    );
}

#[test]
fn a_schedule_and_its_moment_are_told() {
    ran(
        "schedule train [often] every 10s",
        "start | tick 10s",
        "train#1",
        expect![[r#"
            job train ran (execution 4.0, QUEUED) because its schedule often names the time 1970-01-01T00:00:10.000Z
            event 4, TIMER_FIRED, is the moment that schedule often of 2.0/train waited for"#]],
    );
}

#[test]
fn a_moment_leads_back_to_what_began_the_wait() {
    ran(
        "train: START when absent(5s, beat, go)",
        "start | go | tick 5s",
        "train#1",
        expect![[r#"
            job train ran (execution 5.0, QUEUED) because its rule "START when no beat for 5 s after go" fired on events 4 and 5
            event 4, go, came from outside
            event 5, TIMER_FIRED, is the moment that rule start-a04aa06753bd of 2.0/train waited for since event 4"#]],
    );
}

#[test]
fn admission_is_told_with_its_reasons() {
    ran(
        "train: START when go; admit train debounce(5s)",
        "start | go | tick 2s | go | tick 5s",
        "train#1",
        expect![[r#"
            job train ran (execution 6.0, QUEUED) because its rule "START when go" fired on event 5, admitted after debounce: waits until 7000ms for a later one; debounce: nothing came after it in time
            event 5, go, came from outside"#]],
    );
}

#[test]
fn a_chain_through_two_workflows_is_one_chain() {
    ran(
        "a: function\nworkflow next\nb: function\nwf: START when workflow(wf SUCCEEDED)",
        "start | a started | a ok",
        "b#1",
        expect![[r#"
            job b ran (execution 9.0, QUEUED) because it starts together with workflow execution 9.0
            workflow next ran (execution 9.0, version 1, RUNNING) because its rule "START when workflow(wf) SUCCEEDED" fired on event 9
            event 9, wf SUCCEEDED, tells of workflow execution 3.0
            workflow wf ran (execution 3.0, version 1, SUCCEEDED) because it was asked for by event 3
            event 3, START_WORKFLOW p/wf, was asked for from outside"#]],
    );
}

#[test]
fn trimmed_events_are_told_as_such() {
    let mut world = World::new("train: START when go");
    world.play("start | go");
    let (told, gone) = block_on(async {
        let flow = stored(&world).await;
        flow.bus().trim(Offset(world.log.len() as u64)).await.unwrap();
        let told = flow.explain_execution(job(&world, "train#1")).await.unwrap();
        (told, flow.explain_execution(JobExecutionId::new(Offset(99), 0)).await.unwrap_err())
    });
    assert!(matches!(told.steps[..], [Step::Job(_), Step::Trimmed { .. }]), "{told:?}");
    assert!(told.to_string().contains("is not in the log any more"), "{told}");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

/// A chain of causes may be a thousand long: what is told of it is not.
#[test]
fn a_long_chain_is_cut_and_says_so() {
    let mut world = World::new("train: START when any(go, status(train SUCCEEDED))");
    world.play("start | go");
    for _ in 0..200 {
        world.play("train started | train ok");
    }
    let last = *world.jobs.keys().next_back().unwrap();
    let told = block_on(async { stored(&world).await.explain_execution(last).await.unwrap() });
    assert_eq!((told.steps.len(), told.is_cut), (EXPLAIN_STEPS_MAX, true));
    assert!(told.to_string().ends_with("left out here"));
    through_json(&told);
}

#[test]
fn a_workflow_execution_is_explained_likewise() {
    let mut world = World::new("train: function; wf: START [nightly] when raw=1");
    world.play("raw=1");
    let told = block_on(async {
        stored(&world).await.explain_workflow_execution(execution(&world, 1)).await.unwrap().to_string()
    });
    expect![[r#"
        workflow wf ran (execution 2.0, version 1, RUNNING) because its rule "START when raw = 1" fired on event 2
        event 2, raw 1, came from outside"#]]
    .assert_eq(&told);
}

#[test]
fn what_is_missing_is_said_in_the_words_of_the_rule() {
    rule_of_job(
        "train: START [r] when all(a, b=1, any(c, d))",
        "start | a | a",
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when all of (a, b = 1, any of (c, d))
          it waits for b = 1 and any of (c, d)
          a has come: events 4 and 5"#]],
    );
    rule_of_job(
        "train: START [r] when at_least(2, a, b, c)",
        "start | b",
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when at least 2 of (a, b, c)
          it waits for 1 more of (a, c)
          b has come: event 4"#]],
    );
    rule_of_job(
        "train: START [r] when count(3, a)",
        "start | a",
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when 3 times a
          it waits for 2 more of the 3 times a
          a has come: event 4"#]],
    );
    rule_of_job(
        "train: START [r] when seq(a, b latest)",
        "start | b | a",
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when in this order (a, b (latest))
          it waits for b (latest)
          a has come: event 5"#]],
    );
}

#[test]
fn guards_and_waits_are_told_apart_from_what_is_missing() {
    rule_of_job(
        "train: START [r] when all(a, not(10s, halt))",
        "start | halt | tick 1s | a",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, no halt in the last 10 s)
              a has come: event 5
              held back: no halt in the last 10 s is needed, the last was at 1970-01-01T00:00:00.000Z; until 1970-01-01T00:00:10.000Z no event makes it fire"#]],
    );
    rule_of_job(
        "e: function; train: START [r] when all(a, is(e SUCCEEDED))",
        "start | a",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, e is SUCCEEDED)
              a has come: event 4
              held back: e is SUCCEEDED is needed, and e is QUEUED"#]],
    );
    rule_of_job(
        "train: START [r] when all(a, optional(10s, b))",
        "start | a",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, b if it comes within 10 s)
              a has come: event 4
              held back: it waits until 1970-01-01T00:00:10.000Z for b, which may be missing"#]],
    );
    rule_of_job(
        "train: START [r] when absent(5s, beat, go)",
        "start | go",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when no beat for 5 s after go
              it waits for no beat until 1970-01-01T00:00:05.000Z
              no beat for 5 s after go: waits until 1970-01-01T00:00:05.000Z, since event 4"#]],
    );
    rule_of_job(
        "train: START [r] when absent(5s, beat)",
        "start",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when no beat for 5 s
              it waits for no beat until 1970-01-01T00:00:05.000Z
              no beat for 5 s: waits until 1970-01-01T00:00:05.000Z, since event 2"#]],
    );
    rule_of_job(
        "train: START [r] when custom(sum, 3, raw)",
        "start | raw=1",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when custom(sum, 3) of (raw)
              it waits for custom(sum, 3) of (raw) to be met, 1 events counted so far"#]],
    );
}

#[test]
fn each_key_is_explained_or_one_alone() {
    let rules = "train: START [r] when each(/model, all(a, b))";
    let events = r#"start | a={"model":"x"} | b={"model":"y"} | a={"model":"y"} | a=1"#;
    rule_of_job(
        rules,
        events,
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, b) for each /model
              for "x" it waits for b
              for "x" a has come: event 4
              lately: event 7 did not count: without the key that the rule correlates by
              lately: events 5 and 6 made it fire and start, for "y" (execution 6.0)"#]],
    );
    rule_of_job(
        rules,
        events,
        "train",
        "r",
        Some("z"),
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, b) for each /model
              for "z" it waits for a and b"#]],
    );
}

#[test]
fn what_became_of_firings_is_told_with_the_reason() {
    let rules = "train: START [r] when a latest; train: STOP [s] when a; train: NONE [t] when within(5s, all(b, c))";
    let events = "start | a | a | b | tick 6s | b";
    rule_of_job(
        rules,
        events,
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when a (latest)
          it waits for a (latest)
          lately: event 5 made it fire in vain: the job was live already
          lately: event 4 made it fire and start (execution 4.0)"#]],
    );
    rule_of_job(
        rules,
        events,
        "train",
        "s",
        None,
        expect![[r#"
        rule s of job train in execution 2.0: STOP when a
          it waits for a
          lately: event 5 made it fire in vain: an earlier rule acted on the same event
          lately: event 4 made it fire in vain: an earlier rule acted on the same event"#]],
    );
    rule_of_job(
        rules,
        events,
        "train",
        "t",
        None,
        expect![[r#"
        rule t of job train in execution 2.0: NONE when all of (b, c) within 5 s
          it waits for c
          b has come: event 7
          lately: event 6 expired: out of the window, or out of order for good"#]],
    );
    rule_of_job(
        "train: START [r] when a; admit train rate(1,10s)",
        "start | a | train started | train ok | a",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when a
              it waits for a
              lately: event 9 made it fire, and the rate limit dropped the start; rate_limit: 1 starts within 10000 ms are all that is allowed
              lately: event 4 made it fire and start (execution 4.0)"#]],
    );
}

#[test]
fn a_rule_that_is_paused_or_removed_or_whose_execution_is_over_says_so() {
    rule_of_job(
        "train: START [r] when all(a, b)",
        "start | a | rule pause train r | b",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, b)
              it is paused: events do not count until it is resumed
              it waits for b
              a has come: event 4
              lately: event 6 did not count: the rule was paused, or the scheduling of its job stopped"#]],
    );
    rule_of_job(
        "train: START [r] when all(a, b)",
        "start | a | rule remove train r",
        "train",
        "r",
        None,
        expect![[r#"
        rule r of job train in execution 2.0: START when all of (a, b)
          it was removed, and sees nothing any more
          lately: event 4 went with the rule, which had been changed or removed"#]],
    );
    rule_of_job(
        "train: START [r] when all(a, b)",
        "start | a | stop",
        "train",
        "r",
        None,
        expect![[r#"
            rule r of job train in execution 2.0: START when all of (a, b)
              execution 2.0 has ended (STOPPED): nothing in it starts any more"#]],
    );
}

#[test]
fn rules_of_workflows_are_explained_likewise() {
    let rules = "train: function; wf: START [r] when all(a, b)";
    rule_of_workflow(
        rules,
        "a | disable wf | b",
        "r",
        expect![[r#"
            rule r of workflow wf: START when all of (a, b)
              its workflow is disabled: events do not count until it is enabled
              it waits for b
              a has come: event 2
              lately: event 4 did not count: the workflow was disabled"#]],
    );
    rule_of_workflow(
        "train: function; wf: START [r] when a; admit wf concurrency(1)",
        "a | a",
        "r",
        expect![[r#"
            rule r of workflow wf: START when a
              it waits for a
              lately: event 4 made it fire, and the start waits to be admitted; concurrency: 1 of at most 1 executions are live
              lately: event 2 made it fire and start (execution 2.0)"#]],
    );
}

#[test]
fn a_job_that_has_not_run_says_what_it_waits_for() {
    not_run(
        "train: function; infer: RESTART when status(train SUCCEEDED); infer: START when go",
        "start | train started",
        "infer",
        expect![[r#"
            job infer has not run in execution 2.0 of wf, which is RUNNING
              RESTART when train SUCCEEDED: waits for train SUCCEEDED
              START when go: waits for go"#]],
    );
    not_run(
        "train: START when all(a, b)",
        "start | a | stop",
        "train",
        expect![[r#"
            job train has not run in execution 2.0 of wf, which is STOPPED
              execution 2.0 has ended (STOPPED): nothing in it starts any more
              its rule was: START when all of (a, b)"#]],
    );
    not_run(
        "train: function",
        "start | train started",
        "train",
        expect![[r#"
        job train is RUNNING (execution 2.0) in execution 2.0 of wf, which is RUNNING
          it starts together with the execution, and no rule or schedule starts it again"#]],
    );
    not_run(
        "schedule train [often] every 10s",
        "start",
        "train",
        expect![[r#"
        job train has not run in execution 2.0 of wf, which is RUNNING
          schedule often, START every 10s: comes next at 1970-01-01T00:00:10.000Z"#]],
    );
    not_run(
        "train: START [r] when go; admit train debounce(5s)",
        "start | go",
        "train",
        expect![[r#"
            job train has not run in execution 2.0 of wf, which is RUNNING
              event 4 made it fire, and the start waits to be admitted; debounce: waits until 5000ms for a later one; at the latest until 1970-01-01T00:00:05.000Z
              START when go: waits for go"#]],
    );
    not_run(
        "train: START [r] when go",
        "start | go | train started | train ok",
        "train",
        expect![[r#"
        job train has run once and ended SUCCEEDED in execution 2.0 of wf, which is RUNNING
          START when go: waits for go; lately event 4 made it fire and start (execution 4.0)"#]],
    );
}

#[test]
fn a_job_that_is_kept_from_running_says_by_what() {
    not_run(
        "train: START [r] when go",
        "start | pause @1 | go",
        "train",
        expect![[r#"
        job train has not run in execution 2.0 of wf, which is RUNNING
          execution 2.0 is paused since event 4: what would start waits until it is resumed
          event 5 made it fire, and the start waits to be admitted; pause: its workflow execution is paused
          START when go: waits for go"#]],
    );
    not_run(
        "train: START [r] when go",
        "start | unschedule train | go",
        "train",
        expect![[r#"
        job train has not run in execution 2.0 of wf, which is RUNNING
          its scheduling is stopped: events and times do not count until it is resumed
          START when go: waits for go; lately event 5 did not count: the rule was paused, or the scheduling of its job stopped"#]],
    );
    not_run(
        "train: START [r] when go; retry train 2 x 5s",
        "start | go | train started | train failed",
        "train",
        expect![[r#"
            job train is RETRYING (execution 4.0) in execution 2.0 of wf, which is RUNNING
              its next attempt waits until 1970-01-01T00:00:05.000Z
              START when go: waits for go; lately event 4 made it fire and start (execution 4.0)"#]],
    );
    not_run(
        "a: function; train: function; admit a pool(gpu,1); admit train pool(gpu,1)",
        "pool gpu 1 | start",
        "train",
        expect![[r#"
            job train is INIT (execution 3.1) in execution 3.0 of wf, which is RUNNING
              its next attempt waits for free slots of pool gpu: it takes 1
              it starts together with the execution, and no rule or schedule starts it again"#]],
    );
}

#[test]
fn what_is_not_there_cannot_be_explained() {
    let mut world = World::new("train: START [r] when go");
    world.play("start");
    block_on(async {
        let flow = stored(&world).await;
        let id = execution(&world, 1);
        let errors = [
            flow.explain_job(id, "nobody").await.unwrap_err(),
            flow.explain_job(WorkflowExecutionId::new(Offset(99), 0), "train").await.unwrap_err(),
            flow.explain_job_rule(id, "train", "nothing", None).await.unwrap_err(),
            flow.explain_rule("wf", "nothing", None).await.unwrap_err(),
            flow.explain_rule("nothing", "r", None).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    });
}
