//! A shard's state on the disk, as it was at a position: so that a start reads this and the records
//! after it, not all there ever were.
//!
//! It can always be made again from the records, and it is never made from a live state. Numbers
//! are little-endian. The file begins with a header of 128 bytes:
//!
//! | at | bytes | |
//! |---:|---:|---|
//! | 0 | 8 | `ONSLSNP1` |
//! | 8 | 4 | CRC-32C over the bytes 12 to 128 |
//! | 12 | 2 | shard |
//! | 14 | 2 | reserved, 0 |
//! | 16 | 16 | log |
//! | 32 | 8 | position: the last that is in it |
//! | 40 | 8 | time of that record, in microseconds |
//! | 48 | 4 | generation |
//! | 52 | 4 | reserved, 0 |
//! | 56 | 16 | hash of the state |
//! | 72 | 56 | reserved, 0 |
//!
//! Then come frames: a length (4), a CRC-32C over kind and bytes (4), a kind (1) and so many bytes. Kind 1: sequences of
//! segments whose files of ids it relies on, 8 bytes each. Kind 2: a part of the state, in
//! order. Kind 3, the last: how many frames came before it (8). Nothing comes after it.

use std::io;
use std::sync::Arc;

use onsale_journal::storage::{File, Storage};

use onsale_planted::{Bug, is};

use crate::ids::remove_if_there;

const MAGIC: [u8; 8] = *b"ONSLSNP1";
const HEADER_BYTES: usize = 128;
const FRAME_HEAD_BYTES: usize = 9;
/// Longest frame.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// How much is written or read at a time, about.
const CHUNK_BYTES: usize = 1 << 20;
const KIND_IDS: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_END: u8 = 3;

/// What a snapshot says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Id of the log.
    pub log: u128,
    /// Which shard.
    pub shard: u16,
    /// The last position that is in it.
    pub position: u64,
    /// Time of that record, in microseconds.
    pub at: i64,
    /// Generation of the log there.
    pub generation: u32,
    /// Hash of the state.
    pub hash: u128,
}

/// The file's name.
pub fn name(position: u64) -> String {
    format!("snapshot-{position:020}.snap")
}

/// Position of a snapshot, if a file is one.
pub fn parse_name(text: &str) -> Option<u64> {
    let position = text.strip_prefix("snapshot-")?.strip_suffix(".snap")?.parse().ok()?;
    (name(position) == text).then_some(position)
}

/// Name of the file while it is being made.
pub const TEMPORARY_NAME: &str = "snapshot-new.tmp";

/// Positions of the snapshots in a folder, the newest first.
///
/// # Errors
/// What the disk says.
pub fn list(storage: &dyn Storage) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = storage.list()?.iter().filter_map(|name| parse_name(name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Writes a snapshot under its temporary name and syncs it; `state` hands out the parts of the state.
///
/// # Errors
/// What the disk says.
pub fn write(
    storage: &dyn Storage,
    header: &Header,
    ids: &[u64],
    state: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> io::Result<()> {
    remove_if_there(storage, TEMPORARY_NAME)?;
    let file = storage.create(TEMPORARY_NAME)?;
    let mut out =
        Out { file, at: 0, bytes: encode_header(header).to_vec(), frames: 0, error: None };
    let ids: Vec<u8> = ids.iter().flat_map(|sequence| sequence.to_le_bytes()).collect();
    out.frame(KIND_IDS, &ids);
    state(&mut |part| out.frame(KIND_STATE, part));
    out.frame(KIND_END, &out.frames.to_le_bytes());
    out.flush();
    match out.error {
        Some(error) => Err(error),
        None => out.file.sync_all(),
    }
}

/// Gives what was written and read back its name, for good.
///
/// # Errors
/// What the disk says.
pub fn publish(storage: &dyn Storage, position: u64) -> io::Result<()> {
    storage.rename(TEMPORARY_NAME, &name(position))?;
    storage.sync()
}

fn encode_header(header: &Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[12..14].copy_from_slice(&header.shard.to_le_bytes());
    bytes[16..32].copy_from_slice(&header.log.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.position.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.at.to_le_bytes());
    bytes[48..52].copy_from_slice(&header.generation.to_le_bytes());
    bytes[56..72].copy_from_slice(&header.hash.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode_header(bytes: &[u8; HEADER_BYTES]) -> io::Result<Header> {
    let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let eight = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    let wide = |at: usize| u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen"));
    if bytes[..8] != MAGIC || four(8) != crc32c::crc32c(&bytes[12..]) {
        return Err(damaged("its header is not right"));
    }
    Ok(Header {
        log: wide(16),
        shard: u16::from_le_bytes([bytes[12], bytes[13]]),
        position: eight(32),
        at: eight(40) as i64,
        generation: four(48),
        hash: wide(56),
    })
}

fn damaged(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail.to_owned())
}

/// A file that is written from its beginning to its end. After an error nothing more is written.
struct Out {
    file: Arc<dyn File>,
    at: u64,
    bytes: Vec<u8>,
    frames: u64,
    error: Option<io::Error>,
}

impl Out {
    fn frame(&mut self, kind: u8, body: &[u8]) {
        assert!(body.len() <= FRAME_BYTES_MAX, "a part of a snapshot is too long");
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), body);
        self.bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(body);
        self.frames += 1;
        if self.bytes.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.file.write_at(&self.bytes, self.at).err();
        }
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
    }
}

/// A snapshot that is being read.
pub struct Snapshot {
    file: Arc<dyn File>,
    length: u64,
    header: Header,
}

impl Snapshot {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// `InvalidData` where the header is not right; what the disk says.
    pub fn open(storage: &dyn Storage, name: &str) -> io::Result<Snapshot> {
        let file = storage.open(name)?;
        let length = file.length()?;
        let mut head = [0; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(damaged("it is shorter than its header"));
        }
        file.read_at(&mut head, 0)?;
        Ok(Snapshot { length, header: decode_header(&head)?, file })
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Hands out the parts of the state, in order, and gives the sequences of the segments whose files
    /// of ids it relies on. What was handed out counts only if all went well.
    ///
    /// # Errors
    /// `InvalidData` where something is not right, or `each` says so; what the disk says.
    pub fn read(&self, each: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> io::Result<Vec<u64>> {
        let mut window = Window { at: HEADER_BYTES as u64, bytes: Vec::new(), start: 0 };
        let (mut ids, mut frames) = (Vec::new(), 0u64);
        loop {
            let (kind, body) = self.frame(&mut window)?;
            match kind {
                KIND_IDS if body.len().is_multiple_of(8) => ids.extend(
                    body.chunks_exact(8)
                        .map(|eight| u64::from_le_bytes(eight.try_into().expect("eight"))),
                ),
                KIND_STATE => each(body).map_err(|detail| damaged(&detail))?,
                KIND_END if *body == frames.to_le_bytes() => break,
                _ => return Err(damaged("a part of it is out of place")),
            }
            frames += 1;
        }
        match window.at + window.start as u64 == self.length {
            true => Ok(ids),
            false => Err(damaged("something comes after its end")),
        }
    }

    /// The next frame: kind and bytes.
    fn frame<'a>(&self, window: &'a mut Window) -> io::Result<(u8, &'a [u8])> {
        let head = window.get(self, FRAME_HEAD_BYTES)?;
        let four = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let (length, crc, kind) = (four(0) as usize, four(4), head[8]);
        if length > FRAME_BYTES_MAX {
            return Err(damaged("a part of it is too long"));
        }
        let body = window.get(self, length)?;
        let fits = crc == crc32c::crc32c_append(crc32c::crc32c(&[kind]), body);
        match fits || is(Bug::SnapshotChecksumIgnored) {
            true => Ok((kind, body)),
            false => Err(damaged("a part of it does not fit its checksum")),
        }
    }
}

/// A part of the file in memory: `start` is how far it has been taken.
struct Window {
    /// Where it begins in the file.
    at: u64,
    bytes: Vec<u8>,
    start: usize,
}

impl Window {
    fn get(&mut self, snapshot: &Snapshot, bytes: usize) -> io::Result<&[u8]> {
        if self.bytes.len() - self.start < bytes {
            self.at += self.start as u64;
            self.bytes.drain(..self.start);
            self.start = 0;
            let held = self.bytes.len();
            let left = snapshot.length - self.at - held as u64;
            if left < (bytes - held) as u64 {
                return Err(damaged("it ends too early"));
            }
            let more = left.min((bytes - held).max(CHUNK_BYTES) as u64) as usize;
            self.bytes.resize(held + more, 0);
            snapshot.file.read_at(&mut self.bytes[held..], self.at + held as u64)?;
        }
        self.start += bytes;
        Ok(&self.bytes[self.start - bytes..self.start])
    }
}

#[cfg(test)]
mod tests;
