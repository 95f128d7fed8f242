//! A third dialect, for a platform unlike the others: tickets are made beforehand, one row each, and an event's state
//! goes by time alone.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use onsale_bridge::attach;
use onsale_bridge::database::Kind;
use onsale_bridge::dialect::{Dialect, draft, statements};
use serde_json::json;

use crate::platform::{Site, schema};

const SCHEMA: &str = "
CREATE TABLE shows (slug TEXT PRIMARY KEY, title TEXT NOT NULL, opens TEXT NOT NULL);
CREATE TABLE tickets (
    number INTEGER PRIMARY KEY, show TEXT NOT NULL REFERENCES shows (slug), category TEXT NOT NULL,
    price_cents INTEGER NOT NULL, sold_at TEXT
);
";

const TOML: &str = r#"
name = "rows"
about = "Tickets that are rows."
databases = ["sqlite"]

[[watch]]
table = "shows"
column = "slug"

[[watch]]
table = "tickets"
column = "show"
columns = ["show", "category", "price_cents"]
"#;

const FILES: &[(&str, &str)] = &[
    ("events", "SELECT slug AS key FROM shows"),
    (
        "event",
        "SELECT 'hall' AS organizer, slug AS event, 'EUR' AS currency, \
         CASE WHEN opens <= :now THEN 'Open: ' || title ELSE title END AS name, \
         opens AS opens_at FROM shows WHERE slug = :event",
    ),
    (
        "quotas",
        "SELECT 'cat-' || category AS quota, count(*) AS capacity FROM tickets WHERE show = :event GROUP BY category",
    ),
    (
        "ticket-types",
        "SELECT 'cat-' || category AS ticket_type, category AS name, min(price_cents) AS price, \
         'cat-' || category AS quota FROM tickets WHERE show = :event GROUP BY category",
    ),
    ("time-changed", "SELECT slug AS key FROM shows WHERE opens > :since AND opens <= :now"),
];

fn write(folder: &Path) {
    std::fs::create_dir_all(folder.join("sql/sqlite")).unwrap();
    std::fs::write(folder.join("dialect.toml"), TOML).unwrap();
    for (name, sql) in FILES {
        std::fs::write(folder.join(format!("sql/sqlite/{name}.sql")), sql).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_are_rows() {
    let folder = tempfile::TempDir::new().unwrap();
    write(folder.path());
    let dialect = Dialect::load(folder.path().to_str().unwrap()).unwrap();
    let mut site = Site::of(None, SCHEMA, dialect).await;
    let found = statements::check(&site.dialect, Kind::Sqlite, Some(&mut site.db)).await.unwrap();
    assert_eq!(found, []);
    let before = schema(&site.url);
    attach::attach(&site.dialect, &mut site.db).await.unwrap();
    let opens = Timestamp::now() + SignedDuration::from_millis(1_500);
    site.sql(&format!("INSERT INTO shows VALUES ('opera', 'Opera', '{opens}')")).await;
    site.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) \
              INSERT INTO tickets SELECT i, 'opera', CASE WHEN i <= 10 THEN 'A' ELSE 'B' END, 9000 - 100 * (i > 10), NULL FROM n").await;
    let running = site.run();
    site.until_event("hall/opera", |definition, _| {
        definition["quotas"]
            == json!([{"id": "cat-A", "capacity": 10}, {"id": "cat-B", "capacity": 20}])
    })
    .await;
    // Time alone changes it.
    site.until_event("hall/opera", |definition, _| definition["name"] == "Open: Opera").await;
    site.sql("DELETE FROM tickets WHERE number = 30").await;
    site.until_event("hall/opera", |definition, _| definition["quotas"][1]["capacity"] == 19).await;
    running.kill().await;
    attach::detach(&site.dialect, &mut site.db, false).await.unwrap();
    assert_eq!(schema(&site.url), before);
}

#[tokio::test]
async fn a_draft_has_all_files_and_reads_a_plain_schema() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut site = Site::new(kind).await;
        let folder = site.folder.path().join("draft");
        draft::write(&mut site.db, &folder).await.unwrap();
        let dialect = Dialect::load(folder.to_str().unwrap()).unwrap();
        let found = statements::check(&dialect, kind, Some(&mut site.db)).await.unwrap();
        assert_eq!(found, [], "{kind:?}");
        site.dialect = Arc::new(dialect);
        assert!(
            draft::write(&mut site.db, &folder).await.is_err(),
            "what is there is not overwritten"
        );
    }
}

/// Keys that are no numbers, prices that are no cents, and tables of orders whose names end like those of what is sold.
#[tokio::test]
async fn a_draft_goes_by_the_types_of_columns() {
    let schema = "
        CREATE TABLE performances (id uuid PRIMARY KEY, code text, title text, on_sale boolean);
        CREATE TABLE tiers (perf uuid REFERENCES performances, tier text, price numeric(10,2), seats int);
        CREATE TABLE bookings (reference text PRIMARY KEY, perf uuid, state text);
        CREATE TABLE booking_items (reference text, tier text, qty int, price numeric(10,2));";
    let server = onsale_services::postgres();
    let mut site = Site::of(Some(server), schema, Dialect::load("classic").unwrap()).await;
    let folder = site.folder.path().join("tickets");
    draft::write(&mut site.db, &folder).await.unwrap();
    let dialect = Dialect::load(folder.to_str().unwrap()).unwrap();
    let kind = Kind::Postgres;
    let found = statements::check(&dialect, kind, Some(&mut site.db)).await.unwrap();
    assert_eq!(found, []);
    let watched: Vec<_> = dialect.settings.watch.iter().map(|watch| watch.table.as_str()).collect();
    assert_eq!(watched, ["performances", "tiers", "bookings"]);
    let sql = |name: &str| dialect.sql[&(kind, name.to_owned())].as_str();
    assert!(sql("event").ends_with("WHERE id = CAST(:event AS uuid)\n"), "{}", sql("event"));
    assert!(sql("event").contains("NULL /* CHECK: no such column was found */ AS opens_at"));
    assert!(sql("quotas").contains("CAST(tier AS text) AS quota, seats AS capacity\nFROM tiers"));
    let types = sql("ticket-types");
    assert!(
        types.contains("CAST(price * 100 AS bigint) /* CHECK: in cents? */ AS price"),
        "{types}"
    );
}

/// Columns that were not found are not made up, and `check` does not let them pass.
#[tokio::test]
async fn a_draft_marks_the_columns_of_watches_that_it_does_not_find() {
    let schema = "
        CREATE TABLE shows (id INTEGER PRIMARY KEY, title TEXT);
        CREATE TABLE prices (id INTEGER PRIMARY KEY, gig INTEGER, name TEXT, price INTEGER);
        CREATE TABLE seats_stock (id INTEGER PRIMARY KEY, its_event_id INTEGER, capacity INTEGER);
        CREATE TABLE bookings (id INTEGER PRIMARY KEY, state TEXT);";
    let mut site = Site::of(None, schema, Dialect::load("classic").unwrap()).await;
    let folder = site.folder.path().join("gigs");
    draft::write(&mut site.db, &folder).await.unwrap();
    let toml = std::fs::read_to_string(folder.join("dialect.toml")).unwrap();
    for expected in [
        "table = \"shows\"\ncolumn = \"id\"\n",
        "table = \"prices\"\ncolumn = \"CHECK_which_column\"  # no such column was found",
        "table = \"seats_stock\"\ncolumn = \"its_event_id\"  # CHECK\n",
        "table = \"bookings\"\ncolumn = \"CHECK_which_column\"  # no such column was found",
    ] {
        assert!(toml.contains(expected), "{expected}: {toml}");
    }
    let dialect = Dialect::load(folder.to_str().unwrap()).unwrap();
    let found = statements::check(&dialect, Kind::Sqlite, Some(&mut site.db)).await.unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    for table in ["prices", "bookings"] {
        let expected = format!("there is no column CHECK_which_column in the table {table}");
        assert!(found.iter().any(|told| told.contains(&expected)), "{expected}: {found:?}");
    }
}
