//! One segment's command ids on the disk: a file beside the segment, made again from its
//! records where it is missing or damaged.
//!
//! Blocks of 4,096 bytes; numbers are little-endian. The first block is the header:
//!
//! | at | bytes | |
//! |---:|---:|---|
//! | 0 | 8 | `ONSLIDS1` |
//! | 8 | 4 | CRC-32C over the bytes 12 to 80 |
//! | 12 | 2 | shard |
//! | 14 | 2 | reserved, 0 |
//! | 16 | 16 | log |
//! | 32 | 8 | sequence of the segment |
//! | 40 | 8 | its first position |
//! | 48 | 8 | its last position |
//! | 56 | 8 | time of its last record, in microseconds |
//! | 64 | 4 | entries |
//! | 68 | 4 | home blocks |
//! | 72 | 4 | blocks, without this one |
//! | 76 | 4 | reserved, 0 |
//!
//! Each other block is a CRC-32C over the rest of it (4), the number of its entries (2), whether
//! they go on in the next block (2), and entries of 12 bytes: a key (8) and a position, less the
//! segment's first (4). Entries are sorted by key over the whole file. A key's home is block
//! `key · home blocks / 2^64`: one read finds it, or two where its home has no room.

use std::io;
use std::sync::Arc;

use onsale_journal::storage::{File, Storage};

const MAGIC: [u8; 8] = *b"ONSLIDS1";
const BLOCK_BYTES: usize = 4_096;
const HEADER_BYTES: usize = 80;
const BLOCK_HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 12;
const ENTRIES_PER_BLOCK_MAX: usize = (BLOCK_BYTES - BLOCK_HEAD_BYTES) / ENTRY_BYTES;
/// Entries per block that the number of home blocks is chosen for: few homes overflow.
const ENTRIES_PER_HOME: usize = 272;
/// Blocks read at a time where all are read.
const BLOCKS_PER_READ: usize = 64;

/// What a file of ids is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Id of the log.
    pub log: u128,
    /// Which shard.
    pub shard: u16,
    /// Sequence of the segment.
    pub sequence: u64,
    /// First position of the segment.
    pub first: u64,
    /// Its last.
    pub last: u64,
    /// Time of its last record, in microseconds.
    pub last_at: i64,
}

/// An id's key and the position of the fact of its command.
pub type Entry = (u64, u64);

/// A file of ids. It is opened only to be read, since there may be hundreds.
#[derive(Clone)]
pub struct IdsFile {
    storage: Arc<dyn Storage>,
    extent: Extent,
    entries: u32,
    homes: u32,
    blocks: u32,
}

/// The file's name.
pub fn name(sequence: u64) -> String {
    format!("{sequence:010}.ids")
}

/// Sequence of the segment that a file of ids belongs to, if it is one.
pub fn parse_name(text: &str) -> Option<u64> {
    let sequence = text.strip_suffix(".ids")?.parse().ok()?;
    (name(sequence) == text).then_some(sequence)
}

/// Writes the ids of a segment: under a temporary name, synced, then renamed, and the folder
/// synced. Sorts the entries.
///
/// # Errors
/// What the disk says; a temporary file may be left, which the next try takes away.
pub fn write(
    storage: &Arc<dyn Storage>,
    extent: &Extent,
    entries: &mut [Entry],
) -> io::Result<IdsFile> {
    entries.sort_unstable();
    let homes = entries.len().div_ceil(ENTRIES_PER_HOME).max(1) as u32;
    let bytes = encode(extent, entries, homes);
    let temporary = format!("{}.tmp", name(extent.sequence));
    super::remove_if_there(&**storage, &temporary)?;
    let file = storage.create(&temporary)?;
    for (at, part) in bytes.chunks(BLOCK_BYTES * BLOCKS_PER_READ).enumerate() {
        file.write_at(part, (at * BLOCK_BYTES * BLOCKS_PER_READ) as u64)?;
    }
    file.sync_all()?;
    storage.rename(&temporary, &name(extent.sequence))?;
    storage.sync()?;
    let blocks = (bytes.len() / BLOCK_BYTES) as u32 - 1;
    let (storage, entries) = (Arc::clone(storage), entries.len() as u32);
    Ok(IdsFile { storage, extent: *extent, entries, homes, blocks })
}

fn encode(extent: &Extent, entries: &[Entry], homes: u32) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_BYTES];
    let (mut rest, mut blocks) = (entries, 0);
    while blocks < homes || !rest.is_empty() {
        // All that have their home here or before it, as far as there is room.
        let at_home = match blocks + 1 < homes {
            true => rest.partition_point(|(key, _)| home(*key, homes) <= blocks),
            false => rest.len(),
        };
        let (here, after) = rest.split_at(at_home.min(ENTRIES_PER_BLOCK_MAX));
        put_block(&mut bytes, extent.first, here, at_home > here.len());
        rest = after;
        blocks += 1;
    }
    let head = &mut bytes[..HEADER_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[12..14].copy_from_slice(&extent.shard.to_le_bytes());
    head[16..32].copy_from_slice(&extent.log.to_le_bytes());
    head[32..40].copy_from_slice(&extent.sequence.to_le_bytes());
    head[40..48].copy_from_slice(&extent.first.to_le_bytes());
    head[48..56].copy_from_slice(&extent.last.to_le_bytes());
    head[56..64].copy_from_slice(&extent.last_at.to_le_bytes());
    head[64..68].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    head[68..72].copy_from_slice(&homes.to_le_bytes());
    head[72..76].copy_from_slice(&blocks.to_le_bytes());
    let crc = crc32c::crc32c(&head[12..]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn put_block(bytes: &mut Vec<u8>, first: u64, entries: &[Entry], goes_on: bool) {
    let start = bytes.len();
    bytes.resize(start + BLOCK_BYTES, 0);
    let block = &mut bytes[start..];
    block[4..6].copy_from_slice(&(entries.len() as u16).to_le_bytes());
    block[6..8].copy_from_slice(&u16::from(goes_on).to_le_bytes());
    let places = block[BLOCK_HEAD_BYTES..].chunks_exact_mut(ENTRY_BYTES);
    for (place, (key, position)) in places.zip(entries) {
        place[..8].copy_from_slice(&key.to_le_bytes());
        place[8..].copy_from_slice(&((position - first) as u32).to_le_bytes());
    }
    let crc = crc32c::crc32c(&block[4..]);
    block[..4].copy_from_slice(&crc.to_le_bytes());
}

fn home(key: u64, homes: u32) -> u32 {
    ((u128::from(key) * u128::from(homes)) >> 64) as u32
}

fn damaged(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail.to_owned())
}

/// The entries of a block that is right.
fn entries_of(block: &[u8]) -> io::Result<(impl Iterator<Item = (u64, u32)>, bool)> {
    let number = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let crc = u32::from_le_bytes(block[..4].try_into().expect("four bytes"));
    let count = usize::from(number(4));
    if crc != crc32c::crc32c(&block[4..]) || count > ENTRIES_PER_BLOCK_MAX {
        return Err(damaged("a block of ids does not fit its checksum"));
    }
    let entry = |place: &[u8]| {
        let key = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
        (key, u32::from_le_bytes(place[8..].try_into().expect("four bytes")))
    };
    let places = block[BLOCK_HEAD_BYTES..].chunks_exact(ENTRY_BYTES).take(count);
    Ok((places.map(entry), number(6) != 0))
}

impl IdsFile {
    /// Opens the ids of a segment.
    ///
    /// # Errors
    /// `NotFound`; `InvalidData` where the header is not right; what the disk says.
    pub fn open(storage: &Arc<dyn Storage>, sequence: u64) -> io::Result<IdsFile> {
        let file = storage.open(&name(sequence))?;
        let mut head = [0; HEADER_BYTES];
        file.read_at(&mut head, 0)?;
        let four = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let eight = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight"));
        if head[..8] != MAGIC || four(8) != crc32c::crc32c(&head[12..]) {
            return Err(damaged("the header of a file of ids is not right"));
        }
        let extent = Extent {
            log: u128::from_le_bytes(head[16..32].try_into().expect("sixteen")),
            shard: u16::from_le_bytes([head[12], head[13]]),
            sequence: eight(32),
            first: eight(40),
            last: eight(48),
            last_at: eight(56) as i64,
        };
        let (entries, homes, blocks) = (four(64), four(68), four(72));
        let length = (u64::from(blocks) + 1) * BLOCK_BYTES as u64;
        if homes == 0 || homes > blocks || file.length()? != length || extent.sequence != sequence {
            return Err(damaged("a file of ids is not as its header says"));
        }
        Ok(IdsFile { storage: Arc::clone(storage), extent, entries, homes, blocks })
    }

    /// What it is about.
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    fn open_again(&self) -> io::Result<Arc<dyn File>> {
        self.storage.open(&name(self.extent.sequence))
    }

    /// How many ids it has.
    pub fn len(&self) -> usize {
        self.entries as usize
    }

    /// Position of the fact of an id's command, as its key says: another id may have the same
    /// one. One read, seldom two.
    ///
    /// # Errors
    /// `InvalidData` where a block is not right; what the disk says.
    pub fn find(&self, key: u64) -> io::Result<Option<u64>> {
        let (file, mut block) = (self.open_again()?, [0; BLOCK_BYTES]);
        for at in home(key, self.homes)..self.blocks {
            file.read_at(&mut block, (u64::from(at) + 1) * BLOCK_BYTES as u64)?;
            let (mut entries, goes_on) = entries_of(&block)?;
            if let Some((_, offset)) = entries.find(|(found, _)| *found == key) {
                return Ok(Some(self.extent.first + u64::from(offset)));
            }
            if !goes_on {
                break;
            }
        }
        Ok(None)
    }

    /// Hands out all keys.
    ///
    /// # Errors
    /// `InvalidData` where a block is not right or there are more or fewer keys than the header
    /// says; what the disk says.
    pub fn each_key(&self, each: &mut dyn FnMut(u64)) -> io::Result<()> {
        let (file, mut bytes) = (self.open_again()?, vec![0; BLOCK_BYTES * BLOCKS_PER_READ]);
        let mut count = 0;
        for from in (0..self.blocks).step_by(BLOCKS_PER_READ) {
            let blocks = (self.blocks - from).min(BLOCKS_PER_READ as u32) as usize;
            let bytes = &mut bytes[..blocks * BLOCK_BYTES];
            file.read_at(bytes, (u64::from(from) + 1) * BLOCK_BYTES as u64)?;
            for block in bytes.chunks_exact(BLOCK_BYTES) {
                let (entries, _) = entries_of(block)?;
                entries.for_each(|(key, _)| {
                    each(key);
                    count += 1;
                });
            }
        }
        match count == self.entries {
            true => Ok(()),
            false => Err(damaged("a file of ids has more or fewer than its header says")),
        }
    }
}
