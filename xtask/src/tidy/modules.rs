//! Each source file is compiled: a target begins with it, or a `mod` names it.

use std::collections::BTreeSet;

use super::{Files, Finding, join, split};

pub fn check(files: &Files, findings: &mut Vec<Finding>) {
    let mut reached = BTreeSet::new();
    let mut roots: Vec<String> = Vec::new();
    for (path, text) in files {
        let (folder, name) = split(path);
        if name == "Cargo.toml" {
            let named = text.lines().filter_map(|line| quoted(line.strip_prefix("path")?));
            roots.extend(named.filter_map(|target| join(folder, target)));
            roots.extend(files.keys().filter(|file| is_root(file, folder)).cloned());
        }
    }
    for root in roots {
        reach(files, &root, split(&root).0, &mut reached);
    }
    for path in files.keys().filter(|path| path.ends_with(".rs") && !reached.contains(*path)) {
        let what = "is never compiled: no target and no mod leads to it".to_owned();
        findings.push(Finding { path: path.clone(), line: 0, what });
    }
}

/// Whether cargo makes a target of this file by itself, for the crate in this folder.
fn is_root(file: &str, folder: &str) -> bool {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let Some(inside) = file.strip_prefix(&prefix) else { return false };
    let parts: Vec<&str> = inside.split('/').collect();
    match parts[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
        ["src", "bin", name] | ["tests" | "benches" | "examples", name] => name.ends_with(".rs"),
        ["src", "bin", _, "main.rs"] | ["tests" | "benches" | "examples", _, "main.rs"] => true,
        _ => false,
    }
}

/// Marks a file and all that its `mod` lines lead to. `modules` is the folder in
/// which its modules lie.
fn reach(files: &Files, path: &str, modules: &str, reached: &mut BTreeSet<String>) {
    let Some(text) = files.get(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let mut elsewhere = None;
    for line in text.lines().map(str::trim) {
        if let Some(named) = line.strip_prefix("#[path") {
            elsewhere = quoted(named).and_then(|named| join(split(path).0, named));
        } else if let Some(name) = module(line) {
            let inside = format!("{modules}/{name}");
            match elsewhere.take() {
                Some(file) => reach(files, &file, split(&file).0, reached),
                None => reach(files, &format!("{inside}.rs"), &inside, reached),
            }
        }
    }
}

/// The name in `mod name;`, whatever its visibility.
fn module(line: &str) -> Option<&str> {
    let declaration = line.strip_suffix(';')?;
    let name = match declaration.strip_prefix("mod ") {
        Some(name) => name,
        None => declaration.strip_prefix("pub")?.split_once(" mod ").map(|(_, name)| name)?,
    };
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(name)
}

/// What stands between the first two quotation marks.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}
