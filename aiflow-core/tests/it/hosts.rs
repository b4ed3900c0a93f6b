//! Hosts at work: several schedulers on one store, one of which leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiflow_core::client::AiFlow;
use aiflow_core::event::{EventFilter, JOB_STATUS_CHANGED};
use aiflow_core::execution::{JobExecution, JobStatus, WorkflowStatus};
use aiflow_core::function::{FunctionExecutor, Functions, JobContext, JobError};
use aiflow_core::graph::{AiGraph, function};
use aiflow_core::host::{Host, HostStatus};
use aiflow_core::id::{JobName, Offset, WorkflowExecutionId};
use aiflow_core::runtime::{Scheduler, Settings};
use aiflow_core::workflow::{Completion, on, start};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::client::aiflow;

/// What the jobs of a test see of it, and it of them.
#[derive(Debug, Clone, Default)]
struct Stage {
    /// Jobs that run, and how often each began, by host.
    began: watch::Sender<BTreeMap<String, Vec<String>>>,
    /// Jobs may end.
    may_end: watch::Sender<bool>,
}

impl Stage {
    fn functions(&self, host: &str) -> Functions {
        let (stage, host) = (self.clone(), host.to_owned());
        Functions::new().register("work", move |ctx: JobContext, _: Value| {
            let (stage, host) = (stage.clone(), host.clone());
            async move {
                let name = format!("{}-{}", ctx.identity().job, ctx.attempt().attempt);
                stage.began.send_modify(|began| began.entry(host.clone()).or_default().push(name));
                let _ = stage.may_end.subscribe().wait_for(|may_end| *may_end).await;
                Ok::<_, JobError>(host)
            }
        })
    }

    async fn wait_began(&self, n: usize) -> BTreeMap<String, Vec<String>> {
        let mut began = self.began.subscribe();
        let reached = began.wait_for(|began| began.values().map(Vec::len).sum::<usize>() >= n).await;
        reached.unwrap().clone()
    }
}

fn settings() -> Settings {
    Settings {
        lease_ttl: Duration::from_millis(300),
        standby_poll: Duration::from_millis(20),
        backoff_max: Duration::from_millis(50),
        ..Settings::default()
    }
}

fn host(flow: &AiFlow, stage: &Stage, name: &str, capacity: u32, labels: &[&str]) -> Scheduler {
    let host = labels.iter().fold(Host::named(name).executor("function", capacity), |host, label| host.label(*label));
    let executor = FunctionExecutor::new(stage.functions(name));
    flow.scheduler().settings(settings()).executor("function", executor).host(host).start().unwrap()
}

/// A scheduler that runs nothing itself.
async fn leader(flow: &AiFlow) -> Scheduler {
    let scheduler = flow.scheduler().settings(settings()).start().unwrap();
    scheduler.wait_leading().await.unwrap();
    scheduler
}

/// Submits a workflow of these jobs, each with the labels that it asks for, and starts it.
async fn start_jobs(flow: &AiFlow, jobs: &[(&str, &[&str])]) -> WorkflowExecutionId {
    let mut graph = AiGraph::new("wine", "quality");
    for (name, labels) in jobs {
        graph.node(*name, labels.iter().fold(function("work"), |node, label| node.runs_on(*label)));
    }
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    flow.start("quality", Value::Null).await.unwrap()
}

async fn job_of(flow: &AiFlow, execution: WorkflowExecutionId, name: &str) -> JobExecution {
    let state = &flow.jobs(execution).await.unwrap()[&JobName::parse(name).unwrap()];
    flow.job_execution(state.current.or(state.last_execution).unwrap()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_host_runs_what_another_process_decides() {
    let (flow, stage) = (aiflow(), Stage::default());
    let leads = leader(&flow).await;
    let ada = host(&flow, &stage, "ada", 2, &[]);
    let id = ada.wait_joined().await.unwrap();
    stage.may_end.send_replace(true);
    let execution = start_jobs(&flow, &[("train", &[])]).await;
    let ended = flow.wait(execution).await.unwrap();
    assert_eq!(ended.status, WorkflowStatus::Succeeded);
    assert_eq!(job_of(&flow, execution, "train").await.output(), Some(&json!("ada")));
    let hosts = flow.hosts().await.unwrap();
    assert_eq!((hosts.len(), &hosts[0].host.id, hosts[0].attempts.len()), (1, &id, 0));
    ada.shutdown().await.unwrap();
    leads.shutdown().await.unwrap();
}

/// A scheduler without executors is meant to lead hosts: that the first of them is late is no reason to fail.
#[tokio::test]
async fn jobs_of_a_leader_that_runs_nothing_wait_for_the_first_host() {
    let (flow, stage) = (aiflow(), Stage::default());
    stage.may_end.send_replace(true);
    let leads = leader(&flow).await;
    let execution = start_jobs(&flow, &[("train", &[])]).await;
    let mut changes = flow.listen(EventFilter::all().event_type(JOB_STATUS_CHANGED), Offset::START);
    while changes.next().await.unwrap().value != "RETRYING" {}
    assert_eq!(job_of(&flow, execution, "train").await.failures, 0);
    let ada = host(&flow, &stage, "ada", 1, &[]);
    assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    assert_eq!(job_of(&flow, execution, "train").await.output(), Some(&json!("ada")));
    ada.shutdown().await.unwrap();
    leads.shutdown().await.unwrap();
}

/// A leader that is a host itself runs what it decides, and nothing changes for its user.
#[tokio::test]
async fn one_process_that_leads_and_is_a_host_does_all() {
    let (flow, stage) = (aiflow(), Stage::default());
    stage.may_end.send_replace(true);
    // It stands in the log before the host does.
    let execution = start_jobs(&flow, &[("train", &[]), ("test", &["gpu"])]).await;
    let ada = host(&flow, &stage, "ada", 1, &["gpu"]);
    assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    ada.shutdown().await.unwrap();
    assert_eq!(flow.hosts().await.unwrap()[0].attempts.len(), 0);
}

#[tokio::test]
async fn what_a_dead_host_had_runs_again_on_another() {
    let (flow, stage) = (aiflow(), Stage::default());
    let leads = leader(&flow).await;
    let ada = host(&flow, &stage, "ada", 2, &[]);
    ada.wait_joined().await.unwrap();
    let execution = start_jobs(&flow, &[("train", &[])]).await;
    stage.wait_began(1).await;
    let bob = host(&flow, &stage, "bob", 2, &[]);
    bob.wait_joined().await.unwrap();
    ada.abort();
    let began = stage.wait_began(2).await;
    assert_eq!(began["bob"], ["train-2"]);
    stage.may_end.send_replace(true);
    flow.wait(execution).await.unwrap();
    let job = job_of(&flow, execution, "train").await;
    assert_eq!((job.status, job.losses, job.output()), (JobStatus::Succeeded, 1, Some(&json!("bob"))));
    let hosts = flow.hosts().await.unwrap();
    assert_eq!(hosts[0].host.status, HostStatus::Lost);
    bob.shutdown().await.unwrap();
    leads.shutdown().await.unwrap();
}

/// The one that leads is also the one that runs the job: both are taken over.
#[tokio::test]
async fn a_leader_that_is_a_host_dies_and_the_next_one_goes_on() {
    let (flow, stage) = (aiflow(), Stage::default());
    let ada = host(&flow, &stage, "ada", 2, &[]);
    ada.wait_leading().await.unwrap();
    let execution = start_jobs(&flow, &[("train", &[]), ("test", &[])]).await;
    stage.wait_began(2).await;
    ada.abort();
    let bob = host(&flow, &stage, "bob", 2, &[]);
    let began = stage.wait_began(4).await;
    assert_eq!(began["bob"].len(), 2);
    stage.may_end.send_replace(true);
    assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    bob.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_hosts_of_one_name_are_two_hosts() {
    let (flow, stage) = (aiflow(), Stage::default());
    let leads = leader(&flow).await;
    let twins = [host(&flow, &stage, "ada", 1, &[]), host(&flow, &stage, "ada", 1, &[])];
    let ids = [twins[0].wait_joined().await.unwrap(), twins[1].wait_joined().await.unwrap()];
    assert_ne!(ids[0], ids[1]);
    let execution = start_jobs(&flow, &[("a", &[]), ("b", &[])]).await;
    stage.wait_began(2).await;
    let hosts = flow.hosts().await.unwrap();
    assert!(hosts.iter().all(|info| info.attempts.len() == 1), "{hosts:?}");
    let [first, second] = twins;
    first.abort();
    // The other one has lost nothing.
    stage.may_end.send_replace(true);
    assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    let mut losses = Vec::new();
    for name in ["a", "b"] {
        losses.push(job_of(&flow, execution, name).await.losses);
    }
    assert!(losses.iter().sum::<u32>() <= 1, "{losses:?}");
    second.shutdown().await.unwrap();
    leads.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_job_without_a_host_waits_and_says_for_what() {
    let (flow, stage) = (aiflow(), Stage::default());
    let leads = leader(&flow).await;
    let ada = host(&flow, &stage, "ada", 1, &[]);
    ada.wait_joined().await.unwrap();
    let execution = start_jobs(&flow, &[("train", &["gpu", "eu"]), ("test", &[])]).await;
    stage.wait_began(1).await;
    let why = flow.explain_job(execution, "train").await.unwrap();
    assert_eq!(why.hindrances, ["its next attempt waits for a host that offers function with eu, gpu: there is none"]);
    let bob = host(&flow, &stage, "bob", 1, &["gpu", "eu"]);
    stage.wait_began(2).await;
    let again = start_jobs(&flow, &[("train", &["gpu", "eu"]), ("test", &[])]).await;
    flow.wait_until(again, |_, jobs| jobs.len() == 2).await.unwrap();
    let why = flow.explain_job(again, "train").await.unwrap();
    let id = bob.wait_joined().await.unwrap();
    let full =
        format!("its next attempt waits for a host that offers function with eu, gpu and has room: {id} has 1 of 1");
    assert_eq!(why.hindrances, [full]);
    stage.may_end.send_replace(true);
    for execution in [execution, again] {
        assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
        assert_eq!(job_of(&flow, execution, "train").await.output(), Some(&json!("bob")));
    }
    for scheduler in [ada, bob, leads] {
        scheduler.shutdown().await.unwrap();
    }
}

/// A restart of one host after the other, while jobs run: each is drained first, so nothing is even repeated.
#[tokio::test]
async fn a_rolling_restart_loses_nothing() {
    let flow = aiflow();
    let (permits, stage) = (Arc::new(Semaphore::new(0)), Stage::default());
    stage.may_end.send_replace(true);
    let mut graph = AiGraph::new("wine", "line");
    graph.completion(Completion::Standing);
    graph.node("work", function("work"));
    graph.control("work", start(on("part")));
    flow.submit(&graph.translate().unwrap()).await.unwrap();
    let mut hosts = vec![host(&flow, &stage, "a", 2, &[]), host(&flow, &stage, "b", 2, &[])];
    let execution = flow.start("line", Value::Null).await.unwrap();
    let publisher = {
        let (flow, permits) = (flow.clone(), Arc::clone(&permits));
        tokio::spawn(async move {
            let mut done = 0;
            while permits.try_acquire().is_err() {
                flow.publish(flow.event("part").value(done)).await.unwrap();
                done += 1;
                let job = JobName::parse("work").unwrap();
                // START of a live job does nothing: each part is made before the next one comes.
                flow.wait_until(execution, |_, jobs| {
                    jobs.get(&job).is_some_and(|j| j.current.is_none() && j.runs == done)
                })
                .await
                .unwrap();
            }
            done
        })
    };
    for round in 0..4 {
        let old = hosts.remove(0);
        let id = old.wait_joined().await.unwrap();
        flow.drain_host(&id).await.unwrap();
        old.shutdown().await.unwrap();
        hosts.push(host(&flow, &stage, if round % 2 == 0 { "a" } else { "b" }, 2, &[]));
        hosts[1].wait_joined().await.unwrap();
    }
    permits.add_permits(1);
    let done = publisher.await.unwrap();
    let jobs = flow.job_executions(execution).await.unwrap();
    assert_eq!(jobs.len(), usize::try_from(done).unwrap());
    assert!(jobs.iter().all(|job| job.status == JobStatus::Succeeded && job.attempt == 1), "{jobs:?}");
    for host in hosts {
        host.shutdown().await.unwrap();
    }
}

/// A host that is shut down without being drained gives back what it had.
#[tokio::test]
async fn what_a_host_that_leaves_had_runs_again_at_once() {
    let (flow, stage) = (aiflow(), Stage::default());
    let leads =
        flow.scheduler().settings(Settings { lease_ttl: Duration::from_secs(60), ..settings() }).start().unwrap();
    leads.wait_leading().await.unwrap();
    let ada = host(&flow, &stage, "ada", 1, &[]);
    ada.wait_joined().await.unwrap();
    let execution = start_jobs(&flow, &[("train", &[])]).await;
    stage.wait_began(1).await;
    let bob = host(&flow, &stage, "bob", 1, &[]);
    bob.wait_joined().await.unwrap();
    ada.shutdown().await.unwrap();
    stage.wait_began(2).await;
    stage.may_end.send_replace(true);
    assert_eq!(flow.wait(execution).await.unwrap().status, WorkflowStatus::Succeeded);
    assert_eq!(job_of(&flow, execution, "train").await.output(), Some(&json!("bob")));
    bob.shutdown().await.unwrap();
    leads.shutdown().await.unwrap();
}

#[test]
fn a_host_that_offers_what_it_has_not_is_refused() {
    let flow = aiflow();
    let error = flow.scheduler().host(Host::named("ada").executor("function", 1)).start().unwrap_err();
    assert!(error.message().contains("offers an executor function, and none of this name"), "{error}");
    let error = flow.scheduler().host(Host::named("ada")).start().unwrap_err();
    assert!(error.message().contains("at least one executor"), "{error}");
}
