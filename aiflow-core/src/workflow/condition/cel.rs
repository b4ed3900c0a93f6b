//! CEL predicates: expressions of users over the value and the envelope of an event.
//!
//! Evaluation is pure and bounded: an expression has no loops but those over a list or object, such loops do not nest, and the value has a
//! bounded number of parts. Objects are gone through in the order of their keys, so that every machine says the same.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr};
use cel::{Context, Env, ExecutionError, IdedExpr, Value as CelValue};

use super::value::{CEL_BYTES_MAX, Tested};
use crate::event::NewEvent;

/// The most parts of a value that an expression with a loop goes through.
const PARTS_MAX: usize = 20_000;
/// What an expression sees.
const VARIABLES: [&str; 7] = ["value", "key", "event_type", "ns", "sender", "labels", "time_ms"];
/// Puts what a loop goes through in order.
const IN_ORDER: &str = "__aiflow_in_order";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression {
    tree: IdedExpr,
    has_loop: bool,
}

impl Expression {
    /// Compiles an expression; the text says why it cannot be.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > CEL_BYTES_MAX {
            return Err(format!("a CEL expression has at most {CEL_BYTES_MAX} bytes, this has {}", text.len()));
        }
        let program = ENV.compile(text).map_err(|errors| format!("CEL: {errors}"))?;
        let mut unknown: Vec<String> = program
            .references()
            .variables()
            .into_iter()
            .filter(|name| !VARIABLES.contains(name) && !is_of_a_loop(program.expression(), name))
            .map(str::to_owned)
            .collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            return Err(format!("CEL: there is no variable {name:?}; there are {}", VARIABLES.join(", ")));
        }
        let mut tree = program.expression().clone();
        let has_loop = put_loops_in_order(&mut tree, false)?;
        Ok(Self { tree, has_loop })
    }

    /// What it says of `event`.
    pub(crate) fn test(&self, event: &NewEvent) -> Result<Tested, String> {
        if self.has_loop && parts(&event.value) > PARTS_MAX {
            return Err(format!("CEL: the value has more than {PARTS_MAX} parts"));
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_function(IN_ORDER, in_order).map_err(|error| format!("CEL: {error}"))?;
        let value = cel::to_value(&event.value).map_err(|error| format!("CEL: {error}"))?;
        let labels = cel::to_value(&event.context.labels).map_err(|error| format!("CEL: {error}"))?;
        context.add_variable_from_value("value", value);
        context.add_variable_from_value("labels", labels);
        for (name, text) in [
            ("key", &event.key),
            ("event_type", &event.event_type),
            ("ns", &event.namespace),
            ("sender", &event.sender),
        ] {
            context.add_variable_from_value(name, text.as_str());
        }
        context.add_variable_from_value("time_ms", event.time.map_or(CelValue::Null, |time| time.as_millis().into()));
        match context.resolve(&self.tree) {
            Ok(CelValue::Bool(true)) => Ok(Tested::Holds),
            Ok(CelValue::Bool(false)) => Ok(Tested::Fails),
            Ok(other) => Err(format!("CEL: the expression says {}, not true or false", other.type_of())),
            Err(ExecutionError::NoSuchKey(name)) => Ok(Tested::Missing(name.to_string())),
            Err(error) => Err(format!("CEL: {error}")),
        }
    }
}

/// A list as it is; the keys of an object, in order.
fn in_order(range: CelValue) -> CelValue {
    match range {
        CelValue::Map(map) => {
            let mut keys: Vec<_> = map.map.keys().cloned().collect();
            keys.sort_unstable();
            CelValue::List(Arc::new(keys.into_iter().map(CelValue::from).collect()))
        }
        other => other,
    }
}

fn parts(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => items.iter().map(parts).fold(1, usize::saturating_add),
        serde_json::Value::Object(members) => members.values().map(parts).fold(1, usize::saturating_add),
        _ => 1,
    }
}

/// Whether `name` is bound by a loop of the expression.
fn is_of_a_loop(tree: &IdedExpr, name: &str) -> bool {
    if let Expr::Comprehension(each) = &tree.expr {
        let names = [Some(&each.iter_var), each.iter_var2.as_ref(), Some(&each.accu_var)];
        if names.into_iter().flatten().any(|bound| bound == name) {
            return true;
        }
    }
    children(tree).into_iter().any(|child| is_of_a_loop(child, name))
}

fn children(tree: &IdedExpr) -> Vec<&IdedExpr> {
    match &tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(each) => {
            vec![&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| parts_of_entry(&entry.expr)).collect(),
        Expr::Struct(fields) => fields.entries.iter().flat_map(|entry| parts_of_entry(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
    }
}

fn parts_of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

/// Lets every loop go through its range in order; true if there is one. A loop within a loop is refused.
fn put_loops_in_order(tree: &mut IdedExpr, is_in_loop: bool) -> Result<bool, String> {
    if matches!(tree.expr, Expr::Map(_) | Expr::Struct(_)) {
        return match has_loop(tree) {
            true => Err("CEL: a loop must not stand in a map".to_owned()),
            false => Ok(false),
        };
    }
    match &mut tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) => Ok(false),
        Expr::Call(call) => {
            let mut any = false;
            for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                any |= put_loops_in_order(part, is_in_loop)?;
            }
            Ok(any)
        }
        Expr::Comprehension(_) if is_in_loop => Err("CEL: loops (all, exists, map, filter) must not nest".to_owned()),
        Expr::Comprehension(each) => {
            put_loops_in_order(&mut each.iter_range, false)?;
            for part in [&mut each.accu_init, &mut each.loop_cond, &mut each.loop_step, &mut each.result] {
                put_loops_in_order(part, true)?;
            }
            let range = std::mem::take(&mut each.iter_range);
            let call = CallExpr { func_name: IN_ORDER.to_owned(), target: None, args: vec![range] };
            each.iter_range = IdedExpr { id: each.iter_range.id, expr: Expr::Call(call) };
            Ok(true)
        }
        Expr::List(list) => all(&mut list.elements, is_in_loop),
        Expr::Select(select) => put_loops_in_order(&mut select.operand, is_in_loop),
    }
}

fn all(parts: &mut [IdedExpr], is_in_loop: bool) -> Result<bool, String> {
    let mut any = false;
    for part in parts {
        any |= put_loops_in_order(part, is_in_loop)?;
    }
    Ok(any)
}

fn has_loop(tree: &IdedExpr) -> bool {
    matches!(tree.expr, Expr::Comprehension(_)) || children(tree).into_iter().any(has_loop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(text: &str, value: serde_json::Value) -> Result<Tested, String> {
        let event = NewEvent::identified("x", "p", "model.wine").sender("me").label("tier", "gold").value(value);
        Expression::compile(text).unwrap().test(&event)
    }

    #[test]
    fn an_expression_sees_value_and_envelope() {
        let value = json!({"accuracy": 0.93, "n": 7, "tags": ["a", "b"]});
        for text in [
            "value.accuracy > 0.9 && value.n == 7",
            "key.startsWith('model.') && sender == 'me' && ns == 'p'",
            "labels.tier == 'gold' && event_type == 'UNDEFINED' && time_ms == null",
            "value.tags.exists(tag, tag == 'b')",
            "value.tags.filter(tag, tag != 'a').size() == 1",
            "'n' in value && has(value.accuracy)",
        ] {
            assert_eq!(said(text, value.clone()), Ok(Tested::Holds), "{text}");
        }
        assert_eq!(said("value.n > 7", value), Ok(Tested::Fails));
    }

    #[test]
    fn a_missing_field_is_no_error_and_everything_else_is() {
        assert_eq!(said("value.absent > 1", json!({})), Ok(Tested::Missing("absent".to_owned())));
        assert!(said("value.n > 1", json!({"n": "text"})).is_err());
        assert!(said("value.n", json!({"n": 1})).unwrap_err().contains("not true or false"));
        assert!(said("1 / value == 1", json!(0)).is_err());
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_with_the_reason() {
        for (text, reason) in [
            ("value >", "CEL:"),
            ("valu == 1", "no variable \"valu\""),
            ("value.all(x, value.all(y, x == y))", "must not nest"),
            (&"1 +".repeat(2_000), "at most"),
        ] {
            let error = Expression::compile(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn objects_are_gone_through_in_the_order_of_their_keys() {
        let value: serde_json::Value =
            (0..50).map(|n| (format!("k{n:02}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
        for _ in 0..20 {
            assert_eq!(
                said("value.map(k, k)[0] == 'k00' && value.map(k, k)[49] == 'k49'", value.clone()),
                Ok(Tested::Holds)
            );
        }
    }

    #[test]
    fn a_loop_over_too_many_parts_is_an_error() {
        let value = serde_json::Value::from(vec![1; PARTS_MAX]);
        assert!(said("value.all(n, n == 1)", value.clone()).unwrap_err().contains("parts"));
        assert_eq!(said("value.size() > 1", value), Ok(Tested::Holds));
    }
}
