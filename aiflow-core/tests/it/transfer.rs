//! Export and import: is a copy exact, is an export of one moment, and is what is wrong with a file said with its line?

use std::sync::Arc;

use aiflow_core::ErrorKind;
use aiflow_core::client::AiFlow;
use aiflow_core::event::NewEvent;
use aiflow_core::function::{FunctionExecutor, Functions, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::id::{JobName, Offset};
use aiflow_core::lineage::KIND_EVENT;
use aiflow_core::memory::MemoryStore;
use aiflow_core::meta::{Model, NewModelVersion};
use aiflow_core::relay::KIND_OUTBOX;
use aiflow_core::runtime::SCHEDULER_LEASE;
use aiflow_core::store::{Batch, MetaStore, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use aiflow_core::transfer::{KINDS, LINE_BYTES_MAX};
use aiflow_core::workflow::{on, start};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::client::{aiflow, handle_of, memory};

async fn exported(flow: &AiFlow) -> String {
    let mut sink = Vec::new();
    flow.export().kind("mine").to(&mut sink).await.unwrap();
    String::from_utf8(sink).unwrap()
}

/// All but the header, which also says where and when; and up to which event that is, and from which on.
fn content(export: &str) -> (Value, Value, Vec<Value>) {
    let mut lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap()["header"].clone();
    (header["head"].clone(), header["trimmed"].clone(), lines.collect())
}

/// A workflow that ran, a model, a record of the application, and a log that was trimmed.
async fn lived() -> AiFlow {
    let flow = aiflow();
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("train", function("train"));
    graph.control("train", start(on("samples")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let functions = Functions::new().register("train", async |_, _: Value| Ok::<_, JobError>(0.7));
    let scheduler = flow.scheduler().executor("function", FunctionExecutor::new(functions)).start().unwrap();
    let execution = flow.start("quality", json!({"rate": 0.1})).await.unwrap();
    let samples = flow.publish(flow.event("samples").value(json!({"n": 1.5})).label("by", "ada")).await.unwrap();
    let train = JobName::parse("train").unwrap();
    flow.wait_until(execution, |_, jobs| jobs.get(&train).is_some_and(|job| job.last.is_some())).await.unwrap();
    scheduler.wait_applied(samples).await.unwrap();
    scheduler.shutdown().await.unwrap();
    let models = flow.models();
    models.register(Model::new("grape").unwrap()).await.unwrap();
    models.register_version("grape", NewModelVersion::new("file:///m").metric("auc", 0.9)).await.unwrap();
    let mine = RecordPut::new(RecordKey::new("mine", "1"), json!({"text": "\u{1f377} \"\n"}));
    flow.store().commit(Batch::at(Timestamp::from_millis(5)).put(mine)).await.unwrap();
    flow.trim(Offset(2)).await.unwrap();
    flow
}

#[tokio::test]
async fn a_copy_is_exact() {
    let flow = lived().await;
    let export = exported(&flow).await;
    let copy = aiflow();
    let done = copy.import(export.as_bytes()).await.unwrap();
    assert_eq!(copy.bus().head().await.unwrap(), flow.bus().head().await.unwrap());
    assert_eq!((done.head, done.events), (flow.head().await.unwrap(), done.head.0 - 2));
    assert!(done.records > 8 && done.relations >= 1, "{done:?}");
    assert_eq!(content(&exported(&copy).await), content(&export));
    let store = copy.store();
    let mine = store.get(&[RecordKey::new("mine", "1")]).await.unwrap();
    assert_eq!(mine[0].as_ref().unwrap().created, Timestamp::from_millis(5));
}

/// Executors take no commands of an earlier epoch than those that they have seen.
#[tokio::test]
async fn epochs_go_on_rising() {
    let flow = aiflow();
    for holder in ["a", "b", "c"] {
        let lease = flow.store().acquire(SCHEDULER_LEASE, holder, std::time::Duration::from_secs(9)).await.unwrap();
        flow.store().release(&lease.unwrap()).await.unwrap();
    }
    let copy = aiflow();
    copy.import(exported(&flow).await.as_bytes()).await.unwrap();
    let epoch = async |flow: &AiFlow| flow.scheduler().start().unwrap().wait_leading().await.unwrap();
    assert!(epoch(&copy).await > epoch(&flow).await);
}

async fn import(export: &str) -> (AiFlow, aiflow_core::Error) {
    let flow = aiflow();
    let error = flow.import(export.as_bytes()).await.unwrap_err();
    (flow, error)
}

#[tokio::test]
async fn wherever_a_file_is_cut_it_is_said_and_nobody_works_with_the_rest() {
    let export = exported(&lived().await).await;
    let n_lines = export.lines().count();
    let ends: Vec<usize> = export.match_indices('\n').map(|(at, _)| at).collect();
    // Before each end of a line, after it, and in the midst of a line.
    let cuts = ends.iter().flat_map(|end| [end - 20, *end, end + 1]).filter(|cut| *cut + 1 < export.len());
    let mut n = 0;
    for cut in cuts {
        let (flow, error) = import(&export[..cut]).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.context().any(|(name, _)| name == "line"), "{error}");
        if export[..cut].contains('\n') {
            let again = flow.import(export.as_bytes()).await.unwrap_err();
            assert!(again.kind() == ErrorKind::Corrupt && again.message().contains("throw the store away"), "{again}");
            assert_eq!(flow.export().to(Vec::new()).await.unwrap_err().kind(), ErrorKind::Corrupt);
            let refused = flow.scheduler().start().unwrap().wait_leading().await.unwrap_err();
            assert!(refused.to_string().contains("was not finished"), "{refused}");
        }
        n += 1;
    }
    assert!(n >= 3 * (n_lines - 2), "{n}");
    // The last end of a line may be missing.
    aiflow().import(export.trim_end().as_bytes()).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_line() {
    let export = exported(&lived().await).await;
    let lines: Vec<&str> = export.lines().collect();
    let first = |sort: &str| lines.iter().position(|line| line.starts_with(&format!("{{\"{sort}\""))).unwrap();
    let (record, event, end) = (first("record"), first("event"), lines.len() - 1);
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        lines.join("\n")
    };
    let no_export = [String::new(), "{}".to_owned(), "PK\u{3}\u{4}".to_owned(), lines[1].to_owned()];
    for text in no_export {
        let (flow, error) = import(&text).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        flow.import(export.as_bytes()).await.unwrap();
    }
    let newer = changed(&|lines| lines[0] = lines[0].replace("\"version\":1", "\"version\":2"));
    assert!(import(&newer).await.1.message().contains("newer release"));
    for (what, line, text) in [
        ("cannot be read", record + 1, changed(&|lines| lines[record] = "{\"record\":{}}".to_owned())),
        ("cannot be read", event + 1, changed(&|lines| lines[event].truncate(30))),
        ("cannot be read", record + 1, changed(&|lines| lines[record] = lines[record].replace("record", "more"))),
        ("twice", record + 2, changed(&|lines| lines.insert(record, lines[record].clone()))),
        ("was expected", event + 1, changed(&|lines| lines.swap(event, event + 1))),
        ("was expected", event + 1, changed(&|lines| drop(lines.remove(event)))),
        ("comes after", event + 2, changed(&|lines| lines.insert(event + 1, lines[record].clone()))),
        ("some are missing", end, changed(&|lines| drop(lines.remove(record)))),
        ("some are missing", end, changed(&|lines| drop(lines.remove(end - 1)))),
        ("more after", end + 2, changed(&|lines| lines.push(lines[end].clone()))),
        ("comes after", record + 2, changed(&|lines| lines.insert(record + 1, lines[0].clone()))),
        (
            "does not name",
            record + 1,
            changed(&|lines| lines[record] = lines[record].replace("\"kind\":\"", "\"kind\":\"x")),
        ),
        (
            "revisions begin",
            record + 1,
            changed(&|lines| lines[record] = lines[record].replace("\"revision\":", "\"revision\":0,\"_\":")),
        ),
        ("longer than", record + 1, changed(&|lines| lines[record].push_str(&" ".repeat(LINE_BYTES_MAX)))),
    ] {
        let (_, error) = import(&text).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.message().contains(what), "{what}: {error}");
        let told = error.context().find(|(name, _)| *name == "line").map(|(_, line)| line.to_owned());
        assert_eq!(told, Some(line.to_string()), "{what}: {error}");
    }
}

#[tokio::test]
async fn only_an_empty_store_takes_an_import() {
    let export = exported(&lived().await).await;
    let with_event = aiflow();
    with_event.publish(with_event.event("x")).await.unwrap();
    let with_record = aiflow();
    let mine = RecordPut::new(RecordKey::new("mine", "2"), json!({}));
    with_record.store().commit(Batch::default().put(mine)).await.unwrap();
    let with_relation = aiflow();
    let [a, b] = ["a", "b"].map(|id| RecordKey::new("mine", id));
    with_relation.store().commit(Batch::default().relate("read", a, b)).await.unwrap();
    for flow in [with_event, with_record, with_relation] {
        let before = content(&exported(&flow).await);
        assert_eq!(flow.import(export.as_bytes()).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(content(&exported(&flow).await), before);
    }
}

#[tokio::test]
async fn nobody_schedules_while_a_store_is_exported_or_imported() {
    let flow = lived().await;
    let scheduler = flow.scheduler().start().unwrap();
    scheduler.wait_leading().await.unwrap();
    assert_eq!(flow.export().to(Vec::new()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    scheduler.shutdown().await.unwrap();
    let export = exported(&flow).await;
    let copy = aiflow();
    let scheduler = copy.scheduler().start().unwrap();
    scheduler.wait_leading().await.unwrap();
    assert_eq!(copy.import(export.as_bytes()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    scheduler.shutdown().await.unwrap();
    copy.import(export.as_bytes()).await.unwrap();
}

/// Exports into a pipe, lets `meanwhile` run when the first lines have come out, and gives what came of it.
async fn export_while<F: Future<Output = ()>>(
    flow: &AiFlow,
    meanwhile: impl FnOnce(AiFlow) -> F,
) -> (aiflow_core::Result<Offset>, String) {
    let (sink, source) = tokio::io::duplex(100);
    let export = flow.export();
    let exporting = tokio::spawn(async move { export.to(sink).await.map(|done| done.head) });
    let mut source = BufReader::new(source);
    let mut text = String::new();
    source.read_line(&mut text).await.unwrap();
    meanwhile(flow.clone()).await;
    source.read_to_string(&mut text).await.unwrap();
    (exporting.await.unwrap(), text)
}

#[tokio::test]
async fn an_export_is_of_one_moment_or_none() {
    let flow = lived().await;
    // Enough that the export is not over before the first line is read.
    let wide = |n: usize| Model::new(format!("m{n}")).unwrap().description("x".repeat(2_000));
    for n in 0..100 {
        flow.models().register(wide(n)).await.unwrap();
    }
    let head = flow.head().await.unwrap();
    let publish = async |flow: AiFlow| assert!(flow.publish(flow.event("late")).await.unwrap() > head);
    let (done, text) = export_while(&flow, publish).await;
    assert_eq!(done.unwrap(), head);
    let copy = aiflow();
    copy.import(text.as_bytes()).await.unwrap();
    assert_eq!(copy.head().await.unwrap(), head, "what came later is not in it");

    let register = async |flow: AiFlow| drop(flow.models().register(wide(100)).await.unwrap());
    let trim = async |flow: AiFlow| assert_eq!(flow.trim(Offset(4)).await.unwrap(), Offset(4));
    let scheduled = async |flow: AiFlow| assert!(flow.start("quality", Value::Null).await.unwrap().cause > head);
    let outcomes =
        [export_while(&flow, register).await, export_while(&flow, trim).await, export_while(&flow, scheduled).await];
    for (outcome, text) in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(import(&text).await.1.message().contains("was cut"));
    }
}

/// The store stays marked, and the lease is free for whoever looks.
#[tokio::test]
async fn events_that_others_publish_meanwhile_end_an_import() {
    let export = exported(&lived().await).await;
    let (mut sink, source) = tokio::io::duplex(100);
    let copy = aiflow();
    let importing = {
        let copy = copy.clone();
        tokio::spawn(async move { copy.import(BufReader::new(source)).await })
    };
    let (begin, rest) = export.split_at(export.len() / 2);
    tokio::io::AsyncWriteExt::write_all(&mut sink, begin.as_bytes()).await.unwrap();
    copy.bus().publish(vec![NewEvent::new("wine", "late")]).await.unwrap();
    // The import may have ended before it has read everything.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut sink, rest.as_bytes()).await;
    drop(sink);
    let error = importing.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("somebody else has published"), "{error}");
    assert!(copy.export().to(Vec::new()).await.is_err());
}

/// A kind that is defined and not in the list would be left out without a word.
#[test]
fn every_kind_that_the_library_writes_is_exported() {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut kinds = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let defined = text.lines().filter(|line| line.contains("const KIND_") && line.contains(": &str = "));
            kinds.extend(defined.map(|line| line.split('"').nth(1).unwrap().to_owned()));
        }
    }
    // Lineage names events as if they were records, and a store keeps some for a log elsewhere; they are exported from the log.
    kinds.retain(|kind| kind != KIND_EVENT && kind != KIND_OUTBOX);
    kinds.sort_unstable();
    let mut exported = KINDS.map(str::to_owned);
    exported.sort_unstable();
    assert_eq!(exported.as_slice(), kinds, "transfer::KINDS must name every KIND_ constant");
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u8, i64),
    Delete(u8, u8),
    Relate(u8, u8),
    Publish(u8, Option<i64>),
    Trim(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_u8, 0..6_u8, -9..99_i64).prop_map(|(kind, id, at)| Op::Put(kind, id, at)),
        1 => (0..3_u8, 0..6_u8).prop_map(|(kind, id)| Op::Delete(kind, id)),
        2 => (0..6_u8, 0..6_u8).prop_map(|(from, to)| Op::Relate(from, to)),
        4 => (0..40_u8, proptest::option::of(-9..99_i64)).prop_map(|(id, time)| Op::Publish(id, time)),
        1 => (0..30_u64).prop_map(Op::Trim),
    ]
}

fn key_of(kind: u8, id: u8) -> RecordKey {
    RecordKey::new(["model", "mine", "firing"][usize::from(kind)], format!("r{id}"))
}

async fn apply(memory: &Arc<MemoryStore>, op: Op) {
    let flow = handle_of(memory);
    let batch = match op {
        Op::Put(kind, id, at) => {
            let mut put = RecordPut::new(key_of(kind, id), json!({"at": at, "half": at as f64 / 2.0}));
            put.number = (at % 2 == 0).then_some(at as f64 / 3.0);
            put.parent = format!("p{}", at % 3);
            Batch::at(Timestamp::from_millis(at)).put(put)
        }
        Op::Delete(kind, id) => Batch::default().delete(key_of(kind, id)),
        Op::Relate(from, to) => Batch::default().relate("read", key_of(1, from), key_of(0, to)),
        Op::Publish(id, time) => {
            let mut event = NewEvent::identified(format!("e{id}"), "wine", "k").value(id);
            event.time = time.map(Timestamp::from_millis);
            Batch::default().event(event)
        }
        Op::Trim(through) => return flow.bus().trim(Offset(through)).await.unwrap(),
    };
    flow.store().commit(batch).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a store went through, its copy cannot be told from it, nor the copy of the copy.
    #[test]
    fn copies_cannot_be_told_apart(ops in proptest::collection::vec(op(), 0..60)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let source = memory();
            for op in ops {
                apply(&source, op).await;
            }
            let first = exported(&handle_of(&source)).await;
            let copy = aiflow();
            copy.import(first.as_bytes()).await.unwrap();
            let second = exported(&copy).await;
            assert_eq!(content(&second), content(&first));
            assert_eq!(copy.bus().head().await.unwrap(), handle_of(&source).bus().head().await.unwrap());
        });
    }
}
