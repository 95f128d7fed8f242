//! Memory, and tables that must not grow for ever.

use super::stage::{KEY, Stage, id};
use crate::command::{Action, Command, CommandStamp, HoldId, Item};
use crate::limits::ENDED_HOLDS_MAX;
use crate::text::CustomerId;
use crate::time::Time;

fn hold(n: u64, second: i64) -> (Command, Time) {
    // A UUIDv7: its time, then what stands for random bits.
    let random = KEY.digest("random", &[&n.to_le_bytes()]);
    let hold = HoldId(u128::from(n / 100) << 80 | random >> 48);
    let customer = CustomerId::new(&format!("{n:036}")).unwrap();
    let items = one();
    let stamp = CommandStamp { id: random, body: 0, chosen: true, made_at: None };
    let action = Action::PlaceHold { hold, customer, items };
    let command = Command { stamp, organizer: id("org"), event: id("ev"), action };
    (command, Time(second * 1_000_000))
}

fn one() -> crate::command::Items {
    [Item { ticket_type: id("std"), quantity: 1, price: None }].into_iter().collect()
}

fn stage() -> Stage {
    let mut stage = Stage::default();
    stage.run("0 define q=all:- t=std:500:all limit=*:c4 => ok\n open => ok");
    stage.thorough = false;
    stage
}

#[test]
fn a_live_hold_takes_at_most_200_bytes() {
    let mut stage = stage();
    let mut worst = 0;
    for n in 1..=200_000 {
        let (command, now) = hold(n, 0);
        stage.now = now;
        assert!(stage.carry_out(&command).starts_with("held"));
        if n >= 20_000 {
            worst = worst.max(stage.sale.memory_bytes() as u64 / n);
        }
    }
    assert_eq!(stage.sale.counts().holds, 200_000);
    let now = stage.sale.memory_bytes() / 200_000;
    println!("{now} bytes per hold, at worst {worst} on the way");
    assert!(worst <= 200, "{worst} bytes per hold");
}

#[test]
fn holds_that_come_and_go_do_not_let_tables_grow() {
    let mut stage = stage();
    let mut bytes = Vec::new();
    for n in 1..=400_000u64 {
        let (mut command, now) = hold(n, n as i64 / 100);
        command.stamp.chosen = false;
        stage.now = now;
        assert!(stage.carry_out(&command).starts_with("held"));
        if n % 50 == 0 {
            stage.step("tick");
        }
        if n % 200_000 == 0 {
            bytes.push(stage.sale.memory_bytes());
        }
    }
    // 300 seconds of 100 holds each are alive.
    assert!(stage.sale.counts().holds < 31_000);
    assert_eq!(stage.sale.counts().ended_holds, ENDED_HOLDS_MAX);
    assert!(bytes[1] <= bytes[0] + bytes[0] / 20, "{bytes:?}");
    stage.sale.check().unwrap();
    assert_eq!(stage.sale.hash(), stage.shadow.hash());
}

#[test]
fn an_old_order_takes_at_most_30_bytes() {
    let mut stage = stage();
    stage.run("0 define q=all:- t=std:500:all if=any => ok");
    stage.sale.keep_hot(2_000);
    let mut bytes = Vec::new();
    for n in 1..=40_000u64 {
        let code = stage.code(&format!("o{n}"));
        for action in [
            Action::Buy { customer: CustomerId::new("ann").unwrap(), items: one() },
            Action::RecordPayment {
                order: code,
                reference: crate::text::Reference::new(&n.to_string()).unwrap(),
                amount: 500,
                currency: crate::catalogue::Currency::new("EUR").unwrap(),
                paid_at: None,
            },
        ] {
            let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
            let (organizer, event) = (id("org"), id("ev"));
            stage.carry_out(&Command { stamp, organizer, event, action });
        }
        if n % 20_000 == 0 {
            bytes.push(stage.sale.memory_bytes());
        }
    }
    // And the few that came back because 32 bits of a reference were alike.
    assert!(stage.sale.orders.hot.len() <= 2_008);
    let per_order = (bytes[1] - bytes[0]) as f64 / 20_000.0;
    println!("{per_order:.1} bytes per old order with a payment");
    assert!(per_order <= 30.0, "{per_order} bytes per old order");
    stage.sale.check().unwrap();
    assert_eq!(stage.sale.hash(), stage.shadow.hash());
}

/// The largest definition there may be, defined and redefined: no loop of all over all.
#[test]
fn a_definition_of_the_largest_size_is_no_burden() {
    let n = crate::limits::TICKET_TYPES_MAX;
    let types: Vec<String> = (0..n)
        .map(|i| {
            format!(
                "q=q{i}:9 t=t{i}:1:{}",
                (0..16).map(|k| format!("q{}", (i + k) % n)).collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    let all: Vec<String> = (0..n).map(|i| format!("t{i}")).collect();
    let limits = format!("limit={}:c9 ", all.join(",")).repeat(64);
    let mut stage = Stage { thorough: false, ..Stage::default() };
    stage.run(&format!("0 define {} {limits} => ok\n open => ok", types.join(" ")));
    stage.run("0 hold h1 ann t0*2 t999*3 => ok");
    stage.run(&format!("0 define name=New if=any {} {limits} => ok", types.join(" ")));
    stage.sale.check().unwrap();
    assert_eq!(stage.sale.hash(), stage.shadow.hash());
}
