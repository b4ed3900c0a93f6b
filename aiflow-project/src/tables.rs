//! The tables: what a project file and a workflow file may say. The JSON Schema is made from them.

use crate::shape::Shape::{
    Any, Bool, Duration, Int, List, Map, Name, Named, Number, Object, OneOf, Special, Text, Time,
};
use crate::shape::{Record, Shape, optional, required};
use crate::special::{CONTEXTS, ENVIRONMENT, FAILURE, JOB_RULE, MISFIRE, SCHEDULE, VERSION, WORKFLOW_RULE};

const U32: Shape = Int { min: 0, max: u32::MAX as i64 };
const KEY: Shape = List(&Text);

/// `project.yaml`.
pub(crate) static PROJECT: Record = Record {
    name: "the project",
    doc: "A project of AIFlow: workflows that share a namespace, code and properties.",
    fields: &[
        required("name", Name("project"), "the name of the project, and the namespace of its events"),
        optional("properties", Object, "values that its files refer to as ${{ properties.NAME }}"),
        optional("pools", Map(&Int { min: 0, max: u32::MAX as i64 }), "slots that jobs share, by the name of the pool"),
        optional(
            "ignore",
            List(&Text),
            "names of files and directories that are no part of a snapshot; a star at the end for any rest",
        ),
    ],
};

/// A workflow file.
pub(crate) static WORKFLOW: Record = Record {
    name: "the workflow",
    doc: "A workflow of AIFlow: either nodes of an AI graph, from which jobs are made, or the jobs themselves.",
    fields: &[
        optional("name", Name("workflow"), "the name of the workflow, as the directory says it"),
        optional(
            "properties",
            Object,
            "values that this file refers to as ${{ properties.NAME }}, beside those of the project",
        ),
        optional("params", Any, "parameters that every execution starts with, a mapping"),
        optional("parameters", Named(&PARAMETER), "the parameters that it takes, with their types; others are refused"),
        optional("contexts", Special(&CONTEXTS), "where events name the contexts that they concern"),
        optional("completion", OneOf(&["idle", "standing"]), "when an execution ends; inferred by default"),
        optional("deadline", Duration, "when an execution should have ended, from its start").stored("deadline_ms"),
        optional("schedules", List(&Special(&SCHEDULE)), "times at which an execution starts"),
        optional("rules", List(&Special(&WORKFLOW_RULE)), "rules that start, stop and restart executions"),
        optional("admission", Shape::Record(&ADMISSION), "how starts of executions are admitted"),
        optional("hooks", List(&Shape::Record(&HOOK)), "events to publish when an execution ends"),
        optional("nodes", Named(&NODE), "the AI nodes, in definition order"),
        optional("jobs", Named(&JOB), "the jobs, in definition order, instead of nodes"),
        optional("data", List(&Shape::Record(&DATA_EDGE)), "data edges, behind those that the nodes name as inputs")
            .stored("data_edges"),
        optional("control", List(&Shape::Record(&CONTROL_EDGE)), "control edges, behind those of the nodes or jobs")
            .stored("control_edges"),
    ],
};

/// What nodes and jobs have in common: what to run, and the settings of the job.
macro_rules! step {
    ($executor:expr, $($own:expr),* $(,)?) => {
        &[
            $($own,)*
            optional("function", Text, "a registered function of the host application"),
            optional("run", List(&Text), "a program and its arguments, without a shell"),
            optional("python", Text, "a Python file of the workflow's directory"),
            optional("bash", Text, "a bash script of the workflow's directory"),
            optional("args", List(&Text), "arguments of the Python file or script"),
            optional("shell", Text, "a line for /bin/sh"),
            optional("env", Special(&ENVIRONMENT), "variables of the process"),
            optional("cwd", Text, "the working directory; relative to the workflow's directory, which is the default"),
            optional("limits", Shape::Record(&LIMITS), "limits of each process of the job"),
            optional("reads", List(&Name("artifact")), "artifacts that are laid before the process, in AIFLOW_INPUTS"),
            optional("writes", List(&Name("artifact")), "artifacts that the process leaves in AIFLOW_OUTPUTS"),
            optional("executor", $executor, "the executor that runs it, with spec in its own terms"),
            optional("spec", Any, "what to run, in terms of the executor"),
            optional("params", Any, "parameters, a mapping; those of the workflow execution override them"),
            optional("parameters", Named(&PARAMETER), "the parameters that the job takes, with their types"),
            optional("streaming", Bool, "it never ends by itself").default("false"),
            optional("after", List(&Text), "start when all of these have succeeded or, if they stream, are ready"),
            optional("rules", List(&Special(&JOB_RULE)), "what is done to the job when; the first that is met acts"),
            optional("schedules", List(&Special(&SCHEDULE)), "times at which it starts or restarts in a running execution"),
            optional("retry", Shape::Record(&RETRY), "what to do when an attempt fails"),
            optional("restart", Shape::Record(&RESTART), "what follows when a stream ends by itself"),
            optional("runs_on", List(&Name("host label")), "labels that a host must have to run it"),
            optional("queue_timeout", Duration, "the longest wait until an attempt runs").stored("queue_timeout_ms"),
            optional("start_timeout", Duration, "the longest time until a stream is ready").stored("start_timeout_ms"),
            optional("timeout", Duration, "the longest that an attempt may run").stored("timeout_ms"),
            optional("heartbeat_timeout", Duration, "the longest time without a sign of life").stored("heartbeat_timeout_ms"),
            optional("stop_grace", Duration, "the time between asking to stop and killing").stored("stop_grace_ms"),
            optional("ack_within", Duration, "the longest until a value that is handed over is acknowledged").stored("ack_within_ms"),
            optional("deadline", Shape::Record(&DEADLINE), "when it should be done"),
            optional("hooks", List(&Shape::Record(&HOOK)), "events to publish when an execution of it ends"),
            optional("admission", Shape::Record(&ADMISSION), "how starts of the job, and its attempts, are admitted"),
        ]
    };
}

/// An AI node, under its name.
pub(crate) static NODE: Record = Record {
    name: "a node",
    doc: "An AI node: one of function, run, python, bash, shell, or executor with spec.",
    fields: step![
        Text,
        optional(
            "kind",
            OneOf(&[
                "read_dataset",
                "write_dataset",
                "transform",
                "train",
                "predict",
                "evaluate",
                "dataset_validate",
                "model_validate",
                "push_model",
                "external_trigger",
                "user_defined",
            ]),
            "what sort of step it is, for pictures"
        ),
        optional("arguments", Shape::Record(&ARGUMENTS), "the dataset and the models that it is about, by name"),
        optional("inputs", List(&Text), "nodes whose output flows into it, in this order; `node:1` for port 1"),
        optional("outputs", U32, "how many output ports it has").default("1"),
        optional("job", Text, "the job it belongs to; derived from the data edges by default"),
    ],
};

/// A job, under its name.
pub(crate) static JOB: Record = Record {
    name: "a job",
    doc: "A job: one of function, run, python, bash, shell, or executor with spec.",
    fields: step![Name("executor"),],
};

static ARGUMENTS: Record = Record {
    name: "arguments",
    doc: "The dataset and the models that a node is about; looked up when the job runs.",
    fields: &[
        optional("dataset", Text, "a dataset of the project"),
        optional("model", Text, "a model of the project"),
        optional("model_version", Special(&VERSION), "which version of the model"),
        optional("base_model", Text, "the model that the work goes on from, or is compared with"),
        optional("base_model_version", Special(&VERSION), "which version of the base model"),
    ],
};

static DATA_EDGE: Record = Record {
    name: "a data edge",
    doc: "The output of a node flows into another.",
    fields: &[
        required("from", Text, "the node whose output it is"),
        optional("port", U32, "its output port").default("0"),
        required("to", Text, "the node whose input it becomes"),
        optional("stored", Bool, "the nodes may be of different jobs: the value is kept in the artifact store")
            .default("false"),
    ],
};

static CONTROL_EDGE: Record = Record {
    name: "a control edge",
    doc: "Something happens to a job when a condition is met: rule, or after.",
    fields: &[
        required("job", Text, "the job acted on, or a node and thereby its job"),
        optional("rule", Special(&JOB_RULE), "when, and what"),
        optional("after", List(&Text), "start when all of these have succeeded or, if they stream, are ready"),
    ],
};

static LIMITS: Record = Record {
    name: "limits",
    doc: "Limits of each process, applied by the operating system.",
    fields: &[
        optional("memory_bytes", Int { min: 0, max: i64::MAX }, "address space, in bytes"),
        optional("cpu_seconds", Int { min: 0, max: i64::MAX }, "processor time, in seconds"),
        optional("open_files", Int { min: 0, max: i64::MAX }, "open files"),
    ],
};

static PARAMETER: Record = Record {
    name: "a parameter",
    doc: "A parameter that is taken.",
    fields: &[
        required("type", OneOf(&["string", "integer", "float", "boolean", "timestamp", "json"]), "its type"),
        optional("default", Any, "its value where none is given"),
        optional("required", Bool, "nothing starts without it").default("false"),
        optional("min", Number, "the smallest number"),
        optional("max", Number, "the largest number"),
        optional("one_of", List(&Any), "the values that are allowed"),
    ],
};

static RETRY: Record = Record {
    name: "retry",
    doc: "Which failures are tried again, how often, and after which pause.",
    fields: &[
        required("retries_max", U32, "retries after the first attempt"),
        required("backoff", Duration, "the pause before the first retry").stored("backoff_ms"),
        optional("factor", U32, "by how much the pause grows with each retry"),
        optional("backoff_max", Duration, "the longest pause").stored("backoff_ms_max"),
        optional("jitter_percent", Int { min: 0, max: 255 }, "by how much a pause is shortened at most"),
        optional("retry_on", List(&Special(&FAILURE)), "only these failures are tried again"),
        optional("no_retry_on", List(&Special(&FAILURE)), "these failures are not tried again"),
    ],
};

static RESTART: Record = Record {
    name: "restart",
    doc: "When a stream that ended begins again, and after which pause.",
    fields: &[
        required("when", OneOf(&["never", "on_failure", "always"]), "after which endings"),
        required("backoff", Duration, "the pause before the first restart of a row").stored("backoff_ms"),
        optional("factor", U32, "by how much the pause grows with each restart of a row"),
        optional("backoff_max", Duration, "the longest pause").stored("backoff_ms_max"),
        optional("jitter_percent", Int { min: 0, max: 255 }, "by how much a pause is shortened at most"),
        optional("healthy_after", Duration, "how long it runs until a new row begins").stored("healthy_after_ms"),
        optional("restarts_max", U32, "the most restarts in a row"),
    ],
};

static DEADLINE: Record = Record {
    name: "deadline",
    doc: "When a job should be done; an event says if it is not.",
    fields: &[
        required("after", Duration, "how long after the moment from which it counts").stored("after_ms"),
        required("of", OneOf(&["job", "workflow_execution"]), "whose start it counts from"),
    ],
};

static HOOK: Record = Record {
    name: "a hook",
    doc: "An event that is published when something ends.",
    fields: &[
        required("on", OneOf(&["success", "failure", "stop", "end"]), "after which ending"),
        required("key", Text, "the key of the event"),
        optional("event_type", Text, "the type of the event"),
        optional("value", Any, "the value of the event; what is known of the ending by default"),
        optional("broadcast", Bool, "of a job: for all executions instead of its own").default("false"),
    ],
};

static ADMISSION: Record = Record {
    name: "admission",
    doc: "When a start that was asked for really takes place.",
    fields: &[
        optional("idempotency", Shape::Record(&IDEMPOTENCY), "drops a start whose key was seen before"),
        optional("rate_limit", Shape::Record(&RATE), "drops starts that come too often"),
        optional("debounce", Shape::Record(&DEBOUNCE), "waits for quiet, and starts once"),
        optional("batch", Shape::Record(&BATCH), "joins several firings into one start"),
        optional("throttle", Shape::Record(&RATE), "queues starts that come too often"),
        optional("concurrency", Shape::Record(&CONCURRENCY), "at most so many executions at once"),
        optional("overlap", OneOf(OVERLAP), "what becomes of a start that meets live executions"),
        optional("pool", Shape::Record(&POOL), "the slots that an attempt takes"),
        optional(
            "priority",
            Int { min: i32::MIN as i64, max: i32::MAX as i64 },
            "of those that wait, a higher one goes first",
        ),
    ],
};

const OVERLAP: &[&str] = &["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"];

static IDEMPOTENCY: Record = Record {
    name: "idempotency",
    doc: "Drops a start if another with the same key was admitted before.",
    fields: &[
        required("key", KEY, "the parameters that form the key"),
        required("window", Duration, "how long a key is remembered").stored("window_ms"),
    ],
};

static RATE: Record = Record {
    name: "a rate",
    doc: "At most so many starts in any stretch of time.",
    fields: &[
        required("starts", U32, "how many"),
        required("per", Duration, "in which time").stored("per_ms"),
        optional("key", KEY, "the parameters that form the key"),
    ],
};

static DEBOUNCE: Record = Record {
    name: "debounce",
    doc: "Waits until no firing came for a while.",
    fields: &[
        required("quiet", Duration, "how long no firing must have come").stored("quiet_ms"),
        optional("longest", Duration, "the longest wait since the first firing").stored("longest_ms"),
        optional("key", KEY, "the parameters that form the key"),
    ],
};

static BATCH: Record = Record {
    name: "batch",
    doc: "Joins firings into one start.",
    fields: &[
        required("firings", U32, "a batch is complete with so many"),
        required("within", Duration, "an incomplete batch starts so long after its first").stored("within_ms"),
        optional("key", KEY, "the parameters that form the key"),
    ],
};

static CONCURRENCY: Record = Record {
    name: "concurrency",
    doc: "At most so many executions at once.",
    fields: &[required("executions", U32, "how many"), optional("key", KEY, "the parameters that form the key")],
};

static POOL: Record = Record {
    name: "a pool",
    doc: "Slots that an attempt takes.",
    fields: &[required("pool", Name("pool"), "the pool"), optional("weight", U32, "how many slots").default("1")],
};

/// A schedule, before its times are put together.
pub(crate) static SCHEDULE_FIELDS: Record = Record {
    name: "a schedule",
    doc: "Times at which something starts: cron, or every.",
    fields: &[
        optional("name", Name("schedule"), "the identity of the schedule; derived from its times by default"),
        optional("cron", Text, "a pattern of five to seven fields: minute hour day month weekday"),
        optional("time_zone", Text, "the IANA name of the time zone of cron"),
        optional("every", Duration, "the distance between two times").stored("every_ms"),
        optional("start", Time, "no time before this counts").stored("start_ms"),
        optional("end", Time, "no time after this counts").stored("end_ms"),
        optional("jitter", Duration, "each time is acted on later by a part of this").stored("jitter_ms"),
        optional("misfire", Special(&MISFIRE), "what becomes of times that passed while no scheduler ran"),
        optional("misfire_grace", Duration, "how long a time is on time").stored("misfire_grace_ms").default("60000"),
        optional("overlap", OneOf(OVERLAP), "what becomes of a time while what it starts is live"),
        optional("action", OneOf(&["START", "STOP", "RESTART", "SIGNAL", "NONE"]), "START, or on a job RESTART"),
        optional("params", Any, "parameters of what it starts, a mapping"),
    ],
};
