//! Proves a journal from its records alone.
//!
//! The auditor keeps its own books, in maps with text keys and plain counters, and
//! shares no state and no transition with the core's `Sale`: what one gets wrong,
//! the other finds. Only pure look-ups are the core's: whether a definition is valid
//! by itself, and the keyed permutation behind the codes.
//!
//! Hand it every record of every shard, each shard in the order of its positions,
//! the shards one after the other or mixed. It goes on after a fault as well as it
//! can, so that later findings may follow from an earlier one: the first counts most.

mod catalogue;
mod finding;
mod finish;
mod holds;
mod lines;
mod orders;
mod report;
mod shard;
mod stock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onsale_core::event::{ShardStarted, Subject};
use onsale_core::limits::{INTEGER_MAX, SHARDS_MAX};
use onsale_core::{Currency, Event, EventDefinition, EventState, Fact, OrderCode, Time};

pub use self::finding::{FINDINGS_MAX, Finding, Rule};
pub use self::report::{
    EventReport, HoldTotals, OrderTotals, PaymentTotals, QuotaReport, Report, ShardReport,
};

use self::finding::{Context, Fate, Findings};
use self::holds::Hold;
use self::orders::{Order, Payment};
use self::shard::ShardBook;
use self::stock::Quota;

/// Follows journals and checks every rule. See the module's text.
#[derive(Default)]
pub struct Auditor {
    findings: Findings,
    /// The first `ShardStarted`; the others must agree with it.
    log: Option<ShardStarted>,
    shards: BTreeMap<u16, ShardBook>,
    /// By `organizer/group`: the shard.
    groups: BTreeMap<String, u16>,
    /// By `organizer/event`.
    events: BTreeMap<String, EventBook>,
    /// Every hold there ever was, by its id.
    fates: BTreeMap<u128, Fate>,
    order_codes: BTreeSet<OrderCode>,
}

/// What is known of one event.
struct EventBook {
    subject: Subject,
    shard: u16,
    version: u32,
    state: EventState,
    definition: Arc<EventDefinition>,
    /// The currency of its first hold or order, which stays.
    used_currency: Option<Currency>,
    /// By id; those of the present definition.
    quotas: BTreeMap<String, Quota>,
    /// By customer, then by ticket type: tickets in live holds and in orders that
    /// are not cancelled.
    customers: BTreeMap<String, BTreeMap<String, i64>>,
    /// The live ones, by id.
    holds: BTreeMap<u128, Hold>,
    /// By code.
    orders: BTreeMap<String, Order>,
    /// By reference.
    payments: BTreeMap<String, Payment>,
    hold_totals: HoldTotals,
}

impl Auditor {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record of a shard. What is wrong with it stands in the report.
    pub fn record(&mut self, shard: u16, position: u64, event: &Event) {
        let mut context = Context {
            shard,
            position,
            // Within the range, so that no sum of times overflows.
            at: Time(event.at.0.clamp(0, INTEGER_MAX)),
            subject: event.subject,
            findings: &mut self.findings,
            fates: &mut self.fates,
        };
        let in_range = context.at == event.at && shard < SHARDS_MAX;
        context.check(Rule::Unsupported, in_range, || {
            format!("shard {shard} or time {} µs is out of range", event.at.0)
        });
        let book = self.shards.entry(shard).or_default();
        book.follow(&mut context, matches!(event.fact, Fact::ShardStarted(_)));
        match (&event.fact, event.subject) {
            (Fact::ShardStarted(started), None) => {
                let log = self.log.get_or_insert_with(|| started.clone());
                book.start(&mut context, started, log);
            }
            (Fact::GenerationStarted { generation }, None) => {
                book.start_generation(&mut context, *generation);
            }
            (Fact::ShardStarted(_) | Fact::GenerationStarted { .. }, Some(_)) => {
                context.found(Rule::Placement, || "a fact about the shard names an event".into());
            }
            (_, None) => {
                context.found(Rule::Placement, || "a fact about an event names none".into());
            }
            (Fact::GroupPlaced { sale_group }, Some(subject)) => {
                let group = format!("{}/{sale_group}", subject.organizer);
                let before = self.groups.insert(group, shard);
                context.check(Rule::Placement, before.is_none(), || {
                    format!("the sale group {sale_group} was placed before")
                });
            }
            (fact, Some(subject)) => {
                if let Some(stamp) = event.stamp.filter(|stamp| stamp.chosen) {
                    book.check_command(&mut context, &name_of(&subject), stamp.id);
                }
                if let Fact::OrderPlaced(placed) = fact {
                    book.check_number(&mut context, placed, &mut self.order_codes);
                }
                carry_out(&mut self.events, &self.groups, &mut context, &subject, fact);
            }
        }
    }

    /// Checks what only shows at the end, and adds everything up.
    #[must_use]
    pub fn finish(self) -> Report {
        finish::finish(self)
    }
}

/// The name of an event in the books.
fn name_of(subject: &Subject) -> String {
    format!("{}/{}", subject.organizer, subject.event)
}

/// Finds the event that a fact is about and carries the fact out in its book.
fn carry_out(
    events: &mut BTreeMap<String, EventBook>,
    groups: &BTreeMap<String, u16>,
    context: &mut Context<'_>,
    subject: &Subject,
    fact: &Fact,
) {
    let name = name_of(subject);
    if let Fact::EventDefined(defined) = fact {
        let sale_group = defined.definition.sale_group;
        let placed = groups.get(&format!("{}/{sale_group}", subject.organizer));
        context.check(Rule::Placement, placed == Some(&context.shard), || {
            format!("the sale group {sale_group} was not placed on this shard")
        });
        match events.get_mut(&name) {
            Some(book) => book.redefine(context, defined),
            None => {
                events.insert(name, EventBook::new(context, subject, defined));
            }
        }
        return;
    }
    let Some(book) = events.get_mut(&name) else {
        return context.found(Rule::Definition, || "the event was never defined".into());
    };
    context.check(Rule::Placement, book.shard == context.shard, || {
        format!("the event lives on shard {}", book.shard)
    });
    match fact {
        Fact::StateSet { version, state } => book.set_state(context, *version, *state),
        Fact::HoldPlaced(placed) => book.place_hold(context, placed),
        Fact::HoldExtended { hold, expires_at } => book.extend_hold(context, *hold, *expires_at),
        Fact::HoldReleased { hold } => book.release_hold(context, *hold),
        Fact::HoldExpired { hold } => book.expire_hold(context, *hold),
        Fact::OrderPlaced(placed) => book.place_order(context, placed),
        Fact::PaymentRecorded(recorded) => book.record_payment(context, recorded),
        Fact::PaymentRefunded { order, reference } => {
            book.refund_payment(context, *order, reference.as_str());
        }
        Fact::OrderCancelled { order, reason } => book.cancel_order(context, *order, *reason),
        Fact::ShardStarted(_)
        | Fact::GenerationStarted { .. }
        | Fact::GroupPlaced { .. }
        | Fact::EventDefined(_) => {}
    }
}

#[cfg(test)]
mod tests;
