//! Rules at work: does this event satisfy the rule, and which events does the firing use?
//!
//! A rule's state is one [`OperandState`] per operand. Everything is decided by log offsets, never by clocks, so equal times, late clocks
//! and restarts change nothing.

use crate::event::Event;
use crate::execution::{OperandState, RuleState};
use crate::id::{JobName, Offset, RuleName, WorkflowName};
use crate::workflow::{Condition, EventPattern, JobAction, Life, SchedulingRule, WorkflowAction, WorkflowRule};

/// The most events that wait at one operand.
pub const OPERAND_PENDING_MAX: usize = 10_000;

/// A rule, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    pub(super) name: RuleName,
    pub(super) target: Target,
    pub(super) operands: Vec<EventPattern>,
    tree: Node,
}

/// What a rule acts on, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Job(JobName, JobAction),
    Workflow(WorkflowAction),
}

#[derive(Debug, Clone)]
enum Node {
    Operand(usize),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl CompiledRule {
    pub(super) fn of_job(workflow: &WorkflowName, job: &JobName, rule: &SchedulingRule) -> Self {
        Self::new(workflow, rule.name.clone(), Target::Job(job.clone(), rule.action), &rule.condition)
    }

    pub(super) fn of_workflow(workflow: &WorkflowName, rule: &WorkflowRule) -> Self {
        Self::new(workflow, rule.name.clone(), Target::Workflow(rule.action), &rule.condition)
    }

    fn new(workflow: &WorkflowName, name: RuleName, target: Target, condition: &Condition) -> Self {
        let tree = node(condition, &mut 0);
        Self { name, target, operands: condition.operands(workflow), tree }
    }

    /// Takes `event` into `state` at the operands `hits`, whose fields match, and returns the events of each firing that follows.
    pub(super) fn evaluate(&self, state: &mut RuleState, hits: &[usize], event: &Event) -> Evaluation {
        state.operands.resize_with(self.operands.len(), OperandState::default);
        let mut evaluation = Evaluation::default();
        let mut has_match = false;
        for &hit in hits {
            let (Some(pattern), Some(operand)) = (self.operands.get(hit), state.operands.get_mut(hit)) else {
                continue;
            };
            match take(pattern, operand, event) {
                Taken::Match => has_match = true,
                Taken::NoMatch => {}
                Taken::Full => evaluation.is_full = true,
            }
        }
        while has_match {
            let Some(Choice { used, used_up }) = self.tree.choose(state, event.offset) else {
                break;
            };
            // What stood already has fired when it came; without anything new or anything used up it would fire again without end.
            let is_new = evaluation.firings.is_empty() && used.contains(&event.offset);
            has_match = !used_up.is_empty();
            consume(state, &used_up);
            if is_new || has_match {
                evaluation.firings.push(used);
            }
        }
        evaluation
    }

    /// Shows `event` to a rule that is paused: no match counts, but what the event contradicts stands no longer. True if it would have counted.
    pub(super) fn pass_over(&self, state: &mut RuleState, hits: &[usize], event: &Event) -> bool {
        let mut would_count = false;
        for &hit in hits {
            let Some(pattern) = self.operands.get(hit) else {
                continue;
            };
            if pattern.value.holds(&event.value) {
                would_count = true;
            } else if let Some(operand) = state.operands.get_mut(hit) {
                operand.standing.remove(&subject(event));
            }
        }
        would_count
    }
}

/// What an event did to a rule.
#[derive(Debug, Default)]
pub(super) struct Evaluation {
    /// The events that each firing used, oldest first.
    pub(super) firings: Vec<Vec<Offset>>,
    /// An operand had no room for the event.
    pub(super) is_full: bool,
}

enum Taken {
    Match,
    NoMatch,
    Full,
}

fn take(pattern: &EventPattern, operand: &mut OperandState, event: &Event) -> Taken {
    let holds = pattern.value.holds(&event.value);
    match pattern.life {
        Life::Once if !holds => Taken::NoMatch,
        Life::Once if operand.pending.len() >= OPERAND_PENDING_MAX => Taken::Full,
        Life::Once => {
            operand.pending.push_back(event.offset);
            Taken::Match
        }
        Life::Repeated => {
            let subject = subject(event);
            if !holds {
                operand.standing.remove(&subject);
                Taken::NoMatch
            } else if operand.standing.len() >= OPERAND_PENDING_MAX && !operand.standing.contains_key(&subject) {
                Taken::Full
            } else {
                operand.standing.insert(subject, event.offset);
                Taken::Match
            }
        }
    }
}

/// What a `repeated` operand tells apart: namespace, type, sender and key.
fn subject(event: &Event) -> String {
    [&event.namespace, &event.event_type, &event.sender, &event.key].map(String::as_str).join("\u{1f}")
}

/// Removes events from every `once` operand, so that an event serves one firing of the rule.
fn consume(state: &mut RuleState, used_up: &[Offset]) {
    for operand in &mut state.operands {
        operand.pending.retain(|offset| used_up.binary_search(offset).is_err());
    }
}

fn node(condition: &Condition, next: &mut usize) -> Node {
    let mut operand = || {
        let index = *next;
        *next = next.saturating_add(1);
        Node::Operand(index)
    };
    match condition {
        Condition::On(_) => operand(),
        Condition::JobStatus { statuses, .. } if statuses.len() == 1 => operand(),
        Condition::JobStatus { statuses, .. } => Node::Any(statuses.iter().map(|_| operand()).collect()),
        Condition::All(conditions) => Node::All(conditions.iter().map(|condition| node(condition, next)).collect()),
        Condition::Any(conditions) => Node::Any(conditions.iter().map(|condition| node(condition, next)).collect()),
    }
}

/// The events that a firing would use, oldest first.
#[derive(Debug, Default)]
struct Choice {
    used: Vec<Offset>,
    /// Those among them that were pending at a `once` operand: the firing uses them up.
    used_up: Vec<Offset>,
}

impl Choice {
    fn join(&mut self, other: Self) {
        for (mine, others) in [(&mut self.used, other.used), (&mut self.used_up, other.used_up)] {
            mine.extend(others);
            mine.sort_unstable();
            mine.dedup();
        }
    }
}

impl Node {
    /// The events that a firing would use now; `None` if the condition is not met.
    fn choose(&self, state: &RuleState, newest: Offset) -> Option<Choice> {
        match self {
            Self::Operand(index) => {
                let operand = state.operands.get(*index)?;
                if let Some(oldest) = operand.pending.front() {
                    let (used, used_up) = (vec![*oldest], vec![*oldest]);
                    return Some(Choice { used, used_up });
                }
                let standing = operand.standing.values().max()?;
                let (used, used_up) = (vec![*standing], Vec::new());
                Some(Choice { used, used_up })
            }
            // An empty `all` is refused at submit; here it is never met.
            Self::All(nodes) if nodes.is_empty() => None,
            Self::All(nodes) => {
                let mut all = Choice::default();
                for node in nodes {
                    all.join(node.choose(state, newest)?);
                }
                Some(all)
            }
            Self::Any(nodes) => {
                let satisfied = nodes.iter().filter_map(|node| node.choose(state, newest));
                satisfied.min_by_key(|choice| (!choice.used.contains(&newest), choice.used.first().copied()))
            }
        }
    }
}
