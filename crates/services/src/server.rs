//! A server's process: started, watched, stopped, paused, killed and started again.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::tools::{User, as_user};

/// Ports of servers lie below those that the kernel gives to clients.
const PORTS: std::ops::Range<u64> = 20_000..32_768;
/// A port can be taken between being found and being used.
const STARTS_MAX: u32 = 10;
/// A server that does not answer for so long never will, even on a machine that is busy with ten times as much as it can do.
const ANSWER_SECONDS_MAX: u64 = 180;
/// How long one question is waited for. Where it is asked again too soon, a slow server has all the earlier ones to answer, too.
const EXCHANGE_SECONDS_MAX: u64 = 10;
/// How long one is given to stop in order before it is killed.
const STOP_SECONDS_MAX: u64 = 5;
/// Between two looks whether something has come about.
const LOOK: Duration = Duration::from_millis(5);
/// Where the server's own words go, in its folder.
const LOG: &str = "server.log";

/// Makes the command from the server's folder and ports.
pub type Launch = Box<dyn Fn(&Path, &[u16]) -> Command + Send + Sync>;

/// What differs between servers.
pub struct Plan {
    pub name: &'static str,
    /// What stands before the address in [`Server::url`], and what after it.
    pub scheme: &'static str,
    pub path: &'static str,
    /// How many ports it needs; the first is the one that counts.
    pub ports: usize,
    pub stop: Stop,
    /// Who runs it, if not whoever runs the test.
    pub user: Option<User>,
    /// Runs once, in the new folder.
    pub prepare: Box<dyn FnOnce(&Path)>,
    pub command: Launch,
    /// Whether the server on a port is ready.
    pub answers: fn(u16) -> bool,
}

/// How a server is ended.
#[derive(Clone, Copy)]
pub enum Stop {
    Kill,
    /// SIGQUIT, and SIGKILL if that does not help.
    Quit,
}

/// A server that a test has started. It ends with this value, and with the process.
pub struct Server {
    name: &'static str,
    url: String,
    ports: Vec<u16>,
    stop: Stop,
    user: Option<User>,
    command: Launch,
    answers: fn(u16) -> bool,
    /// `None` between [`Server::kill`] and [`Server::restart`].
    child: Option<Child>,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start(plan: Plan) -> Self {
        let folder = tempfile::Builder::new().prefix("onsale-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        (plan.prepare)(folder.path());
        let mut server = Self {
            name: plan.name,
            url: String::new(),
            ports: Vec::new(),
            stop: plan.stop,
            user: plan.user,
            command: plan.command,
            answers: plan.answers,
            child: None,
            folder,
        };
        for _ in 0..STARTS_MAX {
            server.ports = (0..plan.ports).map(|_| spare_port()).collect();
            server.url = format!("{}127.0.0.1:{}{}", plan.scheme, server.ports[0], plan.path);
            if server.launch() {
                return server;
            }
        }
        panic!("{} does not start: {}", server.name, server.log());
    }

    /// Where a client finds it: `redis://…`, `postgres://…` or `http://…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Its port for TLS, where it was started with one of its own for that.
    pub fn tls_port(&self) -> u16 {
        self.ports[self.ports.len() - 1]
    }

    /// The second port of one that has two.
    pub(crate) fn second_port(&self) -> u16 {
        self.ports[1]
    }

    /// Its process.
    ///
    /// # Panics
    /// Where it was killed.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Its folder: what it keeps on the disk is there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ends it by SIGKILL. Its files stay, and its port is not used for another server.
    pub fn kill(&mut self) {
        self.end(Stop::Kill);
    }

    /// Starts it again after [`Server::kill`], on the same port and with the same files, and
    /// waits until it answers.
    ///
    /// # Panics
    /// Where it does not come up again.
    pub fn restart(&mut self) {
        self.kill();
        let begin = Instant::now();
        // What the killed one has left behind may be in the way for a moment.
        while !self.launch() {
            let waits = begin.elapsed() < Duration::from_secs(ANSWER_SECONDS_MAX);
            assert!(waits, "{} does not start again: {}", self.name, self.log());
            thread::sleep(LOOK);
        }
    }

    /// Stops it in its tracks (SIGSTOP): it takes connections, but answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process_id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).expect("it is our own process");
    }

    /// False: it ended instead of answering.
    fn launch(&mut self) -> bool {
        let command = (self.command)(self.folder.path(), &self.ports);
        let mut command = tied(&command, self.user.as_ref(), self.folder.path());
        quiet(&mut command, self.folder.path());
        self.child = Some(spawn(command).expect("setpriv can be started"));
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(ANSWER_SECONDS_MAX) {
            let child = self.child.as_mut().expect("it was just started");
            if child.try_wait().expect("it is our own child").is_some() {
                self.child = None;
                return false;
            }
            if (self.answers)(self.ports[0]) {
                return true;
            }
            thread::sleep(LOOK);
        }
        panic!("{} does not answer: {}", self.name, self.log());
    }

    fn end(&mut self, stop: Stop) {
        let Some(mut child) = self.child.take() else { return };
        if matches!(stop, Stop::Quit) {
            self.child = Some(child);
            self.signal(Signal::QUIT);
            child = self.child.take().expect("it was just put there");
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(STOP_SECONDS_MAX) {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    return;
                }
                thread::sleep(LOOK);
            }
        }
        // It may be gone already, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            // A paused one takes no other signal than SIGKILL.
            self.resume();
        }
        self.end(self.stop);
    }
}

/// The same command, but the kernel kills it when the thread that starts it ends.
fn tied(command: &Command, user: Option<&User>, folder: &Path) -> Command {
    let mut inner = Command::new("setpriv");
    inner.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    // In this order: a process that becomes another user's forgets whose death to die of.
    let mut outer = as_user(inner, user);
    outer.current_dir(command.get_current_dir().unwrap_or(folder));
    // Nothing of the caller's environment but where programs are.
    outer.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // A Ctrl-C at the terminal is for the test; this ends with it.
    outer.process_group(0);
    outer
}

fn quiet(command: &mut Command, folder: &Path) {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join(LOG));
    let log = log.expect("the folder is our own");
    let twin = log.try_clone().expect("a file has room for another handle");
    command.stdin(Stdio::null()).stdout(log).stderr(twin);
}

/// Runs a program to its end.
pub fn run(mut command: Command, folder: &Path) {
    let name = format!("{command:?}");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
}

/// Waits until something is so, for three minutes at most.
///
/// # Panics
/// When it is still not so; the message says `what` was waited for.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(ANSWER_SECONDS_MAX), "waited for: {what}");
        thread::sleep(LOOK);
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process: the kernel's word for the
/// death of a parent is the end of the thread that started the child, and a test's thread may
/// end before what it shares with others does.
fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // Whoever asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = sync_channel(1);
    let keeper = keeper.lock().expect("nobody panics with it");
    keeper.send((command, answer)).expect("the keeper never ends");
    child.recv().expect("the keeper answers")
}

/// A port that nobody listens on at this moment, on any address.
fn spare_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one(Instant::now());
        let port = PORTS.start + random % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("the range ends below 2^16");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// Sends some bytes to a port of this machine; what comes back at first, or nothing.
pub fn exchange(port: u16, question: &[u8]) -> Vec<u8> {
    let ask = || -> io::Result<Vec<u8>> {
        let limit = Duration::from_secs(EXCHANGE_SECONDS_MAX);
        let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(question)?;
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    };
    ask().unwrap_or_default()
}
