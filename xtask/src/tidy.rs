//! The rules of style that neither the compiler nor clippy knows, over all files
//! that git tracks or would track. Each is a small function from files to findings.

mod commands;
mod lines;
mod links;
mod manifests;
mod modules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// The rules' own code names what it forbids.
const OWN_CODE: &str = "xtask/src/tidy";

/// Texts by their path from the root. What is not UTF-8 is not among them.
type Files = BTreeMap<String, String>;

/// Something that a rule forbids.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Finding {
    path: String,
    /// From 1; 0: the file as a whole.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Checks the whole repository.
///
/// # Errors
/// Says how many findings there are; they are printed, a line each.
pub fn run(root: &Path) -> Result<()> {
    let paths = listed(root)?;
    let mut files = Files::new();
    for path in &paths {
        // A file that was deleted but not yet committed is still listed.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.insert(path.clone(), text);
        }
    }
    let findings = check(&files, |path| root.join(path).exists());
    if findings.is_empty() {
        println!("{} files are tidy", paths.len());
        return Ok(());
    }
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    bail!("{} findings", findings.len())
}

fn listed(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().context("git can't be started")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn check(files: &Files, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        lines::check(path, text, &mut findings);
        links::check(path, text, &exists, &mut findings);
        manifests::check(path, text, &mut findings);
    }
    modules::check(files, &mut findings);
    commands::check(files, &mut findings);
    findings.sort();
    findings
}

/// The folder of a path, empty for the root; and its last part.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A path from the root, with `.` and `..` taken out; none where it leaves the root.
fn join(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
