//! What only shows at the end: recounts, money, missing shards; and the sums.

use std::collections::BTreeMap;

use onsale_core::Time;
use onsale_core::event::{CancelReason, Subject};
use onsale_core::view::{OrderState, PaymentState};

use super::finding::{Context, Rule};
use super::orders::Order;
use super::report::{
    EventReport, HoldTotals, OrderTotals, PaymentTotals, QuotaReport, Report, ShardReport,
};
use super::{Auditor, EventBook};

pub(super) fn finish(mut auditor: Auditor) -> Report {
    check_shards(&mut auditor);
    let events = std::mem::take(&mut auditor.events);
    for book in events.values() {
        let mut context = context_at_end(&mut auditor, book.shard, Some(book.subject));
        book.check_recount(&mut context);
        book.check_customers(&mut context);
        book.check_money(&mut context);
    }
    let shards: Vec<ShardReport> = auditor
        .shards
        .iter()
        .map(|(shard, book)| ShardReport {
            shard: *shard,
            records: book.records,
            last_position: book.position,
            generation: book.generation,
        })
        .collect();
    let events: Vec<EventReport> = events.values().map(EventBook::report).collect();
    let mut report = Report {
        ok: auditor.findings.count == 0,
        findings: auditor.findings.first,
        findings_count: auditor.findings.count,
        records: shards.iter().map(|shard| shard.records).sum(),
        shards,
        events: Vec::new(),
        holds: HoldTotals::default(),
        orders: OrderTotals::default(),
        payments: PaymentTotals::default(),
    };
    for event in &events {
        report.holds.add(&event.holds);
        report.orders.add(&event.orders);
        report.payments.add_counts(&event.payments);
    }
    report.events = events;
    report
}

/// Where findings of the end are put: at the last record of the shard.
fn context_at_end(auditor: &mut Auditor, shard: u16, subject: Option<Subject>) -> Context<'_> {
    Context {
        shard,
        position: auditor.shards.get(&shard).map_or(0, |book| book.position),
        at: Time::default(),
        subject,
        findings: &mut auditor.findings,
        fates: &mut auditor.fates,
    }
}

/// Sales begin once every shard has started: where there are any, no shard may lack.
fn check_shards(auditor: &mut Auditor) {
    let shards = auditor.log.as_ref().map_or(0, |log| log.shards);
    for shard in 0..shards {
        let missing = !auditor.shards.contains_key(&shard) && !auditor.events.is_empty();
        let mut context = context_at_end(auditor, shard, None);
        context
            .check(Rule::Shards, !missing, || format!("shard {shard} of {shards} has no records"));
    }
}

impl EventBook {
    /// What customers have, counted anew from holds and orders.
    fn check_customers(&self, context: &mut Context<'_>) {
        let mut counts = BTreeMap::<&str, BTreeMap<String, i64>>::new();
        let holds = self.holds.values().map(|hold| (&hold.customer, &hold.lines));
        let orders = self.orders.values().filter(|order| !order.is_cancelled());
        for (customer, lines) in holds.chain(orders.map(|order| (&order.customer, &order.lines))) {
            for line in lines {
                let tickets = counts.entry(customer).or_default();
                *tickets.entry(line.ticket_type.clone()).or_default() += line.quantity;
            }
        }
        let same = counts.len() == self.customers.len()
            && counts
                .iter()
                .all(|(customer, tickets)| self.customers.get(*customer) == Some(tickets));
        context.check(Rule::CustomerLimit, same, || {
            "what customers have was counted otherwise than holds and orders say".into()
        });
    }

    /// Each order's payments fit its state, and every cent is somewhere.
    fn check_money(&self, context: &mut Context<'_>) {
        let mut owned = 0;
        for (code, order) in &self.orders {
            let states = order.payments.iter().filter_map(|reference| self.payments.get(reference));
            let applied = states.filter(|payment| payment.state == PaymentState::Applied).count();
            let wanted = usize::from(order.state == OrderState::Confirmed && order.total > 0);
            context.check(Rule::Money, applied == wanted, || {
                format!("the order {code} is {:?} with {applied} payments applied", order.state)
            });
            if order.state == OrderState::Confirmed {
                owned += i128::from(order.total);
            }
        }
        let sum = |state: Option<PaymentState>| -> i128 {
            let of_state = |p: &&super::Payment| state.is_none_or(|state| p.state == state);
            self.payments.values().filter(of_state).map(|p| i128::from(p.amount)).sum()
        };
        let (received, due) = (sum(None), sum(Some(PaymentState::RefundDue)));
        let refunded = sum(Some(PaymentState::Refunded));
        context.check(Rule::Money, received == owned + due + refunded, || {
            format!(
                "{received} received, {owned} in confirmed orders, {due} due back, {refunded} back"
            )
        });
    }

    fn report(&self) -> EventReport {
        let quotas = self.definition.quotas.iter().filter_map(|definition| {
            let quota = self.quotas.get(definition.id.as_str())?;
            Some(QuotaReport {
                id: definition.id,
                capacity: quota.capacity,
                allotment: quota.allotment,
                free: quota.allotment.map(|_| quota.free),
                held: quota.held,
                sold: quota.sold,
                oversold: quota.oversold,
            })
        });
        EventReport {
            organizer: self.subject.organizer,
            event: self.subject.event,
            shard: self.shard,
            version: self.version,
            state: self.state,
            currency: self.definition.currency,
            quotas: quotas.collect(),
            holds: HoldTotals { live: self.holds.len() as u64, ..self.hold_totals },
            orders: order_totals(self.orders.values()),
            payments: self.payment_totals(),
        }
    }

    fn payment_totals(&self) -> PaymentTotals {
        let mut totals = PaymentTotals::default();
        for payment in self.payments.values() {
            let (count, amount) = match payment.state {
                PaymentState::Applied => (&mut totals.applied, &mut totals.applied_amount),
                PaymentState::RefundDue => (&mut totals.refund_due, &mut totals.refund_due_amount),
                PaymentState::Refunded => (&mut totals.refunded, &mut totals.refunded_amount),
            };
            *count += 1;
            *amount = payment.amount.saturating_add(*amount);
        }
        totals
    }
}

fn order_totals<'a>(orders: impl Iterator<Item = &'a Order>) -> OrderTotals {
    let mut totals = OrderTotals::default();
    for order in orders {
        match order.state {
            OrderState::AwaitingPayment => totals.awaiting_payment += 1,
            OrderState::Confirmed => {
                totals.confirmed += 1;
                totals.tickets += order.lines.iter().map(|line| line.quantity as u64).sum::<u64>();
            }
            OrderState::Cancelled(CancelReason::Unpaid) => totals.cancelled_unpaid += 1,
            OrderState::Cancelled(CancelReason::Customer) => totals.cancelled_customer += 1,
            OrderState::Cancelled(CancelReason::Organizer) => totals.cancelled_organizer += 1,
        }
    }
    totals
}
