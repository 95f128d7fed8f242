//! The answers of a batch.

use std::sync::Arc;

use bytes::Bytes;
use onsale_core::{CommandStamp, Event, Fact};
use onsale_engine::{Answer, Reply};

use crate::api::shapes::{HoldExtended, HoldReleased, HoldUuid, Moment, Receipt};
use crate::api::work::{Outcome, outcome};
use crate::api::{Api, Call, Result, orders, payments, write};
use crate::problem::{Problem, kind};
use crate::shards::{Batch, Ground, Replied};

/// Room for an answer; most are shorter.
const ANSWER_BYTES: usize = 384;

/// What the whole body begins with.
const BEGIN: &[u8] = b"{\"answers\":[";
/// And ends with.
const END: &[u8] = b"]}";

/// Makes room for the answers to about so many commands.
pub fn begin(batch: &mut Batch, commands: usize) {
    batch.text.reserve(commands * ANSWER_BYTES);
    batch.text.extend_from_slice(BEGIN);
}

/// Writes the answer to a hold that was placed, as it is decided. Others can wait.
pub fn tell(out: &mut Vec<u8>, ground: Ground, event: &Event) -> bool {
    let Fact::HoldPlaced(placed) = &event.fact else { return false };
    if out.len() > BEGIN.len() {
        out.push(b',');
    }
    let Ground { shard, position, durability } = ground;
    out.extend_from_slice(b"{\"status\":201,\"body\":");
    write::hold_placed(out, placed, Receipt { shard, position, durability });
    out.push(b'}');
    true
}

/// The whole body. The shard has replied to each command that could be made.
pub fn answers(
    api: &Arc<Api>,
    call: &Call,
    shard: u16,
    stamps: Vec<Result<CommandStamp>>,
    mut batch: Box<Batch>,
) -> Bytes {
    // As a rule all of it was told: then it stands there already.
    let all = batch.replies.len() == stamps.len()
        && batch.replies.iter().all(|reply| matches!(reply.answer, Answer::Told));
    if all {
        batch.text.extend_from_slice(END);
        return Bytes::from_owner(Whole { api: api.clone(), batch: Some(batch) });
    }
    let body = Writer { api, call, shard, out: Vec::new() }.answers(stamps, &mut batch);
    api.batches.give_back(batch);
    body
}

/// A body that is a batch's text; the batch is used again once it is sent.
struct Whole {
    api: Arc<Api>,
    batch: Option<Box<Batch>>,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.batch.as_ref().map_or(&[], |batch| &batch.text)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.api.batches.give_back(batch);
        }
    }
}

/// Writes the answers to the commands of one call one by one.
struct Writer<'a> {
    api: &'a Api,
    call: &'a Call,
    shard: u16,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn answers(mut self, stamps: Vec<Result<CommandStamp>>, batch: &mut Batch) -> Bytes {
        self.out.reserve(stamps.len() * ANSWER_BYTES);
        self.out.extend_from_slice(BEGIN);
        let mut replies = std::mem::take(&mut batch.replies).into_iter().enumerate();
        for (i, stamp) in stamps.into_iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            let before = self.out.len();
            let answered = stamp.and_then(|stamp| {
                let (number, reply) = replies.next().expect("each command has its reply");
                match reply.answer {
                    Answer::Told => {
                        let told = batch.told(number);
                        self.out.extend_from_slice(told.strip_prefix(b",").unwrap_or(told));
                        Ok(())
                    }
                    _ => self.answer(stamp, reply),
                }
            });
            if let Err(problem) = answered {
                self.out.truncate(before);
                self.refused(&problem);
            }
        }
        self.out.extend_from_slice(END);
        self.out.into()
    }

    fn answer(&mut self, stamp: CommandStamp, reply: Reply) -> Result<()> {
        let replied = Replied::of(&self.api.shards, self.shard, reply);
        let outcome = outcome(self.api, stamp, replied.map_err(Problem::from_unavailable)?)?;
        let receipt = outcome.receipt;
        match &outcome.fact {
            Some(Fact::HoldPlaced(placed)) => {
                self.begin(201, outcome.replayed);
                write::hold_placed(&mut self.out, placed, receipt);
            }
            Some(Fact::OrderPlaced(_)) => {
                let order = orders::placed(self.api, self.call.redacted(), &outcome)?;
                self.shape(201, &outcome, &order);
            }
            Some(Fact::HoldReleased { hold }) => {
                let released = HoldReleased { id: HoldUuid(*hold), state: "released", receipt };
                self.shape(200, &outcome, &released);
            }
            Some(Fact::HoldExtended { hold, expires_at }) => {
                let expires_at = Moment(*expires_at);
                let extended = HoldExtended { id: HoldUuid(*hold), expires_at, receipt };
                self.shape(200, &outcome, &extended);
            }
            Some(Fact::PaymentRecorded(recorded)) => {
                let payment = payments::answer(recorded, receipt);
                self.shape(201, &outcome, &payment);
            }
            other => {
                tracing::error!(fact = ?other, "a command led to another fact than it can");
                let detail = "the command led to another fact than it can";
                return Err(Problem::new(&kind::INTERNAL, detail));
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn shape(&mut self, status: u16, outcome: &Outcome, shape: &impl serde::Serialize) {
        self.begin(status, outcome.replayed);
        serde_json::to_writer(&mut self.out, shape).expect("the shapes can be written");
    }

    fn refused(&mut self, problem: &Problem) {
        self.begin(problem.status, false);
        serde_json::to_writer(&mut self.out, problem).expect("a problem can be written");
        self.out.push(b'}');
    }

    /// Begins an answer; its body follows.
    fn begin(&mut self, status: u16, replayed: bool) {
        self.out.extend_from_slice(b"{\"status\":");
        write::number(&mut self.out, status);
        if replayed {
            self.out.extend_from_slice(b",\"replayed\":true");
        }
        self.out.extend_from_slice(b",\"body\":");
    }
}
