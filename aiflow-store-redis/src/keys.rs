//! The layout: under which keys does what lie?
//!
//! Few keys, all with the hash tag `{prefix}`, so that one script may touch them all wherever the server keeps that slot:
//!
//! | key | what |
//! |---|---|
//! | `{prefix}:data` | hash of everything that is looked up by a name; see below |
//! | `{prefix}:index` | sorted set, all of score 0: kind, list, value and block, and which records of the block are in the list |
//! | `{prefix}:relation` | sorted set, all of score 0: each relation from its start, from its end and by its kind |
//! | `{prefix}:log` | stream: `<offset of the last>-0` -> `n` events, recorded `at`, `events` (JSON, one a line) |
//!
//! | field of `{prefix}:data` | what |
//! |---|---|
//! | `format`, `store` | of the layout, and the id of the store |
//! | `last`, `trimmed`, `recorded` | the ends of the log, and its newest moment |
//! | `sequence`, `newest`, `lag` | place of the next new record, the latest moment of creation, and by how much one put later was before it |
//! | kind behind its length, and id | a record: place, revision and moments as doubles, project, parent, name and state behind their length, number, body |
//! | `:` and id | an event in the log: the offset before its batch, its place in that, and a digest of what it says |
//! | `lease:` and name | `epoch until released holder` |

/// The stored format of this release.
pub(crate) const FORMAT: u32 = 2;

/// Places in a block of the index; as `shared.lua` has it.
pub(crate) const BLOCK: usize = 64;

/// The keys of one application, in the order in which scripts take them.
#[derive(Debug, Clone)]
pub(crate) struct Keys([String; 4]);

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        let names = ["data", "index", "relation", "log"];
        Self(names.map(|name| format!("{{{prefix}}}:{name}")))
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    pub(crate) fn data(&self) -> &str {
        let [data, ..] = &self.0;
        data
    }

    pub(crate) fn log(&self) -> &str {
        let [.., log] = &self.0;
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
        assert_eq!((keys.data(), keys.log()), ("{wine}:data", "{wine}:log"));
        assert!(keys.all().iter().all(|key| key.starts_with("{wine}:")));
        assert_eq!(split_part(&(part("grün") + "rest")), Some(("grün", "rest")));
        for wrong in ["", "0000000", "00000005abc", "zzzzzzzz", "00000001ü"] {
            assert_eq!(split_part(wrong), None, "{wrong}");
        }
    }
}
