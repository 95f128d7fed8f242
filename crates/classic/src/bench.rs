//! How fast it sells: one hot event, many buyers at once, straight at the database layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::error::{Error, Refusal};
use crate::orders::{Wanted, sell};
use crate::time;

/// What a run found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Orders that were made.
    pub orders: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Rate {
    /// Orders in a second.
    #[must_use]
    pub fn orders_per_second(&self) -> f64 {
        self.orders as f64 / self.seconds
    }
}

/// Sells single tickets of a type for a time, or until none is left, with so many buyers at once.
///
/// # Errors
/// The database failed, or the event does not sell.
pub async fn selling(
    db: &Database,
    event: &str,
    ticket_type: i64,
    buyers: usize,
    how_long: Duration,
) -> Result<Rate, Error> {
    let (begin, sold) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for buyer in 0..buyers {
        let (db, event, sold) = (db.clone(), event.to_owned(), Arc::clone(&sold));
        tasks.spawn(async move {
            let mut number = 0_u64;
            while begin.elapsed() < how_long {
                number += 1;
                let wanted = Wanted {
                    customer: format!("bench-{buyer}-{number}"),
                    lines: vec![(ticket_type, 1)],
                    channel: "bench".to_owned(),
                    client_key: None,
                };
                let event = event.clone();
                match db.write(move |tx| sell(tx, &event, &wanted, time::now())).await {
                    Ok(_) => sold.fetch_add(1, Ordering::Relaxed),
                    Err(Error::Refused(Refusal::SoldOut { .. })) => return Ok(()),
                    Err(error) => return Err(error),
                };
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a buyer does not panic")?;
    }
    Ok(Rate { orders: sold.load(Ordering::Relaxed), seconds: begin.elapsed().as_secs_f64() })
}
