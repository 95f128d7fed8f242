//! Beginning anew, in a PostgreSQL.

use tokio_postgres::NoTls;

use super::*;
use crate::cursors::Claim;
use crate::{Generation, Group, ShardId, WorkerId};

fn cursor(name: &str, shard: u32) -> CursorId {
    Group::new(name, "sales").unwrap().cursor(&ShardId::numbered(shard))
}

/// The record at a position, stored or tried again, of a cursor that is at the place `from`.
fn batch(cursor: &CursorId, from: Option<u64>, position: u64, is_retry: bool) -> Batch {
    let place = |position: u64| Progress {
        generation: Generation(1),
        position: Position::from(position),
        ended: false,
    };
    let claim = Claim {
        cursor: cursor.clone(),
        owner: WorkerId::fresh(),
        fence: 3,
        progress: from.map(place),
    };
    let record = Record {
        position: Position::from(position),
        key: "k".into(),
        payload: bytes::Bytes::new(),
        written_at_us: 0,
    };
    Batch::new(claim, place(position), is_retry, vec![record])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_reset_begins_anew_and_others_stay() {
    let server = onsale_services::postgres();
    let (mut db, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    prepare(&db).await.unwrap();
    let reset_one = cursor("mail", 0);
    let others = [cursor("mail", 1), cursor("letters", 0)];
    let stores = async |db: &mut Client, batch: &Batch| {
        let mut stored = 0;
        let each = async |_: &Transaction<'_>, _: &Record| {
            stored += 1;
            Ok(())
        };
        apply(db, batch, each).await.unwrap();
        stored
    };
    for cursor in others.iter().chain([&reset_one]) {
        assert_eq!(stores(&mut db, &batch(cursor, None, 5, false)).await, 1);
        for expected in [1, 0] {
            assert_eq!(stores(&mut db, &batch(cursor, Some(5), 2, true)).await, expected);
        }
    }
    reset(&db, &reset_one).await.unwrap();
    assert_eq!(
        (place(&db, &reset_one).await.unwrap(), fence(&db, &reset_one).await.unwrap()),
        (None, 0)
    );
    // Both are stored again: the first record, and what was tried again.
    assert_eq!(stores(&mut db, &batch(&reset_one, None, 2, true)).await, 1);
    assert_eq!(stores(&mut db, &batch(&reset_one, None, 1, false)).await, 1);
    for other in &others {
        let at = place(&db, other).await.unwrap().unwrap();
        assert_eq!((at.position, fence(&db, other).await.unwrap()), (Position::from(5), 3));
        assert_eq!(stores(&mut db, &batch(other, Some(5), 2, true)).await, 0);
    }
    // One that was never there is no error.
    reset(&db, &cursor("none", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_a_refusal() {
    let server = onsale_services::postgres();
    let (owner, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    prepare(&owner).await.unwrap();
    owner.batch_execute("CREATE ROLE guest LOGIN").await.unwrap();
    let url = server.url().replace("onsale@", "guest@");
    let (guest, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let error = place(&guest, &cursor("mail", 0)).await.unwrap_err();
    let told = "PostgreSQL refused: ERROR: permission denied for table onsale_cursor";
    assert!(error.to_string() == told && !error.is_passing(), "{error}");
}
