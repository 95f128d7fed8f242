//! What templates are filled to.

use serde_json::json;

use super::*;

fn order() -> Value {
    json!({
        "code": "E1", "total": 2500, "currency": "EUR", "due": null,
        "tickets": [{"code": "A", "ticket_type": "12-3"}, {"code": "B", "ticket_type": "12"}],
    })
}

#[test]
fn values_keep_their_type_and_texts_hold_them() {
    let template = json!({
        "code": "$code", "sum": "{total|money}", "plain": "$total", "note": "order {code} of {total|money}",
        "fixed": [1, true], "due": "$due|or:never",
        "positions": [{"$for": "tickets", "$each": {
            "item": "$ticket_type|part:-:0|number", "variation": "$ticket_type|part:-:1|number",
            "secret": "$code", "order": "$total",
        }}],
    });
    let filled = fill(&template, &Scope::new(&order())).unwrap();
    let expected = json!({
        "code": "E1", "sum": "25.00", "plain": 2500, "note": "order E1 of 25.00", "fixed": [1, true],
        "due": "never",
        "positions": [
            {"item": 12, "variation": 3, "secret": "A", "order": 2500},
            {"item": 12, "variation": null, "secret": "B", "order": 2500},
        ],
    });
    assert_eq!(filled, expected);
}

#[test]
fn money_goes_by_its_currency() {
    for (minor, digits, expected) in
        [(0, 2, "0.00"), (5, 2, "0.05"), (-1250, 2, "-12.50"), (700, 0, "700"), (1, 3, "0.001")]
    {
        assert_eq!(money(minor, digits), expected);
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let order = order();
    let scope = Scope::new(&order);
    for (template, expected) in [
        ("{nothing}", "nothing: there is no such member"),
        ("{code|money}", "code|money: money must be a whole number"),
        ("{code|upper}", "code|upper: there is no filter upper: money, number, part, or"),
        ("{code", "{code: a brace is not closed"),
    ] {
        assert_eq!(text(template, &scope).unwrap_err().to_string(), expected);
    }
}

#[test]
fn pointers_reach_into_lists() {
    let order = order();
    assert_eq!(at(&order, "/code"), json!("E1"));
    assert_eq!(at(&order, "/tickets/*/code"), json!(["A", "B"]));
    assert_eq!(at(&order, "/missing"), Value::Null);
}
