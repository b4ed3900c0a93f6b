//! Streams: checkpoints, and values that are handed to a running process.

use aiflow_core::control::Control;
use aiflow_core::executor::{Executor, Launch, ReportKind, Signal, StopMode};
use aiflow_core::id::{FiringId, Offset};
use aiflow_exec_process::shell;
use serde_json::json;

use crate::world::{World, attempt, eventually, launch, run};

async fn said(world: &World) -> Vec<ReportKind> {
    let events = world.events().await.into_iter();
    events
        .filter_map(|event| match Control::from_event(&event) {
            Ok(Some(Control::Reported { report, .. })) => Some(report),
            _ => None,
        })
        .collect()
}

fn signal(n: u64, value: &str) -> Signal {
    Signal { id: FiringId::new(Offset(n), 0), key: "model".to_owned(), value: json!(value), params: json!(null) }
}

/// Also by a host that did not start the job, and once more for one whose answer was lost.
#[test]
fn a_value_reaches_a_running_job_which_acknowledges_it() {
    run(async {
        let world = World::new().await;
        let line = r#"
            echo '{"aiflow":"ready"}' >>"$AIFLOW_EVENTS"
            until grep -q v2 "$AIFLOW_SIGNALS"; do sleep 0.01; done
            id=$(sed -n 's/.*"id":"\([^"]*\)".*"v2".*/\1/p' "$AIFLOW_SIGNALS" | head -n 1)
            echo "{\"aiflow\":\"acknowledge\",\"signal\":\"$id\"}" >>"$AIFLOW_EVENTS""#;
        world.submit(0, &shell(line)).await;
        world.is_ready(0).await;
        world.executor.signal(attempt(0), signal(5, "v1")).await.unwrap();
        let world = world.replace_host().await;
        world.executor.signal(attempt(0), signal(6, "v2")).await.unwrap();
        world.executor.signal(attempt(0), signal(6, "v2")).await.unwrap();
        world.observe(0).await;
        world.listener.ending(attempt(0)).await;
        assert_eq!(said(&world).await, [ReportKind::Acknowledged { signal: FiringId::new(Offset(6), 0) }]);
        // It has ended; whoever is late is told nothing else.
        world.executor.signal(attempt(0), signal(7, "v3")).await.unwrap();
    });
}

#[test]
fn a_checkpoint_is_said_and_the_next_attempt_begins_there() {
    run(async {
        let world = World::new().await;
        let line = r#"
            echo "at $AIFLOW_CHECKPOINT"
            echo '{"aiflow":"checkpoint","value":{"step":1}}' >>"$AIFLOW_EVENTS"
            exec sleep 1000"#;
        world.submit(0, &shell(line)).await;
        let reference = json!({ "step": 1 });
        let expected = [ReportKind::Checkpoint { number: 1, value: reference.clone() }];
        while said(&world).await != expected {
            tokio::task::yield_now().await;
        }
        world.executor.stop(attempt(0), StopMode::Kill).await.unwrap();
        world.listener.ending(attempt(0)).await;
        assert_eq!(world.stdout(0).await, b"at \n");
        let next = Launch { checkpoint: Some(reference), ..launch(1, &shell("echo \"at $AIFLOW_CHECKPOINT\"")) };
        world.submit_launch(next).await;
        world.listener.ending(attempt(1)).await;
        assert_eq!(world.stdout(1).await, b"at {\"step\":1}\n");
    });
}

#[test]
fn of_many_checkpoints_said_at_once_the_last_counts_and_a_large_one_is_refused() {
    run(async {
        let world = World::new().await;
        let line = r#"
            { for n in 1 2 3 4 5; do echo "{\"aiflow\":\"checkpoint\",\"value\":$n}"; done
              printf '{"aiflow":"checkpoint","value":"%020000d"}\n' 0
              echo '{"aiflow":"checkpoint"}'; } >"$AIFLOW_RUN_DIR/all"
            cat "$AIFLOW_RUN_DIR/all" >>"$AIFLOW_EVENTS""#;
        world.run(0, &shell(line)).await;
        let said = said(&world).await;
        let last = ReportKind::Checkpoint { number: 5, value: json!(5) };
        assert_eq!(said.last(), Some(&last));
        assert!(said.len() <= 5, "{said:?}");
        let refused = world.log().await.into_iter().filter(|(_, event_type, _)| event_type == "JOB_EVENT_REJECTED");
        assert_eq!(refused.map(|(.., value)| value["line"].clone()).collect::<Vec<_>>(), [json!(6), json!(7)]);
        eventually(|| world.run_dir(0).join("signals").exists().then_some(())).await;
    });
}
