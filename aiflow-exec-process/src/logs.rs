//! The outputs of an attempt: what was written after a position, and how is their size on disk bounded?
//!
//! An output that outgrows its bound loses its middle: the disk blocks are given back by punching a hole, while the job goes on
//! appending to the same file. Positions stay what they were; the removed range is kept in `<stream>.cut`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;

use aiflow_core::executor::LogStream;

use crate::rundir::{RunDir, open_plain};

/// Holes are punched in whole blocks of this size.
const BLOCK_BYTES: u64 = 4096;
/// The smallest bound: one block for the head, one for the tail, and one that straddles.
pub(crate) const LOG_BYTES_MIN: u64 = 3 * BLOCK_BYTES;

/// Bytes of an output and where to read on.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) next: u64,
    /// There was nothing more.
    pub(crate) is_end: bool,
}

/// What was written after `from`, at most `bytes_max`.
pub(crate) fn read(dir: &RunDir, stream: LogStream, from: u64, bytes_max: usize) -> Result<Piece> {
    let file = open_plain(&dir.log(stream))?;
    let size = file.metadata()?.len();
    let wanted = usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; wanted.min(bytes_max)];
    let n_bytes = file.read_at(&mut bytes, from)?;
    bytes.truncate(n_bytes);
    // Read after the bytes: a cut is recorded before its hole is punched, so no punched byte goes unnoticed.
    let mut next = from.saturating_add(bytes.len() as u64);
    if let Some((cut_from, cut_to)) = cut_of(dir, stream)? {
        if (cut_from..cut_to).contains(&from) {
            bytes = notice(cut_to.saturating_sub(from));
            bytes.truncate(bytes_max);
            next = if bytes.is_empty() { from } else { cut_to };
        } else if (from..next).contains(&cut_from) {
            bytes.truncate(usize::try_from(cut_from.saturating_sub(from)).unwrap_or(0));
            next = cut_from;
        }
    }
    Ok(Piece { bytes, next, is_end: next >= size })
}

fn notice(n_bytes: u64) -> Vec<u8> {
    format!("\n[aiflow: {n_bytes} bytes were removed here, because the log outgrew its bound]\n").into_bytes()
}

/// Brings an output back to its bound by removing its middle.
///
/// # Errors
/// `Unsupported` if the file system cannot punch holes.
pub(crate) fn bound(dir: &RunDir, stream: LogStream, bytes_max: u64) -> Result<()> {
    let bytes_max = bytes_max.max(LOG_BYTES_MIN);
    let size = match std::fs::metadata(dir.log(stream)) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if size <= bytes_max {
        return Ok(());
    }
    let before = cut_of(dir, stream)?;
    let kept = before.map_or(size, |(from, to)| size.saturating_sub(to.saturating_sub(from)));
    if kept <= bytes_max {
        return Ok(());
    }
    let head = before.map_or(bytes_max / 2 / BLOCK_BYTES * BLOCK_BYTES, |(from, _)| from);
    let to = size.saturating_sub(bytes_max.saturating_sub(head)) / BLOCK_BYTES * BLOCK_BYTES;
    let punch_from = before.map_or(head, |(_, to)| to);
    if to <= punch_from {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(dir.log(stream))?;
    record_cut(dir, stream, (head, to))?;
    if let Err(error) = punch(&file, punch_from, to.saturating_sub(punch_from)) {
        // Nothing was removed: say so again.
        match before {
            Some(before) => record_cut(dir, stream, before)?,
            None => std::fs::remove_file(dir.cut(stream))?,
        }
        return Err(error);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn punch(file: &File, from: u64, n_bytes: u64) -> Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, flags, from, n_bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn punch(_file: &File, _from: u64, _n_bytes: u64) -> Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn record_cut(dir: &RunDir, stream: LogStream, (from, to): (u64, u64)) -> Result<()> {
    let name = dir.cut(stream);
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    dir.replace(&name, format!("{from} {to}\n").as_bytes())
}

fn cut_of(dir: &RunDir, stream: LogStream) -> Result<Option<(u64, u64)>> {
    match std::fs::read_to_string(dir.cut(stream)) {
        Ok(text) => Ok(text.trim().split_once(' ').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
