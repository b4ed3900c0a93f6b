//! Scheduling rules: under which condition is what done to a job or a workflow?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::hash_of;
use super::params::ParamSource;
use crate::id::{Offset, RuleName};

/// When `condition` is met, `action` is taken on a job. Source: seed "Job Scheduling Rule".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulingRule {
    /// Identity under which the rule's state is kept. Derived from the content unless set, so that adding, removing or reordering other
    /// rules does not touch it.
    pub name: RuleName,
    /// When.
    pub condition: Condition,
    /// What.
    pub action: JobAction,
    /// Parameters that it takes from the events that the firing used; they override those of the workflow execution.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamSource>,
    /// Where in the log it begins when it is new. No part of its identity: a rule that is at work already goes on where it is.
    #[serde(default, skip_serializing_if = "StartPosition::is_now")]
    pub from: StartPosition,
}

/// What a rule does to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobAction {
    /// Start it, unless it is live; if it is stopping, start it when it has stopped.
    Start,
    /// Stop it, if it is live, and cancel a start that waits.
    Stop,
    /// Stop it, if it is live, and start it when it has stopped.
    Restart,
    /// Hand the value of the event to it while it runs, and restart it with the value (parameter [`SIGNAL_PARAM`]) if it does not
    /// acknowledge it in time, its executor cannot hand over, or it does not run.
    Signal,
    /// Nothing; the rules after it are superseded all the same.
    None,
}

/// The parameter that holds the value with which a job was restarted because it could not be handed over.
pub const SIGNAL_PARAM: &str = "signal";

/// When `condition` is met, `action` is taken on the workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowRule {
    /// Identity, as in [`SchedulingRule::name`].
    pub name: RuleName,
    /// When.
    pub condition: Condition,
    /// What.
    pub action: WorkflowAction,
    /// STOP and RESTART under `for_each` only: the parameter that tells executions apart. Of the running ones, the rule stops or replaces those
    /// alone in which it is the key of the firing, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_param: Option<String>,
    /// Parameters that it takes from the events that the firing used; they override those of the workflow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamSource>,
    /// Where in the log it begins when it is new. No part of its identity: a rule that is at work already goes on where it is.
    #[serde(default, skip_serializing_if = "StartPosition::is_now")]
    pub from: StartPosition,
}

/// What a rule does to its workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum WorkflowAction {
    /// Start an execution; several may run at once.
    Start,
    /// Stop the running executions: the one named by the newest event that the firing used, if it is of this workflow; otherwise all, or
    /// those [of one key](WorkflowRule::of). A RESTART of them that waits is cancelled.
    Stop,
    /// Stop the executions that STOP would stop, and start one when they have ended; at once if there are none. A second one while it
    /// waits for the same executions is merged into it.
    Restart,
}

/// Where in the log a rule begins when it is new: when its workflow is first submitted with it or with another condition of it; of a job's
/// rule, when an execution begins or is [upgraded](crate::client::AiFlow::upgrade) to it.
///
/// A rule that begins in the past catches up: it is shown the events of the log in their order, as if they came now, and sees new ones once it
/// has reached the present; none is missed or shown twice. Starts happen now; windows and waits go by the times of the events, so what would
/// have been due meanwhile is due at once. Guards on jobs look at the jobs as they are now. A rule that is paused then, or whose workflow is
/// disabled, lets the past pass. What was trimmed from the log cannot be shown; the state of the rule
/// ([`CatchUp`](crate::execution::CatchUp)) says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StartPosition {
    /// With the first event after the one that brought the rule.
    #[default]
    Now,
    /// With the event at this offset, or the first after it.
    Offset(Offset),
    /// With the newest event of each namespace, key and type that the fields of a pattern match; under `for_each`, of each of its keys. Whether
    /// a value passes the test is asked of that event alone: the latest value counts, not the latest that would have passed.
    LatestPerKey,
}

impl StartPosition {
    pub(crate) fn is_now(&self) -> bool {
        *self == Self::Now
    }
}

fn derived_name(condition: &Condition, action: &str) -> RuleName {
    let hash = hash_of(&(condition, action));
    let name = format!("{}-{}", action.to_ascii_lowercase(), hash.get(..12).unwrap_or_default());
    RuleName::parse(name).expect("an action and hex digits form a name")
}

impl SchedulingRule {
    /// A rule whose name is derived from its content.
    #[must_use]
    pub fn new(condition: impl Into<Condition>, action: JobAction) -> Self {
        let condition = condition.into();
        Self {
            name: derived_name(&condition, action.as_str()),
            condition,
            action,
            params: BTreeMap::new(),
            from: StartPosition::Now,
        }
    }

    /// Takes a parameter from the events that the firing used: from the newest that has the field. If none has it, the parameter is not
    /// given, and the first such event is recorded.
    ///
    /// ```
    /// use aiflow_core::workflow::{Field, all, field, on, start};
    ///
    /// let rule = start(all([on("samples"), on("model.*")]))
    ///     .param("uri", field("/uri").of("samples"))
    ///     .param("model", Field::Key);
    /// ```
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, source: impl Into<ParamSource>) -> Self {
        self.params.insert(name.into(), source.into());
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn named(mut self, name: RuleName) -> Self {
        self.name = name;
        self
    }

    /// The event at `offset`, or the first after it, is the first that the rule sees; by default that is the first after the rule itself.
    ///
    /// ```
    /// use aiflow_core::{id::Offset, workflow::{on, start_workflow}};
    ///
    /// // Everything that is in the log, then what comes.
    /// let rule = start_workflow(on("samples")).from_offset(Offset::START);
    /// ```
    #[must_use]
    pub fn from_offset(mut self, offset: Offset) -> Self {
        self.from = StartPosition::Offset(offset);
        self
    }

    /// Of what came before the rule, it sees the newest event of each key; see [`StartPosition::LatestPerKey`].
    #[must_use]
    pub fn from_latest(mut self) -> Self {
        self.from = StartPosition::LatestPerKey;
        self
    }
}

impl WorkflowRule {
    /// A rule whose name is derived from its content.
    #[must_use]
    pub fn new(condition: impl Into<Condition>, action: WorkflowAction) -> Self {
        let condition = condition.into();
        Self {
            name: derived_name(&condition, action.as_str()),
            condition,
            action,
            of_param: None,
            params: BTreeMap::new(),
            from: StartPosition::Now,
        }
    }

    /// Stops or replaces only the executions whose parameter `name` is the key of the firing, as text. The condition must say `for_each`, and the
    /// action STOP or RESTART.
    ///
    /// ```
    /// use aiflow_core::workflow::{KeyOf, field, on, start_workflow, stop_workflow};
    ///
    /// // A reminder for each order that is placed, stopped when that order is paid.
    /// let remind = start_workflow(on("order.placed")).param("order", field("/id"));
    /// let paid = stop_workflow(on("order.paid").for_each(KeyOf::value("/id"))).of("order");
    /// ```
    #[must_use]
    pub fn of(mut self, name: impl Into<String>) -> Self {
        self.of_param = Some(name.into());
        self
    }

    /// What is wrong with how it tells executions apart.
    pub(super) fn of_param_problem(&self) -> Option<&'static str> {
        let name = self.of_param.as_ref()?;
        if name.is_empty() {
            Some("the parameter that tells executions apart has a name")
        } else if self.action == WorkflowAction::Start {
            Some("a START concerns no execution that is there; only STOP and RESTART tell executions apart")
        } else if !matches!(self.condition, Condition::ForEach { .. }) {
            Some("executions are told apart by the key of for_each, which the condition does not have")
        } else {
            None
        }
    }

    /// Takes a parameter from the events that the firing used: from the newest that has the field. If none has it, the parameter is not
    /// given, and the first such event is recorded.
    ///
    /// ```
    /// use aiflow_core::workflow::{Field, all, field, on, start};
    ///
    /// let rule = start(all([on("samples"), on("model.*")]))
    ///     .param("uri", field("/uri").of("samples"))
    ///     .param("model", Field::Key);
    /// ```
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, source: impl Into<ParamSource>) -> Self {
        self.params.insert(name.into(), source.into());
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn named(mut self, name: RuleName) -> Self {
        self.name = name;
        self
    }

    /// The event at `offset`, or the first after it, is the first that the rule sees; by default that is the first after the rule itself.
    ///
    /// ```
    /// use aiflow_core::{id::Offset, workflow::{on, start_workflow}};
    ///
    /// // Everything that is in the log, then what comes.
    /// let rule = start_workflow(on("samples")).from_offset(Offset::START);
    /// ```
    #[must_use]
    pub fn from_offset(mut self, offset: Offset) -> Self {
        self.from = StartPosition::Offset(offset);
        self
    }

    /// Of what came before the rule, it sees the newest event of each key; see [`StartPosition::LatestPerKey`].
    #[must_use]
    pub fn from_latest(mut self) -> Self {
        self.from = StartPosition::LatestPerKey;
        self
    }
}

impl JobAction {
    /// The action in capitals, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Stop => "STOP",
            Self::Restart => "RESTART",
            Self::Signal => "SIGNAL",
            Self::None => "NONE",
        }
    }
}

impl WorkflowAction {
    /// The action in capitals, as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Stop => "STOP",
            Self::Restart => "RESTART",
        }
    }
}

/// Start the job when this is met.
#[must_use]
pub fn start(condition: impl Into<Condition>) -> SchedulingRule {
    SchedulingRule::new(condition, JobAction::Start)
}

/// Stop the job when this is met.
#[must_use]
pub fn stop(condition: impl Into<Condition>) -> SchedulingRule {
    SchedulingRule::new(condition, JobAction::Stop)
}

/// Restart the job when this is met; start it if it is not live.
#[must_use]
pub fn restart(condition: impl Into<Condition>) -> SchedulingRule {
    SchedulingRule::new(condition, JobAction::Restart)
}

/// Hand the value of the event that meets this to the job while it runs; restart it with the value if it does not acknowledge it within
/// [`Job::ack_within`](super::Job::ack_within).
#[must_use]
pub fn signal(condition: impl Into<Condition>) -> SchedulingRule {
    SchedulingRule::new(condition, JobAction::Signal)
}

/// Do nothing when this is met, and hide the rules after it.
#[must_use]
pub fn ignore(condition: impl Into<Condition>) -> SchedulingRule {
    SchedulingRule::new(condition, JobAction::None)
}

/// Start an execution of the workflow when this is met.
#[must_use]
pub fn start_workflow(condition: impl Into<Condition>) -> WorkflowRule {
    WorkflowRule::new(condition, WorkflowAction::Start)
}

/// Replace the running executions of the workflow by a new one when this is met.
#[must_use]
pub fn restart_workflow(condition: impl Into<Condition>) -> WorkflowRule {
    WorkflowRule::new(condition, WorkflowAction::Restart)
}

/// Stop running executions of the workflow when this is met.
#[must_use]
pub fn stop_workflow(condition: impl Into<Condition>) -> WorkflowRule {
    WorkflowRule::new(condition, WorkflowAction::Stop)
}
