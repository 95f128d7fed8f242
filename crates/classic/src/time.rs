//! Times: milliseconds inside, RFC 3339 in UTC outside.

use std::borrow::Borrow;

use jiff::Timestamp;

/// Now, in whole milliseconds, as the database keeps it.
#[must_use]
pub fn now() -> Timestamp {
    whole(Timestamp::now())
}

/// Without what is finer than a millisecond.
#[must_use]
pub fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Some time later, or earlier; the end of time where it would be past it.
#[must_use]
pub fn plus_seconds(at: Timestamp, seconds: i64) -> Timestamp {
    let ms = at.as_millisecond().saturating_add(seconds.saturating_mul(1_000));
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// The form of SQLite and of the API: 24 characters.
#[must_use]
pub fn text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// For people: a day and a minute.
#[must_use]
pub fn for_people(at: impl Borrow<Timestamp>) -> String {
    at.borrow().strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// The form of a form's field: minutes, without a zone; it is UTC.
#[must_use]
pub fn for_field(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M").to_string()
}

/// Reads what a form's field sends: `2027-06-12T18:00`, in UTC, with or without seconds.
#[must_use]
pub fn from_field(text: &str) -> Option<Timestamp> {
    let at = format!("{text}Z").parse().or_else(|_| format!("{text}:00Z").parse());
    // Years beyond four digits do not fit the texts that SQLite compares.
    at.ok()
        .map(whole)
        .filter(|at: &Timestamp| (0..253_402_300_800_000).contains(&at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_of_one_length_and_comes_back() {
        let at = from_field("2027-06-12T18:00").unwrap();
        assert_eq!(text(at), "2027-06-12T18:00:00.000Z");
        assert_eq!(text(at).parse::<Timestamp>().unwrap(), at);
        assert_eq!(for_field(at), "2027-06-12T18:00");
        assert_eq!(for_people(at), "12 Jun 2027, 18:00 UTC");
        assert_eq!(from_field("2027-06-12T18:00:01"), Some(plus_seconds(at, 1)));
        for wrong in ["", "tomorrow", "2027-13-01T00:00", "-2027-01-01T00:00"] {
            assert_eq!(from_field(wrong), None, "{wrong}");
        }
    }
}
