//! Codes of orders and tickets: a keyed permutation of where and how many, so
//! that they never come twice, can't be guessed and need no look-up.

use siphasher::sip::SipHasher24;

use crate::event::OrderPlaced;
use crate::text::Id;
use crate::view::TicketView;

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
                bytes.iter().all(|b| VALUES[*b as usize] < 32).then_some(Self(bytes))
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

/// Rounds of the permutation. Four make a Feistel network with a good round
/// function a strong permutation; these are for small halves.
const ROUNDS: u8 = 10;

const ORDER_BITS: u32 = 45;
const TICKET_BITS: u32 = 80;
const LANE_ENGINE: u8 = b'E';

/// What a ticket code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketParts {
    /// Shard of its order.
    pub shard: u16,
    /// Generation of the log when the order was placed.
    pub generation: u32,
    /// Number of its order in the shard.
    pub sequence: u64,
    /// Number of the ticket in its order, from 0, in the order of the lines.
    pub ordinal: u16,
    /// Grows when a ticket is given out anew; 0 for now.
    pub issue: u8,
}

/// How codes are made.
///
/// A number of `n` bits is permuted by an alternating Feistel network of ten
/// rounds, `r` = 0 to 9. The number is cut into `high`, its upper `⌊n/2⌋` bits, and
/// `low`, its lower `⌈n/2⌉` bits. In an even round `high ^= F(r, low)`, in an odd one
/// `low ^= F(r, high)`; nothing is swapped, and of `F` only as many low bits are
/// taken as the half has that they go into. `F(r, x)` is SipHash-2-4 (64 bits of
/// output, as a number) under the log's 16-byte key over ten bytes: a letter
/// (`O` for orders, `T` for tickets), `r` as one byte, `x` as eight bytes,
/// little-endian. The way back takes the rounds in reverse.
///
/// - Order: `n` = 45. The number is `shard << 39 | generation << 32 | sequence`.
///   The permuted one is written as 9 symbols of [`ALPHABET`], 5 bits each, the
///   highest first, after the letter of the lane, `E`.
/// - Ticket: `n` = 80. The number is `shard << 74 | generation << 67 | sequence <<
///   35 | ordinal << 19 | issue << 13`; the 13 low bits are 0, and a code whose low
///   bits come back otherwise was made up. Written as 16 symbols, the highest first.
impl CodeKey {
    /// The code of an order. Shard below 64, generation below 128, sequence below 2^32.
    #[must_use]
    pub fn order_code(&self, shard: u16, generation: u32, sequence: u64) -> OrderCode {
        debug_assert!(shard < 1 << 6 && generation < 1 << 7 && sequence < 1 << 32);
        let number = u128::from(shard) << 39 | u128::from(generation) << 32 | u128::from(sequence);
        let mut symbols = [LANE_ENGINE; 10];
        write_symbols(self.permute(b'O', ORDER_BITS, number), &mut symbols[1..]);
        OrderCode(symbols)
    }

    /// Shard, generation and sequence of an order code; none where it has another
    /// lane or other symbols. That such an order exists is not said.
    #[must_use]
    pub fn open_order(&self, code: OrderCode) -> Option<(u16, u32, u64)> {
        if code.0[0] != LANE_ENGINE {
            return None;
        }
        let number = self.permute_back(b'O', ORDER_BITS, read_symbols(&code.0[1..])?);
        let (shard, generation) = (number >> 39, number >> 32 & 0x7F);
        Some((shard as u16, generation as u32, number as u64 & 0xFFFF_FFFF))
    }

    /// The code of a ticket.
    #[must_use]
    pub fn ticket_code(&self, parts: TicketParts) -> TicketCode {
        let TicketParts { shard, generation, sequence, ordinal, issue } = parts;
        debug_assert!(shard < 1 << 6 && generation < 1 << 7 && sequence < 1 << 32);
        debug_assert!(issue < 1 << 6);
        let order = u128::from(shard) << 39 | u128::from(generation) << 32 | u128::from(sequence);
        let number = order << 35 | u128::from(ordinal) << 19 | u128::from(issue) << 13;
        let mut symbols = [0; 16];
        write_symbols(self.permute(b'T', TICKET_BITS, number), &mut symbols);
        TicketCode(symbols)
    }

    /// What a ticket code says; none where it was not made with this key.
    #[must_use]
    pub fn open_ticket(&self, code: TicketCode) -> Option<TicketParts> {
        let number = self.permute_back(b'T', TICKET_BITS, read_symbols(&code.0)?);
        (number & 0x1FFF == 0).then_some(TicketParts {
            shard: (number >> 74) as u16,
            generation: (number >> 67 & 0x7F) as u32,
            sequence: (number >> 35) as u64 & 0xFFFF_FFFF,
            ordinal: (number >> 19) as u16,
            issue: (number >> 13 & 0x3F) as u8,
        })
    }

    /// The tickets of an order, from its record alone: one for each of its places, in
    /// the order of the lines. They count once the order is confirmed.
    #[must_use]
    pub fn tickets(&self, order: &OrderPlaced) -> Vec<TicketView> {
        let lines = order.lines.iter().map(|line| (line.ticket_type, line.stock.quantity()));
        self.tickets_of(order.order, lines)
    }

    /// The tickets of an order by its code, its lines' types and quantities.
    #[must_use]
    pub fn tickets_of(
        &self,
        order: OrderCode,
        lines: impl Iterator<Item = (Id, u32)>,
    ) -> Vec<TicketView> {
        let Some((shard, generation, sequence)) = self.open_order(order) else {
            return Vec::new();
        };
        let types = lines.flat_map(|(id, quantity)| (0..quantity).map(move |_| id));
        let ticket = |(ordinal, ticket_type): (usize, Id)| {
            let ordinal = ordinal as u16;
            let parts = TicketParts { shard, generation, sequence, ordinal, issue: 0 };
            TicketView { code: self.ticket_code(parts), ticket_type }
        };
        types.enumerate().map(ticket).collect()
    }

    fn round(&self, letter: u8, round: u8, half: u64) -> u64 {
        let mut message = [letter, round, 0, 0, 0, 0, 0, 0, 0, 0];
        message[2..].copy_from_slice(&half.to_le_bytes());
        SipHasher24::new_with_key(&self.0).hash(&message)
    }

    fn permute(&self, letter: u8, bits: u32, number: u128) -> u128 {
        self.feistel(letter, bits, number, 0..ROUNDS)
    }

    fn permute_back(&self, letter: u8, bits: u32, number: u128) -> u128 {
        self.feistel(letter, bits, number, (0..ROUNDS).rev())
    }

    fn feistel(
        &self,
        letter: u8,
        bits: u32,
        number: u128,
        rounds: impl Iterator<Item = u8>,
    ) -> u128 {
        let (high_bits, low_bits) = (bits / 2, bits - bits / 2);
        let (high_mask, low_mask) = ((1u64 << high_bits) - 1, (1u64 << low_bits) - 1);
        let mut high = (number >> low_bits) as u64 & high_mask;
        let mut low = number as u64 & low_mask;
        for round in rounds {
            match round % 2 {
                0 => high ^= self.round(letter, round, low) & high_mask,
                _ => low ^= self.round(letter, round, high) & low_mask,
            }
        }
        u128::from(high) << low_bits | u128::from(low)
    }
}

fn write_symbols(number: u128, symbols: &mut [u8]) {
    for (place, symbol) in symbols.iter_mut().rev().enumerate() {
        *symbol = ALPHABET[(number >> (5 * place) & 31) as usize];
    }
}

fn read_symbols(symbols: &[u8]) -> Option<u128> {
    symbols.iter().try_fold(0, |number, symbol| {
        let value = VALUES[*symbol as usize];
        (value < 32).then_some(number << 5 | u128::from(value))
    })
}

/// From a byte to the value of the symbol, 255 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

#[cfg(test)]
mod tests;
