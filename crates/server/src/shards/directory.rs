//! Which shard an event is on. It is built from the shards' own records at start and
//! read without a lock where every request passes. Events are spread over parts, and a change
//! swaps in a new copy of its part: ten thousand events come one by one without each of them
//! copying all before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use arc_swap::ArcSwap;
use onsale_core::{Id, Sale};

/// Parts that events are spread over.
const PARTS: usize = 256;

/// Events of one part, and where they are.
type Part = HashMap<(Id, Id), u16>;

/// Where everything is.
pub struct Directory {
    events: Box<[ArcSwap<Part>]>,
    listed: RwLock<Listed>,
}

/// What only definitions and listings look at.
#[derive(Default)]
struct Listed {
    groups: HashMap<(Id, Id), u16>,
    sorted: BTreeMap<Id, BTreeSet<Id>>,
}

impl Default for Directory {
    fn default() -> Directory {
        let events = (0..PARTS).map(|_| ArcSwap::default()).collect();
        Directory { events, listed: RwLock::default() }
    }
}

impl Directory {
    /// Adds what a shard's records say.
    pub fn add(&self, shard: u16, sale: &Sale) {
        let events: Vec<_> = sale.events().collect();
        let groups: Vec<_> = sale.groups().collect();
        self.insert(shard, &events, &groups);
    }

    /// Adds (organizer, event) and (organizer, sale group) pairs of a shard.
    pub fn insert(&self, shard: u16, events: &[(Id, Id)], groups: &[(Id, Id)]) {
        let mut by_part: BTreeMap<usize, Vec<(Id, Id)>> = BTreeMap::new();
        for (organizer, event) in events {
            by_part.entry(part_of(event)).or_default().push((*organizer, *event));
        }
        for (part, events) in by_part {
            self.events[part].rcu(|part| {
                let mut part = Part::clone(part);
                part.extend(events.iter().map(|event| (*event, shard)));
                part
            });
        }
        // Last, so that whatever is listed is found, too.
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        for (organizer, event) in events {
            listed.sorted.entry(*organizer).or_default().insert(*event);
        }
        listed.groups.extend(groups.iter().map(|group| (*group, shard)));
    }

    /// The shard of an event.
    pub fn event(&self, organizer: &Id, event: &Id) -> Option<u16> {
        self.events[part_of(event)].load().get(&(*organizer, *event)).copied()
    }

    /// The shard of a sale group: where it is, or where a new one goes. Only the caller's
    /// record of it makes a place final.
    pub fn place(&self, organizer: &Id, group: &Id, shards: u16) -> u16 {
        let recorded = self.listed().groups.get(&(*organizer, *group)).copied();
        onsale_engine::folder::place(recorded, organizer, group, shards)
    }

    /// Up to `limit` events of an organizer with ids above `after`, sorted.
    pub fn events(&self, organizer: &Id, after: Option<&Id>, limit: usize) -> Vec<Id> {
        use std::ops::Bound::{Excluded, Unbounded};
        let listed = self.listed();
        let Some(events) = listed.sorted.get(organizer) else { return Vec::new() };
        let from = after.map_or(Unbounded, Excluded);
        events.range((from, Unbounded)).take(limit).copied().collect()
    }

    fn listed(&self) -> std::sync::RwLockReadGuard<'_, Listed> {
        self.listed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part that an event is in: its id's bytes, mixed as FNV does.
fn part_of(event: &Id) -> usize {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = event.as_bytes().iter().fold(0x811c_9dc5, mix);
    (hash ^ hash >> 16) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::new(text).expect("an id")
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let directory = Directory::default();
        directory.insert(3, &[(id("o"), id("a")), (id("o"), id("c"))], &[(id("o"), id("g"))]);
        directory.insert(1, &[(id("p"), id("b"))], &[]);
        assert_eq!(directory.event(&id("o"), &id("a")), Some(3));
        assert_eq!(directory.event(&id("p"), &id("a")), None);
        assert_eq!(directory.place(&id("o"), &id("g"), 4), 3);
        assert_eq!(directory.events(&id("o"), None, 10), vec![id("a"), id("c")]);
        assert_eq!(directory.events(&id("o"), Some(&id("a")), 10), vec![id("c")]);
        assert_eq!(directory.events(&id("o"), None, 1), vec![id("a")]);
        assert_eq!(directory.events(&id("q"), None, 1), vec![]);
    }

    #[test]
    fn many_events_are_spread_out_and_found() {
        let directory = Directory::default();
        let event = |n: u16| id(&format!("event-{n:05}"));
        let mut used = BTreeSet::new();
        for n in 0..2_000 {
            directory.insert(n % 7, &[(id("o"), event(n))], &[]);
            used.insert(part_of(&event(n)));
        }
        assert!((0..2_000).all(|n| directory.event(&id("o"), &event(n)) == Some(n % 7)));
        assert!(used.len() > PARTS * 9 / 10, "they lie in {} parts", used.len());
        let fullest = directory.events.iter().map(|part| part.load().len()).max();
        assert!(fullest.is_some_and(|events| events < 40), "one part has {fullest:?}");
        assert_eq!(directory.events(&id("o"), None, 3_000).len(), 2_000);
    }
}
