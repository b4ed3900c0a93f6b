//! Fields and comparisons: what does a record say, and how do its values compare?

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::{Field, Literal, Op, Search};
use crate::store::Record;

/// A record with its body, ready to be looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) record: Record,
    body: Value,
}

impl Looked {
    pub(super) fn new(record: Record) -> Self {
        let body = record.body.to_value();
        Self { record, body }
    }

    /// What stands in a field of the record itself or of its body. Null is nothing.
    pub(super) fn own(&self, field: &Field) -> Option<Value> {
        let record = &self.record;
        Some(match field {
            Field::Name => record.name.as_str().into(),
            Field::Id => record.key.id.as_str().into(),
            Field::Project => record.project.as_str().into(),
            Field::Parent => record.parent.as_str().into(),
            Field::State => record.state.as_str().into(),
            Field::Revision => record.revision.into(),
            Field::Created => record.created.as_millis().into(),
            Field::Updated => record.updated.as_millis().into(),
            Field::Metric(_) => return None,
            Field::Body(path) => {
                let found = path.iter().try_fold(&self.body, |value, name| value.as_object()?.get(name))?;
                return Some(found.clone()).filter(|value| !value.is_null());
            }
        })
    }
}

/// How a value compares with that of a filter; `None` if they are of different types.
pub(super) fn compare(value: &Value, with: &Literal) -> Option<Ordering> {
    match (value, with) {
        (Value::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Literal::Number(b)) => Some(compare_numbers(a, b)),
        (Value::String(a), Literal::Text(b)) => Some(a.as_str().cmp(b)),
        _ => None,
    }
}

pub(super) fn holds(value: Option<&Value>, op: Op, with: &Literal) -> bool {
    value.and_then(|value| compare(value, with)).is_some_and(|ordering| op.holds(ordering))
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Whether a text is of a pattern: % stands for any text, _ for any one character.
pub(super) fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p) = (0, 0);
    // Where to go on after the last %, with one more character behind it.
    let mut again: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some('%') => {
                again = Some((t, p));
                p = p.saturating_add(1);
            }
            Some(&wanted) if wanted == '_' || wanted == c => {
                (t, p) = (t.saturating_add(1), p.saturating_add(1));
            }
            _ => match again {
                Some((from, star)) => {
                    again = Some((from.saturating_add(1), star));
                    (t, p) = (from.saturating_add(1), star.saturating_add(1));
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '%')
}

/// Where a record stands in an order: the values of its keys, when it was first put, and its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sorted {
    /// The values by which it is ordered; `None` where there is none.
    pub keys: Vec<Option<Literal>>,
    /// When it was first put, in milliseconds.
    pub created: i64,
    /// Its id.
    pub id: String,
}

impl Sorted {
    /// How two places compare in the order of a search.
    #[must_use]
    pub fn compare(&self, other: &Self, search: &Search) -> Ordering {
        for ((key, a), b) in search.order.iter().zip(&self.keys).zip(&other.keys) {
            let ordering = match (a, b) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) if key.descending => rank(b, a),
                (Some(a), Some(b)) => rank(a, b),
            };
            if ordering.is_ne() {
                return ordering;
            }
        }
        let ties = (self.created, &self.id).cmp(&(other.created, &other.id));
        if search.ties_descend() { ties.reverse() } else { ties }
    }
}

/// What an order goes by: true and false are 1 and 0; what is neither number nor text is nothing.
pub(super) fn sortable(value: Value) -> Option<Literal> {
    match value {
        Value::Bool(is) => Some(Literal::Number(u8::from(is).into())),
        Value::Number(number) => Some(Literal::Number(number)),
        Value::String(text) => Some(Literal::Text(text)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Numbers come before texts.
fn rank(a: &Literal, b: &Literal) -> Ordering {
    match (a, b) {
        (Literal::Number(a), Literal::Number(b)) => compare_numbers(a, b),
        (Literal::Text(a), Literal::Text(b)) => a.cmp(b),
        (Literal::Bool(a), Literal::Bool(b)) => a.cmp(b),
        (Literal::Text(_), _) => Ordering::Greater,
        (_, Literal::Text(_)) => Ordering::Less,
        (Literal::Bool(_), Literal::Number(_)) => Ordering::Less,
        (Literal::Number(_), Literal::Bool(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, is) in [
            ("wine", "wine", true),
            ("wine", "w%", true),
            ("wine", "%in%", true),
            ("wine", "w_ne", true),
            ("wine", "w_e", false),
            ("wine", "Wine", false),
            ("", "%", true),
            ("", "_", false),
            ("aab", "%ab", true),
            ("ünï", "_n_", true),
            ("a*b", "a*b", true),
            ("axb", "a*b", false),
        ] {
            assert_eq!(is_like(text, pattern), is, "{text} like {pattern}");
        }
    }
}
