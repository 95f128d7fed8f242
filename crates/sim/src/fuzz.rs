//! What reads the disk, as functions of any bytes: for fuzzers, and for the tests that
//! replay what fuzzers found. Each panics where a promise is broken.

use std::sync::Arc;

use onsale_journal::storage::Storage as _;
use onsale_journal::{Durability, Options, open, open_read_only};

use crate::disk::FaultyDisk;

const BLOCK_BYTES: usize = 4_096;
/// Where a header begins and how it is laid out, by the description of the form.
const MAGIC: [u8; 8] = [0xFF, b'O', b'N', b'S', b'A', b'L', b'E', 0xFE];
const HEADER_BYTES: usize = 128;
/// Log and shard that the journals of the corpus have.
const LOG: u128 = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;
const SHARD: u16 = 3;
/// Blocks of a journal that is tried.
const BLOCKS_MAX: usize = 64;

/// A record of the journal: what is read is written back and read again as the same.
///
/// # Panics
/// It is not.
pub fn codec(record: &[u8]) {
    let Ok(event) = onsale_codec::decode(record) else { return };
    let mut written = Vec::new();
    onsale_codec::encode(&event, &mut written);
    assert_eq!(onsale_codec::decode(&written).as_ref(), Ok(&event));
}

/// The segments of a journal. The first byte says how many blocks the first of two has; the
/// checksums of headers and payloads are put right, so that what lies behind them is
/// reached.
///
/// # Panics
/// The log opens, and once more it does not, or holds other records then.
pub fn journal(bytes: &[u8]) {
    let Some((&first_blocks, blocks)) = bytes.split_first() else { return };
    let mut blocks = blocks.to_vec();
    blocks.truncate(BLOCKS_MAX * BLOCK_BYTES);
    blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    put_checksums_right(&mut blocks);
    let first = (usize::from(first_blocks) * BLOCK_BYTES).min(blocks.len());
    let disk = FaultyDisk::new(0);
    for (name, part) in [("0000000001.seg", &blocks[..first]), ("0000000002.seg", &blocks[first..])]
    {
        if !part.is_empty() {
            let file = disk.create(name).expect("the disk is new");
            file.write_at(part, 0).expect("nothing fails here");
        }
    }
    let looked = open_read_only(Arc::new(disk.clone()));
    let Some(records) = replay(&disk) else { return };
    if let Ok(looked) = looked {
        assert!(looked.reader.durable() >= records.len() as u64, "a look sees what a start keeps");
    }
    assert_eq!(replay(&disk), Some(records), "a start changes what the next one finds");
}

/// Opens a journal; gives its records.
fn replay(disk: &FaultyDisk) -> Option<Vec<Vec<u8>>> {
    let durability = Durability::Synced;
    let segment_bytes = 4 * BLOCK_BYTES as u64;
    let options = Options { segment_bytes, log: LOG, shard: SHARD, generation: 1, durability };
    let mut records = Vec::new();
    let opened = open(Arc::new(disk.clone()), options, 0, &mut |position, record, _| {
        records.push(record.to_vec());
        assert_eq!(position, records.len() as u64, "positions are dense");
        Ok(())
    });
    let opened = opened.ok()?;
    assert_eq!(opened.last_position, records.len() as u64);
    Some(records)
}

fn put_checksums_right(blocks: &mut [u8]) {
    for start in (0..blocks.len()).step_by(BLOCK_BYTES) {
        let Some(batch) = blocks.get_mut(start..) else { return };
        if batch[..8] != MAGIC {
            continue;
        }
        let number = |at: usize| u32::from_le_bytes(batch[at..at + 4].try_into().expect("4 bytes"));
        let payload_bytes = number(100) as usize;
        if let Some(payload) = batch.get(HEADER_BYTES..HEADER_BYTES.saturating_add(payload_bytes)) {
            let crc = crc32c::crc32c(payload);
            batch[104..108].copy_from_slice(&crc.to_le_bytes());
        }
        batch[12..16].fill(0);
        let crc = crc32c::crc32c(&batch[..HEADER_BYTES]);
        batch[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}
