//! Errors: what went wrong, may it be tried again, and on what.
//!
//! One public type for the whole workspace. Handle by [`Error::kind`] and [`Error::retry`]; show people the `Display` text; follow
//! `source()` for the cause. Backends keep their own error enum private and convert it once, where the fault is understood.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with the error of this workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What a caller can act on. A new kind is added only where a caller would act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: a name, a size, a value. Correct it.
    Invalid,
    /// The thing asked for does not exist.
    NotFound,
    /// The thing exists already with other content.
    AlreadyExists,
    /// Somebody changed a record first: reload, decide again.
    Conflict,
    /// The caller is no longer the leader: stop deciding.
    Fenced,
    /// The backend cannot do this, and says so in its capabilities.
    Unsupported,
    /// The backend cannot be reached or is busy now.
    Unavailable,
    /// The request may or may not have taken effect: read back before anything else.
    OutcomeUnknown,
    /// No space: disk, quota or a configured limit.
    Full,
    /// The handle, the scheduler or the connection was closed.
    Closed,
    /// Stored data cannot be read: a foreign file, a newer schema, damage.
    Corrupt,
    /// A defect in this library or in user code.
    Internal,
}

impl ErrorKind {
    /// The kind in words, as used in the error text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }

    fn retry(self) -> Retry {
        match self {
            Self::Conflict => Retry::AfterReload,
            Self::OutcomeUnknown => Retry::AfterReadBack,
            Self::Unavailable | Self::Full => Retry::Later,
            Self::Invalid
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Fenced
            | Self::Unsupported
            | Self::Closed
            | Self::Corrupt
            | Self::Internal => Retry::Never,
        }
    }
}

/// Whether and how the same request may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same request will fail again.
    Never,
    /// The same request may succeed after a pause.
    Later,
    /// Reload what the request was based on, decide again, and try that.
    AfterReload,
    /// Find out whether the request took effect; repeat it only if it did not.
    AfterReadBack,
}

/// What was tried, on what, why it failed, and whether it may be tried again.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` in `operation`; the retry advice follows from the kind.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: kind.retry(),
            operation,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    #[must_use]
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, operation, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    #[must_use]
    pub fn not_found(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, operation, message)
    }

    /// Adds one fact about what the operation worked on.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Overrides the advice that follows from the kind.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// What the caller can act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether and how to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What went wrong, without the operation and the facts.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts added with [`Error::with`], in order.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        write!(f, "{}: {}: {}", inner.operation, inner.kind.as_str(), inner.message)?;
        for (i, (name, value)) in inner.context.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " (" } else { ", " })?;
        }
        if !inner.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_operation_kind_and_context() {
        let error = Error::invalid("publish", "key is empty").with("namespace", "wine");
        assert_eq!(error.to_string(), "publish: invalid: key is empty (namespace=wine)");
        assert_eq!(error.retry(), Retry::Never);
    }

    #[test]
    fn an_unknown_outcome_must_be_read_back() {
        assert_eq!(Error::new(ErrorKind::OutcomeUnknown, "commit", "reply lost").retry(), Retry::AfterReadBack);
    }
}
