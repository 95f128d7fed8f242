//! Where streams are: in a data folder, or at a server of another kind.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command};
use onsale_bus::Bus;
use onsale_bus::file::{FileBus, FileOptions};

use super::remote::{KeyArg, Remote};
use crate::bus;

/// Where streams are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A data folder.
    Data(PathBuf),
    /// A Redis.
    Redis(String),
    /// A server's API.
    Http(String),
    /// Kinesis in a region, or what `AWS_ENDPOINT_URL` names.
    Kinesis(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text.split_once("://") {
            None if !text.is_empty() => Ok(Place::Data(text.into())),
            Some(("http" | "https", _)) => Ok(Place::Http(text.to_owned())),
            Some(("redis" | "rediss", _)) => match wrong(text) {
                Some(rule) => Err(rule),
                None => Ok(Place::Redis(text.to_owned())),
            },
            Some(("kinesis", region)) if !region.is_empty() => {
                Ok(Place::Kinesis(region.to_owned()))
            }
            _ => Err(
                "must be a data folder, http[s]://HOST:PORT, redis[s]://HOST:PORT or kinesis://REGION"
                    .to_owned(),
            ),
        }
    }
}

/// The rule that a Redis' address breaks.
fn wrong(url: &str) -> Option<String> {
    #[cfg(feature = "redis")]
    {
        let options = onsale_bus::redis::RedisOptions::new(url);
        let Err(onsale_bus::Error::Invalid { rule, .. }) =
            onsale_bus::redis::RedisBus::new(&options)
        else {
            return None;
        };
        Some(format!("must be {rule}; ports go to 65535, databases are numbers"))
    }
    #[cfg(not(feature = "redis"))]
    None
}

/// Says what is wrong without the value, which may have a password in it.
#[derive(Clone, Debug)]
pub struct PlaceParser;

impl ValueParserFactory for Place {
    type Parser = PlaceParser;

    fn value_parser() -> PlaceParser {
        PlaceParser
    }
}

impl TypedValueParser for PlaceParser {
    type Value = Place;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Place, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "must be text".to_owned()).and_then(str::parse);
        parsed.map_err(|rule| {
            let named = argument.map_or_else(String::new, |argument| format!("{argument}: "));
            clap::Error::raw(ErrorKind::ValueValidation, format!("{named}{rule}\n"))
                .with_cmd(command)
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Data(folder) => folder.display().fmt(f),
            Place::Http(url) => url.fmt(f),
            Place::Kinesis(region) => write!(f, "kinesis://{region}"),
            Place::Redis(urls) => {
                for (n, url) in urls.split(',').enumerate() {
                    // A password may be before the @.
                    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                    let place = rest.rsplit('@').next().unwrap_or_default();
                    let (comma, colon) =
                        (["", ","][n.min(1)], ["://", ""][usize::from(scheme.is_empty())]);
                    write!(f, "{comma}{scheme}{colon}{place}")?;
                }
                Ok(())
            }
        }
    }
}

impl Place {
    /// The bus there.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub async fn open(&self) -> anyhow::Result<Bus> {
        match self {
            Place::Data(folder) => open_folder(folder).await,
            Place::Http(_) => anyhow::bail!(
                "{self}: over http streams are only looked at; this wants a data folder, Redis or Kinesis"
            ),
            #[cfg(feature = "redis")]
            Place::Redis(url) => {
                let options = onsale_bus::redis::RedisOptions::new(url);
                Ok(Bus::Redis(onsale_bus::redis::RedisBus::connect(&options).await?))
            }
            #[cfg(not(feature = "redis"))]
            Place::Redis(_) => anyhow::bail!("this program was built without the feature redis"),
            #[cfg(feature = "kinesis")]
            Place::Kinesis(region) => {
                let variable = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
                let mut settings = onsale_bus::kinesis::Settings::new(region.as_str());
                settings.endpoint =
                    variable("AWS_ENDPOINT_URL_KINESIS").or_else(|| variable("AWS_ENDPOINT_URL"));
                Ok(Bus::Kinesis(onsale_bus::kinesis::KinesisBus::open(settings).await?))
            }
            #[cfg(not(feature = "kinesis"))]
            Place::Kinesis(_) => {
                anyhow::bail!(
                    "this program was built without Kinesis: cargo build --features kinesis"
                )
            }
        }
    }

    /// The data folder.
    ///
    /// # Errors
    /// It is something else.
    pub fn data(&self) -> anyhow::Result<&Path> {
        match self {
            Place::Data(folder) if folder.join("onsale.log").exists() => Ok(folder),
            Place::Data(folder) => anyhow::bail!("{} is no data folder", folder.display()),
            Place::Http(_) | Place::Redis(_) | Place::Kinesis(_) => {
                anyhow::bail!("{self} is no data folder")
            }
        }
    }

    /// The server there, where it is one.
    ///
    /// # Errors
    /// There is no key to it, or the URL can't be used.
    pub fn remote(&self, key: &KeyArg) -> anyhow::Result<Option<Remote>> {
        match self {
            Place::Http(url) => Remote::new(url, key).map(Some),
            _ => Ok(None),
        }
    }
}

async fn open_folder(data: &Path) -> anyhow::Result<Bus> {
    let folder = bus::folder(data);
    anyhow::ensure!(
        folder.is_dir(),
        "{} has no bus: it is no data folder, or was never served",
        data.display()
    );
    let bus = FileBus::open(&folder, FileOptions::default()).await;
    let bus = bus.with_context(|| format!("the bus of {}", data.display()))?;
    // Who holds the folder alone knows nothing of the engine's journal.
    anyhow::ensure!(
        !bus.is_owner(),
        "no server has {} open: start `onsale serve --data` with it first",
        data.display()
    );
    Ok(Bus::File(bus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_and_urls() {
        assert_eq!("data".parse(), Ok(Place::Data("data".into())));
        let redis: Place = "redis://user:secret@host:6379".parse().unwrap();
        assert_eq!(redis.to_string(), "redis://host:6379");
        let secure: Place = "rediss://user:secret@host:6379".parse().unwrap();
        assert_eq!(secure.to_string(), "rediss://host:6379");
        let several: Place =
            "redis://user:secret@host:6379/99,redis://:secret@other,last:1".parse().unwrap();
        assert_eq!(several.to_string(), "redis://host:6379/99,redis://other,last:1");
        for wrong in ["redis://host:99999", "redis://host/one"] {
            let rule = wrong.parse::<Place>().unwrap_err();
            assert!(rule.contains("ports go to 65535, databases are numbers"), "{wrong}: {rule}");
        }
        for url in ["http://host:7070", "https://host"] {
            assert_eq!(url.parse(), Ok(Place::Http(url.into())));
        }
        for wrong in ["", "ftp://x", "kinesis://"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
