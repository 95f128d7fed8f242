//! Where the servers' programs are, and as whom PostgreSQL runs.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `cargo xtask test` puts what the machine's own packages do not have.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools");
/// Where Debian puts PostgreSQL: a folder for each version. They are not in the path.
const POSTGRES: &str = "/usr/lib/postgresql";

/// A program in the path.
pub fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|folder| folder.join(program));
    first(program, places)
}

/// The folder with `initdb` and `postgres`: Debian's newest, or one in the path.
pub fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir(POSTGRES).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .map(|(_, programs)| programs)
        .unwrap_or_else(|| found("initdb").parent().expect("a program lies in a folder").to_owned())
}

/// The folder of kinesis-local's package.
pub fn kinesis_package() -> PathBuf {
    let program = Path::new(TOOLS).join("kinesis-local/node_modules/kinesis-local/main.js");
    let program = first("kinesis-local", [program]);
    program.parent().expect("a program lies in a folder").to_owned()
}

/// The interpreter of the environment that has boto3.
pub fn boto3_python() -> PathBuf {
    first("boto3", [Path::new(TOOLS).join("boto3/bin/python")])
}

/// Where `cargo xtask test` puts things, and where tests may keep what is costly to make.
pub fn folder() -> &'static Path {
    Path::new(TOOLS)
}

/// The interpreter of the environment that has pretix.
pub fn pretix_python() -> PathBuf {
    first("pretix", [Path::new(TOOLS).join("pretix/bin/python")])
}

/// The version of pretix that is installed: its folder of metadata is called by it.
pub fn pretix_version() -> String {
    let versions = std::fs::read_dir(Path::new(TOOLS).join("pretix/lib")).into_iter().flatten();
    let packages = versions.flatten().map(|python| python.path().join("site-packages"));
    let mut folders = packages.filter_map(|path| std::fs::read_dir(path).ok()).flatten().flatten();
    let version = folders.find_map(|folder| {
        let name = folder.file_name().into_string().ok()?;
        Some(name.strip_prefix("pretix-")?.strip_suffix(".dist-info")?.to_owned())
    });
    version.expect("pretix is missing: `cargo xtask test` installs it")
}

fn first(name: &str, places: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    let place = places.into_iter().find(|place| place.exists());
    place.unwrap_or_else(|| panic!("{name} is missing: `cargo xtask test` installs it"))
}

/// A user of the machine.
#[derive(Clone)]
pub struct User {
    name: String,
    id: u32,
    group: u32,
}

impl User {
    /// Makes the user the owner of a folder or file.
    pub fn give(&self, path: &Path) {
        chown(path, Some(self.id), Some(self.group)).expect("root may give away what it has");
    }
}

/// Who runs PostgreSQL, which refuses to be run by root. `None`: whoever runs the test.
pub fn user_for_postgres() -> Option<User> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("the machine has users");
    let user = ["postgres", "nobody"].iter().find_map(|name| user(&users, name));
    Some(user.expect("there is a user nobody"))
}

/// Finds a user's line: name, password, id, group, and more.
fn user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next()? == name;
        let id = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        is_it.then(|| User { name: name.to_owned(), id, group })
    })
}

/// The same command, run by another user.
pub fn as_user(command: Command, user: Option<&User>) -> Command {
    let Some(user) = user else { return command };
    let mut outer = Command::new("setpriv");
    outer.arg(format!("--reuid={}", user.name)).arg(format!("--regid={}", user.group));
    outer.arg("--clear-groups").arg(command.get_program()).args(command.get_args());
    outer
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users =
            "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:\nbroken\nnobody:x:65534:65533:a,b:/:";
        let found = user(users, "nobody").unwrap();
        assert_eq!((found.name.as_str(), found.id, found.group), ("nobody", 65_534, 65_533));
        assert!(user(users, "broken").is_none() && user(users, "postgres").is_none());
    }
}
