//! A server whose journal is in a database: it starts once it is the log's writer, and ends when it is so no more.

use std::time::Duration;

use anyhow::{Context as _, bail};
use core_affinity::CoreId;
use tokio::sync::{oneshot, watch};

use super::{Server, Signals, open_sockets};
use crate::config::Config;
use crate::rows::files::Mirror;
use crate::rows::{Active, become_active};
use crate::shards::{Lost, Shards};
use crate::systemd;

/// How long a server from which another has taken over tells where that is, before it ends.
const LINGER: Duration = Duration::from_secs(2);

/// What there is beside the server.
pub struct Elsewhere {
    mirror: Mirror,
    lost: watch::Receiver<Option<Lost>>,
}

/// Starts the server once it is the log's writer; none: it was told to stop before.
///
/// # Errors
/// It could not become so.
pub async fn start(
    config: &Config,
    key: Option<String>,
    cores: Vec<CoreId>,
    signals: &mut Signals,
) -> anyhow::Result<Option<(Server, Option<Elsewhere>)>> {
    let (sender, started) = oneshot::channel();
    let config = config.clone();
    // It waits for the database, and a standby for what may never come: the process ends without it.
    std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        let _ = sender.send(start_blocking(&config, key.as_deref(), &cores));
    })?;
    tokio::select! {
        started = started => started.context("the start ended at once")?.map(Some),
        signal = signals.first() => {
            systemd::notify("STOPPING=1");
            tracing::info!(signal, "stopped before it was the active server");
            Ok(None)
        }
    }
}

fn start_blocking(
    config: &Config,
    key: Option<&str>,
    cores: &[CoreId],
) -> anyhow::Result<(Server, Option<Elsewhere>)> {
    let rows = config.rows.as_ref().expect("it is asked for only where there is a database");
    // A standby listens there itself until it is active.
    let early = if rows.standby { None } else { Some(open_sockets(config)?) };
    let Active { opened, mirror, streams, lost } = become_active(config, rows)?;
    let sockets = early.map_or_else(|| open_sockets(config), Ok)?;
    let server = Server::start_over(config, sockets, (Shards::over(opened), streams), key, cores)?;
    Ok((server, Some(Elsewhere { mirror, lost })))
}

impl Elsewhere {
    /// Runs the server until it is told to stop or is the log's writer no more.
    ///
    /// # Errors
    /// It is the writer no more, or did not end cleanly.
    pub async fn run(mut self, server: Server, signals: &mut Signals) -> anyhow::Result<()> {
        let lost = tokio::select! {
            lost = self.lost.wait_for(Option::is_some) => lost.ok().and_then(|lost| lost.clone()),
            signal = signals.first() => {
                tracing::info!(signal, "stopping: requests under way get their answers");
                None
            }
        };
        if let Some(Lost::To(active)) = &lost {
            tracing::error!(active, "another server has taken over: this one answers nothing more");
            tokio::select! {
                () = tokio::time::sleep(LINGER) => {}
                _ = signals.first() => {}
            }
        }
        systemd::notify("STOPPING=1");
        let stopped = server.stop().await;
        tokio::task::spawn_blocking(move || self.mirror.end()).await?;
        match lost {
            None => stopped,
            Some(Lost::To(active)) => {
                bail!(
                    "another server, {active}, has taken over. Started with --standby this one follows it"
                )
            }
            Some(Lost::Fault(reason)) => bail!("{reason}"),
        }
    }
}
