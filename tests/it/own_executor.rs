//! The job type of the example: does it keep every promise of an executor, and is it at home in graphs and files?

#[path = "../../examples/own_executor/sql.rs"]
mod sql;

use std::sync::Arc;

use aiflow::executor::Executor;
use aiflow::id::AttemptId;
use aiflow::prelude::*;
use aiflow::translator::{SplitTranslator, TranslateOptions, Translator as _};
use aiflow_testkit::{Behaviour, ExecutorFixture};
use async_trait::async_trait;
use serde_json::{Value, json};

use sql::{SQL, SqlExecutor, SqlGenerator, publish, sql};

const FOR_EVER: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

mod suite {
    use super::SqlFixture;

    aiflow_testkit::executor_suite!(SqlFixture::new());
}

struct SqlFixture(tempfile::TempDir);

impl SqlFixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl ExecutorFixture for SqlFixture {
    async fn open(&self) -> Arc<dyn Executor> {
        Arc::new(SqlExecutor::new(self.0.path().join("case.db")))
    }

    async fn restart(&self) -> Option<Arc<dyn Executor>> {
        None
    }

    fn spec(&self, behaviour: Behaviour) -> Value {
        match behaviour {
            Behaviour::Succeed => json!([{ "node": "n", "sql": "SELECT 1" }]),
            Behaviour::Fail => json!([{ "node": "n", "sql": "SELECT * FROM missing" }]),
            Behaviour::PublishEventsThenSucceed(n) => {
                let rows = format!(
                    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT {n}"
                );
                json!([{ "node": "n", "sql": rows, "publish": "case" }])
            }
            Behaviour::RunUntilStopped | Behaviour::IgnoreGracefulStop | Behaviour::TimeOut => {
                json!([{ "node": "n", "sql": FOR_EVER }])
            }
            _ => json!("no script"),
        }
    }

    fn starts(&self, attempt: AttemptId) -> u32 {
        let connection = sql::connect(&self.0.path().join("case.db")).unwrap();
        let count = "SELECT count(*) FROM attempts WHERE attempt = ?1";
        connection.query_row(count, [attempt.to_string()], |row| row.get(0)).unwrap()
    }
}

#[test]
fn nodes_of_a_generator_form_jobs_and_what_is_wrong_with_them_is_said() {
    let mut graph = AiGraph::new("p", "w");
    graph.node("a", sql("CREATE TABLE a (x)"));
    graph.node("b", sql("INSERT INTO a VALUES (1)"));
    graph.node("c", publish("x", "SELECT x FROM a"));
    graph.data("a", "b").data("b", "c");
    let translator = SplitTranslator::new().generator(SQL, SqlGenerator);
    let workflow = graph.translate_with(&translator, &TranslateOptions::default()).unwrap();
    let script = &workflow.jobs[0].spec;
    assert_eq!((workflow.jobs.len(), &script[1]["node"], &script[2]["publish"]), (1, &json!("b"), &json!("x")));
    graph.node("d", aiflow::graph::operation(SQL, json!({ "sqll": "SELECT 1" })));
    graph.data("c", "d");
    let wrong = translator.translate(&graph, &TranslateOptions::default()).unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].to_string().starts_with("node d: is no statement: unknown field `sqll`"), "{}", wrong[0]);
}

#[cfg(feature = "project")]
#[test]
fn files_name_the_job_type_and_its_nodes_form_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let workflows = dir.path().join("workflows/report");
    std::fs::create_dir_all(&workflows).unwrap();
    std::fs::write(dir.path().join("project.yaml"), "name: shop\n").unwrap();
    let text = "nodes:\n  a:\n    executor: sql\n    spec: {sql: CREATE TABLE a (x)}\n  b:\n    executor: sql\n    spec: {sql: INSERT INTO a VALUES (1)}\n    inputs: [a]\n";
    std::fs::write(workflows.join("report.yaml"), text).unwrap();
    let refused = aiflow::project::Project::load(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("only function nodes exchange data"), "{refused}");
    let translator = SplitTranslator::new().generator(SQL, SqlGenerator);
    let options = aiflow::project::LoadOptions::new().translator(translator);
    let project = aiflow::project::Project::load_with(dir.path(), &options).unwrap();
    let workflow = &project.workflow("report").unwrap().workflow;
    assert_eq!((workflow.jobs.len(), workflow.jobs[0].spec.as_array().map(Vec::len)), (1, Some(2)));
}
