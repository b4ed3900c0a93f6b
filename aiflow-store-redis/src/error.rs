//! Errors: what does a fault of the server or of the way to it mean to the caller?

use aiflow_core::{Error, ErrorKind};
use redis::RedisError;

/// When the fault happened. It decides whether anything may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before anything was asked: nothing was done.
    Connect,
    /// Nothing was being written, or what was written is the same when repeated.
    Repeatable,
    /// While writing what must be looked for before it is repeated.
    Commit,
}

/// The codes with which a server refuses a command before it does anything, and what they mean.
const REFUSALS: &[(&str, ErrorKind, &str)] = &[
    ("LOADING", ErrorKind::Unavailable, "the server is reading its data"),
    ("BUSY", ErrorKind::Unavailable, "the server is busy with a script"),
    ("READONLY", ErrorKind::Unavailable, "the server is a replica now and takes no writes"),
    ("MASTERDOWN", ErrorKind::Unavailable, "the server is a replica that has lost its primary"),
    ("NOREPLICAS", ErrorKind::Unavailable, "the server has fewer replicas than it wants for writes"),
    ("CLUSTERDOWN", ErrorKind::Unavailable, "the cluster is down"),
    ("TRYAGAIN", ErrorKind::Unavailable, "the cluster is moving the keys"),
    ("NOSCRIPT", ErrorKind::Unavailable, "the server has lost its scripts"),
    ("MISCONF", ErrorKind::Full, "the server cannot write to its disk"),
    ("OOM", ErrorKind::Full, "the server has reached its memory limit"),
    ("NOAUTH", ErrorKind::Invalid, "the server wants a user or a password"),
    ("WRONGPASS", ErrorKind::Invalid, "the server refuses the user or the password"),
    ("NOPERM", ErrorKind::Invalid, "the user may not use these commands or keys"),
    ("WRONGTYPE", ErrorKind::Corrupt, "a key holds what another application wrote"),
    ("MOVED", ErrorKind::Unsupported, "the keys are on another node of the cluster: name that one"),
    ("ASK", ErrorKind::Unsupported, "the keys are on another node of the cluster: name that one"),
    ("CROSSSLOT", ErrorKind::Unsupported, "the server takes the keys for those of several slots"),
];

/// Whether the scripts must be loaded again.
pub(crate) fn has_lost_scripts(fault: &RedisError) -> bool {
    fault.code() == Some("NOSCRIPT")
}

/// Whether the connection should be replaced: it broke, or leads to a server that will not serve.
pub(crate) fn breaks_connection(fault: &RedisError) -> bool {
    match fault.code() {
        Some(code) => ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"].contains(&code),
        None => true,
    }
}

/// The public error for a fault in `phase` of `operation`.
pub(crate) fn convert(fault: RedisError, operation: &'static str, phase: Phase) -> Error {
    let (kind, message) = meaning(&fault, phase);
    Error::new(kind, operation, message).caused_by(fault)
}

fn meaning(fault: &RedisError, phase: Phase) -> (ErrorKind, &'static str) {
    use redis::ErrorKind as Driver;
    let code = fault.code();
    if let Some((_, kind, message)) = REFUSALS.iter().find(|(refusal, ..)| code == Some(refusal)) {
        return (*kind, message);
    }
    match fault.kind() {
        Driver::AuthenticationFailed => (ErrorKind::Invalid, "the server refuses the user or the password"),
        Driver::InvalidClientConfig => (ErrorKind::Invalid, "the address cannot be used"),
        Driver::Server(_) | Driver::Extension => (ErrorKind::Internal, "the server refused a command"),
        _ if phase == Phase::Connect => (ErrorKind::Unavailable, "the server cannot be reached"),
        _ if phase == Phase::Commit => (ErrorKind::OutcomeUnknown, "the connection was lost before the answer"),
        _ => (ErrorKind::Unavailable, "the connection was lost"),
    }
}

/// The error of an answer that no script of this release gives.
pub(crate) fn odd_answer(operation: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, operation, "the server gave an answer that cannot be read")
}

/// The error of stored data that cannot be read.
pub(crate) fn odd_data(operation: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, operation, format!("a stored {what} cannot be read"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use aiflow_core::Retry;

    use super::*;

    /// The fault that the driver makes of what a server says.
    fn said(text: &str) -> RedisError {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn each_refusal_has_its_meaning_and_advice_in_each_phase() {
        let cases = [
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Unavailable, Retry::Later),
            ("BUSY Redis is busy running a script.", ErrorKind::Unavailable, Retry::Later),
            ("READONLY You can't write against a read only replica.", ErrorKind::Unavailable, Retry::Later),
            ("MISCONF Errors writing to the AOF file: No space left on device", ErrorKind::Full, Retry::Later),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Full, Retry::Later),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::Unavailable, Retry::Later),
            ("NOPERM this user has no permissions", ErrorKind::Invalid, Retry::Never),
            ("WRONGTYPE Operation against a key", ErrorKind::Corrupt, Retry::Never),
            ("MOVED 42 127.0.0.1:7001", ErrorKind::Unsupported, Retry::Never),
            ("ERR unknown command", ErrorKind::Internal, Retry::Never),
        ];
        for (text, kind, retry) in cases {
            for phase in [Phase::Connect, Phase::Repeatable, Phase::Commit] {
                let error = convert(said(text), "commit", phase);
                assert_eq!((error.kind(), error.retry()), (kind, retry), "{text} {phase:?}");
            }
        }
        assert!(has_lost_scripts(&said("NOSCRIPT No matching script.")));
        assert!(breaks_connection(&said("READONLY x")) && !breaks_connection(&said("OOM x")));
    }

    #[test]
    fn a_lost_connection_leaves_only_a_commit_unknown() {
        let lost = || RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(breaks_connection(&lost()));
        assert_eq!(convert(lost(), "open", Phase::Connect).kind(), ErrorKind::Unavailable);
        assert_eq!(convert(lost(), "read", Phase::Repeatable).kind(), ErrorKind::Unavailable);
        let error = convert(lost(), "commit", Phase::Commit);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::OutcomeUnknown, Retry::AfterReadBack));
        assert!(std::error::Error::source(&error).is_some());
    }
}
