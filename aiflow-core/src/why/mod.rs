//! Why, and why not, and what if: what led to an execution, what keeps a rule or a job waiting, and what would other rules have done?
//!
//! Everything here is read from what the scheduler stored anyway: events with their causes, executions with the firing that made them,
//! records of firings, what rules have seen. The answers are plain data, and read as sentences when displayed. [`AiFlow`] gives them:
//! [`explain_execution`], [`explain_rule`], [`explain_job_rule`], [`explain_job`], [`what_if`].
//!
//! ```
//! # use std::sync::Arc;
//! # use aiflow_core::{client::AiFlow, function::*, id::*, memory::MemoryStore, time::SystemClock, workflow::*};
//! # use serde_json::Value;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let memory = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! # let aiflow = AiFlow::new(memory.clone(), memory)?.project("wine")?;
//! # let functions = Functions::new().register("train", |_, _: Value| async { Ok(()) });
//! # let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;
//! # let mut workflow = Workflow::new(ProjectName::parse("wine")?, WorkflowName::parse("quality")?);
//! # let (train, spec) = (JobName::parse("train")?, FunctionSpec::single(NodeName::parse("train")?, "train"));
//! # workflow.jobs.push(Job::new(train.clone(), ExecutorName::parse("function")?, serde_json::to_value(spec)?));
//! workflow.control_edges.push(ControlEdge { job: train, rule: start(on("samples")) });
//! aiflow.submit(&workflow).await?;
//! let execution = aiflow.start("quality", Value::Null).await?;
//! aiflow.wait_until(execution, |_, _| true).await?;
//!
//! let why_not = aiflow.explain_job(execution, "train").await?.to_string();
//! assert!(why_not.starts_with("job train has not run in execution "));
//! assert!(why_not.ends_with("START when samples: waits for samples"));
//!
//! aiflow.publish(aiflow.event("samples").value("batch-7")).await?;
//! aiflow.wait_until(execution, |_, jobs| jobs.values().any(|job| job.runs > 0)).await?;
//! let ran = aiflow.job_executions(execution).await?.remove(0);
//!
//! let why = aiflow.explain_execution(ran.id).await?.to_string();
//! assert!(why.contains("because its rule \"START when samples\" fired on event "));
//! assert!(why.ends_with("samples \"batch-7\", came from outside"));
//! # scheduler.shutdown().await?;
//! # Ok(()) }
//! ```
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
