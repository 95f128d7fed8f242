//! Rules of holds: each is placed once, ends once, and keeps its deadline.

use onsale_core::event::HoldPlaced;
use onsale_core::{HoldId, Time};

use super::EventBook;
use super::finding::{Context, Fate, Rule};
use super::lines::Line;
use super::stock::Pile;

/// A live hold.
pub(super) struct Hold {
    pub customer: String,
    pub lines: Vec<Line>,
    pub deadline: Time,
    pub extended: bool,
}

impl EventBook {
    pub(super) fn place_hold(&mut self, context: &mut Context<'_>, placed: &HoldPlaced) {
        let new = context.fates.insert(placed.hold.0, Fate::Live).is_none();
        context.check(Rule::HoldOnce, new, || "a hold with this id was placed before".into());
        let lines = self.check_lines(context, &placed.lines, placed.total, placed.currency);
        self.check_new_lines(context, &lines);
        self.check_deadline(context, placed.expires_at);
        let customer = placed.customer.to_string();
        self.take(&customer, &lines, Pile::Held);
        self.check_customer_limits(context, &customer, &lines);
        self.check_stock(context);
        self.hold_totals.placed += 1;
        let deadline = placed.expires_at;
        self.holds.insert(placed.hold.0, Hold { customer, lines, deadline, extended: false });
    }

    /// A new deadline lies as far ahead as the definition says.
    fn check_deadline(&self, context: &mut Context<'_>, deadline: Time) {
        let expected = context.at.plus_seconds(self.definition.hold_seconds);
        context.check(Rule::Deadline, deadline == expected, || {
            format!("the deadline is {} µs, the definition says {} µs", deadline.0, expected.0)
        });
    }

    pub(super) fn extend_hold(&mut self, context: &mut Context<'_>, id: HoldId, deadline: Time) {
        self.check_open(context);
        let full = context.at.plus_seconds(self.definition.hold_seconds);
        let Some(hold) = self.holds.get_mut(&id.0) else {
            return found_no_hold(context, id);
        };
        let expected = full.max(hold.deadline);
        context.check(Rule::Deadline, deadline == expected, || {
            format!("the new deadline is {} µs and should be {} µs", deadline.0, expected.0)
        });
        check_live(context, hold);
        context.check(Rule::Deadline, !hold.extended, || "the hold was extended before".into());
        (hold.deadline, hold.extended) = (deadline, true);
    }

    pub(super) fn release_hold(&mut self, context: &mut Context<'_>, id: HoldId) {
        let Some(hold) = self.end_hold(context, id, Fate::Released) else { return };
        check_live(context, &hold);
        self.give_back(&hold.customer, &hold.lines, Pile::Held);
        self.check_stock(context);
    }

    pub(super) fn expire_hold(&mut self, context: &mut Context<'_>, id: HoldId) {
        let Some(hold) = self.end_hold(context, id, Fate::Expired) else { return };
        context.check(Rule::Deadline, context.at >= hold.deadline, || {
            format!("the hold expired before its deadline {} µs", hold.deadline.0)
        });
        self.give_back(&hold.customer, &hold.lines, Pile::Held);
        self.check_stock(context);
    }

    /// The hold that an order claims, given back: the order takes its lines next.
    pub(super) fn claim_hold(&mut self, context: &mut Context<'_>, id: HoldId) -> Option<Hold> {
        let hold = self.end_hold(context, id, Fate::Claimed)?;
        check_live(context, &hold);
        self.give_back(&hold.customer, &hold.lines, Pile::Held);
        Some(hold)
    }

    /// Takes a live hold out; none, and a finding, where it is not live in this event.
    fn end_hold(&mut self, context: &mut Context<'_>, id: HoldId, fate: Fate) -> Option<Hold> {
        let Some(hold) = self.holds.remove(&id.0) else {
            found_no_hold(context, id);
            return None;
        };
        context.fates.insert(id.0, fate);
        let totals = &mut self.hold_totals;
        match fate {
            Fate::Claimed => totals.claimed += 1,
            Fate::Released => totals.released += 1,
            Fate::Expired => totals.expired += 1,
            Fate::Live => {}
        }
        Some(hold)
    }
}

fn found_no_hold(context: &mut Context<'_>, id: HoldId) {
    let fate = context.fates.get(&id.0).copied();
    context.found(Rule::HoldOnce, || match fate {
        None => "there was never such a hold".into(),
        Some(Fate::Live) => "the hold is another event's".into(),
        Some(fate) => format!("the hold has ended before: {fate:?}"),
    });
}

/// A hold is expired when now ≥ its deadline.
fn check_live(context: &mut Context<'_>, hold: &Hold) {
    context.check(Rule::Deadline, context.at < hold.deadline, || {
        format!("the hold's deadline {} µs had passed", hold.deadline.0)
    });
}
