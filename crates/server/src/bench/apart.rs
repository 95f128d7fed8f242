//! The server on one core, this process on the rest, for as long as a row over HTTP takes.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::demo::process::{Cores, split_cores};

/// Cores are shared out while it lives.
pub struct Apart {
    /// Who has which.
    pub cores: Cores,
    before: CpuSet,
}

impl Apart {
    /// Shares the cores out.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn new() -> anyhow::Result<Apart> {
        let before = sched_getaffinity(None).context("which cores there are")?;
        Ok(Apart { before, cores: split_cores()? })
    }

    /// Who has which, for a report.
    #[must_use]
    pub fn note(&self) -> String {
        match self.cores.len() {
            1 => "Server and load generator share the only core.".to_owned(),
            _ => "The server has one core, the load generator another.".to_owned(),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It was ours before, so it is granted again.
        let _ = sched_setaffinity(None, &self.before);
    }
}
