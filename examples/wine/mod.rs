//! The data, the model and the printing of the quickstart: everything that is not about scheduling.

use std::fs;
use std::path::{Path, PathBuf};

use aiflow::event::EventFilter;
use aiflow::execution::JobStatus;
use aiflow::prelude::*;
use linfa::Dataset;
use linfa::prelude::*;
use linfa_trees::DecisionTree;
use ndarray::{Array1, Array2, Axis, Slice};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Rows of the UCI wine-quality data that arrive together. 1279 of its 1599 rows arrive; the rest is held out for evaluation.
const BATCH_ROWS: usize = 160;
/// Batches that there are.
pub(crate) const BATCHES: usize = 8;
const HELD_OUT_FROM: usize = 1279;
/// Name of the store file in the quickstart's folder.
pub(crate) const STORE: &str = "aiflow.db";

/// Where the quickstart keeps everything: `aiflow-data/quickstart`, or the folder given as its argument.
pub(crate) fn folder() -> PathBuf {
    std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("aiflow-data/quickstart"), PathBuf::from)
}

/// A decision tree that tells good wine (quality above 5) from the rest.
pub(crate) struct Model(DecisionTree<f64, bool>);

/// Writes batch `n` (from 1) of the samples as CSV: eleven features, then whether the wine is good.
pub(crate) fn write_samples(n: usize) -> Result<PathBuf, Error> {
    let data = linfa_datasets::winequality();
    let rows = (n - 1) * BATCH_ROWS..(n * BATCH_ROWS).min(HELD_OUT_FROM);
    let lines = rows.map(|row| {
        let features: Vec<String> = data.records.row(row).iter().map(f64::to_string).collect();
        format!(
            "{},{}\n",
            features.join(","),
            u8::from(data.targets[row] > 5)
        )
    });
    let path = folder().join(format!("samples-{n}.csv"));
    fs::write(&path, lines.collect::<String>())?;
    Ok(path)
}

fn read_samples(paths: &[PathBuf]) -> Result<Dataset<f64, bool, ndarray::Ix1>, Error> {
    let (mut features, mut good) = (Vec::new(), Vec::new());
    for path in paths {
        for line in fs::read_to_string(path)?.lines() {
            let mut row = line
                .split(',')
                .map(str::parse::<f64>)
                .collect::<Result<Vec<f64>, _>>()?;
            good.push(row.pop() == Some(1.0));
            features.extend(row);
        }
    }
    let features = Array2::from_shape_vec((good.len(), 11), features)?;
    Ok(Dataset::new(features, Array1::from(good)))
}

impl Model {
    /// Trains on all samples in these files.
    pub(crate) fn train(paths: &[PathBuf]) -> Result<Self, Error> {
        let samples = read_samples(paths)?;
        Ok(Self(
            DecisionTree::params().max_depth(Some(4)).fit(&samples)?,
        ))
    }

    /// Writes the model to a file and then puts it in place, so that nobody reads half of it.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Error> {
        let partial = path.with_extension("partial");
        fs::write(&partial, serde_json::to_vec(&self.0)?)?;
        Ok(fs::rename(partial, path)?)
    }

    /// Reads a model back.
    pub(crate) fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self(serde_json::from_slice(&fs::read(path)?)?))
    }

    /// Share of the held-out wines that it judges right.
    pub(crate) fn accuracy(&self) -> Result<f64, Error> {
        let data = linfa_datasets::winequality();
        let features = data
            .records
            .slice_axis(Axis(0), Slice::from(HELD_OUT_FROM..))
            .to_owned();
        let good = data
            .targets
            .slice_axis(Axis(0), Slice::from(HELD_OUT_FROM..))
            .mapv(|quality| quality > 5);
        let held_out = Dataset::new(features, good);
        Ok(f64::from(
            self.0
                .predict(&held_out)
                .confusion_matrix(&held_out)?
                .accuracy(),
        ))
    }

    /// How many of the wines in a file it finds good, and how many there are.
    pub(crate) fn count_good(&self, path: &Path) -> Result<(usize, usize), Error> {
        let samples = read_samples(&[path.to_owned()])?;
        let good = self.0.predict(&samples);
        Ok((good.iter().filter(|good| **good).count(), good.len()))
    }
}

/// Prints a line whenever a job begins or ends, until it is dropped.
pub(crate) async fn print_progress(aiflow: AiFlow, after: Offset) -> aiflow::Result<()> {
    let mut changes = aiflow.listen(
        EventFilter::all().event_type(aiflow::event::JOB_STATUS_CHANGED),
        after,
    );
    loop {
        let change = changes.next().await?;
        let status = change.value.as_str().unwrap_or_default();
        if status != JobStatus::Ready.as_str() {
            println!(
                "{:>6}  {:<20} {}",
                change.offset,
                change.sender,
                status.to_lowercase()
            );
        }
    }
}

/// Prints why each job of an execution ran: the events that fired it.
pub(crate) async fn print_reasons(
    aiflow: &AiFlow,
    execution: WorkflowExecutionId,
) -> aiflow::Result<()> {
    println!("\nwhy each job ran:");
    for job in aiflow.job_executions(execution).await? {
        let events = aiflow.explain(job.id).await?;
        let events: Vec<String> = events
            .iter()
            .map(|event| format!("event {} {} {}", event.offset, event.key, short(event)))
            .collect();
        println!(
            "  {:<20} {:<10} because of {}",
            job.job,
            job.status.to_string().to_lowercase(),
            events.join(" and ")
        );
    }
    Ok(())
}

fn short(event: &Event) -> String {
    if event.event_type == aiflow::event::UNDEFINED_EVENT_TYPE {
        event.value.to_string()
    } else {
        event.event_type.clone()
    }
}

/// Prints every version of the model with its stage and accuracy.
pub(crate) async fn print_versions(aiflow: &AiFlow) -> aiflow::Result<()> {
    println!("\nmodel  version  stage       accuracy");
    for version in aiflow.models().versions("wine").await? {
        let subject = aiflow::meta::Subject::model_version("wine", version.version)?;
        let accuracy = aiflow
            .metrics()
            .latest(&subject, "accuracy")
            .await?
            .map_or(f64::NAN, |metric| metric.value);
        println!(
            "wine   {:>7}  {:<10}  {accuracy:.3}",
            version.version, version.stage
        );
    }
    Ok(())
}
