//! Search: which records match a filter, in which order?
//!
//! One language for every kind of record and every backend. [`Search::parse`] reads it, a store answers it.
//!
//! ```text
//! query   = [ filter ] [ "order" "by" key { "," key } ] [ "limit" number ]
//! filter  = and { "or" and }
//! and     = test { "and" test }
//! test    = "not" test | "(" filter ")"
//!         | field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!         | field [ "not" ] "in" "(" value { "," value } ")"
//!         | field [ "not" ] "like" text            % stands for any text, _ for any one character
//!         | "exists" field
//!         | "has" kind "(" [ filter ] ")"          a record of this kind has this one as parent
//!         | "of" kind "(" [ filter ] ")"           the parent of this one is such a record
//!         | relation kind "(" [ filter ] ")"       a relation leads from this one to such a record
//!         | relation "by" kind "(" [ filter ] ")"  a relation leads from such a record to this one
//! field   = name { "." ( name | quoted ) }
//! key     = field [ "asc" | "desc" ]
//! value   = number | text | "true" | "false"
//! text    = "'" … "'"                              a quote inside is doubled
//! quoted  = '"' … '"'
//! ```
//!
//! # Fields
//! `name`, `id`, `project`, `parent`, `state` (also called `stage` and `status`), `revision`, `created` and `updated` are those of the
//! [record](crate::store::Record). `metrics.auc` is the latest value of the metric `auc` of the record. Every other field is looked up in
//! the body: `tags.team`, also where the tags of an execution or workflow are in an annotation of their own,  `params.rate`, `properties."learning rate"`, `uri`.
//!
//! # Meaning
//! A comparison holds if the field is there and has the type of the value: numbers are compared as numbers, texts by their bytes. On a field
//! that is missing, or of another type, every comparison is false, also `!=`, `not in` and `not like`; `not (a = 1)` is true there. `created`,
//! `updated` and fields whose name ends in `_at` are milliseconds, and may be compared with a time, `'2026-03-01'` or
//! `'2026-03-01T12:00:00Z'`.
//!
//! Numbers come before texts, a missing field last in either direction, and of records that are equal the older one first, or last if the last key
//! is `desc`. Without an order, the newest comes first. `limit` is the size of a page.

mod evaluate;
mod matching;
mod narrow;
mod parse;
mod scan;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

pub use evaluate::Sorted;
pub(crate) use matching::is_match;
pub use narrow::narrowed;

pub use scan::{place_of, scan, scan_in, token_of};

use crate::error::Result;
use crate::store::PageToken;

/// The longest text of a search, in bytes.
pub const SEARCH_BYTES_MAX: usize = 16 * 1024;
/// How deeply the parts of a filter may be nested.
pub const SEARCH_DEPTH_MAX: usize = 16;
/// The most tests of a filter, and the most values of one list.
pub const SEARCH_TESTS_MAX: usize = 100;
/// The most keys of an order.
pub const SEARCH_KEYS_MAX: usize = 4;
/// Record kind of a metric of one record, `kind:id/metric`: number = latest value.
pub const KIND_METRIC_SUMMARY: &str = "metric_summary";
/// Record kind of the tags and properties of a record that the scheduler keeps, `kind:id`.
pub const KIND_ANNOTATION: &str = "annotation";
/// Kinds of records that the scheduler keeps: their tags and properties are in records of their own.
const ANNOTATED_KINDS: [&str; 5] = [
    "job",
    crate::execution::KIND_WORKFLOW,
    crate::execution::KIND_WORKFLOW_VERSION,
    crate::execution::KIND_WORKFLOW_EXECUTION,
    crate::execution::KIND_JOB_EXECUTION,
];

/// Which records of a kind, and in which order.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Kind, required.
    pub kind: String,
    /// Project; all if `None`.
    pub project: Option<String>,
    /// What must hold; everything matches if `None`.
    pub filter: Option<Filter>,
    /// By what they are ordered; never empty.
    pub order: Vec<OrderKey>,
    /// Where the previous page ended.
    pub after: Option<PageToken>,
    /// At most this many, and at most [`PAGE_ROWS_MAX`](crate::store::PAGE_ROWS_MAX).
    pub limit: usize,
}

/// What a record must be like.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All of these hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// The field compares so with the value.
    Compare(Field, Op, Literal),
    /// The field is one of these; or, if `false`, is there and is none of them.
    In(Field, Vec<Literal>, bool),
    /// The field is a text of this pattern; or, if `false`, a text that is not.
    Like(Field, String, bool),
    /// The field is there, and is not null.
    Exists(Field),
    /// Such a record is connected with this one.
    Near(Near, String, Option<Box<Self>>),
}

/// How another record is connected with the one that is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Near {
    /// It has this one as parent.
    Child,
    /// It is the parent of this one.
    Parent,
    /// A relation of this kind leads to it.
    To(String),
    /// A relation of this kind comes from it.
    From(String),
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The name.
    Name,
    /// The id.
    Id,
    /// The project.
    Project,
    /// The parent.
    Parent,
    /// The life-cycle state.
    State,
    /// The number of puts.
    Revision,
    /// When it was first put, in milliseconds.
    Created,
    /// When it was last put, in milliseconds.
    Updated,
    /// The latest value of a metric.
    Metric(String),
    /// What stands in the body under these names.
    Body(Vec<String>),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// A value in a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

/// By what records are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderKey {
    /// The field.
    pub field: Field,
    /// Greatest first.
    pub descending: bool,
}

impl Search {
    /// Everything of `kind`, the newest first.
    #[must_use]
    pub fn kind(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            project: None,
            filter: None,
            order: vec![OrderKey { field: Field::Created, descending: true }],
            after: None,
            limit: crate::store::PAGE_ROWS_MAX,
        }
    }

    /// What `text` says of `kind`; see [the language](self).
    ///
    /// ```
    /// use aiflow_core::search::Search;
    ///
    /// let search = Search::parse("model_version", "stage = 'DEPLOYED' and metrics.auc > 0.9 order by created desc")?;
    /// let error = Search::parse("model_version", "stage = ").unwrap_err();
    /// assert!(error.to_string().contains("column 9"));
    /// # Ok::<(), aiflow_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, with the column, what was expected and what is there.
    pub fn parse(kind: impl Into<String>, text: &str) -> Result<Self> {
        let parse::Said { filter, order, limit } = parse::parse(text)?;
        let mut search = Self::kind(kind);
        search.filter = filter;
        if !order.is_empty() {
            search.order = order;
        }
        search.limit = limit.unwrap_or(search.limit);
        Ok(search)
    }

    /// Restricts the project.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Continues after a page.
    #[must_use]
    pub fn after(mut self, token: Option<PageToken>) -> Self {
        self.after = token;
        self
    }

    /// At most `limit` records a page.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The page size in force.
    #[must_use]
    pub fn page_rows(&self) -> usize {
        self.limit.clamp(1, crate::store::PAGE_ROWS_MAX)
    }

    /// Whether of records that are equal the newer one comes first.
    #[must_use]
    pub fn ties_descend(&self) -> bool {
        self.order.last().is_some_and(|key| key.descending)
    }
}

impl Op {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }

    /// Whether it holds where the field compares so with the value.
    #[must_use]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

impl Field {
    /// Whether a record of this kind may have it in its [annotation](KIND_ANNOTATION) if it is not in its own body.
    #[must_use]
    pub fn may_be_annotated(&self, kind: &str) -> bool {
        let Self::Body(path) = self else { return false };
        let is_note = matches!(path.first().map(String::as_str), Some("tags" | "properties" | "description"));
        is_note && ANNOTATED_KINDS.contains(&kind)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name"),
            Self::Id => f.write_str("id"),
            Self::Project => f.write_str("project"),
            Self::Parent => f.write_str("parent"),
            Self::State => f.write_str("state"),
            Self::Revision => f.write_str("revision"),
            Self::Created => f.write_str("created"),
            Self::Updated => f.write_str("updated"),
            Self::Metric(name) => write!(f, "metrics.\"{name}\""),
            Self::Body(path) => {
                for (i, name) in path.iter().enumerate() {
                    write!(f, "{}\"{name}\"", if i == 0 { "" } else { "." })?;
                }
                Ok(())
            }
        }
    }
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Bool(is) => is.into(),
            Literal::Number(number) => Self::Number(number),
            Literal::Text(text) => text.into(),
        }
    }
}
