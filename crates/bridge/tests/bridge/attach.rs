//! Attach and detach: what they add and take away, and what stands in the way.

use onsale_bridge::attach::{attach, check_attached, detach, plan};
use onsale_bridge::database::{Database, Kind, Mode, Value};
use onsale_bridge::dialect::{Dialect, statements};

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
        "may not add to, read, change the table orders",
        "GRANT INSERT, SELECT, UPDATE ON \"orders\" TO \"bridge\";",
        "GRANT UPDATE ON \"stocks\" TO \"bridge\";",
        "GRANT INSERT ON \"tickets\" TO \"bridge\";",
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

    // Whoever does as it says gets through, and everything may be done then.
    for line in all.lines().filter_map(|line| line.trim().split_once(" run:  ")) {
        let sql = line.1.split_once("  and then").map_or(line.1, |(sql, _)| sql);
        owner.run(sql).await.unwrap();
    }
    assert_eq!(said(plan(&dialect, &mut db).await.unwrap()), "");
    attach(&dialect, &mut db).await.unwrap();
    check_attached(&dialect, &mut db).await.unwrap();
    let mut tx = db.begin(Mode::Write).await.unwrap();
    for (kind, name) in dialect.sql.keys().filter(|(kind, _)| *kind == Kind::Postgres) {
        let statement = dialect.statement(*kind, name).unwrap();
        let params = statement.params.iter().map(|name| (name.as_str(), Value::Null));
        let params: Vec<_> = params.collect();
        tx.query(&statement, &params).await.unwrap();
    }
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

/// In SQLite its triggers would have the platform's own writes fail.
#[tokio::test]
async fn what_a_dialect_watches_must_be_there() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut site = Site::new(kind).await;
        let before = schema(&site.url);
        let mut dialect = (*site.dialect).clone();
        let watch = &mut dialect.settings.watch;
        watch[0].column = "idd".to_owned();
        watch[1].table = "ticket_tipes".to_owned();
        watch[2].columns.push("capacty".to_owned());
        let told = |found: &[onsale_bridge::Error]| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let checked = statements::check(&dialect, kind, Some(&mut site.db)).await.unwrap();
        let planned = plan(&dialect, &mut site.db).await.unwrap();
        for told in [told(&checked), told(&planned.hindrances)] {
            assert_eq!(told.len(), 3, "{kind:?}: {told:?}");
            for (told, expected) in told.iter().zip([
                "watch: column: there is no column idd in the table events; there are id, ",
                "watch: there is no table ticket_tipes in this database",
                "watch: columns: there is no column capacty in the table stocks; there are id, ",
            ]) {
                let expected = format!("dialects/classic/dialect.toml: {expected}");
                assert!(told.starts_with(&expected), "{kind:?}: {expected}: {told}");
            }
        }
        assert!(planned.steps.is_empty(), "{planned:?}");
        attach(&dialect, &mut site.db).await.unwrap_err();
        assert_eq!(schema(&site.url), before);
        // As each database compares names, and SQLite's number of the row.
        for column in ["ID", "rowid"] {
            let mut dialect = (*site.dialect).clone();
            dialect.settings.watch[0].column = column.to_owned();
            let found = statements::check(&dialect, kind, Some(&mut site.db)).await.unwrap();
            assert_eq!(found.is_empty(), kind == Kind::Sqlite, "{kind:?} {column}: {found:?}");
        }
    }
}

/// What is said where there is no connection, or none that is of use.
async fn refused(url: &str) -> String {
    match Database::open(url).await {
        Ok(_) => panic!("{url} lets us in"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let server = onsale_services::postgres();
    let mut owner = Database::open(server.url()).await.unwrap();
    owner.run("CREATE ROLE bridge LOGIN PASSWORD 'right'").await.unwrap();
    let rules = "host all onsale 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.folder().join("data/pg_hba.conf"), rules).unwrap();
    owner.run("SELECT pg_reload_conf()").await.unwrap();
    let at = |user: &str, db: &str| {
        let (start, _) = server.url().rsplit_once('/').unwrap();
        format!("{}/{db}", start.replace("onsale@", &format!("{user}@")))
    };
    // The new rules count from a moment on.
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(10));
    while Database::open(&at("bridge:wrong", "postgres")).await.is_ok() {
        looks.tick().await;
    }
    Database::open(&at("bridge:right", "postgres")).await.unwrap();
    for (user, db, why, way_out) in [
        (
            "bridge:wrong",
            "postgres",
            "password authentication failed",
            "Check user and password in --db",
        ),
        ("bridge", "postgres", "password", "Say user and password in --db: postgres://"),
        (
            "nobody:right",
            "postgres",
            "password authentication failed",
            "Check user and password in --db",
        ),
        (
            "bridge:right",
            "none",
            "database \"none\" does not exist",
            "Check the name at the end of --db",
        ),
    ] {
        let said = refused(&at(user, db)).await;
        assert!(said.contains(why) && said.contains(way_out), "{user} {db}: {said}");
    }
    let said = refused("mysql://me@localhost/tickets").await;
    assert!(said.contains("must be a file, sqlite:FILE or postgres://"), "{said}");
    let said = refused("nowhere/office.db").await;
    assert!(said.contains("nowhere/office.db: unable to open"), "{said}");
}

#[tokio::test]
async fn a_server_without_logical_replication_says_what_to_set() {
    let server = onsale_services::postgres_with(&["fsync=off", "wal_level=replica"]);
    let mut db = Database::open(server.url()).await.unwrap();
    db.run(include_str!("../../../classic/schema/postgres.sql")).await.unwrap();
    let dialect = Dialect::load("classic").unwrap();
    let before = schema(server.url());
    let error = attach(&dialect, &mut db).await.unwrap_err().to_string();
    assert!(error.contains("wal_level is replica"), "{error}");
    assert!(error.contains("ALTER SYSTEM SET wal_level = logical;"), "{error}");
    assert_eq!(schema(server.url()), before, "nothing was added");
}

/// A file that an earlier version attached to.
#[tokio::test]
async fn what_an_earlier_version_added_is_brought_up_to_date() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let right = schema(&site.url);
    for (change, told) in [
        ("ALTER TABLE onsale_outbox DROP COLUMN at", "the table onsale_outbox, which"),
        (
            "DROP TRIGGER onsale_classic_events_update; CREATE TRIGGER onsale_classic_events_update AFTER UPDATE ON events BEGIN SELECT 1; END",
            "the trigger onsale_classic_events_update is of another form",
        ),
    ] {
        // A trigger that writes to a column keeps it from going.
        detach(&site.dialect, &mut site.db, false).await.unwrap();
        attach(&site.dialect, &mut site.db).await.unwrap();
        if change.starts_with("ALTER") {
            let triggers = site
                .db
                .ask("SELECT name FROM sqlite_schema WHERE type = 'trigger'", &[])
                .await
                .unwrap();
            for row in triggers {
                site.sql(&format!("DROP TRIGGER {}", row.text("name").unwrap())).await;
            }
        }
        site.sql(change).await;
        let error = check_attached(&site.dialect, &mut site.db).await.unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("onsale bridge attach"), "{error}");
        attach(&site.dialect, &mut site.db).await.unwrap();
        check_attached(&site.dialect, &mut site.db).await.unwrap();
    }
    assert_eq!(schema(&site.url), right);
}

/// A publication of a dialect that watched fewer tables.
#[tokio::test]
async fn a_publication_that_lacks_a_table_is_made_whole() {
    let mut site = Site::attached(Kind::Postgres).await;
    let right = schema(&site.url);
    site.sql("ALTER PUBLICATION onsale_classic DROP TABLE orders").await;
    let error = check_attached(&site.dialect, &mut site.db).await.unwrap_err().to_string();
    assert!(
        error.contains("the publication onsale_classic") && error.contains("not all"),
        "{error}"
    );
    attach(&site.dialect, &mut site.db).await.unwrap();
    assert_eq!(schema(&site.url), right);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_away_while_the_bridge_works_or_the_engine_has_stock() {
    let mut site = Site::attached(Kind::Postgres).await;
    let attached = schema(&site.url);
    site.event(1, "fest").await;
    let running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    let error = detach(&site.dialect, &mut site.db, true).await.unwrap_err().to_string();
    assert!(error.contains("the bridge is at work"), "{error}");
    onsale_bridge::take::take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    running.kill().await;
    let error = detach(&site.dialect, &mut site.db, false).await.unwrap_err().to_string();
    assert!(error.contains("the engine has stock of this platform: 1 transfers"), "{error}");
    assert_eq!(schema(&site.url), attached);
}

/// Names of slots are those of the whole server: a second database does not get into the first one's, and does not drop it.
#[tokio::test]
async fn a_slot_of_another_database_is_left_alone() {
    let mut site = Site::attached(Kind::Postgres).await;
    site.sql("CREATE DATABASE second").await;
    let (start, _) = site.url.rsplit_once('/').unwrap();
    let mut second = Database::open(&format!("{start}/second")).await.unwrap();
    second.run(include_str!("../../../classic/schema/postgres.sql")).await.unwrap();
    let said = attach(&site.dialect, &mut second).await.unwrap_err().to_string();
    assert!(
        said.contains("the replication slot onsale_classic is of the database postgres"),
        "{said}"
    );
    assert!(said.contains("another name"), "{said}");
    let taken_away = detach(&site.dialect, &mut second, true).await;
    assert!(taken_away.is_err() || taken_away.unwrap().is_empty(), "something was taken away");
    check_attached(&site.dialect, &mut site.db).await.unwrap();
    let slots =
        site.db.ask("SELECT database::text AS db FROM pg_replication_slots", &[]).await.unwrap();
    assert_eq!(slots[0].text("db").unwrap(), "postgres");
    // With another name both are.
    let mut dialect = (*site.dialect).clone();
    dialect.settings.name = "classic_2".to_owned();
    attach(&dialect, &mut second).await.unwrap();
    detach(&dialect, &mut second, false).await.unwrap();
    check_attached(&site.dialect, &mut site.db).await.unwrap();
}
