//! The UCI wine-quality data, in the batches in which it arrives.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Rows that arrive together. 1279 of the 1599 rows arrive; the rest is held out for evaluation.
const BATCH_ROWS: usize = 160;
/// The first row that is held out.
pub(crate) const HELD_OUT_FROM: usize = 1279;

/// Where an example keeps everything: `aiflow-data/<name>`, or the folder given as its argument.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::args_os().nth(1).map_or_else(|| Path::new("aiflow-data").join(name), PathBuf::from)
}

/// Where it keeps its records and events: a file in its folder, or another store, such as `AIFLOW_URL=redis://127.0.0.1:6379`.
pub(crate) fn url(name: &str) -> String {
    std::env::var("AIFLOW_URL").unwrap_or_else(|_| format!("sqlite://{}", folder(name).join("aiflow.db").display()))
}

/// Writes batch `n` (from 1) of the samples as CSV: eleven features, then whether the wine is good (quality above 5).
pub(crate) fn write_samples(folder: &Path, n: usize) -> io::Result<PathBuf> {
    let data = linfa_datasets::winequality();
    let rows = (n - 1) * BATCH_ROWS..(n * BATCH_ROWS).min(HELD_OUT_FROM);
    let lines = rows.map(|row| {
        let features: Vec<String> = data.records.row(row).iter().map(f64::to_string).collect();
        format!("{},{}\n", features.join(","), u8::from(data.targets[row] > 5))
    });
    let path = fs::canonicalize(folder)?.join(format!("samples-{n}.csv"));
    fs::write(&path, lines.collect::<String>())?;
    Ok(path)
}
