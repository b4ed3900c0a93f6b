//! Texts of searches: what do they say, and where are they wrong?

use serde_json::Number;

use super::{
    Field, Filter, Literal, Near, Op, OrderKey, SEARCH_BYTES_MAX, SEARCH_DEPTH_MAX, SEARCH_KEYS_MAX, SEARCH_TESTS_MAX,
};
use crate::error::{Error, Result};
use crate::store::PAGE_ROWS_MAX;
use crate::time::Timestamp;
use crate::workflow::cut;

/// Words that are no names of kinds, relations or first parts of fields.
const WORDS: [&str; 16] = [
    "and", "or", "not", "in", "like", "exists", "has", "of", "by", "order", "limit", "asc", "desc", "true", "false",
    "null",
];

/// How much of a text is shown before the place where it is wrong.
const BEFORE_CHARS_MAX: usize = 60;

/// What a text says: what must hold, in which order, and how many a page.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) filter: Option<Filter>,
    pub(super) order: Vec<OrderKey>,
    pub(super) limit: Option<usize>,
}

pub(super) fn parse(text: &str) -> Result<Said> {
    if text.len() > SEARCH_BYTES_MAX {
        let message = format!("the text has {} bytes, at most {SEARCH_BYTES_MAX} are allowed", text.len());
        return Err(Error::invalid("search", message));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, tests: 0 };
    let is_without = parser.is_end() || parser.is_word("order") || parser.is_word("limit");
    let filter = if is_without { None } else { Some(parser.filter()?) };
    let order = if parser.is_word("order") { parser.order()? } else { Vec::new() };
    let limit = if parser.take_word("limit") { Some(parser.limit()?) } else { None };
    if !parser.is_end() {
        return Err(parser.expected(match (limit, order.is_empty()) {
            (Some(_), _) => "the end",
            (None, true) => "and, or, order by, limit",
            (None, false) => "a comma, limit, or the end",
        }));
    }
    Ok(Said { filter, order, limit })
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name or a word of the language.
    Word(String),
    /// A part of a field in double quotes.
    Quoted(String),
    Text(String),
    Number(Number),
    Sign(&'static str),
}

/// A token, and the byte at which it begins.
type Placed = (usize, Token);

fn wrong(text: &str, at: usize, message: &str) -> Error {
    let before = text.get(..at).unwrap_or(text);
    let column = before.chars().count().saturating_add(1);
    Error::invalid("search", format!("column {column}: {message}")).with("in", around(text, at))
}

/// What stands around a place: a text may be long.
fn around(text: &str, at: usize) -> String {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let begin =
        before.char_indices().rev().nth(BEFORE_CHARS_MAX).map(|(place, first)| place.saturating_add(first.len_utf8()));
    match begin.and_then(|begin| before.get(begin..)) {
        Some(near) => format!("…{near}{}", cut(after)),
        None => format!("{before}{}", cut(after)),
    }
}

fn tokens(text: &str) -> Result<Vec<Placed>> {
    const SIGNS: [&str; 13] = ["!=", "<=", ">=", "<>", "==", "=", "<", ">", "(", ")", ",", ".", ";"];
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        let length = match first {
            c if c.is_whitespace() => {
                at = at.saturating_add(c.len_utf8());
                continue;
            }
            '\'' => {
                let (value, length) = quoted(rest, '\'').ok_or_else(|| wrong(text, at, "the text has no end"))?;
                tokens.push((at, Token::Text(value)));
                length
            }
            '"' => {
                let (name, length) = quoted(rest, '"').ok_or_else(|| wrong(text, at, "the name has no end"))?;
                if name.is_empty() || name.chars().any(|c| matches!(c, '"' | '\\') || c.is_control()) {
                    return Err(wrong(
                        text,
                        at,
                        "a name is not empty and has no quotes, backslashes or control characters",
                    ));
                }
                tokens.push((at, Token::Quoted(name)));
                length
            }
            c if c.is_ascii_digit() || c == '-' || c == '+' => {
                let is_part = |(i, c): (usize, char)| {
                    c.is_ascii_alphanumeric()
                        || c == '.'
                        || (matches!(c, '-' | '+')
                            && (i == 0 || rest.get(..i).is_some_and(|r| r.ends_with(['e', 'E']))))
                };
                let length = rest.char_indices().find(|&place| !is_part(place)).map_or(rest.len(), |(i, _)| i);
                let number = rest.get(..length).unwrap_or_default();
                tokens.push((at, Token::Number(number_of(number).ok_or_else(|| wrong(text, at, "no number"))?)));
                length
            }
            c if c.is_alphabetic() || c == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                tokens.push((at, Token::Word(rest.get(..length).unwrap_or_default().to_owned())));
                length
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| wrong(text, at, &format!("{first:?} means nothing here")))?;
                tokens.push((at, Token::Sign(sign)));
                sign.len()
            }
        };
        at = at.saturating_add(length);
    }
    Ok(tokens)
}

/// What stands between quotes, and how long it is with them. A quote inside is doubled.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c != quote {
            value.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            value.push(quote);
            chars.next();
        } else {
            return Some((value, i.saturating_add(1)));
        }
    }
    None
}

fn number_of(text: &str) -> Option<Number> {
    let text = text.strip_prefix('+').unwrap_or(text);
    match text.parse::<i64>() {
        Ok(number) => Some(number.into()),
        Err(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).and_then(Number::from_f64),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    tests: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at = self.at.saturating_add(1);
        token
    }

    fn is_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        self.at = self.at.saturating_add(is_there.into());
        is_there
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at = self.at.saturating_add(is_there.into());
        is_there
    }

    fn sign(&mut self, sign: &str) -> Result<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(&format!("{sign:?}"))) }
    }

    fn here(&self, message: &str) -> Error {
        wrong(self.text, self.tokens.get(self.at).map_or(self.text.len(), |(at, _)| *at), message)
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Word(word)) => cut(word),
            Some(Token::Quoted(name)) => format!("\"{}\"", cut(name)),
            Some(Token::Text(text)) => format!("'{}'", cut(text)),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
        };
        self.here(&format!("expected {what}, found {found}"))
    }

    /// A name that is no word of the language.
    fn name(&mut self, what: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) if !WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)) => {
                let word = word.clone();
                self.at = self.at.saturating_add(1);
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn filter(&mut self) -> Result<Filter> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > SEARCH_DEPTH_MAX {
            return Err(self.here(&format!("nested more than {SEARCH_DEPTH_MAX} deep")));
        }
        let mut any = vec![self.all()?];
        while self.take_word("or") {
            any.push(self.all()?);
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(one_or(any, Filter::Any))
    }

    fn all(&mut self) -> Result<Filter> {
        let mut all = vec![self.test()?];
        while self.take_word("and") {
            all.push(self.test()?);
        }
        Ok(one_or(all, Filter::All))
    }

    fn test(&mut self) -> Result<Filter> {
        self.tests = self.tests.saturating_add(1);
        if self.tests > SEARCH_TESTS_MAX {
            return Err(self.here(&format!("more than {SEARCH_TESTS_MAX} tests")));
        }
        if self.take_word("not") {
            self.depth = self.depth.saturating_add(1);
            if self.depth > SEARCH_DEPTH_MAX {
                return Err(self.here(&format!("nested more than {SEARCH_DEPTH_MAX} deep")));
            }
            let inner = self.test()?;
            self.depth = self.depth.saturating_sub(1);
            return Ok(Filter::Not(Box::new(inner)));
        }
        if self.take_sign("(") {
            let filter = self.filter()?;
            self.sign(")")?;
            return Ok(filter);
        }
        if self.take_word("exists") {
            return Ok(Filter::Exists(self.field()?));
        }
        if self.take_word("has") {
            return self.near(Near::Child);
        }
        if self.take_word("of") {
            return self.near(Near::Parent);
        }
        // Two names after one another are a relation and a kind.
        let follows = self.tokens.get(self.at.saturating_add(1)).map(|(_, token)| token);
        let is_word = |word: &String, known: &str| word.eq_ignore_ascii_case(known);
        if let Some(Token::Word(next)) = follows
            && !["not", "in", "like", "and", "or", "order", "limit", "asc", "desc"]
                .iter()
                .any(|known| is_word(next, known))
        {
            let relation = self.name("a relation")?;
            let near = if self.take_word("by") { Near::From(relation) } else { Near::To(relation) };
            return self.near(near);
        }
        self.comparison()
    }

    fn near(&mut self, near: Near) -> Result<Filter> {
        let kind = self.name("a kind of record")?;
        self.sign("(")?;
        if self.take_sign(")") {
            return Ok(Filter::Near(near, kind, None));
        }
        let filter = self.filter()?;
        self.sign(")")?;
        Ok(Filter::Near(near, kind, Some(Box::new(filter))))
    }

    fn comparison(&mut self) -> Result<Filter> {
        let field = self.field()?;
        let is_meant = !self.take_word("not");
        if self.take_word("in") {
            self.sign("(")?;
            let mut values = vec![self.value(&field)?];
            while self.take_sign(",") {
                if values.len() >= SEARCH_TESTS_MAX {
                    return Err(self.here(&format!("more than {SEARCH_TESTS_MAX} values")));
                }
                values.push(self.value(&field)?);
            }
            self.sign(")")?;
            return Ok(Filter::In(field, values, is_meant));
        }
        if self.take_word("like") {
            return match self.peek().cloned() {
                Some(Token::Text(pattern)) => {
                    self.at = self.at.saturating_add(1);
                    Ok(Filter::Like(field, pattern, is_meant))
                }
                _ => Err(self.expected("a text in single quotes")),
            };
        }
        if !is_meant {
            return Err(self.expected("in or like"));
        }
        let op = match self.peek() {
            Some(Token::Sign("=" | "==")) => Op::Eq,
            Some(Token::Sign("!=" | "<>")) => Op::Ne,
            Some(Token::Sign("<")) => Op::Lt,
            Some(Token::Sign("<=")) => Op::Le,
            Some(Token::Sign(">")) => Op::Gt,
            Some(Token::Sign(">=")) => Op::Ge,
            _ => return Err(self.expected("a comparison, in, like")),
        };
        self.at = self.at.saturating_add(1);
        Ok(Filter::Compare(field.clone(), op, self.value(&field)?))
    }

    fn field(&mut self) -> Result<Field> {
        let mut path = vec![match self.peek().cloned() {
            Some(Token::Quoted(name)) => {
                self.at = self.at.saturating_add(1);
                name
            }
            _ => self.name("a field")?,
        }];
        while self.take_sign(".") {
            match self.next() {
                // After a point every word is a name.
                Some(Token::Word(name) | Token::Quoted(name)) => path.push(name),
                _ => {
                    self.at = self.at.saturating_sub(1);
                    return Err(self.expected("a name after the point"));
                }
            }
        }
        Ok(field_of(path))
    }

    fn value(&mut self, field: &Field) -> Result<Literal> {
        let value = match self.peek().cloned() {
            Some(Token::Number(number)) => Literal::Number(number),
            Some(Token::Text(text)) => match field {
                Field::Created | Field::Updated => Literal::Number(millis(&text).ok_or_else(|| {
                    self.here("expected a time: '2026-03-01', '2026-03-01T12:00:00Z' or milliseconds")
                })?),
                Field::Body(path) if path.last().is_some_and(|name| name.ends_with("_at")) => {
                    millis(&text).map_or(Literal::Text(text), Literal::Number)
                }
                _ => Literal::Text(text),
            },
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            _ => return Err(self.expected("a number, a text in single quotes, true or false")),
        };
        self.at = self.at.saturating_add(1);
        Ok(value)
    }

    fn limit(&mut self) -> Result<usize> {
        let limit = match self.peek() {
            Some(Token::Number(number)) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            _ => None,
        };
        let limit = limit.filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
        let limit = limit.ok_or_else(|| self.expected(&format!("a number from 1 to {PAGE_ROWS_MAX}")))?;
        self.at = self.at.saturating_add(1);
        Ok(limit)
    }

    fn order(&mut self) -> Result<Vec<OrderKey>> {
        self.at = self.at.saturating_add(1);
        if !self.take_word("by") {
            return Err(self.expected("by"));
        }
        let mut keys = Vec::new();
        loop {
            if keys.len() >= SEARCH_KEYS_MAX {
                return Err(self.here(&format!("more than {SEARCH_KEYS_MAX} keys")));
            }
            let field = self.field()?;
            let descending = self.take_word("desc");
            if !descending {
                self.take_word("asc");
            }
            keys.push(OrderKey { field, descending });
            if !self.take_sign(",") {
                return Ok(keys);
            }
        }
    }
}

fn one_or(mut filters: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        Some(last) => {
            filters.push(last);
            several(filters)
        }
        None => several(filters),
    }
}

fn field_of(path: Vec<String>) -> Field {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names[..] {
        ["name"] => Field::Name,
        ["id"] => Field::Id,
        ["project"] => Field::Project,
        ["parent"] => Field::Parent,
        ["state" | "stage" | "status"] => Field::State,
        ["revision"] => Field::Revision,
        ["created"] => Field::Created,
        ["updated"] => Field::Updated,
        ["metrics", ref metric @ ..] if !metric.is_empty() => Field::Metric(metric.join(".")),
        _ => Field::Body(path),
    }
}

fn millis(text: &str) -> Option<Number> {
    let midnight = (text.len() == 10).then(|| format!("{text}T00:00:00Z"));
    let time = Timestamp::parse_rfc3339(midnight.as_deref().unwrap_or(text)).ok()?;
    Some(time.as_millis().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for (text, says) in [
            ("stage = ", "column 9: expected a number, a text in single quotes, true or false, found the end"),
            ("stage 'x'", "column 7: expected a comparison, in, like, found 'x'"),
            ("a = 1 b = 2", "column 7: expected and, or, order by, limit, found b"),
            ("(a = 1", "column 7: expected \")\", found the end"),
            ("a = 'x", "column 5: the text has no end"),
            ("a. = 1", "column 4: expected a name after the point, found ="),
            ("é = 1 & b", "column 7: '&' means nothing here"),
            ("a in ()", "column 7: expected a number, a text in single quotes, true or false, found )"),
            ("a not = 1", "column 7: expected in or like, found ="),
            ("a = 1.2.3", "column 5: no number"),
            ("order a", "column 7: expected by, found a"),
            ("a = 1 order by a b", "column 18: expected a comma, limit, or the end, found b"),
            ("a = 1 limit 0", "column 13: expected a number from 1 to 1000, found 0"),
            ("limit 10 order by a", "column 10: expected the end, found order"),
            ("created > 'yesterday'", "column 11: expected a time"),
            ("has (a = 1)", "column 5: expected a kind of record, found ("),
            ("and = 1", "column 1: expected a field, found and"),
            ("\"a\\b\" = 1", "column 1: a name is not empty"),
        ] {
            assert!(error(text).contains(says), "{text}: {}", error(text));
        }
        let deep = format!("{}a = 1{}", "(".repeat(40), ")".repeat(40));
        assert!(error(&deep).contains("deep"));
        assert!(error(&format!("{}a = 1", "not ".repeat(40))).contains("deep"));
        assert!(error(&vec!["a = 1"; 200].join(" and ")).contains("more than 100 tests"));
        assert!(error(&"x".repeat(20_000)).contains("bytes"));
    }

    #[test]
    fn of_a_long_text_only_what_is_around_the_fault_is_shown() {
        let name = "n".repeat(5_000);
        let number = format!("{}&", "4".repeat(5_000));
        for (text, says) in [
            (format!("{name}.é = 1 {name}"), "column 5008: expected and, or, order by, limit, found nnn"),
            (format!("a = '{name}' '{name}'"), "found 'nnn"),
            (format!("a = 1 {number}"), "column 7: no number"),
            (format!("é = \"{name}\""), "expected a number"),
        ] {
            let error = error(&text);
            assert!(error.contains(says) && error.chars().count() < 400, "{error}");
        }
        assert!(error("a = 1 & b = 2").ends_with("(in=a = 1 & b = 2)"), "{}", error("a = 1 & b = 2"));
    }

    #[test]
    fn what_is_said_is_read() {
        let Said { filter, order, .. } =
            parse("metrics.auc > 0.9 AND not tags.\"my team\" = 'it''s' order by created desc, name").unwrap();
        let tag = Field::Body(vec!["tags".to_owned(), "my team".to_owned()]);
        assert_eq!(
            filter,
            Some(Filter::All(vec![
                Filter::Compare(
                    Field::Metric("auc".to_owned()),
                    Op::Gt,
                    Literal::Number(Number::from_f64(0.9).unwrap())
                ),
                Filter::Not(Box::new(Filter::Compare(tag, Op::Eq, Literal::Text("it's".to_owned())))),
            ]))
        );
        assert_eq!(order.len(), 2);
        assert_eq!(parse("").unwrap(), Said { filter: None, order: Vec::new(), limit: None });
        assert_eq!(parse("a = 1 limit 7").unwrap().limit, Some(7));
        let Said { filter: near, .. } =
            parse("produced by job_execution(name = 'train' and of workflow_execution())").unwrap();
        let Some(Filter::Near(Near::From(relation), kind, Some(_))) = near else { panic!("{near:?}") };
        assert_eq!((relation.as_str(), kind.as_str()), ("produced", "job_execution"));
    }
}
