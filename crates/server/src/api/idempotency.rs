//! Idempotency keys: which request is the same one again.
//!
//! The header is the one of draft-ietf-httpapi-idempotency-key-header: a string,
//! with or without its quotes. A key counts within one event of one organizer.

use onsale_core::{CommandStamp, Time};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Call, Result};
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
pub fn stamp(call: &Call) -> Result<CommandStamp> {
    let body = body_digest(call);
    Ok(key(call)?.map_or_else(|| unkeyed(body), |key| keyed(key, body)))
}

/// The stamp of one command of a batch: its key counts as a header's does, and what it
/// says is its text.
///
/// # Errors
/// The key is in the wrong form.
pub fn stamp_in_batch(call: &Call, key: Option<&str>, text: &str) -> Result<CommandStamp> {
    let body = digest(&[b"BATCH", call.uri.path().as_bytes(), text.as_bytes()]);
    match key {
        None => Ok(unkeyed(body)),
        Some(key) if fits(key) => Ok(keyed(key, body)),
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
pub fn stamp_required(call: &Call) -> Result<CommandStamp> {
    let stamp = stamp(call)?;
    match stamp.chosen {
        true => Ok(stamp),
        false => {
            let kind = &kind::IDEMPOTENCY_KEY_REQUIRED;
            Err(Problem::field(kind, "Idempotency-Key", REQUIRED_RULE))
        }
    }
}

/// The stamp of a method that is safe to repeat by itself, and takes no key.
#[must_use]
pub fn stamp_without_key(call: &Call) -> CommandStamp {
    unkeyed(body_digest(call))
}

fn keyed(key: &str, body: u128) -> CommandStamp {
    CommandStamp { id: digest(&[key.as_bytes()]), body, chosen: true, made_at: time_in(key) }
}

fn unkeyed(body: u128) -> CommandStamp {
    CommandStamp { id: Uuid::new_v4().as_u128(), body, chosen: false, made_at: None }
}

fn key(call: &Call) -> Result<Option<&str>> {
    let mut values = call.headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = inside.unwrap_or(text);
    if values.next().is_none() && fits(key) {
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

fn body_digest(call: &Call) -> u128 {
    digest(&[call.method.as_str().as_bytes(), call.uri.path().as_bytes(), &call.body])
}

/// The first 128 bits of SHA-256 over the parts. A zero byte, which no method,
/// path or key has, keeps them apart.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let first: [u8; 16] = digest[..16].try_into().expect("32 bytes have 16");
    u128::from_be_bytes(first)
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

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    }
}
