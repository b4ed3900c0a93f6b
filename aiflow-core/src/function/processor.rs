//! Processors: steps that open something, process with it, and close it.

use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JobContext;
use super::registry::{JobError, read_input, write_output};

/// A node that needs something open while its job runs: a connection, a loaded model, a session. Registered with
/// [`Functions::register_processor`](super::Functions::register_processor).
///
/// Each attempt gets a processor of its own. Before the first node of the job runs, all processors of the job are opened, in the order of the
/// nodes; when the last has returned, those that were opened are closed, in reverse order, also if the job failed or was asked to stop.
/// Nothing is closed after a kill or a time limit: then the processor is dropped.
///
/// ```
/// use aiflow_core::function::{Functions, JobContext, JobError, Processor};
///
/// struct Average {
///     n: u32,
/// }
///
/// impl Processor for Average {
///     type Input = Vec<f64>;
///     type Output = f64;
///
///     async fn open(&mut self, _: &JobContext) -> Result<(), JobError> {
///         self.n = 1;
///         Ok(())
///     }
///
///     async fn process(&mut self, _: &JobContext, values: Vec<f64>) -> Result<f64, JobError> {
///         Ok(values.iter().sum::<f64>() / f64::from(u32::try_from(values.len())?))
///     }
/// }
///
/// let functions = Functions::new().register_processor("average", || Average { n: 0 });
/// # drop(functions);
/// ```
pub trait Processor: Send + 'static {
    /// What flows over the data edges into the node, or its parameters.
    type Input: DeserializeOwned + Send;
    /// What flows on.
    type Output: Serialize + Send;

    /// Gets ready. A failure fails the job before any of its nodes runs.
    fn open(&mut self, ctx: &JobContext) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }

    /// Does the work of the node, once.
    fn process(
        &mut self,
        ctx: &JobContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, JobError>> + Send;

    /// Gives back what was opened. A failure fails a job that has succeeded until then.
    fn close(&mut self, ctx: &JobContext) -> impl Future<Output = Result<(), JobError>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send + 'a>>;

/// A processor whose types are forgotten.
pub(super) trait AnyProcessor: Send {
    fn open<'a>(&'a mut self, ctx: &'a JobContext) -> Answer<'a, ()>;
    fn process<'a>(&'a mut self, ctx: &'a JobContext, input: Value) -> Answer<'a, Value>;
    fn close<'a>(&'a mut self, ctx: &'a JobContext) -> Answer<'a, ()>;
}

impl<P: Processor> AnyProcessor for P {
    fn open<'a>(&'a mut self, ctx: &'a JobContext) -> Answer<'a, ()> {
        Box::pin(Processor::open(self, ctx))
    }

    fn process<'a>(&'a mut self, ctx: &'a JobContext, input: Value) -> Answer<'a, Value> {
        Box::pin(async move { write_output(&Processor::process(self, ctx, read_input(input)?).await?) })
    }

    fn close<'a>(&'a mut self, ctx: &'a JobContext) -> Answer<'a, ()> {
        Box::pin(Processor::close(self, ctx))
    }
}
