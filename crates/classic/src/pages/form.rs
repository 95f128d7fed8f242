//! A form as it was sent, with what is wrong with it: shown again it keeps what was typed.

use jiff::Timestamp;

use crate::error::{Error, Wrong};
use crate::{money, time};

/// Fields of a form that are read.
const FIELDS_MAX: usize = 300;

/// A form's fields and the rules that they break.
#[derive(Clone, Debug, Default)]
pub struct Form {
    values: Vec<(String, String)>,
    wrong: Vec<Wrong>,
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn read(body: &[u8]) -> Form {
        let values = form_urlencoded::parse(body).into_owned().take(FIELDS_MAX);
        Form { values: values.collect(), wrong: Vec::new() }
    }

    /// A form that is filled in already.
    pub fn of(values: &[(&str, String)]) -> Form {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Form { values: values.collect(), wrong: Vec::new() }
    }

    /// What a field holds; empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.values.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Each field, for forms whose fields are not known beforehand.
    pub fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What is wrong with a field; empty if nothing is.
    pub fn error(&self, name: &str) -> &str {
        self.wrong.iter().find(|wrong| wrong.field == name).map_or("", |wrong| wrong.rule.as_str())
    }

    /// All that is wrong.
    pub fn errors(&self) -> &[Wrong] {
        &self.wrong
    }

    /// Notes what is wrong with a field.
    pub fn refuse(&mut self, field: &str, rule: impl Into<String>) {
        self.wrong.push(Wrong { field: field.to_owned(), rule: rule.into() });
    }

    /// Takes what an attempt found wrong, to be shown with the form; other errors stay errors.
    pub fn take(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Invalid(wrong) => self.wrong.extend(wrong),
            Error::Refused(refusal) => self.refuse("", refusal.to_string()),
            other => return Err(other),
        }
        Ok(())
    }

    /// A whole number.
    pub fn number(&mut self, name: &str) -> i64 {
        match self.get(name).trim().parse() {
            Ok(number) => number,
            Err(_) => {
                self.refuse(name, "must be a whole number");
                0
            }
        }
    }

    /// A whole number, or nothing.
    pub fn maybe_number(&mut self, name: &str) -> Option<i64> {
        match self.get(name).trim() {
            "" => None,
            _ => Some(self.number(name)),
        }
    }

    /// A time in UTC.
    pub fn time(&mut self, name: &str) -> Timestamp {
        time::from_field(self.get(name)).unwrap_or_else(|| {
            self.refuse(name, "must be a date and a time");
            Timestamp::UNIX_EPOCH
        })
    }

    /// A time in UTC, or nothing.
    pub fn maybe_time(&mut self, name: &str) -> Option<Timestamp> {
        match self.get(name) {
            "" => None,
            _ => Some(self.time(name)),
        }
    }

    /// An amount in minor units.
    pub fn amount(&mut self, name: &str, currency: &str) -> i64 {
        match money::parse(self.get(name), currency) {
            Ok(minor) => minor,
            Err(rule) => {
                self.refuse(name, rule);
                0
            }
        }
    }

    /// Whether nothing was wrong so far.
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }
}
