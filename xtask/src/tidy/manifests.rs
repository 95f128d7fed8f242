//! Manifests of crates take the workspace's lints, but for one that is a workspace of its own.

use super::{Finding, split};

pub fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let is_crate = split(path).1 == "Cargo.toml" && text.lines().any(|line| line == "[package]");
    let is_apart = text.lines().any(|line| line == "[workspace]");
    if !is_crate || is_apart {
        return;
    }
    let mut lints = text.lines().skip_while(|line| *line != "[lints]").skip(1);
    if lines_until_table(&mut lints).all(|line| line != "workspace = true") {
        let what = "must have [lints] with workspace = true".to_owned();
        findings.push(Finding { path: path.to_owned(), line: 0, what });
    }
}

fn lines_until_table<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    lines.take_while(|line| !line.starts_with('['))
}
