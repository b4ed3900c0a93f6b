//! Parameters: what may be given to an execution, of which type, and which field of an event is it taken from?

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::Diagnostic;
use super::{SCHEDULED_TIME, Workflow};
use crate::event::{Match, NewEvent};
use crate::id::Offset;
use crate::time::Timestamp;

/// The most parameters that a workflow or a job declares, and that a rule maps.
pub const PARAMETERS_MAX: usize = 256;
/// The longest name of a parameter, in bytes.
pub const PARAMETER_NAME_BYTES_MAX: usize = 128;
/// The largest value that a rule takes from an event, in bytes of JSON. An event with a larger one is a dead letter of the rule.
pub const MAPPED_VALUE_BYTES_MAX: usize = 4096;

/// A parameter that a workflow or a job declares. Where any is declared, others are refused.
///
/// ```
/// use aiflow_core::workflow::{Parameter, ParameterType};
///
/// let rate = Parameter::new("rate", ParameterType::Float).default(0.1).between(0.0, 1.0);
/// let uri = Parameter::new("uri", ParameterType::String).required();
/// assert!(rate.check_value(&2.0.into()).is_err() && uri.check_value(&"s3://a".into()).is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Its value where none is given.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub default: Value,
    /// Nothing starts without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The smallest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The values that are allowed; all of the type if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Value>,
}

// Bounds are checked to be finite.
impl Eq for Parameter {}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParameterType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// True or false.
    Boolean,
    /// Text in the form of RFC 3339.
    Timestamp,
    /// Anything but null.
    Json,
}

impl Parameter {
    /// A parameter that may be left out.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: ParameterType) -> Self {
        let (default, one_of) = (Value::Null, Vec::new());
        Self { name: name.into(), kind, default, required: false, min: None, max: None, one_of }
    }

    /// Sets its value where none is given.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = value.into();
        self
    }

    /// Lets nothing start without it.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Allows numbers from `min` to `max`, both included.
    #[must_use]
    pub fn between(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (Some(min), Some(max));
        self
    }

    /// Allows these values only.
    #[must_use]
    pub fn one_of<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.one_of = values.into_iter().map(Into::into).collect();
        self
    }

    /// Checks a value against type and bounds.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn check_value(&self, value: &Value) -> Result<(), String> {
        let name = &self.name;
        let (is_of_type, expected) = match self.kind {
            ParameterType::String => (value.is_string(), "text"),
            ParameterType::Integer => (value.is_i64() || value.is_u64(), "a whole number"),
            ParameterType::Float => (value.is_number(), "a number"),
            ParameterType::Boolean => (value.is_boolean(), "true or false"),
            ParameterType::Timestamp => {
                (value.as_str().is_some_and(|text| Timestamp::parse_rfc3339(text).is_ok()), "a time as in RFC 3339")
            }
            ParameterType::Json => (!value.is_null(), "anything but null"),
        };
        if !is_of_type {
            return Err(format!("parameter {name} must be {expected}"));
        }
        let number = value.as_f64();
        if let Some((number, min)) = number.zip(self.min).filter(|(number, min)| number < min) {
            return Err(format!("parameter {name} is {number}, at least {min} is allowed"));
        }
        if let Some((number, max)) = number.zip(self.max).filter(|(number, max)| number > max) {
            return Err(format!("parameter {name} is {number}, at most {max} is allowed"));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            return Err(format!("parameter {name} must be one of {}", Value::Array(self.one_of.clone())));
        }
        Ok(())
    }

    fn check(&self, path: &str, found: &mut Vec<Diagnostic>) {
        let path = format!("{path}, parameter {}", self.name.escape_default());
        let mut say = |message: String| found.push(Diagnostic::new(&path, message));
        if self.name.is_empty() || self.name.len() > PARAMETER_NAME_BYTES_MAX {
            say(format!("a name has 1 to {PARAMETER_NAME_BYTES_MAX} bytes"));
        }
        let is_number = matches!(self.kind, ParameterType::Integer | ParameterType::Float);
        let bounds = [self.min, self.max];
        if bounds.iter().flatten().any(|bound| !bound.is_finite())
            || self.min.zip(self.max).is_some_and(|(min, max)| min > max)
        {
            say("its bounds must be finite, the lower one not above the upper one".to_owned());
        }
        if !is_number && bounds.iter().any(Option::is_some) {
            say("only numbers have bounds".to_owned());
        }
        if self.required && !self.default.is_null() {
            say("it is required and has a default: only one of them has a meaning".to_owned());
        }
        let unlimited = Self { one_of: Vec::new(), ..self.clone() };
        for value in &self.one_of {
            unlimited.check_value(value).unwrap_or_else(&mut say);
        }
        if !self.default.is_null() {
            self.check_value(&self.default).unwrap_or_else(&mut say);
        }
    }
}

/// The defaults of declared parameters below `params`.
pub(crate) fn with_defaults(declared: &[Parameter], params: &Value) -> Value {
    let defaults = declared.iter().filter(|parameter| !parameter.default.is_null());
    let mut all: Map<String, Value> =
        defaults.map(|parameter| (parameter.name.clone(), parameter.default.clone())).collect();
    match params {
        Value::Object(given) => all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone()))),
        Value::Null if all.is_empty() => return Value::Null,
        _ => {}
    }
    Value::Object(all)
}

/// Checks the values of declared parameters in `all`, and that the required ones are there.
fn check_values(declared: &[Parameter], all: &Value) -> Result<(), String> {
    for parameter in declared {
        match all.get(&parameter.name) {
            None if parameter.required => return Err(format!("parameter {} is missing", parameter.name)),
            None => {}
            Some(value) => parameter.check_value(value)?,
        }
    }
    Ok(())
}

/// Checks that only declared parameters are given, where any is declared.
fn check_names<'p>(declared: impl Iterator<Item = &'p Parameter>, given: &Value) -> Result<(), String> {
    let names: BTreeSet<&str> = declared.map(|parameter| parameter.name.as_str()).chain([SCHEDULED_TIME]).collect();
    let mut given = given.as_object().into_iter().flat_map(Map::keys);
    match given.find(|name| !names.contains(name.as_str())) {
        Some(name) => Err(format!("parameter {} is not declared", name.escape_default())),
        None => Ok(()),
    }
}

impl Workflow {
    /// The parameters of every execution: the defaults of the declared ones, overridden by [`Workflow::params`].
    #[must_use]
    pub fn base_params(&self) -> Value {
        with_defaults(&self.parameters, &self.params)
    }

    /// Checks the parameters that a start gives: against what the workflow declares, and against what those of its jobs declare that start
    /// with the execution.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check_start(&self, given: &Value) -> Result<(), String> {
        if self.parameters.is_empty() && self.jobs.iter().all(|job| job.parameters.is_empty()) {
            return Ok(());
        }
        if !self.parameters.is_empty() {
            check_names(self.parameters.iter().chain(self.jobs.iter().flat_map(|job| &job.parameters)), given)?;
        }
        let all = over(&self.base_params(), given);
        check_values(&self.parameters, &all)?;
        for job in self.jobs_that_start().filter(|job| !job.parameters.is_empty()) {
            check_values(&job.parameters, &over(&job.base_params(), &all))
                .map_err(|reason| format!("job {}: {reason}", job.name))?;
        }
        Ok(())
    }

    /// What is wrong with its declarations, and with the parameters that it gives itself.
    pub(super) fn check_parameters(&self, found: &mut Vec<Diagnostic>) {
        let path = format!("workflow {}", self.name);
        check_declared(&path, &self.parameters, found);
        let of_jobs = || self.jobs.iter().flat_map(|job| &job.parameters);
        let mut given = vec![(path.clone(), &self.params)];
        given.extend(self.schedules.iter().map(|s| (format!("{path}, schedule {}", s.name), &s.params)));
        for (path, params) in given {
            let declared = self.parameters.iter().chain(of_jobs());
            check_given(&path, &self.parameters, declared, params, found);
        }
        for job in &self.jobs {
            let path = format!("job {}", job.name);
            check_declared(&path, &job.parameters, found);
            let schedules = job.schedules.iter().map(|s| (format!("{path}, schedule {}", s.name), &s.params));
            for (path, params) in std::iter::once((path.clone(), &job.params)).chain(schedules) {
                check_given(&path, &job.parameters, job.parameters.iter(), params, found);
            }
        }
        let declared: BTreeMap<_, _> = self.jobs.iter().map(|job| (&job.name, job.parameters.as_slice())).collect();
        for edge in &self.control_edges {
            let declared = declared.get(&edge.job).copied().unwrap_or_default();
            let path = format!("job {}, rule {}", edge.job, edge.rule.name);
            let starts = matches!(edge.rule.action, super::JobAction::Start | super::JobAction::Restart);
            check_mapping(&path, &edge.rule.params, declared, starts, found);
        }
        for rule in &self.rules {
            let declared: Vec<Parameter> = match self.parameters.is_empty() {
                true => Vec::new(),
                false => self.parameters.iter().chain(of_jobs()).cloned().collect(),
            };
            let starts = rule.action != super::WorkflowAction::Stop;
            check_mapping(&format!("workflow rule {}", rule.name), &rule.params, &declared, starts, found);
        }
    }
}

impl super::Job {
    /// Its own parameters: the defaults of the declared ones, overridden by [`Job::params`](super::Job::params).
    #[must_use]
    pub fn base_params(&self) -> Value {
        with_defaults(&self.parameters, &self.params)
    }

    /// Checks the parameters `given` by a firing, above those of the workflow execution.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check_start(&self, execution: &Value, given: &Value) -> Result<(), String> {
        if self.parameters.is_empty() {
            return Ok(());
        }
        check_names(self.parameters.iter(), given)?;
        check_values(&self.parameters, &over(&over(&self.base_params(), execution), given))
    }
}

/// The members of both objects; those of `over` win.
pub(crate) fn merge(under: &Value, over: &Value) -> Value {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            let mut merged = under.clone();
            merged.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
            Value::Object(merged)
        }
        (under, Value::Null) => under.clone(),
        (_, over) => over.clone(),
    }
}

fn over(under: &Value, over: &Value) -> Value {
    let mut all = under.as_object().cloned().unwrap_or_default();
    all.extend(over.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(all)
}

fn check_declared(path: &str, declared: &[Parameter], found: &mut Vec<Diagnostic>) {
    if declared.len() > PARAMETERS_MAX {
        let message = format!("declares {} parameters, at most {PARAMETERS_MAX} are allowed", declared.len());
        found.push(Diagnostic::new(path, message));
    }
    let mut names = BTreeSet::new();
    for parameter in declared {
        if !names.insert(&parameter.name) {
            found.push(Diagnostic::new(path, format!("declares the parameter {} twice", parameter.name)));
        }
        parameter.check(path, found);
    }
}

fn check_given<'p>(
    path: &str,
    declared: &[Parameter],
    names: impl Iterator<Item = &'p Parameter>,
    given: &Value,
    found: &mut Vec<Diagnostic>,
) {
    if declared.is_empty() {
        return;
    }
    let values = declared.iter().filter_map(|parameter| Some(parameter.check_value(given.get(&parameter.name)?)));
    for problem in std::iter::once(check_names(names, given)).chain(values) {
        if let Err(reason) = problem {
            found.push(Diagnostic::new(path, reason));
        }
    }
}

/// From which event, and from which of its fields, a rule takes a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSource {
    /// The field.
    pub field: Field,
    /// Only events with such a key; any that the firing used if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Match>,
}

/// A field of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// The key.
    Key,
    /// The value, or what a JSON pointer names in it.
    Value(String),
    /// The type.
    EventType,
    /// The sender.
    Sender,
    /// The namespace.
    Namespace,
    /// A label.
    Label(String),
    /// When it happened, as in RFC 3339.
    Time,
    /// Its offset.
    Offset,
}

/// What a JSON pointer names in the value of an event: `field("/uri")`; the whole value for an empty pointer.
#[must_use]
pub fn field(pointer: impl Into<String>) -> ParamSource {
    Field::Value(pointer.into()).into()
}

impl From<Field> for ParamSource {
    fn from(field: Field) -> Self {
        Self { field, of: None }
    }
}

impl ParamSource {
    /// Takes it from events with this key only: `field("/uri").of("samples")`, or `of("model.*")`.
    #[must_use]
    pub fn of(mut self, key: impl Into<Match>) -> Self {
        self.of = Some(key.into());
        self
    }

    /// What it takes from an event; `None` if there is nothing, or the event is not of this key.
    fn take(&self, event: &NewEvent, offset: Offset, recorded: Timestamp) -> Option<Value> {
        if self.of.as_ref().is_some_and(|of| !of.matches(&event.key)) {
            return None;
        }
        self.field.of(event, offset, recorded)
    }
}

impl Field {
    /// What the field is in an event; `None` if there is nothing.
    pub(super) fn of(&self, event: &NewEvent, offset: Offset, recorded: Timestamp) -> Option<Value> {
        match self {
            Self::Key => Some(event.key.as_str().into()),
            Self::Value(pointer) => event.value.pointer(pointer).filter(|value| !value.is_null()).cloned(),
            Self::EventType => Some(event.event_type.as_str().into()),
            Self::Sender => Some(event.sender.as_str()).filter(|sender| !sender.is_empty()).map(Value::from),
            Self::Namespace => Some(event.namespace.as_str().into()),
            Self::Label(name) => event.context.labels.get(name).map(|label| label.as_str().into()),
            Self::Time => Some(event.time.unwrap_or(recorded).to_rfc3339().into()),
            Self::Offset => Some(offset.0.into()),
        }
    }
}

/// The parameters that a rule takes from an event.
///
/// # Errors
/// One of them is too large.
pub(crate) fn take_params(
    mapping: &BTreeMap<String, ParamSource>,
    event: &NewEvent,
    offset: Offset,
    recorded: Timestamp,
) -> Result<BTreeMap<String, Value>, String> {
    let mut taken = BTreeMap::new();
    for (name, source) in mapping {
        let Some(value) = source.take(event, offset, recorded) else { continue };
        let bytes = crate::event::json_bytes(&value);
        if bytes > MAPPED_VALUE_BYTES_MAX {
            return Err(format!(
                "parameter {name} would have {bytes} bytes, at most {MAPPED_VALUE_BYTES_MAX} are taken from an event"
            ));
        }
        taken.insert(name.clone(), value);
    }
    Ok(taken)
}

fn check_mapping(
    path: &str,
    mapping: &BTreeMap<String, ParamSource>,
    declared: &[Parameter],
    starts: bool,
    found: &mut Vec<Diagnostic>,
) {
    let mut say = |message: String| found.push(Diagnostic::new(path, message));
    if !starts && !mapping.is_empty() {
        say("only START and RESTART take parameters".to_owned());
    }
    if mapping.len() > PARAMETERS_MAX {
        say(format!("takes {} parameters, at most {PARAMETERS_MAX} are allowed", mapping.len()));
    }
    for (name, source) in mapping {
        if name.is_empty() || name.len() > PARAMETER_NAME_BYTES_MAX {
            say(format!("the name of a parameter has 1 to {PARAMETER_NAME_BYTES_MAX} bytes"));
        }
        if !declared.is_empty() && declared.iter().all(|parameter| parameter.name != *name) {
            say(format!("takes the parameter {}, which is not declared", name.escape_default()));
        }
        if let Field::Value(pointer) = &source.field
            && !(pointer.is_empty() || pointer.starts_with('/'))
        {
            say(format!("the pointer of parameter {} must be empty or begin with \"/\"", name.escape_default()));
        }
    }
}
