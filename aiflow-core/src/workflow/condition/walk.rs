//! Walks over conditions: the jobs they name, and what else has to be said of all their parts.

use super::Condition;
use crate::id::{JobName, WorkflowName};

impl Condition {
    /// The conditions right below this one, in definition order.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match self {
            Self::On(_)
            | Self::JobStatus { .. }
            | Self::NotWithin { .. }
            | Self::JobIs { .. }
            | Self::Custom { .. } => Vec::new(),
            Self::All(of) | Self::Any(of) | Self::AtLeast { of, .. } | Self::Sequence(of) => of.iter().collect(),
            Self::Count { of, .. } | Self::Within { of, .. } | Self::ForEach { of, .. } | Self::Optional { of, .. } => {
                vec![of]
            }
            Self::Absent { of, after, .. } => std::iter::once(&**of).chain(after.as_deref()).collect(),
        }
    }

    fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::On(_)
            | Self::JobStatus { .. }
            | Self::NotWithin { .. }
            | Self::JobIs { .. }
            | Self::Custom { .. } => Vec::new(),
            Self::All(of) | Self::Any(of) | Self::AtLeast { of, .. } | Self::Sequence(of) => of.iter_mut().collect(),
            Self::Count { of, .. } | Self::Within { of, .. } | Self::ForEach { of, .. } | Self::Optional { of, .. } => {
                vec![of]
            }
            Self::Absent { of, after, .. } => std::iter::once(&mut **of).chain(after.as_deref_mut()).collect(),
        }
    }

    /// The jobs whose status it waits for or looks at, in definition order.
    pub(crate) fn jobs(&self) -> Vec<&JobName> {
        match self {
            Self::JobStatus { job, .. } | Self::JobIs { job, .. } => vec![job],
            other => other.children().into_iter().flat_map(Self::jobs).collect(),
        }
    }

    /// Gives every job whose status it waits for or looks at the name that `rename` says.
    pub(crate) fn rename_jobs(&mut self, rename: &impl Fn(&JobName) -> JobName) {
        match self {
            Self::JobStatus { job, .. } | Self::JobIs { job, .. } => *job = rename(job),
            other => other.children_mut().into_iter().for_each(|child| child.rename_jobs(rename)),
        }
    }

    /// How many operands it has: patterns to match, job statuses written out, and guards.
    pub(crate) fn n_operands(&self) -> usize {
        match self {
            Self::On(_) | Self::NotWithin { .. } | Self::JobIs { .. } => 1,
            Self::JobStatus { statuses, .. } => statuses.len(),
            Self::Custom { on, .. } => on.len(),
            other => other.children().into_iter().map(Self::n_operands).fold(0, usize::saturating_add),
        }
    }
}

/// Key of a job's status events.
#[must_use]
pub(crate) fn job_key(workflow: &WorkflowName, job: &JobName) -> String {
    format!("{workflow}/{job}")
}
