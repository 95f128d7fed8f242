//! The form on disk, byte by byte: what these tests say must not change.

use proptest::prelude::*;

use super::*;

fn header() -> Header {
    Header {
        header_bytes: 128,
        log: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        shard: 0x0102,
        flags: FLAG_COPY,
        generation: 0x0304_0506,
        segment: 0x0708_090a_0b0c_0d0e,
        reuse: 0x4142_4344,
        previous: 0x0f10_1112,
        offset: 0x1314_1516_1718_1000,
        term: 0x0619_1a1b_1c1d_1e1f,
        base: 0x2021_2223_2425_2627,
        first: 0x2829_2a2b_2c2d_2e2f,
        durable_upto: 0x2020_3132_3334_3536,
        count: 0x0000_3738,
        payload_bytes: 0x393a_3b3c,
        payload_crc: 0x3d3e_3f40,
    }
}

#[test]
fn the_bytes_of_a_header() {
    let mut bytes = [0xAA; BLOCK_BYTES];
    header().encode(&mut bytes);
    let expected = [
        "ff4f4e53414c45fe 0100 8000 5a25ac37",
        "00112233445566778899aabbccddeeff",
        "0201 0200 06050403 0e0d0c0b0a090807",
        "44434241 1211100f 0010181716151413",
        "1f1e1d1c1b1a1906 2726252423222120",
        "2f2e2d2c2b2a2928 3635343332312020",
        "38370000 3c3b3a39 403f3e3d 0000 0000",
        "00000000000000000000000000000000",
    ];
    let lines: Vec<String> = bytes[..HEADER_BYTES]
        .chunks(16)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    assert_eq!(lines, expected.map(|line| line.replace(' ', "")));
    assert!(bytes[HEADER_BYTES..].iter().all(|byte| *byte == 0xAA));
    assert_eq!(header().chain(), 0xf871_04fd);
}

#[test]
fn the_bytes_of_a_whole_batch() {
    let mut batch = vec![0; HEADER_BYTES];
    for record in [&b"one"[..], b"", b"three"] {
        batch.extend_from_slice(&(record.len() as u32).to_le_bytes());
        batch.extend_from_slice(record);
    }
    let payload = &batch[HEADER_BYTES..];
    assert_eq!(payload, b"\x03\0\0\0one\0\0\0\0\x05\0\0\0three");
    let header = Header {
        count: 3,
        payload_bytes: payload.len() as u32,
        payload_crc: crc32c::crc32c(payload),
        ..header()
    };
    assert!(header.is_whole(&batch));
    assert_eq!(Records::new(payload).collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
    assert_eq!(header.batch_bytes(), 4096);
    assert_eq!(header.last(), header.first + 2);
    for count in [0, 2, 4] {
        assert!(!Header { count, ..header }.is_whole(&batch), "{count} records");
    }
    assert!(!header.is_whole(&batch[..batch.len() - 1]));
}

#[test]
fn a_header_with_one_bit_flipped_is_none() {
    let mut bytes = vec![0; BLOCK_BYTES];
    header().encode(&mut bytes);
    assert_eq!(Header::decode(&bytes), Decoded::Header(header()));
    for bit in 0..HEADER_BYTES * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&bytes), Decoded::None, "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(Header::decode(&bytes[..HEADER_BYTES - 1]), Decoded::None);
}

/// Changes bytes of a header and makes its CRC right again.
fn changed(at: usize, to: &[u8]) -> Decoded {
    let mut bytes = vec![0; BLOCK_BYTES];
    header().encode(&mut bytes);
    bytes[at..at + to.len()].copy_from_slice(to);
    let length = usize::from(u16_at(&bytes, 10)).min(BLOCK_BYTES);
    let crc = header_crc(&bytes[..length]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    Header::decode(&bytes)
}

#[test]
fn later_forms_are_told_apart_from_damage() {
    assert_eq!(changed(8, &[2, 0]), Decoded::Unknown { version: 2, flags: 2 });
    assert_eq!(changed(34, &[4, 0]), Decoded::Unknown { version: 1, flags: 4 });
    assert_eq!(changed(110, &[9; 18]), Decoded::Header(header()), "reserved bytes are ignored");
    let longer = Header { header_bytes: 136, ..header() };
    assert_eq!(changed(10, &136_u16.to_le_bytes()), Decoded::Header(longer));
    assert_eq!(changed(10, &132_u16.to_le_bytes()), Decoded::None);
    assert_eq!(changed(0, &[0]), Decoded::None);
}

#[test]
fn fields_that_contradict_each_other_are_none() {
    let durable = header().first.to_le_bytes();
    assert_eq!(changed(88, &durable), Decoded::None, "durable before it was written");
    assert_eq!(changed(34, &[1, 0]), Decoded::None, "a mark with records");
    assert_eq!(changed(34, &[8, 0]), Decoded::None, "a clean end with records");
    assert_eq!(changed(96, &[0; 4]), Decoded::None, "no mark without records");
    assert_eq!(changed(96, &[0xFF; 4]), Decoded::None, "more records than bytes");
    assert_eq!(changed(64, &[0xFF; 8]), Decoded::None, "a term from a later segment");
}

#[test]
fn names_of_files() {
    assert_eq!(segment_name(7), "0000000007.seg");
    let named = |name: &str| match parse_name(name) {
        Named::Segment(sequence) => Some(sequence),
        Named::Unfinished => Some(0),
        Named::Side => Some(u64::MAX),
        Named::Foreign => None,
    };
    assert_eq!(named("0000000007.seg"), Some(7));
    assert_eq!(named("12345678901.seg"), Some(12_345_678_901));
    assert_eq!(named("0000000007.tmp"), Some(0));
    for side in ["0000000007.ids", "0000000007.ids.tmp", "snapshot-00000000000000000007.snap"] {
        assert_eq!(named(side), Some(u64::MAX), "{side}");
    }
    for foreign in
        ["7.seg", "0000000000.seg", "00000000007.seg", "LOCK", "x.seg", "+000000007.seg", ".seg"]
    {
        assert_eq!(named(foreign), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn records_that_are_not_ours_are_never_read_past_their_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let total: usize = Records::new(&bytes).map(|record| record.len() + 4).sum();
        prop_assert!(total <= bytes.len());
    }

    #[test]
    fn no_text_looks_like_a_header(text in ".*") {
        prop_assert!(!text.as_bytes().windows(8).any(|bytes| bytes == MAGIC));
    }
}
