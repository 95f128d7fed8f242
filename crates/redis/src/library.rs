//! The library of functions: the rules in Lua, with the words and limits that they share with the core put before them.
//!
//! Its name, and with it that of every function, says what is in it: two versions never clash, and while an old and a new
//! node run side by side each calls its own. What they share is the state's layout, which has a number of its own.

use std::sync::LazyLock;

use onsale_core::CodeKey;
use onsale_core::limits::{COMMANDS_REMEMBERED_MAX, EXPIRED_PER_COMMAND_MAX};

use crate::words;

/// How the state lies in Redis. A change of it needs the state to be made again from the stream.
pub const LAYOUT: u32 = 1;
/// Holds and orders that one call of the timer ends at most.
pub const DUE_PER_CALL_MAX: usize = 64;

// A command ends what is due, and adds its own record, or two.
const RECORDS_PER_CALL_MAX: usize = EXPIRED_PER_COMMAND_MAX + 2;
const _: () = assert!(DUE_PER_CALL_MAX <= RECORDS_PER_CALL_MAX);

const FILES: [&str; 8] = [
    include_str!("../lua/state.lua"),
    include_str!("../lua/stock.lua"),
    include_str!("../lua/log.lua"),
    include_str!("../lua/holds.lua"),
    include_str!("../lua/orders.lua"),
    include_str!("../lua/catalogue.lua"),
    include_str!("../lua/snapshot.lua"),
    include_str!("../lua/shard.lua"),
];

/// A library as Redis loads it.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its name, and what the names of its functions begin with.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The library of this version.
pub static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::new(COMMANDS_REMEMBERED_MAX));

impl Library {
    /// One that remembers so many command ids of a shard: for tests, which take fewer.
    #[must_use]
    pub fn new(ids_max: usize) -> Library {
        let mut body = words::lua();
        let numbers = [
            ("LAYOUT", LAYOUT as usize),
            ("IDS_MAX", ids_max),
            ("RECORDS_PER_CALL_MAX", RECORDS_PER_CALL_MAX),
        ];
        for (name, number) in numbers {
            body += &format!("local {name} = {number}\n");
        }
        body += &FILES.concat();
        let digest = CodeKey([0; 16]).digest("library", &[body.as_bytes()]);
        let name = format!("onsale_{LAYOUT}_{:012x}", digest >> 80);
        let text = format!("#!lua name={name}\nlocal LIBRARY = '{name}'\n{body}");
        Library { name, text }
    }

    /// The name of a function.
    #[must_use]
    pub fn function(&self, function: &str) -> String {
        format!("{}_{function}", self.name)
    }
}
