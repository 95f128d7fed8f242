//! Codes of orders and tickets: a keyed permutation of where and how many, so
//! that they never come twice, can't be guessed and need no look-up.

/// The secret of a log, from which its codes and digests are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeKey(pub [u8; 16]);

impl std::fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodeKey(secret)")
    }
}

/// The code of an order: 10 symbols of `A–Z 2–9` without `I` and `O`. The first
/// says the lane (`E`: the engine), the rest is the permuted (shard, generation, sequence).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderCode(pub [u8; 10]);

/// The code of a ticket: 16 symbols of the same alphabet, the permuted (shard,
/// generation, sequence, ordinal in the order, issue).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketCode(pub [u8; 16]);

macro_rules! code {
    ($name:ident, $n:expr) => {
        impl $name {
            /// Its symbols.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("symbols are ASCII")
            }

            /// Reads a code; none where it has another length or other symbols.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let bytes: [u8; $n] = text.as_bytes().try_into().ok()?;
                bytes.iter().all(|b| ALPHABET.contains(b)).then_some(Self(bytes))
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// The 32 symbols: A–Z and 2–9 without I and O.
pub const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

code!(OrderCode, 10);
code!(TicketCode, 16);
