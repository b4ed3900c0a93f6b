//! A file that was damaged: is that said, and is the rest of it left as it is?

use std::fs;
use std::path::{Path, PathBuf};

use aiflow_core::bus::EventBus;
use aiflow_core::event::EventFilter;
use aiflow_core::id::Offset;
use aiflow_core::store::MetaStore;
use aiflow_core::{Error, ErrorKind};
use aiflow_store_sqlite::{SqliteOptions, SqliteStore};
use tempfile::{TempDir, tempdir};

use super::{event, open};

const PAGE_BYTES: usize = 4096;
const EVENTS: usize = 1_000;
/// Stands in the value of one event, in the middle of the file.
const MARK: &[u8] = b"the mark in the middle";

/// A closed file of a few hundred pages.
async fn make() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = open(&path).await;
    let value = |n| if n == EVENTS / 2 { String::from_utf8_lossy(MARK).into_owned() } else { "v".repeat(1_000) };
    store.publish((0..EVENTS).map(|n| event(n.to_string()).value(value(n))).collect()).await.unwrap();
    store.close().await.unwrap();
    (folder, path)
}

/// Overwrites a part of the file and returns all of it.
fn damage(path: &Path, from: usize, to: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..to].fill(0xff);
    fs::write(path, &bytes).unwrap();
    bytes
}

/// Reads page by page until there is nothing more.
async fn read_all(store: &SqliteStore) -> Result<Vec<String>, Error> {
    let (mut after, mut ids) = (Offset::START, Vec::new());
    loop {
        let page = store.read(after, &EventFilter::all(), 100).await?;
        if page.events.is_empty() {
            return Ok(ids);
        }
        after = page.covered;
        ids.extend(page.events.iter().map(|event| event.id.clone()));
    }
}

#[tokio::test]
async fn a_damaged_page_is_an_error_where_it_is_read_and_nothing_else_is_changed() {
    let (_folder, path) = make().await;
    let bytes = fs::read(&path).unwrap();
    let mark = bytes.windows(MARK.len()).position(|bytes| bytes == MARK).unwrap();
    let page = mark / PAGE_BYTES * PAGE_BYTES;
    assert!((bytes.len() / 4..bytes.len() * 3 / 4).contains(&page), "{page} of {}", bytes.len());
    let damaged = damage(&path, page, page + PAGE_BYTES);

    let store = open(&path).await;
    for _ in 0..2 {
        let error = read_all(&store).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let before = store.read(Offset::START, &EventFilter::all(), 100).await.unwrap();
    assert_eq!(before.events.len(), 100, "what lies on other pages is read");
    store.close().await.unwrap();
    assert!(fs::read(&path).unwrap() == damaged);
}

#[tokio::test]
async fn a_file_whose_schema_is_damaged_is_refused_and_left_as_it_is() {
    let (_folder, path) = make().await;
    // The first 100 bytes of the first page say that it is one of ours.
    let damaged = damage(&path, 100, PAGE_BYTES);
    let error = SqliteStore::open(&path, SqliteOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(fs::read(&path).unwrap() == damaged);
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_an_error_and_is_left_as_it_is() {
    let (_folder, path) = make().await;
    let bytes = fs::read(&path).unwrap();
    let cut = &bytes[..bytes.len() / 2 / PAGE_BYTES * PAGE_BYTES];
    fs::write(&path, cut).unwrap();
    let error = match SqliteStore::open(&path, SqliteOptions::default()).await {
        Ok(store) => {
            let error = read_all(&store).await.unwrap_err();
            store.close().await.unwrap();
            error
        }
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(fs::read(&path).unwrap() == cut);
}
