//! Why has this rule not fired, and what became of what it did?

use std::fmt;

use serde::{Deserialize, Serialize};

use super::parts::KeyExplanation;
use super::words;
use crate::execution::{AdmissionStep, CatchUp, FiringOutcome, RuleStatus, Waiting};
use crate::id::{Offset, RuleName};
use crate::timer::Subject;

/// The most keys of a rule with `for_each` that are explained at once; ask for one key to see it.
pub const EXPLAIN_KEYS_MAX: usize = 100;
/// The most late firings of a rule, or waiting starts of a job, that are listed.
pub const LATELY_MAX: usize = 10;

/// How a rule stands: what it has seen, what it lacks, what holds it back, and what lately became of its firings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleExplanation {
    /// Whose rule.
    pub of: Subject,
    /// The rule.
    pub rule: RuleName,
    /// The rule in words: `START when samples`.
    pub text: String,
    /// Whether it is at work.
    pub status: RuleStatus,
    /// How it came to the present, if it [began in the past](crate::workflow::StartPosition).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
    /// What keeps it from acting, whatever it has seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<String>,
    /// What its `for_each` tells apart, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    /// What it has seen: of each key, in order of keys, at most [`EXPLAIN_KEYS_MAX`]; one entry if it has no `for_each`.
    pub keys: Vec<KeyExplanation>,
    /// Keys that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_keys_left_out: usize,
    /// What became of its firings and events, newest first, at most [`LATELY_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lately: Vec<Lately>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What became of a firing, or of events that made none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lately {
    /// The event at which it fired, or would have.
    pub at: Offset,
    /// The rule, or the schedule, or neither if it was asked for by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The key of `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The events that it used, oldest first; at most [`SHOWN_EVENTS_MAX`](super::SHOWN_EVENTS_MAX).
    pub events: Vec<Offset>,
    /// How many it used in all.
    pub n_events: usize,
    /// What became of it.
    pub outcome: FiringOutcome,
    /// The execution that it made, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// What the stages of admission decided, in order, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<AdmissionStep>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waiting>,
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, rule, text, .. } = self;
        match of {
            Subject::Job { execution, job } => write!(f, "rule {rule} of job {job} in execution {execution}: {text}")?,
            Subject::Workflow { workflow, .. } => write!(f, "rule {rule} of workflow {workflow}: {text}")?,
        }
        match self.status {
            RuleStatus::Active => {}
            RuleStatus::Paused => f.write_str("\n  it is paused: events do not count until it is resumed")?,
            RuleStatus::Removed => f.write_str("\n  it was removed, and sees nothing any more")?,
        }
        if let Some(catch_up) = &self.catch_up {
            write_catch_up(f, catch_up)?;
        }
        for hindrance in &self.hindrances {
            write!(f, "\n  {hindrance}")?;
        }
        if let (Some(for_each), true) = (&self.for_each, self.keys.is_empty() && self.hindrances.is_empty()) {
            write!(f, "\n  it has seen nothing yet for any {for_each}")?;
        }
        for key in &self.keys {
            write_key(f, key)?;
        }
        if self.n_keys_left_out > 0 {
            write!(f, "\n  {} more keys are left out here", self.n_keys_left_out)?;
        }
        for lately in &self.lately {
            write!(f, "\n  lately: {lately}")?;
        }
        Ok(())
    }
}

fn write_catch_up(f: &mut fmt::Formatter<'_>, catch_up: &CatchUp) -> fmt::Result {
    let CatchUp { begun, covered, is_done, n_events, lost_through, is_cut, passed_over, given_up } = catch_up;
    if !is_done {
        let so_far = format!("so far it was shown {n_events} of them, up to event {covered}");
        write!(
            f,
            "\n  it came with event {begun} and catches up with the events before; {so_far}; new ones count after that"
        )?;
    } else if let Some(given_up) = given_up {
        write!(
            f,
            "\n  it came with event {begun} and was shown {n_events} events from before; the others up to event {covered} could not be \
             applied and did not count: event {given_up} is a dead letter that says why"
        )?;
    } else if *passed_over {
        write!(f, "\n  it did not count when it should have seen the events before it: they passed")?;
    } else {
        write!(
            f,
            "\n  it came with event {begun}, was shown {n_events} events from before, and sees those after event {covered}"
        )?;
    }
    if let Some(lost) = lost_through {
        write!(f, "\n  the events up to {lost} were not in the log any more, or out of reach, and did not count")?;
    }
    f.write_str(if *is_cut { "\n  there were too many keys: the latest event of some did not count" } else { "" })
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &KeyExplanation) -> fmt::Result {
    let for_key = key.key.as_ref().map(|key| format!("for {key:?} ")).unwrap_or_default();
    if !key.missing.is_empty() {
        write!(f, "\n  {for_key}it waits for {}", words::join(&key.missing, "and"))?;
    }
    let has_come = key.parts.iter().filter(|part| is_worth_a_line(part, key.missing.is_empty()));
    for part in has_come {
        write!(f, "\n  {for_key}{part}")?;
    }
    for held_back in &key.held_back {
        write!(f, "\n  {for_key}held back: {held_back}")?;
    }
    // Of what waits by itself it was said until when.
    let is_told = key.parts.iter().any(|part| matches!(part.state, super::PartState::Waits { .. }));
    if let Some(due) = key.due.filter(|_| !is_told && key.held_back.is_empty()) {
        write!(f, "\n  {for_key}it is looked at again at {}", due.to_rfc3339())?;
    }
    Ok(())
}

/// What is missing is said before; what there is, is said.
fn is_worth_a_line(part: &super::PartExplanation, nothing_is_missing: bool) -> bool {
    use super::PartState::{Counts, Held, Holds, HoldsBack, Missing, NotBegun, Pending, Standing, Waits};
    match &part.state {
        Pending { .. } | Standing { .. } | Held { .. } => true,
        Waits { since, .. } => !since.is_empty(),
        Holds => nothing_is_missing,
        Missing | NotBegun | HoldsBack { .. } | Counts { .. } => false,
    }
}

impl fmt::Display for Lately {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", words::events(&self.events, self.n_events), words::outcome(self.outcome))?;
        if let Some(key) = &self.key {
            write!(f, ", for {key:?}")?;
        }
        if let Some(execution) = &self.execution {
            write!(f, " (execution {execution})")?;
        }
        for step in &self.steps {
            write!(f, "; {}: {}", step.stage, step.reason)?;
        }
        if let Some(due) = self.waits.as_ref().and_then(|waits| waits.due) {
            write!(f, "; at the latest until {}", due.to_rfc3339())?;
        }
        Ok(())
    }
}
