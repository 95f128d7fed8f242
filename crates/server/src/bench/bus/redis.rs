//! The relay from files to a Redis of its own, beside that Redis asked plainly with the same bytes.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use onsale_bus::redis::{RedisBus, RedisOptions, raw};
use onsale_bus::{Bus, bench};
use tempfile::TempDir;

use super::{BATCH, PAYLOAD_BYTES, runtime, stream};
use crate::bench::Settings;
use crate::bench::report::{Figure, Goal, Row, Unit, number};
use crate::bench::site::folder;
use crate::bench::stats::{Side, interleaved};

/// Records that are relayed.
const RECORDS: u64 = 200_000;
/// Ports to try: below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 20_000..32_768;
/// A port can be taken between being found and being used.
const TRIES_MAX: u32 = 20;
/// A server that does not answer for so long never will.
const START_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// Adds the relay's figure, or says why there is none.
///
/// # Errors
/// Redis fails, or has not what was relayed.
pub fn add(settings: &Settings, row: &mut Row) -> anyhow::Result<()> {
    let Some(program) = found() else {
        row.notes.push("The relay is left out: there is no redis-server on the PATH.".to_owned());
        return Ok(());
    };
    let entries = bench::entries(settings.count(RECORDS) as usize, PAYLOAD_BYTES);
    let (folder, runtime, source) = (folder()?, runtime()?, stream("source"));
    let files = runtime.block_on(async {
        let bus = Bus::file(folder.path()).await?;
        bus.create(&source, 1).await?;
        for part in entries.chunks(BATCH) {
            bus.append(&source, part).await?;
        }
        anyhow::Ok(bus)
    })?;
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("bus: relay, {side:?}"));
        let server = Server::start(&program, &["--appendonly", "no"])?;
        runtime.block_on(async {
            let options = RedisOptions::new(&server.url);
            if side == Side::Limit {
                return Ok(raw::appends_per_second(&options, &stream("raw"), &entries).await?);
            }
            let (target, copy) = (Bus::Redis(RedisBus::connect(&options).await?), stream("copy"));
            target.create(&copy, 1).await?;
            let rate = bench::relay(&files, &source, &target, &copy).await?;
            let last = target.describe(&copy).await?.shards[0].last.and_then(|last| last.as_u64());
            ensure!(last == Some(entries.len() as u64), "Redis has {last:?} of {}", entries.len());
            target.close().await?;
            Ok(rate)
        })
    })?;
    runtime.block_on(files.close())?;
    let limit = ("XADD in pipelines, nothing around it", limits);
    let figure = Figure::beside("records relayed to Redis", Unit::PerSecond, products, limit);
    row.figures.push(figure.goal(Goal::AtLeast(100_000.0)));
    row.notes.push(format!(
        "Redis is one of its own for each run, without persistence, on the same machine; {} records.",
        number(entries.len() as f64)
    ));
    Ok(())
}

/// The server's program.
pub(in crate::bench) fn found() -> Option<PathBuf> {
    found_program("redis-server")
}

/// A program on the PATH.
pub(in crate::bench) fn found_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A Redis at work; it is killed when this is dropped.
pub(in crate::bench) struct Server {
    pub(in crate::bench) url: String,
    pub(in crate::bench) child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts it on a spare port, with options of its own.
    pub(in crate::bench) fn start(
        program: &std::path::Path,
        options: &[&str],
    ) -> anyhow::Result<Server> {
        let first = u64::from(std::process::id()) ^ getrandom::u64()?;
        for port in (0..TRIES_MAX).map(|n| port(first.wrapping_add(u64::from(n)))) {
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                continue;
            }
            let folder = folder()?;
            let mut command = Command::new(program);
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
            command.args(options).arg("--dir").arg(folder.path());
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            let child = child.with_context(|| program.display().to_string())?;
            let url = format!("redis://127.0.0.1:{port}");
            let mut server = Server { url, child, _folder: folder };
            if server.answers(port)? {
                return Ok(server);
            }
        }
        bail!("redis-server found no port in {TRIES_MAX} tries")
    }

    /// Waits until it answers; not: it ended.
    fn answers(&mut self, port: u16) -> anyhow::Result<bool> {
        let since = Instant::now();
        while since.elapsed() < START_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        bail!("redis-server does not answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port(number: u64) -> u16 {
    let count = u64::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(number % count).expect("below the number of ports")
}
