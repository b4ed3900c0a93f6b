//! aiflow-testkit
