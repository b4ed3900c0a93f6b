//! Appending to metrics: how do many values become few records?
//!
//! Each metric of each subject is one record: its summary and its newest values. When there are more than a few, all values that stand there
//! move to a record of their own, which never changes. So an append writes one record, whatever the length of the series.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::draft::Draft;
use super::{KIND_METRIC_POINTS, KIND_METRIC_SUMMARY, METRIC_RECORDED, MetricPoint, MetricSummary, PURGED_MAX};
use crate::client::AiFlow;
use crate::error::{Error, Result};
use crate::id::EntityName;
use crate::records::{body_of, put};
use crate::store::{MetaStoreExt as _, Query, Record, RecordKey, RecordPut};
use crate::time::Timestamp;

/// Values that stand beside their summary.
const TAIL_POINTS_MAX: usize = 32;

/// A value to append.
#[derive(Debug, Clone)]
pub(super) struct Point {
    name: EntityName,
    subject: RecordKey,
    value: f64,
    step: Option<u64>,
    time: Option<Timestamp>,
}

impl Point {
    pub(super) fn new(name: EntityName, subject: RecordKey, value: f64) -> Self {
        Self { name, subject, value, step: None, time: None }
    }

    pub(super) fn at(self, step: Option<u64>, time: Option<Timestamp>) -> Self {
        Self { step, time, ..self }
    }
}

/// What the record of a series holds: read as its two parts, which is faster than to read them in one.
#[derive(Debug, Serialize)]
struct Series {
    #[serde(flatten)]
    summary: MetricSummary,
    #[serde(flatten)]
    values: Values,
}

/// The values of a series.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Values {
    /// Records of earlier values.
    #[serde(default)]
    pub(super) chunks: u64,
    /// The newest values.
    #[serde(default)]
    pub(super) tail: Vec<MetricPoint>,
}

impl Series {
    fn read(record: &Record) -> Result<Self> {
        Ok(Self { summary: body_of(record)?, values: body_of(record)? })
    }
}

/// `kind:id of the subject/name`: key of the summary of a metric of a subject.
pub(super) fn series_key(subject: &RecordKey, name: &EntityName) -> RecordKey {
    RecordKey::new(KIND_METRIC_SUMMARY, format!("{subject}/{name}"))
}

/// `series/number`: key of the earlier values of a series that moved away from it as the `number`-th, from 1.
pub(super) fn chunk_key(series: &RecordKey, number: u64) -> RecordKey {
    RecordKey::new(KIND_METRIC_POINTS, format!("{}/{number}", series.id))
}

/// Adds values to their series, and announces each series once.
pub(super) async fn append(draft: &mut Draft, flow: &AiFlow, points: Vec<Point>) -> Result<()> {
    // In the order of their first value.
    let mut order: Vec<RecordKey> = Vec::new();
    let mut by_series: BTreeMap<RecordKey, Vec<Point>> = BTreeMap::new();
    for point in points {
        if !point.value.is_finite() {
            return Err(Error::invalid("record metric", "the value must be finite")
                .with("metric", &point.name)
                .with("value", point.value));
        }
        let key = series_key(&point.subject, &point.name);
        let points = by_series.entry(key.clone()).or_default();
        if points.is_empty() {
            order.push(key);
        }
        points.push(point);
    }
    let known = draft.get_all(&order).await?.into_iter();
    let known: Vec<Option<Series>> = known.map(|record| record.map(Series::read).transpose()).collect::<Result<_>>()?;
    for (key, known) in order.iter().zip(known) {
        let points = by_series.remove(key).unwrap_or_default();
        extend(draft, flow, key, known, &points);
    }
    Ok(())
}

fn extend(draft: &mut Draft, flow: &AiFlow, key: &RecordKey, known: Option<Series>, points: &[Point]) {
    let now = draft.now();
    let new = points.iter().map(|point| MetricPoint {
        step: point.step,
        time: point.time.unwrap_or(now),
        value: point.value,
    });
    let new: Vec<MetricPoint> = new.collect();
    let (Some(first), Some(point)) = (new.first().copied(), points.first()) else {
        return;
    };
    let mut series = known.unwrap_or_else(|| Series {
        summary: MetricSummary {
            name: point.name.clone(),
            subject: point.subject.clone(),
            latest: first.value,
            step: first.step,
            time: first.time,
            min: first.value,
            max: first.value,
            count: 0,
            recorded_by: None,
        },
        values: Values::default(),
    });
    new.iter().for_each(|point| series.summary.take_in(point));
    series.summary.recorded_by = flow.origin().map(|origin| origin.identity.attempt);
    series.values.tail.extend(&new);
    let project = flow.project_name().to_string();
    let Values { chunks, tail } = &mut series.values;
    if tail.len() > TAIL_POINTS_MAX {
        *chunks = chunks.saturating_add(1);
        let chunk = chunk_key(key, *chunks);
        let tail = std::mem::take(tail);
        draft.put(RecordPut { project: project.clone(), parent: key.id.clone(), ..put(chunk, &tail) });
    }
    draft.put(RecordPut {
        project,
        parent: series.summary.subject.to_string(),
        name: series.summary.name.to_string(),
        number: Some(series.summary.latest),
        ..put(key.clone(), &series)
    });
    draft.produced(key);
    announce(draft, flow, &series.summary, &new);
}

impl MetricSummary {
    fn take_in(&mut self, point: &MetricPoint) {
        if (point.step, point.time) >= (self.step, self.time) {
            (self.latest, self.step, self.time) = (point.value, point.step, point.time);
        }
        self.min = self.min.min(point.value);
        self.max = self.max.max(point.value);
        self.count = self.count.saturating_add(1);
    }
}

/// One event for the values of one call: the last of them, and the least and greatest, so that a rule that compares misses none.
fn announce(draft: &mut Draft, flow: &AiFlow, summary: &MetricSummary, new: &[MetricPoint]) {
    let Some(last) = new.last() else { return };
    let min = new.iter().fold(last.value, |min, point| min.min(point.value));
    let max = new.iter().fold(last.value, |max, point| max.max(point.value));
    let mut value = json!({
        "value": last.value, "min": min, "max": max, "points": new.len(), "subject": summary.subject.to_string(),
    });
    if let Some(step) = last.step {
        value["step"] = step.into();
    }
    let event = flow.event(summary.name.as_str()).event_type(METRIC_RECORDED).value(value);
    draft.event(flow.stamp_for_execution(event));
}

/// The keys of the records of the earlier values of a series.
pub(super) async fn chunk_keys(flow: &AiFlow, series: &RecordKey) -> Result<Vec<RecordKey>> {
    let query = Query::kind(KIND_METRIC_POINTS).parent(&series.id);
    let chunks = flow.store().query_all(query, PURGED_MAX).await?;
    Ok(chunks.into_iter().map(|record| record.key).collect())
}
