//! Orders of events that are none of the platform's, and what much that is set aside stops.

use std::collections::BTreeMap;

use onsale_bridge::database::Kind;
use onsale_bridge::run::{Options, context, run};
use onsale_bridge::status::status;
use onsale_bridge::take::take;
use onsale_bridge::write_back::sales::OrderRecord;
use onsale_bridge::write_back::strangers::passed;
use onsale_bridge::write_back::{self, WAY, retry};
use serde_json::{Value, json};

use crate::platform::{Running, Site};

/// An order of one ticket that is paid.
fn order(ticket_type: &str) -> Value {
    json!({
        "state": "confirmed", "customer": "c", "total": {"amount": 2500, "currency": "EUR"},
        "lines": [{"ticket_type": ticket_type, "quantity": 1, "unit_price": 2500}], "tickets": [],
    })
}

fn placed(subject: &str, code: &str, ticket_type: &str, position: u64) -> OrderRecord {
    let mut data = order(ticket_type);
    data["order"] = json!(code);
    OrderRecord {
        position,
        shard: 0,
        order: code.to_owned(),
        subject: subject.to_owned(),
        time: "2026-11-24T10:00:00.000Z".to_owned(),
        kind: "onsale.order.placed.v1".to_owned(),
        data,
    }
}

impl Site {
    fn sell(&self, subject: &str, code: &str) {
        self.fake.known.lock().unwrap().sold(subject, code, "order.placed", order("1"));
    }

    /// All of the bridge at work.
    fn work(&self) -> Running {
        Running { task: tokio::spawn(run(self.parts(), Options::default())) }
    }

    async fn until_written(&self, code: &str) {
        let state = self.state();
        let is_written = || state.echo(code).unwrap().is_some_and(|echo| echo.written.is_some());
        self.until(&format!("{code} is written"), is_written).await;
    }

    async fn orders(&mut self) -> i64 {
        let sql = "SELECT count(*) AS n FROM orders WHERE channel = 'onsale'";
        self.db.ask(sql, &[]).await.unwrap()[0].integer("n").unwrap()
    }
}

/// A site with an event that the engine sells.
async fn selling() -> Site {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_events_that_are_none_of_the_platforms_are_passed_over() {
    let mut site = selling().await;
    for number in 0..5 {
        site.sell("acme/rock-night", &format!("ROCK{number}"));
    }
    site.sell("river/fest", "OURS");
    let _running = site.work();
    site.until_written("OURS").await;
    let state = site.state();
    assert_eq!(state.parked().unwrap(), []);
    let counted = || passed(&state).unwrap();
    site.until("they are counted", || {
        counted() == BTreeMap::from([("acme/rock-night".to_owned(), 5)])
    })
    .await;
    assert_eq!(site.orders().await, 1);
    let text = status(&state, None).await.unwrap().text();
    assert!(text.contains("passed over  acme/rock-night: 5 orders"), "{text}");
}

/// Neither sent nor taken over by this bridge: the platform has the one, and another state took over the other.
#[tokio::test(flavor = "multi_thread")]
async fn orders_of_events_that_capture_has_not_seen_yet_are_not_lost() {
    let mut site = Site::attached(Kind::Sqlite).await;
    site.event(1, "fest").await;
    site.sql("UPDATE stocks SET blocked = 100").await;
    site.sell("river/fest", "OURS");
    site.sell("river/gone", "GONE");
    {
        let mut known = site.fake.known.lock().unwrap();
        let transfer = json!({
            "type": "onsale.control.transfer-credited.v1", "subject": "river/gone", "data": {"number": 1},
        });
        known.streams.entry("control".to_owned()).or_default().push(transfer);
    }
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let writing = write_back::run(context(&site.parts(), &Options::default()), stop);
    let _running = Running { task: tokio::spawn(writing) };
    site.until_written("OURS").await;
    let state = site.state();
    site.until("the other is set aside", || {
        let parked = state.parked().unwrap();
        parked.len() == 1 && parked[0].about == "GONE" && parked[0].reason.contains("no event")
    })
    .await;
    assert_eq!((site.orders().await, passed(&state).unwrap().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn much_that_is_set_aside_stops_write_back_alone_and_is_tried_again_in_batches() {
    let mut site = selling().await;
    let (state, parts) = (site.state(), site.parts());
    let aside = |record: OrderRecord| {
        let records = serde_json::to_string(&[&record]).unwrap();
        (record.order, "there is no such event".to_owned(), records)
    };
    let strangers = (0..10_000)
        .map(|number| placed("acme/rock-night", &format!("ROCK{number}"), "1", 1_000 + number));
    let ours = [("GOOD", "1"), ("BAD", "99"), ("FINE", "1")];
    let ours = ours.into_iter().zip(20_000..);
    let ours = ours.map(|((code, of), position)| placed("river/fest", code, of, position));
    let all: Vec<_> = strangers.chain(ours).map(aside).collect();
    state.park_all(WAY, &all).unwrap();
    site.sell("river/fest", "OURS");
    let running = site.work();
    let noted = || state.fact("write-back").unwrap().unwrap_or_default();
    site.until("it is told", || noted().contains("more than 10000 orders are set aside")).await;
    let told = status(&state, None).await.unwrap();
    assert!(told.alarms[0].contains("write-back waits: more than 10000"), "{:?}", told.alarms);
    assert!(told.text().contains(" 10003 orders set aside"));
    site.event(2, "later").await;
    site.until_event("river/later", |_, _| true).await;
    assert!(!running.task.is_finished() && site.orders().await == 0);

    let mut progress = Vec::new();
    let context = context(&parts, &Options::default());
    let retried = retry(&context, None, |done, all| progress.push((done, all))).await.unwrap();
    assert_eq!((progress.len(), progress.last()), (21, Some(&(10_003, 10_003))));
    assert_eq!((retried.written.len(), retried.passed_over.len()), (2, 10_000));
    assert!(retried.left.len() == 1 && retried.left[0].0 == "BAD", "{:?}", retried.left);
    let parked = state.parked().unwrap();
    assert!(parked.len() == 1 && parked[0].reason.contains("ticket type 99"), "{parked:?}");
    assert_eq!(passed(&state).unwrap()["acme/rock-night"], 10_000);
    // Then it goes on by itself.
    site.until_written("OURS").await;
    assert_eq!(site.orders().await, 3);
    site.until("it waits no more", || !noted().contains("are set aside")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_it_ended_is_told_at_once() {
    let site = Site::new(Kind::Sqlite).await;
    let error = run(site.parts(), Options::default()).await.unwrap_err();
    let told = status(&site.state(), None).await.unwrap();
    assert_eq!(told.alarms.len(), 1, "{:?}", told.alarms);
    assert!(told.alarms[0].contains("it ended at ") && told.alarms[0].contains(&error.to_string()));
}

/// Deleted there by hand, then cancelled and refunded in the engine: nothing differs, and nothing stays aside.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_gone_on_both_sides_is_settled() {
    for is_retried in [true, false] {
        let mut site = selling().await;
        site.sell("river/fest", "OURS");
        let running = site.work();
        site.until_written("OURS").await;
        let state = site.state();
        let sql = "DELETE FROM order_lines; DELETE FROM payments; DELETE FROM orders; \
                   UPDATE stocks SET sold = 0, blocked = 100";
        site.sql(sql).await;
        site.until("it is told", || state.parked().unwrap().len() == 1).await;
        let tell = |kind: &str, data: Value| {
            site.fake.known.lock().unwrap().sold("river/fest", "OURS", kind, data);
        };
        tell("order.cancelled", json!({"reason": "organizer"}));
        site.until("it is over", || state.parked().unwrap().is_empty()).await;
        tell("payment.refunded", json!({"reference": "r-1"}));
        site.until("the refund is set aside", || state.parked().unwrap().len() == 1).await;
        running.kill().await;
        state
            .park(
                "capture",
                "order OURS",
                "somebody deleted the order in the platform; the engine still has it",
                None,
            )
            .unwrap();
        let context = context(&site.parts(), &Options::default());
        if is_retried {
            let retried = retry(&context, Some("OURS"), |_, _| ()).await.unwrap();
            assert_eq!(
                (retried.settled.as_slice(), retried.left.as_slice()),
                (["OURS".to_owned()].as_slice(), [].as_slice())
            );
        } else {
            let report = onsale_bridge::reconcile::reconcile(&context, None).await.unwrap();
            assert!(report.is_clean() && report.events[0].over == 1, "{}", report.text());
            assert!(
                report.text().contains("1 of them cancelled in the engine"),
                "{}",
                report.text()
            );
        }
        assert_eq!(state.parked().unwrap(), []);
    }
}
