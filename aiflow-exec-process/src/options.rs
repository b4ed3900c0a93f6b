//! What may be set for all processes of an executor?

/// Settings of a [`ProcessExecutor`](crate::ProcessExecutor).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessOptions {
    /// Disk space of each output of an attempt, in bytes: 64 MiB by default, at least 12 KiB. An output that outgrows it loses its middle;
    /// between two looks (half a second) it may be larger.
    pub log_bytes_max: u64,
    /// How much of an event file is heard, in bytes: 256 MiB by default.
    pub events_bytes_max: u64,
    /// Variables of the host application that jobs get besides [`ENV_ALLOWED`](crate::ENV_ALLOWED).
    pub env_allow: Vec<String>,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self { log_bytes_max: 64 * 1024 * 1024, events_bytes_max: 256 * 1024 * 1024, env_allow: Vec::new() }
    }
}

impl ProcessOptions {
    /// Sets the disk space of each output.
    #[must_use]
    pub fn log_bytes_max(mut self, bytes: u64) -> Self {
        self.log_bytes_max = bytes;
        self
    }

    /// Sets how much of an event file is heard.
    #[must_use]
    pub fn events_bytes_max(mut self, bytes: u64) -> Self {
        self.events_bytes_max = bytes;
        self
    }

    /// Lets one more variable of the host application through.
    #[must_use]
    pub fn env_allow(mut self, name: impl Into<String>) -> Self {
        self.env_allow.push(name.into());
        self
    }
}
