//! Query parameters, with problems that name the parameter.

use axum::extract::Query;
use hyper::Uri;
use serde::de::DeserializeOwned;

use super::Result;
use crate::problem::{Problem, kind};

/// Reads the parameters as texts; unknown ones are refused.
///
/// # Errors
/// A parameter is unknown, or is there twice.
pub fn parse<T: DeserializeOwned>(uri: &Uri) -> Result<T> {
    match Query::try_from_uri(uri) {
        Ok(Query(parameters)) => Ok(parameters),
        Err(error) => Err(wrong(&error.body_text())),
    }
}

/// For a request that takes no parameters.
///
/// # Errors
/// There is one.
pub fn none(uri: &Uri) -> Result<()> {
    match Query::<Vec<(String, String)>>::try_from_uri(uri) {
        Ok(Query(parameters)) => match parameters.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::field(&kind::INVALID_QUERY, name, "is not known here")),
        },
        Err(error) => Err(Problem::new(&kind::INVALID_QUERY, error.body_text())),
    }
}

/// The problem that serde's words tell: they name the parameter in backticks.
fn wrong(text: &str) -> Box<Problem> {
    for (words, rule) in [("unknown", "is not known here"), ("duplicate", "is there twice")] {
        let named = text.split_once(&format!("{words} field `"));
        if let Some((name, _)) = named.and_then(|(_, rest)| rest.split_once('`')) {
            return Problem::field(&kind::INVALID_QUERY, name, rule);
        }
    }
    Problem::new(&kind::INVALID_QUERY, text)
}

/// A number in a range.
///
/// # Errors
/// It is not a number, or beyond the range.
pub fn number(name: &str, text: Option<&str>, min: u64, max: u64) -> Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => {
            let rule = format!("must be {min} to {max}");
            let mut problem = Problem::field(&kind::INVALID_QUERY, name, rule);
            (problem.min, problem.max) = (Some(min as i64), i64::try_from(max).ok());
            Err(problem)
        }
    }
}
