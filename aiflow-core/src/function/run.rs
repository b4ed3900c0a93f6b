//! The nodes of an attempt: which may run now, how do they run, and what came of each?

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::task::{Id, JoinSet};

use super::attempt::{Attempt, Cut};
use super::context::JobContext;
use super::files::{keep_value, kept_value};
use super::plan::{Flow, Input, Inputs, Plan, Step};
use super::processor::AnyProcessor;
use super::registry::{Function, JobError};
use crate::executor::{Ending, NODE_RUNS_MAX, NodeRun, StopMode};

/// The nodes of one attempt on their way. Each runs as a task of its own as soon as everything that it reads from has returned.
pub(super) struct Run {
    attempt: Arc<Attempt>,
    steps: Vec<Step>,
    /// For each step, how many of its data edges have not carried a value yet.
    waits: Vec<usize>,
    flow: Flow,
    contexts: Vec<JobContext>,
    /// For each step, its processor, while it is open and does not run.
    processors: Vec<Option<Box<dyn AnyProcessor>>>,
    tasks: JoinSet<Returned>,
    /// Which step each task is of.
    running: Vec<(Id, usize)>,
    times: Vec<Option<NodeRun>>,
}

/// What a task gives back.
struct Returned {
    processor: Option<Box<dyn AnyProcessor>>,
    result: Result<Value, JobError>,
}

/// Why the nodes do not come to their end.
enum Over {
    Failed(JobError),
    Stopped,
    Cut(Cut),
}

/// What is done before a step runs.
struct Around {
    attempt: Arc<Attempt>,
    inputs: Inputs,
}

impl Around {
    /// The input, with what other jobs have kept.
    async fn gather(self) -> Result<Value, JobError> {
        let attempt = &self.attempt;
        let value = async |input| match input {
            Input::Value(value) => Ok(value),
            Input::Kept(node, port) => kept_value(attempt, &node, port).await,
        };
        match self.inputs {
            Inputs::One(input) => value(input).await,
            Inputs::Several(inputs) => {
                let mut values = Vec::with_capacity(inputs.len());
                for input in inputs {
                    values.push(value(input).await?);
                }
                Ok(values.into())
            }
        }
    }
}

/// What a task does with a processor.
#[derive(Clone, Copy)]
enum Phase {
    Open,
    Close,
}

impl Run {
    pub(super) fn new(attempt: &Arc<Attempt>, plan: Plan) -> Self {
        let steps = plan.steps;
        let context = |step: &Step| JobContext::new(Arc::clone(attempt), Arc::new(step.node_context(attempt.params())));
        Self {
            attempt: Arc::clone(attempt),
            waits: steps.iter().map(Step::n_inputs).collect(),
            flow: Flow::of(&steps),
            contexts: steps.iter().map(context).collect(),
            processors: steps.iter().map(|_| None).collect(),
            tasks: JoinSet::new(),
            running: Vec::new(),
            times: vec![None; steps.len()],
            steps,
        }
    }

    /// Runs everything to its end.
    pub(super) async fn finish(&mut self, mut cut: Pin<&mut (impl Future<Output = Cut> + Send)>) -> Ending {
        let over = match self.produce(cut.as_mut()).await {
            Ok(output) => return Ending::Succeeded { output },
            Err(over) => over,
        };
        if matches!(over, Over::Failed(_)) {
            // The other nodes work in vain: they get the grace time to end by themselves.
            self.attempt.stop(StopMode::Graceful);
            while let Ok(Some((step, returned))) = self.next(cut.as_mut()).await {
                self.processors[step] = returned.processor;
            }
        }
        if !matches!(over, Over::Cut(_))
            && let Err(Over::Failed(error)) = self.close(cut).await
        {
            tracing::warn!(attempt = %self.attempt.identity().attempt, ?error, "a processor could not be closed");
        }
        match over {
            Over::Failed(error) => error.into_ending(),
            Over::Stopped => Ending::Stopped,
            Over::Cut(cut) => cut.ending(),
        }
    }

    /// When each node ran, in the order of the job; nothing if it is the only one.
    pub(super) fn times(&mut self) -> Vec<NodeRun> {
        if self.steps.len() < 2 {
            return Vec::new();
        }
        self.times.iter_mut().filter_map(Option::take).take(NODE_RUNS_MAX).collect()
    }

    async fn produce(&mut self, mut cut: Pin<&mut (impl Future<Output = Cut> + Send)>) -> Result<Value, Over> {
        self.open(cut.as_mut()).await?;
        let mut ready: BTreeSet<usize> = (0..self.steps.len()).filter(|step| self.waits[*step] == 0).collect();
        loop {
            while !self.attempt.is_cancelled()
                && let Some(step) = ready.pop_first()
            {
                self.start(step);
            }
            let Some((step, returned)) = self.next(cut.as_mut()).await? else { break };
            self.processors[step] = returned.processor;
            let kept = match returned.result {
                Ok(value) => tokio::select! {
                    biased;
                    kept = keep(&self.attempt, &self.steps[step], &value) => kept.map(|()| value),
                    cut = cut.as_mut() => return Err(Over::Cut(cut)),
                },
                Err(error) => Err(error),
            };
            let result = kept.and_then(|value| self.flow.output(&self.steps[step], step, value));
            self.note_end(step, result.is_err());
            match result {
                Ok(()) => ready.extend(self.fed_by(step)),
                // What fails when it is asked to stop has stopped.
                Err(_) if self.attempt.is_cancelled() => {}
                Err(error) => return Err(Over::Failed(self.named(step, error))),
            }
        }
        if self.attempt.is_cancelled() {
            return Err(Over::Stopped);
        }
        self.close(cut).await?;
        std::mem::take(&mut self.flow).into_output(&self.steps).map_err(Over::Failed)
    }

    /// The steps that wait for nothing more, now that `step` has returned.
    fn fed_by(&mut self, step: usize) -> Vec<usize> {
        let mut fed = Vec::new();
        for &next in &self.steps[step].feeds {
            self.waits[next] = self.waits[next].saturating_sub(1);
            if self.waits[next] == 0 {
                fed.push(next);
            }
        }
        fed
    }

    /// Starts the task of a step.
    fn start(&mut self, step: usize) {
        let context = self.contexts[step].clone();
        let inputs = self.flow.inputs(&self.steps[step], &context.node_context().params);
        let around = Around { attempt: Arc::clone(&self.attempt), inputs };
        let task = match &self.steps[step].function {
            Function::Async(function) => {
                let function = Arc::clone(function);
                let run = async move { function(context, around.gather().await?).await };
                self.tasks.spawn(async move { Returned { processor: None, result: run.await } })
            }
            Function::Blocking(function) => {
                let function = Arc::clone(function);
                let run = move || function(context.clone(), context.block_on(around.gather())?);
                self.tasks
                    .spawn_blocking_on(move || Returned { processor: None, result: run() }, self.attempt.runtime())
            }
            Function::Processor(_) => {
                let Some(mut processor) = self.processors[step].take() else { return };
                self.tasks.spawn(async move {
                    let result = match around.gather().await {
                        Ok(input) => processor.process(&context, input).await,
                        Err(error) => Err(error),
                    };
                    Returned { processor: Some(processor), result }
                })
            }
        };
        self.running.push((task.id(), step));
        self.times[step] = Some(NodeRun {
            node: self.steps[step].node.clone(),
            started_at: self.attempt.now(),
            finished_at: None,
            failed: false,
        });
    }

    fn note_end(&mut self, step: usize, failed: bool) {
        let now = self.attempt.now();
        if let Some(run) = &mut self.times[step] {
            (run.finished_at, run.failed) = (Some(now), failed);
        }
    }

    /// The next task that returns; `None` if none runs.
    async fn next(
        &mut self,
        cut: Pin<&mut (impl Future<Output = Cut> + Send)>,
    ) -> Result<Option<(usize, Returned)>, Over> {
        let joined = tokio::select! {
            biased;
            joined = self.tasks.join_next_with_id() => joined,
            cut = cut => {
                // A thread cannot be ended from here: ask, and wait, so that no other attempt runs beside it.
                self.attempt.stop(StopMode::Kill);
                self.tasks.shutdown().await;
                return Err(Over::Cut(cut));
            }
        };
        let Some(joined) = joined else { return Ok(None) };
        let (id, returned) = match joined {
            Ok((id, returned)) => (id, returned),
            Err(error) => {
                let id = error.id();
                let error = match error.try_into_panic() {
                    Ok(payload) => JobError::of_panic(&*payload),
                    Err(error) => JobError::from(error),
                };
                (id, Returned { processor: None, result: Err(error) })
            }
        };
        let place = self.running.iter().position(|(running, _)| *running == id);
        Ok(place.map(|place| (self.running.swap_remove(place).1, returned)))
    }

    /// Makes and opens the processors, in order.
    async fn open(&mut self, mut cut: Pin<&mut (impl Future<Output = Cut> + Send)>) -> Result<(), Over> {
        for step in 0..self.steps.len() {
            if let Function::Processor(make) = &self.steps[step].function {
                let make = Arc::clone(make);
                self.turn(step, Phase::Open, move || make(), cut.as_mut()).await?;
            }
        }
        Ok(())
    }

    /// Closes the processors that are open, the last first; gives the first failure.
    async fn close(&mut self, mut cut: Pin<&mut (impl Future<Output = Cut> + Send)>) -> Result<(), Over> {
        let mut closed = Ok(());
        for step in (0..self.steps.len()).rev() {
            if let Some(processor) = self.processors[step].take() {
                let turned = self.turn(step, Phase::Close, move || processor, cut.as_mut()).await;
                self.processors[step] = None;
                match turned {
                    Err(Over::Cut(cut)) => return Err(Over::Cut(cut)),
                    turned => closed = closed.and(turned),
                }
            }
        }
        closed
    }

    /// Opens or closes a processor, in a task.
    async fn turn(
        &mut self,
        step: usize,
        phase: Phase,
        make: impl FnOnce() -> Box<dyn AnyProcessor> + Send + 'static,
        cut: Pin<&mut (impl Future<Output = Cut> + Send)>,
    ) -> Result<(), Over> {
        let context = self.contexts[step].clone();
        let task = self.tasks.spawn(async move {
            let mut processor = make();
            let result = match phase {
                Phase::Open => processor.open(&context).await,
                Phase::Close => processor.close(&context).await,
            };
            Returned { processor: Some(processor), result: result.map(|()| Value::Null) }
        });
        self.running.push((task.id(), step));
        match self.next(cut).await? {
            Some((step, Returned { processor, result: Ok(_) })) => self.processors[step] = processor,
            Some((step, Returned { result: Err(error), .. })) => return Err(Over::Failed(self.named(step, error))),
            None => {}
        }
        Ok(())
    }

    /// The node is named where a job has several.
    fn named(&self, step: usize, error: JobError) -> JobError {
        if self.steps.len() > 1 { error.in_node(&self.steps[step].node) } else { error }
    }
}

/// Keeps the values of a step for the jobs that read them.
async fn keep(attempt: &Attempt, step: &Step, value: &Value) -> Result<(), JobError> {
    for &port in &step.kept {
        let value = step.at_port(value, port).unwrap_or(&Value::Null);
        keep_value(attempt, &step.node, port, value).await?;
    }
    Ok(())
}
