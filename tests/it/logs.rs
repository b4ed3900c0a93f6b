//! Logs: does the store say where each attempt left what it wrote, and can it be read there, also after the host has died?

use std::path::Path;
use std::time::Duration;

use aiflow::executor::{Ending, LogStream};
use aiflow::id::AttemptId;
use aiflow::prelude::*;
use aiflow::workflow::{Completion, RetryPolicy};
use serde_json::Value;

/// Says which attempt it is; the first one fails.
const JOB: &str = r#"echo "attempt $AIFLOW_ATTEMPT"; [ "$AIFLOW_ATTEMPT" = 2 ] && exit 0; echo no >&2; exit 3"#;

async fn whole(scheduler: &Scheduler, attempt: AttemptId, stream: LogStream) -> String {
    let (mut bytes, mut from) = (Vec::new(), 0);
    loop {
        // Less than a line at once.
        let chunk = scheduler.logs(attempt, stream, from, 4).await.unwrap();
        from = chunk.next;
        bytes.extend(chunk.bytes);
        if chunk.is_end {
            return String::from_utf8(bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_says_where_its_logs_are_and_they_are_read_after_its_host_has_died() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let url = format!("sqlite://{}", folder.path().join("aiflow.db").display());
    let aiflow = aiflow::open(&url).await.unwrap().project("wine").unwrap();
    let mut graph = AiGraph::new("wine", "twice");
    graph.node("work", shell(JOB).node().retry(RetryPolicy::fixed(1, Duration::ZERO)));
    graph.completion(Completion::Idle);
    aiflow.submit(&graph.translate().unwrap()).await.unwrap();
    let start = |runs: &Path| aiflow.scheduler().executor("process", ProcessExecutor::new(runs)).start().unwrap();

    let scheduler = start(&runs);
    let execution = aiflow.start("twice", Value::Null).await.unwrap();
    assert_eq!(aiflow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    scheduler.abort();

    let job = aiflow.job_executions(execution).await.unwrap().remove(0);
    assert_eq!((job.attempt, job.attempts.len()), (2, 1));
    let first = &job.attempts[0];
    assert!(matches!(&first.ending, Ending::Failed { exit_code: Some(3), .. }), "{first:?}");
    assert!(first.started_at.is_some_and(|started| started <= first.ended_at), "{first:?}");
    let scheduler = start(&runs);
    for (number, errors) in [(1, "no\n"), (2, "")] {
        let attempt = AttemptId::new(job.id, number);
        let output = whole(&scheduler, attempt, LogStream::Stdout).await;
        let location = Path::new(job.log_location(number).unwrap());
        assert_eq!(std::fs::read_to_string(location.join("stdout")).unwrap(), output);
        assert_eq!(output, format!("attempt {number}\n"));
        assert_eq!(whole(&scheduler, attempt, LogStream::Stderr).await, errors);
    }
    let never = scheduler.logs(AttemptId::new(job.id, 3), LogStream::Stdout, 0, 9).await.unwrap_err();
    assert_eq!(never.kind(), aiflow::ErrorKind::NotFound);
    scheduler.shutdown().await.unwrap();

    // A process that does not run such jobs says where they lie.
    let elsewhere = aiflow.scheduler().start().unwrap();
    let refused = elsewhere.logs(job.attempt_id(), LogStream::Stdout, 0, 9).await.unwrap_err();
    assert!(refused.to_string().contains(job.log_location(2).unwrap()), "{refused}");
    elsewhere.shutdown().await.unwrap();
}
