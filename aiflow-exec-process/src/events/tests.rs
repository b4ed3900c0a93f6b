use std::io::Write;

use aiflow_core::id::{AttemptId, JobExecutionId, Offset, WorkflowExecutionId};

use super::*;

fn follower(dir: &tempfile::TempDir, bytes_max: u64) -> (Follower, File) {
    let identity = JobIdentity {
        attempt: AttemptId::new(JobExecutionId::new(Offset(7), 0), 1),
        project: "wine".parse().unwrap(),
        workflow: "train".parse().unwrap(),
        workflow_execution: WorkflowExecutionId::new(Offset(5), 0),
        job: "fit".parse().unwrap(),
    };
    let path = dir.path().join("events");
    let file = File::create(&path).unwrap();
    (Follower::new(path, identity, bytes_max), file)
}

/// Keys of events, `!n` for a refused line n, `ready`, `checkpoint` and its reference.
fn keys(said: &[Said]) -> Vec<String> {
    said.iter()
        .map(|said| match said {
            Said::Ready => "ready".to_owned(),
            Said::Event(event) if event.event_type == JOB_EVENT_REJECTED => {
                format!("!{}", event.value["line"])
            }
            Said::Labels(event, _) => format!("labels {}", event.value["labels"]),
            Said::Checkpoint(event) => format!("checkpoint {}", event.value["value"]),
            Said::Event(event) => event.key.clone(),
        })
        .collect()
}

#[test]
fn a_line_counts_when_it_is_complete_or_the_job_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, u64::MAX);
    write!(file, "{{\"key\":\"a\"}}\n{{\"key\":").unwrap();
    assert_eq!(keys(&follower.read(Until::LastNewline).unwrap()), ["a"]);
    assert!(follower.read(Until::LastNewline).unwrap().is_empty());
    write!(file, "\"b\"}}").unwrap();
    assert!(follower.read(Until::LastNewline).unwrap().is_empty());
    assert_eq!(keys(&follower.read(Until::EndOfFile).unwrap()), ["b"]);
    assert!(follower.read(Until::EndOfFile).unwrap().is_empty());
}

#[test]
fn lines_that_are_no_events_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, u64::MAX);
    for line in [
        &br#"{"key":"ok1"}"#[..],
        b"not json",
        b"",
        br#"{"key":""}"#,
        br#"{"key":"k","surprise":1}"#,
        br#"{"key":"k","namespace":"aiflow.system"}"#,
        br#"{"aiflow":"ready"}"#,
        br#"{"aiflow":"steady"}"#,
        b"\xff\xfe",
        br#"{"key":"ok2","value":{"n":1}}"#,
    ] {
        file.write_all(line).unwrap();
        file.write_all(b"\n").unwrap();
    }
    assert_eq!(
        keys(&follower.read(Until::EndOfFile).unwrap()),
        ["ok1", "!2", "!4", "!5", "!6", "ready", "!8", "!9", "ok2"]
    );
}

#[test]
fn labels_are_texts_numbers_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, u64::MAX);
    for line in [
        r#"{"aiflow":"labels","labels":{"epoch":7,"done":false,"loss":0.5,"note":"warm","old":null}}"#,
        r#"{"aiflow":"labels","labels":{"shape":[1,2]}}"#,
        r#"{"aiflow":"labels","labels":{"":"x"}}"#,
        r#"{"aiflow":"labels"}"#,
    ] {
        writeln!(file, "{line}").unwrap();
    }
    let said = keys(&follower.read(Until::EndOfFile).unwrap());
    let labels = r#"labels {"done":"false","epoch":"7","loss":"0.5","note":"warm","old":null}"#;
    assert_eq!(said, [labels, "!2", "!3", "!4"]);
}

#[test]
fn a_line_that_is_too_long_is_refused_without_being_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, u64::MAX);
    file.write_all(&vec![b'x'; 3 * EVENT_LINE_BYTES_MAX]).unwrap();
    assert_eq!(keys(&follower.read(Until::LastNewline).unwrap()), ["!1"]);
    assert!(follower.rest().len() <= EVENT_LINE_BYTES_MAX);
    file.write_all(b"x\n{\"key\":\"after\"}\n").unwrap();
    assert_eq!(keys(&follower.read(Until::LastNewline).unwrap()), ["after"]);
    assert_eq!(follower.line, 2);
}

#[test]
fn batches_are_bounded_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, u64::MAX);
    let n_lines = 3 * EVENT_LINES_BATCH_MAX + 1;
    for line in 1..=n_lines {
        writeln!(file, "{{\"key\":\"{line}\"}}").unwrap();
    }
    let mut all = Vec::new();
    loop {
        let said = follower.read(Until::EndOfFile).unwrap();
        if said.is_empty() {
            break;
        }
        assert!(said.len() <= EVENT_LINES_BATCH_MAX);
        all.extend(keys(&said));
    }
    let expected: Vec<String> = (1..=n_lines).map(|line| line.to_string()).collect();
    assert_eq!(all, expected);
}

#[test]
fn no_more_is_heard_than_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut file) = follower(&dir, 30);
    for _ in 0..100 {
        writeln!(file, "{{\"key\":\"a\"}}").unwrap();
    }
    let said = keys(&follower.read(Until::EndOfFile).unwrap());
    assert_eq!(said, ["a", "a", "!3"]);
}
