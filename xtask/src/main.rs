//! The project's own chores. `cargo xtask test` runs all that must hold before a
//! change is taken, `cargo xtask tidy` only the rules of style, `cargo xtask soak` what takes long.

mod crates;
mod soak;
mod steps;
mod tidy;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs all steps in order and stops at the first that fails.
    Test {
        /// Runs these steps only.
        #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
        only: Vec<steps::Step>,
    },
    /// Checks the rules of style and of the repository.
    Tidy,
    /// Only finds or installs what the tests need, for those who run them by cargo itself.
    Tools,
    /// Looks for faults with new seeds, for as long as asked; stops at the first finding.
    Soak {
        /// All parts together take about so long.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
        minutes: u64,
        /// Runs these parts only.
        #[arg(long, value_delimiter = ',', value_name = "PART,…")]
        only: Vec<soak::Part>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Test { only } => steps::run(&root(), &only),
        Chore::Tidy => steps::run(&root(), &[steps::Step::Tidy]),
        Chore::Tools => tools::provide(&root(), &[steps::Step::Test]),
        Chore::Soak { minutes, only } => soak::run(&root(), &only, minutes),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace: the one above this crate's.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies in the workspace").to_owned()
}
