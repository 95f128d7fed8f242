//! Which crates see which: the arrows of the architecture, held against what
//! cargo resolves.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::steps::cargo_output;

/// Each crate of the workspace, and the crates of the workspace that it may see.
const ARROWS: [(&str, &[&str]); 16] = [
    ("onsale-planted", &[]),
    ("onsale-core", &["onsale-planted"]),
    ("onsale-codec", &["onsale-core", "onsale-planted"]),
    ("onsale-journal", &["onsale-planted"]),
    ("onsale-tls", &[]),
    ("onsale-bus", &["onsale-journal", "onsale-planted", "onsale-tls"]),
    ("onsale-bridge", &["onsale-bus", "onsale-tls"]),
    ("onsale-engine", &["onsale-core", "onsale-codec", "onsale-journal", "onsale-planted"]),
    ("onsale-redis", &["onsale-core", "onsale-codec", "onsale-planted", "onsale-tls"]),
    ("onsale-rows", &["onsale-tls"]),
    ("onsale-rush", &[]),
    ("onsale-classic", &[]),
    ("onsale-services", &[]),
    (
        "onsale-sim",
        &["onsale-core", "onsale-codec", "onsale-journal", "onsale-engine", "onsale-planted"],
    ),
    (
        "onsale",
        &[
            "onsale-core",
            "onsale-codec",
            "onsale-journal",
            "onsale-bridge",
            "onsale-bus",
            "onsale-engine",
            "onsale-redis",
            "onsale-rows",
            "onsale-rush",
            "onsale-classic",
            "onsale-tls",
        ],
    ),
    ("xtask", &[]),
];

/// All that the core is made of: no runtime, no serialisation, no clock. The last
/// five make code while it is compiled; the second is empty but in one test.
const CORE_TREE: [&str; 10] = [
    "onsale-core",
    "onsale-planted",
    "siphasher",
    "smallvec",
    "thiserror",
    "thiserror-impl",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
];

/// Crates that only some may have, directly or not.
const KEPT_APART: [(&str, &[&str]); 3] = [
    ("axum", &["onsale", "onsale-classic"]),
    ("hyper", &["onsale", "onsale-bridge", "onsale-classic"]),
    (
        "tokio",
        &[
            "onsale",
            "onsale-bridge",
            "onsale-bus",
            "onsale-redis",
            "onsale-rows",
            "onsale-rush",
            "onsale-classic",
            "onsale-tls",
        ],
    ),
];

/// A crate of the workspace and what it depends on.
struct Node {
    name: String,
    /// Directly.
    direct: BTreeSet<String>,
    /// Directly or not, itself included.
    all: BTreeSet<String>,
}

/// Checks all crates of the workspace.
///
/// # Errors
/// Says how many findings there are; they are printed, a line each.
pub fn run(root: &Path) -> Result<()> {
    let tree = |arguments: &str| {
        let fixed = "tree --locked --edges normal --prefix none --format {p}";
        cargo_output(root, &format!("{fixed} {arguments}")).map(|text| names(&text))
    };
    let features = "tree --locked --workspace --edges normal,features --prefix none";
    if cargo_output(root, features)?.contains("onsale-planted feature \"on\"") {
        bail!("a build has the switch for planted bugs on: only a test may");
    }
    let mut nodes = Vec::new();
    for name in tree("--workspace --depth 0")? {
        let direct = tree(&format!("--package {name} --depth 1"))?;
        let all = tree(&format!("--package {name}"))?;
        nodes.push(Node { name, direct, all });
    }
    let wrong = check(&nodes);
    if !wrong.is_empty() {
        wrong.iter().for_each(|line| eprintln!("{line}"));
        bail!("{} findings", wrong.len());
    }
    println!("{} crates see what they may, the core {} crates", nodes.len(), CORE_TREE.len() - 1);
    Ok(())
}

/// The first word of each line: the crate's name.
fn names(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn check(nodes: &[Node]) -> Vec<String> {
    let mut wrong = Vec::new();
    let ours: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    for node in nodes {
        let name = node.name.as_str();
        let Some((_, may_see)) = ARROWS.iter().find(|(of, _)| *of == name) else {
            wrong.push(format!("{name}: say in {} which crates it may see", file!()));
            continue;
        };
        for seen in node.direct.iter().filter(|seen| ours.contains(seen.as_str())) {
            if seen != name && !may_see.contains(&seen.as_str()) {
                wrong.push(format!("{name} must not see {seen}"));
            }
        }
        for (kept, allowed) in KEPT_APART {
            if node.all.contains(kept) && !allowed.contains(&name) {
                wrong.push(format!("{name} must not depend on {kept}, not even through others"));
            }
        }
        if name == "onsale-core" {
            let more = node.all.iter().filter(|name| !CORE_TREE.contains(&name.as_str()));
            wrong.extend(more.map(|name| format!("the core must not depend on {name}")));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, direct: &[&str], through_others: &[&str]) -> Node {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let direct: BTreeSet<String> = set(&[&[name], direct].concat());
        let mut all: BTreeSet<String> = set(through_others);
        all.extend(direct.iter().cloned());
        Node { name: name.to_owned(), direct, all }
    }

    fn sound() -> Vec<Node> {
        vec![
            node("onsale-core", &["siphasher", "thiserror"], &["syn"]),
            node("onsale-journal", &["crc32c"], &[]),
            node("onsale-engine", &["onsale-core", "onsale-journal"], &[]),
            node("onsale", &["onsale-engine", "axum", "hyper", "tokio"], &["onsale-core"]),
        ]
    }

    #[test]
    fn names_are_the_first_words() {
        let tree = "a v0.1.0 (/somewhere)\nb v1.0.0 (proc-macro)\n\na v0.1.0 (*)\n";
        assert_eq!(names(tree), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn each_wrong_arrow_is_told() {
        assert_eq!(check(&sound()), [] as [&str; 0]);
        let rows = [
            (0, node("onsale-core", &["serde"], &[]), "the core must not depend on serde"),
            (0, node("onsale-core", &[], &["libc"]), "the core must not depend on libc"),
            (
                1,
                node("onsale-journal", &["onsale-core"], &[]),
                "onsale-journal must not see onsale-core",
            ),
            (2, node("onsale-engine", &["onsale"], &[]), "onsale-engine must not see onsale"),
            (
                2,
                node("onsale-engine", &[], &["axum"]),
                "onsale-engine must not depend on axum, not even through others",
            ),
            (
                3,
                node("onsale-new", &[], &[]),
                "onsale-new: say in xtask/src/crates.rs which crates it may see",
            ),
        ];
        for (at, changed, expected) in rows {
            let mut nodes = sound();
            nodes[at] = changed;
            assert_eq!(check(&nodes), [expected]);
        }
    }
}
