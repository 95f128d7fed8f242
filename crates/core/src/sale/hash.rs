//! A hash of all that the state means, whatever slots and tables it sits in.
//!
//! Each thing (event, hold, order, …) is written out in a fixed form and digested;
//! the digests are added up. The order of the things plays no part, their content
//! does. Two states that were made of the same events have the same hash.

use super::holds::Ending;
use super::lines::LinesAt;
use super::orders::Place;
use super::{EventEntry, Sale};
use crate::catalogue::{EventDefinition, EventState, Window};
use crate::event::{CancelReason, QuotaStock, StockSource};
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

/// The written form of one thing: numbers as 16 bytes, texts led by their length.
#[derive(Default)]
struct Form(Vec<u8>);

impl Form {
    fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        self.0.extend_from_slice(&number.into().to_le_bytes());
        self
    }

    fn wide(&mut self, number: u128) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn maybe(&mut self, number: Option<impl Into<i128>>) -> &mut Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }
}

impl Sale {
    /// The state's hash. It costs a walk over everything.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let mut sum = self.hash_shard().wrapping_add(self.frozen.hash);
        let mut form = Form::default();
        let mut add = |domain: &str, form: &mut Form| {
            sum = sum.wrapping_add(self.shard.key.digest(domain, &[&form.0]));
            form.0.clear();
        };
        for (number, group) in self.groups.iter().enumerate() {
            form.number(number as u64).wide(group.digest);
            add("state group", &mut form);
        }
        for (number, event) in self.events.iter().enumerate() {
            form.number(number as u64);
            event_form(&mut form, event);
            add("state event", &mut form);
        }
        for slot in self.holds.slots() {
            self.hold_form(&mut form, slot);
            add("state hold", &mut form);
        }
        for (number, ended) in self.ended.iter().enumerate() {
            let (kind, value) = match ended.ending {
                Ending::Expired(at) => (0, at.0),
                Ending::Released(at) => (1, at.0),
                Ending::Claimed(order) => (2, i64::from(order)),
            };
            let id = crate::table::Keyed::key(&ended);
            form.number(number as u64).wide(id).number(ended.event).number(kind).number(value);
            add("state ended hold", &mut form);
        }
        for number in 0..self.orders.next_number() {
            if let Place::Hot(slot) = self.orders.place(number) {
                self.order_form(&mut form, slot);
                add("state order", &mut form);
            }
        }
        for key in self.customers.keys() {
            for (ticket_type, count) in self.customers.counts(key) {
                form.wide(key).number(ticket_type).number(count);
                add("state customer", &mut form);
            }
        }
        for (key, position, second) in self.memory.iter(self.time) {
            form.wide(key).number(position).number(second);
            add("state command", &mut form);
        }
        sum
    }

    fn hash_shard(&self) -> u128 {
        let shard = &self.shard;
        let mut form = Form::default();
        form.number(shard.started).wide(shard.log).number(shard.shard).number(shard.shards);
        form.number(shard.generation).number(self.position).number(self.time.0);
        form.number(self.memory.kept_since());
        shard.key.digest("state shard", &[&form.0])
    }

    fn hold_form(&self, form: &mut Form, slot: u32) {
        let hold = &self.holds[slot];
        form.wide(hold.id().0).number(self.event_of_hold(hold)).number(hold.position);
        form.number(hold.expires_at.0).number(hold.extended);
        form.wide(self.customers.key(hold.customer));
        self.lines_form(form, hold.lines);
    }

    /// What an order adds to the hash.
    pub(super) fn order_digest(&self, slot: u32) -> u128 {
        let mut form = Form::default();
        self.order_form(&mut form, slot);
        self.shard.key.digest("state order", &[&form.0])
    }

    fn order_form(&self, form: &mut Form, slot: u32) {
        let order = self.order_at(slot);
        form.number(order.number).number(order.event).number(order.position);
        form.wide(order.customer.get()).maybe(order.payment_due().map(|due| due.0));
        form.number(self.orders.generation_of(order.number));
        form.number(match order.state {
            OrderState::AwaitingPayment => 0,
            OrderState::Confirmed => 1,
            OrderState::Cancelled(CancelReason::Unpaid) => 2,
            OrderState::Cancelled(CancelReason::Customer) => 3,
            OrderState::Cancelled(CancelReason::Organizer) => 4,
        });
        self.lines_form(form, order.lines);
        for payment in self.orders.payments_of(order) {
            let payment = &self.orders.payments[payment];
            form.wide(crate::table::Keyed::key(payment)).number(payment.amount);
            form.number(payment.position).number(payment.refund_position);
            form.number(match payment.state {
                PaymentState::Applied => 0,
                PaymentState::RefundDue => 1,
                PaymentState::Refunded => 2,
            });
        }
    }

    fn lines_form(&self, form: &mut Form, lines: LinesAt) {
        form.number(self.lines.iter(lines).count() as u64);
        for line in self.lines.iter(lines) {
            form.number(line.ticket_type).number(line.quantity);
            form.number(line.unit_price).number(line.version);
        }
    }
}

fn event_form(form: &mut Form, event: &EventEntry) {
    form.wide(event.digest).number(event.version).number(event.used);
    form.number(match event.state {
        EventState::Open => 0,
        EventState::Paused => 1,
        EventState::Closed => 2,
    });
    for ticket_type in &event.shape.types {
        form.text(ticket_type.id.as_str()).maybe(ticket_type.defined);
        form.number(ticket_type.held).number(ticket_type.sold);
    }
    for quota in &event.shape.quotas {
        let QuotaStock { allotment, epoch, source } = quota.stock;
        form.text(quota.id.as_str()).maybe(quota.defined).maybe(allotment).number(epoch);
        form.number(source == StockSource::Own).number(quota.held).number(quota.sold);
    }
    definition_form(form, &event.definition);
}

fn definition_form(form: &mut Form, definition: &EventDefinition) {
    let time = |time: Option<Time>| time.map(|time| time.0);
    let window = |form: &mut Form, window: &Window| {
        form.maybe(time(window.opens_at)).maybe(time(window.closes_at));
    };
    form.text(&definition.name).text(definition.currency.as_str());
    form.maybe(time(definition.starts_at));
    window(form, &definition.sale);
    form.number(definition.hold_seconds).number(definition.payment_seconds);
    form.text(definition.sale_group.as_str());
    form.number(definition.limits.len() as u64);
    for limit in &definition.limits {
        form.number(limit.ticket_types.len() as u64);
        for id in &limit.ticket_types {
            form.text(id.as_str());
        }
        form.maybe(limit.per_order).maybe(limit.per_customer);
    }
    form.number(definition.quotas.len() as u64);
    for quota in &definition.quotas {
        form.text(quota.id.as_str()).maybe(quota.capacity);
    }
    form.number(definition.ticket_types.len() as u64);
    for ticket_type in &definition.ticket_types {
        form.text(ticket_type.id.as_str()).text(&ticket_type.name);
        form.number(ticket_type.price).number(ticket_type.free_price);
        form.number(ticket_type.quotas.len() as u64);
        for id in &ticket_type.quotas {
            form.text(id.as_str());
        }
        window(form, &ticket_type.sale);
    }
}
