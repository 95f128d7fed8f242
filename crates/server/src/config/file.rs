//! Settings out of a file: which keys there are, and of what type.

use super::{Setting, Settings, replace};

/// Reads the file that names every key.
pub(super) fn read(source: &str, text: &str, settings: &mut Settings, wrong: &mut Vec<String>) {
    for (key, value) in values(source, text, wrong) {
        let is_text = value.is_str();
        settings.insert(key, Setting { text: shown(value), source: source.to_owned(), is_text });
    }
}

/// Reads a file over what is there.
pub(super) fn read_over(
    source: &str,
    text: &str,
    settings: &mut Settings,
    wrong: &mut Vec<String>,
) {
    for (key, value) in values(source, text, wrong) {
        match settings.get(&key) {
            Some(known) if known.is_text && !value.is_str() => {
                wrong.push(format!("{key} ({source}): must be a text in quotes, is {value}"));
            }
            Some(_) => replace(settings, &key, shown(value), source),
            None => wrong.push(format!("{key} ({source}): {}", unknown(&key, settings))),
        }
    }
}

/// What is wrong with a key that does not exist.
fn unknown(key: &str, settings: &Settings) -> String {
    let is_table = settings.keys().any(|known| known.strip_prefix(key).is_some_and(is_below));
    let holds = settings.keys().find(|known| key.strip_prefix(*known).is_some_and(is_below));
    match holds {
        _ if is_table => format!("is a table: [{key}], and its keys below that"),
        Some(setting) => format!("there is no such key: {setting} is a setting, not a table"),
        None => "there is no such key".to_owned(),
    }
}

fn is_below(rest: &str) -> bool {
    rest.starts_with('.')
}

/// Values by key (`limits.body_kib`).
fn values(source: &str, text: &str, wrong: &mut Vec<String>) -> Vec<(String, toml::Value)> {
    let mut values = Vec::new();
    match text.parse::<toml::Table>() {
        Ok(table) => flatten("", table, &mut values),
        Err(error) => wrong.push(format!("{source}: {}", error.to_string().trim_end())),
    }
    values
}

fn flatten(prefix: &str, table: toml::Table, values: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, values),
            value => values.push((key, value)),
        }
    }
}

fn shown(value: toml::Value) -> String {
    match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}
