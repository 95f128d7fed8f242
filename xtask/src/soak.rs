//! `cargo xtask soak`: what the tests do with fixed seeds and little time, with new ones and as
//! much time as there is. Stops at the first finding.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::steps::cargo;
use crate::tools;

/// Targets of the fuzzer: the folders of its corpus.
const FUZZ_TARGETS: [&str; 6] = ["journal", "codec", "body", "batch_body", "catalogue", "pretix"];

/// What goes on and on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// The seeded simulation of everything, with seeds that nobody has tried.
    Simulation,
    /// Histories of the real server, killed meanwhile.
    Histories,
    /// The real server under load, killed, twenty times a round.
    Kills,
    /// Two servers over a PostgreSQL, struck in turn, and the database killed; and histories with the journal there.
    Failover,
    /// A box office, the bridge and the engine, each killed 150 times a round for each database; and changes in a
    /// transaction that is open for a minute.
    Bridge,
    /// Overload and slow clients.
    Overload,
    /// The API against its description, with new requests.
    Contract,
    /// Four servers over a Redis that sell 20,000 tickets while they are killed, a Redis that is killed 60 times, 400 histories of both;
    /// then the core and its rules in Lua, over new histories: a million commands a round.
    Redis,
    /// The fuzzers; what they find stays in `fuzz/artifacts`, what is new in `fuzz/corpus`.
    Fuzz,
}

/// Runs the parts, all where none is named, each for the same share of the time.
///
/// # Errors
/// The first finding.
pub fn run(root: &Path, only: &[Part], minutes: u64) -> Result<()> {
    let all = Part::value_variants().iter().copied();
    let parts: Vec<Part> = all.filter(|part| only.is_empty() || only.contains(part)).collect();
    let share = Duration::from_secs(minutes * 60) / u32::try_from(parts.len().max(1))?;
    tools::provide_for_soak(root, &parts)?;
    for part in parts {
        println!("\n━━ {part:?}, {} s ━━", share.as_secs());
        part.run(root, share).with_context(|| format!("{part:?} found something"))?;
    }
    println!("\nnothing was found");
    Ok(())
}

impl Part {
    fn run(self, root: &Path, share: Duration) -> Result<()> {
        let seconds = share.as_secs().max(1).to_string();
        match self {
            Part::Simulation => {
                let time = [("ONSALE_SIM_SECONDS", seconds.as_str())];
                cargo(root, "test --locked -p onsale-sim --test simulation -- --nocapture", &time)
            }
            Part::Histories => rounds(
                root,
                share,
                "--test histories -- --nocapture",
                &[("ONSALE_HISTORIES", "1000")],
            ),
            Part::Kills => rounds(root, share, "--test kill", &[]),
            Part::Failover => {
                let more = [("ONSALE_FAILOVERS", "300")];
                rounds(root, share / 2, "--test failover -- --nocapture", &more)?;
                let seconds = (share / 2).as_secs().max(1).to_string();
                let time = [("ONSALE_HISTORIES_SECONDS", seconds.as_str())];
                cargo(root, "test --locked -p onsale-rows --test histories -- --nocapture", &time)
            }
            Part::Bridge => {
                let hold = [("ONSALE_HOLD_SECONDS", "60")];
                let line = "test --locked -p onsale-bridge --test bridge nothing_is_skipped";
                cargo(root, line, &hold)?;
                let kills = [("ONSALE_KILLS", "150")];
                rounds(root, share, "--test bridge -- --nocapture", &kills)
            }
            Part::Overload => rounds(root, share, "--test overload", &[]),
            Part::Contract => rounds(root, share, "--test contract", &[("ONSALE_EXAMPLES", "200")]),
            Part::Redis => {
                let whole = [("ONSALE_TICKETS", "20000"), ("ONSALE_KILLS", "60")];
                rounds(root, share / 3, "--test redis kills -- --nocapture", &whole)?;
                let more = [("ONSALE_HISTORIES", "400")];
                rounds(root, share / 3, "--test histories over_a_redis -- --nocapture", &more)?;
                let (begin, share) = (Instant::now(), share / 3);
                let line = "test --locked -p onsale-redis --test differential redis_answers";
                while begin.elapsed() < share {
                    cargo(root, line, &[("ONSALE_REDIS_HISTORIES", "440")])?;
                }
                Ok(())
            }
            Part::Fuzz => {
                let targets = u32::try_from(FUZZ_TARGETS.len())?;
                let each = (share / targets).as_secs().max(1);
                FUZZ_TARGETS.iter().try_for_each(|target| tools::fuzz(root, target, each))
            }
        }
    }
}

/// Runs tests of the server with one seed after the other until the time is over.
fn rounds(root: &Path, share: Duration, tests: &str, variables: &[(&str, &str)]) -> Result<()> {
    let begin = Instant::now();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for seed in since.as_secs().. {
        let seed = seed.to_string();
        println!("ONSALE_SEED={seed}");
        let variables = [variables, &[("ONSALE_SEED", seed.as_str())]].concat();
        cargo(root, &format!("test --locked -p onsale {tests}"), &variables)?;
        if begin.elapsed() >= share {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_corpus_is_fuzzed() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let mut folders: Vec<String> = std::fs::read_dir(corpus)
            .expect("there is a corpus")
            .map(|folder| {
                folder.expect("it can be read").file_name().to_string_lossy().into_owned()
            })
            .collect();
        folders.sort();
        let mut targets = FUZZ_TARGETS;
        targets.sort_unstable();
        assert_eq!(folders, targets);
    }
}
