//! Ids in a replay of history: what was made then gets the id that it got then.
//!
//! Ids are numbers behind the offset of their cause, in the order in which things are made. Other rules make other things, so that the same
//! number would name something else, and the reports that history holds of one job would be taken for those of another. In a replay with
//! other rules an id is therefore found by what it names; what history does not know gets a number that history does not use.

use std::collections::{BTreeMap, VecDeque};

use super::decision::{Decision, WorkflowKey};
use super::state::{OWN_EVENT_ID, count, workflow_key};
use crate::event::NewEvent;
use crate::id::{JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId, WorkflowName};

/// From this number on, ids name what history does not know.
pub(crate) const NEW_IDS_FROM: u32 = 1 << 30;
/// So many numbers are kept apart for each moment that history does not know.
const IDS_PER_MOMENT: u32 = 1 << 20;

/// The ids that one event led to when it was decided first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    executions: BTreeMap<WorkflowKey, VecDeque<WorkflowExecutionId>>,
    jobs: BTreeMap<(WorkflowExecutionId, JobName), VecDeque<JobExecutionId>>,
    events: BTreeMap<String, VecDeque<String>>,
    /// For what is not known: how many ids were given so far.
    n_new: u32,
    /// The number of the moment among those before the same event, from 1; 0 for the event itself.
    moment: u32,
}

impl Names {
    /// The ids that `decision`, about one event, gave.
    pub(crate) fn of(decision: &Decision) -> Self {
        let mut names = Self::default();
        let cause = decision.cursor;
        let begun = decision.executions.values().map(|begun| (&begun.project, &begun.workflow, begun.id));
        let held = decision.firings.values().filter_map(|firing| {
            firing.record.request.execution.map(|id| (&firing.project, &firing.record.workflow, id))
        });
        let mut executions: Vec<(&ProjectName, &WorkflowName, WorkflowExecutionId)> =
            begun.chain(held).filter(|(.., id)| id.cause == cause).collect();
        executions.sort_by_key(|(.., id)| *id);
        executions.dedup_by_key(|(.., id)| *id);
        for (project, workflow, id) in executions {
            names.executions.entry(workflow_key(project, workflow)).or_default().push_back(id);
        }
        for job in decision.jobs.values().filter(|job| job.id.cause == cause) {
            let place = (job.workflow_execution, job.job.clone());
            names.jobs.entry(place).or_default().push_back(job.id);
        }
        for event in &decision.events {
            names.events.entry(content(event)).or_default().push_back(event.id.clone());
        }
        names
    }

    /// For the moment of this number before an event, of which history knows nothing.
    pub(crate) fn unknown(moment: u32) -> Self {
        Self { moment: moment.saturating_add(1), ..Self::default() }
    }

    /// Where the records of firings are numbered from.
    pub(super) fn firings_from(&self) -> u32 {
        if self.moment == 0 { 0 } else { self.base() }
    }

    pub(super) fn execution(&mut self, of: &WorkflowKey, cause: Offset) -> WorkflowExecutionId {
        let known = self.executions.get_mut(of).and_then(VecDeque::pop_front);
        known.unwrap_or_else(|| WorkflowExecutionId::new(cause, self.new_number()))
    }

    pub(super) fn job(&mut self, execution: WorkflowExecutionId, job: &JobName, cause: Offset) -> JobExecutionId {
        let known = self.jobs.get_mut(&(execution, job.clone())).and_then(VecDeque::pop_front);
        known.unwrap_or_else(|| JobExecutionId::new(cause, self.new_number()))
    }

    pub(super) fn event(&mut self, event: &NewEvent, cause: Offset) -> String {
        let known = self.events.get_mut(&content(event)).and_then(VecDeque::pop_front);
        known.unwrap_or_else(|| format!("{OWN_EVENT_ID}{cause}.{}", self.new_number()))
    }

    fn base(&self) -> u32 {
        NEW_IDS_FROM.saturating_add(self.moment.saturating_mul(IDS_PER_MOMENT))
    }

    fn new_number(&mut self) -> u32 {
        self.base().saturating_add(count(&mut self.n_new))
    }
}

/// What tells events of the scheduler apart that follow from the same event.
fn content(event: &NewEvent) -> String {
    let of = event.context.workflow_execution.map(|id| id.to_string()).unwrap_or_default();
    let attempt = event.context.attempt.map(|id| id.to_string()).unwrap_or_default();
    format!(
        "{}\u{1f}{}\u{1f}{}\u{1f}{}\u{1f}{of}\u{1f}{attempt}",
        event.namespace, event.event_type, event.key, event.value
    )
}
