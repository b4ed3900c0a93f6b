//! Warnings: which jobs does nothing start, which rules never fire, which guards always hold?
//!
//! All of this can be submitted: the engine does what it says. A job can be started by hand whatever its rules are.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::{CompiledTest, Tested};
use super::{
    Completion, Condition, Diagnostic, EventPattern, JobAction, Life, SchedulingRule, Workflow, WorkflowAction,
};
use crate::event::{JOB_STATUS_CHANGED, Match, NewEvent, WORKFLOW_STATUS_CHANGED};
use crate::id::JobName;
use crate::status::{JobStatus, WorkflowStatus};

/// A workflow, and what its checks look up again and again.
pub(super) struct Meaning<'w> {
    pub(super) workflow: &'w Workflow,
    pub(super) completion: Completion,
    /// The jobs that never end by themselves.
    pub(super) streaming: BTreeSet<&'w JobName>,
    jobs: BTreeSet<&'w JobName>,
    rules: BTreeMap<&'w JobName, Vec<&'w SchedulingRule>>,
}

impl Workflow {
    /// Adds what is probably not meant. Only for definitions without errors.
    pub(super) fn check_meaning(&self, found: &mut Vec<Diagnostic>) {
        let mut rules: BTreeMap<&JobName, Vec<&SchedulingRule>> = BTreeMap::new();
        for edge in &self.control_edges {
            rules.entry(&edge.job).or_default().push(&edge.rule);
        }
        let jobs = self.jobs.iter().map(|job| &job.name).collect();
        let streaming = self.jobs.iter().filter(|job| job.streaming).map(|job| &job.name).collect();
        let meaning = Meaning { workflow: self, completion: self.completion(), streaming, jobs, rules };
        let startable = meaning.startable();
        meaning.check_jobs(&startable, found);
        meaning.check_rules(&startable, found);
        self.check_shadows(found);
        meaning.check_loops(&startable, found);
    }
}

impl<'w> Meaning<'w> {
    /// The rules that start or restart a job.
    pub(super) fn start_rules(&self, job: &JobName) -> impl Iterator<Item = &'w SchedulingRule> {
        let rules = self.rules.get(job).map(Vec::as_slice).unwrap_or_default();
        rules.iter().copied().filter(|rule| starts(rule))
    }

    /// The rules that hand values to a job, and start it with them if it does not run.
    pub(super) fn signal_rules(&self, job: &JobName) -> impl Iterator<Item = &'w SchedulingRule> {
        let rules = self.rules.get(job).map(Vec::as_slice).unwrap_or_default();
        rules.iter().copied().filter(|rule| rule.action == JobAction::Signal)
    }

    /// The name of a job as the workflow holds it.
    pub(super) fn job(&self, name: &str) -> Option<&'w JobName> {
        self.jobs.get(&JobName::parse(name).ok()?).copied()
    }

    /// The jobs in the order of their names.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &'w JobName> {
        self.jobs.iter().copied()
    }

    /// The job whose status events alone have this key, if there is one.
    pub(super) fn job_of_key(&self, key: &str) -> Option<&'w JobName> {
        let (workflow, job) = key.split_once('/')?;
        self.job(job).filter(|_| workflow == self.workflow.name.as_str())
    }

    /// The jobs that something other than a person may start: with the execution, by a schedule, or by a rule that may fire.
    fn startable(&self) -> BTreeSet<&'w JobName> {
        // Which jobs may become startable when one does?
        let mut waiting: BTreeMap<&JobName, Vec<&'w JobName>> = BTreeMap::new();
        let mut todo: Vec<&'w JobName> = Vec::new();
        for job in &self.workflow.jobs {
            todo.push(&job.name);
            for rule in self.start_rules(&job.name) {
                let mut named = Vec::new();
                self.jobs_named(&rule.condition, &mut named);
                named.into_iter().for_each(|name| waiting.entry(name).or_default().push(&job.name));
            }
        }
        let scheduled: BTreeSet<&JobName> =
            self.workflow.jobs.iter().filter(|job| !job.schedules.is_empty()).map(|job| &job.name).collect();
        let mut startable: BTreeSet<&'w JobName> = BTreeSet::new();
        while let Some(job) = todo.pop() {
            if startable.contains(job) {
                continue;
            }
            let mut rules = self.start_rules(job).peekable();
            let is_free = scheduled.contains(job) || rules.peek().is_none();
            if is_free || rules.any(|rule| self.never(&rule.condition, &startable).is_none()) {
                startable.insert(job);
                todo.extend(waiting.get(job).into_iter().flatten());
            }
        }
        startable
    }

    /// The jobs whose status a condition names.
    fn jobs_named(&self, condition: &'w Condition, named: &mut Vec<&'w JobName>) {
        match condition {
            Condition::JobStatus { job, .. } | Condition::JobIs { job, .. } => named.push(job),
            Condition::On(EventPattern { key: Match::Exact(key), .. }) => named.extend(self.job_of_key(key)),
            Condition::Custom { on, .. } => {
                let keys = on.iter().filter_map(|pattern| match &pattern.key {
                    Match::Exact(key) => self.job_of_key(key),
                    Match::Any | Match::Prefix(_) => None,
                });
                named.extend(keys);
            }
            other => other.children().into_iter().for_each(|child| self.jobs_named(child, named)),
        }
    }

    fn check_jobs(&self, startable: &BTreeSet<&JobName>, found: &mut Vec<Diagnostic>) {
        for job in self.jobs.iter().filter(|job| !startable.contains(*job)) {
            let why: Vec<String> =
                self.start_rules(job).filter_map(|rule| self.never(&rule.condition, startable)).collect();
            let message = format!("nothing starts it, except by hand: {}", why.join("; "));
            found.push(Diagnostic::warning(format!("job {job}"), message));
        }
    }

    fn check_rules(&self, startable: &BTreeSet<&JobName>, found: &mut Vec<Diagnostic>) {
        let of_jobs = self.workflow.control_edges.iter().map(|edge| {
            // What is to be said of the rules that start a job that nothing starts is said of the job.
            let is_told = starts(&edge.rule) && !startable.contains(&edge.job);
            (format!("job {}, rule {}", edge.job, edge.rule.name), &edge.rule.condition, is_told)
        });
        let own =
            self.workflow.rules.iter().map(|rule| (format!("workflow rule {}", rule.name), &rule.condition, false));
        for (path, condition, is_told) in of_jobs.chain(own) {
            if let Some(why) = self.never(condition, &self.jobs).filter(|_| !is_told) {
                found.push(Diagnostic::warning(&path, format!("can never fire: {why}")));
            } else if let Some(why) = self.never(condition, startable).filter(|_| !is_told) {
                found.push(Diagnostic::warning(&path, format!("fires only after a start by hand: {why}")));
            }
            check_guards(condition, &path, found);
        }
    }

    /// Why a condition can never hold if only these jobs are ever started.
    fn never(&self, condition: &Condition, started: &BTreeSet<&JobName>) -> Option<String> {
        match condition {
            Condition::On(pattern) => self.never_matches(pattern, started),
            Condition::JobStatus { job, .. } => {
                (!started.contains(job)).then(|| format!("it waits for {condition:#}, and nothing starts {job}"))
            }
            Condition::All(of) | Condition::Sequence(of) => {
                contradiction(of).or_else(|| of.iter().find_map(|part| self.never(part, started)))
            }
            Condition::Any(of) => self.too_few(1, of, started),
            Condition::AtLeast { n, of } => self.too_few(*n, of, started),
            Condition::Count { n, of } => never_so_often(*n, of).or_else(|| self.never(of, started)),
            Condition::Within { of, .. } | Condition::ForEach { of, .. } => self.never(of, started),
            Condition::Absent { after, .. } => after.as_deref().and_then(|after| self.never(after, started)),
            Condition::JobIs { job, statuses } => {
                let possible = |status: &&JobStatus| match status {
                    JobStatus::Init => true,
                    JobStatus::Skipped => false,
                    _ => started.contains(job),
                };
                let why = || format!("it needs that {condition:#}, which is never so");
                (!statuses.iter().any(|status| possible(&status))).then(why)
            }
            Condition::NotWithin { .. } | Condition::Optional { .. } => None,
            Condition::Custom { on, .. } => {
                let why: Vec<String> = on.iter().filter_map(|pattern| self.never_matches(pattern, started)).collect();
                (why.len() == on.len()).then(|| why.join("; "))
            }
        }
    }

    fn too_few(&self, n: usize, of: &[Condition], started: &BTreeSet<&JobName>) -> Option<String> {
        let why: Vec<String> = of.iter().filter_map(|part| self.never(part, started)).collect();
        (of.len().saturating_sub(why.len()) < n).then(|| why.join("; "))
    }

    /// Why no event matches a pattern of status events, which only the scheduler publishes.
    fn never_matches(&self, pattern: &EventPattern, started: &BTreeSet<&JobName>) -> Option<String> {
        let Match::Exact(event_type) = &pattern.event_type else { return None };
        let is_job = event_type == JOB_STATUS_CHANGED;
        if !is_job && event_type != WORKFLOW_STATUS_CHANGED {
            return None;
        }
        let values: Vec<&str> = match is_job {
            true => JobStatus::ALL
                .iter()
                .filter(|status| status.is_announced() && **status != JobStatus::Skipped)
                .map(|status| status.as_str())
                .collect(),
            false => {
                WorkflowStatus::ALL.iter().filter(|s| **s != WorkflowStatus::Stopping).map(|s| s.as_str()).collect()
            }
        };
        let test = CompiledTest::new(&pattern.value);
        let of = NewEvent::identified("", self.workflow.project.as_str(), "").event_type(event_type);
        // A test that looks at more than the value may hold for another key.
        let is_plain = matches!(test, CompiledTest::Plain(_));
        let holds = |value: &str| test.test(&of.clone().value(value)) == Ok(Tested::Holds);
        if is_plain && !values.iter().any(|value| holds(value)) {
            return Some(format!("{pattern} is no status; there are {}", values.join(", ")));
        }
        self.never_of_this(pattern, is_job, started)
    }

    /// Why no job of this workflow says what a pattern waits for, if it names one.
    fn never_of_this(&self, pattern: &EventPattern, is_job: bool, started: &BTreeSet<&JobName>) -> Option<String> {
        let Match::Exact(key) = &pattern.key else { return None };
        let project = self.workflow.project.as_str();
        let is_here = pattern.namespace.as_ref().is_none_or(|namespace| namespace.matches(project));
        let (workflow, job) = key.split_once('/')?;
        if !is_job || !is_here || workflow != self.workflow.name.as_str() {
            return None;
        }
        match self.job(job) {
            None => Some(format!("it waits for job {job}, which is not defined in this workflow")),
            Some(job) if !started.contains(job) => Some(format!("it waits for {pattern}, and nothing starts {job}")),
            Some(_) => None,
        }
    }
}

fn starts(rule: &SchedulingRule) -> bool {
    matches!(rule.action, JobAction::Start | JobAction::Restart)
}

fn check_guards(condition: &Condition, path: &str, found: &mut Vec<Diagnostic>) {
    if let Condition::JobIs { statuses, .. } = condition {
        let is_any = JobStatus::ALL.iter().all(|status| *status == JobStatus::Skipped || statuses.contains(status));
        if is_any {
            found.push(Diagnostic::warning(path, format!("the guard {condition:#} always holds")));
        }
    }
    for child in condition.children() {
        check_guards(child, path, found);
    }
}

impl Workflow {
    /// Of two rules with the same condition, only the first ever acts.
    fn check_shadows(&self, found: &mut Vec<Diagnostic>) {
        let mut seen: BTreeSet<(Option<&JobName>, String)> = BTreeSet::new();
        let of_jobs = self.control_edges.iter().map(|edge| (Some(&edge.job), &edge.rule.condition, &edge.rule.name));
        let starts = self.rules.iter().filter(|rule| rule.action != WorkflowAction::Stop);
        for (job, condition, rule) in of_jobs.chain(starts.map(|rule| (None, &rule.condition, &rule.name))) {
            if !seen.insert((job, super::hash_of(condition))) {
                let path = match job {
                    Some(job) => format!("job {job}, rule {rule}"),
                    None => format!("workflow rule {rule}"),
                };
                found.push(Diagnostic::warning(path, "never acts: a rule before it has the same condition"));
            }
        }
    }
}

/// Why parts that must hold together never do.
fn contradiction(of: &[Condition]) -> Option<String> {
    let mut guards: Vec<&Condition> = Vec::new();
    of.iter().for_each(|part| conjunctive_guards(part, &mut guards));
    for (i, guard) in guards.iter().enumerate() {
        let Condition::JobIs { job, statuses } = guard else { continue };
        for other in guards.iter().skip(i.saturating_add(1)) {
            if let Condition::JobIs { job: same, statuses: others } = other
                && same == job
                && !statuses.iter().any(|status| others.contains(status))
            {
                return Some(format!("{guard} and {other} are never so at once"));
            }
        }
    }
    // A guard sees an event before the rule does: what it guards against comes with every event that could make the rule fire.
    let operands: Vec<&EventPattern> = of.iter().filter_map(|part| single_pattern(part)).collect();
    let all_are_patterns = of.iter().all(|part| single_pattern(part).is_some() || is_guard(part));
    guards.into_iter().find_map(|guard| match guard {
        Condition::NotWithin { pattern, .. }
            if all_are_patterns && operands.iter().all(|operand| says_the_same(operand, pattern)) =>
        {
            Some(format!("{guard} fails with each event that could make it fire"))
        }
        _ => None,
    })
}

fn is_guard(condition: &Condition) -> bool {
    matches!(condition, Condition::NotWithin { .. } | Condition::JobIs { .. })
}

/// The guards that must hold whenever the condition does.
fn conjunctive_guards<'c>(condition: &'c Condition, guards: &mut Vec<&'c Condition>) {
    match condition {
        guard @ (Condition::NotWithin { .. } | Condition::JobIs { .. }) => guards.push(guard),
        Condition::All(of) | Condition::Sequence(of) => of.iter().for_each(|part| conjunctive_guards(part, guards)),
        Condition::Within { of, .. } | Condition::Count { of, .. } => conjunctive_guards(of, guards),
        _ => {}
    }
}

fn single_pattern(condition: &Condition) -> Option<&EventPattern> {
    match condition {
        Condition::On(pattern) => Some(pattern),
        _ => None,
    }
}

fn says_the_same(operand: &EventPattern, guard: &EventPattern) -> bool {
    EventPattern { life: guard.life, any_execution: guard.any_execution, ..operand.clone() } == *guard
}

/// Why an operand never waits with so many events.
fn never_so_often(n: usize, of: &Condition) -> Option<String> {
    let (life, is_one_subject) = match of {
        Condition::On(pattern) => (pattern.life, is_one_subject(pattern)),
        Condition::JobStatus { life, statuses, .. } => (*life, statuses.len() == 1),
        _ => return None,
    };
    match life {
        Life::Latest if n > 1 => Some(format!("{of} waits with the newest event only, never with {n}")),
        Life::Repeated if n > 1 && is_one_subject => {
            Some(format!("{of} stands through one event of its key, never through {n}"))
        }
        Life::Once | Life::Latest | Life::Repeated => None,
    }
}

/// Whether all events that match have the same namespace, type, sender and key.
fn is_one_subject(pattern: &EventPattern) -> bool {
    let is_exact = |field: &Match| matches!(field, Match::Exact(_));
    pattern.namespace.as_ref().is_none_or(is_exact)
        && [&pattern.key, &pattern.event_type, &pattern.sender].into_iter().all(is_exact)
}
