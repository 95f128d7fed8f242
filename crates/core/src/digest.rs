//! Keyed digests: how the state remembers texts without keeping them.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::code::CodeKey;
use crate::limits::CUSTOMER_BYTES_MAX;
use crate::text::CustomerId;

impl CodeKey {
    /// Digest of some parts: SipHash-2-4 with 128 bits of output under this key,
    /// over `domain` and then each part, every one of them led by its length in
    /// bytes as 32 bits, little-endian. So neither two domains nor two ways to cut
    /// the same bytes into parts can be mixed up. The 16 bytes of output are read
    /// as one little-endian number.
    #[must_use]
    pub fn digest(&self, domain: &str, parts: &[&[u8]]) -> u128 {
        let mut text = Feed::default();
        let length = parts.iter().fold(4 + domain.len(), |n, part| n + 4 + part.len());
        if length <= FEED_BYTES {
            // The hot path: one call over a buffer on the stack is twice as fast.
            text.part(domain.as_bytes());
            parts.iter().for_each(|part| text.part(part));
            return SipHasher24::new_with_key(&self.0).hash(text.bytes()).into();
        }
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
            hasher.write(&(part.len() as u32).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish128().into()
    }
}

/// What leads the parts of a customer's digest: the domain, and the length of the event's.
const CUSTOMER_HEAD: &[u8; 16] = b"\x08\0\0\0customer\x10\0\0\0";
/// Where the customer's bytes stand: after the event's digest and the length.
const CUSTOMER_AT: usize = CUSTOMER_HEAD.len() + 16 + 4;

impl CodeKey {
    /// Digest of an event's digest and a customer: what [`CodeKey::digest`] gives in the domain
    /// `customer`, made without a copy of unknown length, since it is made for every sale.
    pub(crate) fn customer_digest(&self, event: u128, customer: &CustomerId) -> u128 {
        let mut bytes = [0; CUSTOMER_AT + CUSTOMER_BYTES_MAX];
        let length = customer.as_bytes().len();
        bytes[..16].copy_from_slice(CUSTOMER_HEAD);
        bytes[16..32].copy_from_slice(&event.to_le_bytes());
        bytes[32..36].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[CUSTOMER_AT..].copy_from_slice(customer.padded());
        SipHasher24::new_with_key(&self.0).hash(&bytes[..CUSTOMER_AT + length]).into()
    }
}

const FEED_BYTES: usize = 256;

struct Feed {
    length: usize,
    bytes: [u8; FEED_BYTES],
}

impl Default for Feed {
    fn default() -> Self {
        Self { length: 0, bytes: [0; FEED_BYTES] }
    }
}

impl Feed {
    fn part(&mut self, part: &[u8]) {
        self.push(&(part.len() as u32).to_le_bytes());
        self.push(part);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CodeKey = CodeKey(*b"0123456789abcdef");

    #[test]
    fn short_and_long_inputs_follow_one_rule() {
        for length in 0..600 {
            let long = vec![7u8; length];
            let mut hasher = SipHasher24::new_with_key(&KEY.0);
            hasher.write(&[1, 0, 0, 0]);
            hasher.write(b"d");
            hasher.write(&(length as u32).to_le_bytes());
            hasher.write(&long);
            assert_eq!(KEY.digest("d", &[&long]), u128::from(hasher.finish128()), "{length}");
        }
    }

    #[test]
    fn a_customers_digest_follows_the_rule() {
        for length in 1..=CUSTOMER_BYTES_MAX {
            let customer = CustomerId::new(&"c".repeat(length)).unwrap();
            let event = 77u128 << 64 | 3;
            let parts = [&event.to_le_bytes()[..], customer.as_bytes()];
            assert_eq!(KEY.customer_digest(event, &customer), KEY.digest("customer", &parts));
        }
    }

    #[test]
    fn cuts_and_domains_matter() {
        let digests = [
            KEY.digest("d", &[b"ab", b"c"]),
            KEY.digest("d", &[b"a", b"bc"]),
            KEY.digest("d", &[b"abc"]),
            KEY.digest("e", &[b"abc"]),
            CodeKey([0; 16]).digest("d", &[b"abc"]),
        ];
        let distinct: std::collections::BTreeSet<u128> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
