//! What the steps need beside cargo: rustfmt and clippy, and for the tests schemathesis and
//! real servers. What is missing is installed; on a terminal, after asking.

mod servers;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::soak::Part;
use crate::steps::Step;

/// A tool: the step that needs it, its subcommand of cargo, its name in rustup.
const TOOLS: [(Step, &str, &str); 2] =
    [(Step::Format, "fmt", "rustfmt"), (Step::Clippy, "clippy", "clippy")];

/// Makes requests from the description of the API. It lies in a folder of its own, with all
/// that it needs.
const SCHEMATHESIS: &str = "schemathesis";
/// The version that the tests were written with.
const SCHEMATHESIS_VERSION: &str = "4.32.5";

/// Where the fuzzer's front end is installed.
const CARGO_FUZZ: &str = "target/tools/cargo-fuzz";

/// Sees to it that the steps find their tools.
///
/// # Errors
/// Where a tool is missing and can't be installed, or shall not be.
pub fn provide(root: &Path, steps: &[Step]) -> Result<()> {
    provide_components(steps)?;
    if steps.contains(&Step::Test) {
        provide_schemathesis(root)?;
        servers::provide(root)?;
    }
    Ok(())
}

/// Where a Python program of the tests is installed.
fn schemathesis_folder(root: &Path) -> PathBuf {
    root.join("target/tools").join(format!("{SCHEMATHESIS}-{SCHEMATHESIS_VERSION}"))
}

fn provide_schemathesis(root: &Path) -> Result<()> {
    let folder = schemathesis_folder(root);
    let program = folder.join("bin").join(SCHEMATHESIS);
    if answers(&program.display().to_string(), &["--version"]) {
        return Ok(());
    }
    let package = format!("{SCHEMATHESIS}=={SCHEMATHESIS_VERSION}");
    provide_python_packages(&folder.display().to_string(), &[&package])
}

/// Makes an environment of its own for Python packages, in a folder.
fn provide_python_packages(at: &str, packages: &[&str]) -> Result<()> {
    let python = "python3";
    if !answers(python, &["-m", "venv", "--help"]) {
        bail!("python3 with venv is missing: on Debian, apt-get install python3-venv");
    }
    let names = packages.join(" ");
    println!("missing: {names}. This would install it, there alone:");
    println!("  {python} -m venv {at} && {at}/bin/pip install {names}");
    agreed_if_asked()?;
    run(python, &["-m", "venv", "--clear", at])?;
    run(&format!("{at}/bin/pip"), &[&["install", "--quiet"], packages].concat())
}

/// Sees to it that the parts of a soak find their tools.
///
/// # Errors
/// As for [`provide`].
pub fn provide_for_soak(root: &Path, parts: &[Part]) -> Result<()> {
    if parts.contains(&Part::Contract) {
        provide_schemathesis(root)?;
    }
    if parts.contains(&Part::Bridge) {
        servers::provide_packages()?;
    }
    if !parts.contains(&Part::Fuzz) || cargo_fuzz(root).exists() {
        return Ok(());
    }
    let at = root.join(CARGO_FUZZ).display().to_string();
    println!("missing: cargo-fuzz. This would install it, there alone:");
    println!("  cargo install --locked --root {at} cargo-fuzz");
    agreed_if_asked()?;
    run("cargo", &["install", "--quiet", "--locked", "--root", &at, "cargo-fuzz"])
}

fn cargo_fuzz(root: &Path) -> PathBuf {
    root.join(CARGO_FUZZ).join("bin/cargo-fuzz")
}

/// Runs one target of the fuzzer.
///
/// # Errors
/// It found something, or can't be built.
pub fn fuzz(root: &Path, target: &str, seconds: u64) -> Result<()> {
    let mut command = Command::new(cargo_fuzz(root));
    command.current_dir(root).args(["fuzz", "run", target, "--"]);
    command.arg(format!("-max_total_time={seconds}"));
    // The sanitizers are there in every compiler, but only unlocked ones take them.
    let status = command.env("RUSTC_BOOTSTRAP", "1").status();
    let status = status.context("cargo-fuzz can't be started")?;
    ensure!(status.success(), "{target}: {status}");
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("{program} can't be started"))?;
    ensure!(status.success(), "{program} {}: {status}", arguments.join(" "));
    Ok(())
}

fn provide_components(steps: &[Step]) -> Result<()> {
    let missing = missing(steps, |tool| answers("cargo", &[tool, "--version"]));
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("rustup component add {}", missing.join(" "));
    if !answers("rustup", &["--version"]) {
        bail!("{} missing, and there is no rustup to install with", missing.join(" and "));
    }
    println!("missing: {}. This would install it:\n  {command}", missing.join(" and "));
    agreed_if_asked()?;
    let words: Vec<&str> = command.split(' ').collect();
    run(words[0], &words[1..])
}

/// Names in rustup of the tools that these steps need and do not find.
fn missing(steps: &[Step], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let needed = TOOLS.iter().filter(|(step, _, _)| steps.contains(step));
    needed.filter(|(_, subcommand, _)| !is_there(subcommand)).map(|(_, _, name)| *name).collect()
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Asks on a terminal; elsewhere nobody is there to be asked.
fn agreed_if_asked() -> Result<()> {
    if std::io::stdin().is_terminal() && !agreed()? {
        bail!("nothing was installed");
    }
    Ok(())
}

fn agreed() -> Result<bool> {
    print!("Install? [Y/n] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer)?;
    Ok(read > 0 && is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_steps_need_is_asked_for() {
        let none = |_: &str| false;
        assert_eq!(missing(&[Step::Format, Step::Clippy, Step::Test], none), ["rustfmt", "clippy"]);
        assert_eq!(missing(&[Step::Clippy], none), ["clippy"]);
        assert_eq!(missing(&[Step::Clippy, Step::Format], |tool| tool == "fmt"), ["clippy"]);
        assert_eq!(missing(&[Step::Tidy, Step::Test], none), [] as [&str; 0]);
    }

    #[test]
    fn yes_is_the_default() {
        assert!(is_yes("\n") && is_yes("Y\n") && is_yes("yes"));
        assert!(!is_yes("n\n") && !is_yes("what\n"));
    }
}
