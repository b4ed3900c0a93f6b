//! Labels that a job gives to its own execution while it runs: what does it say about itself, and how much of it is kept?

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::event::EVENT_FIELD_BYTES_MAX;

/// The most labels of a job execution.
pub const JOB_LABELS_MAX: usize = 32;
/// The longest name of a label, and the longest value, in bytes.
pub const JOB_LABEL_BYTES_MAX: usize = EVENT_FIELD_BYTES_MAX;

/// Labels to set, by name; without a value, to take away.
pub type LabelChanges = BTreeMap<String, Option<String>>;

/// Checks what a job says of itself at once. Whether there is room beside what it has said before, is not known here.
///
/// # Errors
/// `Invalid`: a name or value is empty or too long, or there are more than [`JOB_LABELS_MAX`].
pub fn check_label_changes(changes: &LabelChanges) -> Result<()> {
    let problem = |message: String| Err(Error::invalid("label", message));
    if changes.len() > JOB_LABELS_MAX {
        return problem(format!("{} labels, at most {JOB_LABELS_MAX} are allowed", changes.len()));
    }
    for text in changes.iter().flat_map(|(name, value)| [Some(name), value.as_ref()]).flatten() {
        if !is_short(text) {
            return problem(format!("labels have 1 to {JOB_LABEL_BYTES_MAX} bytes, not {}", text.len()));
        }
    }
    Ok(())
}

fn is_short(text: &str) -> bool {
    (1..=JOB_LABEL_BYTES_MAX).contains(&text.len())
}

/// Applies changes to labels. What is out of bounds, and what there is no room for, is left out.
pub(crate) fn change_labels(labels: &mut BTreeMap<String, String>, changes: LabelChanges) {
    for (name, value) in changes {
        match value {
            None => _ = labels.remove(&name),
            Some(value) if is_short(&name) && is_short(&value) => {
                if labels.len() < JOB_LABELS_MAX || labels.contains_key(&name) {
                    labels.insert(name, value);
                }
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, Option<&str>)]) -> LabelChanges {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn labels_are_set_replaced_and_taken_away_within_their_bounds() {
        let mut labels = BTreeMap::new();
        change_labels(&mut labels, changes(&[("epoch", Some("1")), ("loss", Some("0.5")), ("", Some("x"))]));
        change_labels(&mut labels, changes(&[("epoch", Some("2")), ("loss", None), ("gone", None)]));
        assert_eq!(labels, BTreeMap::from([("epoch".to_owned(), "2".to_owned())]));
        let many: LabelChanges = (0..JOB_LABELS_MAX * 2).map(|n| (format!("n{n:03}"), Some("x".to_owned()))).collect();
        assert!(check_label_changes(&many).is_err());
        change_labels(&mut labels, many);
        assert_eq!(labels.len(), JOB_LABELS_MAX);
        change_labels(&mut labels, changes(&[("epoch", Some("3")), ("another", Some("x"))]));
        assert_eq!(labels["epoch"], "3", "what is there can change when there is no room for more");
        assert!(!labels.contains_key("another"));
    }

    #[test]
    fn what_is_too_long_or_empty_is_refused() {
        let long = "x".repeat(JOB_LABEL_BYTES_MAX + 1);
        for wrong in [("", Some("x")), ("x", Some("")), (long.as_str(), None), ("x", Some(&long))] {
            assert!(check_label_changes(&changes(&[wrong])).is_err());
        }
        check_label_changes(&changes(&[("x", Some("y")), ("z", None)])).unwrap();
    }
}
