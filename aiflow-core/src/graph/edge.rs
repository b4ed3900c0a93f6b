//! Edges of an AI graph: what flows, and what controls what?

use serde::{Deserialize, Serialize};

use crate::id::JobName;
use crate::status::JobStatus;
use crate::workflow::{Condition, SchedulingRule, all, job_status, start};

/// A value flows from one node to another: in memory, inside one job, unless it is [stored](DataEdge::stored).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataEdge {
    /// Node whose output it is.
    pub from: String,
    /// Output port of that node, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Node whose input it becomes.
    pub to: String,
    /// The two nodes may be of different jobs: the value is kept in the artifact store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
}

/// Something happens to a job when a condition is met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlEdge {
    /// The job acted on: the name of a job, or of a node and thereby its job.
    pub target: String,
    /// When and how.
    pub when: Trigger,
}

/// When and how a control edge acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a graph has few edges, and a box would show in its builders")]
pub enum Trigger {
    /// Start when all of these jobs, or the jobs of these nodes, have succeeded or, those that stream, are ready. Must not be empty.
    After(Vec<String>),
    /// As this rule says. Where it waits for the status of a job, a node stands for its job.
    Rule(SchedulingRule),
}

impl ControlEdge {
    /// The rule with the names as they were written; `None` if a name is malformed or there is nothing to wait for.
    pub(crate) fn rule(&self, streams: &impl Fn(&str) -> bool) -> Option<SchedulingRule> {
        match &self.when {
            Trigger::Rule(rule) => Some(rule.clone()),
            Trigger::After(sources) => all_done(sources, streams).map(start),
        }
    }
}

/// That all of these jobs, or the jobs of these nodes, have done what others wait for; `None` as for [`ControlEdge::rule`].
pub(crate) fn all_done(sources: &[String], streams: &impl Fn(&str) -> bool) -> Option<Condition> {
    let done = |name: &String| {
        let job = JobName::parse(name).ok()?;
        // A stream does not end; what depends on it needs it at work.
        Some(job_status(&job, if streams(name) { JobStatus::Ready } else { JobStatus::Succeeded }))
    };
    let mut done = sources.iter().map(done).collect::<Option<Vec<_>>>()?;
    match done.len() {
        0 => None,
        1 => done.pop(),
        _ => Some(all(done)),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
