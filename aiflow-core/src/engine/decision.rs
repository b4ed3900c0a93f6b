//! What goes into the engine and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hosts::HostKey;
use super::pools::PoolKey;
use crate::event::{Event, NewEvent};
use crate::execution::{FiringRecord, JobExecution, JobState, Meter, Pool, WorkflowExecution, WorkflowState};
use crate::executor::{Signal, StopMode};
use crate::history::History;
use crate::host::HostState;
use crate::id::{AttemptId, ExecutorName, FiringId, JobExecutionId, JobName, Offset, ProjectName, WorkflowExecutionId};
use crate::rerun::RerunPlan;
use crate::workflow::Workflow;

/// An event from the log, with what the engine cannot look up itself.
#[derive(Debug, Clone)]
pub struct Input {
    /// The event.
    pub event: Arc<Event>,
    /// The definition that a `WorkflowSubmitted` event speaks of.
    pub workflow: Option<Arc<Workflow>>,
    /// What a `CatchUp` event asks for, [read](crate::history::read_history) from the log before it.
    pub history: Option<History>,
    /// The plan that a `RerunExecution` event speaks of.
    pub rerun: Option<Arc<RerunPlan>>,
}

impl From<Arc<Event>> for Input {
    fn from(event: Arc<Event>) -> Self {
        Self { event, workflow: None, history: None, rerun: None }
    }
}

impl From<Event> for Input {
    fn from(event: Event) -> Self {
        Arc::new(event).into()
    }
}

/// Everything that follows from some inputs. Commit it, then [`apply`](super::Engine::apply) it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// How many of the inputs were decided; ask again for the rest.
    pub consumed: usize,
    /// Offset of the last of them.
    pub cursor: Offset,
    /// New contents of the workflows that changed.
    pub workflows: BTreeMap<WorkflowKey, Arc<WorkflowState>>,
    /// Definitions that became the latest of their workflow.
    pub definitions: BTreeMap<WorkflowKey, Arc<Workflow>>,
    /// New contents of the workflow executions that changed; terminal ones leave the engine.
    pub executions: BTreeMap<WorkflowExecutionId, Arc<WorkflowExecution>>,
    /// New contents of the jobs that changed, by workflow execution.
    pub job_states: BTreeMap<WorkflowExecutionId, BTreeMap<JobName, Arc<JobState>>>,
    /// Those of them that are new.
    pub begun: Vec<WorkflowExecutionId>,
    /// New contents of the job executions that changed; terminal ones leave the engine.
    pub jobs: BTreeMap<JobExecutionId, Arc<JobExecution>>,
    /// Firings that made no execution, and new contents of those that go through admission.
    pub firings: BTreeMap<FiringId, NewFiring>,
    /// New contents of what the stages of admission count, by id; `None` if there is nothing to count any more.
    pub meters: BTreeMap<String, Option<Meter>>,
    /// New contents of the pools that changed; `None` if one was removed.
    pub pools: BTreeMap<PoolKey, Option<Arc<Pool>>>,
    /// New contents of the hosts that changed; `None` if one was forgotten.
    pub hosts: BTreeMap<HostKey, Option<Arc<HostState>>>,
    /// Events that could not be applied, each with its id and reason.
    pub dead_letters: Vec<DeadLetter>,
    /// Events to append, in this order.
    pub events: Vec<NewEvent>,
    /// Commands to carry out after the commit, in this order.
    pub commands: Vec<Command>,
}

/// A firing that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFiring {
    /// Id of the record: the event's offset, and the number among the firings that it led to.
    pub id: FiringId,
    /// Project of the rule.
    pub project: ProjectName,
    /// The firing.
    pub record: FiringRecord,
}

/// An event that had no effect, or not its whole effect, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Id of the record: the event's offset, or the offset and the rule that could not take it.
    pub id: String,
    /// The event.
    pub offset: Offset,
    /// Why.
    pub reason: String,
}

/// `project/workflow`.
pub type WorkflowKey = Arc<str>;

/// What is to be done on a computing platform that the leader itself reaches; a host is told by an event
/// ([`Control::TellHost`](crate::control::Control::TellHost)). Repeating a command is harmless: the attempt is its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start this attempt.
    Launch {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Hand a value to this attempt.
    Signal {
        /// The attempt.
        attempt: AttemptId,
        /// Its executor.
        executor: ExecutorName,
        /// The value.
        signal: Signal,
    },
    /// Stop this attempt.
    Stop {
        /// The attempt.
        attempt: AttemptId,
        /// Its executor.
        executor: ExecutorName,
        /// How.
        mode: StopMode,
    },
}

impl Command {
    /// The attempt that it is about.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        match self {
            Self::Launch { attempt } | Self::Signal { attempt, .. } | Self::Stop { attempt, .. } => *attempt,
        }
    }
}
