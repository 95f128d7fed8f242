//! Where a record is in its shard, and which history of the shard that is.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The place of a record in its shard: a 192-bit unsigned number, since Kinesis needs that many.
///
/// On files and Redis positions are dense from 1. Zero is before every record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position([u64; 3]);

/// Ten to the 19th: the most decimal digits of which any value fits 64 bits.
const CHUNK: u64 = 10_000_000_000_000_000_000;

impl Position {
    /// Before every record.
    pub const ZERO: Position = Position([0; 3]);
    /// How many decimal digits the largest has.
    pub const DIGITS: usize = 58;

    /// The position as 64 bits, where it fits.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        (self.0[0] == 0 && self.0[1] == 0).then_some(self.0[2])
    }

    /// All 24 bytes, the highest first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The opposite of [`Position::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 24]) -> Position {
        let word =
            |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Position([word(0), word(8), word(16)])
    }

    /// 58 decimal digits with leading zeros: as text, it sorts as the number does.
    #[must_use]
    pub fn fixed(self) -> String {
        format!("{self:0>width$}", width = Position::DIGITS)
    }

    /// The number times `factor` plus `more`; none when it does not fit.
    fn times_plus(self, factor: u64, more: u64) -> Option<Position> {
        let mut words = [0; 3];
        let mut carry = u128::from(more);
        for at in (0..3).rev() {
            let product = u128::from(self.0[at]) * u128::from(factor) + carry;
            words[at] = low(product);
            carry = product >> 64;
        }
        (carry == 0).then_some(Position(words))
    }

    /// Quotient and remainder.
    fn divided(self, by: u64) -> (Position, u64) {
        let mut words = [0; 3];
        let mut rest = 0_u128;
        for (at, word) in self.0.into_iter().enumerate() {
            let part = rest << 64 | u128::from(word);
            words[at] = low(part / u128::from(by));
            rest = part % u128::from(by);
        }
        (Position(words), low(rest))
    }
}

/// The low 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(number: u128) -> u64 {
    number as u64
}

impl From<u64> for Position {
    fn from(number: u64) -> Position {
        Position([0, 0, number])
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.as_u64() {
            return f.pad_integral(true, "", &number.to_string());
        }
        let (high, last) = self.divided(CHUNK);
        let (high, middle) = high.divided(CHUNK);
        let (high, first) = high.divided(CHUNK);
        let digits = format!("{}{first:019}{middle:019}{last:019}", high.0[2]);
        let digits = digits.trim_start_matches('0');
        f.pad_integral(true, "", digits)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Position, Error> {
        let wrong = || Error::Invalid {
            field: "position",
            value: text.chars().take(80).collect(),
            rule: "a decimal number of at most 58 digits, below 2^192",
        };
        if text.is_empty() || text.len() > Position::DIGITS {
            return Err(wrong());
        }
        text.bytes().try_fold(Position::ZERO, |position, byte| {
            if !byte.is_ascii_digit() {
                return Err(wrong());
            }
            position.times_plus(10, u64::from(byte - b'0')).ok_or_else(wrong)
        })
    }
}

/// Which history of a stream it is: another one when the stream was made anew or its log went back. A
/// position means nothing in another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_goes_both_ways() {
        let kinesis = "49590338271490256608559692538361571095921575989136588898";
        let largest = "6277101735386680763835789423207666416102355444464034512895";
        for text in ["0", "1", "18446744073709551615", "18446744073709551616", kinesis, largest] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string(), text);
            assert_eq!(position.fixed().len(), Position::DIGITS);
            assert_eq!(position.fixed().parse::<Position>().unwrap(), position);
            assert_eq!(Position::from_bytes(&position.to_bytes()), position);
        }
        let past = "6277101735386680763835789423207666416102355444464034512896";
        for bad in ["", "-1", "1 ", "x", past, &"1".repeat(59)] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }

    #[test]
    fn order_is_that_of_the_number() {
        let rising = [
            "0",
            "7",
            "10",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999",
        ];
        let positions: Vec<Position> = rising.iter().map(|text| text.parse().unwrap()).collect();
        assert!(positions.is_sorted());
        assert!(positions.iter().map(|position| position.fixed()).is_sorted());
        assert_eq!(Position::from(7).as_u64(), Some(7));
        assert_eq!(positions[4].as_u64(), None);
    }
}
