//! Each rule is seen to find what it is for, and to leave alone what it is not.

use super::*;

/// Findings in these files, which are all there is.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let files: Files = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
    let there =
        |path: &str| files.keys().any(|file| file == path || file.starts_with(&format!("{path}/")));
    check(&files, there).iter().map(Finding::to_string).collect()
}

/// Findings in one source file of a crate that has another, `src/lib.rs`.
fn found_in(path: &str, text: &str) -> Vec<String> {
    let library = format!("//! Library.\n{}", "pub mod a;\nmod tests;\n");
    let manifest = "[package]\n[lints]\nworkspace = true\n";
    let mut files =
        vec![("c/Cargo.toml", manifest), ("c/src/lib.rs", library.as_str()), (path, text)];
    files.dedup_by_key(|(path, _)| *path);
    found(&files)
}

const NONE: [&str; 0] = [];

#[test]
fn what_is_tidy_is_left_alone() {
    let text =
        "//! For tests.\n\nfn f() -> &'static str {\n    \"a/tmp/b, framework/, tissue#1\"\n}\n";
    assert_eq!(found_in("c/src/a.rs", text), NONE);
    assert_eq!(found(&[("LICENSE", "\tAs it must be. /tmp/ ")]), NONE);
    assert_eq!(found(&[("a.bin.snap", "no newline, \t")]), NONE);
    assert_eq!(found(&[(".ci/run", "#!/bin/sh\n")]), NONE);
}

#[test]
fn lines_are_checked() {
    let rows = [
        (
            "fn f() {}\n",
            "c/src/a.rs:1: must begin with a //! paragraph that says what the file is for",
        ),
        ("", "c/src/a.rs:1: must begin with a //! paragraph that says what the file is for"),
        ("//! A.\nfn f() {}", "c/src/a.rs: must end with a newline"),
        ("//! A.\n\tf()\n", "c/src/a.rs:2: has a tab or white space at its end"),
        ("//! A.\n\nf() \n", "c/src/a.rs:3: has a tab or white space at its end"),
        ("//! A.\n// FIXME\n", "c/src/a.rs:2: FIXME: finish it, or file it"),
        ("//! A. XXX\n", "c/src/a.rs:1: XXX: finish it, or file it"),
        ("//! A.\ntodo!()\n", "c/src/a.rs:2: todo!: finish it, or file it"),
        ("//! A.\nunimplemented!()\n", "c/src/a.rs:2: unimplemented!: finish it, or file it"),
        ("//! A.\nf(dbg!(1))\n", "c/src/a.rs:2: dbg!: take it out"),
        ("//! A.\n#[allow(x)]\n", "c/src/a.rs:2: #[allow(: write #[expect(…, reason = \"…\")]"),
        ("//! A.\n#![allow(x)]\n", "c/src/a.rs:2: #![allow(: write #![expect(…, reason = \"…\")]"),
        ("//! A.\n#[ignore]\n", "c/src/a.rs:2: #[ignore: a test that does not run proves nothing"),
        ("//! A.\n\"/tmp/x\"\n", "c/src/a.rs:2: /tmp/: other machines do not have it"),
        ("//! A.\n// (/home/x)\n", "c/src/a.rs:2: /home/: other machines do not have it"),
        ("//! A.\n// in /root/\n", "c/src/a.rs:2: /root/: other machines do not have it"),
    ];
    for (text, expected) in rows {
        assert_eq!(found_in("c/src/a.rs", text), [expected], "{text}");
    }
    assert_eq!(
        found(&[("README.md", "See it in /home/x\n")]),
        ["README.md:1: /home/: other machines do not have it",]
    );
    assert_eq!(
        found(&[("data.json", "{\"a\": \"/root/b\"}")]),
        ["data.json:1: /root/: other machines do not have it"]
    );
}

#[test]
fn tests_must_not_sleep_but_may_name_paths() {
    let sleep = "//! A.\nthread::sleep(d);\n// /tmp/x\n";
    let expected = "a test must wait for a condition, not for a time";
    assert_eq!(found_in("c/src/tests.rs", sleep), [format!("c/src/tests.rs:2: {expected}")]);
    assert_eq!(found_in("c/tests/a.rs", sleep), [format!("c/tests/a.rs:2: {expected}")]);
    let inline =
        "//! A.\nthread::sleep(d);\n#[cfg(test)]\nmod tests {\n    tokio::time::sleep(d);\n}\n";
    assert_eq!(found_in("c/src/a.rs", inline), [format!("c/src/a.rs:5: {expected}")]);
}

#[test]
fn long_files_need_a_reason() {
    let long =
        |lines: usize, beside: &str| format!("//! A.\n{beside}{}", "f();\n".repeat(lines - 1));
    assert_eq!(found_in("c/src/a.rs", &long(700, "")), NONE);
    let expected = "c/src/a.rs: has 701 lines: split it, or say `// long, since …`";
    assert_eq!(found_in("c/src/a.rs", &long(701, "")), [expected]);
    assert_eq!(found_in("c/src/a.rs", &long(700, "// long, since \n")).len(), 2);
    assert_eq!(found_in("c/src/a.rs", &long(700, "// long, since one table\n")), NONE);
}

#[test]
fn files_that_are_never_compiled_are_found() {
    let dead =
        |path: &str| vec![format!("{path}: is never compiled: no target and no mod leads to it")];
    let text = "//! A.\n";
    for path in ["c/src/b.rs", "c/src/a/b.rs", "c/src/bin/x/y.rs", "c/tests/x/y.rs", "d/src/lib.rs"]
    {
        assert_eq!(found_in(path, text), dead(path));
    }
    for path in [
        "c/src/a.rs",
        "c/src/main.rs",
        "c/src/bin/x.rs",
        "c/src/bin/x/main.rs",
        "c/tests/x.rs",
        "c/benches/x.rs",
        "c/examples/x/main.rs",
        "c/build.rs",
    ] {
        assert_eq!(found_in(path, text), NONE);
    }
    let manifest = "[package]\n[lib]\npath = \"src/other.rs\"\n[lints]\nworkspace = true\n";
    let files = [
        ("c/Cargo.toml", manifest),
        (
            "c/src/other.rs",
            "//! A.\npub(crate) mod a;\n#[path = \"x/far.rs\"]\nmod b;\n// mod c;\n",
        ),
        ("c/src/a.rs", "//! A.\nmod d;\n"),
        ("c/src/a/d.rs", text),
        ("c/src/b.rs", text),
        ("c/src/c.rs", text),
        ("c/src/x/far.rs", text),
    ];
    assert_eq!(found(&files), [dead("c/src/b.rs"), dead("c/src/c.rs")].concat());
    let module = found_in("c/src/a/mod.rs", text);
    assert_eq!(module[1], "c/src/a/mod.rs: must not be called mod.rs: name it after its module");
}

#[test]
fn links_lead_to_files() {
    let text = "[a](docs/b.md) [w](https://x.y/z) [h](#here) ![i](/docs/i.svg) [d](docs)\n\
                [b](docs/c.md#part) [e](../out.md)\n```\n[c](nowhere)\n```\n[f]: docs/g.md\n";
    let files = [("README.md", text), ("docs/b.md", "[up](../README.md) [x](./b.md)\n")];
    assert_eq!(
        found(&files),
        [
            "README.md:1: the link leads nowhere: /docs/i.svg",
            "README.md:2: the link leads nowhere: ../out.md",
            "README.md:2: the link leads nowhere: docs/c.md#part",
            "README.md:6: the link leads nowhere: docs/g.md",
        ]
    );
}

#[test]
fn commands_name_what_is_there() {
    let manifest =
        "[package]\nname = \"a\"\n[lints]\nworkspace = true\n\n[[bench]]\nname = \"b\"\n";
    let page = "`cargo test -p a --test sale two_buyers`, `cargo test -p a --test sale crash`\n\
                `cargo test -p a --test sale three` `cargo test -p a --test gone` | `cargo bench -p b`\n\
                cargo bench -p a --bench hot -- --quick\ncargo test -p a --features x --test\n";
    let files = [
        ("a/Cargo.toml", manifest),
        ("a/benches/hot.rs", "//! B.\n"),
        ("a/tests/sale/main.rs", "//! S.\nmod crashes;\nfn two_buyers_one_ticket() {}\n"),
        ("a/tests/sale/crashes.rs", "//! C.\n"),
        ("docs/x.md", page),
    ];
    assert_eq!(
        found(&files),
        [
            "docs/x.md:2: a has no gone in tests",
            "docs/x.md:2: no test there is named by three",
            "docs/x.md:2: there is no package b",
            "docs/x.md:4: --test has no value",
        ]
    );
}

#[test]
fn manifests_take_the_lints() {
    let missing = ["c/Cargo.toml: must have [lints] with workspace = true"];
    assert_eq!(found(&[("c/Cargo.toml", "[package]\n")]), missing);
    let elsewhere = "[package]\n[lints]\n[other]\nworkspace = true\n";
    assert_eq!(found(&[("c/Cargo.toml", elsewhere)]), missing);
    assert_eq!(found(&[("Cargo.toml", "[workspace]\n")]), NONE);
    assert_eq!(found(&[("c/Cargo.toml", "[package]\n[workspace]\n")]), NONE);
}

#[test]
fn this_repository_s_own_rules_are_exempt_from_words_only() {
    let manifest = "[package]\n[lints]\nworkspace = true\n";
    let files = [
        ("xtask/Cargo.toml", manifest),
        ("xtask/src/main.rs", "//! A.\nmod tidy;\n"),
        ("xtask/src/tidy.rs", "// FIXME /tmp/ \n"),
    ];
    assert_eq!(
        found(&files),
        [
            "xtask/src/tidy.rs:1: has a tab or white space at its end",
            "xtask/src/tidy.rs:1: must begin with a //! paragraph that says what the file is for",
        ]
    );
}
