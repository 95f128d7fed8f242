//! What commands print: results on standard output, all else on standard error.
//!
//! A reader of the results that closes its pipe has had enough: what is left is not written, the command goes on as if it
//! were, and nobody is told. Anything else that keeps results from being written is told at the end, and fails the command.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

/// Why results can't be written any more.
static BROKEN: OnceLock<Broken> = OnceLock::new();

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot write to standard output: {detail}")]
struct Broken {
    closed: bool,
    detail: String,
}

impl Broken {
    fn error(&self) -> io::Error {
        let kind = if self.closed { ErrorKind::BrokenPipe } else { ErrorKind::Other };
        io::Error::new(kind, self.clone())
    }
}

/// Standard output for commands that have nothing left to do once nobody reads it: they end with the first error.
#[derive(Debug)]
pub struct Results;

impl Results {
    fn with<T>(&self, write: impl FnOnce(&mut io::Stdout) -> io::Result<T>) -> io::Result<T> {
        if let Some(broken) = BROKEN.get() {
            return Err(broken.error());
        }
        write(&mut io::stdout()).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            _ => broken(&error).error(),
        })
    }
}

fn broken(error: &io::Error) -> &'static Broken {
    let closed = error.kind() == ErrorKind::BrokenPipe;
    BROKEN.get_or_init(|| Broken { closed, detail: error.to_string() })
}

/// Keeps for the end that results could not be written.
pub fn note(error: &io::Error) {
    broken(error);
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(io::Stdout::flush)
    }
}

/// Standard output for commands that do more than print: they go on. What is wrong is told at the end.
#[derive(Debug)]
pub struct Told;

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // It is kept for the end.
        let _ = Results.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = Results.flush();
        Ok(())
    }
}

/// Prints a result.
pub fn say(text: &str) {
    // In one piece, and it is kept for the end where it can't be written.
    let _ = Results.write_all(format!("{text}\n").as_bytes());
}

/// Prints what must be seen before anything comes of it, at once.
///
/// # Errors
/// It can't be written, or nobody reads it.
pub fn show(text: &str) -> io::Result<()> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(format!("{text}\n").as_bytes())
}

/// Prints a line for whoever started a server, at once. That nobody reads it is no reason to end.
pub fn announce(line: &str) {
    // Past the buffer, which would try once more at the end.
    if let Err(error) = show(line) {
        tracing::warn!(%error, "standard output can't be written to: what stands there is not whole");
    }
}

/// Prints what is no result. Where standard error can't be written to there is nobody to tell.
pub fn remark(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Whether this is an error of writing results, which [`end`] deals with: whether it is one because nobody reads them.
pub fn of_results(error: &anyhow::Error) -> Option<bool> {
    error.chain().find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        Some(inner.downcast_ref::<Broken>()?.closed)
    })
}

/// Writes what is left of the results. `Err` where not all could be written though somebody reads them.
///
/// # Errors
/// Says why.
pub fn end() -> Result<(), String> {
    let _ = Results.flush();
    match BROKEN.get() {
        Some(broken) if !broken.closed => Err(broken.to_string()),
        _ => Ok(()),
    }
}
