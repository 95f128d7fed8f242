//! Links in Markdown lead to files that are there.

use super::{Finding, join, split};

pub fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool, findings: &mut Vec<Finding>) {
    if !path.ends_with(".md") {
        return;
    }
    let (folder, _) = split(path);
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line).filter(|target| is_file(target)) {
            let file = target.split('#').next().unwrap_or_default();
            let there = match file.strip_prefix('/') {
                Some(from_root) => join("", from_root),
                None => join(folder, file),
            };
            if !there.is_some_and(|there| exists(&there)) {
                let what = format!("the link leads nowhere: {target}");
                findings.push(Finding { path: path.to_owned(), line: number, what });
            }
        }
    }
}

/// What stands in `](…)`, and after `]:` at the beginning of a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let reference = line.starts_with('[').then(|| line.split_once("]: ")).flatten();
    inline.chain(reference.map(|(_, target)| target.trim()))
}

fn is_file(target: &str) -> bool {
    !target.is_empty() && !target.starts_with('#') && !target.contains(':')
}
