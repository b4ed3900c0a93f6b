//! Problems: what is wrong with something that is to be stored? All of it is named at once.

use super::URI_BYTES_MAX;
use crate::error::{Error, Result};

/// The most problems that an error names; of the others it says how many there are.
const PROBLEMS_NAMED_MAX: usize = 20;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Problems {
    named: Vec<String>,
    others: usize,
}

impl Problems {
    pub(super) fn add(&mut self, problem: impl Into<String>) {
        if self.named.len() < PROBLEMS_NAMED_MAX {
            self.named.push(problem.into());
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// At most so many.
    pub(super) fn count(&mut self, what: &str, count: usize, max: usize) {
        if count > max {
            self.add(format!("{count} {what}, at most {max} are allowed"));
        }
    }

    /// At most so many bytes.
    pub(super) fn text(&mut self, what: &str, text: &str, max: usize) {
        if text.len() > max {
            self.add(format!("{what} has {} bytes, at most {max} are allowed", text.len()));
        }
    }

    /// A URI or path; may be empty.
    pub(super) fn uri(&mut self, what: &str, uri: &str) {
        self.text(what, uri, URI_BYTES_MAX);
        if let Some((at, _)) = uri.char_indices().find(|(_, c)| c.is_control()) {
            self.add(format!("{what} has a control character at byte {at}"));
        }
    }

    /// A URI or path that must be there.
    pub(super) fn some_uri(&mut self, uri: &str) {
        if uri.is_empty() {
            return self.add("the uri is missing");
        }
        self.uri("the uri", uri);
    }

    /// # Errors
    /// `Invalid` if there are any.
    pub(super) fn none(self, operation: &'static str) -> Result<()> {
        if self.named.is_empty() {
            return Ok(());
        }
        let mut message = self.named.join("; ");
        if self.others > 0 {
            message.push_str(&format!("; and {} more", self.others));
        }
        Err(Error::invalid(operation, message))
    }
}

/// A piece of a text that may be long or strange, for people.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let shown: String = text.chars().take(CHARS_MAX).flat_map(char::escape_default).collect();
    format!("\"{shown}\"")
}
