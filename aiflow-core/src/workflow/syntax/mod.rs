//! Rules and conditions as text: how are they written on one line, and where is a line wrong?
//!
//! What is printed is read back as it was: `Display` of a condition or a rule and its `FromStr` are inverses of one another, except for
//! lists of no status at all, which nothing accepts. `{:#}` prints long values shortened, and a rule without its name and parameters; that is for people only.
//!
//! ```text
//! rule       = ACTION ["of the same" PARAM] "when" condition {"," clause}
//! clause     = "taking" PARAM "from" field ["of" KEY] | "named" NAME
//!            | "from event" OFFSET "on" | "from the latest of each key on"
//! condition  = either {"for each" place}
//! either     = both {"or" both}
//! both       = part {"and" part}
//! part       = counted {"within" window | "if it comes within" SPAN | "if it comes by" HH:MM ZONE}
//! counted    = N "times" operand | "no" operand "for" SPAN ["after" operand] | "no" pattern "in the last" SPAN | operand
//! operand    = "(" condition ")" | pattern | JOB STATUS{"|"STATUS} [life] | JOB "is" STATUS{"|"STATUS}
//!            | ("all of" | "any of" | "at least" N "of" | "in this order") "(" [condition {"," condition}] ")"
//!            | "custom(" NAME ["," JSON] ")" "of" "(" [pattern {"," pattern}] ")"
//! pattern    = subject [test] ["of any execution"] ["from" SENDER] [life]
//! subject    = [TYPE] [NAMESPACE "::"] KEY | "model(" NAME ")" STAGE | "alias(" MODEL "," ALIAS ")" | "dataset(" NAME ")"
//!            | "metric(" NAME ")" COMPARISON NUMBER | "workflow(" NAME ")" STATUS
//! test       = "=" JSON | COMPARISON JSON | "in" JSON-LIST | "at" POINTER [test] | "where" CEL
//! life       = "(latest)" | "(repeated)"
//! window     = SPAN | "one span of" SPAN | "one day" ["from" HH:MM] "in" ZONE
//! place      = "key" | POINTER | "value" [POINTER] | "label" NAME | "first of" "(" [place {"," place}] ")"
//! field      = "key" | "type" | "sender" | "namespace" | "time" | "offset" | "label" NAME | POINTER | "value" [POINTER]
//! ```
//!
//! A word is letters, digits and `. _ - /`, and `:` between two of them; anything else, and a word of the language, is put in double quotes as
//! in JSON, or in single quotes, in which a quote is doubled. A star at the end of a key, type, sender or namespace stands for any rest. A
//! SPAN is `90 s`, `1 h 30 min`, in `ms`, `s`, `min`, `h`, `d`.

mod condition;
mod pattern;
mod print;
mod rule;
mod scan;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use print::Span;
use scan::Scan;

use super::{Condition, ContextOf, ParamSource, SchedulingRule, WorkflowRule};

/// The longest text of a condition or a rule, in bytes.
pub const SYNTAX_BYTES_MAX: usize = 256 * 1024;
/// How deep parts may be nested in a text. Definitions allow less: [`CONDITION_DEPTH_MAX`](super::CONDITION_DEPTH_MAX).
pub const SYNTAX_DEPTH_MAX: usize = 64;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The byte at which it is.
    pub at: usize,
    /// The same place in characters, from 1.
    pub column: usize,
    /// What was expected, and what was found.
    pub message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Reads a condition: `all of (samples = "ready", train SUCCEEDED) within 1 h`.
///
/// ```
/// use aiflow_core::workflow::{Condition, all, on};
///
/// let read: Condition = r#"samples = "ready" and model.*"#.parse()?;
/// assert_eq!(read, all([on("samples").equals("ready"), on("model.*")]));
/// assert_eq!(read.to_string(), r#"all of (samples = "ready", model.*)"#);
/// # Ok::<(), aiflow_core::workflow::SyntaxError>(())
/// ```
impl FromStr for Condition {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut scan = Scan::new(text)?;
        let condition = condition::condition(&mut scan)?;
        scan.end("and, or, within, if it comes, for each, or the end")?;
        Ok(condition)
    }
}

/// Reads a rule on a job: `RESTART when model(wine) DEPLOYED, taking version from /version`.
impl FromStr for SchedulingRule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        rule::of_job(&mut Scan::new(text)?)
    }
}

/// Reads a rule on a workflow: `STOP of the same order when order.paid for each /id`.
impl FromStr for WorkflowRule {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        rule::of_workflow(&mut Scan::new(text)?)
    }
}

/// Reads where a parameter is taken from: `/uri of samples`, `key`, `label region`.
impl FromStr for ParamSource {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut scan = Scan::new(text)?;
        let source = rule::source(&mut scan)?;
        scan.end("of, or the end")?;
        Ok(source)
    }
}

/// Reads where events name their contexts: `event`, `all`, `/customers`, `label tenant or all`.
impl FromStr for ContextOf {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut scan = Scan::new(text)?;
        if scan.take(&["event"]) {
            scan.end("the end")?;
            return Ok(Self::Event);
        }
        if scan.take(&["all"]) {
            scan.end("the end")?;
            return Ok(Self::All);
        }
        let field = rule::field(&mut scan)?;
        let or_all = scan.take(&["or", "all"]);
        scan.end("or all, or the end")?;
        Ok(Self::Field { field, or_all })
    }
}

/// Reads a span of time: `90 s`, `1 h 30 min`; at most what fits in 64 bits of milliseconds.
///
/// # Errors
/// Where it is wrong.
pub fn parse_duration(text: &str) -> Result<Duration, SyntaxError> {
    let mut scan = Scan::new(text)?;
    let span = scan.span()?;
    scan.end("the end")?;
    Ok(span)
}

/// Writes a span of whole milliseconds as [`parse_duration`] reads it, in the largest unit that says it in a whole number: `90 s`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    Span(duration).to_string()
}
