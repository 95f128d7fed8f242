//! Idempotency keys: which request is the same one again.
//!
//! The header is the one of draft-ietf-httpapi-idempotency-key-header: a string,
//! with or without its quotes. A key counts within one event of one organizer.

use onsale_core::{CodeKey, CommandStamp, Time};
use uuid::Uuid;

use super::call::{Brief, Once};
use super::{Api, Call, Result};
use crate::problem::{Problem, kind};

/// The header's name.
pub const HEADER: &str = "idempotency-key";
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// What is said where a key must be there.
pub const REQUIRED_RULE: &str = "must be there, so that the request can be sent again safely";

/// The stamp of the command that a call makes: its key's digest, or a random id.
///
/// # Errors
/// The key is in the wrong form.
pub fn stamp(api: &Api, call: &Call) -> Result<CommandStamp> {
    stamp_of(api, &call.brief())
}

/// The stamp of the command that a request makes.
///
/// # Errors
/// The key is in the wrong form.
pub fn stamp_of(api: &Api, brief: &Brief<'_>) -> Result<CommandStamp> {
    let body = body_digest(api, brief);
    Ok(key(brief.key)?.map_or_else(|| unkeyed(body), |key| keyed(api, key, body)))
}

/// The stamp of one command of a batch: its key counts as a header's does, and what it
/// says is its text.
///
/// # Errors
/// The key is in the wrong form.
pub fn stamp_in_batch(api: &Api, key: Option<&str>, text: &str) -> Result<CommandStamp> {
    let body = secret(api).digest("command", &[text.as_bytes()]);
    match key {
        None => Ok(unkeyed(body)),
        Some(key) if fits(key) => Ok(keyed(api, key, body)),
        Some(_) => {
            let rule = "must be 1 to 255 printable ASCII characters";
            Err(Problem::field(&kind::INVALID_IDEMPOTENCY_KEY, "idempotency_key", rule))
        }
    }
}

/// The stamp where the request is about money: it must have a key.
///
/// # Errors
/// There is no key, or it is in the wrong form.
pub fn stamp_required(api: &Api, call: &Call) -> Result<CommandStamp> {
    let stamp = stamp(api, call)?;
    match stamp.chosen {
        true => Ok(stamp),
        false => {
            let kind = &kind::IDEMPOTENCY_KEY_REQUIRED;
            Err(Problem::field(kind, "Idempotency-Key", REQUIRED_RULE))
        }
    }
}

/// Digests of a call's key and of what it says, as texts; none where it has no key.
///
/// # Errors
/// The key is in the wrong form.
pub fn digests(api: &Api, call: &Call) -> Result<Option<(String, String)>> {
    let brief = call.brief();
    let Some(key) = key(brief.key)? else { return Ok(None) };
    // Two organizers may choose the same key.
    let holder = call.grant.organizer.as_ref().map_or("", |id| id.as_str());
    let id = secret(api).digest("idempotency key", &[key.as_bytes(), holder.as_bytes()]);
    Ok(Some((format!("{id:032x}"), format!("{:032x}", body_digest(api, &brief)))))
}

/// The stamp of a method that is safe to repeat by itself, and takes no key.
#[must_use]
pub fn stamp_without_key(api: &Api, call: &Call) -> CommandStamp {
    unkeyed(body_digest(api, &call.brief()))
}

fn keyed(api: &Api, key: &str, body: u128) -> CommandStamp {
    let id = secret(api).digest("idempotency key", &[key.as_bytes()]);
    CommandStamp { id, body, chosen: true, made_at: time_in(key) }
}

fn unkeyed(body: u128) -> CommandStamp {
    CommandStamp { id: Uuid::new_v4().as_u128(), body, chosen: false, made_at: None }
}

fn key(header: Once<'_>) -> Result<Option<&str>> {
    if header == Once::Absent {
        return Ok(None);
    }
    let text = header.text().unwrap_or_default();
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = inside.unwrap_or(text);
    if fits(key) {
        return Ok(Some(key));
    }
    let rule = "must be once 1 to 255 printable ASCII characters";
    Err(Problem::field(&kind::INVALID_IDEMPOTENCY_KEY, "Idempotency-Key", rule))
}

fn fits(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// When the key says that it was made: a UUIDv7 does.
fn time_in(key: &str) -> Option<Time> {
    let uuid = Uuid::try_parse(key).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Time(micros.checked_add(i64::from(nanos / 1_000))?))
}

fn body_digest(api: &Api, brief: &Brief<'_>) -> u128 {
    let parts = [brief.method.as_bytes(), brief.path.as_bytes(), brief.body];
    secret(api).digest("request", &parts)
}

/// What the digests are made with: nobody outside can tell which two texts have the
/// same one. It is that of the log, so it is still the same after a restart.
fn secret(api: &Api) -> CodeKey {
    api.shards.info(0).expect("there is a shard").key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuidv7_says_when_it_was_made() {
        let made = time_in("0192f0c1-7c00-7000-8000-000000000000");
        assert_eq!(made, Some(Time(0x0192_f0c1_7c00 * 1_000)));
        assert_eq!(time_in("9b2f0c1e-7c00-4000-8000-000000000000"), None);
        assert_eq!(time_in("order-17"), None);
    }
}
