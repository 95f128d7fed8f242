//! The journal on a disk that fails: whatever happens, what was durable is there, as it was, and
//! nothing else is.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod archive;
mod crash;
mod damage;
mod faults;
mod history;
