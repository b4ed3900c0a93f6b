//! The tutorial of AIFlow on its own data: a model is trained periodically, each new version is validated against the validated one, and a
//! version that is better predicts. Nodes that read data feed the nodes that use it, within one job; files lie in an artifact store.
//!
//! `cargo run --features artifacts --example iris`. Ends by itself when the third version is settled.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aiflow::artifacts::ObjectArtifacts;
use aiflow::function::JobError;
use aiflow::graph::{model_validate, predict, read_dataset, train, write_dataset};
use aiflow::meta::{Dataset, Model, NewMetric, NewModelVersion, Subject};
use aiflow::prelude::*;
use linfa::prelude::*;
use linfa_trees::DecisionTree;
use ndarray::{Array1, Array2};
use serde_json::Value;

type Tree = DecisionTree<f64, usize>;
/// Four measures of a flower, then its species.
type Rows = Vec<[f64; 5]>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("aiflow-data/iris"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let file = || format!("sqlite://{}", folder.join("aiflow.db").display());
    let aiflow = aiflow::open(&std::env::var("AIFLOW_URL").unwrap_or_else(|_| file())).await?.project("iris")?;
    for (name, rows) in
        [("iris_train", flowers(false)), ("iris_test", flowers(true)), ("iris_predictions", Rows::new())]
    {
        let path = folder.join(format!("{name}.json"));
        if !path.exists() {
            fs::write(&path, serde_json::to_vec(&rows)?)?;
        }
        aiflow.datasets().register(Dataset::new(name, path.display().to_string())?).await?;
    }
    aiflow.models().register(Model::new("iris")?).await?;

    // Three jobs: each is named after its first node, and the others run with it because data flows between them.
    let mut graph = AiGraph::new("iris", "tutorial");
    graph.node("training_data", read_dataset("iris_train", "read").schedule(every(Duration::from_millis(300))));
    graph.node("training", train("iris", "train"));
    graph.data("training_data", "training");
    graph.node("validation_data", read_dataset("iris_test", "read"));
    graph.node("validation", model_validate("iris", "validate"));
    graph.data("validation_data", "validation");
    graph.control("validation", start(on_model_version("iris", ModelStage::Generated)));
    graph.node("prediction_data", read_dataset("iris_test", "read"));
    graph.node("prediction", predict("iris", "predict").model_version(ModelStage::Validated));
    graph.node("predictions", write_dataset("iris_predictions", "write"));
    graph.data("prediction_data", "prediction").data("prediction", "predictions");
    graph.control("prediction", start(on_model_version("iris", ModelStage::Validated)));
    aiflow.submit(&graph.translate()?).await?;

    let functions = Functions::new()
        .register("read", read)
        .register("train", fit)
        .register("validate", validate)
        .register("predict", judge)
        .register("write", write);
    let executor = FunctionExecutor::new(functions).artifact_store(ObjectArtifacts::folder(folder.join("files"))?);
    let scheduler = aiflow.scheduler().executor("function", executor).start()?;
    let mut settled = aiflow.listen(EventFilter::all().key("settled"), aiflow.head().await?);
    let execution = aiflow.start("tutorial", Value::Null).await?;
    for _ in 0..3 {
        println!("{}", settled.next().await?.value.as_str().unwrap_or_default());
    }
    aiflow.stop(execution).await?;
    aiflow.wait(execution).await?;

    println!("\nversion  stage       accuracy");
    for version in aiflow.models().versions("iris").await? {
        let subject = Subject::model_version("iris", version.version)?;
        let accuracy = aiflow.metrics().latest(&subject, "accuracy").await?;
        println!("{:>7}  {:<10}  {:.3}", version.version, version.stage, accuracy.unwrap_or(f64::NAN));
    }
    Ok(scheduler.shutdown().await?)
}

/// The real flowers: every fifth is kept for tests.
fn flowers(tests: bool) -> Rows {
    let data = linfa_datasets::iris();
    let rows = data.records.outer_iter().zip(&data.targets).enumerate();
    let chosen = rows.filter(|(i, _)| (i % 5 == 0) == tests);
    chosen
        .map(|(_, (row, species))| [row[0], row[1], row[2], row[3], f64::from(u32::try_from(*species).unwrap_or(0))])
        .collect()
}

fn dataset(rows: &Rows) -> Result<linfa::Dataset<f64, usize, ndarray::Ix1>, JobError> {
    let measures: Vec<f64> = rows.iter().flat_map(|row| row[..4].to_vec()).collect();
    let species = rows.iter().map(|row| if row[4] > 1.5 { 2 } else { usize::from(row[4] > 0.5) });
    Ok(linfa::Dataset::new(Array2::from_shape_vec((rows.len(), 4), measures)?, Array1::from_iter(species)))
}

/// Reads the dataset that the node is about; what it returns flows to the next node.
async fn read(ctx: JobContext, _: Value) -> Result<Rows, JobError> {
    Ok(serde_json::from_slice(&fs::read(&ctx.dataset().await?.uri)?)?)
}

/// Trains on more flowers each time, and registers a version.
async fn fit(ctx: JobContext, rows: Rows) -> Result<(), JobError> {
    let n = ctx.models().versions("iris").await?.len() + 1;
    // The rows are ordered by species: take them from all over.
    let step = 12_usize.saturating_sub(4 * n).max(1);
    let some: Rows = rows.into_iter().step_by(step).collect();
    let tree: Tree = DecisionTree::params().max_depth(Some(3)).fit(&dataset(&some)?)?;
    let file = format!("tree-{n}");
    ctx.save(&file, serde_json::to_vec(&tree)?).await?;
    let version = NewModelVersion::new(format!("artifact:{file}")).idempotency_key(ctx.once("version"));
    ctx.models().register_version("iris", version).await?;
    Ok(())
}

async fn load(ctx: &JobContext, uri: &str) -> Result<Tree, JobError> {
    let file = uri.strip_prefix("artifact:").ok_or("the version lies in the artifact store")?;
    Ok(serde_json::from_slice(&ctx.load(file).await?)?)
}

/// Measures the version that was generated; one that beats the validated one is validated.
async fn validate(ctx: JobContext, rows: Rows) -> Result<(), JobError> {
    let number =
        ctx.events().first().and_then(|event| event.value["version"].as_u64()).ok_or("an event names a version")?;
    let number = u32::try_from(number)?;
    let models = ctx.models();
    let candidate = models.version("iris", number).await?.ok_or("the version is registered")?;
    let tests = dataset(&rows)?;
    let accuracy = f64::from(load(&ctx, &candidate.uri).await?.predict(&tests).confusion_matrix(&tests)?.accuracy());
    ctx.metrics().record(NewMetric::new("accuracy", Subject::model_version("iris", number)?, accuracy)?).await?;
    let best = match models.latest("iris", ModelStage::Validated).await? {
        Some(best) => ctx.metrics().latest(&Subject::model_version("iris", best.version)?, "accuracy").await?,
        None => None,
    };
    if best.is_none_or(|best| accuracy > best) {
        models.set_stage("iris", number, ModelStage::Validated).await?;
    } else {
        let text = format!("version {number} is not better: {accuracy:.3}");
        ctx.publish_once("settled", ctx.event("settled").value(text)).await?;
    }
    Ok(())
}

/// Predicts with the validated version: the node says which one it is about.
async fn judge(ctx: JobContext, rows: Rows) -> Result<Vec<usize>, JobError> {
    let version = ctx.model_version().await?;
    let species = load(&ctx, &version.uri).await?.predict(&dataset(&rows)?).to_vec();
    let text = format!("version {} predicts the species of {} flowers", version.version, species.len());
    ctx.publish_once("settled", ctx.event("settled").value(text)).await?;
    Ok(species)
}

async fn write(ctx: JobContext, species: Vec<usize>) -> Result<(), JobError> {
    let dataset = ctx.dataset().await?;
    let partial = format!("{}.partial", dataset.uri);
    fs::write(&partial, serde_json::to_vec(&species)?)?;
    fs::rename(partial, &dataset.uri)?;
    ctx.datasets().changed("iris_predictions").await?;
    Ok(())
}
