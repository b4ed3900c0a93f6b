//! Process groups: is everything of an attempt ended with it, and what escapes?

use std::time::Duration;

use aiflow_core::executor::{Ending, Executor, Observation, StopMode, TimeLimit};
use aiflow_exec_process::{process, shell};

use crate::world::{World, attempt, is_alive, is_gone, kill, launch, pid_in, run};

/// A job that forks twice, so that the grandchild belongs to nobody, and then waits.
fn double_fork(file: &std::path::Path) -> aiflow_exec_process::ProcessSpec {
    shell(format!("( sleep 1000 & echo $! >{} ); exec sleep 1000", file.display()))
}

#[test]
fn a_stop_ends_what_was_forked_twice() {
    run(async {
        for mode in [StopMode::Graceful, StopMode::Kill] {
            let world = World::new().await;
            let file = world.path("pid");
            world.submit(0, &double_fork(&file)).await;
            let grandchild = pid_in(&file).await;
            assert!(is_alive(grandchild));
            world.executor.stop(attempt(0), mode).await.unwrap();
            assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
            is_gone(grandchild).await;
        }
    });
}

#[test]
fn what_a_job_leaves_behind_in_its_group_ends_with_it() {
    run(async {
        let world = World::new().await;
        let file = world.path("pid");
        let line = format!("sleep 1000 & echo $! >{}; exit 5", file.display());
        let ending = world.run(0, &shell(line)).await;
        assert!(matches!(ending, Ending::Failed { exit_code: Some(5), .. }));
        is_gone(pid_in(&file).await).await;
    });
}

#[test]
fn a_process_with_a_session_of_its_own_escapes() {
    run(async {
        let world = World::new().await;
        let file = world.path("pid");
        let line = format!("setsid sh -c 'echo $$ >{}; exec sleep 1000' & exec sleep 1000", file.display());
        world.submit(0, &shell(line)).await;
        let escaped = pid_in(&file).await;
        world.executor.stop(attempt(0), StopMode::Kill).await.unwrap();
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
        assert!(is_alive(escaped), "the documentation says that it escapes");
        kill(escaped);
    });
}

#[test]
fn a_signal_to_its_own_group_does_not_cost_the_exit_code() {
    run(async {
        let world = World::new().await;
        // What this process ignores (HUP under nohup), a job ignores too, and no shell can change that.
        let signals = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15)];
        let heard: Vec<&str> =
            signals.iter().filter(|(_, number)| !is_ignored(*number)).map(|(name, _)| *name).collect();
        assert!(heard.contains(&"TERM"), "{heard:?}");
        for (n, signal) in (0..).zip(heard) {
            let line = format!("trap 'exit 7' {signal}; kill -{signal} 0; sleep 1000");
            let ending = world.run(n, &shell(line)).await;
            assert!(matches!(ending, Ending::Failed { exit_code: Some(7), .. }), "{signal}: {ending:?}");
        }
    });
}

/// Whether this process ignores a signal.
fn is_ignored(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & (1 << (signal - 1)) != 0
}

#[test]
fn a_job_may_end_in_its_own_way_when_asked_to_stop() {
    run(async {
        let world = World::new().await;
        let (ready, saved) = (world.path("ready"), world.path("saved"));
        let program = format!(
            "import signal, sys, time\n\
             def save(*_):\n    open({saved:?}, 'w').write('done')\n    sys.exit(0)\n\
             signal.signal(signal.SIGTERM, save)\n\
             open({ready:?}, 'w').write('1\\n')\n\
             # One long sleep would miss a signal that comes just before it.\n\
             while True: time.sleep(0.01)"
        );
        world.submit(0, &process(["python3", "-c", &program])).await;
        pid_in(&ready).await;
        let stop = world.executor.stop(attempt(0), StopMode::Graceful);
        stop.await.unwrap();
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
        assert_eq!(std::fs::read_to_string(saved).unwrap(), "done");
    });
}

#[test]
fn a_suspended_job_hears_a_stop() {
    run(async {
        let world = World::new().await;
        let file = world.path("pid");
        let line = format!("echo $$ >{}; exec sleep 1000", file.display());
        world.submit(0, &shell(line)).await;
        let pid = pid_in(&file).await;
        let raw = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(raw, rustix::process::Signal::STOP).unwrap();
        let stop = world.executor.stop(attempt(0), StopMode::Graceful);
        stop.await.unwrap();
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
    });
}

#[test]
fn an_attempt_whose_wrapper_alone_was_killed_is_lost_and_its_program_ended() {
    run(async {
        let world = World::new().await;
        let file = world.path("pid");
        world.submit(0, &double_fork(&file)).await;
        let grandchild = pid_in(&file).await;
        kill(pid_in(&world.run_dir(0).join("pid")).await);
        let ending = world.listener.ending(attempt(0)).await;
        assert!(matches!(ending, Ending::Lost { .. }), "{ending:?}");
        is_gone(grandchild).await;
        assert_eq!(world.observe(0).await, Observation::Ended(ending));
    });
}

#[test]
fn a_wrapper_killed_while_no_host_is_there_is_noticed_by_the_next() {
    run(async {
        let world = World::new().await;
        let file = world.path("pid");
        world.submit(0, &double_fork(&file)).await;
        let grandchild = pid_in(&file).await;
        world.executor.shutdown().await.unwrap();
        let wrapper = pid_in(&world.run_dir(0).join("pid")).await;
        kill(wrapper);
        is_gone(wrapper).await;
        let world = world.replace_host().await;
        let seen = world.observe(0).await;
        assert!(matches!(seen, Observation::Ended(Ending::Lost { .. })), "{seen:?}");
        is_gone(grandchild).await;
    });
}

#[test]
fn time_limits_hold_across_hosts() {
    run(async {
        let world = World::new().await;
        let mut launch = launch(0, &shell("trap '' TERM; while :; do sleep 1000; done"));
        launch.timeout = Some(Duration::from_millis(300));
        launch.stop_grace = Duration::from_millis(100);
        world.submit_launch(launch).await;
        let world = world.replace_host().await;
        assert_eq!(world.observe(0).await, Observation::Running);
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::TimedOut { limit: TimeLimit::Run });
        assert_eq!(world.observe(0).await, Observation::Ended(Ending::TimedOut { limit: TimeLimit::Run }));
    });
}

#[test]
fn a_stop_holds_across_hosts() {
    run(async {
        let world = World::new().await;
        let mut launch = launch(
            0,
            &shell("trap '' TERM; echo '{\"aiflow\":\"ready\"}' >>\"$AIFLOW_EVENTS\"; while :; do sleep 1000; done"),
        );
        launch.stop_grace = Duration::from_millis(300);
        world.submit_launch(launch).await;
        world.is_ready(0).await;
        let stop = world.executor.stop(attempt(0), StopMode::Graceful);
        stop.await.unwrap();
        let world = world.replace_host().await;
        assert_eq!(world.observe(0).await, Observation::Running);
        assert_eq!(world.listener.ending(attempt(0)).await, Ending::Stopped);
    });
}

#[test]
fn a_job_that_gives_no_sign_of_life_is_killed() {
    run(async {
        let world = World::new().await;
        let mut silent = launch(0, &process(["sleep", "1000"]));
        silent.heartbeat_timeout = Some(Duration::from_millis(200));
        // It speaks for longer than it may be silent.
        let line = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done";
        let mut talking = launch(1, &shell(line));
        talking.heartbeat_timeout = Some(Duration::from_millis(600));
        world.submit_launch(silent).await;
        world.submit_launch(talking).await;
        let ending = world.listener.ending(attempt(0)).await;
        assert_eq!(ending, Ending::TimedOut { limit: TimeLimit::Heartbeat });
        let ending = world.listener.ending(attempt(1)).await;
        assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
    });
}
