//! The envelope: when, whose command, which event, and one fact.

use onsale_core::event::Subject;
use onsale_core::{CommandStamp, Event, Fact, Id, Time};
use onsale_planted::{Bug, is};

use crate::error::{Error, Problem};
use crate::fact;
use crate::wire::{Fields, need, put_bytes, put_signed, put_unsigned};

/// Fields of the record with these numbers are facts, of which there is exactly
/// one. Below and above are fields beside it, and unknown ones are skipped.
const FACTS: std::ops::RangeInclusive<u32> = 16..=511;

pub(crate) fn put(event: &Event, out: &mut Vec<u8>) {
    put_signed(out, 1, event.at.0);
    if let Some(stamp) = &event.stamp {
        put_bytes(out, 2, &stamp.id.to_be_bytes());
        let body = if is(Bug::StampBodyLost) { 0 } else { stamp.body };
        put_bytes(out, 3, &body.to_be_bytes());
        put_unsigned(out, 4, stamp.chosen.into());
    }
    if let Some(subject) = &event.subject {
        put_bytes(out, 5, subject.organizer.as_bytes());
        put_bytes(out, 6, subject.event.as_bytes());
    }
    fact::put(&event.fact, out);
}

pub(crate) fn take(bytes: &[u8]) -> Result<Event, Error> {
    read(bytes).map_err(|error| error.within("record"))
}

/// The fields of a record before they are put together.
#[derive(Default)]
struct Parts {
    at: Option<Time>,
    stamp_id: Option<u128>,
    stamp_body: Option<u128>,
    stamp_chosen: Option<bool>,
    organizer: Option<Id>,
    event: Option<Id>,
    fact: Option<Fact>,
}

fn read(bytes: &[u8]) -> Result<Event, Error> {
    let mut parts = Parts::default();
    for field in Fields::new(bytes) {
        let field = field?;
        match field.number {
            1 => field.set("at", &mut parts.at, |v| v.time())?,
            2 => field.set("stamp_id", &mut parts.stamp_id, |v| v.id16())?,
            3 => field.set("stamp_body", &mut parts.stamp_body, |v| v.id16())?,
            4 => field.set("stamp_chosen", &mut parts.stamp_chosen, |v| v.boolean())?,
            5 => field.set("organizer", &mut parts.organizer, |v| v.id())?,
            6 => field.set("event", &mut parts.event, |v| v.id())?,
            number if FACTS.contains(&number) => {
                let name = fact::name(number).ok_or(Error::UnknownFact { number })?;
                if parts.fact.is_some() {
                    return Err(Error::from(Problem::Twice).within("fact"));
                }
                field.set(name, &mut parts.fact, |v| fact::take(number, v.fields()?))?;
            }
            _ => {}
        }
    }
    parts.together()
}

impl Parts {
    fn together(self) -> Result<Event, Error> {
        Ok(Event {
            at: self.at.unwrap_or_default(),
            stamp: self.stamp()?,
            subject: self.subject()?,
            fact: need("fact", self.fact)?,
        })
    }

    /// All of a stamp or nothing.
    fn stamp(&self) -> Result<Option<CommandStamp>, Error> {
        if self.stamp_id.is_none() && self.stamp_body.is_none() && self.stamp_chosen.is_none() {
            return Ok(None);
        }
        Ok(Some(CommandStamp {
            id: need("stamp_id", self.stamp_id)?,
            body: need("stamp_body", self.stamp_body)?,
            chosen: self.stamp_chosen.unwrap_or(false),
            made_at: None,
        }))
    }

    /// Both of a subject or none.
    fn subject(&self) -> Result<Option<Subject>, Error> {
        if self.organizer.is_none() && self.event.is_none() {
            return Ok(None);
        }
        Ok(Some(Subject {
            organizer: need("organizer", self.organizer)?,
            event: need("event", self.event)?,
        }))
    }
}
