//! Talking back: do the lines of a job's event file become events, once and in order?

use aiflow_core::executor::{Ending, Executor, Observation, StopMode};
use aiflow_exec_process::{EVENT_LINE_BYTES_MAX, process, shell};
use serde_json::json;

use crate::world::{World, attempt, eventually, pid_in, run};

#[test]
fn events_of_a_shell_job_are_published_while_it_runs() {
    run(async {
        let world = World::new().await;
        let line = r#"
            echo '{"key":"a","value":1}' >>"$AIFLOW_EVENTS"
            echo '{"aiflow":"ready"}' >>"$AIFLOW_EVENTS"
            exec sleep 1000"#;
        world.submit(0, &shell(line)).await;
        world.is_ready(0).await;
        let log = world.log().await;
        assert_eq!(log, [("a".to_owned(), "UNDEFINED".to_owned(), json!(1))]);
        let stop = world.executor.stop(attempt(0), StopMode::Kill);
        stop.await.unwrap();
        world.listener.ending(attempt(0)).await;
    });
}

#[test]
fn events_of_a_python_job_carry_all_fields() {
    run(async {
        let world = World::new().await;
        let program = r#"
import json, os
with open(os.environ["AIFLOW_EVENTS"], "a") as events:
    def publish(**event):
        print(json.dumps(event), file=events, flush=True)
    publish(key="loss", value={"epoch": 1, "loss": 0.5}, event_type="METRIC")
    publish(key="done", broadcast=True, namespace="shop")
"#;
        world.run(0, &process(["python3", "-c", program])).await;
        let events = world.events().await;
        assert_eq!(events.len(), 2);
        let (loss, done) = (&events[0], &events[1]);
        assert_eq!(loss.id, format!("job:{}:1", attempt(0)));
        assert_eq!((loss.namespace.as_str(), loss.key.as_str()), ("wine", "loss"));
        assert_eq!(loss.event_type, "METRIC");
        assert_eq!(loss.value, json!({"epoch": 1, "loss": 0.5}));
        assert_eq!(loss.sender, "train");
        assert!(loss.context.workflow_execution.is_some());
        assert_eq!(done.namespace, "shop");
        assert_eq!(done.context.workflow_execution, None);
        assert_eq!(done.context.attempt, Some(attempt(0)));
    });
}

#[test]
fn a_process_labels_its_execution_while_it_runs() {
    run(async {
        let world = World::new().await;
        let program = r#"
import json, os
with open(os.environ["AIFLOW_EVENTS"], "a") as events:
    for epoch in range(1000):
        print(json.dumps({"aiflow": "labels", "labels": {"epoch": epoch}}), file=events)
    print(json.dumps({"aiflow": "labels", "labels": {"epoch": 1000, "page": "http://here"}}), file=events)
"#;
        world.run(0, &process(["python3", "-c", program])).await;
        let told: Vec<_> = world.events().await.into_iter().map(|event| event.value["labels"].clone()).collect();
        assert_eq!(told.last(), Some(&json!({"epoch": "1000", "page": "http://here"})));
        assert!(told.len() < 100, "what is read together is told once: {}", told.len());
    });
}

#[test]
fn what_is_no_event_is_reported_and_does_no_harm() {
    run(async {
        let world = World::new().await;
        let program = format!(
            r#"
import os
events = os.open(os.environ["AIFLOW_EVENTS"], os.O_WRONLY | os.O_APPEND)
os.write(events, b'{{"key":"first"}}\nnonsense\n\xff\xfe\n{{"key":"' + b'x' * {EVENT_LINE_BYTES_MAX} + b'"}}\n')
os.write(events, b'{{"key":"second"}}\n{{"key":"torn","val')
"#
        );
        let ending = world.run(0, &process(["python3", "-c", &program])).await;
        assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
        let log: Vec<_> = world
            .log()
            .await
            .into_iter()
            .map(|(key, event_type, value)| (key, event_type, value["line"].clone()))
            .collect();
        let said = |key: &str| (key.to_owned(), "UNDEFINED".to_owned(), json!(null));
        let refused = |line: u64| {
            let event_type = "JOB_EVENT_REJECTED".to_owned();
            ("retrain/train".to_owned(), event_type, json!(line))
        };
        assert_eq!(log, [said("first"), refused(2), refused(3), refused(4), said("second"), refused(6)]);
    });
}

#[test]
fn a_last_line_without_its_end_counts() {
    run(async {
        let world = World::new().await;
        let line = r#"printf '{"key":"a"}\n{"key":"b"}' >>"$AIFLOW_EVENTS""#;
        world.run(0, &shell(line)).await;
        let keys: Vec<_> = world.log().await.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["a", "b"]);
    });
}

#[test]
fn many_events_arrive_in_order_before_the_ending() {
    const EVENTS: u64 = 5_000;
    run(async {
        let world = World::new().await;
        let program = format!(
            r#"
import os
with open(os.environ["AIFLOW_EVENTS"], "a") as events:
    for n in range({EVENTS}):
        events.write('{{"key":"n","value":%d}}\n' % n)
"#
        );
        world.run(0, &process(["python3", "-c", &program])).await;
        let values: Vec<_> = world.log().await.into_iter().map(|(.., value)| value.as_u64().unwrap()).collect();
        assert!(values.into_iter().eq(0..EVENTS));
    });
}

#[test]
fn the_next_host_publishes_the_rest_and_nothing_twice() {
    run(async {
        let world = World::new().await;
        let (go, gone) = (world.path("go"), world.path("gone"));
        let line = format!(
            r#"
            echo '{{"key":"early"}}' >>"$AIFLOW_EVENTS"
            echo '{{"aiflow":"ready"}}' >>"$AIFLOW_EVENTS"
            while [ ! -e {go} ]; do sleep 0.01; done
            echo '{{"key":"late"}}' >>"$AIFLOW_EVENTS"
            echo $$ >{gone}"#,
            go = go.display(),
            gone = gone.display()
        );
        world.submit(0, &shell(line)).await;
        world.is_ready(0).await;
        world.executor.shutdown().await.unwrap();
        std::fs::write(go, "").unwrap();
        pid_in(&gone).await;
        let exit = world.run_dir(0).join("exit");
        eventually(|| std::fs::read(&exit).unwrap().contains(&b'\n').then_some(())).await;

        let world = world.replace_host().await;
        // It has ended, but what it said is not in the log yet.
        assert_eq!(world.observe(0).await, Observation::Running);
        let ending = world.listener.ending(attempt(0)).await;
        let keys: Vec<_> = world.log().await.into_iter().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["early", "late"]);
        eventually_ended(&world, ending).await;
    });
}

async fn eventually_ended(world: &World, ending: Ending) {
    while world.observe(0).await != Observation::Ended(ending.clone()) {
        tokio::task::yield_now().await;
    }
}
