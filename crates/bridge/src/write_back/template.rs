//! Requests of an API with what an order says put into them: a small language over JSON and text, without logic.
//!
//! `"$total"` is the value itself, `"order {code}"` a text with it inside, and `{"$for": "tickets", "$each": …}`, in a list, an
//! element for each of another list, whose members are found first. A value goes through filters: `{total|money}` is
//! `25.00` for 2500 cents, `{ticket_type|part:-:1}` what follows the first `-`, `|number` a number, `|or:…` another one for none.

use iso_currency::Currency;
use serde_json::{Map, Value};

/// What is wrong with a template, or with what it is to be filled with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Error {
    /// The part of the template.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

fn wrong(place: &str, why: impl Into<String>) -> Error {
    Error { place: place.to_owned(), why: why.into() }
}

/// What is filled in: the innermost first.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    value: &'a Value,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// The members of an object.
    #[must_use]
    pub fn new(value: &'a Value) -> Scope<'a> {
        Scope { value, outer: None }
    }

    fn find(&self, path: &str) -> Option<&'a Value> {
        let mut found = Some(self.value);
        for name in path.split('.') {
            found = found.and_then(|value| value.get(name));
        }
        found.or_else(|| self.outer.and_then(|outer| outer.find(path)))
    }

    fn currency(&self) -> Option<Currency> {
        Currency::from_code(self.find("currency")?.as_str()?)
    }
}

/// Fills a template of JSON.
///
/// # Errors
/// A name is not there, or a filter is unknown or does not fit.
pub fn fill(template: &Value, scope: &Scope<'_>) -> Result<Value, Error> {
    match template {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => value(name, scope),
            None => self::text(text, scope).map(Value::String),
        },
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for item in items {
                match item.get("$for") {
                    Some(of) => each(item, of, scope, &mut filled)?,
                    None => filled.push(fill(item, scope)?),
                }
            }
            Ok(Value::Array(filled))
        }
        Value::Object(members) => {
            let mut filled = Map::new();
            for (name, member) in members {
                filled.insert(name.clone(), fill(member, scope)?);
            }
            Ok(Value::Object(filled))
        }
        other => Ok(other.clone()),
    }
}

fn each(item: &Value, of: &Value, scope: &Scope<'_>, filled: &mut Vec<Value>) -> Result<(), Error> {
    let name = of.as_str().ok_or_else(|| wrong("$for", "must be the name of a list"))?;
    let list = scope.find(name).and_then(Value::as_array);
    let list = list.ok_or_else(|| wrong(name, "is no list"))?;
    let template = item.get("$each").ok_or_else(|| wrong(name, "$each is missing"))?;
    for value in list {
        filled.push(fill(template, &Scope { value, outer: Some(scope) })?);
    }
    Ok(())
}

/// Fills a text.
///
/// # Errors
/// As for [`fill`], or a brace is not closed.
pub fn text(template: &str, scope: &Scope<'_>) -> Result<String, Error> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            return Err(wrong(template, "a brace is not closed"));
        };
        filled += before;
        match value(name, scope)? {
            Value::String(text) => filled += &text,
            other => filled += &other.to_string(),
        }
        rest = behind;
    }
    Ok(filled + rest)
}

fn value(expression: &str, scope: &Scope<'_>) -> Result<Value, Error> {
    let mut parts = expression.split('|');
    let name = parts.next().unwrap_or_default();
    let found = scope.find(name).ok_or_else(|| wrong(name, "there is no such member"))?;
    parts.try_fold(found.clone(), |value, filter| {
        apply(filter, value, scope).map_err(|why| wrong(expression, why))
    })
}

fn apply(filter: &str, value: Value, scope: &Scope<'_>) -> Result<Value, String> {
    let (name, argument) = filter.split_once(':').unwrap_or((filter, ""));
    match name {
        "money" => {
            let minor = value.as_i64().ok_or("money must be a whole number")?;
            let digits = scope.currency().and_then(Currency::exponent).unwrap_or(2);
            Ok(Value::String(money(minor, digits.into())))
        }
        "number" => match &value {
            Value::String(text) => text.parse::<i64>().map(Value::from).map_err(|e| e.to_string()),
            Value::Null | Value::Number(_) => Ok(value),
            _ => Err("is no number".to_owned()),
        },
        "part" => {
            let (separator, at) = argument.rsplit_once(':').ok_or("part:SEPARATOR:NUMBER")?;
            let at: usize = at.parse().map_err(|_| "part:SEPARATOR:NUMBER")?;
            let text = value.as_str().ok_or("is no text")?;
            Ok(text.split(separator).nth(at).map_or(Value::Null, Value::from))
        }
        "or" if value.is_null() => Ok(Value::from(argument)),
        "or" => Ok(value),
        other => Err(format!("there is no filter {other}: money, number, part, or")),
    }
}

fn money(minor: i64, digits: u32) -> String {
    let unit = 10_i64.pow(digits);
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, rest) = ((minor / unit).abs(), (minor % unit).abs());
    match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{rest:0width$}", width = digits as usize),
    }
}

/// The values at a pointer (RFC 6901) in which `*` stands for each element of a list; sorted if there is a `*`.
#[must_use]
pub fn at(value: &Value, pointer: &str) -> Value {
    if !pointer.contains('*') {
        return value.pointer(pointer).cloned().unwrap_or(Value::Null);
    }
    let mut found = vec![value];
    for part in pointer.split('/').skip(1) {
        found = match part {
            "*" => found.into_iter().filter_map(Value::as_array).flatten().collect(),
            _ => found.into_iter().filter_map(|value| value.get(part)).collect(),
        };
    }
    let mut texts: Vec<String> = found.into_iter().map(plain).collect();
    texts.sort();
    Value::from(texts)
}

/// A value as text, without quotes.
#[must_use]
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
