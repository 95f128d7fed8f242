//! A hammer: as many requests as a server will take, over a fixed number of
//! connections that stay open, for as little CPU per request as can be.
//!
//! It measures a server against its limit, where [`crate::run`] plays an on-sale.
//! One thread, one epoll, no runtime: each request is a patched template and one `write`, each
//! answer one `read`. Closed loop: a connection asks again once it has its answer. Or at a pace:
//! requests have intended times, and latency counts from those, however late one can be sent.

mod answer;
mod connection;
mod template;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::report::Percentiles;
use connection::Connection;
pub use template::Template;

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Events taken at a time.
const EVENTS_MAX: usize = 256;
/// How long the answers under way at the end may take.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a server may be silent while requests wait.
const SILENCE: Duration = Duration::from_secs(30);

/// When requests are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// A connection asks again as soon as it has its answer.
    Closed,
    /// So many each second, at even intervals, on whatever connection is idle.
    PerSecond(f64),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// Connections to keep open.
    pub connections: usize,
    /// Requests under way on each; more than one is HTTP pipelining.
    pub depth: usize,
    /// What to send.
    pub template: Template,
    /// When.
    pub pace: Pace,
    /// How long to go before counting.
    pub warm_up: Duration,
    /// How long to count.
    pub duration: Duration,
    /// After so many requests no more are sent.
    pub requests_max: u64,
    /// What stands in an answer's body once for every command of it that was granted; none: an
    /// answer of 2xx grants all its commands.
    pub each: Option<&'static str>,
    /// Number of the first command: two runs against one server must not send the same.
    pub first_number: u64,
}

/// What came of it. Rates and latencies are of the counted time; totals of all.
#[derive(Clone, Debug, Serialize)]
pub struct Hits {
    /// How long was counted.
    pub seconds: f64,
    /// Requests answered in it.
    pub requests: u64,
    /// Commands granted in it.
    pub granted: u64,
    /// Commands granted, each second.
    pub granted_per_second: f64,
    /// Latencies in milliseconds of the requests in it.
    pub latency_ms: Percentiles,
    /// What the hammer used of its core in it.
    pub cpu_percent: f64,
    /// Requests answered, warm-up and end included.
    pub requests_total: u64,
    /// Commands granted, warm-up and end included.
    pub granted_total: u64,
    /// Commands not granted, warm-up and end included.
    pub refused_total: u64,
    /// Requests that were due but could not be sent before the end.
    pub unsent: u64,
    /// The first answer that was no success, if one was: its status and the start of its body.
    pub first_refusal: Option<String>,
    /// Length of the last answer's body.
    pub answer_bytes: usize,
    /// Number of the next command.
    pub next_number: u64,
}

/// Hammers a server.
///
/// # Errors
/// A connection can't be opened, breaks, or answers something else than HTTP/1.1; or the
/// server is silent for 30 seconds.
pub fn run(plan: Plan) -> anyhow::Result<Hits> {
    ensure!(plan.connections > 0 && plan.depth > 0, "there must be a connection and a request");
    Hammer::new(plan)?.run()
}

/// A hammer at work. Times are microseconds since `began`.
struct Hammer {
    plan: Plan,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Connections with room for a request, when there is a pace.
    idle: Vec<usize>,
    began: Instant,
    /// Requests sent.
    sent: u64,
    tally: Tally,
}

/// What is counted.
struct Tally {
    number: u64,
    counted_from_us: u64,
    counted_to_us: u64,
    latency: Histogram<u64>,
    requests: u64,
    granted: u64,
    requests_total: u64,
    granted_total: u64,
    refused_total: u64,
    first_refusal: Option<String>,
    answer_bytes: usize,
}

impl Hammer {
    fn new(plan: Plan) -> anyhow::Result<Hammer> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("an epoll")?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let connection = Connection::open(plan.address)
                .with_context(|| format!("connection {index} to {}", plan.address))?;
            connection.watch(&epoll, index)?;
            connections.push(connection);
        }
        let warm_up_us = plan.warm_up.as_micros() as u64;
        let tally = Tally {
            number: plan.first_number,
            counted_from_us: warm_up_us,
            counted_to_us: warm_up_us + plan.duration.as_micros() as u64,
            latency: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are fine"),
            requests: 0,
            granted: 0,
            requests_total: 0,
            granted_total: 0,
            refused_total: 0,
            first_refusal: None,
            answer_bytes: 0,
        };
        let idle = (0..plan.connections).rev().collect();
        Ok(Hammer { plan, epoll, connections, idle, began: Instant::now(), sent: 0, tally })
    }

    fn run(mut self) -> anyhow::Result<Hits> {
        self.began = Instant::now();
        if self.plan.pace == Pace::Closed {
            for index in 0..self.connections.len() {
                self.send(index, self.plan.depth, 0)?;
            }
        }
        let mut cpu_from = None;
        let mut cpu = Duration::ZERO;
        let mut heard = Instant::now();
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = self.now_us();
            if now >= self.tally.counted_from_us && cpu_from.is_none() {
                cpu_from = Some(thread_cpu());
            }
            if self.is_over(now) {
                break;
            }
            let wait = self.send_due(now)?;
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait))
                .or_else(
                    |error| if error == rustix::io::Errno::INTR { Ok(0) } else { Err(error) },
                )?;
            for event in &events {
                self.turn(event.data.u64() as usize)?;
            }
            if !events.is_empty() || self.under_way() == 0 {
                heard = Instant::now();
            }
            ensure!(heard.elapsed() < SILENCE, "the server has been silent for {SILENCE:?}");
        }
        if let Some(from) = cpu_from {
            cpu = thread_cpu().saturating_sub(from);
        }
        let counted_to = self.now_us().min(self.tally.counted_to_us);
        let unsent = self.count_unsent(self.now_us());
        self.drain()?;
        Ok(self.hits(counted_to, cpu, unsent))
    }

    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    fn is_over(&self, now: u64) -> bool {
        let all_sent = self.sent >= self.plan.requests_max && self.under_way() == 0;
        now >= self.tally.counted_to_us || all_sent
    }

    fn under_way(&self) -> u64 {
        self.sent - self.tally.requests_total
    }

    /// When a request is due by the pace.
    fn intended_us(&self, request: u64) -> Option<u64> {
        match self.plan.pace {
            Pace::Closed => None,
            Pace::PerSecond(rate) => Some((request as f64 * 1e6 / rate) as u64),
        }
    }

    /// Sends what the pace says is due; how long to wait for events then.
    fn send_due(&mut self, now: u64) -> anyhow::Result<Timespec> {
        let mut wait_us = 100_000;
        while let Some(at) = self.intended_us(self.sent)
            && self.sent < self.plan.requests_max
            && let Some(&index) = self.idle.last()
        {
            if at > now {
                wait_us = wait_us.min(at - now);
                break;
            }
            self.send(index, 1, at)?;
            if self.connections[index].under_way() >= self.plan.depth {
                self.idle.pop();
            }
        }
        Ok(Timespec { tv_sec: 0, tv_nsec: wait_us as i64 * 1_000 })
    }

    fn send(&mut self, index: usize, count: usize, at_us: u64) -> anyhow::Result<()> {
        let left = self.plan.requests_max - self.sent;
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        let numbers = self.plan.template.commands();
        for _ in 0..count {
            let bytes = self.plan.template.fill(self.tally.number);
            self.connections[index].queue(bytes, at_us);
            self.tally.number += numbers;
            self.sent += 1;
        }
        self.connections[index].flush(&self.epoll, index)
    }

    /// Takes what a connection has to say, and lets it ask again.
    fn turn(&mut self, index: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[index];
        connection.flush(&self.epoll, index)?;
        connection.read().with_context(|| format!("connection {index}"))?;
        let now = self.began.elapsed().as_micros() as u64;
        let mut answered = 0;
        while let Some((at_us, status, body)) = connection.next_answer()? {
            answered += 1;
            self.tally.take(&self.plan, now, now.saturating_sub(at_us), status, body);
        }
        connection.compact();
        if answered == 0 {
            return Ok(());
        }
        match self.plan.pace {
            Pace::Closed if now < self.tally.counted_to_us => self.send(index, answered, now),
            Pace::Closed => Ok(()),
            Pace::PerSecond(_) => {
                if self.connections[index].under_way() + answered >= self.plan.depth {
                    self.idle.push(index);
                }
                Ok(())
            }
        }
    }

    /// Counts what was due but not sent, with the time that it has waited so far.
    fn count_unsent(&mut self, now: u64) -> u64 {
        let mut unsent = 0;
        while self.sent + unsent < self.plan.requests_max
            && let Some(at) = self.intended_us(self.sent + unsent)
            && at < now.min(self.tally.counted_to_us)
        {
            if at >= self.tally.counted_from_us {
                self.tally.latency.saturating_record((now - at).max(1));
            }
            unsent += 1;
        }
        unsent
    }

    /// Takes the answers that are still under way.
    fn drain(&mut self) -> anyhow::Result<()> {
        self.plan.requests_max = self.sent;
        let until = Instant::now() + DRAIN;
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while self.under_way() > 0 {
            ensure!(Instant::now() < until, "{} requests have no answer", self.under_way());
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                self.turn(event.data.u64() as usize)?;
            }
        }
        Ok(())
    }

    fn hits(self, counted_to: u64, cpu: Duration, unsent: u64) -> Hits {
        let Tally { latency, requests, granted, counted_from_us, .. } = &self.tally;
        let seconds = counted_to.saturating_sub(*counted_from_us).max(1) as f64 / 1e6;
        let ms = |us: u64| us as f64 / 1e3;
        let latency_ms = Percentiles {
            count: latency.len(),
            p50: ms(latency.value_at_quantile(0.5)),
            p99: ms(latency.value_at_quantile(0.99)),
            p999: ms(latency.value_at_quantile(0.999)),
            max: ms(latency.max()),
        };
        Hits {
            seconds,
            requests: *requests,
            granted: *granted,
            granted_per_second: *granted as f64 / seconds,
            latency_ms,
            cpu_percent: 100.0 * cpu.as_secs_f64() / seconds,
            requests_total: self.tally.requests_total,
            granted_total: self.tally.granted_total,
            refused_total: self.tally.refused_total,
            unsent,
            first_refusal: self.tally.first_refusal,
            answer_bytes: self.tally.answer_bytes,
            next_number: self.tally.number,
        }
    }
}

impl Tally {
    fn take(&mut self, plan: &Plan, now: u64, latency_us: u64, status: u16, body: &[u8]) {
        let commands = plan.template.commands();
        let fine = (200..300).contains(&status);
        let granted = match plan.each {
            _ if !fine => 0,
            None => commands,
            Some(each) => memchr::memmem::find_iter(body, each).count() as u64,
        };
        if granted < commands && self.first_refusal.is_none() {
            let start = &body[..body.len().min(400)];
            self.first_refusal = Some(format!("{status} {}", String::from_utf8_lossy(start)));
        }
        self.answer_bytes = body.len();
        self.requests_total += 1;
        self.granted_total += granted;
        self.refused_total += commands.saturating_sub(granted);
        // A request counts where it was asked, so that one that waits long is in.
        if now >= self.counted_from_us && now < self.counted_to_us {
            self.requests += 1;
            self.granted += granted;
        }
        let asked = now.saturating_sub(latency_us);
        if asked >= self.counted_from_us && asked < self.counted_to_us {
            self.latency.saturating_record(latency_us.max(1));
        }
    }
}

/// What this thread has used of a core so far.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
