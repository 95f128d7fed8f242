//! Calls that fail, one after the other, and a disk without room.

use std::collections::BTreeSet;
use std::sync::Arc;

use onsale_journal::{Error, Opened, Room, Writer, open};
use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::rng::Rng;

use crate::history::{History, drive, options};

const SEGMENT_BYTES: u64 = 16 << 10;

/// A disk with a log that has had a life, and ended in the middle of a batch.
fn used_disk(seed: u64, history: &mut History) -> FaultyDisk {
    let (disk, mut rng) = (FaultyDisk::new(seed), Rng::new(seed));
    let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    drive(&mut opened.writer, history, &mut rng, 60, 300);
    disk.restart()
}

/// One life in which the call with this number fails. Gives its calls, and where it failed.
fn life_with_fault(seed: u64, call: u64, fault: Fault) -> Result<(u64, &'static str), String> {
    let mut history = History::default();
    let disk = used_disk(seed, &mut history);
    disk.fault_at(call, fault);
    let mut failed_at = "nowhere";
    match history.open(&disk, SEGMENT_BYTES)? {
        Err(_) => failed_at = "start",
        Ok(Opened { mut writer, reader, .. }) => {
            let mut rng = Rng::new(seed + 1);
            let error = drive(&mut writer, &mut history, &mut rng, 120, 300);
            history.check_reader(&reader)?;
            if let Some(error) = error {
                failed_at = "work";
                check_failed(&mut writer, &error, &history)?;
            }
        }
    }
    let calls = disk.calls();
    // Whether the machine goes on or not, the next start finds all that was durable.
    for disk in [disk.restart(), disk.power_loss()] {
        let mut history = history.clone();
        if let Err(error) = history.open(&disk, SEGMENT_BYTES)? {
            return Err(format!("it does not start again: {error}"));
        }
    }
    Ok((calls, failed_at))
}

/// A writer that has failed names the place and refuses everything.
fn check_failed(writer: &mut Writer, error: &Error, history: &History) -> Result<(), String> {
    match error {
        Error::Write { file, .. } if file.ends_with(".seg") => {}
        other => return Err(format!("not the error of a write: {other}")),
    }
    let refused = !writer.fits(0)
        && writer.room() == Room::None
        && writer.seal().is_none()
        && writer.mark().is_none()
        && writer.prepare().is_none();
    match refused && writer.durable() == history.durable {
        true => Ok(()),
        false => Err("a writer that has failed goes on".to_owned()),
    }
}

#[test]
fn any_one_call_may_fail() {
    for seed in 0..4 {
        let mut places = BTreeSet::new();
        for fault in [Fault::Error, Fault::Short, Fault::Full] {
            for call in 0.. {
                let (calls, place) = life_with_fault(seed, call, fault)
                    .unwrap_or_else(|rule| panic!("seed {seed}, call {call}, {fault:?}: {rule}"));
                places.insert(place);
                if calls <= call {
                    break;
                }
            }
        }
        assert_eq!(places, BTreeSet::from(["nowhere", "start", "work"]), "seed {seed}");
    }
}

/// Writes one record and makes it durable.
fn write(writer: &mut Writer, history: &mut History, rng: &mut Rng) {
    let record = history.make(rng, 500);
    assert!(writer.fits(record.len() + 4));
    writer.append(&mut |buffer| buffer.extend_from_slice(&record));
    history.records.push(record);
    let job = writer.seal().expect("a record is open");
    writer.finish(job.run()).expect("segments have their room already");
    history.durable = writer.durable();
}

/// Writes while there is this room, trying for spares all the while; how many records.
fn write_while(room: Room, writer: &mut Writer, history: &mut History, rng: &mut Rng) -> usize {
    let before = history.records.len();
    while writer.room() == room {
        write(writer, history, rng);
        if let Some(job) = writer.prepare()
            && let Err(error) = writer.prepared(job.run())
        {
            assert!(error.to_string().contains(".seg"), "{error}");
            assert_eq!(writer.durable(), writer.last_position());
        }
    }
    history.records.len() - before
}

#[test]
fn a_full_disk_keeps_a_reserve_and_goes_on_when_there_is_room() {
    let (disk, mut rng, mut history) = (FaultyDisk::new(1), Rng::new(1), History::default());
    disk.limit_room(5 * SEGMENT_BYTES);
    let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    let writer = &mut opened.writer;
    // Five segments of four batches, less the first mark. The last of them is the reserve.
    assert_eq!(write_while(Room::All, writer, &mut history, &mut rng), 15);
    assert_eq!(write_while(Room::Essential, writer, &mut history, &mut rng), 4);
    assert_eq!((writer.room(), writer.fits(1)), (Room::None, false));
    assert!(writer.mark().is_none());
    history.check_reader(&opened.reader).unwrap();

    disk.limit_room(7 * SEGMENT_BYTES);
    let job = writer.prepare().expect("it is always tried again");
    writer.prepared(job.run()).unwrap();
    assert_eq!(writer.room(), Room::All);
    assert!(write_while(Room::All, writer, &mut history, &mut rng) >= 4);
    assert_eq!(write_while(Room::Essential, writer, &mut history, &mut rng), 4);
    let disk = disk.power_loss();
    match history.open(&disk, SEGMENT_BYTES).unwrap() {
        Err(Error::Spare { .. }) => {}
        other => panic!("a start on a full disk: {:?}", other.map(|o| o.last_position)),
    }
    disk.limit_room(8 * SEGMENT_BYTES);
    let opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    assert_eq!(opened.last_position, history.records.len() as u64);
    assert_eq!(opened.writer.room(), Room::All);
}

#[test]
fn a_start_on_a_full_disk_takes_the_reserve() {
    let (disk, mut rng, mut history) = (FaultyDisk::new(2), Rng::new(2), History::default());
    disk.limit_room(4 * SEGMENT_BYTES);
    let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    write_while(Room::All, &mut opened.writer, &mut history, &mut rng);
    assert_eq!(opened.writer.room(), Room::Essential);
    let disk = disk.power_loss();
    let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    let job = opened.writer.prepare().expect("a spare is wanted");
    opened.writer.prepared(job.run()).expect_err("the disk is full");
    assert_eq!(opened.writer.room(), Room::Essential);
    assert_eq!(write_while(Room::Essential, &mut opened.writer, &mut history, &mut rng), 2);
}

#[test]
fn a_first_start_may_end_anywhere() {
    for call in 0.. {
        let disk = FaultyDisk::new(call);
        disk.fault_at(call, Fault::Stop);
        let mut history = History::default();
        let started = history.open(&disk, SEGMENT_BYTES).unwrap().is_ok();
        for disk in [disk.restart(), disk.power_loss()] {
            let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
            assert_eq!(opened.last_position, 0);
            let mut history = History::default();
            write(&mut opened.writer, &mut history, &mut Rng::new(call));
            assert!(history.open(&disk.power_loss(), SEGMENT_BYTES).unwrap().is_ok());
        }
        if started {
            assert!(call > 5, "a start has more calls than {call}");
            return;
        }
    }
}

#[test]
fn the_power_may_go_at_any_call_of_a_start_after_a_kill() {
    for seed in 0..6 {
        // A batch that is written, but not synced: the process is killed in its sync.
        let (disk, mut rng, mut history) =
            (FaultyDisk::new(seed), Rng::new(seed), History::default());
        let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
        let sync = disk.calls() + 1 + 2 * rng.below(4) as u64;
        disk.fault_at(sync, Fault::Stop);
        drive(&mut opened.writer, &mut history, &mut rng, 300, 300);
        assert!(disk.is_stopped());
        for call in 0.. {
            let disk = disk.restart();
            disk.fault_at(call, Fault::Stop);
            let mut history = history.clone();
            let started = history.open(&disk, SEGMENT_BYTES).unwrap().is_ok();
            for _ in 0..40 {
                let mut history = history.clone();
                let again = history.open(&disk.power_loss(), SEGMENT_BYTES);
                match again {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => panic!("seed {seed}, call {call}: {error}"),
                    Err(rule) => panic!("seed {seed}, call {call}: {rule}"),
                }
            }
            if started {
                break;
            }
        }
    }
}

#[test]
fn a_spare_is_there_for_good_before_it_is_used() {
    let (disk, mut history) = (FaultyDisk::new(3), History::default());
    let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
    for made in 2..=3 {
        let job = opened.writer.prepare().expect("two spares are wanted");
        assert!(opened.writer.prepare().is_none(), "one at a time");
        opened.writer.prepared(job.run()).unwrap();
        for _ in 0..20 {
            let files = disk.power_loss().files();
            assert_eq!(files.len(), made);
            assert!(files.values().all(|bytes| bytes.len() as u64 == SEGMENT_BYTES));
        }
    }
    assert!(opened.writer.prepare().is_none());
}

#[test]
fn a_record_that_the_caller_refuses_stops_the_start_and_changes_nothing() {
    let mut history = History::default();
    let disk = used_disk(7, &mut history);
    let before = disk.files();
    let result = open(Arc::new(disk.clone()), options(SEGMENT_BYTES), 0, &mut |position, _, _| {
        if position == 3 { Err("no such ticket type".to_owned()) } else { Ok(()) }
    });
    match result {
        Err(Error::Replay { position: 3, file, offset, detail }) => {
            assert!(file.ends_with(".seg") && offset % 4096 == 0);
            assert_eq!(detail, "no such ticket type");
        }
        other => panic!("{:?}", other.map(|o| o.last_position)),
    }
    assert!(disk.files() == before);
}
