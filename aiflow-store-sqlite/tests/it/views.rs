//! What people see with the sqlite3 shell.

use std::sync::Arc;

use aiflow_core::client::AiFlow;
use aiflow_core::execution::{FiringRecord, JobExecution, JobState, WorkflowExecution, WorkflowState};
use aiflow_core::id::{Offset, ProjectName};
use aiflow_core::json::Json;
use aiflow_core::meta::{
    Artifact, Catalog, DataType, Dataset, MetricDefinition, Model, ModelStage, NewDatasetVersion, NewMetric,
    NewModelVersion, PRODUCED, Project, Schema, Subject,
};
use aiflow_core::records::{
    DeadLetter, WorkflowVersion, dead_letter_put, firing_put, job_execution_put, job_state_put, workflow_execution_put,
    workflow_put, workflow_version_put,
};
use aiflow_core::store::{Batch, MetaStore, RecordKey, RecordPut};
use aiflow_core::time::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use tempfile::tempdir;

use super::{open, shell, text};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);
const AT_TEXT: &str = "2023-11-14T22:13:20.123Z";

/// What a scheduler would have stored, written as the files hold it, so that every field that may be missing is.
pub(crate) fn executions() -> Batch {
    let at = AT.as_millis();
    let cause = json!({ "events": [7] });
    let execution: WorkflowExecution = stored(json!({
        "id": "7.0", "project": "wine", "workflow": "train", "version": 3, "status": "SUCCEEDED", "completion": "idle",
        "params": null, "cause": cause, "created_at": at, "finished_at": at,
    }));
    let job: JobExecution = stored(json!({
        "id": "8.1", "workflow_execution": "7.0", "project": "wine", "workflow": "train", "job": "fit",
        "executor": "process", "status": "RUNNING", "attempt": 2, "cause": cause, "created_at": at, "started_at": at,
    }));
    let job_state = JobState {
        current: Some(job.id),
        runs: 2,
        ..JobState::new(execution.id, execution.project.clone(), job.job.clone())
    };
    let state: WorkflowState = stored(json!({ "project": "wine", "name": "train", "version": 3, "enabled": true }));
    Batch::at(AT)
        .put(workflow_put(&state))
        .put(workflow_execution_put(&execution))
        .put(job_state_put(&job_state))
        .put(job_execution_put(&job))
}

/// What else a scheduler stores, with fields that may be missing and are not.
fn more_executions() -> Batch {
    let (at, project) = (AT.as_millis(), ProjectName::parse("wine").unwrap());
    let version: WorkflowVersion = stored(json!({
        "version": 3, "workflow": { "project": "wine", "name": "train", "jobs": [] }, "hash": "1a2b", "submitted_at": at,
    }));
    let execution = json!({
        "id": "20.0", "project": "wine", "workflow": "train", "version": 3, "status": "RUNNING", "completion": "idle",
        "params": { "rate": 0.1 }, "labels": { "team": "ads" }, "context": "eu", "rerun_of": "7.0",
        "cause": { "rule": "nightly", "events": [20] }, "created_at": at,
    });
    let job = json!({
        "id": "21.0", "workflow_execution": "20.0", "project": "wine", "workflow": "train", "job": "fit", "executor": "process",
        "status": "FAILED", "attempt": 3, "failures": 2, "cause": { "events": [20] }, "created_at": at, "finished_at": at,
        "params": { "depth": 4 }, "labels": { "epoch": "7" }, "logs": "runs/21.0-3/log", "placement": { "host": "ada:1:7" },
        "checkpoint": { "attempt": 2, "number": 9, "at": at, "value": { "row": 12 } },
        "ending": { "ending": "failed", "message": "no space", "exit_code": 3 },
    });
    let raw = |put: RecordPut, body: &Value| RecordPut { body: Json::of(body), ..put };
    let firing: FiringRecord = stored(json!({
        "workflow_execution": "20.0", "workflow": "train", "job": "fit", "rule": "start-1a2b", "events": [20, 22],
        "key": "ada", "action": { "job": "START" }, "outcome": "waiting",
        "waits": { "stage": "throttle", "since": at }, "steps": [{ "stage": "throttle", "at": at, "reason": "too many" }],
    }));
    let letter = DeadLetter::new("1/wine/train/start-1a2b", Offset(1), "there is no such field");
    Batch::at(AT)
        .put(workflow_version_put(&version))
        .put(raw(workflow_execution_put(&stored(execution.clone())), &execution))
        .put(raw(job_execution_put(&stored(job.clone())), &job))
        .put(firing_put("22.0", &project, &firing))
        .put(dead_letter_put(letter.id.clone(), &letter))
        .relate(PRODUCED, RecordKey::new("job_execution", "21.0"), RecordKey::new("model_version", "wine/classifier/1"))
}

fn stored<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

pub(crate) async fn metadata(flow: &AiFlow) {
    flow.projects().register(Project::new("wine".parse().unwrap()).uri("file:///wine")).await.unwrap();
    let schema = Schema::new().column("grape", DataType::String);
    let dataset = Dataset::in_catalog("samples", Catalog::new("hive", "wines", "samples")).unwrap().schema(schema);
    flow.datasets().register(dataset.tag("team", "ads").property("rows", 7)).await.unwrap();
    let version = NewDatasetVersion::new("file:///samples/1").digest("sha:1");
    flow.datasets().register_version("samples", version).await.unwrap();
    let model = Model::new("classifier").unwrap().description("wine by taste");
    flow.models().register(model).await.unwrap();
    let version = NewModelVersion::new("file:///m1").metric("accuracy", 0.9);
    let models = flow.models();
    let version = models.register_version("classifier", version).await.unwrap();
    models.set_stage("classifier", version.version, ModelStage::Validated).await.unwrap();
    models.set_alias("classifier", "prod", version.version).await.unwrap();
    let subject = Subject::model_version("classifier", 1).unwrap();
    let losses = (0..40).map(|n| NewMetric::new("loss", subject.clone(), f64::from(n) / 4.0).unwrap().step(5));
    flow.metrics().record_all(losses.collect()).await.unwrap();
    flow.metrics().record(NewMetric::new("loss", subject, 0.25).unwrap().step(6)).await.unwrap();
    let loss = MetricDefinition { start_time: Some(AT), ..MetricDefinition::new("loss").unwrap().unit("nats") };
    flow.metric_definitions().register(loss).await.unwrap();
    let artifact = Artifact::new("report", "file:///report").unwrap().artifact_type("html");
    flow.artifacts().register(artifact).await.unwrap();
    let execution = aiflow_core::id::WorkflowExecutionId::new(aiflow_core::id::Offset(7), 0);
    flow.annotations().update(execution, |notes| notes.tag("owner", "ada")).await.unwrap();
}

/// The named columns of the only row of a view, as JSON.
async fn row(conn: &mut SqliteConnection, view: &str, columns: &str) -> Value {
    let sql = format!("SELECT json_array({columns}) FROM {view}");
    serde_json::from_str(&text(conn, &sql).await).unwrap()
}

#[tokio::test]
async fn every_view_shows_what_was_stored() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let store = open(&path).await;
    store.commit(executions()).await.unwrap();
    let shared = Arc::new(store.clone());
    let flow = AiFlow::new(Arc::<aiflow_store_sqlite::SqliteStore>::clone(&shared), shared);
    metadata(&flow.unwrap().project("wine").unwrap()).await;
    store.commit(more_executions()).await.unwrap();

    let mut conn = shell(&path).await;
    let cases = [
        ("workflow", "project,name,version,state", r#"["wine","train",3,"ENABLED"]"#),
        (
            "workflow_execution WHERE id='7.0'",
            "id,project,workflow,version,status,events,created_at,finished_at",
            r#"["7.0","wine","train",3,"SUCCEEDED","[7]","AT","AT"]"#,
        ),
        (
            "job",
            "workflow_execution,project,job,status,runs,current,waiting",
            r#"["7.0","wine","fit","LIVE",2,"8.1",null]"#,
        ),
        (
            "job_execution WHERE id='8.1'",
            "id,workflow_execution,workflow,job,status,attempt,executor,started_at,finished_at",
            r#"["8.1","7.0","train","fit","RUNNING",2,"process","AT",null]"#,
        ),
        (
            "workflow_execution WHERE id='20.0'",
            "rule,json(params),json(labels),context,rerun_of",
            r#"["nightly",{"rate":0.1},{"team":"ads"},"eu","7.0"]"#,
        ),
        ("workflow_execution WHERE id='7.0'", "params,labels,context,rerun_of", "[null,null,null,null]"),
        (
            "job_execution WHERE id='21.0'",
            "exit_code,failures,json(params),json(labels),json(checkpoint),host,logs",
            r#"[3,2,{"depth":4},{"epoch":"7"},{"row":12},"ada:1:7","runs/21.0-3/log"]"#,
        ),
        (
            "job_execution WHERE id='8.1'",
            "exit_code,failures,params,labels,checkpoint,host,logs",
            "[null,0,null,null,null,null,null]",
        ),
        (
            "workflow_version",
            "project,workflow,version,id,hash,submitted_at,json_extract(definition,'$.name')",
            r#"["wine","train",3,"wine/train/3","1a2b","AT","train"]"#,
        ),
        (
            "firing",
            "id,project,workflow,workflow_execution,job,rule,schedule,json(events),key,action,outcome,waits_at,json_extract(steps,'$[0].reason'),created_at",
            r#"["22.0","wine","train","20.0","fit","start-1a2b",null,[20,22],"ada","START","waiting","throttle","too many","AT"]"#,
        ),
        (
            "dead_letter",
            "id,state,reason,rule,event,namespace,event_type,created_at",
            r#"["1/wine/train/start-1a2b","OPEN","there is no such field","wine/train/start-1a2b",1,"wine","PROJECT_CHANGED","AT"]"#,
        ),
        (
            "lineage WHERE relation='produced'",
            "upstream_kind,upstream_id,upstream_name,downstream_kind,downstream_id,downstream_name",
            r#"["job_execution","21.0","fit","model_version","wine/classifier/1","classifier"]"#,
        ),
        (
            "lineage WHERE relation='rerun_of'",
            "upstream_kind,upstream_id,upstream_name,downstream_kind,downstream_id,downstream_name",
            r#"["workflow_execution","7.0","train","workflow_execution","20.0","train"]"#,
        ),
        ("project", "name,uri,state", r#"["wine","file:///wine","ACTIVE"]"#),
        (
            "dataset",
            "project,name,id,state,uri,catalog_name,catalog_table,json(schema),json(tags),json(properties)",
            r#"["wine","samples","wine/samples","ACTIVE",null,"hive","samples",[{"name":"grape","type":"STRING"}],{"team":"ads"},{"rows":7}]"#,
        ),
        (
            "dataset_version",
            "project,dataset,version,uri,digest",
            r#"["wine","samples",1,"file:///samples/1","sha:1"]"#,
        ),
        ("model", "project,name,description", r#"["wine","classifier","wine by taste"]"#),
        (
            "model_version",
            "project,model,version,stage,status,uri,json(aliases),json_extract(metrics,'$.accuracy'),json_extract(metrics,'$.loss')",
            r#"["wine","classifier",1,"VALIDATED","READY","file:///m1",["prod"],0.9,0.25]"#,
        ),
        ("model_version_stage WHERE stage='GENERATED'", "model,version,from_stage", r#"["classifier",1,null]"#),
        ("model_version_stage WHERE stage='VALIDATED'", "model,version,from_stage", r#"["classifier",1,"GENERATED"]"#),
        ("alias", "model,alias,version,protected", r#"["classifier","prod",1,0]"#),
        ("alias_history", "model,alias,from_version,version", r#"["classifier","prod",null,1]"#),
        ("metric_definition", "project,name,unit,start_time,end_time", r#"["wine","loss","nats","AT",null]"#),
        (
            "metric_summary WHERE name='loss'",
            "project,subject,latest,step,min,max,count",
            r#"["wine","model_version:wine/classifier/1",0.25,6,0.0,9.75,41]"#,
        ),
        (
            "(SELECT * FROM metric WHERE name='loss' LIMIT 1 OFFSET 40)",
            "project,subject,step,value",
            r#"["wine","model_version:wine/classifier/1",6,0.25]"#,
        ),
        ("(SELECT count(*) AS n, sum(value) AS s FROM metric WHERE name='loss')", "n,s", "[41,195.25]"),
        ("artifact", "project,name,state,artifact_type,uri", r#"["wine","report","LIVE","html","file:///report"]"#),
        ("tag WHERE tag='team'", "kind,id,value", r#"["dataset","wine/samples","ads"]"#),
        ("tag WHERE tag='owner'", "kind,id,value", r#"["workflow_execution","7.0","ada"]"#),
        ("property", "kind,name,property,value", r#"["dataset","samples","rows",7]"#),
    ];
    for (view, columns, expected) in cases {
        let expected = expected.replace("AT\"", &format!("{AT_TEXT}\""));
        let expected: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(row(&mut conn, view, columns).await, expected, "{view}");
    }
    let first = row(&mut conn, "event_log WHERE offset=1", "namespace,event_type").await;
    assert_eq!(first[0], "wine");
    let when = text(&mut conn, "SELECT recorded FROM event_log LIMIT 1").await;
    assert!(when.len() == AT_TEXT.len() && when.ends_with('Z'), "{when}");
}

#[tokio::test]
async fn no_view_fails_on_an_empty_store() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("aiflow.db");
    let _store = open(&path).await;
    let mut conn = shell(&path).await;
    let views = text(&mut conn, "SELECT json_group_array(name) FROM sqlite_schema WHERE type='view'");
    let views: Vec<String> = serde_json::from_str(&views.await).unwrap();
    assert_eq!(views.len(), 23);
    for view in views {
        let sql = format!("SELECT count(*) || '' FROM {view}");
        let count = text(&mut conn, &sql);
        assert_eq!(count.await, "0", "{view}");
    }
}
