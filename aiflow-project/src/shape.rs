//! Shapes: what may stand where in a file? One table says it to the decoder, the encoder and the JSON Schema.
//!
//! A record in a file becomes a JSON object as the library stores it: `timeout: 5 min` is `"timeout_ms": 300000`.

use serde_json::Value;

use crate::decode::Decoder;
use crate::out::Out;
use crate::tree::Node;

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    /// A well-formed name, of what.
    Name(&'static str),
    Bool,
    /// A whole number.
    Int {
        min: i64,
        max: i64,
    },
    Number,
    /// Any JSON.
    Any,
    /// A JSON object.
    Object,
    /// `5 min`; stored in milliseconds.
    Duration,
    /// RFC 3339; stored in milliseconds since the epoch.
    Time,
    /// One of these words.
    OneOf(&'static [&'static str]),
    List(&'static Self),
    /// A mapping from texts to values.
    Map(&'static Self),
    /// A mapping from names to records; stored as a list of records that have the name in the member `name`.
    Named(&'static Record),
    Record(&'static Record),
    Special(&'static Special),
}

/// A mapping with known members.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A member of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Its name in the stored object.
    pub(crate) stored: &'static str,
    pub(crate) shape: Shape,
    pub(crate) is_required: bool,
    /// What it is stored as when it is left out, as JSON; not written then.
    pub(crate) default: Option<&'static str>,
    pub(crate) doc: &'static str,
}

/// A value with a form of its own.
pub(crate) struct Special {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    /// From the file to what is stored; `None` if a problem was said.
    pub(crate) decode: fn(&mut Decoder<'_>, &Node) -> Option<Value>,
    /// From what is stored to the file.
    pub(crate) encode: fn(&Value) -> Out,
    /// Its JSON Schema.
    pub(crate) schema: fn() -> Value,
}

impl std::fmt::Debug for Special {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A member that may be left out.
pub(crate) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { name, stored: name, shape, is_required: false, default: None, doc }
}

/// A member that must be there.
pub(crate) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Field {
    Field { is_required: true, ..optional(name, shape, doc) }
}

impl Field {
    /// It is stored under another name.
    pub(crate) const fn stored(self, stored: &'static str) -> Self {
        Self { stored, ..self }
    }

    /// Left out means this.
    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }
}

impl Record {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
