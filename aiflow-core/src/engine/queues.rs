//! What waits to be admitted: which firings wait in which row, and what do the stages remember?
//!
//! A row is the waiting room of one stage for one key. [`Queues`] is the stored part of the state with its orders; [`QueueDraft`] keeps the
//! changes of a decision apart.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::decision::NewFiring;
use super::state::{Draft, set_timers};
use crate::execution::{AdmissionStage, FiringOutcome, Meter, WorkflowExecution};
use crate::id::{FiringId, Offset, WorkflowExecutionId};
use crate::timer::{Subject, Timer};

/// Whose starts, at which stage, with which key.
pub(super) type RowKey = (Subject, AdmissionStage, String);
/// The firings of a row, first to go first.
pub(super) type Row = BTreeSet<(Reverse<i32>, FiringId)>;
/// Whose executions, with which key of the concurrency limit.
pub(super) type LiveKey = (Subject, String);

#[derive(Debug, Clone, Default)]
pub(super) struct Queues {
    held: BTreeMap<FiringId, NewFiring>,
    meters: BTreeMap<String, Meter>,
    // Derived from the above, and from the live executions.
    rows: BTreeMap<RowKey, Row>,
    live: BTreeMap<LiveKey, BTreeSet<WorkflowExecutionId>>,
}

/// Changes of a decision.
#[derive(Debug, Default)]
pub(super) struct QueueDraft {
    rows: BTreeMap<RowKey, Row>,
    live: BTreeMap<LiveKey, BTreeSet<WorkflowExecutionId>>,
}

fn row_of(firing: &NewFiring) -> Option<(RowKey, (Reverse<i32>, FiringId))> {
    let waits = firing.record.waits.as_ref()?;
    let key = (firing.record.subject(&firing.project), waits.stage, waits.key.clone());
    Some((key, (Reverse(waits.priority), firing.id)))
}

fn live_of(execution: &WorkflowExecution) -> Option<LiveKey> {
    let (project, workflow) = (execution.project.clone(), execution.workflow.clone());
    let key = execution.concurrency_key.clone()?;
    Some((Subject::Workflow { project, workflow }, key))
}

fn put<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: V) {
    map.entry(key).or_default().insert(value);
}

fn take<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

impl Queues {
    pub(super) fn set_firing(&mut self, firing: NewFiring, timers: &mut BTreeSet<Timer>) {
        let before = self.held.remove(&firing.id);
        let timer = |firing: &NewFiring| firing.record.timer(firing.id);
        let is_held = firing.record.outcome == FiringOutcome::Waiting;
        let now = is_held.then(|| timer(&firing)).flatten();
        set_timers(timers, before.iter().filter_map(timer), now.into_iter());
        if let Some((row, place)) = before.as_ref().and_then(row_of) {
            take(&mut self.rows, &row, &place);
        }
        if is_held {
            if let Some((row, place)) = row_of(&firing) {
                put(&mut self.rows, row, place);
            }
            self.held.insert(firing.id, firing);
        }
    }

    pub(super) fn set_meter(&mut self, id: String, meter: Option<Meter>, timers: &mut BTreeSet<Timer>) {
        let before = self.meters.remove(&id);
        let timer = |meter: &Option<Meter>| meter.as_ref().map(Meter::timer).into_iter();
        set_timers(timers, timer(&before), timer(&meter));
        if let Some(meter) = meter {
            self.meters.insert(id, meter);
        }
    }

    /// Takes note of whether an execution is live.
    pub(super) fn set_execution(&mut self, execution: &WorkflowExecution) {
        let Some(key) = live_of(execution) else { return };
        if execution.status.is_terminal() {
            take(&mut self.live, &key, &execution.id);
        } else {
            put(&mut self.live, key, execution.id);
        }
    }

    pub(super) fn held_firing(&self, id: FiringId) -> Option<&NewFiring> {
        self.held.get(&id)
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &NewFiring> {
        self.held.values()
    }

    pub(super) fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.meters.values()
    }
}

impl Draft<'_> {
    /// The firings that wait in a row, first to go first.
    pub(super) fn row(&self, key: &RowKey) -> Row {
        self.queues.rows.get(key).or_else(|| self.state.queues.rows.get(key)).cloned().unwrap_or_default()
    }

    /// How many wait in a row, and the first to go.
    pub(super) fn row_head(&self, key: &RowKey) -> (usize, Option<FiringId>) {
        let row = self.queues.rows.get(key).or_else(|| self.state.queues.rows.get(key));
        row.map_or((0, None), |row| (row.len(), row.first().map(|(_, id)| *id)))
    }

    /// The rows of one stage of `of` in which a firing waits.
    pub(super) fn rows_of(&self, of: &Subject) -> Vec<RowKey> {
        let first = (of.clone(), AdmissionStage::Idempotency, String::new());
        let is_of = |key: &&RowKey| key.0 == *of;
        let mut keys: BTreeSet<RowKey> = BTreeSet::new();
        keys.extend(self.state.queues.rows.range(first.clone()..).map(|(key, _)| key).take_while(is_of).cloned());
        keys.extend(self.queues.rows.range(first..).map(|(key, _)| key).take_while(is_of).cloned());
        keys.retain(|key| self.row_head(key).0 > 0);
        keys.into_iter().collect()
    }

    /// A firing that waits.
    pub(super) fn held(&self, id: FiringId) -> Option<&NewFiring> {
        let changed = self.out.firings.get(&id);
        let firing = changed.or_else(|| self.state.queues.held.get(&id))?;
        (firing.record.outcome == FiringOutcome::Waiting).then_some(firing)
    }

    /// The firings that wait and that the event at `cause` made.
    pub(super) fn held_by(&self, cause: Offset) -> Vec<FiringId> {
        let range = FiringId::new(cause, 0)..=FiringId::new(cause, u32::MAX);
        let mut ids: BTreeSet<FiringId> = self.state.queues.held.range(range.clone()).map(|(id, _)| *id).collect();
        ids.extend(self.out.firings.range(range).map(|(id, _)| *id));
        ids.into_iter().collect()
    }

    fn row_mut(&mut self, key: &RowKey) -> &mut Row {
        if !self.queues.rows.contains_key(key) {
            let row = self.state.queues.rows.get(key).cloned().unwrap_or_default();
            self.queues.rows.insert(key.clone(), row);
        }
        self.queues.rows.entry(key.clone()).or_default()
    }

    /// Records a firing as it stands now: it joins the row that it waits in, if it waits.
    pub(super) fn set_firing(&mut self, firing: NewFiring) {
        let job_of = firing.record.workflow_execution;
        let before = self.held(firing.id).and_then(row_of);
        let was_held = before.is_some();
        if let Some((row, place)) = before {
            self.row_mut(&row).remove(&place);
        }
        let is_held = firing.record.outcome == FiringOutcome::Waiting;
        if is_held && let Some((row, place)) = row_of(&firing) {
            self.row_mut(&row).insert(place);
        }
        if was_held != is_held
            && let Some(execution) = job_of.and_then(|id| self.execution_mut(id))
        {
            let held = execution.held;
            execution.held = if is_held { held.saturating_add(1) } else { held.saturating_sub(1) };
        }
        self.out.firings.insert(firing.id, firing);
    }

    /// Executions that count against a concurrency limit.
    pub(super) fn live(&self, key: &LiveKey) -> Vec<WorkflowExecutionId> {
        let live = self.queues.live.get(key).or_else(|| self.state.queues.live.get(key));
        live.map(|live| live.iter().copied().collect()).unwrap_or_default()
    }

    /// Takes note of whether an execution counts against its concurrency limit.
    pub(super) fn note_live(&mut self, id: WorkflowExecutionId) {
        let Some(execution) = self.execution(id) else { return };
        let is_live = !execution.status.is_terminal();
        let Some(key) = live_of(execution) else { return };
        if !self.queues.live.contains_key(&key) {
            let before = self.state.queues.live.get(&key).cloned().unwrap_or_default();
            self.queues.live.insert(key.clone(), before);
        }
        let live = self.queues.live.entry(key).or_default();
        if is_live {
            live.insert(id);
        } else {
            live.remove(&id);
        }
    }

    pub(super) fn meter(&self, id: &str) -> Option<&Meter> {
        match self.out.meters.get(id) {
            Some(changed) => changed.as_ref(),
            None => self.state.queues.meters.get(id),
        }
    }

    pub(super) fn set_meter(&mut self, meter: Meter) {
        let id = Meter::id(&meter.of, meter.stage, &meter.key);
        self.out.meters.insert(id, (!meter.passed.is_empty()).then_some(meter));
    }
}
