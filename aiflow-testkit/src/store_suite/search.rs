//! Searches: does every store find the same, in the same order, whatever is asked?

use aiflow_core::json::Json;
use aiflow_core::search::{
    self, Field, Filter, KIND_ANNOTATION, KIND_METRIC_SUMMARY, Literal, Near, Op, OrderKey, Search,
};
use aiflow_core::store::{Batch, MetaStore, Record, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use serde_json::{Value, json};

use super::{AT, commit};
use crate::StoreFixture;
use crate::rng::Rng;

/// More pages than any case of this file reads.
const PAGES_MAX: usize = 1_000;

fn record(kind: &str, id: &str, body: Value) -> RecordPut {
    RecordPut::new(RecordKey::new(kind, id), Json::of(&body))
}

/// Runs with tags, parameters and metrics, a model with versions, and how they hang together.
async fn fill(store: &dyn MetaStore) {
    let bodies = [
        ("1.0", "a", "SUCCEEDED", json!({"params": {"rate": 0.1, "on": true}, "started_at": 1_772_323_200_000_i64})),
        ("2.0", "b", "FAILED", json!({"params": {"rate": 1, "on": false}, "note": "it's 100% [odd] *"})),
        ("3.0", "a", "SUCCEEDED", json!({"params": {"rate": "0.1"}, "note": null})),
        ("4.0", "ünï", "RUNNING", json!({"params": {"rate": 9_007_199_254_740_993_i64}, "list": [1], "map": {"a": 1}})),
        ("5.0", "", "", json!({"params": {"rate": -2.5e3, "deep": {"er": "x"}}, "note": "ITS"})),
    ];
    for (i, (id, name, state, body)) in bodies.into_iter().enumerate() {
        let at = AT + std::time::Duration::from_millis(u64::try_from(i / 2).unwrap_or(0));
        let put = record("job_execution", id, body);
        let (project, parent) = (if i == 4 { "q" } else { "p" }.to_owned(), format!("{}.9", i % 2));
        let put = RecordPut { name: name.to_owned(), state: state.to_owned(), project, parent, ..put };
        commit(store, Batch::at(at).put(put)).await;
    }
    let metric = |subject: &str, name: &str, number: f64| RecordPut {
        parent: subject.to_owned(),
        name: name.to_owned(),
        number: Some(number),
        ..record(KIND_METRIC_SUMMARY, &format!("{subject}/{name}"), json!({}))
    };
    let note = |of: &str, tags: Value| record(KIND_ANNOTATION, of, json!({"tags": tags}));
    let child = |id: &str, state: &str| RecordPut {
        parent: "p/wine".to_owned(),
        state: state.to_owned(),
        ..record("model_version", id, json!({}))
    };
    let run = |id: &str| RecordKey::new("job_execution", id);
    let mut batch = Batch::at(AT)
        .put(record("workflow_execution", "1.9", json!({"labels": {"owner": "ada"}})))
        .put(record("model", "p/wine", json!({"tags": {"team": "ads"}})))
        .put(record("model", "p/beer", json!({"tags": {"team": 7}})))
        .put(child("p/wine/1", "DEPRECATED"))
        .put(child("p/wine/2", "DEPLOYED"))
        .put(note("job_execution:1.0", json!({"team": "ads"})))
        .put(note("job_execution:2.0", json!({"team": "null"})))
        .relate("produced", run("1.0"), RecordKey::new("model_version", "p/wine/1"))
        .relate("produced", run("3.0"), RecordKey::new("model_version", "p/wine/2"))
        .relate("read", run("3.0"), RecordKey::new("model_version", "p/wine/1"));
    for (id, auc) in [("1.0", 0.9), ("2.0", 0.95), ("4.0", 0.5)] {
        batch = batch.put(metric(&format!("job_execution:{id}"), "auc", auc));
    }
    // Of another kind with the same id.
    batch = batch.put(metric("workflow_execution:3.0", "auc", 0.99)).put(metric("model_version:p/wine/2", "auc", 0.7));
    commit(store, batch).await;
}

async fn ids(store: &dyn MetaStore, search: Search) -> Vec<String> {
    all(store, search).await.into_iter().map(|record| record.key.id).collect()
}

async fn all(store: &dyn MetaStore, mut search: Search) -> Vec<Record> {
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = store.search(&search).await.unwrap();
        assert!(page.items.len() <= search.page_rows());
        found.extend(page.items);
        match page.next {
            Some(token) => search.after = Some(token),
            None => return found,
        }
    }
    panic!("pages without end");
}

/// A search finds what its language says.
pub async fn a_search_finds_what_its_language_says(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    fill(store).await;
    for (kind, text, expected) in [
        ("job_execution", "", vec!["5.0", "4.0", "3.0", "2.0", "1.0"]),
        ("job_execution", "order by created", vec!["1.0", "2.0", "3.0", "4.0", "5.0"]),
        ("job_execution", "name = 'a' order by created", vec!["1.0", "3.0"]),
        ("job_execution", "name = 'a' and state = 'SUCCEEDED' and not id = '1.0'", vec!["3.0"]),
        ("job_execution", "status in ('FAILED', 'RUNNING') order by id", vec!["2.0", "4.0"]),
        ("job_execution", "status not in ('FAILED', 'RUNNING') order by id", vec!["1.0", "3.0", "5.0"]),
        ("job_execution", "project = 'q' or name like '_n_' order by id", vec!["4.0", "5.0"]),
        // Numbers are numbers and texts are texts.
        ("job_execution", "params.rate = 0.1", vec!["1.0"]),
        ("job_execution", "params.rate = '0.1'", vec!["3.0"]),
        ("job_execution", "params.rate > 0.1 order by params.rate", vec!["2.0", "4.0"]),
        ("job_execution", "params.rate = 9007199254740993", vec!["4.0"]),
        ("job_execution", "params.rate != 1 order by params.rate", vec!["5.0", "1.0", "4.0"]),
        ("job_execution", "not params.rate = 1 order by id", vec!["1.0", "3.0", "4.0", "5.0"]),
        ("job_execution", "params.rate in (1, '0.1') order by id", vec!["2.0", "3.0"]),
        ("job_execution", "params.rate not in (1, '0.1') order by id", vec!["1.0", "4.0", "5.0"]),
        ("job_execution", "params.on = true", vec!["1.0"]),
        ("job_execution", "params.on != true", vec!["2.0"]),
        ("job_execution", "params.on = 1", vec![]),
        ("job_execution", "params.deep.er = 'x'", vec!["5.0"]),
        ("job_execution", "exists params.on order by id", vec!["1.0", "2.0"]),
        ("job_execution", "exists note order by id", vec!["2.0", "5.0"]),
        ("job_execution", "not exists note order by id", vec!["1.0", "3.0", "4.0"]),
        ("job_execution", "list = '[1]' or map = '{\"a\":1}'", vec![]),
        ("job_execution", "note like '%100\u{25} [odd]%'", vec!["2.0"]),
        ("job_execution", "note = 'it''s 100% [odd] *'", vec!["2.0"]),
        ("job_execution", "note like 'it_s%'", vec!["2.0"]),
        ("job_execution", "note not like '%odd%'", vec!["5.0"]),
        ("job_execution", "started_at = '2026-03-01'", vec!["1.0"]),
        ("job_execution", "created > '2023-01-01' and created < '2099-01-01T00:00:00Z' and id = '1.0'", vec!["1.0"]),
        ("job_execution", "revision = 1 and id = '1.0'", vec!["1.0"]),
        ("job_execution", "revision = 'one'", vec![]),
        // Metrics, and tags of what the scheduler keeps.
        ("job_execution", "metrics.auc >= 0.9 order by metrics.auc desc", vec!["2.0", "1.0"]),
        ("job_execution", "metrics.auc = 'high'", vec![]),
        ("job_execution", "not metrics.auc > 0.9 order by id", vec!["1.0", "3.0", "4.0", "5.0"]),
        ("job_execution", "exists metrics.auc order by metrics.auc", vec!["4.0", "1.0", "2.0"]),
        ("job_execution", "tags.team = 'ads'", vec!["1.0"]),
        ("job_execution", "tags.team = 'null'", vec!["2.0"]),
        ("job_execution", "exists tags.team order by id", vec!["1.0", "2.0"]),
        ("model", "tags.team = 'ads'", vec!["p/wine"]),
        // What is missing comes last in either direction, numbers before texts, equal ones by their age.
        ("job_execution", "order by params.rate", vec!["5.0", "1.0", "2.0", "4.0", "3.0"]),
        ("job_execution", "order by params.rate desc", vec!["3.0", "4.0", "2.0", "1.0", "5.0"]),
        ("job_execution", "order by metrics.auc", vec!["4.0", "1.0", "2.0", "3.0", "5.0"]),
        ("job_execution", "order by metrics.auc desc", vec!["2.0", "1.0", "4.0", "5.0", "3.0"]),
        ("job_execution", "order by name, params.rate desc", vec!["5.0", "3.0", "1.0", "2.0", "4.0"]),
        // What is near.
        ("model", "has model_version(state = 'DEPLOYED')", vec!["p/wine"]),
        ("model", "not has model_version()", vec!["p/beer"]),
        ("model_version", "of model(tags.team = 'ads') order by id", vec!["p/wine/1", "p/wine/2"]),
        ("model_version", "of model(tags.team = 7)", vec![]),
        ("job_execution", "of workflow_execution(labels.owner = 'ada') order by id", vec!["2.0", "4.0"]),
        ("job_execution", "produced model_version(metrics.auc > 0.6)", vec!["3.0"]),
        ("model_version", "produced by job_execution(name = 'a' and metrics.auc = 0.9)", vec!["p/wine/1"]),
        ("model_version", "read by job_execution(produced model_version(state = 'DEPLOYED'))", vec!["p/wine/1"]),
        // Texts stay texts.
        ("job_execution", "name = ''' or 1=1 --'", vec![]),
        ("job_execution", "params.\"rate') or 1=1 --\" = 1", vec![]),
        ("nothing", "", vec![]),
    ] {
        for limit in [1, 2, 100] {
            let search = Search::parse(kind, text).unwrap().limit(limit);
            assert_eq!(ids(store, search).await, expected, "{kind}: {text}, {limit} a page");
        }
    }
    let search = Search::parse("job_execution", "").unwrap().project("q");
    assert_eq!(ids(store, search).await, ["5.0"]);
    backend.store.close().await.unwrap();
}

/// A token of something else is refused.
pub async fn a_token_of_another_search_is_refused(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    fill(store).await;
    let page = store.search(&Search::parse("job_execution", "order by name, id").unwrap().limit(1)).await.unwrap();
    assert!(page.next.is_some());
    for token in [page.next.unwrap(), aiflow_core::store::PageToken("x".to_owned())] {
        let error = store.search(&Search::kind("job_execution").after(Some(token))).await.unwrap_err();
        assert_eq!(error.kind(), aiflow_core::ErrorKind::Invalid);
    }
    backend.store.close().await.unwrap();
}

/// Any search gives what a look at every record gives, in the same order.
pub async fn a_search_agrees_with_a_look_at_every_record(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    fill(store).await;
    let mut rng = Rng::new(7);
    let mut n_found = 0;
    for n in 0..400 {
        let kind = pick(&mut rng, &["job_execution", "model_version", "model"]);
        let mut search = Search::kind(kind).limit(1 + usize::try_from(rng.below(4)).unwrap_or(0));
        search.filter = rng.chance(90).then(|| filter(&mut rng, 0));
        let keys = 1 + rng.below(2);
        search.order = (0..keys).map(|_| OrderKey { field: field(&mut rng), descending: rng.chance(50) }).collect();
        if rng.chance(20) {
            by_a_metric_that_all_have(&mut rng, &mut search);
        }
        let found = all(store, search.clone()).await;
        let whole = Search { limit: 1_000, ..search.clone() };
        let expected = search::scan(&**store, &whole).await.unwrap().items;
        assert_eq!(found, expected, "search {n}: {search:?}");
        n_found += found.len();
    }
    assert!(n_found > 300, "the searches find something");
    backend.store.close().await.unwrap();
}

/// Stores may find these without looking at every record.
fn by_a_metric_that_all_have(rng: &mut Rng, search: &mut Search) {
    let metric = || Field::Metric("auc".to_owned());
    search.order.insert(0, OrderKey { field: metric(), descending: rng.chance(50) });
    let with = serde_json::from_value(json!(pick(rng, &[0.1, 0.9, 0.5, 0.0]))).unwrap();
    let has = Filter::Compare(metric(), pick(rng, &[Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]), with);
    let mut tests: Vec<Filter> = search.filter.take().filter(|_| rng.chance(50)).into_iter().collect();
    tests.insert(usize::from(!tests.is_empty() && rng.chance(50)), has);
    search.filter = Some(Filter::All(tests));
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[usize::try_from(rng.below(u64::try_from(of.len()).unwrap())).unwrap()]
}

fn field(rng: &mut Rng) -> Field {
    let body = |path: &[&str]| Field::Body(path.iter().map(|name| (*name).to_owned()).collect());
    match rng.below(14) {
        0 => Field::Name,
        1 => Field::Id,
        2 => Field::Project,
        3 => Field::Parent,
        4 => Field::State,
        5 => Field::Revision,
        6 => Field::Created,
        7 => Field::Updated,
        8 | 9 => Field::Metric("auc".to_owned()),
        10 => body(&["params", "rate"]),
        11 => body(&["params", "on"]),
        12 => body(&["tags", "team"]),
        _ => body(&[pick(rng, &["note", "list", "map", "started_at", "absent"])]),
    }
}

fn literal(rng: &mut Rng) -> Literal {
    let texts = ["a", "b", "ads", "", "SUCCEEDED", "0.1", "null", "p", "1.9"];
    match rng.below(8) {
        0 => Literal::Bool(rng.chance(50)),
        1..4 => Literal::Text(pick(rng, &texts).to_owned()),
        4 => Literal::Number(AT.as_millis().into()),
        5 => Literal::Number(1.into()),
        _ => serde_json::from_value(json!(pick(rng, &[0.1, 0.9, 0.5, -2.5e3, 1.0]))).unwrap(),
    }
}

fn filter(rng: &mut Rng, depth: u32) -> Filter {
    let several = |rng: &mut Rng| (0..rng.below(3)).map(|_| filter(rng, depth + 1)).collect();
    match rng.below(if depth < 3 { 16 } else { 9 }) {
        0..6 => {
            let op = pick(rng, &[Op::Eq, Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]);
            Filter::Compare(field(rng), op, literal(rng))
        }
        6 => Filter::In(field(rng), vec![literal(rng), literal(rng)], rng.chance(50)),
        7 => Filter::Like(field(rng), pick(rng, &["%a%", "_", "%", "S%", "it's%"]).to_owned(), rng.chance(50)),
        8 => Filter::Exists(field(rng)),
        9..11 => Filter::All(several(rng)),
        11..13 => Filter::Any(several(rng)),
        13..15 => Filter::Not(Box::new(filter(rng, depth + 1))),
        _ => {
            let relation = || "produced".to_owned();
            let (near, kind) = match rng.below(4) {
                0 => (Near::Child, "model_version"),
                1 => (Near::Parent, pick(rng, &["model", "workflow_execution"])),
                2 => (Near::To(relation()), "model_version"),
                _ => (Near::From(relation()), "job_execution"),
            };
            let inner = rng.chance(70).then(|| Box::new(filter(rng, depth + 1)));
            Filter::Near(near, kind.to_owned(), inner)
        }
    }
}

/// However many records there are, pages in the order of age hold each match once, also where the clocks of the writers differ a little, or
/// once by much.
pub async fn a_search_by_age_pages_through_many_records(fixture: &dyn StoreFixture) {
    const RECORDS: i64 = 600;
    let backend = fixture.open().await;
    let store = &backend.store;
    let mut rng = Rng::new(11);
    for skew in [0, 7, 100_000] {
        for n in 0..RECORDS {
            let behind = i64::try_from(rng.below(skew + 1)).unwrap_or(0);
            let put = RecordPut {
                name: pick(&mut rng, &["a", "b"]).to_owned(),
                state: pick(&mut rng, &["SUCCEEDED", "FAILED", "RUNNING"]).to_owned(),
                ..record("thing", &format!("{skew}.{n}"), json!({ "n": n % 10 }))
            };
            let at = AT + std::time::Duration::from_millis(u64::try_from(n * 2).unwrap_or(0) + 1_000_000);
            commit(store, Batch::at(Timestamp::from_millis(at.as_millis() - behind)).put(put)).await;
        }
        for text in ["", "name = 'a'", "state in ('FAILED', 'RUNNING') and n > 7", "name = 'b' and state = 'FAILED'"] {
            for order in ["order by created", "order by created desc, name", "order by created desc"] {
                let search = Search::parse("thing", &format!("{text} {order}")).unwrap().limit(50);
                let found = all(store, search.clone()).await;
                let mut expected = Vec::new();
                let mut whole = Search { limit: 1_000, ..search };
                loop {
                    let page = search::scan(&**store, &whole).await.unwrap();
                    expected.extend(page.items);
                    whole.after = page.next;
                    if whole.after.is_none() {
                        break;
                    }
                }
                assert!(found.len() > 50 && found == expected, "{text} {order}, clocks {skew} ms apart");
            }
        }
    }
    backend.store.close().await.unwrap();
}

/// Times of creation differ from the order of writing where clocks differ.
pub async fn a_search_orders_by_the_time_of_creation(fixture: &dyn StoreFixture) {
    let backend = fixture.open().await;
    let store = &backend.store;
    for (id, at) in [("a", 30), ("b", 10), ("c", 20), ("d", 10)] {
        commit(store, Batch::at(Timestamp::from_millis(at)).put(record("thing", id, json!({})))).await;
    }
    assert_eq!(ids(store, Search::kind("thing").limit(1)).await, ["a", "c", "d", "b"]);
    assert_eq!(ids(store, Search::parse("thing", "order by created").unwrap()).await, ["b", "d", "c", "a"]);
    backend.store.close().await.unwrap();
}
