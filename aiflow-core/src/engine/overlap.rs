//! Overlap: what becomes of a start while others are live? The last stages of admission, and who goes on when something ends.

use super::admission::{Verdict, as_count, queue_full, waiting};
use super::decision::NewFiring;
use super::queues::RowKey;
use super::state::{Draft, workflow_key};
use crate::execution::{AdmissionStage, FiringOutcome, RuleAction, StartRequest};
use crate::executor::StopMode;
use crate::id::{JobName, WorkflowExecutionId};
use crate::timer::Subject;
use crate::workflow::{Admission, JobAction, OverlapPolicy, WAITING_PER_KEY_MAX, WorkflowAction};

impl Draft<'_> {
    /// RESTART stops what it replaces and waits for the end.
    pub(super) fn pass_restart(&mut self, firing: &NewFiring) -> Verdict {
        let stage = AdmissionStage::Restart;
        if firing.record.action != RuleAction::Workflow(WorkflowAction::Restart) {
            return Verdict::Pass;
        }
        let key = workflow_key(&firing.project, &firing.record.workflow);
        let mut targets = self.running_any_version(&key);
        let request = &firing.record.request;
        targets.retain(|id| {
            !self.is_begun(*id)
                && self.is_replaced(*id, request)
                && self.is_of(*id, request.of_param.as_deref(), firing.record.firing.key.as_deref())
        });
        let row = self.row_key(firing, stage, &[]);
        let waits_for_all = |other: &NewFiring| {
            let (mine, theirs) = (&firing.record, &other.record);
            if mine.request.context != theirs.request.context {
                return false;
            }
            let is_of_key = mine.request.of_param.is_some();
            if mine.request.of_param != theirs.request.of_param || (is_of_key && mine.firing.key != theirs.firing.key) {
                return false;
            }
            let after = other.record.waits.as_ref().map(|waits| waits.after.as_slice()).unwrap_or_default();
            targets.iter().all(|target| after.contains(target))
        };
        if !targets.is_empty()
            && let Some((_, other)) =
                self.row(&row).into_iter().find(|(_, id)| self.held(*id).is_some_and(waits_for_all))
        {
            return Verdict::Drop(FiringOutcome::Merged, format!("firing {other} waits for the same"));
        }
        for id in &targets {
            self.stop_execution(*id, StopMode::Graceful, &format!("firing {} replaces it", firing.id));
        }
        targets.retain(|id| self.execution(*id).is_some_and(|execution| !execution.status.is_terminal()));
        if targets.is_empty() {
            return Verdict::Pass;
        }
        let reason = format!("waits for the end of {}", list(&targets));
        let mut waits = waiting(stage, row.2, 0, self.now());
        waits.after = targets;
        Verdict::Wait(waits, reason)
    }

    /// Whether a RESTART means this execution: the one that it names, or those of its context.
    fn is_replaced(&self, id: WorkflowExecutionId, request: &StartRequest) -> bool {
        match (request.replaces, &request.context) {
            (Some(only), _) => only == id,
            (None, None) => true,
            (None, context) => self.execution(id).is_some_and(|execution| execution.context == *context),
        }
    }

    pub(super) fn pass_concurrency(&mut self, admission: &Admission, firing: &NewFiring) -> Verdict {
        match firing.record.subject(&firing.project) {
            Subject::Workflow { .. } => self.pass_executions(admission, firing),
            Subject::Job { execution, job } => self.pass_job(admission, firing, execution, &job),
        }
    }

    fn pass_executions(&mut self, admission: &Admission, firing: &NewFiring) -> Verdict {
        let stage = AdmissionStage::Concurrency;
        let key = admission.concurrency.as_ref().map(|concurrency| concurrency.key.as_slice()).unwrap_or_default();
        let row = self.row_key(firing, stage, key);
        let wait = |draft: &Self, reason: String| {
            Verdict::Wait(waiting(stage, row.2.clone(), admission.priority, draft.now()), reason)
        };
        let (n_waiting, _) = self.row_head(&row);
        if !self.is_enabled(&row.0) {
            return if n_waiting < WAITING_PER_KEY_MAX {
                wait(self, "the workflow is disabled".to_owned())
            } else {
                queue_full()
            };
        }
        let asked = firing.record.request.overlap.filter(|policy| *policy != OverlapPolicy::AllowAll);
        let policy = asked.or(admission.overlap);
        let Some(limit) = admission.executions_max().or(asked.map(|_| 1)).map(as_count) else {
            return Verdict::Pass;
        };
        let restarts = firing.record.action == RuleAction::Workflow(WorkflowAction::Restart);
        let live = self.live_of(admission, &row);
        if live.len() < limit && (n_waiting == 0 || restarts) {
            return Verdict::Pass;
        }
        let found = format!("{} of at most {limit} executions are live", live.len());
        match policy.unwrap_or(OverlapPolicy::BufferAll) {
            _ if restarts => wait(self, found),
            OverlapPolicy::Skip => Verdict::Drop(FiringOutcome::Overlapped, format!("skipped: {found}")),
            OverlapPolicy::BufferOne if n_waiting > 0 => {
                Verdict::Drop(FiringOutcome::Overlapped, format!("skipped: {found}, and one waits"))
            }
            OverlapPolicy::BufferAll | OverlapPolicy::AllowAll if n_waiting >= WAITING_PER_KEY_MAX => queue_full(),
            OverlapPolicy::BufferOne | OverlapPolicy::BufferAll | OverlapPolicy::AllowAll => wait(self, found),
            policy @ (OverlapPolicy::CancelOther | OverlapPolicy::TerminateOther) => {
                self.replace_waiting(&row, firing);
                let surplus = live.len().saturating_add(1).saturating_sub(limit);
                for id in live.into_iter().take(surplus) {
                    self.stop_execution(
                        id,
                        stop_mode(policy),
                        &format!("{policy}: firing {} takes its place", firing.id),
                    );
                }
                if self.live_of(admission, &row).len() < limit {
                    Verdict::Pass
                } else {
                    wait(self, format!("{policy}: {found}"))
                }
            }
        }
    }

    /// Of a job: a START that finds it live.
    fn pass_job(
        &mut self,
        admission: &Admission,
        firing: &NewFiring,
        execution: WorkflowExecutionId,
        job: &JobName,
    ) -> Verdict {
        let stage = AdmissionStage::Concurrency;
        let policy = firing.record.request.overlap.or(admission.overlap).unwrap_or(OverlapPolicy::AllowAll);
        let Some(current) = self.live_job(execution, job) else { return Verdict::Pass };
        if firing.record.action != RuleAction::Job(JobAction::Start) || policy == OverlapPolicy::AllowAll {
            return Verdict::Pass;
        }
        let row = self.row_key(firing, stage, &[]);
        let (n_waiting, _) = self.row_head(&row);
        let wait = |draft: &Self| {
            let waits = waiting(stage, String::new(), admission.priority, draft.now());
            Verdict::Wait(waits, format!("{policy}: execution {current} is live"))
        };
        match policy {
            OverlapPolicy::Skip => {
                Verdict::Drop(FiringOutcome::Overlapped, format!("skipped: execution {current} is live"))
            }
            OverlapPolicy::BufferOne if n_waiting > 0 => {
                Verdict::Drop(FiringOutcome::Overlapped, format!("skipped: execution {current} is live, and one waits"))
            }
            OverlapPolicy::BufferAll if n_waiting >= WAITING_PER_KEY_MAX => queue_full(),
            OverlapPolicy::BufferOne | OverlapPolicy::BufferAll | OverlapPolicy::AllowAll => wait(self),
            OverlapPolicy::CancelOther | OverlapPolicy::TerminateOther => {
                self.replace_waiting(&row, firing);
                self.cancel_waiting(execution, job);
                self.stop_job(current, stop_mode(policy), &format!("{policy}: firing {} takes its place", firing.id));
                if self.live_job(execution, job).is_some() { wait(self) } else { Verdict::Pass }
            }
        }
    }

    /// The newest start is the one that counts: those that wait are dropped.
    fn replace_waiting(&mut self, row: &RowKey, by: &NewFiring) {
        for (_, id) in self.row(row) {
            if let Some(other) = self.held(id).cloned() {
                let reason = format!("firing {} took its place", by.id);
                self.drop_firing(other, FiringOutcome::Replaced, Some(row.1), reason);
            }
        }
    }

    /// The executions that count against the limit of a row, oldest first.
    fn live_of(&self, admission: &Admission, row: &RowKey) -> Vec<WorkflowExecutionId> {
        match &row.0 {
            _ if is_keyed(admission) => self.live(&(row.0.clone(), row.2.clone())),
            Subject::Workflow { project, workflow } => self.running_any_version(&workflow_key(project, workflow)),
            Subject::Job { .. } => Vec::new(),
        }
    }

    /// A workflow execution has ended: what waited for it goes on.
    pub(super) fn on_execution_ended(&mut self, id: WorkflowExecutionId) {
        self.note_live(id);
        let Some(execution) = self.execution(id) else { return };
        let of = Subject::Workflow { project: execution.project.clone(), workflow: execution.workflow.clone() };
        let key = execution.concurrency_key.clone().unwrap_or_default();
        let version = execution.version;
        let is_latest = self
            .workflow(&workflow_key(&execution.project, &execution.workflow))
            .is_some_and(|state| state.version == version);
        let is_keyed = self.admission_of_subject(&of).is_some_and(|admission| is_keyed(&admission));
        for (_, waiter) in self.row(&(of.clone(), AdmissionStage::Restart, String::new())) {
            let Some(mut firing) = self.held(waiter).cloned() else { continue };
            let Some(waits) = firing.record.waits.as_mut().filter(|waits| waits.after.contains(&id)) else { continue };
            waits.after.retain(|other| *other != id);
            if waits.after.is_empty() {
                self.admit(firing, Some(AdmissionStage::Restart));
            } else {
                self.set_firing(firing);
            }
        }
        if is_latest && is_keyed {
            self.release_executions(&(of, AdmissionStage::Concurrency, key));
        } else {
            // What waits may be kept under the keys of another definition, earlier or later. Only those that wait for room: a start that
            // stops this execution to make room may be on its way from an earlier stage.
            for row in self.rows_of(&of).into_iter().filter(|(_, stage, _)| *stage == AdmissionStage::Concurrency) {
                self.release_executions(&row);
            }
        }
    }

    /// Lets starts of a workflow that wait for room go on, as many as there is room for.
    fn release_executions(&mut self, row: &RowKey) {
        while let Some(mut head) = self.row_head(row).1.and_then(|id| self.held(id)).cloned() {
            let Some(admission) = self.admission_of_subject(&row.0).filter(|_| self.is_enabled(&row.0)) else { return };
            let limit = admission.executions_max().or(head.record.request.overlap.map(|_| 1));
            if limit.is_some_and(|limit| self.live_of(&admission, row).len() >= as_count(limit)) {
                return;
            }
            self.say(&mut head, row.1, "there is room".to_owned());
            self.begin(head);
        }
    }

    /// A workflow was enabled, or has a new definition: whatever waits under the old terms is looked at again.
    pub(super) fn release_all(&mut self, of: &Subject) {
        for row in self.rows_of(of) {
            match row.1 {
                AdmissionStage::Throttle => self.release_throttled(&row),
                AdmissionStage::Concurrency => self.release_executions(&row),
                _ => {}
            }
        }
    }

    /// A job has nothing live any more: the next of those that wait for it starts.
    pub(super) fn release_job(&mut self, execution: WorkflowExecutionId, job: &JobName) {
        let of = Subject::Job { execution, job: job.clone() };
        let row = (of, AdmissionStage::Concurrency, String::new());
        if self.is_paused(execution) {
            return;
        }
        // One that is refused after all makes room for the next.
        while self.live_job(execution, job).is_none()
            && let Some(mut head) = self.row_head(&row).1.and_then(|id| self.held(id)).cloned()
        {
            self.say(&mut head, row.1, "the execution before it has ended".to_owned());
            self.begin(head);
        }
    }
}

/// Whether executions are counted by key, not all together.
fn is_keyed(admission: &Admission) -> bool {
    admission.concurrency.as_ref().is_some_and(|concurrency| !concurrency.key.is_empty())
}

fn stop_mode(policy: OverlapPolicy) -> StopMode {
    if policy == OverlapPolicy::TerminateOther { StopMode::Kill } else { StopMode::Graceful }
}

fn list(ids: &[WorkflowExecutionId]) -> String {
    /// How many are named.
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = ids.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(SHOWN_MAX);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
