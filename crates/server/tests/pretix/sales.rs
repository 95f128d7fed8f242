//! What the engine sells is written back into pretix while both the bridge and pretix are killed; an order that is cancelled on
//! one side is cancelled on the other.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::time::Instant;

use onsale_services::wait_until;
use serde_json::{Value, json};

use crate::site::Site;

const ORDERS: u64 = 500;
const KILLS: u64 = 6;

/// Numbers that are the same again for the same seed.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    /// The seed is said, or new: ONSALE_SEED=… has the same again.
    fn new() -> Dice {
        let seed = std::env::var("ONSALE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("ONSALE_SEED={seed}");
        Dice { seed, thrown: 0 }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.thrown += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, self.thrown).hash(&mut hasher);
        hasher.finish() % end
    }
}

#[test]
fn each_order_is_written_back_once_through_kills() {
    let mut dice = Dice::new();
    let mut site = Site::start();
    site.bridge_well(&["attach"]);
    site.run_bridge();
    wait_until("the engine knows the festival", || !site.event("festival").is_null());
    site.bridge_well(&["take", "river/festival"]);
    wait_until("it is on sale", || site.event("festival")["state"] == "open");
    site.kill_bridge();
    let sold = sell(&site, &mut dice);
    assert_eq!(there(&site), 0);
    on_their_way(&site);

    let begin = Instant::now();
    site.run_bridge();
    for kill in 1..=KILLS {
        let least = kill * ORDERS / (KILLS + 1) + dice.below(ORDERS / (KILLS + 1));
        wait_for_orders(&site, least);
        // The first two are one of each.
        let which = if kill <= 2 { kill } else { 1 + dice.below(3) };
        if which & 1 != 0 {
            site.kill_bridge();
        }
        if which & 2 != 0 {
            site.pretix.web.kill();
            site.pretix.web.restart();
        }
        if which & 1 != 0 {
            site.run_bridge();
        }
    }
    let (left, since) = (ORDERS - there(&site), Instant::now());
    wait_for_orders(&site, ORDERS);
    let rate = left as f64 / since.elapsed().as_secs_f64();
    println!("{ORDERS} orders in {:?}; after the last kill {rate:.1} orders/s", begin.elapsed());
    wait_until("nothing is on its way", || is_done(&site));
    compare(&site, &sold);
    what_is_there_before_its_place_is_kept_is_on_its_way(&mut site);
    cancelled_on_either_side(&site, &sold);
}

/// How many orders pretix has.
fn there(site: &Site) -> u64 {
    site.count("SELECT count(*) FROM pretixbase_order")
}

/// Waits until so many are there; however slowly they come, another one must come soon.
fn wait_for_orders(site: &Site, least: u64) {
    let mut before = there(site);
    while before < least {
        wait_until(&format!("more than {before} orders"), || there(site) > before);
        before = there(site);
    }
}

/// Whether write-back has dealt with all records that the engine has, as it says itself.
fn is_done(site: &Site) -> bool {
    let ends = site.ends();
    let status = site.status();
    let places = &status["facts"]["write-back"]["shards"];
    ends.iter().all(|(shard, end)| places[shard]["position"].as_u64() >= Some(*end))
}

/// Sells: each order of two to six tickets of several types, paid. Codes, with those of their tickets.
fn sell(site: &Site, dice: &mut Dice) -> BTreeMap<String, Vec<String>> {
    let types = site.event("festival")["ticket_types"].as_array().unwrap().clone();
    let mut sold = BTreeMap::new();
    for number in 0..ORDERS {
        let first = dice.below(types.len() as u64);
        let wanted: Vec<Value> = (0..2)
            .map(|at| {
                let of = &types[((first + at) % types.len() as u64) as usize];
                json!({"ticket_type": of["id"], "quantity": 1 + dice.below(3)})
            })
            .collect();
        let order = json!({"customer": format!("c-{number}"), "items": wanted});
        let (status, placed) = site.engine("POST", "events/festival/orders", Some(&order));
        assert_eq!(status, 201, "{placed}");
        let code = placed["code"].as_str().unwrap().to_owned();
        let paid = json!({"amount": placed["total"]["amount"], "currency": "EUR", "reference": format!("till-{number}")});
        let path = format!("events/festival/orders/{code}/payments");
        let (status, paid) = site.engine("POST", &path, Some(&paid));
        assert_eq!(status, 201, "{paid}");
        let (_, order) = site.engine("GET", &format!("events/festival/orders/{code}"), None);
        let tickets = order["tickets"].as_array().unwrap().iter();
        let mut tickets: Vec<String> =
            tickets.map(|ticket| ticket["code"].as_str().unwrap().to_owned()).collect();
        tickets.sort();
        assert!(tickets.len() >= 2, "{order}");
        sold.insert(code, tickets);
    }
    assert_eq!(sold.len() as u64, ORDERS);
    sold
}

/// Both sides, as the bridge compares them and by what pretix' tables have.
fn compare(site: &Site, sold: &BTreeMap<String, Vec<String>>) {
    assert_eq!(site.status()["parked"], json!([]));
    let told = site.bridge_well(&["reconcile", "river/festival", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let compared = &told["events"][0];
    assert_eq!((&compared["orders"], &compared["on_the_way"]), (&json!(ORDERS), &json!(0)));
    assert_eq!(compared["differences"], json!([]));
    let sql = "SELECT o.code || ' ' || string_agg(p.secret, ' ' ORDER BY p.secret COLLATE \"C\") FROM pretixbase_order o \
               JOIN pretixbase_orderposition p ON p.order_id = o.id WHERE o.status = 'p' GROUP BY o.id";
    let there = site.psql(sql);
    let mut there: Vec<&str> = there.lines().collect();
    there.sort_unstable();
    let mut wanted: Vec<String> =
        sold.iter().map(|(code, tickets)| format!("{code} {}", tickets.join(" "))).collect();
    wanted.sort();
    assert_eq!(there, wanted);
    let tickets: usize = sold.values().map(Vec::len).sum();
    let count = |table: &str| site.count(&format!("SELECT count(*) FROM pretixbase_{table}"));
    assert_eq!((count("orderposition"), count("orderpayment")), (tickets as u64, ORDERS));
}

/// A bridge that ends after pretix' answer has not kept its place yet.
fn what_is_there_before_its_place_is_kept_is_on_its_way(site: &mut Site) {
    site.kill_bridge();
    let state = site.state();
    let mut kept = state.facts().unwrap();
    kept.retain(|name, _| name.starts_with("write-back/"));
    let set = |place: &dyn Fn(&String) -> Option<String>| {
        for (name, value) in &kept {
            state.set_fact(name, place(value).as_deref()).unwrap();
        }
    };
    set(&|_| None);
    on_their_way(site);
    set(&|value| Some(value.clone()));
    site.run_bridge();
}

/// Nothing differs; all orders are on their way.
fn on_their_way(site: &Site) {
    let told = site.bridge_well(&["reconcile", "river/festival"]);
    let all = format!("0 orders compared, {ORDERS} on their way, 0 differences");
    assert!(told.contains(&all), "{told}");
}

/// Some are cancelled in pretix, others in the engine; each is cancelled once on either side.
fn cancelled_on_either_side(site: &Site, sold: &BTreeMap<String, Vec<String>>) {
    let codes: Vec<&String> = sold.keys().collect();
    let (in_pretix, in_engine) = (&codes[..5], &codes[5..10]);
    for (here, there) in in_pretix.iter().zip(in_engine) {
        let path = format!("events/festival/orders/{here}/mark_canceled/");
        site.pretix_well("POST", &path, &json!({"send_email": false}));
        let path = format!("events/festival/orders/{there}/cancel");
        let (status, answer) = site.engine("POST", &path, None);
        assert_eq!(status, 200, "{answer}");
    }
    let state = |code: &str| {
        let (_, order) = site.engine("GET", &format!("events/festival/orders/{code}"), None);
        order["state"].clone()
    };
    wait_until("cancelled in the engine", || {
        in_pretix.iter().all(|code| state(code) == "cancelled")
    });
    let cancelled = "SELECT count(*) FROM pretixbase_order WHERE status = 'c'";
    wait_until("cancelled in pretix", || site.count(cancelled) == 10);
    wait_until("nothing is on its way", || is_done(site));
    site.bridge_well(&["reconcile", "river/festival"]);
    // Once each: in pretix' log, and in the engine's records.
    let logged = "SELECT count(*) FROM pretixbase_logentry WHERE action_type = 'pretix.event.order.canceled'";
    assert_eq!((site.count(logged), site.count(cancelled)), (10, 10));
    assert_eq!(site.records("onsale.order.cancelled.v1"), 10);
}
