//! Capture against real databases, and an engine that keeps what it is sent.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod alone;
mod attach;
mod by_api;
mod capture;
mod commits;
mod engine;
mod kept;
mod kills;
mod platform;
mod reconcile;
mod set_aside;
mod strangers;
mod take;
mod third;
mod two_users;
mod unreadable;
