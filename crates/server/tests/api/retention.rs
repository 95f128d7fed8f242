//! Retention of `catalogue` and `control`: what goes, for whom older records are kept, and who is told.

use std::path::Path;
use std::time::Duration;

use onsale_bus::cursors::Progress;
use onsale_bus::{Bus, Cursors, Generation, Group, Position, ShardId, StreamName, WorkerId};
use serde_json::json;

use crate::support::{Client, Site, concert, path};

const CATALOGUE: &str = "/v1/streams/catalogue/records";
const CONTROL: &str = "/v1/streams/control/records";

fn note(client: &Client, count: u64) {
    for n in 0..count {
        let record = json!({"type": "onsale.control.noted.v1", "data": {"n": n}});
        client.post(CONTROL, &record).expect(201);
    }
}

fn metric(client: &Client, name: &str, stream: &str) -> u64 {
    let page = client.get("/metrics").expect(200).text;
    let begin = format!("{name}{{stream=\"{stream}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&begin));
    value.unwrap_or_else(|| panic!("no {begin}")).parse().unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn generation(data: &Path, stream: &str) -> Generation {
    wait(async {
        let bus = Bus::file(data.join("bus")).await.unwrap();
        bus.describe(&StreamName::new(stream).unwrap()).await.unwrap().generation
    })
}

/// Puts a cursor of the server's own store somewhere.
fn put(data: &Path, name: &str, stream: &str, generation: Generation, position: u64) {
    let store = Cursors::file(data.join("cursors/_server")).unwrap();
    let cursor = Group::new(name, stream).unwrap().cursor(&ShardId::numbered(0));
    let position = Position::from(position);
    let to = Progress { generation, position, ended: false };
    wait(async {
        // The engine's is the server's for a while after it has ended.
        let server = WorkerId::new("server").unwrap();
        let claim = store.acquire(&cursor, &server, Duration::from_secs(1)).await.unwrap();
        store.release(&claim.unwrap()).await.unwrap();
        store.reset(&cursor, Some(to)).await.unwrap();
    });
}

#[test]
fn by_age_nothing_goes_that_a_cursor_has_yet_to_read() {
    let mut site = Site::with(|config| {
        config.shards = 1;
        config.streams.age = Duration::ZERO;
    });
    note(&site.client(), 12);
    put(site.folder.path(), "relay", "control", generation(site.folder.path(), "control"), 3);
    // It is looked at with every start.
    site.restart();
    let client = site.client();
    site.until("three are gone", || metric(&client, "onsale_stream_trimmed_total", "control") == 3);
    assert_eq!(metric(&client, "onsale_stream_kept_for_cursors", "control"), 1);
    assert_eq!(metric(&client, "onsale_stream_lost_total", "control"), 0);
    assert_eq!(client.get(CONTROL).expect(200).json()["records"][0]["position"], 4);
    let gone = client.get(&format!("{CONTROL}?after=1")).expect(410).json();
    assert_eq!((&gone["type"], &gone["begins_at"]), (&json!("/problems/position-gone"), &json!(4)));
    let beyond = client.get(&format!("{CONTROL}?after=13"));
    assert_eq!(beyond.status, 409, "{beyond:?}");
}

#[test]
fn by_number_records_go_and_the_engine_goes_on_behind_the_gap() {
    let mut site = Site::with(|config| {
        config.shards = 1;
        config.streams.records = 2;
    });
    let client = site.client();
    for state in ["open", "paused", "open", "paused", "open", "paused"] {
        let data = json!({"state": state});
        let subject = "river/none";
        let record = json!({"type": "onsale.event.set-state.v1", "subject": subject, "data": data});
        client.post(CATALOGUE, &record).expect(201);
    }
    let generation = generation(site.folder.path(), "catalogue");
    // There is no such event: all are refused.
    let all_read = || client.get("/metrics").text.contains("\nonsale_catalogue_parked 6\n");
    site.until("the engine has read all", all_read);
    site.restart();
    let client = site.client();
    site.until("four are gone", || {
        metric(&client, "onsale_stream_trimmed_total", "catalogue") == 4
    });
    assert_eq!(metric(&client, "onsale_stream_lost_total", "catalogue"), 0, "the engine had read");
    site.stop();
    put(site.folder.path(), "engine", "catalogue", generation, 1);
    site.restart();
    let client = site.client();
    let subject = "river/concert";
    let wish = json!({"type": "onsale.event.define.v1", "subject": subject, "data": concert()});
    client.post(CATALOGUE, &wish).expect(201);
    site.until("the concert is there", || client.get(&path("concert", "")).status == 200);
}

#[test]
fn a_cursor_that_loses_records_is_counted() {
    let mut site = Site::with(|config| {
        config.shards = 1;
        config.streams.records = 5;
    });
    note(&site.client(), 12);
    put(site.folder.path(), "relay", "control", generation(site.folder.path(), "control"), 3);
    site.restart();
    let client = site.client();
    site.until("seven are gone", || metric(&client, "onsale_stream_trimmed_total", "control") == 7);
    assert_eq!(metric(&client, "onsale_stream_lost_total", "control"), 1);
    assert_eq!(client.get(CONTROL).expect(200).json()["records"][0]["position"], 8);
}

#[test]
fn a_key_is_known_when_its_record_is_past_retention() {
    let mut site = Site::with(|config| {
        config.shards = 1;
        config.streams.records = 2;
    });
    let post = |client: &Client, key: &str, n: u64| {
        let record = json!({"type": "onsale.control.noted.v1", "data": {"n": n}});
        client.with("idempotency-key", key).post(CONTROL, &record)
    };
    for n in 1..=6 {
        let placed = post(&site.client(), &format!("key-{n}"), n).expect(201).json();
        assert_eq!(placed["position"], n);
    }
    // The first start lets them go, the second one no longer has them to look into.
    for _ in 0..2 {
        site.restart();
        let client = site.client();
        let begins_at = || client.get(CONTROL).expect(200).json()["records"][0]["position"].clone();
        site.until("four are gone", || begins_at() == 5);
        for n in 1..=6 {
            let again = post(&client, &format!("key-{n}"), n).expect(201);
            assert_eq!(
                (again.header("idempotency-replayed"), &again.json()["position"]),
                (Some("true"), &json!(n))
            );
        }
        assert_eq!(post(&client, "key-1", 2).expect(422).problem(), "idempotency-key-reused");
    }
    assert_eq!(post(&site.client(), "key-7", 7).expect(201).json()["position"], 7);
}
