//! Logs: is everything that an attempt wrote read, once?

use aiflow_core::ErrorKind;
use aiflow_core::executor::{Executor, LOG_CHUNK_BYTES_MAX, LogStream};
use aiflow_core::id::AttemptId;

use super::fixture::{Behaviour, ExecutorFixture, POLL_PAUSE, Stage};

/// Reads a log to its end by pieces of `bytes_max`.
async fn read(executor: &dyn Executor, attempt: AttemptId, stream: LogStream, bytes_max: usize) -> String {
    let (mut from, mut bytes) = (0, Vec::new());
    loop {
        let chunk = executor.logs(attempt, stream, from, bytes_max).await.unwrap();
        assert!(chunk.bytes.len() <= bytes_max.min(LOG_CHUNK_BYTES_MAX));
        if chunk.bytes.is_empty() && !chunk.is_end {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        bytes.extend(chunk.bytes);
        from = chunk.next;
        if chunk.is_end {
            return String::from_utf8(bytes).unwrap();
        }
    }
}

/// Runs a job that prints; where the executor has no logs, asserts that it says so and returns `None`.
async fn print(stage: &Stage<'_>, lines: u32) -> Option<AttemptId> {
    if stage.executor.capabilities().logs {
        return Some(stage.submit(0, Behaviour::PrintThenSucceed(lines)).await);
    }
    let attempt = stage.submit(0, Behaviour::Succeed).await;
    stage.listener.ending(attempt).await;
    let answer = stage.executor.logs(attempt, LogStream::Stdout, 0, 100).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unsupported);
    None
}

/// `logs` returns what was written after a position; reading on from the returned position loses and repeats nothing.
pub async fn logs_read_on_without_loss_or_repetition(fixture: &dyn ExecutorFixture) {
    const LINES: u32 = 50;
    let stage = Stage::open(fixture).await;
    if let Some(attempt) = print(&stage, LINES).await {
        let expected: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
        // The first reader begins while the job may still run; the others find it ended.
        for bytes_max in [7, 1, 64, usize::MAX] {
            let log = read(&*stage.executor, attempt, LogStream::Stdout, bytes_max).await;
            assert_eq!(log, expected, "by {bytes_max} bytes");
        }
        stage.listener.ending(attempt).await;
    }
    stage.shutdown().await;
}

/// Standard output and standard error are read apart.
pub async fn logs_are_told_apart_by_stream(fixture: &dyn ExecutorFixture) {
    let stage = Stage::open(fixture).await;
    if let Some(attempt) = print(&stage, 2).await {
        stage.listener.ending(attempt).await;
        let log = read(&*stage.executor, attempt, LogStream::Stdout, 1000).await;
        assert_eq!(log, "line 0\nline 1\n");
        let log = read(&*stage.executor, attempt, LogStream::Stderr, 1000).await;
        assert_eq!(log, "error\n");
    }
    stage.shutdown().await;
}
