//! What one segment holds, read without trusting it: every block is looked at,
//! also past damage.

use std::sync::Arc;

use crate::Error;
use crate::format::{BLOCK_BYTES, Decoded, Header, VERSION, ZERO_BLOCK, segment_name};
use crate::storage::{File, Kind, Stores};

/// How much of a segment is read at a time, at least.
const READ_BYTES: usize = 1 << 20;
/// Places of damage that are kept per segment, for messages.
const DAMAGE_MAX: usize = 64;

/// Whose log it is; what isn't known yet is taken from the first header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity {
    pub log: Option<u128>,
    pub shard: Option<u16>,
}

/// A record batch whose header is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub offset: u64,
    pub first: u64,
    pub count: u32,
    pub batch_bytes: u64,
    /// Chain before and after it.
    pub previous: u32,
    pub chain: u32,
    /// Whether its payload is right, too.
    pub whole: bool,
}

impl Found {
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    pub(crate) fn end(&self) -> u64 {
        self.offset + self.batch_bytes
    }
}

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub name: String,
    pub sequence: u64,
    /// Which copy of it was read.
    pub kind: Kind,
    /// The header that it begins with, where that counts.
    pub head: Option<Header>,
    /// The position that it says was the log's last, where it ends with a clean end.
    pub clean_end: Option<u64>,
    /// Length of its file.
    pub length: u64,
    /// Where the zeros begin that go on to its end.
    pub used_bytes: u64,
    /// Term and base of its batches; none where no header counts.
    pub term: Option<(u64, u64)>,
    /// Highest that any of its headers says.
    pub durable_upto: u64,
    pub generation: u32,
    /// Its record batches, in order of their place.
    pub batches: Vec<Found>,
    /// Where blocks begin that are neither zero nor part of a batch whose header counts: the first few.
    pub damage: Vec<u64>,
}

impl Scanned {
    /// Whether it holds nothing but zeros.
    pub(crate) fn is_blank(&self) -> bool {
        self.used_bytes == 0
    }
}

/// Opens a copy of a segment.
pub(crate) fn open_segment(
    stores: &Stores,
    kind: Kind,
    sequence: u64,
) -> Result<Arc<dyn File>, Error> {
    let file = stores.of(kind).open(&segment_name(sequence));
    file.map_err(Error::io("open", &kind.shown(sequence)))
}

/// Reads a segment from its beginning to its end.
pub(crate) fn scan(
    stores: &Stores,
    kind: Kind,
    sequence: u64,
    identity: &mut Identity,
) -> Result<Scanned, Error> {
    let file = open_segment(stores, kind, sequence)?;
    scan_file(&*file, kind.shown(sequence), kind, sequence, identity)
}

/// Reads a segment's file from its beginning to its end.
pub(crate) fn scan_file(
    file: &dyn File,
    name: String,
    kind: Kind,
    sequence: u64,
    identity: &mut Identity,
) -> Result<Scanned, Error> {
    let length = file.length().map_err(Error::io("read the length of", &name))?;
    let mut scanned = Scanned {
        name,
        sequence,
        kind,
        head: None,
        clean_end: None,
        length,
        used_bytes: 0,
        term: None,
        durable_upto: 0,
        generation: 0,
        batches: Vec::new(),
        damage: Vec::new(),
    };
    let mut window = Window { file, length, start: 0, bytes: Vec::new() };
    let mut offset = 0;
    while offset < length {
        offset = scan_block(&mut scanned, &mut window, offset, identity)?;
    }
    Ok(scanned)
}

/// Looks at the block at this offset; gives back where the next one to look at is.
fn scan_block(
    scanned: &mut Scanned,
    window: &mut Window<'_>,
    offset: u64,
    identity: &mut Identity,
) -> Result<u64, Error> {
    let next = offset + BLOCK_BYTES as u64;
    let block = window.get(offset, BLOCK_BYTES).map_err(Error::io("read", &scanned.name))?;
    if *block == ZERO_BLOCK[..block.len()] {
        return Ok(next);
    }
    let header = match decode(block, &scanned.name, offset)? {
        Some(header) => header,
        None => {
            scanned.clean_end = None;
            scanned.used_bytes = next.min(scanned.length);
            if scanned.damage.len() < DAMAGE_MAX {
                scanned.damage.push(offset);
            }
            return Ok(next);
        }
    };
    check_identity(&header, identity, &scanned.name, offset)?;
    if header.segment != scanned.sequence || header.offset != offset {
        // A remnant of an earlier use of the file: it takes up its block, no more.
        scanned.used_bytes = next.min(scanned.length);
        return Ok(next);
    }
    if offset == 0 {
        scanned.head = Some(header);
    }
    let end = offset + header.batch_bytes() as u64;
    scanned.used_bytes = end.min(scanned.length);
    take_header(scanned, &header, offset)?;
    if !header.is_mark() {
        // A batch that goes on past the end of its file can't be whole.
        let batch = match end <= scanned.length {
            true => window
                .get(offset, header.batch_bytes())
                .map_err(Error::io("read", &scanned.name))?,
            false => &[],
        };
        scanned.batches.push(Found {
            offset,
            first: header.first,
            count: header.count,
            batch_bytes: header.batch_bytes() as u64,
            previous: header.previous,
            chain: header.chain(),
            whole: header.is_whole(batch),
        });
    }
    Ok(end)
}

/// Takes over what a header says of its segment and of the log.
fn take_header(scanned: &mut Scanned, header: &Header, offset: u64) -> Result<(), Error> {
    let term = (header.term, header.base);
    if *scanned.term.get_or_insert(term) != term {
        return Err(Error::Damaged {
            file: scanned.name.clone(),
            offset,
            position: header.first,
            detail: "a batch of another term than the ones before it".to_owned(),
        });
    }
    scanned.durable_upto = scanned.durable_upto.max(header.durable_upto);
    scanned.generation = scanned.generation.max(header.generation);
    scanned.clean_end = header.is_clean_end().then_some(header.durable_upto);
    Ok(())
}

/// The header that a block begins with, if it is one.
fn decode(block: &[u8], name: &str, offset: u64) -> Result<Option<Header>, Error> {
    match Header::decode(block) {
        Decoded::Header(header) => Ok(Some(header)),
        Decoded::None => Ok(None),
        Decoded::Unknown { version, flags } => {
            let file = name.to_owned();
            Err(Error::Version { file, offset, version, flags, known: VERSION })
        }
    }
}

/// The header at this place of a segment, where it counts. `block` has room for it.
fn header_at(
    file: &dyn File,
    name: &str,
    sequence: u64,
    offset: u64,
    identity: &mut Identity,
    block: &mut [u8],
) -> Result<Option<Header>, Error> {
    file.read_at(block, offset).map_err(Error::io("read", name))?;
    let Some(header) = decode(block, name, offset)? else { return Ok(None) };
    check_identity(&header, identity, name, offset)?;
    Ok(((header.segment, header.offset) == (sequence, offset)).then_some(header))
}

/// The header that a segment begins with, where it counts, and the length of its file: one block is read.
pub(crate) fn head(
    stores: &Stores,
    kind: Kind,
    sequence: u64,
    mut identity: Identity,
) -> Result<(Option<Header>, u64), Error> {
    let (file, name) = (open_segment(stores, kind, sequence)?, kind.shown(sequence));
    let length = file.length().map_err(Error::io("read the length of", &name))?;
    if length < BLOCK_BYTES as u64 {
        return Ok((None, length));
    }
    let mut block = vec![0; BLOCK_BYTES];
    Ok((header_at(&*file, &name, sequence, 0, &mut identity, &mut block)?, length))
}

/// Hands out the headers of a segment's record batches that count, in order, without a look at their payloads.
pub(crate) fn headers(
    file: &dyn File,
    name: &str,
    sequence: u64,
    mut identity: Identity,
    each: &mut dyn FnMut(&Header),
) -> Result<(), Error> {
    let length = file.length().map_err(Error::io("read the length of", name))?;
    let (mut offset, mut block) = (0, vec![0; BLOCK_BYTES]);
    while offset + BLOCK_BYTES as u64 <= length {
        let found = header_at(file, name, sequence, offset, &mut identity, &mut block)?;
        offset += found.map_or(BLOCK_BYTES, |header| header.batch_bytes()) as u64;
        if let Some(header) = found.filter(|header| !header.is_mark()) {
            each(&header);
        }
    }
    Ok(())
}

fn check_identity(
    header: &Header,
    identity: &mut Identity,
    name: &str,
    offset: u64,
) -> Result<(), Error> {
    let log = *identity.log.get_or_insert(header.log);
    let shard = *identity.shard.get_or_insert(header.shard);
    if (log, shard) == (header.log, header.shard) {
        return Ok(());
    }
    let of = |log: u128, shard: u16| format!("shard {shard} of log {log:032x}");
    let (expected, found) = (of(log, shard), of(header.log, header.shard));
    Err(Error::Foreign { file: name.to_owned(), offset, expected, found })
}

/// A part of a file in memory that moves forward.
struct Window<'a> {
    file: &'a dyn File,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// So many bytes from this offset; fewer only where the file ends.
    fn get(&mut self, offset: u64, bytes: usize) -> std::io::Result<&[u8]> {
        let end = (offset + bytes as u64).min(self.length);
        let held = self.start..=self.start + self.bytes.len() as u64;
        if !held.contains(&offset) || !held.contains(&end) {
            let length = (self.length - offset).min(bytes.max(READ_BYTES) as u64);
            self.bytes.resize(length as usize, 0);
            self.start = offset;
            self.file.read_at(&mut self.bytes, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..from + (end - offset) as usize])
    }
}
