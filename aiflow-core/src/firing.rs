//! Firings: which events satisfied which rule, and what became of it?

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{FiringId, JobName, Offset, ProjectName, RuleName, WorkflowExecutionId, WorkflowName};
use crate::rerun::RerunPlan;
use crate::schedule_state::ScheduledTime;
use crate::time::Timestamp;
use crate::timer::{Alarm, Subject, Timer, TimerKey};
use crate::workflow::{JobAction, OverlapPolicy, WorkflowAction, hash_of};

/// Record kind of what a stage of admission remembers of one key.
pub const KIND_METER: &str = "meter";

/// Why something was done: the rule, and exactly the events that satisfied it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The rule; `None` for a start with the workflow execution or by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The time of a schedule that has come, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduledTime>,
    /// The events used, oldest first. For a start by hand, the request.
    pub events: Vec<Offset>,
    /// The key for which a rule with `for_each` fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Length of the chain of causes behind it.
    #[serde(default)]
    pub hops: u32,
}

impl Firing {
    /// Whether both are the same firing. The chain behind what it made may be counted as shorter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { rule, schedule, events, key, hops: _ } = self;
        (rule, schedule, events, key) == (&other.rule, &other.schedule, &other.events, &other.key)
    }

    /// What fired, in a few words.
    #[must_use]
    pub fn why(&self) -> String {
        match (&self.rule, &self.schedule) {
            (Some(rule), _) => format!("rule {rule}"),
            (None, Some(time)) => format!("schedule {}", time.schedule),
            (None, None) => String::new(),
        }
    }
}

/// A firing and what became of it: one that made no execution, and one that admission had a say in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringRecord {
    /// The workflow execution whose job the rule is about; `None` for a workflow rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_execution: Option<WorkflowExecutionId>,
    /// Workflow.
    pub workflow: WorkflowName,
    /// Job; `None` for a workflow rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// The firing.
    #[serde(flatten)]
    pub firing: Firing,
    /// The action that the rule asked for.
    pub action: RuleAction,
    /// What became of it.
    pub outcome: FiringOutcome,
    /// What it asks to start, if it went through admission.
    #[serde(default, skip_serializing_if = "StartRequest::is_plain")]
    pub request: StartRequest,
    /// What it waits for; only while the outcome is [`FiringOutcome::Waiting`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waiting>,
    /// What the stages of admission decided, in order, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<AdmissionStep>,
}

impl FiringRecord {
    /// A firing of a rule of `workflow`, without anything of admission.
    #[must_use]
    pub fn new(workflow: WorkflowName, firing: Firing, action: RuleAction, outcome: FiringOutcome) -> Self {
        Self {
            workflow_execution: None,
            workflow,
            job: None,
            firing,
            action,
            outcome,
            request: StartRequest::default(),
            waits: None,
            steps: Vec::new(),
        }
    }

    /// Whose start it asks for.
    #[must_use]
    pub fn subject(&self, project: &ProjectName) -> Subject {
        match (self.workflow_execution, &self.job) {
            (Some(execution), Some(job)) => Subject::Job { execution, job: job.clone() },
            _ => Subject::Workflow { project: project.clone(), workflow: self.workflow.clone() },
        }
    }

    /// The timer that ends its wait, if one does.
    #[must_use]
    pub fn timer(&self, id: FiringId) -> Option<Timer> {
        let Waiting { stage, due, .. } = self.waits.as_ref()?;
        Some(Timer { due: (*due)?, key: TimerKey::Firing { firing: id, stage: *stage } })
    }

    /// The same, of a rule of a job.
    #[must_use]
    pub fn of_job(mut self, execution: WorkflowExecutionId, job: JobName) -> Self {
        (self.workflow_execution, self.job) = (Some(execution), Some(job));
        self
    }
}

/// What a start brings along.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartRequest {
    /// The id of the workflow execution that it makes when it is admitted; `None` for a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<WorkflowExecutionId>,
    /// Parameters that override those of the definition, a JSON object or null.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// The named context that the execution is to carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The labels of the execution.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The overlap policy of the schedule that asks; that of the definition if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OverlapPolicy>,
    /// RESTART only: the one execution that it replaces; all live ones if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<WorkflowExecutionId>,
    /// RESTART only: it replaces the executions alone whose parameter of this name is the key of the firing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_param: Option<String>,
    /// What it takes over from an ended execution, if it runs that again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Arc<RerunPlan>>,
    /// A person or program asks by an event of its own, which is refused if nothing is started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_hand: bool,
}

impl StartRequest {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A stage of admission. A firing passes them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AdmissionStage {
    /// Refuses what has wrong parameters.
    Parameters,
    /// Refuses what was asked for before.
    Idempotency,
    /// Drops what comes too often.
    RateLimit,
    /// Waits until no further firing comes, and keeps the last.
    Debounce,
    /// Collects firings into one start.
    Batch,
    /// Queues what comes too often.
    Throttle,
    /// RESTART only: waits until what it replaces has ended.
    Restart,
    /// Of a job: waits until its workflow execution, which is paused, is resumed.
    Pause,
    /// Holds at most so many at once; the overlap policy says what becomes of the others.
    Concurrency,
}

impl AdmissionStage {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Parameters,
        Self::Idempotency,
        Self::RateLimit,
        Self::Debounce,
        Self::Batch,
        Self::Throttle,
        Self::Restart,
        Self::Pause,
        Self::Concurrency,
    ];

    /// The stage as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Idempotency => "idempotency",
            Self::RateLimit => "rate_limit",
            Self::Debounce => "debounce",
            Self::Batch => "batch",
            Self::Throttle => "throttle",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Concurrency => "concurrency",
        }
    }
}

impl std::fmt::Display for AdmissionStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a firing waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// At which stage.
    pub stage: AdmissionStage,
    /// With which others it waits: the values of the stage's key parameters; empty if the stage has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Priority: of those that wait, a higher one goes first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Since when. For `debounce`, since the first firing of the row.
    pub since: Timestamp,
    /// Until when, at the latest, if time ends the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Executions that must have ended before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<WorkflowExecutionId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// What one stage of admission decided about a firing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionStep {
    /// The stage.
    pub stage: AdmissionStage,
    /// When.
    pub at: Timestamp,
    /// What and why, for people.
    pub reason: String,
}

/// What a stage of admission remembers of one key: when it let something pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Project.
    pub project: ProjectName,
    /// Whose starts.
    pub of: Subject,
    /// The stage.
    pub stage: AdmissionStage,
    /// The values of its key parameters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// When it let something pass, as far as that still counts; oldest first.
    pub passed: VecDeque<Timestamp>,
    /// The newest of what passed.
    pub firing: FiringId,
    /// When this changes by itself.
    pub alarm: Alarm,
}

impl Meter {
    /// Its id: the same for the same key.
    #[must_use]
    pub fn id(of: &Subject, stage: AdmissionStage, key: &str) -> String {
        let of = match of {
            Subject::Workflow { .. } => format!("workflow/{of}"),
            Subject::Job { .. } => format!("job/{of}"),
        };
        format!("{of}/{stage}/{}", hash_of(&key))
    }

    /// The timer that changes it.
    #[must_use]
    pub fn timer(&self) -> Timer {
        let Alarm { due, set_by } = self.alarm;
        Timer { due, key: TimerKey::Meter { meter: Self::id(&self.of, self.stage, &self.key), set_by } }
    }
}

/// An action of either kind of rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// On a job.
    Job(JobAction),
    /// On a workflow.
    Workflow(WorkflowAction),
}

/// What became of a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FiringOutcome {
    /// The action was taken: something was told to stop.
    Stopped,
    /// The action was NONE.
    None,
    /// SIGNAL of a live job: the value is handed to its running attempt, or to the next one that runs.
    HandedOver,
    /// START of a job that is live.
    AlreadyLive,
    /// STOP of a job or workflow that is not live.
    NotLive,
    /// START or RESTART while another one waits already.
    Merged,
    /// An earlier rule of the job, or an earlier START rule of the workflow, acted on the same event.
    Superseded,
    /// The chain of causes is longer than its bound.
    TooManyHops,
    /// The workflow is disabled: the event would have counted for a START rule, and does not.
    Disabled,
    /// It waits to be admitted, see [`FiringRecord::waits`].
    Waiting,
    /// It was admitted and made an execution.
    Started,
    /// A firing with the same idempotency key came before.
    Duplicate,
    /// Dropped by the rate limit.
    RateLimited,
    /// A later firing took its place while it waited.
    Replaced,
    /// It was joined with others into one start.
    Batched,
    /// Times of a schedule that had passed by too much when they were found, and that the misfire policy drops.
    Missed,
    /// Dropped by the overlap policy: others are live.
    Overlapped,
    /// Dropped because too many wait already.
    QueueFull,
    /// It was cancelled while it waited.
    Cancelled,
    /// What it asks for cannot be started, see the last of [`FiringRecord::steps`].
    Refused,
    /// No firing: events of a `latest` operand gave way to a newer one.
    EventReplaced,
    /// No firing: events left the window of their operand, or can no longer come in order.
    Expired,
    /// No firing: the event has not the key that the rule correlates by.
    NoKey,
    /// No firing: the event does not name the executions that it concerns, where the workflow says.
    NoContext,
    /// No firing: the event lacks a field that a predicate looks at. Recorded for the first such event of a rule.
    FieldMissing,
    /// No firing: events that waited for a firing went with the rule, which was changed or removed.
    RuleChanged,
    /// No firing: events that waited for a firing were cleared by hand.
    Cleared,
    /// The rule is paused, or the scheduling of its job is stopped: the event, or the moment, would have counted, and does not.
    Paused,
}

impl FiringOutcome {
    /// Whether the rule fired. Otherwise the record says what became of events that it had matched or might have.
    #[must_use]
    pub fn is_firing(self) -> bool {
        !matches!(
            self,
            Self::EventReplaced
                | Self::Expired
                | Self::NoKey
                | Self::NoContext
                | Self::FieldMissing
                | Self::RuleChanged
                | Self::Cleared
        )
    }
}
