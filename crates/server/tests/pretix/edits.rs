//! What is edited in pretix arrives in the engine; the event is taken over; nothing of the bridge is left in the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use onsale_services::wait_until;
use serde_json::{Value, json};

use crate::forms::{Changes, Desk};
use crate::office::{for_sale, served};
use crate::site::Site;

/// The edits, each with how long it took from pretix' answer until the engine had it.
struct Edits<'a> {
    site: &'a Site,
    took: Vec<(String, Duration)>,
}

impl Edits<'_> {
    /// Makes an edit by the API and waits until the engine's event is as it should be then.
    fn make(
        &mut self,
        method: &str,
        path: &str,
        body: Value,
        event: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let made = self.site.pretix_well(method, path, &body);
        self.arrives(format!("{method} {path} {body} in {event}"), event, is_so);
        made
    }

    /// Waits until the engine's event is as it should be after an edit that pretix has just answered.
    fn arrives(&mut self, what: String, event: &str, is_so: impl Fn(&Value) -> bool) {
        let begin = Instant::now();
        wait_until(&what, || is_so(&self.site.event(event)));
        self.took.push((what, begin.elapsed()));
    }

    /// The same, of the festival's parts; `pointer` must then be a value.
    fn festival(&mut self, path: &str, body: Value, at: &str, wanted: Value) {
        let path = format!("events/festival/{path}");
        self.make("PATCH", &path, body, "festival", |event| find(event, at) == wanted);
    }

    /// Makes an edit of the festival by a form of the back office; where pretix goes on then.
    fn save(
        &mut self,
        desk: &mut Desk,
        page: &str,
        changes: Changes<'_>,
        at: &str,
        wanted: &Value,
    ) -> String {
        let next = desk.save(&format!("{FESTIVAL}{page}"), changes);
        self.arrives(format!("{page} {changes:?}"), "festival", |event| find(event, at) == *wanted);
        next
    }
}

/// A member of the event, or of a ticket type or quota: `7-2/price`, `q3/capacity`.
fn find(event: &Value, at: &str) -> Value {
    let (head, rest) = at.split_once('/').unwrap_or((at, ""));
    let (list, id) = match head.strip_prefix('q').filter(|id| id.parse::<u64>().is_ok()) {
        Some(id) => ("quotas", id),
        None => ("ticket_types", head),
    };
    let of = event[list].as_array().and_then(|list| list.iter().find(|of| of["id"] == id));
    match of {
        Some(of) if rest.is_empty() => of["id"].clone(),
        Some(of) => of.pointer(&format!("/{rest}")).cloned().unwrap_or_default(),
        None => event.pointer(&format!("/{at}")).cloned().unwrap_or_default(),
    }
}

const NEVER: &str = "1970-01-02T00:00:00Z";
/// Where its pages are in the back office.
const FESTIVAL: &str = "event/river/festival/";

#[test]
fn what_is_edited_in_pretix_arrives() {
    let mut site = Site::start();
    let before = site.schema();
    attach(&site, &before);
    site.run_bridge();
    wait_until("the engine knows the festival", || !site.event("festival").is_null());
    let mut edits = Edits { site: &site, took: Vec::new() };
    of_items(&mut edits);
    of_quotas(&mut edits);
    of_the_event(&mut edits);
    of_other_events(&mut edits);
    let mut desk = Desk::log_in(&site.pretix);
    by_forms(&mut edits, &mut desk);
    let mut took: Vec<Duration> = edits.took.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{} edits: p50 {:?}, p90 {:?}, max {:?}", took.len(), at(50), at(90), at(100));
    assert!(took.len() >= 50, "{}", took.len());
    assert!(at(50) < Duration::from_secs(1), "{:?}", edits.took);
    for event in ["festival", "concert"] {
        assert_eq!(served(&site.event(event)), for_sale(&site, event), "{event}");
    }
    what_the_engine_refuses_is_set_aside(&site);
    an_event_is_taken_over(&site, &mut desk);
    one_is_taken_over_while_pretix_sells(&site);
    site.kill_bridge();
    let (code, text) = site.bridge(&["detach"]);
    assert!(code == 1 && text.contains("the engine has stock"), "{text}");
    site.bridge_well(&["detach", "--force"]);
    assert_eq!(site.schema(), before);
}

/// Attaches; what differs in the schema is what was told, by its name.
fn attach(site: &Site, before: &[String]) {
    let told = site.bridge_well(&["attach", "--dry-run"]);
    assert!(
        told.contains("the publication onsale_pretix") && told.contains("the replication slot")
    );
    assert_eq!(site.schema(), before, "a dry run does nothing");
    site.bridge_well(&["attach"]);
    site.bridge_well(&["attach"]);
    let attached = site.schema();
    assert!(before.iter().all(|line| attached.contains(line)));
    let added = attached.iter().filter(|line| !before.contains(line));
    let added: Vec<&String> = added.filter(|line| !line.contains("onsale_pretix")).collect();
    assert_eq!(added, Vec::<&String>::new());
    assert!(attached.contains(&"slot onsale_pretix".to_owned()));
}

/// Ids of the festival's items, of the camping's variations, of its quotas.
fn ids(site: &Site) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    ids_of(site, "festival")
}

fn ids_of(site: &Site, event: &str) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let list = |path: &str| {
        let answer = site.pretix_well("GET", &format!("events/{event}/{path}/"), &Value::Null);
        let mut all = answer["results"].as_array().unwrap().clone();
        all.sort_by_key(|one| one["id"].as_u64());
        all
    };
    let items = list("items");
    let id = |one: &Value| one["id"].clone();
    let mut variations: Vec<Value> =
        items[2]["variations"].as_array().unwrap().iter().map(id).collect();
    variations.sort_by_key(Value::as_u64);
    (items.iter().map(id).collect(), variations, list("quotas").iter().map(id).collect())
}

fn of_items(edits: &mut Edits<'_>) {
    let (items, variations, quotas) = ids(edits.site);
    let (entry, reduced, camping) = (&items[0], &items[1], &items[2]);
    let item = |id: &Value| format!("items/{id}/");
    let rows = [
        (entry, json!({"default_price": "26.00"}), "price", json!(2600)),
        (entry, json!({"name": {"en": "Entry"}}), "name", json!("Entry")),
        (entry, json!({"free_price": true}), "free_price", json!(true)),
        (entry, json!({"free_price": false, "default_price": "0.00"}), "price", json!(0)),
        (entry, json!({"default_price": "25.00"}), "price", json!(2500)),
        (entry, json!({"require_voucher": true}), "sale/closes_at", json!(NEVER)),
        (entry, json!({"require_voucher": false}), "sale/closes_at", json!(null)),
        (reduced, json!({"default_price": "13.37"}), "price", json!(1337)),
        (reduced, json!({"active": false}), "sale/closes_at", json!(NEVER)),
        (reduced, json!({"active": true}), "sale/closes_at", json!(null)),
        (
            reduced,
            json!({"available_from": "2027-01-02T03:04:05Z"}),
            "sale/opens_at",
            json!("2027-01-02T03:04:05Z"),
        ),
        (
            reduced,
            json!({"available_until": "2098-01-01T00:00:00+02:00"}),
            "sale/closes_at",
            json!("2097-12-31T22:00:00Z"),
        ),
        (
            reduced,
            json!({"available_from": null, "available_until": null}),
            "sale/closes_at",
            json!(null),
        ),
    ];
    for (id, body, at, wanted) in rows {
        edits.festival(&item(id), body, &format!("{id}/{at}"), wanted);
    }
    let (tent, van) = (&variations[0], &variations[1]);
    let variation = |id: &Value| format!("items/{camping}/variations/{id}/");
    let rows = [
        (van, json!({"default_price": "70.00"}), "price", json!(7000)),
        (van, json!({"value": {"en": "Caravan"}}), "name", json!("Camping – Caravan")),
        (tent, json!({"default_price": "45.00"}), "price", json!(4500)),
        (tent, json!({"active": false}), "sale/closes_at", json!(NEVER)),
        (tent, json!({"active": true}), "sale/closes_at", json!(null)),
        (tent, json!({"default_price": null}), "price", json!(4000)),
    ];
    for (id, body, at, wanted) in rows {
        edits.festival(&variation(id), body, &format!("{camping}-{id}/{at}"), wanted);
    }
    let tent_price = format!("{camping}-{tent}/price");
    edits.festival(&item(camping), json!({"default_price": "41.00"}), &tent_price, json!(4100));
    // A third variation, which sells once it is in a quota.
    let hammock = edits.site.pretix_well(
        "POST",
        &format!("events/festival/items/{camping}/variations/"),
        &json!({"value": {"en": "Hammock"}, "default_price": "20.00"}),
    );
    let hammock = &hammock["id"];
    let (path, kind) = (format!("quotas/{}/", quotas[1]), format!("{camping}-{hammock}"));
    let all = json!({"variations": [tent, van, hammock]});
    edits.festival(&path, all, &format!("{kind}/price"), json!(2000));
    edits.festival(&path, json!({"variations": [tent, van]}), &kind, json!(null));
}

fn of_quotas(edits: &mut Edits<'_>) {
    let (items, _, quotas) = ids(edits.site);
    let (entry, reduced, site) = (&items[0], &items[1], &quotas[0]);
    let path = format!("quotas/{site}/");
    let capacity = format!("q{site}/capacity");
    for size in [json!(21_000), json!(null), json!(20_000)] {
        edits.festival(&path, json!({"size": size}), &capacity, size);
    }
    edits.festival(&path, json!({"items": [entry]}), &reduced.to_string(), json!(null));
    let back = json!({"items": [entry, reduced]});
    edits.festival(&path, back, &format!("{reduced}/quotas"), json!([site.to_string()]));
    // A new product, which is in two quotas for a while.
    let child = json!({"name": {"en": "Child"}, "default_price": "5.00"});
    let child = edits.site.pretix_well("POST", "events/festival/items/", &child)["id"].clone();
    let with_child = json!({"items": [entry, reduced, child]});
    edits.festival(&path, with_child, &format!("{child}/name"), json!("Child"));
    let wanted = format!("{child}/quotas");
    let few = json!({"name": "Few", "size": 50, "items": [child], "variations": []});
    let few = edits.make("POST", "events/festival/quotas/", few, "festival", |event| {
        find(event, &wanted).as_array().is_some_and(|quotas| quotas.len() == 2)
    });
    let path = format!("quotas/{}/", few["id"]);
    let capacity = format!("q{}/capacity", few["id"]);
    edits.festival(&path, json!({"size": 60}), &capacity, json!(60));
    edits.make("DELETE", &format!("events/festival/{path}"), json!(null), "festival", |event| {
        find(event, &wanted) == json!([site.to_string()])
    });
    let path = format!("events/festival/items/{child}/");
    edits.make("DELETE", &path, json!(null), "festival", |event| {
        find(event, &child.to_string()).is_null()
    });
    // What is sold only with something else is not sold by itself.
    let extras = json!({"name": {"en": "Extras"}, "is_addon": true});
    let extras = edits.site.pretix_well("POST", "events/festival/categories/", &extras);
    let extras = &extras["id"];
    let (path, closes) = (format!("items/{reduced}/"), format!("{reduced}/sale/closes_at"));
    edits.festival(&path, json!({"category": extras}), &closes, json!(NEVER));
    let path = format!("categories/{extras}/");
    edits.festival(&path, json!({"is_addon": false}), &closes, json!(null));
}

fn of_the_event(edits: &mut Edits<'_>) {
    let rows = [
        (json!({"name": {"en": "River Fest"}}), "name", json!("River Fest")),
        (
            json!({"name": {"de": "Flussfest", "en": "River Festival"}}),
            "name",
            json!("River Festival"),
        ),
        (json!({"date_from": "2099-07-02T18:00:00Z"}), "starts_at", json!("2099-07-02T18:00:00Z")),
        // Where no end is said, to the end of the day there.
        (
            json!({"date_from": "2099-07-02T23:00:00Z"}),
            "sale/closes_at",
            json!("2099-07-03T22:00:00Z"),
        ),
        (
            json!({"date_to": "2099-07-04T12:00:00Z"}),
            "sale/closes_at",
            json!("2099-07-04T12:00:00Z"),
        ),
        (
            json!({"presale_start": "2026-01-01T10:00:00+01:00"}),
            "sale/opens_at",
            json!("2026-01-01T09:00:00Z"),
        ),
        (
            json!({"presale_end": "2099-06-30T00:00:00Z"}),
            "sale/closes_at",
            json!("2099-06-30T00:00:00Z"),
        ),
        (json!({"presale_start": null, "presale_end": null}), "sale/opens_at", json!(null)),
    ];
    for (body, at, wanted) in rows {
        edits.festival("", body, at, wanted);
    }
    let rows = [
        (json!({"max_items_per_order": 4}), "limits/0/per_order", json!(4)),
        (json!({"reservation_time": 15}), "hold_seconds", json!(900)),
        (json!({"payment_term_days": 3}), "payment_seconds", json!(259_200)),
    ];
    for (body, at, wanted) in rows {
        edits.festival("settings/", body, at, wanted);
    }
}

fn of_other_events(edits: &mut Edits<'_>) {
    let make = |site: &Site, path: &str, body: Value| site.pretix_well("POST", path, &body);
    let new = |slug: &str, has_dates: bool| {
        json!({"name": {"en": "New"}, "slug": slug, "currency": "JPY", "live": false,
            "date_from": "2099-01-01T20:00:00Z", "has_subevents": has_dates})
    };
    let site = edits.site;
    make(site, "events/", new("late-show", false));
    let seat = json!({"name": {"en": "Seat"}, "default_price": "2500.00"});
    let item = make(site, "events/late-show/items/", seat.clone())["id"].clone();
    let quota = json!({"name": "Hall", "size": 80, "items": [item], "variations": []});
    let path = "events/late-show/quotas/";
    // Yen have no cents.
    let price = format!("{item}/price");
    edits.make("POST", path, quota, "late-show", |event| find(event, &price) == 2500);
    let is_closed = |event: &Value| event["state"] == "closed";
    edits.make("DELETE", "events/late-show/", json!(null), "late-show", is_closed);

    // A series is sold by the date.
    make(site, "events/", new("series", true));
    let item = make(site, "events/series/items/", seat)["id"].clone();
    let date = json!({"name": {"en": "First night"}, "active": true, "date_from": "2099-02-01T20:00:00Z",
        "item_price_overrides": [], "variation_price_overrides": [], "meta_data": {}});
    let date = make(site, "events/series/subevents/", date)["id"].clone();
    let id = format!("series_{date}");
    let quota =
        json!({"name": "Hall", "size": 80, "items": [item], "variations": [], "subevent": date});
    edits.make("POST", "events/series/quotas/", quota, &id, |event| {
        event["name"] == "First night" && find(event, &format!("{item}/price")) == 2500
    });
    let path = format!("events/series/subevents/{date}/");
    let cheaper = json!({"item_price_overrides": [{"item": item, "price": "1900.00"}]});
    let price = format!("{item}/price");
    edits.make("PATCH", &path, cheaper, &id, |event| find(event, &price) == 1900);
    let other = json!({"name": {"en": "Premiere"}});
    edits.make("PATCH", &path, other, &id, |event| event["name"] == "Premiere");
    edits.make("DELETE", &path, json!(null), &id, is_closed);
}

/// What people do by the pages of the back office.
fn by_forms(edits: &mut Edits<'_>, desk: &mut Desk) {
    let (items, variations, quotas) = ids(edits.site);
    let (entry, reduced, camping) = (&items[0], &items[1], &items[2]);
    let site = &quotas[0];
    let item = |id: &Value| format!("items/{id}/");
    let quota = format!("quotas/{site}/change");
    let (entry_id, reduced_id) = (entry.to_string(), reduced.to_string());
    let closes = format!("{reduced}/sale/closes_at");
    let until = |date, time| [("available_until_0", Some(date)), ("available_until_1", Some(time))];
    let few = [("name", Some("Few")), ("size", Some("50")), ("itemvars", Some(&*entry_id))];
    let both = [("itemvars", Some(&*entry_id)), ("itemvars", Some(&*reduced_id))];
    let date = |day| [("date_from_0", Some(day)), ("date_from_1", Some("20:00:00"))];
    let presale = |day, time| [("presale_end_0", Some(day)), ("presale_end_1", Some(time))];
    let general = "settings/".to_owned();
    let in_all = find(&edits.site.event("festival"), "sale/closes_at");
    let rows: [(String, Changes<'_>, String, Value); 16] = [
        (item(entry), &[("default_price", Some("26.50"))], format!("{entry}/price"), json!(2650)),
        (
            item(entry),
            &[("name_0", Some("Entry & \"more\""))],
            format!("{entry}/name"),
            json!("Entry & \"more\""),
        ),
        (item(reduced), &[("active", None)], closes.clone(), json!(NEVER)),
        (item(reduced), &[("active", Some("on"))], closes.clone(), json!(null)),
        (
            item(reduced),
            &until("2098-01-01", "00:00:00"),
            closes.clone(),
            // Pages have the event's own time.
            json!("2097-12-31T23:00:00Z"),
        ),
        (item(reduced), &until("", ""), closes, json!(null)),
        (
            item(camping),
            &[("variations-1-default_price", Some("66.00"))],
            format!("{camping}-{}/price", variations[1]),
            json!(6600),
        ),
        (quota.clone(), &[("size", Some("19000"))], format!("q{site}/capacity"), json!(19_000)),
        (quota.clone(), &[("size", Some("20000"))], format!("q{site}/capacity"), json!(20_000)),
        (quota.clone(), &both[..1], reduced_id.clone(), json!(null)),
        (quota, &both, format!("{reduced}/quotas"), json!([site.to_string()])),
        (
            general.clone(),
            &[("name_0", Some("River Feast"))],
            "name".to_owned(),
            json!("River Feast"),
        ),
        (
            general.clone(),
            &date("2099-07-03"),
            "starts_at".to_owned(),
            json!("2099-07-03T18:00:00Z"),
        ),
        (
            general.clone(),
            &presale("2099-06-30", "00:00:00"),
            "sale/closes_at".to_owned(),
            json!("2099-06-29T22:00:00Z"),
        ),
        (general.clone(), &presale("", ""), "sale/closes_at".to_owned(), in_all),
        (
            general,
            &[("settings-max_items_per_order", Some("6"))],
            "limits/0/per_order".to_owned(),
            json!(6),
        ),
    ];
    for (page, changes, at, wanted) in rows {
        edits.save(desk, &page, changes, &at, &wanted);
    }
    // What is made there, and deleted.
    desk.save(&format!("{FESTIVAL}quotas/add"), &few);
    let quotas = ids(edits.site).2;
    let few = quotas.last().unwrap();
    edits.arrives("a quota".to_owned(), "festival", |event| {
        find(event, &format!("q{few}/capacity")) == 50
    });
    let left = json!([site.to_string()]);
    edits.save(desk, &format!("quotas/{few}/delete"), &[], &format!("{entry}/quotas"), &left);
    let site = site.to_string();
    let child = [
        ("name_0", Some("Child")),
        ("default_price", Some("5.00")),
        ("quota_option", Some("existing")),
        ("quota_add_existing", Some(&*site)),
    ];
    let next = desk.save(&format!("{FESTIVAL}items/add"), &child);
    let child = next.trim_end_matches('/').rsplit('/').next().unwrap();
    edits.arrives("a product".to_owned(), "festival", |event| {
        find(event, &format!("{child}/price")) == 500
    });
    edits.save(desk, &format!("items/{child}/delete"), &[], child, &json!(null));
}

fn what_the_engine_refuses_is_set_aside(site: &Site) {
    let (items, _, _) = ids(site);
    let path = format!("events/festival/items/{}/", items[0]);
    let price = |price: &str| {
        site.pretix_well("PATCH", &path, &json!({"default_price": price}));
    };
    price("99999999999.00");
    let parked = || site.status()["parked"].as_array().unwrap().clone();
    wait_until("it is set aside", || !parked().is_empty());
    let reason = parked()[0]["reason"].to_string();
    assert!(reason.contains("price"), "{reason}");
    // Others are not held up.
    let name = json!({"name": {"en": "Spring Concert"}});
    site.pretix_well("PATCH", "events/concert/", &name);
    wait_until("the concert", || site.event("concert")["name"] == "Spring Concert");
    price("25.00");
    wait_until("nothing is set aside", || parked().is_empty());
    assert_eq!(served(&site.event("festival")), for_sale(site, "festival"));
}

fn an_event_is_taken_over(site: &Site, desk: &mut Desk) {
    let (items, _, quotas) = ids(site);
    let closed = |is_closed: bool| {
        let path = format!("events/festival/quotas/{}/", quotas[1]);
        site.pretix_well("PATCH", &path, &json!({"closed": is_closed}));
    };
    closed(true);
    let (code, text) = site.bridge(&["take", "river/festival"]);
    assert!(code == 1 && text.contains("is closed"), "{text}");
    closed(false);
    // Two tickets are sold there before.
    let order = |status: u16| {
        let position = json!({"item": items[0], "variation": null});
        let order = json!({"email": null, "sales_channel": "web", "status": "n", "payment_provider": "manual",
            "positions": [position, position]});
        let (got, json) = site.pretix("POST", "events/festival/orders/", Some(&order));
        assert_eq!(got, status, "{json}");
    };
    order(201);
    // A sale that is half done there is waited for, and where that lasts it is tried again later: nothing is lost by it.
    let sale = site.half_a_sale("festival");
    let (code, text) = site.bridge(&["take", "river/festival"]);
    assert!(code == 1 && text.contains("55P03"), "{text}");
    drop(sale);
    for _ in 0..2 {
        site.bridge_well(&["take", "river/festival"]);
        let event = site.event("festival");
        assert_eq!(find(&event, &format!("q{}/capacity", quotas[0])), 19_998);
        assert_eq!(find(&event, &format!("q{}/capacity", quotas[1])), 2_000);
    }
    assert_eq!(site.count("SELECT count(*) FROM pretixbase_voucher"), 2);
    // pretix sells nothing more, also where somebody opens its quotas again.
    order(400);
    for quota in &quotas {
        let path = format!("events/festival/quotas/{quota}/");
        site.pretix_well("PATCH", &path, &json!({"closed": false}));
    }
    order(400);
    wait_until("it is on sale", || site.event("festival")["state"] == "open");
    for (live, state) in [(false, "paused"), (true, "open")] {
        site.pretix_well("PATCH", "events/festival/", &json!({"live": live}));
        wait_until(state, || site.event("festival")["state"] == state);
    }
    // By the page that has a button for each.
    for (name, is_so, state) in [
        ("live", "false", "paused"),
        ("live", "true", "open"),
        ("testmode", "true", "paused"),
        ("testmode", "false", "open"),
    ] {
        desk.save(&format!("{FESTIVAL}live/"), &[(name, Some(is_so))]);
        wait_until(state, || site.event("festival")["state"] == state);
    }
    site.bridge_well(&["reconcile", "river/festival"]);
}

/// What pretix had sold by then and what the engine has are all of it, and no more.
fn one_is_taken_over_while_pretix_sells(site: &Site) {
    const SIZE: u64 = 40;
    const BUYERS: usize = 4;
    let (items, _, quotas) = ids_of(site, "concert");
    let path = format!("events/concert/quotas/{}/", quotas[0]);
    site.pretix_well("PATCH", &path, &json!({"size": SIZE}));
    let capacity = format!("q{}/capacity", quotas[0]);
    wait_until("its size", || find(&site.event("concert"), &capacity) == SIZE);
    let order = json!({"email": null, "sales_channel": "web", "status": "n", "payment_provider": "manual",
        "positions": [{"item": items[0], "variation": null}]});
    let sold = AtomicU64::new(0);
    let buy = || {
        loop {
            match site.pretix("POST", "events/concert/orders/", Some(&order)) {
                (201, _) => drop(sold.fetch_add(1, Ordering::SeqCst)),
                // Others have the lock.
                (409, _) => {}
                (400, refused) => {
                    break assert!(refused.to_string().contains("quota"), "{refused}");
                }
                (status, answer) => panic!("{status} {answer}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..BUYERS {
            scope.spawn(buy);
        }
        wait_until("pretix sells", || sold.load(Ordering::SeqCst) >= SIZE / 5);
        site.bridge_well(&["take", "river/concert"]);
    });
    let (sold, event) = (sold.into_inner(), site.event("concert"));
    println!("pretix sold {sold} of {SIZE} before the event was taken over");
    assert_eq!(find(&event, &capacity), SIZE - sold);
    let there = "SELECT count(*) FROM pretixbase_orderposition p JOIN pretixbase_order o ON o.id = p.order_id \
                 JOIN pretixbase_event e ON e.id = o.event_id WHERE e.slug = 'concert'";
    assert_eq!(site.count(there), sold);
    site.bridge_well(&["reconcile"]);
}
