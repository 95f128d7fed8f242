//! Three real exports, and what happens when they are changed in one place.

use onsale_core::{EventDefinition, EventState, Limit, TicketTypeDefinition, Time, Window};
use serde_json::{Value, json};

use super::*;
use crate::catalogue::time_to_text;
use crate::import::Import;

mod losses;

macro_rules! fixture {
    ($name:literal) => {
        [
            include_str!(concat!("../../../fixtures/pretix/", $name, "/event.json")),
            include_str!(concat!("../../../fixtures/pretix/", $name, "/settings.json")),
            include_str!(concat!("../../../fixtures/pretix/", $name, "/items.json")),
            include_str!(concat!("../../../fixtures/pretix/", $name, "/quotas.json")),
            include_str!(concat!("../../../fixtures/pretix/", $name, "/categories.json")),
            include_str!(concat!("../../../fixtures/pretix/", $name, "/subevents.json")),
        ]
    };
}

const FESTIVAL: [&str; 6] = fixture!("festival");
const THEATRE: [&str; 6] = fixture!("theatre");
const BIG: [&str; 6] = fixture!("big");

fn import(place: &str, files: &[impl AsRef<str>; 6]) -> Result<Import, String> {
    let export = Export::parse(place, |name| {
        let at = export::FILES.iter().position(|file| *file == name).unwrap();
        Ok(files[at].as_ref())
    });
    export.and_then(|export| convert(&export)).map_err(|e| e.to_string())
}

/// The export with the value at `path`, which begins with the file's name, replaced.
fn changed(files: &[&str; 6], changes: &[(&str, Value)]) -> [String; 6] {
    let mut files = files.map(str::to_owned);
    for (path, value) in changes {
        let (file, pointer) = path.split_once('/').unwrap();
        let file = format!("{file}.json");
        let at = export::FILES.iter().position(|name| *name == file).unwrap();
        let mut json: Value = serde_json::from_str(&files[at]).unwrap();
        let (parent, field) = match pointer.rsplit_once('/') {
            Some((parent, field)) => (format!("/{parent}"), field),
            None => (String::new(), pointer),
        };
        match json.pointer_mut(&parent).unwrap_or_else(|| panic!("no {path}")) {
            Value::Object(fields) => {
                fields.insert(field.to_owned(), value.clone());
            }
            Value::Array(entries) if field == "-" => entries.push(value.clone()),
            Value::Array(entries) => entries[field.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{path}: {other}"),
        }
        files[at] = json.to_string();
    }
    files
}

fn window(window: &Window) -> (String, String) {
    let text = |time: Option<Time>| time.map(time_to_text).unwrap_or_default();
    (text(window.opens_at), text(window.closes_at))
}

fn type_row(t: &TicketTypeDefinition) -> (&str, &str, i64, bool, String) {
    let quotas: Vec<_> = t.quotas.iter().map(|id| id.as_str()).collect();
    (t.id.as_str(), &t.name, t.price, t.free_price, quotas.join(" "))
}

fn quota_rows(definition: &EventDefinition) -> Vec<(&str, Option<u32>)> {
    definition.quotas.iter().map(|quota| (quota.id.as_str(), quota.capacity)).collect()
}

fn limit_row(limit: &Limit) -> (String, Option<u32>, Option<u32>) {
    let ids: Vec<_> = limit.ticket_types.iter().map(|id| id.as_str()).collect();
    (ids.join(" "), limit.per_order, limit.per_customer)
}

fn ticket_type<'a>(definition: &'a EventDefinition, id: &str) -> &'a TicketTypeDefinition {
    definition.ticket_types.iter().find(|t| t.id.as_str() == id).unwrap()
}

#[test]
fn the_festival() {
    let import = import("festival", &FESTIVAL).unwrap();
    assert_eq!(import, crate::import::festival());
    assert_eq!(import.not_carried, []);
    let [event] = &import.events[..] else { panic!("one event") };
    let definition = &event.definition;
    assert_eq!(event.id.as_str(), "festival");
    assert_eq!(event.state, Some(EventState::Open));
    assert_eq!(definition.name, "River Festival");
    assert_eq!(definition.currency.as_str(), "EUR");
    assert_eq!(time_to_text(definition.starts_at.unwrap()), "2027-02-22T07:57:19.595165Z");
    assert_eq!(
        window(&definition.sale),
        ("2026-11-25T07:57:19.595178Z".to_owned(), "2027-02-21T07:57:19.59518Z".to_owned())
    );
    assert_eq!(definition.hold_seconds, 1_800);
    assert_eq!(definition.payment_seconds, 14 * 86_400);
    assert_eq!(definition.sale_group.as_str(), "festival");
    assert_eq!(
        quota_rows(definition),
        [
            ("14", Some(20_000)),
            ("15", Some(2_500)),
            ("16", Some(1_000)),
            ("17", Some(4_000)),
            ("18", None),
            ("65", Some(1_500)),
        ]
    );
    let own = |text: &str| text.to_owned();
    assert_eq!(
        definition.ticket_types.iter().map(type_row).collect::<Vec<_>>(),
        [
            ("60", "Early bird weekend", 6_900, false, own("14 65")),
            ("14-3", "Weekend pass – Regular", 8_900, false, own("14")),
            ("14-4", "Weekend pass – Reduced", 5_900, false, own("14 15")),
            ("18", "Camping", 2_500, false, own("17")),
            ("15", "Friday", 3_900, false, own("14")),
            ("19", "Donation", 500, true, own("18")),
            ("16", "Saturday", 4_500, false, own("14")),
            ("17", "Community ticket", 0, false, own("14 16")),
        ]
    );
    assert_eq!(
        window(&ticket_type(definition, "60").sale),
        ("2026-11-25T08:27:53.502178Z".to_owned(), "2026-12-02T08:27:53.50219Z".to_owned())
    );
    let others = definition.ticket_types.iter().filter(|t| t.id.as_str() != "60");
    assert!(others.into_iter().all(|t| t.sale == Window::default()));
    assert_eq!(
        definition.limits.iter().map(limit_row).collect::<Vec<_>>(),
        [
            (own(""), Some(6), None),
            (own("60"), Some(2), None),
            (own("14-3 14-4"), Some(4), None),
            (own("18"), Some(4), None),
            (own("17"), Some(1), None),
        ]
    );
}

#[test]
fn the_theatre_is_a_series() {
    let import = import("theatre", &THEATRE).unwrap();
    assert_eq!(import.not_carried, []);
    let rows: Vec<_> = import
        .events
        .iter()
        .map(|e| {
            let types = &e.definition.ticket_types;
            let types: Vec<_> =
                types.iter().map(|t| format!("{} {} {}", t.id, t.price, t.quotas[0])).collect();
            let (opens, closes) = window(&e.definition.sale);
            let row = [e.definition.name.clone(), types.join(", "), opens, closes];
            (e.id.as_str(), row.join("; "), quota_rows(&e.definition))
        })
        .collect();
    let evening = |text: &str| text.to_owned();
    assert_eq!(
        rows,
        [
            (
                "theatre_1",
                evening("Evening 1; 20 3200 19, 21 2150 20; ; 2026-12-26T00:00:00Z"),
                vec![("19", Some(400)), ("20", Some(250))],
            ),
            (
                "theatre_2",
                evening("Evening 2; 20 3200 21, 21 2150 22; ; 2026-12-27T00:00:00Z"),
                vec![("21", Some(400)), ("22", Some(250))],
            ),
            (
                "theatre_3",
                evening(
                    "Evening 3; 20 3800 23, 21 2150 24; 2026-11-26T08:27:53.564053Z; \
                     2026-12-27T05:57:19.713709Z"
                ),
                vec![("23", Some(400)), ("24", Some(250))],
            ),
        ]
    );
    let limits = &import.events[2].definition.limits;
    assert_eq!(limits.iter().map(limit_row).collect::<Vec<_>>(), [(String::new(), Some(8), None)]);
}

#[test]
fn the_big_show_has_sold_already() {
    let import = import("big", &BIG).unwrap();
    assert_eq!(import.not_carried, []);
    let definition = &import.events[0].definition;
    assert_eq!(quota_rows(definition), [("1", Some(17_850)), ("2", Some(20_000))]);
    assert_eq!(
        definition.ticket_types.iter().map(|t| (t.id.as_str(), t.price)).collect::<Vec<_>>(),
        [("1", 0), ("2", 2_500)]
    );
}

#[test]
fn money_is_exact() {
    let rows = [
        ("89.00", 2, Some(8_900)),
        ("0.07", 2, Some(7)),
        ("5", 2, Some(500)),
        ("5.1", 2, Some(510)),
        ("500.00", 0, Some(500)),
        ("1.234", 3, Some(1_234)),
        ("-1.50", 2, Some(-150)),
        ("90071992547409.91", 2, Some(9_007_199_254_740_991)),
        ("1.005", 2, None),
        ("1,00", 2, None),
        ("", 2, None),
        (".5", 2, None),
        ("1e2", 2, None),
        ("99999999999999999999", 2, None),
        ("999999999999999999", 2, None),
    ];
    for (text, exponent, expected) in rows {
        assert_eq!(value::minor_units(text, exponent), expected, "{text} with {exponent}");
    }
}

#[test]
fn windows_are_the_narrowest_that_apply() {
    let at = |hour: u32| json!(format!("2026-12-01T{hour:02}:00:00Z"));
    let files = changed(
        &THEATRE,
        &[
            ("event/presale_start", at(1)),
            ("event/presale_end", at(20)),
            ("subevents/results/0/presale_start", at(2)),
            ("subevents/results/0/presale_end", at(22)),
            ("subevents/results/1/presale_end", at(1)),
            ("items/results/0/available_from", at(3)),
            ("items/results/0/available_until", at(9)),
            (
                "subevents/results/0/item_price_overrides",
                json!([{
                    "item": 20, "price": null, "available_from": at(4), "available_until": at(10)
                }]),
            ),
        ],
    );
    let import = import("theatre", &files).unwrap();
    let short = |window: &Window| {
        let hour = |time: Option<Time>| time.map(|time| time_to_text(time)[11..13].to_owned());
        (hour(window.opens_at).unwrap(), hour(window.closes_at).unwrap())
    };
    let hours = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let first = &import.events[0].definition;
    assert_eq!(short(&first.sale), hours("02", "20"));
    assert_eq!(short(&ticket_type(first, "20").sale), hours("04", "09"));
    assert_eq!(ticket_type(first, "20").price, 3_200, "no price of its own that evening");
    assert_eq!(ticket_type(first, "21").sale, Window::default());
    let lost: Vec<_> = import.not_carried.iter().map(|lost| lost.what.as_str()).collect();
    assert_eq!(lost, ["theatre_2"]);
}

#[test]
fn a_variation_s_price_comes_last() {
    let overrides = |variations: Value| {
        [
            ("items/results/0/has_variations", json!(true)),
            (
                "items/results/0/variations",
                json!([
                    { "id": 7, "value": "Full", "active": true, "default_price": null },
                    { "id": 8, "value": "Half", "active": true, "default_price": "22.50" },
                ]),
            ),
            ("quotas/results/4/variations", json!([7, 8])),
            ("subevents/results/2/variation_price_overrides", variations),
        ]
    };
    let prices = |files: &[String; 6]| {
        let import = import("theatre", files).unwrap();
        let types = import.events[2].definition.ticket_types.clone();
        types.iter().map(|t| (t.id.to_string(), t.price)).collect::<Vec<_>>()
    };
    let row = |id: &str, price| (id.to_owned(), price);
    let plain = changed(&THEATRE, &overrides(json!([])));
    assert_eq!(prices(&plain), [row("20-7", 3_800), row("20-8", 2_250), row("21", 2_150)]);
    let both = json!([{ "variation": 8, "price": "1.00" }, { "variation": 7, "disabled": true }]);
    let changed = changed(&THEATRE, &overrides(both));
    assert_eq!(prices(&changed), [row("20-8", 100), row("21", 2_150)]);
}

#[test]
fn names_are_in_the_language_of_the_shop() {
    let name = |locale: &str, name: Value| {
        let changes = [("settings/locale", json!(locale)), ("event/name", name)];
        import("f", &changed(&FESTIVAL, &changes)).map(|i| i.events[0].definition.name.clone())
    };
    let names = json!({ "de": "Flussfest", "en": "River Festival", "fr": "" });
    assert_eq!(name("de", names.clone()).unwrap(), "Flussfest");
    assert_eq!(name("fr", names.clone()).unwrap(), "River Festival");
    assert_eq!(name("fr", json!({ "de": "Flussfest", "nl": null })).unwrap(), "Flussfest");
    assert_eq!(name("fr", json!("Plain")).unwrap(), "Plain");
    assert_eq!(name("en", json!("é".repeat(150))).unwrap(), format!("{}…", "é".repeat(98)));
    assert_eq!(
        name("en", json!({})).unwrap_err(),
        "f/event.json: as the event festival: name: must be 1 to 200 bytes long"
    );
}

#[test]
fn stock_is_what_is_left() {
    let capacity = |changes: &[(&str, Value)]| {
        let import = import("big", &changed(&BIG, changes)).unwrap();
        (import.events[0].definition.quotas[0].capacity, import.not_carried.len())
    };
    assert_eq!(capacity(&[]), (Some(17_850), 0));
    assert_eq!(capacity(&[("quotas/results/0/closed", json!(true))]), (Some(0), 0));
    assert_eq!(capacity(&[("quotas/results/0/available_number", json!(-3))]), (Some(0), 1));
    let unlimited = [
        ("quotas/results/0/size", Value::Null),
        ("quotas/results/0/available_number", Value::Null),
    ];
    assert_eq!(capacity(&unlimited), (None, 0));
}

#[test]
fn terms_are_fitted() {
    let terms = |changes: &[(&str, Value)]| {
        let import = import("big", &changed(&BIG, changes)).unwrap();
        let definition = &import.events[0].definition;
        let told: Vec<_> = import.not_carried.iter().map(|lost| lost.reason.clone()).collect();
        (definition.hold_seconds, definition.payment_seconds, told.join("; "))
    };
    let days = 14 * 86_400;
    assert_eq!(terms(&[]), (1_800, days, String::new()));
    let minutes = [("settings/payment_term_mode", json!("minutes"))];
    assert_eq!(terms(&minutes), (1_800, 1_800, String::new()));
    let long =
        [("settings/payment_term_days", json!(365)), ("settings/reservation_time", json!(0))];
    assert_eq!(
        terms(&long),
        (
            1,
            7_776_000,
            "reservation_time: 0 seconds become 1; payment_term_days: 31536000 seconds become \
             7776000"
                .to_owned()
        )
    );
    let unsaid =
        [("settings/payment_term_days", Value::Null), ("settings/reservation_time", Value::Null)];
    assert_eq!(terms(&unsaid), (600, 1_800, String::new()));
}
