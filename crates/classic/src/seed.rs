//! Events to try it with.

use crate::accounts::add_organizer;
use crate::catalogue::{
    EventFields, Status, StockFields, TypeFields, save_event, save_stock, save_type, set_status,
};
use crate::database::Database;
use crate::error::Error;
use crate::time;

/// The organizer of what is made here.
pub const ORGANIZER: &str = "river";
/// The festival's slug.
pub const FESTIVAL: &str = "festival";
/// Tickets of the festival, over all its stocks.
pub const FESTIVAL_TICKETS: i64 = 20_000;

/// A stock of the festival: its name, its places, and its types (name, description, price in cents).
type Seeded = (&'static str, i64, &'static [(&'static str, &'static str, i64)]);

const STOCKS: [Seeded; 4] = [
    (
        "Site",
        15_000,
        &[
            ("Weekend pass", "Friday and Saturday", 8_900),
            ("Friday", "From 16:00", 3_900),
            ("Saturday", "From 12:00", 4_500),
        ],
    ),
    ("Reduced passes", 2_500, &[("Weekend pass, reduced", "With a proof, at the gate", 5_900)]),
    ("Early birds", 1_500, &[("Early bird weekend", "While they last", 6_900)]),
    ("Community", 1_000, &[("Community ticket", "Free, for the neighbours of the harbour", 0)]),
];

/// Makes the River Festival, on sale now: free and paid types, 20,000 tickets. One that is there stays as it is.
///
/// # Errors
/// The database failed.
pub async fn festival(db: &Database) -> Result<i64, Error> {
    let organizer = add_organizer(db, ORGANIZER, "River Festival").await?;
    let day = 86_400;
    let begins = time::plus_seconds(time::now(), 90 * day);
    let fields = EventFields {
        slug: FESTIVAL.to_owned(),
        name: "River Festival".to_owned(),
        description: "Two days of music by the water.".to_owned(),
        venue: "Old Harbour".to_owned(),
        starts_at: begins,
        sale_opens_at: None,
        sale_closes_at: Some(time::plus_seconds(begins, -day)),
        currency: "EUR".to_owned(),
        customer_limit: Some(10),
        payment_minutes: 15,
    };
    db.write(move |tx| {
        if tx.first("SELECT id FROM events WHERE slug = $1", &[FESTIVAL.into()])?.is_some() {
            return Ok(());
        }
        save_event(tx, organizer, None, &fields)?;
        let mut position = 0;
        for (name, capacity, types) in STOCKS {
            let stock = StockFields { name: name.to_owned(), capacity, blocked: 0 };
            let stock_id = save_stock(tx, organizer, FESTIVAL, None, &stock)?;
            for (name, description, price_minor) in types {
                position += 1;
                let kind = TypeFields {
                    stock_id,
                    name: (*name).to_owned(),
                    description: (*description).to_owned(),
                    price_minor: *price_minor,
                    active: true,
                    position,
                };
                save_type(tx, organizer, FESTIVAL, None, &kind)?;
            }
        }
        set_status(tx, organizer, FESTIVAL, Status::OnSale)
    })
    .await?;
    Ok(organizer)
}

/// The slug of the event that benchmarks sell.
pub const BENCH: &str = "bench";

/// Makes an event with one free ticket type of one large stock, unless it is there; the type's id.
///
/// # Errors
/// The database failed.
pub async fn bench(db: &Database) -> Result<i64, Error> {
    let organizer = add_organizer(db, "bench", "Benchmarks").await?;
    let fields = EventFields {
        slug: BENCH.to_owned(),
        name: "Benchmark".to_owned(),
        description: String::new(),
        venue: String::new(),
        starts_at: time::plus_seconds(time::now(), 86_400),
        sale_opens_at: None,
        sale_closes_at: None,
        currency: "EUR".to_owned(),
        customer_limit: None,
        payment_minutes: 15,
    };
    db.write(move |tx| {
        let sql =
            "SELECT t.id FROM ticket_types t JOIN events e ON e.id = t.event_id WHERE e.slug = $1";
        if let Some(row) = tx.first(sql, &[BENCH.into()])? {
            return row.int(0);
        }
        save_event(tx, organizer, None, &fields)?;
        let stock = StockFields { name: "Hall".to_owned(), capacity: 10_000_000, blocked: 0 };
        let stock_id = save_stock(tx, organizer, BENCH, None, &stock)?;
        let kind = TypeFields {
            stock_id,
            name: "Ticket".to_owned(),
            description: String::new(),
            price_minor: 0,
            active: true,
            position: 1,
        };
        let kind = save_type(tx, organizer, BENCH, None, &kind)?;
        set_status(tx, organizer, BENCH, Status::OnSale)?;
        Ok(kind)
    })
    .await
}
