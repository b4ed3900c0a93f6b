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

/// Many short ones, each side first in turn: a flush may take ten times longer than the one before, for seconds on end.
const ROUNDS: usize = 40;
const PUBLISHERS: usize = 8;
/// Single events of each concurrent publisher in a round.
const EVENTS_EACH: usize = 60;
/// Bytes of the value: with id, key and the rest, an event has about 300.
const VALUE_BYTES: usize = 200;
const DELIVERIES: usize = 2_000;

pub(crate) fn publish(table: &mut Table) {
    let runtime = crate::runtime();
    for (batch, batches) in [(1, 120), (16, 80), (256, 16)] {
        let pairs = runtime.block_on(in_batches(batch, batches));
        let path = format!("publish, batches of {batch}: events");
        table.rates(&path, FULL, &pairs, Target::Share(0.7));
    }
    let (threads, batches) = runtime.block_on(concurrently());
    let path = format!("publish, {PUBLISHERS} concurrent publishers of single events");
    table.rates(&format!("{path} (floor: group commit by threads)"), FULL, &threads, Target::Share(0.7));
    table.rates(&format!("{path} (floor: one writer, batches of {PUBLISHERS})"), FULL, &batches, Target::Info);
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
    let count = batch * batches;
    for round in 0..ROUNDS {
        let rows: Vec<Row> = events(count).iter().map(raw::row).collect();
        let floor = || {
            let begun = Instant::now();
            rows.chunks(batch).for_each(|rows| raw.append(rows));
            rate(count, begun.elapsed())
        };
        let ours = publish_in_batches(&aiflow, events(count), batch);
        let (ours, floor) = if round % 2 == 0 {
            let floor = floor();
            (ours.await, floor)
        } else {
            (ours.await, floor())
        };
        pairs.add(ours, floor);
    }
    close(&aiflow).await;
    pairs
}

/// As an application would: from a task of the runtime.
async fn publish_in_batches(aiflow: &AiFlow, events: Vec<NewEvent>, batch: usize) -> f64 {
    let count = events.len();
    let batches: Vec<Vec<NewEvent>> = events.chunks(batch).map(<[NewEvent]>::to_vec).collect();
    let publisher = aiflow.clone();
    let elapsed = tokio::spawn(async move {
        let begun = Instant::now();
        for events in batches {
            publisher.publish_all(events).await.unwrap();
        }
        begun.elapsed()
    });
    rate(count, elapsed.await.unwrap())
}

/// Beside two floors: the same shape, which pays for threads that wake each other, and the writer alone, which waits for nobody.
async fn concurrently() -> (Pairs, Pairs) {
    let dir = crate::folder();
    let aiflow = open(&dir.path().join("ours.db")).await;
    let mut raw = Raw::create(&dir.path().join("raw.db")).await;
    let (mut threads, mut batches) = (Pairs::default(), Pairs::default());
    for round in 0..ROUNDS {
        let rows = (0..PUBLISHERS).map(|_| events(EVENTS_EACH).iter().map(raw::row).collect());
        let rows: Vec<Vec<Row>> = rows.collect();
        let ours = publish_concurrently(&aiflow);
        let (elapsed, ours) = if round % 2 == 0 {
            let (again, elapsed) = raw::group_commit(raw, rows);
            raw = again;
            (elapsed, ours.await)
        } else {
            let ours = ours.await;
            let (again, elapsed) = raw::group_commit(raw, rows);
            raw = again;
            (elapsed, ours)
        };
        threads.add(ours, rate(PUBLISHERS * EVENTS_EACH, elapsed));
        let rows: Vec<Row> = events(PUBLISHERS * EVENTS_EACH).iter().map(raw::row).collect();
        let begun = Instant::now();
        rows.chunks(PUBLISHERS).for_each(|rows| raw.append(rows));
        batches.add(ours, rate(rows.len(), begun.elapsed()));
    }
    close(&aiflow).await;
    (threads, batches)
}

async fn publish_concurrently(aiflow: &AiFlow) -> f64 {
    let all: Vec<Vec<NewEvent>> = (0..PUBLISHERS).map(|_| events(EVENTS_EACH)).collect();
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
    rate(PUBLISHERS * EVENTS_EACH, begun.elapsed())
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
