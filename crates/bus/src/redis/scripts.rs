//! The functions that run inside Redis: each is one step that nothing comes between.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

/// One that begins with what the bus's functions share.
macro_rules! of_a_stream {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("about.lua"), include_str!($file))));
    };
}

of_a_stream!(CREATE, "create.lua");
of_a_stream!(DESCRIBE, "describe.lua");
of_a_stream!(APPEND, "append.lua");
of_a_stream!(BRING, "bring.lua");
of_a_stream!(READ, "read.lua");
of_a_stream!(TRIM, "trim.lua");
of_a_stream!(CHECK, "check.lua");

pub(super) static CURSOR: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("cursor.lua")));
pub(super) static GROUP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("group.lua")));

/// Makes Redis know all of them.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    for script in [&CREATE, &DESCRIBE, &APPEND, &BRING, &READ, &TRIM, &CHECK, &CURSOR, &GROUP] {
        script.load_async(connection).await?;
    }
    Ok(())
}
