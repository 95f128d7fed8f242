//! Who is due next: one queue per event and duration, chained through the records
//! themselves, and over the queues a heap.
//!
//! Time never runs backwards, so what enters a queue with the same duration has a
//! deadline no earlier than all before it: the head is always the first to be due,
//! and entering, leaving and finding it take the same time however many wait. The
//! heap holds for each queue a lower bound of its head's deadline, which is put
//! right only when it comes up: a head that leaves before its time costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::slab::{Linked, NONE, Slab};
use crate::time::Time;

/// A record's place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Links {
    pub queue: u32,
    pub previous: u32,
    pub next: u32,
}

impl Links {
    /// In no queue.
    pub(crate) const OUT: Links = Links { queue: NONE, previous: NONE, next: NONE };
}

/// A record that waits for a deadline.
pub(crate) trait Timed: Linked {
    fn deadline(&self) -> Time;
    fn links(&self) -> Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// What waits in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// Live holds, until they expire.
    Holds,
    /// Unpaid orders, until they are cancelled.
    Orders,
}

/// One queue.
pub(crate) struct Queue {
    pub event: u32,
    pub waiting: Waiting,
    pub duration_us: i64,
    pub head: u32,
    tail: u32,
    /// Its bound in the heap; the end of time where it has none.
    bound: Time,
}

const NEVER: Time = Time(i64::MAX);

impl Queue {
    /// Its bound in the heap, if it has one.
    pub(crate) fn bound(&self) -> Option<Time> {
        (self.bound != NEVER).then_some(self.bound)
    }
}

/// All queues of a shard.
#[derive(Default)]
pub(crate) struct Deadlines {
    queues: Vec<Queue>,
    heap: BinaryHeap<Reverse<(Time, u32)>>,
}

impl Deadlines {
    pub(crate) fn queue(&self, queue: u32) -> &Queue {
        &self.queues[queue as usize]
    }

    /// The queue of an event for a duration, out of the event's own list `known`;
    /// a new one takes the place of an empty one.
    pub(crate) fn queue_for(
        &mut self,
        event: u32,
        waiting: Waiting,
        duration_us: i64,
        known: &mut smallvec::SmallVec<[u32; 2]>,
    ) -> u32 {
        let fits = |queue: &&u32| self.queues[**queue as usize].duration_us == duration_us;
        if let Some(queue) = known.iter().find(fits) {
            return *queue;
        }
        let empty = |queue: &&u32| self.queues[**queue as usize].head == NONE;
        if let Some(queue) = known.iter().find(empty) {
            self.queues[*queue as usize].duration_us = duration_us;
            return *queue;
        }
        let queue = self.queues.len() as u32;
        let (head, tail, bound) = (NONE, NONE, NEVER);
        self.queues.push(Queue { event, waiting, duration_us, head, tail, bound });
        known.push(queue);
        queue
    }

    /// Adds a queue with a bound, as one that was saved.
    pub(crate) fn add(
        &mut self,
        event: u32,
        waiting: Waiting,
        duration_us: i64,
        bound: Option<Time>,
        known: &mut smallvec::SmallVec<[u32; 2]>,
    ) {
        let queue = self.queues.len() as u32;
        let (head, tail) = (NONE, NONE);
        let at = bound.unwrap_or(NEVER);
        self.queues.push(Queue { event, waiting, duration_us, head, tail, bound: at });
        if bound.is_some() {
            self.heap.push(Reverse((at, queue)));
        }
        known.push(queue);
    }

    /// The last record of a queue.
    pub(crate) fn tail(&self, queue: u32) -> Option<u32> {
        let tail = self.queues[queue as usize].tail;
        (tail != NONE).then_some(tail)
    }

    /// Puts a record at the end of a queue.
    pub(crate) fn enter<T: Timed>(&mut self, slab: &mut Slab<T>, queue_slot: u32, record: u32) {
        let queue = &mut self.queues[queue_slot as usize];
        let deadline = slab[record].deadline();
        debug_assert!(queue.tail == NONE || slab[queue.tail].deadline() <= deadline);
        *slab[record].links_mut() = Links { queue: queue_slot, previous: queue.tail, next: NONE };
        match queue.tail {
            NONE => queue.head = record,
            tail => slab[tail].links_mut().next = record,
        }
        queue.tail = record;
        if deadline < queue.bound {
            queue.bound = deadline;
            self.heap.push(Reverse((deadline, queue_slot)));
        }
    }

    /// Takes a record out of its queue.
    pub(crate) fn leave<T: Timed>(&mut self, slab: &mut Slab<T>, record: u32) {
        let links = std::mem::replace(slab[record].links_mut(), Links::OUT);
        let queue = &mut self.queues[links.queue as usize];
        match links.previous {
            NONE => queue.head = links.next,
            previous => slab[previous].links_mut().next = links.next,
        }
        match links.next {
            NONE => queue.tail = links.previous,
            next => slab[next].links_mut().previous = links.previous,
        }
    }

    /// No record is due before this; none: nothing waits.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((bound, _))| *bound)
    }

    /// The next queue whose bound is not after `now`, taken off the heap; it must
    /// come back by [`Deadlines::put_back`].
    pub(crate) fn take_due(&mut self, now: Time) -> Option<u32> {
        while let Some(Reverse((bound, slot))) = self.heap.peek().copied() {
            if bound > now {
                return None;
            }
            self.heap.pop();
            let queue = &mut self.queues[slot as usize];
            // An entry that a lower bound has overtaken says nothing any more.
            if queue.bound == bound {
                queue.bound = NEVER;
                return Some(slot);
            }
        }
        None
    }

    /// Puts a queue back with its head's deadline as its bound.
    pub(crate) fn put_back(&mut self, slot: u32, head_deadline: Option<Time>) {
        if let Some(deadline) = head_deadline {
            self.queues[slot as usize].bound = deadline;
            self.heap.push(Reverse((deadline, slot)));
        }
    }

    /// Queues there are, empty ones too.
    pub(crate) fn len(&self) -> u32 {
        self.queues.len() as u32
    }

    /// The records of a queue, first due first.
    pub(crate) fn records<'a, T: Timed + 'a>(
        &self,
        queue: u32,
        get: impl Fn(u32) -> &'a T + 'a,
    ) -> impl Iterator<Item = u32> + 'a {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        let head = some(self.queues[queue as usize].head);
        std::iter::successors(head, move |slot| some(get(*slot).links().next))
    }

    /// What is wrong with a queue that has this head's deadline, if anything.
    pub(crate) fn check(
        &self,
        slot: u32,
        tail: Option<u32>,
        head: Option<Time>,
    ) -> Result<(), String> {
        let queue = self.queue(slot);
        if tail.unwrap_or(NONE) != queue.tail {
            return Err(format!("queue {slot} does not end at its tail"));
        }
        match head {
            Some(deadline) if queue.bound > deadline => {
                Err(format!("queue {slot} has a bound after its head's deadline"))
            }
            Some(_) if !self.heap.iter().any(|Reverse(e)| *e == (queue.bound, slot)) => {
                Err(format!("queue {slot} is missing in the heap"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.queues.capacity() * size_of::<Queue>()
            + self.heap.capacity() * size_of::<Reverse<(Time, u32)>>()
    }
}
