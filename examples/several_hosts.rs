//! Three hosts (here: processes) run the same application on one Redis. One of them decides, and all of them run what it places on them; each that
//! leads is killed, and the next goes on where it was. Needs a Redis 7 at `AIFLOW_URL`, by default the one of this machine.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiflow::function::JobError;
use aiflow::prelude::*;
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How long the others wait for a leader that fell silent.
const LEASE: Duration = Duration::from_secs(1);
const HOST: &str = "AIFLOW_EXAMPLE_HOST";

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::var("AIFLOW_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379?prefix=several-hosts".to_owned());
    let aiflow = aiflow::open(&url).await?.project("line")?;
    match std::env::var(HOST) {
        Ok(host) => run_host(&aiflow, host).await,
        Err(_) => watch(&aiflow, &url).await,
    }
}

/// What runs on each host. All may publish, ask and run jobs; whoever holds the lease decides which host does what.
async fn run_host(aiflow: &AiFlow, host: String) -> Outcome<()> {
    let name = host.clone();
    let functions = Functions::new().register("inspect", move |ctx: JobContext, _: Value| {
        let host = name.clone();
        async move {
            let part = ctx.events()[0].value.clone();
            // If this host dies before its end is known, another one does it again, and publishes the same.
            ctx.publish_once("inspected", ctx.event("inspected").value(part).label("host", host)).await?;
            Ok::<_, JobError>(())
        }
    });
    let settings = Settings { lease_ttl: LEASE, ..Settings::default() };
    let scheduler = aiflow
        .scheduler()
        .settings(settings)
        .executor("function", FunctionExecutor::new(functions))
        .host(Host::named(host.as_str()).executor("function", 4))
        .start()?;
    let epoch = scheduler.wait_leading().await?;
    aiflow.publish(aiflow.event("leads").value(epoch).label("host", host)).await?;
    std::future::pending().await
}

/// Starts the hosts, gives them work, and kills those that lead.
async fn watch(aiflow: &AiFlow, url: &str) -> Outcome<()> {
    let mut graph = AiGraph::new("line", "inspection");
    graph.node("inspect", function("inspect"));
    graph.rule(start_workflow(on("part")));
    aiflow.submit(&graph.translate()?).await?;
    let mut news = aiflow.listen(EventFilter::all().namespace("line"), aiflow.head().await?);
    let mut hosts = BTreeMap::new();
    for host in ["ada", "bob", "cleo"] {
        hosts.insert(host.to_owned(), start(host, url)?);
    }
    let (mut leader, mut inspected) = (None::<String>, Vec::new());
    let mut killed = Instant::now();
    for part in 1..=9_u64 {
        aiflow.publish(aiflow.event("part").value(part)).await?;
        while inspected.len() < usize::try_from(part)? {
            let event = news.next().await?;
            let host = event.context.labels.get("host").cloned().unwrap_or_default();
            match event.key.as_str() {
                "leads" => {
                    println!("{host} leads (epoch {}) after {:.1} s", event.value, killed.elapsed().as_secs_f64());
                    leader = Some(host);
                }
                "inspected" => {
                    println!("  part {} was inspected on {host}", event.value);
                    inspected.push(event.value.as_u64().unwrap_or_default());
                }
                _ => {}
            }
        }
        if part % 3 == 0
            && hosts.len() > 1
            && let Some(mut host) = leader.take().and_then(|leader| hosts.remove(&leader))
        {
            host.kill()?;
            host.wait()?;
            killed = Instant::now();
            println!("the leader was killed; {} left: {:?}", hosts.len(), hosts.keys().collect::<Vec<_>>());
        }
    }
    for host in hosts.values_mut() {
        host.kill()?;
        host.wait()?;
    }
    println!("each part was inspected once, in order: {}", inspected.iter().copied().eq(1..=9));
    Ok(())
}

/// This program again, as one of the hosts.
fn start(host: &str, url: &str) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command.env(HOST, host).env("AIFLOW_URL", url).stdin(Stdio::null()).spawn()?)
}
