//! The rule engine against a naive model: random conditions and events, decided by keeping everything and recomputing it all each time.

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::event::{Event, Match, SYSTEM_NAMESPACE};
use aiflow_core::id::{Offset, RuleName, WorkflowExecutionId};
use aiflow_core::workflow::{Condition, EventPattern, Life, SchedulingRule, Workflow};
use proptest::prelude::*;

use super::text::{PROJECT, parse_rules};
use super::world::World;

type Offsets = BTreeSet<Offset>;

/// A rule that remembers every event that it was ever shown.
struct Model<'r> {
    rule: &'r SchedulingRule,
    seen: Vec<&'r Event>,
    used_up: Offsets,
    firings: Vec<Offsets>,
}

impl<'r> Model<'r> {
    fn new(rule: &'r SchedulingRule) -> Self {
        Self { rule, seen: Vec::new(), used_up: Offsets::new(), firings: Vec::new() }
    }

    fn show(&mut self, event: &'r Event) {
        self.seen.push(event);
        if !is_match_of_any(&self.rule.condition, event) {
            return;
        }
        let mut is_first = true;
        while let Some((used, used_up)) = self.met(&self.rule.condition, event.offset) {
            let is_news = is_first && used.contains(&event.offset);
            if used_up.is_empty() && !is_news {
                return;
            }
            self.firings.push(used);
            if used_up.is_empty() {
                return;
            }
            self.used_up.extend(used_up);
            is_first = false;
        }
    }

    /// What a firing would use, and use up.
    fn met(&self, condition: &Condition, newest: Offset) -> Option<(Offsets, Offsets)> {
        match condition {
            Condition::On(pattern) if pattern.life == Life::Once => {
                let oldest = *self.pending(pattern).first()?;
                Some((Offsets::from([oldest]), Offsets::from([oldest])))
            }
            Condition::On(pattern) => {
                let newest = self.standing(pattern).last().copied()?;
                Some((Offsets::from([newest]), Offsets::new()))
            }
            Condition::All(conditions) => {
                let mut all = (Offsets::new(), Offsets::new());
                for condition in conditions {
                    let (used, used_up) = self.met(condition, newest)?;
                    all.0.extend(used);
                    all.1.extend(used_up);
                }
                Some(all)
            }
            Condition::Any(conditions) => {
                let met: Vec<_> = conditions.iter().filter_map(|condition| self.met(condition, newest)).collect();
                let oldest = |(used, _): &&(Offsets, Offsets)| used.first().copied();
                let with_newest = met.iter().filter(|(used, _)| used.contains(&newest));
                let best = with_newest.min_by_key(oldest);
                best.or_else(|| met.iter().min_by_key(oldest)).cloned()
            }
            _ => unreachable!("no other condition is generated"),
        }
    }

    fn pending(&self, pattern: &EventPattern) -> Offsets {
        self.seen
            .iter()
            .filter(|event| is_match(pattern, event) && !self.used_up.contains(&event.offset))
            .map(|event| event.offset)
            .collect()
    }

    fn standing(&self, pattern: &EventPattern) -> Offsets {
        let mut last = BTreeMap::new();
        for event in self.seen.iter().filter(|event| concerns(pattern, event)) {
            let subject = (&event.namespace, &event.event_type, &event.sender, &event.key);
            last.insert(subject, event);
        }
        last.into_values().filter(|event| is_match(pattern, event)).map(|event| event.offset).collect()
    }
}

fn concerns(pattern: &EventPattern, event: &Event) -> bool {
    let namespace = pattern.namespace.clone().unwrap_or(Match::exact(PROJECT));
    namespace.matches(&event.namespace)
        && pattern.key.matches(&event.key)
        && pattern.sender.matches(&event.sender)
        && pattern.event_type.matches(&event.event_type)
}

fn is_match(pattern: &EventPattern, event: &Event) -> bool {
    concerns(pattern, event) && pattern.value.holds(&event.value)
}

fn is_match_of_any(condition: &Condition, event: &Event) -> bool {
    patterns(condition).iter().any(|pattern| is_match(pattern, event))
}

fn patterns(condition: &Condition) -> Vec<&EventPattern> {
    match condition {
        Condition::On(pattern) => vec![pattern],
        Condition::All(conditions) | Condition::Any(conditions) => conditions.iter().flat_map(patterns).collect(),
        _ => unreachable!("no other condition is generated"),
    }
}

fn a_pattern() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", "c", "a*", "*", "a=1", "b=1", "b=0"]);
    let life = prop::sample::select(vec!["", "", " repeated"]);
    let sender = prop::sample::select(vec!["", "", "", " from:x", " from:none"]);
    let namespace = prop::sample::select(vec!["", "", "", " ns:other", " ns:*"]);
    (key, life, sender, namespace).prop_map(|(k, l, s, n)| format!("{k}{l}{s}{n}"))
}

fn a_condition() -> impl Strategy<Value = String> {
    a_pattern().prop_recursive(3, 8, 3, |inner| {
        let several = prop::collection::vec(inner, 1..4);
        (any::<bool>(), several).prop_map(|(is_all, several)| {
            let name = if is_all { "all" } else { "any" };
            format!("{name}({})", several.join(", "))
        })
    })
}

fn an_event() -> impl Strategy<Value = String> {
    let execution = prop::sample::select(vec!["", "", "@1 ", "@2 "]);
    let key = prop::sample::select(vec!["a", "b", "c", "ab", "a=1", "b=1", "b=0"]);
    let sender = prop::sample::select(vec!["", "", " from:x"]);
    let namespace = prop::sample::select(vec!["", "", "", " ns:other"]);
    (execution, key, sender, namespace).prop_map(|(e, k, s, n)| format!("{e}{k}{s}{n}"))
}

fn rules_of(conditions: &[String]) -> String {
    conditions.iter().enumerate().map(|(i, condition)| format!("train: NONE [r{i}] when {condition}\n")).collect()
}

/// The firings of each rule in each execution, in order.
fn firings(world: &World) -> BTreeMap<(WorkflowExecutionId, RuleName), Vec<Offsets>> {
    let mut firings: BTreeMap<_, Vec<Offsets>> = BTreeMap::new();
    for firing in world.decisions.iter().flat_map(|decision| decision.firings.values()) {
        let record = &firing.record;
        let execution = record.workflow_execution.expect("of a job rule");
        let rule = record.firing.rule.clone().expect("of a rule");
        let events = record.firing.events.iter().copied().collect();
        firings.entry((execution, rule)).or_default().push(events);
    }
    firings
}

fn played(conditions: &[String], events: &[String]) -> (Workflow, World) {
    let rules = rules_of(conditions);
    let mut world = World::new(&rules);
    world.play("start | start");
    world.play(&events.join("|"));
    (parse_rules(&rules).remove(0), world)
}

/// The events of the log that the rules of an execution see.
fn seen_by(world: &World, execution: WorkflowExecutionId, of_any_execution: bool) -> impl Iterator<Item = &Event> {
    let events = world.log.iter().map(|input| &*input.event);
    events.filter(move |event| {
        let context = event.context.workflow_execution;
        event.offset > execution.cause
            && event.namespace != SYSTEM_NAMESPACE
            && (of_any_execution || context.is_none_or(|own| own == execution))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_agrees_with_a_model_that_forgets_nothing(
        conditions in prop::collection::vec(a_condition(), 1..4),
        events in prop::collection::vec(an_event(), 1..25),
    ) {
        // Patterns that name another namespace also see other executions; such events are left to the tests of scope.
        let conditions: Vec<String> = conditions.iter().map(|c| c.replace(" ns:other", "").replace(" ns:*", "")).collect();
        let (workflow, world) = played(&conditions, &events);
        let decided = firings(&world);
        for execution in world.executions.keys() {
            for edge in &workflow.control_edges {
                let mut model = Model::new(&edge.rule);
                for event in seen_by(&world, *execution, false) {
                    model.show(event);
                }
                let empty = Vec::new();
                let decided = decided.get(&(*execution, edge.rule.name.clone())).unwrap_or(&empty);
                prop_assert_eq!(decided, &model.firings, "rule {} in {}", edge.rule.name, execution);
            }
        }
    }

    /// Every matching event of a `once` operand is pending or was used by a firing; none was used twice; none is both.
    #[test]
    fn no_event_is_lost_or_used_twice(
        conditions in prop::collection::vec(a_condition(), 1..4),
        events in prop::collection::vec(an_event(), 1..25),
    ) {
        let conditions: Vec<String> = conditions.iter().map(|condition| condition.replace(" repeated", "")).collect();
        let (workflow, world) = played(&conditions, &events);
        let fired = firings(&world);
        for execution in world.executions.values() {
            for edge in &workflow.control_edges {
                let mut used = Offsets::new();
                for firing in fired.get(&(execution.id, edge.rule.name.clone())).into_iter().flatten() {
                    for offset in firing {
                        prop_assert!(used.insert(*offset), "{offset} was used twice by {}", edge.rule.name);
                    }
                }
                let states = execution.rules.get(&edge.job).and_then(|rules| rules.get(&edge.rule.name));
                for (operand, pattern) in patterns(&edge.rule.condition).into_iter().enumerate() {
                    let pending: Offsets = states
                        .and_then(|state| state.operands.get(operand))
                        .map(|operand| operand.pending.iter().copied().collect())
                        .unwrap_or_default();
                    prop_assert!(pending.is_disjoint(&used));
                    let sees_all = pattern.namespace.is_some();
                    let matching: Offsets = seen_by(&world, execution.id, sees_all)
                        .filter(|event| is_match(pattern, event))
                        .map(|event| event.offset)
                        .collect();
                    prop_assert!(pending.is_subset(&matching));
                    let missing: Vec<&Offset> =
                        matching.iter().filter(|offset| !pending.contains(offset) && !used.contains(offset)).collect();
                    prop_assert!(missing.is_empty(), "operand {operand} of {} lost {missing:?}", edge.rule.name);
                }
            }
        }
    }

    #[test]
    fn a_rule_more_does_not_change_the_firings_of_others(
        conditions in prop::collection::vec(a_condition(), 1..4),
        more in a_condition(),
        at in any::<prop::sample::Index>(),
        events in prop::collection::vec(an_event(), 1..25),
    ) {
        let (_, alone) = played(&conditions, &events);
        let rules = rules_of(&conditions);
        let mut lines: Vec<String> = rules.lines().map(str::to_owned).collect();
        lines.insert(at.index(lines.len() + 1), format!("train: NONE [more] when {more}"));
        let mut together = World::new(&lines.join("\n"));
        together.play("start | start");
        together.play(&events.join("|"));
        let mut both = firings(&together);
        both.retain(|(_, rule), _| rule.as_str() != "more");
        prop_assert_eq!(both, firings(&alone));
    }

    /// Leaving out the events of one execution changes nothing for the other.
    #[test]
    fn an_execution_does_not_notice_the_events_of_another(
        condition in a_condition(),
        events in prop::collection::vec(an_event(), 1..25),
    ) {
        let condition = condition.replace(" ns:other", "").replace(" ns:*", "");
        let without: Vec<String> =
            events.iter().map(|event| if event.starts_with("@2") { "@2 unseen ns:nowhere".to_owned() } else { event.clone() }).collect();
        let condition = [condition];
        let (_, with) = played(&condition, &events);
        let (_, without) = played(&condition, &without);
        let first = *with.executions.keys().next().expect("two were started");
        let of_first = |world: &World| {
            let mut firings = firings(world);
            firings.retain(|(execution, _), _| *execution == first);
            firings
        };
        prop_assert_eq!(of_first(&with), of_first(&without));
    }
}
