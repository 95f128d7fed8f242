//! Random histories: whatever is asked for, the state holds together, each event
//! passes an audit, and the events alone lead to the same state.

use super::stage::{Stage, id};
use crate::snapshot::{FrozenPart, Part, Restorer};

/// A small generator (SplitMix64), so that a seed gives the same history for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }
}

/// What an order costs, or a wrong amount for one that is not of the event.
fn total(stage: &Stage, event: &str, order: u64) -> i64 {
    let code = stage.code(&format!("o{order}"));
    stage.shadow.order(&id("org"), &id(event), code).map_or(7, |view| view.total)
}

fn command(random: &mut Random, n: u64, stage: &Stage) -> String {
    let orders = stage.sale.counts().orders as u64;
    let event = random.one_of(&["a", "a", "b"]);
    let who = random.one_of(&["ann", "bob", "cee", "dee"]);
    let (hold, order) = (n.saturating_sub(random.below(30)), random.below(orders + 1) + 1);
    let mut cart = || {
        let lines: Vec<String> = (0..1 + random.below(3))
            .map(|_| format!("{}*{}", random.one_of(&["x", "y", "z"]), 1 + random.below(3)))
            .collect();
        lines.join(" ")
    };
    let cart = cart();
    let key =
        if random.below(4) == 0 { format!("id=k{}", random.below(50)) } else { String::new() };
    let amount = if random.below(9) == 0 { 5 } else { total(stage, event, order) };
    let reference = random.below(40);
    let words = match random.below(40) {
        0..10 => format!("hold h{n} {who} {cart}"),
        10..14 => format!("buy {who} {cart}"),
        14..19 => format!("claim h{hold} {who}"),
        19..22 => format!("extend h{hold}"),
        22..24 => format!("release h{hold}"),
        24..30 => format!("pay o{order} r{reference} {amount}"),
        30..32 => format!("refund r{reference}"),
        32 => format!("cancel o{order}"),
        33 => format!("cancel! o{order}"),
        34 => match random.below(3) {
            0 => format!("order o{order}"),
            _ => "tick".into(),
        },
        35 => random.one_of(&["open", "open", "open", "pause", "close"]).into(),
        36..38 => random.one_of(&["open", "tick"]).into(),
        _ => {
            let (p, q) = (random.below(20), 5 + random.below(20));
            let seconds = 1 + random.below(4);
            let maps = random.one_of(&[
                "t=x:5:p t=y:5:p,q t=z:0:q",
                "t=x:5:p,q t=y:5:p",
                "t=y:5:q t=x:5:p t=z:5+:p",
            ]);
            format!(
                "define if=any q=q:{q} q=p:{p} {maps} limit=x,y:o6:c9 hold={seconds} pay={}",
                seconds * 2
            )
        }
    };
    match words.as_str() {
        "tick" => words,
        _ if words.starts_with("order") => format!("{words} ev={event}"),
        _ if words.starts_with("define") => format!("{words} ev={event} group={event}"),
        _ => format!("{words} ev={event} {key}"),
    }
}

#[test]
fn random_histories_hold_together() {
    for seed in 1..=5 {
        run(seed, u32::MAX, false);
    }
}

/// The shadow keeps all orders in full: whatever is asked, both say the same.
#[test]
fn frozen_orders_make_no_difference() {
    for (seed, hot) in [(11, 0), (12, 1), (13, 8)] {
        let stage = run(seed, hot, false);
        assert!(stage.thawed > 20, "seed {seed}: {} times thawed", stage.thawed);
        let (all, hot) = (stage.sale.counts().orders, stage.sale.orders.hot.len());
        assert!(hot < all, "seed {seed}: {hot} of {all} orders are kept in full");
    }
}

/// A state out of its own parts goes on exactly alike, up to what is due in which order.
#[test]
fn a_restored_state_makes_no_difference() {
    for (seed, hot) in [(21, u32::MAX), (22, 0), (23, 5)] {
        run(seed, hot, true);
    }
}

/// An index can't split what is all alike: it must not try for ever.
#[test]
fn a_snapshot_with_all_references_alike_is_an_error() {
    let mut stage = Stage::default();
    stage.run("0 define => ok\n open => ok\n buy ann gift*1 => ok");
    let mut restorer = Restorer::new();
    stage.sale.save(&mut |part| {
        if matches!(part, Part::Shard(_)) {
            restorer.take(part).unwrap();
        }
    });
    let (position, state) = (3, crate::view::OrderState::Confirmed);
    let payment = Some((4, 0xABCD_EF01));
    let part = Part::Frozen(FrozenPart { position, state, payment });
    let error = (0..300).find_map(|_| restorer.take(part.clone()).err());
    assert_eq!(error.unwrap().what, "too many payments look alike");
}

fn set_hot(stage: &mut Stage, hot: u32) {
    stage.sale.keep_hot(hot);
    // References are alike often, but among few enough to be thawed together.
    stage.sale.orders.reference_mask = 0x7F;
}

fn restore(stage: &mut Stage, hot: u32) {
    let (mut restorer, mut parts) = (Restorer::new(), 0);
    stage.sale.save(&mut |part| {
        parts += 1;
        restorer.take(part).unwrap();
    });
    let restored = restorer.finish().unwrap();
    restored.check().unwrap();
    assert_eq!(restored.hash(), stage.sale.hash());
    assert_eq!(restored.counts(), stage.sale.counts());
    assert_eq!(restored.next_due(), stage.sale.next_due());
    assert!(parts > 5);
    let mut before = std::mem::replace(&mut stage.sale, restored);
    set_hot(stage, hot);
    let mut due = [Vec::new(), Vec::new()];
    let [mine, other] = &mut due;
    stage.sale.due(stage.now, 9, mine);
    before.due(stage.now, 9, other);
    assert_eq!(mine, other);
}

fn run(seed: u64, hot: u32, restored: bool) -> Stage {
    let mut random = Random(seed);
    let mut stage = Stage::default();
    set_hot(&mut stage, hot);
    for event in ["a", "b"] {
        stage.run(&format!(
            "0 define ev={event} group={event} q=p:9 q=q:12 t=x:5:p t=y:5:p,q t=z:0:q => ok"
        ));
        stage.run(&format!("open ev={event} => ok"));
    }
    let mut changes = 0;
    for n in 1..=1_500 {
        stage.now.0 += random.below(900_000) as i64;
        let text = command(&mut random, n, &stage);
        if restored && random.below(40) == 0 {
            restore(&mut stage, hot);
        }
        let outcome = stage.step(&text);
        changes += u32::from(!outcome.starts_with('!') && !outcome.is_empty());
    }
    let counts = stage.sale.counts();
    assert_eq!(counts, stage.shadow.counts());
    assert!(changes > 300 && counts.payments > 10, "seed {seed}: {changes} changes, {counts:?}");
    stage
}
