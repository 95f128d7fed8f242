//! What readers of the live availability cost the sale beside them, in processor time. The test lets a thousand
//! follow, who are sent as much as ten thousand would be. The measurement:
//! `ONSALE_READERS=10000 cargo test --release -p onsale --test overload -- --nocapture readers`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{EVENT, KEY, Server};
use crate::slow::clients_max;
use crate::{ALONE, keep_off_the_servers_core, load};

/// Readers, where the environment does not say another number.
const READERS: u64 = 1_000;
/// Pairs of slices without and with readers.
const PAIRS: usize = 3;
const SLICE: Duration = Duration::from_millis(2_000);
/// Sales asked for in a second, with readers and without.
const RATE: f64 = 1_000.0;
/// What the readers may cost of the server's core. It counts processor time, so that other work on
/// the machine changes little; the goal is a tenth, and this leaves room for slower machines.
const COST_MAX: f64 = 0.16;

/// Lets so many follow; counts the states that they are sent.
async fn readers(server: &Server, count: u64, states: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET {EVENT}/availability/live HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let states = states.clone();
        readers.spawn(async move {
            let mut buffer = vec![0; 2_048];
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                states.fetch_add(1, Relaxed);
            }
        });
    }
    while server.figure("onsale_live_readers") < count as f64 {
        tokio::task::yield_now().await;
    }
    readers
}

/// What a slice of a sale at a fixed rate came to.
#[derive(Clone, Copy, Default)]
struct Slice {
    seconds: f64,
    processor_seconds: f64,
    sold: u64,
    sent: u64,
}

impl Slice {
    /// Sells at the rate, whatever else goes on.
    async fn of(server: &Server, states: &AtomicU64) -> Slice {
        let (begin, sent) = (Instant::now(), states.load(Relaxed));
        let processor_seconds = server.processor_seconds();
        let sold = load(server, Some(RATE), SLICE).await.accepted;
        Slice {
            seconds: begin.elapsed().as_secs_f64(),
            processor_seconds: server.processor_seconds() - processor_seconds,
            sold,
            sent: states.load(Relaxed) - sent,
        }
    }

    fn add(&mut self, other: Slice) {
        self.seconds += other.seconds;
        self.processor_seconds += other.processor_seconds;
        self.sold += other.sold;
        self.sent += other.sent;
    }

    /// Processor time for each second of a clock: the share of a core.
    fn share(&self) -> f64 {
        self.processor_seconds / self.seconds
    }
}

#[tokio::test]
async fn readers_cost_the_sale_little() {
    let _alone = ALONE.lock().await;
    keep_off_the_servers_core();
    let server = Server::start(&[]);
    let asked = std::env::var("ONSALE_READERS").ok().map(|count| count.parse().unwrap());
    let count = clients_max().min(asked.unwrap_or(READERS));
    let states = Arc::new(AtomicU64::new(0));
    let (mut without, mut with) = (Slice::default(), Slice::default());
    Slice::of(&server, &states).await;
    for _ in 0..PAIRS {
        without.add(Slice::of(&server, &states).await);
        let reading = readers(&server, count, &states).await;
        with.add(Slice::of(&server, &states).await);
        drop(reading);
        while server.figure("onsale_live_readers") > 0.0 {
            load(&server, Some(50.0), Duration::from_millis(200)).await;
        }
    }
    let (alone, beside) = (without.share(), with.share());
    let sent = with.sent as f64 / with.seconds;
    println!(
        "at {RATE} sales a second: {alone:.3} of a core alone, {beside:.3} beside {count} readers who \
         are sent {sent:.0} states a second"
    );
    let cost = beside - alone;
    println!("the readers cost {cost:.3} of a core, {:.1} µs for each state", cost / sent * 1e6);
    assert!(without.sold > 0 && with.sold as f64 > 0.5 * without.sold as f64);
    assert!(cost <= COST_MAX, "readers cost {cost:.2} of a core");
    let each = sent / count as f64;
    assert!(each > 0.3, "the readers are forgotten: each is sent {each:.2} states a second");
}
