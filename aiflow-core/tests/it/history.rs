//! Rules that begin in the past against a real log and scheduler: which pages are read, and what does one learn of it?

use aiflow_core::ErrorKind;
use aiflow_core::bus::EVENTS_PAGE_MAX;
use aiflow_core::client::AiFlow;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_core::function::{FunctionExecutor, FunctionSpec, Functions};
use aiflow_core::history::{HISTORY_EVENTS_PAGE, HISTORY_KEYS_MAX, History, HistoryRead, read_history};
use aiflow_core::id::{ExecutorName, JobName, NodeName, Offset, WorkflowName};
use aiflow_core::runtime::Scheduler;
use aiflow_core::workflow::{ContextOf, Job, KeyOf, Workflow, WorkflowRule, on, start_workflow};
use proptest::prelude::*;
use serde_json::{Value, json};

fn wanting(keys: &[&str]) -> HistoryRead {
    HistoryRead {
        filters: keys.iter().map(|key| EventFilter::all().namespace("wine").key(*key)).collect(),
        after: Offset::START,
        again: None,
        latest_through: None,
        per: None,
        execution: None,
        context: None,
        contexts: ContextOf::Event,
        others: false,
    }
}

/// All that is read page by page, as the engine asks for it.
async fn read_all(flow: &AiFlow, mut read: HistoryRead, before: Offset) -> (Vec<Offset>, History) {
    let (mut offsets, mut first) = (Vec::new(), None);
    loop {
        let page = read_history(&**flow.bus(), &read, before).await.unwrap();
        assert!(page.events.len() <= HISTORY_EVENTS_PAGE && page.covered > read.after);
        offsets.extend(page.events.iter().map(|event| event.offset));
        read.after = page.covered;
        let is_last = page.covered.next() >= before;
        first.get_or_insert(page);
        if is_last {
            return (offsets, first.unwrap());
        }
    }
}

async fn publish(flow: &AiFlow, events: Vec<NewEvent>) {
    for events in events.chunks(EVENTS_PAGE_MAX) {
        flow.bus().publish(events.to_vec()).await.unwrap();
    }
}

fn event(n: usize, key: impl Into<String>) -> NewEvent {
    NewEvent::identified(format!("e{n}"), "wine", key)
}

#[tokio::test]
async fn pages_hold_each_event_once_however_many_filters_want_it() {
    let flow = super::client::aiflow();
    let n = HISTORY_EVENTS_PAGE * 2 + 500;
    publish(&flow, (0..n).map(|n| event(n, ["a", "ab", "c", "d"][n % 4])).collect()).await;
    let (offsets, first) = read_all(&flow, wanting(&["a*", "a", "ab", "d"]), Offset(2_000)).await;
    let expected: Vec<Offset> = (1..2_000).filter(|offset| offset % 4 != 3).map(Offset).collect();
    assert_eq!(offsets, expected);
    assert_eq!(first.events.len(), HISTORY_EVENTS_PAGE);
    let nothing = read_history(&**flow.bus(), &wanting(&["z"]), Offset(2_000)).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.covered), (0, Offset(1_999)));
}

#[tokio::test]
async fn of_more_keys_than_are_kept_the_newest_are_read_and_that_is_said() {
    let flow = super::client::aiflow();
    let n = HISTORY_KEYS_MAX + 7;
    publish(&flow, (0..n).map(|n| event(n, format!("k{n}"))).collect()).await;
    publish(&flow, vec![event(n, "k0"), event(n + 1, "k9"), event(n + 2, "k9")]).await;
    let through = Offset(n as u64 + 2);
    let read = HistoryRead { latest_through: Some(through), ..wanting(&["k*"]) };
    let (offsets, first) = read_all(&flow, read, Offset(n as u64 + 4)).await;
    // `k1` to `k7` have no room. `k0` came again; `k9` came again twice, the second time after what is read of the latest.
    let expected: Vec<Offset> = (9..=n as u64 + 3).filter(|offset| *offset != 10).map(Offset).collect();
    assert!(offsets == expected, "{} events from {:?} on", offsets.len(), offsets.first());
    assert!(first.is_cut);
}

#[tokio::test]
async fn what_was_trimmed_and_what_is_not_meant_is_left_out() {
    let flow = super::client::aiflow();
    let mut events: Vec<NewEvent> = (0..6).map(|n| event(n, "a")).collect();
    events[3].context.only_rule = Some("wine/w/r".to_owned());
    events[4].context.quiet = true;
    events.push(NewEvent::identified("other", "red", "a"));
    publish(&flow, events).await;
    flow.bus().trim(Offset(2)).await.unwrap();
    let history = read_history(&**flow.bus(), &wanting(&["a"]), Offset(8)).await.unwrap();
    let offsets: Vec<u64> = history.events.iter().map(|event| event.offset.0).collect();
    assert_eq!((offsets, history.after, history.covered), (vec![3, 6], Offset(2), Offset(7)));
    let all_trimmed = read_history(&**flow.bus(), &wanting(&["a"]), Offset(2)).await.unwrap();
    assert_eq!((all_trimmed.events.len(), all_trimmed.after), (0, Offset(2)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is read is what a look at each event of the log finds.
    #[test]
    fn pages_agree_with_a_look_at_each_event(
        log in prop::collection::vec((prop::sample::select(vec!["a", "ab", "b", "c"]), 0_u8..3), 1..60),
        through in prop::option::of(0_u64..60),
        before in 1_u64..60,
        per in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let per = per.then(|| KeyOf::value("/p"));
        let read = HistoryRead { latest_through: through.map(Offset), per: per.clone(), ..wanting(&["a*", "c"]) };
        let before = Offset(before.min(log.len() as u64 + 1));
        let events: Vec<NewEvent> =
            log.iter().enumerate().map(|(n, (key, p))| event(n, *key).value(json!({ "p": p }))).collect();
        let found = runtime.block_on(async {
            let flow = super::client::aiflow();
            publish(&flow, events.clone()).await;
            if before == Offset(1) { Vec::new() } else { read_all(&flow, read, before).await.0 }
        });
        let mut expected: Vec<(u64, &NewEvent)> = Vec::new();
        for (offset, event) in (1..before.0).zip(&events).filter(|(_, event)| event.key != "b") {
            if through.is_some_and(|through| offset <= through) {
                expected.retain(|(_, older)| {
                    older.key != event.key || (per.is_some() && older.value != event.value)
                });
            }
            expected.push((offset, event));
        }
        let expected: Vec<Offset> = expected.into_iter().map(|(offset, _)| Offset(offset)).collect();
        prop_assert_eq!(found, expected);
    }
}

fn workflow(flow: &AiFlow, rules: Vec<WorkflowRule>) -> Workflow {
    let mut workflow = Workflow::new(flow.project_name().clone(), WorkflowName::parse("quality").unwrap());
    let spec = FunctionSpec::single(NodeName::parse("train").unwrap(), "train");
    let (job, executor) = (JobName::parse("train").unwrap(), ExecutorName::parse("function").unwrap());
    workflow.jobs.push(Job::new(job, executor, serde_json::to_value(spec).unwrap()));
    workflow.rules = rules;
    workflow
}

fn scheduler(flow: &AiFlow) -> Scheduler {
    let functions = Functions::new().register("train", |_, _: Value| async { Ok(()) });
    flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap()
}

/// Waits until everything was applied that follows from what is in the log.
async fn settled(flow: &AiFlow, scheduler: &Scheduler) {
    loop {
        let last = flow.bus().head().await.unwrap().last;
        scheduler.wait_applied(last).await.unwrap();
        if flow.bus().head().await.unwrap().last == last {
            return;
        }
    }
}

#[tokio::test]
async fn a_rule_that_is_added_later_starts_for_what_came_before_and_says_so() {
    let flow = super::client::aiflow();
    let scheduler = scheduler(&flow);
    flow.submit(&workflow(&flow, Vec::new())).await.unwrap();
    let n = HISTORY_EVENTS_PAGE + 3;
    let events: Vec<NewEvent> = (0..n).map(|n| event(n, if n % 500 == 1 { "samples" } else { "noise" })).collect();
    publish(&flow, events).await;
    let rule = start_workflow(on("samples")).from_offset(Offset::START).named("late".parse().unwrap());
    flow.submit(&workflow(&flow, vec![rule.clone()])).await.unwrap();
    settled(&flow, &scheduler).await;
    let begun = |executions: Vec<aiflow_core::execution::WorkflowExecution>| executions.len();
    assert_eq!(begun(flow.executions("quality", 10).await.unwrap()), 3);
    // The same rule again, with other things about the workflow: nothing is shown twice.
    let mut again = workflow(&flow, vec![rule]);
    again.params = json!({ "n": 1 });
    flow.submit(&again).await.unwrap();
    flow.publish(flow.event("samples")).await.unwrap();
    settled(&flow, &scheduler).await;
    assert_eq!(begun(flow.executions("quality", 10).await.unwrap()), 4);
    let told = flow.explain_rule("quality", "late", None).await.unwrap();
    assert_eq!(told.catch_up.as_ref().map(|catch_up| (catch_up.is_done, catch_up.n_events)), Some((true, 3)));
    let text = told.to_string();
    assert!(text.contains("START when samples, from event 0 on\n  it came with event "), "{text}");
    assert!(text.contains(", was shown 3 events from before, and sees those after event "), "{text}");
    scheduler.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_start_position_that_the_log_does_not_have_is_refused_or_warned_of() {
    let flow = super::client::aiflow();
    let scheduler = scheduler(&flow);
    publish(&flow, (0..5).map(|n| event(n, "samples")).collect()).await;
    let named = |rule: WorkflowRule, name: String| workflow(&flow, vec![rule.named(name.parse().unwrap())]);
    let from = |offset| named(start_workflow(on("samples")).from_offset(Offset(offset)), format!("from-{offset}"));
    let error = flow.submit(&from(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("begins with event 7, and the newest is 5"), "{error}");
    assert_eq!(flow.submit(&from(6)).await.unwrap().warnings, []);
    settled(&flow, &scheduler).await;
    flow.bus().trim(Offset(3)).await.unwrap();
    assert_eq!(flow.submit(&from(4)).await.unwrap().warnings, []);
    settled(&flow, &scheduler).await;
    assert_eq!(flow.executions("quality", 10).await.unwrap().len(), 2);
    let latest = named(start_workflow(on("samples")).from_latest(), "latest".to_owned());
    for workflow in [from(3), latest] {
        let warnings = flow.submit(&workflow).await.unwrap().warnings;
        assert!(warnings[0].message.contains("the events up to 3 are not in the log any more"), "{warnings:?}");
        settled(&flow, &scheduler).await;
        let text = flow.explain_rule("quality", &workflow.rules[0].name, None).await.unwrap().to_string();
        let lost = "the events up to 3 were not in the log any more, or out of reach, and did not count";
        assert!(text.contains(lost), "{text}");
    }
    assert_eq!(flow.executions("quality", 10).await.unwrap().len(), 5);
    scheduler.shutdown().await.unwrap();
}
