//! Overload: a server that is held back by a busy sibling on its core is offered twice
//! what it can do. It goes on selling nearly as much as at its best, its memory stays
//! flat, and it is as quick as before soon after the load has fallen.
//!
//! All figures are ratios of what the same run measured, over rounds that alternate, so that a
//! machine with other work of its own tells the same.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod process;
mod readers;
mod slow;
#[path = "../support/process.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use process::{KEY, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections of the load, as a front tier keeps them. No more requests can wait than there are of them, so
/// they must be enough for a queue that is too long, on a machine that takes 30,000 a second, too.
const CONNECTIONS: u64 = 2_500;
/// How long a buyer waits for a connection that is free, before it is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Rounds of the test; more are added up to the second where the first do not convince.
const ROUNDS: usize = 3;
const ROUNDS_MAX: usize = 7;
/// What must be sold under overload, of what is sold at best.
const GOODPUT_MIN: f64 = 0.8;
/// After so long at most all is as before.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Memory that may be taken beside that of the holds, and for each of them.
const MEMORY_SLACK_BYTES: u64 = 48 << 20;
const HOLD_BYTES_MAX: u64 = 1_024;

/// What came of a load.
#[derive(Debug, Default)]
struct Outcome {
    accepted: u64,
    refused: u64,
    /// Buyers who waited in vain for a connection.
    lost: u64,
    latencies_us: Vec<u64>,
}

impl Outcome {
    fn median_us(&mut self) -> u64 {
        self.latencies_us.sort_unstable();
        self.latencies_us.get(self.latencies_us.len() / 2).copied().unwrap_or(u64::MAX)
    }
}

/// Asks for holds for so long: at this rate whether there are answers or not, or else
/// each connection as soon as it has its answer.
async fn load(server: &Server, rate: Option<f64>, lasts: Duration) -> Outcome {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let arrived = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (outcome, arrived) = (outcome.clone(), arrived.clone());
            let address = server.address;
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; 8_192];
                loop {
                    let number = arrived.fetch_add(1, Relaxed);
                    if let Some(rate) = rate {
                        let due = begin + Duration::from_secs_f64(number as f64 / rate);
                        let _ =
                            tokio::time::timeout_at(due.into(), std::future::pending::<()>()).await;
                        if due.elapsed() > PATIENCE {
                            outcome.lock().unwrap().lost += 1;
                            continue;
                        }
                    }
                    if begin.elapsed() > lasts {
                        return;
                    }
                    let asked = Instant::now();
                    stream.write_all(&hold(number)).await.unwrap();
                    let status = answer(&mut stream, &mut buffer).await;
                    let mut outcome = outcome.lock().unwrap();
                    match status {
                        201 => outcome.accepted += 1,
                        503 => outcome.refused += 1,
                        other => panic!("status {other}"),
                    }
                    outcome.latencies_us.push(asked.elapsed().as_micros() as u64);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    std::mem::take(&mut *outcome.lock().unwrap())
}

fn hold(number: u64) -> Vec<u8> {
    let customer = format!("{number:016x}");
    let body =
        format!(r#"{{"customer":"{customer}","items":[{{"ticket_type":"free","quantity":1}}]}}"#);
    format!(
        "POST {}/holds HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        process::EVENT,
        body.len()
    )
    .into_bytes()
}

/// Reads one answer; gives back its status.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut length = 0;
    loop {
        let n = stream.read(&mut buffer[length..]).await.unwrap();
        assert!(n > 0, "the server closed a connection that it should keep");
        length += n;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let said = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == said.parse::<usize>().unwrap() {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

/// Keeps the server's core busy until it is dropped.
struct Sibling {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sibling {
    fn start() -> Sibling {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            // The server takes the first core.
            if let Some(core) = core_affinity::get_core_ids().unwrap_or_default().first() {
                core_affinity::set_for_current(*core);
            }
            while !seen.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        Sibling { stop, thread: Some(thread) }
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Asks at a rate that the server can bear until it is as quick as before; how long that took.
async fn recovery(server: &Server, rate: f64, calm_us: u64) -> Duration {
    let begin = Instant::now();
    loop {
        let mut slice = load(server, Some(rate), Duration::from_millis(500)).await;
        let median_us = slice.median_us();
        let calm = slice.refused + slice.lost == 0 && median_us <= (4 * calm_us).max(20_000);
        if calm {
            return begin.elapsed();
        }
        let after = begin.elapsed();
        assert!(
            after < RECOVERY_MAX,
            "after {after:?}: {} refused, {} lost, median {median_us} µs",
            slice.refused,
            slice.lost
        );
    }
}

/// Keeps this thread on another core than the server's, where there is one.
fn keep_off_the_servers_core() {
    if let Some(core) = core_affinity::get_core_ids().unwrap_or_default().get(1) {
        core_affinity::set_for_current(*core);
    }
}

/// One test at a time has the machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn twice_what_it_can_do_is_sold_like_once() {
    let _alone = ALONE.lock().await;
    keep_off_the_servers_core();
    assert!(slow::clients_max() >= CONNECTIONS, "this process may not open {CONNECTIONS} files");
    let server = Server::start(&[("ONSALE_LIMITS_QUEUE_MS", "20")]);
    let sibling = Sibling::start();
    load(&server, None, Duration::from_millis(500)).await;
    let best = load(&server, None, Duration::from_secs(1)).await;
    let calm_rate = best.accepted as f64 * 0.3;
    let calm_us = load(&server, Some(calm_rate), Duration::from_secs(1)).await.median_us();

    let memory = server.memory_bytes();
    let (mut peaks, mut goods) = (Vec::new(), Vec::new());
    let (mut rounds, mut all_refused, mut sold) = (0, 0, 0);
    loop {
        let peak = load(&server, None, Duration::from_millis(1_500)).await.accepted as f64 / 1.5;
        let over = load(&server, Some(2.0 * peak), Duration::from_secs(2)).await;
        let (accepted, refused, lost) = (over.accepted, over.refused, over.lost);
        println!(
            "peak {peak:.0}/s, offered twice: {accepted} sold, {refused} refused, {lost} lost"
        );
        sold += accepted + (peak * 1.5) as u64;
        // Else the machine has found time in between, and it was no overload.
        if (accepted as f64) < 0.75 * 4.0 * peak {
            peaks.push(peak);
            goods.push(accepted as f64 / 2.0);
            all_refused += refused;
        }
        rounds += 1;
        let ratio = goods.iter().sum::<f64>() / peaks.iter().sum::<f64>();
        if peaks.len() >= ROUNDS && ratio >= GOODPUT_MIN {
            assert!(all_refused > 0, "nobody was refused: the queue is as long as it likes");
            println!("goodput {ratio:.2} of the peak, {all_refused} refused, {rounds} rounds");
            break;
        }
        assert!(rounds < ROUNDS_MAX, "goodput is {ratio:.2} of the peak: {goods:?} of {peaks:?}");
    }
    let took = recovery(&server, calm_rate, calm_us).await;
    println!("recovered within {took:?}");
    let more = server.memory_bytes().saturating_sub(memory);
    let allowed = MEMORY_SLACK_BYTES + sold * HOLD_BYTES_MAX;
    assert!(more <= allowed, "{more} bytes more for {sold} holds");
    drop(sibling);
}
