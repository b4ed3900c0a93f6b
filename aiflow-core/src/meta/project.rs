//! Projects: what is known of a project, besides that it is a namespace?

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::entity::{Content, DELETED, EventTypes, Stored};
use super::notes::noted;
use super::problems::Problems;
use super::{KIND_ARTIFACT, KIND_DATASET, KIND_METRIC_DEFINITION, KIND_MODEL, KIND_PROJECT, Notes, Registry};
use crate::client::AiFlow;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::KIND_WORKFLOW;
use crate::id::ProjectName;
use crate::store::Query;

/// What is known of a project. Nothing requires it: a project works without being registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Name.
    pub name: ProjectName,
    /// Where its files lie; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Description, tags and properties.
    #[serde(flatten)]
    pub notes: Notes,
}

impl Project {
    /// A project without description.
    #[must_use]
    pub fn new(name: ProjectName) -> Self {
        Self { name, uri: String::new(), notes: Notes::default() }
    }

    /// Sets where its files lie.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }
}

noted!(Project);

impl Content for Project {
    const KIND: &'static str = KIND_PROJECT;
    const EVENTS: EventTypes = EventTypes {
        registered: "PROJECT_CHANGED",
        changed: "PROJECT_CHANGED",
        removed: "PROJECT_REMOVED",
        restored: "PROJECT_RESTORED",
        purged: "PROJECT_PURGED",
    };
    const IS_OF_PROJECT: bool = false;

    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }

    fn check(&self, problems: &mut Problems) {
        problems.uri("the uri", &self.uri);
    }

    /// A project is told of in its own namespace.
    fn home(flow: &AiFlow, name: &str) -> Result<AiFlow> {
        flow.project(name)
    }

    async fn check_removal(_: &mut Draft, flow: &AiFlow, project: &Stored<Self>) -> Result<()> {
        for kind in [KIND_WORKFLOW, KIND_DATASET, KIND_MODEL, KIND_ARTIFACT, KIND_METRIC_DEFINITION] {
            let mut query = Query::kind(kind).project(project.name.as_str());
            loop {
                let page = flow.store().query(&query).await?;
                if let Some(record) = page.items.iter().find(|record| record.state != DELETED) {
                    return Err(Error::new(ErrorKind::Conflict, "delete", "the project is not empty")
                        .with("project", &project.name)
                        .with("holds", &record.key));
                }
                match page.next {
                    Some(token) => query.after = Some(token),
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// The projects of a store: see [`Registry`]. Obtained from [`AiFlow::projects`]. A project that has anything in it is not deleted.
pub type Projects = Registry<Project>;
