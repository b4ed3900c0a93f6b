//! Schemas: which columns does a dataset have, and of which types?

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::problems::{Problems, shown};
use crate::error::{Error, Result};

/// The most columns of a schema.
pub const COLUMNS_MAX: usize = 4096;
/// The longest name of a column, in bytes.
const COLUMN_BYTES_MAX: usize = 1024;
/// How deep arrays of arrays go.
const ARRAYS_DEPTH_MAX: usize = 8;

/// The type of a column. Written `INT64`, `ARRAY<FLOAT32>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum DataType {
    /// A truth value.
    Bool,
    /// A signed whole number of 32 bits.
    Int32,
    /// A signed whole number of 64 bits.
    Int64,
    /// A number of 32 bits.
    Float32,
    /// A number of 64 bits.
    Float64,
    /// A text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A list of such values.
    Array(Box<Self>),
}

const NAMED: [(&str, DataType); 8] = [
    ("BOOL", DataType::Bool),
    ("INT32", DataType::Int32),
    ("INT64", DataType::Int64),
    ("FLOAT32", DataType::Float32),
    ("FLOAT64", DataType::Float64),
    ("STRING", DataType::String),
    ("BYTES", DataType::Bytes),
    ("TIMESTAMP", DataType::Timestamp),
];

impl DataType {
    /// A list of these.
    #[must_use]
    pub fn array(self) -> Self {
        Self::Array(Box::new(self))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Array(of) = self {
            return write!(f, "ARRAY<{of}>");
        }
        let name = NAMED.iter().find(|(_, named)| named == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for DataType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (mut inner, mut depth) = (text, 0_usize);
        while let Some(of) = inner.strip_prefix("ARRAY<").and_then(|rest| rest.strip_suffix('>')) {
            (inner, depth) = (of, depth.saturating_add(1));
        }
        match NAMED.into_iter().find(|(name, _)| *name == inner) {
            Some((_, named)) if depth <= ARRAYS_DEPTH_MAX => Ok((0..depth).fold(named, |of, _| of.array())),
            _ => {
                let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
                Err(Error::invalid("parse type", "no such data type; examples are INT64 and ARRAY<FLOAT32>")
                    .with("type", format!("\"{shown}\"")))
            }
        }
    }
}

impl TryFrom<String> for DataType {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DataType> for String {
    fn from(data_type: DataType) -> Self {
        data_type.to_string()
    }
}

/// A column of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, unique in the schema.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub data_type: DataType,
}

/// The columns of a dataset, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema(pub Vec<Column>);

impl Schema {
    /// Without columns: nothing is said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, data_type: DataType) -> Self {
        self.0.push(Column { name: name.into(), data_type });
        self
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        problems.count("columns", self.0.len(), COLUMNS_MAX);
        let mut names = std::collections::BTreeSet::new();
        for Column { name, .. } in &self.0 {
            problems.text("the name of a column", name, COLUMN_BYTES_MAX);
            if name.is_empty() || !names.insert(name) {
                problems.add(format!("the columns of a schema need names that differ: {}", shown(name)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_back_as_written() {
        for (_, named) in NAMED {
            for data_type in [named.clone(), named.clone().array(), named.array().array()] {
                assert_eq!(data_type.to_string().parse::<DataType>().unwrap(), data_type);
            }
        }
        let deep = format!("{}INT32{}", "ARRAY<".repeat(9), ">".repeat(9));
        for bad in ["", "int32", "ARRAY<>", "ARRAY<INT32", "INT32>", "x'; DROP TABLE record; --", &deep] {
            assert!(bad.parse::<DataType>().is_err(), "{bad}");
        }
    }
}
