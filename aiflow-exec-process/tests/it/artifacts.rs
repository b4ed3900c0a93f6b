//! Artifacts: does a job find what others made, and is what it leaves kept exactly if it succeeds?

use aiflow_core::ErrorKind;
use aiflow_core::artifact_store::StoredObject;
use aiflow_core::executor::{Ending, Executor, Observation, StopMode, Submission};
use aiflow_exec_process::{process, shell};
use serde_json::{Value, json};

use crate::world::{World, attempt, eventually, launch, run};

fn described(bytes: &[u8]) -> Value {
    let StoredObject { digest, size, .. } = StoredObject::of(bytes, "");
    json!({"sha256": digest, "bytes": size})
}

fn failure(ending: Ending) -> (String, Option<String>) {
    match ending {
        Ending::Failed { message, kind, retryable: true, .. } => (message, kind),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_python_job_reads_what_a_shell_job_wrote() {
    run(async {
        let world = World::with_files().await;
        let samples = b"1,2\n3,-4\n".to_vec();
        world.artifacts().save("samples.csv", samples.clone()).await.unwrap();
        let positive = shell(r#"awk -F, '$2 > 0' "$AIFLOW_INPUTS/samples.csv" >"$AIFLOW_OUTPUTS/positive.csv""#);
        let ending = world.run(0, &positive.reads("samples.csv").writes("positive.csv")).await;
        let wrote = json!({"positive.csv": described(b"1,2\n")});
        let output = json!({"read": {"samples.csv": described(&samples)}, "wrote": wrote});
        assert_eq!(ending, Ending::Succeeded { output: output.clone() });
        assert_eq!(world.artifacts().load("positive.csv").await.unwrap(), b"1,2\n");
        // Asked later, the files of the attempt say the same.
        assert_eq!(world.observe(0).await, Observation::Ended(Ending::Succeeded { output }));

        let program = r#"
import os, pathlib
rows = pathlib.Path(os.environ["AIFLOW_INPUTS"], "positive.csv").read_text().splitlines()
pathlib.Path(os.environ["AIFLOW_OUTPUTS"], "count").write_bytes(bytes([len(rows), 0, 255]))
"#;
        let count = process(["python3", "-c", program]).reads("positive.csv");
        let Ending::Succeeded { output } = world.run(1, &count).await else { panic!("it failed") };
        // A file that was not announced is kept as well.
        assert_eq!(output["wrote"], json!({"count": described(&[1, 0, 255])}));
        assert_eq!(world.artifacts().load("count").await.unwrap(), [1, 0, 255]);
        // Nothing read, nothing left, nothing to say.
        assert_eq!(world.run(2, &shell("true")).await, Ending::Succeeded { output: Value::Null });
    });
}

#[test]
fn what_an_attempt_leaves_that_does_not_succeed_is_not_kept() {
    run(async {
        let world = World::with_files().await;
        world.artifacts().save("model", b"good".to_vec()).await.unwrap();
        let half = r#"echo half >"$AIFLOW_OUTPUTS/model"; "#;
        let ending = world.run(0, &shell(format!("{half} exit 3")).writes("model")).await;
        assert!(matches!(ending, Ending::Failed { exit_code: Some(3), .. }), "{ending:?}");
        world
            .submit(1, &shell(format!("{half} echo '{{\"aiflow\":\"ready\"}}' >>\"$AIFLOW_EVENTS\"; sleep 1000")))
            .await;
        world.is_ready(1).await;
        world.executor.stop(attempt(1), StopMode::Kill).await.unwrap();
        assert_eq!(world.listener.ending(attempt(1)).await, Ending::Stopped);
        assert_eq!(world.artifacts().load("model").await.unwrap(), b"good");
    });
}

#[test]
fn what_cannot_be_kept_is_a_failure_that_says_why_and_keeps_nothing() {
    run(async {
        let world = World::with_files().await;
        for (n, (line, says)) in [
            ("true", "did not leave its output model"),
            (r#"rm -r "$AIFLOW_OUTPUTS""#, "did not leave its output model"),
            (r#"cd "$AIFLOW_OUTPUTS"; echo x >model; mkdir more"#, "more in AIFLOW_OUTPUTS, which is no file"),
            (
                r#"cd "$AIFLOW_OUTPUTS"; echo x >model; ln -s /etc/passwd users"#,
                "users in AIFLOW_OUTPUTS, which is no file",
            ),
            (r#"cd "$AIFLOW_OUTPUTS"; echo x >model; echo x >'a b'"#, "\"a b\" in AIFLOW_OUTPUTS, which is no name"),
            (r#"cd "$AIFLOW_OUTPUTS"; touch model $(seq 256)"#, "more than 256 files"),
        ]
        .into_iter()
        .enumerate()
        {
            let n = u32::try_from(n).unwrap();
            let (message, kind) = failure(world.run(n, &shell(line).writes("model")).await);
            assert!(message.contains(says), "{message}");
            assert_eq!(kind.as_deref(), Some("bad_output"));
            let Observation::Ended(again) = world.observe(n).await else { panic!("it has ended") };
            assert_eq!(failure(again).0, message);
        }
        assert_eq!(world.artifacts().load("model").await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn an_artifact_that_is_not_there_refuses_the_attempt_until_it_is() {
    run(async {
        let world = World::with_files().await;
        let spec = shell(r#"cat "$AIFLOW_INPUTS/samples""#).reads("samples");
        let error = world.executor.submit(launch(0, &spec)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("samples"), "{error}");
        assert_eq!(world.observe(0).await, Observation::NotFound);
        world.artifacts().save("samples", b"seven".to_vec()).await.unwrap();
        assert_eq!(world.executor.submit(launch(0, &spec)).await.unwrap(), Submission::Submitted);
        // What becomes of the artifact afterwards is nothing to the attempt, nor is another submission.
        world.artifacts().save("samples", b"eight".to_vec()).await.unwrap();
        assert_eq!(world.executor.submit(launch(0, &spec)).await.unwrap(), Submission::AlreadySubmitted);
        assert!(matches!(world.listener.ending(attempt(0)).await, Ending::Succeeded { .. }));
        assert_eq!(world.stdout(0).await, b"seven");

        let bare = World::new().await;
        let error = bare.executor.submit(launch(0, &spec)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("no artifact store"), "{error}");
        let ending = bare.run(1, &shell(r#"test -z "$AIFLOW_OUTPUTS$AIFLOW_INPUTS""#)).await;
        assert_eq!(ending, Ending::Succeeded { output: Value::Null });
    });
}

#[test]
fn the_next_host_keeps_what_was_left_while_none_was_there() {
    run(async {
        let world = World::with_files().await;
        let go = world.path("go");
        let line = format!(
            r#"
            echo '{{"aiflow":"ready"}}' >>"$AIFLOW_EVENTS"
            while [ ! -e {go} ]; do sleep 0.01; done
            echo late >"$AIFLOW_OUTPUTS/model""#,
            go = go.display()
        );
        world.submit(0, &shell(line).writes("model")).await;
        world.is_ready(0).await;
        world.executor.shutdown().await.unwrap();
        std::fs::write(go, "").unwrap();
        let exit = world.run_dir(0).join("exit");
        eventually(|| std::fs::read(&exit).unwrap().contains(&b'\n').then_some(())).await;
        assert_eq!(world.artifacts().load("model").await.unwrap_err().kind(), ErrorKind::NotFound);

        let world = world.replace_host().await;
        // It has ended, but what it left is not kept yet.
        assert_eq!(world.observe(0).await, Observation::Running);
        let Ending::Succeeded { output } = world.listener.ending(attempt(0)).await else { panic!("it failed") };
        assert_eq!(output["wrote"]["model"], described(b"late\n"));
        assert_eq!(world.artifacts().load("model").await.unwrap(), b"late\n");
    });
}
