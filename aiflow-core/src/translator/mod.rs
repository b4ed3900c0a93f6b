//! The port of translators: how does an AI graph become a workflow?
//!
//! Source: seed "Translator".

mod draft;
mod generate;
mod jobs;
mod split;

use crate::error::{Error, ErrorKind, Result};
use crate::graph::AiGraph;
use crate::workflow::{Diagnostic, Workflow};

pub use generate::{Generated, JobGenerator, JobNode};
#[cfg(feature = "svg")]
pub(crate) use split::jobs_of;
pub use split::{COPIES_MAX, SplitTranslator};

const OPERATION: &str = "translate graph";

/// Turns an AI graph into a workflow.
///
/// # Contract
/// Pure: the workflow depends on the graph and the options alone, and nothing of the process, the clock or earlier calls shows in it; so
/// the same graph gives the same workflow everywhere, with the same content hash. Everything stored in it goes by name.
///
/// The graph may be malformed in any way: a translator reports what [`AiGraph::check`] finds, and with it everything else that it can
/// tell, at once. A workflow that it returns passes [`Workflow::check`].
pub trait Translator: std::fmt::Debug + Send + Sync {
    /// Translates `graph`.
    ///
    /// # Errors
    /// Everything that is wrong with the graph, at least one diagnostic.
    fn translate(&self, graph: &AiGraph, options: &TranslateOptions) -> Result<Workflow, Vec<Diagnostic>>;
}

/// What a user may decide about a translation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TranslateOptions {
    /// What happens to a node that two jobs need.
    pub shared: SharedNodes,
}

impl TranslateOptions {
    /// Decides what happens to a node that two jobs need.
    #[must_use]
    pub fn shared(mut self, shared: SharedNodes) -> Self {
        self.shared = shared;
        self
    }
}

/// What happens to a node that two jobs need, when control edges split nodes that data edges connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedNodes {
    /// Each of the jobs has a copy of its own, so the node runs once in each.
    #[default]
    Copy,
    /// The graph is refused: for nodes that are costly, or that must not run twice.
    Refuse,
}

impl AiGraph {
    /// Translates the graph with [`SplitTranslator`] and default options.
    ///
    /// # Errors
    /// `Invalid`, listing everything that is wrong with the graph.
    pub fn translate(&self) -> Result<Workflow> {
        self.translate_with(&SplitTranslator::new(), &TranslateOptions::default())
    }

    /// Translates the graph.
    ///
    /// # Errors
    /// `Invalid`, listing everything that is wrong with the graph.
    pub fn translate_with(&self, translator: &dyn Translator, options: &TranslateOptions) -> Result<Workflow> {
        translator.translate(self, options).map_err(|found| {
            let error = Diagnostic::into_result(&found, OPERATION).err();
            error.unwrap_or_else(|| {
                let message = "the translator refused the graph without a reason";
                Error::new(ErrorKind::Internal, OPERATION, message)
            })
        })
    }
}
