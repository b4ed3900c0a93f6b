//! Overlap: what becomes of a start while what it starts is still live?

use serde::{Deserialize, Serialize};

/// What becomes of a start of a workflow or a job while an earlier execution of it is live.
///
/// Written `skip`, `buffer_one`, … in stored definitions. Rules and starts by hand use `allow_all` unless they say otherwise, schedules
/// `skip`. No start is lost without a record: one that is dropped says which policy dropped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// It is dropped, with a record.
    Skip,
    /// It waits for the live ones to end. At most one waits: further ones are dropped, with a record.
    BufferOne,
    /// It waits for the live ones and those that wait before it. At most [`OVERLAP_BUFFER_MAX`] wait: further ones are dropped, with a record.
    BufferAll,
    /// The live ones are asked to stop, with the grace of their jobs; it starts when they have ended. One that waits already is dropped,
    /// with a record: the newest start is the one that counts.
    CancelOther,
    /// The live ones are killed without grace; otherwise as `cancel_other`.
    TerminateOther,
    /// It starts at once, beside the live ones. A job has one live execution at a time in a workflow execution, so for a job this is the
    /// plain meaning of START: a start of a live job does nothing, with a record.
    AllowAll,
}

/// The most starts that wait under `buffer_all` for one workflow, or one job of a workflow execution.
pub const OVERLAP_BUFFER_MAX: usize = 10_000;

impl OverlapPolicy {
    /// Every policy, in the order of definition.
    pub const ALL: [Self; 6] =
        [Self::Skip, Self::BufferOne, Self::BufferAll, Self::CancelOther, Self::TerminateOther, Self::AllowAll];

    /// The policy as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::BufferOne => "buffer_one",
            Self::BufferAll => "buffer_all",
            Self::CancelOther => "cancel_other",
            Self::TerminateOther => "terminate_other",
            Self::AllowAll => "allow_all",
        }
    }
}

impl std::fmt::Display for OverlapPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_stored_as_it_is_written() {
        for policy in OverlapPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
    }
}
