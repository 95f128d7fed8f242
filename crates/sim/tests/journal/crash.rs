//! Crash points: the process is killed, or the power goes, in the middle of any call, a start
//! included, over and over on the same log.

use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::rng::Rng;

use crate::history::{History, drive};

/// Lives of one log in a row.
const LIVES: usize = 8;

/// How often the end came in the middle of a call, at a start and at work, and
/// what it did to records that nobody had been told of.
#[derive(Default, Debug)]
struct Ends {
    at_start: usize,
    at_work: usize,
    cut: usize,
    kept: usize,
}

/// One log over several lives. Says which rule was broken.
fn run(seed: u64, syncs_lie: bool) -> Result<Ends, String> {
    let mut rng = Rng::new(seed);
    let mut disk = FaultyDisk::new(rng.next());
    if syncs_lie {
        disk = disk.with_lying_syncs();
    }
    let (mut history, mut ends) = (History::default(), Ends::default());
    // What was appended, and what was durable, when the last life ended.
    let mut before = (0, 0);
    let segment_bytes = *rng.pick(&[16 << 10, 32 << 10, 64 << 10]);
    for _ in 0..LIVES {
        // Sometimes the size is another one than before.
        let segment_bytes = if rng.once_in(8) { 48 << 10 } else { segment_bytes };
        let steps = *rng.pick(&[5, 40, 150]);
        let fault = if rng.once_in(6) { Fault::Error } else { Fault::Stop };
        if rng.percent(40) {
            disk.fault_at(rng.below(80) as u64, fault);
        }
        match history.open(&disk, segment_bytes)? {
            Err(_) if disk.is_stopped() => ends.at_start += 1,
            Err(_) if fault == Fault::Error => {}
            Err(error) => return Err(format!("it does not start: {error}")),
            Ok(mut opened) => {
                ends.cut += (before.0 - opened.last_position) as usize;
                ends.kept += (opened.last_position - before.1) as usize;
                disk.fault_at(disk.calls() + rng.below(steps) as u64, fault);
                let bytes_max = *rng.pick(&[20, 200, 1500]);
                drive(&mut opened.writer, &mut history, &mut rng, steps, bytes_max);
                history.check_reader(&opened.reader)?;
                before = (history.records.len() as u64, history.durable);
                ends.at_work += usize::from(disk.is_stopped());
            }
        }
        disk = if rng.percent(35) { disk.restart() } else { disk.power_loss() };
    }
    match history.open(&disk, segment_bytes)? {
        Err(error) => Err(format!("it does not start: {error}")),
        Ok(_) => Ok(ends),
    }
}

#[test]
fn what_was_durable_survives_ten_thousand_crashes() {
    let mut sum = Ends::default();
    let mut seed = 0;
    while sum.at_start + sum.at_work < 10_000 {
        let ends = run(seed, false).unwrap_or_else(|rule| panic!("seed {seed}: {rule}"));
        sum.at_start += ends.at_start;
        sum.at_work += ends.at_work;
        sum.cut += ends.cut;
        sum.kept += ends.kept;
        seed += 1;
    }
    println!("{seed} seeds: {sum:?}");
    // The seeds reach what they are for.
    assert!(sum.at_start > 2_000 && sum.at_work > 4_000);
    assert!(sum.cut > 1_000 && sum.kept > 1_000);
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let broken = (0..50).filter(|seed| run(*seed, true).is_err()).count();
    assert!(broken > 25, "without syncs, only {broken} of 50 seeds lose what was durable");
}
