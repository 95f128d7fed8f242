//! What operators use: backups, the second auditor, metrics with their alerts, the unit of systemd.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod archive;
mod auditor;
mod backup;
#[path = "../support/front.rs"]
mod front;
mod inspect;
mod metrics;
mod plan;
#[path = "../support/process.rs"]
mod process;
mod service;
mod stream;
mod support;
mod tls;
