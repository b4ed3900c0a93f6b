//! Query plans: is every question about the log and the records answered by an index?

use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::search::Search;
use aiflow_core::store::{PageToken, QUERY_PARENTS_MAX, Query, RecordKey, RelationQuery};
use sqlx::Row;

use crate::connect::{self, Conn};
use crate::options::SqliteOptions;
use crate::sql::{self, Args, Bulk};
use crate::{query, schema, search};

async fn empty_store() -> (tempfile::TempDir, Conn) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    connect::prepare_path(&path).unwrap();
    let options = SqliteOptions::default();
    let mut conn = connect::writer(&path, &options).await.unwrap();
    schema::migrate(&mut conn).await.unwrap();
    (folder, conn)
}

async fn plan(conn: &mut Conn, sql: &str) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let rows = conn.rows(explain, Args::default()).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

/// Fails if the statement walks through a whole table of ours, or sorts more than one page.
async fn assert_indexed(conn: &mut Conn, sql: &str) {
    let plan = plan(conn, sql).await;
    for table in ["event", "record", "relation", "r", "lease"] {
        let walks = plan.iter().any(|step| {
            let mut words = step.split(' ');
            words.next() == Some("SCAN") && words.next() == Some(table)
        });
        assert!(!walks, "{sql}\n{plan:#?}");
    }
    assert!(!plan.is_empty(), "{sql}");
}

fn every_query() -> Vec<Query> {
    let mut queries = Vec::new();
    for bits in 0_u32..32 {
        let mut query = Query::kind("job_execution");
        if bits & 1 != 0 {
            query = query.project("wine");
        }
        if bits & 2 != 0 {
            query = query.parent("1.0");
        }
        if bits & 4 != 0 {
            query = query.name("train");
        }
        if bits & 8 != 0 {
            query = query.states(["RUNNING", "QUEUED"]);
        }
        if bits & 16 != 0 {
            query = query.newest_first();
        }
        if bits & 2 != 0 {
            queries.push(query.clone().parents((0..QUERY_PARENTS_MAX).map(|n| format!("{n}.0"))));
        }
        queries.push(query.clone().after(Some(PageToken("7".to_owned()))));
        queries.push(query);
    }
    queries
}

#[tokio::test]
async fn every_query_for_records_uses_an_index() {
    let (_folder, mut conn) = empty_store().await;
    for query in every_query() {
        let statement = query::records(&query).unwrap();
        assert_indexed(&mut conn, &statement.sql).await;
        let inner = statement.sql.contains("INDEXED BY record_");
        assert!(inner, "{}", statement.sql);
    }
}

#[tokio::test]
async fn a_page_of_one_state_is_not_sorted() {
    let (_folder, mut conn) = empty_store().await;
    let one = Query::kind("job_execution").states(["RUNNING"]);
    let inner =
        "SELECT seq FROM record INDEXED BY record_state WHERE kind=?1 AND seq>?3 AND state=?4 ORDER BY seq LIMIT ?2";
    let statement = query::records(&one).unwrap();
    assert!(statement.sql.contains("record_state"));
    let steps = plan(&mut conn, inner).await;
    assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:#?}");
}

#[tokio::test]
async fn reads_of_the_log_use_its_order() {
    let (_folder, mut conn) = empty_store().await;
    for filter in [EventFilter::all(), EventFilter::all().namespace("wine").key("model.*")] {
        let statement = query::events(Offset(9), &filter, 100);
        assert_indexed(&mut conn, &statement.sql).await;
        let steps = plan(&mut conn, &statement.sql).await;
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:#?}");
    }
}

#[tokio::test]
async fn every_query_for_relations_uses_an_index() {
    let (_folder, mut conn) = empty_store().await;
    let keys = |n: u32| (0..n).map(|i| RecordKey::new("job_execution", format!("{i}.0"))).collect();
    for (bits, n) in (1_u32..8).flat_map(|bits| [(bits, 1), (bits, 100)]) {
        let query = RelationQuery {
            kind: (bits & 1 != 0).then(|| "read".to_owned()),
            from: keys(if bits & 2 != 0 { n } else { 0 }),
            to: keys(if bits & 4 != 0 { n } else { 0 }),
            ..RelationQuery::default()
        };
        let statement = query::relations(&query).unwrap();
        assert_indexed(&mut conn, &statement.sql).await;
        let next = RelationQuery { after: Some(PageToken("[\"a\",\"b\",\"c\",\"d\",\"e\"]".to_owned())), ..query };
        let statement = query::relations(&next).unwrap();
        assert_indexed(&mut conn, &statement.sql).await;
    }
}

#[tokio::test]
async fn a_search_in_the_order_of_age_walks_an_index() {
    let (_folder, mut conn) = empty_store().await;
    for text in ["metrics.auc > 0.9 order by created desc", "params.layers = 3 order by created", "name = 'a'"] {
        let search = Search::parse("job_execution", text).unwrap().project("wine");
        let statement = search::page(&search).unwrap();
        let steps = plan(&mut conn, &statement.sql).await;
        let walks = |step: &&String| step.contains("INDEX record_created (kind=? AND project=?)");
        assert_eq!(steps.iter().filter(walks).count(), 1, "{steps:#?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY")), "{steps:#?}");
    }
}

#[tokio::test]
async fn a_search_by_a_metric_uses_the_index_of_its_values() {
    let (_folder, mut conn) = empty_store().await;
    for text in ["metrics.auc > 0.9 order by metrics.auc desc", "metrics.auc > 0.9 and metrics.loss < 1 and name = 'a'"]
    {
        let statement = search::page(&Search::parse("job_execution", text).unwrap()).unwrap();
        assert_indexed(&mut conn, &statement.sql).await;
        let steps = plan(&mut conn, &statement.sql).await;
        assert!(steps.iter().any(|step| step.contains("COVERING INDEX record_number")), "{steps:#?}");
    }
}

#[tokio::test]
async fn a_search_in_the_order_of_a_metric_that_all_have_reads_no_more_than_a_page() {
    let (_folder, mut conn) = empty_store().await;
    let search = Search::parse("job_execution", "name = 'a' and metrics.auc > 0.9 order by metrics.auc desc").unwrap();
    let statement = search::page(&search).unwrap();
    let steps = plan(&mut conn, &statement.sql).await;
    // Only values that are equal are put in order, and the page itself.
    let found = steps.iter().take_while(|step| !step.contains("SCAN p"));
    assert!(found.clone().any(|step| step.contains("COVERING INDEX record_number")), "{steps:#?}");
    assert!(!found.clone().any(|step| step.contains("TEMP B-TREE FOR ORDER BY")), "{steps:#?}");
}

#[tokio::test]
async fn every_statement_over_rows_uses_an_index() {
    let (_folder, mut conn) = empty_store().await;
    let all = [
        Bulk::InsertPlainEvents,
        Bulk::InsertEvents,
        Bulk::AppendPlainEvents,
        Bulk::AppendEvents,
        Bulk::FindEvents,
        Bulk::GetRecords,
        Bulk::FindRecords,
        Bulk::InsertRecords,
        Bulk::UpdateRecords,
        Bulk::MoveRecords,
        Bulk::DeleteRecords,
        Bulk::InsertRelations,
        Bulk::DeleteRelations,
    ];
    for bulk in all {
        for rows in [1, 64] {
            assert_indexed(&mut conn, &sql::text(bulk, rows)).await;
        }
    }
}
