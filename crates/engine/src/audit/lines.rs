//! Rules of lines: what is bought, for how much, within which limits.

use onsale_core::Currency;
use onsale_core::event::{self, Stock};
use onsale_core::limits::{LINES_MAX, PRICE_MAX, QUANTITY_MAX, TICKETS_PER_ORDER_MAX};
use onsale_core::{EventState, Window};

use super::EventBook;
use super::finding::{Context, Rule};
use super::stock::{covers, find_type};

/// A line in the books.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub ticket_type: String,
    pub quantity: i64,
    pub unit_price: i64,
    pub version: u32,
}

impl EventBook {
    /// Lines of a hold or an order by themselves: numbers in range, total and currency.
    pub(super) fn check_lines(
        &mut self,
        context: &mut Context<'_>,
        lines: &[event::Line],
        total: i64,
        currency: Currency,
    ) -> Vec<Line> {
        let known: Vec<Line> = lines
            .iter()
            .map(|line| Line {
                ticket_type: line.ticket_type.to_string(),
                quantity: i64::from(line.stock.quantity()),
                unit_price: line.unit_price,
                version: line.version,
            })
            .collect();
        for line in lines {
            let plain = line.event.is_none()
                && matches!(line.stock, Stock::Counted(_))
                && line.components.is_empty();
            context.check(Rule::Unsupported, plain, || {
                "a line of another event, of places, or with components".into()
            });
        }
        context.check(Rule::Quantity, (1..=LINES_MAX).contains(&lines.len()), || {
            format!("{} lines", lines.len())
        });
        for line in &known {
            context.check(
                Rule::Quantity,
                (1..=i64::from(QUANTITY_MAX)).contains(&line.quantity),
                || format!("{} tickets in one line", line.quantity),
            );
        }
        let tickets: i64 = known.iter().map(|line| line.quantity).sum();
        context.check(Rule::Quantity, tickets <= i64::from(TICKETS_PER_ORDER_MAX), || {
            format!("{tickets} tickets")
        });
        let sum: i128 =
            known.iter().map(|l| i128::from(l.unit_price) * i128::from(l.quantity)).sum();
        context.check(Rule::Total, sum == i128::from(total), || {
            format!("the total is {total}, the lines come to {sum}")
        });
        let expected = *self.used_currency.get_or_insert(self.definition.currency);
        context.check(Rule::Total, currency == expected, || {
            format!("the currency is {currency:?}, the event's {expected:?}")
        });
        known
    }

    /// Only an open event sells.
    pub(super) fn check_open(&self, context: &mut Context<'_>) {
        let state = self.state;
        context.check(Rule::State, state == EventState::Open, || format!("the event is {state:?}"));
    }

    /// Lines that are new: as the definition in force says, and on sale.
    pub(super) fn check_new_lines(&self, context: &mut Context<'_>, lines: &[Line]) {
        self.check_open(context);
        check_window(context, &self.definition.sale, "the event");
        for line in lines {
            self.check_new_line(context, line);
        }
        for (index, limit) in self.definition.limits.iter().enumerate() {
            let Some(max) = limit.per_order else { continue };
            let covered =
                lines.iter().filter(|line| covers(&limit.ticket_types, &line.ticket_type));
            let asked: i64 = covered.map(|line| line.quantity).sum();
            context.check(Rule::OrderLimit, asked <= i64::from(max), || {
                format!("limits[{index}].per_order is {max}, the order has {asked}")
            });
        }
    }

    fn check_new_line(&self, context: &mut Context<'_>, line: &Line) {
        let Line { ticket_type: id, unit_price, version, .. } = line;
        context.check(Rule::Versions, *version == self.version, || {
            format!("a line of version {version}, {} is in force", self.version)
        });
        let Some(ticket_type) = find_type(&self.definition, id) else {
            return context.found(Rule::TicketType, || {
                format!("the ticket type {id} is not in the definition")
            });
        };
        let price = ticket_type.price;
        let chosen = ticket_type.free_price && (price..=PRICE_MAX).contains(unit_price);
        context.check(Rule::Price, *unit_price == price || chosen, || {
            format!("{id} was sold at {unit_price}, its price is {price}")
        });
        check_window(context, &ticket_type.sale, id);
    }

    /// Limits per customer, once the customer has the lines.
    pub(super) fn check_customer_limits(
        &self,
        context: &mut Context<'_>,
        customer: &str,
        lines: &[Line],
    ) {
        if let Some((index, max, has)) = self.limit_broken(customer, lines, 0) {
            context.found(Rule::CustomerLimit, || {
                format!("limits[{index}].per_customer is {max}, the customer has {has}")
            });
        }
    }

    /// The first limit per customer that is broken when the customer has `more` times
    /// these lines on top: its index, its number, what the customer would have. Limits
    /// are over ticket types of the definition: lines of others do not count.
    pub(super) fn limit_broken(
        &self,
        customer: &str,
        lines: &[Line],
        more: i64,
    ) -> Option<(usize, u32, i64)> {
        self.definition.limits.iter().enumerate().find_map(|(index, limit)| {
            let max = limit.per_customer?;
            let covered = |line: &&Line| {
                covers(&limit.ticket_types, &line.ticket_type)
                    && find_type(&self.definition, &line.ticket_type).is_some()
            };
            let asked: i64 = lines.iter().filter(covered).map(|line| line.quantity).sum();
            let has = self.tickets_of(customer, &limit.ticket_types) + more * asked;
            (asked > 0 && has > i64::from(max)).then_some((index, max, has))
        })
    }
}

fn check_window(context: &mut Context<'_>, window: &Window, of: &str) {
    let at = context.at;
    let inside = window.opens_at.is_none_or(|opens| at >= opens)
        && window.closes_at.is_none_or(|closes| at < closes);
    context.check(Rule::Window, inside, || format!("sold outside the sale window of {of}"));
}
