//! What readers of the live availability cost the sale beside them. The test lets a thousand
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
const SLICE: Duration = Duration::from_millis(1_500);
/// What must be left of the sale, on a machine with other work and without optimisation.
const LEFT_MIN: f64 = 0.3;

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

#[tokio::test]
async fn readers_cost_the_sale_little() {
    let _alone = ALONE.lock().await;
    keep_off_the_servers_core();
    let server = Server::start(&[]);
    let asked = std::env::var("ONSALE_READERS").ok().map(|count| count.parse().unwrap());
    let count = clients_max().min(asked.unwrap_or(READERS));
    let states = Arc::new(AtomicU64::new(0));
    load(&server, None, SLICE).await;
    let (mut without, mut with) = (0, 0);
    for _ in 0..PAIRS {
        let alone = load(&server, None, SLICE).await.accepted;
        let reading = readers(&server, count, &states).await;
        let (before, begin) = (states.load(Relaxed), Instant::now());
        let beside = load(&server, None, SLICE).await.accepted;
        let sent = (states.load(Relaxed) - before) as f64 / begin.elapsed().as_secs_f64();
        drop(reading);
        while server.figure("onsale_live_readers") > 0.0 {
            load(&server, Some(50.0), Duration::from_millis(200)).await;
        }
        (without, with) = (without + alone, with + beside);
        let (alone, beside) =
            (alone as f64 / SLICE.as_secs_f64(), beside as f64 / SLICE.as_secs_f64());
        println!(
            "{alone:.0}/s alone, {beside:.0}/s beside {count} readers who are sent {sent:.0} states/s"
        );
    }
    let left = with as f64 / without as f64;
    println!("the sale keeps {left:.3}");
    assert!(left >= LEFT_MIN, "readers leave {left:.2} of the sale");
    assert!(states.load(Relaxed) > 2 * count, "the readers are forgotten");
}
