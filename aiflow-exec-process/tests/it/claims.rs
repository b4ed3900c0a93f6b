//! Claims: does at most one of many starters start an attempt?

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aiflow_core::executor::{Ending, Executor, Observation, StopMode, Submission};
use aiflow_exec_process::{ProcessExecutor, ProcessSpec, process, shell};

use crate::world::{World, attempt, eventually, launch, lines, pid_in, run};

fn counting(effects: &Path) -> ProcessSpec {
    shell(format!("echo $AIFLOW_ATTEMPT_ID >>{}", effects.display()))
}

/// The wrapper's script, as a running one has it.
async fn script(world: &World) -> String {
    world.submit(99, &process(["sleep", "1000"])).await;
    let pid = pid_in(&world.run_dir(99).join("pid")).await;
    let cmdline = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let stop = world.executor.stop(attempt(99), StopMode::Kill);
    stop.await.unwrap();
    world.listener.ending(attempt(99)).await;
    cmdline.split('\0').nth(2).unwrap().to_owned()
}

/// A wrapper of `run_dir` whose program appends a line to `effects`.
fn wrapper(script: &str, run_dir: &Path, effects: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-Cc", script])
        .arg(run_dir)
        .args(["/bin/sh", "-c", "echo x >>$0"])
        .arg(effects)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn of_many_submissions_to_two_hosts_one_starts() {
    run(async {
        let world = World::new().await;
        let effects = world.path("effects");
        let hosts = [0, 1].map(|_| Arc::new(ProcessExecutor::new(world.path("runs"))));
        for host in &hosts {
            host.attach(world.listener.host.clone()).await.unwrap();
        }
        for n in 0..5 {
            let submissions: Vec<_> = (0..20)
                .map(|i| {
                    let host = Arc::clone(&hosts[i % 2]);
                    let launch = launch(n, &counting(&effects));
                    tokio::spawn(async move { host.submit(launch).await.unwrap() })
                })
                .collect();
            for submission in submissions {
                submission.await.unwrap();
            }
            let ending = world.listener.ending(attempt(n)).await;
            assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
        }
        for host in &hosts {
            host.shutdown().await.unwrap();
        }
        let mut started = lines(&effects);
        started.sort();
        let expected: Vec<_> = (0..5).map(|n| attempt(n).to_string()).collect();
        assert_eq!(started, expected);
    });
}

#[test]
fn of_many_wrappers_one_starts() {
    run(async {
        let world = World::new().await;
        let script = script(&world).await;
        let (run_dir, effects) = (world.run_dir(0), world.path("effects"));
        std::fs::create_dir(&run_dir).unwrap();
        std::fs::write(run_dir.join("exit"), "    ").unwrap();
        let wrappers: Vec<_> = (0..20).map(|_| wrapper(&script, &run_dir, &effects)).collect();
        for mut wrapper in wrappers {
            wrapper.wait().unwrap();
        }
        assert_eq!(lines(&effects), ["x"]);
        assert_eq!(std::fs::read(run_dir.join("exit")).unwrap(), b"0\n  ");
    });
}

#[test]
fn an_attempt_found_unclaimed_never_starts_unless_it_is_submitted_again() {
    run(async {
        let world = World::new().await;
        let script = script(&world).await;
        let effects = world.path("effects");
        let run_dir = world.run_dir(0);
        // The host died between making the directory and starting the wrapper.
        std::fs::create_dir(&run_dir).unwrap();
        assert_eq!(world.observe(0).await, Observation::NotFound);
        // Or rather: its wrapper was slow.
        wrapper(&script, &run_dir, &effects).wait().unwrap();
        assert!(lines(&effects).is_empty());
        assert_eq!(world.observe(0).await, Observation::NotFound);

        let ending = world.run(0, &counting(&effects)).await;
        assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
        wrapper(&script, &run_dir, &effects).wait().unwrap();
        assert_eq!(lines(&effects), [attempt(0).to_string()]);
    });
}

#[test]
fn an_attempt_left_before_its_wrapper_is_taken_up_by_a_repeated_submission() {
    run(async {
        let world = World::new().await;
        let effects = world.path("effects");
        let run_dir = world.run_dir(0);
        std::fs::create_dir_all(&run_dir).unwrap();
        std::fs::write(run_dir.join("launch.json"), "{\"attempt\":").unwrap();
        let ending = world.run(0, &counting(&effects)).await;
        assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
        assert_eq!(lines(&effects).len(), 1);
    });
}

/// A host that begins to look after an attempt in the very moment in which another one starts it bars its claim. That costs no attempt.
#[test]
fn a_claim_that_is_barred_while_it_is_made_costs_no_attempt() {
    run(async {
        let world = World::new().await;
        let effects = world.path("effects");
        let other = Arc::new(ProcessExecutor::new(world.path("runs")));
        other.attach(world.listener.host.clone()).await.unwrap();
        let (mut n, mut n_barred) = (0, 0);
        // Until it has happened: whether the other one comes in time is chance.
        while n < 20 || n_barred == 0 {
            let looking = tokio::spawn({
                let (other, run_dir) = (Arc::clone(&other), world.run_dir(n));
                async move {
                    eventually(|| run_dir.exists().then_some(())).await;
                    for _ in 0..2 {
                        other.observe(&[attempt(n)]).await.unwrap();
                    }
                }
            });
            world.submit(n, &counting(&effects)).await;
            let ending = world.listener.ending(attempt(n)).await;
            assert!(matches!(ending, Ending::Succeeded { .. }), "attempt {n}: {ending:?}");
            looking.await.unwrap();
            n_barred += u32::from(world.run_dir(n).join("open.2").exists());
            n += 1;
        }
        let mut started = lines(&effects);
        started.sort();
        let mut expected: Vec<_> = (0..n).map(|n| attempt(n).to_string()).collect();
        expected.sort();
        assert_eq!(started, expected);
        other.shutdown().await.unwrap();
    });
}

#[test]
fn a_claim_without_content_is_settled_once() {
    run(async {
        let world = World::new().await;
        let script = script(&world).await;
        let (run_dir, effects) = (world.run_dir(0), world.path("effects"));
        // A wrapper died between creating its claim and writing it.
        std::fs::create_dir(&run_dir).unwrap();
        std::fs::write(run_dir.join("pid"), "").unwrap();
        assert_eq!(world.observe(0).await, Observation::NotFound);
        wrapper(&script, &run_dir, &effects).wait().unwrap();
        assert!(lines(&effects).is_empty());
        assert_eq!(world.observe(0).await, Observation::NotFound);
    });
}

#[test]
fn a_process_that_got_the_number_of_a_wrapper_is_not_taken_for_it() {
    run(async {
        let world = World::new().await;
        world.run(0, &process(["true"])).await;
        let run_dir = world.run_dir(0);
        // The machine was restarted before the exit code was written, and the number now names another group.
        let mut stranger = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        std::fs::write(run_dir.join("exit"), "    ").unwrap();
        std::fs::write(run_dir.join("pid"), format!("{}\n", stranger.id())).unwrap();
        let seen = world.observe(0).await;
        assert!(matches!(seen, Observation::Ended(Ending::Lost { .. })), "{seen:?}");
        assert_eq!(stranger.try_wait().unwrap(), None, "a stranger was killed");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    });
}

#[test]
fn a_torn_exit_code_is_no_exit_code() {
    run(async {
        let world = World::new().await;
        world.run(0, &process(["true"])).await;
        for torn in ["1", "14  ", "x\n"] {
            std::fs::write(world.run_dir(0).join("exit"), torn).unwrap();
            let seen = world.observe(0).await;
            assert!(matches!(seen, Observation::Ended(Ending::Lost { .. })), "{torn:?}: {seen:?}");
        }
    });
}

#[test]
fn a_later_leader_may_submit_again_and_an_earlier_one_may_not() {
    run(async {
        let world = World::new().await;
        let spec = process(["sleep", "1000"]);
        let mut launch = launch(0, &spec);
        launch.epoch = 5;
        world.submit_launch(launch.clone()).await;
        let world = world.replace_host().await;
        launch.epoch = 4;
        let error = world.executor.submit(launch.clone()).await.unwrap_err();
        assert_eq!(error.kind(), aiflow_core::ErrorKind::Fenced);
        launch.epoch = 6;
        let again = world.executor.submit(launch).await.unwrap();
        assert_eq!(again, Submission::AlreadySubmitted);
        let stop = world.executor.stop(attempt(0), StopMode::Kill);
        stop.await.unwrap();
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
    });
}
