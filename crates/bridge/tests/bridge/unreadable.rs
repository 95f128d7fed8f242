//! Data on which a statement of the dialect fails: what it is of is set aside, and the others go on.

use onsale_bridge::capture::compare;
use onsale_bridge::database::Kind;
use onsale_bridge::reconcile::reconcile;
use onsale_bridge::run::{Options, context};
use onsale_bridge::take::take;

use crate::platform::Site;

/// The box office's events, with what their descriptions say in JSON: a limit, and a day.
fn event(kind: Kind) -> String {
    let (limit, starts_at, key) = match kind {
        Kind::Sqlite => ("abs(NULLIF(e.description, '') ->> 'limit')", "e.starts_at", ":event"),
        Kind::Postgres => (
            "CAST(CAST(NULLIF(e.description, '') AS jsonb) ->> 'limit' AS bigint)",
            "COALESCE(CAST(CAST(NULLIF(e.description, '') AS jsonb) ->> 'day' AS timestamptz), e.starts_at)",
            "CAST(:event AS bigint)",
        ),
    };
    format!(
        "SELECT o.slug AS organizer, e.slug AS event, e.name, e.currency, {limit} AS per_order, {starts_at} AS starts_at \
         FROM events e JOIN organizers o ON o.id = e.organizer_id WHERE e.id = {key}"
    )
}

async fn is_set_aside(kind: Kind) {
    // Descriptions, and what the database says of each.
    let bad: &[(&str, &str)] = match kind {
        Kind::Sqlite => &[
            ("four", "malformed JSON"),
            (r#"{"limit": -9223372036854775808}"#, "integer overflow"),
        ],
        Kind::Postgres => &[
            ("four", "(22P02)"),
            (r#"{"limit": 99999999999999999999}"#, "(22003)"),
            (r#"{"day": "2027-02-30"}"#, "(22008)"),
        ],
    };
    let mut site = Site::attached_with(kind, "event", event(kind)).await;
    for (id, slug) in [(1, "odd"), (2, "good"), (3, "last")] {
        site.event(id, slug).await;
    }
    let running = site.run();
    site.until_event("river/odd", |_, _| true).await;
    let (state, parts) = (site.state(), site.parts());
    for (round, (text, told)) in bad.iter().enumerate() {
        let name = format!("Round {round}");
        site.sql(&format!(
            "UPDATE events SET description = '{text}', name = '{name}' WHERE id = 1"
        ))
        .await;
        site.until("it is set aside", || {
            let parked = state.parked().unwrap();
            parked.len() == 1
                && parked[0].about == "unreadable 1"
                && parked[0].reason.contains("/event.sql: ")
                && parked[0].reason.contains(told)
        })
        .await;
        // The others go on, also where it is read with them.
        site.sql(&format!("UPDATE events SET name = '{name}'")).await;
        for subject in ["river/good", "river/last"] {
            site.until_event(subject, |definition, _| definition["name"] == name).await;
        }
        assert_ne!(site.fake.event("river/odd").unwrap().0["name"], name);
        assert_eq!(compare(&parts).await.unwrap(), [] as [&str; 0]);
    }
    assert!(state.fact("alarm:capture").unwrap().is_none());
    // What reads all events passes it over, too.
    take(&parts, "river/last", |_| Ok(())).await.unwrap();
    let report = reconcile(&context(&parts, &Options::default()), None).await.unwrap();
    let compared: Vec<_> = report.events.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!(compared, ["river/good", "river/last"]);
    // A start does not stop at it. Put right, it goes through.
    running.kill().await;
    let _running = site.run();
    site.sql("UPDATE events SET name = 'Before' WHERE id = 3").await;
    site.until_event("river/last", |definition, _| definition["name"] == "Before").await;
    site.sql(r#"UPDATE events SET description = '{"limit": 4}' WHERE id = 1"#).await;
    site.until_event("river/odd", |definition, _| definition["limits"][0]["per_order"] == 4).await;
    site.until("nothing is set aside", || state.parked().unwrap().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_t_be_read_is_set_aside_on_sqlite() {
    is_set_aside(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_t_be_read_is_set_aside_on_postgres() {
    is_set_aside(Kind::Postgres).await;
}

/// An order's status is given by a number in its customer's name.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_can_t_be_read_is_set_aside() {
    let sql = "SELECT 'river' AS organizer, 'fest' AS event, \
               CASE CAST(o.customer AS bigint) WHEN 0 THEN 'pending' ELSE 'cancelled' END AS status \
               FROM orders o WHERE o.code = :order";
    let mut site = Site::attached_with(Kind::Postgres, "order", sql.to_owned()).await;
    site.event(1, "fest").await;
    let state = site.state();
    let _running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    for code in ["E1", "E2"] {
        state.will_write([(code, "pending")].into_iter()).unwrap();
        site.sql(&format!(
            "INSERT INTO orders (event_id, code, customer, status, total_minor, created_at) \
             VALUES (1, '{code}', '0', 'pending', 0, now())"
        ))
        .await;
        state.wrote([code].into_iter()).unwrap();
    }
    let change = |code: &str, customer: &str, status: &str| {
        format!(
            "UPDATE orders SET customer = '{customer}', status = '{status}' WHERE code = '{code}'"
        )
    };
    site.sql(&change("E1", "one", "paid")).await;
    site.until("it is set aside", || {
        let parked = state.parked().unwrap();
        parked.len() == 1
            && parked[0].about == "status of order E1"
            && parked[0].reason.contains("(22P02)")
    })
    .await;
    let fake = site.fake.clone();
    let cancelled = |code: &str| fake.known.lock().unwrap().cancelled.iter().any(|of| of == code);
    site.sql(&change("E2", "1", "paid")).await;
    site.until("the other is cancelled", || cancelled("E2")).await;
    site.sql(&change("E1", "1", "cancelled")).await;
    site.until("it is cancelled", || cancelled("E1")).await;
    site.until("nothing is set aside", || state.parked().unwrap().is_empty()).await;
}
