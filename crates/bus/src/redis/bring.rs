//! Records of another stream, each of them once: the target of a relay.

use redis::Cmd;

use super::link::{Call, Reply};
use super::{RedisBus, found, parts, scripts};
use crate::{CursorId, Entry, Error, Generation, Position, Record, StreamName};

/// So many calls are under way at once where the later may not run without the earlier.
const CALLS_AT_ONCE: usize = 8;

/// A cursor that brings records of another stream: what [`RedisBus::bring`] compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bringing {
    /// The cursor in the source.
    pub cursor: CursorId,
    /// The fence of the claim.
    pub fence: u64,
    /// The source's generation.
    pub generation: Generation,
    /// The last record that is brought by what the cursor says; none: nothing was ever committed.
    pub after: Option<Position>,
}

impl RedisBus {
    /// Appends records of another stream, in their order, each of them once however often it is tried: how far
    /// a cursor has brought its shard is kept beside the records and changes in one step with them. Says how
    /// many of them were new.
    ///
    /// # Errors
    /// [`Error::LostLease`] for a fence that is lower than one before it; [`Error::Moved`] when this stream has not
    /// what the cursor says it has, because it was lost here; [`Error::Diverged`] when the source is of
    /// another generation than what was brought before. Some of the records may be here then; no later one without those before it.
    pub async fn bring(
        &self,
        stream: &StreamName,
        bringing: &Bringing,
        records: &[Record],
    ) -> Result<u64, Error> {
        for record in records {
            Entry::new(record.key.clone(), record.payload.clone()).check()?;
        }
        let all: Vec<&[Record]> =
            parts(records, |record| record.key.len() + record.payload.len()).collect();
        let mut after = bringing.after;
        let mut new = 0;
        for some in all.chunks(CALLS_AT_ONCE) {
            let replies = loop {
                let replies = self.bring_parts(stream, bringing, after, some).await?;
                if !replies.iter().any(|reply| self.is_anew(reply, stream)) {
                    break replies;
                }
            };
            for reply in replies {
                let claimed = after.unwrap_or_default();
                new += brought(&reply, stream, bringing, claimed)?;
            }
            after = some.last().and_then(|part| part.last()).map(|record| record.position);
        }
        Ok(new)
    }

    async fn bring_parts(
        &self,
        stream: &StreamName,
        bringing: &Bringing,
        after: Option<Position>,
        parts: &[&[Record]],
    ) -> Result<Vec<Reply>, Error> {
        let known = self.known_of(stream).await?;
        let keys = [self.key(stream), self.brought_key(stream)];
        let cursor = bringing.cursor.to_string();
        let mut after = after;
        let arguments: Vec<_> = parts
            .iter()
            .map(|part| {
                let begin = after;
                after = part.last().map(|record| record.position);
                let (known, cursor) = (&known, &cursor);
                move |command: &mut Cmd| {
                    command.arg(&known.birth).arg(cursor).arg(bringing.fence);
                    command.arg(bringing.generation.0).arg(begin.unwrap_or_default().fixed());
                    command.arg(if begin.is_some() { "1" } else { "0" }).arg(part.len());
                    for record in *part {
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
fn brought(
    reply: &Reply,
    stream: &StreamName,
    bringing: &Bringing,
    claimed: Position,
) -> Result<u64, Error> {
    found(reply, stream, None)?;
    let cursor = bringing.cursor.clone();
    match reply.word.as_str() {
        "lost" => Err(Error::LostLease { cursor, fence: bringing.fence, now: reply.number(0)? }),
        "diverged" => Err(Error::Diverged {
            cursor: Generation(reply.number(0)?),
            stream: bringing.generation,
        }),
        "moved" => Err(Error::Moved { cursor, stored: reply.text(0)?.parse()?, claimed }),
        _ => reply.number(0),
    }
}
