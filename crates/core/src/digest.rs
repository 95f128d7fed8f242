//! Keyed digests: how the state remembers texts without keeping them.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::code::CodeKey;

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
