//! What the core makes of random commands is right in the auditor's books too, and
//! comes to the same sums: neither has anything from the other.

use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::view::AvailabilityView;
use onsale_core::{
    Action, Command, CommandStamp, CustomerId, Decision, Event, EventDefinition, EventState,
    Expects, Fact, HoldId, Id, Item, Limit, OrderCode, QuotaDefinition, Reference, Sale, Time,
};

use super::super::{Auditor, Report};
use super::history::{BEGIN, definition, eur, id, started, subject};

/// A small generator of numbers (xorshift64*): the same seed, the same story.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A shard under random commands, and the auditor that follows it.
struct Play {
    random: Random,
    sale: Sale,
    auditor: Auditor,
    position: u64,
    now: Time,
    /// Holds ever asked for.
    asked: u128,
    /// Holds and orders that were made: of which event, whose or for how much.
    holds: Vec<(Id, CustomerId, HoldId)>,
    orders: Vec<(Id, OrderCode, i64)>,
}

const EVENTS: [&str; 3] = ["night", "day", "late"];

impl Play {
    fn new(seed: u64) -> Play {
        let (sale, auditor) = (Sale::new(), Auditor::new());
        let (random, holds, orders) = (Random(seed), Vec::new(), Vec::new());
        let (position, now, asked) = (0, BEGIN, 0);
        let mut play = Play { random, sale, auditor, position, now, asked, holds, orders };
        let fact = Fact::ShardStarted(started(0, 1));
        play.happen(&Event { at: BEGIN, stamp: None, subject: None, fact });
        play
    }

    fn happen(&mut self, event: &Event) {
        self.position += 1;
        self.sale.apply(self.position, event).expect("what was decided can be carried out");
        self.auditor.record(0, self.position, event);
        let Some(subject) = event.subject else { return };
        match &event.fact {
            Fact::HoldPlaced(placed) => {
                self.holds.push((subject.event, placed.customer, placed.hold));
            }
            Fact::OrderPlaced(placed) => {
                self.orders.push((subject.event, placed.order, placed.total));
            }
            _ => {}
        }
    }

    fn step(&mut self) {
        let longest = if self.random.one_in(200) { COMMANDS_REMEMBERED_US } else { 8_000_000 };
        self.now.0 += self.random.below(longest as u64) as i64;
        if self.random.one_in(3) {
            let mut due = Vec::new();
            self.sale.due(self.now, 4, &mut due);
            for (subject, action) in due {
                self.ask(subject.organizer, subject.event, action, 0);
            }
        }
        let (event, action) = self.action();
        // Some commands come again under the same id.
        let command = self.random.below(400);
        self.ask(id("river"), event, action, u128::from(command));
    }

    fn ask(&mut self, organizer: Id, event: Id, action: Action, id: u128) {
        let stamp = CommandStamp { id, body: 0, chosen: id > 200, made_at: None };
        let command = Command { stamp, organizer, event, action };
        if let Ok(Decision::Change(events)) = self.sale.decide(&command, self.now) {
            events.iter().for_each(|event| self.happen(event));
        }
    }

    fn action(&mut self) -> (Id, Action) {
        let event = id(EVENTS[self.random.below(3) as usize]);
        let customer = ["ann", "bob", "cid"][self.random.below(3) as usize];
        let customer = CustomerId::new(customer).expect("a customer");
        let action = match self.random.below(40) {
            0 => Action::DefineEvent {
                definition: Box::new(self.definition()),
                expects: [Expects::Any, Expects::Unsaid][self.random.below(2) as usize],
            },
            1 => Action::SetState {
                state: [EventState::Paused, EventState::Closed][self.random.below(2) as usize],
                expects: Expects::Any,
            },
            2..=4 => Action::SetState { state: EventState::Open, expects: Expects::Any },
            5..=13 => {
                self.asked += 1;
                let hold = HoldId(self.asked);
                Action::PlaceHold { hold, customer, items: self.items() }
            }
            14..=16 => Action::Buy { customer, items: self.items() },
            17..=27 => return self.action_on_hold(event, customer),
            _ => return self.action_on_order(event),
        };
        (event, action)
    }

    /// On one of the latest holds; now and then as another customer or in another event.
    fn action_on_hold(&mut self, event: Id, customer: CustomerId) -> (Id, Action) {
        let back = self.random.below(5) as usize;
        let latest = self.holds.iter().rev().nth(back).copied();
        let (its_event, its_customer, hold) = latest.unwrap_or((event, customer, HoldId(0)));
        let event = if self.random.one_in(10) { event } else { its_event };
        let customer = if self.random.one_in(10) { customer } else { its_customer };
        let action = match self.random.below(11) {
            0..=2 => Action::ExtendHold { hold },
            3..=4 => Action::ReleaseHold { hold },
            _ => Action::ClaimHold { hold, customer },
        };
        (event, action)
    }

    /// On one of the latest orders; now and then in another event.
    fn action_on_order(&mut self, event: Id) -> (Id, Action) {
        let back = self.random.below(8) as usize;
        let latest = self.orders.iter().rev().nth(back).copied();
        let unknown = (event, super::history::KEY.order_code(0, 1, 1), 100);
        let (its_event, order, total) = latest.unwrap_or(unknown);
        let event = if self.random.one_in(10) { event } else { its_event };
        let reference = Reference::new(&format!("p{}", self.random.below(1 << 12)));
        let reference = reference.expect("a reference");
        let action = match self.random.below(12) {
            0..=6 => {
                let (amount, currency, paid_at) = (total, eur(), None);
                Action::RecordPayment { order, reference, amount, currency, paid_at }
            }
            7..=8 => Action::CancelOrder { order, manage: self.random.one_in(2) },
            _ => self.refund(),
        };
        (event, action)
    }

    /// Of a payment that is due back, if there is one.
    fn refund(&mut self) -> Action {
        let due = self.auditor.events.values().flat_map(|book| &book.payments);
        let due = due.filter(|(_, p)| p.state == onsale_core::view::PaymentState::RefundDue);
        let reference = due.map(|(reference, _)| reference.as_str()).next().unwrap_or("p");
        let reference = Reference::new(reference).expect("a reference");
        Action::RecordRefund { order: None, reference }
    }

    fn items(&mut self) -> onsale_core::command::Items {
        let lines = 1 + self.random.below(2);
        let item = |random: &mut Random| {
            let quantity = 1 + random.below(3) as u32;
            match random.below(2) {
                0 => Item { ticket_type: id("seat"), quantity, price: None },
                _ => {
                    let price = Some(50 * random.below(3) as i64);
                    Item { ticket_type: id("gift"), quantity, price }
                }
            }
        };
        (0..lines).map(|_| item(&mut self.random)).collect()
    }

    /// The one that all share, changed here and there.
    fn definition(&mut self) -> EventDefinition {
        let mut changed = definition();
        changed.hold_seconds = 30 + self.random.below(60) as u32;
        changed.payment_seconds = 20 + self.random.below(60) as u32;
        changed.ticket_types[0].price = 100 + self.random.below(2) as i64;
        changed.quotas[0].capacity = Some(10 + self.random.below(20) as u32);
        if self.random.one_in(2) {
            changed.ticket_types[0].quotas.push(id("unlimited"));
        }
        if self.random.one_in(3) {
            changed.quotas.push(QuotaDefinition { id: id("balcony"), capacity: Some(9) });
            changed.ticket_types[1].quotas.push(id("balcony"));
        }
        if self.random.one_in(2) {
            let per_customer = Some(4 + self.random.below(8) as u32);
            changed.limits.push(Limit { ticket_types: vec![], per_order: None, per_customer });
        }
        if self.random.one_in(4) {
            changed.sale.closes_at = Some(self.now.plus_seconds(self.random.below(500) as u32));
        }
        changed
    }
}

/// The auditor's sums are the core's.
fn assert_same(report: &Report, availability: impl Fn(&str) -> Option<AvailabilityView>) {
    for event in EVENTS {
        let found = report.events.iter().find(|found| found.event == id(event));
        let view = availability(event);
        assert_eq!(found.is_some(), view.is_some());
        let (Some(found), Some(view)) = (found, view) else { continue };
        assert_eq!((found.state, found.quotas.len()), (view.state, view.quotas.len()));
        for (ours, theirs) in found.quotas.iter().zip(&view.quotas) {
            let theirs_free = theirs.free().map(i64::from);
            let counts = (i64::from(theirs.held), i64::from(theirs.sold), theirs_free);
            assert_eq!((ours.held, ours.sold, ours.free), counts, "{event} {}", ours.id);
        }
    }
}

#[test]
fn what_the_core_makes_of_random_commands_is_right() {
    #[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
    let seeds = std::env::var("ONSALE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = seeds.map_or(1..=40, |seed: u64| seed..=seed);
    let mut all = (0, 0, 0);
    for seed in seeds {
        let mut play = Play::new(seed);
        (0..2_000).for_each(|_| play.step());
        let report = play.auditor.finish();
        assert!(report.ok, "ONSALE_SEED={seed}: {:#?}", report.findings.first());
        let river = id("river");
        assert_same(&report, |event| play.sale.availability(&river, &subject(event).event));
        all.0 += report.holds.claimed.min(report.holds.expired).min(report.holds.released);
        all.1 += report.payments.applied.min(report.payments.refunded);
        all.2 += report.orders.cancelled_unpaid.min(report.orders.confirmed);
    }
    // The stories are worth telling: every way of ending was met.
    assert!(all.0 > 0 && all.1 > 0 && all.2 > 0, "{all:?}");
}
