//! The files of an export, as pretix' REST API answers: only the fields that
//! matter here. Others are left alone, since pretix adds to them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::import::Error;

/// Names of the files, in the order in which they are read.
pub const FILES: [&str; 6] = [
    "event.json",
    "settings.json",
    "items.json",
    "quotas.json",
    "categories.json",
    "subevents.json",
];

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A whole export.
#[derive(Debug)]
pub struct Export {
    /// Where it came from, for messages.
    pub place: String,
    pub event: Event,
    pub settings: Settings,
    pub items: Vec<Item>,
    pub quotas: Vec<Quota>,
    pub categories: Vec<Category>,
    pub subevents: Vec<SubEvent>,
}

impl Export {
    /// Reads the files of a folder.
    pub fn read(folder: &Path) -> Result<Export, Error> {
        Export::parse(&folder.display().to_string(), |name| {
            crate::import::read_text(&folder.join(name), FILE_BYTES_MAX)
        })
    }

    /// Takes the text of each file from `text`; `place` is for messages.
    pub fn parse<T: AsRef<str>>(
        place: &str,
        text: impl Fn(&'static str) -> Result<T, Error>,
    ) -> Result<Export, Error> {
        let [event, settings, items, quotas, categories, subevents] = FILES;
        let text = |name| Ok::<_, Error>((format!("{place}/{name}"), text(name)?));
        Ok(Export {
            place: place.to_owned(),
            event: one(text(event)?)?,
            settings: one(text(settings)?)?,
            items: all(text(items)?)?,
            quotas: all(text(quotas)?)?,
            categories: all(text(categories)?)?,
            subevents: all(text(subevents)?)?,
        })
    }
}

fn one<V: DeserializeOwned>((file, text): (String, impl AsRef<str>)) -> Result<V, Error> {
    serde_json::from_str(text.as_ref())
        .map_err(|e| Error::Input { at: file, detail: e.to_string() })
}

fn all<V: DeserializeOwned>((file, text): (String, impl AsRef<str>)) -> Result<Vec<V>, Error> {
    let page: Page<V> = one((file.clone(), text))?;
    let here = page.results.len() as u64;
    if page.next.is_some() || here != page.count {
        let detail = format!(
            "a page is missing: {here} of {} entries are here; put the results of all pages into \
             one file, with \"next\": null",
            page.count
        );
        return Err(Error::Input { at: file, detail });
    }
    Ok(page.results)
}

#[derive(Deserialize)]
struct Page<V> {
    count: u64,
    #[serde(deserialize_with = "Option::deserialize")]
    next: Option<String>,
    results: Vec<V>,
}

/// A text in one or several languages.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Plain(String),
    ByLanguage(BTreeMap<String, Option<String>>),
}

impl Text {
    /// In this language, else in English, else in the first that there is.
    pub fn in_language(&self, language: &str) -> &str {
        match self {
            Text::Plain(text) => text,
            Text::ByLanguage(texts) => {
                let filled = |language: &str| {
                    texts.get(language).and_then(|text| text.as_deref()).filter(|t| !t.is_empty())
                };
                let first = || texts.values().flatten().map(String::as_str).find(|t| !t.is_empty());
                filled(language).or_else(|| filled("en")).or_else(first).unwrap_or("")
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct Event {
    pub name: Text,
    pub slug: String,
    pub live: bool,
    #[serde(default)]
    pub testmode: bool,
    pub currency: String,
    pub date_from: Option<String>,
    pub date_to: Option<String>,
    pub presale_start: Option<String>,
    pub presale_end: Option<String>,
    pub has_subevents: bool,
    pub seating_plan: Option<serde_json::Value>,
    /// Item of each category of seats.
    #[serde(default)]
    pub seat_category_mapping: BTreeMap<String, u64>,
    #[serde(default = "utc")]
    pub timezone: String,
    #[serde(flatten)]
    pub channels: Channels,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Where something is sold.
#[derive(Debug, Deserialize)]
pub struct Channels {
    #[serde(default = "yes")]
    pub all_sales_channels: bool,
    #[serde(default)]
    pub limit_sales_channels: Vec<String>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub struct Settings {
    #[serde(default)]
    pub locale: String,
    pub max_items_per_order: Option<i64>,
    /// In minutes.
    pub reservation_time: Option<i64>,
    pub payment_term_mode: Option<String>,
    pub payment_term_days: Option<i64>,
    pub payment_term_minutes: Option<i64>,
    pub payment_term_last: Option<serde_json::Value>,
    pub waiting_list_enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub struct Item {
    pub id: u64,
    pub category: Option<u64>,
    pub name: Text,
    pub active: bool,
    pub default_price: String,
    #[serde(default)]
    pub free_price: bool,
    #[serde(default)]
    pub tax_rate: Option<String>,
    pub available_from: Option<String>,
    pub available_until: Option<String>,
    pub min_per_order: Option<i64>,
    pub max_per_order: Option<i64>,
    #[serde(default)]
    pub has_variations: bool,
    #[serde(default)]
    pub variations: Vec<Variation>,
    #[serde(default)]
    pub require_voucher: bool,
    #[serde(default)]
    pub require_bundling: bool,
    #[serde(default)]
    pub addons: Vec<AddOns>,
    #[serde(default)]
    pub bundles: Vec<serde_json::Value>,
    pub hidden_if_available: Option<u64>,
    pub hidden_if_item_available: Option<u64>,
    #[serde(default)]
    pub issue_giftcard: bool,
    pub generate_tickets: Option<bool>,
    #[serde(default)]
    pub personalized: bool,
    pub grant_membership_type: Option<u64>,
    pub validity_mode: Option<String>,
    pub media_policy: Option<String>,
    #[serde(flatten)]
    pub demands: Demands,
    #[serde(flatten)]
    pub channels: Channels,
}

/// What items and variations may demand of a buyer.
#[derive(Debug, Deserialize)]
pub struct Demands {
    #[serde(default)]
    pub hide_without_voucher: bool,
    #[serde(default)]
    pub require_approval: bool,
    #[serde(default)]
    pub require_membership: bool,
}

#[derive(Debug, Deserialize)]
pub struct AddOns {
    #[serde(default)]
    pub min_count: i64,
}

#[derive(Debug, Deserialize)]
pub struct Variation {
    pub id: u64,
    pub value: Text,
    pub active: bool,
    /// None: the item's.
    pub default_price: Option<String>,
    pub available_from: Option<String>,
    pub available_until: Option<String>,
    #[serde(flatten)]
    pub demands: Demands,
    #[serde(flatten)]
    pub channels: Channels,
}

#[derive(Debug, Deserialize)]
pub struct Quota {
    pub id: u64,
    #[serde(default)]
    pub name: String,
    /// None: unlimited.
    #[serde(deserialize_with = "Option::deserialize")]
    pub size: Option<i64>,
    pub items: Vec<u64>,
    pub variations: Vec<u64>,
    pub subevent: Option<u64>,
    #[serde(default)]
    pub closed: bool,
    #[serde(default)]
    pub close_when_sold_out: bool,
    #[serde(default)]
    pub release_after_exit: bool,
    /// What is left; only with `?with_availability=true`.
    pub available_number: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Category {
    pub id: u64,
    #[serde(default)]
    pub is_addon: bool,
}

#[derive(Debug, Deserialize)]
pub struct SubEvent {
    pub id: u64,
    pub name: Text,
    pub active: bool,
    pub date_from: Option<String>,
    pub date_to: Option<String>,
    pub presale_start: Option<String>,
    pub presale_end: Option<String>,
    pub seating_plan: Option<serde_json::Value>,
    #[serde(default)]
    pub seat_category_mapping: BTreeMap<String, u64>,
    #[serde(default)]
    pub item_price_overrides: Vec<ItemOverride>,
    #[serde(default)]
    pub variation_price_overrides: Vec<VariationOverride>,
}

#[derive(Debug, Deserialize)]
pub struct ItemOverride {
    pub item: u64,
    #[serde(flatten)]
    pub sale: Override,
}

#[derive(Debug, Deserialize)]
pub struct VariationOverride {
    pub variation: u64,
    #[serde(flatten)]
    pub sale: Override,
}

/// What a subevent changes.
#[derive(Debug, Deserialize)]
pub struct Override {
    /// None: as it is.
    pub price: Option<String>,
    #[serde(default)]
    pub disabled: bool,
    pub available_from: Option<String>,
    pub available_until: Option<String>,
}
