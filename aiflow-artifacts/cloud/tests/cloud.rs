//! Stores in clouds: does each keep every promise of an artifact store, and what is said when it cannot be reached?

use std::sync::atomic::{AtomicU32, Ordering};

use aiflow_artifacts::ObjectArtifacts;
use aiflow_core::ErrorKind;
use aiflow_core::artifact_store::ArtifactStore as _;

const BUCKET: &str = "aiflow-test";
const ENDPOINT: &str = "AIFLOW_TEST_S3_ENDPOINT";

/// A store of its own for each case, on the server that the environment names: by URL, as applications open it.
#[cfg(feature = "s3")]
fn s3() -> ObjectArtifacts {
    static CASE: AtomicU32 = AtomicU32::new(0);
    for name in ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
        assert!(std::env::var_os(name).is_some(), "set {name}, and {ENDPOINT} for this test");
    }
    let case = CASE.fetch_add(1, Ordering::Relaxed);
    ObjectArtifacts::open(&format!("s3://{BUCKET}/{}/case-{case}", std::process::id())).unwrap()
}

#[cfg(feature = "s3")]
mod suite_on_s3 {
    aiflow_testkit::artifact_store_suite!(super::s3());
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn places_are_said_as_urls_and_found_by_another_handle() {
    let store = s3();
    let stored = store.put("models/wine", b"abc".to_vec()).await.unwrap();
    let (folder, file) = stored.uri.split_at(stored.uri.len() - "/models/wine".len());
    assert!(folder.starts_with("s3://aiflow-test/") && file == "/models/wine", "{}", stored.uri);
    let other = ObjectArtifacts::open(folder).unwrap();
    assert_eq!(other.get("models/wine").await.unwrap().unwrap().bytes, b"abc");
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_and_no_empty_store() {
    let store = ObjectArtifacts::open("s3://aiflow-no-such-bucket").unwrap();
    let error = store.put("a", b"x".to_vec()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid), "{error}");
}

/// Without a server, a URL is opened or refused with what is missing.
#[test]
fn urls_of_every_cloud_are_known() {
    for (is_known, url) in [
        (cfg!(feature = "s3"), "s3://bucket/prefix"),
        (cfg!(feature = "gcs"), "gs://bucket/prefix"),
        (cfg!(feature = "azure"), "az://container/prefix"),
    ] {
        if let Err(error) = ObjectArtifacts::open(url) {
            // A platform may ask for credentials right away; the scheme is known all the same.
            assert_eq!(is_known, !error.to_string().contains("this build knows no artifact store"), "{error}");
        } else {
            assert!(is_known, "{url}");
        }
    }
}
