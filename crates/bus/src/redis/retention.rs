//! Letting go of old records, with regard for those who have yet to read them.

use super::{POSITION_MAX, RedisBus};
use crate::cursors::CursorState;
use crate::record::now_us;
use crate::retention::{Retention, Trimmed, place};
use crate::{CursorId, Error, Position, StreamName};

impl RedisBus {
    /// Lets go of what is past retention in every shard. Records that a protected cursor has yet to read outlive
    /// the age, and both that and what the number of records takes from it nevertheless are logged as warnings
    /// and told. A protected cursor that never committed is at the begin of its shard.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`], or when Redis fails; shards before the failure are done.
    pub async fn retain(
        &self,
        stream: &StreamName,
        retention: Retention,
        protected: &[CursorState],
    ) -> Result<Vec<Trimmed>, Error> {
        let info = self.describe(stream).await?;
        let age_us = u64::try_from(retention.age.as_micros()).unwrap_or(u64::MAX);
        let before_us = now_us().saturating_sub(age_us);
        let mut done = Vec::new();
        for shard in info.shards {
            let readers = protected.iter().filter(|state| {
                state.cursor.group.stream == *stream && state.cursor.shard == shard.id
            });
            let readers: Vec<(&CursorId, u64)> =
                readers.map(|state| (&state.cursor, place(state, info.generation))).collect();
            let lowest = readers.iter().map(|(_, at)| *at).min().unwrap_or(POSITION_MAX);
            let records = Some(retention.records);
            let reply = self.trim_by(stream, &shard.id, 0, before_us, records, lowest).await?;
            let (begins_at, went) = (reply.number(0)?, reply.number(1)?);
            let behind = |is_so: &dyn Fn(u64) -> bool| -> Vec<CursorId> {
                let behind = readers.iter().filter(|(_, at)| is_so(*at));
                behind.map(|(cursor, _)| (*cursor).clone()).collect()
            };
            let is_held = reply.number(2)? == 1;
            let trimmed = Trimmed {
                begins_at: Position::from(begins_at),
                records: went,
                kept_for: behind(&|at| is_held && at == lowest && at + 1 >= begins_at),
                lost_for: behind(&|at| went > 0 && at + 1 < begins_at),
                shard: shard.id,
            };
            trimmed.warn();
            done.push(trimmed);
        }
        Ok(done)
    }
}
