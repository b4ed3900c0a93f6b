//! A rule that is added to a live workflow and begins in the past, on SQLite, across schedulers.

use aiflow::execution::WorkflowExecution;
use aiflow::history::HISTORY_EVENTS_PAGE;
use aiflow::prelude::*;
use aiflow::workflow::{Job, Workflow, WorkflowRule, count};
use serde_json::Value;

fn workflow(flow: &AiFlow, rules: Vec<WorkflowRule>) -> Workflow {
    let mut workflow = Workflow::new(flow.project_name().clone(), WorkflowName::parse("quality").unwrap());
    let spec = aiflow::function::FunctionSpec::single("train".parse().unwrap(), "train");
    let job = Job::new("train".parse().unwrap(), "function".parse().unwrap(), serde_json::to_value(spec).unwrap());
    workflow.jobs.push(job);
    workflow.rules = rules;
    workflow
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    let functions = Functions::new().register("train", |_, _: Value| async { Ok(()) });
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

/// The events of each firing of a rule, once everything was applied that follows from what is in the log.
async fn fired(flow: &AiFlow, scheduler: &Scheduler, rule: &WorkflowRule) -> Vec<Vec<Offset>> {
    loop {
        let last = flow.bus().head().await.unwrap().last;
        scheduler.wait_applied(last).await.unwrap();
        if flow.bus().head().await.unwrap().last == last {
            break;
        }
    }
    let mut executions: Vec<WorkflowExecution> = flow.executions("quality", 1_000).await.unwrap();
    executions.retain(|execution| execution.cause.rule.as_ref() == Some(&rule.name));
    executions.sort_by_key(|execution| execution.id);
    executions.into_iter().map(|execution| execution.cause.events).collect()
}

/// The past is longer than a page, and the scheduler that begins to show it dies.
#[tokio::test]
async fn a_rule_catches_up_once_whoever_schedules() {
    let folder = tempfile::tempdir().unwrap();
    let flow = aiflow::open(&format!("sqlite://{}/aiflow.db", folder.path().display())).await.unwrap();
    let flow = flow.project("wine").unwrap();
    let first = scheduler(&flow);
    flow.submit(&workflow(&flow, Vec::new())).await.unwrap();
    let n = HISTORY_EVENTS_PAGE * 2 + 100;
    let event = |n: usize| flow.event(if n.is_multiple_of(9) { "noise" } else { "samples" }).value(n);
    let mut offsets = flow.publish_all((0..n).map(event).collect()).await.unwrap();
    let late = start_workflow(on("samples").compares(Comparison::Greater, n - 3)).from_offset(Offset::START);
    let many = start_workflow(count(300, on("samples"))).from_offset(offsets[100]);
    flow.submit(&workflow(&flow, vec![late.clone(), many.clone()])).await.unwrap();
    first.abort();
    offsets.push(flow.publish(event(n)).await.unwrap());
    let second = scheduler(&flow);
    offsets.push(flow.publish(event(n + 1)).await.unwrap());
    let samples: Vec<Offset> =
        offsets.iter().enumerate().filter(|(n, _)| !n.is_multiple_of(9)).map(|(_, offset)| *offset).collect();
    let newest: Vec<Vec<Offset>> = samples.iter().filter(|s| **s > offsets[n - 3]).map(|s| vec![*s]).collect();
    assert_eq!(fired(&flow, &second, &late).await, newest);
    let since: Vec<Offset> = samples.into_iter().filter(|sample| *sample >= offsets[100]).collect();
    let groups: Vec<Vec<Offset>> = since.chunks_exact(300).map(<[Offset]>::to_vec).collect();
    assert_eq!(fired(&flow, &second, &many).await, groups);
    second.shutdown().await.unwrap();
}
