//! JSON as text: a body that is written once and passed on as it is.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A JSON document as text. Cloning shares it.
///
/// ```
/// use aiflow_core::json::Json;
/// let body = Json::of(&vec![1, 2]);
/// assert_eq!(body.as_str(), "[1,2]");
/// assert_eq!(body, serde_json::json!([1, 2]));
/// assert_eq!(body.parse::<Vec<u8>>().unwrap(), [1, 2]);
/// ```
#[derive(Clone, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Writes `content`, which is plain data with text keys; anything else becomes `null`.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(content: &T) -> Self {
        serde_json::to_string(content).map_or_else(|_| Self("null".into()), |text| Self(text.into()))
    }

    /// Takes over a text that was written before. A text that is no JSON shows when it is [parsed](Self::parse).
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Reads it as a `T`.
    ///
    /// # Errors
    /// It is no JSON, or not of this type.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }

    /// As a tree; `null` if it is no JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.parse().unwrap_or_default()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    #[must_use]
    pub fn into_text(self) -> Arc<str> {
        self.0
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self::of(&value)
    }
}

/// Equal as values: spaces and the order of members do not matter.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
            || matches!((self.parse::<Value>(), other.parse::<Value>()), (Ok(one), Ok(other)) if one == other)
    }
}

impl PartialEq<Value> for Json {
    fn eq(&self, other: &Value) -> bool {
        self.parse::<Value>().is_ok_and(|value| value == *other)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As the document itself, not as a text.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}
