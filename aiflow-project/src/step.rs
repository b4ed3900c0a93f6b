//! What a node or a job runs: one of several forms in a file, an executor and its spec where it is stored.

use aiflow_core::id::EntityName;
use serde_json::{Map, Value, json};

use crate::decode::Decoder;
use crate::encode;
use crate::out::Out;
use crate::shape::Record;
use crate::tree::{Kind, Node};

/// The executor of functions of the host application.
const FUNCTION: &str = "function";
/// The executor of processes.
pub(crate) const PROCESS: &str = "process";
/// The forms, of which there is one.
const FORMS: [&str; 6] = ["function", "run", "python", "bash", "shell", "executor"];
/// Those that run a process.
const OF_PROCESS: [&str; 4] = ["run", "python", "bash", "shell"];
/// Settings of a process that are stored as the file says them.
const PLAIN: [&str; 4] = ["cwd", "limits", "reads", "writes"];
/// What goes with which form.
const BESIDE: [(&str, &[&str]); 7] = [
    ("args", &["python", "bash"]),
    ("env", &OF_PROCESS),
    ("cwd", &OF_PROCESS),
    ("limits", &OF_PROCESS),
    ("reads", &OF_PROCESS),
    ("writes", &OF_PROCESS),
    ("spec", &["executor"]),
];

/// Whose step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepOf {
    Node,
    Job,
}

/// Whether the forms of a step fit together; what is wrong is said.
pub(crate) fn check(decoder: &mut Decoder<'_>, name: &str, node: &Node) -> bool {
    let Kind::Map(members) = &node.kind else { return false };
    let given: Vec<_> = members.iter().filter(|(key, _)| FORMS.contains(&key.name.as_str())).collect();
    let Some((form, _)) = given.first() else {
        decoder.say(node.place, format!("{name} says nothing to run: one of {}", FORMS.join(", ")));
        return false;
    };
    if let Some((second, _)) = given.get(1) {
        decoder.say(second.place, format!("{name} has both {} and {}; give one", form.name, second.name));
        return false;
    }
    let mut fits = true;
    for (key, _) in members {
        let beside = BESIDE.iter().find(|(beside, _)| *beside == key.name);
        if let Some((_, forms)) = beside.filter(|(_, forms)| !forms.contains(&form.name.as_str())) {
            decoder.say(key.place, format!("{} goes with {}, not with {}", key.name, forms.join(", "), form.name));
            fits = false;
        }
    }
    if let Some((_, node)) = members.iter().find(|(key, _)| key.name == "run")
        && matches!(&node.kind, Kind::List(items) if items.is_empty())
    {
        decoder.say(node.place, "expected a program and its arguments, found an empty list");
        fits = false;
    }
    fits
}

/// Puts executor and spec in the place of the form.
pub(crate) fn store(of: StepOf, name: &str, object: &mut Map<String, Value>) {
    let mut take = |name: &str| object.remove(name);
    let form = FORMS.into_iter().find_map(|form| Some((form, take(form)?)));
    let mut argv = |program: &str, file: Value| {
        let mut argv = vec![Value::from(program), file];
        argv.extend(take("args").and_then(|args| args.as_array().cloned()).unwrap_or_default());
        Value::Array(argv)
    };
    let (executor, spec) = match form {
        Some(("function", function)) => (FUNCTION.into(), function_spec(of, name, function)),
        Some(("executor", executor)) => (executor, take("spec").unwrap_or_default()),
        Some((form, what)) => {
            let command = match form {
                "python" => ("argv", argv("python3", what)),
                "bash" => ("argv", argv("bash", what)),
                "shell" => ("shell", what),
                _ => ("argv", what),
            };
            let environment = take("env");
            let plain = PLAIN.into_iter().filter_map(|name| Some((name, take(name)?)));
            (PROCESS.into(), process_spec(command, environment.as_ref(), plain))
        }
        None => (Value::Null, Value::Null),
    };
    object.insert("executor".to_owned(), executor);
    object.insert("spec".to_owned(), spec);
}

fn function_spec(of: StepOf, name: &str, function: Value) -> Value {
    match of {
        StepOf::Node => function,
        StepOf::Job => json!({ "nodes": [{ "name": name, "function": function }] }),
    }
}

fn process_spec<'a>(
    command: (&str, Value),
    environment: Option<&Value>,
    plain: impl Iterator<Item = (&'a str, Value)>,
) -> Value {
    let mut spec = Map::new();
    spec.insert(command.0.to_owned(), command.1);
    for name in ["env", "secrets"] {
        let part = environment.and_then(|environment| environment.get(name)).cloned();
        let part = part.filter(|part| part.as_object().is_some_and(|part| !part.is_empty()));
        spec.extend(part.map(|part| (name.to_owned(), part)));
    }
    spec.extend(plain.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(spec)
}

/// The members of a step as a file says them: the shortest form that says the same, and the other settings.
pub(crate) fn write(of: StepOf, record: &Record, name: &str, object: &Map<String, Value>) -> Vec<(String, Out)> {
    let mut object = object.clone();
    let (executor, spec) = (object.remove("executor").unwrap_or_default(), object.remove("spec").unwrap_or_default());
    if let Some(form) = form_of(of, name, &executor, &spec) {
        object.extend(form);
    } else {
        object.insert("executor".to_owned(), executor);
        if !spec.is_null() {
            object.insert("spec".to_owned(), spec);
        }
    }
    encode::record(record, &object)
}

fn form_of(of: StepOf, name: &str, executor: &Value, spec: &Value) -> Option<Map<String, Value>> {
    let mut form = Map::new();
    if executor == FUNCTION {
        let function = match of {
            StepOf::Node => spec,
            StepOf::Job => spec.pointer("/nodes/0/function")?,
        };
        form.insert("function".to_owned(), function.as_str()?.into());
    } else if executor == PROCESS {
        let spec = spec.as_object()?;
        let command = match (spec.get("argv"), spec.get("shell")) {
            (Some(argv), None) if argv.as_array().is_some_and(|argv| !argv.is_empty()) => ("run", argv),
            (None, Some(shell)) => ("shell", shell),
            _ => return None,
        };
        form.insert(command.0.to_owned(), command.1.clone());
        let part = |name: &str| spec.get(name).cloned().unwrap_or_else(|| json!({}));
        if spec.contains_key("env") || spec.contains_key("secrets") {
            form.insert("env".to_owned(), json!({ "env": part("env"), "secrets": part("secrets") }));
        }
        for name in PLAIN {
            form.extend(spec.get(name).cloned().map(|value| (name.to_owned(), value)));
        }
        if !is_well_formed(&form) {
            return None;
        }
    }
    // Only a form that says exactly the same.
    let mut again = form.clone();
    store(of, name, &mut again);
    (again.get("executor") == Some(executor) && again.get("spec") == Some(spec)).then_some(form)
}

/// Whether everything in a form of a process is of the type that the file would be read by.
fn is_well_formed(form: &Map<String, Value>) -> bool {
    let is_text = |value: &Value| value.is_string();
    let texts =
        |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(|members| members.values().all(is_text));
    let names = |value: Option<&Value>| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_secret = |secret: &Value| {
            secret.as_str().is_some_and(|name| !name.is_empty() && name.len() <= 128 && name.chars().all(is_name))
        };
        value.and_then(Value::as_object).is_none_or(|members| members.values().all(is_secret))
    };
    let disjoint = |environment: &Value| {
        let (env, secrets) = (environment.get("env"), environment.get("secrets"));
        let secrets = secrets.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        env.and_then(Value::as_object).is_none_or(|env| secrets.into_iter().all(|name| !env.contains_key(name)))
    };
    let limits = |value: &Value| {
        let known = ["memory_bytes", "cpu_seconds", "open_files"];
        value.as_object().is_some_and(|limits| {
            limits.iter().all(|(name, n)| known.contains(&name.as_str()) && n.as_i64().is_some_and(|n| n >= 0))
        })
    };
    let artifacts = |value: Option<&Value>| {
        let is_name = |name: &Value| name.as_str().is_some_and(|name| EntityName::parse(name).is_ok());
        value.is_none_or(|names| names.as_array().is_some_and(|names| names.iter().all(is_name)))
    };
    artifacts(form.get("reads"))
        && artifacts(form.get("writes"))
        && form.get("run").is_none_or(|argv| argv.as_array().is_some_and(|argv| argv.iter().all(is_text)))
        && form.get("shell").is_none_or(is_text)
        && form.get("cwd").is_none_or(is_text)
        && form.get("limits").is_none_or(limits)
        && form.get("env").is_none_or(|env| texts(env.get("env")) && names(env.get("secrets")) && disjoint(env))
}
