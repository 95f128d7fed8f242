//! The box office from outside: what it sells on both databases, its API, its pages over HTTP and in a real browser.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod api;
mod browser;
mod cdp;
mod pages;
mod selling;
mod support;
