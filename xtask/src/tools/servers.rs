//! Real servers for the tests, and what else they need beside cargo: Debian's Redis, PostgreSQL,
//! Node and Chromium, kinesis-local from npm, boto3 and pretix from PyPI. The latter three lie in folders of their
//! own below `target/tools`, where `onsale-services` looks for them.

use std::path::Path;

use anyhow::{Result, bail};

use super::{agreed_if_asked, answers, run};

/// A Kinesis for tests. Its closed shards end and tell of their children.
const KINESIS_LOCAL: &str = "kinesis-local";
/// The version that the tests were written with.
const KINESIS_LOCAL_VERSION: &str = "0.6.2";

/// What a Python program reads Kinesis with.
const BOTO3: &str = "boto3";
/// The version that the tests were written with.
const BOTO3_VERSION: &str = "1.44.8";

/// A real ticket shop, and what serves its pages.
const PRETIX: &str = "pretix";
/// The versions that the tests were written with.
const PRETIX_PACKAGES: [&str; 2] = ["pretix==2026.8.0", "gunicorn==23.0.0"];

/// Where Debian puts PostgreSQL's programs: a folder for each version, not in the path.
const POSTGRES: &str = "/usr/lib/postgresql";

/// Sees to it that the tests can start their servers.
///
/// # Errors
/// Where something is missing and can't be installed, or shall not be.
pub fn provide(root: &Path) -> Result<()> {
    provide_packages()?;
    provide_kinesis_local(&root.join("target/tools").join(KINESIS_LOCAL))?;
    provide_boto3(&root.join("target/tools").join(BOTO3))?;
    provide_pretix(&root.join("target/tools").join(PRETIX))
}

/// Sees to it that Debian's packages are there.
///
/// # Errors
/// As for [`provide`].
pub fn provide_packages() -> Result<()> {
    let missing = missing(has_postgres(), |program| answers(program, &["--version"]));
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !answers("apt-get", &["--version"]) {
        bail!(
            "missing for the tests: {names} (Debian's names), and there is no apt-get. Install \
             redis-server, PostgreSQL's initdb and postgres, node, npm, setpriv (util-linux) and chromium"
        );
    }
    let user = if is_root() { &[][..] } else { &["sudo"][..] };
    let install = ["apt-get", "install", "--yes", "--no-install-recommends"];
    let install = [user, &["env", "DEBIAN_FRONTEND=noninteractive"], &install, &missing].concat();
    println!("missing: {names}. This would install it:\n  {}", install.join(" "));
    println!("  (Debian may start servers of its own then. The tests use the programs only.)");
    agreed_if_asked()?;
    if run(install[0], &install[1..]).is_ok() {
        return Ok(());
    }
    println!("That failed; perhaps the list of packages is old. Once more, with a new one:");
    let update = [user, &["apt-get", "update"]].concat();
    run(update[0], &update[1..])?;
    run(install[0], &install[1..])
}

/// Debian's names for what these tests need and do not find.
fn missing(has_postgres: bool, is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let programs = [
        ("redis-server", "redis-server"),
        ("node", "nodejs"),
        ("npm", "npm"),
        ("setpriv", "util-linux"),
        ("chromium", "chromium"),
    ];
    let absent = programs.iter().filter(|(program, _)| !is_there(program));
    let mut names: Vec<&str> = absent.map(|(_, package)| *package).collect();
    if !has_postgres && !is_there("initdb") {
        names.push("postgresql");
    }
    names
}

fn has_postgres() -> bool {
    let mut versions = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    versions.any(|version| version.path().join("bin/initdb").exists())
}

/// Root's files are root's to write: no program is needed to know who runs this.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn provide_kinesis_local(folder: &Path) -> Result<()> {
    let manifest = folder.join("node_modules").join(KINESIS_LOCAL).join("package.json");
    let version = format!("\"version\" : \"{KINESIS_LOCAL_VERSION}\"");
    if std::fs::read_to_string(&manifest).is_ok_and(|text| text.contains(&version)) {
        return Ok(());
    }
    let (at, package) = (folder.display(), format!("{KINESIS_LOCAL}@{KINESIS_LOCAL_VERSION}"));
    let at = at.to_string();
    println!("missing: {package}. This would install it, there alone:");
    println!("  npm install --prefix {at} {package}");
    println!("  (Tests start it; while they run it listens on all interfaces of this machine.)");
    agreed_if_asked()?;
    std::fs::create_dir_all(folder)?;
    let quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    run("npm", &[&["install", "--prefix", &at], &quiet[..], &[&package]].concat())
}

fn provide_boto3(folder: &Path) -> Result<()> {
    let at = folder.display().to_string();
    let interpreter = format!("{at}/bin/python");
    let is_right = format!("import boto3; assert boto3.__version__ == '{BOTO3_VERSION}'");
    if answers(&interpreter, &["-c", &is_right]) {
        return Ok(());
    }
    super::provide_python_packages(&at, &[&format!("{BOTO3}=={BOTO3_VERSION}")])
}

fn provide_pretix(folder: &Path) -> Result<()> {
    let at = folder.display().to_string();
    // To import pretix takes seconds: what is installed says its version by itself.
    let is_right = PRETIX_PACKAGES.map(|package| {
        let (name, version) = package.split_once("==").expect("each names its version");
        format!("assert version('{name}') == '{version}'")
    });
    let is_right = format!("from importlib.metadata import version; {}", is_right.join("; "));
    if answers(&format!("{at}/bin/python"), &["-c", &is_right]) {
        return Ok(());
    }
    super::provide_python_packages(&at, &PRETIX_PACKAGES)
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn only_what_is_not_there_is_installed() {
        assert_eq!(missing(true, |_| true), [] as [&str; 0]);
        assert_eq!(missing(false, |program| program != "node"), ["nodejs"]);
        assert_eq!(
            missing(false, |program| program == "setpriv"),
            ["redis-server", "nodejs", "npm", "chromium", "postgresql"]
        );
    }
}
