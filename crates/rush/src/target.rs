//! Where the rush goes to, and what is for sale there: read once before it begins,
//! and the stock once more when it is over.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::Connection;
use crate::config::Config;
use crate::wire::Problem;

/// A catalogue is larger than any other answer.
const CATALOGUE_BYTES_MAX: usize = 16 << 20;

/// Wait before the stock is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// Ticket types of one rush, at most.
const TICKET_TYPES_MAX: usize = 10_000;

/// The server and the event on it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For the `Host` header.
    pub(crate) host: String,
    pub(crate) key: String,
    /// `/v1/organizers/{organizer}/events/{event}`, behind the path of the URL.
    pub(crate) event_path: String,
    pub(crate) request_timeout: Duration,
}

/// Host and path of a server's address, if it has the right form.
pub(crate) fn take_apart(url: &str) -> Result<(&str, &str)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("url: must begin with http:// (no TLS here): {url}");
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = url.bytes().all(|b| b.is_ascii_graphic()) && !path.contains(['?', '#']);
    ensure!(plain && names_host(host), "url: must be http://host:port/path: {url}");
    Ok((host, path))
}

/// Whether a host is named, and a port, if there is one, is a number up to 65,535.
fn names_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colon is one of the address.
        Some(_) if host.ends_with(']') => (host, None),
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let digits =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    !name.is_empty() && !host.contains('@') && port.is_none_or(digits)
}

impl Target {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let (host, path) = take_apart(&config.url)?;
        let port_said = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if port_said { host.to_owned() } else { format!("{host}:80") };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("url: can't find {host}"))?
            .next()
            .ok_or_else(|| anyhow!("url: {host} has no address"))?;
        let base = path.trim_end_matches('/');
        let slash = if base.is_empty() { "" } else { "/" };
        let (organizer, event) = (&config.organizer, &config.event);
        Ok(Self {
            address,
            host: host.to_owned(),
            key: config.key.clone(),
            event_path: format!("{slash}{base}/v1/organizers/{organizer}/events/{event}"),
            request_timeout: config.request_timeout,
        })
    }

    /// The bytes of a `GET` of what is at `path` below the event.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        format!(
            "GET {}{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.event_path, self.host, self.key
        )
        .into_bytes()
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let what = format!("GET {}{path}", self.event_path);
        let exchange = async {
            let mut connection = Connection::open(self.address).await?;
            connection.exchange(&self.get(path), CATALOGUE_BYTES_MAX).await?;
            let answer = connection.answer();
            if answer.status != 200 {
                let Problem { kind, title, detail, .. } = Problem::read(answer.status, answer.body);
                let text = detail.or(title).unwrap_or_default();
                bail!("the server answered {} {kind} {text}", answer.status);
            }
            serde_json::from_slice(answer.body).context("the answer is not as expected")
        };
        tokio::time::timeout(self.request_timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer in time")))
            .with_context(|| what)
    }

    /// Reads event and stock and picks the ticket types to buy.
    pub(crate) async fn offer(&self, wanted: Option<&[String]>) -> Result<Offer> {
        let event: EventAnswer = self.read("").await?;
        let availability: AvailabilityAnswer = self.read("/availability").await?;
        Offer::new(event, availability, wanted)
    }

    /// The stock as it stands; none: the server did not say it for as long as `give_up`.
    pub(crate) async fn quotas(&self, give_up: Duration) -> Option<Vec<Quota>> {
        let began = Instant::now();
        loop {
            if let Ok(availability) = self.read::<AvailabilityAnswer>("/availability").await {
                return Some(availability.quotas);
            }
            if began.elapsed() > give_up {
                return None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[derive(Deserialize)]
struct EventAnswer {
    ticket_types: Vec<TypeAnswer>,
    #[serde(default)]
    limits: Vec<LimitAnswer>,
    hold_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct TypeAnswer {
    id: String,
    #[serde(default)]
    price: i64,
    #[serde(default)]
    free_price: bool,
    #[serde(default)]
    quotas: Vec<String>,
}

#[derive(Deserialize)]
struct LimitAnswer {
    ticket_types: Option<Vec<String>>,
    per_order: Option<u32>,
    per_customer: Option<u32>,
}

#[derive(Deserialize)]
struct AvailabilityAnswer {
    state: Option<String>,
    quotas: Vec<Quota>,
    #[serde(default)]
    ticket_types: Vec<TypeAvailability>,
}

#[derive(Deserialize)]
struct TypeAvailability {
    id: String,
    #[serde(default = "yes")]
    on_sale: bool,
}

fn yes() -> bool {
    true
}

/// Counts of one quota; no capacity: unlimited.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Quota {
    pub(crate) id: String,
    pub(crate) capacity: Option<u64>,
    pub(crate) free: Option<u64>,
    #[serde(default)]
    pub(crate) held: u64,
    #[serde(default)]
    pub(crate) sold: u64,
}

/// What one ticket type means to buyers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TicketType {
    pub(crate) id: String,
    /// Its id as a JSON string, with quotes.
    pub(crate) id_json: String,
    /// In minor units; the least, where the buyer chooses.
    pub(crate) price: i64,
    pub(crate) free_price: bool,
    /// Indexes into the offer's quotas.
    pub(crate) quotas: Vec<usize>,
    /// Of so many buyers one wants it: its stock, or 1 where that is unlimited.
    pub(crate) weight: u64,
    /// The most that one order may have of it.
    pub(crate) quantity_max: u32,
}

/// What is for sale to this rush.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) ticket_types: Vec<TicketType>,
    pub(crate) quotas: Vec<Quota>,
    /// The main stock: the largest quota that the ticket types draw on. The rush is
    /// sold out when it is. None: all is unlimited.
    pub(crate) main: Option<usize>,
    /// How long a hold lasts, if the event says so.
    pub(crate) hold_seconds: Option<u64>,
}

impl Offer {
    fn new(
        event: EventAnswer,
        availability: AvailabilityAnswer,
        wanted: Option<&[String]>,
    ) -> Result<Self> {
        if let Some(state) = &availability.state {
            ensure!(state == "open", "the event is {state}: only an open one sells");
        }
        let off_sale =
            |id: &str| availability.ticket_types.iter().any(|t| t.id == id && !t.on_sale);
        for id in wanted.unwrap_or_default() {
            let known = event.ticket_types.iter().any(|t| t.id == *id);
            ensure!(known, "ticket types: there is no {id:?} in the event");
            ensure!(!off_sale(id), "ticket types: {id:?} is not on sale");
        }
        let quotas = availability.quotas.clone();
        let chosen = |t: &&TypeAnswer| match wanted {
            Some(wanted) => wanted.contains(&t.id),
            None => !off_sale(&t.id),
        };
        let mut ticket_types: Vec<_> = event
            .ticket_types
            .iter()
            .filter(chosen)
            .map(|t| ticket_type(t, &quotas, &event.limits))
            .collect::<Result<_>>()?;
        // Buyers of something without end would take nothing of what the rush is about.
        let counted = |t: &TicketType| t.quotas.iter().any(|&q| quotas[q].free.is_some());
        if wanted.is_none() && ticket_types.iter().any(counted) {
            ticket_types.retain(counted);
        }
        ensure!(
            ticket_types.len() <= TICKET_TYPES_MAX,
            "more than {TICKET_TYPES_MAX} ticket types"
        );
        ensure!(!ticket_types.is_empty(), "no ticket type is on sale");
        ensure!(ticket_types.iter().any(|t| t.weight > 0), "everything is sold out or on hold");
        let main = ticket_types
            .iter()
            .flat_map(|t| &t.quotas)
            .copied()
            .filter(|&q| quotas[q].free.is_some())
            .max_by_key(|&q| (quotas[q].free, std::cmp::Reverse(q)));
        Ok(Self { ticket_types, quotas, main, hold_seconds: event.hold_seconds })
    }

    /// What of the main stock could be sold when the rush began: all that was not sold.
    pub(crate) fn stock(&self) -> Option<u64> {
        let main = &self.quotas[self.main?];
        Some(main.capacity?.saturating_sub(main.sold))
    }
}

fn ticket_type(t: &TypeAnswer, all: &[Quota], limits: &[LimitAnswer]) -> Result<TicketType> {
    let quotas: Vec<usize> = t
        .quotas
        .iter()
        .map(|id| all.iter().position(|q| q.id == *id))
        .collect::<Option<_>>()
        .with_context(|| format!("the ticket type {} has a quota without stock", t.id))?;
    let quantity_max = limits
        .iter()
        .filter(|limit| limit.ticket_types.as_ref().is_none_or(|ids| ids.contains(&t.id)))
        .flat_map(|limit| [limit.per_order, limit.per_customer])
        .flatten()
        .min()
        .unwrap_or(u32::MAX);
    Ok(TicketType {
        id: t.id.clone(),
        id_json: serde_json::to_string(&t.id)?,
        price: t.price,
        free_price: t.free_price,
        weight: quotas.iter().filter_map(|&q| all[q].free).min().unwrap_or(1),
        quotas,
        quantity_max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"ticket_types":[
        {"id":"day","price":3900,"quotas":["site"]},
        {"id":"early","price":6900,"quotas":["site","early"]},
        {"id":"gift","price":500,"free_price":true,"quotas":["gifts"]},
        {"id":"late","price":1,"quotas":["site"]}],
        "limits":[{"ticket_types":["early"],"per_order":2},{"per_customer":4}],"name":"x"}"#;
    const AVAILABILITY: &str = r#"{"state":"open","quotas":[
        {"id":"early","capacity":1500,"free":1400,"held":0,"sold":100},
        {"id":"site","capacity":20000,"free":19900,"held":0,"sold":100},
        {"id":"gifts","capacity":null,"free":null,"held":0,"sold":3}],
        "ticket_types":[{"id":"late","available":9,"on_sale":false},{"id":"day","on_sale":true}]}"#;

    fn offer(wanted: Option<&[&str]>) -> Result<Offer> {
        let wanted: Option<Vec<String>> = wanted.map(|w| w.iter().map(|&id| id.into()).collect());
        let event = serde_json::from_str(EVENT).unwrap();
        Offer::new(event, serde_json::from_str(AVAILABILITY).unwrap(), wanted.as_deref())
    }

    #[test]
    fn all_that_is_on_sale_and_counted_is_wanted_as_often_as_there_is_stock() {
        let offer = offer(None).unwrap();
        let wanted: Vec<_> =
            offer.ticket_types.iter().map(|t| (t.id.as_str(), t.weight, t.quantity_max)).collect();
        assert_eq!(wanted, [("day", 19_900, 4), ("early", 1_400, 2)]);
        assert_eq!(offer.quotas[offer.main.unwrap()].id, "site");
        assert_eq!(offer.stock(), Some(19_900));
    }

    #[test]
    fn chosen_ticket_types_must_be_there_and_on_sale() {
        assert_eq!(offer(Some(&["gift"])).unwrap().main, None);
        assert!(offer(Some(&["late"])).unwrap_err().to_string().contains("not on sale"));
        assert!(offer(Some(&["none"])).unwrap_err().to_string().contains("there is no"));
    }

    #[test]
    fn urls_are_taken_apart() {
        let target = |url: &str| Target::new(&Config::new(url, "k", "o", "e"));
        let plain = target("http://127.0.0.1:8080").unwrap();
        assert_eq!(plain.address.to_string(), "127.0.0.1:8080");
        assert_eq!(plain.event_path, "/v1/organizers/o/events/e");
        let deep = target("http://127.0.0.1/some/where/").unwrap();
        assert_eq!(deep.address.port(), 80);
        assert_eq!(deep.event_path, "/some/where/v1/organizers/o/events/e");
        assert_eq!(target("http://[::1]:81").unwrap().address.to_string(), "[::1]:81");
        assert_eq!(target("http://[::1]").unwrap().address.to_string(), "[::1]:80");
        for bad in ["https://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1/?a", "http://a b/", ""]
            .into_iter()
            .chain(["http://", "http:///v1", "http://:80", "http://127.0.0.1:99999"])
            .chain([
                "http://127.0.0.1:",
                "http://127.0.0.1:+1",
                "http://127.0.0.1:x",
                "ftp://127.0.0.1",
            ])
        {
            let error = take_apart(bad).unwrap_err().to_string();
            assert!(error.starts_with("url: must b"), "{bad}: {error}");
        }
    }
}
