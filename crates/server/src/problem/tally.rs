//! How often each kind of problem was told, by this process.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Kind, kind};

/// Name and count of every kind, sorted by name.
static COUNTS: LazyLock<Vec<(&'static str, AtomicU64)>> = LazyLock::new(|| {
    let mut counts: Vec<_> = kind::ALL.iter().map(|k| (k.name, AtomicU64::new(0))).collect();
    counts.sort_by_key(|(name, _)| *name);
    counts
});

/// Counts a problem.
pub(super) fn count(kind: &Kind) {
    if let Ok(at) = COUNTS.binary_search_by_key(&kind.name, |(name, _)| *name) {
        COUNTS[at].1.fetch_add(1, Relaxed);
    }
}

/// Every kind by its name, and how often it was told.
pub fn all() -> impl Iterator<Item = (&'static str, u64)> {
    COUNTS.iter().map(|(name, count)| (*name, count.load(Relaxed)))
}
