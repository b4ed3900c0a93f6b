//! Changes: what is different between two definitions of a workflow?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Workflow, cut};
use crate::function::{FUNCTION_EXECUTOR, FunctionSpec};

/// One difference between two definitions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where: `job train`, `job train, timeout_ms`, `job train, rule start-1a2b`, `job train, node read, params`, `params`.
    pub path: String,
    /// What was there; `None` if nothing was.
    pub before: Option<Value>,
    /// What is there now; `None` if nothing is.
    pub after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Value| cut(value);
        match (&self.before, &self.after) {
            (None, Some(_)) => write!(f, "+ {}", self.path),
            (Some(_), None) => write!(f, "- {}", self.path),
            (before, after) => {
                let [before, after] = [before, after].map(|value| value.as_ref().map(shown).unwrap_or_default());
                write!(f, "~ {}: {before} -> {after}", self.path)
            }
        }
    }
}

impl Workflow {
    /// What differs in `newer`, ordered by place: parts that came, parts that went, and each setting of the others. Nothing if they are
    /// equal.
    #[must_use]
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        let (before, after) = (parts(self), parts(newer));
        let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut changes: Vec<Change> = Vec::new();
        // What lies within a part that came or went comes or goes with it.
        let mut whole: Option<String> = None;
        for place in places {
            if whole.as_ref().is_some_and(|whole| place.starts_with(&format!("{whole}, "))) {
                continue;
            }
            match (before.get(place), after.get(place)) {
                (Some(before), Some(after)) => settings(place, before, after, &mut changes),
                (before, after) => {
                    let [before, after] = [before, after].map(|part| part.cloned().map(Value::Object));
                    changes.push(Change { path: place.clone(), before, after });
                    whole = Some(place.clone());
                }
            }
        }
        changes
    }
}

fn settings(place: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Vec<Change>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (before, after) = (before.get(name), after.get(name));
        if before != after {
            let path = if place.is_empty() { name.clone() } else { format!("{place}, {name}") };
            changes.push(Change { path, before: before.cloned(), after: after.cloned() });
        }
    }
}

/// The settings of each part, by its place; those of the workflow itself have none.
fn parts(workflow: &Workflow) -> BTreeMap<String, Map<String, Value>> {
    let mut parts = BTreeMap::new();
    let mut own = object(workflow);
    for name in ["jobs", "control_edges", "rules", "schedules"] {
        own.remove(name);
    }
    parts.insert(String::new(), own);
    for job in &workflow.jobs {
        let place = format!("job {}", job.name);
        let mut settings = object(job);
        if job.executor.as_str() == FUNCTION_EXECUTOR
            && let Ok(spec) = serde_json::from_value::<FunctionSpec>(job.spec.clone())
        {
            settings.remove("spec");
            let order: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).collect();
            settings.insert("nodes".to_owned(), order.into());
            parts.extend(spec.nodes.iter().map(|node| (format!("{place}, node {}", node.name), object(node))));
        }
        let rules: Vec<&str> = workflow.rules_of(&job.name).map(|rule| rule.name.as_str()).collect();
        if !rules.is_empty() {
            settings.insert("rules".to_owned(), rules.into());
        }
        parts.insert(place, settings);
    }
    for edge in &workflow.control_edges {
        parts.insert(format!("job {}, rule {}", edge.job, edge.rule.name), object(&edge.rule));
    }
    for rule in &workflow.rules {
        parts.insert(format!("rule {}", rule.name), object(rule));
    }
    for schedule in &workflow.schedules {
        parts.insert(format!("schedule {}", schedule.name), object(schedule));
    }
    parts
}

fn object(part: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(object)) => object,
        // Definitions are plain data with string keys.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use crate::graph::{AiGraph, function};
    use crate::workflow::{on, start, stop};

    fn graph() -> AiGraph {
        let mut graph = AiGraph::new("wine", "quality");
        graph.node("read", function("read"));
        graph.node("train", function("train"));
        graph.node("report", function("report"));
        graph.data("read", "train");
        graph.control("train", start(on("samples")));
        graph
    }

    #[test]
    fn changes_are_told_by_place() {
        let before = graph().translate().unwrap();
        let mut newer = graph();
        newer.nodes.remove(2);
        newer.nodes[0].params = serde_json::json!({"rows": 10});
        newer.nodes[1].timeout = Some(Duration::from_secs(5));
        newer.node("push", function("push"));
        newer.control("read", stop(on("full")));
        newer.params(serde_json::json!({"rate": 0.1}));
        let newer = newer.translate().unwrap();
        let shown: Vec<String> = before.changes_to(&newer).iter().map(ToString::to_string).collect();
        expect![[r#"
            + params
            + job push
            ~ job read, rules: ["start-cd8a3a39c1cd"] -> ["start-cd8a3a39c1cd","stop-36b89bec4145"]
            + job read, timeout_ms
            + job read, node read, params
            + job read, rule stop-36b89bec4145
            - job report"#]]
        .assert_eq(&shown.join("\n"));
        assert!(before.changes_to(&before).is_empty());
        let back = newer.changes_to(&before);
        assert_eq!(back.len(), shown.len());
    }
}
