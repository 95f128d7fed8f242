//! The engine's journal as the stream `sales` of the bus: nothing is copied, each record is shown as a
//! CloudEvent when it is read.
//!
//! A record about the shard itself (its first one holds the secret behind the codes) is shown as an event without data,
//! so that positions stay dense.

use onsale_bus::file::{Cut, Source};
use onsale_bus::{Error, Generation};
use onsale_core::event::Subject;
use onsale_core::view::TicketView;
use onsale_core::{Event, Fact};
use onsale_engine::{Answer, Query, ShardInfo, View};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use uuid::Uuid;

use crate::api::shapes::Receipt;
use crate::cursors;
use crate::shards::Shards;
use crate::stream::{confirms, show};

/// Type of a record that is about the shard itself.
const OF_SHARD: &str = "onsale.shard.noted.v1";

/// The engine's journal, to be registered with the bus.
pub struct SalesSource {
    shards: Shards,
}

impl SalesSource {
    /// Those of these shards.
    #[must_use]
    pub fn new(shards: Shards) -> SalesSource {
        SalesSource { shards }
    }

    fn info(&self, shard: u32) -> &ShardInfo {
        let shard = u16::try_from(shard).ok();
        shard
            .and_then(|shard| self.shards.info(shard))
            .expect("the bus asks for shards that are there")
    }

    /// Key and payload of a record.
    fn shown(
        &self,
        info: &ShardInfo,
        position: u64,
        event: &Event,
    ) -> Result<(String, Vec<u8>), Error> {
        let tickets = match confirms(&event.fact) {
            true => self.tickets(info, event)?,
            false => Vec::new(),
        };
        let at = Receipt { shard: info.shard, position, durability: info.durability.as_str() };
        match show(info.log, at, event, &tickets, false) {
            Some(record) => {
                let payload = serde_json::to_vec(&record).expect("a record can be written");
                Ok((record.subject, payload))
            }
            None => {
                let id = format!("{}/{}/{position}", Uuid::from_u128(info.log), info.shard);
                let (shard, source) = (info.shard, "/v1/streams/sales");
                let payload = json!({
                    "specversion": "1.0", "id": id, "source": source, "type": OF_SHARD,
                    "shard": shard, "position": position,
                });
                Ok((format!("shard-{shard}"), payload.to_string().into_bytes()))
            }
        }
    }

    /// The tickets of the order that a record confirms: those of a payment's stand in the record that placed the order.
    fn tickets(&self, info: &ShardInfo, event: &Event) -> Result<Vec<TicketView>, Error> {
        let (recorded, Subject { organizer, event }) = match (&event.fact, event.subject) {
            (Fact::OrderPlaced(placed), _) => return Ok(info.key.tickets(placed)),
            (Fact::PaymentRecorded(recorded), Some(subject)) => (recorded, subject),
            _ => return Ok(Vec::new()),
        };
        let query = Query::Order { organizer, event, order: recorded.order };
        // Sources are read on threads that may block.
        let replied = Handle::current().block_on(self.shards.query(query));
        let replied = replied.map_err(|error| broken(info, &error))?;
        let Answer::View(view) = replied.answer else { return Ok(Vec::new()) };
        let View::Order(view) = *view else { return Ok(Vec::new()) };
        let bytes = info.reader.record(view.position).map_err(|error| broken(info, &error))?;
        match onsale_codec::decode(&bytes).map_err(|error| broken(info, &error))?.fact {
            Fact::OrderPlaced(placed) => Ok(info.key.tickets(&placed)),
            _ => Ok(Vec::new()),
        }
    }
}

impl Source for SalesSource {
    fn generation(&self) -> Generation {
        cursors::generation(&self.shards)
    }

    fn shards(&self) -> u32 {
        self.shards.count().into()
    }

    fn first(&self, shard: u32) -> Result<u64, Error> {
        let info = self.info(shard);
        info.reader.begins_at().map_err(|error| broken(info, &error))
    }

    fn durable(&self, shard: u32) -> watch::Receiver<u64> {
        self.shards.durable(self.info(shard).shard).expect("the shard is there")
    }

    fn read(
        &self,
        shard: u32,
        after: u64,
        records: usize,
        bytes: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error> {
        let info = self.info(shard);
        let mut found = Vec::new();
        let mut undecoded = None;
        let read = info.reader.read(after, records, bytes, &mut |position, bytes| {
            match onsale_codec::decode(bytes) {
                Ok(event) => found.push((position, event)),
                Err(error) => undecoded = Some(format!("position {position}: {error}")),
            }
        });
        read.map_err(|error| broken(info, &error))?;
        if let Some(error) = undecoded {
            return Err(broken(info, &error));
        }
        for (position, event) in found {
            let (key, payload) = self.shown(info, position, &event)?;
            let written_at_us = u64::try_from(event.at.0).unwrap_or(0);
            each(position, Cut { key: key.as_bytes(), payload: &payload, written_at_us });
        }
        Ok(())
    }
}

fn broken(info: &ShardInfo, error: &dyn std::fmt::Display) -> Error {
    Error::Unavailable { what: format!("sales/{}", info.shard), why: error.to_string() }
}
