//! What can't be carried, and what is wrong: each row changes an export in one place.

use super::*;
use crate::import::NotCarried;

/// Each row changes the festival in one place: what is told, and whether the
/// ticket types of the item are gone.
#[test]
fn what_cannot_be_carried_is_told() {
    let camping = "items/results/2/";
    let rows: &[(&str, Value, bool, &str)] = &[
        ("active", json!(false), true, "is not active"),
        ("require_voucher", json!(true), true, "require_voucher: is sold with a voucher only"),
        (
            "hide_without_voucher",
            json!(true),
            true,
            "hide_without_voucher: is sold with a voucher only",
        ),
        ("require_bundling", json!(true), true, "require_bundling: is sold within a bundle only"),
        ("bundles", json!([{}]), true, "bundles: other items belong to it"),
        (
            "require_approval",
            json!(true),
            true,
            "require_approval: each order needs the organizer's approval",
        ),
        ("require_membership", json!(true), true, "require_membership: is sold to members only"),
        ("addons", json!([{ "min_count": 1 }]), true, "addons: is not sold without its add-ons"),
        ("addons", json!([{ "min_count": 0 }]), false, "addons: are not offered"),
        (
            "hidden_if_available",
            json!(14),
            true,
            "hidden_if_available: is sold only after something else has sold out",
        ),
        (
            "hidden_if_item_available",
            json!(14),
            true,
            "hidden_if_available: is sold only after something else has sold out",
        ),
        ("issue_giftcard", json!(true), true, "issue_giftcard: is a gift card, not a ticket"),
        (
            "all_sales_channels",
            json!(false),
            true,
            "limit_sales_channels: is not sold in the channel web",
        ),
        ("has_variations", json!(true), true, "has no variations to pick from"),
        (
            "tax_rate",
            json!("19.00"),
            false,
            "tax_rate: the price is sold as it stands, tax is not shown apart",
        ),
        ("min_per_order", json!(2), false, "min_per_order: fewer can be bought"),
        (
            "personalized",
            json!(true),
            false,
            "personalized: attendees are not asked for their names",
        ),
        (
            "generate_tickets",
            json!(false),
            false,
            "generate_tickets: tickets get codes all the same",
        ),
        ("grant_membership_type", json!(1), false, "grant_membership_type: no membership is given"),
        ("validity_mode", json!("fixed"), false, "validity_mode: tickets have no time of validity"),
        ("media_policy", json!("new"), false, "media_policy: no reusable media are issued"),
    ];
    for (field, value, left_out, reason) in rows {
        let path = format!("{camping}{field}");
        let import = import("f", &changed(&FESTIVAL, &[(&path, value.clone())])).unwrap();
        let told = &import.not_carried[0];
        assert_eq!(
            (told.what.as_str(), told.reason.as_str(), told.left_out),
            ("festival: item 18 (Camping)", *reason, *left_out)
        );
        let definition = &import.events[0].definition;
        let sold = definition.ticket_types.iter().any(|t| t.id.as_str() == "18");
        assert_eq!(sold, !left_out, "{field}");
        // Its quota and its limit go with it.
        assert_eq!(definition.quotas.len(), if *left_out { 5 } else { 6 }, "{field}");
        assert_eq!(definition.limits.len(), if *left_out { 4 } else { 5 }, "{field}");
        assert_eq!(import.not_carried.len(), if *left_out { 2 } else { 1 }, "{field}");
    }
}

#[test]
fn what_cannot_be_carried_elsewhere_is_told() {
    let lost = |what: &str, reason: &str, left_out| NotCarried {
        what: what.to_owned(),
        reason: reason.to_owned(),
        left_out,
    };
    let camping_quota =
        lost("festival: quota 17 (Camping)", "nothing that is sold draws on it", true);
    let rows: &[(&str, Value, &[NotCarried])] = &[
        (
            "categories/results/1/is_addon",
            json!(true),
            &[
                lost(
                    "festival: item 18 (Camping)",
                    "is_addon: its category is sold as an add-on of other items only",
                    true,
                ),
                lost(
                    "festival: item 19 (Donation)",
                    "is_addon: its category is sold as an add-on of other items only",
                    true,
                ),
                camping_quota.clone(),
                lost("festival: quota 18 (Donations)", "nothing that is sold draws on it", true),
            ],
        ),
        (
            "event/seat_category_mapping",
            json!({ "Lawn": 18 }),
            &[
                lost(
                    "festival: item 18 (Camping)",
                    "seat_category_mapping: needs a numbered seat",
                    true,
                ),
                camping_quota.clone(),
            ],
        ),
        (
            "event/seating_plan",
            json!(1),
            &[lost("festival", "seating_plan: no seats are sold", false)],
        ),
        ("event/testmode", json!(true), &[lost("festival", "testmode: stays paused", false)]),
        (
            "settings/waiting_list_enabled",
            json!(true),
            &[lost("festival", "waiting_list_enabled: there is none", false)],
        ),
        (
            "items/results/1/variations/1/active",
            json!(false),
            &[
                lost("festival: variation 14-4 (Weekend pass – Reduced)", "is not active", true),
                lost(
                    "festival: quota 15 (Reduced passes)",
                    "nothing that is sold draws on it",
                    true,
                ),
            ],
        ),
        (
            "items/results/1/variations/1/require_approval",
            json!(true),
            &[
                lost(
                    "festival: variation 14-4 (Weekend pass – Reduced)",
                    "require_approval: each order needs the organizer's approval",
                    true,
                ),
                lost(
                    "festival: quota 15 (Reduced passes)",
                    "nothing that is sold draws on it",
                    true,
                ),
            ],
        ),
        (
            "quotas/results/3/items",
            json!([]),
            &[lost("festival: ticket type 18", "has no quota", true), camping_quota.clone()],
        ),
        (
            "quotas/results/3/close_when_sold_out",
            json!(true),
            &[lost(
                "festival: quota 17 (Camping)",
                "close_when_sold_out: tickets that come back are sold again",
                false,
            )],
        ),
        (
            "items/results/2/available_until",
            json!("2026-11-25T07:57:19Z"),
            &[
                lost(
                    "festival: ticket type 18",
                    "is never on sale: its windows do not overlap",
                    true,
                ),
                camping_quota.clone(),
            ],
        ),
    ];
    for (path, value, expected) in rows {
        let import = import("f", &changed(&FESTIVAL, &[(path, value.clone())])).unwrap();
        assert_eq!(import.not_carried, *expected, "{path}");
    }
    let paused = changed(&FESTIVAL, &[("event/live", json!(false))]);
    assert_eq!(import("f", &paused).unwrap().events[0].state, Some(EventState::Paused));
    let paused = changed(&THEATRE, &[("subevents/results/1/active", json!(false))]);
    let states: Vec<_> = import("t", &paused).unwrap().events.iter().map(|e| e.state).collect();
    assert_eq!(states, [EventState::Open, EventState::Paused, EventState::Open].map(Some));
    let nothing = changed(&BIG, &[("items/results", json!([])), ("items/count", json!(0))]);
    let import = import("b", &nothing).unwrap();
    assert!(import.events.is_empty());
    assert_eq!(import.not_carried[2], lost("big", "has nothing left that could be sold", true));
}

#[test]
fn bad_exports_are_told_by_file_and_field() {
    let rows: &[(&str, Value, &str)] = &[
        (
            "items/next",
            json!("page 2"),
            "f/items.json: a page is missing: 7 of 7 entries are here; put the results of all \
             pages into one file, with \"next\": null",
        ),
        (
            "quotas/count",
            json!(60),
            "f/quotas.json: a page is missing: 6 of 60 entries are here; put the results of all \
             pages into one file, with \"next\": null",
        ),
        ("event/currency", json!("EUX"), "f/event.json: currency: \"EUX\" is not of ISO 4217"),
        ("event/timezone", json!("Mars"), "f/event.json: timezone: \"Mars\" is not known"),
        (
            "event/slug",
            json!("a b"),
            "f/event.json: the id \"a b\" of the event: must be made of a-z, A-Z, 0-9, '-', '_' \
             and '.' and begin with a letter or digit",
        ),
        (
            "event/presale_start",
            json!("soon"),
            "f/event.json: presale_start: \"soon\" is not a time",
        ),
        ("event/date_from", json!("soon"), "f/event.json: date_from: \"soon\" is not a time"),
        (
            "items/results/2/available_from",
            json!("soon"),
            "f/items.json: ticket type 18: available_from: \"soon\" is not a time",
        ),
        (
            "items/results/2/default_price",
            json!("25.005"),
            "f/items.json: ticket type 18: \"25.005\" is not a price in EUR",
        ),
        (
            "items/results/2/default_price",
            json!("-1.00"),
            "f/event.json: as the event festival: ticket_types[3].price: must not be below zero",
        ),
        (
            "quotas/results/3/available_number",
            Value::Null,
            "f/quotas.json: quota 17: available_number: is missing: export with \
             ?with_availability=true",
        ),
        (
            "quotas/results/3/available_number",
            json!(5_000_000_000u64),
            "f/quotas.json: quota 17: available_number: is too large",
        ),
        (
            "settings/max_items_per_order",
            json!(0),
            "f/event.json: as the event festival: limits[0].per_order: must be 1 to 1000000000",
        ),
    ];
    for (path, value, expected) in rows {
        let files = changed(&FESTIVAL, &[(path, value.clone())]);
        assert_eq!(import("f", &files).unwrap_err(), *expected, "{path}");
    }
    let date = changed(&THEATRE, &[("subevents/results/2/presale_end", json!("x"))]);
    assert_eq!(
        import("t", &date).unwrap_err(),
        "t/subevents.json: subevent 3: presale_end: \"x\" is not a time"
    );
    let mut broken = FESTIVAL;
    broken[2] = "{\"count\": 0,\n \"results\": [}";
    assert_eq!(
        import("f", &broken).unwrap_err(),
        "f/items.json: expected value at line 2 column 14"
    );
    broken[2] = "{\"count\": 0,\n \"results\": []}";
    assert_eq!(
        import("f", &broken).unwrap_err(),
        "f/items.json: missing field `next` at line 2 column 15"
    );
}
