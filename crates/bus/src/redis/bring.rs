//! Records of another stream, each of them once: the target of a relay.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Cmd, FromRedisValue as _};

use super::link::{Call, Reply};
use super::{RedisBus, found, parts, scripts};
use crate::cursors::{Claim, Progress};
use crate::{
    Batch, CursorId, Entry, Error, Generation, Group, GroupName, Position, Record, Stored,
    StreamName,
};

/// So many calls are under way at once; the later are refused if an earlier one was.
const CALLS_AT_ONCE: usize = 8;

/// What is brought as which cursor.
pub(super) struct Brings<'a> {
    /// Under which name the place is kept.
    pub(super) cursor: String,
    pub(super) claim: &'a Claim,
    /// The last record that is here by what the claim says; none: it says nothing.
    pub(super) after: Option<Position>,
    pub(super) to: Progress,
}

/// Records to be appended in one call, and where the cursor is after them.
struct Part<'a> {
    records: &'a [Record],
    to: Position,
}

impl RedisBus {
    /// Appends the records of a batch of another stream (`records`: as they are, or with other keys and payloads at the
    /// same positions), each of them once however often it is tried: how far a cursor has brought its shard is kept
    /// beside the records, and changes in one step with them. Says how many of them were new.
    ///
    /// A worker whose effect this is takes its place from [`RedisBus::stored`].
    ///
    /// # Errors
    /// [`Error::LostLease`] for a fence that is lower than one before it; [`Error::Moved`] when this stream has not
    /// what the batch's claim says it has, because it was lost here; [`Error::Diverged`] when the source is of another
    /// generation than what was brought before. Some of the records may be here then; no later one without those before it.
    pub async fn bring(
        &self,
        target: &StreamName,
        batch: &Batch,
        records: &[Record],
    ) -> Result<u64, Error> {
        let (claim, to) = (&batch.claim, batch.to);
        let cursor = claim.cursor.to_string();
        if !batch.is_retry {
            let after = claim.progress.map(|progress| progress.position);
            return self.bring_as(target, &Brings { cursor, claim, after, to }, records).await;
        }
        // A parked record that is tried again has a place of its own: the shard's place does not move.
        let mut new = 0;
        for record in records {
            let cursor = format!("{cursor} {}", record.position.fixed());
            let to = Progress { position: record.position, ..to };
            let brings = Brings { cursor, claim, after: None, to };
            new += self.bring_as(target, &brings, std::slice::from_ref(record)).await?;
        }
        Ok(new)
    }

    /// For [`crate::WorkerOptions::stored`]: how far a cursor has brought records into `target`. So a relay that ended
    /// before it committed goes on where it was, and one whose target lost records brings them again.
    #[must_use]
    pub fn stored(&self, target: &StreamName) -> Stored {
        let (bus, target) = (self.clone(), target.clone());
        Arc::new(move |claim: Claim| {
            let (bus, target) = (bus.clone(), target.clone());
            Box::pin(async move { bus.brought(&target, &claim.cursor).await })
        })
    }

    /// How far a cursor has brought its shard into this stream; none: it has brought nothing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn brought(
        &self,
        target: &StreamName,
        cursor: &CursorId,
    ) -> Result<Option<Progress>, Error> {
        let mut get = redis::cmd("HGET");
        get.arg(self.brought_key(target)).arg(cursor.to_string());
        let kept = self.link.command(&get, "read how far a relay is").await?;
        let Some(kept) = Option::<String>::from_redis_value(kept).unwrap_or_default() else {
            return Ok(None);
        };
        let place = || {
            let mut texts = kept.split(' ').skip(1);
            let generation = Generation(texts.next()?.parse().ok()?);
            Some(Progress { generation, position: texts.next()?.parse().ok()?, ended: false })
        };
        let damaged = || Error::Damaged {
            what: format!("how far {cursor} is in {target}"),
            why: kept.clone(),
        };
        place().map(Some).ok_or_else(damaged)
    }

    /// Whether a group may bring a history of its stream here: no other group brought the stream, and it brought no other history.
    ///
    /// # Errors
    /// [`Error::BroughtAlready`]; [`Error::OtherHistory`]; when Redis fails.
    pub(crate) async fn check_bringer(
        &self,
        target: &StreamName,
        group: &Group,
        generation: Generation,
    ) -> Result<(), Error> {
        let mut get = redis::cmd("HGETALL");
        get.arg(self.brought_key(target));
        let kept = self.link.command(&get, "read who brings records").await?;
        let kept = HashMap::<String, String>::from_redis_value(kept).unwrap_or_default();
        let of = format!("@{}/", group.stream);
        let (stream, target) = (group.stream.clone(), target.clone());
        for (cursor, place) in &kept {
            let Some((by, _)) = cursor.split_once(&of) else { continue };
            if by != group.name.as_str() {
                let (by, group) = (GroupName::new(by)?, group.name.clone());
                return Err(Error::BroughtAlready { stream, target, by, group });
            }
            let there = place.split(' ').nth(1).and_then(|text| text.parse().ok()).map(Generation);
            if let Some(there) = there.filter(|there| *there != generation) {
                return Err(Error::OtherHistory { stream, target, there, here: generation });
            }
        }
        Ok(())
    }

    pub(super) async fn bring_as(
        &self,
        target: &StreamName,
        brings: &Brings<'_>,
        records: &[Record],
    ) -> Result<u64, Error> {
        for record in records {
            Entry::new(record.key.clone(), record.payload.clone()).check()?;
        }
        let size = |record: &Record| record.key.len() + record.payload.len();
        let end = |part: &[Record]| part.last().map_or(Position::ZERO, |record| record.position);
        let mut all: Vec<Part<'_>> =
            parts(records, size).map(|part| Part { records: part, to: end(part) }).collect();
        // What was left out at the end is passed over.
        match all.last_mut() {
            Some(last) => last.to = brings.to.position,
            None => all.push(Part { records: &[], to: brings.to.position }),
        }
        let mut after = brings.after.unwrap_or_default();
        let mut new = 0;
        for some in all.chunks(CALLS_AT_ONCE) {
            let replies = loop {
                let replies = self.bring_parts(target, brings, after, some).await?;
                if !replies.iter().any(|reply| self.is_anew(reply, target)) {
                    break replies;
                }
            };
            for reply in replies {
                new += outcome(&reply, target, brings)?;
            }
            after = some.last().map_or(after, |part| part.to);
        }
        Ok(new)
    }

    async fn bring_parts(
        &self,
        target: &StreamName,
        brings: &Brings<'_>,
        after: Position,
        parts: &[Part<'_>],
    ) -> Result<Vec<Reply>, Error> {
        let known = self.known_of(target).await?;
        let keys = [self.key(target), self.brought_key(target)];
        let mut after = after;
        let arguments: Vec<_> = parts
            .iter()
            .map(|part| {
                let begin = std::mem::replace(&mut after, part.to);
                let known = &known;
                move |command: &mut Cmd| {
                    command.arg(&known.birth).arg(&brings.cursor).arg(brings.claim.fence);
                    command.arg(brings.to.generation.0).arg(begin.fixed()).arg(part.to.fixed());
                    command.arg(part.records.len());
                    for record in part.records {
                        command.arg(known.shard(&record.key)).arg(&*record.key);
                        command.arg(&*record.payload).arg(record.position.fixed());
                    }
                }
            })
            .collect();
        let script = &scripts::BRING;
        let calls: Vec<Call<'_>> = arguments
            .iter()
            .map(|arguments| Call { script, keys: &keys, arguments, what: "append", twice: true })
            .collect();
        self.link.call_all(&calls).await
    }
}

/// What bringing some records came to.
fn outcome(reply: &Reply, target: &StreamName, brings: &Brings<'_>) -> Result<u64, Error> {
    found(reply, target, None)?;
    let cursor = brings.claim.cursor.clone();
    match reply.word.as_str() {
        "lost" => {
            Err(Error::LostLease { cursor, fence: brings.claim.fence, now: reply.number(0)? })
        }
        "diverged" => {
            let cursor = Generation(reply.number(0)?);
            Err(Error::Diverged { cursor, stream: brings.to.generation })
        }
        "moved" => {
            let (stored, claimed) = (reply.text(0)?.parse()?, brings.after.unwrap_or_default());
            Err(Error::Moved { cursor, stored, claimed })
        }
        _ => reply.number(0),
    }
}
