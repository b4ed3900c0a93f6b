//! Conformance of file stores: does an [`ArtifactStore`] keep every sentence of its contract?
//!
//! Run all cases with [`artifact_store_suite!`](crate::artifact_store_suite). A fixture is whatever gives a store on data of its own: the cases
//! take the store itself.

use aiflow_core::ErrorKind;
use aiflow_core::artifact_store::{ArtifactStore, OBJECT_PATH_BYTES_MAX, StoredObject};

/// One test per promise of [`ArtifactStore`]: say how an empty store is opened, and do it in a module of its own.
#[macro_export]
macro_rules! artifact_store_suite {
    ($store:expr) => {
        $crate::conformance_tests!($store, artifact_suite:
            bytes_read_back_as_put,
            a_put_replaces_what_was_there,
            what_is_missing_is_none,
            what_was_deleted_is_gone,
            paths_lead_nowhere_else,
            a_reader_sees_one_put_whole,
            empty_and_large_objects_are_kept,
        );
    };
}

/// `get` gives the bytes as they were put, with their digest, size and place.
pub async fn bytes_read_back_as_put(store: &dyn ArtifactStore) {
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let stored = store.put("models/wine/7.bin", bytes.clone()).await.unwrap();
    assert_eq!(stored.size, 10_000);
    assert_eq!(stored, StoredObject::of(&bytes, stored.uri.clone()));
    assert!(stored.uri.ends_with("/models/wine/7.bin"), "{}", stored.uri);
    let object = store.get("models/wine/7.bin").await.unwrap().unwrap();
    assert_eq!(object.stored, stored);
    assert!(object.bytes == bytes);
    let abc = StoredObject::of(b"abc", "");
    assert_eq!(abc.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// A path holds what was put last, whether it is longer or shorter.
pub async fn a_put_replaces_what_was_there(store: &dyn ArtifactStore) {
    for bytes in ["first", "second and longer", "3"] {
        store.put("a", bytes.into()).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap().bytes, bytes.as_bytes());
    }
}

/// A path that was never written holds nothing, also if longer ones do.
pub async fn what_is_missing_is_none(store: &dyn ArtifactStore) {
    assert!(store.get("a/b").await.unwrap().is_none());
    store.put("a/b/c", b"x".to_vec()).await.unwrap();
    assert!(store.get("a/b/d").await.unwrap().is_none());
    assert!(store.get("x").await.unwrap().is_none());
}

/// What was deleted is gone; deleting it again, or what never was, is fine.
pub async fn what_was_deleted_is_gone(store: &dyn ArtifactStore) {
    store.put("a/b", b"x".to_vec()).await.unwrap();
    store.put("a/c", b"y".to_vec()).await.unwrap();
    for _ in 0..2 {
        store.delete("a/b").await.unwrap();
        assert!(store.get("a/b").await.unwrap().is_none());
    }
    assert_eq!(store.get("a/c").await.unwrap().unwrap().bytes, b"y");
}

/// No path leads out of the store, and none is read in two ways.
pub async fn paths_lead_nowhere_else(store: &dyn ArtifactStore) {
    let long = "a".repeat(OBJECT_PATH_BYTES_MAX + 1);
    for path in ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a\\b", "a b", "a%2fb", "ä", "a\0b", &long]
    {
        for error in [
            store.put(path, b"x".to_vec()).await.map(|_| ()).unwrap_err(),
            store.get(path).await.map(|_| ()).unwrap_err(),
            store.delete(path).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{path:?}: {error}");
        }
    }
    store.put("a...b/.hidden/-x_1", b"x".to_vec()).await.unwrap();
}

/// While several write the same path, every read gives what one of them put, whole.
pub async fn a_reader_sees_one_put_whole(store: &dyn ArtifactStore) {
    const ROUNDS: u8 = 40;
    let content = |n: u8| vec![n; 20_000 + usize::from(n)];
    store.put("shared", content(0)).await.unwrap();
    let writes = async |from: u8| {
        for n in 0..ROUNDS {
            store.put("shared", content(from + n)).await.unwrap();
        }
    };
    let reads = async {
        for _ in 0..2 * ROUNDS {
            let bytes = store.get("shared").await.unwrap().unwrap().bytes;
            let first = bytes[0];
            assert!(bytes == content(first), "a mixture of {} bytes", bytes.len());
        }
    };
    tokio::join!(writes(0), writes(100), reads);
}

/// Nothing is something too, and several megabytes are kept.
pub async fn empty_and_large_objects_are_kept(store: &dyn ArtifactStore) {
    store.put("empty", Vec::new()).await.unwrap();
    assert_eq!(store.get("empty").await.unwrap().unwrap().bytes, b"");
    let large: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    store.put("large", large.clone()).await.unwrap();
    assert!(store.get("large").await.unwrap().unwrap().bytes == large);
}
