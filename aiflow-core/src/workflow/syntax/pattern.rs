//! Reads patterns of events.

use serde_json::Value;

use super::SyntaxError;
use super::scan::Scan;
use crate::event::Match;
use crate::id::WorkflowName;
use crate::status::WorkflowStatus;
use crate::workflow::{
    Comparison, EventPattern, Life, ModelStage, ValueTest, on, on_alias, on_dataset, on_metric, on_model_version,
    workflow_status,
};

/// The longest sign first.
const COMPARISONS: [Comparison; 5] =
    [Comparison::LessOrEqual, Comparison::GreaterOrEqual, Comparison::NotEqual, Comparison::Less, Comparison::Greater];

pub(super) fn pattern(scan: &mut Scan<'_>) -> Result<EventPattern, SyntaxError> {
    let (mut pattern, is_tested) = subject(scan)?;
    if !is_tested {
        pattern.value = test(scan)?.unwrap_or_default();
    }
    if scan.take(&["of", "any", "execution"]) {
        pattern.any_execution = true;
    }
    if scan.take(&["from"]) {
        pattern.sender = scan.matcher("a sender")?;
    }
    pattern.life = life(scan)?;
    Ok(pattern)
}

/// What an event is about, and whether its value is tested thereby.
fn subject(scan: &mut Scan<'_>) -> Result<(EventPattern, bool), SyntaxError> {
    if scan.take_call("model") {
        let model = name(scan, "the name of a model")?;
        let place = scan.place();
        let stage = scan.text("a stage such as DEPLOYED")?;
        let stage = ModelStage::parse(stage).map_err(|error| scan.wrong_at(place, error.message()))?;
        return Ok((on_model_version(model, stage), true));
    }
    if scan.take_call("alias") {
        let model = scan.text("the name of a model")?;
        scan.sign(",")?;
        let alias = name(scan, "an alias")?;
        return Ok((on_alias(model, alias), true));
    }
    if scan.take_call("dataset") {
        return Ok((on_dataset(name(scan, "the name of a dataset")?), false));
    }
    if scan.take_call("metric") {
        let metric = name(scan, "the name of a metric")?;
        let comparison = take_comparison(scan).ok_or_else(|| scan.expected("a comparison such as > 0.2"))?;
        let place = scan.place();
        let number = scan.json()?.as_f64().ok_or_else(|| scan.wrong_at(place, "a metric is compared with a number"))?;
        return Ok((on_metric(metric, comparison, number), true));
    }
    if scan.take_call("workflow") {
        let workflow: WorkflowName = scan.parsed("the name of a workflow")?;
        scan.sign(")")?;
        let word = scan.peek_word();
        let status = WorkflowStatus::ALL.iter().copied().find(|status| status.as_str() == word);
        let status = status.ok_or_else(|| scan.expected("a status of a workflow execution such as SUCCEEDED"))?;
        scan.skip_word();
        return Ok((workflow_status(&workflow, status), true));
    }
    let first =
        scan.matcher("a condition: an event, a job and a status, all of, any of, at least, in this order, no, custom")?;
    if scan.take_sign("::") {
        return Ok((on(scan.matcher("a key")?).namespace(first), false));
    }
    if !scan.is_matcher() {
        return Ok((on(first), false));
    }
    let second = scan.matcher("a key")?;
    let pattern = if scan.take_sign("::") { on(scan.matcher("a key")?).namespace(second) } else { on(second) };
    Ok((pattern.event_type(first), false))
}

/// A name, and the parenthesis behind it.
fn name(scan: &mut Scan<'_>, what: &str) -> Result<String, SyntaxError> {
    let name = scan.text(what)?;
    scan.sign(")")?;
    Ok(name)
}

fn take_comparison(scan: &mut Scan<'_>) -> Option<Comparison> {
    COMPARISONS.into_iter().find(|comparison| scan.take_sign(comparison.as_str()))
}

fn test(scan: &mut Scan<'_>) -> Result<Option<ValueTest>, SyntaxError> {
    if let Some(comparison) = take_comparison(scan) {
        return Ok(Some(ValueTest::Compare(comparison, scan.json()?)));
    }
    if scan.take_sign("==") || scan.take_sign("=") {
        return Ok(Some(ValueTest::Equals(scan.json()?)));
    }
    let start = scan.place();
    if scan.take(&["in"]) {
        if !scan.is_sign("[") {
            scan.back_to(start);
            return Ok(None);
        }
        return match scan.json()? {
            Value::Array(values) => Ok(Some(ValueTest::In(values))),
            _ => Err(scan.expected("a JSON list")),
        };
    }
    if scan.take(&["where"]) {
        return Ok(Some(ValueTest::Cel(scan.text("a CEL expression in quotes")?)));
    }
    if !scan.take(&["at"]) {
        return Ok(None);
    }
    scan.down()?;
    let pointer = scan.text("a JSON pointer such as /metrics/accuracy")?;
    let test = Box::new(test(scan)?.unwrap_or_default());
    scan.up(1);
    Ok(Some(ValueTest::At { pointer, test }))
}

pub(super) fn life(scan: &mut Scan<'_>) -> Result<Life, SyntaxError> {
    if !scan.take_sign("(") {
        return Ok(Life::Once);
    }
    let life = if scan.take(&["latest"]) {
        Life::Latest
    } else if scan.take(&["repeated"]) {
        Life::Repeated
    } else {
        return Err(scan.expected("latest or repeated"));
    };
    scan.sign(")")?;
    Ok(life)
}

/// For the conversion of what was read.
impl EventPattern {
    /// The pattern in the words of metadata and workflows, if it says exactly what they mean.
    pub(super) fn in_words(&self) -> Option<Words<'_>> {
        use crate::event::{
            ALIAS_CHANGED, DATASET_CHANGED, METRIC_RECORDED, MODEL_STAGE_CHANGED, WORKFLOW_STATUS_CHANGED,
        };
        let (Match::Exact(key), Match::Exact(event_type), None, true) =
            (&self.key, &self.event_type, &self.namespace, self.any_execution)
        else {
            return None;
        };
        let words = match (event_type.as_str(), &self.value) {
            (WORKFLOW_STATUS_CHANGED, ValueTest::Equals(Value::String(status))) => {
                WorkflowName::parse(key).ok()?;
                let known = WorkflowStatus::ALL.iter().any(|known| known.as_str() == status);
                known.then_some(Words::Workflow(key, status))?
            }
            (DATASET_CHANGED, _) => Words::Dataset(key),
            (ALIAS_CHANGED, ValueTest::At { pointer, test }) if pointer == "/alias" => match &**test {
                ValueTest::Equals(Value::String(alias)) => Words::Alias(key, alias),
                _ => return None,
            },
            (METRIC_RECORDED, ValueTest::At { test, .. }) => match &**test {
                ValueTest::Compare(comparison, Value::Number(number)) if number.is_f64() => {
                    Words::Metric(key, *comparison, number.as_f64()?)
                }
                _ => return None,
            },
            (MODEL_STAGE_CHANGED, ValueTest::At { test, .. }) => match &**test {
                ValueTest::Equals(Value::String(stage)) => Words::Model(key, stage),
                _ => return None,
            },
            (event_type, ValueTest::Updated) => {
                let stage = ModelStage::BUILT_IN.iter().position(|stage| stage.event_type() == event_type)?;
                Words::Model(key, BUILT_IN.get(stage)?)
            }
            _ => return None,
        };
        // Whatever else it says is said beside the words.
        let plain = Self { sender: self.sender.clone(), life: self.life, ..words.pattern()? };
        (plain == Self { value: words.value(&self.value, &plain.value), ..self.clone() }).then_some(words)
    }
}

/// The built-in stages, in their order, as they are written.
const BUILT_IN: [&str; 5] = ["GENERATED", "VALIDATED", "DEPLOYED", "DEPRECATED", "DELETED"];

/// A pattern in words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words<'p> {
    Model(&'p str, &'p str),
    Alias(&'p str, &'p str),
    Dataset(&'p str),
    Metric(&'p str, Comparison, f64),
    Workflow(&'p str, &'p str),
}

impl Words<'_> {
    fn pattern(&self) -> Option<EventPattern> {
        Some(match *self {
            Self::Model(model, stage) => on_model_version(model, ModelStage::parse(stage).ok()?),
            Self::Alias(model, alias) => on_alias(model, alias),
            Self::Dataset(name) => on_dataset(name),
            Self::Metric(name, comparison, number) => on_metric(name, comparison, number),
            Self::Workflow(name, status) => workflow_status(
                &WorkflowName::parse(name).ok()?,
                WorkflowStatus::ALL.iter().copied().find(|known| known.as_str() == status)?,
            ),
        })
    }

    /// The value to compare with that of the words: beside a dataset, any test may be said.
    fn value(&self, said: &ValueTest, plain: &ValueTest) -> ValueTest {
        match self {
            Self::Dataset(_) => plain.clone(),
            Self::Model(..) | Self::Alias(..) | Self::Metric(..) | Self::Workflow(..) => said.clone(),
        }
    }
}
