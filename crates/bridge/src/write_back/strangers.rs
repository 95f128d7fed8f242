//! Orders of events that are none of this platform's: made in the engine itself, or brought to it from another platform. They are
//! passed over, and counted per event.
//!
//! An event is the platform's where capture sent it, where it was taken over (by this state or by another one, as `control` tells),
//! or where the platform has it, which is asked once per event: what is made there later is sent or taken over before the
//! engine can sell it.

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use super::sales::OrderRecord;
use crate::Error;
use crate::capture::event::Reader;
use crate::database::Database;
use crate::engine::CONTROL;
use crate::state::State;
use crate::take::PREFIX;

/// The fact that has the orders passed over, by event.
const FACT: &str = "passed-over";
/// Events that are counted; orders of others are passed over all the same.
const COUNTED_MAX: usize = 1_000;
/// The record that begins an order.
const PLACED: &str = "onsale.order.placed.v1";

/// Orders passed over, by event.
pub type Passed = BTreeMap<String, u64>;

/// What is known of whose events are.
#[derive(Default)]
pub struct Strangers {
    /// Events that the platform did not have when it was asked.
    known: BTreeSet<String>,
    /// Events of transfers in `control`, up to this position.
    given: BTreeSet<String>,
    control: u64,
}

impl Strangers {
    /// Parts records into those of the platform's events, and how many orders of others begin in the rest.
    ///
    /// # Errors
    /// The platform, the engine or the bridge's own file can't be read.
    pub async fn part(
        &mut self,
        context: &Context,
        records: Vec<OrderRecord>,
    ) -> Result<(Vec<OrderRecord>, Passed), Error> {
        let subjects: BTreeSet<&str> =
            records.iter().map(|record| record.subject.as_str()).collect();
        let strangers = self.among(context, &subjects).await?;
        let mut passed = Passed::new();
        let (others, ours): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| strangers.contains(&record.subject));
        for record in others {
            *passed.entry(record.subject).or_default() += u64::from(record.kind == PLACED);
        }
        Ok((ours, passed))
    }

    /// Which of these events are none of the platform's.
    ///
    /// # Errors
    /// As for [`Strangers::part`].
    pub async fn among(
        &mut self,
        context: &Context,
        subjects: &BTreeSet<&str>,
    ) -> Result<BTreeSet<String>, Error> {
        let mut strangers = BTreeSet::new();
        for subject in subjects {
            if !context.state.has_event(subject)? {
                strangers.insert((*subject).to_owned());
            }
        }
        if strangers.is_empty() {
            return Ok(strangers);
        }
        self.learn(context).await?;
        strangers.retain(|subject| !self.given.contains(subject));
        if strangers.is_subset(&self.known) {
            return Ok(strangers);
        }
        let mut db = Database::open(&context.db).await?;
        let reader = Reader::new(&context.dialect, db.kind())?;
        let there = reader.subjects(&mut db).await?;
        strangers.retain(|subject| !there.contains_key(subject));
        self.known.extend(strangers.iter().cloned());
        Ok(strangers)
    }

    /// Learns of transfers, also by another state.
    async fn learn(&mut self, context: &Context) -> Result<(), Error> {
        loop {
            let (records, next) = context.engine.read(CONTROL, self.control).await?;
            let is_transfer = |record: &&serde_json::Value| {
                record["type"].as_str().is_some_and(|kind| kind.starts_with(PREFIX))
            };
            let subjects = records.iter().filter(is_transfer);
            self.given
                .extend(subjects.filter_map(|record| Some(record["subject"].as_str()?.to_owned())));
            if records.is_empty() || next <= self.control {
                return Ok(());
            }
            self.control = next;
        }
    }
}

/// How many orders were passed over, by event.
///
/// # Errors
/// The bridge's own file fails.
pub fn passed(state: &State) -> Result<Passed, Error> {
    let noted = state.fact(FACT)?;
    Ok(noted.and_then(|noted| serde_json::from_str(&noted).ok()).unwrap_or_default())
}

/// Counts orders that were passed over, and says so of each event once.
///
/// # Errors
/// The bridge's own file fails.
pub fn note(state: &State, more: &Passed) -> Result<(), Error> {
    if more.is_empty() {
        return Ok(());
    }
    let mut all = passed(state)?;
    for (event, orders) in more {
        if !all.contains_key(event) && all.len() < COUNTED_MAX {
            tracing::info!(event, "not of this platform: its orders are not written back");
            all.insert(event.clone(), 0);
        }
        if let Some(count) = all.get_mut(event) {
            *count += orders;
        }
    }
    let text = serde_json::to_string(&all).map_err(|error| Error::State(error.to_string()))?;
    state.set_fact(FACT, Some(&text))
}
