//! Outputs: are they bounded on disk, and does the reader learn what was removed?

use std::os::unix::fs::MetadataExt;

use aiflow_core::ErrorKind;
use aiflow_core::executor::{Executor, LogStream, StopMode};
use aiflow_exec_process::{ProcessOptions, shell};

use crate::world::{World, attempt, eventually, run};

const BOUND: u64 = 256 * 1024;

#[test]
fn a_flood_keeps_its_head_and_its_tail() {
    run(async {
        let world = World::with(ProcessOptions::default().log_bytes_max(BOUND)).await;
        let flood = "echo HEAD; yes 0123456789abcde | head -c 20000000; echo TAIL";
        world.run(0, &shell(flood)).await;
        let file = std::fs::metadata(world.run_dir(0).join("stdout")).unwrap();
        assert_eq!(file.size(), 20_000_010);
        assert!(file.blocks() * 512 <= BOUND + 64 * 1024, "{} bytes on disk", file.blocks() * 512);
        let log = String::from_utf8(world.stdout(0).await).unwrap();
        assert!(log.starts_with("HEAD\n0123456789abcde\n"));
        assert!(log.ends_with("0123456789abcde\nTAIL\n"));
        assert!(!log.contains('\0'), "a hole was read as text");
        let (before, after) = log.split_once("\n[aiflow: ").unwrap();
        let (removed, after) = after.split_once(" bytes were removed").unwrap();
        let (_, after) = after.split_once("]\n").unwrap();
        let removed: u64 = removed.parse().unwrap();
        let kept = (before.len() + after.len()) as u64;
        assert_eq!(kept + removed, file.size());
        assert!(kept <= BOUND + 4096 && kept > BOUND / 2, "{kept} bytes kept");
    });
}

#[test]
fn a_flood_is_bounded_while_the_job_runs() {
    run(async {
        let world = World::with(ProcessOptions::default().log_bytes_max(BOUND)).await;
        let flood = "yes 0123456789abcde | head -c 5000000; exec sleep 1000";
        world.submit(0, &shell(flood)).await;
        let stdout = world.run_dir(0).join("stdout");
        eventually(|| {
            let file = std::fs::metadata(&stdout).ok()?;
            (file.size() == 5_000_000 && file.blocks() * 512 <= BOUND + 64 * 1024).then_some(())
        })
        .await;
        let logs = world.executor.logs(attempt(0), LogStream::Stdout, 4_999_984, 100);
        let tail = logs.await.unwrap();
        assert_eq!(tail.bytes, b"0123456789abcde\n");
        assert!(!tail.is_end);
        let stop = world.executor.stop(attempt(0), StopMode::Kill);
        stop.await.unwrap();
        world.listener.ending(attempt(0)).await;
    });
}

#[test]
fn logs_of_an_unknown_attempt_are_not_found() {
    run(async {
        let world = World::new().await;
        let logs = world.executor.logs(attempt(0), LogStream::Stderr, 0, 100);
        assert_eq!(logs.await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn removing_an_attempt_forgets_it_once_it_has_ended() {
    run(async {
        let world = World::new().await;
        world.submit(0, &shell("exec sleep 1000")).await;
        let error = world.executor.remove(attempt(0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let stop = world.executor.stop(attempt(0), StopMode::Kill);
        stop.await.unwrap();
        world.listener.ending(attempt(0)).await;
        world.executor.remove(attempt(0)).await.unwrap();
        assert!(!world.run_dir(0).exists());
        world.executor.remove(attempt(0)).await.unwrap();
    });
}
