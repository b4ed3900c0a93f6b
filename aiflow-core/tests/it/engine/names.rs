//! Short names: how are executions, rules and timers called in a trace?

use std::collections::BTreeMap;

use aiflow_core::event::Event;
use aiflow_core::execution::Firing;
use aiflow_core::id::{JobExecutionId, JobName, Offset, RuleName, WorkflowExecutionId, WorkflowName};
use aiflow_core::timer::{Subject, Timer, TimerKey};
use aiflow_core::workflow::Workflow;

use super::text::shown;

/// Short names of executions and rules, in order of appearance.
#[derive(Default)]
pub(super) struct Names {
    pub(super) executions: BTreeMap<WorkflowExecutionId, String>,
    pub(super) jobs: BTreeMap<JobExecutionId, String>,
    pub(super) counts: BTreeMap<String, usize>,
    pub(super) rules: BTreeMap<(String, RuleName), String>,
}

impl Names {
    pub(super) fn learn_rules(&mut self, workflow: &Workflow) {
        for rule in &workflow.rules {
            self.rule(&format!("{}/", workflow.name), "wf", &rule.name);
        }
        for edge in &workflow.control_edges {
            let of = format!("{}/{}", workflow.name, edge.job);
            self.rule(&of, edge.job.as_str(), &edge.rule.name);
        }
    }

    /// `train.1` for the first rule of job train; a rule with a name of its own keeps it.
    pub(super) fn rule(&mut self, of: &str, subject: &str, name: &RuleName) {
        let derived = name.as_str().rsplit_once('-').is_some_and(|(_, hash)| hash.len() == 12);
        let key = (of.to_owned(), name.clone());
        if !self.rules.contains_key(&key) {
            let count = self.counts.entry(format!("rules of {of}")).or_default();
            *count += 1;
            let short = if derived { format!("{subject}.{count}") } else { name.to_string() };
            self.rules.insert(key, short);
        }
    }

    pub(super) fn execution(&mut self, id: WorkflowExecutionId, workflow: &WorkflowName) -> String {
        let counts = &mut self.counts;
        let name = self.executions.entry(id).or_insert_with(|| {
            let count = counts.entry(workflow.to_string()).or_default();
            *count += 1;
            format!("{workflow}#{count}")
        });
        name.clone()
    }

    pub(super) fn job(&mut self, id: JobExecutionId, job: &JobName) -> String {
        let counts = &mut self.counts;
        let name = self.jobs.entry(id).or_insert_with(|| {
            let count = counts.entry(format!("job {job}")).or_default();
            *count += 1;
            format!("{job}#{count}")
        });
        name.clone()
    }

    pub(super) fn firing(&self, workflow: &WorkflowName, job: Option<&JobName>, firing: &Firing) -> String {
        let of = format!("{workflow}/{}", job.map_or("", |job| job.as_str()));
        let key = firing.key.as_ref().map_or(String::new(), |key| format!(" of {key}"));
        let rule = match &firing.rule {
            Some(name) => self.rules.get(&(of, name.clone())).map_or("?", String::as_str),
            None => "start",
        };
        let scheduled = firing.schedule.as_ref().map(|time| {
            let until = time.until.map(|until| format!(" to {}", shown(until))).unwrap_or_default();
            let backfill = if time.backfill { " (backfill)" } else { "" };
            format!("{} {}{until}{backfill}", time.schedule, shown(time.time))
        });
        let rule = scheduled.as_deref().unwrap_or(rule);
        let events: Vec<String> = firing.events.iter().map(Offset::to_string).collect();
        format!("{rule} [{}]{key}", events.join(" "))
    }

    pub(super) fn timer(&self, timer: &Timer) -> String {
        let due = timer.due;
        match &timer.key {
            TimerKey::Job { attempt, .. } => format!("timer of {} at {due}", self.jobs[&attempt.job_execution]),
            TimerKey::Deadline { execution, job } => {
                let job = job.as_ref().map(|job| format!("{job} in ")).unwrap_or_default();
                format!("deadline of {job}{} at {due}", self.executions[execution])
            }
            TimerKey::Rule { of, rule, .. } => {
                let (of, name) = match of {
                    Subject::Workflow { workflow, .. } => (format!("{workflow}/"), workflow.to_string()),
                    Subject::Job { execution, job } => {
                        let name = &self.executions[execution];
                        let workflow = name.split('#').next().unwrap_or_default();
                        (format!("{workflow}/{job}"), name.clone())
                    }
                };
                let rule = self.rules.get(&(of, rule.clone())).map_or(rule.as_str(), String::as_str);
                format!("timer of rule {rule} of {name} at {due}")
            }
            TimerKey::Schedule { of: Subject::Workflow { workflow, .. }, schedule, .. } => {
                format!("schedule {schedule} of {workflow} at {}", shown(due))
            }
            TimerKey::Schedule { of: Subject::Job { execution, job }, schedule, .. } => {
                format!("schedule {schedule} of {job} in {} at {}", self.executions[execution], shown(due))
            }
            TimerKey::Meter { meter, .. } => {
                let words: Vec<&str> = meter.split('/').collect();
                format!("meter of {} at {due}", words[2..words.len() - 1].join(" "))
            }
            other => format!("timer {other} at {due}"),
        }
    }

    pub(super) fn own_event(&self, event: &Event) -> String {
        if event.event_type == "UNDEFINED" {
            return format!("{} {}", event.key, self.shorten(&event.value.to_string()));
        }
        if event.event_type == "CATCH_UP" {
            return format!("{} catches up", self.shorten(&event.key));
        }
        let value = match event.event_type.as_str() {
            "DEADLINE_MISSED" => "DEADLINE_MISSED",
            _ => event.value.as_str().unwrap_or_default(),
        };
        let of_job = event.context.attempt.map(|attempt| attempt.job_execution);
        let job = of_job.and_then(|id| self.jobs.get(&id));
        let of_execution = event.context.workflow_execution;
        let execution = of_execution.and_then(|id| self.executions.get(&id));
        let name = job.or(execution).map_or(event.key.as_str(), String::as_str);
        format!("{name} {value}")
    }

    /// Writes ids of workflow executions as their short names.
    pub(super) fn shorten(&self, reason: &str) -> String {
        let mut text = reason.to_owned();
        for (id, name) in &self.executions {
            text = text.replace(&id.to_string(), name);
        }
        text
    }
}
