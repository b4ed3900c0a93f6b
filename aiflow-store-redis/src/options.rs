//! Options: where is the server, under which prefix do our keys lie, and what must it promise?

use std::path::PathBuf;
use std::time::Duration;

use aiflow_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// URL schemes that open this backend.
pub const SCHEMES: &[&str] = &["redis", "rediss"];

/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 64;
const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// How the server keeps what it acknowledged, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persistence {
    /// In its memory alone: the death of the server loses it, or what came after its last snapshot.
    #[default]
    Memory,
    /// In a file that is flushed every second or when the system likes (`appendonly yes`, `appendfsync everysec` or `no`), or at once but with
    /// replicas, one of which may take over without the last moments.
    Everysec,
    /// In a file that is flushed before it acknowledges (`appendfsync always`), on a server without replicas.
    Always,
}

/// How a Redis is used. The defaults suit a scheduler; name at least [`persistence`](Self::persistence) where losing events would matter.
///
/// ```
/// use aiflow_store_redis::{Persistence, RedisOptions};
/// let options = RedisOptions { prefix: "wine".to_owned(), persistence: Persistence::Always, ..RedisOptions::default() };
/// assert_eq!(options.connect_timeout.as_secs(), 5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisOptions {
    /// All keys of the application begin with `{prefix}:`; 1 to 64 bytes of `A-Z a-z 0-9 . _ -`. Applications with different prefixes never meet.
    pub prefix: String,
    /// What the server must do at least; a weaker one is refused. Believed where the server does not let this user ask.
    pub persistence: Persistence,
    /// How long connecting may take; at most one hour.
    #[serde(rename = "connect_timeout_ms", with = "millis")]
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection counts as lost; at most one hour.
    #[serde(rename = "response_timeout_ms", with = "millis")]
    pub response_timeout: Duration,
    /// File with the certificate (PEM) of the authority that vouches for the server, for `rediss://`; the system's authorities if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "aiflow".to_owned(),
            persistence: Persistence::default(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            tls_ca: None,
        }
    }
}

impl RedisOptions {
    /// Checks every bound.
    ///
    /// # Errors
    /// `Invalid`, naming the option.
    pub fn check(&self) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_timeout = |time: Duration| !time.is_zero() && time <= TIMEOUT_MAX;
        let problem = if !(1..=PREFIX_BYTES_MAX).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_plain) {
            format!("prefix must be 1 to {PREFIX_BYTES_MAX} of A-Z a-z 0-9 . _ -")
        } else if !is_timeout(self.connect_timeout) {
            "connect_timeout must be 1 ms to an hour".to_owned()
        } else if !is_timeout(self.response_timeout) {
            "response_timeout must be 1 ms to an hour".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::invalid("open", problem))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = || {
            Error::invalid("open", "the option has a value that it cannot take")
                .with("option", name)
                .with("value", format!("{value:?}"))
        };
        let millis = || value.parse().map(Duration::from_millis).map_err(|_| wrong());
        match name {
            "prefix" => self.prefix = value.to_owned(),
            "persistence" => {
                self.persistence = match value {
                    "memory" => Persistence::Memory,
                    "everysec" => Persistence::Everysec,
                    "always" => Persistence::Always,
                    _ => return Err(wrong()),
                }
            }
            "connect_timeout_ms" => self.connect_timeout = millis()?,
            "response_timeout_ms" => self.response_timeout = millis()?,
            "tls_ca" => self.tls_ca = Some(PathBuf::from(value)),
            _ => return Err(Error::invalid("open", "unknown option in the URL").with("option", name)),
        }
        Ok(())
    }
}

/// Splits `redis://…?option=value&…` into the address, which may hold a password, and the options.
///
/// # Errors
/// `Invalid`: another scheme, an unknown option or a value out of bounds.
pub(crate) fn parse_url(url: &str) -> Result<(&str, RedisOptions)> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !SCHEMES.contains(&scheme) {
        return Err(Error::invalid("open", "the URL must begin with redis:// or rediss://"));
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut options = RedisOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        options.set(name, value)?;
    }
    options.check()?;
    Ok((address, options))
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_and_options() {
        let url = "redis://ann:secret@host:7000/2?prefix=wine&persistence=always&response_timeout_ms=1500";
        let (address, options) = parse_url(url).unwrap();
        assert_eq!(address, "redis://ann:secret@host:7000/2");
        assert_eq!((options.prefix.as_str(), options.persistence), ("wine", Persistence::Always));
        assert_eq!(options.response_timeout, Duration::from_millis(1_500));
        assert_eq!(parse_url("rediss://host").unwrap().1, RedisOptions::default());
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for url in [
            "sqlite://x",
            "redis:x",
            "redis://h?prefix=",
            "redis://h?prefix={a}",
            "redis://h?prefix=a:b",
            "redis://h?persistence=raid",
            "redis://h?connect_timeout_ms=0",
            "redis://h?response_timeout_ms=99999999",
            "redis://h?timeout=1",
        ] {
            let error = parse_url(url).expect_err(url);
            assert_eq!(error.kind(), aiflow_core::ErrorKind::Invalid, "{url}");
        }
    }

    #[test]
    fn options_read_back_as_written() {
        let options = RedisOptions { connect_timeout: Duration::from_millis(1_250), ..RedisOptions::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains("\"connect_timeout_ms\":1250"), "{text}");
        assert_eq!(serde_json::from_str::<RedisOptions>(&text).unwrap(), options);
    }
}
