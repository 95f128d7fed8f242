//! `onsale serve`: puts the parts together, runs them on their cores, and takes them down
//! again without losing or cutting anything.

mod beside;
mod elsewhere;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use core_affinity::CoreId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::admission;
use crate::api::{Api, Beside};
use crate::bus::KeptElsewhere;
use crate::config::Config;
use crate::keys::{FirstKey, KeyStore};
use crate::listen::{self, Listener};
use crate::output::announce;
use crate::shards::{Driver, Opened, RedisStore, Shards, wall_time};
use crate::systemd;
use crate::webhooks::Webhooks;

/// How often the key file is looked at.
const KEYS_EVERY: Duration = Duration::from_secs(1);
/// File descriptors that are not for connections: journals, listeners, the like.
const DESCRIPTORS_BESIDE: u64 = 500;

/// A server at work.
pub struct Server {
    /// Where it listens; the real port where any was asked for.
    pub address: SocketAddr,
    /// How it came by its keys.
    pub first_key: FirstKey,
    api: Arc<Api>,
    workers: Vec<JoinHandle<()>>,
    /// What is done beside the sale.
    beside: JoinHandle<()>,
    /// One message per worker whose listener is done.
    listened: mpsc::Receiver<()>,
    /// Dropped to let the workers end.
    over: watch::Sender<bool>,
}

/// What a worker thread runs.
struct Worker {
    core: Option<CoreId>,
    api: Arc<Api>,
    router: axum::Router,
    socket: std::net::TcpListener,
    connections_max: usize,
    drivers: Vec<Driver>,
    keeps_keys: bool,
    listened: mpsc::Sender<()>,
    over: watch::Receiver<bool>,
}

impl Server {
    /// Opens the data folder and starts to serve. `key` is the first key of a folder that
    /// has none; where none is handed in, one is made. Worker threads are pinned to these
    /// cores, as far as there are any.
    ///
    /// # Errors
    /// The folder, the key file or the port can't be used.
    pub fn start(config: &Config, key: Option<&str>, cores: &[CoreId]) -> anyhow::Result<Server> {
        let sockets = open_sockets(config)?;
        let shards = match &config.store {
            None => Shards::over(Opened::files(&config.data, config.shards, &config.journal)?),
            Some(options) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let opened = RedisStore::open(&config.data, config.shards, options.clone());
                Shards::over_redis(runtime.block_on(opened)?)?
            }
        };
        Server::start_over(config, sockets, (shards, Vec::new()), key, cores)
    }

    /// The same over shards that are open, with the streams beside `sales` that are not in the data folder.
    ///
    /// # Errors
    /// The key file or the port can't be used.
    pub fn start_over(
        config: &Config,
        sockets: Vec<std::net::TcpListener>,
        (shards, streams): ((Shards, Vec<Driver>), KeptElsewhere),
        key: Option<&str>,
        cores: &[CoreId],
    ) -> anyhow::Result<Server> {
        let address = sockets[0].local_addr()?;
        let (shards, drivers) = shards;
        let (keys, first_key) = KeyStore::load_or_create(&config.data, key, wall_time())?;
        let webhooks = match shards.shared().filter(|_| cfg!(feature = "redis")) {
            Some(store) => Webhooks::shared(&config.data, store),
            None => Webhooks::load(&config.data)?,
        };
        let over = watch::Sender::new(false);
        let (mut beside, bus) = beside::start(&shards, streams, config.streams, over.subscribe())?;
        let webhook_limits = config.webhooks;
        let (api, router) =
            Api::new(shards, keys, config.limits, Beside { bus, webhooks, webhook_limits });
        beside.begin(&api);
        let (listened_sender, listened) = mpsc::channel(config.cores);
        let mut shares: Vec<Vec<Driver>> = (0..config.cores).map(|_| Vec::new()).collect();
        for (i, driver) in drivers.into_iter().enumerate() {
            shares[i % config.cores].push(driver);
        }
        let mut workers = Vec::new();
        for (i, (socket, drivers)) in sockets.into_iter().zip(shares).enumerate() {
            let worker = Worker {
                core: cores.get(i).copied(),
                api: api.clone(),
                router: router.clone(),
                socket,
                connections_max: config.limits.connections.div_ceil(config.cores),
                drivers,
                keeps_keys: i == 0,
                listened: listened_sender.clone(),
                over: over.subscribe(),
            };
            let builder = std::thread::Builder::new().name(format!("serve-{i}"));
            workers.push(start(builder, worker)?);
        }
        let beside = beside.thread;
        Ok(Server { address, first_key, api, workers, beside, listened, over })
    }

    /// Stops: no new connections, answers for all requests under way, everything on the
    /// disk, then the end.
    ///
    /// # Errors
    /// A worker had panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.api.draining.send_replace(true);
        for _ in 0..self.workers.len() {
            self.listened.recv().await;
        }
        self.api.shards.close().await;
        self.over.send_replace(true);
        for worker in self.workers.into_iter().chain([self.beside]) {
            let joined = tokio::task::spawn_blocking(move || worker.join()).await?;
            joined.map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        }
        Ok(())
    }
}

/// Opens the sockets, one for each core.
fn open_sockets(config: &Config) -> anyhow::Result<Vec<std::net::TcpListener>> {
    listen::open(config.listen, config.cores)
        .with_context(|| format!("cannot listen on {}", config.listen))
}

/// Starts a worker and waits until it listens.
fn start(builder: std::thread::Builder, worker: Worker) -> anyhow::Result<JoinHandle<()>> {
    let (ready, is_ready) = oneshot::channel();
    let thread = builder.spawn(move || {
        if let Some(core) = worker.core {
            core_affinity::set_for_current(core);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(work(worker, ready)),
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    is_ready.blocking_recv().context("the worker ended at once")??;
    Ok(thread)
}

async fn work(worker: Worker, ready: oneshot::Sender<std::io::Result<()>>) {
    let Worker { api, router, socket, connections_max, drivers, keeps_keys, .. } = worker;
    let listener = match Listener::new(api.clone(), router, socket, connections_max) {
        Ok(listener) => listener,
        Err(error) => return drop(ready.send(Err(error))),
    };
    for driver in drivers {
        tokio::task::spawn(admission::mind(api.clone(), driver.shard()));
        tokio::task::spawn(driver.run());
    }
    if keeps_keys {
        tokio::task::spawn(keep_keys(api));
    }
    // Whoever started it may have given up; then it is told to stop soon.
    let _ = ready.send(Ok(()));
    listener.run().await;
    let _ = worker.listened.send(()).await;
    // The drivers of this worker go on until all shards are closed.
    let mut over = worker.over;
    let _ = over.wait_for(|over| *over).await;
}

/// Follows the key file.
async fn keep_keys(api: Arc<Api>) {
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        match api.keys.load().refresh_if_changed() {
            Ok(None) => {}
            Ok(Some(keys)) => {
                api.keys.store(Arc::new(keys));
                tracing::info!("the keys were read again");
            }
            Err(error) => tracing::warn!(%error, "the keys stay as they were"),
        }
    }
}

/// The cores to work on.
fn cores(count: usize) -> anyhow::Result<Vec<CoreId>> {
    let mut cores = core_affinity::get_core_ids().unwrap_or_default();
    anyhow::ensure!(
        cores.is_empty() || cores.len() >= count,
        "cores: {count} are asked for, {} are there",
        cores.len()
    );
    cores.truncate(count);
    Ok(cores)
}

/// Keeps this thread, and those it starts from here on, to these cores.
fn confine(cores: &[CoreId]) -> anyhow::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    for core in cores {
        set.set(core.id);
    }
    rustix::thread::sched_setaffinity(None, &set).context("cannot keep to the cores")
}

/// Lets the process open as many files as it may; how many connections that is.
fn connections_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let open_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open_max.saturating_sub(DESCRIPTORS_BESIDE)).unwrap_or(usize::MAX).max(1)
}

/// Runs a server until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// It could not start, or did not end cleanly.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let key = std::env::var("ONSALE_KEY").ok();
    let mut config = config.clone();
    let allowed = connections_allowed();
    config.limits.connections = config.limits.connections.min(allowed);
    let cores = cores(config.cores)?;
    // All threads are made from this one and inherit it: the server works on its
    // cores and on no other.
    confine(&cores)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody hears of the start, who may want it stopped at once.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let started = match config.rows {
        None => Some((Server::start(&config, key.as_deref(), &cores)?, None)),
        Some(_) => runtime.block_on(elsewhere::start(&config, key, cores, &mut signals))?,
    };
    let Some((server, elsewhere)) = started else { return Ok(()) };
    tell_start(&config, &server);
    systemd::notify("READY=1");
    runtime.block_on(async {
        match elsewhere {
            None => {
                let signal = signals.first().await;
                systemd::notify("STOPPING=1");
                tracing::info!(signal, "stopping: requests under way get their answers");
                server.stop().await
            }
            Some(elsewhere) => elsewhere.run(server, &mut signals).await,
        }
    })?;
    tracing::info!("stopped");
    Ok(())
}

/// What tells the server to stop, from when it is made on.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        let [term, int] = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Signals { term: term?, int: int? })
    }

    /// Waits for the first.
    async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

fn tell_start(config: &Config, server: &Server) {
    match &server.first_key {
        FirstKey::Made(secret) => {
            announce(&format!("key: {}", secret.reveal()));
            announce("It may do everything, for all organizers. It is shown this once: keep it.");
        }
        FirstKey::NotAmongThem => {
            tracing::warn!("the key in ONSALE_KEY is not among the keys of this folder");
        }
        FirstKey::Existing | FirstKey::Taken => {}
    }
    announce(&format!("listening on http://{}", server.address));
    tracing::info!(
        address = %server.address,
        data = %config.data.display(),
        cores = config.cores,
        connections_max = config.limits.connections,
        shards = server.api.shards.count(),
        "serving"
    );
}
