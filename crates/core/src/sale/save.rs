//! The whole state in parts.

use super::Sale;
use super::deadlines::Waiting;
use super::lines::{Line, LinesAt};
use super::orders::{Order, Place};
use crate::slab::NONE;
use crate::snapshot::{
    CommandPart, CustomerPart, EndedPart, EventPart, FrozenPart, GroupPart, HoldPart, LinePart,
    LineParts, OrderPart, Part, PaymentPart, QueuePart, ShardPart, Sizes, TypePart,
};
use crate::table::Keyed as _;

impl From<Line> for LinePart {
    fn from(line: Line) -> LinePart {
        let Line { unit_price, version, ticket_type, quantity } = line;
        LinePart { ticket_type, quantity, unit_price, version }
    }
}

impl Sale {
    /// Hands out all that the state means, in parts and in the order that
    /// [`crate::snapshot`] tells. A shard without its first record has none.
    pub fn save(&self, each: &mut impl FnMut(Part)) {
        if !self.shard.started {
            return;
        }
        each(Part::Shard(Box::new(self.shard_part())));
        for group in &self.groups {
            let (organizer, sale_group) = (group.organizer, group.sale_group);
            each(Part::Group(Box::new(GroupPart { organizer, sale_group })));
        }
        for number in 0..self.events.len() {
            each(Part::Event(Box::new(self.event_part(number))));
        }
        for queue in 0..self.deadlines.len() {
            let queue = self.deadlines.queue(queue);
            let (event, waiting) = (queue.event, queue.waiting);
            let (duration_us, bound) = (queue.duration_us, queue.bound());
            each(Part::Queue(QueuePart { event, waiting, duration_us, bound }));
        }
        // By slot, the number that a customer is given here.
        let mut numbers = vec![NONE; self.customers.slots_end() as usize];
        for (number, slot) in self.customers.slots().enumerate() {
            numbers[slot as usize] = number as u32;
            let key = self.customers.key(slot);
            let counts = self.customers.counts_at(slot).collect();
            each(Part::Customer(CustomerPart { key, counts }));
        }
        self.save_holds(&numbers, each);
        for number in 0..self.orders.next_number() {
            each(match self.orders.place(number) {
                Place::Hot(slot) => Part::Order(Box::new(self.order_part(self.order_at(slot)))),
                Place::Frozen(frozen) => Part::Frozen(FrozenPart {
                    position: frozen.position(),
                    state: frozen.state,
                    payment: frozen.payment(),
                }),
            });
        }
        for ended in self.ended.iter() {
            let (hold, event, ending) = (ended.id(), ended.event, ended.ending);
            each(Part::Ended(EndedPart { hold, event, ending }));
        }
        for (key, position, second) in self.memory.all() {
            each(Part::Command(CommandPart { key, position, second }));
        }
    }

    fn shard_part(&self) -> ShardPart {
        let shard = &self.shard;
        ShardPart {
            log: shard.log,
            shard: shard.shard,
            shards: shard.shards,
            key: shard.key,
            generation: shard.generation,
            position: self.position,
            time: self.time,
            ids_since: self.memory.kept_since(),
            generations: self.orders.generations().to_vec(),
            frozen_hash: self.frozen.hash,
            frozen_customers: self.frozen.customers,
            sizes: Sizes {
                customers: self.customers.len(),
                holds: self.holds.len(),
                orders: self.orders.len(),
                references: self.orders.payments_len() - self.orders.payments.len(),
            },
        }
    }

    fn event_part(&self, number: usize) -> EventPart {
        let event = &self.events[number];
        let types = event.shape.types.iter().map(|ticket_type| TypePart {
            id: ticket_type.id,
            held: ticket_type.held,
            sold: ticket_type.sold,
            frozen: ticket_type.frozen,
        });
        EventPart {
            organizer: event.organizer,
            event: event.id,
            version: event.version,
            state: event.state,
            definition: event.definition.clone(),
            used: event.used,
            types: types.collect(),
            quotas: event.shape.quotas.iter().map(|quota| (quota.id, quota.stock)).collect(),
        }
    }

    fn save_holds(&self, customers: &[u32], each: &mut impl FnMut(Part)) {
        for queue in 0..self.deadlines.len() {
            if self.deadlines.queue(queue).waiting == Waiting::Orders {
                continue;
            }
            for slot in self.deadlines.records(queue, |slot| &self.holds[slot]) {
                let hold = &self.holds[slot];
                each(Part::Hold(HoldPart {
                    hold: hold.id(),
                    queue,
                    customer: customers[hold.customer as usize],
                    position: hold.position,
                    expires_at: hold.expires_at,
                    extended: hold.extended,
                    lines: self.line_parts(hold.lines),
                }));
            }
        }
    }

    fn order_part(&self, order: &Order) -> OrderPart {
        let payments = self.orders.payments_of(order).map(|slot| {
            let payment = &self.orders.payments[slot];
            PaymentPart {
                key: payment.key(),
                amount: payment.amount,
                position: payment.position,
                refund_position: payment.refund_position,
                state: payment.state,
            }
        });
        OrderPart {
            event: order.event,
            position: order.position,
            customer: order.customer.get(),
            payment_due: order.payment_due(),
            state: order.state,
            queue: (order.links.queue != NONE).then_some(order.links.queue),
            lines: self.line_parts(order.lines),
            payments: payments.collect(),
        }
    }

    fn line_parts(&self, lines: LinesAt) -> LineParts {
        self.lines.iter(lines).map(LinePart::from).collect()
    }
}
