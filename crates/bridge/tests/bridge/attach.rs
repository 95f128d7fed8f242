//! Attach and detach: what they add and take away, and what stands in the way.

use onsale_bridge::attach::{attach, check_attached, detach, plan};
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::dialect::Dialect;

use crate::platform::{Site, schema};

async fn leaves_no_trace(kind: Kind) {
    let mut site = Site::new(kind).await;
    let before = schema(&site.url);
    let planned = plan(&site.dialect, &mut site.db).await.unwrap();
    assert!(
        planned.steps.iter().all(|step| !step.is_right) && planned.hindrances.is_empty(),
        "{planned:?}"
    );
    assert_eq!(schema(&site.url), before, "a plan does nothing");
    let missing = check_attached(&site.dialect, &mut site.db).await.unwrap_err().to_string();
    assert!(missing.contains("onsale bridge attach"), "{missing}");
    attach(&site.dialect, &mut site.db).await.unwrap();
    let attached = schema(&site.url);
    assert_ne!(attached, before);
    attach(&site.dialect, &mut site.db).await.unwrap();
    assert_eq!(schema(&site.url), attached, "twice is once");
    check_attached(&site.dialect, &mut site.db).await.unwrap();
    site.event(1, "fest").await;
    detach(&site.dialect, &mut site.db, false).await.unwrap();
    assert_eq!(schema(&site.url), before);
    assert!(detach(&site.dialect, &mut site.db, false).await.unwrap().is_empty());
}

#[tokio::test]
async fn sqlite_is_left_as_it_was() {
    leaves_no_trace(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_is_left_as_it_was() {
    leaves_no_trace(Kind::Postgres).await;
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_what_to_do() {
    let server = onsale_services::postgres();
    let mut owner = Database::open(server.url()).await.unwrap();
    owner.run(include_str!("../../../classic/schema/postgres.sql")).await.unwrap();
    owner.run("CREATE ROLE bridge LOGIN").await.unwrap();
    let dialect = Dialect::load("classic").unwrap();
    let url = server.url().replace("onsale@", "bridge@");
    let mut db = Database::open(&url).await.unwrap();
    let said = |plan: onsale_bridge::attach::Plan| {
        plan.hindrances.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    // It may read nothing: each statement is refused.
    let first = said(plan(&dialect, &mut db).await.unwrap());
    owner.run("GRANT SELECT ON events, ticket_types, stocks, organizers, order_lines, tickets, payments TO bridge").await.unwrap();
    let all = said(plan(&dialect, &mut db).await.unwrap());
    for expected in [
        "ALTER ROLE \"bridge\" REPLICATION;",
        "GRANT SELECT ON \"orders\" TO \"bridge\";",
        "GRANT CREATE ON DATABASE \"postgres\" TO \"bridge\";",
        "GRANT CREATE ON SCHEMA public TO \"bridge\";",
        "CREATE PUBLICATION onsale_classic FOR TABLE \"events\"",
    ] {
        assert!(all.contains(expected), "{expected} is not in: {all}\nfirst: {first}");
    }
    let error = attach(&dialect, &mut db).await.unwrap_err();
    assert!(error.to_string().contains('\n'), "{error}");
    let advice = plan(&dialect, &mut owner).await.unwrap().advice.join(" ");
    assert!(advice.contains("max_slot_wal_keep_size"), "{advice}");
}

#[tokio::test]
async fn a_dialect_with_a_mistake_is_told_by_file() {
    let mut site = Site::new(Kind::Sqlite).await;
    let mut dialect = (*site.dialect).clone();
    dialect.sql.remove(&(Kind::Sqlite, "event".to_owned()));
    dialect.sql.insert(
        (Kind::Sqlite, "quotas".to_owned()),
        "SELECT missing_one FROM stocks WHERE id = :evnt".to_owned(),
    );
    dialect.sql.insert((Kind::Sqlite, "events".to_owned()), "SELECT id FROM events".to_owned());
    let told: Vec<String> = plan(&dialect, &mut site.db)
        .await
        .unwrap()
        .hindrances
        .iter()
        .map(ToString::to_string)
        .collect();
    for expected in [
        "dialects/classic/sql/sqlite/event.sql: the statement is missing",
        "dialects/classic/sql/sqlite/quotas.sql: there is no parameter :evnt",
        "dialects/classic/sql/sqlite/quotas.sql: no such column: missing_one",
        "dialects/classic/sql/sqlite/events.sql: the column key is missing; there are id",
    ] {
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}: {told:?}");
    }
}
