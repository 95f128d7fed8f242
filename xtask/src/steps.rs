//! The steps of `cargo xtask test`, in their order.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::{crates, tidy, tools};

/// What is built only when it is asked for: the bus's back ends beside files.
const BACK_ENDS: &str = "--features onsale/kinesis,onsale-bus/redis,onsale-bus/kinesis,onsale-bus/sqlite,onsale-bus/postgres";

/// One thing that must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Step {
    /// The code is formatted.
    Format,
    /// Clippy has nothing to say, its bans for core and engine included.
    Clippy,
    /// The rules of style and of the repository.
    Tidy,
    /// Crates see only what they may, and the core next to nothing.
    Crates,
    /// All tests pass.
    Test,
    /// The simulator finds every planted bug, as the page on reliability says.
    Planted,
    /// The documentation builds, with all its links.
    Docs,
}

impl Step {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no step is hidden");
        value.get_name().to_owned()
    }

    fn run(self, root: &Path) -> Result<()> {
        match self {
            Step::Format => cargo(root, "fmt --all --check", &[]),
            Step::Clippy => {
                let line = format!("clippy --workspace --all-targets --locked {BACK_ENDS}");
                cargo(root, &format!("{line} -- -D warnings"), &[])
            }
            Step::Tidy => tidy::run(root),
            Step::Crates => crates::run(root),
            // A snapshot that differs fails and is not written: that is for a desk.
            Step::Test => {
                let line = format!("test --workspace --locked {BACK_ENDS}");
                cargo(root, &line, &[("INSTA_UPDATE", "no")])
            }
            Step::Planted => {
                cargo(root, "test --locked -p onsale-sim --features planted --test planted", &[])
            }
            Step::Docs => {
                let warnings = [("RUSTDOCFLAGS", "-D warnings")];
                cargo(root, &format!("doc --workspace --no-deps --locked {BACK_ENDS}"), &warnings)
            }
        }
    }
}

/// Runs the steps, all where none is named, each under its heading and with its time.
///
/// # Errors
/// The first step that fails.
pub fn run(root: &Path, only: &[Step]) -> Result<()> {
    let all = Step::value_variants().iter().copied();
    let steps: Vec<Step> = all.filter(|step| only.is_empty() || only.contains(step)).collect();
    tools::provide(root, &steps)?;
    let mut times = Vec::new();
    for (number, step) in (1..).zip(&steps) {
        let name = step.name();
        println!("\n━━ {number}/{} {name} ━━", steps.len());
        let start = Instant::now();
        step.run(root).with_context(|| format!("the step {name} failed"))?;
        times.push((name, start.elapsed()));
    }
    print_times(&times);
    Ok(())
}

fn print_times(times: &[(String, Duration)]) {
    println!();
    for (name, time) in times {
        println!("{name:8} {:6.1} s", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    println!("{:8} {:6.1} s: all is well", "total", total.as_secs_f64());
}

/// Runs cargo, the one that runs this, and shows what it says.
pub fn cargo(root: &Path, line: &str, variables: &[(&str, &str)]) -> Result<()> {
    println!("cargo {line}");
    let mut command = Command::new(cargo_path());
    command.args(line.split(' ')).current_dir(root).envs(variables.iter().copied());
    let status = command.status().context("cargo can't be started")?;
    ensure!(status.success(), "cargo {line}: {status}");
    Ok(())
}

/// What cargo prints, for steps that read it.
pub fn cargo_output(root: &Path, line: &str) -> Result<String> {
    let mut command = Command::new(cargo_path());
    let output = command.args(line.split(' ')).current_dir(root).output();
    let output = output.context("cargo can't be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {line}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).context("cargo printed something else than text")
}

fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
