//! Why, and why not, and what if: what led to an execution, what keeps a rule or a job waiting, and what would other rules have done?
//!
//! Everything here is read from what the scheduler stored anyway: events with their causes, executions with the firing that made them,
//! records of firings, what rules have seen. The answers are plain data, and read as sentences when displayed. [`AiFlow`] gives them:
//! [`explain_execution`], [`explain_rule`], [`explain_job_rule`], [`explain_job`], [`what_if`].
//!
//! [`AiFlow`]: crate::client::AiFlow
//! [`explain_execution`]: crate::client::AiFlow::explain_execution
//! [`explain_rule`]: crate::client::AiFlow::explain_rule
//! [`explain_job_rule`]: crate::client::AiFlow::explain_job_rule
//! [`explain_job`]: crate::client::AiFlow::explain_job
//! [`what_if`]: crate::client::AiFlow::what_if

mod chain;
mod job;
mod parts;
mod rule;
mod what_if;
mod words;

pub use chain::{
    Because, EXPLAIN_EVENTS_MAX, EXPLAIN_STEPS_MAX, EventCame, ExecutionExplanation, JobRan, Source, Step, WorkflowRan,
};
pub use job::{JobExplanation, ScheduleExplanation};
pub use parts::{KeyExplanation, PartExplanation, PartState, SHOWN_EVENTS_MAX};
pub use rule::{EXPLAIN_KEYS_MAX, LATELY_MAX, Lately, RuleExplanation};
pub use what_if::{ComparedFiring, Difference, MOMENTS_PER_EVENT_MAX, ReplayPage, ReplayedFiring, Side, StartedThen};

pub(crate) use parts::{Circumstances, explain_key};
pub(crate) use what_if::Replay;
pub(crate) use words::event_words;
