//! Reading JSON, and saying exactly what is wrong with it.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};

use crate::problem::{Problem, kind};

/// Reads a body, which must be an object. The way without a mistake is one pass over the bytes; only a
/// body that fails is read again, to find the path of what is wrong.
///
/// # Errors
/// Malformed JSON with line and column; otherwise the field and what it must be.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Box<Problem>> {
    // An array would be taken as the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => Problem::field(&kind::WRONG_TYPE, "body", "must be an object"),
            Err(error) => explain::<IgnoredAny>(body, error),
        });
    }
    serde_json::from_slice(body).map_err(|error| explain::<T>(body, error))
}

fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: serde_json::Error) -> Box<Problem> {
    let (line, column) = (error.line() as u64, error.column() as u64);
    // A number beyond a float's range is well-formed all the same.
    let well_formed = error.is_data() || text(&error) == "number out of range";
    let mut problem = match well_formed {
        false => {
            let what = if body.is_empty() { "the body is empty".to_owned() } else { text(&error) };
            let detail = format!("line {line}, column {column}: {what}");
            Problem::new(&kind::MALFORMED_JSON, detail)
        }
        true => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let path = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
                Err(error) => error.path().to_string(),
                Ok(_) => String::new(),
            };
            wrong_data(&path, &text(&error))
        }
    };
    (problem.line, problem.column) = (Some(line), Some(column));
    problem
}

/// The message without the place, which has fields of its own.
fn text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Well-formed JSON of another shape than wanted.
fn wrong_data(path: &str, message: &str) -> Box<Problem> {
    let path = if path == "." { "" } else { path };
    let named = |prefix: &str| {
        let name = message.strip_prefix(prefix)?.split('`').next()?;
        // Whether the path ends with the name already is up to where the error arose.
        match path {
            "" => Some(name.to_owned()),
            path if path == name || path.ends_with(&format!(".{name}")) => Some(path.to_owned()),
            path => Some(format!("{path}.{name}")),
        }
    };
    if let Some(field) = named("unknown field `") {
        let known = message.split_once(", expected ").map_or("", |(_, known)| known);
        return Problem::field(&kind::UNKNOWN_FIELD, field, format!("is not known here: {known}"));
    }
    if let Some(field) = named("missing field `") {
        return Problem::field(&kind::MISSING_FIELD, field, "must be there");
    }
    if let Some(field) = named("duplicate field `") {
        return Problem::field(&kind::WRONG_TYPE, field, "is there twice");
    }
    let field = if path.is_empty() { "body" } else { path };
    Problem::field(&kind::WRONG_TYPE, field, in_words_of_json(message))
}

/// Says what a value is, and should be, in JSON's words and not in Rust's.
fn in_words_of_json(message: &str) -> String {
    message
        .replace("invalid type: map", "invalid type: object")
        .replace("invalid type: sequence", "invalid type: array")
        .replace("expected a sequence", "expected an array")
        .replace("expected i64", "expected a whole number")
}

/// A whole number of any size: what lies beyond 64 bits is taken as the largest or
/// smallest, so that a rule tells it apart and not the syntax.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whole(pub i64);

impl Whole {
    /// As a count; what does not fit becomes the largest, which no rule allows.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        deserializer.deserialize_i64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
        Ok(Whole(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
        match value.fract() == 0.0 {
            // A cast from a float saturates.
            true => Ok(Whole(value as i64)),
            false => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Cart {
        customer: String,
        items: Vec<Wish>,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        quantity: Whole,
    }

    fn problem(body: &str) -> (String, Option<String>, Option<u64>, Option<u64>) {
        let problem = *parse::<Cart>(body.as_bytes()).unwrap_err();
        let kind = problem.kind.strip_prefix("/problems/").unwrap().to_owned();
        (kind, problem.field, problem.line, problem.column)
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let rows = [
            ("", "malformed-json", None, 1, 0),
            ("{\n \"customer\": ,}", "malformed-json", None, 2, 14),
            ("{\"customer\":\"c\",\"items\":[]} x", "malformed-json", None, 1, 29),
            ("[1,2", "malformed-json", None, 1, 4),
            ("{\"customer\":\"c\"}", "missing-field", Some("items"), 1, 16),
            ("{\"customer\":1,\"items\":[]}", "wrong-type", Some("customer"), 1, 13),
            (
                "{\"customer\":\"c\",\"items\":[{\"quantity\":1,\"x\":2}]}",
                "unknown-field",
                Some("items[0].x"),
                1,
                42,
            ),
            (
                "{\"customer\":\"c\",\"items\":[{\"quantity\":1},{}]}",
                "missing-field",
                Some("items[1].quantity"),
                1,
                42,
            ),
            (
                "{\"customer\":\"c\",\"items\":[{\"quantity\":1.5}]}",
                "wrong-type",
                Some("items[0].quantity"),
                1,
                40,
            ),
            (
                "{\"customer\":\"c\",\"customer\":\"d\",\"items\":[]}",
                "wrong-type",
                Some("customer"),
                1,
                26,
            ),
        ];
        for (body, kind, field, line, column) in rows {
            let expected = (kind.to_owned(), field.map(str::to_owned), Some(line), Some(column));
            assert_eq!(problem(body), expected, "{body}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        let (kind, field, ..) = problem(" [\"c\",[]]");
        assert_eq!((kind.as_str(), field.as_deref()), ("wrong-type", Some("body")));
    }

    #[test]
    fn numbers_of_any_size_are_numbers() {
        let rows = [
            ("0", 0),
            ("-1", u32::MAX),
            ("4294967296", u32::MAX),
            ("99999999999999999999999999", u32::MAX),
            ("1e300", u32::MAX),
            ("-1e300", u32::MAX),
            ("3.0", 3),
        ];
        for (text, count) in rows {
            let whole: Whole = parse(text.as_bytes()).unwrap();
            assert_eq!(whole.count(), count, "{text}");
        }
    }
}
