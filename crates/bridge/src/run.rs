//! The bridge at work: capture and write-back beside each other.

use crate::Error;
use crate::capture::{self, Parts};

/// Works until something does not pass.
///
/// # Errors
/// What does not pass, with the way out.
pub async fn run(parts: Parts) -> Result<(), Error> {
    capture::run(parts).await
}
