//! Wrong histories: each row breaks one rule with its last record, and just that is
//! found, there.

mod orders;
mod sales;

use onsale_core::event::{CancelReason, PaymentOutcome};
use onsale_core::{CodeKey, Currency, CustomerId, Event, EventState, Fact, HoldId, Time};

use super::super::{Auditor, FINDINGS_MAX, Rule};
use super::history::{BEGIN, History, defined, definition, id, line, lines, started, subject};

/// What is told to an auditor after the beginning that all share.
type Story = fn(&mut History);

fn check(rows: &[(&str, Rule, Story)]) {
    for (name, rule, story) in rows {
        let mut history = History::new();
        story(&mut history);
        let report = history.audit();
        let (shard, position, event) = history.records.last().expect("there are records");
        assert!(!report.ok, "{name}: nothing was found");
        let first = &report.findings[0];
        assert_eq!(first.rule, *rule, "{name}: {first}");
        let place = (first.shard, first.position, first.subject);
        assert_eq!(place, (*shard, *position, event.subject), "{name}: {first}");
        // The records before it are right.
        history.records.pop();
        let before = history.audit();
        assert!(before.ok, "{name}, without its last record: {:#?}", before.findings);
    }
}

fn one() -> Vec<onsale_core::event::Line> {
    lines(&[("seat", 1, 100)])
}

const UNPAID: CancelReason = CancelReason::Unpaid;

#[test]
fn journals() {
    check(&[
        ("a position is left out", Rule::Positions, |h| {
            h.order(None, "ann", &one());
            h.records.last_mut().expect("just added").1 += 1;
        }),
        ("a position comes twice", Rule::Positions, |h| {
            h.order(None, "ann", &one());
            h.records.last_mut().expect("just added").1 -= 1;
        }),
        ("time runs backwards", Rule::Time, |h| {
            h.now.0 -= 1;
            h.order(None, "ann", &one());
        }),
        ("a time before all time", Rule::Unsupported, |h| {
            h.now = Time(-1);
            h.order(None, "ann", &one());
        }),
        ("started twice", Rule::Shards, |h| h.start(started(0, 1))),
        ("started as another shard", Rule::Shards, |h| {
            h.records.clear();
            h.start(started(1, 2));
        }),
        ("not started", Rule::Shards, |h| {
            h.records.clear();
            h.add(Fact::GroupPlaced { sale_group: id("night") });
        }),
        ("another log's shard", Rule::Shards, |h| {
            h.records.clear();
            h.start(started(0, 2));
            h.shard = 1;
            let mut other = started(1, 2);
            other.log += 1;
            h.start(other);
        }),
        ("another secret", Rule::Shards, |h| {
            h.records.clear();
            h.start(started(0, 2));
            h.shard = 1;
            let mut other = started(1, 2);
            other.key = CodeKey([0; 16]);
            h.start(other);
        }),
        ("the generation does not grow", Rule::Shards, |h| {
            h.push(None, None, Fact::GenerationStarted { generation: 1 });
        }),
        ("a command that changes twice", Rule::CommandOnce, |h| {
            for hold in [1, 2] {
                let placed = h.held(hold, "ann", &lines(&[("gift", 1, 0)]));
                h.add_chosen(9, Fact::HoldPlaced(placed));
                h.wait(60);
            }
        }),
    ]);
}

#[test]
fn placement() {
    check(&[
        ("a group is placed twice", Rule::Placement, |h| {
            h.add(Fact::GroupPlaced { sale_group: id("night") });
        }),
        ("an event of a group that was not placed", Rule::Placement, |h| {
            h.subject = subject("day");
            let mut day = definition();
            day.sale_group = id("day");
            h.add(Fact::EventDefined(defined(1, day)));
        }),
        ("the group changes", Rule::Placement, |h| {
            h.add(Fact::GroupPlaced { sale_group: id("day") });
            let mut day = definition();
            day.sale_group = id("day");
            h.add(Fact::EventDefined(defined(3, day)));
        }),
        ("a fact about an event names none", Rule::Placement, |h| {
            h.push(None, None, Fact::GroupPlaced { sale_group: id("day") });
        }),
        ("a fact about the shard names an event", Rule::Placement, |h| {
            h.add(Fact::GenerationStarted { generation: 2 });
        }),
        ("an event that was never defined", Rule::Definition, |h| {
            h.subject = subject("day");
            h.add(Fact::StateSet { version: 1, state: EventState::Open });
        }),
    ]);
}

#[test]
fn an_event_lives_on_one_shard() {
    let mut history = History::new();
    history.records[0].2.fact = Fact::ShardStarted(started(0, 2));
    history.shard = 1;
    history.start(started(1, 2));
    assert!(history.audit().ok, "{:#?}", history.audit().findings);
    let length = history.records.len();
    let stories: [(Story, usize); 2] = [
        (
            |h| {
                h.order(None, "ann", &one());
            },
            1,
        ),
        // Its group is not here either.
        (|h| h.add(Fact::EventDefined(defined(3, definition()))), 2),
    ];
    for (story, times) in stories {
        history.records.truncate(length);
        history.sequence = 0;
        story(&mut history);
        let findings = history.audit().findings;
        assert_eq!(findings.len(), times, "{findings:#?}");
        for found in findings {
            assert_eq!((found.rule, found.shard, found.position), (Rule::Placement, 1, 2));
        }
    }
}

#[test]
fn a_shard_without_records_is_missed() {
    let mut history = History::new();
    let Fact::ShardStarted(started) = &mut history.records[0].2.fact else { panic!("it starts") };
    started.shards = 2;
    let report = history.audit();
    assert_eq!(report.findings_count, 1);
    assert_eq!((report.findings[0].rule, report.findings[0].shard), (Rule::Shards, 1));
}

#[test]
fn the_catalogue() {
    check(&[
        ("a version is left out", Rule::Versions, |h| {
            h.add(Fact::EventDefined(defined(4, definition())));
        }),
        ("a version comes again", Rule::Versions, |h| {
            h.add(Fact::StateSet { version: 2, state: EventState::Paused });
        }),
        ("a definition that is invalid by itself", Rule::Definition, |h| {
            let mut bad = definition();
            bad.ticket_types[0].price = -1;
            h.add(Fact::EventDefined(defined(3, bad)));
        }),
        ("an allotment that is not the capacity", Rule::Definition, |h| {
            let mut more = defined(3, definition());
            more.stocks[0].allotment = Some(11);
            h.add(Fact::EventDefined(more));
        }),
        ("a quota without a stock", Rule::Definition, |h| {
            let mut fewer = defined(3, definition());
            fewer.stocks.pop();
            h.add(Fact::EventDefined(fewer));
        }),
        ("a currency that changes after a sale", Rule::Definition, |h| {
            h.order(None, "ann", &one());
            let mut other = definition();
            other.currency = Currency::new("USD").expect("a currency");
            h.add(Fact::EventDefined(defined(3, other)));
        }),
        ("a ticket type in use is taken out", Rule::Definition, |h| {
            h.order(None, "ann", &lines(&[("gift", 1, 0)]));
            let mut fewer = definition();
            fewer.ticket_types.pop();
            fewer.ticket_types[0].quotas.push(id("unlimited"));
            h.add(Fact::EventDefined(defined(3, fewer)));
        }),
        ("a quota in use is taken out", Rule::Definition, |h| {
            h.order(None, "ann", &lines(&[("gift", 1, 0)]));
            let mut fewer = definition();
            fewer.quotas.pop();
            fewer.ticket_types[1].quotas.pop();
            h.add(Fact::EventDefined(defined(3, fewer)));
        }),
        ("a quota shrinks below what is held and sold", Rule::Stock, |h| {
            h.order(None, "ann", &lines(&[("gift", 3, 0)]));
            h.hold(1, "ann", &lines(&[("gift", 3, 0)]));
            let mut smaller = definition();
            smaller.quotas[0].capacity = Some(5);
            h.add(Fact::EventDefined(defined(3, smaller)));
        }),
    ]);
}

/// What the books themselves show at the end, whatever the single records said.
#[test]
fn the_end_shows_money_that_is_nowhere_and_counts_that_differ() {
    let found = |history: &History, rule, times| {
        let findings = history.audit().findings;
        let those = findings.iter().filter(|finding| finding.rule == rule);
        assert_eq!(those.count(), times, "{findings:#?}");
    };
    let mut refunded = History::new();
    let order = refunded.order(None, "ann", &one());
    refunded.pay(order, "p1", 100, PaymentOutcome::Applied);
    refunded.refund(order, "p1");
    // The order lacks its payment, and its money is both in it and back.
    found(&refunded, Rule::Money, 2);
    let mut applied = History::new();
    let order = applied.order(None, "ann", &one());
    applied.cancel(order, CancelReason::Customer);
    applied.pay(order, "p1", 100, PaymentOutcome::Applied);
    found(&applied, Rule::Stock, 1);
    found(&applied, Rule::CustomerLimit, 1);
}

#[test]
fn findings_are_bounded_counted_and_read_well() {
    let mut auditor = Auditor::new();
    for hold in 0..150 {
        let fact = Fact::HoldReleased { hold: HoldId(hold) };
        let event = Event { at: BEGIN, stamp: None, subject: Some(subject("night")), fact };
        auditor.record(0, hold as u64 + 1, &event);
    }
    let report = auditor.finish();
    assert_eq!(report.findings.len(), FINDINGS_MAX);
    // Of each: neither is the shard started nor the event defined.
    assert_eq!(report.findings_count, 300);
    let text = "shard 0, position 1, event river/night: the event was never defined (Definition)";
    assert_eq!(report.findings[1].to_string(), text);
}

/// Numbers from the edges of their types are found, and nothing overflows.
#[test]
fn absurd_numbers_do_not_panic() {
    let mut history = History::new();
    history.push(None, None, Fact::GenerationStarted { generation: u32::MAX });
    let mut seat = line("seat", u32::MAX, i64::MAX);
    seat.version = u32::MAX;
    let mut placed = history.ordered(None, "ann", &one());
    placed.lines = vec![seat; 3].into();
    (placed.sequence, placed.total) = (u64::MAX, i64::MIN);
    placed.payment_due = Some(Time(i64::MIN));
    placed.customer = CustomerId::new("c").expect("a customer");
    let order = history.add_order(placed);
    for reference in ["p1", "p2"] {
        let mut paid = history.paid(order, reference, i64::MAX);
        paid.paid_at = Time(i64::MAX);
        history.add(Fact::PaymentRecorded(paid));
    }
    history.add(Fact::StateSet { version: u32::MAX, state: EventState::Open });
    history.add(Fact::StateSet { version: 0, state: EventState::Open });
    let placed = history.held(1, "ann", &[]);
    history.now = Time(i64::MAX);
    history.add(Fact::HoldPlaced(placed));
    history.now = Time(i64::MIN);
    history.records.push((u16::MAX, u64::MAX, history.records[4].2.clone()));
    history.records.push((u16::MAX, 0, history.records[5].2.clone()));
    assert!(!history.audit().ok);
}
