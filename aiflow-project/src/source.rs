//! Texts of files and places in them: which line is meant, and how is it shown?

use std::fmt;
use std::sync::Arc;

/// How much of a line is shown around a place.
const SHOWN_CHARS_MAX: usize = 100;

/// A character of a file: line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// From the first character to behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) start: Mark,
    pub(crate) end: Mark,
}

impl Place {
    pub(crate) const START: Self = Self { start: Mark { line: 1, column: 1 }, end: Mark { line: 1, column: 1 } };
}

/// A file: its name as it is shown, and its text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i.saturating_add(1));
        let lines = std::iter::once(0).chain(starts).collect();
        Arc::new(Self { name: name.into(), text, lines })
    }

    /// A line without its end.
    pub(crate) fn line(&self, line: usize) -> &str {
        let start = line.checked_sub(1).and_then(|i| self.lines.get(i)).copied();
        let rest = start.and_then(|start| self.text.get(start..)).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    /// Where a place begins and ends, in bytes.
    pub(crate) fn bytes(&self, mark: Mark) -> usize {
        let start = mark.line.checked_sub(1).and_then(|i| self.lines.get(i)).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        let before = rest.char_indices().nth(mark.column.saturating_sub(1)).map_or(rest.len(), |(i, _)| i);
        start.saturating_add(before)
    }

    fn mark(&self, byte: usize) -> Mark {
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = line.checked_sub(1).and_then(|i| self.lines.get(i)).copied().unwrap_or_default();
        let before = self.text.get(start..byte).unwrap_or_default();
        Mark { line, column: before.chars().count().saturating_add(1) }
    }

    /// Where the byte `at` of a text stands that was read from the scalar at `place`.
    ///
    /// Exact where the text stands in the file as it is, also on several lines; a character or so away behind an escape.
    pub(crate) fn inside(&self, place: Place, text: &str, at: usize) -> Place {
        let (start, end) = (self.bytes(place.start), self.bytes(place.end));
        let raw = self.text.get(start..end).unwrap_or_default();
        // What a scalar begins with before its text.
        let skipped = match raw.chars().next() {
            Some('"' | '\'') => 1,
            Some('|' | '>') => raw.find('\n').unwrap_or(raw.len()),
            _ => 0,
        };
        let before = text.get(..at).unwrap_or(text).chars().filter(|c| !c.is_whitespace()).count();
        let body = raw.get(skipped..).unwrap_or_default();
        let mut seen = 0_usize;
        for (i, c) in body.char_indices() {
            if seen == before && !c.is_whitespace() {
                let mark = self.mark(start.saturating_add(skipped).saturating_add(i));
                return Place { start: mark, end: Mark { column: mark.column.saturating_add(1), ..mark } };
            }
            seen = seen.saturating_add(usize::from(!c.is_whitespace()));
        }
        let last = self.mark(start.saturating_add(raw.trim_end().len()));
        Place { start: last, end: last }
    }

    /// The line of a place with carets below it.
    pub(crate) fn excerpt(&self, place: Place, f: &mut impl fmt::Write) -> fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        let line = self.line(place.start.line);
        let column = place.start.column.saturating_sub(1);
        // A long line is shown from a little before the place on.
        let skipped = if column > SHOWN_CHARS_MAX { column.saturating_sub(SHOWN_CHARS_MAX / 2) } else { 0 };
        let shown: String = line.chars().skip(skipped).take(SHOWN_CHARS_MAX).map(visible).collect();
        let is_cut = line.chars().count() > skipped.saturating_add(SHOWN_CHARS_MAX);
        let (before, after) = (if skipped > 0 { "…" } else { "" }, if is_cut { "…" } else { "" });
        let number = place.start.line.to_string();
        let indent = " ".repeat(number.len());
        let n = match place.end.line == place.start.line {
            true => place.end.column.saturating_sub(place.start.column),
            false => line.chars().count().saturating_sub(column),
        };
        let room = shown.chars().count().saturating_sub(column.saturating_sub(skipped)).max(1);
        let blanks = " ".repeat(column.saturating_sub(skipped).saturating_add(before.chars().count()));
        writeln!(f, "{number} | {before}{shown}{after}")?;
        writeln!(f, "{indent} | {blanks}{}", "^".repeat(n.clamp(1, room)))
    }
}

/// A character that takes one column.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}
