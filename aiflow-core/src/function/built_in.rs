//! Functions that are always there: jobs that run nothing here, and stand for something.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JobContext;
use super::registry::{Function, Functions, JobError};
use crate::event::EventFilter;
use crate::id::Offset;

/// Function of a job that gives back its input: a point at which others meet. See [`graph::dummy`](crate::graph::dummy).
pub const DUMMY: &str = "aiflow.dummy";
/// Function of a job that runs elsewhere and is only shown. See [`graph::read_only`](crate::graph::read_only).
pub const READ_ONLY: &str = "aiflow.read_only";
/// Function of a job that runs until it is stopped, and does nothing. See [`graph::external_trigger`](crate::graph::external_trigger).
pub const EXTERNAL_TRIGGER: &str = "aiflow.external_trigger";
/// Type of the events by which a job that runs elsewhere says how it stands.
pub const OUTSIDE_STATUS: &str = "OUTSIDE_STATUS";

/// How a job that runs elsewhere stands: the value of an event of the type [`OUTSIDE_STATUS`] whose key is that of the job. The labels of the
/// event become [labels](crate::execution::JobExecution::labels) of the job execution, which shows them.
///
/// ```
/// # use aiflow_core::function::OutsideStatus;
/// let status: OutsideStatus = serde_json::from_str(r#"{"status": "FAILED", "message": "no space"}"#).unwrap();
/// assert_eq!(status, OutsideStatus::Failed { message: "no space".to_owned() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum OutsideStatus {
    /// It runs.
    Running,
    /// It has done its work.
    Succeeded {
        /// What it returned.
        #[serde(default)]
        output: Value,
    },
    /// It has failed.
    Failed {
        /// Why, for people.
        #[serde(default)]
        message: String,
    },
}

/// What a job that runs elsewhere is called there.
#[derive(Debug, Deserialize)]
struct Outside {
    /// Key of its events.
    key: Option<String>,
}

static BUILT_IN: LazyLock<Functions> = LazyLock::new(|| {
    Functions::new()
        .register(DUMMY, |_, input: Value| async move { Ok(input) })
        .register(EXTERNAL_TRIGGER, |ctx: JobContext, _: Value| async move {
            ctx.ready().await;
            ctx.cancelled().await;
            Ok(())
        })
        .register(READ_ONLY, |ctx: JobContext, _: Value| async move { watch(ctx).await })
});

pub(super) fn built_in(name: &str) -> Option<&'static Function> {
    BUILT_IN.registered(name)
}

/// Waits until the outside says that the job has ended, or it is to stop being shown.
async fn watch(ctx: JobContext) -> Result<Value, JobError> {
    let Outside { key } = ctx.params()?;
    let key = key.unwrap_or_else(|| ctx.node().to_string());
    // What is said after the job began counts, also if this attempt began later.
    let began = ctx.events().iter().map(|event| event.offset).max();
    let after: Offset = began.unwrap_or(ctx.identity().workflow_execution.cause);
    let project = ctx.identity().project.to_string();
    let filter = EventFilter::all().namespace(project).key(key).event_type(OUTSIDE_STATUS);
    let mut listener = ctx.aiflow().listen(filter, after);
    ctx.ready().await;
    loop {
        let event = tokio::select! {
            biased;
            event = listener.next() => event?,
            () = ctx.cancelled() => return Ok(Value::Null),
        };
        for (name, value) in &event.context.labels {
            if let Err(error) = ctx.set_label(name, value) {
                tracing::warn!(offset = %event.offset, %error, "an event of an outside job has a label that cannot be kept");
            }
        }
        match OutsideStatus::deserialize(&event.value) {
            Ok(OutsideStatus::Running) => {}
            Ok(OutsideStatus::Succeeded { output }) => return Ok(output),
            Ok(OutsideStatus::Failed { message }) => return Err(JobError::from(message).of_kind("outside")),
            Err(error) => {
                tracing::warn!(offset = %event.offset, %error, "an event of an outside job does not say how it stands");
            }
        }
    }
}
