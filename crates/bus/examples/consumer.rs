//! A consumer that does it right: each record's effect is stored once, whatever is killed, frozen or cut off. Run several
//! of them on the same folders: they share the shards.
//!
//! `cargo run -p onsale-bus --features sqlite --example consumer -- BUS CURSORS STREAM DATABASE`

use onsale_bus::{Bus, Cursors, Error, Group, Worker, WorkerOptions, effects::sqlite};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let [bus, cursors, stream, file] =
        [1, 2, 3, 4].map(|n| std::env::args().nth(n).unwrap_or_default());
    let mut db = rusqlite::Connection::open(&file)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS seen (key TEXT, payload BLOB)",
    )?;
    sqlite::prepare(&db)?;

    let options = WorkerOptions { stored: Some(sqlite::stored(&file)), ..WorkerOptions::default() };
    let (bus, cursors) = (Bus::file(bus).await?, Cursors::file(cursors)?);
    let mut worker = Worker::join(bus, cursors, Group::new("seen", &stream)?, options).await?;
    loop {
        let mut batch = worker.next().await?;
        while !worker
            .settle(
                sqlite::apply(&mut db, &batch, |tx, record| {
                    let row = (&*String::from_utf8_lossy(&record.key), &record.payload[..]);
                    Ok(tx.execute("INSERT INTO seen VALUES (?, ?)", row).map(drop)?)
                }),
                &mut batch,
            )
            .await?
        {}
    }
}
