//! The box office, the engine and the bridge, each the real program and a process of its own, all of them killed by SIGKILL at
//! random, the box office's PostgreSQL too, while an organizer edits, buyers buy on either side, and orders are cancelled
//! on either side and on both at once. In the end nothing differs, nothing is there twice, and nothing is lost.
//!
//! `ONSALE_KILLS` says how many kills for each database (15); `ONSALE_SEED` has the same done again.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod check;
mod commands;
#[path = "../support/front.rs"]
mod front;
mod office;
mod sales;
mod tls;
mod world;
mod wrong;

use std::hash::{BuildHasher as _, RandomState};

use office::{Catalogue, Office};
use onsale_bridge::database::Kind;
use sales::{Buyer, Sales};
use world::{Choices, Who, World};

/// Kills for each database, where nobody says another number.
const KILLS: u64 = 15;
/// Buyers at the engine.
const BUYERS: u64 = 3;
/// Places of the event that the engine sells.
const CAPACITY: i64 = 1_000_000;
/// Of answers to the load, how many come between two kills at most.
const ANSWERS_MAX: u64 = 150;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Has the load end, also when the killer panics.
struct Ends<'w>(&'w World);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end_load();
    }
}

fn survives(kind: Kind) {
    let seed = number("ONSALE_SEED").unwrap_or_else(|| RandomState::new().hash_one(kind));
    let kills = number("ONSALE_KILLS").unwrap_or(KILLS);
    println!("the same again: ONSALE_SEED={seed} ONSALE_KILLS={kills}");
    let (world, sales, mut catalogue) = (World::new(kind), Sales::default(), Catalogue::default());
    let office = Office::log_in(&world);
    let office_key = world.run(&["classic", "key", "--organizer", "river", "--name", "till"], "");
    let [hall, shop] = ["hall", "shop"].map(|slug| office.make(slug, CAPACITY, &[2_500, 0]));
    catalogue.events.extend([hall.clone(), shop.clone()]);
    catalogue.events.extend((1..=4).map(|n| office.make(&format!("e-{n}"), 100, &[1_000 * n, 0])));
    world.run(&["bridge", "attach"], "");
    world.start(Who::Engine);
    world.start(Who::Bridge);
    world.run(&["bridge", "take", "river/hall"], "");
    check::is_open(&world);

    let mut choices = Choices(seed);
    let seeds: Vec<u64> = (0..BUYERS + 3).map(|_| choices.below(u64::MAX)).collect();
    std::thread::scope(|scope| {
        let _ends = Ends(&world);
        let buyers: Vec<Buyer<'_>> =
            (0..BUYERS).map(|n| Buyer::new(&world, &sales, &hall, &format!("b{n}"))).collect();
        for (buyer, seed) in buyers.into_iter().zip(&seeds) {
            scope.spawn(move || buyer.work(*seed));
        }
        let canceller = Buyer::new(&world, &sales, &hall, "canceller");
        scope.spawn(|| { canceller }.cancel_there(&office_key, seeds[3]));
        let in_shop = Buyer::new(&world, &sales, &hall, "shop");
        scope.spawn(|| { in_shop }.shop(&shop, seeds[4]));
        scope.spawn(|| office.work(&mut catalogue, 2, seeds[5]));
        for kill in 0..kills {
            kill_one(&world, kill, &mut choices);
        }
        // What was started last has something to do, too.
        world.wait_for_answers(world.answers() + ANSWERS_MAX);
        // On a busy machine write-back came to little between the kills, and only what is there can be cancelled there.
        world.wait_until(|| match *sales.cancelled_there.lock().unwrap() {
            (there, both) if there > kills / 4 && both > 0 => Ok(()),
            few => Err(format!("cancelled in the office, and of these on both sides: {few:?}")),
        });
    });
    check::settled(&world, &sales);
    check::orders(&world, &sales);
    check::stock(&world, &hall, &sales);
    check::catalogue(&world, &catalogue, "hall");
    world.kill(Who::Bridge);
    world.kill(Who::Engine);
    let audit = onsale::audit::audit(&world.path("engine")).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    let sold = sales.sold.into_inner().unwrap().len() as u64;
    let orders = audit.report.orders;
    let cancelled = orders.cancelled_customer + orders.cancelled_organizer;
    let made = orders.confirmed + orders.awaiting_payment + cancelled;
    assert_eq!(made, sold, "{orders:?}");
    let ((there, both), edits) = (sales.cancelled_there.into_inner().unwrap(), catalogue.edits);
    println!(
        "{kills} kills, {sold} orders, {edits} edits, {there} cancelled there, {both} on both sides"
    );
    // Else the kills met nobody at work.
    assert!(sold > 10 * kills && edits > 2 * kills && there > kills / 4 && both > 0);
}

/// Kills somebody after some more answers, and starts it again.
fn kill_one(world: &World, number: u64, choices: &mut Choices) {
    let who = match (world.kind, number % 5, choices.below(4)) {
        (Kind::Postgres, 2, _) => Who::Database,
        (.., 0) => Who::Office,
        (.., 1) => Who::Engine,
        _ => Who::Bridge,
    };
    world.wait_for_answers(world.answers() + 1 + choices.below(ANSWERS_MAX));
    // One that was just started is often killed before it writes: so half of the time it is waited for.
    if who == Who::Bridge && choices.below(2) == 0 {
        let place = || {
            let rows = world.rows("SELECT MAX(position) AS place FROM onsale_cursor");
            rows.first().and_then(|row| row.maybe_text("place").unwrap())
        };
        let before = place();
        world.wait_until(|| match place() == before {
            true => Err(format!("write-back stands still at {before:?}")),
            false => Ok(()),
        });
    }
    world.kill(who);
    world.start(who);
}

#[test]
fn kills_leave_both_sides_the_same_on_sqlite() {
    survives(Kind::Sqlite);
}

#[test]
fn kills_leave_both_sides_the_same_on_postgres() {
    survives(Kind::Postgres);
}
