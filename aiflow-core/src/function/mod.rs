//! Function jobs: how do registered async functions run as jobs?

mod spec;

pub use spec::{DataInput, FUNCTION_EXECUTOR, FunctionNode, FunctionSpec};
