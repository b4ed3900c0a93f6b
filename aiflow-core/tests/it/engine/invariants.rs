//! What holds after every decision, whatever the rules and events: checked each time a [`World`](super::world::World) decides.

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::engine::{Command, Decision};
use aiflow_core::event::Event;
use aiflow_core::execution::{FiringOutcome, JobExecution, JobState, JobStatus, WorkflowExecution};
use aiflow_core::id::{JobExecutionId, JobName, WorkflowExecutionId};

/// Checks `decision`, which was made on `event`, against what was known before.
pub(crate) fn check(
    executions: &BTreeMap<WorkflowExecutionId, WorkflowExecution>,
    job_states: &BTreeMap<WorkflowExecutionId, BTreeMap<JobName, JobState>>,
    jobs: &BTreeMap<JobExecutionId, JobExecution>,
    decision: &Decision,
    event: &Event,
) {
    for (id, job) in &decision.jobs {
        let before = jobs.get(id).map_or(JobStatus::Init, |job| job.status);
        assert!(is_reachable(before, job.status), "{id}: {before} -> {} on {event:?}", job.status);
        assert_eq!(job.status.is_terminal(), job.finished_at.is_some(), "{id}");
        assert!(!job.status.is_terminal() || job.due.is_empty(), "{id}");
    }
    for (id, execution) in &decision.executions {
        let of_execution = decision.job_states.get(id);
        let changed = |job: &JobName| of_execution.is_some_and(|jobs| jobs.contains_key(job));
        let unchanged = job_states.get(id).into_iter().flatten().filter(|(job, _)| !changed(job));
        let all: Vec<&JobState> =
            unchanged.map(|(_, job)| job).chain(of_execution.into_iter().flatten().map(|(_, job)| &**job)).collect();
        let count = |is: &dyn Fn(&JobState) -> bool| u32::try_from(all.iter().filter(|job| is(job)).count()).unwrap();
        assert_eq!(execution.counts.live, count(&|job| job.current.is_some()), "{id}");
        assert_eq!(execution.counts.failed, count(&|job| job.last == Some(JobStatus::Failed)), "{id}");
        assert_eq!(execution.counts.stopped, count(&|job| job.last == Some(JobStatus::Stopped)), "{id}");
        let before = executions.get(id).map(|before| before.status);
        assert!(before.is_none_or(|before| !before.is_terminal()), "{id} changed after its end");
        if execution.status.is_terminal() {
            assert!(
                all.iter().all(|job| job.timers().next().is_none()) && execution.last_word.is_none(),
                "{id} ended and still waits for something"
            );
            assert!(all.iter().all(|job| job.current.is_none() && job.waiting.is_none()), "{id} ended with live jobs");
        }
    }
    one_live_attempt_per_job(jobs, decision);
    firings_name_their_events(decision, event);
    ids_are_unique(decision);
}

/// Whether a chain of allowed steps leads from `from` to `to`; several steps may follow from one event.
fn is_reachable(from: JobStatus, to: JobStatus) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut todo = vec![from];
    while let Some(status) = todo.pop() {
        for next in JobStatus::ALL.iter().filter(|next| status.may_become(**next)) {
            if seen.insert(*next) {
                todo.push(*next);
            }
        }
    }
    seen.contains(&to)
}

fn one_live_attempt_per_job(jobs: &BTreeMap<JobExecutionId, JobExecution>, decision: &Decision) {
    let mut live = BTreeMap::new();
    let unchanged = jobs.iter().filter(|(id, _)| !decision.jobs.contains_key(id));
    for (id, job) in unchanged.chain(decision.jobs.iter().map(|(id, job)| (id, &**job))) {
        if job.status.is_terminal() || job.status == JobStatus::Init {
            continue;
        }
        let other = live.insert((job.workflow_execution, &job.job), id);
        assert_eq!(other, None, "{id} runs beside another execution of its job");
    }
    for command in &decision.commands {
        let (Command::Launch { attempt } | Command::Signal { attempt, .. } | Command::Stop { attempt, .. }) = command;
        let job = &decision.jobs[&attempt.job_execution];
        assert_eq!(job.attempt_id(), *attempt, "a command for an attempt that is not current");
    }
}

fn firings_name_their_events(decision: &Decision, event: &Event) {
    let of_jobs = decision.jobs.values().map(|job| &job.cause);
    let of_executions = decision.executions.values().map(|e| &e.cause);
    let recorded = decision.firings.values().map(|firing| &firing.record.firing);
    for firing in of_jobs.chain(of_executions).chain(recorded) {
        assert!(!firing.events.is_empty(), "a firing without events");
        assert!(firing.events.is_sorted_by(|a, b| a < b), "events of a firing are not in order: {firing:?}");
        assert!(firing.events.iter().all(|offset| *offset <= event.offset), "a firing of the future: {firing:?}");
    }
}

fn ids_are_unique(decision: &Decision) {
    let mut ids = BTreeSet::new();
    for event in &decision.events {
        assert!(ids.insert(&event.id), "two events with the id {}", event.id);
        event.check().expect("an event of the engine keeps every bound");
    }
    for firing in decision.firings.values() {
        let is_waiting = firing.record.outcome == FiringOutcome::Waiting;
        assert_eq!(is_waiting, firing.record.waits.is_some(), "{firing:?}");
    }
}
