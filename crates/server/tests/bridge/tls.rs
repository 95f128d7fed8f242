//! A box office whose PostgreSQL speaks TLS, with a certificate of an authority that the bridge trusts, or not.

use onsale_services::Authority;

use crate::check;
use crate::office::{Catalogue, Office};
use crate::sales::{HALL, Sales, Sold};
use crate::world::{Who, World};

#[test]
fn the_bridge_reads_and_writes_through_tls() {
    let authority = Authority::new();
    let (world, sales) = (World::with_tls(&authority, "?sslmode=require"), Sales::default());
    let (office, mut catalogue) = (Office::log_in(&world), Catalogue::default());
    let hall = office.make("hall", 100, &[0]);
    world.run(&["bridge", "attach"], "");
    world.start(Who::Engine);
    world.start(Who::Bridge);
    world.run(&["bridge", "take", "river/hall"], "");
    check::is_open(&world);
    let kind = hall.types.keys().next().unwrap().to_string();
    let code = world.buy(HALL, &kind, 2);
    let sold = Sold { quantity: 2, is_paid: true, ..Sold::default() };
    sales.sold.lock().unwrap().insert(code, sold);
    check::settled(&world, &sales);
    // What the replication stream tells.
    catalogue.events.push(office.make("late", 50, &[1_000]));
    check::catalogue(&world, &catalogue, "hall");
    let count = |of: &str| {
        world.number(&format!(
            "SELECT count(*) AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE {of}"
        ))
    };
    assert_eq!(count("backend_type = 'walsender' AND ssl"), 1);
    assert!(count("application_name = 'onsale-bridge' AND ssl") > 0);
    assert_eq!(count("backend_type = 'walsender' AND NOT ssl"), 0);
}

#[test]
fn a_database_that_is_not_trusted_or_has_no_tls_is_refused() {
    let authority = Authority::new();
    let mut world = World::with_tls(&authority, "");
    let parts = ["--db: ", "invalid peer certificate", "SSL_CERT_FILE", "sslmode=disable"];
    let has_all = |told: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    };
    let other = tempfile::tempdir().unwrap();
    let right = world.trusted.replace(Authority::new().write(other.path()));
    has_all(&world.refused(&["bridge", "attach"]), &parts);
    world.trusted = right;
    world.bridge_db = world.bridge_db.replace("localhost", "127.0.0.1");
    has_all(&world.refused(&["bridge", "attach"]), &["--db: ", "not valid for name"]);
    world.bridge_db += "?sslmode=verify-full";
    has_all(&world.refused(&["bridge", "attach"]), &["--db ", "sslmode must be disable, prefer"]);
    let without = onsale_services::postgres();
    world.bridge_db = format!("{}?sslmode=require", without.url());
    let told = world.refused(&["bridge", "attach"]);
    has_all(&told, &["--db: ", "sslmode=require, but the server does not speak TLS", "ssl = on"]);
}
