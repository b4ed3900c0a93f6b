//! The machine-learning workflow of AIFlow's overview on real data: wine samples arrive in batches; each batch is prepared,
//! a model is trained and evaluated, and the better model takes over the inference job, which never ends. Events schedule
//! all of it. Run it again and it goes on with the next batches; kill it at any moment, and the next run picks up from there.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::PathBuf;

use aiflow::function::JobError;
use aiflow::meta::{DATASET_CHANGED, Dataset, Model, NewDatasetVersion, NewMetric, NewModelVersion, Subject};
use aiflow::prelude::*;
use serde_json::Value;

mod wine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let aiflow = aiflow::open(&wine::url("quickstart")).await?.project("wine")?; // sqlite://aiflow-data/quickstart/aiflow.db

    // What it is about, and four stages with the events that start them.
    let samples = Dataset::new("samples", "aiflow-data")?;
    aiflow.meta_batch().register(samples).register(Model::new("wine")?).commit().await?;
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("feature_engineering", function("features"));
    graph.node("training", function("train"));
    graph.node("evaluation", function("evaluate"));
    graph.node("inference", function("infer").streaming());
    // RESTART: an attempt that repeats what a killed run had done does not keep the job from the next event.
    graph.control("feature_engineering", restart(on("raw_batch")));
    graph.control("training", restart(on_dataset("samples")));
    graph.control("evaluation", restart(on_model_version("wine", ModelStage::Generated)));
    graph.control("inference", restart(on_model_version("wine", ModelStage::Deployed)));
    aiflow.submit(&graph.translate()?).await?;

    // The scheduler lives in this process; the jobs are functions of it.
    let functions = Functions::new().register("features", features).register_blocking("train", train);
    let functions = functions.register("evaluate", evaluate).register("infer", infer);
    let before = aiflow.head().await?;
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;

    // Each run is one execution, in which four batches arrive; a run that was killed goes on with its own.
    let ended = aiflow.executions("quality", 10).await?.iter().filter(|run| run.status.is_terminal()).count();
    if ended * 4 < wine::BATCHES {
        let execution = aiflow.start_with_key("quality", Value::Null, format!("run {ended}")).await?;
        wine::print_why_not(&aiflow, execution, "inference").await?;
        let progress = tokio::spawn(wine::print_progress(aiflow.clone(), execution, before));
        let mut settled = aiflow.listen(EventFilter::all().key("settled"), Offset::START);
        for n in 1..=ended * 4 + 4 {
            // Each batch leads to one `settled` event; those of earlier runs are there.
            if settled.try_next().await?.is_none() {
                aiflow.publish(aiflow.event("raw_batch").id(format!("raw-batch-{n}")).value(n)).await?;
                println!("batch {n}: {}", settled.next().await?.value);
            }
        }
        // The inference job would go on for ever: stop it.
        aiflow.stop(execution).await?;
        progress.await??;
        wine::print_why(&aiflow, execution, "inference").await?;
    }
    wine::print_versions(&aiflow).await?;
    wine::print_lineage(&aiflow).await?;
    Ok(scheduler.shutdown().await?)
}

/// Feature engineering: turns a raw batch into samples, the next version of the dataset.
async fn features(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let n = ctx.events()[0].value.as_u64().ok_or("a raw batch has a number")?;
    let path = wine::write_samples(&wine::folder("quickstart"), usize::try_from(n)?)?.display().to_string();
    let version = NewDatasetVersion::new(path).idempotency_key(ctx.once("version"));
    Ok(ctx.datasets().register_version("samples", version).await.map(drop)?)
}

/// Training: fits a decision tree to all samples so far and registers it as the next version of the model.
fn train(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let samples = ctx.block_on(ctx.datasets().versions("samples"))?;
    ctx.block_on(ctx.aiflow().note_read(&samples.iter().map(|version| version.key.clone()).collect::<Vec<_>>()))?;
    let paths: Vec<PathBuf> = samples.iter().map(|version| PathBuf::from(&version.uri)).collect();
    let path = wine::folder("quickstart").join(format!("model-of-{}-batches.json", paths.len()));
    wine::Tree::train(&paths)?.save(&path)?;
    let version = NewModelVersion::new(path.display().to_string()).idempotency_key(ctx.once("version"));
    Ok(ctx.block_on(ctx.models().register_version("wine", version)).map(drop)?)
}

/// Evaluation: measures the new version on held-out wines and deploys it if it is better than the deployed one.
async fn evaluate(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let (models, version) = (ctx.models(), wine::version_in(&ctx)?);
    let candidate = models.version("wine", version).await?.ok_or("the version is registered")?;
    let accuracy = wine::Tree::load(&candidate.uri)?.accuracy()?;
    ctx.metrics().record(NewMetric::new("accuracy", Subject::model_version("wine", version)?, accuracy)?).await?;
    match models.deployed("wine").await? {
        Some(deployed) if deployed.version == version => {} // an earlier attempt came so far
        Some(deployed) if wine::Tree::load(&deployed.uri)?.accuracy()? >= accuracy => {
            let verdict = format!("version {version} is not better than version {}", deployed.version);
            ctx.publish_once("settled", ctx.event("settled").value(verdict)).await?;
        }
        _ => {
            models.set_stage("wine", version, ModelStage::Validated).await?;
            models.deploy("wine", version).await?;
        }
    }
    Ok(())
}

/// Inference: judges the samples that arrive with the model that was deployed, until it is stopped or restarted with a better one.
async fn infer(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let version = wine::version_in(&ctx)?;
    let model = ctx.models().version("wine", version).await?.ok_or("the version is registered")?;
    let tree = wine::Tree::load(&model.uri)?;
    ctx.ready().await;
    let verdict = format!("version {version} is deployed and in use");
    ctx.publish_once("settled", ctx.event("settled").value(verdict)).await?;
    let mut samples = ctx.aiflow().listen(EventFilter::all().event_type(DATASET_CHANGED), ctx.events()[0].offset);
    loop {
        tokio::select! {
            () = ctx.cancelled() => return Ok(()),
            event = samples.next() => tree.judge(version, event?.value["uri"].as_str().unwrap_or_default())?,
        }
    }
}
