//! The row `memory`: bytes of the state per thing that lives, and of the server per connection.
//!
//! Tables grow in steps, so a cost swings: what is told is the most that it came to from 50,000
//! things on, which is just after a table grew.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use onsale_core::{Command, Sale};

use super::apart::Apart;
use super::report::{Figure, Goal, Row, Unit};
use super::rules::{carry_out, opened, time_of};
use super::site::Site;
use super::workload::Workload;
use super::{Settings, report};
use crate::cli::bench::MEMORY_ABOUT;

/// Things to make.
const THINGS: u64 = 1_000_000;
/// How often to look.
const STEP: u64 = 1_000;
/// Connections to open.
const CONNECTIONS: u64 = 10_000;

/// `onsale bench memory`
///
/// # Errors
/// A command is refused, or the server does not start.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("memory", MEMORY_ABOUT);
    let many = settings.count(THINGS);
    let hot = Workload::hot(many);
    let grow = |what: &str, workload: Workload, make: &dyn Fn(u64) -> Command| {
        settings.tell(&format!("memory: {what}"));
        Curve::of(workload, many, make)
    };
    let held = grow("holds", hot, &|n| hot.hold(n))?;
    let unchosen = Workload { chosen: false, ..hot };
    let without_ids = grow("holds without ids", unchosen, &|n| unchosen.hold(n))?;
    let few = Workload { customers: 1, ..unchosen };
    let one_customer = grow("holds of one customer", few, &|n| few.hold(n))?;
    let free = Workload { price: 0, ..few };
    let orders = grow("confirmed orders", free, &|n| free.buy(n, 1))?;
    let unpaid = grow("orders that await payment", few, &|n| few.buy(n, 1))?;
    let figures = [
        ("live hold, with its customer and its remembered id", held.most(None)),
        ("  of it the hold", one_customer.most(None)),
        ("  of it the customer, 36 bytes", without_ids.most(Some(&one_customer))),
        ("  of it the remembered id", held.most(Some(&without_ids))),
        ("confirmed order", orders.most(None)),
        ("order that awaits payment", unpaid.most(None)),
    ];
    for (name, bytes) in figures {
        row.figures.push(Figure::alone(name, Unit::Bytes, vec![bytes.round()]));
    }
    let hold = row.figures.remove(0).goal(Goal::AtMost(200.0));
    row.figures.insert(0, hold);
    row.figures.push(connections(settings)?);
    let count = report::number(many as f64);
    row.notes.push(format!(
        "The most that it came to on the way to {count} of them, as the state counts its own tables."
    ));
    Ok(row)
}

/// Bytes of the state after each step.
struct Curve(Vec<usize>);

impl Curve {
    fn of(workload: Workload, many: u64, make: &dyn Fn(u64) -> Command) -> anyhow::Result<Curve> {
        let mut sale: Sale = opened(workload)?;
        let empty = sale.memory_bytes();
        let mut bytes = Vec::new();
        for number in 0..many {
            carry_out(&mut sale, &make(number), time_of(number), &mut |_| {})?;
            if (number + 1) % STEP == 0 {
                bytes.push(sale.memory_bytes() - empty);
            }
        }
        Ok(Curve(bytes))
    }

    /// The most for each thing, less what it is on another curve at the same time.
    fn most(&self, less: Option<&Curve>) -> f64 {
        let from = 50.min(self.0.len() / 2);
        let points = self.0.iter().enumerate().skip(from);
        let each = points.map(|(index, bytes)| {
            let less = less.map_or(0, |less| less.0[index]);
            (*bytes as f64 - less as f64) / ((index as u64 + 1) * STEP) as f64
        });
        each.fold(0.0, f64::max)
    }
}

/// What an idle connection costs the server, once it has asked something.
fn connections(settings: &Settings) -> anyhow::Result<Figure> {
    settings.tell("memory: connections");
    let apart = Apart::new()?;
    let most = onsale_rush::files_max().saturating_sub(200) as u64;
    let count = settings.count(CONNECTIONS).min(most);
    let site = Site::product(&apart.cores)?;
    // The first ones warm up what is there once.
    let warm: Vec<TcpStream> = (0..100).map(|_| ask(site.address)).collect::<Result<_, _>>()?;
    let before = site.server.memory_bytes();
    let open: Vec<TcpStream> = (0..count).map(|_| ask(site.address)).collect::<Result<_, _>>()?;
    let after = site.server.memory_bytes();
    drop((warm, open));
    site.stop()?;
    ensure!(after > before && before > 0, "{before} bytes before, {after} after");
    let bytes = (after - before) as f64 / count as f64;
    let name = format!("idle connection, of {}", onsale_rush::group(count));
    Ok(Figure::alone(name, Unit::Bytes, vec![bytes.round()]))
}

/// A connection that has had an answer.
fn ask(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut piece = [0; 4_096];
    let read = stream.read(&mut piece)?;
    let text = piece.get(..read).context("it fits")?;
    ensure!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(text));
    Ok(stream)
}
