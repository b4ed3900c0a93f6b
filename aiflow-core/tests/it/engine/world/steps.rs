//! The steps of the text form: what does each put into the log, or let happen?
//!
//! # Events
//! Steps are separated by `|` or line ends; steps joined by `&` stand in the log before the engine sees the first of them.
//!
//! ```text
//! start [workflow] [k=v …]         start an execution by hand; executions are called @1, @2, … in order of creation
//! start wf in:blue label:k=v       in a named context, with a label
//! stop [@n], stop! [@n]            stop or kill an execution (the newest); the words after `because` are the reason
//! enable wf, disable wf
//! act RESTART train [@n]           act on a job by hand; also KILL, and `because` as above
//! train ok                         a report of the newest execution of job train; also started, ready, failed, fatal, lost, stopped, timedout,
//!                                  silent, exit:75 and error:io
//! train#2-1 ok                     a report of the second execution of train in this world, attempt 1
//! [@n] key[=value] [ns:… type:… from:… at:… hops:… label:name=…]      an event of a user; with @n, for that execution only; with
//!                                  only:p/wf/name for that rule only: a dead letter that is tried again
//! infer at 2 x7                    the attempt says where to go on: the second time, `x7`
//! infer acks, infer refuses        the oldest value that was handed over; signal infer v [@n] hands one over by hand
//! tick 5s                          time passes and timers fire when they are due
//! at 2026-03-29T02:30Z             sets the clock, and no timer fires
//! jump 5s, jump -5s                the clock is set forward or back; what is due by it fires
//! pause wf/nightly                 a schedule; also resume, delete; of a job in an execution: pause train/tick [@n]
//! upgrade @1                             lets an execution go on under the latest version
//! rerun @1 from:train,test k=v           runs an ended execution again; without from: what did not succeed
//! pool gpu 2                             says how many slots a pool has; `none` removes it
//! host ada function:2 gpu                a host joins, with its executors, their capacities and its labels; `ada@2` is another of that name
//! host ada lost                          the host is gone; also left, drains
//! unplaced train                         the leader cannot run the newest attempt of train
//! backfill wf/nightly 2026-03-01 2026-03-03 [quiet] [overlap:skip]
//! rule pause wf name [@n]          also resume, clear, remove; of a job in an execution: rule pause train name
//! pause [@n], resume [@n]          an execution
//! unschedule train [@n]            stops the scheduling of a job; schedule resumes it
//! skip 5s                          time passes, and what was due waits for the next tick: no scheduler was there
//! submit { rules }                 a new version of the workflows
//! page 2                           rules that begin in the past are shown two events at once; trim 3: nothing up to event 3
//! refuse past                            from now on the store refuses for good what such rules are shown
//! restore                          the engine is thrown away and restored from its snapshot, through JSON
//! ```

use aiflow_core::control::Control;
use aiflow_core::event::{Cause, NewEvent};
use aiflow_core::execution::ScheduleAction;
use aiflow_core::executor::{Ending, ReportKind, StopMode, TimeLimit};
use aiflow_core::host::{HostId, HostOffer};
use aiflow_core::id::{AttemptId, HostName, Offset, RuleName, ScheduleName, WorkflowName};
use aiflow_core::time::Timestamp;
use aiflow_core::timer::Subject;
use aiflow_core::workflow::{JobAction, OverlapPolicy};
use serde_json::Value;

use super::super::text::{PROJECT, duration, job_action, job_name, overlap, time, value};

use super::{World, project};

impl World {
    fn host(&mut self, step: &str, name: &str, words: &[&str]) {
        let (name, place) = name.split_once('@').unwrap_or((name, "1"));
        let (name, place) = (HostName::parse(name).expect("a host name"), place.parse().expect("a place"));
        let newest = self.log.iter().rev().find_map(|input| match Control::from_event(&input.event) {
            Ok(Some(Control::HostJoined { host, .. })) if (&host.name, host.place) == (&name, place) => Some(host),
            _ => None,
        });
        let epoch = newest.as_ref().map_or(1, |host| host.epoch + 1);
        let control = match (words, newest) {
            (["lost"], Some(host)) => Control::HostLeft { host, lost: true },
            (["left"], Some(host)) => Control::HostLeft { host, lost: false },
            (["drains"], Some(host)) => Control::HostDrains { host },
            (words, _) => {
                let (executors, labels): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.contains(':'));
                let executors = executors.iter().map(|word| {
                    let (executor, capacity) = word.split_once(':').expect("executor:capacity");
                    (executor.parse().expect("an executor"), capacity.parse().expect("a number"))
                });
                let offer = HostOffer {
                    name: name.clone(),
                    labels: labels.iter().map(|label| label.parse().expect("a label")).collect(),
                    executors: executors.collect(),
                };
                Control::HostJoined { host: HostId { name, place, epoch }, offer }
            }
        };
        self.control(step, control);
    }

    /// Puts one step into the log, or lets time pass.
    pub(crate) fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        if let Some(rules) = step.strip_prefix("submit") {
            let rules = rules.trim().strip_prefix('{').and_then(|r| r.strip_suffix('}'));
            return self.submit(rules.expect("submit { rules }"));
        }
        match words[..] {
            ["restore"] => self.restore(),
            ["page", n] => self.page = n.parse().expect("a number of events"),
            ["refuse", "past"] => self.refuses_past = true,
            ["trim", offset] => self.trimmed = Offset(offset.parse().expect("an offset")),
            ["tick", by] => self.tick(by),
            ["at", text] => self.now = time(text),
            ["jump", by] => self.jump(by),
            [action @ ("pause" | "resume" | "delete"), name, ..] if let Some((of, schedule)) = name.split_once('/') => {
                let of = self.schedule_subject(of, words.get(2).copied());
                let schedule = ScheduleName::parse(schedule).expect("a schedule name");
                let action = match action {
                    "pause" => ScheduleAction::Pause,
                    "resume" => ScheduleAction::Resume,
                    _ => ScheduleAction::Delete,
                };
                self.control(step, Control::ActOnSchedule { of, schedule, action });
            }
            ["pause", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::PauseExecution { execution, reason: String::new() });
            }
            ["resume", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::ResumeExecution { execution });
            }
            [word @ ("schedule" | "unschedule"), job, ..] => {
                let (execution, job) = (self.execution_named(words.get(2).copied()), job_name(job));
                self.control(step, Control::ScheduleJob { execution, job, scheduled: word == "schedule" });
            }
            ["backfill", name, from, to, ref options @ ..] => {
                let (workflow, schedule) = name.split_once('/').expect("workflow/schedule");
                let policy = options.iter().find_map(|word| word.strip_prefix("overlap:"));
                let control = Control::Backfill {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    schedule: ScheduleName::parse(schedule).expect("a schedule name"),
                    from: time(from),
                    to: time(to),
                    quiet: options.contains(&"quiet"),
                    overlap: policy.map_or(OverlapPolicy::AllowAll, overlap),
                };
                self.control(step, control);
            }
            ["rule", change, of, rule, ..] => {
                let of = self.schedule_subject(of, words.get(4).copied());
                let rule = RuleName::parse(rule).expect("a rule name");
                let change = serde_json::from_value(change.into()).expect("pause, resume, clear or remove");
                self.control(step, Control::ActOnRule { of, rule, change });
            }
            ["upgrade", ..] => {
                let execution = self.execution_named(words.get(1).copied());
                self.control(step, Control::UpgradeExecution { execution });
            }
            ["rerun", ..] => self.rerun(step, &words),
            ["pool", name, slots] => {
                let (project, pool) = (project(), name.parse().expect("a pool name"));
                self.control(step, Control::SetPool { project, pool, slots: slots.parse().ok() });
            }
            ["host", name, ref words @ ..] => self.host(step, name, words),
            ["unplaced", job] => {
                let newest = self.jobs.values().rfind(|execution| execution.job.as_str() == job).expect("an execution");
                self.control(step, Control::Unplaced { attempt: newest.attempt_id() });
            }
            ["skip", by] => self.now = self.now + duration(by),
            ["start", ..] => {
                let (workflow, params) = match words.get(1) {
                    Some(word) if !word.contains('=') => (*word, &words[2..]),
                    _ => ("wf", &words[1..]),
                };
                let labels = params.iter().filter_map(|word| word.strip_prefix("label:")?.split_once('='));
                let labels = labels.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
                let context = params.iter().find_map(|word| word.strip_prefix("in:")).map(str::to_owned);
                let params = params.iter().filter(|word| !word.starts_with("in:") && !word.starts_with("label:"));
                let params = params.map(|param| {
                    let (name, text) = param.split_once('=').expect("name=value");
                    (name.to_owned(), value(text))
                });
                let params: serde_json::Map<String, Value> = params.collect();
                self.control(
                    step,
                    Control::StartWorkflow {
                        project: project(),
                        workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                        params: if params.is_empty() { Value::Null } else { params.into() },
                        context,
                        labels,
                    },
                );
            }
            [word @ ("stop" | "stop!"), ..] => {
                let execution = self.execution_named(words.get(1).copied().filter(|word| word.starts_with('@')));
                let (mode, reason) = (stop_mode(word), reason(step));
                self.control(step, Control::StopExecution { execution, mode, reason });
            }
            ["enable" | "disable", workflow] => self.control(
                step,
                Control::EnableWorkflow {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    enabled: words[0] == "enable",
                },
            ),
            ["delete" | "restore", workflow] => self.control(
                step,
                Control::DeleteWorkflow {
                    project: project(),
                    workflow: WorkflowName::parse(workflow).expect("a workflow name"),
                    deleted: words[0] == "delete",
                },
            ),
            ["act", action, job, ..] => {
                let execution = self.execution_named(words.get(3).copied().filter(|word| word.starts_with('@')));
                let mode = stop_mode(action);
                let action = if action == "KILL" { JobAction::Stop } else { job_action(action) };
                let control = Control::ActOnJob { execution, job: job_name(job), action, mode, reason: reason(step) };
                self.control(step, control);
            }
            ["signal", job, text, ..] => {
                let (execution, job) = (self.execution_named(words.get(3).copied()), job_name(job));
                self.control(step, Control::SignalJob { execution, job, value: value(text) });
            }
            [target, "acks" | "refuses"] => {
                let attempt = self.attempt_named(target);
                let oldest = self.jobs[&attempt.job_execution].signals.first().expect("a value was handed over");
                let signal = oldest.signal.id;
                let report = match words[1] {
                    "acks" => ReportKind::Acknowledged { signal },
                    _ => ReportKind::SignalRefused { signal, message: "it cannot".to_owned() },
                };
                self.control(step, Control::Reported { attempt, report });
            }
            [target, "says", number, ref labels @ ..] => {
                let attempt = self.attempt_named(target);
                let number = number.parse().expect("the number of a change");
                let change = |label: &&str| match label.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => ((*label).to_owned(), None),
                };
                let report = ReportKind::Labels { number, labels: labels.iter().map(change).collect() };
                self.control(step, Control::Reported { attempt, report });
            }
            [target, "at", number, text] => {
                let attempt = self.attempt_named(target);
                let number = number.parse().expect("the number of a checkpoint");
                let report = ReportKind::Checkpoint { number, value: value(text) };
                self.control(step, Control::Reported { attempt, report });
            }
            [target, report] if let Some(report) = report_kind(report) => {
                let attempt = self.attempt_named(target);
                self.control(step, Control::Reported { attempt, report });
            }
            _ => self.user_event(step, &words),
        }
    }

    fn user_event(&mut self, step: &str, words: &[&str]) {
        let (execution, words) = match words {
            [name, rest @ ..] if name.starts_with('@') => (Some(self.execution_named(Some(name))), rest),
            _ => (None, words),
        };
        let Some((first, fields)) = words.split_first() else { panic!("an empty event in {step:?}") };
        let (key, event_value) = match first.split_once('=') {
            Some((key, text)) => (key, value(text)),
            None => (*first, Value::Null),
        };
        let mut event = NewEvent::identified(self.fresh_id(), PROJECT, key).value(event_value);
        event.context.workflow_execution = execution;
        for field in fields {
            let Some((name, text)) = field.split_once(':') else {
                panic!("cannot read {field:?} in the event {step:?}")
            };
            match name {
                "ns" => text.clone_into(&mut event.namespace),
                "type" => text.clone_into(&mut event.event_type),
                "from" => text.clone_into(&mut event.sender),
                "in" => event.context.contexts.extend(text.split(',').map(str::to_owned)),
                "only" => event.context.only_rule = Some(text.to_owned()),
                "label" => {
                    let (name, text) = text.split_once('=').expect("label:name=text");
                    event.context.labels.insert(name.to_owned(), text.to_owned());
                }
                "at" => {
                    let millis = text.parse().expect("milliseconds");
                    event.time = Some(Timestamp::from_millis(millis));
                }
                "hops" => {
                    let (offset, hops) = (Offset(1), text.parse().expect("a number of hops"));
                    event.cause = Some(Cause { offset, hops });
                }
                _ => panic!("events have no field {name:?}, in {step:?}"),
            }
        }
        self.append(event, step, None);
    }

    fn schedule_subject(&self, of: &str, execution: Option<&str>) -> Subject {
        match WorkflowName::parse(of) {
            Ok(workflow) if self.definitions.keys().any(|(name, _)| *name == workflow) => {
                Subject::Workflow { project: project(), workflow }
            }
            _ => Subject::Job { execution: self.execution_named(execution), job: job_name(of) },
        }
    }

    /// `train`, `train#2` or `train#2-1`; the newest execution and its current attempt where not said.
    fn attempt_named(&self, name: &str) -> AttemptId {
        let (wanted, attempt) = match name.split_once('-') {
            Some((wanted, attempt)) => (wanted, Some(attempt.parse().expect("an attempt"))),
            None => (name, None),
        };
        let is_meant =
            |short: &str| short == wanted || (!wanted.contains('#') && short.starts_with(&format!("{wanted}#")));
        let found = self
            .jobs
            .values()
            .rev()
            .filter(|job| is_meant(&self.names.jobs[&job.id]))
            .max_by_key(|job| (job.attempt > 0, job.id))
            .unwrap_or_else(|| panic!("there is no execution of job {name:?} yet"));
        AttemptId::new(found.id, attempt.unwrap_or(found.attempt))
    }
}

fn stop_mode(word: &str) -> StopMode {
    if matches!(word, "stop!" | "KILL") { StopMode::Kill } else { StopMode::Graceful }
}

/// The words after `because`.
fn reason(step: &str) -> String {
    step.split_once(" because ").map(|(_, reason)| reason.to_owned()).unwrap_or_default()
}

/// The report of this name.
pub(crate) fn report_kind(text: &str) -> Option<ReportKind> {
    Some(match text {
        "started" => ReportKind::started(),
        "ready" => ReportKind::Ready,
        "ok" => ReportKind::Ended(Ending::Succeeded { output: Value::Null }),
        "failed" => ReportKind::Ended(Ending::failed("boom")),
        "fatal" => ReportKind::Ended(Ending::refused("no such function")),
        "lost" => ReportKind::Ended(Ending::Lost { message: "host died".to_owned() }),
        "stopped" => ReportKind::Ended(Ending::Stopped),
        "timedout" => ReportKind::Ended(Ending::TimedOut { limit: TimeLimit::Run }),
        "silent" => ReportKind::Ended(Ending::TimedOut { limit: TimeLimit::Heartbeat }),
        _ => return failure(text),
    })
}

/// `exit:75` or `error:io`.
fn failure(text: &str) -> Option<ReportKind> {
    let (what, of) = text.split_once(':')?;
    let (exit_code, kind) = match what {
        "exit" => (Some(of.parse().ok()?), None),
        "error" => (None, Some(of.to_owned())),
        _ => return None,
    };
    Some(ReportKind::Ended(Ending::Failed { message: text.to_owned(), exit_code, kind, retryable: true }))
}
