//! From a tree to what is stored, by its shape. Tolerant: it goes on behind each problem, so that all are said at once.

use std::sync::Arc;

use aiflow_core::id::NodeName;
use aiflow_core::time::Timestamp;
use aiflow_core::workflow::SyntaxError;
use aiflow_core::workflow::syntax::parse_duration;
use serde_json::{Map, Value};

use crate::problem::{Problem, Problems, nearest};
use crate::shape::{Record, Shape};
use crate::source::{Place, Source};
use crate::tree::{Key, Kind, Node, plain, shown};

/// What is being read, and what is wrong with it.
pub(crate) struct Decoder<'d> {
    pub(crate) source: &'d Arc<Source>,
    pub(crate) problems: &'d mut Problems,
}

impl Decoder<'_> {
    pub(crate) fn say(&mut self, place: Place, message: impl Into<String>) {
        self.problems.add(Problem::new(self.source, place, message));
    }

    pub(crate) fn say_with(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        let problem = Problem::new(self.source, place, message);
        self.problems.add(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }

    pub(crate) fn expected<T>(&mut self, node: &Node, what: &str) -> Option<T> {
        self.say(node.place, format!("expected {what}, found {}", node.what()));
        None
    }

    /// What is wrong inside of a text.
    pub(crate) fn syntax<T>(&mut self, node: &Node, text: &str, error: &SyntaxError) -> Option<T> {
        let place = self.source.inside(node.place, text, error.at);
        self.say(place, error.message.clone());
        None
    }

    /// What is stored for a value; `None` if a problem was said.
    pub(crate) fn value(&mut self, shape: Shape, node: &Node) -> Option<Value> {
        let typed = typed(shape, node);
        let node = typed.as_ref().unwrap_or(node);
        match shape {
            Shape::Any => self.any(node),
            Shape::Text => self.text(node, "a text").map(Value::from),
            Shape::Name(what) => self.name(node, what).map(Value::from),
            Shape::Bool => match node.kind {
                Kind::Bool(value) => Some(value.into()),
                _ => self.expected(node, "true or false"),
            },
            Shape::Int { min, max } => self.int(node, min, max),
            Shape::Number => match &node.kind {
                Kind::Number(number) => Some(number.clone().into()),
                _ => self.expected(node, "a number"),
            },
            Shape::Object => match node.kind {
                Kind::Map(_) => self.any(node),
                _ => self.expected(node, "a mapping"),
            },
            Shape::Duration => self.duration(node),
            Shape::Time => self.time(node),
            Shape::OneOf(words) => self.one_of(node, words),
            Shape::List(item) => {
                let items = self.list(node)?;
                items.iter().map(|node| self.value(*item, node)).fold(Some(Vec::new()), gather).map(Value::Array)
            }
            Shape::Map(value) => {
                let mut object = Some(Map::new());
                for (key, node) in self.map(node, "a mapping")? {
                    match (self.value(*value, node), &mut object) {
                        (Some(value), Some(object)) => drop(object.insert(key.name.clone(), value)),
                        _ => object = None,
                    }
                }
                object.map(Value::Object)
            }
            Shape::Named(record) => {
                let what = format!("a mapping from names to {}", record.name);
                let mut items = Some(Vec::new());
                for (key, node) in self.map(node, &what)? {
                    let item = self.record(record, node).map(|mut object| {
                        object.insert("name".to_owned(), key.name.as_str().into());
                        Value::Object(object)
                    });
                    items = gather(items, item);
                }
                items.map(Value::Array)
            }
            Shape::Record(record) => self.record(record, node).map(Value::Object),
            Shape::Special(special) => (special.decode)(self, node),
        }
    }

    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.kind {
            Kind::Text { text, .. } => Some(text.clone()),
            Kind::Bool(_) | Kind::Number(_) if what == "a text" => {
                let message = format!("expected a text, found {}", node.what());
                self.say_with(node.place, message, Some("put it in quotes".to_owned()));
                None
            }
            _ => self.expected(node, what),
        }
    }

    /// Any JSON, in which no secret stands.
    fn any(&mut self, node: &Node) -> Option<Value> {
        let n = self.problems.n();
        self.refuse_secrets(node);
        (self.problems.n() == n).then(|| node.to_json())
    }

    fn refuse_secrets(&mut self, node: &Node) {
        match &node.kind {
            Kind::Secret(_) => self.say(
                node.place,
                "a secret stands here, where it would be stored; only variables in env can be secrets",
            ),
            Kind::List(items) => items.iter().for_each(|node| self.refuse_secrets(node)),
            Kind::Map(members) => members.iter().for_each(|(_, node)| self.refuse_secrets(node)),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text { .. } => {}
        }
    }

    fn name(&mut self, node: &Node, what: &str) -> Option<String> {
        let name = self.text(node, "a text")?;
        self.check_name(&name, node.place, &format!("{what} name")).then_some(name)
    }

    pub(crate) fn check_name(&mut self, name: &str, place: Place, what: &str) -> bool {
        // All names have one form.
        match NodeName::parse(name) {
            Ok(_) => true,
            Err(error) => {
                let message = error.message().strip_prefix("node name ").unwrap_or(error.message());
                self.say(place, format!("the {what} {message}"));
                false
            }
        }
    }

    fn int(&mut self, node: &Node, min: i64, max: i64) -> Option<Value> {
        let Kind::Number(number) = &node.kind else { return self.expected(node, "a whole number") };
        match number.as_i64() {
            Some(n) if (min..=max).contains(&n) => Some(n.into()),
            _ => self.expected(node, &format!("a whole number from {min} to {max}")),
        }
    }

    fn duration(&mut self, node: &Node) -> Option<Value> {
        const WHAT: &str = "a span of time such as 90 s or 1 h 30 min";
        let Kind::Text { text, .. } = &node.kind else { return self.expected(node, WHAT) };
        match parse_duration(text) {
            Ok(duration) => Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()),
            Err(error) => self.syntax(node, text, &error),
        }
    }

    fn time(&mut self, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Number(number) if number.is_i64() => Some(number.clone().into()),
            Kind::Text { text, .. } => match Timestamp::parse_rfc3339(text) {
                Ok(time) => Some(time.as_millis().into()),
                Err(_) => self.expected(node, "a time such as 2027-03-01T12:00:00Z"),
            },
            _ => self.expected(node, "a time such as 2027-03-01T12:00:00Z"),
        }
    }

    fn one_of(&mut self, node: &Node, words: &[&'static str]) -> Option<Value> {
        let what = format!("one of {}", words.join(", "));
        let Kind::Text { text, .. } = &node.kind else { return self.expected(node, &what) };
        if words.contains(&text.as_str()) {
            return Some(text.as_str().into());
        }
        let help = nearest(text, words.iter().copied()).map(|near| format!("did you mean {near}?"));
        self.say_with(node.place, format!("expected {what}, found {}", node.what()), help);
        None
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => self.expected(node, "a list"),
        }
    }

    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Key, Node)]> {
        match &node.kind {
            Kind::Map(members) => Some(members),
            _ => self.expected(node, what),
        }
    }

    /// The stored object of a record.
    pub(crate) fn record(&mut self, record: &Record, node: &Node) -> Option<Map<String, Value>> {
        let members = self.map(node, &format!("a mapping: {}", record.name))?;
        let mut object = Some(Map::new());
        for (key, node) in members {
            let Some(field) = record.field(&key.name) else {
                self.unknown(key, record.fields.iter().map(|field| field.name), record.name);
                object = None;
                continue;
            };
            // A member that is there and empty is one that is left out.
            if matches!(node.kind, Kind::Null) && !matches!(field.shape, Shape::Any) {
                let help = "leave it out, or give it a value".to_owned();
                self.say_with(key.place, format!("{} has no value", key.name), Some(help));
                object = None;
                continue;
            }
            match (self.value(field.shape, node), &mut object) {
                (Some(value), Some(object)) => drop(object.insert(field.stored.to_owned(), value)),
                _ => object = None,
            }
        }
        for field in record.fields.iter().filter(|field| field.is_required) {
            if !members.iter().any(|(key, _)| key.name == field.name) {
                self.say(node.place, format!("{} is missing: {}", field.name, field.doc));
                object = None;
            }
        }
        object
    }

    pub(crate) fn unknown<'k>(&mut self, key: &Key, known: impl Iterator<Item = &'k str> + Clone, of: &str) {
        // What is only counted needs no suggestion.
        if self.problems.is_full() {
            return self.say(key.place, String::new());
        }
        let help = match nearest(&key.name, known.clone()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.say_with(key.place, format!("{of} has no member {}", shown(&key.name)), Some(help));
    }
}

/// What a quoted reference says where something else than a text is expected.
fn typed(shape: Shape, node: &Node) -> Option<Node> {
    let is_typed = matches!(shape, Shape::Bool | Shape::Int { .. } | Shape::Number | Shape::Time);
    match &node.kind {
        Kind::Text { text, is_quoted: false } if is_typed => Some(Node { place: node.place, kind: plain(text)? }),
        _ => None,
    }
}

/// All values, if there is each.
pub(crate) fn gather(items: Option<Vec<Value>>, item: Option<Value>) -> Option<Vec<Value>> {
    let (mut items, item) = (items?, item?);
    items.push(item);
    Some(items)
}
