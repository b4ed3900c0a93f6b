//! Bad input: what is refused at the edge, and what is kept as it is.

use aiflow_core::ErrorKind;
use aiflow_core::meta::{
    Artifact, Column, DESCRIPTION_BYTES_MAX, DataType, Dataset, Model, NOTE_VALUE_BYTES_MAX, NOTES_MAX, Notes, Schema,
    URI_BYTES_MAX,
};

use super::{aiflow, log_of, with_model};

const ATTACKS: [&str; 12] = [
    "'; DROP TABLE record; --",
    "\" OR 1=1 --",
    "a' or 'a'='a",
    "x') UNION SELECT body FROM record --",
    "../../etc/passwd",
    "a/b",
    "name~2",
    "model:wine/wine",
    "%27%3B--",
    "a\0b",
    "\u{202e}gpj.exe",
    "* order by created desc",
];

#[tokio::test]
async fn names_that_are_no_names_are_refused_everywhere() {
    let flow = aiflow();
    with_model(&flow).await;
    let models = flow.models();
    for name in ATTACKS.into_iter().chain(["", ".", "-rf", "ä"]) {
        let invalid = |result: aiflow_core::Result<bool>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        };
        invalid(Dataset::new(name, "x").map(|_| true));
        invalid(Model::new(name).map(|_| true));
        invalid(Artifact::new(name, "x").map(|_| true));
        invalid(models.get(name).await.map(|found| found.is_some()));
        invalid(models.delete(name).await.map(|_| true));
        invalid(models.update(name, |_| {}).await.map(|_| true));
        invalid(models.set_alias("wine", name, 1).await.map(|_| true));
        invalid(models.by_alias("wine", name).await.map(|_| true));
        invalid(models.versions(name).await.map(|_| true));
        invalid(flow.metrics().named(name, None).await.map(|_| true));
        assert_eq!(models.get_by_id(name).await.unwrap(), None);
        assert_eq!(models.restore(name).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn texts_are_kept_as_they_are() {
    let flow = aiflow();
    for (n, text) in ATTACKS.into_iter().filter(|text| !text.contains('\0')).enumerate() {
        let name = format!("d{n}");
        let dataset = Dataset::new(&name, text).unwrap().format(text).description(text);
        let dataset = dataset.tag(text, text).property(text, text);
        flow.datasets().register(dataset.clone()).await.unwrap();
        let read = flow.datasets().get(&name).await.unwrap().unwrap();
        assert_eq!(read.content, dataset);
        assert_eq!(log_of(&flow).await.last().unwrap().value["uri"], text);
    }
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_with_the_reason() {
    let flow = aiflow();
    let long = |bytes: usize| "x".repeat(bytes);
    let data = || Dataset::new("train", "file:///a").unwrap();
    let many = (0..=NOTES_MAX).fold(data(), |data, n| data.tag(n.to_string(), ""));
    let twice = Schema(vec![
        Column { name: "a".into(), data_type: DataType::Bool },
        Column { name: "a".into(), data_type: DataType::Bool },
    ]);
    let bad = [
        (Dataset::new("train", "").unwrap(), "uri is missing"),
        (Dataset::new("train", long(URI_BYTES_MAX + 1)).unwrap(), "uri has 4097 bytes"),
        (Dataset::new("train", "file:///a\nb").unwrap(), "control character at byte 9"),
        (Dataset::new("train", "a\0b").unwrap(), "control character at byte 1"),
        (data().description(long(DESCRIPTION_BYTES_MAX + 1)), "description has 65537 bytes"),
        (data().tag("", "x"), "name of a tag"),
        (data().tag("a\nb", "x"), "name of a tag"),
        (data().tag(long(257), "x"), "name of a tag"),
        (data().tag("a", long(NOTE_VALUE_BYTES_MAX + 1)), "the tag \"a\" has 4097 bytes"),
        (data().property("a", f64::NAN), "must be finite"),
        (data().property("a", long(NOTE_VALUE_BYTES_MAX + 1)), "the property \"a\" has 4097 bytes"),
        (many, "257 tags"),
        (data().schema(twice), "names that differ"),
        (data().schema(Schema::new().column("", DataType::Bool)), "names that differ"),
    ];
    for (dataset, reason) in bad {
        let error = flow.datasets().register(dataset).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(reason), "{error}");
    }
    let four = Dataset::new("train", "").unwrap().format(long(URI_BYTES_MAX + 1)).tag("", "x").property("a", f64::NAN);
    let error = flow.datasets().register(four).await.unwrap_err().to_string();
    for problem in ["format has 4097 bytes", "uri is missing", "name of a tag", "must be finite"] {
        assert!(error.contains(problem), "{error}");
    }
    let columns = (0..100).fold(Schema::new(), |schema, _| schema.column("a", DataType::Bool));
    let error = flow.datasets().register(data().schema(columns)).await.unwrap_err().to_string();
    assert!(error.ends_with("and 79 more") && error.len() < 2_000, "{error}");
    flow.datasets().register(data()).await.unwrap();
    let error = flow.datasets().update("train", |data| data.uri = String::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let datasets = flow.datasets();
    let error = datasets.update("train", |data| {
        data.notes = Notes { description: long(DESCRIPTION_BYTES_MAX + 1), ..Notes::default() }
    });
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(log_of(&flow).await.len(), 1);
}
