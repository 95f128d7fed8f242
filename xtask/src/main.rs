//! The project's own chores. `cargo xtask test` runs all that must hold before a
//! change is taken, `cargo xtask tidy` only the rules of style.

mod crates;
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
}

fn main() -> ExitCode {
    let only = match Arguments::parse().chore {
        Chore::Test { only } => only,
        Chore::Tidy => vec![steps::Step::Tidy],
    };
    match steps::run(&root(), &only) {
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
