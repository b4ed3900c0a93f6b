//! Checks of a definition: what is wrong with it, all at once, and where?

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::check_condition::RuleKind;
use super::{JobAction, SCHEDULES_MAX, Workflow};
use crate::error::{Error, Result};
use crate::host::HOST_LABELS_MAX;
use crate::id::{JobName, RuleName, ScheduleName};

/// The most jobs in a workflow.
pub const JOBS_MAX: usize = 10_000;
/// The most rules in a workflow, job and workflow rules together.
pub const RULES_MAX: usize = 10_000;

/// One thing that is wrong with a definition, or that may not be meant, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Where: `job train`, `edge 3`, `job train, rule start-1a2b`.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// Whether it keeps the definition from being submitted.
    #[serde(default, skip_serializing_if = "Severity::is_error")]
    pub severity: Severity,
}

/// How bad it is what a check found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It can be submitted and does what it says, which is probably not what is meant.
    Warning,
    /// It cannot be submitted: it is out of bounds, contradicts itself or cannot be evaluated.
    #[default]
    Error,
}

impl Severity {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

impl Diagnostic {
    /// An error.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), severity: Severity::Error }
    }

    /// A warning.
    #[must_use]
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(path, message) }
    }

    /// Whether it keeps the definition from being submitted.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity.is_error()
    }

    /// One error that carries all diagnostics that are errors; `Ok` if there are none.
    ///
    /// # Errors
    /// `Invalid`, listing every error.
    pub fn into_result(diagnostics: &[Self], operation: &'static str) -> Result<()> {
        let lines: Vec<String> = diagnostics.iter().filter(|found| found.is_error()).map(Self::to_string).collect();
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(operation, lines.join("; ")).with("problems", lines.len()))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.is_error() { "" } else { "warning: " };
        write!(f, "{warning}{}: {}", self.path, self.message)
    }
}

impl Workflow {
    /// Everything that is wrong with this definition, and what may not be meant. It can be submitted if none of it is an
    /// [error](Diagnostic::is_error).
    #[must_use]
    pub fn check(&self) -> Vec<Diagnostic> {
        let mut found = self.check_form();
        // What a definition means can be said of one that is well formed.
        if found.is_empty() {
            self.check_meaning(&mut found);
        }
        found
    }

    /// What can be said of each part by itself; among it is everything that keeps the definition from being submitted.
    pub(crate) fn check_form(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if self.jobs.is_empty() {
            found.push(Diagnostic::new(format!("workflow {}", self.name), "has no job"));
        }
        if self.project.is_reserved() {
            found.push(Diagnostic::new(
                format!("project {}", self.project),
                "names that begin with \"aiflow.\" are reserved",
            ));
        }
        let n_rules = self.control_edges.len().saturating_add(self.rules.len());
        for (what, n, max) in [("jobs", self.jobs.len(), JOBS_MAX), ("rules", n_rules, RULES_MAX)] {
            if n > max {
                found.push(Diagnostic::new(
                    format!("workflow {}", self.name),
                    format!("has {n} {what}, at most {max} are allowed"),
                ));
            }
        }
        if !(self.params.is_null() || self.params.is_object()) {
            found.push(Diagnostic::new("params", "must be a JSON object"));
        }
        self.contexts.check(&mut found);
        self.admission.check(&format!("workflow {}", self.name), false, &mut found);
        self.check_jobs(&mut found);
        self.check_alerts(&mut found);
        self.check_parameters(&mut found);
        self.check_rules(&mut found);
        self.check_schedules(&mut found);
        found
    }

    fn check_schedules(&self, found: &mut Vec<Diagnostic>) {
        let own = self.schedules.iter().map(|schedule| (None, schedule));
        let jobs = self.jobs.iter().flat_map(|job| job.schedules.iter().map(move |schedule| (Some(job), schedule)));
        let mut names: BTreeSet<(Option<&str>, &ScheduleName)> = BTreeSet::new();
        let mut n = 0_usize;
        for (job, schedule) in own.chain(jobs) {
            n = n.saturating_add(1);
            let path = match job {
                Some(job) => format!("job {}, schedule {}", job.name, schedule.name),
                None => format!("workflow {}, schedule {}", self.name, schedule.name),
            };
            if !names.insert((job.map(|job| job.name.as_str()), &schedule.name)) {
                found.push(Diagnostic::new(
                    &path,
                    "has the same name or times as another one here; name them differently",
                ));
            }
            schedule.check(&path, found);
            if job.is_none() && schedule.action != JobAction::Start {
                found.push(Diagnostic::new(
                    &path,
                    "a schedule of a workflow performs START; to replace what runs, set overlap to cancel_other",
                ));
            }
        }
        if n > SCHEDULES_MAX {
            let path = format!("workflow {}", self.name);
            found.push(Diagnostic::new(path, format!("has {n} schedules, at most {SCHEDULES_MAX} are allowed")));
        }
    }

    fn check_jobs(&self, found: &mut Vec<Diagnostic>) {
        let mut names = BTreeSet::new();
        for job in &self.jobs {
            let path = format!("job {}", job.name);
            if !names.insert(&job.name) {
                found.push(Diagnostic::new(&path, "is defined twice"));
            }
            if !(job.params.is_null() || job.params.is_object()) {
                found.push(Diagnostic::new(&path, "params must be a JSON object"));
            }
            job.check_limits(&path, found);
            job.retry.check(&path, found);
            job.check_restart(&path, found);
            job.admission.check(&path, true, found);
            if job.runs_on.len() > HOST_LABELS_MAX {
                let message = format!("asks for {} labels, at most {HOST_LABELS_MAX} are allowed", job.runs_on.len());
                found.push(Diagnostic::new(&path, message));
            }
            if job.streaming && job.admission.pool.is_some() {
                let message = "a streaming job does not end: it would keep its slots from the others for ever; make the pool smaller instead";
                found.push(Diagnostic::new(format!("{path}, admission"), message));
            }
        }
    }

    fn check_rules(&self, found: &mut Vec<Diagnostic>) {
        let mut names: BTreeSet<(Option<&str>, &RuleName)> = BTreeSet::new();
        let jobs: BTreeSet<&JobName> = self.jobs.iter().map(|job| &job.name).collect();
        for (i, edge) in self.control_edges.iter().enumerate() {
            let path = format!("control edge {} of job {}, rule {}", i.saturating_add(1), edge.job, edge.rule.name);
            if !jobs.contains(&edge.job) {
                found.push(Diagnostic::new(&path, "the job is not defined in this workflow"));
            }
            if !names.insert((Some(edge.job.as_str()), &edge.rule.name)) {
                found.push(Diagnostic::new(&path, "the job has another rule of this name or content"));
            }
            self.check_condition(&edge.rule.condition, &jobs, RuleKind::OfJob, &path, found);
        }
        for rule in &self.rules {
            let path = format!("workflow rule {}", rule.name);
            if !names.insert((None, &rule.name)) {
                found.push(Diagnostic::new(&path, "the workflow has another rule of this name or content"));
            }
            if let Some(problem) = rule.of_param_problem() {
                found.push(Diagnostic::new(&path, problem));
            }
            self.check_condition(&rule.condition, &jobs, RuleKind::OfWorkflow, &path, found);
        }
    }
}
