//! The journal on a disk that fails: whatever happens, what was durable is there, as it was, and
//! nothing else is.

mod crash;
mod damage;
mod faults;
mod history;
