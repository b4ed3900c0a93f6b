//! Conditions, rules, parameters, contexts and spans as text: is each read, or refused at a place in it, and is what was read written as the same?
//!
//! What is found becomes a line of `aiflow-core/tests/it/syntax.rs`.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use aiflow_core::workflow::syntax::{SyntaxError, duration_text, parse_duration};
use aiflow_core::workflow::{Condition, ContextOf, ParamSource, SchedulingRule, WorkflowRule};
use libfuzzer_sys::fuzz_target;

fn check<T: FromStr<Err = SyntaxError> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(read) => {
            let written = read.to_string();
            assert_eq!(written.parse::<T>().as_ref(), Ok(&read), "{written}");
            // Shortened, for people.
            assert!(!format!("{read:#}").is_empty());
        }
        Err(error) => {
            assert!(error.at <= text.len() && text.is_char_boundary(error.at), "{error:?}");
            assert!(error.column >= 1 && !error.message.is_empty(), "{error:?}");
        }
    }
}

fuzz_target!(|text: &str| {
    check::<Condition>(text);
    check::<SchedulingRule>(text);
    check::<WorkflowRule>(text);
    check::<ParamSource>(text);
    check::<ContextOf>(text);
    if let Ok(span) = parse_duration(text) {
        assert_eq!(parse_duration(&duration_text(span)), Ok(span));
    }
});
