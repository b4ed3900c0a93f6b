//! Metrics: summaries, series, and what is told of many values at once.

use aiflow_core::ErrorKind;
use aiflow_core::bus::EventBus as _;
use aiflow_core::event::EventFilter;
use aiflow_core::id::{JobExecutionId, Offset};
use aiflow_core::meta::{
    Artifact, Dataset, METRICS_BATCH_MAX, MetricPoint, NewDatasetVersion, NewMetric, NewModelVersion, Subject,
};
use aiflow_core::store::{MetaStore as _, MetaStoreExt as _, PageToken, Query};
use proptest::prelude::*;
use serde_json::json;

use super::{aiflow, at, register, timed, with_model};

fn version(number: u32) -> Subject {
    Subject::model_version("wine", number).unwrap()
}

fn metric(name: &str, subject: Subject, value: f64) -> NewMetric {
    NewMetric::new(name, subject, value).unwrap()
}

#[tokio::test]
async fn metrics_are_recorded_on_what_exists_and_announced() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let metrics = flow.metrics();
    let loss = |number, value, step| metric("loss", version(number), value).step(step);
    metrics.record_all(vec![loss(1, 0.5, 1), loss(1, 0.25, 2)]).await.unwrap();
    metrics.record(metric("accuracy", version(1), 0.9)).await.unwrap();
    let series: Vec<f64> = metrics.series(&version(1), "loss").await.unwrap().iter().map(|it| it.value).collect();
    assert_eq!(series, [0.5, 0.25]);
    let summary = metrics.summary(&version(1), "loss").await.unwrap().unwrap();
    assert_eq!((summary.latest, summary.step, summary.min, summary.max, summary.count), (0.25, Some(2), 0.25, 0.5, 2));
    let names: Vec<String> = metrics.of(&version(1)).await.unwrap().iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, ["loss", "accuracy"]);
    let filter = EventFilter::all().event_type("METRIC_RECORDED").key("loss");
    let events = flow.bus().read(Offset::START, &filter, 10).await.unwrap().events;
    assert_eq!(events.len(), 1, "one event for the values of one call");
    let subject = "model_version:wine/wine/1";
    let value = json!({"value": 0.25, "step": 2, "min": 0.25, "max": 0.5, "points": 2, "subject": subject});
    assert_eq!(events[0].value, value);

    let error = metrics.record(loss(2, 0.1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for odd in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let error = metrics.record_all(vec![loss(1, 0.1, 3), loss(1, odd, 4)]).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let too_many = vec![loss(1, 0.1, 3); METRICS_BATCH_MAX + 1];
    assert_eq!(metrics.record_all(too_many).await.unwrap_err().kind(), ErrorKind::Invalid);
    metrics.record_all(Vec::new()).await.unwrap();
    assert_eq!(metrics.summary(&version(1), "loss").await.unwrap().unwrap().count, 2, "all or none");
}

#[tokio::test]
async fn a_long_series_is_read_by_pages_while_it_grows() {
    const CALLS: u32 = 100;
    const EACH: u32 = 40;
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let metrics = flow.metrics();
    let record = async |call: u32| {
        let values = (call * EACH..(call + 1) * EACH).map(|n| metric("loss", version(1), f64::from(n)));
        metrics.record_all(values.collect()).await.unwrap();
    };
    for call in 0..CALLS {
        record(call).await;
    }
    let first = metrics.series_page(&version(1), "loss", None).await.unwrap();
    assert!((1..CALLS * EACH).contains(&u32::try_from(first.items.len()).unwrap()));
    record(CALLS).await;
    let (mut values, mut next) = (first.items, first.next);
    while let Some(after) = next {
        let page = metrics.series_page(&version(1), "loss", Some(after)).await.unwrap();
        values.extend(page.items);
        next = page.next;
    }
    let expected: Vec<f64> = (0..(CALLS + 1) * EACH).map(f64::from).collect();
    assert!(values.iter().map(|point| point.value).eq(expected));
    assert_eq!(metrics.series(&version(1), "loss").await.unwrap(), values);
    let foreign = Some(PageToken("a page".to_owned()));
    let error = metrics.series_page(&version(1), "loss", foreign).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn every_subject_has_its_own_metrics() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    flow.datasets().register(Dataset::new("train", "file:///d").unwrap()).await.unwrap();
    flow.datasets().register_version("train", NewDatasetVersion::new("file:///d/1")).await.unwrap();
    flow.artifacts().register(Artifact::new("train", "file:///r").unwrap()).await.unwrap();
    let execution = JobExecutionId::new(Offset(7), 0);
    let subjects = [
        version(1),
        Subject::dataset("train").unwrap(),
        Subject::dataset_version("train", 1).unwrap(),
        Subject::Artifact("train".parse().unwrap()),
        Subject::Job { workflow: "train".parse().unwrap(), job: "train".parse().unwrap() },
        Subject::WorkflowExecution("7.0".parse().unwrap()),
        Subject::JobExecution(execution),
    ];
    let metrics = flow.metrics();
    for (value, subject) in (0..).zip(&subjects) {
        metrics.record(metric("rows", subject.clone(), f64::from(value))).await.unwrap();
    }
    for (value, subject) in (0..).zip(&subjects) {
        assert_eq!(metrics.latest(subject, "rows").await.unwrap(), Some(f64::from(value)), "{subject:?}");
        assert_eq!(metrics.of(subject).await.unwrap().len(), 1);
    }
    let page = metrics.named("rows", None).await.unwrap();
    assert_eq!(page.items.len(), subjects.len());
    // A new dataset of the name begins without the metrics of the old one.
    flow.datasets().delete("train").await.unwrap();
    flow.datasets().register(Dataset::new("train", "file:///d").unwrap()).await.unwrap();
    assert_eq!(metrics.latest(&subjects[1], "rows").await.unwrap(), None);
}

#[tokio::test]
async fn the_latest_value_is_that_of_the_highest_step_and_the_latest_time() {
    let (flow, _) = timed();
    with_model(&flow).await;
    register(&flow).await;
    let cases: [(Option<u64>, i64, f64, f64); 7] = [
        (None, 5, 1.0, 1.0),
        (None, 4, 2.0, 1.0),
        (None, 5, 3.0, 3.0),
        (Some(3), 0, 4.0, 4.0),
        (Some(2), 9, 5.0, 4.0),
        (None, 9, 6.0, 4.0),
        (Some(3), 1, 7.0, 7.0),
    ];
    for (step, time, value, latest) in cases {
        let new = NewMetric { step, ..metric("loss", version(1), value).time(at(time)) };
        flow.metrics().record(new).await.unwrap();
        assert_eq!(flow.metrics().latest(&version(1), "loss").await.unwrap(), Some(latest));
    }
    let first = flow.metrics().series(&version(1), "loss").await.unwrap()[0];
    assert_eq!(first, MetricPoint { step: None, time: at(5), value: 1.0 });
}

#[tokio::test]
async fn a_version_is_registered_with_what_was_measured_on_it() {
    let flow = aiflow();
    with_model(&flow).await;
    let new = NewModelVersion::new("file:///m").metric("auc", 0.1 + 0.2).metric("loss", 0.5);
    flow.models().register_version("wine", new).await.unwrap();
    assert_eq!(flow.metrics().latest(&version(1), "auc").await.unwrap(), Some(0.1 + 0.2));
    let record = flow.store().query(&Query::kind("metric_summary").name("auc")).await.unwrap().items.pop().unwrap();
    assert_eq!(record.number, Some(0.1 + 0.2));
    assert_eq!(record.parent, "model_version:wine/wine/1");
}

#[tokio::test]
async fn a_purged_metric_leaves_nothing_behind() {
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let values = |from: u32| (from..from + 100).map(|n| metric("loss", version(1), f64::from(n))).collect();
    for from in [0, 100] {
        flow.metrics().record_all(values(from)).await.unwrap();
    }
    flow.metrics().record(metric("auc", version(1), 1.0)).await.unwrap();
    assert_eq!(flow.metrics().purge(&version(1), "loss").await.unwrap(), 200);
    assert_eq!(flow.metrics().purge(&version(1), "loss").await.unwrap(), 0);
    let points = flow.store().query_all(Query::kind("metric_points"), 10).await.unwrap();
    assert!(points.is_empty());
    assert_eq!(flow.metrics().of(&version(1)).await.unwrap().len(), 1);
    flow.metrics().record(metric("loss", version(1), 7.0)).await.unwrap();
    assert_eq!(flow.metrics().series(&version(1), "loss").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_lose_no_value() {
    const WRITERS: u32 = 8;
    const EACH: u32 = 25;
    let flow = aiflow();
    with_model(&flow).await;
    register(&flow).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let metrics = flow.metrics();
        writers.spawn(async move {
            for n in 0..EACH {
                let value = metric("loss", version(1), f64::from(writer * EACH + n));
                metrics.record(value).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let mut values: Vec<f64> =
        flow.metrics().series(&version(1), "loss").await.unwrap().iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..WRITERS * EACH).map(f64::from).collect();
    assert_eq!(values, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However values are cut into calls, series and summary are those of the values.
    #[test]
    fn series_and_summary_do_not_depend_on_how_values_come(
        calls in prop::collection::vec(prop::collection::vec((0_u64..20, -1e6..1e6), 0..80), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (flow, _) = timed();
            with_model(&flow).await;
            register(&flow).await;
            let all: Vec<(u64, f64)> = calls.concat();
            for call in calls {
                let values = call.into_iter().map(|(step, value)| metric("loss", version(1), value).step(step));
                flow.metrics().record_all(values.collect()).await.unwrap();
            }
            let series = flow.metrics().series(&version(1), "loss").await.unwrap();
            let read: Vec<(u64, f64)> = series.iter().map(|point| (point.step.unwrap(), point.value)).collect();
            assert_eq!(read, all);
            let summary = flow.metrics().summary(&version(1), "loss").await.unwrap();
            assert_eq!(summary.is_none(), all.is_empty());
            if let Some(summary) = summary {
                let latest = all.iter().rev().max_by_key(|(step, _)| *step).unwrap();
                let latest = all.iter().rfind(|(step, _)| *step == latest.0).unwrap();
                assert_eq!((summary.step, summary.latest), (Some(latest.0), latest.1));
                assert_eq!(summary.min, all.iter().map(|it| it.1).fold(f64::INFINITY, f64::min));
                assert_eq!(summary.max, all.iter().map(|it| it.1).fold(f64::NEG_INFINITY, f64::max));
                assert_eq!(summary.count, all.len() as u64);
            }
        });
    }
}
