//! Files of workflows: is every text read or refused, and is what was read written as the same?
//!
//! What is found becomes a case of `aiflow-project/tests`.
#![no_main]

use aiflow_project::{Definition, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Of a project of the corpus, the last file counts.
    let file = text.rsplit_once("=== ").map(|(_, file)| file.split_once('\n').map_or("", |(_, text)| text));
    let text = file.unwrap_or(text);
    let environment = Environment::empty().with("HOME", "/home/ada");
    for file in ["w.yaml", "w.json"] {
        let read = match Definition::parse("p", "w", file, text, &environment) {
            Ok(read) => read,
            Err(problems) => {
                assert!(problems.has_errors(), "what is refused says why");
                assert!(!problems.to_string().is_empty());
                continue;
            }
        };
        match &read {
            Definition::Graph(graph) => match graph.translate() {
                Ok(workflow) => assert!(workflow.check().iter().all(|found| !found.is_error())),
                Err(error) => assert!(!error.to_string().is_empty()),
            },
            Definition::Workflow(workflow) => drop(workflow.check()),
        }
        // Two of one name, for instance, are no file.
        let Ok(written) = read.to_yaml() else { continue };
        let again = Definition::parse("p", "w", "w.yaml", &written, &Environment::empty());
        assert_eq!(again.as_ref().ok(), Some(&read), "{written}\n{again:?}");
    }
});
