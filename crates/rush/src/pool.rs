//! The run itself: connections that serve whoever is due, a clock that says who
//! is, and the watch over deadline, silence and the end. One thread does it all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::client::{Connection, Error, Line, Socket};
use crate::config::Config;
use crate::crowd::Crowd;
use crate::plan::mix;
use crate::report::{Ended, Live, Report, Run};
use crate::target::Target;
use crate::timer::Timer;
use crate::verify;
use crate::wire::Requests;

/// The longest answer to a buyer that is read.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 128;
/// Files that are left for everything that is not a connection.
const FILES_RESERVE: u64 = 1_000;
/// More connections from one address to one port are short of local ports.
const CONNECTIONS_DEFAULT_MAX: u64 = 25_000;
/// The clock's finest step: a wake-up for each buyer would cost more than it shows.
const CLOCK_STEP_US: u64 = 100;
/// Between two looks at deadline and silence, and two progress reports.
const WATCH_MS: u64 = 100;

/// How many files this process may open; raises the soft limit to the hard one.
#[must_use]
pub fn files_max() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok()
    {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// Lets the crowd in and reports what it saw. Blocks, and drives everything on the
/// calling thread, which must not be one of an async runtime. `progress` is called
/// about ten times a second.
///
/// # Errors
/// Bad configuration, a server that can't be reached before the rush begins, an event
/// that is not open or has nothing on sale. Once the rush has begun, all that goes
/// wrong is in the report.
pub fn run(config: Config, progress: &mut dyn FnMut(&Live)) -> Result<Report> {
    config.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("can't start the runtime")?;
    runtime.block_on(rush(config, progress))
}

/// What the tasks of one run share.
struct Shared {
    target: Target,
    crowd: RefCell<Crowd>,
    /// Connections with nothing to do, longest idle first, so that all take their turn.
    idle: RefCell<VecDeque<Waker>>,
    origin: Cell<Instant>,
    opened: Cell<usize>,
    failed: Cell<usize>,
    /// Opened, and then closed by the server since it has enough.
    turned_away: Cell<usize>,
    first_failure: RefCell<Option<Error>>,
    /// What the clock waits for, and what tells it that something is due before.
    armed_us: Cell<u64>,
    earlier: Notify,
    over: Notify,
}

impl Shared {
    fn now_us(&self) -> u64 {
        self.origin.get().elapsed().as_micros() as u64
    }

    /// Wakes a connection for each buyer who has become due.
    fn release(&self, now_us: u64) {
        let due = self.crowd.borrow_mut().advance(now_us);
        let mut idle = self.idle.borrow_mut();
        let due = due.min(idle.len());
        idle.drain(..due).for_each(Waker::wake);
    }

    /// Takes a connection that the server does not want out of the pool; false: it is
    /// the last one and stays.
    fn retire(&self) -> bool {
        let turned_away = self.turned_away.get() + 1;
        let others = self.opened.get() > turned_away;
        if others {
            self.turned_away.set(turned_away);
        }
        others
    }

    /// The buyer goes to another connection.
    fn pass_on(&self, buyer: u32) {
        self.crowd.borrow_mut().give_back(buyer);
        if let Some(idle) = self.idle.borrow_mut().pop_front() {
            idle.wake();
        }
    }

    /// The next buyer for a connection that has become free.
    async fn next(&self) -> u32 {
        let mut fresh = true;
        poll_fn(|context| {
            let mut idle = self.idle.borrow_mut();
            // Others have been idle for longer: it is their turn.
            let served =
                if fresh && !idle.is_empty() { None } else { self.crowd.borrow_mut().take() };
            fresh = false;
            match served {
                Some(buyer) => Poll::Ready(buyer),
                None => {
                    idle.push_back(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// After an answer: something may be due earlier than the clock knows, or all may be over.
    fn settle(&self, now_us: u64) {
        self.release(now_us);
        let crowd = self.crowd.borrow();
        if crowd.next_due_us().is_some_and(|due| due < self.armed_us.get()) {
            self.earlier.notify_one();
        }
        if crowd.is_over() {
            self.over.notify_one();
        }
    }
}

async fn rush(config: Config, progress: &mut dyn FnMut(&Live)) -> Result<Report> {
    let target = Target::new(&config)?;
    let offer = target.offer(config.ticket_types.as_deref()).await?;
    let files = files_max().saturating_sub(FILES_RESERVE).clamp(1, CONNECTIONS_DEFAULT_MAX);
    let streams = config.http2_streams.unwrap_or(1);
    let needed = config.buyers.div_ceil(streams as u64);
    let wanted = config.connections.map_or(files, |c| c as u64).min(needed) as usize;
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nonce = mix(time.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32));
    let crowd = Crowd::new(config.clone(), offer, Requests::new(&target), nonce);
    let shared = Rc::new(Shared {
        target,
        crowd: RefCell::new(crowd),
        idle: RefCell::new(VecDeque::with_capacity(wanted)),
        origin: Cell::new(Instant::now()),
        opened: Cell::new(0),
        failed: Cell::new(0),
        turned_away: Cell::new(0),
        first_failure: RefCell::new(None),
        armed_us: Cell::new(u64::MAX),
        earlier: Notify::new(),
        over: Notify::new(),
    });
    let mut tasks = JoinSet::new();
    let gate = Rc::new(Semaphore::new(OPENING_MAX));
    for _ in 0..wanted {
        let socket = config.http2_streams.map(|_| Socket::new(shared.target.address));
        for _ in 0..streams {
            tasks.spawn_local(serve(shared.clone(), gate.clone(), socket.clone()));
        }
    }
    opened(&shared, wanted * streams, progress).await?;

    shared.origin.set(Instant::now());
    let cpu_before = thread_cpu();
    let timer = Timer::new().context("can't make a timer")?;
    tasks.spawn_local(clock(shared.clone(), timer));
    let ended = watch(&shared, &config, progress).await;
    let wall = shared.origin.get().elapsed();
    let cpu = thread_cpu().saturating_sub(cpu_before);
    tasks.shutdown().await;

    let Ok(shared) = Rc::try_unwrap(shared) else { bail!("a task outlived the run") };
    let Shared { target, crowd, opened, failed, turned_away, .. } = shared;
    let mut run = Run {
        crowd: crowd.into_inner(),
        ended,
        wall,
        cpu,
        sockets: (opened.get() - turned_away.get()).div_ceil(streams),
        sockets_failed: (failed.get() + turned_away.get()).div_ceil(streams),
        quotas_after: None,
        verification: None,
    };
    if config.verify {
        let orders = &run.crowd.orders;
        run.verification = Some(verify::check(&target, orders, config.give_up, progress).await);
    }
    if ended != Ended::ServerGone {
        run.quotas_after = target.quotas(config.give_up).await;
    }
    Ok(Report::new(&config, run))
}

/// Waits until all connections are open; some may fail, but not all.
async fn opened(shared: &Shared, wanted: usize, progress: &mut dyn FnMut(&Live)) -> Result<()> {
    loop {
        let (opened, failed) = (shared.opened.get(), shared.failed.get());
        progress(&Live::of_phase("connecting", opened as u64, wanted as u64));
        if opened + failed == wanted {
            if opened > 0 {
                return Ok(());
            }
            let error = shared.first_failure.borrow_mut().take();
            bail!(error.map_or("no connection".to_owned(), |e| e.to_string()));
        }
        let pause = tokio::time::sleep(Duration::from_millis(WATCH_MS));
        tokio::select! { () = pause => {}, () = shared.over.notified() => {} }
    }
}

/// The life of one connection, or of one place on a shared one.
async fn serve(shared: Rc<Shared>, gate: Rc<Semaphore>, socket: Option<Rc<Socket>>) {
    let opening = async {
        let _permit = gate.acquire().await;
        open(&shared.target, socket.as_deref()).await
    };
    let mut connection = match opening.await {
        Ok(connection) => Some(connection),
        Err(error) => {
            shared.failed.set(shared.failed.get() + 1);
            shared.first_failure.borrow_mut().get_or_insert(error);
            shared.over.notify_one();
            return;
        }
    };
    shared.opened.set(shared.opened.get() + 1);
    shared.over.notify_one();
    let mut request = Vec::with_capacity(512);
    loop {
        let buyer = shared.next().await;
        let unwanted = connection.as_ref().is_some_and(|open| open.is_new() && open.is_ended());
        if unwanted && shared.retire() {
            return shared.pass_on(buyer);
        }
        shared.crowd.borrow_mut().write_request(buyer, &mut request);
        let was_new = connection.as_ref().is_none_or(Line::is_new);
        let result = exchange(&shared, socket.as_deref(), &mut connection, &request).await;
        let now_us = shared.now_us();
        let mut turned_away = false;
        match (result, &connection) {
            (Ok(()), Some(open)) => {
                let answer = open.answer();
                shared.crowd.borrow_mut().answered(buyer, &answer, now_us);
                if !answer.keep {
                    turned_away = was_new && answer.status == 503;
                    connection = None;
                }
            }
            (result, _) => {
                let error = result.err().unwrap_or(Error::Closed);
                shared.crowd.borrow_mut().failed(buyer, &error, now_us);
                connection = None;
            }
        }
        shared.settle(now_us);
        if turned_away && shared.retire() {
            return;
        }
    }
}

/// One request and its answer, over a new connection if there is none, or if the one
/// that there was turns out to have been closed while it was idle.
async fn exchange(
    shared: &Shared,
    socket: Option<&Socket>,
    connection: &mut Option<Line>,
    request: &[u8],
) -> Result<(), Error> {
    if let Some(open) = connection {
        if !open.is_ended() {
            match try_once(&shared.target, open, request).await {
                Err(error) if error.may_be_stale() => {}
                result => return result,
            }
        }
        shared.crowd.borrow_mut().stats.reconnects += 1;
    }
    let new = connection.insert(open(&shared.target, socket).await?);
    try_once(&shared.target, new, request).await
}

async fn try_once(target: &Target, on: &mut Line, request: &[u8]) -> Result<(), Error> {
    let exchange = on.exchange(request, ANSWER_BYTES_MAX);
    tokio::time::timeout(target.request_timeout, exchange).await.unwrap_or(Err(Error::Timeout))
}

async fn open(target: &Target, socket: Option<&Socket>) -> Result<Line, Error> {
    let opening = async {
        match socket {
            Some(socket) => socket.stream().await.map(Line::Shared),
            None => Connection::open(target.address).await.map(Line::Own),
        }
    };
    tokio::time::timeout(target.request_timeout, opening).await.unwrap_or(Err(Error::Timeout))
}

/// Lets the buyers in at their time.
async fn clock(shared: Rc<Shared>, mut timer: Timer) {
    loop {
        let now_us = shared.now_us();
        shared.release(now_us);
        let due_us = shared.crowd.borrow().next_due_us();
        shared.armed_us.set(due_us.unwrap_or(u64::MAX));
        let Some(due_us) = due_us else {
            shared.earlier.notified().await;
            continue;
        };
        let wait_us = due_us.saturating_sub(now_us).max(CLOCK_STEP_US);
        tokio::select! {
            slept = timer.sleep_us(wait_us) => slept.expect("a timer that was made can be set"),
            () = shared.earlier.notified() => {}
        }
    }
}

/// Waits for the end and says which it was.
async fn watch(shared: &Shared, config: &Config, progress: &mut dyn FnMut(&Live)) -> Ended {
    let give_up_us = config.give_up.as_micros() as u64;
    let deadline_us = config.deadline.as_micros() as u64;
    // Who has a hold at the deadline may still finish, but not for ever.
    let last_us = deadline_us.saturating_add(config.request_timeout.as_micros() as u64);
    let mut speed = Speed { at_us: 0, answers: 0, per_second: 0.0 };
    let mut timed_out = false;
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(WATCH_MS));
        tokio::select! { () = pause => {}, () = shared.over.notified() => {} }
        let now_us = shared.now_us();
        let mut crowd = shared.crowd.borrow_mut();
        speed.look(now_us, crowd.stats.answers.iter().sum());
        progress(&Live::of_crowd(&crowd, now_us, speed.per_second));
        let silent_us = crowd.stats.silent_since_us.map_or(0, |since| now_us - since.min(now_us));
        if silent_us > give_up_us {
            return Ended::ServerGone;
        }
        if now_us > deadline_us && !timed_out {
            timed_out = !crowd.is_closing();
            crowd.close();
        }
        if crowd.is_over() || now_us > last_us {
            return match crowd.stats.sold_out_us {
                Some(_) => Ended::SoldOut,
                None if timed_out => Ended::Deadline,
                None => Ended::BuyersDone,
            };
        }
    }
}

/// Answers per second, smoothed for the eye.
struct Speed {
    at_us: u64,
    answers: u64,
    per_second: f64,
}

impl Speed {
    fn look(&mut self, now_us: u64, answers: u64) {
        let seconds = now_us.saturating_sub(self.at_us) as f64 / 1e6;
        if seconds < 0.5 {
            return;
        }
        self.per_second = (answers - self.answers) as f64 / seconds;
        (self.at_us, self.answers) = (now_us, answers);
    }
}

/// Processor time that this thread has used.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}
