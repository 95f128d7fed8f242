//! Codes and secrets: random, long enough not to be guessed.

use sha2::{Digest as _, Sha256};

/// Without I, O, 0 and 1, which look alike.
const SYMBOLS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Symbols of an order's code: 60 bits.
const ORDER_SYMBOLS: usize = 12;
/// Symbols of a ticket's code: 100 bits.
const TICKET_SYMBOLS: usize = 20;

/// A code for an order.
pub fn order() -> String {
    random(ORDER_SYMBOLS)
}

/// A code for a ticket.
pub fn ticket() -> String {
    random(TICKET_SYMBOLS)
}

/// A secret of 256 bits, in hexadecimal.
pub fn secret() -> String {
    hex(&bytes::<32>())
}

/// What is kept of a secret or a request.
pub fn digest(of: &[u8]) -> String {
    hex(&Sha256::digest(of))
}

/// Whether two secrets are the same, in a time that tells nothing.
pub fn same(one: &str, other: &str) -> bool {
    subtle::ConstantTimeEq::ct_eq(one.as_bytes(), other.as_bytes()).into()
}

fn random(symbols: usize) -> String {
    let bytes = bytes::<TICKET_SYMBOLS>();
    bytes[..symbols].iter().map(|byte| char::from(SYMBOLS[usize::from(byte % 32)])).collect()
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
