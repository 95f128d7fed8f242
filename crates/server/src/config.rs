//! The configuration of `onsale serve`: raw settings from four sources become one
//! resolved value, checked as a whole, before anything starts.
//!
//! `default.toml` names every key, says what it means and is the source of the
//! defaults. Nothing reads a flag, a variable or a file later than here.

pub mod environment;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onsale_bus::Retention;
use onsale_core::limits::SHARDS_MAX;
use onsale_engine::Durability;
use onsale_engine::folder::{BACKUP_FILE, FILE};

use self::environment::Environment;
use crate::bus::retain::retention;
use crate::folders::overlap;
use crate::rates::RATE_MAX;
use crate::rows::{RowsConfig, Url};
use crate::webhooks::{Networks, Policy, WebhookLimits};

/// The commented defaults, which document every key.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// What `onsale serve` runs with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many cores to work on.
    pub cores: usize,
    /// Shards of a data folder that is made.
    pub shards: u16,
    /// How the journal is kept.
    pub journal: onsale_engine::Options,
    /// Where the journal is kept, if not in the files of the data folder.
    pub rows: Option<RowsConfig>,
    /// Where the sale is kept, if not in the data folder.
    pub store: Option<onsale_redis::Options>,
    /// How much of anything a client may have.
    pub limits: Limits,
    /// What webhooks may be and do.
    pub webhooks: WebhookLimits,
    /// What of the streams `catalogue` and `control` is kept.
    pub streams: Retention,
}

/// How much of anything a client may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest body.
    pub body_bytes: usize,
    /// The largest body of a batch.
    pub batch_body_bytes: usize,
    /// The largest body of a definition.
    pub definition_body_bytes: usize,
    /// The largest head of a request.
    pub header_bytes: usize,
    /// Requests at a time on one connection of HTTP/2.
    pub streams: u32,
    /// Connections open at a time.
    pub connections: usize,
    /// How long a connection may be without a request.
    pub idle_time: Duration,
    /// Until the head of a request must have come, once its first byte has.
    pub header_time: Duration,
    /// Until a body must have come.
    pub body_time: Duration,
    /// How long a client may take to read on.
    pub answer_time: Duration,
    /// How long requests may wait for a shard before new sales are turned away.
    pub queue_time: Duration,
    /// How many may follow events at a time.
    pub live_readers: usize,
    /// Requests per second of a key that has no limit of its own; 0: as many as it likes.
    pub requests_per_second: u32,
    /// Until requests under way must end once the server stops.
    pub drain_time: Duration,
}

/// What was said on the command line; it counts more than all else.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--cores`
    pub cores: Option<String>,
    /// `--shards`
    pub shards: Option<String>,
    /// `--segment-mib`
    pub segment_mib: Option<String>,
    /// `--journal`
    pub journal: Option<String>,
    /// `--standby`
    pub standby: bool,
    /// `--store`
    pub store: Option<String>,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Error(pub Vec<String>);

/// A setting and where it was made, for messages.
#[derive(Clone, Debug)]
struct Setting {
    text: String,
    source: String,
    /// Whether it is a text, which stands in quotes in a file; else a number, or true or false.
    is_text: bool,
}

/// Settings by key (`limits.body_kib`); later sources have replaced earlier ones.
type Settings = BTreeMap<String, Setting>;

impl Config {
    /// Puts the sources together: defaults, file, environment, flags.
    ///
    /// # Errors
    /// Every key that breaks its rule, and every key that does not exist.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config, Error> {
        Config::load_told(file, flags).map(|(config, _)| config)
    }

    /// The same, and every setting in force as TOML, each with where it was made.
    ///
    /// # Errors
    /// Every key that breaks its rule, and every key that does not exist.
    pub fn load_told(file: Option<&Path>, flags: &Flags) -> Result<(Config, String), Error> {
        let text = match file {
            None => None,
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => Some((path.display().to_string(), text)),
                Err(error) => return Err(Error(vec![format!("{}: {error}", path.display())])),
            },
        };
        let cores_max = core_affinity::get_core_ids().map_or(1, |ids| ids.len().max(1));
        Config::resolve(
            text.as_ref().map(|(path, text)| (path.as_str(), text.as_str())),
            &environment::ours(),
            flags,
            cores_max,
        )
    }

    fn resolve(
        file: Option<(&str, &str)>,
        environment: &Environment,
        flags: &Flags,
        cores_max: usize,
    ) -> Result<(Config, String), Error> {
        let mut wrong = Vec::new();
        let mut settings = Settings::new();
        file::read("default.toml", DEFAULTS, &mut settings, &mut wrong);
        if let Some((path, text)) = file {
            file::read_over(path, text, &mut settings, &mut wrong);
        }
        environment::read(environment, &mut settings, &mut wrong);
        read_flags(flags, &mut settings);
        let mut check = Check { settings: &settings, wrong };
        check.one_place();
        check.apart("archive.folder", "data");
        let config = Config {
            data: check.data(),
            listen: check.address("listen"),
            cores: check.number("cores", 1, cores_max as u64, "the cores of this machine") as usize,
            shards: check.number("shards", 1, SHARDS_MAX.into(), "") as u16,
            journal: check.journal(),
            rows: check.rows(),
            store: check.store(),
            webhooks: check.webhooks(),
            streams: retention(
                check.number("streams.retention_days", 0, 36_500, "days; 0: for ever"),
                check.number("streams.records_max", 0, 1_000_000_000_000, "0: all"),
            ),
            limits: Limits {
                body_bytes: check.kib("limits.body_kib", 16_384),
                batch_body_bytes: check.kib("limits.batch_body_kib", 65_536),
                definition_body_bytes: check.kib("limits.definition_body_kib", 65_536),
                header_bytes: check.kib("limits.header_kib", 256),
                streams: check.number("limits.streams", 1, 10_000, "") as u32,
                connections: check.number("limits.connections", 1, 1_000_000, "") as usize,
                idle_time: check.seconds("limits.idle_seconds"),
                header_time: check.seconds("limits.header_seconds"),
                body_time: check.seconds("limits.body_seconds"),
                answer_time: check.seconds("limits.answer_seconds"),
                queue_time: Duration::from_millis(check.number("limits.queue_ms", 1, 60_000, "ms")),
                live_readers: check.number("limits.live_readers", 0, 1_000_000, "") as usize,
                requests_per_second: check.number(
                    "limits.requests_per_second",
                    0,
                    RATE_MAX.into(),
                    "",
                ) as u32,
                drain_time: check.seconds("limits.drain_seconds"),
            },
        };
        match check.wrong.is_empty() {
            true => Ok((config, told(&settings))),
            false => Err(Error(check.wrong)),
        }
    }
}

/// Settings as TOML, each with its source; keys without a dot come first.
fn told(settings: &Settings) -> String {
    let mut lines = Vec::new();
    let mut table = "";
    let mut keys: Vec<(&String, &Setting)> = settings.iter().collect();
    keys.sort_by_key(|(key, _)| (key.contains('.'), *key));
    for (key, Setting { text, source, is_text }) in keys {
        let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
        if of != table {
            lines.push(format!("\n[{of}]"));
            table = of;
        }
        let bare = !is_text && (text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok());
        let shown = match key.as_str() {
            "journal.url" => without_password(text),
            "store.url" if !text.is_empty() => "…".to_owned(),
            _ => text.clone(),
        };
        let value = if bare { text.clone() } else { toml::Value::String(shown).to_string() };
        lines.push(format!("{:<44} # {source}", format!("{name} = {value}")));
    }
    lines.join("\n") + "\n"
}

/// An address of a database as it may be shown.
fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (user, rest))) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let hidden = if password.is_empty() { "" } else { ":…" };
            format!("{scheme}://{name}{hidden}@{rest}")
        }
        None if url.contains("password") => "…".to_owned(),
        None => url.to_owned(),
    }
}

/// Puts a setting in the place of the one before it.
fn replace(settings: &mut Settings, key: &str, text: String, source: &str) {
    let setting = settings.get_mut(key).expect("default.toml has every key");
    (setting.text, setting.source) = (text, source.to_owned());
}

fn read_flags(flags: &Flags, settings: &mut Settings) {
    let standby = flags.standby.then(|| "true".to_owned());
    let data = flags.data.as_ref().map(|path| path.display().to_string());
    let said = [
        ("data", "--data", &data),
        ("listen", "--listen", &flags.listen),
        ("cores", "--cores", &flags.cores),
        ("shards", "--shards", &flags.shards),
        ("segment_mib", "--segment-mib", &flags.segment_mib),
        ("journal.url", "--journal", &flags.journal),
        ("journal.standby", "--standby", &standby),
        ("store.url", "--store", &flags.store),
    ];
    for (key, flag, text) in said {
        if let Some(text) = text {
            replace(settings, key, text.clone(), flag);
        }
    }
}

/// Reads settings by their rules and gathers what breaks one. What is broken
/// gets a stand-in, which never leaves: the whole is refused.
struct Check<'a> {
    settings: &'a Settings,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn setting(&self, key: &str) -> Setting {
        self.settings.get(key).cloned().expect("default.toml has every key")
    }

    fn refuse(&mut self, key: &str, setting: &Setting, rule: &str) {
        let Setting { text, source, .. } = setting;
        self.wrong.push(format!("{key} ({source}): {rule}, is {text:?}"));
    }

    /// A folder, which need not be there; none where there is no path.
    fn folder(&mut self, key: &str) -> Option<PathBuf> {
        let setting = self.setting(key);
        let path = PathBuf::from(&setting.text);
        // What is no folder itself, or would have to be one on the way there.
        let there = path.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists());
        // No operating system takes one with a zero in it.
        if setting.text.contains('\0') || there.is_some_and(|there| !there.is_dir()) {
            self.refuse(key, &setting, "must be a folder, or a path where one can be made");
        }
        (!setting.text.is_empty()).then_some(path)
    }

    fn data(&mut self) -> PathBuf {
        self.folder("data").unwrap_or_else(|| {
            let setting = self.setting("data");
            self.refuse("data", &setting, "must be a path");
            PathBuf::new()
        })
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        let setting = self.setting(key);
        setting.text.parse().unwrap_or_else(|_| {
            self.refuse(key, &setting, "must be an address and a port such as 127.0.0.1:7070");
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn number(&mut self, key: &str, min: u64, max: u64, unit: &str) -> u64 {
        let setting = self.setting(key);
        match setting.text.parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
                self.refuse(key, &setting, &format!("must be {min} to {max}{unit}"));
                min
            }
        }
    }

    fn journal(&mut self) -> onsale_engine::Options {
        const DAY_US: i64 = 24 * 3_600 * 1_000_000;
        let segment_bytes = self.number("segment_mib", 1, 4_096, "MiB") << 20;
        let mut options = onsale_engine::Options::new(segment_bytes);
        let durability = self.setting("durability");
        options.durability = match durability.text.as_str() {
            "synced" => Durability::Synced,
            "os" => Durability::Os,
            _ => {
                self.refuse("durability", &durability, "must be synced or os");
                Durability::Synced
            }
        };
        options.archive = self.folder("archive.folder");
        let is_taken = |path: &PathBuf| [FILE, BACKUP_FILE].iter().any(|f| path.join(f).exists());
        if options.archive.as_ref().is_some_and(is_taken) {
            let setting = self.setting("archive.folder");
            self.refuse("archive.folder", &setting, "must be no data folder and no backup");
        }
        let days = self.number("archive.retention_days", 0, 36_500, "days; 0: for ever") as i64;
        options.rules.retention_us = (days > 0).then_some(days * DAY_US);
        if days > 0 && options.archive.is_none() {
            let setting = self.setting("archive.retention_days");
            let rule = "must be 0 without archive.folder, since nothing is removed then";
            self.refuse("archive.retention_days", &setting, rule);
        }
        let every = self.number("snapshots.every_mib", 1, 65_536, "MiB");
        options.rules.snapshot_bytes = every << 20;
        options
    }

    fn rows(&mut self) -> Option<RowsConfig> {
        let (url, standby) = (self.setting("journal.url"), self.flag("journal.standby"));
        let lease_ms = self.number("journal.lease_ms", 200, 600_000, "ms");
        let wait_ms = self.number("journal.wait_ms", 1_000, 600_000, "ms");
        let address = self.setting("journal.address");
        if !address.text.is_empty() && address.text.parse::<hyper::Uri>().is_err() {
            self.refuse("journal.address", &address, "must be empty or what paths begin with");
        }
        if url.text.is_empty() {
            if standby {
                let setting = self.setting("journal.standby");
                let rule = "must be false without journal.url: a standby follows a database";
                self.refuse("journal.standby", &setting, rule);
            }
            return None;
        }
        if let Err(error) = onsale_rows::Settings::parse(&url.text) {
            // What it is may hold a password, so it is not said again.
            self.wrong.push(format!("journal.url ({}): {error}", url.source));
        }
        Some(RowsConfig {
            url: Url(url.text),
            address: address.text,
            lease: Duration::from_millis(lease_ms),
            wait: Duration::from_millis(wait_ms),
            standby,
        })
    }

    fn flag(&mut self, key: &str) -> bool {
        let setting = self.setting(key);
        setting.text.parse().unwrap_or_else(|_| {
            self.refuse(key, &setting, "must be true or false");
            false
        })
    }

    /// A folder must not be, be in, or be around another one: what is written to one would be taken for the other's.
    fn apart(&mut self, key: &str, other: &str) {
        let (one, two) = (self.setting(key), self.setting(other));
        let set = !one.text.is_empty() && !two.text.is_empty();
        if set && overlap(Path::new(&one.text), Path::new(&two.text)) {
            let Setting { text, source, .. } = two;
            let rule =
                format!("must not be, be in, or be around {other}, which is {text:?} ({source})");
            self.refuse(key, &one, &rule);
        }
    }

    /// The sale is in one place.
    fn one_place(&mut self) {
        let (journal, store) = (self.setting("journal.url"), self.setting("store.url"));
        if !journal.text.is_empty() && !store.text.is_empty() {
            let rule = "must be empty where journal.url is not: the sale is in one place";
            self.wrong.push(format!("store.url ({}): {rule}", store.source));
        }
    }

    fn store(&mut self) -> Option<onsale_redis::Options> {
        let url = self.setting("store.url");
        let prefix = self.setting("store.prefix");
        let timeout = Duration::from_millis(self.number("store.timeout_ms", 50, 60_000, "ms"));
        let replicas = self.number("store.replicas", 0, 16, "") as u32;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if prefix.text.is_empty() || !prefix.text.bytes().all(plain) {
            self.refuse("store.prefix", &prefix, "must be made of letters, digits, - and _");
        }
        if url.text.is_empty() {
            return None;
        }
        let mut urls = url.text.split(',').map(str::trim);
        let is_url = |url: &str| url.starts_with("redis://") || url.starts_with("rediss://");
        if !urls.next().is_some_and(is_url) || !urls.all(|url| is_url(url) || !url.contains("://"))
        {
            // What it is may hold a password, so it is not said again.
            let rule = "must be redis://[user][:password@]host[:port][/database], or rediss:// for TLS, more with commas, as \
                        host:port or so";
            self.wrong.push(format!("store.url ({}): {rule}", url.source));
        }
        Some(onsale_redis::Options { url: url.text, prefix: prefix.text, timeout, replicas })
    }

    fn webhooks(&mut self) -> WebhookLimits {
        WebhookLimits {
            per_organizer: self.number("webhooks.per_organizer", 0, 1_000, "") as usize,
            concurrent: self.number("webhooks.concurrent", 1, 10_000, "") as usize,
            timeout: Duration::from_secs(self.number(
                "webhooks.timeout_seconds",
                1,
                300,
                "seconds",
            )),
            retry: Duration::from_secs(
                3_600 * self.number("webhooks.retry_hours", 1, 720, "hours"),
            ),
            backoff: Duration::from_secs(1),
            policy: Policy {
                plain: self.networks("webhooks.http"),
                secure: self.networks("webhooks.https"),
            },
        }
    }

    fn networks(&mut self, key: &str) -> Networks {
        let setting = self.setting(key);
        match setting.text.as_str() {
            "none" => Networks::None,
            "loopback" => Networks::Loopback,
            "public" => Networks::Public,
            "all" => Networks::All,
            _ => {
                self.refuse(key, &setting, "must be none, loopback, public or all");
                Networks::None
            }
        }
    }

    fn kib(&mut self, key: &str, max: u64) -> usize {
        (self.number(key, 1, max, "KiB") as usize) << 10
    }

    fn seconds(&mut self, key: &str) -> Duration {
        Duration::from_secs(self.number(key, 1, 3_600, "seconds"))
    }
}
