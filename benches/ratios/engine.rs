//! The engine alone: what does a match cost among many rules, and what does an execution that waits?

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiflow::engine::{Engine, Input, Snapshot};
use aiflow::event::{Event, NewEvent};
use aiflow::execution::WorkflowState;
use aiflow::id::Offset;
use aiflow::time::Timestamp;
use aiflow::workflow::{Workflow, WorkflowRule, all, on, start, start_workflow};

use crate::table::{NONE, Pairs, Table, Target};
use crate::world::{PROJECT, control, job};

const ROUNDS: usize = 7;
/// As many as the scheduler decides at once.
const BATCH: usize = 512;
const EVENTS: usize = 100 * BATCH;
const EXECUTIONS: usize = 100_000;
const EXECUTION_BYTES_MAX: usize = 4 * 1024;

fn workflow(name: &str) -> Workflow {
    Workflow::new(PROJECT.parse().unwrap(), name.parse().unwrap())
}

fn engine(workflows: impl Iterator<Item = Workflow>) -> Engine {
    let mut snapshot = Snapshot::default();
    for workflow in workflows {
        let (project, name) = (workflow.project.clone(), workflow.name.clone());
        snapshot.workflows.push(WorkflowState {
            project,
            name,
            version: 1,
            enabled: true,
            deleted_at: None,
            rules: Default::default(),
            schedules: Default::default(),
        });
        snapshot.definitions.push((1, Arc::new(workflow)));
    }
    Engine::restore(snapshot)
}

/// One workflow a rule.
fn engine_of_rules(count: usize, rule: fn(usize) -> WorkflowRule) -> Engine {
    engine((0..count).map(|n| {
        let mut workflow = workflow(&format!("workflow-{n}"));
        workflow.jobs.push(job("a", "function"));
        workflow.rules.push(rule(n));
        workflow
    }))
}

/// Looks at each event of its key, whose value is not the one it waits for.
fn looks(n: usize) -> WorkflowRule {
    start_workflow(on(format!("key-{n}").as_str()).equals("another value"))
}

/// Keeps each event of its key in mind, and never fires.
fn waits(n: usize) -> WorkflowRule {
    start_workflow(all([on(format!("key-{n}").as_str()).repeated(), on("never")]))
}

fn fires(n: usize) -> WorkflowRule {
    start_workflow(on(format!("key-{n}").as_str()))
}

struct Log(u64);

impl Log {
    fn input(&mut self, key: &str) -> Input {
        self.0 += 1;
        let body = NewEvent::identified(format!("event-{}", self.0), PROJECT, key);
        Input::from(Event { offset: Offset(self.0), recorded: Timestamp::from_millis(1_790_000_000_000), body })
    }

    /// Events that hit the rules far apart, so that no cache holds what the next one needs.
    fn inputs(&mut self, count: usize, rules: usize, prefix: &str) -> Vec<Input> {
        (0..count).map(|n| self.input(&format!("{prefix}-{}", n * 7_919 % rules))).collect()
    }
}

/// Decides and applies in batches, and returns the time an event.
fn drive(engine: &mut Engine, inputs: &[Input]) -> f64 {
    let begun = Instant::now();
    for batch in inputs.chunks(BATCH) {
        let decision = engine.decide(batch);
        assert_eq!(decision.consumed, batch.len());
        engine.apply(&decision);
        black_box(decision);
    }
    each(begun.elapsed(), inputs.len())
}

fn each(elapsed: Duration, count: usize) -> f64 {
    elapsed.as_secs_f64() / f64::from(u32::try_from(count).unwrap())
}

/// The floor: a hash table from key to rules.
fn look_up(index: &HashMap<String, Vec<usize>>, inputs: &[Input]) -> f64 {
    let begun = Instant::now();
    for input in inputs {
        black_box(index.get(&input.event.key));
    }
    each(begun.elapsed(), inputs.len())
}

pub(crate) fn matching(table: &mut Table) {
    let target = Target::Within(Duration::from_micros(2));
    for rules in [10, 1_000, 100_000] {
        let mut engine = engine_of_rules(rules, looks);
        let title = format!("match 1 of {rules} rules, time an event (floor: hash table)");
        measure(table, &title, &mut engine, rules, "key", target);
    }
    let mut engine = engine_of_rules(100_000, looks);
    let title = "match none of 100000 rules, time an event (floor: hash table)";
    measure(table, title, &mut engine, 100_000, "other", target);
    let mut engine = engine_of_rules(100_000, waits);
    let title = "match 1 of 100000 rules and keep the event in mind (floor: hash table)";
    measure(table, title, &mut engine, 100_000, "key", Target::Info);
    let mut engine = engine_of_rules(100_000, fires);
    let title = "match 1 of 100000 rules and start an execution of one job (floor: hash table)";
    measure(table, title, &mut engine, 100_000, "key", Target::Info);
}

fn measure(table: &mut Table, title: &str, engine: &mut Engine, rules: usize, prefix: &str, target: Target) {
    let index: HashMap<String, Vec<usize>> = (0..rules).map(|n| (format!("key-{n}"), vec![n])).collect();
    let mut log = Log(0);
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let inputs = log.inputs(EVENTS / 4, rules, prefix);
        let floor = look_up(&index, &inputs);
        pairs.add(drive(engine, &inputs), floor);
    }
    table.times(title, NONE, &pairs, target);
}

/// Growth of the process with executions that wait for an event.
pub(crate) fn memory(table: &mut Table) {
    let mut standing = workflow("standing");
    standing.jobs.push(job("a", "function"));
    standing.control_edges.push(control("a", start(all([on("first"), on("second")]))));
    standing.rules.push(start_workflow(on("go")));
    let mut engine = engine(std::iter::once(standing));
    let mut log = Log(0);
    let before = resident_bytes();
    for _ in 0..EXECUTIONS.div_ceil(BATCH) {
        let inputs: Vec<Input> = (0..BATCH).map(|_| log.input("go")).collect();
        drive(&mut engine, &inputs);
    }
    let executions = engine.executions().count();
    let mut row = |what: &str| {
        let bytes = resident_bytes().saturating_sub(before) / executions;
        let met = bytes < EXECUTION_BYTES_MAX;
        let title = format!("memory of a waiting execution, {executions} of them{what}");
        table.plain(&title, NONE, &format!("{bytes} bytes"), "< 4 KiB", Some(met));
    };
    row("");
    let first = [log.input("first")];
    drive(&mut engine, &first);
    row(", each with one of two events");
    assert!(engine.snapshot().job_states.iter().all(|job| job.rules.len() == 1));
}

/// Rules that wait: each has one of two events, a thousand workflows with a hundred rules each.
pub(crate) fn rule_memory(table: &mut Table) {
    const WORKFLOWS: usize = 1_000;
    const RULES: usize = 100;
    let before = resident_bytes();
    let mut engine = engine((0..WORKFLOWS).map(|n| {
        let mut workflow = workflow(&format!("workflow-{n}"));
        workflow.jobs.push(job("a", "function"));
        let rule = |m: usize| start_workflow(all([on("first"), on(format!("second-{n}-{m}").as_str())]));
        workflow.rules = (0..RULES).map(rule).collect();
        workflow
    }));
    let idle = resident_bytes();
    let first = [Log(0).input("first")];
    drive(&mut engine, &first);
    let waiting = resident_bytes();
    assert!(engine.snapshot().workflows.iter().all(|workflow| workflow.rules.len() == RULES));
    let each = |bytes: usize| bytes.saturating_sub(before) / (WORKFLOWS * RULES);
    let title = format!("memory of a rule, {} of them: at rest / with one of two events", WORKFLOWS * RULES);
    table.plain(&title, NONE, &format!("{} / {} bytes", each(idle), each(waiting)), "stated", None);
}

fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4_096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE_BYTES
}
