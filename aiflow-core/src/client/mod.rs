//! The handle of applications, jobs and tools: how does one speak with AIFlow from outside the scheduler?
//!
//! [`AiFlow`] needs a store and a log, not a scheduler: whatever it asks is a durable event or a record, and takes effect when a scheduler
//! leads, here or in another process.

mod control;
mod dead_letters;
mod events;
mod executions;
mod hosts;
mod implied;
mod jobs;
mod lineage;
mod listener;
mod pages;
#[cfg(feature = "svg")]
mod picture;
mod pools;
mod rerun;
mod retention;
mod rules;
mod schedules;
mod search;
mod start;
mod waits;
mod what_if;
mod why;
mod why_ran;
mod workflows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub use control::REASON_BYTES_MAX;
pub use events::check_user_event;
pub use hosts::HostInfo;
pub use listener::Listener;
pub use pools::PoolInfo;
pub(crate) use retention::retire;
pub use retention::{RETENTION_RECORDS_MAX, Retention, Retired};
pub use schedules::{Backfill, NEXT_TIMES_MAX, ScheduleInfo};
pub use start::{LABELLED_LISTED_MAX, LABELS_MAX, Start, Stop};
pub use what_if::{DIFFERENCE_FIRINGS_MAX, REPLAY_EVENTS_MAX, REPLAY_FIRINGS_PAGE, WhatIf, WhatIfReplay};
pub use workflows::SubmittedVersion;
pub(crate) use workflows::too_many_conflicts;

use crate::bus::EventBus;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Cause, NewEvent};
use crate::executor::JobIdentity;
use crate::id::ProjectName;
use crate::store::MetaStore;
use crate::time::{Clock, SystemClock};
use crate::workflow::Workflow;

/// The project of a handle that was given none.
pub const DEFAULT_PROJECT: &str = "default";
/// How often a write is decided anew because others wrote first.
pub(crate) const CONFLICT_TRIES_MAX: usize = 256;

/// Publishes events, submits and starts workflows, reads how they stand, and keeps metadata; all in one project.
///
/// Cloning is cheap and shares everything. Every method is cancel safe as the ports are: a dropped write is done or not done, never half.
///
/// ```
/// # use std::sync::Arc;
/// use aiflow_core::{client::AiFlow, event::EventFilter, id::Offset, memory::MemoryStore, time::SystemClock};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aiflow_core::Result<()> {
/// let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
/// let aiflow = AiFlow::new(memory.clone(), memory)?.project("wine")?;
/// aiflow.publish(aiflow.event("samples").value("batch-7")).await?;
///
/// let mut listener = aiflow.listen(EventFilter::all().namespace("wine"), Offset::START);
/// assert_eq!(listener.next().await?.value, "batch-7");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct AiFlow(Arc<Inner>);

/// Versions of workflows, each with the id of its record, by `project/workflow`.
type Definitions = BTreeMap<String, (String, Arc<Workflow>)>;

#[derive(Debug, Clone)]
struct Inner {
    store: Arc<dyn MetaStore>,
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    project: ProjectName,
    origin: Option<Origin>,
    /// Shared by all handles that come from one.
    waits: Arc<waits::Waits>,
    /// The newest versions of workflows that were started.
    definitions: Arc<Mutex<Definitions>>,
}

/// The job that speaks through a handle.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) identity: JobIdentity,
    pub(crate) cause: Option<Cause>,
}

impl AiFlow {
    /// A handle in project [`DEFAULT_PROJECT`], with the clock of the operating system.
    ///
    /// # Errors
    /// `Unsupported` if the store does not append to the log of `bus`: records and their events need one transaction.
    pub fn new(store: Arc<dyn MetaStore>, bus: Arc<dyn EventBus>) -> Result<Self> {
        let (store_log, bus_log) = (store.capabilities().log, bus.capabilities().log);
        if store_log != bus_log {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "open",
                "the store and the bus must share one log, so that records and events change together",
            )
            .with("store", store_log)
            .with("bus", bus_log));
        }
        Ok(Self(Arc::new(Inner {
            store,
            bus,
            clock: Arc::new(SystemClock),
            project: ProjectName::parse(DEFAULT_PROJECT)?,
            origin: None,
            waits: Arc::default(),
            definitions: Arc::default(),
        })))
    }

    /// The handle of a running job: what it writes carries the job and its cause.
    pub(crate) fn of_job(
        store: Arc<dyn MetaStore>,
        bus: Arc<dyn EventBus>,
        clock: Arc<dyn Clock>,
        origin: Origin,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            bus,
            clock,
            project: origin.identity.project.clone(),
            origin: Some(origin),
            waits: Arc::default(),
            definitions: Arc::default(),
        }))
    }

    /// The same handle with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.clock = clock;
        Self(Arc::new(inner))
    }

    /// The same handle in another project. A project needs no registration.
    ///
    /// # Errors
    /// `Invalid` if the name is not well formed, or begins with `aiflow.`: those are reserved.
    pub fn project(&self, name: impl AsRef<str>) -> Result<Self> {
        let name = ProjectName::parse(name)?;
        if name.is_reserved() {
            return Err(
                Error::invalid("choose project", "names that begin with \"aiflow.\" are reserved").with("name", name)
            );
        }
        let mut inner = Inner::clone(&self.0);
        inner.project = name;
        Ok(Self(Arc::new(inner)))
    }

    /// The project in which this handle works.
    #[must_use]
    pub fn project_name(&self) -> &ProjectName {
        &self.0.project
    }

    /// The store behind this handle.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MetaStore> {
        &self.0.store
    }

    /// The log behind this handle.
    #[must_use]
    pub fn bus(&self) -> &Arc<dyn EventBus> {
        &self.0.bus
    }

    /// The clock of this handle.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The job that speaks through this handle, if one does.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    /// Says in `event` which job it comes from and what caused it, where the event does not say so itself.
    pub(crate) fn stamp(&self, mut event: NewEvent) -> NewEvent {
        if let Some(Origin { identity, cause }) = self.origin() {
            if event.sender.is_empty() {
                identity.job.as_str().clone_into(&mut event.sender);
            }
            event.context.attempt.get_or_insert(identity.attempt);
            event.cause = event.cause.or(*cause);
        }
        event
    }

    /// As [`stamp`](Self::stamp), and narrows the event to the workflow execution of the job, unless it names one.
    pub(crate) fn stamp_for_execution(&self, event: NewEvent) -> NewEvent {
        let mut event = self.stamp(event);
        if let Some(Origin { identity, .. }) = self.origin() {
            event.context.workflow_execution.get_or_insert(identity.workflow_execution);
        }
        event
    }
}
