//! From what is stored to a file, by its shape.

use std::time::Duration;

use aiflow_core::time::Timestamp;
use aiflow_core::workflow::syntax::duration_text;
use serde_json::{Map, Value};

use crate::out::Out;
use crate::shape::{Record, Shape};

pub(crate) fn value(shape: Shape, stored: &Value) -> Out {
    match (shape, stored) {
        (Shape::Duration, Value::Number(millis)) if let Some(millis) = millis.as_u64() => {
            duration_text(Duration::from_millis(millis)).into()
        }
        (Shape::Time, Value::Number(millis)) if let Some(millis) = millis.as_i64() => {
            let text = Timestamp::from_millis(millis).to_rfc3339();
            // Beyond the years of calendars there is only the number.
            match Timestamp::parse_rfc3339(&text) {
                Ok(time) if time.as_millis() == millis => text.into(),
                _ => Out::Json(millis.into()),
            }
        }
        (Shape::List(item), Value::Array(items)) => {
            Out::List(items.iter().map(|stored| value(*item, stored)).collect())
        }
        (Shape::Map(item), Value::Object(members)) => {
            Out::Map(members.iter().map(|(name, stored)| (name.clone(), value(*item, stored))).collect())
        }
        (Shape::Named(shape), Value::Array(items)) => Out::Map(
            items
                .iter()
                .filter_map(|item| {
                    let object = item.as_object()?;
                    let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
                    Some((name.to_owned(), Out::Map(record(shape, object))))
                })
                .collect(),
        ),
        (Shape::Record(shape), Value::Object(object)) => Out::Map(record(shape, object)),
        (Shape::Special(special), stored) => (special.encode)(stored),
        (_, stored) => Out::of(stored),
    }
}

/// The members of a record, in the order of its shape, without those that say what is said by leaving them out.
pub(crate) fn record(shape: &Record, object: &Map<String, Value>) -> Vec<(String, Out)> {
    let mut members = Vec::new();
    for field in shape.fields {
        let Some(stored) = object.get(field.stored) else { continue };
        let default = field.default.and_then(|default| serde_json::from_str::<Value>(default).ok());
        let is_default = default.is_some_and(|default| default == *stored);
        if !is_default {
            members.push((field.name.to_owned(), value(field.shape, stored)));
        }
    }
    members
}
