//! A dialect: the folder that teaches the bridge one platform.
//!
//! `dialect.toml` says which tables are watched and how sales are written back; `sql/sqlite/*.sql` and
//! `sql/postgres/*.sql` are the statements, each in a file of its own, with parameters as `:name`. Which statements there are,
//! with their parameters and columns, is in [`statements`]. Those that come with Onsale are in the program itself; others are read from a folder.

pub mod draft;
pub mod statements;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use include_dir::{Dir, include_dir};
use serde::Deserialize;

use crate::Error;
use crate::database::{Kind, Statement};

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../dialects");

/// Name of the file with the settings.
const SETTINGS: &str = "dialect.toml";
/// Largest file of a dialect, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `dialect.toml` says.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name; also part of the names of what is added to the database.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub about: String,
    /// Which databases it has statements for.
    pub databases: Vec<Kind>,
    /// How changes are captured.
    #[serde(default)]
    pub capture: CaptureSettings,
    /// Tables whose changes matter.
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// How sales are written back; its members are the write-back's own.
    #[serde(default)]
    pub write_back: WriteBackSettings,
    /// Requests of the platform's API by name; their form is the write-back's own.
    #[serde(default)]
    pub api: BTreeMap<String, toml::Value>,
}

/// How changes are captured.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureSettings {
    /// Everything is read again after so many seconds, whether something changed or not.
    pub sweep_seconds: u64,
    /// How often what time alone changes is asked for (`time-changed.sql`), in seconds.
    pub clock_seconds: u64,
}

impl Default for CaptureSettings {
    fn default() -> CaptureSettings {
        CaptureSettings { sweep_seconds: 300, clock_seconds: 1 }
    }
}

/// How sales are written back.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct WriteBackSettings {
    /// By which way.
    #[serde(default)]
    pub by: By,
    /// What else there is to say for that way.
    #[serde(flatten)]
    pub more: BTreeMap<String, toml::Value>,
}

/// By which way the platform is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Not at all.
    #[default]
    Nothing,
    /// By statements in its database.
    Sql,
    /// By its API.
    Api,
}

/// What a changed row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// An event: it is read again.
    #[default]
    Event,
    /// An order: its state is read again.
    Order,
}

/// A table whose changes matter.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// The table.
    pub table: String,
    /// The column that says which event (or order) a row belongs to: the event's key, the order's code.
    pub column: String,
    /// What a row is about.
    #[serde(default)]
    pub about: About,
    /// Changes of other columns than these don't matter; empty: all do.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The statement that gives the event's key from the column's value, as `:key`, where that is not the key itself.
    #[serde(default)]
    pub lookup: Option<String>,
}

/// A dialect, loaded.
#[derive(Clone, PartialEq, Debug)]
pub struct Dialect {
    /// Where it is from, for messages: `dialects/classic` or a folder.
    pub place: String,
    /// What `dialect.toml` says.
    pub settings: Settings,
    /// Statements by database and name, as they are in the files.
    pub sql: BTreeMap<(Kind, String), String>,
}

impl Dialect {
    /// Loads one: by name where it comes with Onsale, else from a folder.
    ///
    /// # Errors
    /// There is none, or a file of it is wrong in itself.
    pub fn load(name: &str) -> Result<Dialect, Error> {
        if let Some(folder) = BUILT_IN.get_dir(name) {
            return Dialect::from_files(
                &format!("dialects/{name}"),
                &|file| {
                    Ok(BUILT_IN
                        .get_file(folder.path().join(file))
                        .map(|file| String::from_utf8_lossy(file.contents()).into_owned()))
                },
                &|kind| {
                    let sql = BUILT_IN.get_dir(folder.path().join("sql").join(kind.name()));
                    let files = sql.map(Dir::files).into_iter().flatten();
                    Ok(files
                        .filter_map(|file| Some(file.path().file_name()?.to_str()?.to_owned()))
                        .collect())
                },
            );
        }
        let folder = Path::new(name);
        if !folder.is_dir() {
            let known: Vec<String> =
                BUILT_IN.dirs().map(|dir| dir.path().display().to_string()).collect();
            return Err(Error::refused(
                format!("there is no dialect {name}"),
                format!("Say one of {} or a folder that has a {SETTINGS}.", known.join(", ")),
            ));
        }
        Dialect::from_files(
            &folder.display().to_string(),
            &|file| read(&folder.join(file)),
            &|kind| {
                let sql = folder.join("sql").join(kind.name());
                let Ok(entries) = std::fs::read_dir(sql) else { return Ok(BTreeSet::new()) };
                Ok(entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect())
            },
        )
    }

    fn from_files(
        place: &str,
        read: &dyn Fn(&str) -> Result<Option<String>, Error>,
        list: &dyn Fn(Kind) -> Result<BTreeSet<String>, Error>,
    ) -> Result<Dialect, Error> {
        let file = format!("{place}/{SETTINGS}");
        let wrong = |why: String| Error::Dialect { file: file.clone(), why };
        let text = read(SETTINGS)?.ok_or_else(|| wrong("there is no such file".to_owned()))?;
        let settings: Settings = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if settings.name.is_empty()
            || settings.name.len() > 32
            || !settings.name.chars().all(is_name)
        {
            let rule = "name: must be 1 to 32 of a-z, 0-9 and '_'";
            return Err(wrong(rule.to_owned()));
        }
        let mut sql = BTreeMap::new();
        for kind in &settings.databases {
            for name in list(*kind)? {
                let Some(statement) = name.strip_suffix(".sql") else { continue };
                let text = read(&format!("sql/{}/{name}", kind.name()))?.unwrap_or_default();
                sql.insert((*kind, statement.to_owned()), text);
            }
        }
        Ok(Dialect { place: place.to_owned(), settings, sql })
    }

    /// The file of a statement, for messages.
    #[must_use]
    pub fn file(&self, kind: Kind, name: &str) -> String {
        format!("{}/sql/{}/{name}.sql", self.place, kind.name())
    }

    /// A statement, where there is one.
    #[must_use]
    pub fn find(&self, kind: Kind, name: &str) -> Option<Statement> {
        let sql = self.sql.get(&(kind, name.to_owned()))?;
        Some(Statement::new(kind, &self.file(kind, name), sql.trim().trim_end_matches(';')))
    }

    /// A statement that must be there.
    ///
    /// # Errors
    /// It is missing.
    pub fn statement(&self, kind: Kind, name: &str) -> Result<Statement, Error> {
        self.find(kind, name).ok_or_else(|| Error::Dialect {
            file: self.file(kind, name),
            why: format!("the statement is missing: {}", statements::about(name)),
        })
    }

    /// Name of what is added to a database: publication and slot in PostgreSQL, triggers in SQLite.
    #[must_use]
    pub fn added_name(&self) -> String {
        format!("onsale_{}", self.settings.name)
    }
}

fn read(file: &Path) -> Result<Option<String>, Error> {
    let wrong = |why: String| Error::Dialect { file: file.display().to_string(), why };
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
        Ok(told) if told.len() > FILE_BYTES_MAX => {
            Err(wrong(format!("is larger than {FILE_BYTES_MAX} bytes")))
        }
        Ok(_) => std::fs::read_to_string(file).map(Some).map_err(|error| wrong(error.to_string())),
    }
}
