//! The machine-learning workflow of AIFlow's overview on real data: wine samples arrive in batches; each batch is prepared, a model is
//! trained and evaluated, and the better model takes over the inference job, which never ends. Events schedule all of it.
//!
//! `cargo run --release --example quickstart`. Everything is kept in `aiflow-data/quickstart`: run it again and it goes on with the next
//! batches; kill it at any moment, and the next run picks up where it was.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::{Path, PathBuf};

use aiflow::function::JobError;
use aiflow::meta::{Dataset, Model as ModelMeta, NewMetric, NewModelVersion, Subject};
use aiflow::prelude::*;
use serde_json::{Value, json};

mod wine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = wine::folder().join(wine::STORE);
    let aiflow = aiflow::open(&format!("sqlite://{}", store.display()))
        .await?
        .project("wine")?;

    // Four stages, and the events that start them.
    let mut graph = AiGraph::new("wine", "quality");
    graph.node("feature_engineering", function("features"));
    graph.node("training", function("train"));
    graph.node("evaluation", function("evaluate"));
    graph.node("inference", function("infer").streaming());
    graph.control("feature_engineering", start(on("raw_batch")));
    graph.control("training", start(on("samples")));
    graph.control(
        "evaluation",
        start(on_model_version("wine", ModelStage::Generated)),
    );
    graph.control(
        "inference",
        restart(on_model_version("wine", ModelStage::Deployed)),
    );
    aiflow.submit(&graph.translate()?).await?;

    // The scheduler lives in this process; the jobs are functions of it.
    let functions = Functions::new()
        .register("features", features)
        .register_blocking("train", train)
        .register("evaluate", evaluate)
        .register("infer", infer);
    let scheduler = aiflow
        .scheduler()
        .executor("function", FunctionExecutor::new(functions))
        .start()?;
    let progress = tokio::spawn(wine::print_progress(aiflow.clone(), aiflow.head().await?));

    // Four more batches arrive, or those that are left of a run that was killed.
    let mut verdicts = aiflow.listen(EventFilter::all().key("verdict"), Offset::START);
    let mut judged = 0;
    while verdicts.try_next().await?.is_some() {
        judged += 1;
    }
    let last = (judged / 4 * 4 + 4).min(wine::BATCHES);
    let execution = aiflow
        .start_with_key("quality", Value::Null, format!("until-batch-{last}"))
        .await?;
    println!(
        "batches {}..={last} arrive at workflow execution {execution}",
        judged + 1
    );
    for n in judged + 1..=last {
        aiflow
            .publish(
                aiflow
                    .event("raw_batch")
                    .id(format!("raw-batch-{n}"))
                    .value(n),
            )
            .await?;
        println!(
            "batch {n}: {}",
            verdicts.next().await?.value["text"]
                .as_str()
                .unwrap_or_default()
        );
    }

    // The inference job would go on for ever: stop it.
    aiflow.stop(execution).await?;
    aiflow.wait(execution).await?;
    progress.abort();
    wine::print_reasons(&aiflow, execution).await?;
    wine::print_versions(&aiflow).await?;
    println!(
        "\nlook inside: sqlite3 {} 'select * from model_version'",
        store.display()
    );
    Ok(scheduler.shutdown().await?)
}

/// Feature engineering: turns a raw batch into samples and says so.
async fn features(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let n = ctx.events()[0]
        .value
        .as_u64()
        .ok_or("a raw batch has a number")?;
    let path = wine::write_samples(usize::try_from(n)?)?;
    ctx.datasets()
        .register(Dataset::new(format!("samples-{n}"), path.display().to_string())?.format("csv"))
        .await?;
    ctx.publish_once(
        "samples",
        ctx.event("samples").value(path.display().to_string()),
    )
    .await?;
    Ok(())
}

/// Training: fits a decision tree to all samples so far and registers it as the next version of the model.
fn train(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let samples = ctx.block_on(ctx.datasets().list())?;
    let paths: Vec<PathBuf> = samples
        .iter()
        .map(|dataset| PathBuf::from(&dataset.uri))
        .collect();
    let path = wine::folder().join(format!("model-of-{}-batches.json", paths.len()));
    wine::Model::train(&paths)?.save(&path)?;
    ctx.block_on(ctx.models().register(ModelMeta::new("wine")?))?;
    let version =
        NewModelVersion::new(path.display().to_string()).idempotency_key(ctx.once("version"));
    ctx.block_on(ctx.models().register_version("wine", version))?;
    Ok(())
}

/// Evaluation: measures the new version on held-out wines and deploys it if it is better than the deployed one.
async fn evaluate(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let (models, metrics) = (ctx.models(), ctx.metrics());
    let version = u32::try_from(
        ctx.events()[0].value["version"]
            .as_u64()
            .ok_or("an event of a model has its version")?,
    )?;
    let candidate = models
        .version("wine", version)
        .await?
        .ok_or("the version is registered")?;
    let accuracy = wine::Model::load(&candidate.uri)?.accuracy()?;
    metrics
        .record(NewMetric::new(
            "accuracy",
            Subject::model_version("wine", version)?,
            accuracy,
        )?)
        .await?;
    let deployed = match models.deployed("wine").await? {
        Some(deployed) => wine::Model::load(&deployed.uri)?.accuracy()?,
        None => 0.0,
    };
    if accuracy > deployed {
        models
            .set_stage("wine", version, ModelStage::Validated)
            .await?;
        models.deploy("wine", version).await?;
    }
    let text = format!(
        "version {version} is right about {accuracy:.3} of the wines, the deployed one about {deployed:.3}"
    );
    ctx.publish_once(
        "verdict",
        ctx.event("verdict").value(json!({ "text": text })),
    )
    .await?;
    Ok(())
}

/// Inference: judges arriving samples with the deployed model until it is stopped or restarted with a better one.
async fn infer(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let deployed = ctx
        .models()
        .deployed("wine")
        .await?
        .ok_or("a version is deployed")?;
    let model = wine::Model::load(&deployed.uri)?;
    let mut samples = ctx.aiflow().listen(
        EventFilter::all().key("samples"),
        ctx.aiflow().head().await?,
    );
    ctx.ready().await;
    loop {
        tokio::select! {
            () = ctx.cancelled() => return Ok(()),
            event = samples.next() => {
                let (good, all) = model.count_good(Path::new(event?.value.as_str().unwrap_or_default()))?;
                println!("        inference with version {}: {good} of {all} wines are good", deployed.version);
            }
        }
    }
}
