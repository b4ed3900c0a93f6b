//! The layout: under which keys does what lie?
//!
//! Few keys, all with the hash tag `{prefix}`, so that one script may touch them all wherever the server keeps that slot:
//!
//! | key | what |
//! |---|---|
//! | `{prefix}:meta` | hash: `format`, `store` (its id), `last` and `trimmed` offset, `recorded` (newest moment), `sequence` (records ever put first), `newest` and `lag` (the latest moment of creation, and by how much one put later was before it) |
//! | `{prefix}:record` | hash: kind and id -> place, revision and moments as doubles, project, parent, name and state behind their length, number, body |
//! | `{prefix}:index` | sorted set, all of score 0: kind, list, value, place, id; a page is a range of it |
//! | `{prefix}:relation` | sorted set, all of score 0: each relation from its start, from its end and by its kind |
//! | `{prefix}:log` | stream: `<offset>-0` -> `id`, `at` (recorded), `event` (JSON) |
//! | `{prefix}:event` | hash: id of an event in the log -> offset and digest of what it says |
//! | `{prefix}:lease` | hash: name -> `epoch until released holder` |

/// The stored format of this release.
pub(crate) const FORMAT: u32 = 1;

/// The keys of one application, in the order in which scripts take them.
#[derive(Debug, Clone)]
pub(crate) struct Keys([String; 7]);

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        let names = ["meta", "record", "index", "relation", "log", "event", "lease"];
        Self(names.map(|name| format!("{{{prefix}}}:{name}")))
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    pub(crate) fn meta(&self) -> &str {
        let [meta, ..] = &self.0;
        meta
    }

    pub(crate) fn record(&self) -> &str {
        let [_, record, ..] = &self.0;
        record
    }

    pub(crate) fn log(&self) -> &str {
        let [_, _, _, _, log, ..] = &self.0;
        log
    }
}

/// A text behind its length, so that no text can be taken for the beginning of another.
pub(crate) fn part(text: &str) -> String {
    format!("{:08x}{text}", text.len())
}

/// Splits off what [`part`] wrote.
pub(crate) fn split_part(text: &str) -> Option<(&str, &str)> {
    let length = usize::from_str_radix(text.get(..8)?, 16).ok()?;
    let rest = text.get(8..)?;
    Some((rest.get(..length)?, rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_one_slot_and_parts_split_again() {
        let keys = Keys::new("wine");
        assert_eq!((keys.meta(), keys.record(), keys.log()), ("{wine}:meta", "{wine}:record", "{wine}:log"));
        assert!(keys.all().iter().all(|key| key.starts_with("{wine}:")));
        assert_eq!(split_part(&(part("grün") + "rest")), Some(("grün", "rest")));
        for wrong in ["", "0000000", "00000005abc", "zzzzzzzz", "00000001ü"] {
            assert_eq!(split_part(wrong), None, "{wrong}");
        }
    }
}
