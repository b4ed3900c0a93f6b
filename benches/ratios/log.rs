//! The log: how fast are events durable, and how soon does a subscriber see them?

use std::time::{Duration, Instant};

use aiflow::AiFlow;
use aiflow::event::{EventFilter, NewEvent};
use aiflow::id::Offset;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::raw::{self, Raw, Row};
use crate::table::{FULL, NONE, Pairs, Table, Target, percentile};
use crate::world::open;

const ROUNDS: usize = 9;
const PUBLISHERS: usize = 8;
/// Single events of each concurrent publisher in a round.
const EVENTS_EACH: usize = 250;
/// Bytes of the value: with id, key and the rest, an event has about 300.
const VALUE_BYTES: usize = 200;
const DELIVERIES: usize = 2_000;

pub(crate) fn publish(table: &mut Table) {
    let runtime = crate::runtime();
    for (batch, batches) in [(1, 600), (16, 300), (256, 60)] {
        let pairs = runtime.block_on(in_batches(batch, batches));
        let path = format!("publish, batches of {batch}: events");
        table.rates(&path, FULL, &pairs, Target::Share(0.7));
    }
    let pairs = runtime.block_on(concurrently());
    let path = format!("publish, {PUBLISHERS} concurrent publishers of single events");
    table.rates(&path, FULL, &pairs, Target::Share(0.7));
}

fn events(count: usize) -> Vec<NewEvent> {
    let value = "v".repeat(VALUE_BYTES);
    let event =
        || NewEvent::new("wine", "samples/batch").event_type("SAMPLES_READY").sender("ingest").value(value.as_str());
    (0..count).map(|_| event()).collect()
}

fn rate(count: usize, elapsed: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64()
}

async fn in_batches(batch: usize, batches: usize) -> Pairs {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("ours.db")).await;
    let raw = Raw::create(&dir.path().join("raw.db")).await;
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let all = events(batch * batches);
        let rows: Vec<Row> = all.iter().map(raw::row).collect();
        let begun = Instant::now();
        rows.chunks(batch).for_each(|rows| raw.append(rows));
        let floor = rate(rows.len(), begun.elapsed());
        let all: Vec<Vec<NewEvent>> = all.chunks(batch).map(<[NewEvent]>::to_vec).collect();
        // As an application would: from a task of the runtime.
        let publisher = aiflow.clone();
        let elapsed = tokio::spawn(async move {
            let begun = Instant::now();
            for events in all {
                publisher.publish_all(events).await.unwrap();
            }
            begun.elapsed()
        });
        pairs.add(rate(rows.len(), elapsed.await.unwrap()), floor);
    }
    aiflow.store().close().await.unwrap();
    pairs
}

async fn concurrently() -> Pairs {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("ours.db")).await;
    let mut raw = Raw::create(&dir.path().join("raw.db")).await;
    let mut pairs = Pairs::default();
    let count = PUBLISHERS * EVENTS_EACH;
    for _ in 0..ROUNDS {
        let all: Vec<Vec<NewEvent>> = (0..PUBLISHERS).map(|_| events(EVENTS_EACH)).collect();
        let rows = all.iter().map(|events| events.iter().map(raw::row).collect()).collect();
        let (again, floor) = raw::group_commit(raw, rows);
        raw = again;
        let begun = Instant::now();
        let mut publishers = JoinSet::new();
        for events in all {
            let aiflow = aiflow.clone();
            publishers.spawn(async move {
                for event in events {
                    aiflow.publish(event).await.unwrap();
                }
            });
        }
        publishers.join_all().await;
        pairs.add(rate(count, begun.elapsed()), rate(count, floor));
    }
    aiflow.store().close().await.unwrap();
    pairs
}

/// From the publisher's return to the subscriber's, both tasks of one runtime.
pub(crate) fn subscriber(table: &mut Table) {
    let runtime = crate::runtime();
    let channel = runtime.block_on(async { tokio::spawn(through_channel()).await.unwrap() });
    let log = runtime.block_on(async { tokio::spawn(through_log()).await.unwrap() });
    for (percent, target) in [(50, Target::Within(Duration::from_micros(50))), (99, Target::Info)] {
        let mut pairs = Pairs::default();
        pairs.add(percentile(log.iter().copied(), percent), percentile(channel.iter().copied(), percent));
        let path = format!("publish to subscriber, beyond the commit, p{percent} (floor: tokio channel)");
        table.times(&path, NONE, &pairs, target);
    }
}

async fn through_log() -> Vec<f64> {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("ours.db")).await;
    let (sender, mut received) = mpsc::channel(1);
    let mut listener = aiflow.listen(EventFilter::all().namespace("wine"), Offset::START);
    let task =
        tokio::spawn(
            async move { while listener.next().await.is_ok() && sender.send(Instant::now()).await.is_ok() {} },
        );
    let mut times = Vec::with_capacity(DELIVERIES);
    for event in events(DELIVERIES) {
        aiflow.publish(event).await.unwrap();
        let published = Instant::now();
        times.push(between(published, received.recv().await.unwrap()));
    }
    task.abort();
    close(&aiflow).await;
    times
}

async fn through_channel() -> Vec<f64> {
    let (sender, mut receiver) = mpsc::channel(1);
    let (answer, mut received) = mpsc::channel(1);
    tokio::spawn(async move { while receiver.recv().await.is_some() && answer.send(Instant::now()).await.is_ok() {} });
    let mut times = Vec::with_capacity(DELIVERIES);
    for event in events(DELIVERIES) {
        sender.send(event).await.unwrap();
        let published = Instant::now();
        times.push(between(published, received.recv().await.unwrap()));
    }
    times
}

/// Negative if the subscriber was there before the publisher.
fn between(published: Instant, seen: Instant) -> f64 {
    match seen.checked_duration_since(published) {
        Some(after) => after.as_secs_f64(),
        None => -published.duration_since(seen).as_secs_f64(),
    }
}

async fn close(aiflow: &AiFlow) {
    aiflow.store().close().await.unwrap();
}
