//! From a condition to a tree with numbered slots.

use std::collections::BTreeMap;

use super::{Absence, CompiledRule, Custom, Leaf, Node, Part, Role, Target};
use crate::event::{JOB_STATUS_CHANGED, Match};
use crate::id::{JobName, RuleName, WorkflowName};
use crate::workflow::{
    CompiledTest, CompiledWindow, Condition, ContextOf, EventPattern, Life, SchedulingRule, StartPosition,
    WorkflowRule, job_key, on,
};

impl CompiledRule {
    /// The job that it acts on.
    pub(in crate::engine) fn job(&self) -> Option<&JobName> {
        match &self.target {
            Target::Job(job, _) => Some(job),
            Target::Workflow(_) => None,
        }
    }

    pub(in crate::engine) fn of_job(workflow: &WorkflowName, job: &JobName, rule: &SchedulingRule) -> Self {
        let target = Target::Job(job.clone(), rule.action);
        let compiled = Self::new(workflow, rule.name.clone(), target, &rule.condition);
        Self { params: rule.params.clone(), from: rule.from, ..compiled }
    }

    pub(in crate::engine) fn of_workflow(workflow: &WorkflowName, rule: &WorkflowRule) -> Self {
        let target = Target::Workflow(rule.action);
        let compiled = Self::new(workflow, rule.name.clone(), target, &rule.condition);
        Self { params: rule.params.clone(), of_param: rule.of_param.clone(), from: rule.from, ..compiled }
    }

    /// As a rule of a workflow whose events name their contexts so.
    pub(in crate::engine) fn in_contexts(self, contexts: &ContextOf) -> Self {
        Self { needs_contexts: contexts.must_be_said(), ..self }
    }

    fn new(workflow: &WorkflowName, name: RuleName, target: Target, condition: &Condition) -> Self {
        let (key, condition) = match condition {
            Condition::ForEach { key, of } => (Some(key.clone()), &**of),
            other => (None, other),
        };
        let mut compiler = Compiler {
            workflow,
            next_slot: 0,
            windows: Vec::new(),
            is_consumed: true,
            rule: Self {
                name,
                target,
                operands: Vec::new(),
                jobs: Vec::new(),
                leaves: Vec::new(),
                customs: Vec::new(),
                params: BTreeMap::new(),
                of_param: None,
                needs_contexts: false,
                from: StartPosition::Now,
                key,
                tree: Part { node: Node::All(Vec::new()), slots: 0..0 },
                consumable: Vec::new(),
                waits: Vec::new(),
                waits_at_once: false,
                needs_upkeep: false,
            },
        };
        let tree = compiler.part(condition);
        Self { needs_upkeep: tree.needs_upkeep(), tree, ..compiler.rule }
    }
}

#[cfg(test)]
impl CompiledRule {
    /// How many slots its state has.
    pub(in crate::engine) fn n_slots(&self) -> usize {
        self.tree.slots.end
    }
}

struct Compiler<'a> {
    workflow: &'a WorkflowName,
    next_slot: usize,
    /// The windows around the part at hand.
    windows: Vec<(usize, CompiledWindow)>,
    /// Firings use up the events of the part at hand: it does not belong to an absence.
    is_consumed: bool,
    rule: CompiledRule,
}

impl Compiler<'_> {
    fn part(&mut self, condition: &Condition) -> Part {
        let begin = self.next_slot;
        let node = self.node(condition);
        Part { node, slots: begin..self.next_slot }
    }

    fn parts(&mut self, conditions: &[Condition]) -> Vec<Part> {
        conditions.iter().map(|condition| self.part(condition)).collect()
    }

    fn slot(&mut self, is_consumable: bool) -> usize {
        let slot = self.next_slot;
        self.next_slot = slot.saturating_add(1);
        if is_consumable && self.is_consumed {
            self.rule.consumable.push(slot);
        }
        slot
    }

    fn node(&mut self, condition: &Condition) -> Node {
        match condition {
            Condition::On(pattern) => self.operand(pattern.clone()),
            Condition::JobStatus { job, statuses, life } => {
                let patterns = statuses.iter().map(|status| EventPattern {
                    life: *life,
                    ..on(Match::exact(job_key(self.workflow, job)))
                        .event_type(JOB_STATUS_CHANGED)
                        .equals(status.as_str())
                });
                let patterns: Vec<EventPattern> = patterns.collect();
                let mut parts: Vec<Part> = patterns.into_iter().map(|pattern| self.part(&pattern.into())).collect();
                match parts.pop() {
                    Some(Part { node, .. }) if parts.is_empty() => node,
                    last => Node::AtLeast(1, parts.into_iter().chain(last).collect()),
                }
            }
            Condition::All(of) => Node::All(self.parts(of)),
            Condition::Any(of) => Node::AtLeast(1, self.parts(of)),
            Condition::AtLeast { n, of } => Node::AtLeast(*n, self.parts(of)),
            Condition::Sequence(of) => Node::Sequence(self.parts(of)),
            Condition::Count { n, of } => Node::Count(*n, Box::new(self.part(of))),
            Condition::Within { window, of } => {
                let (slot, window) = (self.slot(false), CompiledWindow::new(window));
                self.windows.push((slot, window.clone()));
                let of = Box::new(self.part(of));
                self.windows.pop();
                Node::Within { slot, window, of }
            }
            // Refused at submit anywhere but outermost.
            Condition::ForEach { of, .. } => self.node(of),
            Condition::Absent { of, wait, after } => {
                let slot = self.slot(true);
                let windows = std::mem::take(&mut self.windows);
                let was_consumed = std::mem::replace(&mut self.is_consumed, false);
                let of = self.part(of);
                let after = after.as_deref().map(|after| self.part(after));
                self.is_consumed = was_consumed;
                self.windows.clone_from(&windows);
                self.rule.waits_at_once |= after.is_none();
                Node::Absence(Box::new(Absence { slot, of, after, wait: *wait, windows }))
            }
            Condition::NotWithin { pattern, within } => {
                let slot = self.slot(false);
                self.leaf(pattern.clone(), slot, Role::Guard);
                Node::Guard { slot, within: *within }
            }
            Condition::JobIs { job, statuses } => {
                if !self.rule.jobs.contains(job) {
                    self.rule.jobs.push(job.clone());
                }
                Node::JobIs { job: job.clone(), statuses: statuses.clone() }
            }
            Condition::Optional { of, wait } => {
                self.rule.waits.push(wait.clone());
                Node::Optional { wait: wait.clone(), of: Box::new(self.part(of)) }
            }
            Condition::Custom { name, params, on } => {
                let (slot, number) = (self.slot(true), self.rule.customs.len());
                let (name, params, windows) = (name.clone(), params.clone(), self.windows.clone());
                self.rule.customs.push(Custom { slot, name, params, windows });
                for pattern in on {
                    self.leaf(pattern.clone(), slot, Role::Custom(number));
                }
                Node::Custom(slot)
            }
        }
    }

    fn operand(&mut self, pattern: EventPattern) -> Node {
        let slot = self.slot(pattern.life != Life::Repeated);
        let role = Role::Operand(pattern.life);
        self.leaf(pattern, slot, role);
        Node::Operand(slot)
    }

    fn leaf(&mut self, pattern: EventPattern, slot: usize, role: Role) {
        let test = CompiledTest::new(&pattern.value);
        self.rule.leaves.push(Leaf { slot, role, test, windows: self.windows.clone() });
        self.rule.operands.push(pattern);
    }
}
