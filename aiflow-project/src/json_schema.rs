//! The JSON Schema of project and workflow files, made from the tables that read them.

use serde_json::{Map, Value, json};

use crate::shape::{Record, Shape};
use crate::tables::{PROJECT, WORKFLOW};

/// Names of the library: letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`.
const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$";
/// A reference that takes the place of a value that is no text.
const REFERENCE: &str = "^\\$\\{\\{.*\\}\\}$";
const SPAN: &str = "^\\s*[0-9]+\\s*(ms|s|min|h|d)(\\s+[0-9]+\\s*(ms|s|min|h|d))*\\s*$";

/// The JSON Schema (draft 2020-12) of workflow files.
#[must_use]
pub fn workflow_schema() -> Value {
    of_file("https://github.com/aiflow-rs/aiflow/schema/workflow.schema.json", &WORKFLOW)
}

/// The JSON Schema (draft 2020-12) of `project.yaml`.
#[must_use]
pub fn project_schema() -> Value {
    of_file("https://github.com/aiflow-rs/aiflow/schema/project.schema.json", &PROJECT)
}

fn of_file(id: &str, record: &Record) -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("$id".to_owned(), id.into());
    schema.extend(of_record(record).as_object().cloned().unwrap_or_default());
    Value::Object(schema)
}

/// The schema of a record.
pub(crate) fn of_record(record: &Record) -> Value {
    let mut properties = Map::new();
    for field in record.fields {
        let mut schema = or_reference(of(field.shape), field.shape);
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), field.doc.into());
            if let Some(default) = field.default.and_then(|default| serde_json::from_str(default).ok())
                && !matches!(field.shape, Shape::Duration)
            {
                schema.insert("default".to_owned(), default);
            }
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = record.fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": record.doc,
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(schema) = schema.as_object_mut().filter(|_| !required.is_empty()) {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// Where no text is expected, a reference may stand all the same.
fn or_reference(schema: Value, shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::Any | Shape::Special(_) => schema,
        _ => json!({ "anyOf": [schema, { "type": "string", "pattern": REFERENCE }] }),
    }
}

fn of(shape: Shape) -> Value {
    let item = |shape: Shape| or_reference(of(shape), shape);
    match shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Name(_) => json!({ "type": "string", "pattern": NAME }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Any => json!({}),
        Shape::Object => json!({ "type": "object" }),
        Shape::Duration => json!({ "type": "string", "pattern": SPAN }),
        Shape::Time => json!({ "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "integer" }] }),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::List(shape) => json!({ "type": "array", "items": item(*shape) }),
        Shape::Map(shape) => json!({ "type": "object", "additionalProperties": item(*shape) }),
        Shape::Named(record) => {
            json!({ "type": "object", "additionalProperties": item(Shape::Record(record)) })
        }
        Shape::Record(record) => of_record(record),
        Shape::Special(special) => {
            let mut schema = (special.schema)();
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("$comment".to_owned(), special.doc.into());
            }
            schema
        }
    }
}
