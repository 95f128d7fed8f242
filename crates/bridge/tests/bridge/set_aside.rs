//! Orders that capture has set aside: tried again, and forgotten where both sides agree.

use onsale_bridge::capture::orders::retry;
use onsale_bridge::database::Kind;
use onsale_bridge::run::{Options, run};
use onsale_bridge::take::take;

use crate::platform::{Running, Site};

/// An order of two tickets that the engine sold.
const MAKE: &str = "\
INSERT INTO orders (id, event_id, code, customer, status, total_minor, created_at) \
VALUES (1, 1, 'OURS', 'c', 'pending', 5000, '2026-11-24T10:00:00.000Z'); \
INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES (1, 1, 2, 2500);";
const SELL: &str = "UPDATE stocks SET sold = sold + 2, blocked = blocked - 2 WHERE id = 1";
const CANCEL: &str = "UPDATE orders SET status = 'cancelled' WHERE code = 'OURS'";
const DELETE: &str =
    "DELETE FROM order_lines WHERE order_id = 1; DELETE FROM orders WHERE code = 'OURS'";

/// An event that the engine sells, with an order of it that was written back.
async fn sold(kind: Kind) -> (Site, Running) {
    let mut site = Site::attached(kind).await;
    let running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    let state = site.state();
    state.will_write([("OURS", "pending")].into_iter()).unwrap();
    site.sql(MAKE).await;
    site.sql(SELL).await;
    state.wrote(["OURS"].into_iter()).unwrap();
    (site, running)
}

impl Site {
    /// Waits until the order is set aside with such a reason.
    async fn until_aside(&self, reason: &str) {
        let state = self.state();
        self.until("it is set aside", || {
            let parked = state.parked().unwrap();
            parked.len() == 1
                && parked[0].about == "order OURS"
                && parked[0].reason.contains(reason)
        })
        .await;
    }

    /// Sold and blocked of the stock.
    async fn stock(&mut self) -> (i64, i64) {
        let rows = self.db.ask("SELECT sold, blocked FROM stocks", &[]).await.unwrap();
        (rows[0].integer("sold").unwrap(), rows[0].integer("blocked").unwrap())
    }

    fn cancelled(&self) -> Vec<String> {
        self.fake.known.lock().unwrap().cancelled.clone()
    }
}

async fn tickets_that_were_sold_again(kind: Kind) {
    let (mut site, running) = sold(kind).await;
    // Cancelled there, and its tickets sold to somebody else.
    site.sql(CANCEL).await;
    site.until_aside("has sold its tickets again: 2 of the quota 1").await;
    running.kill().await;
    let parts = site.parts();
    assert_eq!(retry(&parts, Some("OTHER")).await.unwrap(), (Vec::new(), Vec::new()));
    for order in [None, Some("OURS")] {
        let (done, left) = retry(&parts, order).await.unwrap();
        assert!(done.is_empty() && left.len() == 1 && left[0].0 == "OURS", "{done:?} {left:?}");
        assert!(left[0].1.contains("has sold its tickets again"), "{left:?}");
    }
    assert_eq!((site.stock().await, site.cancelled().len()), ((2, 98), 0));
    site.sql("UPDATE stocks SET sold = sold - 2 WHERE id = 1").await;
    assert_eq!(retry(&parts, Some("OURS")).await.unwrap(), (vec!["OURS".to_owned()], Vec::new()));
    assert_eq!((site.stock().await, site.cancelled()), ((0, 100), vec!["OURS".to_owned()]));
    assert_eq!(site.state().parked().unwrap(), []);
    assert_eq!(retry(&parts, Some("OURS")).await.unwrap(), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_were_sold_again_are_taken_when_asked_in_sqlite() {
    tickets_that_were_sold_again(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_were_sold_again_are_taken_when_asked_in_postgres() {
    tickets_that_were_sold_again(Kind::Postgres).await;
}

/// Blocked by hand before it is tried again, they are blocked twice, and the engine has them once: nothing is sold by both.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_somebody_blocked_by_hand_are_the_engines_once() {
    let (mut site, running) = sold(Kind::Sqlite).await;
    site.sql(CANCEL).await;
    site.until_aside("has sold its tickets again").await;
    running.kill().await;
    site.sql("UPDATE stocks SET sold = sold - 2, blocked = blocked + 2, capacity = capacity + 5")
        .await;
    let (parts, given) = (site.parts(), site.fake.event("river/fest"));
    assert_eq!(retry(&parts, None).await.unwrap(), (vec!["OURS".to_owned()], Vec::new()));
    assert_eq!(site.stock().await, (0, 102));
    assert_eq!(retry(&parts, None).await.unwrap(), (Vec::new(), Vec::new()));
    assert_eq!((site.stock().await, site.cancelled().len()), ((0, 102), 1));
    assert_eq!(site.fake.event("river/fest"), given, "the engine has no more than before");
    let context = onsale_bridge::run::context(&parts, &Options::default());
    let report = onsale_bridge::reconcile::reconcile(&context, None).await.unwrap();
    assert_eq!((report.differences(), report.events[0].quotas[0].own), (0, 2), "{report:?}");
    // What is more is not the engine's; what is free is.
    let taken = take(&parts, "river/fest", |_| Ok(())).await.unwrap();
    assert_eq!((taken.quotas["1"], site.stock().await), (103, (0, 105)));
}

/// Cancelled on both sides, so that its status is no news: what write-back could not take is owed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_write_back_could_not_take_are_taken_when_asked() {
    let (mut site, running) = sold(Kind::Sqlite).await;
    running.kill().await;
    let (state, parts) = (site.state(), site.parts());
    state.will_write([("OURS", "cancelled")].into_iter()).unwrap();
    site.sql(CANCEL).await;
    state.wrote(["OURS"].into_iter()).unwrap();
    state.park("capture", "order OURS", "write-back says so", None).unwrap();
    let (done, left) = retry(&parts, None).await.unwrap();
    assert!(done.is_empty() && left.len() == 1, "{done:?} {left:?}");
    assert!(left[0].1.contains("has sold its tickets again"), "{left:?}");
    site.sql("UPDATE stocks SET sold = sold - 2 WHERE id = 1").await;
    assert_eq!(retry(&parts, None).await.unwrap(), (vec!["OURS".to_owned()], Vec::new()));
    assert_eq!(site.stock().await, (0, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_tried_again_at_a_start() {
    let (mut site, running) = sold(Kind::Sqlite).await;
    site.sql(CANCEL).await;
    site.until_aside("has sold its tickets again").await;
    running.kill().await;
    site.sql("UPDATE stocks SET sold = sold - 2 WHERE id = 1").await;
    let _running = Running { task: tokio::spawn(run(site.parts(), Options::default())) };
    let state = site.state();
    site.until("nothing is set aside", || state.parked().unwrap().is_empty()).await;
    assert_eq!((site.stock().await, site.cancelled()), ((0, 100), vec!["OURS".to_owned()]));
}

/// PostgreSQL does not tell which order was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_deleted_is_forgotten_once_the_engine_has_it_no_more_or_it_is_back() {
    for is_back in [false, true] {
        let (mut site, running) = sold(Kind::Sqlite).await;
        let fake = site.fake.clone();
        fake.known.lock().unwrap().open.push("OURS".to_owned());
        site.sql(DELETE).await;
        site.until_aside("deleted the order in the platform").await;
        running.kill().await;
        let parts = site.parts();
        let (done, left) = retry(&parts, None).await.unwrap();
        assert!(done.is_empty() && left.len() == 1, "{done:?} {left:?}");
        assert!(left[0].1.contains("the engine still has it"), "{left:?}");
        match is_back {
            true => site.sql(MAKE).await,
            false => fake.known.lock().unwrap().open.clear(),
        }
        assert_eq!(retry(&parts, None).await.unwrap(), (vec!["OURS".to_owned()], Vec::new()));
        assert_eq!(site.state().parked().unwrap(), []);
        assert_eq!((site.stock().await, site.cancelled().len()), ((2, 98), 0));
    }
}

/// Its cancellation in the engine is an echo, whatever was set aside of it before.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_deleted_and_is_back_is_cancelled_once() {
    let (mut site, running) = sold(Kind::Sqlite).await;
    site.sql(DELETE).await;
    site.until_aside("deleted the order in the platform").await;
    running.kill().await;
    // Back there, and then cancelled in the engine: write-back gives its tickets back to the engine.
    let state = site.state();
    state.will_write([("OURS", "cancelled")].into_iter()).unwrap();
    site.sql(MAKE).await;
    site.sql(CANCEL).await;
    site.sql("UPDATE stocks SET sold = sold - 2, blocked = blocked + 2, capacity = capacity + 5")
        .await;
    state.wrote(["OURS"].into_iter()).unwrap();
    let _running = site.run();
    site.until("nothing is set aside", || state.parked().unwrap().is_empty()).await;
    assert_eq!((site.stock().await, site.cancelled().len()), ((0, 100), 0));
}
