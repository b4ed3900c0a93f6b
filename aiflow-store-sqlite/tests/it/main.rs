//! Tests of the SQLite backend through its public interface, and of its file through SQL.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
mod damage;
mod groups;
mod lineage;
mod meta;
mod opening;
mod processes;
mod readers;
mod space;
mod transfer;
mod upgrades;
mod views;

use std::path::Path;

use aiflow_core::bus::EventBus;
use aiflow_core::event::{EventFilter, NewEvent};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
}

fn event(id: impl Into<String>) -> NewEvent {
    NewEvent::identified(id, "wine", "samples")
}

/// A connection of somebody else to the file, such as the sqlite3 shell.
async fn shell(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn run(conn: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap();
}

async fn text(conn: &mut SqliteConnection, sql: &str) -> String {
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(conn).await;
    row.unwrap().get_unchecked(0)
}

async fn assert_intact(path: &Path) {
    let mut conn = shell(path).await;
    assert_eq!(text(&mut conn, "PRAGMA integrity_check").await, "ok");
}

/// The ids of all events, in their order.
async fn ids(store: &SqliteStore) -> Vec<String> {
    let mut after = store.head().await.unwrap().trimmed;
    let mut ids = Vec::new();
    loop {
        let page = store.read(after, &EventFilter::all(), 1_000).await.unwrap();
        if page.events.is_empty() {
            return ids;
        }
        after = page.covered;
        ids.extend(page.events.into_iter().map(|event| event.id.clone()));
    }
}
