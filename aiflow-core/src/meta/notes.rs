//! Notes: what can be said of an entity of any kind, and within which bounds?

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::DESCRIPTION_BYTES_MAX;
use super::problems::{Problems, shown};

/// The most tags, and the most properties, of an entity.
pub const NOTES_MAX: usize = 256;
/// The longest name of a tag or property, in bytes.
pub const NOTE_NAME_BYTES_MAX: usize = 256;
/// The longest value of a tag, or text of a property, in bytes.
pub const NOTE_VALUE_BYTES_MAX: usize = 4096;

/// A typed value of a property. It reads back as the type that it was written as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; finite.
    Float(f64),
    /// A text, at most [`NOTE_VALUE_BYTES_MAX`] bytes.
    Text(String),
}

impl Scalar {
    /// As a number, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            // Whole numbers beyond 2^53 are rounded, as everywhere in JSON.
            #[expect(clippy::cast_precision_loss, reason = "the nearest number is what is asked for")]
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// As a text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }
}

macro_rules! scalar_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Scalar {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

scalar_from! { bool => Bool, i32 => Int, u32 => Int, i64 => Int, f32 => Float, f64 => Float, &str => Text, String => Text }

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => fmt::Display::fmt(value, f),
            Self::Int(value) => fmt::Display::fmt(value, f),
            Self::Float(value) => fmt::Display::fmt(value, f),
            Self::Text(value) => fmt::Display::fmt(value, f),
        }
    }
}

/// What every entity carries besides its own fields: a description for people, tags to find it by, typed properties.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// For people; at most [`DESCRIPTION_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Tags, or labels: a text for each name. At most [`NOTES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Typed properties; at most [`NOTES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Scalar>,
}

impl Notes {
    /// Sets a tag.
    pub fn tag(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.tags.insert(name.into(), value.into());
    }

    /// Sets a property.
    pub fn property(&mut self, name: impl Into<String>, value: impl Into<Scalar>) {
        self.properties.insert(name.into(), value.into());
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        problems.text("the description", &self.description, DESCRIPTION_BYTES_MAX);
        problems.count("tags", self.tags.len(), NOTES_MAX);
        problems.count("properties", self.properties.len(), NOTES_MAX);
        for (name, value) in &self.tags {
            check_note_name(problems, name);
            problems.text(&format!("the tag {}", shown(name)), value, NOTE_VALUE_BYTES_MAX);
        }
        for (name, value) in &self.properties {
            check_note_name(problems, name);
            match value {
                Scalar::Text(text) => {
                    problems.text(&format!("the property {}", shown(name)), text, NOTE_VALUE_BYTES_MAX);
                }
                Scalar::Float(number) if !number.is_finite() => {
                    problems.add(format!("the property {} must be finite", shown(name)));
                }
                Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => {}
            }
        }
    }
}

fn check_note_name(problems: &mut Problems, name: &str) {
    if name.is_empty() || name.len() > NOTE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let rule =
            format!("the name of a tag or property has 1 to {NOTE_NAME_BYTES_MAX} bytes and no control characters");
        problems.add(format!("{rule}: {}", shown(name)));
    }
}

/// The builder methods that everything with [`Notes`] has.
macro_rules! noted {
    ($type:ident) => {
        impl $type {
            /// Sets the description.
            #[must_use]
            pub fn description(mut self, description: impl Into<String>) -> Self {
                self.notes.description = description.into();
                self
            }

            /// Sets a tag.
            #[must_use]
            pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.notes.tag(name, value);
                self
            }

            /// Sets a typed property.
            #[must_use]
            pub fn property(mut self, name: impl Into<String>, value: impl Into<$crate::meta::Scalar>) -> Self {
                self.notes.property(name, value);
                self
            }
        }
    };
}
pub(super) use noted;
