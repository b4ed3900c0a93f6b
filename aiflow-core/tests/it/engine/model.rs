//! The rule engine against a naive model: random conditions and events, decided by keeping everything and recomputing it all each time.

use std::collections::BTreeMap;
use std::time::Duration;

use aiflow_core::event::{Event, SYSTEM_NAMESPACE};
use aiflow_core::execution::OperandState;
use aiflow_core::id::{Offset, RuleName, WorkflowExecutionId};
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::Workflow;
use proptest::prelude::*;

use super::naive::{Model, Offsets, absences, is_match, patterns};
use super::text::parse_rules;
use super::world::World;

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

/// A condition of every operator that waits for no moment.
fn any_condition() -> impl Strategy<Value = String> {
    let life = prop::sample::select(vec!["", "", "", " latest", " repeated"]);
    let key = prop::sample::select(vec!["a", "b", "c", "a*", "*", "a=1", "b>0", "b!=1", "a={0/1}"]);
    let pattern = (key, life).prop_map(|(key, life)| format!("{key}{life}"));
    let condition = pattern.prop_recursive(4, 10, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        let once = |text: String| text.replace(" latest", "").replace(" repeated", "");
        prop_oneof![
            2 => several.clone().prop_map(|of| format!("all({})", of.join(", "))),
            2 => several.clone().prop_map(|of| format!("any({})", of.join(", "))),
            2 => several.clone().prop_map(|of| format!("seq({})", of.join(", "))),
            1 => (any::<prop::sample::Index>(), several).prop_map(|(n, of)| {
                format!("at_least({}, {})", n.index(of.len()) + 1, of.join(", "))
            }),
            2 => (1_usize..4, inner.clone()).prop_map(|(n, of)| format!("count({n}, {of})")),
            1 => (1_usize..6, inner.clone()).prop_map(move |(n, of)| format!("within({n}s, {})", once(of))),
            1 => (1_usize..6, inner.clone()).prop_map(move |(n, of)| format!("within(tumbling {n}s, {})", once(of))),
            1 => (1_usize..6, inner).prop_map(|(n, of)| format!("all({of}, not({n}s, c))")),
        ]
    });
    (condition, prop::bool::weighted(0.3)).prop_map(|(condition, is_each)| match is_each {
        true => format!("each(label of, {condition})"),
        false => condition,
    })
}

/// An event at some time, or some time without one.
fn a_moment() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", "c", "ab", "a=1", "a=0", "b=1", "b=0"]);
    let late = prop::option::of(0_i64..12_000);
    let label = prop::sample::select(vec!["", " label:of=x", " label:of=x", " label:of=y"]);
    prop_oneof![
        4 => (key, late, label).prop_map(|(key, late, label)| {
            let at = late.map(|at| format!(" at:{at}")).unwrap_or_default();
            format!("{key}{at}{label}")
        }),
        1 => (1_u32..5).prop_map(|seconds| format!("tick {seconds}s")),
    ]
}

/// A condition with custom code, with operands that may be missing, or both.
fn patient_condition() -> impl Strategy<Value = String> {
    let operand = || {
        prop::sample::select(vec![
            "a",
            "b",
            "c",
            "a latest",
            "b=1 repeated",
            "custom(sum, 2, n)",
            "n",
            "custom(sum, 3, n*)",
        ])
    };
    let extra =
        || prop::sample::select(vec!["c", "d", "d latest", "d=1 repeated", "all(c, d)", "n", "custom(sum, 4, n)"]);
    let wait = || 1_u32..6;
    let once = |text: String| text.replace(" latest", "").replace(" repeated", "");
    let waiting = (operand(), wait(), extra(), wait(), extra()).prop_map(|(of, one, first, other, second)| {
        [
            format!("all({of}, optional({one}s, {first}))"),
            format!("all({of}, optional({one}s, {first}), optional({other}s, {second}))"),
            format!("all({of}, optional({one}s, {first}), not({other}s, c))"),
        ]
    });
    let waiting = (waiting, 0_usize..3).prop_map(|(texts, i)| texts[i].clone());
    let condition = prop_oneof![
        3 => waiting.clone(),
        1 => (operand(), wait(), extra()).prop_map(|(of, wait, extra)| format!("seq({of}, optional({wait}s, {extra}))")),
        1 => (waiting.clone(), operand()).prop_map(|(waiting, other)| format!("any({waiting}, {other})")),
        1 => (waiting.clone(), 1_u32..3).prop_map(|(waiting, n)| format!("count({n}, {waiting})")),
        1 => (waiting, 1_u32..6).prop_map(move |(of, n)| format!("within({n}s, {})", once(of))),
        1 => (operand(), operand()).prop_map(|(one, other)| format!("all({one}, {other})")),
        1 => (operand(), operand()).prop_map(|(one, other)| format!("seq({one}, {other})")),
        1 => (operand(), 1_u32..3).prop_map(|(of, n)| format!("count({n}, {of})")),
        1 => (operand(), operand(), 1_u32..6).prop_map(move |(one, other, n)| once(format!("within({n}s, all({one}, {other}))"))),
    ];
    (condition, prop::bool::weighted(0.3)).prop_map(|(condition, is_each)| match is_each {
        true => format!("each(label of, {condition})"),
        false => condition,
    })
}

/// An event for such conditions, or some time without one.
fn a_patient_moment() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a", "b", "b=1", "b=0", "c", "d", "d=1", "d=0", "n=1", "n=1", "n=2", "n=-1", "n=0", "n=x",
    ]);
    let late = prop::option::weighted(0.2, 0_i64..12_000);
    let label = prop::sample::select(vec!["", " label:of=x", " label:of=x", " label:of=y"]);
    prop_oneof![
        3 => (key, late, label).prop_map(|(key, late, label)| {
            let at = late.map(|at| format!(" at:{at}")).unwrap_or_default();
            format!("{key}{at}{label}")
        }),
        1 => (1_u32..5).prop_map(|seconds| format!("tick {seconds}s")),
    ]
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
        if !record.outcome.is_firing() {
            continue;
        }
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
                let mut model = Model::new(&edge.rule.condition);
                for event in seen_by(&world, *execution, false) {
                    model.show(event);
                }
                let empty = Vec::new();
                let decided = decided.get(&(*execution, edge.rule.name.clone())).unwrap_or(&empty);
                prop_assert_eq!(decided, &model.firings, "rule {} in {}", edge.rule.name, execution);
            }
        }
    }

    /// The same for every operator, with windows, keys and guards, and events that come late.
    #[test]
    fn every_operator_agrees_with_a_model_that_forgets_nothing(
        conditions in prop::collection::vec(any_condition(), 1..4),
        events in prop::collection::vec(a_moment(), 1..40),
    ) {
        let (workflow, world) = played(&conditions, &events);
        let decided = firings(&world);
        let execution = *world.executions.keys().next().expect("one was started");
        let letters: usize = world.decisions.iter().map(|decision| decision.dead_letters.len()).sum();
        for edge in workflow.control_edges.iter().filter(|_| letters == 0) {
            let mut model = Model::new(&edge.rule.condition);
            for event in seen_by(&world, execution, false) {
                model.show(event);
            }
            let empty = Vec::new();
            let decided = decided.get(&(execution, edge.rule.name.clone())).unwrap_or(&empty);
            prop_assert_eq!(decided, &model.firings, "rule {}", edge.rule.condition);
        }
    }

    /// The same for operands that may be missing and for custom code, which keeps a state, also when the engine is restored half-way.
    #[test]
    fn what_waits_for_a_while_agrees_with_a_model_that_forgets_nothing(
        conditions in prop::collection::vec(patient_condition(), 1..4),
        mut events in prop::collection::vec(a_patient_moment(), 1..40),
        restored in any::<prop::sample::Index>(),
    ) {
        events.insert(restored.index(events.len()), "restore".to_owned());
        let (workflow, world) = played(&conditions, &events);
        let decided = firings(&world);
        let execution = *world.executions.keys().next().expect("one was started");
        for edge in &workflow.control_edges {
            let mut model = Model::new(&edge.rule.condition);
            for event in seen_by(&world, execution, false) {
                model.show(event);
            }
            model.pass_time(world.now());
            let mut decided = decided.get(&(execution, edge.rule.name.clone())).cloned().unwrap_or_default();
            // Keys whose waits end together may fire in any order.
            if model.key.is_some() {
                decided.sort();
                model.firings.sort();
            }
            prop_assert_eq!(decided, model.firings, "rule {}", edge.rule.condition);
        }
    }

    /// An absence is told at its moment, exactly when nothing matched before, however often timers come late.
    #[test]
    fn an_absence_is_told_exactly_when_nothing_came(
        steps in prop::collection::vec(prop_oneof![Just(None), (1_u64..7).prop_map(Some)], 1..30),
    ) {
        let mut world = World::new("train: NONE [gone] when absent(5s, a)");
        world.play("start");
        let (mut now, mut came) = (0, Vec::new());
        for step in &steps {
            match step {
                None => {
                    came.push(Timestamp::from_millis(now));
                    world.play("a");
                }
                Some(seconds) => {
                    now += i64::try_from(seconds * 1_000).expect("a few seconds");
                    world.play(&format!("tick {seconds}s"));
                }
            }
        }
        let expected = absences(Timestamp::EPOCH, &came, Duration::from_secs(5), Timestamp::from_millis(now));
        let log: BTreeMap<_, _> = world.log.iter().map(|input| (input.event.offset, input.event.recorded)).collect();
        let told: Vec<Timestamp> = firings(&world)
            .into_values()
            .flatten()
            .map(|used| log[used.last().expect("it names the timer")])
            .collect();
        prop_assert_eq!(told, expected);
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
                let states = world.job_state(execution.id, &edge.job).and_then(|job| job.rules.get(&edge.rule.name));
                for (operand, pattern) in patterns(&edge.rule.condition).into_iter().enumerate() {
                    let pending: Offsets = states
                        .and_then(|state| match state.whole.operands.get(operand) {
                            Some(OperandState::Pending(pending)) => Some(pending.iter().map(|seen| seen.offset).collect()),
                            _ => None,
                        })
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
