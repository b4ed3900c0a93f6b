//! aiflow-exec-process
