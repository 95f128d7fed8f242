//! One connection: what it still has to send, and what came in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, bail, ensure};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::answer;

/// Room that a connection reads into at first.
const INPUT_BYTES: usize = 8 << 10;

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    /// When each request that waits for an answer was to be sent.
    waiting: VecDeque<u64>,
    output: Vec<u8>,
    written: usize,
    /// Whether it waits for room to write.
    blocked: bool,
    input: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            waiting: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            blocked: false,
            input: vec![0; INPUT_BYTES],
            filled: 0,
            taken: 0,
        })
    }

    pub(super) fn watch(&self, epoll: &OwnedFd, index: usize) -> anyhow::Result<()> {
        Ok(epoll::add(epoll, &self.stream, EventData::new_u64(index as u64), EventFlags::IN)?)
    }

    /// Requests without an answer.
    pub(super) fn under_way(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request to what is to be sent.
    pub(super) fn queue(&mut self, request: &[u8], at_us: u64) {
        self.output.extend_from_slice(request);
        self.waiting.push_back(at_us);
    }

    /// Sends as much as the socket takes.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, index: usize) -> anyhow::Result<()> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => bail!("connection {index} takes no more"),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("connection {index}")),
            }
        }
        let blocked = self.written < self.output.len();
        if !blocked {
            self.output.clear();
            self.written = 0;
        }
        if blocked != self.blocked {
            self.blocked = blocked;
            let flags = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.stream, EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }

    /// Reads what there is, at most once around the buffer.
    pub(super) fn read(&mut self) -> anyhow::Result<()> {
        if self.filled == self.input.len() {
            self.input.resize(2 * self.input.len(), 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the server closed it, with {} requests under way", self.under_way()),
            Ok(read) => self.filled += read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next answer that is there as a whole: when its request was to be sent, its status and
    /// its body.
    pub(super) fn next_answer(&mut self) -> anyhow::Result<Option<(u64, u16, &[u8])>> {
        let input = &self.input[self.taken..self.filled];
        if input.is_empty() {
            return Ok(None);
        }
        let Some(whole) = answer::first(input)? else { return Ok(None) };
        ensure!(!self.waiting.is_empty(), "an answer that nobody asked for");
        let at_us = self.waiting.pop_front().expect("it is not empty");
        self.taken += whole.end;
        Ok(Some((at_us, whole.status, &input[whole.body..whole.end])))
    }

    /// Makes room for what comes next.
    pub(super) fn compact(&mut self) {
        if self.taken > 0 {
            self.input.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
    }
}
