//! The examples, run as processes: to their end, again, and killed in the middle.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aiflow::lineage::LineageQuery;
use aiflow::prelude::*;
use aiflow::store::RecordKey;

/// Cargo puts the examples of this package beside the folder of its tests, and builds them before it runs them.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo test` or `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn run(name: &str, folder: &Path) -> String {
    run_to_end(example(name).arg(folder))
}

const MEMORY: &str = "memory://";

/// Runs an example that keeps nothing but its store.
fn run_on(url: &str, name: &str) -> String {
    run_to_end(example(name).env("AIFLOW_URL", url))
}

fn run_to_end(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{status}\n{text}\n{}", String::from_utf8_lossy(&stderr));
    text
}

async fn versions(folder: &Path) -> Vec<aiflow::meta::Stored<aiflow::meta::ModelVersion>> {
    let url = format!("sqlite://{}", folder.join("aiflow.db").display());
    let aiflow = aiflow::open(&url).await.unwrap().project("wine").unwrap();
    aiflow.models().versions("wine").await.unwrap()
}

/// How many versions of models came of something.
async fn models_of(folder: &Path, root: RecordKey) -> usize {
    let url = format!("sqlite://{}", folder.join("aiflow.db").display());
    let aiflow = aiflow::open(&url).await.unwrap().project("wine").unwrap();
    let lineage = aiflow.lineage(&LineageQuery::downstream(root)).await.unwrap();
    assert!(lineage.complete);
    let models = lineage.of_kind("model_version").count();
    aiflow.store().close().await.unwrap();
    models
}

#[test]
fn the_tutorial_trains_validates_and_predicts_and_goes_on_when_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = run("iris", folder.path());
    assert!(first.contains("version 1 predicts the species of 30 flowers"), "{first}");
    assert!(first.contains("VALIDATED"), "{first}");
    let species: Vec<usize> =
        serde_json::from_slice(&std::fs::read(folder.path().join("iris_predictions.json")).unwrap()).unwrap();
    assert_eq!(species.len(), 30);
    assert!(species.iter().all(|species| *species < 3));
    // The validated version stands: what is trained now must beat it.
    let second = run("iris", folder.path());
    let listed =
        |text: &str| text.lines().filter(|line| line.contains("VALIDATED") || line.contains("GENERATED")).count();
    assert!(listed(&second) >= listed(&first) + 3, "{first}\n{second}");
}

#[tokio::test]
async fn the_quickstart_tells_its_story_and_goes_on_when_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let first = run("quickstart", folder.path());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}: it takes about one second", started.elapsed());
    for line in [
        "job inference has not run in execution ",
        "RESTART when model(wine) DEPLOYED: waits for model(wine) DEPLOYED",
        "batch 1: \"version 1 is deployed and in use\"",
        "because its rule \"RESTART when model(wine) DEPLOYED\" fired on event ",
        "was published by evaluation (execution ",
        ", raw_batch ",
        ", came from outside",
        "DEPRECATED",
        "DEPLOYED",
        "what is version ",
        "triggered_by",
    ] {
        assert!(first.contains(line), "{line:?} is missing in\n{first}");
    }
    assert_eq!(versions(folder.path()).await.len(), 4);
    for root in [RecordKey::new("dataset", "wine/samples"), RecordKey::new("workflow_version", "wine/quality/1")] {
        assert_eq!(models_of(folder.path(), root.clone()).await, 4, "downstream of {root}");
    }
    table_is_that_of_the_file(&first, folder.path());
    progress_is_that_of_the_file(&first, folder.path());
    let second = run("quickstart", folder.path());
    assert!(second.contains("batch 5: ") && !second.contains("batch 4: "), "{second}");
    table_is_that_of_the_file(&second, folder.path());
    progress_is_that_of_the_file(&second, folder.path());
    // Nothing is left to do: it shows what there is, and asks the scheduler for nothing that is refused.
    let third = run("quickstart", folder.path());
    assert!(!third.contains("batch ") && !third.contains("running"), "{third}");
    table_is_that_of_the_file(&third, folder.path());
    assert!(ask(folder.path(), "SELECT * FROM dead_letter").is_empty());
    let versions = versions(folder.path()).await;
    assert_eq!(versions.len(), 8, "one version a batch");
    assert_eq!(versions.iter().filter(|version| version.stage == ModelStage::Deployed).count(), 1);
}

/// What a query of the file gives when somebody asks it by SQL without this library, column by column.
fn ask(folder: &Path, sql: &str) -> Vec<Vec<String>> {
    const PYTHON: &str = "import json, sqlite3, sys\n\
        rows = sqlite3.connect(sys.argv[1]).execute(sys.argv[2])\n\
        print(json.dumps([[str(value) for value in row] for row in rows]))";
    let mut python = Command::new("python3");
    let text = run_to_end(python.args(["-c", PYTHON]).arg(folder.join("aiflow.db")).arg(sql));
    serde_json::from_str(&text).unwrap()
}

/// What a run printed of the registry says the same as the file, read by somebody else; and every execution has ended.
fn table_is_that_of_the_file(text: &str, folder: &Path) {
    let table = text.lines().filter_map(|line| line.strip_prefix("wine "));
    let table: Vec<Vec<&str>> = table.map(|line| line.split_whitespace().collect()).collect();
    let versions = "SELECT version, stage, printf('%.3f', metrics ->> '$.accuracy') FROM model_version";
    assert_eq!(table, ask(folder, versions), "{text}");
    assert!(ask(folder, "SELECT * FROM workflow_execution WHERE status <> 'STOPPED'").is_empty());
}

/// A run that nobody killed printed a line whenever a job execution began or ended: the offset of that in the log, the job, the status.
fn progress_is_that_of_the_file(text: &str, folder: &Path) {
    let mut lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    lines.retain(|words| matches!(words[..], [offset, _, _] if offset.parse::<u64>().is_ok()));
    let changes = "SELECT offset, sender, lower(value ->> '$') FROM event_log \
        WHERE event_type = 'JOB_STATUS_CHANGED' AND context ->> '$.workflow_execution' = ";
    let newest = "(SELECT id FROM workflow_execution ORDER BY id + 0.0 DESC LIMIT 1)";
    assert_eq!(lines, ask(folder, &format!("{changes}{newest}")), "{text}");
    let mut ended: Vec<&[&str]> = lines.iter().map(|words| &words[1..]).collect();
    ended.retain(|words| matches!(words[1], "succeeded" | "stopped"));
    ended.sort();
    let executions = "SELECT job, lower(status) FROM job_execution WHERE workflow_execution = ";
    let mut executions = ask(folder, &format!("{executions}{newest}"));
    executions.sort();
    assert_eq!(ended, executions, "{text}");
    assert!(executions.len() >= 4 * 3, "three jobs for each batch: {text}");
}

#[cfg(all(feature = "project", feature = "artifacts"))]
#[test]
fn a_project_in_files_runs_its_python_and_shell_jobs_and_is_unchanged_when_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/project");
    for what in ["submitted", "unchanged"] {
        let text = run_to_end(example("run_project").arg(&dir).arg(folder.path()));
        for line in [
            format!("workflow online_training is version 1, {what}"),
            format!("workflow periodic is version 1, {what}"),
            format!("workflow status_rules is version 1, {what}"),
            "counted: {\"count\":".to_owned(),
            "report: {\"days\":60,\"level\":\"info\"}".to_owned(),
            "workflow status_rules: SUCCEEDED".to_owned(),
            "model_trained: {\"model\":{\"intercept\":".to_owned(),
            "predicted with model 1: ".to_owned(),
            "predicted with model 2: ".to_owned(),
            "workflow online_training: STOPPED".to_owned(),
            "tick: {\"scheduled_time\":\"2".to_owned(),
        ] {
            assert!(text.contains(&line), "{line:?} is missing in\n{text}");
        }
    }
}

fn start(folder: &Path) -> Child {
    example("quickstart").arg(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_killed_quickstart_resumes_and_finishes() {
    let folder = tempfile::tempdir().unwrap();
    // Kill it as soon as each of these exists: in the middle of every stage.
    for made in ["aiflow.db", "samples-1.csv", "model-of-1-batches.json", "samples-2.csv", "model-of-3-batches.json"] {
        let mut child = start(folder.path());
        wait_for(&folder.path().join(made));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // And once more when its work is done, and the execution is about to be stopped, or just was.
    let mut child = example("quickstart").arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let fourth = lines.find(|line| line.starts_with("batch 4: ")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fourth.contains("\"version 4 is"), "{fourth}");
    let text = run("quickstart", folder.path());
    let versions = versions(folder.path()).await;
    let numbers: Vec<u32> = versions.iter().map(|version| version.version).collect();
    let published = if text.contains("batch 5: ") { 8 } else { 4 };
    assert_eq!(numbers, Vec::from_iter(1..=published), "one version a batch, whatever was killed");
    assert_eq!(versions.iter().filter(|version| version.stage == ModelStage::Deployed).count(), 1);
    table_is_that_of_the_file(&text, folder.path());
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn process_jobs_run_until_the_rule_stops_the_producer() {
    let folder = tempfile::tempdir().unwrap();
    let text = run("process_jobs", folder.path());
    assert!(text.contains("enough: the rule stops the producer"), "{text}");
    let means = fs::read_to_string(folder.path().join("means.txt")).unwrap();
    assert!(means.lines().count() >= 5, "{means}");
    assert!(means.lines().all(|mean| (8.0..15.0).contains(&mean.parse::<f64>().unwrap())), "{means}");
}

#[test]
fn a_periodic_task_runs_at_its_times_until_its_execution_is_stopped() {
    tells_of_periodic_task(&run_on(MEMORY, "periodic_task"));
}

fn tells_of_periodic_task(text: &str) {
    assert!(text.contains("check 3 was due at") && text.contains("the execution is STOPPED"), "{text}");
    assert!(text.contains("START every 100ms of "), "{text}");
}

#[test]
fn a_periodic_workflow_runs_for_each_of_its_times_and_makes_up_for_the_past() {
    tells_of_periodic_workflow(&run_on(MEMORY, "periodic_workflow"));
}

fn tells_of_periodic_workflow(text: &str) {
    assert_eq!(text.matches("written for \"20").count(), 3, "{text}");
    assert_eq!(text.matches("nightly comes at").count(), 3, "{text}");
    // On 29 March the clock was set from 02:00 to 03:00.
    for time in ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"] {
        assert!(text.contains(&format!("made up for {time}:00.000Z: SUCCEEDED")), "{text}");
    }
}

#[test]
fn a_custom_condition_fires_when_the_numbers_add_up_and_the_consumer_stops_the_producers() {
    tells_of_custom_sum(&run_on(MEMORY, "custom_sum"));
}

fn tells_of_custom_sum(text: &str) {
    assert!(text.contains("20 numbers add up to 100\n"), "{text}");
    assert!(text.contains("consumer: SUCCEEDED"), "{text}");
    assert_eq!(text.matches(": STOPPED").count(), 3, "{text}");
}

#[test]
fn a_job_type_of_ones_own_runs_scripts_of_sql() {
    let folder = tempfile::tempdir().unwrap();
    let text = run_to_end(example("own_executor").env("AIFLOW_URL", MEMORY).arg(folder.path()));
    for line in [
        "jobs: orders, good_customers, thank\n",
        "orders (orders, totals): SUCCEEDED",
        "good_customers (good_customers): SUCCEEDED {\"rows\":1}\n",
        "thank (): SUCCEEDED \"thank you, ada\"\n",
        "the execution is SUCCEEDED\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn a_workflow_starts_another_by_an_event_and_by_its_end() {
    tells_of_workflow_trigger(&run_on(MEMORY, "workflow_trigger"));
}

fn tells_of_workflow_trigger(text: &str) {
    assert_eq!(text.matches("report: training is SUCCEEDED\n").count(), 1, "{text}");
    assert_eq!(text.matches("alarm: training is FAILED\n").count(), 1, "{text}");
}

#[test]
fn jobs_follow_the_statuses_of_others() {
    tells_of_status_rules(&run_on(MEMORY, "status_rules"));
}

fn tells_of_status_rules(text: &str) {
    let (succeeded, rest) = text.split_once("regions, FAILED").unwrap_or_else(|| panic!("{text}"));
    assert!(succeeded.contains("yesterday   SKIPPED   runs: 0"), "{text}");
    assert!(rest.contains("yesterday   SUCCEEDED runs: 1"), "{text}");
    assert_eq!(rest.matches("  dashboard ran").count(), 2, "{text}");
}

#[test]
fn what_failed_runs_again_by_a_plan_that_was_read() {
    tells_of_rerun(&run_on(MEMORY, "rerun"));
}

fn tells_of_rerun(text: &str) {
    for line in [
        "first run: FAILED",
        "load: its result stands (execution ",
        "train: starts, because it has FAILED (execution ",
        "report: waits for its rules, because it has not run",
        "second run: SUCCEEDED",
        "because it repeats execution ",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
    assert!(!text.contains("  load SUCCEEDED"), "it did not run again: {text}");
}

#[test]
fn a_prediction_job_is_handed_each_better_model_that_training_finds() {
    tells_of_online_learning(&run_on(MEMORY, "online_learning"));
}

fn tells_of_online_learning(text: &str) {
    let last = text.lines().rfind(|line| line.contains(" predicts f(1) = ")).unwrap_or_else(|| panic!("{text}"));
    let value: f64 = last.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((value - 3.0).abs() < 0.05, "{text}");
}

#[test]
fn each_rule_of_the_table_fires_for_its_events_and_for_no_others() {
    tells_of_rules(&run_on(MEMORY, "rules"));
}

fn tells_of_rules(text: &str) {
    assert_eq!(text.matches("\n  START when ").count(), 9, "{text}");
    for line in [
        "for wine, event 1: STOPPED",
        "for ada, events 1 and 2: SUCCEEDED",
        "for March 1, 24 events: SUCCEEDED",
        "event 2: RUNNING",
        "for eu, event 1 and the clock: SUCCEEDED",
    ] {
        assert!(text.contains(&format!("  ran {line}\n")), "{line:?} is missing in\n{text}");
    }
}

/// The same programs, on a Redis that each test starts by itself.
#[cfg(feature = "redis")]
mod on_redis {
    use aiflow_testkit::redis_server::RedisServer;

    use super::*;

    /// An example, and what it is to tell.
    type Story = (&'static str, fn(&str));

    fn run_in(folder: &Path, server: &RedisServer, name: &str) -> String {
        run_to_end(example(name).env("AIFLOW_URL", server.url()).arg(folder))
    }

    /// Most of them twice on the same store: what an earlier run left there does no harm.
    #[test]
    fn examples_tell_the_same_stories_by_another_url() {
        let server = RedisServer::start();
        let stories: [Story; 8] = [
            ("periodic_task", tells_of_periodic_task),
            ("periodic_workflow", tells_of_periodic_workflow),
            ("custom_sum", tells_of_custom_sum),
            ("workflow_trigger", tells_of_workflow_trigger),
            ("status_rules", tells_of_status_rules),
            ("rerun", tells_of_rerun),
            ("online_learning", tells_of_online_learning),
            ("rules", tells_of_rules),
        ];
        let (rules, again) = stories.split_last().unwrap();
        assert_eq!(rules.0, "rules", "what its rules started goes on, and has its part in what follows");
        for (name, tells) in stories.iter().chain(again) {
            tells(&run_on(&format!("{}?prefix={name}", server.url()), name));
        }
    }

    #[test]
    fn the_tutorial_keeps_its_story_elsewhere_by_another_url() {
        let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let text = run_in(folder.path(), &server, "iris");
        assert!(text.contains("version 1 predicts the species of 30 flowers"), "{text}");
        assert!(!folder.path().join("aiflow.db").exists());
    }

    #[tokio::test]
    async fn the_quickstart_tells_the_same_story_by_another_url() {
        let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        for batches in [4, 8] {
            let text = run_in(folder.path(), &server, "quickstart");
            assert!(text.contains(&format!("batch {batches}: ")) && text.contains("what is version "), "{text}");
            let flow = aiflow::open(&server.url()).await.unwrap().project("wine").unwrap();
            let versions = flow.models().versions("wine").await.unwrap();
            assert_eq!(versions.len(), batches, "one version a batch");
            assert_eq!(versions.iter().filter(|version| version.stage == ModelStage::Deployed).count(), 1);
        }
        assert!(!folder.path().join("aiflow.db").exists());
    }

    #[cfg(feature = "project")]
    #[test]
    fn a_project_runs_by_another_url() {
        let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/project");
        let text = run_to_end(example("run_project").env("AIFLOW_URL", server.url()).arg(&dir).arg(folder.path()));
        assert!(text.contains("predicted with model 2: ") && !folder.path().join("aiflow.db").exists(), "{text}");
    }

    #[test]
    fn process_jobs_run_by_another_url() {
        let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let text = run_in(folder.path(), &server, "process_jobs");
        assert!(text.contains("enough: the rule stops the producer"), "{text}");
    }

    #[test]
    fn of_several_hosts_the_next_takes_over_from_each_that_is_killed() {
        let (server, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let text = run_in(folder.path(), &server, "several_hosts");
        assert_eq!(text.matches(" leads (epoch ").count(), 3, "{text}");
        assert_eq!(text.matches("the leader was killed").count(), 2, "{text}");
        assert!(text.contains("each part was inspected once, in order: true"), "{text}");
        let after =
            text.lines().filter_map(|line| line.split(" after ").nth(1)?.strip_suffix(" s")?.parse::<f64>().ok());
        let slowest = after.skip(1).fold(0.0, f64::max);
        assert!(slowest < 4.0, "the lease of a second and a look of the others: {text}");
    }
}
