//! Values that go into statements, and rows that come back.

use jiff::Timestamp;

use crate::error::Error;
use crate::time;

/// A value of a column or a parameter.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    Time(Timestamp),
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Value {
        Value::Text(value.clone())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Value {
        Value::Time(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A row of a query's answer; columns are counted from 0.
#[derive(Clone, PartialEq, Debug)]
pub struct Row(pub(super) Vec<Value>);

/// The columns' values. Each is an error where the column holds something else: others may write the tables, too.
#[expect(missing_docs, reason = "the names and the type's comment say it")]
#[expect(clippy::missing_errors_doc, reason = "the type's comment says it")]
impl Row {
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        self.maybe_int(column)?.ok_or_else(|| self.wrong(column, "a number"))
    }

    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, Error> {
        match &self.0[column] {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            _ => Err(self.wrong(column, "a number")),
        }
    }

    pub fn flag(&self, column: usize) -> Result<bool, Error> {
        match &self.0[column] {
            Value::Bool(value) => Ok(*value),
            Value::Int(value) => Ok(*value != 0),
            _ => Err(self.wrong(column, "true or false")),
        }
    }

    pub fn text(&self, column: usize) -> Result<String, Error> {
        self.maybe_text(column)?.ok_or_else(|| self.wrong(column, "a text"))
    }

    pub fn maybe_text(&self, column: usize) -> Result<Option<String>, Error> {
        match &self.0[column] {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value.clone())),
            _ => Err(self.wrong(column, "a text")),
        }
    }

    pub fn time(&self, column: usize) -> Result<Timestamp, Error> {
        self.maybe_time(column)?.ok_or_else(|| self.wrong(column, "a time"))
    }

    pub fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>, Error> {
        match &self.0[column] {
            Value::Null => Ok(None),
            Value::Time(value) => Ok(Some(time::whole(*value))),
            Value::Text(text) => text.parse().map(Some).map_err(|_| self.wrong(column, "a time")),
            _ => Err(self.wrong(column, "a time")),
        }
    }

    fn wrong(&self, column: usize, wanted: &str) -> Error {
        Error::Database(format!("column {column} holds {:?}, not {wanted}", self.0[column]))
    }
}
