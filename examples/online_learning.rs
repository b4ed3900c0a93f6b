//! Online learning: training runs again and again on the samples that keep coming, and goes on from the model that is in use; a version that
//! is better is deployed, and handed to the prediction job, which never ends, while it runs.
//!
//! `cargo run --example online_learning`. Training is periodic, every 50 ms here; everything after it is started by events of the model.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use aiflow::function::JobError;
use aiflow::meta::{Model, ModelVersion, NewModelVersion, Scalar};
use aiflow::prelude::*;
use aiflow::workflow::{Admission, signal};
use serde_json::{Value, json};

/// The world: y = 3 x. The model is one weight, and is to find out.
const TRUTH: f64 = 3.0;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "memory://".to_owned());
    let aiflow = aiflow::open(&url).await?.project("line")?;

    let mut graph = AiGraph::new("line", "online");
    graph.node("training", function("train").schedule(every(Duration::from_millis(50))));
    // A version that comes while another one is validated waits for its turn.
    graph.node("validation", function("validate").admission(Admission::new().overlap(OverlapPolicy::BufferAll)));
    graph.node("prediction", function("predict").streaming());
    graph.control("validation", start(on_model_version("slope", ModelStage::Generated)));
    // If it did not acknowledge the version in time, it would be restarted with it; `restart` would do that at once.
    graph.control("prediction", signal(on_model_version("slope", ModelStage::Deployed)));
    aiflow.submit(&graph.translate()?).await?;

    let functions = Functions::new().register("train", train);
    let functions = functions.register("validate", validate).register("predict", predict);
    let scheduler = aiflow.scheduler().executor("function", FunctionExecutor::new(functions)).start()?;
    aiflow.models().register(Model::new("slope")?).await?;
    let execution = aiflow.start("online", Value::Null).await?;

    // Samples keep coming, until the predictions are good.
    let mut predictions = aiflow.listen(EventFilter::all().key("prediction"), execution.cause);
    for n in 1_u32.. {
        let x = f64::from(n % 10) / 10.0 + 0.1;
        aiflow.publish(aiflow.event("sample").value(json!({ "x": x, "y": TRUTH * x }))).await?;
        let prediction = predictions.next().await?;
        println!("version {} predicts f(1) = {:.3}", prediction.value["version"], number(&prediction.value["y"])?);
        if (number(&prediction.value["y"])? - TRUTH).abs() < 0.05 {
            break;
        }
    }
    aiflow.stop(execution).await?;
    aiflow.wait(execution).await?;

    let versions = aiflow.models().versions("slope").await?;
    let deployed = versions.iter().filter(|version| version.stage == ModelStage::Deployed).count();
    let prediction = aiflow.job_state(execution, "prediction").await?.ok_or("it ran")?;
    println!("{} versions, one run of prediction", versions.len());
    assert_eq!(deployed, 1, "one version is in use at a time");
    assert!(versions.len() > 1 && prediction.runs == 1, "the versions were handed over");
    Ok(scheduler.shutdown().await?)
}

fn number(value: &Value) -> Result<f64, &'static str> {
    value.as_f64().ok_or("it is no number")
}

/// The weight of a version is a property of it.
fn weight_of(version: &ModelVersion) -> Result<f64, &'static str> {
    version.notes.properties.get("weight").and_then(Scalar::as_f64).ok_or("a version has a weight")
}

/// The weight in use, 0 if none is.
async fn weight_in_use(ctx: &JobContext) -> Result<f64, JobError> {
    Ok(ctx.models().deployed("slope").await?.map_or(Ok(0.0), |version| weight_of(&version))?)
}

/// Training: one step down the gradient for each sample so far, from the weight in use.
async fn train(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let mut weight = weight_in_use(&ctx).await?;
    let mut samples = ctx.aiflow().listen(EventFilter::all().key("sample"), Offset::START);
    while let Some(sample) = samples.try_next().await? {
        let (x, y) = (number(&sample.value["x"])?, number(&sample.value["y"])?);
        weight += 0.3 * x * (y - weight * x);
    }
    let version = NewModelVersion::new("memory").property("weight", weight).idempotency_key(ctx.once("version"));
    ctx.models().register_version("slope", version).await?;
    Ok(())
}

/// Validation: a version that is nearer to the truth than the one in use is deployed, any other is put away.
async fn validate(ctx: JobContext, _: Value) -> Result<(), JobError> {
    let event = ctx.events().first().ok_or("a version made it run")?;
    let version = u32::try_from(event.value["version"].as_u64().ok_or("the event names the version")?)?;
    let candidate = ctx.models().version("slope", version).await?.ok_or("it is registered")?;
    let (new, used) = (weight_of(&candidate)?, weight_in_use(&ctx).await?);
    if (new - TRUTH).abs() < (used - TRUTH).abs() {
        ctx.models().deploy("slope", version).await?;
    } else if candidate.stage == ModelStage::Generated {
        ctx.models().set_stage("slope", version, ModelStage::Deprecated).await?;
    }
    Ok(())
}

/// Prediction: works with the version in use and takes each new one as it comes, until it is stopped.
async fn predict(ctx: JobContext, _: Value) -> Result<(), JobError> {
    ctx.ready().await;
    loop {
        if let Some(model) = ctx.models().deployed("slope").await? {
            let prediction = json!({ "version": model.version, "y": weight_of(&model)? });
            ctx.publish(ctx.event("prediction").value(prediction)).await?;
        }
        tokio::select! {
            () = ctx.cancelled() => return Ok(()),
            version = ctx.next_signal() => version.acknowledge().await?,
        }
    }
}
