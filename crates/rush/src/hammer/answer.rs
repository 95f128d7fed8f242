//! Takes one answer off the front of what came in.

use anyhow::{bail, ensure};

/// Largest head and body that are taken.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An answer that is there as a whole: its status, where its body begins, and where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) body: usize,
    pub(super) end: usize,
}

/// The first answer; none while it is not there as a whole.
///
/// # Errors
/// It is not HTTP/1.1 with a `Content-Length`.
pub(super) fn first(input: &[u8]) -> anyhow::Result<Option<Whole>> {
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else {
        ensure!(input.len() < ANSWER_BYTES_MAX, "a head without an end");
        return Ok(None);
    };
    let (head, body) = (&input[..end], end + 4);
    let Some(status) = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?))
    else {
        bail!("not HTTP/1.1: {}", String::from_utf8_lossy(&head[..head.len().min(80)]));
    };
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let length = lines.filter_map(content_length).next();
    let Some(length) = length else { bail!("an answer without a Content-Length") };
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
    let whole = Whole { status: status as u16, body, end: body + length };
    Ok((input.len() >= whole.end).then_some(whole))
}

fn content_length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    name.eq_ignore_ascii_case(NAME).then(|| number(value.trim_ascii()))?
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
