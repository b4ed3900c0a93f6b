//! When can this descriptor be read?

use std::io::Result;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor whose readiness the runtime watches.
///
/// # Panics
/// Outside a Tokio runtime with I/O enabled.
#[expect(
    deprecated,
    reason = "the successor is an unsafe function that asks for a descriptor that stays open and the same: an owned one does"
)]
pub(crate) fn watched(fd: Arc<OwnedFd>) -> Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
