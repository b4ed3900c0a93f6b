//! Hosts against a naive model: every step, all live executions are looked at anew.

use std::collections::{BTreeMap, BTreeSet};

use aiflow_core::execution::{JobExecution, JobStatus};
use aiflow_core::host::{HostId, HostState};
use proptest::prelude::*;

use super::world::World;

const JOBS: usize = 6;
const HOSTS: usize = 3;
const LABELS: [&str; 2] = ["gpu", "eu"];

#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    End(prop::sample::Index, &'static str),
    Stop(usize),
    Join(usize, u32, BTreeSet<usize>),
    Gone(usize, &'static str),
    Pool(u32),
    Tick,
    Restore,
}

fn labels() -> impl Strategy<Value = BTreeSet<usize>> {
    prop::collection::btree_set(0..LABELS.len(), 0..=LABELS.len())
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..JOBS).prop_map(Step::Start),
        6 => (any::<prop::sample::Index>(), prop::sample::select(vec!["ok", "failed", "started", "lost"]))
            .prop_map(|(n, how)| Step::End(n, how)),
        2 => (0..JOBS).prop_map(Step::Stop),
        2 => (0..HOSTS, 1_u32..4, labels()).prop_map(|(host, capacity, labels)| Step::Join(host, capacity, labels)),
        2 => (0..HOSTS, prop::sample::select(vec!["lost", "left", "drains"])).prop_map(|(host, how)| Step::Gone(host, how)),
        1 => (0_u32..4).prop_map(Step::Pool),
        2 => Just(Step::Tick),
        1 => Just(Step::Restore),
    ]
}

fn is_placed(job: &JobExecution) -> bool {
    !job.status.is_terminal() && !matches!(job.status, JobStatus::Init | JobStatus::Retrying)
}

/// What must hold of all hosts and executions together.
fn check(world: &World) {
    let snapshot = world.engine.snapshot();
    let hosts: BTreeMap<HostId, HostState> = snapshot.hosts.into_iter().map(|host| (host.id.clone(), host)).collect();
    let mut used: BTreeMap<HostId, u32> = BTreeMap::new();
    for job in world.jobs.values() {
        let placement = &job.placement;
        assert_eq!(placement.host.is_some(), is_placed(job), "{}: {placement:?} {}", job.id, job.status);
        assert!(!placement.waiting || !is_placed(job), "{}", job.id);
        if let Some(id) = &placement.host {
            let host = &hosts[id];
            assert!(!host.status.is_gone(), "{} runs on {id}, which is gone", job.id);
            assert!(host.offer.fits(&job.executor, &placement.runs_on), "{} runs on {id}", job.id);
            *used.entry(id.clone()).or_default() += 1;
        }
    }
    let capacity = |host: &HostState| host.offer.executors.values().sum::<u32>();
    for (id, used) in &used {
        assert!(*used <= capacity(&hosts[id]), "{used} attempts on {id}");
    }
    // Nobody waits for what there is.
    let waiting = world.jobs.values().filter(|job| job.placement.waiting && !job.status.is_terminal());
    for job in waiting {
        let fits = |host: &&HostState| {
            let has_room = used.get(&host.id).copied().unwrap_or(0) < capacity(host);
            let is_live = serde_json::to_value(host.status).unwrap() == "live";
            is_live && has_room && host.offer.fits(&job.executor, &job.placement.runs_on)
        };
        assert_eq!(hosts.values().find(fits), None, "{} waits for a host", job.id);
        assert!(job.slots.as_ref().is_none_or(|slots| slots.taken == 0), "{} waits and holds slots", job.id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attempts_run_where_they_may_and_wait_only_if_they_must(
        drawn in prop::collection::vec((labels(), 0_i32..3, 0_u32..3, any::<bool>()), JOBS),
        steps in prop::collection::vec(a_step(), 1..60),
    ) {
        let text = |labels: &BTreeSet<usize>, between: &str| {
            labels.iter().map(|label| LABELS[*label]).collect::<Vec<_>>().join(between)
        };
        let rules = drawn.iter().enumerate().map(|(i, (on, priority, retries, pool))| {
            let on = if on.is_empty() { String::new() } else { format!("on j{i} {}", text(on, ",")) };
            let pool = if *pool { "pool(p,1) " } else { "" };
            format!(
                "j{i}: START when s{i}; j{i}: STOP when t{i}; retry j{i} {retries} x 1s; {on}
                 admit j{i} {pool}priority({priority})"
            )
        });
        let rules: Vec<String> = rules.collect();
        let mut world = World::new(&format!("completion standing; {}", rules.join("; ")));
        // A host that joined once, so that nothing runs in the process of the leader.
        world.play("pool p 2 | host h0 function:1 | start");
        for step in steps {
            let running: Vec<_> = world.jobs.values().filter(|job| is_placed(job)).map(|job| job.id).collect();
            let step = match step {
                Step::Start(job) => format!("s{job}"),
                Step::Stop(job) => format!("t{job}"),
                Step::End(n, how) if !running.is_empty() => {
                    format!("{} {how}", world.name_of(running[n.index(running.len())]))
                }
                Step::End(..) => continue,
                Step::Join(host, capacity, labels) => format!("host h{host} function:{capacity} {}", text(&labels, " ")),
                Step::Gone(host, _) if !world.trace_knows_host(host) => continue,
                Step::Gone(host, how) => format!("host h{host} {how}"),
                Step::Pool(slots) => format!("pool p {slots}"),
                Step::Tick => "tick 1s".to_owned(),
                Step::Restore => "restore".to_owned(),
            };
            world.play(&step);
            check(&world);
        }
    }
}

impl World {
    fn trace_knows_host(&self, host: usize) -> bool {
        self.engine.snapshot().hosts.iter().any(|known| known.id.name.as_str() == format!("h{host}"))
    }
}
