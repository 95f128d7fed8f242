//! What pretix says is for sale, by its API, as the engine should serve it: told from the answers of the API alone, so that it
//! checks the dialect's SQL.

use serde_json::{Map, Value, json};

use crate::site::Site;

/// All pages of a list.
fn all(site: &Site, path: &str) -> Vec<Value> {
    let answer = site.pretix_well("GET", path, &Value::Null);
    assert_eq!(answer["next"], Value::Null, "more than a page");
    answer["results"].as_array().unwrap().clone()
}

/// Ticket types and quotas of an event without dates: names, prices, which draws on which, sizes.
pub fn for_sale(site: &Site, event: &str) -> Value {
    let mut types = Map::new();
    let quotas = all(site, &format!("events/{event}/quotas/"));
    let has = |list: &Value, id: &Value| list.as_array().unwrap().contains(id);
    for item in all(site, &format!("events/{event}/items/")) {
        let variations = item["variations"].as_array().unwrap().clone();
        let alone = vec![Value::Null];
        for variation in if variations.is_empty() { &alone } else { &variations } {
            let drawn = quotas.iter().filter(|quota| {
                has(&quota["items"], &item["id"])
                    && (variation.is_null() || has(&quota["variations"], &variation["id"]))
            });
            let mut drawn: Vec<u64> = drawn.map(|quota| quota["id"].as_u64().unwrap()).collect();
            drawn.sort_unstable();
            if drawn.is_empty() {
                continue;
            }
            let (id, name) = match variation.is_null() {
                true => (item["id"].to_string(), text(&item["name"])),
                false => (
                    format!("{}-{}", item["id"], variation["id"]),
                    format!("{} – {}", text(&item["name"]), text(&variation["value"])),
                ),
            };
            let price = variation["default_price"]
                .as_str()
                .unwrap_or(item["default_price"].as_str().unwrap());
            let is_sold = item["active"] == true && variation["active"] != false;
            let quotas: Vec<String> = drawn.iter().map(u64::to_string).collect();
            types.insert(id, json!([name, minor(price), is_sold, quotas]));
        }
    }
    let sizes: Map<String, Value> =
        quotas.iter().map(|quota| (quota["id"].to_string(), quota["size"].clone())).collect();
    json!({"types": types, "quotas": sizes})
}

/// The same of an event as the engine serves it.
pub fn served(event: &Value) -> Value {
    let mut types = Map::new();
    for kind in event["ticket_types"].as_array().unwrap() {
        let is_sold = kind["sale"]["closes_at"] != "1970-01-02T00:00:00Z";
        let told = json!([kind["name"], kind["price"], is_sold, kind["quotas"]]);
        types.insert(kind["id"].as_str().unwrap().to_owned(), told);
    }
    let quotas = event["quotas"].as_array().unwrap().iter();
    let quotas =
        quotas.map(|quota| (quota["id"].as_str().unwrap().to_owned(), quota["capacity"].clone()));
    json!({"types": types, "quotas": quotas.collect::<Map<_, _>>()})
}

fn text(name: &Value) -> String {
    name["en"].as_str().unwrap().to_owned()
}

/// `25.00` is 2500.
fn minor(price: &str) -> u64 {
    price.replace('.', "").parse().unwrap()
}
