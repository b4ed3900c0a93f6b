//! Statuses: which stages does the life of a job execution and of a workflow execution have?

use serde::{Deserialize, Serialize};

macro_rules! status {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $type {
            /// Every status, in life-cycle order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The status in capitals, as stored and as the value of its event.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

status!(
    /// How a job execution stands.
    ///
    /// `Init → Queued → Running (→ Ready) → Succeeded | Failed | Stopped`, with `Retrying` between attempts and `Stopping` on the way to
    /// `Stopped`. The terminal ones absorb.
    JobStatus {
        /// Waits for the previous execution of its job to end.
        Init = "INIT",
        /// Handed to its executor.
        Queued = "QUEUED",
        /// Runs.
        Running = "RUNNING",
        /// Runs, streams, and has said that what depends on it may start.
        Ready = "READY",
        /// Its platform cannot say; no other attempt is started meanwhile.
        Unknown = "UNKNOWN",
        /// Waits for its next attempt.
        Retrying = "RETRYING",
        /// Asked to stop.
        Stopping = "STOPPING",
        /// Did its work.
        Succeeded = "SUCCEEDED",
        /// Failed for good.
        Failed = "FAILED",
        /// Was stopped.
        Stopped = "STOPPED",
        /// Never ran, and its workflow execution has ended. Set on jobs, not on executions of jobs.
        Skipped = "SKIPPED",
    }
);

impl JobStatus {
    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped | Self::Skipped)
    }

    /// Whether reaching it is announced as an event.
    #[must_use]
    pub fn is_announced(self) -> bool {
        !matches!(self, Self::Init | Self::Queued | Self::Unknown | Self::Stopping)
    }

    /// Whether a job execution may go from this status to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use JobStatus::{
            Failed, Init, Queued, Ready, Retrying, Running, Skipped, Stopped, Stopping, Succeeded, Unknown,
        };
        match self {
            Init => matches!(next, Queued | Stopped),
            Queued => matches!(next, Running | Unknown | Retrying | Stopping | Succeeded | Failed | Stopped),
            Running => matches!(next, Ready | Unknown | Retrying | Stopping | Succeeded | Failed | Stopped),
            Ready => matches!(next, Unknown | Retrying | Stopping | Succeeded | Failed | Stopped),
            Unknown => matches!(next, Queued | Running | Ready | Retrying | Stopping | Succeeded | Failed | Stopped),
            Retrying => matches!(next, Queued | Stopped),
            Stopping => matches!(next, Stopped),
            Succeeded | Failed | Stopped | Skipped => false,
        }
    }
}

status!(
    /// How a workflow execution stands.
    WorkflowStatus {
        /// Its jobs may run.
        Running = "RUNNING",
        /// Asked to stop; some of its jobs have not ended yet.
        Stopping = "STOPPING",
        /// Ended; no job failed or was stopped last.
        Succeeded = "SUCCEEDED",
        /// Ended; the last execution of some job failed.
        Failed = "FAILED",
        /// Was stopped, or ended with a job stopped last.
        Stopped = "STOPPED",
    }
);

impl WorkflowStatus {
    /// Whether it never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Stopped)
    }
}
