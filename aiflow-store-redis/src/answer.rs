//! Answers: how is what the server says read, one value after the other?

use aiflow_core::Result;
use redis::Value;

use crate::error::odd_answer;

/// The values of a list, from the first to the last. Any misfit is an error, for the scripts are ours.
#[derive(Debug)]
pub(crate) struct Answer {
    values: std::vec::IntoIter<Value>,
    operation: &'static str,
}

impl Answer {
    /// # Errors
    /// `Corrupt`: not a list.
    pub(crate) fn new(value: Value, operation: &'static str) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self { values: values.into_iter(), operation }),
            _ => Err(odd_answer(operation)),
        }
    }

    fn next(&mut self) -> Result<Value> {
        self.values.next().ok_or_else(|| odd_answer(self.operation))
    }

    /// How many values are left.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn list(&mut self) -> Result<Self> {
        Self::new(self.next()?, self.operation)
    }

    /// Bytes, or nothing.
    pub(crate) fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        match self.next()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            _ => Err(odd_answer(self.operation)),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        match self.next()? {
            Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| odd_answer(self.operation)),
            Value::SimpleString(text) => Ok(text),
            Value::Okay => Ok("OK".to_owned()),
            _ => Err(odd_answer(self.operation)),
        }
    }

    /// A whole number, also one written out.
    pub(crate) fn number(&mut self) -> Result<u64> {
        let odd = || odd_answer(self.operation);
        match self.values.next() {
            Some(Value::Int(number)) => u64::try_from(number).map_err(|_| odd()),
            Some(Value::BulkString(bytes)) => {
                std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(odd)
            }
            _ => Err(odd()),
        }
    }
}
