//! Onsale beside a real pretix: the bridge as processes of their own, between a server and a pretix that sells.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../support/process.rs"]
mod process;

mod edits;
mod forms;
mod office;
mod sales;
mod site;
