//! Lists of files: what is in a snapshot, and is it safe to unpack?

use std::collections::BTreeSet;

use aiflow_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SnapshotId;

/// The most files of a snapshot.
pub const SNAPSHOT_FILES_MAX: usize = 20_000;
/// The largest file of a snapshot, in bytes.
pub const SNAPSHOT_FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The most bytes of all files of a snapshot.
pub const SNAPSHOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The longest path in a snapshot, in bytes.
pub const SNAPSHOT_PATH_BYTES_MAX: usize = 1024;
/// How deep directories may be nested.
pub const SNAPSHOT_NESTING_MAX: usize = 64;
/// The largest list of files, in bytes.
pub(super) const LIST_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The form of the lists that this library writes.
const FORM: u32 = 1;

/// The files of a snapshot, in the order of their paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    form: u32,
    pub(super) files: Vec<File>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Relative, with `/` between its parts.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) executable: bool,
}

impl Manifest {
    pub(super) fn new(mut files: Vec<File>) -> Self {
        files.sort();
        Self { form: FORM, files }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Plain data always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a list that may come from anywhere.
    pub(super) fn read(id: &SnapshotId, bytes: &[u8]) -> Result<Self> {
        let refuse = |message: String| Error::new(ErrorKind::Corrupt, "unpack snapshot", message).with("snapshot", id);
        if digest(bytes) != id.as_str() {
            return Err(refuse("the list of files is not the one that the snapshot names".to_owned()));
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| refuse("the list of files cannot be read".to_owned()).caused_by(error))?;
        match manifest.problem() {
            Some(problem) => Err(refuse(problem)),
            None => Ok(manifest),
        }
    }

    /// Why it must not be unpacked, if it must not.
    pub(super) fn problem(&self) -> Option<String> {
        if self.form != FORM {
            return Some(format!("the list of files has form {}, and only {FORM} is known", self.form));
        }
        if self.files.len() > SNAPSHOT_FILES_MAX {
            return Some(format!("it has {} files, at most {SNAPSHOT_FILES_MAX} are allowed", self.files.len()));
        }
        let bytes = self.files.iter().map(|file| file.bytes).fold(0_u64, u64::saturating_add);
        if bytes > SNAPSHOT_BYTES_MAX {
            return Some(format!("its files have {bytes} bytes, at most {SNAPSHOT_BYTES_MAX} are allowed"));
        }
        let mut paths: BTreeSet<&str> = BTreeSet::new();
        for file in &self.files {
            let problem = path_problem(&file.path).or_else(|| {
                if file.bytes > SNAPSHOT_FILE_BYTES_MAX {
                    Some(format!("has {} bytes, at most {SNAPSHOT_FILE_BYTES_MAX} are allowed", file.bytes))
                } else if !is_digest(&file.sha256) {
                    Some("has no digest".to_owned())
                } else if !paths.insert(&file.path) {
                    Some("is listed twice".to_owned())
                } else {
                    None
                }
            });
            if let Some(problem) = problem {
                return Some(format!("{:?} {problem}", file.path.chars().take(200).collect::<String>()));
            }
        }
        let is_below = |path: &str| path.match_indices('/').find_map(|(i, _)| paths.get(path.get(..i)?).copied());
        let below = paths.iter().find_map(|path| is_below(path).map(|file| (path, file)));
        below.map(|(path, file)| format!("{path:?} lies below {file:?}, which is a file"))
    }
}

/// Why a path is no path inside of a directory, if it is none.
fn path_problem(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    if path.len() > SNAPSHOT_PATH_BYTES_MAX {
        return Some(format!("is longer than {SNAPSHOT_PATH_BYTES_MAX} bytes"));
    }
    if parts.len() > SNAPSHOT_NESTING_MAX {
        return Some(format!("is nested deeper than {SNAPSHOT_NESTING_MAX}"));
    }
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Some("leads out of the directory, or nowhere".to_owned());
    }
    // A drive or a separator elsewhere, and what no name contains.
    path.contains(['\\', '\0', ':']).then(|| "contains a character that no path of a snapshot has".to_owned())
}

/// SHA-256 in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        File { path: path.to_owned(), bytes: 1, sha256: digest(b"x"), executable: false }
    }

    #[test]
    fn lists_that_would_do_harm_are_refused() {
        let large = File { bytes: u64::MAX, ..file("a") };
        let no_digest = File { sha256: "../../etc".to_owned(), ..file("a") };
        for (files, says) in [
            (vec![file("../a")], "leads out"),
            (vec![file("/etc/passwd")], "leads out"),
            (vec![file("a/../../b")], "leads out"),
            (vec![file("a//b")], "leads out"),
            (vec![file("")], "leads out"),
            (vec![file("./a")], "leads out"),
            (vec![file("C:\\a")], "contains a character"),
            (vec![file("a\0b")], "contains a character"),
            (vec![file(&"a/".repeat(100))], "nested deeper"),
            (vec![file(&"a".repeat(2_000))], "longer than"),
            (vec![file("a"), file("a")], "listed twice"),
            (vec![file("a"), file("a/b")], "lies below"),
            (vec![file("a"), file("a-b"), file("a/b/c")], "lies below"),
            (vec![large], "at most"),
            (vec![File { bytes: SNAPSHOT_FILE_BYTES_MAX + 1, ..file("a") }], "at most"),
            (vec![no_digest], "no digest"),
            ((0..=SNAPSHOT_FILES_MAX).map(|i| file(&i.to_string())).collect(), "at most"),
        ] {
            let manifest = Manifest::new(files);
            let problem = manifest.problem().unwrap_or_default();
            assert!(problem.contains(says), "{says}: {problem}");
            let bytes = manifest.to_bytes();
            let id = SnapshotId(digest(&bytes));
            assert_eq!(Manifest::read(&id, &bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let good = Manifest::new(vec![file("b"), file("a/b"), file("a/c..d"), file("ä")]);
        let id = SnapshotId(digest(&good.to_bytes()));
        assert_eq!(Manifest::read(&id, &good.to_bytes()).unwrap(), good);
        assert!(Manifest::read(&SnapshotId(digest(b"other")), &good.to_bytes()).is_err());
    }
}
