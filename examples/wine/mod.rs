//! The model and the printing of the quickstart: everything that is not about scheduling.

mod data;

use std::fs;
use std::path::{Path, PathBuf};

use aiflow::event::{JOB_STATUS_CHANGED, WORKFLOW_STATUS_CHANGED};
use aiflow::lineage::LineageQuery;
use aiflow::meta::Subject;
use aiflow::prelude::*;
use linfa::Dataset;
use linfa::prelude::*;
use linfa_trees::DecisionTree;
use ndarray::{Array1, Array2, Axis, Slice};

pub(crate) use data::{folder, url, write_samples};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Batches that there are.
pub(crate) const BATCHES: usize = 8;

/// A decision tree that tells good wine (quality above 5) from the rest.
pub(crate) struct Tree(DecisionTree<f64, bool>);

fn read_samples(paths: &[PathBuf]) -> Result<Dataset<f64, bool, ndarray::Ix1>, Error> {
    let (mut features, mut good) = (Vec::new(), Vec::new());
    for path in paths {
        for line in fs::read_to_string(path)?.lines() {
            let mut row = line.split(',').map(str::parse::<f64>).collect::<Result<Vec<f64>, _>>()?;
            good.push(row.pop() == Some(1.0));
            features.extend(row);
        }
    }
    let features = Array2::from_shape_vec((good.len(), 11), features)?;
    Ok(Dataset::new(features, Array1::from(good)))
}

impl Tree {
    /// Trains on all samples in these files.
    pub(crate) fn train(paths: &[PathBuf]) -> Result<Self, Error> {
        Ok(Self(DecisionTree::params().max_depth(Some(4)).fit(&read_samples(paths)?)?))
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
        let held_out = Slice::from(data::HELD_OUT_FROM..);
        let features = data.records.slice_axis(Axis(0), held_out).to_owned();
        let good = data.targets.slice_axis(Axis(0), held_out).mapv(|quality| quality > 5);
        let held_out = Dataset::new(features, good);
        Ok(f64::from(self.0.predict(&held_out).confusion_matrix(&held_out)?.accuracy()))
    }

    /// Prints how many of the wines in a file it finds good.
    pub(crate) fn judge(&self, version: u32, path: &str) -> Result<(), Error> {
        let judged = self.0.predict(&read_samples(&[path.into()])?);
        let good = judged.iter().filter(|good| **good).count();
        println!("       version {version} finds {good} of {} wines good", judged.len());
        Ok(())
    }
}

/// The model version that the event speaks of which fired the job.
pub(crate) fn version_in(ctx: &JobContext) -> Result<u32, Error> {
    let version = ctx.events().first().and_then(|event| event.value["version"].as_u64());
    Ok(u32::try_from(version.ok_or("the event of a model names a version")?)?)
}

/// Prints a line whenever a job begins or ends, until the execution has ended.
pub(crate) async fn print_progress(aiflow: AiFlow, of: WorkflowExecutionId, after: Offset) -> aiflow::Result<()> {
    let mut events = aiflow.listen(EventFilter::all().namespace("wine"), after);
    loop {
        let event = events.next().await?;
        let status = event.value.as_str().unwrap_or_default().to_lowercase();
        if event.event_type == JOB_STATUS_CHANGED {
            println!("{:>5}  {:<20} {status}", event.offset, event.sender);
        }
        let is_of_it = event.event_type == WORKFLOW_STATUS_CHANGED && event.context.workflow_execution == Some(of);
        if is_of_it && matches!(status.as_str(), "succeeded" | "failed" | "stopped") {
            return Ok(());
        }
    }
}

/// Prints why a job of an execution has not run so far.
pub(crate) async fn print_why_not(aiflow: &AiFlow, execution: WorkflowExecutionId, job: &str) -> aiflow::Result<()> {
    aiflow.wait_until(execution, |_, _| true).await?;
    println!("why has it not run?\n{}\n", aiflow.explain_job(execution, job).await?);
    Ok(())
}

/// Prints why the newest execution of a job ran, back to what came from outside.
pub(crate) async fn print_why(aiflow: &AiFlow, execution: WorkflowExecutionId, job: &str) -> aiflow::Result<()> {
    let ran = aiflow.job_executions(execution).await?.into_iter().rfind(|ran| ran.job.as_str() == job);
    if let Some(ran) = ran {
        println!("\nwhy did it run?\n{}", aiflow.explain_execution(ran.id).await?);
    }
    Ok(())
}

/// Prints every version of the model with its stage and accuracy, and where to see that too.
pub(crate) async fn print_versions(aiflow: &AiFlow) -> aiflow::Result<()> {
    println!("\nmodel  version  stage       accuracy");
    for version in aiflow.models().versions("wine").await? {
        let subject = Subject::model_version("wine", version.version)?;
        let accuracy = aiflow.metrics().latest(&subject, "accuracy").await?.unwrap_or(f64::NAN);
        println!("wine   {:>7}  {:<10}  {accuracy:.3}", version.version, version.stage);
    }
    if let Some(file) = url("quickstart").strip_prefix("sqlite://") {
        println!("look inside: sqlite3 {file} 'select * from model_version'");
    }
    Ok(())
}

/// Prints what the deployed version was made from, as a Mermaid flow chart: its data, the jobs, and the events that started them.
pub(crate) async fn print_lineage(aiflow: &AiFlow) -> aiflow::Result<()> {
    if let Some(deployed) = aiflow.models().deployed("wine").await? {
        let query = LineageQuery::upstream(deployed.key.clone()).stop_at("dataset_version").stop_at("model").hops(3);
        println!("\nwhat is version {} made from?\n{}", deployed.version, aiflow.lineage(&query).await?.to_mermaid());
    }
    Ok(())
}
