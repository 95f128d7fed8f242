//! Redis itself, asked as plainly as can be: what a measurement sets the bus beside.

use std::time::Instant;

use redis::Pipeline;

use super::{RedisOptions, StreamName};
use crate::redis::link::Link;
use crate::{Entry, Error};

/// So many commands are sent at once, as `redis-benchmark -P` does it.
const COMMANDS_AT_ONCE: usize = 512;

/// Adds entries to one Redis stream, `stream`'s own for this, by pipelined `XADD`s without a function, and takes it
/// away again; says how many a second.
///
/// # Errors
/// When Redis fails.
pub async fn appends_per_second(
    options: &RedisOptions,
    stream: &StreamName,
    entries: &[Entry],
) -> Result<f64, Error> {
    let link = Link::new(options)?;
    let key = format!("{}:raw:{stream}", options.prefix);
    let begin = Instant::now();
    for part in entries.chunks(COMMANDS_AT_ONCE) {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for entry in part {
            pipeline.cmd("XADD").arg(&key).arg("*").arg("k").arg(&*entry.key);
            pipeline.arg("p").arg(&*entry.payload);
        }
        link.pipeline(&pipeline, part.len(), "append").await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = entries.len() as f64 / begin.elapsed().as_secs_f64();
    let mut delete = redis::cmd("UNLINK");
    delete.arg(&key);
    link.command(&delete, "append").await?;
    Ok(rate)
}
