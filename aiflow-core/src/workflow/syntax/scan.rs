//! The scanner: words, quoted texts, JSON values and spans of time, read one at a time where they are expected.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::{SYNTAX_BYTES_MAX, SYNTAX_DEPTH_MAX, SyntaxError};
use crate::event::Match;
use crate::status::JobStatus;

/// Words that stand for themselves nowhere: as a name they are quoted.
const RESERVED: [&str; 19] = [
    "after", "all", "and", "any", "at", "for", "from", "if", "in", "is", "named", "no", "of", "or", "taking", "times",
    "when", "where", "within",
];
/// How much of the text is shown where something else was expected.
const FOUND_CHARS_MAX: usize = 20;

/// A text, and how far it was read.
#[derive(Debug)]
pub(super) struct Scan<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, SyntaxError> {
        let scan = Scan { text, at: 0, depth: 0 };
        if text.len() > SYNTAX_BYTES_MAX {
            let n = text.len();
            return Err(scan.wrong(format!("the text has {n} bytes, at most {SYNTAX_BYTES_MAX} are allowed")));
        }
        Ok(scan)
    }

    /// What is left, without the blanks before it.
    pub(super) fn rest(&mut self) -> &'t str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        self.step(rest.len().saturating_sub(trimmed.len()));
        trimmed
    }

    fn step(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    pub(super) fn place(&mut self) -> usize {
        self.rest();
        self.at
    }

    pub(super) fn back_to(&mut self, place: usize) {
        self.at = place;
    }

    /// One part deeper; the caller comes up again with [`up`](Self::up).
    pub(super) fn down(&mut self) -> Result<(), SyntaxError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > SYNTAX_DEPTH_MAX {
            return Err(self.wrong(format!("nested more than {SYNTAX_DEPTH_MAX} deep")));
        }
        Ok(())
    }

    pub(super) fn up(&mut self, n: usize) {
        self.depth = self.depth.saturating_sub(n);
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> SyntaxError {
        self.wrong_at(self.at, message)
    }

    pub(super) fn wrong_at(&self, at: usize, message: impl Into<String>) -> SyntaxError {
        let at = self.text.floor_char_boundary(at);
        let before = self.text.get(..at).unwrap_or_default();
        SyntaxError { at, column: before.chars().count().saturating_add(1), message: message.into() }
    }

    pub(super) fn expected(&mut self, what: &str) -> SyntaxError {
        let rest = self.rest();
        let word = rest.get(..word_len(rest)).unwrap_or_default();
        let found = match (word, rest.chars().next()) {
            (_, None) => "the end".to_owned(),
            ("", Some('"' | '\'')) | (_, Some('"')) => "a quoted text".to_owned(),
            ("", Some(c)) => format!("{c:?}"),
            (word, _) => match word.char_indices().nth(FOUND_CHARS_MAX) {
                Some((end, _)) => format!("{}…", word.get(..end).unwrap_or_default()),
                None => word.to_owned(),
            },
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    pub(super) fn end(&mut self, what: &str) -> Result<(), SyntaxError> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.expected(what)) }
    }

    pub(super) fn is_sign(&mut self, sign: &str) -> bool {
        self.rest().starts_with(sign)
    }

    pub(super) fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = self.is_sign(sign);
        if is_there {
            self.step(sign.len());
        }
        is_there
    }

    /// A sign right behind what was read last.
    fn take_close(&mut self, sign: &str) -> bool {
        let is_there = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(sign));
        if is_there {
            self.step(sign.len());
        }
        is_there
    }

    pub(super) fn sign(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(&format!("{sign:?}"))) }
    }

    /// The next word as it stands; empty if none does.
    pub(super) fn peek_word(&mut self) -> &'t str {
        let rest = self.rest();
        rest.get(..word_len(rest)).unwrap_or_default()
    }

    /// Takes these words if they all come next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let start = self.place();
        for word in words {
            if self.peek_word() != *word {
                self.at = start;
                return false;
            }
            self.step(word.len());
        }
        true
    }

    pub(super) fn words(&mut self, words: &[&str]) -> Result<(), SyntaxError> {
        if self.take(words) { Ok(()) } else { Err(self.expected(&words.join(" "))) }
    }

    pub(super) fn skip_word(&mut self) {
        let n = self.peek_word().len();
        self.step(n);
    }

    /// Takes a name that an opening parenthesis follows at once.
    pub(super) fn take_call(&mut self, name: &str) -> bool {
        let rest = self.rest();
        let is_there = rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('('));
        if is_there {
            self.step(name.len().saturating_add(1));
        }
        is_there
    }

    /// Whether a text could begin here.
    pub(super) fn is_text(&mut self) -> bool {
        let word = self.peek_word();
        (!word.is_empty() && !RESERVED.contains(&word)) || self.rest().starts_with(['"', '\''])
    }

    /// A word that is not of the language, or a quoted text.
    pub(super) fn text(&mut self, what: &str) -> Result<String, SyntaxError> {
        if !self.is_text() {
            return Err(self.expected(what));
        }
        let rest = self.rest();
        if rest.starts_with('\'') {
            return self.single_quoted(rest);
        }
        if rest.starts_with('"') {
            let Value::String(text) = self.streamed(rest)? else { return Err(self.expected(what)) };
            return Ok(text);
        }
        let word = self.peek_word();
        self.step(word.len());
        Ok(word.to_owned())
    }

    fn single_quoted(&mut self, rest: &str) -> Result<String, SyntaxError> {
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((i, c)) = chars.next() {
            if c != '\'' {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                self.step(i.saturating_add(1));
                return Ok(text);
            }
        }
        Err(self.wrong("the quoted text has no end"))
    }

    /// A name of a type of its own: `what` says of which.
    pub(super) fn parsed<T: FromStr<Err = crate::Error>>(&mut self, what: &str) -> Result<T, SyntaxError> {
        let place = self.place();
        let text = self.text(what)?;
        text.parse().map_err(|error: crate::Error| self.wrong_at(place, error.message()))
    }

    /// How a field is compared.
    pub(super) fn matcher(&mut self, what: &str) -> Result<Match, SyntaxError> {
        if self.take_sign("*") {
            return Ok(Match::Any);
        }
        let text = self.text(what)?;
        Ok(if self.take_close("*") { Match::Prefix(text) } else { Match::Exact(text) })
    }

    pub(super) fn is_matcher(&mut self) -> bool {
        self.is_text() || self.is_sign("*")
    }

    /// A JSON value.
    pub(super) fn json(&mut self) -> Result<Value, SyntaxError> {
        let rest = self.rest();
        if rest.starts_with(['"', '{', '[']) {
            return self.streamed(rest);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let n = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let value = rest.get(..n).and_then(|text| serde_json::from_str(text).ok());
        let Some(value) = value else {
            return Err(
                self.expected("a JSON value (a text in double quotes, a number, true, false, null, a list, an object)")
            );
        };
        self.step(n);
        Ok(value)
    }

    fn streamed(&mut self, rest: &str) -> Result<Value, SyntaxError> {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                self.step(values.byte_offset());
                Ok(value)
            }
            Some(Err(error)) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                Err(self.wrong(format!("no JSON: {message}")))
            }
            None => Err(self.expected("a JSON value")),
        }
    }

    pub(super) fn number<T: FromStr>(&mut self, what: &str) -> Result<T, SyntaxError> {
        let word = self.peek_word();
        let number = word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten();
        let number = number.ok_or_else(|| self.expected(what))?;
        self.step(word.len());
        Ok(number)
    }

    /// `SUCCEEDED|FAILED`, if the next word is a status.
    pub(super) fn take_statuses(&mut self) -> Result<Option<Vec<JobStatus>>, SyntaxError> {
        if status(self.peek_word()).is_none() {
            return Ok(None);
        }
        let mut statuses = Vec::new();
        loop {
            let Some(status) = status(self.peek_word()) else { return Err(self.expected("a status of a job")) };
            self.skip_word();
            statuses.push(status);
            if !self.take_sign("|") {
                return Ok(Some(statuses));
            }
        }
    }

    /// `1 h 30 min`.
    pub(super) fn span(&mut self) -> Result<Duration, SyntaxError> {
        let mut millis = self.span_part()?.ok_or_else(|| self.expected("a span of time such as 90 s or 1 h 30 min"))?;
        loop {
            let place = self.place();
            let Some(more) = self.span_part()? else { break };
            millis = millis.checked_add(more).ok_or_else(|| self.wrong_at(place, "the span of time is too long"))?;
        }
        Ok(Duration::from_millis(millis))
    }

    fn span_part(&mut self) -> Result<Option<u64>, SyntaxError> {
        let place = self.place();
        let word = self.peek_word();
        let n_digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, mut unit) = word.split_at(n_digits);
        if digits.is_empty() {
            return Ok(None);
        }
        self.step(digits.len());
        if unit.is_empty() {
            unit = self.peek_word();
        }
        let unit_ms: Option<u64> = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "min" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        let Some(unit_ms) = unit_ms else { return Err(self.expected("ms, s, min, h or d")) };
        let number: Option<u64> = digits.parse().ok();
        let millis = number.and_then(|number| number.checked_mul(unit_ms));
        let millis = millis.ok_or_else(|| self.wrong_at(place, "the span of time is too long"))?;
        self.skip_word();
        Ok(Some(millis))
    }

    /// Minutes after midnight, of `06:30`.
    pub(super) fn time_of_day(&mut self) -> Result<u16, SyntaxError> {
        let word = self.peek_word();
        let minutes = word.split_once(':').and_then(|(hours, minutes)| {
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let (hours, minutes): (u16, u16) = (is_number(hours) && is_number(minutes))
                .then(|| Some((hours.parse().ok()?, minutes.parse().ok()?)))??;
            hours.checked_mul(60)?.checked_add(minutes)
        });
        let minutes = minutes.ok_or_else(|| self.expected("a time of day such as 06:30"))?;
        self.step(word.len());
        Ok(minutes)
    }
}

fn status(word: &str) -> Option<JobStatus> {
    JobStatus::ALL.iter().copied().find(|status| status.as_str() == word)
}

/// How many bytes of the beginning are one word.
fn word_len(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        let is_inner = c == ':' && i > 0 && chars.peek().is_some_and(|(_, next)| is_part(*next));
        if !is_part(c) && !is_inner {
            return i;
        }
    }
    text.len()
}

/// Whether a text can stand as it is.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && word_len(text) == text.len() && !RESERVED.contains(&text)
}

/// Whether a text would be taken for the status of a job.
pub(super) fn is_status(text: &str) -> bool {
    status(text).is_some()
}
