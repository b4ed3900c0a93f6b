//! Lineage of executions: which events fired them, and which jobs published those?

use std::collections::BTreeMap;

use crate::bus::EventBus;
use crate::engine::Decision;
use crate::error::{ErrorKind, Result};
use crate::event::{Event, EventFilter};
use crate::execution::Firing;
use crate::id::{JobExecutionId, Offset};
use crate::lineage::{PUBLISHED_BY, RERUN_OF, TRIGGERED_BY, TRIGGERS_MAX, event_key};
use crate::records::{job_execution_key, workflow_execution_key};
use crate::store::{RecordKey, Relation};

/// So many of the newest events of jobs are remembered; an older one is read again if a firing uses it.
const REMEMBERED_MAX: usize = 100_000;

/// From which job executions the events come that this leader has seen.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    known: BTreeMap<Offset, JobExecutionId>,
    /// Of every event from here on it is known.
    since: Option<Offset>,
}

impl Publishers {
    pub(super) fn note(&mut self, event: &Event) {
        self.since.get_or_insert(event.offset);
        self.known.extend(event.context.attempt.map(|attempt| (event.offset, attempt.job_execution)));
        if self.known.len() > REMEMBERED_MAX
            && let Some((forgotten, _)) = self.known.pop_first()
        {
            self.since = Some(forgotten.next());
        }
    }

    async fn of(&self, bus: &dyn EventBus, event: Offset) -> Result<Option<JobExecutionId>> {
        if self.since.is_some_and(|since| event >= since) {
            return Ok(self.known.get(&event).copied());
        }
        match bus.read(Offset(event.0.saturating_sub(1)), &EventFilter::all(), 1).await {
            Ok(page) => {
                let found = page.events.iter().find(|found| found.offset == event);
                Ok(found.and_then(|event| event.context.attempt).map(|attempt| attempt.job_execution))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is to be written of the executions that a decision begins. `decided` is what was decided before it.
    pub(super) async fn lineage(
        &self,
        bus: &dyn EventBus,
        decision: &Decision,
        decided: Offset,
    ) -> Result<Vec<Relation>> {
        let mut lineage = Vec::new();
        for execution in decision.begun.iter().filter_map(|id| decision.executions.get(id)) {
            let key = workflow_execution_key(execution.id);
            self.fired(bus, &key, &execution.cause, &mut lineage).await?;
            let first = execution.rerun_of.map(workflow_execution_key);
            lineage.extend(first.map(|to| Relation { kind: RERUN_OF.to_owned(), from: key, to }));
        }
        // A job execution is named after the event that began it. What starts together with its workflow execution is part of that.
        for job in decision.jobs.values().filter(|job| job.id.cause > decided) {
            if job.cause.rule.is_some() || job.cause.schedule.is_some() {
                self.fired(bus, &job_execution_key(job.id), &job.cause, &mut lineage).await?;
            }
        }
        Ok(lineage)
    }

    async fn fired(
        &self,
        bus: &dyn EventBus,
        execution: &RecordKey,
        cause: &Firing,
        lineage: &mut Vec<Relation>,
    ) -> Result<()> {
        for event in cause.events.iter().rev().take(TRIGGERS_MAX) {
            let key = event_key(*event);
            lineage.push(Relation { kind: TRIGGERED_BY.to_owned(), from: execution.clone(), to: key.clone() });
            let publisher = self.of(bus, *event).await?.map(job_execution_key);
            lineage.extend(publisher.map(|to| Relation { kind: PUBLISHED_BY.to_owned(), from: key, to }));
        }
        Ok(())
    }
}
