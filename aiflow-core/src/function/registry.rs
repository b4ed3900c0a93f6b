//! Registered functions: which function does a name stand for, and how do JSON values become its typed input and output?

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::JobContext;
use super::built_in::built_in;
use super::processor::{AnyProcessor, Processor};
use crate::error::{Error, Result};
use crate::executor::Ending;

/// The longest failure message, in bytes; the rest is cut off.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// The functions that jobs may run, by name.
///
/// Functions are registered again each time the host application starts; workflows only hold their names.
#[derive(Clone, Default)]
pub struct Functions(BTreeMap<String, Function>);

pub(super) type FunctionFuture = Pin<Box<dyn Future<Output = Result<Value, JobError>> + Send + 'static>>;

#[derive(Clone)]
pub(super) enum Function {
    Async(Arc<dyn Fn(JobContext, Value) -> FunctionFuture + Send + Sync>),
    Blocking(Arc<dyn Fn(JobContext, Value) -> Result<Value, JobError> + Send + Sync>),
    Processor(Arc<dyn Fn() -> Box<dyn AnyProcessor> + Send + Sync>),
}

impl Functions {
    /// No functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an async function, or a closure that returns a future. A name that was registered before now stands for this one.
    ///
    /// Every error converts into [`JobError`] with `?`. To use a function that has its own error type, wrap it:
    /// `|ctx, input| async move { Ok(train(ctx, input).await?) }`.
    ///
    /// # Input and output
    /// The input is what flows over the data edges of the node, or its parameters; a value that is not of type `I` fails the job for good.
    /// Parameters that are null also read as an empty object.
    ///
    /// # Cancellation
    /// A stop is first a request, see [`JobContext::cancelled`]; after the grace time the future is dropped, at its next `await`. So a
    /// function must not block its thread: give what computes for long to [`register_blocking`](Self::register_blocking).
    #[must_use]
    pub fn register<F, Fut, I, O>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(JobContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, JobError>> + Send + 'static,
        I: DeserializeOwned,
        O: Serialize,
    {
        let run = move |context: JobContext, input: Value| -> FunctionFuture {
            match read_input(input) {
                Ok(input) => {
                    let running = function(context, input);
                    Box::pin(async move { write_output(&running.await?) })
                }
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        };
        self.0.insert(name.into(), Function::Async(Arc::new(run)));
        self
    }

    /// Registers a function that computes or blocks for long. It runs on a thread of its own, from tokio's pool of blocking threads.
    ///
    /// Input, output and errors are as in [`register`](Self::register). [`JobContext::block_on`] waits for what is async.
    ///
    /// # Cancellation
    /// Nothing can end such a function from outside. It must look at [`JobContext::is_cancelled`] now and then; until it returns, the
    /// attempt goes on to run and to count against `max_concurrent`, also after a kill or a time limit.
    #[must_use]
    pub fn register_blocking<F, I, O>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(JobContext, I) -> Result<O, JobError> + Send + Sync + 'static,
        I: DeserializeOwned,
        O: Serialize,
    {
        let run = move |context: JobContext, input: Value| write_output(&function(context, read_input(input)?)?);
        self.0.insert(name.into(), Function::Blocking(Arc::new(run)));
        self
    }

    /// Registers a [`Processor`], which is opened before and closed after; `make` makes one for each attempt.
    ///
    /// Input, output, errors and cancellation are as in [`register`](Self::register).
    #[must_use]
    pub fn register_processor<P: Processor>(
        mut self,
        name: impl Into<String>,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Self {
        let make = move || -> Box<dyn AnyProcessor> { Box::new(make()) };
        self.0.insert(name.into(), Function::Processor(Arc::new(make)));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&Function> {
        self.registered(name).or_else(|| built_in(name))
    }

    pub(super) fn registered(&self, name: &str) -> Option<&Function> {
        self.0.get(name)
    }

    /// The registered names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The longest kind of an error, in bytes.
pub const ERROR_KIND_BYTES_MAX: usize = 128;

/// Why a function failed. Made by `?` from every error and from text; then another attempt may help.
///
/// ```
/// use aiflow_core::function::JobError;
/// fn load(path: &str) -> Result<Vec<u8>, JobError> {
///     if path.is_empty() {
///         return Err(JobError::permanent("no path was given"));
///     }
///     Ok(std::fs::read(path)?)
/// }
/// assert!(!load("").unwrap_err().is_retryable());
/// assert!(load("/no/such/file").unwrap_err().is_retryable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    message: String,
    kind: Option<String>,
    is_retryable: bool,
}

impl JobError {
    /// A failure that no further attempt can mend.
    #[must_use]
    pub fn permanent(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { is_retryable: false, ..Self::from(error) }
    }

    /// Says what sort of error it is, in words of the application (`quota`, `io.timeout`): a retry policy can tell by it which failures are
    /// worth another attempt. At most [`ERROR_KIND_BYTES_MAX`] bytes; the rest is cut off.
    ///
    /// Without it, the kind of an AIFlow error is its [`ErrorKind`](crate::ErrorKind) in words, that of an I/O error is `io`, and that of a
    /// panic is `panic`.
    #[must_use]
    pub fn of_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// What sort of error it is, if that is known.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Whether another attempt may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// The failure and its causes, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("with a value that is no text");
        Self::from(format!("panicked: {text}")).of_kind("panic")
    }

    /// Says in which node it happened.
    pub(super) fn in_node(mut self, node: impl fmt::Display) -> Self {
        self.message = format!("node {node}: {}", self.message);
        self
    }

    pub(super) fn into_ending(mut self) -> Ending {
        if self.message.len() > MESSAGE_BYTES_MAX {
            let end = self.message.floor_char_boundary(MESSAGE_BYTES_MAX);
            self.message.truncate(end);
            self.message.push('…');
        }
        let kind = self.kind.map(|mut kind| {
            kind.truncate(kind.floor_char_boundary(ERROR_KIND_BYTES_MAX));
            kind
        });
        Ending::Failed { message: self.message, exit_code: None, kind, retryable: self.is_retryable }
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for JobError {
    fn from(error: E) -> Self {
        let error = error.into();
        let kind = match (error.downcast_ref::<Error>(), error.downcast_ref::<std::io::Error>()) {
            (Some(error), _) => Some(error.kind().as_str().to_owned()),
            (None, Some(_)) => Some("io".to_owned()),
            (None, None) => None,
        };
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self { message, kind, is_retryable: true }
    }
}

pub(super) fn read_input<I: DeserializeOwned>(input: Value) -> Result<I, JobError> {
    read(input).map_err(|problem| JobError::permanent(format!("input does not fit: {problem}")))
}

/// Reads a value as `T`. Null, which stands for "no parameters", also reads as an empty object.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let is_null = value.is_null();
    match serde_path_to_error::deserialize(value) {
        Ok(read) => Ok(read),
        Err(_) if is_null && let Ok(read) = T::deserialize(Value::Object(Map::new())) => Ok(read),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn read_params<T: DeserializeOwned>(params: &Value) -> Result<T> {
    read(params.clone()).map_err(|problem| Error::invalid("read params", format!("parameters do not fit: {problem}")))
}

pub(super) fn write_output<O: Serialize>(output: &O) -> Result<Value, JobError> {
    serde_json::to_value(output).map_err(|error| JobError::permanent(format!("output is no JSON: {error}")))
}
