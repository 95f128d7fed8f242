//! What must be in the end: what the load was told, held against the box office's tables and the engine, and what the
//! bridge says of itself.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::office::{Catalogue, Event};
use crate::sales::{HALL, Sales, Sold};
use crate::world::{Who, World};

/// Orders whose tickets are asked for one by one.
const TICKETS_ASKED: usize = 200;

/// Waits until nothing is on its way and nothing differs, by the bridge's own words.
pub fn settled(world: &World, sales: &Sales) {
    let sold = sales.sold.lock().unwrap().len() as u64;
    world.wait_until(|| {
        let output = world.try_run(&["bridge", "reconcile", "--json"], "");
        let text = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        let events = report["events"].as_array().cloned().unwrap_or_default();
        let sum = |name: &str| events.iter().filter_map(|event| event[name].as_u64()).sum::<u64>();
        let is_done = output.status.success() && sum("on_the_way") == 0 && sum("orders") == sold;
        let told = String::from_utf8_lossy(&output.stderr);
        is_done.then_some(()).ok_or_else(|| format!("{sold} orders; reconcile: {text}\n{told}"))
    });
    world.wait_until(|| {
        let output = world.try_run(&["bridge", "status"], "");
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then_some(()).ok_or_else(|| format!("status: {text}"))
    });
}

/// Every order that was acknowledged is there once, as its buyer was told, and no other.
pub fn orders(world: &World, sales: &Sales) {
    let sold = sales.sold.lock().unwrap();
    let there = world
        .rows("SELECT code, status, total_minor AS total FROM orders WHERE channel = 'onsale'");
    assert_eq!(there.len(), sold.len(), "orders of the engine in the box office");
    let lines = of_orders(world, "SUM(x.quantity)", "order_lines");
    let tickets = of_orders(world, "COUNT(*)", "tickets");
    let payments = of_orders(world, "COUNT(*)", "payments");
    for row in &there {
        let code = row.text("code").unwrap();
        let of = |numbers: &BTreeMap<String, i64>| numbers.get(&code).copied().unwrap_or(0);
        let order = sold.get(&code).unwrap_or_else(|| panic!("nobody bought {code}"));
        let found = (row.text("status").unwrap(), row.integer("total").unwrap());
        assert_eq!(found, (status(order).to_owned(), order.total), "{code}: {order:?}");
        assert_eq!((of(&lines), of(&payments)), (order.quantity, order.payments), "{code}");
        if order.is_paid {
            assert_eq!(of(&tickets), order.quantity, "tickets of {code}");
        }
    }
    for (code, _) in
        sold.iter().filter(|(_, sold)| sold.is_paid && !sold.is_cancelled).take(TICKETS_ASKED)
    {
        let order =
            world.ask(Who::Engine, ("GET", &format!("{HALL}/orders/{code}")), &[], None).json();
        let mut told: Vec<&str> = order["tickets"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|ticket| ticket["code"].as_str())
            .collect();
        told.sort_unstable();
        let there = world.rows(&format!(
            "SELECT t.code FROM tickets t JOIN orders o ON o.id = t.order_id WHERE o.code = '{code}' ORDER BY t.code"
        ));
        let there: Vec<String> = there.iter().map(|row| row.text("code").unwrap()).collect();
        assert_eq!(there, told, "{code}");
    }
    let shop = world.number("SELECT COUNT(*) AS n FROM orders WHERE channel <> 'onsale'");
    assert_eq!(shop.unsigned_abs(), *sales.in_shop.lock().unwrap(), "the shop's own orders");
}

fn status(order: &Sold) -> &'static str {
    match (order.is_cancelled, order.is_paid) {
        (true, _) => "cancelled",
        (_, true) => "paid",
        _ => "pending",
    }
}

fn of_orders(world: &World, what: &str, table: &str) -> BTreeMap<String, i64> {
    let rows = world.rows(&format!(
        "SELECT o.code, CAST({what} AS bigint) AS n FROM orders o JOIN {table} x ON x.order_id = o.id \
         WHERE o.channel = 'onsale' GROUP BY o.code"
    ));
    rows.iter().map(|row| (row.text("code").unwrap(), row.integer("n").unwrap())).collect()
}

/// Every place of the event that the engine sells is sold or the engine's, on both sides.
pub fn stock(world: &World, hall: &Event, sales: &Sales) {
    let sold = sales.sold.lock().unwrap();
    let sold: i64 = sold.values().filter(|sold| !sold.is_cancelled).map(|sold| sold.quantity).sum();
    let row = &world
        .rows(&format!("SELECT capacity, sold, blocked FROM stocks WHERE id = {}", hall.stock))[0];
    let number = |name: &str| row.integer(name).unwrap();
    let found = (number("capacity"), number("sold"), number("blocked"));
    assert_eq!(found, (hall.capacity, sold, hall.capacity - sold), "capacity, sold, blocked");
    let left = world.ask(Who::Engine, ("GET", &format!("{HALL}/availability")), &[], None).json();
    let quota = &left["quotas"][0];
    let at_engine = (quota["capacity"].as_i64(), quota["sold"].as_i64());
    assert_eq!(at_engine, (Some(hall.capacity), Some(sold)), "at the engine: {left}");
}

/// What was saved last of each event is what the engine has; what was taken away is closed.
pub fn catalogue(world: &World, catalogue: &Catalogue, sold_by_engine: &str) {
    let known = |slug: &str| {
        let path = format!("/v1/organizers/river/events/{slug}");
        let answer = world.ask(Who::Engine, ("GET", &path), &[], None);
        (answer.status == 200).then(|| answer.json())
    };
    for event in &catalogue.events {
        world.wait_until(|| {
            let known = known(&event.slug).ok_or_else(|| format!("unknown: {event:?}"))?;
            let is_open = event.is_on_sale && event.slug == sold_by_engine;
            let types = known["ticket_types"].as_array().cloned().unwrap_or_default();
            let types = types.iter().map(|of| {
                let id = of["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
                (
                    id,
                    (
                        of["name"].as_str().unwrap_or("").to_owned(),
                        of["price"].as_i64().unwrap_or(-1),
                    ),
                )
            });
            let is_so = known["name"] == event.name
                && known["state"] == if is_open { "open" } else { "paused" }
                && known["quotas"][0]["capacity"] == event.capacity
                && types.collect::<BTreeMap<_, _>>() == event.types;
            is_so.then_some(()).ok_or_else(|| format!("saved: {event:?}\nthe engine: {known}"))
        });
    }
    for slug in &catalogue.gone {
        world.wait_until(|| match known(slug) {
            Some(known) if known["state"] != "closed" => Err(format!("{slug} is gone: {known}")),
            // It came and went while nobody looked.
            _ => Ok(()),
        });
    }
}

/// Waits until the engine sells.
pub fn is_open(world: &World) {
    world.wait_until(|| {
        let event = world.ask(Who::Engine, ("GET", HALL), &[], None).json();
        (event["state"] == "open").then_some(()).ok_or_else(|| format!("{event}"))
    });
}
