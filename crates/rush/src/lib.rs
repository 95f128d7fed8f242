//! A rush on a sale: tens of thousands of buyers who all want tickets at once.
//! Buyers arrive when the plan says, however slow the server is, and their
//! latency counts from that moment, so that a stall is seen as what it is.
//!
//! It is a black box: it speaks HTTP/1.1 or 2 and knows nothing of what is behind it.
//! Everything runs on the thread that calls [`run`], so that one core drives it
//! and its own use of that core can be told. Afterwards it asks for every order
//! that was acknowledged: each must be there, as it was told, and only once.

mod client;
mod config;
mod crowd;
pub mod hammer;
mod page;
mod plan;
mod pool;
mod progress;
mod report;
mod stats;
mod target;
mod timeline;
mod timer;
mod verify;
mod wire;

pub use config::{Arrivals, Config, Retry};
pub use crowd::{Acknowledged, OrderState};
pub use page::Heading;
pub use pool::{files_max, run};
pub use progress::Progress;
pub use report::group;
pub use report::{Ended, Latency, Live, Operations, Percentiles, QuotaReport, Report, Stock};
pub use stats::Fates;
pub use timeline::{Step, StepLatency, Timeline};
pub use verify::{Verification, verify};
