//! Metadata: searches over many executions and metrics, lineage over many relations, and what a write costs.

use std::fs::File;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use aiflow::AiFlow;
use aiflow::execution::KIND_JOB_EXECUTION;
use aiflow::lineage::LineageQuery;
use aiflow::meta::{KIND_METRIC_SUMMARY, Model, NewMetric, NewModelVersion, Subject};
use aiflow::store::{Batch, Query, RecordKey, RecordPut};
use aiflow::time::Timestamp;
use serde_json::json;

use crate::table::{FULL, Table, percentile, seconds};
use crate::world::{PROJECT, open};

const EXECUTIONS: usize = 30_000;
const METRICS: usize = 50;
const RELATIONS: usize = 1_000_000;
/// Of each thing, so many others are made.
const FAN_OUT: usize = 10;
const ROUNDS: usize = 21;
const BATCH: usize = 20_000;

pub(crate) fn search(table: &mut Table) {
    crate::runtime().block_on(searches(table));
}

pub(crate) fn lineage(table: &mut Table) {
    crate::runtime().block_on(relations(table));
}

pub(crate) fn writes(table: &mut Table) {
    crate::runtime().block_on(records(table));
}

async fn row<F: Future>(table: &mut Table, path: &str, target: Duration, mut once: impl FnMut() -> F) {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        once().await;
        times.push(begun.elapsed().as_secs_f64());
    }
    let median = percentile(times.iter().copied(), 50);
    let measured = format!("{} (p99 {})", seconds(median), seconds(percentile(times, 99)));
    table.plain(
        path,
        FULL,
        &measured,
        &format!("< {}", seconds(target.as_secs_f64())),
        Some(median < target.as_secs_f64()),
    );
}

async fn commit_all(aiflow: &AiFlow, puts: impl Iterator<Item = RecordPut>) {
    let mut batch = Batch::at(Timestamp::EPOCH);
    for put in puts {
        batch.puts.push(put);
        if batch.puts.len() >= BATCH {
            aiflow.store().commit(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    aiflow.store().commit(batch).await.unwrap();
}

async fn searches(table: &mut Table) {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("search.db")).await;
    let execution = |n: usize| {
        let key = RecordKey::new(KIND_JOB_EXECUTION, format!("{n}.0"));
        let body = json!({
            "job": "train", "status": "SUCCEEDED", "params": {"rate": 0.001 * n as f64, "layers": n % 7},
            "cause": {"rule": "start", "events": [n]}, "created_at": n, "executor": "function", "workflow": "quality",
        });
        let (project, state) = (PROJECT.to_owned(), "SUCCEEDED".to_owned());
        RecordPut {
            project,
            parent: format!("{}.0", n / 10),
            name: "train".to_owned(),
            state,
            ..RecordPut::new(key, body)
        }
    };
    commit_all(&aiflow, (0..EXECUTIONS).map(execution)).await;
    let metric = |at: usize| {
        let (n, m) = (at / METRICS, at % METRICS);
        let subject = format!("{KIND_JOB_EXECUTION}:{n}.0");
        let key = RecordKey::new(KIND_METRIC_SUMMARY, format!("{subject}/m{m}"));
        // Spread without a pattern that an index could follow.
        let number = (n.wrapping_mul(2_654_435_761).wrapping_add(m * 97) % 10_007) as f64 / 10_007.0;
        let (project, name) = (PROJECT.to_owned(), format!("m{m}"));
        RecordPut {
            project,
            parent: subject,
            name,
            number: Some(number),
            ..RecordPut::new(key, json!({"latest": number}))
        }
    };
    commit_all(&aiflow, (0..EXECUTIONS * METRICS).map(metric)).await;
    let of = format!("{EXECUTIONS} executions x {METRICS} metrics");
    for text in [
        "metrics.m7 > 0.9 order by metrics.m7 desc limit 100",
        "metrics.m7 > 0.5 and metrics.m20 < 0.5 and params.layers = 3 order by created desc limit 100",
        "params.layers = 3 order by params.rate desc limit 100",
    ] {
        let aiflow = &aiflow;
        row(table, &format!("search {of}: {text}"), Duration::from_millis(50), async || {
            let page = aiflow.search(KIND_JOB_EXECUTION, text, None).await.unwrap();
            assert_eq!(page.items.len(), 100, "{text} finds too little");
        })
        .await;
    }
    // The first and the last page of a list.
    let list = |after| Query::kind(KIND_METRIC_SUMMARY).project(PROJECT).limit(100).after(after);
    let last = aiflow.store().query(&list(None)).await.unwrap().next.map(|token| {
        aiflow::store::PageToken(
            // The token of this store is a number in the order of the records.
            (token.0.parse::<usize>().unwrap() + EXECUTIONS * METRICS - 200).to_string(),
        )
    });
    for (which, after) in [("first", None), ("10,000th or later", last)] {
        let aiflow = &aiflow;
        row(
            table,
            &format!("the {which} page of a list of {}", EXECUTIONS * METRICS),
            Duration::from_millis(5),
            async || {
                assert_eq!(aiflow.store().query(&list(after.clone())).await.unwrap().items.len(), 100);
            },
        )
        .await;
    }
    aiflow.store().close().await.unwrap();
}

async fn relations(table: &mut Table) {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("lineage.db")).await;
    let thing = |n: usize| RecordKey::new("artifact", n.to_string());
    commit_all(&aiflow, (0..=RELATIONS).map(|n| RecordPut::new(thing(n), json!({})))).await;
    for from in (1..=RELATIONS).step_by(BATCH) {
        let made = from..(from + BATCH).min(RELATIONS + 1);
        let batch = made.fold(Batch::at(Timestamp::EPOCH), |batch, n| {
            // Ten things from each of the levels before, and a chain that is deeper than any question.
            let from = if n < 1_000 { n - 1 } else { n / FAN_OUT };
            batch.relate("derived_from", thing(n), thing(from))
        });
        aiflow.store().commit(batch).await.unwrap();
    }
    let aiflow = &aiflow;
    row(
        table,
        &format!("lineage, 10 steps upstream among {RELATIONS} relations"),
        Duration::from_millis(50),
        async || {
            let found = aiflow.lineage(&LineageQuery::upstream(thing(RELATIONS)).hops(10)).await.unwrap();
            assert_eq!(found.nodes.len(), 11);
        },
    )
    .await;
    row(table, "lineage, downstream to 1,000 things", Duration::from_millis(50), async || {
        let found = aiflow.lineage(&LineageQuery::downstream(thing(500)).hops(10)).await.unwrap();
        assert!(!found.complete && found.nodes.len() == 1_000);
    })
    .await;
    aiflow.store().close().await.unwrap();
}

/// How long the disk takes to make a page durable that was appended to a file.
fn flush_time(folder: &Path) -> Duration {
    let mut file = File::create(folder.join("flushed")).unwrap();
    let times = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        begun.elapsed().as_secs_f64()
    });
    Duration::from_secs_f64(percentile(times, 50))
}

async fn records(table: &mut Table) {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("writes.db")).await;
    let models = aiflow.models();
    models.register(Model::new("wine").unwrap()).await.unwrap();
    // A write may take its time and one flush.
    let flush = flush_time(dir.path());
    let within = |millis| Duration::from_millis(millis) + flush;
    row(table, "register a model version", within(1), async || {
        models.register_version("wine", NewModelVersion::new("file:///m")).await.unwrap();
    })
    .await;
    for (n, target) in [(10_u32, 1), (500, 5)] {
        let aiflow = &aiflow;
        let mut step = 0;
        row(table, &format!("record {n} values of one metric"), within(target), || {
            let subject = Subject::model_version("wine", 1).unwrap();
            let values =
                (0..n).map(|i| NewMetric::new("auc", subject.clone(), f64::from(i)).unwrap().step(step + u64::from(i)));
            let values: Vec<NewMetric> = values.collect();
            step += u64::from(n);
            async move { aiflow.metrics().record_all(values).await.unwrap() }
        })
        .await;
        row(table, &format!("record one value each of {n} metrics"), within(target), || {
            let subject = Subject::model_version("wine", 1).unwrap();
            let values = (0..n).map(|i| NewMetric::new(format!("m{i}"), subject.clone(), f64::from(i)).unwrap());
            let values: Vec<NewMetric> = values.collect();
            async move { aiflow.metrics().record_all(values).await.unwrap() }
        })
        .await;
    }
    aiflow.store().close().await.unwrap();
}
