//! Files in the making: an ordered tree, written as YAML or JSON.

use std::fmt::Write as _;

use serde_json::Value;

use crate::tree::{Kind, plain};

/// A value to be written. Members keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Out {
    Json(Value),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    /// A text in which references are meant.
    Verbatim(String),
}

impl From<&str> for Out {
    fn from(text: &str) -> Self {
        Self::Json(text.into())
    }
}

impl From<String> for Out {
    fn from(text: String) -> Self {
        Self::Json(text.into())
    }
}

impl Out {
    /// Lists and objects taken apart.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(members) => {
                Self::Map(members.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
            scalar => Self::Json(scalar.clone()),
        }
    }

    /// Every text in it changed.
    pub(crate) fn map_texts(self, change: &impl Fn(String) -> String) -> Self {
        match self {
            Self::Json(Value::String(text)) => Self::Json(change(text).into()),
            Self::Json(_) => self,
            // What is left to do is to write it.
            Self::Verbatim(text) => Self::Json(text.into()),
            Self::List(items) => Self::List(items.into_iter().map(|item| item.map_texts(change)).collect()),
            Self::Map(members) => {
                Self::Map(members.into_iter().map(|(name, value)| (name, value.map_texts(change))).collect())
            }
        }
    }

    /// As YAML 1.2.
    pub(crate) fn to_yaml(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Map(members) if !members.is_empty() => write_members(members, 0, &mut text),
            Self::List(items) if !items.is_empty() => write_items(items, 0, &mut text),
            other => {
                write_inline(other, 0, &mut text);
                text.push('\n');
            }
        }
        text
    }

    /// As JSON, indented by two blanks.
    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        write_json(self, 0, &mut text);
        text.push('\n');
        text
    }
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn write_members(members: &[(String, Out)], depth: usize, text: &mut String) {
    for (i, (name, value)) in members.iter().enumerate() {
        // The first member of an item of a list stands beside its dash.
        if i > 0 || !text.ends_with("- ") {
            indent(depth, text);
        }
        let is_plain = is_plain(name) && !name.contains([' ', '(']);
        if is_plain {
            text.push_str(name)
        } else {
            text.push_str(&quoted(name))
        }
        text.push(':');
        match value {
            Out::Map(members) if !members.is_empty() => {
                text.push('\n');
                write_members(members, depth.saturating_add(1), text);
            }
            Out::List(items) if !items.is_empty() => {
                text.push('\n');
                write_items(items, depth.saturating_add(1), text);
            }
            other => {
                text.push(' ');
                write_inline(other, depth.saturating_add(1), text);
                end_line(text);
            }
        }
    }
}

fn write_items(items: &[Out], depth: usize, text: &mut String) {
    for item in items {
        indent(depth, text);
        text.push_str("- ");
        match item {
            Out::Map(members) if !members.is_empty() => write_members(members, depth.saturating_add(1), text),
            Out::List(items) if !items.is_empty() => {
                text.pop();
                text.push('\n');
                write_items(items, depth.saturating_add(1), text);
            }
            other => {
                write_inline(other, depth.saturating_add(1), text);
                end_line(text);
            }
        }
    }
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// What fits behind a colon or a dash; a text of several lines goes on below.
fn write_inline(value: &Out, depth: usize, text: &mut String) {
    match value {
        Out::List(_) => text.push_str("[]"),
        Out::Map(_) => text.push_str("{}"),
        Out::Json(Value::String(string)) if is_plain(string) => text.push_str(string),
        Out::Json(Value::String(string)) if is_block(string) => {
            text.push_str("|\n");
            for line in string.lines() {
                if !line.is_empty() {
                    indent(depth, text);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        Out::Json(Value::String(string)) => text.push_str(&quoted(string)),
        Out::Verbatim(string) => text.push_str(&quoted(string)),
        Out::Json(value) => text.push_str(&value.to_string()),
    }
}

/// Whether a text can stand without quotes: it begins with a letter, nothing in it means anything to YAML, and it is read as a text.
fn is_plain(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || " _-./()<>=|*\"'[],{}+$%@~^;!?&:".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_known)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.contains("  ")
        && matches!(plain(text), Some(Kind::Text { .. }))
}

/// Whether a text of several lines can stand below as it is.
fn is_block(text: &str) -> bool {
    let is_plain = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && text.len() > 1
        && !text.starts_with([' ', '\n'])
        && text.chars().all(is_plain)
        && text.lines().all(|line| !line.ends_with(' '))
}

/// In double quotes, with escapes that JSON and YAML share.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    if !json.chars().any(is_escaped) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_escaped(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// What looks like something else, or is a line end to some.
fn is_escaped(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn write_json(value: &Out, depth: usize, text: &mut String) {
    let below = depth.saturating_add(1);
    let separate = |i: usize, text: &mut String| {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        indent(below, text);
    };
    match value {
        Out::Json(Value::String(string)) | Out::Verbatim(string) => text.push_str(&quoted(string)),
        Out::Json(value) => text.push_str(&value.to_string()),
        Out::List(items) if items.is_empty() => text.push_str("[]"),
        Out::Map(members) if members.is_empty() => text.push_str("{}"),
        Out::List(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                separate(i, text);
                write_json(item, below, text);
            }
            text.push('\n');
            indent(depth, text);
            text.push(']');
        }
        Out::Map(members) => {
            text.push('{');
            for (i, (name, value)) in members.iter().enumerate() {
                separate(i, text);
                text.push_str(&quoted(name));
                text.push_str(": ");
                write_json(value, below, text);
            }
            text.push('\n');
            indent(depth, text);
            text.push('}');
        }
    }
}
