//! Settings out of the environment: `ONSALE_` and the key in capitals.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{DEFAULTS, Settings, file, replace};

/// What variables of ours begin with.
const PREFIX: &str = "ONSALE_";
/// Those that are no settings of the server.
const OTHERS: [&str; 2] = ["ONSALE_KEY", "ONSALE_LOG_FORMAT"];
/// What those of the bridge begin with.
const BRIDGE: &str = "ONSALE_BRIDGE_";
/// Kubernetes tells of each service in such variables: a service `onsale-store` makes them look like settings.
const OF_SERVICES: [&str; 3] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];

/// Variables by name.
pub(super) type Environment = BTreeMap<String, OsString>;

/// All variables that begin as ours do.
pub(super) fn ours() -> Environment {
    let names =
        std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text)));
    names.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// Puts settings in the place of those before them. One that begins like a table's but is none of its keys is wrong.
pub(super) fn read(environment: &Environment, settings: &mut Settings, wrong: &mut Vec<String>) {
    let keys: BTreeMap<String, String> =
        settings.keys().map(|key| (variable(key), key.clone())).collect();
    for (name, text) in environment {
        match (keys.get(name), text.to_str()) {
            (Some(key), Some(text)) => replace(settings, key, text.to_owned(), name),
            (Some(key), None) => wrong.push(format!("{key} ({name}): must be UTF-8")),
            (None, _) if is_of_table(name, settings) && !is_of_service(name) => {
                wrong.push(format!("{name}: there is no such key"));
            }
            (None, _) => {}
        }
    }
}

/// Variables that begin as ours do and say nothing to any of our programs; most likely typing errors. Those that
/// are mistakes are not among them.
#[must_use]
pub fn ignored() -> Vec<String> {
    ignored_of(&ours())
}

fn ignored_of(environment: &Environment) -> Vec<String> {
    let mut settings = Settings::new();
    file::read("default.toml", DEFAULTS, &mut settings, &mut Vec::new());
    let is_known = |name: &String| {
        OTHERS.contains(&name.as_str())
            || name.starts_with(BRIDGE)
            || is_of_table(name, &settings)
            || is_of_service(name)
            || settings.keys().any(|key| variable(key) == *name)
    };
    environment.keys().filter(|name| !is_known(name)).cloned().collect()
}

/// Name of the environment variable for a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn is_of_table(name: &str, settings: &Settings) -> bool {
    let mut tables = settings.keys().filter_map(|key| key.rsplit_once('.'));
    tables.any(|(table, _)| {
        name.strip_prefix(&variable(table)).is_some_and(|rest| rest.starts_with('_'))
    })
}

fn is_of_service(name: &str) -> bool {
    OF_SERVICES.iter().any(|part| {
        name.find(part)
            .is_some_and(|at| matches!(name.as_bytes().get(at + part.len()), None | Some(b'_')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_told_of() {
        let names = [
            "ONSALE_SHARD",
            "ONSALE_SHARDS",
            "ONSALE_KEY",
            "ONSALE_LOG_FORMAT",
            "ONSALE_BRIDGE_DB",
            "ONSALE_LIMITS_BODY",
            "ONSALE_SERVICE_HOST",
            "ONSALE_PORT",
            "ONSALE_PORT_7070_TCP_ADDR",
            "ONSALE_PORTS",
        ];
        let environment = names.map(|name| (name.to_owned(), OsString::from("1"))).into();
        assert_eq!(ignored_of(&environment), ["ONSALE_PORTS", "ONSALE_SHARD"]);
    }
}
