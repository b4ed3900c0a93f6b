//! Crashes: a host is killed at any moment, again and again. Does each attempt run at most once, and is each exit code found?

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aiflow_core::executor::{Ending, Executor, Observation};
use aiflow_exec_process::{ProcessExecutor, ProcessSpec, shell};
use aiflow_testkit::executor_suite::Listener;

use crate::world::{HostPlayed, attempt, launch, lines, run};

/// The host that is killed.
const HOST: HostPlayed = HostPlayed::by("crashes::a_host_submits_its_attempts", "AIFLOW_TEST_HOST_DIR");
const ROUNDS: u32 = 25;
const ATTEMPTS: u32 = 12;

/// Attempt `n` leaves its mark, works for a moment, and ends with a code that tells it from others.
fn job(dir: &Path, n: u32) -> ProcessSpec {
    let (effects, code, millis) = (dir.join("effects"), n % 100, n % 7 * 5);
    shell(format!("echo {n} >>{}; sleep 0.{millis:03}; exit {code}", effects.display()))
}

fn ending_of(n: u32) -> Option<i32> {
    match n % 100 {
        0 => None,
        code => Some(code.cast_signed()),
    }
}

fn exit_code(ending: &Ending) -> Option<i32> {
    match ending {
        Ending::Succeeded { .. } => None,
        Ending::Failed { exit_code, .. } => *exit_code,
        other => panic!("{other:?}"),
    }
}

/// Plays the host that `a_host_killed_at_any_moment_costs_no_attempt` kills; by itself, runs one round in peace.
#[test]
fn a_host_submits_its_attempts() {
    let named = HOST.named();
    let own = tempfile::tempdir().unwrap();
    let dir = named.unwrap_or_else(|| own.path().to_owned());
    let first: u32 = std::fs::read_to_string(dir.join("first")).map_or(0, |first| first.trim().parse().unwrap());
    run(async {
        let executor = ProcessExecutor::new(dir.join("runs"));
        let listener = Listener::attached_to(&executor).await;
        for n in first..first + ATTEMPTS {
            executor.submit(launch(n, &job(&dir, n))).await.unwrap();
        }
        for n in first..first + ATTEMPTS {
            let ending = listener.ending(attempt(n)).await;
            assert_eq!(exit_code(&ending), ending_of(n));
        }
    });
}

/// How many attempts were found in which state.
#[derive(Debug, Default)]
struct Found {
    ended: u32,
    running: u32,
    not_found: u32,
}

/// Does as the scheduler does when it begins to lead: what is not found is submitted again.
async fn recover(dir: &Path, attempts: std::ops::Range<u32>, found: &mut Found) {
    let executor = ProcessExecutor::new(dir.join("runs"));
    let listener = Listener::attached_to(&executor).await;
    let ids: Vec<_> = attempts.clone().map(attempt).collect();
    let seen = executor.observe(&ids).await.unwrap();
    for (n, observation) in attempts.zip(seen) {
        let ending = match observation {
            Observation::Ended(ending) => {
                found.ended += 1;
                ending
            }
            Observation::NotFound => {
                found.not_found += 1;
                executor.submit(launch(n, &job(dir, n))).await.unwrap();
                listener.ending(attempt(n)).await
            }
            Observation::Running => {
                found.running += 1;
                listener.ending(attempt(n)).await
            }
            other => panic!("attempt {n}: {other:?}"),
        };
        assert_eq!(exit_code(&ending), ending_of(n), "attempt {n}: {ending:?}");
    }
    executor.shutdown().await.unwrap();
}

#[test]
fn a_host_killed_at_any_moment_costs_no_attempt() {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = u64::from(now.subsec_nanos()) | 1;
    println!("seed {seed}");
    let mut random = seed;
    let mut found = Found::default();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let first = round * ATTEMPTS;
        std::fs::write(dir.path().join("first"), first.to_string()).unwrap();
        let mut host = HOST.start(dir.path());
        // From the first run directory on, it is at work.
        let at_work = dir.path().join("runs").join(attempt(first).to_string());
        while !at_work.exists() {
            std::thread::yield_now();
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // A moment of the host's life, drawn at random: this is the fault, not a wait for something.
        std::thread::sleep(Duration::from_micros(random % 60_000));
        host.kill().unwrap();
        host.wait().unwrap();
        run(recover(dir.path(), first..first + ATTEMPTS, &mut found));
    }
    println!("{found:?}");
    let mut runs: BTreeMap<String, u32> = BTreeMap::new();
    for effect in lines(&dir.path().join("effects")) {
        *runs.entry(effect).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = (0..ROUNDS * ATTEMPTS).map(|n| (n.to_string(), 1)).collect();
    assert_eq!(runs, expected);
}
