//! Single values of an export: money, times, windows, names.

use jiff::tz::TimeZone;
use onsale_core::limits::NAME_BYTES_MAX;
use onsale_core::{Time, Window};

use crate::catalogue::time_from_text;

/// Decimal text in minor units, exactly: `89.00` with exponent 2 is 8900. None
/// where it is not a number or has digits below the minor unit.
pub fn minor_units(text: &str, exponent: u32) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return None;
    }
    let kept = fraction.len().min(exponent as usize);
    let (fraction, rest) = fraction.split_at(kept);
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    let missing = exponent - kept as u32;
    let number: i64 = format!("{whole}{fraction}").parse().ok()?;
    number.checked_mul(10i64.checked_pow(missing)?)?.checked_mul(sign)
}

/// A time that may be left out. The error says that it is none.
pub fn time(text: Option<&str>) -> Result<Option<Time>, String> {
    let Some(text) = text else { return Ok(None) };
    time_from_text(text).map(Some).ok_or_else(|| format!("{text:?} is not a time"))
}

/// The window in which both are open.
pub fn both(a: Window, b: Window) -> Window {
    let closes_at = match (a.closes_at, b.closes_at) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Window { opens_at: a.opens_at.max(b.opens_at), closes_at }
}

/// Whether a window is never open.
pub fn is_empty(window: &Window) -> bool {
    matches!((window.opens_at, window.closes_at), (Some(opens), Some(closes)) if closes <= opens)
}

/// The end of a time's day, in this time zone.
pub fn end_of_day(time: Time, zone: &TimeZone) -> Option<Time> {
    let timestamp = jiff::Timestamp::from_microsecond(time.0).ok()?;
    let next = timestamp.to_zoned_datetime(zone.clone()).tomorrow().ok()?.start_of_day().ok()?;
    Some(Time(next.timestamp().as_microsecond()))
}

/// A name that is short enough, and whether it had to be cut.
pub fn fit_name(name: &str) -> (String, bool) {
    if name.len() <= NAME_BYTES_MAX {
        return (name.to_owned(), false);
    }
    let end = name.floor_char_boundary(NAME_BYTES_MAX - '…'.len_utf8());
    (format!("{}…", &name[..end]), true)
}
