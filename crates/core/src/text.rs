//! Short texts with a form: ids, customers, payment references. They sit inline,
//! so that a command and its events allocate nothing for them.

use std::fmt;

use crate::limits::{CUSTOMER_BYTES_MAX, ID_BYTES_MAX, REFERENCE_BYTES_MAX};

/// Why a text was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidText {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Longer than allowed.
    #[error("must be at most {bytes_max} bytes long")]
    TooLong {
        /// The most bytes allowed.
        bytes_max: usize,
    },
    /// A character that an id must not have.
    #[error("must be made of a-z, A-Z, 0-9, '-', '_' and '.' and begin with a letter or digit")]
    NotAnId,
    /// A character that a customer id or a reference must not have.
    #[error("must be printable ASCII without spaces")]
    NotPrintable,
    /// An `@`, which hints at an e-mail address.
    #[error("must be an opaque id without '@': personal data does not belong here")]
    PersonalData,
}

/// At most `N` bytes of ASCII, inline.
#[derive(Clone, Copy)]
struct Inline<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Inline<N> {
    /// Of bytes that the caller has checked or will check to be ASCII.
    #[inline]
    fn new(text: &[u8]) -> Result<Self, InvalidText> {
        if text.is_empty() {
            return Err(InvalidText::Empty);
        }
        if text.len() > N {
            return Err(InvalidText::TooLong { bytes_max: N });
        }
        let mut bytes = [0; N];
        bytes[..text.len()].copy_from_slice(text);
        Ok(Self { length: text.len() as u8, bytes })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("made from a str")
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(Inline<{ $max }>);

        impl $name {
            /// Checks the form and keeps a copy.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            #[inline]
            pub fn new(text: &str) -> Result<Self, InvalidText> {
                Self::from_bytes(text.as_bytes())
            }

            /// The same for bytes, which need not be UTF-8: what has the form is.
            ///
            /// # Errors
            /// Says which rule the bytes break.
            #[inline]
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidText> {
                let inline = Inline::new(bytes)?;
                let check: fn(&[u8]) -> Result<(), InvalidText> = $check;
                check(bytes)?;
                Ok(Self(inline))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The text's bytes: cheaper to have than the text, which is checked to be
            /// one each time.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// All bytes that there is room for: the text's, and zeros after them. What is of
            /// one length is copied and compared without a call.
            #[must_use]
            pub fn padded(&self) -> &[u8; $max] {
                &self.0.bytes
            }
        }

        impl PartialEq for $name {
            #[inline]
            fn eq(&self, other: &Self) -> bool {
                self.0.length == other.0.length && self.0.bytes == other.0.bytes
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_bytes().cmp(other.as_bytes())
            }
        }
        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = InvalidText;
            fn from_str(text: &str) -> Result<Self, InvalidText> {
                Self::new(text)
            }
        }
    };
}

/// The bytes that an id is made of.
const IN_ID: [bool; 256] = {
    let mut inside = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        inside[byte] =
            (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.');
        byte += 1;
    }
    inside
};

/// Printable ASCII without spaces and without `@`.
fn check_opaque(bytes: &[u8]) -> Result<(), InvalidText> {
    // No byte is left out early: without a branch for each it goes faster.
    let opaque = |byte: &u8| byte.is_ascii_graphic() & (*byte != b'@');
    if bytes.iter().fold(true, |all, byte| all & opaque(byte)) {
        return Ok(());
    }
    match bytes.contains(&b'@') {
        true => Err(InvalidText::PersonalData),
        false => Err(InvalidText::NotPrintable),
    }
}

text!(
    /// The id of an organizer, event, ticket type, quota or sale group: 1 to 64
    /// bytes of `a-z A-Z 0-9 - _ .`, the first a letter or digit, so that it can
    /// stand in a path.
    Id,
    ID_BYTES_MAX,
    |bytes| {
        // No byte is left out early: without a branch for each it goes faster.
        let inside = bytes.iter().fold(true, |all, byte| all & IN_ID[*byte as usize]);
        match bytes[0].is_ascii_alphanumeric() && inside {
            true => Ok(()),
            false => Err(InvalidText::NotAnId),
        }
    }
);

text!(
    /// Who buys: an opaque id of the front end, 1 to 64 bytes of printable ASCII
    /// without spaces and without `@`.
    CustomerId,
    CUSTOMER_BYTES_MAX,
    check_opaque
);

text!(
    /// The natural key of a payment at its provider: 1 to 128 bytes of printable
    /// ASCII without spaces and without `@`.
    Reference,
    REFERENCE_BYTES_MAX,
    check_opaque
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        use InvalidText::*;
        let long = |n: usize| "x".repeat(n);
        let rows: [(&str, Option<InvalidText>, Option<InvalidText>); 10] = [
            // A text, what is wrong with it as an id, and as a customer.
            ("Ab-9_z.", None, None),
            ("", Some(Empty), Some(Empty)),
            ("-a", Some(NotAnId), None),
            ("a b", Some(NotAnId), Some(NotPrintable)),
            ("a/b", Some(NotAnId), None),
            ("a@b", Some(NotAnId), Some(PersonalData)),
            ("ä", Some(NotAnId), Some(NotPrintable)),
            ("a\u{7f}", Some(NotAnId), Some(NotPrintable)),
            (&long(64), None, None),
            (&long(65), Some(TooLong { bytes_max: 64 }), Some(TooLong { bytes_max: 64 })),
        ];
        for (text, as_id, as_customer) in rows {
            assert_eq!(Id::new(text).err(), as_id, "{text}");
            assert_eq!(CustomerId::new(text).err(), as_customer, "{text}");
        }
        assert_eq!(Reference::new(&long(128)).unwrap().as_str(), long(128));
        assert_eq!(Reference::new(&long(129)), Err(TooLong { bytes_max: 128 }));
        assert_eq!(Reference::new("pi_3@x"), Err(PersonalData));
    }

    #[test]
    fn order_and_equality_are_those_of_the_text() {
        let ids = ["a", "a.b", "a-b", "aa", "b", "A", "9"].map(|text| Id::new(text).unwrap());
        for a in ids {
            for b in ids {
                assert_eq!(a.cmp(&b), a.as_str().cmp(b.as_str()));
                assert_eq!(a == b, a.as_str() == b.as_str());
            }
        }
    }
}
