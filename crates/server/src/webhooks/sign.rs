//! Signatures of deliveries, so that a receiver knows who sent them, that nothing was changed, and
//! that they are not old: HMAC-SHA256 over time and body.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header that has it.
pub const HEADER: &str = "onsale-signature";

/// What the header says: `t=SECONDS,v1=HEX`, where the signed text is the seconds, a dot, and the body.
///
/// # Panics
/// Never: a key of any length is fine.
#[must_use]
pub fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is fine");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by another program: printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_abc
    #[test]
    fn a_signature_is_what_others_make_of_it() {
        let expected =
            "t=1700000000,v1=bad9ac117e973d721c232d46744158d75e3f1b44e36771e13d01b9e6a580bc72";
        assert_eq!(sign("whsec_abc", 1_700_000_000, b"{}"), expected);
        assert_ne!(sign("whsec_abd", 1_700_000_000, b"{}"), expected);
    }
}
