//! Substitution: `${{ env.NAME }}`, `${{ properties.NAME }}` and `${{ secrets.NAME }}` in the texts of a file.
//!
//! A text that is nothing but a reference takes the type of what it refers to, or in quotes the type that is expected there.
//! `${{ env.NAME ?? 3 }}` has a default. `$${{` stands for `${{`. A secret is kept as a reference, and must be a whole text.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::decode::Decoder;
use crate::problem::nearest;
use crate::tree::{Kind, Node, TEXT_BYTES_MAX, plain, shown};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";
/// The longest name of a secret or a variable, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Where variables of the environment are looked up.
#[derive(Clone, Default)]
pub struct Environment {
    given: BTreeMap<String, String>,
    is_of_process: bool,
}

impl Environment {
    /// No variables.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { given: BTreeMap::new(), is_of_process: true }
    }

    /// Sets a variable, whatever the process has.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.insert(name.into(), value.into());
        self
    }

    fn get(&self, name: &str) -> Option<String> {
        let given = self.given.get(name).cloned();
        given.or_else(|| if self.is_of_process { std::env::var(name).ok() } else { None })
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("Environment")
            .field("given", &self.given.keys())
            .field("is_of_process", &self.is_of_process)
            .finish()
    }
}

/// What references mean.
#[derive(Debug)]
pub(crate) struct Meaning<'m> {
    pub(crate) environment: &'m Environment,
    /// Properties of the project, overridden by those of the file.
    pub(crate) properties: &'m Map<String, Value>,
}

/// Replaces all references below a node.
pub(crate) fn substitute(decoder: &mut Decoder<'_>, meaning: &Meaning<'_>, node: &mut Node) {
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|node| substitute(decoder, meaning, node)),
        Kind::Map(members) => members.iter_mut().for_each(|(_, node)| substitute(decoder, meaning, node)),
        Kind::Text { text, is_quoted } if text.contains(OPEN) => {
            let (text, is_quoted) = (std::mem::take(text), *is_quoted);
            if let Some(kind) = replaced(decoder, meaning, node, &text, is_quoted) {
                node.kind = kind;
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text { .. } | Kind::Secret(_) => {}
    }
}

enum Found {
    Value(Value),
    /// From the environment, or a default: typed as if it stood there.
    Text(String),
    Secret(String),
}

fn replaced(
    decoder: &mut Decoder<'_>,
    meaning: &Meaning<'_>,
    node: &Node,
    text: &str,
    is_quoted: bool,
) -> Option<Kind> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str(OPEN);
            rest = after.get(OPEN.len()..).unwrap_or_default();
            continue;
        }
        // Only what is wrong needs a place, which takes a walk over the text.
        let at = text.len().saturating_sub(after.len());
        let Some(end) = after.find(CLOSE) else {
            let place = decoder.source.inside(node.place, text, at);
            decoder.say_with(place, "the reference has no end", Some("write $${{ for ${{ itself".to_owned()));
            return None;
        };
        let reference = after.get(OPEN.len()..end).unwrap_or_default();
        let found = match look_up(meaning, reference) {
            Ok(found) => found,
            Err((message, help)) => {
                let place = decoder.source.inside(node.place, text, at);
                decoder.say_with(place, message, help);
                return None;
            }
        };
        let behind = after.get(end.saturating_add(CLOSE.len())..).unwrap_or_default();
        let is_whole = out.is_empty() && before.is_empty() && behind.is_empty();
        out.push_str(before);
        match found {
            Found::Secret(name) if is_whole => return Some(Kind::Secret(name)),
            Found::Secret(_) => {
                let place = decoder.source.inside(node.place, text, at);
                decoder.say(place, "a secret must be the whole text, so that nothing of it is stored");
                return None;
            }
            Found::Value(value) if is_whole && (!is_quoted || value.is_array() || value.is_object()) => {
                return Some(kind_of(value, node));
            }
            Found::Text(text) if is_whole && !is_quoted => {
                return Some(plain(&text).unwrap_or(Kind::Text { text, is_quoted: true }));
            }
            Found::Value(Value::String(text)) | Found::Text(text) if is_whole => {
                return Some(Kind::Text { text, is_quoted: false });
            }
            Found::Value(value) if is_whole => return Some(Kind::Text { text: value.to_string(), is_quoted: false }),
            Found::Value(Value::String(text)) | Found::Text(text) => out.push_str(&text),
            Found::Value(value) => out.push_str(&value.to_string()),
        }
        if out.len() > TEXT_BYTES_MAX {
            decoder.say(node.place, format!("the text grows to more than {TEXT_BYTES_MAX} bytes"));
            return None;
        }
        rest = behind;
    }
    out.push_str(rest);
    Some(Kind::Text { text: out, is_quoted: true })
}

fn kind_of(value: Value, at: &Node) -> Kind {
    let node = |value| Node { place: at.place, kind: kind_of(value, at) };
    match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(value),
        Value::Number(number) => Kind::Number(number),
        Value::String(text) => Kind::Text { text, is_quoted: true },
        Value::Array(items) => Kind::List(items.into_iter().map(node).collect()),
        Value::Object(members) => {
            let key = |name| crate::tree::Key { name, place: at.place };
            Kind::Map(members.into_iter().map(|(name, value)| (key(name), node(value))).collect())
        }
    }
}

fn look_up(meaning: &Meaning<'_>, reference: &str) -> Result<Found, (String, Option<String>)> {
    let (name, default) = match reference.split_once("??") {
        Some((name, default)) => (name.trim(), Some(default.trim())),
        None => (reference.trim(), None),
    };
    let known = "there are env.NAME, properties.NAME and secrets.NAME";
    let Some((kind, name)) = name.split_once('.') else {
        return Err((format!("{} refers to nothing", shown(name)), Some(known.to_owned())));
    };
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !is_name {
        return Err((format!("{} is no name", shown(name)), Some(known.to_owned())));
    }
    match (kind, default) {
        ("env", _) => match (meaning.environment.get(name), default) {
            (Some(text), _) => Ok(Found::Text(text)),
            (None, Some(default)) => Ok(Found::Text(default.to_owned())),
            (None, None) => {
                let help = format!("set it, or give a default: ${{{{ env.{name} ?? … }}}}");
                Err((format!("the environment has no variable {name}"), Some(help)))
            }
        },
        ("properties", _) => match (meaning.properties.get(name), default) {
            (Some(value), _) => Ok(Found::Value(value.clone())),
            (None, Some(default)) => Ok(Found::Text(default.to_owned())),
            (None, None) => {
                let near = nearest(name, meaning.properties.keys().map(String::as_str));
                Err((format!("there is no property {name}"), near.map(|near| format!("did you mean {near}?"))))
            }
        },
        ("secrets", None) => Ok(Found::Secret(name.to_owned())),
        ("secrets", Some(_)) => Err(("a secret has no default".to_owned(), None)),
        _ => Err((format!("{} refers to nothing", shown(&format!("{kind}.{name}"))), Some(known.to_owned()))),
    }
}

/// A text as it is written so that no reference is seen in it.
pub(crate) fn escaped(text: String) -> String {
    if text.contains(OPEN) { text.replace(OPEN, "$${{") } else { text }
}

/// The reference to a secret.
pub(crate) fn secret_text(name: &str) -> String {
    format!("${{{{ secrets.{name} }}}}")
}
