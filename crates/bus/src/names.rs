//! The names of streams, shards, groups and workers: short texts that are safe in paths, keys and queries.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Error;

/// A kind of name: one type each, so that a group is never taken for a stream.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $rule:literal, $valid:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// [`Error::Invalid`] says the rule.
            pub fn new(text: &str) -> Result<$name, Error> {
                if $valid(text) {
                    return Ok($name(text.into()));
                }
                Err(Error::Invalid { field: $field, value: shortened(text), rule: $rule })
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name, Error> {
                $name::new(text)
            }
        }
    };
}

name!(
    /// The name of a stream, such as `sales`: 1 to 64 of a–z, 0–9, `-`, `_`, `.`, a letter first.
    StreamName,
    "stream",
    "1 to 64 of a-z, 0-9, '-', '_' and '.', a letter first",
    is_name
);
name!(
    /// The name of a group of workers that share the work; the rule is that of a stream's name.
    GroupName,
    "group",
    "1 to 64 of a-z, 0-9, '-', '_' and '.', a letter first",
    is_name
);
name!(
    /// Who holds a lease: one running worker. A worker that starts anew takes a new one ([`WorkerId::fresh`]).
    WorkerId,
    "worker",
    "1 to 128 of a-z, A-Z, 0-9, '-', '_' and '.', no '.' first",
    is_id
);
name!(
    /// A shard of a stream: `0` to `63` on files and Redis, names such as `shardId-000000000000` on Kinesis.
    ShardId,
    "shard",
    "1 to 128 of a-z, A-Z, 0-9, '-', '_' and '.', no '.' first",
    is_id
);

impl WorkerId {
    /// An id that nobody else has: the process and 64 random bits.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn fresh() -> WorkerId {
        let bits = getrandom::u64().expect("the system gives random bits");
        WorkerId(format!("w{}-{bits:016x}", std::process::id()).into())
    }
}

impl ShardId {
    /// The shard of that number, as files and Redis name it.
    #[must_use]
    pub fn numbered(number: u32) -> ShardId {
        ShardId(number.to_string().into())
    }
}

/// A group of workers on one stream; a plain named cursor is a group of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The group's name, which is the cursor's.
    pub name: GroupName,
    /// What it reads.
    pub stream: StreamName,
}

impl Group {
    /// A group from two texts.
    ///
    /// # Errors
    /// [`Error::Invalid`] says which of them breaks which rule.
    pub fn new(name: &str, stream: &str) -> Result<Group, Error> {
        Ok(Group { name: GroupName::new(name)?, stream: StreamName::new(stream)? })
    }

    /// The group's cursor in a shard.
    #[must_use]
    pub fn cursor(&self, shard: &ShardId) -> CursorId {
        CursorId { group: self.clone(), shard: shard.clone() }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.stream)
    }
}

/// Where a group keeps its place in one shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CursorId {
    /// Whose.
    pub group: Group,
    /// In which shard of the group's stream.
    pub shard: ShardId,
}

impl fmt::Display for CursorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.shard)
    }
}

fn is_name(text: &str) -> bool {
    let fine =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && text.bytes().all(fine)
}

fn is_id(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&text.len()) && text.as_bytes()[0] != b'.' && text.bytes().all(fine)
}

/// The begin of a text that came from outside, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        for good in ["a", "sales", "a.b-c_9"] {
            assert_eq!(StreamName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "Sales", "9a", ".a", "a/b", "a b", &"a".repeat(65)] {
            assert!(
                matches!(StreamName::new(bad), Err(Error::Invalid { field: "stream", .. })),
                "{bad}"
            );
        }
        for bad in ["", ".", "..", ".x", "a/b", &"a".repeat(129)] {
            assert!(ShardId::new(bad).is_err(), "{bad}");
        }
        assert!(ShardId::new("shardId-000000000000").is_ok());
        assert_ne!(WorkerId::fresh(), WorkerId::fresh());
    }
}
