//! Tests and benchmarks that a page names are there: a claim with a command that runs nothing is none.

use super::{Files, Finding};

pub fn check(files: &Files, findings: &mut Vec<Finding>) {
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (number, line) in (1..).zip(text.lines()) {
            for begin in ["cargo test ", "cargo bench "] {
                for rest in line.split(begin).skip(1) {
                    let command = rest.split(['`', '#', '|', ';', '&']).next().unwrap_or_default();
                    if let Err(what) = Command::parse(command).and_then(|c| c.is_there(files)) {
                        findings.push(Finding { path: path.clone(), line: number, what });
                    }
                }
            }
        }
    }
}

/// What is said after `cargo test`.
#[derive(Default)]
struct Command<'a> {
    packages: Vec<&'a str>,
    /// `tests` or `benches`, and the name of a target there.
    target: Option<(&'static str, &'a str)>,
    /// Part of the name of a test.
    filter: Option<&'a str>,
}

impl<'a> Command<'a> {
    fn parse(text: &'a str) -> Result<Command<'a>, String> {
        let mut command = Command::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} has no value"));
            match word {
                "-p" => command.packages.push(value()?),
                "--test" => command.target = Some(("tests", value()?)),
                "--bench" => command.target = Some(("benches", value()?)),
                "--features" => drop(value()?),
                "--" => break,
                option if option.starts_with('-') => {}
                filter => command.filter = Some(filter),
            }
        }
        Ok(command)
    }

    fn is_there(&self, files: &Files) -> Result<(), String> {
        let mut sources = Vec::new();
        for package in &self.packages {
            let name = format!("name = \"{package}\"");
            // Its targets have names, too: those come after the package's.
            let is_named = |text: &str| {
                text.split("\n[").next().is_some_and(|of| of.lines().any(|line| line == name))
            };
            let manifest =
                (files.iter()).find(|(path, text)| path.ends_with("/Cargo.toml") && is_named(text));
            let Some((manifest, _)) = manifest else {
                return Err(format!("there is no package {package}"));
            };
            let folder = manifest.trim_end_matches("Cargo.toml");
            let begins = match self.target {
                Some((kind, target)) => {
                    vec![format!("{folder}{kind}/{target}.rs"), format!("{folder}{kind}/{target}/")]
                }
                None => vec![folder.to_owned()],
            };
            let found = sources.len();
            let of_target = |path: &str| begins.iter().any(|begin| path.starts_with(begin));
            sources
                .extend(files.iter().filter(|(path, _)| path.ends_with(".rs") && of_target(path)));
            if let (Some((kind, target)), true) = (self.target, found == sources.len()) {
                return Err(format!("{package} has no {target} in {kind}"));
            }
        }
        match self.filter {
            Some(filter) if !sources.iter().any(|(path, text)| has(path, text, filter)) => {
                Err(format!("no test there is named by {filter}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a source file has a test or is a module of this name, or one that begins with it.
fn has(path: &str, text: &str, filter: &str) -> bool {
    let last = filter.rsplit("::").next().unwrap_or(filter);
    let module = path.rsplit_once('/').map_or(path, |(_, file)| file);
    module.starts_with(last)
        || text.lines().any(|line| {
            let name = line.trim_start().strip_prefix("async ").unwrap_or(line.trim_start());
            name.strip_prefix("fn ").is_some_and(|name| name.contains(last))
        })
}
