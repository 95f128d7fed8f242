//! SQL with named parameters, as `:name`, made into what each database takes.

use super::{Kind, Param, Value};
use crate::Error;

/// A statement: `:name` in it stands for a parameter, whichever database it is for. Within texts, quoted names,
/// comments and casts (`::`) a colon means what it means in SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// For people: which statement of which dialect.
    pub name: String,
    /// As the database takes it, with numbered parameters.
    pub sql: String,
    /// Names of the parameters, in order of their numbers.
    pub params: Vec<String>,
}

impl Statement {
    /// From SQL with named parameters.
    #[must_use]
    pub fn new(kind: Kind, name: &str, sql: &str) -> Statement {
        let mut made = Statement { name: name.to_owned(), sql: String::new(), params: Vec::new() };
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let plain = plain_length(rest);
            if plain > 0 {
                made.sql.push_str(&rest[..plain]);
                rest = &rest[plain..];
                continue;
            }
            let name = rest.strip_prefix(':').unwrap_or_default();
            let word = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &name[..word.unwrap_or(name.len())];
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                made.sql.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let number = made.number(name);
            let sign = if kind == Kind::Postgres { '$' } else { '?' };
            made.sql.push_str(&format!("{sign}{number}"));
            rest = &rest[1 + name.len()..];
        }
        made
    }

    fn number(&mut self, name: &str) -> usize {
        let known = self.params.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.params.push(name.to_owned());
            self.params.len() - 1
        }) + 1
    }

    /// The values of its parameters, in order. What is given and not used is left out.
    ///
    /// # Errors
    /// One is not given.
    pub fn values<'v>(&self, given: &'v [Param<'_>]) -> Result<Vec<&'v Value>, Error> {
        let value = |name: &String| {
            let found = given.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            found.ok_or_else(|| {
                let known: Vec<String> = given.iter().map(|(name, _)| format!(":{name}")).collect();
                let why = format!("there is no parameter :{name}; there are {}", known.join(", "));
                Error::Statement { statement: self.name.clone(), why }
            })
        };
        self.params.iter().map(value).collect()
    }
}

/// Length of what stands at the beginning and can have no parameter: a text, a quoted name, a comment, a cast.
fn plain_length(sql: &str) -> usize {
    let until = |begin: usize, end: &str| {
        sql[begin..].find(end).map_or(sql.len(), |at| begin + at + end.len())
    };
    match sql.as_bytes() {
        [b'\'', ..] => until(1, "'"),
        [b'"', ..] => until(1, "\""),
        [b'-', b'-', ..] => until(2, "\n"),
        [b'/', b'*', ..] => until(2, "*/"),
        [b':', b':', ..] => 2,
        [b'$', ..] => {
            let tag = sql[1..].find('$').map(|at| &sql[..at + 2]);
            let is_tag = |tag: &&str| {
                let name = &tag[1..tag.len() - 1];
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !name.starts_with(|c: char| c.is_ascii_digit())
            };
            tag.filter(is_tag).map_or(0, |tag| until(tag.len(), tag))
        }
        _ => 0,
    }
}
