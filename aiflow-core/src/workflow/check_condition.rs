//! Checks of conditions: what can never hold, what cannot be evaluated, and what is too large?

use std::collections::BTreeSet;

use super::{Condition, Diagnostic, EventPattern, KeyOf, Workflow};
use crate::id::JobName;
use crate::status::JobStatus;

/// The most operands of one rule.
pub const OPERANDS_PER_RULE_MAX: usize = 256;
/// The deepest nesting of conditions.
pub const CONDITION_DEPTH_MAX: usize = 32;
/// The most that `count` counts to.
pub const CONDITION_COUNT_MAX: usize = 10_000;
/// The longest name of custom code, in bytes.
const CUSTOM_NAME_BYTES_MAX: usize = 128;
/// The longest wait of `absent`, `optional` and `not_within`, in milliseconds: ten years.
const WAIT_MS_MAX: u128 = 3_660 * 86_400_000;

/// Whose rule a condition belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleKind {
    OfJob,
    OfWorkflow,
}

/// Where in a rule a condition stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// The jobs of the workflow.
    jobs: &'a BTreeSet<&'a JobName>,
    kind: RuleKind,
    depth: usize,
    /// The key of the `for_each` around it.
    key: Option<&'a KeyOf>,
    /// It stands in an `all` or a `sequence`, beside something that can fire.
    is_beside: bool,
}

struct Found<'a> {
    path: &'a str,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Found<'_> {
    fn add(&mut self, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::new(self.path, message));
    }

    fn problem(&mut self, problem: Option<String>) {
        if let Some(problem) = problem {
            self.add(problem);
        }
    }
}

impl Workflow {
    /// Adds what is wrong with the condition of a rule.
    pub(super) fn check_condition(
        &self,
        condition: &Condition,
        jobs: &BTreeSet<&JobName>,
        kind: RuleKind,
        path: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let mut found = Found { path, diagnostics };
        let n = condition.n_operands();
        if n > OPERANDS_PER_RULE_MAX {
            found.add(format!("has {n} operands, at most {OPERANDS_PER_RULE_MAX} are allowed"));
        }
        self.check_part(condition, Place { jobs, kind, depth: 0, key: None, is_beside: false }, &mut found);
    }

    fn check_part(&self, condition: &Condition, place: Place<'_>, found: &mut Found<'_>) {
        if place.depth > CONDITION_DEPTH_MAX {
            return found.add(format!("conditions are nested deeper than {CONDITION_DEPTH_MAX}"));
        }
        let mut below = Place { depth: place.depth.saturating_add(1), is_beside: false, ..place };
        match condition {
            Condition::On(pattern) => check_pattern(pattern, found),
            Condition::JobStatus { job, statuses, .. } => {
                self.check_status(job, statuses, place, found);
                if place.key.is_some_and(|key| !key.is_everywhere()) {
                    found.add(format!("waits for a status of job {job}, which has no key for for_each"));
                }
            }
            Condition::All(of) | Condition::Sequence(of) => {
                below.is_beside = of.iter().any(Condition::fires);
                if of.is_empty() {
                    found.add("has an empty all, any or sequence; it must have at least one operand");
                } else if !below.is_beside {
                    found
                        .add("has an all or sequence of guards and optional operands only; nothing would make it fire");
                }
            }
            Condition::Any(of) if of.is_empty() => {
                found.add("has an empty all, any or sequence; it must have at least one operand");
            }
            Condition::Any(_) => {}
            Condition::AtLeast { n, of } if *n == 0 || *n > of.len() => {
                found.add(format!("waits for at least {n} of {} operands", of.len()));
            }
            Condition::AtLeast { .. } => {}
            Condition::Count { n, .. } if *n == 0 || *n > CONDITION_COUNT_MAX => {
                found.add(format!("counts to {n}; from 1 to {CONDITION_COUNT_MAX} are allowed"));
            }
            Condition::Count { .. } => {}
            Condition::Within { window, .. } => found.problem(window.problem()),
            Condition::ForEach { key, .. } => {
                found.problem(key.problem());
                if place.depth > 0 {
                    found.add("for_each must stand outermost: it correlates the whole rule");
                }
                below.key = Some(key);
            }
            Condition::Absent { wait, .. } => found.problem(wait_problem("absent", wait.as_millis())),
            Condition::NotWithin { pattern, within } => {
                check_pattern(pattern, found);
                found.problem(wait_problem("not_within", within.as_millis()));
            }
            Condition::JobIs { job, statuses } => self.check_job_is(job, statuses, place, found),
            Condition::Optional { wait, .. } => found.problem(wait.problem(wait_problem)),
            Condition::Custom { name, on, .. } => check_custom(name, on, found),
        }
        if !condition.fires() && !place.is_beside {
            found.add("a guard or an optional operand stands in an all or a sequence, beside what it guards");
        }
        for child in condition.children() {
            self.check_part(child, below, found);
        }
    }

    fn check_status(&self, job: &JobName, statuses: &[JobStatus], place: Place<'_>, found: &mut Found<'_>) {
        self.check_job(job, statuses, place, found);
        if let Some(status) = statuses.iter().find(|status| !status.is_announced()) {
            found.add(format!("waits for status {} of job {job}, which is never announced to rules", status.as_str()));
        }
        if statuses.contains(&JobStatus::Skipped) {
            found.add("Skipped is decided when the execution ends, so no rule of it can see it");
        }
    }

    fn check_job_is(&self, job: &JobName, statuses: &[JobStatus], place: Place<'_>, found: &mut Found<'_>) {
        self.check_job(job, statuses, place, found);
        if place.kind == RuleKind::OfWorkflow {
            found
                .add(format!("looks at the status of job {job}, but a rule of a workflow has no execution to look at"));
        }
    }

    fn check_job(&self, job: &JobName, statuses: &[JobStatus], place: Place<'_>, found: &mut Found<'_>) {
        if !place.jobs.contains(job) {
            found.add(format!("waits for job {job}, which is not defined in this workflow"));
        }
        if statuses.is_empty() {
            found.add(format!("waits for no status of job {job}"));
        }
    }
}

impl Condition {
    /// Whether it can make a rule fire: a guard and an optional operand cannot.
    fn fires(&self) -> bool {
        !matches!(self, Self::NotWithin { .. } | Self::JobIs { .. } | Self::Optional { .. })
    }
}

fn check_pattern(pattern: &EventPattern, found: &mut Found<'_>) {
    found.problem(pattern.value.problem());
}

fn check_custom(name: &str, on: &[EventPattern], found: &mut Found<'_>) {
    if name.is_empty() || name.len() > CUSTOM_NAME_BYTES_MAX {
        found.add(format!("a custom condition has a name of 1 to {CUSTOM_NAME_BYTES_MAX} bytes"));
    }
    if on.is_empty() {
        found.add(format!("the custom condition {name:?} is shown no event"));
    }
    for pattern in on {
        check_pattern(pattern, found);
    }
}

fn wait_problem(what: &str, millis: u128) -> Option<String> {
    (millis == 0 || millis > WAIT_MS_MAX).then(|| format!("{what} waits from 1 ms to ten years"))
}
