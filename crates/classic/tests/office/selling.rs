//! What is sold, and what never is, on both databases.

use std::collections::HashSet;

use onsale_classic::catalogue::{
    StockFields, TypeFields, delete_event, delete_type, save_event, save_stock, save_type,
};
use onsale_classic::orders::{self, By, Paid, Status, cancel, expire, pay, sell};
use onsale_classic::{Error, Refusal, time};

use crate::support::{buy, concert, fields, on_both, rules, stock, wanted};

#[test]
fn a_crowd_in_the_same_second_gets_every_place_and_none_twice() {
    on_both(async |db| {
        let sale = concert(&db, 60, None).await;
        let tasks: Vec<_> = (0..100)
            .map(|buyer| {
                let kind = if buyer % 2 == 0 { sale.paid } else { sale.free };
                let db = db.clone();
                tokio::spawn(async move { buy(&db, wanted(&format!("c-{buyer}"), kind, 1)).await })
            })
            .collect();
        let (mut codes, mut refused) = (HashSet::new(), 0);
        for task in tasks {
            match task.await.unwrap() {
                Ok(order) => {
                    assert!(codes.insert(order.code));
                    order.tickets.into_iter().for_each(|ticket| assert!(codes.insert(ticket.code)));
                }
                Err(Error::Refused(Refusal::SoldOut { asked: 1, free: 0, .. })) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((codes.len(), refused), (120, 40), "{}", db.place());
        assert_eq!(stock(&db, sale.stock).await, (60, 60, 0, 60));
    });
}

#[test]
fn a_customer_at_once_from_everywhere_gets_no_more_than_the_limit() {
    on_both(async |db| {
        let sale = concert(&db, 100, Some(4)).await;
        let tasks: Vec<_> = (0..12)
            .map(|turn| {
                let kind = if turn % 2 == 0 { sale.paid } else { sale.free };
                let db = db.clone();
                tokio::spawn(async move { buy(&db, wanted("greedy", kind, 1)).await })
            })
            .collect();
        let mut sold = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => sold += 1,
                Err(Error::Refused(Refusal::CustomerLimit { limit: 4, has: 4, asked: 1 })) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((sold, stock(&db, sale.stock).await), (4, (100, 4, 0, 4)), "{}", db.place());
        // What is cancelled does not count.
        let codes = db.read(|tx| tx.query("SELECT code FROM orders", &[])).await.unwrap();
        let code = codes[0].text(0).unwrap();
        let by = By::Organizer(sale.organizer);
        db.write(move |tx| cancel(tx, &code, by, time::now())).await.unwrap();
        buy(&db, wanted("greedy", sale.free, 1)).await.unwrap();
    });
}

#[test]
fn what_is_not_paid_in_time_comes_back_and_what_is_paid_stays() {
    on_both(async |db| {
        let sale = concert(&db, 10, None).await;
        let late = buy(&db, wanted("late", sale.paid, 3)).await.unwrap();
        let paid = buy(&db, wanted("paid", sale.paid, 2)).await.unwrap();
        assert_eq!((late.status, late.total_minor), (Status::Pending, 7_500));
        let told = Paid {
            provider: "till".to_owned(),
            reference: "r-1".to_owned(),
            amount_minor: Some(5_000),
        };
        let (code, again) = (paid.code.clone(), told.clone());
        let first = db.write(move |tx| pay(tx, &code, &told, time::now())).await.unwrap();
        assert_eq!((first.status, first.payments.len()), (Status::Paid, 1));
        // The same payment told again is no second one; another one is refused.
        let code = paid.code.clone();
        let second = db.write(move |tx| pay(tx, &code, &again, time::now())).await.unwrap();
        assert_eq!(second.payments, first.payments);
        let other =
            Paid { provider: "till".to_owned(), reference: "r-2".to_owned(), amount_minor: None };
        let (code, told) = (paid.code.clone(), other.clone());
        let refused = db.write(move |tx| pay(tx, &code, &told, time::now())).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::PaidAlready { .. }))));

        let soon = time::plus_seconds(time::now(), 14 * 60);
        assert_eq!(db.write(move |tx| expire(tx, soon)).await.unwrap(), 0);
        let due = time::plus_seconds(time::now(), 15 * 60 + 1);
        assert_eq!(db.write(move |tx| expire(tx, due)).await.unwrap(), 1);
        assert_eq!(stock(&db, sale.stock).await, (10, 2, 0, 2), "{}", db.place());
        let code = late.code.clone();
        let ended = db.read(move |tx| orders::order(tx, &code)).await.unwrap();
        assert_eq!(
            (ended.status, ended.cancel_reason.as_deref()),
            (Status::Cancelled, Some("unpaid"))
        );
        let code = late.code;
        let refused = db.write(move |tx| pay(tx, &code, &other, time::now())).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::Cancelled { .. }))));
    });
}

#[test]
fn cancelling_gives_back_once() {
    on_both(async |db| {
        let sale = concert(&db, 10, None).await;
        let order = buy(&db, wanted("c", sale.free, 4)).await.unwrap();
        assert_eq!(order.status, Status::Paid);
        let code = order.code.clone();
        let refused = db.write(move |tx| cancel(tx, &code, By::Buyer, time::now())).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::Paid { .. }))));
        let code = order.code.clone();
        let stranger = By::Organizer(sale.organizer + 1);
        let refused = db.write(move |tx| cancel(tx, &code, stranger, time::now())).await;
        assert!(matches!(refused, Err(Error::Unknown { what: "order", .. })));
        let by = By::Organizer(sale.organizer);
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (db, code) = (db.clone(), order.code.clone());
                tokio::spawn(
                    async move { db.write(move |tx| cancel(tx, &code, by, time::now())).await },
                )
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().status, Status::Cancelled);
        }
        assert_eq!(stock(&db, sale.stock).await, (10, 0, 0, 0), "{}", db.place());
    });
}

#[test]
fn the_same_key_is_the_same_order_also_at_once() {
    on_both(async |db| {
        let sale = concert(&db, 10, None).await;
        let mut one = wanted("c", sale.paid, 1);
        one.client_key = Some("k-1".to_owned());
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (db, one) = (db.clone(), one.clone());
                tokio::spawn(async move { buy(&db, one).await.unwrap().code })
            })
            .collect();
        let mut codes = HashSet::new();
        for task in tasks {
            codes.insert(task.await.unwrap());
        }
        assert_eq!((codes.len(), stock(&db, sale.stock).await.1), (1, 1), "{}", db.place());
        one.lines = vec![(sale.paid, 2)];
        assert!(matches!(buy(&db, one).await, Err(Error::Refused(Refusal::KeyReused))));
    });
}

#[test]
fn a_sale_keeps_to_its_window_and_status() {
    on_both(async |db| {
        let sale = concert(&db, 10, None).await;
        let (opens, closes) =
            (time::plus_seconds(time::now(), 100), time::plus_seconds(time::now(), 200));
        let organizer = sale.organizer;
        db.write(move |tx| {
            let mut fields = fields("concert");
            (fields.sale_opens_at, fields.sale_closes_at) = (Some(opens), Some(closes));
            save_event(tx, organizer, Some("concert"), &fields)
        })
        .await
        .unwrap();
        let free = sale.free;
        for (at, sells) in [(-1, false), (0, true), (99, true), (100, false)] {
            let now = time::plus_seconds(opens, at);
            let result = db.write(move |tx| sell(tx, "concert", &wanted("c", free, 1), now)).await;
            assert_eq!(result.is_ok(), sells, "{at}: {result:?}");
        }
    });
}

#[test]
fn what_breaks_a_rule_is_told_by_field_and_rule() {
    on_both(async |db| {
        let sale = concert(&db, 10, None).await;
        let organizer = sale.organizer;
        buy(&db, wanted("c", sale.free, 3)).await.unwrap();
        let hall = sale.stock;
        let stocks = [
            (2, 0, "capacity must be at least 3, which are sold"),
            (10, 8, "blocked must be at most 7, which are neither sold nor beyond the capacity"),
            (-1, 0, "capacity must be from 0 to 10000000"),
        ];
        for (capacity, blocked, rule) in stocks {
            let new = StockFields { name: "Hall".to_owned(), capacity, blocked };
            let saved =
                db.write(move |tx| save_stock(tx, organizer, "concert", Some(hall), &new)).await;
            assert_eq!(rules(saved), rule);
        }
        let kind = TypeFields {
            stock_id: hall,
            name: "Seat".to_owned(),
            description: String::new(),
            price_minor: -1,
            active: true,
            position: 0,
        };
        let saved = db.write(move |tx| save_type(tx, organizer, "concert", None, &kind)).await;
        assert_eq!(rules(saved), "price must not be below zero");
        let mut wrong = fields("No Slug");
        (wrong.currency, wrong.name) = ("XQX".to_owned(), String::new());
        let saved = db.write(move |tx| save_event(tx, organizer, None, &wrong)).await;
        assert_eq!(
            rules(saved),
            "slug must be 1 to 50 of a-z, 0-9 and -, and not begin with -; name must not be empty; currency must be a \
             code of ISO 4217, as EUR"
        );
        let saved = db.write(move |tx| save_event(tx, organizer, None, &fields("concert"))).await;
        assert_eq!(rules(saved), "slug is taken by another event");
        let (none, twice) = (wanted("", sale.free, 0), sale.free);
        assert_eq!(rules(buy(&db, none).await), "customer must not be empty");
        let mut twice = wanted("c", twice, 1);
        twice.lines.push(twice.lines[0]);
        assert_eq!(rules(buy(&db, twice).await), "lines[1].ticket_type must be there only once");
        let rule = "lines[0].ticket_type must be one of the event's ticket types that are for sale";
        assert_eq!(rules(buy(&db, wanted("c", 999, 1)).await), rule);
        // What has orders stays; what is another's is not there.
        let used = db.write(move |tx| delete_event(tx, organizer, "concert")).await;
        assert!(matches!(used, Err(Error::Refused(Refusal::InUse { .. }))));
        let free = sale.free;
        let used = db.write(move |tx| delete_type(tx, organizer, "concert", free)).await;
        assert!(matches!(used, Err(Error::Refused(Refusal::InUse { .. }))));
        let strange = db.write(move |tx| delete_event(tx, organizer + 1, "concert")).await;
        assert!(matches!(strange, Err(Error::Unknown { what: "event", .. })));
    });
}

#[test]
fn a_database_that_was_away_is_used_again() {
    let mut server = onsale_services::postgres();
    let runtime = crate::support::runtime();
    let place: onsale_classic::database::Place = server.url().parse().unwrap();
    let db = runtime.block_on(onsale_classic::Database::open(place)).unwrap();
    let sale = runtime.block_on(concert(&db, 10, None));
    server.kill();
    let lost = runtime.block_on(buy(&db, wanted("c", sale.free, 1)));
    assert!(matches!(lost, Err(Error::Database(_))), "{lost:?}");
    server.restart();
    runtime.block_on(buy(&db, wanted("c", sale.free, 1))).unwrap();
    assert_eq!(runtime.block_on(stock(&db, sale.stock)), (10, 1, 0, 1));
}

#[test]
fn the_tables_are_made_once_and_a_later_version_is_refused() {
    use onsale_classic::Database;
    use onsale_classic::database::Place;
    let kept = crate::support::sqlite();
    let place: Place = kept.db.place().parse().unwrap();
    kept.runtime.block_on(async {
        Database::open(place.clone()).await.unwrap();
        kept.db
            .write(|tx| tx.execute("INSERT INTO schema_versions VALUES (99)", &[]))
            .await
            .unwrap();
        let error = Database::open(place).await.err().unwrap();
        assert!(error.to_string().contains("version 99"), "{error}");
    });
}
