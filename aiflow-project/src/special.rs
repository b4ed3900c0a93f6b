//! Values with forms of their own: rules, schedules, tests of failures, environments.

use aiflow_core::event::Match;
use aiflow_core::id::{Offset, RuleName};
use aiflow_core::workflow::{
    Condition, ContextOf, JobAction, ModelStage, ParamSource, Schedule, SchedulingRule, StartPosition, SyntaxError,
    Times, WorkflowAction, WorkflowRule,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::decode::Decoder;
use crate::json_schema::of_record;
use crate::out::Out;
use crate::shape::{Record, Shape, Special, optional, required};
use crate::substitute::secret_text;
use crate::tables::SCHEDULE_FIELDS;
use crate::tree::{Kind, Node};

fn stored<T: Serialize>(value: &T) -> Option<Value> {
    serde_json::to_value(value).ok()
}

fn typed<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// A rule on a job.
pub(crate) static JOB_RULE: Special = Special {
    name: "job_rule",
    doc: "`RESTART when model(wine) DEPLOYED, taking version from /version`, or the same as a mapping.",
    decode: |decoder, node| {
        let rule: SchedulingRule = rule(decoder, node, &JOB_RULE_PARTS, |condition, action| {
            let actions = [JobAction::Start, JobAction::Stop, JobAction::Restart, JobAction::Signal, JobAction::None];
            Some(SchedulingRule::new(condition, actions.into_iter().find(|known| known.as_str() == action)?))
        })?;
        stored(&rule)
    },
    encode: |value| typed::<SchedulingRule>(value).map_or_else(|| Out::of(value), |rule| rule.to_string().into()),
    schema: || rule_schema(&JOB_RULE_PARTS),
};

/// A rule on a workflow.
pub(crate) static WORKFLOW_RULE: Special = Special {
    name: "workflow_rule",
    doc: "`START when samples = \"ready\"`, or the same as a mapping.",
    decode: |decoder, node| {
        let rule: WorkflowRule = rule(decoder, node, &WORKFLOW_RULE_PARTS, |condition, action| {
            let actions = [WorkflowAction::Start, WorkflowAction::Stop, WorkflowAction::Restart];
            Some(WorkflowRule::new(condition, actions.into_iter().find(|known| known.as_str() == action)?))
        })?;
        stored(&rule)
    },
    encode: |value| typed::<WorkflowRule>(value).map_or_else(|| Out::of(value), |rule| rule.to_string().into()),
    schema: || rule_schema(&WORKFLOW_RULE_PARTS),
};

static JOB_RULE_PARTS: Record = Record {
    name: "a rule",
    doc: "A rule, part by part.",
    fields: &[
        required("when", Shape::Special(&CONDITION), "the condition"),
        required("do", Shape::OneOf(&["start", "stop", "restart", "signal", "none"]), "what is done to the job"),
        optional("name", Shape::Name("rule"), "the identity of the rule; derived from its content by default"),
        optional("params", Shape::Map(&Shape::Special(&SOURCE)), "parameters taken from the events of the firing"),
        optional("from", Shape::Special(&POSITION), "where in the log the rule begins when it is new"),
    ],
};

static WORKFLOW_RULE_PARTS: Record = Record {
    name: "a rule",
    doc: "A rule, part by part.",
    fields: &[
        required("when", Shape::Special(&CONDITION), "the condition"),
        required("do", Shape::OneOf(&["start", "stop", "restart"]), "what is done to the workflow"),
        optional(
            "of",
            Shape::Text,
            "the parameter whose value is the key of for each: only executions with it are meant",
        ),
        optional("name", Shape::Name("rule"), "the identity of the rule; derived from its content by default"),
        optional("params", Shape::Map(&Shape::Special(&SOURCE)), "parameters taken from the events of the firing"),
        optional("from", Shape::Special(&POSITION), "where in the log the rule begins when it is new"),
    ],
};

/// What job and workflow rules have in common here.
trait AnyRule: std::str::FromStr<Err = SyntaxError> {
    fn set(
        &mut self,
        name: Option<RuleName>,
        of: Option<String>,
        params: Vec<(String, ParamSource)>,
        from: Option<StartPosition>,
    );
}

impl AnyRule for SchedulingRule {
    fn set(
        &mut self,
        name: Option<RuleName>,
        _: Option<String>,
        params: Vec<(String, ParamSource)>,
        from: Option<StartPosition>,
    ) {
        self.params.extend(params);
        self.from = from.unwrap_or(self.from);
        if let Some(name) = name {
            self.name = name;
        }
    }
}

impl AnyRule for WorkflowRule {
    fn set(
        &mut self,
        name: Option<RuleName>,
        of: Option<String>,
        params: Vec<(String, ParamSource)>,
        from: Option<StartPosition>,
    ) {
        self.params.extend(params);
        self.of_param = of;
        self.from = from.unwrap_or(self.from);
        if let Some(name) = name {
            self.name = name;
        }
    }
}

fn rule<R: AnyRule>(
    decoder: &mut Decoder<'_>,
    node: &Node,
    parts: &Record,
    new: impl FnOnce(Condition, &str) -> Option<R>,
) -> Option<R> {
    if !matches!(node.kind, Kind::Map(_)) {
        return parsed(decoder, node, "a rule such as START when samples = \"ready\"");
    }
    let object = decoder.record(parts, node)?;
    let action = object.get("do").and_then(Value::as_str)?.to_uppercase();
    let mut rule = new(typed(object.get("when")?)?, &action)?;
    let params = object.get("params").and_then(Value::as_object);
    let params = params.into_iter().flatten().filter_map(|(name, source)| Some((name.clone(), typed(source)?)));
    rule.set(
        object.get("name").and_then(typed),
        object.get("of").and_then(typed),
        params.collect(),
        object.get("from").and_then(typed),
    );
    Some(rule)
}

/// What a text says in the language of rules.
fn parsed<T: std::str::FromStr<Err = SyntaxError>>(decoder: &mut Decoder<'_>, node: &Node, what: &str) -> Option<T> {
    let text = decoder.text(node, what)?;
    match text.parse() {
        Ok(read) => Some(read),
        Err(error) => decoder.syntax(node, &text, &error),
    }
}

fn rule_schema(parts: &Record) -> Value {
    json!({ "anyOf": [{ "type": "string" }, of_record(parts)] })
}

static CONDITION: Special = Special {
    name: "condition",
    doc: "`samples = \"ready\" and train SUCCEEDED within 1 h`.",
    decode: |decoder, node| stored(&parsed::<Condition>(decoder, node, "a condition such as samples = \"ready\"")?),
    encode: |value| typed::<Condition>(value).map_or_else(|| Out::of(value), |condition| condition.to_string().into()),
    schema: || json!({ "type": "string" }),
};

/// Where events name contexts.
pub(crate) static CONTEXTS: Special = Special {
    name: "contexts",
    doc: "Where events name the contexts that they concern: `event`, `all`, `/customers`, `key`, `label tenant`, the last three also with ` or all`.",
    decode: |decoder, node| {
        stored(&parsed::<ContextOf>(decoder, node, "where events name contexts, such as /customers or all")?)
    },
    encode: |value| typed::<ContextOf>(value).map_or_else(|| Out::of(value), |contexts| contexts.to_string().into()),
    schema: || json!({ "type": "string" }),
};

static SOURCE: Special = Special {
    name: "source",
    doc: "Where a parameter is found: `/uri of samples`, `key`, `label region`.",
    decode: |decoder, node| {
        stored(&parsed::<ParamSource>(decoder, node, "where the parameter is found, such as /uri of samples")?)
    },
    encode: |value| typed::<ParamSource>(value).map_or_else(|| Out::of(value), |source| source.to_string().into()),
    schema: || json!({ "type": "string" }),
};

static POSITION: Special = Special {
    name: "position",
    doc: "`latest` for the newest event of each key, or an offset.",
    decode: |decoder, node| match &node.kind {
        Kind::Text { text, .. } if text == "latest" => stored(&StartPosition::LatestPerKey),
        Kind::Number(number) if let Some(offset) = number.as_u64() => stored(&StartPosition::Offset(Offset(offset))),
        _ => decoder.expected(node, "latest, or the offset of an event"),
    },
    encode: Out::of,
    schema: || json!({ "anyOf": [{ "const": "latest" }, { "type": "integer", "minimum": 0 }] }),
};

/// How a text of an event is compared.
pub(crate) static MATCH: Special = Special {
    name: "match",
    doc: "A text; a star at its end stands for any rest. `{exact: …}` for a text that ends in a star.",
    decode: |decoder, node| match &node.kind {
        Kind::Map(_) => {
            let object = decoder.record(&MATCH_PARTS, node)?;
            if object.len() == 1 {
                return Some(Value::Object(object));
            }
            decoder.expected(node, "exact or prefix")
        }
        _ => stored(&Match::from(decoder.text(node, "a text")?)),
    },
    encode: |value| match typed::<Match>(value) {
        Some(known) if Match::from(known.to_string()) == known => known.to_string().into(),
        _ => Out::of(value),
    },
    schema: || json!({ "anyOf": [{ "type": "string" }, of_record(&MATCH_PARTS)] }),
};

static MATCH_PARTS: Record = Record {
    name: "a match",
    doc: "How a text is compared.",
    fields: &[
        optional("exact", Shape::Text, "exactly this text"),
        optional("prefix", Shape::Text, "texts that begin so"),
    ],
};

/// A version of a model.
pub(crate) static VERSION: Special = Special {
    name: "version",
    doc: "A number, `latest`, `{stage: DEPLOYED}` or `{alias: champion}`.",
    decode: |decoder, node| match &node.kind {
        Kind::Number(number) if number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()) => {
            Some(json!({ "number": number }))
        }
        Kind::Text { text, .. } if text == "latest" => Some("latest".into()),
        Kind::Map(_) => {
            let object = decoder.record(&VERSION_PARTS, node)?;
            if object.len() != 1 {
                return decoder.expected(node, "stage or alias");
            }
            match object.get("stage").and_then(Value::as_str).map(ModelStage::parse) {
                Some(Err(error)) => {
                    decoder.say(node.place, error.message().to_owned());
                    None
                }
                Some(Ok(stage)) => Some(json!({ "stage": stage })),
                None => Some(Value::Object(object)),
            }
        }
        _ => decoder.expected(node, "a number, latest, or a mapping with stage or alias"),
    },
    encode: |value| value.get("number").map_or_else(|| Out::of(value), Out::of),
    schema: || {
        let number = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
        json!({ "anyOf": [number, { "const": "latest" }, of_record(&VERSION_PARTS)] })
    },
};

static VERSION_PARTS: Record = Record {
    name: "a version",
    doc: "What leads to a version when the job runs.",
    fields: &[
        optional("stage", Shape::Text, "the newest version in this stage"),
        optional("alias", Shape::Text, "the version that this alias points to"),
    ],
};

/// Times at which something starts.
pub(crate) static SCHEDULE: Special = Special {
    name: "schedule",
    doc: "Times at which something starts: a cron pattern, or a distance.",
    decode: |decoder, node| {
        let mut object = decoder.record(&SCHEDULE_FIELDS, node)?;
        let mut times = Map::new();
        for name in ["cron", "time_zone", "every_ms"] {
            times.extend(object.remove(name).map(|value| (name.to_owned(), value)));
        }
        let times = match (times.contains_key("cron"), times.contains_key("every_ms"), times.contains_key("time_zone"))
        {
            (true, false, _) | (false, true, false) => Value::Object(times),
            (false, true, true) => return decoder.expected(node, "no time_zone: only cron has one"),
            _ => return decoder.expected(node, "either cron or every"),
        };
        if !object.contains_key("name") {
            object.insert("name".to_owned(), derived_name(&times)?.into());
        }
        object.insert("times".to_owned(), times);
        Some(Value::Object(object))
    },
    encode: |value| {
        let mut object = value.as_object().cloned().unwrap_or_default();
        let times = object.remove("times").unwrap_or_default();
        if object.get("name").and_then(Value::as_str) == derived_name(&times).as_deref() {
            object.remove("name");
        }
        object.extend(times.as_object().cloned().unwrap_or_default());
        Out::Map(crate::encode::record(&SCHEDULE_FIELDS, &object))
    },
    schema: || of_record(&SCHEDULE_FIELDS),
};

fn derived_name(times: &Value) -> Option<String> {
    Some(Schedule::new(typed::<Times>(times)?).name.to_string())
}

/// What becomes of times that were missed.
pub(crate) static MISFIRE: Special = Special {
    name: "misfire",
    doc: "`skip`, `once`, or `{all: 7}` for the newest seven.",
    decode: |decoder, node| match &node.kind {
        Kind::Text { text, .. } if text == "skip" || text == "once" => Some(text.as_str().into()),
        Kind::Map(_) => {
            let mut object = decoder.record(&MISFIRE_PARTS, node)?;
            Some(json!({ "all": { "max": object.remove("all")? } }))
        }
        _ => decoder.expected(node, "skip, once, or a mapping with all"),
    },
    encode: |value| match value.pointer("/all/max") {
        Some(max) => Out::Map(vec![("all".to_owned(), Out::of(max))]),
        None => Out::of(value),
    },
    schema: || json!({ "anyOf": [{ "enum": ["skip", "once"] }, of_record(&MISFIRE_PARTS)] }),
};

static MISFIRE_PARTS: Record = Record {
    name: "misfire",
    doc: "How many of the missed times are acted on.",
    fields: &[required("all", Shape::Int { min: 0, max: i64::MAX }, "how many of the newest")],
};

/// A sort of failure.
pub(crate) static FAILURE: Special = Special {
    name: "failure",
    doc: "`timed_out`, `{timed_out: queue}`, `{exit_code: 75}`, `{exit_codes: [64, 75]}` from and to, `{kind: io*}`.",
    decode: |decoder, node| {
        if matches!(&node.kind, Kind::Text { text, .. } if text == "timed_out") {
            return Some(json!({ "timed_out": {} }));
        }
        let object = decoder.record(&FAILURE_PARTS, node)?;
        let parts: Vec<(&str, &Value)> = object.iter().map(|(name, value)| (name.as_str(), value)).collect();
        match parts[..] {
            [("exit_code", code)] => Some(json!({ "exit_code": { "from": code, "to": code } })),
            [("exit_codes", codes)] => match codes.as_array().map(Vec::as_slice) {
                Some([from, to]) => Some(json!({ "exit_code": { "from": from, "to": to } })),
                _ => decoder.expected(node, "two exit codes: the lowest and the highest"),
            },
            [("timed_out", limit)] => Some(json!({ "timed_out": { "limit": limit } })),
            [("kind", kind)] => Some(json!({ "kind": kind })),
            _ => decoder.expected(node, "one of exit_code, exit_codes, kind, timed_out"),
        }
    },
    encode: |value| {
        let one = |name: &str, out: Out| Out::Map(vec![(name.to_owned(), out)]);
        if let Some(kind) = value.get("kind") {
            return one("kind", (MATCH.encode)(kind));
        }
        if let Some(late) = value.get("timed_out") {
            return late.get("limit").map_or_else(|| "timed_out".into(), |limit| one("timed_out", Out::of(limit)));
        }
        match (value.pointer("/exit_code/from"), value.pointer("/exit_code/to")) {
            (Some(from), Some(to)) if from == to => one("exit_code", Out::of(from)),
            (Some(from), Some(to)) => one("exit_codes", Out::List(vec![Out::of(from), Out::of(to)])),
            _ => Out::of(value),
        }
    },
    schema: || json!({ "anyOf": [{ "const": "timed_out" }, of_record(&FAILURE_PARTS)] }),
};

const EXIT_CODE: Shape = Shape::Int { min: i32::MIN as i64, max: i32::MAX as i64 };

static FAILURE_PARTS: Record = Record {
    name: "a test of failures",
    doc: "A sort of failure: one of these.",
    fields: &[
        optional("exit_code", EXIT_CODE, "the exit code of a process"),
        optional("exit_codes", Shape::List(&EXIT_CODE), "the lowest and the highest exit code of a process"),
        optional("kind", Shape::Special(&MATCH), "what sort of error it was, in the words of the job"),
        optional(
            "timed_out",
            Shape::OneOf(&["queue", "start", "run", "heartbeat"]),
            "the time limit that was exceeded",
        ),
    ],
};

/// The environment of a process: stored as `env`, and as `secrets` what is looked up when it starts.
pub(crate) static ENVIRONMENT: Special = Special {
    name: "environment",
    doc: "Variables of the process; `${{ secrets.NAME }}` as a whole value is looked up when the job starts, and never stored.",
    decode: |decoder, node| {
        let (mut env, mut secrets, mut is_whole) = (Map::new(), Map::new(), true);
        for (key, node) in decoder.map(node, "a mapping from variables to texts")? {
            match &node.kind {
                Kind::Secret(name) => drop(secrets.insert(key.name.clone(), name.as_str().into())),
                _ => match decoder.text(node, "a text") {
                    Some(text) => drop(env.insert(key.name.clone(), text.into())),
                    None => is_whole = false,
                },
            }
        }
        is_whole.then(|| json!({ "env": env, "secrets": secrets }))
    },
    encode: |value| {
        let members = |name: &str| value.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut out: Vec<(String, Out)> =
            members("env").iter().map(|(name, text)| (name.clone(), Out::of(text))).collect();
        out.extend(
            members("secrets")
                .into_iter()
                .map(|(name, secret)| (name, Out::Verbatim(secret_text(secret.as_str().unwrap_or_default())))),
        );
        Out::Map(out)
    },
    schema: || json!({ "type": "object", "additionalProperties": { "type": "string" } }),
};
