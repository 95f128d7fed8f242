//! What the steps need beside cargo: rustfmt and clippy. What is missing is
//! installed; on a terminal, after asking.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::steps::Step;

/// A tool: the step that needs it, its subcommand of cargo, its name in rustup.
const TOOLS: [(Step, &str, &str); 2] =
    [(Step::Format, "fmt", "rustfmt"), (Step::Clippy, "clippy", "clippy")];

/// Sees to it that the steps find their tools.
///
/// # Errors
/// Where a tool is missing and can't be installed, or shall not be.
pub fn provide(steps: &[Step]) -> Result<()> {
    let missing = missing(steps, |tool| answers("cargo", &[tool, "--version"]));
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("rustup component add {}", missing.join(" "));
    if !answers("rustup", &["--version"]) {
        bail!("{} missing, and there is no rustup to install with", missing.join(" and "));
    }
    println!("missing: {}. This would install it:\n  {command}", missing.join(" and "));
    if std::io::stdin().is_terminal() && !agreed()? {
        bail!("nothing was installed");
    }
    let mut words = command.split(' ');
    let status = Command::new(words.next().expect("a command has a name")).args(words).status();
    let status = status.context("rustup can't be started")?;
    ensure!(status.success(), "{command}: {status}");
    Ok(())
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
