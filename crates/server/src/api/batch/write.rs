//! The answers of a batch.

use bytes::Bytes;
use onsale_core::{CommandStamp, Fact};
use onsale_engine::Reply;

use crate::api::shapes::{HoldExtended, HoldReleased, HoldUuid, Moment};
use crate::api::work::{Outcome, outcome};
use crate::api::{Api, Call, Result, orders, payments, write};
use crate::problem::{Problem, kind};
use crate::shards::Replied;

/// Room for an answer; most are shorter.
const ANSWER_BYTES: usize = 384;

/// Writes the answers to the commands of one call.
pub struct Writer<'a> {
    api: &'a Api,
    call: &'a Call,
    shard: u16,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// For commands that this shard has carried out.
    pub fn new(api: &'a Api, call: &'a Call, shard: u16) -> Writer<'a> {
        Writer { api, call, shard, out: Vec::new() }
    }

    /// The whole body. There is a reply for each command that could be made.
    pub fn answers(mut self, stamps: Vec<Result<CommandStamp>>, replies: Vec<Reply>) -> Bytes {
        self.out.reserve(stamps.len() * ANSWER_BYTES);
        self.out.extend_from_slice(b"{\"answers\":[");
        let mut replies = replies.into_iter();
        for (i, stamp) in stamps.into_iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            let before = self.out.len();
            let answered = stamp.and_then(|stamp| {
                let reply = replies.next().expect("each command has its reply");
                self.answer(stamp, reply)
            });
            if let Err(problem) = answered {
                self.out.truncate(before);
                self.refused(&problem);
            }
        }
        self.out.extend_from_slice(b"]}");
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
                let order = orders::placed(self.api, self.call, &outcome)?;
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
