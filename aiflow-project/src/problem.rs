//! Problems: what is wrong with a file, where, what was expected, and what was probably meant?

use std::fmt;
use std::sync::Arc;

use aiflow_core::Error;
use aiflow_core::workflow::Severity;

use crate::source::{Place, Source};

/// The most problems of a project that are reported; the rest is counted.
pub const PROBLEMS_MAX: usize = 200;

/// One thing that is wrong with a file, or that may not be meant.
#[derive(Clone)]
pub struct Problem {
    source: Arc<Source>,
    place: Place,
    message: String,
    help: Option<String>,
    severity: Severity,
}

impl Problem {
    pub(crate) fn new(source: &Arc<Source>, place: Place, message: impl Into<String>) -> Self {
        Self { source: Arc::clone(source), place, message: message.into(), help: None, severity: Severity::Error }
    }

    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The file, relative to the project.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.start.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.start.column
    }

    /// What is wrong, and what was expected.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was probably meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Whether it keeps the project from being submitted.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn order(&self) -> (&str, Place, &str) {
        (self.file(), self.place, &self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_error() { "error" } else { "warning" };
        writeln!(f, "{what}: {}", self.message)?;
        writeln!(f, " --> {}:{}:{}", self.file(), self.line(), self.column())?;
        self.source.excerpt(self.place, f)?;
        match &self.help {
            Some(help) => writeln!(f, " help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Everything that is wrong with a project, in the order of files and lines; at most [`PROBLEMS_MAX`], and how many there are besides.
#[derive(Clone, Default)]
pub struct Problems {
    found: Vec<Problem>,
    n_left_out: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        } else {
            self.n_left_out = self.n_left_out.saturating_add(1);
        }
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.n_left_out = self.n_left_out.saturating_add(others.n_left_out);
        others.found.into_iter().for_each(|problem| self.add(problem));
    }

    /// How many there are, with those that are not listed.
    pub(crate) fn n(&self) -> usize {
        self.found.len().saturating_add(self.n_left_out)
    }

    /// Whether further ones are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    pub(crate) fn sort(&mut self) {
        self.found.sort_by(|a, b| a.order().cmp(&b.order()));
        self.found.dedup_by(|a, b| a.order() == b.order());
    }

    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// How many there are besides those that are listed.
    #[must_use]
    pub fn n_left_out(&self) -> usize {
        self.n_left_out
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether one of them keeps the project from being submitted.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.n_left_out > 0 || self.found.iter().any(Problem::is_error)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.found.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        match self.n_left_out {
            0 => Ok(()),
            n => writeln!(f, "\nand {n} more"),
        }
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let n = problems.found.len().saturating_add(problems.n_left_out);
        Self::invalid("load project", format!("has {n} problems")).caused_by(problems)
    }
}

/// The known name that a wrong one is probably meant to be.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distances = known.into_iter().map(|known| (distance(name, known), known));
    let (n, nearest) = distances.min_by_key(|(n, _)| *n)?;
    // A third of the name may be wrong.
    let allowed = name.chars().count().max(3) / 3;
    (n <= allowed).then_some(nearest)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names; names of more than 64 characters are far from everything.
fn distance(a: &str, b: &str) -> usize {
    const CHARS_MAX: usize = 64;
    let fold = |text: &str| {
        text.chars().take(CHARS_MAX.saturating_add(1)).map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>()
    };
    let (a, b) = (fold(a), fold(b));
    if a.len() > CHARS_MAX || b.len() > CHARS_MAX {
        return usize::MAX;
    }
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i.saturating_add(1)];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&last, j).saturating_add(usize::from(x != y));
            let deleted = at(&last, j.saturating_add(1)).saturating_add(1);
            let inserted = at(&row, j).saturating_add(1);
            let mut best = replaced.min(deleted).min(inserted);
            if i > 0 && j > 0 && a.get(i.saturating_sub(1)) == Some(y) && b.get(j.saturating_sub(1)) == Some(x) {
                best = best.min(at(&before, j.saturating_sub(1)).saturating_add(1));
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["function", "streaming", "schedules", "retry"];
        for (wrong, meant) in
            [("funtion", "function"), ("shedules", "schedules"), ("rertry", "retry"), ("Retry", "retry")]
        {
            assert_eq!(nearest(wrong, known), Some(meant));
        }
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }
}
