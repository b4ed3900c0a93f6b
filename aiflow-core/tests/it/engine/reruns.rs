//! Reruns: which results stand, what starts, and what do the rules see once more?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aiflow_core::control::Control;
use aiflow_core::engine::Input;
use aiflow_core::execution::JobExecution;
use aiflow_core::id::{JobExecutionId, JobName, Offset};
use aiflow_core::rerun::{FirstRun, Rerun, RerunPlan};
use expect_test::expect;
use serde_json::Value;

use super::text::{check, value};
use super::world::World;

impl World {
    /// Plans to run an execution again, writes the plan into the trace, and asks for it.
    pub(super) fn rerun(&mut self, step: &str, words: &[&str]) {
        match self.plan(words) {
            Ok(plan) => {
                let first = format!("execution {}", plan.execution);
                let lines = self.shorten(&plan.to_string().replacen(&first, "it", 1));
                let _ = writeln!(self.trace, "{lines}");
                let control = Control::RerunExecution { execution: plan.execution, plan: plan.id.clone() };
                self.control(step, control);
                let input = self.log.last_mut().expect("the request");
                *input = Input { rerun: Some(Arc::new(plan)), ..input.clone() };
            }
            Err(error) => {
                let _ = writeln!(self.trace, "{step}: {}", self.shorten(&error.to_string()));
            }
        }
    }

    fn plan(&self, words: &[&str]) -> aiflow_core::Result<RerunPlan> {
        let of = words.iter().find(|word| word.starts_with('@')).copied();
        let execution = &self.executions[&self.execution_named(of)];
        let from = words.iter().find_map(|word| word.strip_prefix("from:"));
        let params = words.iter().filter_map(|word| word.split_once('='));
        let params: serde_json::Map<String, Value> =
            params.map(|(name, text)| (name.to_owned(), value(text))).collect();
        let rerun = from.map_or_else(Rerun::from_failed, |from| Rerun::from_jobs(from.split(',')));
        let rerun = if params.is_empty() { rerun } else { rerun.params(params.into()) };
        let definition = |version| self.definitions.get(&(execution.workflow.clone(), version));
        let (newest, latest) = (1..).map_while(|n| Some((n, definition(n)?))).last().expect("a version");
        let jobs = self.job_states.get(&execution.id).cloned().unwrap_or_default();
        let last = |job: &JobName| Some(self.jobs[&jobs.get(job)?.last_execution?].clone());
        let ran: BTreeMap<JobName, JobExecution> =
            jobs.keys().filter_map(|job| Some((job.clone(), last(job)?))).collect();
        let source = |offset: &Offset| {
            let event = &self.log[usize::try_from(offset.0).expect("an offset") - 1].event;
            Some((*offset, event.context.attempt?.job_execution))
        };
        let sources: BTreeMap<Offset, JobExecutionId> =
            FirstRun::events(&jobs, &ran).iter().filter_map(source).collect();
        let definition = definition(execution.version).expect("the version of the execution");
        let first = FirstRun { execution, jobs: &jobs, ran: &ran, sources: &sources, definition };
        RerunPlan::new(self.fresh_id(), &first, newest, latest, &rerun)
    }
}

const CHAIN: &str = "
    ingest: function
    train: START when status(ingest SUCCEEDED)
    test: START when status(train SUCCEEDED)
    report: START when all(status(ingest SUCCEEDED), status(test SUCCEEDED))
    ";

#[test]
fn from_failed_the_results_of_what_succeeded_stand() {
    check(
        CHAIN,
        "
        start | ingest started | ingest ok | train started | train fatal
        rerun @1
        train started | train ok | test started | test ok | report started | report ok
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              launch ingest#1-1
            4 ingest started
              ingest#1 RUNNING
            6 ingest ok
              ingest#1 SUCCEEDED
            7 ingest#1 SUCCEEDED
              train#1 QUEUED by train.1 [7]
              launch train#1-1
            8 train started
              train#1 RUNNING
            10 train fatal
              train#1 FAILED
            11 train#1 FAILED
              wf#1 FAILED: ingest SUCCEEDED, report SKIPPED, test SKIPPED, train FAILED
            rerun of it (workflow wf, version 1)
              ingest: its result stands (ingest#1)
              report: waits for its rules, because it has not run
              test: waits for its rules, because it has not run
              train: starts, because it has FAILED (train#1)
            13 rerun @1
              wf#2 RUNNING v1 by start [13]
              train#2 QUEUED by train.1 [7]
              launch train#2-1
            16 train started
              train#2 RUNNING
            18 train ok
              train#2 SUCCEEDED
            19 train#2 SUCCEEDED
              test#1 QUEUED by test.1 [19]
              launch test#1-1
            20 test started
              test#1 RUNNING
            22 test ok
              test#1 SUCCEEDED
            23 test#1 SUCCEEDED
              report#1 QUEUED by report.1 [7 23]
              launch report#1-1
            24 report started
              report#1 RUNNING
            26 report ok
              report#1 SUCCEEDED
            27 report#1 SUCCEEDED
              wf#2 SUCCEEDED: ingest SUCCEEDED, report SUCCEEDED, test SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

/// Elsewhere a task is cleared with everything downstream of it in the graph; here with everything that used its result.
#[test]
fn from_a_job_what_used_it_runs_again() {
    check(
        CHAIN,
        "
        start | ingest started | ingest ok | train started | train ok | test started | test ok | report started | report ok
        rerun @1 from:train
        train started | train ok | test started | test ok | report started | report ok
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              launch ingest#1-1
            4 ingest started
              ingest#1 RUNNING
            6 ingest ok
              ingest#1 SUCCEEDED
            7 ingest#1 SUCCEEDED
              train#1 QUEUED by train.1 [7]
              launch train#1-1
            8 train started
              train#1 RUNNING
            10 train ok
              train#1 SUCCEEDED
            11 train#1 SUCCEEDED
              test#1 QUEUED by test.1 [11]
              launch test#1-1
            12 test started
              test#1 RUNNING
            14 test ok
              test#1 SUCCEEDED
            15 test#1 SUCCEEDED
              report#1 QUEUED by report.1 [7 15]
              launch report#1-1
            16 report started
              report#1 RUNNING
            18 report ok
              report#1 SUCCEEDED
            19 report#1 SUCCEEDED
              wf#1 SUCCEEDED: ingest SUCCEEDED, report SUCCEEDED, test SUCCEEDED, train SUCCEEDED
            rerun of it (workflow wf, version 1)
              ingest: its result stands (ingest#1)
              report: waits for its rules, because it used test#1 of test
              test: waits for its rules, because it used train#1 of train
              train: starts, because it was chosen
            21 rerun @1 from:train
              wf#2 RUNNING v1 by start [21]
              train#2 QUEUED by train.1 [7]
              launch train#2-1
            24 train started
              train#2 RUNNING
            26 train ok
              train#2 SUCCEEDED
            27 train#2 SUCCEEDED
              test#2 QUEUED by test.1 [27]
              launch test#2-1
            28 test started
              test#2 RUNNING
            30 test ok
              test#2 SUCCEEDED
            31 test#2 SUCCEEDED
              report#2 QUEUED by report.1 [7 31]
              launch report#2-1
            32 report started
              report#2 RUNNING
            34 report ok
              report#2 SUCCEEDED
            35 report#2 SUCCEEDED
              wf#2 SUCCEEDED: ingest SUCCEEDED, report SUCCEEDED, test SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_event_from_outside_that_was_used_counts_once_more() {
    check(
        "
        ingest: function
        train: START when all(status(ingest SUCCEEDED), approve)
        ",
        "
        start | approve=yes | ingest started | ingest ok | train started | train ok
        rerun @1 from:ingest
        ingest started | ingest ok | train started | train ok
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              launch ingest#1-1
            5 ingest started
              ingest#1 RUNNING
            7 ingest ok
              ingest#1 SUCCEEDED
            8 ingest#1 SUCCEEDED
              train#1 QUEUED by train.1 [4 8]
              launch train#1-1
            9 train started
              train#1 RUNNING
            11 train ok
              train#1 SUCCEEDED
            12 train#1 SUCCEEDED
              wf#1 SUCCEEDED: ingest SUCCEEDED, train SUCCEEDED
            rerun of it (workflow wf, version 1)
              ingest: starts, because it was chosen
              train: waits for its rules, because it used ingest#1 of ingest
            14 rerun @1 from:ingest
              wf#2 RUNNING v1 by start [14]
              ingest#2 QUEUED by start [14]
              launch ingest#2-1
            17 ingest started
              ingest#2 RUNNING
            19 ingest ok
              ingest#2 SUCCEEDED
            20 ingest#2 SUCCEEDED
              train#2 QUEUED by train.1 [4 20]
              launch train#2-1
            21 train started
              train#2 RUNNING
            23 train ok
              train#2 SUCCEEDED
            24 train#2 SUCCEEDED
              wf#2 SUCCEEDED: ingest SUCCEEDED, train SUCCEEDED
        "#]],
    );
}

#[test]
fn an_event_that_waited_at_a_rule_waits_on_and_one_of_a_repeated_job_does_not() {
    check(
        "
        ingest: function
        check: function
        train: START when all(status(ingest SUCCEEDED), status(check SUCCEEDED), approve)
        ",
        "
        start | approve=yes | ingest started | ingest ok | check started | check fatal
        rerun @1
        check started | check ok | train started | train ok
        rerun @1 from:ingest
        check#3 started | check#3 ok | ingest#2 started | ingest#2 ok
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              check#1 QUEUED by start [2]
              launch ingest#1-1
              launch check#1-1
            5 ingest started
              ingest#1 RUNNING
            7 ingest ok
              ingest#1 SUCCEEDED
            9 check started
              check#1 RUNNING
            11 check fatal
              check#1 FAILED
            12 check#1 FAILED
              wf#1 FAILED: check FAILED, ingest SUCCEEDED, train SKIPPED
            rerun of it (workflow wf, version 1)
              check: starts, because it has FAILED (check#1)
              ingest: its result stands (ingest#1)
              train: waits for its rules, because it has not run
            14 rerun @1
              wf#2 RUNNING v1 by start [14]
              check#2 QUEUED by start [14]
              launch check#2-1
            17 check started
              check#2 RUNNING
            19 check ok
              check#2 SUCCEEDED
            20 check#2 SUCCEEDED
              train#1 QUEUED by train.1 [4 8 20]
              launch train#1-1
            21 train started
              train#1 RUNNING
            23 train ok
              train#1 SUCCEEDED
            24 train#1 SUCCEEDED
              wf#2 SUCCEEDED: check SUCCEEDED, ingest SUCCEEDED, train SUCCEEDED
            rerun of it (workflow wf, version 1)
              check: starts, because it has FAILED (check#1)
              ingest: starts, because it was chosen
              train: waits for its rules, because it has not run
            26 rerun @1 from:ingest
              wf#3 RUNNING v1 by start [26]
              ingest#2 QUEUED by start [26]
              check#3 QUEUED by start [26]
              launch ingest#2-1
              launch check#3-1
            29 check#3 started
              check#3 RUNNING
            31 check#3 ok
              check#3 SUCCEEDED
            33 ingest#2 started
              ingest#2 RUNNING
            35 ingest#2 ok
              ingest#2 SUCCEEDED
            36 ingest#2 SUCCEEDED
              train#2 QUEUED by train.1 [4 32 36]
              launch train#2-1
        "#]],
    );
}

/// What was fired by an earlier execution of a job does not hang on its last one.
#[test]
fn of_a_job_that_ran_often_the_last_execution_is_repeated() {
    check(
        "
        train: START when samples
        deploy: START when status(train SUCCEEDED)
        ",
        "
        start | samples=1 | train started | train ok | deploy started | deploy ok | samples=2 | train started | train fatal
        stop
        rerun @1
        train started | train ok | deploy started | deploy ok | samples=3
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
            4 samples=1
              train#1 QUEUED by train.1 [4]
              launch train#1-1
            5 train started
              train#1 RUNNING
            7 train ok
              train#1 SUCCEEDED
            8 train#1 SUCCEEDED
              deploy#1 QUEUED by deploy.1 [8]
              launch deploy#1-1
            9 deploy started
              deploy#1 RUNNING
            11 deploy ok
              deploy#1 SUCCEEDED
            13 samples=2
              train#2 QUEUED by train.1 [13]
              launch train#2-1
            14 train started
              train#2 RUNNING
            16 train fatal
              train#2 FAILED
            18 stop
              wf#1 STOPPED: deploy SUCCEEDED, train FAILED
            rerun of it (workflow wf, version 1)
              deploy: its result stands (deploy#1)
              train: starts, because it has FAILED (train#2)
            20 rerun @1
              wf#2 RUNNING v1 by start [20]
              train#3 QUEUED by train.1 [13]
              launch train#3-1
            22 train started
              train#3 RUNNING
            24 train ok
              train#3 SUCCEEDED
            25 train#3 SUCCEEDED
              deploy#2 QUEUED by deploy.1 [25]
              launch deploy#2-1
            26 deploy started
              deploy#2 RUNNING
            28 deploy ok
              deploy#2 SUCCEEDED
            30 samples=3
              train#4 QUEUED by train.1 [30]
              launch train#4-1
        "#]],
    );
}

#[test]
fn a_stream_goes_on_where_it_was() {
    let mut world = World::new("job infer streaming; infer: START when model");
    world.play("start | model=a | infer started | infer ready | infer at 7 seven | stop | infer stopped | rerun @1");
    let again = world.jobs.values().next_back().expect("it ran");
    assert_eq!(again.checkpoint.as_ref().map(|checkpoint| &checkpoint.value), Some(&Value::from("seven")));
    assert_eq!(again.cause.events, [Offset(4)], "for the same model");
}

#[test]
fn what_has_changed_in_a_newer_version_runs_again() {
    check(
        "
        ingest: function
        train: START when status(ingest SUCCEEDED)
        gone: function
        ",
        "
        start | ingest started | ingest ok | gone started | gone ok | train started | train ok
        submit { ingest: process; train: START when status(ingest SUCCEEDED); extra: function; later: START when done }
        rerun @1
        rerun @1 from:gone
        ",
        expect![[r#"
            2 start
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              gone#1 QUEUED by start [2]
              launch ingest#1-1
              launch gone#1-1
            4 ingest started
              ingest#1 RUNNING
            6 ingest ok
              ingest#1 SUCCEEDED
            7 ingest#1 SUCCEEDED
              train#1 QUEUED by train.1 [7]
              launch train#1-1
            8 gone started
              gone#1 RUNNING
            10 gone ok
              gone#1 SUCCEEDED
            12 train started
              train#1 RUNNING
            14 train ok
              train#1 SUCCEEDED
            15 train#1 SUCCEEDED
              wf#1 SUCCEEDED: gone SUCCEEDED, ingest SUCCEEDED, train SUCCEEDED
            rerun of it (workflow wf, version 2)
              extra: starts, because it is new
              ingest: starts, because what it runs has changed
              later: waits for its rules, because it is new
              train: waits for its rules, because it used ingest#1 of ingest
            18 rerun @1
              wf#2 RUNNING v2 by start [18]
              ingest#2 QUEUED by start [18]
              extra#1 QUEUED by start [18]
              launch ingest#2-1
              launch extra#1-1
            rerun @1 from:gone: plan rerun: not found: version 2 of the workflow has no such job (job=gone)
        "#]],
    );
}

#[test]
fn a_rerun_passes_admission_like_any_start_and_a_plan_that_grew_old_is_refused() {
    check(
        "
        admit wf concurrency(1)
        ingest: function
        ",
        "
        start k=1 | ingest started | ingest fatal
        start | rerun @1 k=2 | rerun @1 from:ingest
        ingest#2 started | ingest#2 ok
        submit { admit wf concurrency(1); ingest: function; extra: function }
        ingest#3 started | ingest#3 ok
        ",
        expect![[r#"
            2 start k=1
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              start [2] START: started
              launch ingest#1-1
            4 ingest started
              ingest#1 RUNNING
            6 ingest fatal
              ingest#1 FAILED
            7 ingest#1 FAILED
              wf#1 FAILED: ingest FAILED
            9 start
              wf#2 RUNNING v1 by start [9]
              ingest#2 QUEUED by start [9]
              start [9] START: started
              launch ingest#2-1
            rerun of it (workflow wf, version 1)
              ingest: starts, because it has FAILED (ingest#1)
            11 rerun @1 k=2
              start [11] START: waiting (concurrency: 1 of at most 1 executions are live)
            rerun of it (workflow wf, version 1)
              ingest: starts, because it was chosen
            12 rerun @1 from:ingest
              start [12] START: waiting (concurrency: 1 of at most 1 executions are live)
            13 ingest#2 started
              ingest#2 RUNNING
            15 ingest#2 ok
              ingest#2 SUCCEEDED
            16 ingest#2 SUCCEEDED
              wf#2 SUCCEEDED: ingest SUCCEEDED
              wf#3 RUNNING v1 by start [11]
              ingest#3 QUEUED by start [16]
              start [11] START: started (concurrency: there is room)
              launch ingest#3-1
            21 ingest#3 started
              ingest#3 RUNNING
            23 ingest#3 ok
              ingest#3 SUCCEEDED
            24 ingest#3 SUCCEEDED
              wf#3 SUCCEEDED: ingest SUCCEEDED
              start [12] START: refused (parameters: the plan is one for version 1, and 2 is the newest: plan again)
              dead letter: the plan is one for version 1, and 2 is the newest: plan again
        "#]],
    );
}

#[test]
fn what_cannot_be_run_again_is_refused_before_anything_happens() {
    check(
        "
        param wf rate float
        ingest: function
        train: START when go
        ",
        "
        start rate=1 | rerun @1 | ingest started | ingest ok | stop | rerun @1 | rerun @1 from:nobody | rerun @1 from:train rate=fast
        rerun @1 from:train speed=3
        ",
        expect![[r#"
            2 start rate=1
              wf#1 RUNNING v1 by start [2]
              ingest#1 QUEUED by start [2]
              launch ingest#1-1
            rerun @1: plan rerun: invalid: the execution is RUNNING; only one that has ended is run again (execution=2.0)
            4 ingest started
              ingest#1 RUNNING
            6 ingest ok
              ingest#1 SUCCEEDED
            7 ingest#1 SUCCEEDED
              wf#1 SUCCEEDED: ingest SUCCEEDED, train SKIPPED
            9 stop
              dead letter: workflow execution wf#1 is not running
            rerun @1: plan rerun: invalid: nothing would start: choose a job with Rerun::from_job (execution=2.0)
            rerun @1 from:nobody: plan rerun: not found: version 1 of the workflow has no such job (job=nobody)
            rerun @1 from:train rate=fast: plan rerun: invalid: parameter rate must be a number
            rerun @1 from:train speed=3: plan rerun: invalid: parameter speed is not declared
        "#]],
    );
}
