//! What an organizer does on the office's pages, each thing again until the office says that it is done; and what
//! the events are by that.

use std::collections::BTreeMap;

use onsale::http_client::Response;

use crate::world::{Choices, Who, World};

const EMAIL: &str = "ann@example.org";
const PASSWORD: &str = "a long password";
/// Types that an event has at most.
const TYPES_MAX: usize = 4;

/// Somebody who is logged in.
pub struct Office<'w> {
    world: &'w World,
    cookie: String,
    csrf: String,
}

/// An event as it was saved last.
#[derive(Clone, Debug)]
pub struct Event {
    pub slug: String,
    pub name: String,
    pub is_on_sale: bool,
    pub stock: i64,
    pub capacity: i64,
    /// Name and price in cents, by id.
    pub types: BTreeMap<i64, (String, i64)>,
}

impl Event {
    fn path(&self, rest: &str) -> String {
        format!("/office/events/{}/{rest}", self.slug)
    }
}

/// All events, and slugs of those that are gone.
#[derive(Default)]
pub struct Catalogue {
    pub events: Vec<Event>,
    pub gone: Vec<String>,
    pub edits: u64,
}

impl Office<'_> {
    /// Makes the user, and logs in.
    pub fn log_in(world: &World) -> Office<'_> {
        world.run(&["classic", "user", "--organizer", "river", "--email", EMAIL], PASSWORD);
        world.start(Who::Office);
        let mut office = Office { world, cookie: String::new(), csrf: String::new() };
        let page = office.get("/office/login");
        office.cookie = cookie(&page);
        let token = hidden(&page, "token");
        let fields = [("email", EMAIL), ("password", PASSWORD), ("token", token.as_str())];
        let answer = office.post("/office/login", &fields);
        office.cookie = cookie(&answer);
        office.csrf = hidden(&office.get("/office/events/new"), "csrf");
        office
    }

    fn get(&self, path: &str) -> Response {
        self.world.ask(Who::Office, ("GET", path), &[("Cookie", &self.cookie)], None)
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let fields = [fields, &[("csrf", &self.csrf)]].concat();
        let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let body = fields.collect::<Vec<_>>().join("&");
        self.world.ask(Who::Office, ("POST", path), &[("Cookie", &self.cookie)], Some(&body))
    }

    /// Saves. Asked twice, the second answer may be `again`.
    fn save(&self, path: &str, fields: &[(&str, &str)], again: &str) {
        let answer = self.post(path, fields);
        let text = String::from_utf8_lossy(&answer.body);
        let is_done = answer.status == 303 || (!again.is_empty() && text.contains(again));
        assert!(is_done, "{path} {fields:?}: {} {text}", answer.status);
    }

    /// Takes something away; asked twice, it is not there any more.
    fn remove(&self, path: &str) {
        let answer = self.post(path, &[]);
        assert!([303, 404].contains(&answer.status), "{path}: {answer:?}");
    }

    fn save_event(&self, path: &str, slug: &str, name: &str) {
        let fields = [("slug", slug), ("name", name), ("description", ""), ("venue", "Hall")];
        // Nobody runs out of time to pay, however long it takes.
        let more = [("starts_at", "2035-06-01T18:00"), ("payment_minutes", "43200")];
        let all = [&fields[..], &more, &[("currency", "EUR")]].concat();
        self.save(path, &all, "is taken by another event");
    }

    fn save_stock(&self, event: &Event, id: &str, capacity: i64, blocked: i64) {
        let (capacity, blocked) = (capacity.to_string(), blocked.to_string());
        let numbers = [("capacity", capacity.as_str()), ("blocked", blocked.as_str())];
        let fields = [&[("name", "Floor")], &numbers[..]].concat();
        self.save(&event.path(&format!("stocks/{id}")), &fields, "is taken in this event");
    }

    fn save_type(&self, event: &Event, id: &str, name: &str, price: i64) {
        let (price, stock) =
            (format!("{}.{:02}", price / 100, price % 100), event.stock.to_string());
        let fields = [("name", name), ("description", ""), ("price", price.as_str())];
        let more = [("stock", stock.as_str()), ("active", "1"), ("position", "1")];
        let fields = [fields, more].concat();
        self.save(&event.path(&format!("types/{id}")), &fields, "is taken in this event");
    }

    /// Changes how many places there are, and how many of them the house keeps.
    pub fn set_stock(&self, event: &mut Event, capacity: i64, blocked: i64) {
        event.capacity = capacity;
        self.save_stock(event, &event.stock.to_string(), capacity, blocked);
    }

    fn set_on_sale(&self, event: &mut Event, is_on_sale: bool) {
        let status = if is_on_sale { "on_sale" } else { "paused" };
        self.save(&event.path("status"), &[("status", status)], "");
        event.is_on_sale = is_on_sale;
    }

    /// The ids of an event's stocks or types that its page has, with their names.
    fn parts(&self, slug: &str, of: &str) -> BTreeMap<i64, String> {
        let page = self.get(&format!("/office/events/{slug}"));
        let page = String::from_utf8(page.body).unwrap();
        let link = format!("/office/events/{slug}/{of}/");
        let links = page.split(&link).skip(1);
        let part = |link: &str| {
            let (id, rest) = link.split_once("\">")?;
            Some((id.parse().ok()?, rest.split('<').next()?.to_owned()))
        };
        links.filter_map(part).collect()
    }

    /// Makes an event of these prices, on sale.
    pub fn make(&self, slug: &str, capacity: i64, prices: &[i64]) -> Event {
        let name = format!("Event {slug}");
        let (stock, types) = (0, BTreeMap::new());
        let mut event =
            Event { slug: slug.into(), name, is_on_sale: false, stock, capacity, types };
        self.save_event("/office/events/new", slug, &event.name);
        self.save_stock(&event, "new", capacity, 0);
        event.stock = *self.parts(slug, "stocks").keys().next().unwrap();
        for (number, price) in prices.iter().enumerate() {
            self.add_type(&mut event, &format!("Type {number}"), *price);
        }
        self.set_on_sale(&mut event, true);
        event
    }

    fn add_type(&self, event: &mut Event, name: &str, price: i64) {
        self.save_type(event, "new", name, price);
        let parts = self.parts(&event.slug, "types");
        let (id, _) = parts.iter().find(|(_, known)| *known == name).unwrap();
        event.types.insert(*id, (name.to_owned(), price));
    }

    /// Changes something of an event. Of one that is sold from nothing goes.
    fn edit(&self, event: &mut Event, number: u64, sells: bool, choices: &mut Choices) {
        let at = choices.below(event.types.len() as u64) as usize;
        let id = *event.types.keys().nth(at).unwrap();
        match choices.below(if sells { 3 } else { 7 }) {
            0 => {
                event.name = format!("Edit {number}");
                self.save_event(&event.path("edit"), &event.slug, &event.name);
            }
            1 | 2 => {
                let price = &mut event.types.get_mut(&id).unwrap().1;
                // What is free stays so: its orders are not paid.
                *price = if *price == 0 { 0 } else { 1_000 + choices.below(9_000) as i64 };
                let (name, price) = event.types[&id].clone();
                self.save_type(event, &id.to_string(), &name, price);
            }
            3 => {
                event.capacity = 100 + choices.below(400) as i64;
                self.save_stock(event, &event.stock.to_string(), event.capacity, 0);
            }
            4 => self.set_on_sale(event, !event.is_on_sale),
            5 if event.types.len() < TYPES_MAX => {
                self.add_type(event, &format!("Type of edit {number}"), 500);
            }
            _ if event.types.len() > 1 => {
                self.remove(&event.path(&format!("types/{id}/delete")));
                event.types.remove(&id);
            }
            _ => self.set_on_sale(event, !event.is_on_sale),
        }
    }

    /// Edits until the load is over. The first events are sold from.
    pub fn work(&self, catalogue: &mut Catalogue, sold_from: usize, seed: u64) {
        let mut choices = Choices(seed);
        while !self.world.is_over() {
            catalogue.edits += 1;
            let number = catalogue.edits;
            if number.is_multiple_of(15) {
                let prices = [1_500, 0];
                catalogue.events.push(self.make(&format!("new-{number}"), 50, &prices));
            } else if number % 40 == 1 && catalogue.events.len() > sold_from + 4 {
                let event = catalogue.events.remove(sold_from);
                self.remove(&event.path("delete"));
                catalogue.gone.push(event.slug);
            } else {
                let at = choices.below(catalogue.events.len() as u64) as usize;
                self.edit(&mut catalogue.events[at], number, at < sold_from, &mut choices);
            }
        }
    }
}

fn cookie(answer: &Response) -> String {
    let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    cookie.split(';').next().unwrap().to_owned()
}

/// The value of a hidden field.
fn hidden(page: &Response, name: &str) -> String {
    let page = String::from_utf8_lossy(&page.body);
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// As in a form.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}
