//! Clients that are too slow: those that send the head of a request drop by drop, and
//! those that do not read their answers. Both cost a connection and its memory, so
//! both are cut after a while.
//!
//! A [`Pace`] sits beside a socket and is told what comes and goes. Who keeps up costs a
//! flag per read and nothing else: a timer is made only where a client makes us wait.
//! How long a body may take is no matter of the socket: whoever reads the body knows.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// A client that reads so much of its answers within its time keeps up, even if more waits.
pub const PROGRESS_BYTES: usize = 16 << 10;
/// The most that the kernel keeps of answers which a client has not made room for.
pub const UNSENT_BYTES_MAX: u32 = 64 << 10;

/// What the socket and the service of one connection know of each other.
#[derive(Debug, Default)]
pub struct Seen {
    /// Whether a part of a head has come, and no whole one.
    head_begun: AtomicBool,
    /// Whether a request is being answered, so that what comes belongs to its body.
    answering: AtomicBool,
    /// Whether an answer was made of which nothing is written yet.
    unsent: AtomicBool,
    /// Whether an answer was kept back that was not the service's.
    kept_back: AtomicBool,
    cut: AtomicU8,
}

/// Why a connection was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// The head did not come in time.
    Head,
    /// An answer was not read in time.
    Answer,
}

impl Seen {
    /// The head of a request has come.
    pub fn begin_request(&self) {
        self.head_begun.store(false, Relaxed);
        self.answering.store(true, Relaxed);
    }

    /// Its answer is made.
    pub fn end_request(&self) {
        // What came meanwhile was of its body.
        self.head_begun.store(false, Relaxed);
        self.unsent.store(true, Relaxed);
        self.answering.store(false, Relaxed);
    }

    /// Whether an answer was kept back: the client waits for another one.
    #[must_use]
    pub fn kept_back(&self) -> bool {
        self.kept_back.load(Relaxed)
    }

    /// Why the connection was cut, if it was for being slow.
    #[must_use]
    pub fn cut(&self) -> Option<Cut> {
        match self.cut.load(Relaxed) {
            0 => None,
            1 => Some(Cut::Head),
            _ => Some(Cut::Answer),
        }
    }
}

/// Watches how fast a client sends heads and reads answers.
pub struct Pace {
    seen: Arc<Seen>,
    head_time: Option<Duration>,
    answer_time: Duration,
    head: Option<Pin<Box<Sleep>>>,
    answer: Option<Pin<Box<Sleep>>>,
    /// Bytes taken since the timer for answers runs.
    taken: usize,
    /// Whether all answers are written.
    flushed: bool,
    /// Whether they were when the head began.
    began_flushed: bool,
}

impl Pace {
    /// With the time that a head may take once its first byte is there (none: what is read
    /// is no head, as in HTTP/2), and the time in which a client must read on.
    #[must_use]
    pub fn new(seen: Arc<Seen>, head_time: Option<Duration>, answer_time: Duration) -> Pace {
        Pace {
            seen,
            head_time,
            answer_time,
            head: None,
            answer: None,
            taken: 0,
            flushed: true,
            began_flushed: false,
        }
    }

    /// Something was read.
    pub fn read(&mut self) {
        if self.head_time.is_some()
            && !self.seen.answering.load(Relaxed)
            && !self.seen.head_begun.swap(true, Relaxed)
        {
            self.head = None;
            self.began_flushed = self.flushed;
        }
    }

    /// Whether all requests are answered, and no other has begun.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let Seen { head_begun, answering, unsent, .. } = &*self.seen;
        let busy = [head_begun, answering, unsent].into_iter().any(|flag| flag.load(Relaxed));
        self.head_time.is_some() && self.flushed && !busy
    }

    /// There is nothing to read yet.
    ///
    /// # Errors
    /// A head was begun and did not come in time.
    pub fn wait_to_read<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Some(time) = self.head_time
            && self.seen.head_begun.load(Relaxed)
        {
            let timer = self.head.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            std::task::ready!(timer.as_mut().poll(context));
            return self.end(Cut::Head);
        }
        self.head = None;
        Poll::Pending
    }

    /// Whether what is to be written is nobody's answer: a head was begun, but no request
    /// came of it, so that it can only be what hyper says to a head that it can't read.
    pub fn keeps_back(&self) -> bool {
        // Where the answer before was not out yet, it may still be that.
        let keeps = self.began_flushed && self.seen.head_begun.load(Relaxed);
        if keeps {
            self.seen.kept_back.store(true, Relaxed);
        }
        keeps
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, bytes: usize) {
        self.flushed = false;
        self.seen.unsent.store(false, Relaxed);
        if self.answer.is_some() {
            self.taken += bytes;
            if self.taken >= PROGRESS_BYTES {
                self.answer = None;
            }
        }
    }

    /// All that was to be written is.
    pub fn flushed(&mut self) {
        self.flushed = true;
        self.answer = None;
    }

    /// There is no room to write.
    ///
    /// # Errors
    /// The client did not read on in time.
    pub fn wait_to_write<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.answer.is_none() {
            self.taken = 0;
        }
        let time = self.answer_time;
        let timer = self.answer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        std::task::ready!(timer.as_mut().poll(context));
        self.end(Cut::Answer)
    }

    fn end<T>(&self, cut: Cut) -> Poll<io::Result<T>> {
        let number = if cut == Cut::Head { 1 } else { 2 };
        self.seen.cut.store(number, Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    fn pace(head_time: Duration, answer_time: Duration) -> (Pace, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        (Pace::new(seen.clone(), Some(head_time), answer_time), seen)
    }

    async fn pause() {
        let _ = tokio::time::timeout(SHORT / 4, std::future::pending::<()>()).await;
    }

    async fn reads_on(pace: &mut Pace) -> bool {
        let wait = poll_fn(|context| pace.wait_to_read::<()>(context));
        tokio::time::timeout(SHORT * 5, wait).await.is_err()
    }

    #[tokio::test]
    async fn an_idle_client_and_a_body_are_not_cut_but_a_slow_head_is() {
        let (mut pace, seen) = pace(SHORT, LONG);
        assert!(reads_on(&mut pace).await, "idle");
        pace.read();
        seen.begin_request();
        assert!(reads_on(&mut pace).await, "a body that is not there yet");
        pace.read();
        assert!(reads_on(&mut pace).await, "a slow body");
        seen.end_request();
        assert!(reads_on(&mut pace).await, "idle again");
        assert_eq!(seen.cut(), None);
        pace.read();
        assert!(!reads_on(&mut pace).await, "the next head is slow");
        assert_eq!(seen.cut(), Some(Cut::Head));
    }

    #[test]
    fn only_an_answer_that_nobody_asked_for_is_kept_back() {
        let (mut pace, seen) = pace(LONG, LONG);
        assert!(!pace.keeps_back());
        pace.read();
        seen.begin_request();
        seen.end_request();
        assert!(!pace.keeps_back(), "the answer");
        pace.wrote(1);
        pace.read();
        assert!(!pace.keeps_back(), "the rest of the answer, while the next head comes");
        seen.begin_request();
        seen.end_request();
        pace.wrote(1);
        pace.flushed();
        pace.read();
        assert!(!seen.kept_back());
        assert!(pace.keeps_back() && seen.kept_back(), "no request came of this head");
    }

    #[tokio::test]
    async fn who_reads_a_little_is_cut_and_who_reads_on_is_not() {
        let (mut pace, seen) = pace(LONG, SHORT);
        let waits = |pace: &mut Pace, written: usize| {
            pace.wrote(written);
            futures_wait(pace)
        };
        fn futures_wait(pace: &mut Pace) -> bool {
            let mut context = Context::from_waker(std::task::Waker::noop());
            pace.wait_to_write::<()>(&mut context).is_pending()
        }
        assert!(futures_wait(&mut pace));
        let begin = std::time::Instant::now();
        while begin.elapsed() < SHORT * 3 {
            pause().await;
            assert!(waits(&mut pace, PROGRESS_BYTES), "reads on");
        }
        pace.flushed();
        assert!(futures_wait(&mut pace));
        let begin = std::time::Instant::now();
        while waits(&mut pace, 1) {
            assert!(begin.elapsed() < Duration::from_secs(20), "a trickle is not cut");
            pause().await;
        }
        assert_eq!(seen.cut(), Some(Cut::Answer));
    }
}
