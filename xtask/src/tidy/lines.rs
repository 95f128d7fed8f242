//! Rules about single lines, and about a file as a row of lines.

use super::{Finding, OWN_CODE, split};

/// Longest source file, in lines, that needs no reason.
const LINES_MAX: usize = 700;
/// The line that gives a longer file's reason.
const REASON: &str = "// long, since ";

/// What must not be left in code, and why.
const LEFT_OVERS: [(&str, &str); 8] = [
    ("FIXME", "finish it, or file it"),
    ("XXX", "finish it, or file it"),
    ("todo!", "finish it, or file it"),
    ("unimplemented!", "finish it, or file it"),
    ("dbg!", "take it out"),
    ("#[allow(", "write #[expect(…, reason = \"…\")]"),
    ("#![allow(", "write #![expect(…, reason = \"…\")]"),
    ("#[ignore", "a test that does not run proves nothing"),
];

/// Waits that make tests slow and still unsure.
const SLEEPS: [&str; 2] = ["thread::sleep", "time::sleep"];

/// Folders that only one machine has.
const MACHINE_PATHS: [&str; 3] = ["/home/", "/root/", "/tmp/"];

/// Kinds of files that are written by hand.
const SOURCES: [&str; 10] = ["rs", "toml", "md", "sh", "yml", "yaml", "proto", "html", "css", "js"];

pub fn check(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut found = |line: usize, what: String| {
        findings.push(Finding { path: path.to_owned(), line, what });
    };
    let (_, name) = split(path);
    let is_rust = name.ends_with(".rs");
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_source = SOURCES.contains(&extension) || path.starts_with(".ci/");
    if is_source && !text.is_empty() && !text.ends_with('\n') {
        found(0, "must end with a newline".to_owned());
    }
    if is_rust {
        if !text.starts_with("//! ") {
            found(1, "must begin with a //! paragraph that says what the file is for".to_owned());
        }
        let count = text.lines().count();
        let told =
            text.lines().any(|line| line.trim().len() > REASON.len() && line.starts_with(REASON));
        if count > LINES_MAX && !told {
            found(0, format!("has {count} lines: split it, or say `{REASON}…`"));
        }
        if name == "mod.rs" {
            found(0, "must not be called mod.rs: name it after its module".to_owned());
        }
    }
    let mut in_tests = is_test(path);
    for (number, line) in (1..).zip(text.lines()) {
        in_tests |= is_rust && line == "mod tests {";
        if is_source && (line.contains('\t') || line.trim_end() != line) {
            found(number, "has a tab or white space at its end".to_owned());
        }
        // The text of the licence, the lock file and this rule's code are as they must be.
        if !is_source && extension != "json" || path.starts_with(OWN_CODE) {
            continue;
        }
        if is_rust {
            let left = LEFT_OVERS.iter().filter(|(word, _)| holds_word(line, word));
            left.for_each(|(word, why)| found(number, format!("{word}: {why}")));
            if in_tests && SLEEPS.iter().any(|sleep| line.contains(sleep)) {
                found(number, "a test must wait for a condition, not for a time".to_owned());
            }
        }
        let paths = MACHINE_PATHS.iter().filter(|path| !in_tests && holds_path(line, path));
        paths.for_each(|path| found(number, format!("{path}: other machines do not have it")));
    }
}

/// Whether a file is made of tests only.
fn is_test(path: &str) -> bool {
    let (folder, name) = split(path);
    name == "tests.rs"
        || folder.split('/').any(|part| part == "tests")
        || folder.starts_with("crates/sim")
}

/// Whether the word is there, and not as the end of a longer one.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

/// Whether a path begins here, rather than goes on.
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-~}*)".contains(c))
    })
}
