//! Hosts: does an attempt that is placed on a host end with it, however that happens, and does any other go on?

use std::path::Path;

use aiflow_core::executor::{Ending, Executor, Launch, StopMode};
use aiflow_exec_process::{ProcessExecutor, shell};
use aiflow_testkit::executor_suite::Listener;

use crate::world::{HostPlayed, World, attempt, eventually, is_alive, is_gone, launch, lines, pid_in, run};

/// The host that is killed.
const HOST: HostPlayed =
    HostPlayed::by("hosts::a_host_starts_one_of_its_own_and_one_for_all", "AIFLOW_TEST_ENDING_HOST_DIR");

/// An attempt that writes down its process, ignores requests to end, and never ends.
fn endless(dir: &Path, n: u32, ends_with_host: bool) -> Launch {
    let script = format!("trap '' TERM; echo $$ >{}; while :; do sleep 1000; done", dir.join(n.to_string()).display());
    Launch { ends_with_host, ..launch(n, &shell(script)) }
}

/// Plays the host that `what_is_placed_on_a_host_ends_when_that_is_killed` kills; by itself, sees that what it started runs.
#[test]
fn a_host_starts_one_of_its_own_and_one_for_all() {
    let named = HOST.named();
    let own = tempfile::tempdir().unwrap();
    let dir = named.clone().unwrap_or_else(|| own.path().to_owned());
    run(async {
        let executor = ProcessExecutor::new(dir.join("runs"));
        let listener = Listener::attached_to(&executor).await;
        for n in [0, 1] {
            executor.submit(endless(&dir, n, n == 0)).await.unwrap();
            assert!(is_alive(pid_in(&dir.join(n.to_string())).await));
        }
        if named.is_some() {
            std::future::pending::<()>().await;
        }
        for n in [0, 1] {
            executor.stop(attempt(n), StopMode::Kill).await.unwrap();
            assert_eq!(listener.ending(attempt(n)).await, Ending::Stopped);
        }
        executor.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_placed_on_a_host_ends_when_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = HOST.start(dir.path());
    run(async {
        let [own, other] = [pid_in(&dir.path().join("0")).await, pid_in(&dir.path().join("1")).await];
        assert!(is_alive(own) && is_alive(other));
        host.kill().unwrap();
        host.wait().unwrap();
        is_gone(own).await;
        assert!(is_alive(other), "it goes on without the process that started it");
        let leader: i32 = std::fs::read_to_string(dir.path().join("runs").join(attempt(1).to_string()).join("pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let group = rustix::process::Pid::from_raw(leader).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    });
}

#[test]
fn what_is_placed_on_a_host_ends_with_the_executor_that_started_it() {
    run(async {
        let world = World::new().await;
        for n in [0, 1] {
            world.submit_launch(endless(world.dir.path(), n, n == 0)).await;
        }
        let [own, other] = [pid_in(&world.path("0")).await, pid_in(&world.path("1")).await];
        let world = world.replace_host().await;
        is_gone(own).await;
        assert!(is_alive(other));
        world.executor.observe(&[attempt(1)]).await.unwrap();
        world.executor.stop(attempt(1), StopMode::Kill).await.unwrap();
        assert_eq!(world.listener.ending(attempt(1)).await, Ending::Stopped);
    });
}

/// It has a shell more than others, and ends as they do.
#[test]
fn what_is_placed_on_a_host_ends_as_any_other() {
    run(async {
        let world = World::new().await;
        let read = "read line && exit 9; [ -e /proc/$$/fd/3 ] && exit 8; echo \"$AIFLOW_ATTEMPT_ID\"";
        for (n, script, code) in [(0, read.to_owned(), None), (1, format!("{read}; exit 5"), Some(5))] {
            let launch = Launch { ends_with_host: true, ..launch(n, &shell(script)) };
            world.submit_launch(launch).await;
            match (world.listener.ending(attempt(n)).await, code) {
                (Ending::Succeeded { .. }, None) => {}
                (Ending::Failed { exit_code, .. }, code) => assert_eq!(exit_code, code),
                (ending, _) => panic!("{ending:?}"),
            }
            assert_eq!(world.stdout(n).await, format!("{}\n", attempt(n)).as_bytes());
        }
        // A stop reaches the job, not the one who waits for the end of the host; and nobody is left.
        let script = format!(
            "trap 'echo asked >>{said}; exit 3' TERM; echo on >>{said}; while :; do sleep 0.01; done",
            said = world.path("said").display()
        );
        world.submit_launch(Launch { ends_with_host: true, ..launch(2, &shell(script)) }).await;
        eventually(|| (lines(&world.path("said")) == ["on"]).then_some(())).await;
        world.executor.stop(attempt(2), StopMode::Graceful).await.unwrap();
        assert_eq!(world.listener.ending(attempt(2)).await, Ending::Stopped);
        assert_eq!(lines(&world.path("said")), ["on", "asked"]);
        for n in 0..3 {
            let run_dir = world.run_dir(n);
            eventually(|| (!has_processes(&run_dir)).then_some(())).await;
        }
    });
}

/// Whether any process was started with this run directory among its arguments.
fn has_processes(run_dir: &Path) -> bool {
    let own = run_dir.as_os_str().as_encoded_bytes();
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let cmdline = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        cmdline.split(|byte| *byte == 0).any(|argument| argument == own)
    })
}
