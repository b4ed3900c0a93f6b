//! Pictures: how does an execution stand, at a glance?

use super::AiFlow;
use crate::error::{Error, Result};
use crate::id::WorkflowExecutionId;
use crate::workflow::Live;

impl AiFlow {
    /// An execution as an SVG picture: its workflow, each job in the colour of its status; see
    /// [`Workflow::to_svg`](crate::workflow::Workflow::to_svg).
    ///
    /// # Errors
    /// `NotFound`: there is no such execution, or its version is gone. `Full`: there is too much to draw. Others are those of the store.
    pub async fn execution_svg(&self, id: WorkflowExecutionId) -> Result<String> {
        let missing = |what: &'static str| Error::not_found("draw", what).with("execution", id);
        let execution = self.execution(id).await?.ok_or_else(|| missing("there is no such execution"))?;
        let version = self.workflow_version(&execution.workflow, execution.version).await?;
        let version = version.ok_or_else(|| missing("the version of its workflow is gone"))?;
        let jobs = self.job_executions(id).await?;
        version.workflow.to_svg(Some(&Live::of(&jobs)))
    }
}
