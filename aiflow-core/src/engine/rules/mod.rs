//! Rules at work: does this event satisfy the rule, and which events does the firing use?
//!
//! A rule is compiled into a tree whose parts keep their state in numbered slots ([`OperandState`](crate::execution::OperandState)).
//! Evaluation has two halves: [`prepare`](CompiledRule::prepare) says, without changing anything, what an event is to the rule;
//! [`evaluate`](CompiledRule::evaluate) takes it in and fires. Everything is decided by log offsets, so equal times, late clocks and restarts
//! change nothing; only windows and waits look at times, and at those in the log.

mod choose;
mod compile;
mod custom;
mod evaluate;
mod prepare;
mod upkeep;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

pub use custom::{CUSTOM_STATE_BYTES_MAX, CustomCondition, CustomConditions, Verdict};
pub(super) use evaluate::{Evaluation, Full};
pub(super) use prepare::Prepared;

use crate::id::{JobName, RuleName};
use crate::status::JobStatus;
use crate::workflow::{
    CompiledTest, CompiledWindow, EventPattern, JobAction, KeyOf, Life, ParamSource, StartPosition, Wait,
    WorkflowAction,
};

/// The most events that wait at one operand.
pub const OPERAND_PENDING_MAX: usize = 10_000;
/// The most keys of which a rule with `for_each` keeps something.
pub const RULE_KEYS_MAX: usize = 10_000;

/// A rule, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    pub(super) name: RuleName,
    pub(super) target: Target,
    /// What to look for in the log; leaf for leaf the patterns of `leaves`.
    pub(super) operands: Vec<EventPattern>,
    /// The jobs whose present status guards look at.
    pub(super) jobs: Vec<JobName>,
    leaves: Vec<Leaf>,
    customs: Vec<Custom>,
    /// What a firing takes from its events.
    params: BTreeMap<String, ParamSource>,
    /// Of a workflow: the parameter that names the executions that it acts on.
    pub(super) of_param: Option<String>,
    /// Of a workflow: an event that does not say whom it concerns is not for it.
    pub(super) needs_contexts: bool,
    /// Where in the log it begins when it is new.
    pub(super) from: StartPosition,
    pub(super) key: Option<KeyOf>,
    tree: Part,
    /// Slots whose events a firing uses up.
    consumable: Vec<usize>,
    /// The waits of optional operands.
    waits: Vec<Wait>,
    /// It has an absence that begins to wait with the rule, or with the key.
    waits_at_once: bool,
    /// Windows, sequences and absences have to be kept up.
    needs_upkeep: bool,
}

/// What a rule acts on, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Job(JobName, JobAction),
    Workflow(WorkflowAction),
}

/// What one pattern is good for.
#[derive(Debug, Clone)]
struct Leaf {
    slot: usize,
    role: Role,
    test: CompiledTest,
    /// The windows around it, each with its slot.
    windows: Vec<(usize, CompiledWindow)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Operand(Life),
    Guard,
    /// Shown to the custom code of this number.
    Custom(usize),
}

#[derive(Debug, Clone)]
struct Custom {
    slot: usize,
    name: String,
    params: serde_json::Value,
    windows: Vec<(usize, CompiledWindow)>,
}

/// A part of a condition, and the slots in which it and what it is made of keep their state.
#[derive(Debug, Clone)]
struct Part {
    node: Node,
    slots: Range<usize>,
}

#[derive(Debug, Clone)]
enum Node {
    Operand(usize),
    All(Vec<Part>),
    AtLeast(usize, Vec<Part>),
    Sequence(Vec<Part>),
    Count(usize, Box<Part>),
    Within { slot: usize, window: CompiledWindow, of: Box<Part> },
    Absence(Box<Absence>),
    Guard { slot: usize, within: Duration },
    JobIs { job: JobName, statuses: Vec<JobStatus> },
    Optional { wait: Wait, of: Box<Part> },
    Custom(usize),
}

#[derive(Debug, Clone)]
struct Absence {
    slot: usize,
    of: Part,
    after: Option<Part>,
    wait: Duration,
    /// The windows around it, each with its slot.
    windows: Vec<(usize, CompiledWindow)>,
}
