//! From the body of a batch to its commands. A body in the plain form that programs
//! write is read in one pass by `plain`; any other one, and any that is wrong, by
//! serde, which says what is wrong. Both come to the same where both take it.

mod plain;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::COMMANDS_MAX;
use super::shapes::CommandRequest;
use crate::api::shapes::HoldRequest;
use crate::api::{Result, json};
use crate::problem::{Problem, kind};

/// One command as it was sent.
#[derive(Debug)]
pub struct Sent<'a> {
    /// Its text, from brace to brace.
    pub text: &'a str,
    /// What it says, or what is wrong with it.
    pub command: Result<CommandRequest<'a>>,
}

/// Takes commands as they are read.
pub trait Taker<'a> {
    /// Takes the next one.
    fn take(&mut self, sent: Sent<'a>);
    /// Forgets those that it took: they come once more.
    fn begin_again(&mut self);
}

impl<'a> Taker<'a> for Vec<Sent<'a>> {
    fn take(&mut self, sent: Sent<'a>) {
        self.push(sent);
    }

    fn begin_again(&mut self) {
        self.clear();
    }
}

/// Reads a body.
///
/// # Errors
/// It is no list of 1 to [`COMMANDS_MAX`] values. What is wrong with a command is said of that one.
pub fn read<'a>(body: &'a [u8], taker: &mut impl Taker<'a>) -> Result<()> {
    if plain::read(body, taker).is_none() {
        taker.begin_again();
        read_any(body)?.into_iter().for_each(|sent| taker.take(sent));
    }
    Ok(())
}

/// Reads the body of one hold, which is no batch but most often in the same plain form.
///
/// # Errors
/// It is malformed, or says something else.
pub fn hold(body: &[u8]) -> Result<HoldRequest<'_>> {
    plain::hold(body).map_or_else(|| json::parse(body), Ok)
}

/// Reads a body in both ways and compares what comes of it.
///
/// # Panics
/// The fast way takes what the other does not, or understands something else.
pub fn check_both_ways(body: &[u8]) {
    let mut fast = Vec::new();
    if plain::read(body, &mut fast).is_none() {
        // What is refused says why.
        let _told = read_any(body).map_err(|problem| problem.render());
        return;
    }
    let slow = read_any(body);
    let told = |commands: &[Sent<'_>]| format!("{commands:?}");
    assert_eq!(slow.as_deref().map(told).ok(), Some(told(&fast)), "{slow:?}");
}

/// Reads a body of any form.
fn read_any(body: &[u8]) -> Result<Vec<Sent<'_>>> {
    let List { commands: Texts(texts) } = json::parse(body)?;
    if texts.is_empty() || texts.len() > COMMANDS_MAX {
        let rule = format!("must have 1 to {COMMANDS_MAX} commands");
        let mut problem = Problem::field(&kind::COMMAND_COUNT, "commands", rule);
        (problem.min, problem.max) = (Some(1), Some(COMMANDS_MAX as i64));
        return Err(problem);
    }
    Ok(texts.into_iter().map(Sent::of).collect())
}

impl<'a> Sent<'a> {
    fn of(text: &'a RawValue) -> Sent<'a> {
        Sent { text: text.get(), command: command(text.get()) }
    }
}

fn command(text: &str) -> Result<CommandRequest<'_>> {
    let body = text.as_bytes();
    let command = json::parse(body).and_then(|Tag { op }| {
        Ok(match &*op {
            "hold" => CommandRequest::Hold(json::parse(body)?),
            "buy" => CommandRequest::Buy(json::parse(body)?),
            "claim" => CommandRequest::Claim(json::parse(body)?),
            "release" => CommandRequest::Release(json::parse(body)?),
            "extend" => CommandRequest::Extend(json::parse(body)?),
            "payment" => CommandRequest::Payment(json::parse(body)?),
            _ => {
                let rule = "must be hold, buy, claim, release, extend or payment";
                return Err(Problem::field(&kind::WRONG_TYPE, "op", rule));
            }
        })
    });
    command.map_err(|mut problem| {
        // They would count from the command's own beginning.
        (problem.line, problem.column) = (None, None);
        problem
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct List<'a> {
    #[serde(borrow)]
    commands: Texts<'a>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Tag<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
}

/// The texts of a list's entries: one more than are allowed, at most.
struct Texts<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Texts<'a>, D::Error> {
        deserializer.deserialize_seq(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Texts<'de>, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<&'de RawValue>()? {
            if texts.len() <= COMMANDS_MAX {
                texts.push(text);
            }
        }
        Ok(Texts(texts))
    }
}
