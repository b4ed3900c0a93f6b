//! The suite of every executor.

use std::path::PathBuf;
use std::sync::Arc;

use aiflow_core::executor::Executor;
use aiflow_core::id::AttemptId;
use aiflow_exec_process::{ProcessExecutor, process, shell};
use aiflow_testkit::executor_suite::{Behaviour, ExecutorFixture};
use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;

struct Processes {
    dir: TempDir,
}

impl Processes {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("starts")).unwrap();
        Self { dir }
    }

    fn run_root(&self) -> PathBuf {
        self.dir.path().join("runs")
    }
}

#[async_trait]
impl ExecutorFixture for Processes {
    async fn open(&self) -> Arc<dyn Executor> {
        Arc::new(ProcessExecutor::new(self.run_root()))
    }

    async fn restart(&self) -> Option<Arc<dyn Executor>> {
        Some(Arc::new(ProcessExecutor::new(self.run_root())))
    }

    fn spec(&self, behaviour: Behaviour) -> Value {
        let work = match behaviour {
            Behaviour::Unknown => return process(["no-such-program"]).to_spec(),
            Behaviour::Succeed => "true".to_owned(),
            Behaviour::Fail => "exit 3".to_owned(),
            Behaviour::RunUntilStopped | Behaviour::TimeOut => "exec sleep 1000".to_owned(),
            Behaviour::IgnoreGracefulStop => "trap '' TERM; while :; do sleep 1000; done".to_owned(),
            Behaviour::PublishEventsThenSucceed(n) => format!(
                r#"i=0; while [ $i -lt {n} ]; do echo "{{\"key\":\"case\",\"value\":$i}}" >>"$AIFLOW_EVENTS"; i=$((i+1)); done"#
            ),
            Behaviour::PrintThenSucceed(n) => {
                format!("i=0; while [ $i -lt {n} ]; do echo line $i; i=$((i+1)); done; echo error >&2")
            }
            other => panic!("no job does {other:?}"),
        };
        let starts = self.dir.path().join("starts");
        let prepare = match behaviour {
            // The signal may come as soon as the start was counted.
            Behaviour::IgnoreGracefulStop => "trap '' TERM; ",
            _ => "",
        };
        shell(format!(r#"{prepare}echo start >>"{}/$AIFLOW_ATTEMPT_ID"; {work}"#, starts.display())).to_spec()
    }

    fn starts(&self, attempt: AttemptId) -> u32 {
        let file = self.dir.path().join("starts").join(attempt.to_string());
        let starts = std::fs::read_to_string(file).unwrap_or_default();
        starts.lines().count().try_into().unwrap()
    }
}

aiflow_testkit::executor_suite!(Processes::new());
