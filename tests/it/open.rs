//! Opening by URL.

use std::fs;
use std::path::Path;

use aiflow::ErrorKind;

#[tokio::test]
async fn a_scheme_without_backend_names_those_that_exist() {
    let error = aiflow::open("mongodb://localhost").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("known are: memory, sqlite, redis, rediss"), "{error}");
}

#[tokio::test]
async fn hostile_urls_are_refused() {
    for url in [
        "",
        ":",
        "://",
        "sqlite",
        "sqlite:",
        "sqlite://",
        "\0",
        "sqlite://a?b=c",
        "sqlite://\0",
        "redis:",
        "redis://",
        "redis://h?b=c",
    ] {
        assert!(aiflow::open(url).await.is_err(), "{url:?}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    // Not even the superuser makes folders or files there.
    for place in [Path::new("/proc/nonexistent"), &file, &file.join("in")] {
        let error = aiflow::open(&format!("sqlite://{}/aiflow.db", place.display())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(&place.display().to_string()), "{error}");
        assert!(!place.join("aiflow.db").exists());
    }
    assert!(!Path::new("/proc/nonexistent").exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}
