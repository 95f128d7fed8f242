//! Values that go to a database and come from it, and rows of them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::Error;

/// A value. Times are texts as in RFC 3339.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// None.
    Null,
    /// True or false; SQLite says 1 and 0.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// A text.
    Text(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A row: values by the names of their columns.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Which statement gave it.
    pub statement: Arc<str>,
    /// Names of the columns.
    pub columns: Arc<[String]>,
    /// The values, in the order of the columns.
    pub values: Vec<Value>,
}

impl Row {
    /// A value; none where there is no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)
    }

    fn wrong(&self, column: &str, rule: &str) -> Error {
        let got = match self.get(column) {
            None => "there is no such column".to_owned(),
            Some(value) => format!("it is {value:?}"),
        };
        let why = format!("the column {column} must be {rule}; {got}");
        Error::Data { statement: self.statement.to_string(), why }
    }

    /// A text; numbers are taken as their digits.
    ///
    /// # Errors
    /// It is nothing of that kind, or null.
    pub fn text(&self, column: &str) -> Result<String, Error> {
        self.maybe_text(column)?.ok_or_else(|| self.wrong(column, "a text"))
    }

    /// A text, or null, or no column.
    ///
    /// # Errors
    /// It is something else.
    pub fn maybe_text(&self, column: &str) -> Result<Option<String>, Error> {
        match self.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(Value::Integer(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong(column, "a text")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// It is nothing of that kind, or null.
    pub fn integer(&self, column: &str) -> Result<i64, Error> {
        self.maybe_integer(column)?.ok_or_else(|| self.wrong(column, "a whole number"))
    }

    /// A whole number, or null, or no column.
    ///
    /// # Errors
    /// It is something else.
    pub fn maybe_integer(&self, column: &str) -> Result<Option<i64>, Error> {
        let rule = "a whole number";
        match self.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(*number)),
            // What PostgreSQL sums up comes as NUMERIC.
            Some(Value::Text(text)) => {
                let whole = text.split_once('.').map_or(text.as_str(), |(whole, fraction)| {
                    if fraction.bytes().all(|b| b == b'0') { whole } else { "" }
                });
                whole.parse().map(Some).map_err(|_| self.wrong(column, rule))
            }
            Some(_) => Err(self.wrong(column, rule)),
        }
    }

    /// True or false, or null, or no column.
    ///
    /// # Errors
    /// It is something else.
    pub fn maybe_bool(&self, column: &str) -> Result<Option<bool>, Error> {
        match self.get(column) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::Integer(0)) => Ok(Some(false)),
            Some(Value::Integer(1)) => Ok(Some(true)),
            Some(_) => Err(self.wrong(column, "true or false")),
        }
    }

    /// A time, or null, or no column.
    ///
    /// # Errors
    /// It is something else.
    pub fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, Error> {
        let Some(text) = self.maybe_text(column)? else { return Ok(None) };
        let time = text.parse().map_err(|_| self.wrong(column, "a time as in RFC 3339"))?;
        Ok(Some(time))
    }
}
