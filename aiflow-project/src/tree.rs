//! YAML and JSON as a tree in which everything knows its place. Bounded before anything is built.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Number, Value};

use crate::problem::{Problem, Problems};
use crate::source::{Mark, Place, Source};

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The longest text in a file, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// How deep lists and mappings may be nested.
pub const NESTING_MAX: usize = 64;
/// The most values of a file, those that aliases repeat counted each time.
pub const VALUES_MAX: usize = 200_000;
/// The most bytes of text of a file, that which aliases repeat counted each time.
pub const EXPANDED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text {
        text: String,
        is_quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// A reference to what is looked up later and never stored.
    Secret(String),
}

/// The name of a member of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

impl Node {
    /// What it is, for people.
    pub(crate) fn what(&self) -> String {
        match &self.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Bool(value) => format!("the truth value {value}"),
            Kind::Number(number) => format!("the number {number}"),
            Kind::Text { text, .. } => format!("the text {}", shown(text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
            Kind::Secret(name) => format!("the secret {name}"),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Secret(_) => Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Number(number) => number.clone().into(),
            Kind::Text { text, .. } => text.as_str().into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(members) => members.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect(),
        }
    }

    fn size(&self) -> (usize, usize) {
        let sum =
            |(n, bytes): (usize, usize), (m, more): (usize, usize)| (n.saturating_add(m), bytes.saturating_add(more));
        match &self.kind {
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Secret(_) => (1, 0),
            Kind::Text { text, .. } => (1, text.len()),
            Kind::List(items) => items.iter().map(Self::size).fold((1, 0), sum),
            Kind::Map(members) => {
                members.iter().map(|(key, value)| sum(value.size(), (0, key.name.len()))).fold((1, 0), sum)
            }
        }
    }

    fn depth(&self) -> usize {
        let below = match &self.kind {
            Kind::List(items) => items.iter().map(Self::depth).max(),
            Kind::Map(members) => members.iter().map(|(_, value)| value.depth()).max(),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text { .. } | Kind::Secret(_) => None,
        };
        below.map_or(0, |below| below.saturating_add(1))
    }
}

/// A text in a message: quoted, escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// Reads a file. What is wrong is said; `None` if there is no tree.
pub(crate) fn parse(source: &Arc<Source>, problems: &mut Problems) -> Option<Node> {
    if source.text.len() > FILE_BYTES_MAX {
        let n = source.text.len();
        let message = format!("the file has {n} bytes, at most {FILE_BYTES_MAX} are allowed");
        problems.add(Problem::new(source, Place::START, message));
        return None;
    }
    let text = as_yaml(source);
    let mut reader = Reader { source, problems, anchors: HashMap::new(), n_values: 0, n_bytes: 0 };
    reader.document(&mut Parser::new_from_str(&text))
}

/// JSON is YAML but for two things: a tab may indent a line, and what lies beyond 16 bits is escaped in two halves.
fn as_yaml(source: &Source) -> Cow<'_, str> {
    let is_json = source.name.ends_with(".json");
    if !is_json || !(source.text.contains('\t') || source.text.contains("\\u")) {
        return Cow::Borrowed(&source.text);
    }
    let mut text = String::with_capacity(source.text.len());
    let mut rest = source.text.as_str();
    while let Some(at) = rest.find(['\t', '\\']) {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        let high = half(after, 0xD800);
        let low = high.and_then(|_| half(after.get(6..)?, 0xDC00));
        let n = match (high, low) {
            (Some(high), Some(low)) => {
                let c = 0x1_0000_u32.saturating_add(high << 10).saturating_add(low);
                text.push_str(&format!("\\U{c:08X}"));
                12
            }
            _ if after.starts_with('\t') => {
                text.push(' ');
                1
            }
            // An escape and what it escapes.
            _ => {
                let n = after.char_indices().nth(2).map_or(after.len(), |(n, _)| n);
                text.push_str(after.get(..n).unwrap_or_default());
                n
            }
        };
        rest = after.get(n..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// What an escape (`\u` and four hexadecimal digits) adds to `base`, the first of 1,024 halves.
fn half(text: &str, base: u32) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok()?.checked_sub(base)?;
    (code < 0x400).then_some(code)
}

struct Reader<'r> {
    source: &'r Arc<Source>,
    problems: &'r mut Problems,
    anchors: HashMap<usize, Option<Node>>,
    n_values: usize,
    n_bytes: usize,
}

/// A collection that is being read.
struct Open {
    start: Place,
    anchor: usize,
    collection: Collection,
}

enum Collection {
    List(Vec<Node>),
    Map { members: Vec<(Key, Node)>, names: HashMap<String, Place>, key: Option<Key> },
}

type Input<'t> = Parser<'t, saphyr_parser::StrInput<'t>>;

impl Reader<'_> {
    fn document(&mut self, parser: &mut Input<'_>) -> Option<Node> {
        let mut open: Vec<Open> = Vec::new();
        let mut root: Option<Node> = None;
        let mut n_documents = 0_usize;
        while let Some(next) = parser.next_event() {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    let mark = mark_of(error.marker());
                    self.say(Place { start: mark, end: mark }, format!("no YAML: {}", error.info()));
                    return None;
                }
            };
            let place = Place { start: mark_of(&span.start), end: mark_of(&span.end) };
            let node = match event {
                Event::DocumentStart(_) => {
                    n_documents = n_documents.saturating_add(1);
                    if n_documents > 1 {
                        self.say(place, "a second document begins; a file holds one");
                        return None;
                    }
                    continue;
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
                Event::SequenceStart(anchor, tag) => {
                    self.begin(&mut open, place, anchor, tag.as_deref(), Collection::List(Vec::new()))?;
                    continue;
                }
                Event::MappingStart(anchor, tag) => {
                    let map = Collection::Map { members: Vec::new(), names: HashMap::new(), key: None };
                    self.begin(&mut open, place, anchor, tag.as_deref(), map)?;
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Open { start, anchor, collection } = open.pop()?;
                    let kind = match collection {
                        Collection::List(items) => Kind::List(items),
                        Collection::Map { members, .. } => Kind::Map(members),
                    };
                    let node = Node { place: start, kind };
                    if anchor > 0 {
                        // What is kept for aliases counts as well.
                        self.count(start, node.size())?;
                        self.anchors.insert(anchor, Some(node.clone()));
                    }
                    node
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let node = self.scalar(&text, style, tag.as_deref(), place)?;
                    if anchor > 0 {
                        self.anchors.insert(anchor, Some(node.clone()));
                    }
                    node
                }
                Event::Alias(anchor) => self.alias(anchor, place, open.len())?,
            };
            self.put(&mut open, &mut root, node);
        }
        root.or_else(|| {
            self.say(Place::START, "the file is empty");
            None
        })
    }

    fn say(&mut self, place: Place, message: impl Into<String>) {
        self.problems.add(Problem::new(self.source, place, message));
    }

    fn count(&mut self, place: Place, (n, bytes): (usize, usize)) -> Option<()> {
        self.n_values = self.n_values.saturating_add(n);
        self.n_bytes = self.n_bytes.saturating_add(bytes);
        let message = match () {
            () if self.n_values > VALUES_MAX => {
                format!("the file has more than {VALUES_MAX} values, those counted that aliases repeat")
            }
            () if self.n_bytes > EXPANDED_BYTES_MAX => {
                format!("the file has more than {EXPANDED_BYTES_MAX} bytes of text, that counted which aliases repeat")
            }
            () => return Some(()),
        };
        self.say(place, message);
        None
    }

    fn begin(
        &mut self,
        open: &mut Vec<Open>,
        start: Place,
        anchor: usize,
        tag: Option<&Tag>,
        collection: Collection,
    ) -> Option<()> {
        self.count(start, (1, 0))?;
        if open.len() >= NESTING_MAX {
            self.say(start, format!("nested deeper than {NESTING_MAX}"));
            return None;
        }
        let meant = if matches!(collection, Collection::List(_)) { "seq" } else { "map" };
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == meant)) {
            self.say(start, format!("the tag {} has no meaning here", shown(&tag.to_string())));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        open.push(Open { start, anchor, collection });
        Some(())
    }

    fn alias(&mut self, anchor: usize, place: Place, depth: usize) -> Option<Node> {
        let node = match self.anchors.get(&anchor) {
            Some(Some(node)) => node,
            Some(None) => {
                self.say(place, "the alias stands inside of what it names");
                return None;
            }
            None => {
                self.say(place, "the alias names nothing");
                return None;
            }
        };
        let (size, below) = (node.size(), node.depth());
        if depth.saturating_add(below) > NESTING_MAX {
            self.say(place, format!("nested deeper than {NESTING_MAX}"));
            return None;
        }
        // Counted before it is copied.
        self.count(place, size)?;
        let node = self.anchors.get(&anchor)?.as_ref()?;
        Some(Node { place, kind: node.kind.clone() })
    }

    fn put(&mut self, open: &mut [Open], root: &mut Option<Node>, node: Node) {
        let Some(Open { collection, .. }) = open.last_mut() else {
            *root = Some(node);
            return;
        };
        match collection {
            Collection::List(items) => items.push(node),
            Collection::Map { members, names, key } => match key.take() {
                Some(key) => members.push((key, node)),
                None => {
                    let place = node.place;
                    let name = match node.kind {
                        Kind::Text { text, .. } => text,
                        Kind::Null => "null".to_owned(),
                        Kind::Bool(value) => value.to_string(),
                        Kind::Number(number) => number.to_string(),
                        Kind::List(_) | Kind::Map(_) | Kind::Secret(_) => {
                            self.say(place, "the name of a member must be a text");
                            String::new()
                        }
                    };
                    if let Some(first) = names.insert(name.clone(), place) {
                        let message = format!("{} is given twice", shown(&name));
                        let help = format!("it stands in line {} already", first.start.line);
                        self.problems.add(Problem::new(self.source, place, message).help(help));
                    }
                    *key = Some(Key { name, place });
                }
            },
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Option<Node> {
        self.count(place, (1, text.len()))?;
        if text.len() > TEXT_BYTES_MAX {
            self.say(place, format!("the text has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len()));
            return None;
        }
        let is_quoted = style != ScalarStyle::Plain;
        let as_text = || Kind::Text { text: text.to_owned(), is_quoted: true };
        let kind = match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => as_text(),
            Some(tag) if is_non_specific(tag) => as_text(),
            Some(tag) => {
                self.say(place, format!("the tag {} has no meaning here", shown(&tag.to_string())));
                Kind::Null
            }
            None if is_quoted => as_text(),
            None => match plain(text) {
                Some(kind) => kind,
                None => {
                    self.say(
                        place,
                        format!("{} is no number of JSON; put it in quotes if a text is meant", shown(text)),
                    );
                    Kind::Null
                }
            },
        };
        Some(Node { place, kind })
    }
}

fn is_non_specific(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

fn mark_of(marker: &saphyr_parser::Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col().saturating_add(1) }
}

/// An unquoted scalar, by the core schema of YAML 1.2; `None` for numbers that JSON does not know.
pub(crate) fn plain(text: &str) -> Option<Kind> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return None,
        text if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") => return None,
        text => match number(text) {
            Some(number) => Kind::Number(number?),
            None => Kind::Text { text: text.to_owned(), is_quoted: false },
        },
    })
}

/// A number; `Some(None)` if it is one that is too large.
fn number(text: &str) -> Option<Option<Number>> {
    let radix = |digits: &str, radix| {
        let is_digit = |c: char| c.is_digit(radix);
        (!digits.is_empty() && digits.chars().all(is_digit))
            .then(|| u64::from_str_radix(digits, radix).ok().map(Number::from))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let has_digits = !whole.is_empty() || fraction.is_some_and(|fraction| !fraction.is_empty());
    let is_number = has_digits
        && is_digits(whole)
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(exponent));
    if !is_number {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if fraction.is_none() && exponent.is_none() {
        if let Ok(number) = text.parse::<i64>() {
            return Some(Some(number.into()));
        }
        if let Ok(number) = text.parse::<u64>() {
            return Some(Some(number.into()));
        }
    }
    Some(text.parse::<f64>().ok().and_then(Number::from_f64))
}
