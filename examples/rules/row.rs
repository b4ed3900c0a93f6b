//! One row of the table: a rule at work.

use std::time::Duration;

use aiflow::event::WORKFLOW_STATUS_CHANGED;
use aiflow::execution::WorkflowExecution;
use aiflow::function::JobError;
use aiflow::prelude::*;
use aiflow::time::{Clock as _, SystemClock};
use aiflow::workflow::{Admission, SchedulingRule, WorkflowRule};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// A wish, the workflow that fulfils it, the events that are published, and what runs: one execution a line, in alphabetical order.
pub(crate) struct Row {
    wish: &'static str,
    graph: AiGraph,
    job: &'static str,
    events: Vec<NewEvent>,
    runs: Vec<&'static str>,
}

impl Row {
    /// A workflow of one job, which `rule` starts.
    pub(crate) fn new(wish: &'static str, rule: WorkflowRule) -> Self {
        let mut graph = AiGraph::new("", "row");
        graph.rule(rule);
        Self { wish, graph, job: "short", events: Vec::new(), runs: Vec::new() }
    }

    pub(crate) fn admission(mut self, admission: Admission) -> Self {
        self.graph.admission(admission);
        self
    }

    /// The job runs until it is stopped.
    pub(crate) fn runs_long(mut self) -> Self {
        self.job = "long";
        self
    }

    /// A rule that stops the job.
    pub(crate) fn stops(mut self, rule: SchedulingRule) -> Self {
        self.graph.control("job", rule);
        self
    }

    pub(crate) fn when(mut self, events: impl IntoIterator<Item = NewEvent>) -> Self {
        self.events.extend(events);
        self
    }

    pub(crate) fn then(mut self, runs: impl IntoIterator<Item = &'static str>) -> Self {
        self.runs.extend(runs);
        self
    }
}

/// An event about `key`; its namespace is that of its row.
pub(crate) fn event(key: &str, value: impl Into<Value>) -> NewEvent {
    NewEvent::new("row", key).value(value)
}

pub(crate) fn ago(span: Duration, event: NewEvent) -> NewEvent {
    event.time(SystemClock.now() - span)
}

pub(crate) fn at(time: &str, event: NewEvent) -> NewEvent {
    event.time(Timestamp::parse_rfc3339(time).expect("a time"))
}

/// Publishes the events of each row in a project of its own, waits for what is said to run, and prints it.
pub(crate) async fn run_all(rows: Vec<Row>) -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?;
    let functions = Functions::new().register("short", short).register("long", long);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;
    let mut done = Vec::new();
    for (n, mut row) in rows.into_iter().enumerate() {
        println!("\n{}\n  {}", row.wish, row.graph.rules[0]);
        row.graph.project = format!("row-{n}");
        row.graph.node("job", function(row.job));
        let aiflow = aiflow.project(&row.graph.project)?;
        aiflow.submit(&row.graph.translate()?).await?;
        for event in &mut row.events {
            event.namespace.clone_from(&row.graph.project);
        }
        let offsets = aiflow.publish_all(row.events).await?;
        if let Ok(failed) = tokio::time::timeout(PATIENCE, wait_for(&aiflow, &offsets, &row.runs)).await {
            failed?;
        }
        assert_eq!(found(&aiflow, &offsets).await?, row.runs);
        row.runs.iter().for_each(|run| println!("  ran {run}"));
        done.push((aiflow, offsets, row.runs));
    }
    for (aiflow, offsets, runs) in done {
        assert_eq!(found(&aiflow, &offsets).await?, runs, "meanwhile something else came of them");
    }
    Ok(scheduler.shutdown().await?)
}

/// Looks at the executions whenever one of them begins or ends, until they are these.
async fn wait_for(aiflow: &AiFlow, offsets: &[Offset], runs: &[&str]) -> aiflow::Result<()> {
    let filter = EventFilter::all().event_type(WORKFLOW_STATUS_CHANGED).namespace(aiflow.project_name().as_str());
    let mut statuses = aiflow.listen(filter, Offset::START);
    while found(aiflow, offsets).await? != runs {
        statuses.next().await?;
    }
    Ok(())
}

async fn found(aiflow: &AiFlow, offsets: &[Offset]) -> aiflow::Result<Vec<String>> {
    let executions = aiflow.executions("row", 100).await?;
    let mut words: Vec<String> = executions.iter().map(|execution| in_words(execution, offsets)).collect();
    words.sort();
    Ok(words)
}

/// For which key an execution runs, because of which of the events, and how it stands.
fn in_words(execution: &WorkflowExecution, offsets: &[Offset]) -> String {
    let cause = &execution.cause;
    let number = |used: &Offset| offsets.iter().position(|offset| offset == used).map(|index| (index + 1).to_string());
    let mut numbers: Vec<String> = cause.events.iter().filter_map(number).collect();
    let clock = if numbers.len() < cause.events.len() { " and the clock" } else { "" };
    let events = match (numbers.len(), numbers.pop()) {
        (1, Some(only)) => format!("event {only}"),
        (2..=4, Some(last)) => format!("events {} and {last}", numbers.join(", ")),
        (n, _) => format!("{n} events"),
    };
    let key = cause.key.as_ref().map(|key| format!("for {key}, ")).unwrap_or_default();
    format!("{key}{events}{clock}: {}", execution.status)
}

async fn short(_: JobContext, _: Value) -> Result<(), JobError> {
    Ok(())
}

async fn long(ctx: JobContext, _: Value) -> Result<(), JobError> {
    ctx.cancelled().await;
    Ok(())
}
