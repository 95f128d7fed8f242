//! The auditor of journals finds nothing in right histories, and every change that
//! breaks a rule.

use std::collections::BTreeMap;

use onsale_core::Event;
use onsale_engine::audit::{Auditor, OrderTotals, PaymentTotals, Report};
use onsale_sim::mutation::{MUTATIONS, mutate};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{self, SHARD, SHARDS};

const SEEDS: u64 = 60;
const COMMANDS: usize = 1_000;

fn audit(events: &[Event]) -> Report {
    let mut auditor = Auditor::new();
    for idle in (0..SHARDS).filter(|shard| *shard != SHARD) {
        auditor.record(idle, 1, &side_by_side::shard_started(idle));
    }
    for (position, event) in (1..).zip(events) {
        auditor.record(SHARD, position, event);
    }
    auditor.finish()
}

#[test]
fn a_right_history_has_no_findings() {
    for seed in 1_000..1_000 + SEEDS {
        let history = side_by_side::run(seed, COMMANDS).unwrap_or_else(|what| panic!("{what}"));
        let report = audit(&history.events);
        assert!(report.ok, "seed {seed}: {:#?}", report.findings);
        let counts = history.sale.counts();
        assert_eq!(report.holds.live, counts.holds as u64, "seed {seed}");
        let OrderTotals { awaiting_payment, confirmed, .. } = report.orders;
        let cancelled = report.orders.cancelled_unpaid
            + report.orders.cancelled_customer
            + report.orders.cancelled_organizer;
        let orders = awaiting_payment + confirmed + cancelled;
        assert_eq!(orders, counts.orders as u64, "seed {seed}");
        let PaymentTotals { applied, refund_due, refunded, .. } = report.payments;
        let payments = applied + refund_due + refunded;
        assert_eq!(payments, counts.payments as u64, "seed {seed}");
    }
}

#[test]
fn a_change_that_breaks_a_rule_is_found() {
    let mut made = BTreeMap::new();
    for seed in 2_000..2_000 + SEEDS {
        let history = side_by_side::run(seed, COMMANDS).unwrap_or_else(|what| panic!("{what}"));
        let mut rng = Rng::new(seed);
        for kind in MUTATIONS {
            let mut events = history.events.clone();
            let Some(index) = mutate(&mut events, *kind, &mut rng) else { continue };
            *made.entry(*kind).or_insert(0) += 1;
            let report = audit(&events);
            assert!(
                !report.ok,
                "seed {seed}: {kind:?} of the event at position {} was not found\n{:#?}\n{:#?}",
                index + 1,
                history.events[index],
                events[index],
            );
        }
    }
    for kind in MUTATIONS {
        assert!(made.get(kind).is_some_and(|n| *n >= 20), "{kind:?} was hardly made: {made:?}");
    }
}
