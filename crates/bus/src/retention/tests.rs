//! What is old goes, but not what a protected cursor has yet to read.

use super::*;
use crate::cursors::Progress;
use crate::{Entry, Group};

#[tokio::test]
async fn old_records_go_but_not_before_they_are_read() {
    let (bus, stream) = (Bus::memory(), StreamName::new("sales").unwrap());
    bus.create(&stream, 1).await.unwrap();
    let entries: Vec<Entry> = (0..100).map(|n| Entry::new("k", n.to_string())).collect();
    bus.append(&stream, &entries).await.unwrap();
    let generation = bus.describe(&stream).await.unwrap().generation;
    let at = |group: &str, position: u64| CursorState {
        cursor: Group::new(group, "sales").unwrap().cursor(&ShardId::numbered(0)),
        fence: 1,
        progress: Some(Progress { generation, position: position.into(), ended: false }),
        lease: None,
    };
    let readers = [at("slow", 30), at("fast", 90)];
    let keep = |age_s: u64, records| Retention { age: Duration::from_secs(age_s), records };
    let rows = [
        // Nothing is old yet.
        (keep(3_600, 1_000), 1, 0, 0),
        // All is old: it goes as far as the slow one has read.
        (keep(0, 1_000), 31, 1, 0),
        // Room for fifty only: the slow one loses twenty.
        (keep(0, 50), 51, 0, 1),
    ];
    for (retention, begins_at, kept_for, lost_for) in rows {
        let done = bus.retain(&stream, retention, &readers).await.unwrap().remove(0);
        let told = (done.begins_at, done.kept_for.len(), done.lost_for.len());
        assert_eq!(told, (Position::from(begins_at), kept_for, lost_for), "{retention:?}");
    }
    let done = bus.retain(&stream, keep(0, 1_000), &[]).await.unwrap().remove(0);
    assert_eq!((done.begins_at, done.records), (Position::from(101), 50));
}
