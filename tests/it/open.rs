//! Opening by URL.

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
    let error = aiflow::open("sqlite:///proc/nonexistent/aiflow.db").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::NotFound), "{error:?}");
}
