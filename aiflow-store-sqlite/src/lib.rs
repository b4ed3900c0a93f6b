//! aiflow-store-sqlite
