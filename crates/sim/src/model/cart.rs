//! What a buyer may put into a cart: form, prices, windows, limits and stock.

use std::collections::BTreeSet;

use onsale_core::catalogue::{EventState, TicketTypeDefinition, Window};
use onsale_core::command::{HoldId, Item};
use onsale_core::event::{Line, Lines, Stock};
use onsale_core::limits::{
    EXPIRED_PER_COMMAND_MAX, LINES_MAX, PRICE_MAX, QUANTITY_MAX, TICKETS_PER_ORDER_MAX,
};
use onsale_core::refusal::Refusal;
use onsale_core::text::{CustomerId, Id};
use onsale_core::time::Time;

use super::{EventModel, HoldModel, quantity_of};

/// A cart that may be held or bought.
pub(super) struct Cart {
    pub lines: Lines,
    pub total: i64,
    /// Due holds that must expire first, so that there is stock for it.
    pub expired: Vec<HoldId>,
}

impl EventModel {
    pub(super) fn check_cart(
        &self,
        customer: CustomerId,
        items: &[Item],
        now: Time,
    ) -> Result<Cart, Refusal> {
        if self.state != EventState::Open {
            return Err(Refusal::NotOpen { state: self.state });
        }
        check_window(&self.definition.sale, None, now)?;
        if items.is_empty() || items.len() > LINES_MAX {
            return Err(Refusal::LineCount);
        }
        let mut lines = Lines::new();
        for (i, item) in items.iter().enumerate() {
            lines.push(self.check_line(i, item, now)?);
        }
        if items.iter().map(|item| item.quantity).sum::<u32>() > TICKETS_PER_ORDER_MAX {
            return Err(Refusal::TooManyTickets { max: TICKETS_PER_ORDER_MAX });
        }
        self.check_order_limits(&lines)?;
        self.check_customer_limits(customer, &lines)?;
        let expired = self.find_stock(&lines, now)?;
        let total = lines.iter().map(|l| l.unit_price * l.stock.quantity() as i64).sum();
        Ok(Cart { lines, total, expired })
    }

    fn check_line(&self, i: usize, item: &Item, now: Time) -> Result<Line, Refusal> {
        let ticket_type =
            self.ticket_type(item.ticket_type).ok_or(Refusal::UnknownTicketType { line: i })?;
        if !(1..=QUANTITY_MAX).contains(&item.quantity) {
            return Err(Refusal::Quantity { line: i, max: QUANTITY_MAX });
        }
        let price = item.price.unwrap_or(ticket_type.price);
        if price != ticket_type.price && !ticket_type.free_price {
            return Err(Refusal::PriceFixed { line: i, price: ticket_type.price });
        }
        if price < ticket_type.price {
            return Err(Refusal::PriceBelowMinimum { line: i, minimum: ticket_type.price });
        }
        if price > PRICE_MAX {
            return Err(Refusal::PriceTooHigh { line: i });
        }
        check_window(&ticket_type.sale, Some(i), now)?;
        Ok(Line {
            event: None,
            ticket_type: item.ticket_type,
            stock: Stock::Counted(item.quantity),
            unit_price: price,
            version: self.version,
            channel: None,
            components: Vec::new(),
        })
    }

    pub(super) fn ticket_type(&self, id: Id) -> Option<&TicketTypeDefinition> {
        self.definition.ticket_types.iter().find(|t| t.id == id)
    }

    fn check_order_limits(&self, lines: &Lines) -> Result<(), Refusal> {
        for (i, limit) in self.definition.limits.iter().enumerate() {
            let asked = count_of(lines, &self.limit_types(i));
            if let Some(max) = limit.per_order
                && asked > max
            {
                return Err(Refusal::OrderLimit { limit: i, asked, max });
            }
        }
        Ok(())
    }

    /// A limit that the cart does not touch does not stop it, even where the
    /// customer has more than it allows by now.
    pub(super) fn check_customer_limits(
        &self,
        customer: CustomerId,
        lines: &Lines,
    ) -> Result<(), Refusal> {
        for (i, limit) in self.definition.limits.iter().enumerate() {
            let types = self.limit_types(i);
            let asked = count_of(lines, &types);
            let has = self.customer_has(customer, &types);
            if let Some(max) = limit.per_customer
                && asked > 0
                && has + asked > max
            {
                return Err(Refusal::CustomerLimit { limit: i, has, asked, max });
            }
        }
        Ok(())
    }

    /// The ticket types that a limit is over.
    fn limit_types(&self, limit: usize) -> Vec<Id> {
        let listed = &self.definition.limits[limit].ticket_types;
        match listed.is_empty() {
            true => self.definition.ticket_types.iter().map(|t| t.id).collect(),
            false => listed.clone(),
        }
    }

    /// Sees that there is stock for the lines; says which due holds must expire for that.
    pub(super) fn find_stock(&self, lines: &Lines, now: Time) -> Result<Vec<HoldId>, Refusal> {
        let mut gone = BTreeSet::new();
        let mut expired = Vec::new();
        for (hold, _) in self.due_holds(now) {
            if self.is_stocked(lines, &gone).is_ok() || expired.len() == EXPIRED_PER_COMMAND_MAX {
                break;
            }
            gone.insert(hold);
            expired.push(hold);
        }
        self.is_stocked(lines, &gone)?;
        Ok(expired)
    }

    /// Whether every quota has what the lines ask of it, with these holds gone.
    fn is_stocked(&self, lines: &Lines, gone: &BTreeSet<HoldId>) -> Result<(), Refusal> {
        for quota in &self.definition.quotas {
            let draws =
                self.definition.ticket_types.iter().filter(|t| t.quotas.contains(&quota.id));
            let types: Vec<Id> = draws.map(|t| t.id).collect();
            let asked: u32 = count_of(lines, &types);
            let Some(allotment) = quota.capacity else { continue };
            if asked == 0 {
                continue;
            }
            let sold: u32 = types.iter().map(|t| self.sold_of(*t)).sum();
            let held: u32 = self
                .holds
                .iter()
                .filter(|(id, _)| !gone.contains(id))
                .map(|(_, hold)| count_of(&hold.lines, &types))
                .sum();
            if asked > allotment - sold {
                return Err(Refusal::SoldOut { quota: quota.id, asked, free: allotment - sold });
            }
            if asked > allotment - sold - held {
                let free = allotment - sold - held;
                return Err(Refusal::NoneFreeNow { quota: quota.id, asked, free, held });
            }
        }
        Ok(())
    }

    /// Holds whose deadline has come, by deadline; those of one deadline in the
    /// order in which they got it.
    #[must_use]
    pub fn due_holds(&self, now: Time) -> Vec<(HoldId, &HoldModel)> {
        let mut due: Vec<_> = self
            .holds
            .iter()
            .filter(|(_, hold)| hold.expires_at <= now)
            .map(|(id, hold)| (*id, hold))
            .collect();
        due.sort_by_key(|(_, hold)| (hold.expires_at, hold.deadline_set));
        due
    }
}

/// Tickets of these types in the lines.
fn count_of(lines: &Lines, types: &[Id]) -> u32 {
    types.iter().map(|t| quantity_of(lines, *t)).sum()
}

fn check_window(window: &Window, line: Option<usize>, now: Time) -> Result<(), Refusal> {
    if let Some(opens_at) = window.opens_at
        && now < opens_at
    {
        return Err(Refusal::SaleNotBegun { line, opens_at });
    }
    if let Some(closed_at) = window.closes_at
        && now >= closed_at
    {
        return Err(Refusal::SaleOver { line, closed_at });
    }
    Ok(())
}
