//! Functions against the suite of executors, also when calls are slow, fail, or lose their reply.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiflow_core::executor::Executor;
use aiflow_core::function::{FunctionExecutor, Functions, JobContext};
use aiflow_core::id::AttemptId;
use aiflow_testkit::executor_suite::{Behaviour, ExecutorFixture};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::function::single;

aiflow_testkit::executor_suite!(Fixture::default());

/// Calls that are slow, fail, or do their work and lose the reply.
mod through_faults {
    use aiflow_testkit::fault::FaultPlan;
    use aiflow_testkit::fault_executor::FaultyExecutorFixture;
    use aiflow_testkit::rng::test_seed;

    use super::*;

    fn functions() -> FaultyExecutorFixture<Fixture> {
        let plan = FaultPlan::seeded(test_seed()).fail_before(20).reply_lost(20).delay(Duration::from_micros(100));
        FaultyExecutorFixture::new(Fixture::default(), plan)
    }

    aiflow_testkit::executor_suite!(functions());
}

#[derive(Debug, Default)]
struct Fixture {
    starts: Arc<Mutex<BTreeMap<AttemptId, u32>>>,
}

impl Fixture {
    fn functions(&self) -> Functions {
        let starts = Arc::clone(&self.starts);
        let count = move |ctx: &JobContext| {
            *starts.lock().unwrap().entry(ctx.attempt()).or_default() += 1;
        };
        let functions = Functions::new();
        let counting = count.clone();
        let functions = functions.register("succeed", move |ctx, _: Value| {
            counting(&ctx);
            async { Ok(()) }
        });
        let counting = count.clone();
        let functions = functions.register("fail", move |ctx, _: Value| {
            counting(&ctx);
            async { Err::<(), _>("it failed".into()) }
        });
        let counting = count.clone();
        let functions = functions.register("run", move |ctx, _: Value| {
            counting(&ctx);
            async move {
                ctx.cancelled().await;
                Ok(())
            }
        });
        let counting = count.clone();
        let functions = functions.register("ignore", move |ctx, _: Value| {
            counting(&ctx);
            async {
                std::future::pending::<()>().await;
                Ok(())
            }
        });
        functions.register("publish", move |ctx: JobContext, _: Value| {
            count(&ctx);
            async move {
                let params: BTreeMap<String, u32> = ctx.params()?;
                for n in 0..params["events"] {
                    ctx.publish(ctx.event("case").value(n)).await?;
                }
                Ok(())
            }
        })
    }
}

#[async_trait]
impl ExecutorFixture for Fixture {
    async fn open(&self) -> Arc<dyn Executor> {
        Arc::new(FunctionExecutor::new(self.functions()))
    }

    async fn restart(&self) -> Option<Arc<dyn Executor>> {
        None
    }

    fn spec(&self, behaviour: Behaviour) -> Value {
        match behaviour {
            Behaviour::Succeed => single("succeed"),
            Behaviour::Fail => single("fail"),
            Behaviour::RunUntilStopped => single("run"),
            Behaviour::IgnoreGracefulStop | Behaviour::TimeOut => single("ignore"),
            Behaviour::PublishEventsThenSucceed(n) => json!({"nodes": [
                {"name": "node", "function": "publish", "params": {"events": n}}
            ]}),
            _ => single("unknown"),
        }
    }

    fn starts(&self, attempt: AttemptId) -> u32 {
        self.starts.lock().unwrap().get(&attempt).copied().unwrap_or(0)
    }
}
