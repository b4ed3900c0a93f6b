//! Projects of AIFlow: workflows in files, checked before anything runs, submitted all at once, and archived with their code.
//!
//! ```text
//! project.yaml                      name, properties, pools
//! workflows/<name>/<name>.yaml      a workflow (or .json), beside its code
//! dependencies/python, jar, …       what jobs depend on
//! resources/                        other files that jobs read
//! generated/                        what the translation made, for people
//! ```
//!
//! A workflow file says everything that an [`AiGraph`](aiflow_core::graph::AiGraph) or a [`Workflow`](aiflow_core::workflow::Workflow) can
//! be built of, in the same words; rules are lines of text (see [`syntax`](aiflow_core::workflow::syntax)), spans of time are `5 min`:
//!
//! ```
//! use aiflow_project::{Definition, Environment};
//!
//! let file = r#"
//! schedules:
//!   - cron: "30 2 * * *"
//!     time_zone: Europe/Berlin
//! nodes:
//!   read: {function: read_samples, kind: read_dataset}
//!   train:
//!     function: train
//!     inputs: [read]
//!     retry: {retries_max: 3, backoff: 10 s}
//!   serve:
//!     python: serve.py
//!     streaming: true
//!     env: {TOKEN: "${{ secrets.SERVE_TOKEN }}"}
//!     rules:
//!       - RESTART when model(wine) DEPLOYED, taking version from /version
//! "#;
//! let definition = Definition::parse("wine", "quality", "quality.yaml", file, &Environment::empty())?;
//! let Definition::Graph(graph) = &definition else { panic!("it has nodes") };
//! assert_eq!(graph.translate()?.jobs.len(), 2);
//! // What is written is read back as it was.
//! let again = Definition::parse("wine", "quality", "quality.yaml", &definition.to_yaml()?, &Environment::empty())?;
//! assert_eq!(again, definition);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything that is wrong is said at once, with file, line, column and what was probably meant:
//!
//! ```text
//! error: a node has no member "shedules"
//!  --> workflows/quality/quality.yaml:3:20
//! 3 |   b: {function: g, shedules: []}
//!   |                    ^^^^^^^^
//!  help: did you mean schedules?
//! ```
//!
//! # References
//! `${{ properties.NAME }}` and `${{ env.NAME ?? default }}` are replaced when a project is loaded, so what they stand for is stored with
//! the definition. `${{ secrets.NAME }}` is not: the name is stored, and the secret is looked up when the process starts. `$${{` stands
//! for `${{`.
//!
//! # Limits
//! A file has at most [`FILE_BYTES_MAX`] bytes, a text [`TEXT_BYTES_MAX`]; nesting, values and what aliases repeat are bounded as well. YAML is
//! version 1.2: `yes` is a text, there are no merge keys, and tags have no meaning. JSON is read as the YAML that it is.

mod decode;
mod definition;
mod encode;
mod executor;
mod file;
mod json_schema;
mod out;
mod places;
mod problem;
mod project;
mod shape;
mod snapshot;
mod source;
mod special;
mod step;
mod submit;
mod substitute;
mod tables;
mod tree;

pub use definition::Definition;
pub use executor::{ProjectExecutor, Secrets};
pub use json_schema::{project_schema, workflow_schema};
pub use problem::{PROBLEMS_MAX, Problem, Problems};
pub use project::{LoadOptions, Project, ProjectWorkflow, WORKFLOWS_MAX};
pub use snapshot::{
    Collected, SNAPSHOT_BYTES_MAX, SNAPSHOT_FILE_BYTES_MAX, SNAPSHOT_FILES_MAX, SNAPSHOT_NESTING_MAX,
    SNAPSHOT_PATH_BYTES_MAX, SnapshotId, Snapshots,
};
pub use submit::Submitted;
pub use substitute::Environment;
pub use tree::{EXPANDED_BYTES_MAX, FILE_BYTES_MAX, NESTING_MAX, TEXT_BYTES_MAX, VALUES_MAX};
