//! The whole state in lines of text, as the core has it and as Redis has it.

use std::collections::{BTreeMap, BTreeSet};

use onsale_core::event::{CancelReason, QuotaStock, StockSource};
use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::snapshot::{Ending, EventPart, LineParts, Part};
use onsale_core::view::{OrderState, PaymentState};
use onsale_core::{EventState, Sale, Time};
use onsale_redis::Value;
use redis::Connection;

use crate::history::{hex, hold};

type Image = BTreeMap<String, String>;

/// Fails on the first line that differs.
pub fn compare(of_redis: &Image, of_core: &Image, seed: u64) {
    for (name, line) in of_core {
        let found = of_redis.get(name);
        assert_eq!(found, Some(line), "ONSALE_SEED={seed}: {name}; left: Redis, right: the core");
    }
    let more = of_redis.iter().find(|(name, _)| !of_core.contains_key(*name));
    assert_eq!(more, None, "ONSALE_SEED={seed}: Redis has more than the core");
}

fn second_of(now: Time) -> i64 {
    (now.0 - COMMANDS_REMEMBERED_US).div_euclid(1_000_000)
}

fn state_number(state: EventState) -> i64 {
    match state {
        EventState::Open => 1,
        EventState::Paused => 2,
        EventState::Closed => 3,
    }
}

fn order_state(state: OrderState) -> i64 {
    match state {
        OrderState::AwaitingPayment => 1,
        OrderState::Confirmed => 2,
        OrderState::Cancelled(CancelReason::Unpaid) => 3,
        OrderState::Cancelled(CancelReason::Customer) => 4,
        OrderState::Cancelled(CancelReason::Organizer) => 5,
    }
}

fn lines(lines: &LineParts) -> String {
    let line = |line: &onsale_core::snapshot::LinePart| {
        let (slot, quantity) = (line.ticket_type, line.quantity);
        format!("{slot}×{quantity}@{}v{}", line.unit_price, line.version)
    };
    lines.iter().map(line).collect::<Vec<_>>().join(" ")
}

/// As the core has it.
pub fn of_core(sale: &Sale) -> Image {
    let mut image = Image::new();
    let mut parts = Vec::new();
    sale.save(&mut |part| parts.push(part));
    let (mut queues, mut customers, mut orders, mut ended) = (Vec::new(), Vec::new(), 0u64, 0);
    let (mut events, mut generations, mut unpaid) = (0, Vec::new(), BTreeSet::new());
    let from = second_of(sale.time());
    for part in parts {
        match part {
            Part::Shard(shard) => {
                generations = shard.generations.clone();
                image.insert("position".into(), shard.position.to_string());
                image.insert("time".into(), shard.time.0.to_string());
                image.insert("generation".into(), shard.generation.to_string());
                image.insert("ids since".into(), shard.ids_since.to_string());
            }
            Part::Group(group) => {
                image.insert(format!("group {}/{}", group.organizer, group.sale_group), "1".into());
            }
            Part::Event(event) => {
                event_line(&mut image, events, &event);
                events += 1;
            }
            Part::Queue(queue) => queues.push(queue.event),
            Part::Customer(customer) => {
                let counts: BTreeMap<_, _> = customer.counts.iter().copied().collect();
                let key = hex(&customer.key.to_be_bytes());
                image.insert(format!("customer {key}"), format!("{counts:?}"));
                customers.push(key);
            }
            Part::Hold(live) => {
                let event = queues[live.queue as usize];
                let (position, deadline) = (live.position, live.expires_at.0);
                let (extended, customer) = (live.extended, &customers[live.customer as usize]);
                let id = hold(live.hold);
                let lines = lines(&live.lines);
                image.insert(
                    format!("hold {id}"),
                    format!("live {event} {position} {deadline} {extended} {customer} {lines}"),
                );
                image.insert(format!("due {id}"), format!("{event} {deadline}"));
            }
            Part::Order(order) => {
                let number = orders as u32;
                let at = generations.partition_point(|(first, _)| *first <= number);
                let generation = generations[at - 1].1;
                orders += 1;
                let due = order.payment_due.map_or(0, |due| due.0);
                let state = order_state(order.state);
                if order.state == OrderState::AwaitingPayment {
                    unpaid.insert(format!("{orders} {due}"));
                }
                let payments: Vec<String> =
                    order.payments.iter().map(|payment| hex(&payment.key.to_be_bytes())).collect();
                let customer = hex(&order.customer.to_be_bytes());
                let (event, position) = (order.event, order.position);
                let lines = lines(&order.lines);
                image.insert(
                    format!("order {orders}"),
                    format!(
                        "{event} {position} {customer} {due} {generation} {state} {lines} {payments:?}"
                    ),
                );
                for payment in &order.payments {
                    let state = match payment.state {
                        PaymentState::Applied => 1,
                        PaymentState::RefundDue => 2,
                        PaymentState::Refunded => 3,
                    };
                    let (amount, position) = (payment.amount, payment.position);
                    let refund = payment.refund_position;
                    image.insert(
                        format!("payment {}", hex(&payment.key.to_be_bytes())),
                        format!("{orders} {amount} {position} {state} {refund}"),
                    );
                }
            }
            Part::Frozen(_) => unreachable!("all orders are kept in full"),
            Part::Ended(part) => {
                let (how, value) = match part.ending {
                    Ending::Expired(at) => (1, at.0),
                    Ending::Released(at) => (2, at.0),
                    Ending::Claimed(number) => (3, i64::from(number) + 1),
                };
                let id = hold(part.hold);
                image.insert(format!("hold {id}"), format!("ended {} {how} {value}", part.event));
                image.insert(format!("ended {ended}"), id);
                ended += 1;
            }
            Part::Command(command) if i64::from(command.second) < from => {}
            Part::Command(command) => {
                image.insert(
                    format!("id {}", hex(&command.key.to_be_bytes())),
                    format!("{}:{}", command.position, command.second),
                );
            }
        }
    }
    image.insert("orders".into(), orders.to_string());
    image.insert("unpaid".into(), format!("{unpaid:?}"));
    image
}

fn event_line(image: &mut Image, slot: usize, event: &EventPart) {
    let types: Vec<(u32, u32)> = event.types.iter().map(|t| (t.held, t.sold)).collect();
    let type_of = |id| event.types.iter().find(|t| t.id == id).expect("every type has a slot");
    let definition = &event.definition;
    let quotas: Vec<(u32, u32)> = event
        .quotas
        .iter()
        .map(|(quota, _)| {
            let drawing = definition.ticket_types.iter().filter(|t| t.quotas.contains(quota));
            let counts = drawing.map(|t| type_of(t.id));
            counts.fold((0, 0), |(held, sold), t| (held + t.held, sold + t.sold))
        })
        .collect();
    let (version, state) = (event.version, state_number(event.state));
    let subject = format!("{}/{}", event.organizer, event.event);
    image.insert(
        format!("event {subject}"),
        format!("{slot} {version} {state} {} {types:?} {quotas:?}", event.used),
    );
    let mut bytes = Vec::new();
    onsale_codec::encode_definition(definition, &mut bytes);
    let types: Vec<String> = event
        .types
        .iter()
        .map(|t| {
            let index = definition.ticket_types.iter().position(|d| d.id == t.id);
            format!("{} {index:?}", t.id)
        })
        .collect();
    let quotas: Vec<String> = event
        .quotas
        .iter()
        .map(|(id, QuotaStock { allotment, epoch, source })| {
            let index = definition.quotas.iter().position(|d| d.id == *id);
            let source = if *source == StockSource::Own { 1 } else { 2 };
            format!("{id} {index:?} {allotment:?} {epoch} {source}")
        })
        .collect();
    image.insert(format!("definition {subject}"), format!("{} {types:?} {quotas:?}", hex(&bytes)));
}

struct Reader<'a> {
    connection: &'a mut Connection,
    tag: String,
}

impl Reader<'_> {
    fn hash(&mut self, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let key = format!("{}{name}", self.tag);
        let all: Vec<(Vec<u8>, Vec<u8>)> =
            redis::cmd("HGETALL").arg(&key).query(self.connection).expect("a hash");
        assert!(name == "state" || all.iter().any(|(field, _)| field.is_empty()), "{key}");
        all.into_iter().filter(|(field, _)| !field.is_empty()).collect()
    }

    fn packed(&mut self, name: &str) -> Vec<(Vec<u8>, Vec<Value>)> {
        let all = self.hash(name).into_iter();
        all.map(|(field, value)| (field, list(&value))).collect()
    }
}

fn list(bytes: &[u8]) -> Vec<Value> {
    Value::unpack(bytes).and_then(Value::list).expect("a packed list")
}

fn int(value: &Value) -> i64 {
    value.maybe().map_or(0, |value| value.int().expect("a number"))
}

fn id(value: &Value) -> String {
    hex(value.bytes().expect("bytes"))
}

fn name(value: &Value) -> String {
    String::from_utf8(value.bytes().expect("a text").to_vec()).expect("a text")
}

fn flat_lines(value: &Value) -> String {
    let numbers: Vec<i64> = value.clone().list().expect("lines").iter().map(int).collect();
    let line = |line: &[i64]| format!("{}×{}@{}v{}", line[0], line[1], line[2], line[3]);
    numbers.chunks(4).map(line).collect::<Vec<_>>().join(" ")
}

fn pairs(values: &[Value]) -> Vec<(i64, i64)> {
    values.chunks(2).map(|pair| (int(&pair[0]), int(&pair[1]))).collect()
}

/// As Redis has it.
pub fn of_redis(connection: &mut Connection, state: &str, now: Time) -> Image {
    let tag = state.strip_suffix("state").expect("the key of a state").to_owned();
    let mut reader = Reader { connection, tag };
    let mut image = Image::new();
    let mut slots = 0;
    for (field, value) in reader.hash("state") {
        let field = String::from_utf8(field).expect("a text");
        let text = || String::from_utf8(value.clone()).expect("a text");
        let said = match field.as_str() {
            "p" => ("position".to_owned(), text()),
            "t" => ("time".to_owned(), text()),
            "g" => ("generation".to_owned(), text()),
            "r" => ("ids since".to_owned(), text()),
            "o" => ("orders".to_owned(), text()),
            _ if field.starts_with('G') => (format!("group {}", &field[1..]), "1".to_owned()),
            _ if field.starts_with('E') => {
                slots += 1;
                continue;
            }
            _ if field.starts_with('e') => {
                let e = list(&value);
                let (slot, version, state) = (int(&e[0]), int(&e[1]), int(&e[2]));
                let (used, types) = (int(&e[3]) == 1, int(&e[5]) as usize);
                let (types, quotas) = e[6..].split_at(2 * types);
                let (types, quotas) = (pairs(types), pairs(quotas));
                (
                    format!("event {}", &field[1..]),
                    format!("{slot} {version} {state} {used} {types:?} {quotas:?}"),
                )
            }
            _ => continue,
        };
        image.insert(said.0, said.1);
    }
    for (field, def) in reader.packed("defs") {
        let types = def[2].clone().list().expect("types").into_iter().map(|t| {
            let t = t.list().expect("a type");
            let index = t[1].maybe().map(|_| int(&t[1]));
            format!("{} {index:?}", name(&t[0]))
        });
        let quotas = def[3].clone().list().expect("quotas").into_iter().map(|q| {
            let q = q.list().expect("a quota");
            let optional = |value: &Value| value.maybe().map(int);
            let (index, allotment) = (optional(&q[1]), optional(&q[2]));
            let (epoch, source) = (int(&q[3]), int(&q[4]));
            format!("{} {index:?} {allotment:?} {epoch} {source}", name(&q[0]))
        });
        let (types, quotas): (Vec<_>, Vec<_>) = (types.collect(), quotas.collect());
        let subject = String::from_utf8(field).expect("a text");
        image.insert(
            format!("definition {subject}"),
            format!("{} {types:?} {quotas:?}", id(&def[0])),
        );
    }
    sales(&mut reader, &mut image, slots);
    let from = second_of(now);
    for (key, value) in reader.hash("ids") {
        let text = String::from_utf8(value).expect("a text");
        let second: i64 = text.split_once(':').and_then(|(_, s)| s.parse().ok()).expect("a second");
        if second >= from {
            image.insert(format!("id {}", hex(&key)), text);
        }
    }
    image
}

fn sales(reader: &mut Reader<'_>, image: &mut Image, slots: usize) {
    for (key, h) in reader.packed("holds") {
        let line = match int(&h[0]) {
            1 => {
                let (event, position, deadline) = (int(&h[1]), int(&h[2]), int(&h[3]));
                let (extended, customer) = (h[4].is_true(), id(&h[6]));
                let lines = flat_lines(&h[7]);
                format!("live {event} {position} {deadline} {extended} {customer} {lines}")
            }
            _ => format!("ended {} {} {}", int(&h[1]), int(&h[2]), int(&h[3])),
        };
        image.insert(format!("hold {}", hex(&key)), line);
    }
    let ended: Vec<Vec<u8>> = redis::cmd("LRANGE")
        .arg(format!("{}ended", reader.tag))
        .arg(0)
        .arg(-1)
        .query(reader.connection)
        .expect("a list");
    for (number, id) in ended.iter().enumerate() {
        image.insert(format!("ended {number}"), hex(id));
    }
    let scores = |reader: &mut Reader<'_>, name: &str| -> Vec<(Vec<u8>, f64)> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(format!("{}{name}", reader.tag)).arg(0).arg(-1).arg("WITHSCORES");
        range.query(reader.connection).expect("a sorted set")
    };
    for slot in 0..slots {
        for (member, deadline) in scores(reader, &format!("due{slot}")) {
            image.insert(format!("due {}", hex(&member[16..])), format!("{slot} {deadline}"));
        }
    }
    for (key, c) in reader.packed("customers") {
        let counts: BTreeMap<_, _> = pairs(&c[1..]).into_iter().collect();
        image.insert(format!("customer {}", hex(&key)), format!("{counts:?}"));
    }
    for (sequence, o) in reader.packed("orders") {
        let payments: Vec<String> = o[7].clone().list().expect("payments").iter().map(id).collect();
        let (event, position, customer) = (int(&o[0]), int(&o[1]), id(&o[2]));
        let (due, generation, state) = (int(&o[3]), int(&o[4]), int(&o[5]));
        let lines = flat_lines(&o[6]);
        image.insert(
            format!("order {}", String::from_utf8(sequence).expect("a text")),
            format!(
                "{event} {position} {customer} {due} {generation} {state} {lines} {payments:?}"
            ),
        );
    }
    for (key, p) in reader.packed("payments") {
        let numbers: Vec<String> = p.iter().map(|value| int(value).to_string()).collect();
        image.insert(format!("payment {}", hex(&key)), numbers.join(" "));
    }
    let unpaid = scores(reader, "unpaid").into_iter();
    let unpaid: BTreeSet<String> = unpaid
        .map(|(sequence, due)| format!("{} {due}", String::from_utf8(sequence).expect("a text")))
        .collect();
    image.insert("unpaid".into(), format!("{unpaid:?}"));
}
