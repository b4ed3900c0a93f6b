//! Timers: what is to happen at which moment, and how does the scheduler learn that it has come?
//!
//! A timer is no thing of its own: it is part of the state that waits (a job execution, what a rule has seen, a schedule), so it is stored,
//! restored and forgotten with it. The engine keeps all of them in one ordered set. When one is due, the runtime publishes it as an event
//! whose id names the fact, so that publishing it again, by whomever, changes nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::event::{EVENT_FIELD_BYTES_MAX, NewEvent};
use crate::execution::AdmissionStage;
use crate::id::{
    AttemptId, FiringId, JobName, Offset, ProjectName, RuleName, ScheduleName, WorkflowExecutionId, WorkflowName,
};
use crate::time::Timestamp;
use crate::workflow::hash_of;

/// What waits, and for when. Ordered by the moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timer {
    /// The moment.
    pub due: Timestamp,
    /// What waits for it.
    #[serde(rename = "timer")]
    pub key: TimerKey,
}

/// What waits. Never the same for two timers that fire: what may be set again carries the event that set it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimerKey {
    /// An attempt of a job execution.
    Job {
        /// The current attempt.
        attempt: AttemptId,
        /// What its time is up for.
        purpose: JobTimer,
    },
    /// A value that a running attempt is to acknowledge.
    Signal {
        /// The attempt.
        attempt: AttemptId,
        /// The value.
        signal: FiringId,
    },
    /// What a rule has seen.
    Rule {
        /// Of whom the rule is.
        of: Subject,
        /// The rule.
        rule: RuleName,
        /// The event that set the timer.
        set_by: Offset,
    },
    /// The next time of a schedule.
    Schedule {
        /// Of whom the schedule is.
        of: Subject,
        /// The schedule.
        schedule: ScheduleName,
        /// The event that set the timer.
        set_by: Offset,
    },
    /// A deadline that counts from the start of a workflow execution.
    Deadline {
        /// The execution.
        execution: WorkflowExecutionId,
        /// Its job that should be done; the execution itself if `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobName>,
    },
    /// The longest wait of a firing at a stage of admission.
    Firing {
        /// The firing.
        firing: FiringId,
        /// The stage.
        stage: AdmissionStage,
    },
    /// The next change of what a stage of admission counts.
    Meter {
        /// Id of its record.
        meter: String,
        /// The event that set the timer.
        set_by: Offset,
    },
}

/// What the time of an attempt is up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobTimer {
    /// The next attempt.
    Retry,
    /// The attempt has waited for long enough to run.
    Queue,
    /// The running attempt should be ready by now.
    Start,
    /// The running attempt should have ended by now.
    Run,
    /// The job should be done by now.
    Deadline,
}

impl JobTimer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Queue => "queue",
            Self::Start => "start",
            Self::Run => "run",
            Self::Deadline => "deadline",
        }
    }
}

/// Whose rule or schedule it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A workflow's own.
    Workflow {
        /// Project.
        project: ProjectName,
        /// Workflow.
        workflow: WorkflowName,
    },
    /// That of a job in a workflow execution.
    Job {
        /// The workflow execution.
        execution: WorkflowExecutionId,
        /// The job.
        job: JobName,
    },
}

/// A moment that stored state waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// The moment.
    pub due: Timestamp,
    /// The event that made it wait. No event sets the same timer twice, so this tells one waiting from the next.
    pub set_by: Offset,
}

impl Timer {
    /// The event that says that the time has come. Its id names the timer and the moment.
    #[must_use]
    pub fn into_event(self) -> NewEvent {
        let key = self.key.to_string();
        let id = match format!("timer:{key}:{}", self.due.as_millis()) {
            id if id.len() <= EVENT_FIELD_BYTES_MAX => id,
            _ => format!("timer:{}:{}", hash_of(&key), self.due.as_millis()),
        };
        Control::TimerFired(self).into_event(id)
    }
}

impl fmt::Display for TimerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job { attempt, purpose } => write!(f, "{attempt}:{}", purpose.as_str()),
            Self::Signal { attempt, signal } => write!(f, "{attempt}:signal:{signal}"),
            Self::Rule { of, rule, set_by } => write!(f, "rule:{of}/{rule}:{set_by}"),
            Self::Schedule { of, schedule, set_by } => write!(f, "schedule:{of}/{schedule}:{set_by}"),
            Self::Deadline { execution, job: None } => write!(f, "{execution}:deadline"),
            Self::Deadline { execution, job: Some(job) } => write!(f, "{execution}/{job}:deadline"),
            Self::Firing { firing, stage } => write!(f, "firing:{firing}:{stage}"),
            Self::Meter { meter, set_by } => write!(f, "meter:{meter}:{set_by}"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow { project, workflow } => write!(f, "{project}/{workflow}"),
            Self::Job { execution, job } => write!(f, "{execution}/{job}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobExecutionId;

    #[test]
    fn a_timer_is_one_event_for_each_thing_it_waits_for() {
        let attempt = AttemptId::new(JobExecutionId::new(Offset(3), 0), 1);
        let project = ProjectName::parse("p".repeat(128)).unwrap();
        let workflow = WorkflowName::parse("w".repeat(128)).unwrap();
        let rule_of = |set_by| TimerKey::Rule {
            of: Subject::Workflow { project: project.clone(), workflow: workflow.clone() },
            rule: RuleName::parse("r".repeat(128)).unwrap(),
            set_by: Offset(set_by),
        };
        let keys = [
            TimerKey::Job { attempt, purpose: JobTimer::Retry },
            TimerKey::Job { attempt, purpose: JobTimer::Run },
            rule_of(1),
            rule_of(2),
        ];
        let mut ids = Vec::new();
        for key in keys {
            let timer = Timer { due: Timestamp::from_millis(5), key };
            let event = timer.clone().into_event();
            event.check().unwrap();
            assert_eq!(Control::from_event(&event).unwrap(), Some(Control::TimerFired(timer)));
            ids.push(event.id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }
}
