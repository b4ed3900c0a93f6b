//! Warnings: which rules feed themselves, without any event from outside?
//!
//! A job that is started says so, and how it ended, by events; a rule that needs nothing but such events starts it, or another, again. At run
//! time the bound on chains of causes stops the loop, unless moments that come between begin the chain anew.
//!
//! What is looked for is the largest set of jobs (and the workflow itself) that keep one another going: each is started by a rule that
//! needs only events of the others. What needs an event from outside, or several events of the loop for one start, does not belong to it.
//! What jobs publish themselves is not known here, so a loop through it is not found; nor is one through several workflows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::check_rules::Meaning;
use super::condition::{CompiledTest, Tested, job_key};
use super::{Completion, Condition, Diagnostic, EventPattern, JobAction, Life, Workflow, WorkflowAction};
use crate::event::{JOB_STATUS_CHANGED, Match, NewEvent, WORKFLOW_STATUS_CHANGED};
use crate::id::JobName;
use crate::status::{JobStatus, WorkflowStatus};

/// A part of a loop: a job, or the workflow itself.
type Part<'w> = Option<&'w JobName>;

/// What keeps a part going: the parts whose events a rule needs.
type Support<'w> = BTreeSet<Part<'w>>;

/// So many parts of a cycle are named.
const CYCLE_NAMED_MAX: usize = 16;
/// Of the jobs that a pattern for many keys matches, so many are looked at as what keeps a part going.
const BROAD_SUPPORT_MAX: usize = 16;

impl<'w> Meaning<'w> {
    pub(super) fn check_loops(&self, startable: &BTreeSet<&'w JobName>, found: &mut Vec<Diagnostic>) {
        for cycle in cycles(&self.supports(startable)) {
            let mut names: Vec<String> = cycle.iter().map(|part| self.part_name(*part)).collect();
            if names.len() > CYCLE_NAMED_MAX {
                let n_more = names.len().saturating_sub(CYCLE_NAMED_MAX);
                names.truncate(CYCLE_NAMED_MAX);
                names.push(format!("{n_more} more, the last of which"));
            }
            names.extend(cycle.first().map(|part| self.part_name(*part)));
            let path = self.part_name(cycle.first().copied().flatten());
            let message = format!(
                "feeds itself without an event from outside: {}; only the bound on chains of causes ends it",
                names.join(" starts ")
            );
            found.push(Diagnostic::warning(path, message));
        }
    }

    fn part_name(&self, part: Part<'_>) -> String {
        part.map_or_else(|| format!("workflow {}", self.workflow.name), |job| format!("job {job}"))
    }

    /// The parts that keep one another going, each with those that do it.
    fn supports(&self, startable: &BTreeSet<&'w JobName>) -> BTreeMap<Part<'w>, Support<'w>> {
        let mut live: BTreeSet<Part<'w>> = startable.iter().map(|job| Some(*job)).collect();
        live.insert(None);
        let mut supports: BTreeMap<Part<'w>, Support<'w>> = BTreeMap::new();
        // Who has to be looked at again when a part turns out not to be kept going?
        let mut rests_on: BTreeMap<Part<'w>, BTreeSet<Part<'w>>> = BTreeMap::new();
        let mut todo: Vec<Part<'w>> = live.iter().copied().collect();
        while let Some(part) = todo.pop() {
            if !live.contains(&part) {
                continue;
            }
            match self.support(part, &live) {
                Some(support) => {
                    for from in &support {
                        rests_on.entry(*from).or_default().insert(part);
                    }
                    supports.insert(part, support);
                }
                None => {
                    live.remove(&part);
                    supports.remove(&part);
                    todo.extend(rests_on.remove(&part).into_iter().flatten());
                }
            }
        }
        supports
    }

    /// Whose events alone start this part, if it is started by events of `live` alone.
    fn support(&self, part: Part<'w>, live: &BTreeSet<Part<'w>>) -> Option<Support<'w>> {
        let mut support = Support::new();
        match part {
            Some(job) => {
                let mut rules = self.start_rules(job).peekable();
                if rules.peek().is_none() && live.contains(&None) {
                    support.insert(None);
                }
                for rule in rules {
                    let target = Target { part, is_restart: rule.action == JobAction::Restart };
                    support.extend(self.fed_by(&rule.condition, target, live).into_iter().flatten());
                }
                // A value for a job that has ended starts it; one that does not end by itself takes it while it runs.
                let ends = !self.streaming.contains(job);
                for rule in self.signal_rules(job).filter(|_| ends) {
                    let target = Target { part, is_restart: false };
                    support.extend(self.fed_by(&rule.condition, target, live).into_iter().flatten());
                }
            }
            None => {
                for rule in self.workflow.rules.iter().filter(|rule| rule.action != WorkflowAction::Stop) {
                    let target = Target { part, is_restart: rule.action == WorkflowAction::Restart };
                    support.extend(self.fed_by(&rule.condition, target, live).into_iter().flatten());
                }
            }
        }
        (!support.is_empty()).then_some(support)
    }

    /// The parts whose events make a condition hold again and again, if nothing else is needed.
    fn fed_by(&self, condition: &Condition, target: Target<'w>, live: &BTreeSet<Part<'w>>) -> Option<Support<'w>> {
        match condition {
            Condition::On(pattern) => self.fed_by_pattern(pattern, target, live),
            Condition::JobStatus { job, statuses, .. } => {
                let job = self.job(job.as_str())?;
                let says = statuses.iter().any(|status| announces(job, *status, target));
                (live.contains(&Some(job)) && says).then(|| Support::from([Some(job)]))
            }
            Condition::All(of) | Condition::Sequence(of) => {
                let mut all = Support::new();
                for part in of.iter().filter(|part| !needs_nothing(part)) {
                    all.extend(self.fed_by(part, target, live)?);
                }
                Some(all)
            }
            Condition::Any(of) => self.fed_by_some(1, of, target, live),
            Condition::AtLeast { n, of } => self.fed_by_some(*n, of, target, live),
            // Several events for one start: the loop dies out.
            Condition::Count { n, of } if *n == 1 => self.fed_by(of, target, live),
            Condition::Within { of, .. } | Condition::ForEach { of, .. } => self.fed_by(of, target, live),
            Condition::Absent { of, after, .. } => self.fed_by(after.as_deref().unwrap_or(of), target, live),
            // Nobody knows what the code of a custom condition needs.
            Condition::Count { .. }
            | Condition::NotWithin { .. }
            | Condition::JobIs { .. }
            | Condition::Optional { .. }
            | Condition::Custom { .. } => None,
        }
    }

    fn fed_by_some(
        &self,
        n: usize,
        of: &[Condition],
        target: Target<'w>,
        live: &BTreeSet<Part<'w>>,
    ) -> Option<Support<'w>> {
        let fed: Vec<Support<'w>> = of.iter().filter_map(|part| self.fed_by(part, target, live)).collect();
        (fed.len() >= n).then(|| fed.into_iter().flatten().collect())
    }

    fn fed_by_pattern(
        &self,
        pattern: &EventPattern,
        target: Target<'w>,
        live: &BTreeSet<Part<'w>>,
    ) -> Option<Support<'w>> {
        let is_status = |event_type: &str| event_type == JOB_STATUS_CHANGED || event_type == WORKFLOW_STATUS_CHANGED;
        if let Match::Exact(event_type) = &pattern.event_type
            && !is_status(event_type)
        {
            return None;
        }
        let test = CompiledTest::new(&pattern.value);
        let says = |job: &&'w JobName| {
            let mut statuses = JobStatus::ALL.iter().filter(|status| announces(job, **status, target));
            live.contains(&Some(*job))
                && statuses.any(|status| self.matches(pattern, &test, &self.job_event(job, *status)))
        };
        let jobs: Vec<&'w JobName> = match &pattern.key {
            Match::Exact(key) => self.job_of_key(key).into_iter().filter(says).collect(),
            Match::Any | Match::Prefix(_) => self.jobs().filter(says).take(BROAD_SUPPORT_MAX).collect(),
        };
        let mut support: Support<'w> = jobs.into_iter().map(Some).collect();
        let mut statuses = self.workflow_announces(target).into_iter();
        if live.contains(&None) && statuses.any(|status| self.matches(pattern, &test, &self.workflow_event(status))) {
            support.insert(None);
        }
        (!support.is_empty()).then_some(support)
    }

    /// The statuses that a start of this workflow leads to by itself, on which `target` starts something.
    fn workflow_announces(&self, target: Target<'_>) -> Vec<WorkflowStatus> {
        match (target.part, self.completion) {
            (None, Completion::Idle) => {
                vec![WorkflowStatus::Running, WorkflowStatus::Succeeded, WorkflowStatus::Failed]
            }
            // Its jobs see the beginning; after the end they see nothing.
            (Some(_), _) | (None, Completion::Standing) => vec![WorkflowStatus::Running],
        }
    }

    fn job_event(&self, job: &JobName, status: JobStatus) -> NewEvent {
        let Workflow { project, name, .. } = self.workflow;
        let event = NewEvent::identified("", project.as_str(), job_key(name, job)).event_type(JOB_STATUS_CHANGED);
        event.value(status.as_str()).sender(job.as_str())
    }

    fn workflow_event(&self, status: WorkflowStatus) -> NewEvent {
        let Workflow { project, name, .. } = self.workflow;
        let event = NewEvent::identified("", project.as_str(), name.as_str()).event_type(WORKFLOW_STATUS_CHANGED);
        event.value(status.as_str()).sender(name.as_str())
    }

    fn matches(&self, pattern: &EventPattern, test: &CompiledTest, event: &NewEvent) -> bool {
        pattern.fields_match(self.workflow.project.as_str(), event) && test.test(event) == Ok(Tested::Holds)
    }
}

/// Whether a start of `job` leads to this status by itself, and to one on which `target` starts something.
fn announces(job: &JobName, status: JobStatus, target: Target<'_>) -> bool {
    let is_own = target.part == Some(job);
    match status {
        // START of a live job does nothing.
        JobStatus::Running | JobStatus::Ready | JobStatus::Retrying => !is_own || target.is_restart,
        JobStatus::Succeeded | JobStatus::Failed => true,
        // It has to be stopped by something.
        JobStatus::Stopped
        | JobStatus::Init
        | JobStatus::Queued
        | JobStatus::Unknown
        | JobStatus::Stopping
        | JobStatus::Skipped => false,
    }
}

/// What a rule starts.
#[derive(Debug, Clone, Copy)]
struct Target<'w> {
    part: Part<'w>,
    is_restart: bool,
}

/// Guards and optional operands need no event, and what stands once needs no other.
fn needs_nothing(condition: &Condition) -> bool {
    match condition {
        Condition::NotWithin { .. } | Condition::JobIs { .. } | Condition::Optional { .. } => true,
        Condition::On(pattern) => pattern.life == Life::Repeated,
        Condition::JobStatus { life, .. } => *life == Life::Repeated,
        _ => false,
    }
}

/// One cycle of each group of parts that keep one another going, in the order in which they start one another.
fn cycles<'w>(supports: &BTreeMap<Part<'w>, Support<'w>>) -> Vec<Vec<Part<'w>>> {
    let mut graph: DiGraph<Part<'w>, ()> = DiGraph::new();
    let nodes: BTreeMap<Part<'w>, NodeIndex> = supports.keys().map(|part| (*part, graph.add_node(*part))).collect();
    for (part, support) in supports {
        for from in support {
            if let (Some(from), Some(to)) = (nodes.get(from), nodes.get(part)) {
                graph.add_edge(*from, *to, ());
            }
        }
    }
    let mut found: Vec<Vec<Part<'w>>> = Vec::new();
    for group in kosaraju_scc(&graph) {
        let members: BTreeSet<Part<'w>> = group.iter().filter_map(|node| graph.node_weight(*node).copied()).collect();
        let Some(first) = members.first() else { continue };
        let is_loop = |part: &Part<'w>| supports.get(part).is_some_and(|support| support.contains(part));
        if members.len() > 1 {
            found.push(cycle_through(*first, &members, supports));
        } else if is_loop(first) {
            found.push(vec![*first]);
        }
    }
    found.sort();
    found
}

/// A cycle through `first` within a group: the shortest.
fn cycle_through<'w>(
    first: Part<'w>,
    members: &BTreeSet<Part<'w>>,
    supports: &BTreeMap<Part<'w>, Support<'w>>,
) -> Vec<Part<'w>> {
    // Backwards from the first: who starts it, and who starts that?
    let mut next: BTreeMap<Part<'w>, Part<'w>> = BTreeMap::new();
    let mut front = VecDeque::from([first]);
    while let Some(part) = front.pop_front() {
        for from in supports.get(&part).into_iter().flatten().filter(|from| members.contains(*from)) {
            if *from == first {
                let mut cycle = vec![first];
                let mut at = part;
                while at != first && cycle.len() <= members.len() {
                    cycle.push(at);
                    at = next.get(&at).copied().unwrap_or(first);
                }
                return cycle;
            }
            if !next.contains_key(from) {
                next.insert(*from, part);
                front.push_back(*from);
            }
        }
    }
    vec![first]
}
