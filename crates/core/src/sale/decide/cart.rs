//! What a buyer wants, checked against the definition, the limits and the stock.

use std::cmp::Reverse;

use onsale_planted::{Bug, is};
use smallvec::SmallVec;

use super::Request;
use crate::catalogue::{EventState, TicketTypeDefinition, Window};
use crate::command::{HoldId, Item, Items};
use crate::event::{Fact, Line, Lines, Stock};
use crate::limits::{
    EXPIRED_PER_COMMAND_MAX, LINES_MAX, PRICE_MAX, QUANTITY_MAX, TICKETS_PER_ORDER_MAX,
};
use crate::refusal::Refusal;
use crate::sale::Sale;
use crate::sale::event_state::{Asked, EventEntry};
use crate::sale::holds::Hold;
use crate::slab::NONE;
use crate::time::Time;

/// Ticket types by slot, and how many of each line.
pub(super) type Wants = SmallVec<[(u16, u32); 4]>;

/// A cart that keeps the rules of its definition. It is filled in place: its lines are large.
#[derive(Default)]
pub(super) struct Cart {
    pub lines: Lines,
    pub wants: Wants,
    pub total: i64,
}

/// Due holds whose stock a command needs.
pub(super) type DueHolds = SmallVec<[HoldId; 4]>;

/// The facts that free the stock of due holds.
pub(super) fn expiries(due: DueHolds) -> impl ExactSizeIterator<Item = Fact> {
    due.into_iter().map(|hold| Fact::HoldExpired { hold })
}

impl Sale {
    /// Checks a cart all through and fills it, which must be empty; gives the due holds that
    /// must expire for it.
    pub(super) fn check_cart(
        &self,
        request: Request<'_>,
        items: &Items,
        cart: &mut Cart,
    ) -> Result<DueHolds, Refusal> {
        let Request { now, event, keys, .. } = request;
        check_open(event)?;
        check_window(&event.definition.sale, None, now)?;
        read_cart(event, items, now, cart)?;
        check_order_limits(event, &cart.wants)?;
        self.check_customer_limits(event, keys.customer, &cart.wants)?;
        self.check_stock(event, &cart.wants, now)
    }

    /// Checks the limits per customer, over what the customer holds and owns.
    pub(super) fn check_customer_limits(
        &self,
        event: &EventEntry,
        customer: u128,
        wants: &Wants,
    ) -> Result<(), Refusal> {
        if event.shape.limits.iter().all(|limit| limit.per_customer.is_none()) {
            return Ok(());
        }
        let counts = self.customers.counts(customer);
        for (index, limit) in event.shape.limits.iter().enumerate() {
            let Some(max) = limit.per_customer else { continue };
            let sum = |all: &mut dyn Iterator<Item = (u16, u32)>| -> u32 {
                all.filter(|(slot, _)| limit.covers(*slot)).map(|(_, n)| n).sum()
            };
            let asked = sum(&mut wants.iter().copied());
            let has = sum(&mut counts.clone());
            let most = u64::from(max) + u64::from(is(Bug::CustomerLimitOffByOne));
            if asked > 0 && u64::from(has) + u64::from(asked) > most {
                return Err(Refusal::CustomerLimit { limit: index, has, asked, max });
            }
        }
        Ok(())
    }

    /// Checks each quota, in the definition's order, over the sum of all lines. Where
    /// one is short, holds that are due count as free; those that are needed are
    /// given back, to be expired first.
    pub(super) fn check_stock(
        &self,
        event: &EventEntry,
        wants: &Wants,
        now: Time,
    ) -> Result<DueHolds, Refusal> {
        let asked = event.shape.asked(wants.iter().copied());
        if event.shape.has_free(&asked) {
            return Ok(DueHolds::new());
        }
        let (due, freed) = self.due_holds_for(event, &asked, now);
        for ((slot, asked), freed) in asked.iter().zip(freed) {
            let quota = &event.shape.quotas[*slot as usize];
            let (unsold, free) = (quota.allotment() - quota.sold, quota.free() + freed);
            let (id, asked) = (quota.id, *asked);
            if asked > unsold {
                return Err(Refusal::SoldOut { quota: id, asked, free: unsold });
            }
            if asked > free {
                let held = quota.held - freed;
                return Err(Refusal::NoneFreeNow { quota: id, asked, free, held });
            }
        }
        Ok(due)
    }

    /// Due holds of an event, first due first, until nothing is short any more, and how
    /// much they free of each quota asked.
    fn due_holds_for(
        &self,
        event: &EventEntry,
        asked: &Asked,
        now: Time,
    ) -> (DueHolds, SmallVec<[u32; 8]>) {
        let mut freed: SmallVec<[u32; 8]> = smallvec::smallvec![0; asked.len()];
        let mut due = DueHolds::new();
        let most = if is(Bug::DueHoldsNotFreed) { 0 } else { EXPIRED_PER_COMMAND_MAX };
        for hold in self.due_holds_of(event, now).take(most) {
            let is_short = |((slot, asked), freed): (&(u16, u32), &u32)| {
                *asked > event.shape.quotas[*slot as usize].free() + *freed
            };
            if !asked.iter().zip(&freed).any(is_short) {
                break;
            }
            due.push(hold.id());
            let lines = self.lines.iter(hold.lines);
            let frees = event.shape.asked(lines.map(|l| (l.ticket_type, u32::from(l.quantity))));
            for (slot, quantity) in frees {
                if let Some(at) = asked.iter().position(|(asked, _)| *asked == slot) {
                    freed[at] += quantity;
                }
            }
        }
        (due, freed)
    }

    /// The due holds of an event over all its queues, by deadline, and among equal
    /// ones in the order in which their deadlines were set: the longer duration first.
    fn due_holds_of<'a>(
        &'a self,
        event: &'a EventEntry,
        now: Time,
    ) -> impl Iterator<Item = &'a Hold> + 'a {
        let heads = event.hold_queues.iter().map(|queue| {
            let queue = self.deadlines.queue(*queue);
            (queue.head, Reverse(queue.duration_us))
        });
        let mut heads: SmallVec<[(u32, Reverse<i64>); 4]> = heads.collect();
        std::iter::from_fn(move || {
            let waiting = heads.iter_mut().filter(|(head, _)| *head != NONE);
            let first =
                waiting.min_by_key(|(head, duration)| (self.holds[*head].expires_at, *duration))?;
            let hold = &self.holds[first.0];
            first.0 = hold.links.next;
            (hold.expires_at <= now).then_some(hold)
        })
    }
}

pub(super) fn check_open(event: &EventEntry) -> Result<(), Refusal> {
    match event.state {
        EventState::Open => Ok(()),
        state => Err(Refusal::NotOpen { state }),
    }
}

fn check_window(window: &Window, line: Option<usize>, now: Time) -> Result<(), Refusal> {
    match (window.opens_at, window.closes_at) {
        (Some(opens_at), _) if now < opens_at => Err(Refusal::SaleNotBegun { line, opens_at }),
        (_, Some(closed_at)) if now.0 >= closed_at.0 + i64::from(is(Bug::WindowClosesLate)) => {
            Err(Refusal::SaleOver { line, closed_at })
        }
        _ => Ok(()),
    }
}

fn read_cart(event: &EventEntry, items: &Items, now: Time, cart: &mut Cart) -> Result<(), Refusal> {
    if !(1..=LINES_MAX).contains(&items.len()) {
        return Err(Refusal::LineCount);
    }
    for (line, item) in items.iter().enumerate() {
        let found = event.defined_type(&item.ticket_type);
        let (slot, ticket_type) = found.ok_or(Refusal::UnknownTicketType { line })?;
        if !(1..=QUANTITY_MAX).contains(&item.quantity) {
            return Err(Refusal::Quantity { line, max: QUANTITY_MAX });
        }
        let unit_price = price(ticket_type, item, line)?;
        check_window(&ticket_type.sale, Some(line), now)?;
        cart.wants.push((slot, item.quantity));
        // Overflows not even with the most lines of the highest price and quantity.
        cart.total += unit_price * i64::from(item.quantity);
        cart.lines.push(new_line(item.ticket_type, item.quantity, unit_price, event.version));
    }
    let tickets: u32 = cart.wants.iter().map(|(_, quantity)| quantity).sum();
    match tickets <= TICKETS_PER_ORDER_MAX {
        true => Ok(()),
        false => Err(Refusal::TooManyTickets { max: TICKETS_PER_ORDER_MAX }),
    }
}

/// A line as it is recorded while there are neither seats nor channels nor fees.
pub(super) fn new_line(
    ticket_type: crate::text::Id,
    quantity: u32,
    unit_price: i64,
    version: u32,
) -> Line {
    let (stock, components) = (Stock::Counted(quantity), Vec::new());
    Line { event: None, ticket_type, stock, unit_price, version, channel: None, components }
}

fn price(ticket_type: &TicketTypeDefinition, item: &Item, line: usize) -> Result<i64, Refusal> {
    let own = ticket_type.price;
    match item.price {
        None => Ok(own),
        Some(price) if price == own => Ok(own),
        Some(_) if !ticket_type.free_price => Err(Refusal::PriceFixed { line, price: own }),
        Some(price) if price < own && !is(Bug::PriceBelowMinimum) => {
            Err(Refusal::PriceBelowMinimum { line, minimum: own })
        }
        Some(price) if price > PRICE_MAX => Err(Refusal::PriceTooHigh { line }),
        Some(price) => Ok(price),
    }
}

fn check_order_limits(event: &EventEntry, wants: &Wants) -> Result<(), Refusal> {
    for (limit, of) in event.shape.limits.iter().enumerate() {
        let Some(max) = of.per_order else { continue };
        let covered = wants.iter().filter(|(slot, _)| of.covers(*slot));
        let asked: u32 = covered.map(|(_, quantity)| quantity).sum();
        if asked > max + u32::from(is(Bug::OrderLimitOffByOne)) {
            return Err(Refusal::OrderLimit { limit, asked, max });
        }
    }
    Ok(())
}
