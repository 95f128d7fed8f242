//! Tables of good and bad bodies and catalogue files.

use onsale_core::{EventState, Id, Time};

use super::*;

const GOOD: &str = r#"{
  "name": "Spring concert", "currency": "EUR", "starts_at": "2027-03-20T20:30:00+01:00",
  "sale": {"opens_at": "2027-01-10T09:00:00Z"},
  "limits": [{"per_order": 6}, {"ticket_types": ["seat"], "per_customer": 2}],
  "quotas": [{"id": "hall", "capacity": 400}, {"id": "any", "capacity": null}],
  "ticket_types": [
    {"id": "seat", "name": "Seat", "price": 2500, "quotas": ["hall"],
     "sale": {"closes_at": "2027-02-01T00:00:00.25Z"}},
    {"id": "gift", "name": "Gift", "price": 0, "free_price": true, "quotas": ["any"]}
  ]
}"#;

fn event_id() -> Id {
    Id::new("spring").unwrap()
}

fn definition(json: &str) -> Result<EventDefinition, String> {
    let body: EventBody = serde_json::from_str(json).map_err(|e| e.to_string())?;
    body.to_definition(&event_id()).map_err(|e| e.to_string())
}

#[test]
fn a_body_becomes_a_definition_with_defaults() {
    let definition = definition(GOOD).unwrap();
    assert_eq!(definition.hold_seconds, 600);
    assert_eq!(definition.payment_seconds, 1_800);
    assert_eq!(definition.sale_group, event_id());
    assert_eq!(definition.starts_at, Some(Time(1_805_571_000_000_000)));
    assert_eq!(definition.sale.closes_at, None);
    assert_eq!(definition.ticket_types[0].sale.closes_at, Some(Time(1_801_440_000_250_000)));
    assert_eq!(definition.quotas[1].capacity, None);
    assert!(definition.ticket_types[1].free_price);
    assert_eq!(definition.limits[1].per_customer, Some(2));
}

#[test]
fn a_definition_becomes_a_body_and_comes_back() {
    let first = definition(GOOD).unwrap();
    let json = serde_json::to_string(&EventBody::from_definition(&first)).unwrap();
    assert_eq!(definition(&json).unwrap(), first);
    assert!(json.contains(r#""starts_at":"2027-03-20T19:30:00Z""#), "{json}");
}

#[test]
fn bad_bodies_are_told_by_field_or_by_line() {
    let rows = [
        (r#""EUR""#, r#""EUX""#, "currency: must be a currency of ISO 4217, such as EUR"),
        (r#""EUR""#, r#""eur""#, "currency: must be a currency of ISO 4217, such as EUR"),
        (
            "2027-01-10T09:00:00Z",
            "tomorrow",
            "sale.opens_at: must be a time as in RFC 3339, such as 2027-03-20T19:30:00Z, from 1970 \
             to 2255",
        ),
        (
            "2027-03-20T20:30:00+01:00",
            "1969-03-20T20:30:00Z",
            "starts_at: must be a time as in RFC 3339, such as 2027-03-20T19:30:00Z, from 1970 to \
             2255",
        ),
        (
            r#"{"opens_at""#,
            r#"{"closes_at": "2027-01-10T09:00:00Z", "opens_at""#,
            "sale.closes_at: must be later than opens_at",
        ),
        (r#""price": 2500"#, r#""price": -1"#, "ticket_types[0].price: must not be below zero"),
        (r#""capacity": 400"#, r#""capacity": -1"#, "quotas[0].capacity: must be 0 to 1000000000"),
        (
            r#""capacity": 400"#,
            r#""capacity": 5000000000"#,
            "quotas[0].capacity: must be 0 to 1000000000",
        ),
        (
            r#"{"per_order": 6}"#,
            r#"{"per_order": 0}"#,
            "limits[0].per_order: must be 1 to 1000000000",
        ),
        (r#"{"per_order": 6}"#, "{}", "limits[0]: must have per_order or per_customer"),
        (r#""limits""#, r#""hold_seconds": 0, "limits""#, "hold_seconds: must be 1 to 86400"),
        (
            r#""limits""#,
            r#""payment_seconds": 9999999, "limits""#,
            "payment_seconds: must be 1 to 7776000",
        ),
        (
            r#""limits""#,
            r#""sale_group": "a b", "limits""#,
            "sale_group: must be made of a-z, A-Z, 0-9, '-', '_' and '.' and begin with a letter \
             or digit",
        ),
        (r#"{"id": "hall""#, r#"{"id": """#, "quotas[0].id: must not be empty"),
        (r#"{"id": "any""#, r#"{"id": "hall""#, "quotas[1]: the id hall is there twice"),
        (r#"["hall"]"#, r#"["hill"]"#, "ticket_types[0].quotas[0]: there is no quota hill"),
        (r#"["hall"]"#, r#"["hall", "x"]"#, "ticket_types[0].quotas[1]: there is no quota x"),
        (
            r#"["any"]"#,
            r#"["hall"]"#,
            "quotas[1]: the quota any has no ticket type that draws on it",
        ),
        (r#"["any"]"#, r#"[]"#, "ticket_types[1].quotas: the ticket type gift draws on no quota"),
        (r#"["seat"]"#, r#"["sit"]"#, "limits[1].ticket_types[0]: there is no ticket type sit"),
        (r#""Gift""#, r#""""#, "ticket_types[1].name: must be 1 to 200 bytes long"),
        (r#", "capacity": 400"#, "", "missing field `capacity` at line 5 column 27"),
        (
            r#""price": 2500"#,
            r#""price": 25.00"#,
            "invalid type: floating point `25.0`, expected i64 at line 7 column 49",
        ),
    ];
    for (from, to, expected) in rows {
        let json = GOOD.replacen(from, to, 1);
        assert_ne!(json, GOOD, "{from} is not in the body");
        assert_eq!(definition(&json).unwrap_err(), expected, "{from} → {to}");
    }
    let unknown = definition(&GOOD.replacen(r#""limits""#, r#""limit""#, 1)).unwrap_err();
    assert!(unknown.starts_with("unknown field `limit`, expected one of `name`"), "{unknown}");
    assert!(unknown.ends_with("at line 4 column 9"), "{unknown}");
}

fn catalogue(beside: &str) -> String {
    format!("{{\"events\": [\n{{{beside}, {}\n]}}", GOOD.strip_prefix('{').unwrap())
}

#[test]
fn a_catalogue_file_holds_bodies_with_id_and_state() {
    let events = read_catalogue(&catalogue(r#""id": "spring", "state": "open""#)).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].id, event_id());
    assert_eq!(events[0].state, Some(EventState::Open));
    assert_eq!(events[0].definition, definition(GOOD).unwrap());

    let events = read_catalogue(&catalogue(r#""id": "other""#)).unwrap();
    assert_eq!(events[0].state, None);
    assert_eq!(events[0].definition.sale_group.as_str(), "other");
}

#[test]
fn bad_catalogue_files_are_told_by_line_and_column() {
    let rows = [
        (catalogue(r#""state": "open""#), "missing field `id` at line 12 column 1"),
        (catalogue(r#""id": "a", "id": "b""#), "duplicate field `id` at line 2 column 16"),
        (
            catalogue(r#""id": "a", "state": "on""#),
            "unknown variant `on`, expected one of `open`, `paused`, `closed` at line 2 column 25",
        ),
        (
            catalogue(r#""id": "/""#),
            "events[0].id: must be made of a-z, A-Z, 0-9, '-', '_' and '.' and begin with a \
             letter or digit",
        ),
        (
            catalogue(r#""id": "a""#).replace("2500", "-2500"),
            "events[0].ticket_types[0].price: must not be below zero",
        ),
        ("{\"events\": [\n{\"id\"".to_owned(), "EOF while parsing an object at line 2 column 5"),
        (
            r#"{"event": []}"#.to_owned(),
            "unknown field `event`, expected `events` at line 1 column 8",
        ),
    ];
    for (json, expected) in rows {
        assert_eq!(read_catalogue(&json).unwrap_err(), expected, "{json}");
    }
    let unknown = read_catalogue(&catalogue(r#""id": "a", "stat": "open""#)).unwrap_err();
    assert!(unknown.starts_with("unknown field `stat`, expected one of"), "{unknown}");
    assert!(unknown.ends_with("at line 2 column 18"), "{unknown}");
    let one = catalogue(r#""id": "a""#);
    let inner = one.strip_prefix("{\"events\": [").unwrap().strip_suffix("]}").unwrap();
    let twice = format!("{{\"events\": [{inner},{inner}]}}");
    assert_eq!(read_catalogue(&twice).unwrap_err(), "events[1].id: the id a is there twice");
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let page = include_str!("../../../../docs/import.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let events = read_catalogue(example.unwrap()).unwrap();
    assert_eq!(events[0].definition.ticket_types.len(), 3);
    assert_eq!(events[0].definition.limits[1].per_customer, Some(1));
}
