//! Which shard an event is on. It is built from the shards' own records at start and
//! read without a lock; a change swaps in a new copy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use onsale_core::{Id, Sale};

/// Where everything is.
#[derive(Default)]
pub struct Directory {
    map: ArcSwap<Map>,
}

#[derive(Clone, Default)]
struct Map {
    events: HashMap<(Id, Id), u16>,
    groups: HashMap<(Id, Id), u16>,
    sorted: BTreeMap<Id, Arc<BTreeSet<Id>>>,
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
        self.map.rcu(|map| {
            let mut map = Map::clone(map);
            for (organizer, event) in events {
                map.events.insert((*organizer, *event), shard);
                Arc::make_mut(map.sorted.entry(*organizer).or_default()).insert(*event);
            }
            map.groups.extend(groups.iter().map(|group| (*group, shard)));
            map
        });
    }

    /// The shard of an event.
    pub fn event(&self, organizer: &Id, event: &Id) -> Option<u16> {
        self.map.load().events.get(&(*organizer, *event)).copied()
    }

    /// The shard of a sale group: where it is, or where a new one goes. Only the caller's
    /// record of it makes a place final.
    pub fn place(&self, organizer: &Id, group: &Id, shards: u16) -> u16 {
        let recorded = self.map.load().groups.get(&(*organizer, *group)).copied();
        onsale_engine::folder::place(recorded, organizer, group, shards)
    }

    /// Up to `limit` events of an organizer with ids above `after`, sorted.
    pub fn events(&self, organizer: &Id, after: Option<&Id>, limit: usize) -> Vec<Id> {
        use std::ops::Bound::{Excluded, Unbounded};
        let map = self.map.load();
        let Some(events) = map.sorted.get(organizer) else { return Vec::new() };
        let from = after.map_or(Unbounded, Excluded);
        events.range((from, Unbounded)).take(limit).copied().collect()
    }
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
}
