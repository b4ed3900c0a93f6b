//! Leases: who may decide, and has the last one died?
//!
//! The row in the file decides (its epoch fences every commit). A lock file beside it tells at once that a holder's process ended: the
//! operating system frees the lock, however the process died.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use aiflow_core::store::Lease;
use aiflow_core::time::Timestamp;
use aiflow_core::{Error, Result};

/// The longest name of a lease or a holder, in bytes.
const LEASE_BYTES_MAX: usize = 256;
/// The longest file name that a lease may lead to, in bytes, so that the database's own name fits before it.
const LOCK_NAME_BYTES_MAX: usize = 150;

/// A row of the table `lease`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    /// Empty: nobody.
    pub(crate) holder: String,
    pub(crate) epoch: i64,
    pub(crate) expires: i64,
    /// The holder also holds the lock file.
    pub(crate) locked: bool,
}

impl LeaseRow {
    /// Whether decisions made under `epoch` still count: nobody else can have decided while it stands.
    pub(crate) fn allows(&self, epoch: u64) -> bool {
        u64::try_from(self.epoch) == Ok(epoch)
    }

    /// The lease as its holder knows it.
    pub(crate) fn lease(&self, name: &str) -> Lease {
        Lease { name: name.to_owned(), holder: self.holder.clone(), epoch: u64::try_from(self.epoch).unwrap_or(0) }
    }
}

/// The row after `holder` asked for the lease at `now`; `None` while somebody else holds it.
pub(crate) fn decide(
    row: &LeaseRow,
    name: &str,
    holder: &str,
    now: Timestamp,
    expires: Timestamp,
    locks: &mut Locks,
) -> Option<LeaseRow> {
    let mine = row.holder == holder;
    if !mine {
        let free = row.holder.is_empty() || now.as_millis() >= row.expires;
        // The holder had the lock file, and now it is free: the holder's process has ended.
        let died = !free && row.locked && !locks.holds(name) && locks.take(name);
        if !free && !died {
            return None;
        }
    }
    Some(LeaseRow {
        holder: holder.to_owned(),
        epoch: if mine { row.epoch } else { row.epoch.saturating_add(1) },
        expires: expires.as_millis(),
        // Without the lock file (a stopped holder that ran out still has it) the lease holds by its row alone.
        locked: locks.take(name),
    })
}

/// The lock files that this process holds. Dropping one frees it.
#[derive(Debug)]
pub(crate) struct Locks {
    database: PathBuf,
    held: HashMap<String, File>,
}

impl Locks {
    pub(crate) fn new(database: &Path) -> Self {
        Self { database: database.to_owned(), held: HashMap::new() }
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        self.held.contains_key(name)
    }

    /// Takes the lock file of `name` if it is free or ours already; tells whether it is held now.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        if self.holds(name) {
            return true;
        }
        let path = lock_path(&self.database, name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "lock file cannot be opened; takeover waits for the lease to run out");
                return false;
            }
        };
        match file.try_lock() {
            Ok(()) => {
                self.held.insert(name.to_owned(), file);
                true
            }
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, path = %path.display(), "lock file cannot be locked; takeover waits for the lease to run out");
                false
            }
        }
    }

    /// Frees the lock file of `name`. The file stays: removing it would let two processes lock different files of that name.
    pub(crate) fn free(&mut self, name: &str) {
        self.held.remove(name);
    }

    /// The names held now.
    pub(crate) fn names(&self) -> Vec<String> {
        self.held.keys().cloned().collect()
    }
}

/// `<database>.<lease>.lock`, with unusual characters written as %41.
fn lock_path(database: &Path, name: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{}.lock", encode(name)));
    path.into()
}

fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        })
        .collect()
}

/// Checks the names of a lease and its holder.
pub(crate) fn check(name: &str, holder: &str) -> Result<()> {
    let problem = if name.is_empty() || encode(name).len() > LOCK_NAME_BYTES_MAX {
        "a lease needs a name of 1 to 150 bytes, where an unusual character counts as three"
    } else if holder.is_empty() || holder.len() > LEASE_BYTES_MAX {
        "a lease needs a holder of 1 to 256 bytes"
    } else {
        return Ok(());
    };
    Err(Error::invalid("acquire", problem).with("lease", name.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_lease_cannot_leave_the_folder() {
        let path = lock_path(Path::new("data/a.db"), "../x y");
        assert_eq!(path, Path::new("data/a.db.%2e%2e%2fx%20y.lock"));
        assert!(check(&"ü".repeat(26), "me").is_err());
        assert!(check("", "me").is_err() && check("leader", "").is_err());
    }
}
