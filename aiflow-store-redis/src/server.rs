//! The server: what does it say about itself, and is that enough?

use aiflow_core::store::Durability;
use aiflow_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use crate::error::{Phase, convert};
use crate::options::Persistence;

/// The oldest major version that has what scripts use.
const MAJOR_MIN: u32 = 7;

/// What a server says about itself; nothing where the user may not ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    version: Option<String>,
    role: Option<String>,
    replicas: Option<u32>,
    keeps_file: Option<bool>,
    flush: Option<String>,
    eviction: Option<String>,
    is_loading: bool,
}

impl Persistence {
    pub(crate) fn durability(self) -> Durability {
        match self {
            Self::Memory => Durability::ClientCrash,
            Self::Everysec => Durability::ProcessCrash,
            Self::Always => Durability::PowerLoss,
        }
    }
}

/// Asks the server; what it refuses to tell is left open.
pub(crate) async fn ask(conn: &mut MultiplexedConnection) -> Result<Facts> {
    let mut facts = Facts::default();
    if let Some(Value::BulkString(text)) = allowed(redis::cmd("INFO").query_async(conn).await)? {
        facts.read_info(&String::from_utf8_lossy(&text));
    }
    let mut config = redis::cmd("CONFIG");
    if let Some(Value::Array(pair)) = allowed(config.arg("GET").arg("appendfsync").query_async(conn).await)?
        && let Some(Value::BulkString(value)) = pair.get(1)
    {
        facts.flush = Some(String::from_utf8_lossy(value).into_owned());
    }
    Ok(facts)
}

/// The answer, or nothing if the server does not let this user ask, or knows no such question.
fn allowed(answer: std::result::Result<Value, RedisError>) -> Result<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(fault) if matches!(fault.code(), Some("NOPERM" | "ERR")) => Ok(None),
        Err(fault) => Err(convert(fault, "open", Phase::Connect)),
    }
}

impl Facts {
    fn read_info(&mut self, text: &str) {
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "redis_version" => self.version = Some(value.to_owned()),
                "role" => self.role = Some(value.to_owned()),
                "connected_slaves" => self.replicas = value.parse().ok(),
                "aof_enabled" => self.keeps_file = Some(value == "1"),
                "loading" => self.is_loading = value == "1",
                "maxmemory_policy" => self.eviction = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    /// How the server keeps what it acknowledges, as far as it says; `declared` where it does not.
    ///
    /// # Errors
    /// `Unsupported`: it is too old, may throw keys away, or keeps them less well than declared. `Unavailable`: it is a replica now, or has not
    /// read its data yet.
    pub(crate) fn judge(&self, declared: Persistence) -> Result<Persistence> {
        let refuse = |message: &str| Error::new(ErrorKind::Unsupported, "open", message);
        if let Some(version) = &self.version
            && version.split('.').next().and_then(|major| major.parse().ok()).is_none_or(|major: u32| major < MAJOR_MIN)
        {
            return Err(refuse("the server is older than Redis 7.0").with("version", version.escape_default()));
        }
        if let Some(policy) = &self.eviction
            && policy != "noeviction"
        {
            return Err(refuse("the server may throw keys away: set maxmemory-policy to noeviction")
                .with("maxmemory-policy", policy.escape_default()));
        }
        // Until it has read its data, a server says that it keeps no file.
        if self.is_loading {
            return Err(Error::new(ErrorKind::Unavailable, "open", "the server is reading its data"));
        }
        if self.role.as_ref().is_some_and(|role| role != "master") {
            let message = "the server is a replica and takes no writes";
            return Err(Error::new(ErrorKind::Unavailable, "open", message));
        }
        let found = match (self.keeps_file, self.flush.as_deref()) {
            (Some(false), _) => Persistence::Memory,
            (_, Some("always")) if self.replicas.unwrap_or(0) > 0 => Persistence::Everysec,
            (_, Some("always")) => Persistence::Always,
            (_, Some(_)) => Persistence::Everysec,
            // It keeps a file, and does not say how: as declared, which is at least what such a file gives.
            (Some(true), None) => declared.max(Persistence::Everysec),
            (None, None) => declared,
        };
        if found < declared {
            return Err(refuse("the server keeps what it acknowledges less well than is asked of it")
                .with("asked", name(declared))
                .with("found", name(found)));
        }
        Ok(found)
    }
}

fn name(persistence: Persistence) -> &'static str {
    match persistence {
        Persistence::Memory => "memory",
        Persistence::Everysec => "everysec",
        Persistence::Always => "always",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(info: &str, flush: Option<&str>) -> Facts {
        let mut facts = Facts { flush: flush.map(str::to_owned), ..Facts::default() };
        facts.read_info(info);
        facts
    }

    #[test]
    fn the_class_follows_from_what_the_server_says() {
        use Persistence::{Always, Everysec, Memory};
        let cases = [
            ("aof_enabled:1\r\nconnected_slaves:0\r\n", Some("always"), Memory, Always),
            ("aof_enabled:1\r\nconnected_slaves:1\r\n", Some("always"), Memory, Everysec),
            ("aof_enabled:1\r\n", Some("everysec"), Everysec, Everysec),
            ("aof_enabled:1\r\n", Some("no"), Memory, Everysec),
            ("aof_enabled:0\r\n", Some("always"), Memory, Memory),
            ("aof_enabled:1\r\n", None, Always, Always),
            ("aof_enabled:1\r\n", None, Memory, Everysec),
            ("", None, Always, Always),
            ("", None, Memory, Memory),
        ];
        for (info, flush, declared, found) in cases {
            assert_eq!(facts(info, flush).judge(declared).unwrap(), found, "{info:?} {flush:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_do_is_refused() {
        let cases = [
            ("redis_version:6.2.14\r\n", None, Persistence::Memory, ErrorKind::Unsupported),
            ("redis_version:odd\r\n", None, Persistence::Memory, ErrorKind::Unsupported),
            ("maxmemory_policy:allkeys-lru\r\n", None, Persistence::Memory, ErrorKind::Unsupported),
            ("loading:1\r\naof_enabled:0\r\n", Some("always"), Persistence::Always, ErrorKind::Unavailable),
            ("role:slave\r\n", None, Persistence::Memory, ErrorKind::Unavailable),
            ("aof_enabled:1\r\n", Some("everysec"), Persistence::Always, ErrorKind::Unsupported),
            ("aof_enabled:0\r\n", Some("always"), Persistence::Everysec, ErrorKind::Unsupported),
        ];
        for (info, flush, declared, kind) in cases {
            assert_eq!(facts(info, flush).judge(declared).unwrap_err().kind(), kind, "{info:?}");
        }
    }
}
