//! The form of the log on disk, exact enough to write a reader in another language.
//!
//! # Files
//!
//! A shard's log is a folder of segments `NNNNNNNNNN.seg`; `NNNNNNNNNN` is the
//! segment's sequence in decimal, from 1, with leading zeros, without gaps. Their lengths may differ
//! and are multiples of 4,096 bytes. `NNNNNNNNNN.tmp` is a segment that is still being
//! made; it has no standing and may be removed whenever no writer is at work. A segment that holds
//! nothing but zeros after all the others is a spare. `NNNNNNNNNN.ids` and `snapshot-*` belong to the log's
//! user, who can make them again. Other names are not the log's.
//!
//! A second folder, the archive, may hold copies of segments under the same names, without the zeros at their ends.
//! A copy has its name only once it was read back and is durable. Segments may then be gone from the first folder, from
//! the lowest one on; and later from the archive, from the lowest one on: then the log begins where its first segment does.
//!
//! # Batches
//!
//! A segment is a run of batches from offset 0, each a header, a payload and zeros
//! up to the next multiple of 4,096; after the last one there are only zeros, or what is left of a
//! batch whose write was cut short. A batch never spans two segments. All integers are unsigned and
//! little-endian unless it says otherwise; CRC is CRC-32C (Castagnoli, as in RFC 3720).
//!
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 8 | magic | `FF 4F 4E 53 41 4C 45 FE`: bytes that UTF-8 never has around `ONSALE`, so that no text in a payload looks like a header |
//! | 8 | 2 | version | 1. Magic, version, header bytes and header CRC keep their place in every version |
//! | 10 | 2 | header bytes | where the payload begins, 128; a reader of version 1 takes any multiple of 8 from 128 to 4,096 and ignores what it doesn't know |
//! | 12 | 4 | header CRC | over all header bytes, this field taken as zero |
//! | 16 | 16 | log id | big-endian, as a UUID is written |
//! | 32 | 2 | shard | of which shard this is the log |
//! | 34 | 2 | flags | bit 0 mark, bit 1 copy, bit 2 (reserved) compressed payload, bit 3 clean end, of a mark only; a reader refuses a bit that it doesn't know |
//! | 36 | 4 | generation | of the log; never falls |
//! | 40 | 8 | segment | sequence of the segment it was written to |
//! | 48 | 4 | reuse | how often this segment's file was a segment before, as far as its writer knew: one that a start finds as a spare counts from 0 again |
//! | 52 | 4 | previous | chain of the record batch before it, 0 at the log's beginning |
//! | 56 | 8 | offset | in the segment, a multiple of 4,096 |
//! | 64 | 8 | term | sequence of the first segment that was written by the same run of the writer |
//! | 72 | 8 | base | last position that the log held when that term began |
//! | 80 | 8 | first | position of its first record; of a mark, the position that comes next |
//! | 88 | 8 | durable up to | a position that was durable when the batch was written |
//! | 96 | 4 | count | records |
//! | 100 | 4 | payload bytes | length of the payload |
//! | 104 | 4 | payload CRC | over the payload |
//! | 108 | 2 | record form | what the records hold, for those who decode them (reserved, 0; ignored here) |
//! | 110 | 18 | reserved | written as zero, ignored |
//!
//! The payload is `count` records, each a length of 4 bytes and so many bytes. Record `i`, from 0, has
//! position `first + i`. Positions begin at 1 and have no gaps.
//!
//! The **chain** of a record batch is the CRC over 24 bytes: its fields first (8), previous (4), count (4),
//! payload bytes (4) and payload CRC (4), in this order. It depends on nothing but what the log holds, so
//! a copy of a batch has the same one, and a mark leaves it alone.
//!
//! A **mark** is a batch without records: it only says how far the log is durable. A mark with a **clean end** is
//! the last that a run of the writer wrote, after all its records were durable: where one ends the log, nothing
//! was lost. A **copy** is a record batch that a start took over, payload byte for byte, from an earlier term.
//!
//! The first batch of a segment says that everything before it is durable (`durable up to` is `first` - 1), so the
//! first positions of segments never fall. The records from a segment's first position to
//! the one before the next segment's are in that segment, if the start that wrote the next one came to its mark.
//!
//! # What a folder holds
//!
//! 1. A header counts when its magic and CRC are right and log id, shard, segment and offset say where it was
//!    found; anything else that is not zero is damage. They are looked for at every multiple of 4,096, but not inside
//!    the extent of a batch whose header counts. A header that is right but of another segment or
//!    offset is a remnant of an earlier use of the file and says nothing.
//! 2. All batches of a segment are of one term; terms never fall from one segment to the next.
//! 3. The log is **proven** up to the highest `durable up to` of any header that counts.
//! 4. A batch of term `s` is void when its last position is above the `base` of any term higher than `s`.
//! 5. Of the batches that are whole (payload CRC and record lengths are right) and not void, the one of the
//!    highest term has a position. Two of them that share a position hold the same records, since the higher one is
//!    a copy.
//! 6. The log is the longest run of such batches from position 1 on, each beginning where the one before it
//!    ended and naming its chain. If it ends below what is proven, the log is damaged and must not be used. What
//!    lies above the run was never durable, or is a single batch at the very end that rotted before
//!    anything was written after it, which can't be told apart.

use onsale_planted::{Bug, is};

/// What batches are padded to.
pub const BLOCK_BYTES: usize = 4096;
/// Length of the header that this version writes.
pub const HEADER_BYTES: usize = 128;
/// Longest batch that this version writes, header and padding included.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a record costs in a batch beside its own bytes: its length.
pub const RECORD_OVERHEAD_BYTES: usize = 4;
/// Longest record, in bytes, where segments are not smaller than four batches.
pub const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX - HEADER_BYTES - RECORD_OVERHEAD_BYTES;
/// Shortest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 4 * BLOCK_BYTES as u64;
/// Longest segment, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;
/// Sequence of a log's first segment.
pub(crate) const FIRST_SEQUENCE: u64 = 1;
/// The version that this code writes, and the highest that it reads.
pub const VERSION: u16 = 1;

pub(crate) const ZERO_BLOCK: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
pub(crate) const FLAG_MARK: u16 = 1;
pub(crate) const FLAG_COPY: u16 = 2;
pub(crate) const FLAG_CLEAN: u16 = 8;
const FLAGS_KNOWN: u16 = FLAG_MARK | FLAG_COPY | FLAG_CLEAN;
const MAGIC: [u8; 8] = [0xFF, b'O', b'N', b'S', b'A', b'L', b'E', 0xFE];
const CRC_AT: usize = 12;

const _: () = {
    assert!(HEADER_BYTES < BLOCK_BYTES && HEADER_BYTES.is_multiple_of(8));
    assert!(BATCH_BYTES_MAX.is_multiple_of(BLOCK_BYTES) && BATCH_BYTES_MAX <= u32::MAX as usize);
    assert!(SEGMENT_BYTES_MIN.is_multiple_of(BLOCK_BYTES as u64));
    // An index entry keeps a batch's place in a segment in 32 bits, in blocks.
    assert!(SEGMENT_BYTES_MAX / BLOCK_BYTES as u64 <= u32::MAX as u64);
    // Positions within a segment are kept in 32 bits, too: a record has 4 bytes at least.
    assert!(SEGMENT_BYTES_MAX / RECORD_OVERHEAD_BYTES as u64 <= u32::MAX as u64);
};

/// Longest batch for segments of this length: four of them fit, so that little
/// of a segment's end stays unused.
#[must_use]
pub const fn batch_bytes_max(segment_bytes: u64) -> usize {
    let quarter = segment_bytes as usize / 4 / BLOCK_BYTES * BLOCK_BYTES;
    if quarter < BATCH_BYTES_MAX { quarter } else { BATCH_BYTES_MAX }
}

/// Rounds up to whole blocks.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Name of a segment's file.
#[must_use]
pub fn segment_name(sequence: u64) -> String {
    format!("{sequence:010}.seg")
}

/// Name of a segment's file while it is being made.
pub(crate) fn temporary_name(sequence: u64) -> String {
    format!("{sequence:010}.tmp")
}

/// What a file's name says.
pub(crate) enum Named {
    Segment(u64),
    Unfinished,
    /// A file of the log's user.
    Side,
    Foreign,
}

pub(crate) fn parse_name(name: &str) -> Named {
    let Some((stem, kind)) = name.split_once('.') else { return Named::Foreign };
    let digits = stem.len() >= 10 && stem.bytes().all(|b| b.is_ascii_digit());
    match (stem.parse::<u64>(), kind) {
        (Ok(sequence), "seg") if digits && segment_name(sequence) == name && sequence > 0 => {
            Named::Segment(sequence)
        }
        (Ok(sequence), "tmp") if digits && temporary_name(sequence) == name => Named::Unfinished,
        (Ok(_), "ids" | "ids.tmp") if digits => Named::Side,
        _ if name.starts_with("snapshot-") => Named::Side,
        _ => Named::Foreign,
    }
}

/// A batch's header, without what is the same in every one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub header_bytes: u16,
    pub log: u128,
    pub shard: u16,
    pub flags: u16,
    pub generation: u32,
    pub segment: u64,
    pub reuse: u32,
    pub previous: u32,
    pub offset: u64,
    pub term: u64,
    pub base: u64,
    pub first: u64,
    pub durable_upto: u64,
    pub count: u32,
    pub payload_bytes: u32,
    pub payload_crc: u32,
}

/// What a block begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decoded {
    Header(Header),
    /// A whole header that this version can't read, and why.
    Unknown {
        version: u16,
        flags: u16,
    },
    /// Not a header, or a damaged one.
    None,
}

impl Header {
    /// Writes the header over the first [`HEADER_BYTES`] of a batch.
    pub(crate) fn encode(&self, batch: &mut [u8]) {
        let out = &mut batch[..HEADER_BYTES];
        out.fill(0);
        out[0..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10..12].copy_from_slice(&self.header_bytes.to_le_bytes());
        out[16..32].copy_from_slice(&self.log.to_be_bytes());
        out[32..34].copy_from_slice(&self.shard.to_le_bytes());
        out[34..36].copy_from_slice(&self.flags.to_le_bytes());
        out[36..40].copy_from_slice(&self.generation.to_le_bytes());
        out[40..48].copy_from_slice(&self.segment.to_le_bytes());
        out[48..52].copy_from_slice(&self.reuse.to_le_bytes());
        out[52..56].copy_from_slice(&self.previous.to_le_bytes());
        out[56..64].copy_from_slice(&self.offset.to_le_bytes());
        out[64..72].copy_from_slice(&self.term.to_le_bytes());
        out[72..80].copy_from_slice(&self.base.to_le_bytes());
        out[80..88].copy_from_slice(&self.first.to_le_bytes());
        out[88..96].copy_from_slice(&self.durable_upto.to_le_bytes());
        out[96..100].copy_from_slice(&self.count.to_le_bytes());
        out[100..104].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[104..108].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(out);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header that a block begins with.
    pub(crate) fn decode(block: &[u8]) -> Decoded {
        if block.len() < HEADER_BYTES || block[0..8] != MAGIC {
            return Decoded::None;
        }
        let header_bytes = u16_at(block, 10);
        let length = usize::from(header_bytes);
        if !(HEADER_BYTES..=BLOCK_BYTES).contains(&length)
            || !length.is_multiple_of(8)
            || block.len() < length
            || header_crc(&block[..length]) != u32_at(block, CRC_AT)
        {
            return Decoded::None;
        }
        let (version, flags) = (u16_at(block, 8), u16_at(block, 34));
        if version != VERSION || flags & !FLAGS_KNOWN != 0 {
            return Decoded::Unknown { version, flags };
        }
        let header = Header {
            header_bytes,
            log: u128::from_be_bytes(block[16..32].try_into().expect("16 bytes")),
            shard: u16_at(block, 32),
            flags,
            generation: u32_at(block, 36),
            segment: u64_at(block, 40),
            reuse: u32_at(block, 48),
            previous: u32_at(block, 52),
            offset: u64_at(block, 56),
            term: u64_at(block, 64),
            base: u64_at(block, 72),
            first: u64_at(block, 80),
            durable_upto: u64_at(block, 88),
            count: u32_at(block, 96),
            payload_bytes: u32_at(block, 100),
            payload_crc: u32_at(block, 104),
        };
        if header.is_sound() { Decoded::Header(header) } else { Decoded::None }
    }

    /// Whether the fields agree with one another.
    fn is_sound(&self) -> bool {
        let records = u64::from(self.count) * RECORD_OVERHEAD_BYTES as u64;
        self.first > self.durable_upto
            && self.first.checked_add(u64::from(self.count)).is_some()
            && self.term <= self.segment
            && self.is_mark() == (self.count == 0)
            && (self.is_mark() || self.flags & FLAG_CLEAN == 0)
            && records <= u64::from(self.payload_bytes)
            && (self.count > 0 || self.payload_bytes == 0)
    }

    pub(crate) fn is_mark(&self) -> bool {
        self.flags & FLAG_MARK != 0
    }

    pub(crate) fn is_copy(&self) -> bool {
        self.flags & FLAG_COPY != 0
    }

    pub(crate) fn is_clean_end(&self) -> bool {
        self.is_mark() && self.flags & FLAG_CLEAN != 0
    }

    /// Position of its last record; of a mark, the one before it.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Its length on disk, header and padding included.
    pub(crate) fn batch_bytes(&self) -> usize {
        padded(usize::from(self.header_bytes) + self.payload_bytes as usize)
    }

    /// The chain after it.
    pub(crate) fn chain(&self) -> u32 {
        if self.is_mark() {
            return self.previous;
        }
        chain(self.first, self.previous, self.count, self.payload_bytes, self.payload_crc)
    }

    /// The payload in a batch's bytes, not checked; none where they end before it does.
    pub(crate) fn payload<'a>(&self, batch: &'a [u8]) -> Option<&'a [u8]> {
        let start = usize::from(self.header_bytes);
        batch.get(start..start + self.payload_bytes as usize)
    }

    /// Whether a batch's bytes hold the whole payload: its CRC is right and it
    /// holds just the records that the header promises.
    pub(crate) fn is_whole(&self, batch: &[u8]) -> bool {
        self.payload(batch).is_some_and(|payload| {
            let fits = crc32c::crc32c(payload) == self.payload_crc || is(Bug::ChecksumIgnored);
            fits && holds_records(payload, self.count)
        })
    }
}

/// The chain after a record batch, from the one before it, as the format has it.
#[must_use]
pub fn chain(first: u64, previous: u32, count: u32, payload_bytes: u32, payload_crc: u32) -> u32 {
    let mut bytes = [0; 24];
    bytes[0..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..12].copy_from_slice(&previous.to_le_bytes());
    bytes[12..16].copy_from_slice(&count.to_le_bytes());
    bytes[16..20].copy_from_slice(&payload_bytes.to_le_bytes());
    bytes[20..24].copy_from_slice(&payload_crc.to_le_bytes());
    crc32c::crc32c(&bytes)
}

fn holds_records(payload: &[u8], count: u32) -> bool {
    let mut records = Records { rest: payload };
    let found = records.by_ref().take(count as usize).count();
    found == count as usize && records.rest.is_empty()
}

/// The records of a payload, in order. Ends early where a length is wrong.
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Those of a payload, as [`crate::WriteJob::payload`] gives it.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Records<'a> {
        Records { rest: payload }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<RECORD_OVERHEAD_BYTES>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(record)
    }
}

fn header_crc(header: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&header[..CRC_AT]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &header[CRC_AT + 4..])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("2 bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests;
