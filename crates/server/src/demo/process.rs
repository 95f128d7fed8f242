//! The server of demo and benchmarks: this very program as a process of its own, on a core of
//! its own.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::signal::unix::{SignalKind, signal};

/// How long the server may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it prints before its address.
const LISTENING: &str = "listening on ";

/// The cores that this process may use, shared out: the first for the server, the rest
/// for this process (the same one where there is no other).
pub struct Cores {
    /// The one of the server.
    pub server: usize,
    all: usize,
}

impl Cores {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all
    }
}

/// Keeps this process off the first core, which the server will have.
///
/// # Errors
/// The operating system refused.
pub fn split_cores() -> anyhow::Result<Cores> {
    let allowed = sched_getaffinity(None).context("which cores there are")?;
    let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let server = *all.first().context("there is no core")?;
    if all.len() > 1 {
        let mut rest = allowed;
        rest.unset(server);
        sched_setaffinity(None, &rest).context("cannot keep off the server's core")?;
    }
    Ok(Cores { server, all: all.len() })
}

/// A server at work. It is killed when this is dropped before [`ServerProcess::stop`].
pub struct ServerProcess {
    /// Where it is.
    pub url: String,
    child: Child,
}

impl ServerProcess {
    /// Starts it over this folder and waits until it listens.
    ///
    /// # Errors
    /// It did not start; its own words are on standard error.
    pub fn start(
        data: &Path,
        settings: &[(&str, &str)],
        key: &str,
        cores: &Cores,
    ) -> anyhow::Result<ServerProcess> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--cores", "1", "--data"];
        let arguments = arguments.iter().map(OsString::from).chain([data.into()]);
        ServerProcess::launch(arguments, settings, key, cores)
    }

    /// Starts this program with these arguments and settings, in the environment, and waits until it
    /// says that it listens.
    ///
    /// # Errors
    /// It did not start; its own words are on standard error.
    pub fn launch(
        arguments: impl IntoIterator<Item = OsString>,
        settings: &[(&str, &str)],
        key: &str,
        cores: &Cores,
    ) -> anyhow::Result<ServerProcess> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut only = CpuSet::new();
        only.set(cores.server);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("ONSALE_KEY", key)
            .env("RUST_LOG", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = pinned(&mut command, only).context("cannot start the server")?;
        let stdout = child.stdout.take().context("the server's output")?;
        let mut server = ServerProcess { url: String::new(), child };
        for line in BufReader::new(stdout).lines() {
            if let Some(url) = line?.strip_prefix(LISTENING) {
                server.url = url.to_owned();
                return Ok(server);
            }
        }
        let status = server.child.wait()?;
        anyhow::bail!("the server did not start: {status}")
    }

    /// The most memory that it has had, in bytes; 0 where that is not known.
    pub fn memory_bytes_max(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that it has, in bytes; 0 where that is not known.
    pub fn memory_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix(which));
        let kib = peak.and_then(|words| words.trim().trim_end_matches("kB").trim().parse().ok());
        kib.unwrap_or(0u64) * 1024
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// It did not end cleanly, or not in time.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("the server did not stop within {PATIENCE:?}")
    }
}

/// What a shell calls the end by Ctrl-C.
const INTERRUPTED: i32 = 130;

impl ServerProcess {
    /// Sees that SIGINT and SIGTERM, too, leave neither the server nor this folder behind.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn end_on_signal(&self, folder: &Path) -> anyhow::Result<()> {
        let (pid, folder) = (Pid::from_child(&self.child), folder.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut term, mut int) = {
            let _entered = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
            });
            // The process ends here: nobody is left to tell what fails.
            let _ = kill_process(pid, Signal::KILL);
            let _ = std::fs::remove_dir_all(folder);
            std::process::exit(INTERRUPTED);
        })?;
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // After a clean stop there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process on these cores: it inherits them from a thread that has moved there.
fn pinned(command: &mut Command, cores: CpuSet) -> std::io::Result<Child> {
    // In a group of its own, so that Ctrl-C reaches the demo alone, which ends the server.
    command.process_group(0);
    std::thread::scope(|scope| {
        let start = || {
            sched_setaffinity(None, &cores)?;
            command.spawn()
        };
        scope.spawn(start).join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    })
}
