//! Commands: does a program get exactly what was written, and what happens when it cannot run?

use std::os::unix::fs::PermissionsExt;

use aiflow_core::executor::{Ending, Executor, Observation};
use aiflow_core::{ErrorKind, Retry};
use aiflow_exec_process::{ENV_ALLOWED, Limits, ProcessExecutor, ProcessOptions, ProcessSpec, process, shell};
use serde_json::json;

use crate::world::{World, attempt, launch, run};

fn failed(message: &str, exit_code: i32) -> Ending {
    Ending::Failed { message: message.to_owned(), exit_code: Some(exit_code), kind: None, retryable: true }
}

#[test]
fn exit_codes_and_signals_are_told() {
    run(async {
        let world = World::new().await;
        let succeeded = Ending::Succeeded { output: json!(null) };
        for (n, (line, ending)) in (0..).zip([
            ("exit 0", succeeded),
            ("exit 1", failed("exit code 1", 1)),
            ("exit 128", failed("exit code 128", 128)),
            ("exit 255", failed("exit code 255", 255)),
            ("no-such-command", failed("exit code 127", 127)),
            ("kill -9 $$", failed("killed by signal 9", 137)),
            ("kill -15 $$", failed("killed by signal 15", 143)),
            ("kill -6 $$", failed("killed by signal 6", 134)),
        ]) {
            assert_eq!(world.run(n, &shell(line)).await, ending, "{line}");
        }
    });
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let long = "x".repeat(100_000);
    let hostile = [
        "",
        " ",
        "  two  words ",
        "$(touch pwned)",
        "`touch pwned`",
        "'; touch pwned; '",
        "\"; touch pwned; \"",
        "$HOME",
        "${0}",
        "-n",
        "--",
        "-e",
        "*",
        "~",
        "a\nb\n",
        "\\",
        "\\n",
        "%s",
        "|",
        "&",
        ">pwned",
        "#",
        "A=b",
        "\u{1}\u{7f}",
        "ümlaut \u{202e} \u{1f600}",
        &long,
    ];
    run(async move {
        let world = World::new().await;
        let argv = ["printf", "%s\\0"].into_iter().chain(hostile);
        let spec = process(argv).cwd(world.dir.path());
        let ending = world.run(0, &spec).await;
        assert!(matches!(ending, Ending::Succeeded { .. }), "{ending:?}");
        let expected: Vec<u8> = hostile.join("\0").into_bytes();
        let mut stdout = world.stdout(0).await;
        assert_eq!(stdout.pop(), Some(0));
        assert!(stdout == expected, "{}", String::from_utf8_lossy(&stdout));
        assert!(!world.path("pwned").exists());
    });
}

#[test]
fn the_environment_is_what_was_let_through_and_what_was_set() {
    run(async {
        // Some variable that this process has and that is not let through by itself.
        let (let_through, value) = std::env::vars()
            .find(|(name, _)| !ENV_ALLOWED.contains(&name.as_str()) && name != "PWD")
            .expect("a test has some environment");
        let world = World::with(ProcessOptions::default().env_allow(&let_through)).await;
        let spec = process(["env", "-0"]).env("GREETING", "hello  $HOME").env("TZ", "Mars/Olympus").env("d", "kept");
        world.run(0, &spec).await;
        let stdout = String::from_utf8(world.stdout(0).await).unwrap();
        let vars: std::collections::BTreeMap<_, _> =
            stdout.split_terminator('\0').map(|entry| entry.split_once('=').unwrap()).collect();
        assert_eq!(vars["GREETING"], "hello  $HOME");
        assert_eq!(vars["TZ"], "Mars/Olympus");
        assert_eq!(vars["d"], "kept");
        assert_eq!(vars["AIFLOW_PROJECT"], "wine");
        assert_eq!(vars["AIFLOW_WORKFLOW"], "retrain");
        assert_eq!(vars["AIFLOW_JOB"], "train");
        assert_eq!(vars["AIFLOW_ATTEMPT_ID"], attempt(0).to_string());
        assert_eq!(vars["AIFLOW_ATTEMPT"], "1");
        assert_eq!(vars["AIFLOW_PARAMS"], r#"{"rate":0.1}"#);
        let run_dir = world.run_dir(0);
        assert_eq!(vars["AIFLOW_RUN_DIR"], run_dir.to_str().unwrap());
        assert_eq!(vars["AIFLOW_EVENTS"], run_dir.join("events").to_str().unwrap());
        assert_eq!(vars[let_through.as_str()], value);
        let strangers: Vec<_> = vars
            .keys()
            .filter(|name| !name.starts_with("AIFLOW_") && !ENV_ALLOWED.contains(name))
            .filter(|name| ![let_through.as_str(), "GREETING", "d", "PWD"].contains(name))
            .collect();
        // Some shells add these two of their own accord.
        let added = ["SHLVL", "_"];
        assert!(strangers.iter().all(|name| added.contains(name)), "{strangers:?}");
    });
}

#[test]
fn denied_variables_are_refused_before_anything_exists() {
    run(async {
        let world = World::new().await;
        for (n, name) in (0..).zip(["LD_PRELOAD", "BASH_ENV", "IFS", "AIFLOW_ATTEMPT_ID"]) {
            let submit = world.executor.submit(launch(n, &process(["true"]).env(name, "x")));
            let error = submit.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(name), "{error}");
            assert!(!world.run_dir(n).exists());
        }
    });
}

#[test]
fn a_missing_program_is_named_and_never_tried_again() {
    run(async {
        let world = World::new().await;
        let not_executable = world.path("data.csv");
        std::fs::write(&not_executable, "1,2").unwrap();
        for (n, program) in
            (0..).zip(["no-such-program", "/no/such/program", "./missing", not_executable.to_str().unwrap(), "/tmp"])
        {
            let submit = world.executor.submit(launch(n, &process([program])));
            let error = submit.await.unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never));
            assert!(error.to_string().contains(program), "{error}");
            assert_eq!(world.observe(n).await, Observation::NotFound);
        }
    });
}

#[test]
fn a_program_that_vanishes_before_it_starts_is_not_retried() {
    run(async {
        let world = World::new().await;
        // Gone by the time that its own interpreter line runs it: the kernel finds no interpreter.
        let interpreter = world.path("interpreter");
        let program = world.path("program");
        std::fs::write(&program, format!("#!{}\n", interpreter.display())).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        let ending = world.run(0, &process([program.to_str().unwrap()])).await;
        assert_eq!(ending, failed("exit code 127", 127));
        std::fs::remove_file(&program).unwrap();
        let missing = Ending::Failed {
            message: "the program is missing or cannot be executed".to_owned(),
            exit_code: Some(127),
            kind: None,
            retryable: false,
        };
        assert_eq!(world.observe(0).await, Observation::Ended(missing));
    });
}

#[test]
fn a_run_root_that_cannot_be_made_is_an_error_that_may_pass() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let executor = ProcessExecutor::new(file.join("runs"));
        let error = executor.submit(launch(0, &process(["true"]))).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
        std::fs::remove_file(&file).unwrap();
        executor.submit(launch(0, &process(["true"]))).await.unwrap();
        let mode = std::fs::metadata(file.join("runs")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
    });
}

#[test]
fn arguments_larger_than_the_system_allows_are_refused() {
    run(async {
        let world = World::new().await;
        let spec = process(["true", &"x".repeat(200_000)]);
        let error = world.executor.submit(launch(0, &spec)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(world.observe(0).await, Observation::NotFound);

        let mut large = launch(1, &process(["true"]));
        large.params = json!("x".repeat(200_000));
        let error = world.executor.submit(large).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    });
}

#[test]
fn limits_reach_the_program() {
    run(async {
        let world = World::new().await;
        let limits = Limits { memory_bytes: Some(512 << 20), cpu_seconds: Some(7), open_files: Some(64) };
        let line = "ulimit -v; ulimit -t; ulimit -n; ulimit -c";
        world.run(0, &shell(line).limits(limits)).await;
        assert_eq!(world.stdout(0).await, b"524288\n7\n64\n0\n");

        let eat = "x = bytearray(1 << 30)";
        let spec = process(["python3", "-c", eat]).limits(limits);
        assert_eq!(world.run(1, &spec).await, failed("exit code 1", 1));

        let spec = shell("while :; do :; done").limits(Limits { cpu_seconds: Some(1), ..Limits::default() });
        let ending = world.run(2, &spec).await;
        let Ending::Failed { exit_code, .. } = ending else {
            panic!("{ending:?}");
        };
        assert!(matches!(exit_code, Some(137 | 152)), "{exit_code:?}");
    });
}

#[test]
fn the_working_directory_is_the_one_named() {
    run(async {
        let world = World::new().await;
        let cwd = world.dir.path().canonicalize().unwrap();
        world.run(0, &process(["pwd"]).cwd(&cwd)).await;
        assert_eq!(world.stdout(0).await, format!("{}\n", cwd.display()).as_bytes());
        let spec = process(["pwd"]).cwd("/no/such/dir");
        let error = world.executor.submit(launch(1, &spec)).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/dir"), "{error}");
    });
}

#[test]
fn the_triggering_events_are_in_a_file() {
    run(async {
        let world = World::new().await;
        let event = aiflow_core::event::NewEvent::new("wine", "samples").value(json!({"rows": 3}));
        let offsets = world.listener.host.bus.publish(vec![event]).await.unwrap();
        let events = world.events().await;
        let mut launch = launch(0, &shell(r#"cat "$AIFLOW_TRIGGER""#));
        launch.events = events;
        world.submit_launch(launch).await;
        world.listener.ending(attempt(0)).await;
        let trigger: serde_json::Value = serde_json::from_slice(&world.stdout(0).await).unwrap();
        assert_eq!(trigger[0]["offset"], offsets[0].0);
        assert_eq!(trigger[0]["value"]["rows"], 3);
    });
}

#[test]
fn a_spec_that_is_none_is_refused() {
    run(async {
        let world = World::new().await;
        let mut wrong = launch(0, &ProcessSpec::default());
        wrong.spec = json!({"command": "ls"});
        let error = world.executor.submit(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    });
}
