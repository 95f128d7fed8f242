//! The engine's loop on a disk that loses what was not synced: the process ends at any
//! call to the disk, over and over on the same log, and what it had answered must be true
//! after each restart.

mod life;

use onsale_engine::audit::Auditor;
use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::rng::Rng;

use life::{Log, Stage};

/// Lives of one log in a row.
const LIVES: usize = 8;
/// Ends in the middle of a call to the disk, over all logs.
const ENDS: usize = 10_000;

/// How often it ended, and what there was to lose.
#[derive(Default, Debug)]
struct Ends {
    at_start: usize,
    at_work: usize,
    /// Answers that left.
    answers: usize,
    /// Records that no answer had spoken of yet, lost and kept.
    cut: u64,
    kept: u64,
    /// Answers that said that nothing is known or possible.
    unavailable: usize,
}

/// One log over several lives. Says which rule was broken.
fn run(seed: u64, syncs_lie: bool) -> Result<Ends, String> {
    let mut rng = Rng::new(seed);
    let mut disk = FaultyDisk::new(rng.next());
    if syncs_lie {
        disk = disk.with_lying_syncs();
    }
    let segment_bytes = *rng.pick(&[64 << 10, 128 << 10]);
    let (mut log, mut ends) = (Log::new(rng.next(), segment_bytes), Ends::default());
    for _ in 0..LIVES {
        let fault = if rng.once_in(6) { Fault::Error } else { Fault::Stop };
        if rng.percent(30) {
            disk.fault_at(rng.below(40) as u64, fault);
        }
        match log.open(&disk) {
            Err(_) if disk.is_stopped() => ends.at_start += 1,
            Err(_) if fault == Fault::Error && !syncs_lie => {}
            Err(Stage::Start(error)) => return Err(format!("it does not start: {error}")),
            Err(Stage::Check(rule)) => return Err(rule),
            Ok(mut life) => {
                ends.cut += life.cut;
                ends.kept += life.kept;
                disk.fault_at(disk.calls() + rng.below(60) as u64, fault);
                let commands = *rng.pick(&[20, 60, 150]);
                life.work(&mut log, &mut rng, commands, || disk.is_stopped())?;
                ends.at_work += usize::from(disk.is_stopped());
                ends.answers += life.answers;
                ends.unavailable += life.unavailable;
            }
        }
        disk = if rng.percent(35) { disk.restart() } else { disk.power_loss() };
    }
    match log.open(&disk) {
        Err(Stage::Start(error)) => Err(format!("it does not start: {error}")),
        Err(Stage::Check(rule)) => Err(rule),
        Ok(life) => audit(&life.records).map(|()| ends),
    }
}

fn audit(records: &[onsale_core::Event]) -> Result<(), String> {
    let mut auditor = Auditor::new();
    for (position, event) in (1..).zip(records) {
        auditor.record(0, position, event);
    }
    let report = auditor.finish();
    match report.ok {
        true => Ok(()),
        false => Err(format!("the audit finds {:#?}", report.findings)),
    }
}

#[test]
fn what_was_answered_is_true_after_ten_thousand_crashes() {
    if let Ok(seed) = std::env::var("ONSALE_SEED") {
        let seed = seed.parse().expect("ONSALE_SEED is a number");
        println!("{:?}", run(seed, false).unwrap_or_else(|rule| panic!("{rule}")));
        return;
    }
    let mut sum = Ends::default();
    let mut seed = 0;
    while sum.at_start + sum.at_work < ENDS {
        let ends = run(seed, false).unwrap_or_else(|rule| panic!("ONSALE_SEED={seed}: {rule}"));
        sum.at_start += ends.at_start;
        sum.at_work += ends.at_work;
        sum.answers += ends.answers;
        sum.cut += ends.cut;
        sum.kept += ends.kept;
        sum.unavailable += ends.unavailable;
        seed += 1;
    }
    println!("{seed} seeds: {sum:?}");
    // The seeds reach what they are for.
    assert!(sum.at_start > 1_000 && sum.at_work > 5_000, "{sum:?}");
    assert!(sum.answers > 100_000 && sum.unavailable > 1_000, "{sum:?}");
    assert!(sum.cut > 1_000 && sum.kept > 1_000, "{sum:?}");
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let broken = (0..40).filter(|seed| run(*seed, true).is_err()).count();
    assert!(broken > 20, "without syncs, only {broken} of 40 seeds lose what was answered");
}
