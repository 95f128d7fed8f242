//! Problems: their names, statuses and form.

use onsale_core::catalogue::{DefinitionRule, InvalidDefinition};
use onsale_core::{EventState, Refusal, Time};

use super::*;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

#[test]
fn every_kind_has_a_name_of_its_own_in_one_form() {
    let mut names: Vec<&str> = kind::ALL.iter().map(|kind| kind.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name is there twice");
    for kind in kind::ALL {
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(kind.name.bytes().all(plain), "{} is not kebab-case", kind.name);
        assert!((400..600).contains(&kind.status), "{} has status {}", kind.name, kind.status);
        assert!(!kind.title.ends_with('.') && kind.about.ends_with('.'), "{}", kind.name);
        assert_eq!(Kind::named(kind.name), Some(*kind));
    }
}

/// Refusal, type, status, and the members beside the four that all have.
#[test]
fn refusals_say_what_and_how_much() {
    let quota = id("hall");
    let rows = [
        (Refusal::UnknownEvent, "unknown-event", 404, "{}"),
        (
            Refusal::SoldOut { quota, asked: 2, free: 1 },
            "sold-out",
            409,
            r#"{"quota":"hall","asked":2,"free":1}"#,
        ),
        (
            Refusal::NoneFreeNow { quota, asked: 2, free: 1, held: 7 },
            "none-free-now",
            409,
            r#"{"quota":"hall","asked":2,"free":1,"held":7}"#,
        ),
        (
            Refusal::CustomerLimit { limit: 3, has: 4, asked: 2, max: 5 },
            "customer-limit",
            422,
            r#"{"field":"items","asked":2,"limit":3,"has":4,"max":5}"#,
        ),
        (
            Refusal::Quantity { line: 1, max: 1_000 },
            "quantity-out-of-range",
            422,
            r#"{"field":"items[1].quantity","min":1,"max":1000}"#,
        ),
        (
            Refusal::SaleNotBegun { line: Some(0), opens_at: Time(1_500_000) },
            "sale-not-begun",
            409,
            r#"{"field":"items[0].ticket_type","opens_at":"1970-01-01T00:00:01.5Z"}"#,
        ),
        (
            Refusal::NotOpen { state: EventState::Paused },
            "event-not-open",
            409,
            r#"{"state":"paused"}"#,
        ),
        (Refusal::VersionNotSaid { current: 7 }, "version-not-said", 428, r#"{"version":7}"#),
        (
            Refusal::InvalidDefinition(InvalidDefinition {
                field: "quotas[0]".to_owned(),
                rule: DefinitionRule::QuotaWithoutTicketType { quota },
            }),
            "quota-without-ticket-type",
            422,
            r#"{"field":"quotas[0]","quota":"hall"}"#,
        ),
    ];
    for (refusal, name, status, members) in rows {
        let problem = Problem::from_refusal(&refusal);
        assert_eq!(
            (problem.kind.as_str(), problem.status),
            (&*format!("/problems/{name}"), status)
        );
        let mut value = serde_json::to_value(&*problem).unwrap();
        let object = value.as_object_mut().unwrap();
        for member in ["type", "title", "status", "detail"] {
            assert!(object.remove(member).is_some(), "{name} has no {member}");
        }
        let members: serde_json::Value = serde_json::from_str(members).unwrap();
        assert_eq!(value, members, "{name}");
    }
}

#[test]
fn an_answer_has_the_headers_that_its_status_asks_for() {
    let header = |problem: &Problem, name: HeaderName| {
        let rendered = problem.render();
        let found = rendered.headers.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.to_str().unwrap().to_owned())
    };
    let none_free = Problem::new(&kind::NONE_FREE_NOW, "");
    assert_eq!(header(&none_free, RETRY_AFTER).as_deref(), Some("1"));
    let unknown = Problem::new(&kind::KEY_UNKNOWN, "");
    assert_eq!(header(&unknown, WWW_AUTHENTICATE).as_deref(), Some("Bearer realm=\"onsale\""));
    assert_eq!(header(&unknown, RETRY_AFTER), None);
    assert_eq!(none_free.render().media_type, "application/problem+json");
}
