//! A database that one user attaches, as its administrator, and another one's bridge uses.

use onsale_bridge::attach::{attach, detach, plan};
use onsale_bridge::capture::Parts;
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::reconcile::reconcile;
use onsale_bridge::run::{Options, context};

use crate::platform::{Site, schema};

/// What the bridge does with its own tables, in a transaction each.
const USES: &[&str] = &[
    "SELECT position FROM onsale_cursor FOR UPDATE",
    "INSERT INTO onsale_cursor VALUES ('c', 'sales', '0', 1, '1', 1) ON CONFLICT DO NOTHING",
    "UPDATE onsale_cursor SET fence = 2 WHERE cursor = 'c'",
    "INSERT INTO onsale_retried VALUES ('c', 'sales', '0', '1') ON CONFLICT DO NOTHING",
    "DELETE FROM onsale_retried WHERE cursor = 'c'",
    "INSERT INTO onsale_transfer VALUES ('t', '1', 5) ON CONFLICT DO NOTHING",
    "SELECT amount FROM onsale_transfer WHERE name = 't'",
];

/// What is to be run by somebody else, as an error says it.
fn to_run(error: &str) -> String {
    let (_, sql) = error.split_once(" run:  ").unwrap_or_else(|| panic!("no way out: {error}"));
    sql.split_once("  and then").map_or(sql, |(sql, _)| sql).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_not_attach_is_told_what_is_lacking() {
    let mut site = Site::new(Kind::Postgres).await;
    site.sql("CREATE ROLE runner LOGIN REPLICATION; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runner").await;
    let before = schema(&site.url);
    let url = site.url.replace("onsale@", "runner@");
    let mut runner = Database::open(&url).await.unwrap();
    let needs = plan(&site.dialect, &mut runner).await.unwrap().rights.join("\n");
    assert!(needs.contains("GRANT CREATE ON SCHEMA public TO \"runner\";"), "{needs}");
    attach(&site.dialect, &mut site.db).await.unwrap();
    let attached = schema(&site.url);
    let context = context(&Parts { url: url.clone(), ..site.parts() }, &Options::default());

    let error = attach(&site.dialect, &mut runner).await.unwrap_err().to_string();
    assert!(error.contains("may not add to, read, change the table onsale_cursor"), "{error}");
    let error = reconcile(&context, None).await.unwrap_err().to_string();
    let granted = "GRANT INSERT, SELECT, UPDATE ON \"onsale_cursor\" TO \"runner\";";
    assert_eq!(to_run(&error), granted);
    let hindrances = plan(&site.dialect, &mut runner).await.unwrap().hindrances;
    assert_eq!(hindrances.len(), 3, "{hindrances:?}");
    for hindrance in hindrances {
        site.sql(&to_run(&hindrance.to_string())).await;
    }
    attach(&site.dialect, &mut runner).await.unwrap();
    assert!(reconcile(&context, None).await.unwrap().is_clean());
    for sql in USES {
        runner.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    site.sql("DELETE FROM onsale_cursor; DELETE FROM onsale_transfer").await;
    site.sql("REVOKE ALL ON onsale_cursor, onsale_retried, onsale_transfer FROM runner").await;
    assert_eq!(schema(&site.url), attached);

    // Nothing is half taken away.
    let error = detach(&site.dialect, &mut runner, true).await.unwrap_err().to_string();
    assert!(error.contains("DROP PUBLICATION onsale_classic;"), "{error}");
    assert_eq!(schema(&site.url), attached);
    site.sql(&to_run(&error)).await;
    let left = detach(&site.dialect, &mut runner, true).await.unwrap();
    assert_eq!(left.len(), 1, "the slot is left to whoever may replicate: {left:?}");
    assert_eq!(schema(&site.url), before);
}
