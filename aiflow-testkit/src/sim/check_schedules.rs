//! The check of schedules: did each of their times come once, and was none lost?

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::control::Control;
use aiflow_core::execution::{Firing, FiringRecord, KIND_FIRING, KIND_WORKFLOW_VERSION};
use aiflow_core::id::{Offset, ScheduleName};
use aiflow_core::records::WorkflowVersion;
use aiflow_core::time::Timestamp;
use aiflow_core::timer::Subject;
use aiflow_core::workflow::Times;

use super::check::{Checker, State};
use super::workload;

/// Times that the scheduler was done with at an event: the event, the first and the last of them.
type Done = (Offset, Timestamp, Timestamp);

impl Checker<'_> {
    /// I23: each time of a schedule comes at most once, in order, and each one is acted on or recorded as missed, unless somebody paused
    /// the schedule or changed it.
    pub(super) fn schedules(&self, state: &State) {
        let intervals = intervals(state);
        for ((of, name), done) in done(state) {
            let asked = asked(state, &of);
            let mut n_before: Option<Done> = None;
            for now in done {
                let (offset, first, last) = now;
                if let Some((before_at, _, before)) = n_before {
                    if first <= before {
                        self.violate("I23", format!("time {first} of schedule {name} of {of} came after {before}"));
                    }
                    let is_steered = asked.range(before_at..offset).next().is_some();
                    let expected = intervals.get(&name).map(|every| before.as_millis().saturating_add(*every));
                    if !is_steered && expected.is_some_and(|expected| expected != first.as_millis()) {
                        self.violate(
                            "I23",
                            format!("between {before} and {first} schedule {name} of {of} lost a time"),
                        );
                    }
                }
                n_before = Some((offset, first, last));
                self.ledger.count("scheduled time");
            }
        }
    }
}

/// The distance of the times of each interval, in milliseconds. The workload names schedules after their times.
fn intervals(state: &State) -> BTreeMap<ScheduleName, i64> {
    let versions: Vec<WorkflowVersion> = state.all(KIND_WORKFLOW_VERSION);
    let workflows = versions.into_iter().map(|version| version.workflow);
    let all = workflows.flat_map(|workflow| {
        let jobs = workflow.jobs.into_iter().flat_map(|job| job.schedules);
        workflow.schedules.into_iter().chain(jobs).collect::<Vec<_>>()
    });
    all.filter_map(|schedule| match schedule.times {
        Times::Every { every } => Some((schedule.name, i64::try_from(every.as_millis()).ok()?)),
        Times::Cron { .. } => None,
    })
    .collect()
}

fn done(state: &State) -> BTreeMap<(Subject, ScheduleName), BTreeSet<Done>> {
    let mut all: BTreeMap<(Subject, ScheduleName), BTreeSet<Done>> = BTreeMap::new();
    let mut add = |of: Subject, firing: &Firing| {
        if let (Some(time), Some(timer)) = (&firing.schedule, firing.events.last())
            && !time.backfill
        {
            let done = (*timer, time.time, time.until.unwrap_or(time.time));
            all.entry((of, time.schedule.clone())).or_default().insert(done);
        }
    };
    let project = workload::project();
    for execution in state.executions() {
        let of = Subject::Workflow { project: project.clone(), workflow: execution.workflow };
        add(of, &execution.cause);
    }
    // What a rerun repeats carries the time for which it ran first.
    for job in state.jobs().into_iter().filter(|job| job.repeats.is_none()) {
        add(Subject::Job { execution: job.workflow_execution, job: job.job }, &job.cause);
    }
    for record in state.all::<FiringRecord>(KIND_FIRING) {
        let of = match (record.workflow_execution, record.job) {
            (Some(execution), Some(job)) => Subject::Job { execution, job },
            _ => Subject::Workflow { project: project.clone(), workflow: record.workflow },
        };
        add(of, &record.firing);
    }
    all
}

/// Where in the log somebody steered the schedules of a subject.
fn asked(state: &State, whose: &Subject) -> BTreeSet<Offset> {
    let controls = state.log.iter().filter_map(|event| Some((event.offset, Control::from_event(event).ok()??)));
    let steers = controls.filter(|(_, control)| match control {
        Control::ActOnSchedule { of, .. } => of == whose,
        Control::EnableWorkflow { workflow: named, .. }
        | Control::DeleteWorkflow { workflow: named, .. }
        | Control::WorkflowSubmitted { workflow: named, .. } => {
            matches!(whose, Subject::Workflow { workflow, .. } if workflow == named)
        }
        Control::ScheduleJob { execution, job, .. } => {
            matches!(whose, Subject::Job { execution: of, job: named } if of == execution && named == job)
        }
        Control::UpgradeExecution { execution } => {
            matches!(whose, Subject::Job { execution: of, .. } if of == execution)
        }
        _ => false,
    });
    steers.map(|(offset, _)| offset).collect()
}
