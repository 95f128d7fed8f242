//! Taking an event over by a platform's API: a platform that keeps stock back by vouchers, which it makes when it is asked to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use onsale_bridge::Error;
use onsale_bridge::database::Kind;
use onsale_bridge::dialect::{By, WriteBackSettings};
use onsale_bridge::reconcile::reconcile;
use onsale_bridge::run::{Options, context};
use onsale_bridge::take::{Step, take_by};
use onsale_bridge::write_back::api::Platform;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::platform::Site;

const VOUCHERS: &str = "
ALTER TABLE stocks ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
CREATE TABLE vouchers (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, name TEXT NOT NULL, quota INTEGER NOT NULL, amount INTEGER NOT NULL);
";

const STATEMENTS: [(&str, &str); 3] = [
    (
        "free",
        "SELECT CAST(s.id AS text) AS quota, s.capacity - s.sold \
         - COALESCE((SELECT SUM(v.amount) FROM vouchers v WHERE v.quota = s.id), 0) AS free \
         FROM stocks s WHERE s.event_id = :event ORDER BY s.id",
    ),
    (
        "taken",
        "SELECT name, CAST(quota AS text) AS quota, amount, CAST(id AS text) AS key FROM vouchers",
    ),
    (
        "reconcile-quotas",
        "SELECT CAST(s.id AS text) AS quota, s.capacity, 0 AS engine, s.sold AS others, \
         COALESCE((SELECT SUM(v.amount) FROM vouchers v WHERE v.quota = s.id), 0) AS blocked \
         FROM stocks s WHERE s.event_id = CAST(:event AS integer)",
    ),
];

const API: &str = r#"
[take-stop]
method = "PATCH"
path = "/quotas/{quota}"
body = '{"closed": true}'
done = [200]
again = [503]

[take]
method = "POST"
path = "/vouchers"
body = '{"code": "{secret}", "name": "{name}", "quota": "$quota|number", "amount": "$amount"}'
done = [201]
exists = [{ status = 400, body = "already exists" }]
again = [503]

[take-less]
method = "PATCH"
path = "/vouchers/{key}"
body = '{"amount": "$amount"}'
done = [200]
again = [503]
"#;

/// What the platform does out of the ordinary with the next requests, by their number.
#[derive(Default)]
struct Script {
    /// Requests so far: method and path.
    seen: Vec<String>,
    /// Codes of vouchers that it was asked to make.
    codes: Vec<String>,
    /// Refuses the request of this number.
    refuses: Option<usize>,
    /// Does what the request of this number wants, and answers that it can't be done now.
    loses: Option<usize>,
    /// Sells so many of the first quota with each voucher that it makes.
    sells: i64,
}

/// A platform at work on the office's file.
struct Api {
    file: String,
    script: Mutex<Script>,
}

impl Api {
    fn answer(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let db = rusqlite::Connection::open(&self.file).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
        let mut script = self.script.lock().unwrap();
        script.seen.push(format!("{method} {path}"));
        script.codes.extend(body["code"].as_str().map(str::to_owned));
        let number = script.seen.len();
        if script.refuses == Some(number) {
            return (403, json!({"detail": "not today"}));
        }
        let id = || path.rsplit('/').next().unwrap().to_owned();
        let (status, sql) = match (method, path) {
            ("POST", "/vouchers") => {
                let sql = "INSERT INTO vouchers (code, name, quota, amount) VALUES (?, ?, ?, ?)";
                let values = (
                    body["code"].as_str().unwrap(),
                    body["name"].as_str().unwrap(),
                    body["quota"].as_i64().unwrap(),
                    body["amount"].as_i64().unwrap(),
                );
                if db.execute(sql, values).is_err() {
                    return (400, json!({"code": ["A voucher with this code already exists."]}));
                }
                (201, format!("UPDATE stocks SET sold = sold + {} WHERE id = 1", script.sells))
            }
            ("PATCH", path) if path.starts_with("/vouchers/") => (
                200,
                format!("UPDATE vouchers SET amount = {} WHERE id = {}", body["amount"], id()),
            ),
            ("PATCH", path) if path.starts_with("/quotas/") => {
                (200, format!("UPDATE stocks SET closed = {} WHERE id = {}", body["closed"], id()))
            }
            _ => panic!("{method} {path}"),
        };
        db.execute_batch(&sql).unwrap();
        if script.loses == Some(number) {
            return (503, json!({}));
        }
        (status, json!({}))
    }
}

/// The office, with two quotas, and its API.
struct Office {
    site: Site,
    api: Arc<Api>,
    platform: Platform,
}

impl Office {
    async fn new() -> Office {
        let mut site = Site::attached(Kind::Sqlite).await;
        let mut dialect = (*site.dialect).clone();
        dialect.settings.write_back = WriteBackSettings { by: By::Api, ..Default::default() };
        dialect.settings.api = toml::from_str(API).unwrap();
        for (name, sql) in STATEMENTS {
            dialect.sql.insert((Kind::Sqlite, name.to_owned()), sql.to_owned());
        }
        site.dialect = Arc::new(dialect);
        site.sql(VOUCHERS).await;
        site.event(1, "fest").await;
        site.sql(
            "INSERT INTO stocks (id, event_id, name, capacity, sold) VALUES (2, 1, 'balcony', 40, 10); \
             INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (2, 1, 2, 'Balcony', 0)",
        )
        .await;
        let api = Arc::new(Api { file: site.url.clone(), script: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&api);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let api = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let api = Arc::clone(&api);
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.map(|body| body.to_bytes());
                            let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap();
                            let (status, json) =
                                api.answer(head.method.as_str(), head.uri.path(), &body);
                            let answer = Response::builder().status(status);
                            let body = Full::new(Bytes::from(json.to_string()));
                            Ok::<_, Infallible>(answer.body(body).unwrap())
                        }
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    // A take that is killed breaks its connection off.
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Office { site, api, platform: Platform { url, secret: String::new() } }
    }

    /// Takes the event, up to a step: what the engine may sell of each quota.
    async fn take(&self, killed_after: Option<Step>) -> Result<[i64; 2], Error> {
        let after = |step| match killed_after == Some(step) {
            true => Err(Error::State("killed".to_owned())),
            false => Ok(()),
        };
        let taken = take_by(&self.site.parts(), Some(&self.platform), "river/fest", after).await?;
        Ok(["1", "2"].map(|quota| taken.quotas[quota]))
    }

    /// Vouchers of a quota: how many, and of how many tickets.
    async fn vouchers(&mut self, quota: i64) -> (i64, i64) {
        let sql = format!(
            "SELECT count(*) AS n, COALESCE(SUM(amount), 0) AS tickets FROM vouchers WHERE quota = {quota}"
        );
        let rows = self.site.db.ask(&sql, &[]).await.unwrap();
        (rows[0].integer("n").unwrap(), rows[0].integer("tickets").unwrap())
    }

    fn script(&self, change: impl FnOnce(&mut Script)) {
        let mut script = self.api.script.lock().unwrap();
        script.seen.clear();
        change(&mut script);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_it_is_finished_and_taken_once() {
    for step in [Step::Intended, Step::Taken, Step::Debited, Step::Defined, Step::Credited] {
        let mut office = Office::new().await;
        let _running = office.site.run();
        office.site.until_event("river/fest", |_, state| state == "paused").await;
        office.take(Some(step)).await.unwrap_err();
        for _ in 0..2 {
            assert_eq!(office.take(None).await.unwrap(), [100, 30], "{step:?}");
        }
        assert_eq!((office.vouchers(1).await, office.vouchers(2).await), ((1, 100), (1, 30)));
        let quotas = json!([{"id": "1", "capacity": 100}, {"id": "2", "capacity": 30}]);
        office
            .site
            .until_event("river/fest", |event, state| event["quotas"] == quotas && state == "open")
            .await;
        let closed = "SELECT SUM(closed) AS n FROM stocks";
        let closed = office.site.db.ask(closed, &[]).await.unwrap()[0].integer("n").unwrap();
        assert_eq!(closed, 2, "{step:?}: the platform's own sale is stopped");
        // What is free later is taken by vouchers of their own; of what has nothing, none is made.
        office.site.sql("UPDATE stocks SET capacity = capacity + 5 WHERE id = 2").await;
        assert_eq!(office.take(None).await.unwrap(), [100, 35], "{step:?}");
        assert_eq!((office.vouchers(1).await, office.vouchers(2).await), ((1, 100), (2, 35)));
    }
}

/// Each request in turn is refused, or done without the answer being heard.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_request_comes_to_it_is_taken_once() {
    for (number, is_lost) in (1..=4).flat_map(|number| [(number, false), (number, true)]) {
        let mut office = Office::new().await;
        office.script(|script| match is_lost {
            true => script.loses = Some(number),
            false => script.refuses = Some(number),
        });
        if !is_lost {
            let error = office.take(None).await.unwrap_err().to_string();
            assert!(error.contains("the platform does not take take"), "{number}: {error}");
            assert!(error.contains("for the quota ") && error.contains("not today"), "{error}");
            assert_eq!(office.site.fake.count("control"), 1, "{number}: intended, and no more");
            // Each sale is stopped before anything is counted.
            let seen = office.api.script.lock().unwrap().seen.clone();
            let stops = seen.iter().take_while(|seen| seen.starts_with("PATCH /quotas/")).count();
            assert_eq!(stops, number.min(2), "{seen:?}");
        }
        assert_eq!(office.take(None).await.unwrap(), [100, 30], "{number} {is_lost}");
        assert_eq!((office.vouchers(1).await, office.vouchers(2).await), ((1, 100), (1, 30)));
        assert_eq!(office.take(None).await.unwrap(), [100, 30], "{number} {is_lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sold_in_between_is_taken_off() {
    let mut office = Office::new().await;
    // With each of two vouchers.
    office.script(|script| script.sells = 3);
    assert_eq!(office.take(None).await.unwrap(), [94, 30]);
    assert_eq!((office.vouchers(1).await, office.vouchers(2).await), ((1, 94), (1, 30)));
    assert_eq!(office.take(None).await.unwrap(), [94, 30]);
    // All that there was.
    let mut office = Office::new().await;
    office.script(|script| script.sells = 50);
    assert_eq!(office.take(None).await.unwrap(), [0, 30]);
    assert_eq!(office.vouchers(1).await, (1, 0));
}

/// A request that did not come through may come later: the next one is for the same voucher.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_is_asked_for_again_by_the_code_that_it_was_asked_for() {
    let mut office = Office::new().await;
    office.script(|script| script.refuses = Some(3));
    office.take(None).await.unwrap_err();
    assert_eq!(office.take(None).await.unwrap(), [100, 30]);
    office.site.sql("UPDATE stocks SET capacity = capacity + 5 WHERE id = 1").await;
    assert_eq!(office.take(None).await.unwrap(), [105, 30]);
    let codes = std::mem::take(&mut office.api.script.lock().unwrap().codes);
    assert_eq!((codes.len(), &codes[0]), (4, &codes[1]));
    assert!(codes[0] != codes[2] && codes[0] != codes[3] && codes[2] != codes[3], "{codes:?}");
    assert!(codes.iter().all(|code| code.len() == 32), "{codes:?}");
}

/// What becomes free between a kill and the end of that take is another transfer's.
#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_that_is_there_is_not_made_again() {
    let mut office = Office::new().await;
    office.script(|script| script.refuses = Some(4));
    office.take(None).await.unwrap_err();
    assert_eq!((office.vouchers(1).await, office.vouchers(2).await), ((1, 100), (0, 0)));
    office.site.sql("UPDATE stocks SET capacity = capacity + 5 WHERE id = 1").await;
    assert_eq!(office.take(None).await.unwrap(), [100, 30]);
    assert_eq!(office.vouchers(1).await, (1, 100));
    assert_eq!(office.take(None).await.unwrap(), [105, 30]);
    assert_eq!(office.vouchers(1).await, (2, 105));
}

/// Vouchers that somebody makes smaller give the platform what is the engine's.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_smaller_voucher_frees_is_not_taken_twice() {
    let mut office = Office::new().await;
    assert_eq!(office.take(None).await.unwrap(), [100, 30]);
    let context = context(&office.site.parts(), &Options::default());
    assert!(reconcile(&context, Some("river/fest")).await.unwrap().is_clean());
    office.site.sql("UPDATE vouchers SET amount = amount - 4 WHERE quota = 2").await;
    office.script(|_| {});
    let error = office.take(None).await.unwrap_err().to_string();
    for part in ["river/fest", "quota 2", "given 30", "only 26", "4 may be sold by both"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(office.api.script.lock().unwrap().seen, [] as [&str; 0], "nothing is asked for");
    let told = reconcile(&context, Some("river/fest")).await.unwrap().text();
    assert!(told.contains("engine 30 left, platform 26 blocked"), "{told}");
    office.site.sql("UPDATE vouchers SET amount = amount + 4 WHERE quota = 2").await;
    assert_eq!(office.take(None).await.unwrap(), [100, 30]);
}
