//! Rules, conditions and contexts as text: is every text read or refused at a place in it, and is what was read written as the same?
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use aiflow_core::workflow::{Condition, ContextOf, ParamSource, SchedulingRule, SyntaxError, WorkflowRule};
use libfuzzer_sys::fuzz_target;

fn check<T: FromStr<Err = SyntaxError> + Display + Debug + PartialEq>(text: &str) {
    match text.parse::<T>() {
        Ok(read) => {
            let written = read.to_string();
            assert_eq!(written.parse::<T>().as_ref(), Ok(&read), "{written}");
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
});
