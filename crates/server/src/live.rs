//! Live state for many readers: each follows one event and is sent the newest state
//! whenever it has changed, as server-sent events.
//!
//! Per event there is one feed. What it shows is written once, and the readers share
//! the bytes. A reader waits at a place that holds the newest state and nothing else, so one
//! that is slow misses what came in between, and no queue grows for it. How often there is
//! something new follows from how many read: all readers together are sent about
//! [`FRAMES_PER_SECOND`], in groups one after the other, so that the sale beside them goes on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use onsale_core::Id;
use onsale_core::event::Subject;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What all readers together are sent in a second, about, if everything changes all the time.
pub const FRAMES_PER_SECOND: usize = 10_000;
/// What all feeds together look at their events in a second, about.
pub const LOOKS_PER_SECOND: usize = 1_000;
/// How often a reader is sent something at most.
pub const EVERY_MIN: Duration = Duration::from_millis(100);
/// After so long without a change a reader is sent a comment, which tells that all is well.
pub const BEAT_EVERY: Duration = Duration::from_secs(15);
/// How long a reader may follow. Then it comes again, and its key is checked anew.
pub const LIFE: Duration = Duration::from_secs(600);
/// That comment.
const BEAT: &[u8] = b": still here\n\n";
/// Groups of readers that are served one after the other.
const GROUPS: usize = 16;
/// Fewer readers than this are served all at once.
const AT_ONCE_MAX: usize = 500;

/// One state of an event, as it is sent.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Position of the log that it is of, and its id.
    pub position: u64,
    /// What is sent: one server-sent event.
    pub bytes: Bytes,
}

/// A frame with its number in the feed, by which a reader knows a new one.
type Numbered = (u64, Frame);

/// Organizer and event.
type Key = (Id, Id);

fn key(subject: &Subject) -> Key {
    (subject.organizer, subject.event)
}

/// All feeds.
#[derive(Debug, Default)]
pub struct Live {
    feeds: Mutex<HashMap<Key, Arc<Feed>>>,
    /// Readers now.
    readers: AtomicUsize,
    /// Frames sent since the start, comments included.
    sent: AtomicU64,
    /// Frames written since the start, each for all readers of its event.
    written: AtomicU64,
}

/// What the readers of one event follow.
#[derive(Debug)]
pub struct Feed {
    groups: [watch::Sender<Numbered>; GROUPS],
    joined: AtomicUsize,
}

impl Feed {
    fn new(first: Frame) -> Feed {
        Feed {
            groups: std::array::from_fn(|_| watch::Sender::new((1, first.clone()))),
            joined: AtomicUsize::new(0),
        }
    }

    fn join(&self) -> watch::Receiver<Numbered> {
        self.groups[self.joined.fetch_add(1, Relaxed) % GROUPS].subscribe()
    }

    /// Readers of this event.
    pub fn readers(&self) -> usize {
        self.groups.iter().map(watch::Sender::receiver_count).sum()
    }

    /// Sends a frame to all readers, or a comment, within this time.
    pub async fn publish(&self, frame: Option<Frame>, within: Duration) {
        let (begin, apart) = (Instant::now(), within / GROUPS as u32);
        let spread = self.readers() > AT_ONCE_MAX;
        for (group, number) in self.groups.iter().zip(0..) {
            if spread {
                sleep_until(begin + apart * number).await;
            }
            group.send_modify(|newest| {
                if let Some(frame) = &frame {
                    *newest = (newest.0 + 1, frame.clone());
                }
            });
        }
    }
}

/// A place among the readers; given back when it is dropped.
pub struct Place(Arc<Live>);

impl Place {
    /// Takes a place; none where there are so many readers already.
    pub fn take(live: Arc<Live>, readers_max: usize) -> Option<Place> {
        if live.readers.fetch_add(1, Relaxed) >= readers_max {
            live.readers.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Place(live))
    }

    /// Counts something that was sent.
    pub fn count(&self) {
        self.0.sent.fetch_add(1, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Relaxed);
    }
}

impl Live {
    /// Follows the feed of an event, if there is one.
    pub fn follow(&self, subject: &Subject) -> Option<watch::Receiver<Numbered>> {
        self.feeds().get(&key(subject)).map(|feed| feed.join())
    }

    /// Follows the feed of an event, which is made with this frame where there is none. If it
    /// was made, whoever made it has to keep it going.
    pub fn begin(
        &self,
        subject: Subject,
        first: Frame,
    ) -> (watch::Receiver<Numbered>, Option<Arc<Feed>>) {
        match self.feeds().entry(key(&subject)) {
            Entry::Occupied(feed) => (feed.get().join(), None),
            Entry::Vacant(place) => {
                let feed = place.insert(Arc::new(Feed::new(first)));
                (feed.join(), Some(feed.clone()))
            }
        }
    }

    /// Ends a feed that nobody reads. Returns whether it did.
    pub fn end_if_idle(&self, subject: &Subject) -> bool {
        let mut feeds = self.feeds();
        let idle = feeds.get(&key(subject)).is_none_or(|feed| feed.readers() == 0);
        if idle {
            feeds.remove(&key(subject));
        }
        idle
    }

    /// Ends a feed; its readers are sent to come again.
    pub fn end(&self, subject: &Subject) {
        self.feeds().remove(&key(subject));
    }

    /// How long to wait from one look at an event to the next.
    #[must_use]
    pub fn every(&self) -> Duration {
        let readers = self.readers.load(Relaxed) as f64 / FRAMES_PER_SECOND as f64;
        let feeds = self.feeds().len() as f64 / LOOKS_PER_SECOND as f64;
        EVERY_MIN.max(Duration::from_secs_f64(readers.max(feeds)))
    }

    /// Counts a frame that was written for all readers of an event.
    pub fn wrote(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    /// Readers now, frames written and frames sent since the start.
    #[must_use]
    pub fn figures(&self) -> (usize, u64, u64) {
        (self.readers.load(Relaxed), self.written.load(Relaxed), self.sent.load(Relaxed))
    }

    fn feeds(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader.
pub struct Reader {
    place: Place,
    newest: watch::Receiver<Numbered>,
    seen: u64,
    first: Option<Bytes>,
    until: Instant,
}

impl Reader {
    /// A reader that is sent the state at once, or a comment where it `has` that of this
    /// position already.
    pub fn new(place: Place, newest: watch::Receiver<Numbered>, has: Option<u64>) -> Reader {
        let (seen, frame) = newest.borrow().clone();
        let has = has == Some(frame.position);
        let first = if has { Bytes::from_static(BEAT) } else { frame.bytes };
        Reader { place, newest, seen, first: Some(first), until: Instant::now() + LIFE }
    }

    /// What to send next; none: it is over.
    pub async fn next(mut self) -> Option<(Bytes, Reader)> {
        let bytes = match self.first.take() {
            Some(first) => first,
            None => {
                self.newest.changed().await.ok()?;
                if Instant::now() >= self.until {
                    return None;
                }
                let newest = self.newest.borrow_and_update();
                match newest.0 == self.seen {
                    true => Bytes::from_static(BEAT),
                    false => {
                        self.seen = newest.0;
                        newest.1.bytes.clone()
                    }
                }
            }
        };
        self.place.count();
        Some((bytes, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject { organizer: Id::new("river").unwrap(), event: Id::new("concert").unwrap() }
    }

    fn frame(position: u64) -> Frame {
        Frame { position, bytes: format!("id: {position}\n\n").into() }
    }

    fn reader(live: &Arc<Live>, has: Option<u64>) -> Reader {
        let newest = live.follow(&subject()).unwrap();
        Reader::new(Place::take(live.clone(), 10).unwrap(), newest, has)
    }

    #[tokio::test]
    async fn a_slow_reader_skips_to_the_newest() {
        let live = Arc::new(Live::default());
        let (_, feed) = live.begin(subject(), frame(7));
        let feed = feed.expect("it is new");
        assert!(live.begin(subject(), frame(8)).1.is_none(), "there is one feed");
        let (bytes, slow) = reader(&live, None).next().await.unwrap();
        assert_eq!(bytes, "id: 7\n\n");
        for position in 8..=20 {
            feed.publish(Some(frame(position)), Duration::ZERO).await;
        }
        // A comment does not hide what was not sent yet.
        feed.publish(None, Duration::ZERO).await;
        let (bytes, slow) = slow.next().await.unwrap();
        assert_eq!(bytes, "id: 20\n\n");
        feed.publish(None, Duration::ZERO).await;
        let (bytes, slow) = slow.next().await.unwrap();
        assert_eq!(bytes, BEAT);
        assert_eq!(live.figures(), (1, 0, 3));
        drop(feed);
        live.end(&subject());
        assert!(slow.next().await.is_none(), "the feed has ended");
        assert_eq!(live.figures().0, 0);
    }

    #[tokio::test]
    async fn who_has_the_state_is_not_sent_it_again() {
        let live = Arc::new(Live::default());
        let _feed = live.begin(subject(), frame(7));
        assert_eq!(reader(&live, Some(7)).next().await.unwrap().0, BEAT);
        assert_eq!(reader(&live, Some(6)).next().await.unwrap().0, "id: 7\n\n");
        assert_eq!(reader(&live, Some(99)).next().await.unwrap().0, "id: 7\n\n");
    }

    #[test]
    fn places_are_limited_and_feeds_end_with_their_readers() {
        let live = Arc::new(Live::default());
        let places: Vec<_> = (0..3).map(|_| Place::take(live.clone(), 2)).collect();
        assert!(places[1].is_some() && places[2].is_none());
        let (newest, _feed) = live.begin(subject(), frame(1));
        assert!(!live.end_if_idle(&subject()));
        drop(newest);
        assert!(live.end_if_idle(&subject()));
        assert!(live.follow(&subject()).is_none());
    }

    #[test]
    fn the_more_readers_the_less_often() {
        let live = Arc::new(Live::default());
        assert_eq!(live.every(), EVERY_MIN);
        live.readers.store(500, Relaxed);
        assert_eq!(live.every(), EVERY_MIN);
        live.readers.store(10_000, Relaxed);
        assert_eq!(live.every(), Duration::from_secs(1));
        live.readers.store(20_000, Relaxed);
        assert_eq!(live.every(), Duration::from_secs(2));
    }
}
