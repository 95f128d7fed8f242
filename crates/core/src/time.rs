//! Time as the core sees it: a number that is handed in.

/// Microseconds since 1970-01-01T00:00:00Z, below 2^53 (the year 2255).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub i64);

impl Time {
    /// The time this many seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u32) -> Time {
        Time(self.0 + seconds as i64 * 1_000_000)
    }
}
