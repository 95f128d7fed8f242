//! The log on real files: written, opened again, read.

use std::sync::Arc;

use crate::{Durability, FileStorage, Opened, Options, open};

const OPTIONS: Options = Options {
    segment_bytes: 64 << 10,
    log: 7,
    shard: 0,
    generation: 1,
    durability: Durability::Synced,
};

fn reopen(folder: &std::path::Path) -> (Opened, Vec<Vec<u8>>) {
    let storage = Arc::new(FileStorage::open(folder).unwrap());
    let mut records = Vec::new();
    let opened = open(storage, OPTIONS, 0, &mut |position, record, _| {
        records.push(record.to_vec());
        assert_eq!(position, records.len() as u64);
        Ok(())
    })
    .unwrap();
    (opened, records)
}

#[test]
fn what_is_written_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..5 {
        let (mut opened, records) = reopen(folder.path());
        assert_eq!(records, written);
        assert_eq!(opened.last_position, written.len() as u64);
        for batch in 0..30 {
            for record in 0..=batch {
                let bytes = format!("{round}.{batch}.{record}").repeat(batch).into_bytes();
                assert!(opened.writer.fits(bytes.len() + 4));
                let position = opened.writer.append(&mut |out| out.extend_from_slice(&bytes));
                written.push(bytes);
                assert_eq!(position, written.len() as u64);
            }
            let job = opened.writer.seal().unwrap();
            assert!(opened.writer.seal().is_none());
            opened.writer.finish(job.run()).unwrap();
            if let Some(job) = opened.writer.prepare() {
                opened.writer.prepared(job.run()).unwrap();
            }
        }
        if round % 2 == 0 {
            let job = opened.writer.mark().unwrap();
            opened.writer.finish(job.run()).unwrap();
            assert!(opened.writer.mark().is_none());
        }
        for (position, record) in (1..).zip(&written) {
            assert_eq!(opened.reader.record(position).unwrap(), *record);
        }
    }
}
